//! Time as the rest of the program sees it: instants come from a [`Clock`], never from the system directly.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// An instant, UTC, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// What a date can be, in milliseconds since the epoch: the years 0 to 9999, which ISO 8601 text of four digits holds.
const DATES: RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

impl Timestamp {
    /// The instant `millis` milliseconds after the epoch, as somebody says it. None: no date can be that.
    #[must_use]
    pub fn of_millis(millis: i64) -> Option<Self> {
        DATES.contains(&millis).then_some(Self(millis))
    }

    /// The instant so many seconds or milliseconds after the epoch, as somebody says it. None: no date can be that.
    ///
    /// Numbers from 100,000,000,000 on are milliseconds (as seconds they would lie past the year 5000).
    #[must_use]
    pub fn of_number(number: i64) -> Option<Self> {
        Self::of_millis(if number.unsigned_abs() >= 100_000_000_000 { number } else { number * 1000 })
    }

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
    /// `createdAt` of the recorded answers (section 1.3 of docs/protocol.md).
    #[must_use]
    pub fn to_iso(self) -> String {
        self.iso().as_str().to_owned()
    }

    /// [`Self::to_iso`] without an allocation: answers hold several of these.
    #[must_use]
    pub fn iso(self) -> IsoText {
        // What no date can be comes from no clock and is not taken from anybody. Were it kept all the same, the nearest
        // date would say more than any other.
        let shown = Self(self.0.clamp(*DATES.start(), *DATES.end()));
        let at = OffsetDateTime::from_unix_timestamp(shown.secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let millis = shown.0.rem_euclid(1000);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |start: usize, len: usize, mut number: u32| {
            for digit in text[start..start + len].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, at.year().unsigned_abs());
        put(5, 2, u8::from(at.month()).into());
        put(8, 2, at.day().into());
        put(11, 2, at.hour().into());
        put(14, 2, at.minute().into());
        put(17, 2, at.second().into());
        put(20, 3, u32::try_from(millis).unwrap_or(0));
        IsoText(text)
    }

    /// Reads an RFC 3339 time, or a number of seconds or milliseconds since the epoch as [`Self::of_number`] does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return Self::of_number(number);
        }
        let at = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok().and_then(Self::of_millis)
    }
}

/// An instant as ISO 8601 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsoText([u8; 24]);

impl IsoText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Digits and punctuation; were it otherwise, no text would be better than a panic.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Where instants come from.
pub trait Clock: Send + Sync {
    /// The present instant. It may go backwards when an operator sets the clock.
    fn now(&self) -> Timestamp;

    /// The present instant for what is measured: it never goes backwards, whatever an operator does.
    fn monotonic(&self) -> Instant;

    /// Learns that it was `told` at the instant `at`, by a clock that others go by too. A clock that shows what a test says
    /// does not mind.
    fn correct(&self, _told: Timestamp, _at: Instant) {}
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

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// The system's clock, until somebody tells the time that others go by: from then on that one, kept by what is measured.
///
/// So nodes that share a database have one time, and whoever sets the clock of a machine changes nothing.
#[derive(Debug)]
pub struct CorrectedClock {
    began: Instant,
    /// What it was when this began, in milliseconds since the epoch. [`UNTOLD`]: nobody said.
    at_begin: AtomicI64,
}

const UNTOLD: i64 = i64::MIN;

impl Default for CorrectedClock {
    fn default() -> Self {
        Self { began: SystemClock.monotonic(), at_begin: AtomicI64::new(UNTOLD) }
    }
}

impl CorrectedClock {
    fn since_begin(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock for CorrectedClock {
    fn now(&self) -> Timestamp {
        match self.at_begin.load(Ordering::Relaxed) {
            UNTOLD => SystemClock.now(),
            at_begin => Timestamp(at_begin.saturating_add(self.since_begin(self.monotonic()))),
        }
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }

    fn correct(&self, told: Timestamp, at: Instant) {
        let at_begin = told.0.saturating_sub(self.since_begin(at));
        self.at_begin.store(at_begin, Ordering::Relaxed);
    }
}

/// A clock that stands still until it is set; for tests.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    shown: AtomicI64,
    begun: Instant,
    /// What it was moved forwards, in seconds: moved backwards, it is only set.
    passed_secs: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `at`.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        let (shown, passed_secs) = (AtomicI64::new(at.millis()), AtomicU64::new(0));
        Self(Arc::new(Hands { shown, begun: Instant::now(), passed_secs }))
    }

    /// Moves the clock, backwards too.
    pub fn advance_secs(&self, secs: i64) {
        self.0.shown.fetch_add(secs * 1000, Ordering::SeqCst);
        self.0.passed_secs.fetch_add(u64::try_from(secs).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.shown.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Instant {
        self.0.begun + Duration::from_secs(self.0.passed_secs.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_told_the_time_goes_on_from_there() {
        let clock = CorrectedClock::default();
        assert!((clock.now().millis() - SystemClock.now().millis()).abs() < 60_000, "nobody told it");
        let (told, at) = (Timestamp::from_secs(1_000), clock.monotonic() + Duration::from_secs(3));
        clock.correct(told, at);
        let now = clock.now().millis();
        assert!((997_000..999_999).contains(&now), "{now}");
    }

    #[test]
    fn iso_text_has_milliseconds_and_reads_back() {
        let at = Timestamp::from_millis(1_420_234_257_312);
        assert_eq!(at.to_iso(), "2015-01-02T21:30:57.312Z");
        assert_eq!(Timestamp::parse(&at.to_iso()), Some(at));
        assert_eq!(Timestamp::from_millis(-1).to_iso(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_secs(253_402_300_799).to_iso(), "9999-12-31T23:59:59.000Z");
        for (outside, nearest) in [
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "0000-01-01T00:00:00.000Z"),
            (253_402_300_800_000, "9999-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(outside).to_iso(), nearest);
        }
    }

    proptest::proptest! {
        #[test]
        fn iso_text_reads_back(millis in DATES) {
            let at = Timestamp::from_millis(millis);
            proptest::prop_assert_eq!(Timestamp::parse(at.iso().as_str()), Some(at));
        }

        #[test]
        fn what_is_taken_from_somebody_is_shown_as_it_is(number: i64, text in "-?[0-9]{1,20}|[0-9]{4}-1[0-2]-[0-2][1-9]T[01][0-9]:00:00[+-][01][0-9]:00") {
            for at in [Timestamp::parse(&text), Timestamp::of_number(number), Timestamp::of_millis(number)].into_iter().flatten() {
                proptest::prop_assert_eq!(Timestamp::parse(at.iso().as_str()), Some(at));
            }
        }
    }

    #[test]
    fn what_is_measured_never_goes_back() {
        let clock = ManualClock::at(Timestamp::from_secs(1_000));
        let begun = clock.monotonic();
        clock.advance_secs(10);
        clock.advance_secs(-1_000);
        assert_eq!((clock.now(), clock.monotonic() - begun), (Timestamp::from_secs(10), Duration::from_secs(10)));
        clock.advance_secs(1);
        assert_eq!((clock.now(), clock.monotonic() - begun), (Timestamp::from_secs(11), Duration::from_secs(11)));
    }

    #[test]
    fn numbers_are_seconds_or_milliseconds() {
        assert_eq!(Timestamp::parse("1420234257"), Some(Timestamp::from_secs(1_420_234_257)));
        assert_eq!(Timestamp::parse("1420234257312"), Some(Timestamp::from_millis(1_420_234_257_312)));
        for none in
            ["yesterday", "", "253402300800000", "-62167219200001", "9223372036854775807", "-9223372036854775808"]
        {
            assert_eq!(Timestamp::parse(none), None, "{none}");
        }
        assert_eq!(
            Timestamp::parse("253402300799999").map(Timestamp::to_iso).as_deref(),
            Some("9999-12-31T23:59:59.999Z")
        );
        assert_eq!(Timestamp::of_number(i64::MIN), None);
    }
}
