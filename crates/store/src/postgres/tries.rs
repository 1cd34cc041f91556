//! How often what was not committed is tried again, and what is said of it in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use respoke_core::chance::Chance;
use respoke_core::ports::StoreError;
use thiserror::Error;
use tokio::time::Instant;

use super::failure::Failure;
use super::patience::Patience;
use crate::writer_figures::{Again, Committed, WriterFigures};

/// How often an operation is tried when others are in its way. One whose connection is lost before it was to be committed is tried
/// until its time is over, so that a server that starts anew within a few seconds is still found.
const TRIES: u32 = 8;
/// The pause before the second try; it doubles. Those that were in each other's way do not meet again.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest one behind another transaction, which takes milliseconds.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// The longest one behind a loss.
const PAUSE_LOST_MAX: Duration = Duration::from_millis(500);

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
            Self::NothingWritten(failure) if failure.is_of_bad_text() => StoreError::BadText(Box::new(shared.clone())),
            Self::NothingWritten(_) => StoreError::Unavailable(Box::new(shared.clone())),
            Self::InDoubt(_) => StoreError::InDoubt(Box::new(shared.clone())),
        }
    }
}

/// How often it was tried, and until when it may be.
pub(super) struct Tries {
    /// Those that ended because another transaction was in the way.
    conflicts: u32,
    /// Those that ended with a loss, since the last one that did not.
    losses: u32,
    until: Instant,
}

impl Tries {
    pub(super) fn within(patience: Patience) -> Self {
        Self { conflicts: 0, losses: 0, until: Instant::now() + patience.again }
    }

    /// Waits for the next try, and returns so that it be tried again; or says why it was not done.
    pub(super) async fn once_more(
        &mut self,
        undone: Undone,
        chance: &dyn Chance,
        figures: &Figures,
    ) -> Result<(), Undone> {
        let left = self.until.saturating_duration_since(Instant::now());
        match &undone {
            Undone::NothingWritten(failure) if failure.may_pass() && !left.is_zero() => {
                let Some(pause) = self.pause_behind(failure) else { return Err(undone) };
                figures.count_again(failure);
                // The last try is when the time is over.
                tokio::time::sleep(part_of(pause, chance).min(left)).await;
                Ok(())
            }
            Undone::NothingWritten(_) | Undone::InDoubt(_) => Err(undone),
        }
    }

    /// How long to wait at most before the next try. None: it was tried enough.
    fn pause_behind(&mut self, failure: &Failure) -> Option<Duration> {
        let (before, longest) = if failure.is_a_loss() {
            self.losses += 1;
            (self.losses - 1, PAUSE_LOST_MAX)
        } else {
            self.losses = 0;
            self.conflicts += 1;
            if self.conflicts >= TRIES {
                return None;
            }
            (self.conflicts - 1, PAUSE_MAX)
        };
        Some(PAUSE_MIN.saturating_mul(2_u32.saturating_pow(before)).min(longest))
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

    pub(super) fn read(&self) -> WriterFigures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let again = Again { conflicts: read(&self.conflicts), losses: read(&self.losses) };
        WriterFigures { again, ..self.committed.read() }
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::chance::SystemChance;

    use super::*;

    fn lost() -> Undone {
        Undone::NothingWritten(Failure::lost("a test"))
    }

    fn in_the_way() -> Undone {
        Undone::NothingWritten(Failure::Again("a test".into()))
    }

    /// When each try was made, in a time that passes by itself, until it is given up.
    async fn tries(undone: impl Fn(usize) -> Undone) -> Vec<Duration> {
        let (since, figures) = (Instant::now(), Figures::default());
        let (mut tries, mut made) = (Tries::within(Patience::default()), vec![Duration::ZERO]);
        while tries.once_more(undone(made.len()), &SystemChance, &figures).await.is_ok() {
            made.push(since.elapsed());
        }
        let counted = figures.losses.load(Ordering::Relaxed) + figures.conflicts.load(Ordering::Relaxed);
        assert_eq!(counted, made.len() as u64 - 1, "each further try is counted");
        made
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_is_tried_until_its_time_is_over() {
        let made = tries(|_| lost()).await;
        let again = Patience::default().again;
        assert!(
            *made.last().unwrap() >= again && *made.last().unwrap() < again + Duration::from_millis(10),
            "{made:?}"
        );
        for pair in made.windows(2) {
            assert!(
                pair[1].saturating_sub(pair[0]) <= PAUSE_LOST_MAX + Duration::from_millis(10),
                "no gap is longer: {made:?}"
            );
        }
        assert!((10..40).contains(&made.len()), "{made:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_are_in_the_way_of_is_tried_so_often() {
        assert_eq!(tries(|_| in_the_way()).await.len(), TRIES as usize);
        // Losses between them use none of these up.
        let made = tries(|nth| if nth % 2 == 0 { in_the_way() } else { lost() }).await;
        assert_eq!(made.len(), 2 * TRIES as usize);
    }
}
