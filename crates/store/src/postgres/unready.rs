//! Why a database cannot be used at a start.

use std::error::Error;

use respoke_core::ports::StoreError;
use thiserror::Error;

/// Why a database cannot be used at a start.
#[derive(Debug, Error)]
pub(super) enum Unready {
    #[error("it cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    #[error(
        "the server asks for a password, and none was given: put it into ~/.pgpass or a file that PGPASSFILE names, for this host, port, \
         database and user"
    )]
    NoPassword,
    #[error(
        "it is only read from: a standby, or default_transaction_read_only is on; name the server that is written to, alone or beside \
         this one"
    )]
    ReadOnly,
    #[error("PostgreSQL refused (SQLSTATE {code}): {message}{advice}")]
    Refused { code: String, message: String, advice: &'static str },
    #[error("its schema {of} was made by a newer respoked; this one knows {known}")]
    Newer { of: usize, known: usize },
    #[error("{0}")]
    Marked(String),
    #[error(
        "it has no schema respoked, and the role {role} may not make it: run `respoked migrate --grant-to {role}` as a role \
         that may create schemas there"
    )]
    Absent { role: String },
    #[error(
        "it has schema {of} and this respoked needs {known}, which the role {role} may not make: run `respoked migrate` as the \
         role that owns it"
    )]
    Older { of: usize, known: usize, role: String },
    #[error("it has schema {of} and this respoked needs {known}: start the server, or run `respoked migrate`")]
    Unmigrated { of: usize, known: usize },
    #[error(
        "the role {role} may not use {what} of its schema: run `respoked migrate --grant-to {role}` as the role that owns it"
    )]
    NoRights { role: String, what: String },
}

impl From<Unready> for StoreError {
    fn from(unready: Unready) -> Self {
        Self::Unavailable(Box::new(unready))
    }
}
