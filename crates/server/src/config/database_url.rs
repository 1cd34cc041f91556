//! The address of a PostgreSQL database, as a setting.

use respoke_store::{Dsn, DsnError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The address of a PostgreSQL database. Shows without its password wherever settings are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl(pub Dsn);

impl DatabaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self, DsnError> {
        Dsn::parse(text).map(Self)
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parsed = Self::parse(&String::deserialize(deserializer)?);
        parsed.map_err(|error| serde::de::Error::custom(format_args!("cannot be used: {error}")))
    }
}
