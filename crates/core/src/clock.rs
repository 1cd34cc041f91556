//! Time as the rest of the program sees it: instants come from a [`Clock`], never from the system directly.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const ISO_MILLIS: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// An instant, UTC, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The instant `secs` seconds after the epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved by `secs` seconds; never overflows.
    #[must_use]
    pub const fn plus_secs(self, secs: i64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(1000)))
    }

    /// ISO 8601 text in UTC with milliseconds, as `2015-01-02T21:04:17.312Z`.
    ///
    /// # Source
    ///
    /// `createdAt` of the recorded answers (docs/protocol.md).
    #[must_use]
    pub fn to_iso(self) -> String {
        // Years outside 0..=9999 cannot come from a clock; they show as the epoch rather than fail.
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|at| at.format(ISO_MILLIS).ok())
            .unwrap_or_else(|| "1970-01-01T00:00:00.000Z".to_owned())
    }

    /// Reads an RFC 3339 time, or a number of seconds or milliseconds since the epoch.
    ///
    /// Numbers from 100,000,000,000 on are milliseconds (as seconds they would lie past the year 5000).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return Some(if number.abs() >= 100_000_000_000 { Self(number) } else { Self::from_secs(number) });
        }
        let at = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(Self)
    }
}

/// Where instants come from.
pub trait Clock: Send + Sync {
    /// The present instant. It may go backwards when an operator sets the clock.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the system clock is read")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is set; for tests.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows `at`.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(at.millis())))
    }

    /// Moves the clock, backwards too.
    pub fn advance_secs(&self, secs: i64) {
        self.0.fetch_add(secs * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_text_has_milliseconds_and_reads_back() {
        let at = Timestamp::from_millis(1_420_234_257_312);
        assert_eq!(at.to_iso(), "2015-01-02T21:30:57.312Z");
        assert_eq!(Timestamp::parse(&at.to_iso()), Some(at));
    }

    #[test]
    fn numbers_are_seconds_or_milliseconds() {
        assert_eq!(Timestamp::parse("1420234257"), Some(Timestamp::from_secs(1_420_234_257)));
        assert_eq!(Timestamp::parse("1420234257312"), Some(Timestamp::from_millis(1_420_234_257_312)));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
