//! How often what was not committed is tried again, and what is said of it in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use respoke_core::chance::Chance;
use respoke_core::ports::StoreError;
use thiserror::Error;
use tokio::time::Instant;

use super::connect::Patience;
use super::failure::Failure;
use crate::writer_figures::Committed;

/// How often an operation is tried when others are in its way, or its connection is lost before it was to be committed.
const TRIES: u32 = 8;
/// The pause before the second try; it doubles. Those that were in each other's way do not meet again, and a server that starts
/// anew within a few seconds is still found.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest one behind another transaction, which takes milliseconds.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// The longest one behind a loss.
const PAUSE_LOST_MAX: Duration = Duration::from_secs(1);

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

/// How often it was tried, and until when it may be.
pub(super) struct Tries {
    count: u32,
    until: Instant,
}

impl Tries {
    pub(super) fn within(patience: Patience) -> Self {
        Self { count: 0, until: Instant::now() + patience.again }
    }

    /// Waits for the next try, and returns so that it be tried again; or says why it was not done.
    pub(super) async fn once_more(
        &mut self,
        undone: Undone,
        chance: &dyn Chance,
        figures: &Figures,
    ) -> Result<(), Undone> {
        self.count += 1;
        let tried_enough = self.count >= TRIES || Instant::now() >= self.until;
        match &undone {
            Undone::NothingWritten(failure) if failure.may_pass() && !tried_enough => {
                figures.count_again(failure);
                let longest = if failure.is_a_loss() { PAUSE_LOST_MAX } else { PAUSE_MAX };
                let pause = (PAUSE_MIN * (1 << (self.count - 1))).min(longest);
                tokio::time::sleep(part_of(pause, chance)).await;
                Ok(())
            }
            Undone::NothingWritten(_) | Undone::InDoubt(_) => Err(undone),
        }
    }
}

/// A pause of half its length at least, so that no two who failed together come back together.
pub(super) fn part_of(pause: Duration, chance: &dyn Chance) -> Duration {
    let [part] = chance.bytes::<1>();
    pause.mul_f32(0.5 + f32::from(part) / 512.0)
}

/// What was written since the start, and what was tried again.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// By the writers.
    pub(super) committed: Committed,
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
