//! How often what was not committed is tried again, and what is said of it in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use respoke_core::ports::StoreError;
use thiserror::Error;
use tokio::time::Instant;

use super::failure::Failure;

/// How often an operation is tried when others are in its way, or its connection is lost before it was to be committed.
const TRIES: u32 = 8;
/// For how long, so that callers hear in time that the database cannot be reached.
const TRIED_FOR: Duration = Duration::from_secs(5);

/// Why a transaction was not committed.
#[derive(Debug, Error)]
pub(super) enum Undone {
    #[error("nothing was written")]
    NothingWritten(#[source] Failure),
    #[error("a commit was asked for and not confirmed")]
    InDoubt(#[source] Failure),
}

impl Undone {
    /// What a commit that failed left.
    pub(super) fn of_commit(failure: Failure) -> Self {
        if failure.rolls_a_commit_back() { Self::NothingWritten(failure) } else { Self::InDoubt(failure) }
    }

    pub(super) fn told(self) -> StoreError {
        match self {
            Self::NothingWritten(failure) => failure.nothing_written(),
            Self::InDoubt(failure) => failure.in_doubt(),
        }
    }

    /// The same for each of many.
    pub(super) fn told_to_many(self) -> impl Fn() -> StoreError {
        let shared = Arc::new(self);
        move || match &*shared {
            Self::NothingWritten(Failure::Overloaded) => StoreError::Overloaded,
            Self::NothingWritten(Failure::Row(what)) => StoreError::Corrupt(what),
            Self::NothingWritten(_) => StoreError::Unavailable(Box::new(shared.clone())),
            Self::InDoubt(_) => StoreError::InDoubt(Box::new(shared.clone())),
        }
    }
}

/// How often it was tried, and since when.
pub(super) struct Tries {
    count: u32,
    since: Instant,
}

impl Default for Tries {
    fn default() -> Self {
        Self { count: 0, since: Instant::now() }
    }
}

impl Tries {
    /// Whether it is to be tried again; if not, why it was not done.
    pub(super) fn once_more(&mut self, undone: Undone, figures: &Figures) -> Result<(), Undone> {
        self.count += 1;
        let tried_enough = self.count >= TRIES || self.since.elapsed() >= TRIED_FOR;
        match &undone {
            Undone::NothingWritten(failure) if failure.may_pass() && !tried_enough => {
                figures.count_again(failure);
                Ok(())
            }
            Undone::NothingWritten(_) | Undone::InDoubt(_) => Err(undone),
        }
    }
}

/// What was tried again since the start.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Because another transaction was in the way.
    conflicts: AtomicU64,
    /// Because the connection was lost before a commit was asked for.
    losses: AtomicU64,
}

impl Figures {
    pub(super) fn count_again(&self, failure: &Failure) {
        let count = if matches!(failure, Failure::Lost(_)) { &self.losses } else { &self.conflicts };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
