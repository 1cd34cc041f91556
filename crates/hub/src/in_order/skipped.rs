//! What was waited for no longer before the store was asked, because too much waited.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use respoke_core::clock::Timestamp;
use respoke_core::message::KEPT_BETWEEN_MAX;
use tokio::time::Instant;

/// Gaps that are remembered of a group. The store is asked for one at a time.
const GAPS_MAX: usize = 16;

/// Gaps in what was handed out of a group. What the store has of them is handed out late.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    gaps: VecDeque<Gap>,
}

#[derive(Debug)]
struct Gap {
    /// What has not come yet; of a long one the last that the store tells at a time.
    missing: BTreeSet<u64>,
    /// The message behind it, and its instant.
    end: (u64, Timestamp),
    since: Instant,
}

impl Skipped {
    /// These offsets were skipped for a message with the next offset.
    pub(super) fn add(&mut self, offsets: Range<u64>, at: Timestamp) {
        let first = offsets.end.saturating_sub(KEPT_BETWEEN_MAX).max(offsets.start);
        let (missing, end) = ((first..offsets.end).collect(), (offsets.end, at));
        self.gaps.push_back(Gap { missing, end, since: Instant::now() });
        if self.gaps.len() > GAPS_MAX {
            self.gaps.pop_front();
        }
    }

    /// This one came. True: it was skipped.
    pub(super) fn came(&mut self, offset: u64) -> bool {
        let was_skipped = self.gaps.iter_mut().any(|gap| gap.missing.remove(&offset));
        self.gaps.retain(|gap| !gap.missing.is_empty());
        was_skipped
    }

    /// The store was asked for these.
    pub(super) fn were_asked_for(&mut self, offsets: Range<u64>) {
        self.gaps.retain(|gap| gap.missing.first().is_none_or(|first| !offsets.contains(first)));
    }

    pub(super) fn forget(&mut self) {
        self.gaps.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Since when the first gap is there.
    pub(super) fn since(&self) -> Option<Instant> {
        self.gaps.front().map(|gap| gap.since)
    }

    /// The first gap: its first offset, and the message behind it.
    pub(super) fn first(&self) -> Option<(u64, (u64, Timestamp))> {
        let gap = self.gaps.front()?;
        Some((*gap.missing.first()?, gap.end))
    }
}
