//! Operations that another transaction keeps waiting by a lock of its own: they wait aside, so that nobody waits behind them.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::{Job, QUEUE_LEN_MAX, Work, refuse};
use crate::postgres::failure::Failure;
use crate::postgres::tries::Undone;

/// After how long they are tried again. Whoever ends something has its lock for a few milliseconds.
const PAUSE: Duration = Duration::from_millis(10);

/// Those that wait aside, with whom they were put there first in front.
pub(super) struct Held<W: Work> {
    jobs: VecDeque<Job<W>>,
    again_at: Instant,
}

impl<W: Work> Default for Held<W> {
    fn default() -> Self {
        Self { jobs: VecDeque::new(), again_at: Instant::now() }
    }
}

impl<W: Work> Held<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Has some wait aside. Those for whom there is no room are refused.
    pub(super) fn put(&mut self, mut jobs: Vec<Job<W>>) {
        if jobs.is_empty() {
            return;
        }
        let room = QUEUE_LEN_MAX.saturating_sub(self.jobs.len());
        let surplus = jobs.split_off(room.min(jobs.len()));
        refuse(surplus, Undone::NothingWritten(Failure::Overloaded));
        self.jobs.extend(jobs);
        self.again_at = Instant::now() + PAUSE;
    }

    /// Waits until they are to be tried again; for ever if there are none.
    pub(super) async fn due(&self) {
        if self.jobs.is_empty() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.again_at).await;
    }

    /// Takes some, those that wait the longest.
    pub(super) fn take(&mut self, most: usize) -> Vec<Job<W>> {
        self.jobs.drain(..most.min(self.jobs.len())).collect()
    }
}
