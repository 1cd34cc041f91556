//! Operations that another transaction keeps waiting by a lock of its own: they wait aside, so that nobody waits behind them.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// After how long they are tried again. Whoever ends something has its lock for a few milliseconds.
const PAUSE: Duration = Duration::from_millis(10);

/// Those that wait aside, with whom they were put there first in front.
pub(super) struct Held<T> {
    jobs: VecDeque<T>,
    again_at: Instant,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { jobs: VecDeque::new(), again_at: Instant::now() }
    }
}

impl<T> Held<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Has some wait aside, `most` of them in all. Gives back those for whom there is no room.
    #[must_use]
    pub(super) fn put(&mut self, mut jobs: Vec<T>, most: usize) -> Vec<T> {
        if jobs.is_empty() {
            return jobs;
        }
        let room = most.saturating_sub(self.jobs.len());
        let surplus = jobs.split_off(room.min(jobs.len()));
        self.jobs.extend(jobs);
        self.again_at = Instant::now() + PAUSE;
        surplus
    }

    /// Waits until they are to be tried again; for ever if there are none.
    pub(super) async fn due(&self) {
        if self.jobs.is_empty() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.again_at).await;
    }

    /// Takes some, those that wait the longest.
    pub(super) fn take(&mut self, most: usize) -> Vec<T> {
        self.jobs.drain(..most.min(self.jobs.len())).collect()
    }
}
