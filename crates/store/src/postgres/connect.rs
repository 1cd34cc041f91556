//! Connections to PostgreSQL, as everybody uses them. `connector.rs` makes them.
//!
//! Invariant: every wait for the server ends. Who waited too long has a connection that is of no use any more: what its
//! statement does there, nobody knows. No statement is ever cancelled, as a commit that is cancelled may be seen and then
//! be lost.
//! Invariant: nothing is kept in the server's session (no settings, no named statements, no locks beyond a transaction), so
//! that a pooler may give each transaction another one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::failure::Failure;
#[cfg(test)]
use super::plans;

/// How long the server is waited for. Tests wait less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For each address that is connected to; twice that for all of them and the greeting.
    pub(crate) connect: Duration,
    /// For an answer to a statement.
    pub(crate) answer: Duration,
    /// For an answer to a commit: whoever gives up does not know what came of it.
    pub(crate) commit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), answer: Duration::from_secs(5), commit: Duration::from_secs(10) }
    }
}

/// Begins a transaction that stands on no setting of the server, the database or the role.
///
/// - What locks a row and then looks anew has to see what was committed meanwhile.
/// - A node that is stopped in a transaction holds its locks for eight seconds at most, and nobody waits for a lock so long that
///   the answer is given up.
/// - No time-out ends a commit: one that waits for a standby and is cancelled may be seen and then be lost.
/// - It holds a lock that all of them share, so that whoever looks which are under way knows them (`settled.rs`).
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '8s'; \
                                SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = 0; ";

/// What every transaction locks together with all others. Nobody ever has it alone.
pub(super) const UNDER_WAY: i64 = i64::from_be_bytes(*b"underway");

/// A value of a statement, with its type: the server is not asked for it.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection. Whoever drops it ends it, and with it what was not committed on it.
pub(super) struct Connection {
    client: Client,
    broken: AtomicBool,
    patience: Patience,
    /// Whether the plans of its statements are looked at.
    #[cfg(test)]
    is_looked_at: bool,
}

impl Connection {
    pub(super) const fn of(client: Client, patience: Patience, #[cfg(test)] is_looked_at: bool) -> Self {
        Self {
            client,
            broken: AtomicBool::new(false),
            patience,
            #[cfg(test)]
            is_looked_at,
        }
    }

    /// Whether nothing more can be done with it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed) || self.client.is_closed()
    }

    /// Makes it of no use any more.
    pub(super) fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Runs a statement and returns its rows. Several at once are sent one behind the other, in the order in which they are
    /// first polled, without waiting for each other's answers.
    pub(super) async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failure> {
        #[cfg(test)]
        self.look_at(sql, params).await;
        self.answered(self.patience.answer, self.client.query_typed(sql, params)).await
    }

    /// Runs a statement and says how many rows it touched.
    pub(super) async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        #[cfg(test)]
        self.look_at(sql, params).await;
        self.answered(self.patience.answer, self.client.execute_typed(sql, params)).await
    }

    #[cfg(test)]
    async fn look_at(&self, sql: &str, params: &[Param<'_>]) {
        if self.is_looked_at {
            plans::check(&self.client, sql, params).await;
        }
    }

    /// Runs statements without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        self.answered(self.patience.answer, self.client.batch_execute(sql)).await
    }

    /// Begins a transaction that writes, with statements that take its first locks, each ended by a `;`.
    pub(super) async fn begin(&self, locks: &str) -> Result<(), Failure> {
        self.batch(&format!("{BEGIN}SELECT pg_advisory_xact_lock_shared({UNDER_WAY}); {locks}")).await
    }

    /// Commits the transaction. What came of it is not known if this fails with [`Failure::Lost`].
    pub(super) async fn commit(&self) -> Result<(), Failure> {
        self.answered(self.patience.commit, self.client.batch_execute("COMMIT")).await
    }

    async fn answered<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let answered = match tokio::time::timeout(patience, answer).await {
            Ok(answered) => answered.map_err(Failure::from),
            Err(_) => Err(Failure::lost("the database did not answer in time")),
        };
        if matches!(answered, Err(Failure::Lost(_))) {
            self.give_up();
        }
        answered
    }
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
    ($($value:expr),* $(,)?) => { &[$($crate::postgres::connect::bound(&$value)),*] };
}
pub(super) use params;
