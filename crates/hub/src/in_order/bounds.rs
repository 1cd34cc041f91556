//! How long and how much waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a message waits for the one before it: longer than a carrier takes that is well, and not felt yet.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How long the store is waited for. What should have been asked for longer ago is given up.
pub(crate) const READ_WITHIN: Duration = Duration::from_secs(1);
/// How long the answer to whoever says something kept waits for what was kept before it: until the store is asked, then for its
/// turn, and for what the store says. If the store was being asked already, or who asks had to be started anew, it may take longer
/// until it is handed out. Then the answer comes before.
pub(super) const HANDED_OUT_WITHIN: Duration = PATIENCE.saturating_add(READ_WITHIN).saturating_add(READ_WITHIN);
/// Messages of one group that wait, and of one sender behind one. With one more nothing is waited for any longer.
pub(super) const WAITING_MAX: usize = 64;
/// The same in all, and what they take: some megabytes.
pub(super) const WAITING_IN_ALL_MAX: usize = 4_096;
pub(super) const BYTES_IN_ALL_MAX: usize = 8 << 20;
/// What waited, and is handed out before others get their turn: as much as waits in one group and behind one sender. With the last
/// of it all that one group holds may go.
pub(super) const AT_ONCE: usize = 2 * WAITING_MAX;
/// Groups of which the store is asked at a time.
pub(super) const ASKED_AT_ONCE: usize = 4;
/// How late something may come that the store gave before, or that was sent to who left: a sender keeps what it said to a group
/// for ten seconds, and what it sent for five.
pub(super) const LATE: Duration = Duration::from_secs(15);
/// Groups that are remembered after everybody left: some hundred bytes each, and what the store gave of them a moment ago.
pub(super) const LEFT_MAX: usize = 8_192;

/// How much waits: what is early, what is said behind it, and the lines of that.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) count: AtomicUsize,
    pub(super) bytes: AtomicUsize,
}

impl Load {
    pub(super) fn add(&self, bytes: usize) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn take(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// Takes it when what this returns is dropped: also by a panic.
    pub(super) const fn until_dropped(&self, bytes: usize) -> UntilDropped<'_> {
        UntilDropped { load: self, bytes }
    }

    pub(super) fn is_too_much(&self) -> bool {
        self.count.load(Ordering::Relaxed) > WAITING_IN_ALL_MAX || self.bytes.load(Ordering::Relaxed) > BYTES_IN_ALL_MAX
    }
}

/// Something that does not wait any more when this is dropped.
pub(super) struct UntilDropped<'a> {
    load: &'a Load,
    bytes: usize,
}

impl Drop for UntilDropped<'_> {
    fn drop(&mut self) {
        self.load.take(self.bytes);
    }
}
