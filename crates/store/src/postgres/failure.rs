//! What can go wrong with PostgreSQL, by what is to be done about it.

use std::error::Error;

use respoke_core::ports::StoreError;
use thiserror::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

/// What went wrong with a statement.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// Another transaction was in the way: the same again may succeed. Nothing was written.
    #[error("another transaction was in the way")]
    Again(#[source] Box<dyn Error + Send + Sync>),
    /// The connection is of no use any more, or leads to a server that must not be written to.
    #[error("the connection to the database was lost")]
    Lost(#[source] Box<dyn Error + Send + Sync>),
    /// The server did not answer in time. What it does with the statement, nobody knows; the same again would be done beside it.
    #[error("the database did not answer in time")]
    Unanswered,
    /// A statement of the transaction failed, and nobody rolled it back: it is not committed.
    #[error("a statement had failed of a transaction that was to be committed")]
    Failed,
    /// The store takes nothing any more.
    #[error("the store is closed")]
    Closed,
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

    /// Whether the connection is of no use any more.
    pub(super) const fn is_a_loss(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Unanswered)
    }

    /// The same, as a reason to leave the connection.
    pub(super) fn into_loss(self) -> Self {
        match self {
            Self::Refused(error) => Self::Lost(Box::new(error)),
            Self::Row(what) => Self::lost(what),
            other => other,
        }
    }

    /// Whether the same may succeed if it is tried again, perhaps on another connection.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Again(_) | Self::Lost(_))
    }

    /// Whether it is known, if this came of a commit, that the transaction was rolled back: for a constraint that is checked at
    /// its end, another transaction that was in the way, or because it had failed before. Whatever else is said of a commit
    /// does not tell what is on disk; one code of those that tell of a roll-back says just that.
    pub(super) fn rolls_a_commit_back(&self) -> bool {
        match self {
            Self::Again(_) | Self::Failed => true,
            Self::Refused(error) => is_known_of_a_commit(error),
            Self::Lost(_) | Self::Unanswered | Self::Closed | Self::Overloaded | Self::Row(_) => false,
        }
    }

    /// Whether others held a row, or locks of another kind, for longer than was to be waited for one, or for all of a statement's.
    pub(super) fn is_of_a_held_row(&self) -> bool {
        let of_time = [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED];
        matches!(self, Self::Refused(error) if error.code().is_some_and(|code| of_time.contains(code)))
    }

    /// Whether others held a row for longer than was to be waited for it. That a statement took too long may have another reason.
    pub(super) fn is_of_one_held_row(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }

    /// Whether the server cannot keep a text that it was given. Texts are looked at before they come here, so that this is the last
    /// to notice one. The same again would be refused again.
    pub(super) fn is_of_bad_text(&self) -> bool {
        matches!(self, Self::Refused(error) if is_of_bad_text(error))
    }

    /// What is said of it where nothing was written.
    pub(super) fn nothing_written(self) -> StoreError {
        match self {
            Self::Overloaded => StoreError::Overloaded,
            Self::Row(what) => StoreError::Corrupt(what),
            Self::Refused(error) if is_of_bad_text(&error) => StoreError::BadText(Box::new(error)),
            Self::Lost(_) | Self::Unanswered | Self::Failed | Self::Closed | Self::Again(_) | Self::Refused(_) => {
                StoreError::Unavailable(Box::new(self))
            }
        }
    }

    /// What is said of it where a commit was asked for and not answered.
    pub(super) fn in_doubt(self) -> StoreError {
        StoreError::InDoubt(Box::new(self))
    }
}

/// Whether the server says of a commit by a code that it was rolled back.
fn is_known_of_a_commit(error: &tokio_postgres::Error) -> bool {
    const KNOWN: [&str; 3] = ["23", "25", "40"];
    error
        .code()
        .is_some_and(|code| KNOWN.contains(&&code.code()[..2]) && *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN)
}

/// The same of one who has no [`Failure`]: a server that ends the connection says nothing of the commit.
pub(crate) fn rolls_a_commit_back(error: &tokio_postgres::Error) -> bool {
    let goes_on = |said: &DbError| !matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
    error.as_db_error().is_some_and(goes_on) && is_known_of_a_commit(error)
}

fn is_of_bad_text(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::CHARACTER_NOT_IN_REPERTOIRE)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use std::sync::Arc;

    use super::*;
    use crate::postgres::connect::{Connection, Patience};
    use crate::postgres::fake_server::{FakeServer, Said};
    use crate::postgres::tries::Undone;

    /// What is made of what a server says.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kind {
        Again,
        Lost,
        Refused,
    }
    use Kind::{Again, Lost, Refused};

    /// A code, of which constraint, with which severity; what that is, and whether a commit that failed by it is known to be
    /// rolled back.
    const SAID: [(&str, &str, &str, Kind, bool); 25] = [
        ("40001", "", "ERROR", Again, true),
        ("40P01", "", "ERROR", Again, true),
        ("40002", "", "ERROR", Refused, true),
        ("40003", "", "ERROR", Refused, false),
        ("23505", "idempotency_pkey", "ERROR", Again, true),
        ("23505", "said_pkey", "ERROR", Again, true),
        ("23505", "log_pkey", "ERROR", Refused, true),
        ("23503", "log_pkey", "ERROR", Refused, true),
        ("25P02", "", "ERROR", Refused, true),
        ("55P03", "", "ERROR", Refused, false),
        ("57014", "", "ERROR", Refused, false),
        ("22021", "", "ERROR", Refused, false),
        ("53100", "", "ERROR", Refused, false),
        ("58030", "", "ERROR", Refused, false),
        ("XX000", "", "ERROR", Refused, false),
        // It could not flush its log: what it wrote, it may find again.
        ("58030", "", "PANIC", Lost, false),
        ("53100", "", "PANIC", Lost, false),
        ("40001", "", "FATAL", Lost, false),
        ("25P03", "", "FATAL", Lost, false),
        ("53300", "", "FATAL", Lost, false),
        ("57P01", "", "FATAL", Lost, false),
        ("57P03", "", "ERROR", Lost, false),
        ("08006", "", "ERROR", Lost, false),
        ("08P01", "", "ERROR", Lost, false),
        ("25006", "", "ERROR", Lost, false),
    ];

    fn kind(failure: &Failure) -> Kind {
        match failure {
            Failure::Again(_) => Again,
            Failure::Lost(_) => Lost,
            Failure::Refused(_) => Refused,
            other => panic!("{other:?}"),
        }
    }

    /// A connection to a server that says the same to each statement of a test's own, as is told to it.
    async fn connected() -> (FakeServer, Connection, Arc<Mutex<Said>>) {
        let said = Arc::new(Mutex::new(Said::Done));
        let saying = said.clone();
        let server = FakeServer::start(move |_| *saying.lock()).await;
        let connection = server.connector(Patience::default()).connect().await.unwrap();
        (server, connection, said)
    }

    #[tokio::test]
    async fn what_a_server_says_is_what_is_to_be_done_about_it() {
        for (code, constraint, severity, expected, _) in SAID {
            let (_server, connection, said) = connected().await;
            *said.lock() = Said::Failed { severity, code, constraint };
            let failure = connection.batch("DO").await.unwrap_err();
            assert_eq!(kind(&failure), expected, "{severity} {code} {constraint}");
            assert_eq!(connection.is_broken(), expected == Lost, "{severity} {code} {constraint}");
        }
    }

    #[tokio::test]
    async fn a_commit_is_told_as_undone_only_where_that_is_known() {
        for (code, constraint, severity, _, is_known) in SAID {
            let (_server, connection, said) = connected().await;
            connection.begin("").await.unwrap();
            *said.lock() = Said::Failed { severity, code, constraint };
            let undone = Undone::of_commit(connection.commit().await.unwrap_err());
            let told = matches!(undone, Undone::NothingWritten(_));
            assert_eq!(told, is_known, "{severity} {code} {constraint}");
        }
        let (_server, connection, said) = connected().await;
        connection.begin("").await.unwrap();
        *said.lock() = Said::Nothing;
        let undone = Undone::of_commit(connection.commit().await.unwrap_err());
        assert!(matches!(undone, Undone::InDoubt(Failure::Lost(_))), "{undone:?}");
    }

    #[tokio::test]
    async fn a_text_that_cannot_be_kept_is_no_reason_to_try_again() {
        let (_server, connection, said) = connected().await;
        *said.lock() = Said::Failed { severity: "ERROR", code: "22021", constraint: "" };
        let undone = async || Undone::NothingWritten(connection.batch("DO").await.unwrap_err());
        assert!(matches!(undone().await.told(), StoreError::BadText(_)));
        assert!(matches!(undone().await.told_to_many()(), StoreError::BadText(_)));
    }

    #[tokio::test]
    async fn what_failed_is_not_committed_though_the_server_would_answer_it() {
        let (_server, connection, said) = connected().await;
        connection.begin("").await.unwrap();
        *said.lock() = Said::Failed { severity: "ERROR", code: "22012", constraint: "" };
        connection.batch("DO").await.unwrap_err();
        *said.lock() = Said::Done;
        let undone = Undone::of_commit(connection.commit().await.unwrap_err());
        assert!(matches!(undone, Undone::NothingWritten(Failure::Failed)), "{undone:?}");
        connection.roll_back().await.unwrap();
        connection.begin("").await.unwrap();
        connection.commit().await.unwrap();
    }
}
