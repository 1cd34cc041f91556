//! What happens maybe very often, and is told in the log seldom.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How often the same is told at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Counts something.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    all: u64,
    untold: u64,
    told: Option<Instant>,
}

impl Seldom {
    /// Counts so many more. If it is to be told now, how many came since it was told last.
    pub(crate) fn count(&self, more: u64) -> Option<u64> {
        let mut counted = self.0.lock();
        counted.all += more;
        counted.untold += more;
        let now = Instant::now();
        if counted.told.is_some_and(|told| now.duration_since(told) < TOLD_EVERY) {
            return None;
        }
        counted.told = Some(now);
        Some(std::mem::take(&mut counted.untold))
    }

    /// How many there were in all.
    pub(crate) fn all(&self) -> u64 {
        self.0.lock().all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_those_after_it_together() {
        let seldom = Seldom::default();
        assert_eq!((seldom.count(1), seldom.count(2), seldom.count(3)), (Some(1), None, None));
        tokio::time::advance(TOLD_EVERY).await;
        assert_eq!((seldom.count(1), seldom.count(1), seldom.all()), (Some(6), None, 8));
    }
}
