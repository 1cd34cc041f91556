//! What several nodes draw from the buckets that they have in common, an app's: each has a copy of the bucket, and tells the
//! others a few times a second what was drawn from its own.
//!
//! Nobody waits for that, and nothing is lent: a node that is silent costs nothing, and one that is cut off draws from its
//! own copy alone. What was drawn meanwhile is owed by all copies, so that over time all together draw what one would.
//!
//! A server that is alone tells nobody, and counts nothing here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use respoke_core::app::Rate;
use respoke_core::id::AppId;
use respoke_core::ports::{AppBucket, Drawn};
use respoke_hub::reach::Reach;

use super::bucket::Bucket;

/// Apps that are told of at once, so that it is one frame. What is more is told with the next.
pub(crate) const TOLD_AT_ONCE: usize = 2_000;

/// This node's copy of a bucket of an app.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) bucket: Bucket,
    app_id: AppId,
    of: AppBucket,
    rate: Rate,
    /// What was drawn here and not told.
    untold: AtomicU64,
}

impl Common {
    pub(super) fn new(app_id: AppId, of: AppBucket, rate: Rate) -> Self {
        Self { bucket: Bucket::new(rate, 1), app_id, of, rate, untold: AtomicU64::new(0) }
    }
}

/// What something holds of which others are to be told: once, until that is done.
#[derive(Debug)]
pub(super) struct Untold<T>(Mutex<Vec<Arc<T>>>);

impl<T> Default for Untold<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Untold<T> {
    pub(super) fn add(&self, one: &Arc<T>) {
        self.0.lock().push(one.clone());
    }

    /// Some of it, which is told by now.
    pub(super) fn take(&self) -> Vec<Arc<T>> {
        let mut untold = self.0.lock();
        // What waits for longest, first: else with more than that some would never be told.
        let first = untold.len().min(TOLD_AT_ONCE);
        untold.drain(..first).collect()
    }
}

impl Untold<Common> {
    /// Notes that one was drawn.
    pub(super) fn drew_one(&self, common: &Arc<Common>) {
        if common.untold.fetch_add(1, Ordering::Relaxed) == 0 {
            self.add(common);
        }
    }

    /// What is to be told now.
    pub(super) fn told(&self) -> Vec<Drawn> {
        let tell = |common: Arc<Common>| {
            let Common { app_id, of, rate, .. } = *common;
            Drawn { app_id, of, rate, amount: common.untold.swap(0, Ordering::Relaxed) }
        };
        self.take().into_iter().map(tell).collect()
    }
}

/// What was caused by an app here and not told.
#[derive(Debug)]
pub(super) struct UntoldReach {
    pub(super) app_id: AppId,
    is_noted: AtomicBool,
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl UntoldReach {
    pub(super) fn of(app_id: AppId) -> Self {
        Self { app_id, is_noted: AtomicBool::new(false), frames: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Adds to it. Whether it is to be told, which nobody noted yet.
    pub(super) fn add(&self, reach: Reach) -> bool {
        for (sum, part) in [(&self.frames, reach.frames), (&self.bytes, reach.bytes)] {
            let added = |sum: u64| Some(sum.saturating_add(part));
            // It always adds.
            let _ = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
        }
        !self.is_noted.swap(true, Ordering::AcqRel)
    }

    /// Takes it. Whoever adds from here on notes it again.
    pub(super) fn take(&self) -> Reach {
        self.is_noted.store(false, Ordering::SeqCst);
        let take = |sum: &AtomicU64| sum.swap(0, Ordering::AcqRel);
        Reach { frames: take(&self.frames), bytes: take(&self.bytes) }
    }
}

#[cfg(test)]
mod tests;
