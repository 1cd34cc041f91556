//! What is bound to statements.

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// A value of a statement, with its type: the server is not asked for it.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// The values of a statement that the server keeps, and so knows the types of.
pub(super) fn values<'a>(params: &[Param<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    params.iter().map(|(value, _)| *value).collect()
}

/// What can be bound to a statement, and as which type.
pub(super) trait Bind: ToSql + Sync {
    const TYPE: Type;
}

/// What arrays of can be bound.
pub(super) trait Element: ToSql + Sync {
    const ARRAY: Type;
}

macro_rules! bind {
    ($($type:ty: $one:ident $many:ident)*) => {$(
        impl Bind for $type {
            const TYPE: Type = Type::$one;
        }

        impl Element for $type {
            const ARRAY: Type = Type::$many;
        }
    )*};
}
bind! {
    i64: INT8 INT8_ARRAY
    bool: BOOL BOOL_ARRAY
    Uuid: UUID UUID_ARRAY
    String: TEXT TEXT_ARRAY
    &str: TEXT TEXT_ARRAY
    &[u8]: BYTEA BYTEA_ARRAY
}

impl<T: Bind> Bind for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: Element> Element for Option<T> {
    const ARRAY: Type = T::ARRAY;
}

impl<T: Element> Bind for Vec<T> {
    const TYPE: Type = T::ARRAY;
}

pub(super) fn bound<T: Bind>(value: &T) -> Param<'_> {
    (value, T::TYPE)
}

/// The values of a statement, in order.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::postgres::bind::bound(&$value)),*] };
}
pub(super) use params;
