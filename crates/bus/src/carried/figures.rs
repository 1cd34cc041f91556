//! What a bus over a carrier did, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of what a bus did, ever growing.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) sent_again: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) unknown: AtomicU64,
}

/// What a bus did since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusFigures {
    /// Items that were sent, once for each node that they went to.
    pub sent: u64,
    /// Frames that were sent again, because the other missed them.
    pub sent_again: u64,
    /// Items of other nodes that were handed on.
    pub received: u64,
    /// Gaps: what was lost for good.
    pub missed: u64,
    /// Items of other nodes of which something is of a kind that only another build knows.
    pub unknown: u64,
}

impl Counters {
    pub(super) fn count(of: &AtomicU64) {
        of.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> BusFigures {
        let read = |of: &AtomicU64| of.load(Ordering::Relaxed);
        BusFigures {
            sent: read(&self.sent),
            sent_again: read(&self.sent_again),
            received: read(&self.received),
            missed: read(&self.missed),
            unknown: read(&self.unknown),
        }
    }
}
