//! The address of a PostgreSQL database, as a setting.

use respoke_store::{Dsn, DsnError};
use respoke_wire::body::REDACTED;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The address of a PostgreSQL database. Shows without its password wherever settings are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl(pub Dsn);

impl DatabaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self, DsnError> {
        Dsn::parse(text).map(Self)
    }
}

/// One with a password is not shown at all: read back, what is shown in the password's place would become the password.
impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.has_password() { serializer.serialize_str(REDACTED) } else { serializer.collect_str(&self.0) }
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parsed = Self::parse(&String::deserialize(deserializer)?);
        parsed.map_err(|error| serde::de::Error::custom(format_args!("cannot be used: {error}")))
    }
}
