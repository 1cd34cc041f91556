//! How long PostgreSQL is waited for.

use std::time::Duration;

/// How long the server is waited for. Tests wait less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For each address that is connected to; twice that for all of them and the greeting.
    pub(crate) connect: Duration,
    /// For an answer to a statement.
    pub(crate) answer: Duration,
    /// For an answer to a commit: whoever gives up does not know what came of it.
    pub(crate) commit: Duration,
    /// For an operation that is tried again: callers hear in time that the database cannot be reached.
    pub(crate) again: Duration,
    /// For one's turn, where others come first.
    pub(crate) turn: Duration,
    /// Between two looks whether another one of the servers was promoted.
    pub(crate) others: Duration,
    /// After which the server notices that a connection is gone for which it still works.
    pub(crate) notice: Duration,
}

impl Patience {
    pub(super) const DEFAULT: Self = Self {
        connect: Duration::from_secs(3),
        answer: Duration::from_secs(5),
        commit: Duration::from_secs(10),
        again: Duration::from_secs(5),
        turn: Duration::from_secs(5),
        others: Duration::from_secs(3),
        notice: Duration::from_secs(2),
    };
}

impl Default for Patience {
    fn default() -> Self {
        Self::DEFAULT
    }
}
