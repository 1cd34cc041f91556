//! What can go wrong with PostgreSQL, by what is to be done about it.

use std::error::Error;

use respoke_core::ports::StoreError;
use thiserror::Error;
use tokio_postgres::error::{Severity, SqlState};

/// What went wrong with a statement.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// Another transaction was in the way: the same again may succeed. Nothing was written.
    #[error("another transaction was in the way")]
    Again(#[source] Box<dyn Error + Send + Sync>),
    /// The connection is of no use any more, or leads to a server that must not be written to.
    #[error("the connection to the database was lost")]
    Lost(#[source] Box<dyn Error + Send + Sync>),
    /// Too many wait for a connection.
    #[error("too many wait for a connection to the database")]
    Overloaded,
    /// The server refused the statement, and would again.
    #[error("the database refused a statement")]
    Refused(#[source] tokio_postgres::Error),
    /// A row holds what this program never writes.
    #[error("the database holds a damaged row: {0}")]
    Row(&'static str),
}

/// The keys of which the other's object is found when two make one at once.
const KEYS: [&str; 2] = ["idempotency_pkey", "said_pkey"];

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            // What a value could not be read as is found by its kind alone, which is not told otherwise.
            let of_a_value = error.source().is_some_and(|source| !source.is::<std::io::Error>());
            return if of_a_value && !error.is_closed() {
                Self::Row("a column holds what it never should")
            } else {
                Self::Lost(Box::new(error))
            };
        };
        // The server ends the connection, or ends itself: of a commit that it could not flush, it may find the rest later.
        if matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) {
            return Self::Lost(Box::new(error));
        }
        let code = said.code();
        if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED {
            return Self::Again(Box::new(error));
        }
        if *code == SqlState::UNIQUE_VIOLATION && said.constraint().is_some_and(|name| KEYS.contains(&name)) {
            return Self::Again(Box::new(error));
        }
        // Read-only (a primary that was demoted), the server ends or starts, or a pooler lost it.
        let gone = *code == SqlState::READ_ONLY_SQL_TRANSACTION
            || code.code().starts_with("57P")
            || code.code().starts_with("08");
        if gone { Self::Lost(Box::new(error)) } else { Self::Refused(error) }
    }
}

impl Failure {
    /// A loss of the connection that is noticed here.
    pub(super) fn lost(why: &'static str) -> Self {
        Self::Lost(why.into())
    }

    /// Whether the same may succeed if it is tried again, perhaps on another connection.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Again(_) | Self::Lost(_))
    }

    /// Whether it is known, if this came of a commit, that the transaction was rolled back: for a constraint that is checked at
    /// its end, another transaction that was in the way, or because it had failed before. Whatever else is said of a commit
    /// does not tell what is on disk.
    pub(super) fn rolls_a_commit_back(&self) -> bool {
        const KNOWN: [&str; 3] = ["23", "25", "40"];
        match self {
            Self::Again(_) => true,
            Self::Refused(error) => error.code().is_some_and(|code| KNOWN.contains(&&code.code()[..2])),
            Self::Lost(_) | Self::Overloaded | Self::Row(_) => false,
        }
    }

    /// Whether another held a row, or a lock of another kind, for longer than was to be waited.
    pub(super) fn is_of_a_held_row(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }

    /// What is said of it where nothing was written.
    pub(super) fn nothing_written(self) -> StoreError {
        match self {
            Self::Overloaded => StoreError::Overloaded,
            Self::Row(what) => StoreError::Corrupt(what),
            Self::Lost(_) | Self::Again(_) | Self::Refused(_) => StoreError::Unavailable(Box::new(self)),
        }
    }

    /// What is said of it where a commit was asked for and not answered.
    pub(super) fn in_doubt(self) -> StoreError {
        StoreError::InDoubt(Box::new(self))
    }
}
