//! How a caller stands with its buckets.

use std::time::Duration;

use respoke_core::app::Rate;

/// What is left of the tightest bucket a request drew from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStatus {
    /// The bucket's rate.
    pub rate: Rate,
    /// Requests that could follow at once.
    pub remaining: u32,
}

impl RateStatus {
    /// Where nothing is limited.
    pub const UNLIMITED: Self = Self { rate: Rate { per_second: Rate::MAX, burst: Rate::MAX }, remaining: Rate::MAX };

    /// The limit as existing clients read it: they divide 1,000 by it.
    #[must_use]
    pub fn legacy_limit(&self) -> u32 {
        self.rate.per_second.clamp(1, 1_000)
    }
}

/// A bucket is empty.
#[derive(Clone, Copy, Debug)]
pub struct Limited {
    /// The empty bucket.
    pub rate_status: RateStatus,
    /// How long to wait for the next request.
    pub retry_after: Duration,
}

impl Limited {
    /// By an empty bucket of `rate`, for so many nanoseconds.
    pub(super) fn by(rate: Rate, wait: u64) -> Self {
        Self { rate_status: RateStatus { rate, remaining: 0 }, retry_after: Duration::from_nanos(wait) }
    }
}
