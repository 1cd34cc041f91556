//! Whether this node may go by what it knows.
//!
//! A process that was stopped, or a machine that slept, goes on without noticing. Meanwhile others may have declared it dead,
//! and told their clients so. So before it serves a request, and before it writes to a socket, it looks how long ago its
//! last beat was asked for that was confirmed, by a clock that goes on while everything stands.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use respoke_core::ports::FENCE;
use tokio::sync::watch;

/// How far this node's life is confirmed.
#[derive(Debug)]
pub(crate) struct Fence {
    /// When the last beat was asked for that was confirmed.
    confirmed: AtomicI64,
    /// When that was last asked for of which an answer came, or none in time.
    tried: AtomicI64,
    /// The others declared this node dead.
    is_broken: AtomicBool,
    /// Changes with each, for those who wait.
    beats: watch::Sender<()>,
}

/// An instant by the clock that never stops, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootTime(i64);

impl BootTime {
    /// The present.
    pub(crate) fn now() -> Self {
        #[cfg(target_os = "linux")]
        const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(CLOCK);
        Self(now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000))
    }

    /// Milliseconds since then.
    pub(crate) fn elapsed_millis(self) -> i64 {
        Self::now().0.saturating_sub(self.0)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is some seconds")]
const FENCE_MILLIS: i64 = FENCE.as_millis() as i64;

impl Fence {
    /// One of a life that was begun at the asking of `asked`.
    pub(crate) fn confirmed_at(asked: BootTime) -> Self {
        let confirmed = || AtomicI64::new(asked.0);
        Self {
            confirmed: confirmed(),
            tried: confirmed(),
            is_broken: AtomicBool::new(false),
            beats: watch::Sender::default(),
        }
    }

    /// A beat was confirmed that was asked for then.
    pub(crate) fn confirm(&self, asked: BootTime) {
        self.confirmed.fetch_max(asked.0, Ordering::SeqCst);
        self.tried(asked);
    }

    /// A beat was asked for then, and the database does not answer: nobody knows whether this node is dead to others.
    pub(crate) fn tried(&self, asked: BootTime) {
        self.tried.fetch_max(asked.0, Ordering::SeqCst);
        self.beats.send_replace(());
    }

    /// It is known that this node is dead to them.
    pub(crate) fn break_for_good(&self) {
        self.is_broken.store(true, Ordering::SeqCst);
    }

    /// Changes with each beat.
    pub(super) fn beats(&self) -> watch::Receiver<()> {
        self.beats.subscribe()
    }

    /// How long ago the last was asked for that was confirmed, in milliseconds.
    pub(crate) fn age_millis(&self) -> i64 {
        BootTime(self.confirmed.load(Ordering::SeqCst)).elapsed_millis()
    }

    /// Whether this node is dead to nobody.
    pub(crate) fn holds(&self) -> bool {
        !self.is_broken.load(Ordering::SeqCst) && self.age_millis() < FENCE_MILLIS
    }

    /// Whether this process has found out lately how it stands, and so was not stopped for long.
    pub(crate) fn is_awake(&self) -> bool {
        let tried = BootTime(self.tried.load(Ordering::SeqCst));
        !self.is_broken.load(Ordering::SeqCst) && tried.elapsed_millis() < FENCE_MILLIS
    }

    /// Waits until it has.
    pub(crate) async fn awake(&self) {
        let mut beats = self.beats.subscribe();
        while !self.is_awake() {
            // The sender is here.
            let _ = beats.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_process_that_was_stopped_waits_until_it_knows_how_it_stands() {
        let now = BootTime::now();
        let before = BootTime(now.0 - FENCE_MILLIS);
        let fence = Fence::confirmed_at(before);
        assert!(!fence.holds() && !fence.is_awake());
        let mut awake = std::pin::pin!(fence.awake());
        assert!(tokio::time::timeout(Duration::ZERO, awake.as_mut()).await.is_err());
        fence.tried(before);
        assert!(!fence.is_awake(), "an answer from before it was stopped tells nothing");
        fence.tried(now);
        awake.await;
        assert!(!fence.holds(), "nothing was confirmed");
        fence.confirm(now);
        assert!(fence.holds());
        fence.confirm(before);
        assert!(fence.holds(), "an answer that is late takes nothing back");
        fence.break_for_good();
        fence.confirm(now);
        assert!(!fence.holds() && !fence.is_awake());
    }
}
