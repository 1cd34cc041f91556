//! Figures over time: counted as requests are answered, put together once a minute.
//!
//! Counting a request takes a shared lock and a few relaxed additions. The last hour is kept here by the minute; the
//! store keeps longer stretches, for which it gets one small write a minute. What was counted since the last minute is
//! lost if the process is killed; what a failed write left is written with the next.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use respoke_core::clock::Timestamp;
use respoke_core::code::Code;
use respoke_core::figures::{Figures, LATENCY_CLASSES, MINUTE_SECS, latency_class, start_of};
use respoke_core::id::AppId;

use crate::deed::Deed;

/// For how many seconds minutes are kept here.
pub(crate) const HOUR_SECS: i64 = 3_600;
/// How many they are.
const MINUTES_KEPT: usize = 60;
/// Apps counted by themselves at once; further ones are counted in the whole only, until a minute passes in which one of
/// these does nothing.
const APPS_MAX: usize = 500;
/// Minutes that wait to be written while the store fails. Half a day of them takes a few megabytes.
const UNSAVED_MAX: usize = 720;
/// What is counted, and has not been put together.
struct Counters {
    requests: AtomicU64,
    /// In the order of [`Deed`].
    deeds: [AtomicU64; Deed::KINDS],
    /// In the order of [`Code::ALL`].
    refused: Box<[AtomicU64]>,
    latencies: [AtomicU64; LATENCY_CLASSES],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            deeds: [const { AtomicU64::new(0) }; Deed::KINDS],
            refused: Code::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            latencies: [const { AtomicU64::new(0) }; LATENCY_CLASSES],
        }
    }
}

impl Counters {
    fn count(&self, deed: Option<Deed>, refused: Option<Code>, class: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.latencies[class].fetch_add(1, Ordering::Relaxed);
        if let Some(deed) = deed {
            self.happened(deed);
        }
        if let Some(code) = refused {
            self.refused(code);
        }
    }

    fn refused(&self, code: Code) {
        self.refused[code as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn happened(&self, deed: Deed) {
        self.deeds[deed as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted; `read` says whether it is then counted anew.
    fn figures(&self, read: impl Fn(&AtomicU64) -> u64) -> Figures {
        let done = |deed: Deed| read(&self.deeds[deed as usize]);
        let refused: BTreeMap<_, _> = Code::ALL
            .iter()
            .zip(self.refused.iter())
            .map(|(code, count)| (code.word().to_owned(), read(count)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let requests = read(&self.requests);
        let latencies: Vec<u64> = self.latencies.iter().map(&read).collect();
        Figures {
            requests,
            minted: done(Deed::Minted),
            redeemed: done(Deed::Redeemed),
            messages: done(Deed::Message),
            publications: done(Deed::Publication),
            signals: done(Deed::Signal),
            turn_credentials: done(Deed::TurnCredentials),
            refused,
            latencies: if latencies.iter().any(|count| *count > 0) { latencies } else { Vec::new() },
            connections: 0,
            sessions: 0,
        }
    }

    fn peek(&self) -> Figures {
        self.figures(|count| count.load(Ordering::Relaxed))
    }

    fn take(&self) -> Figures {
        self.figures(|count| count.swap(0, Ordering::Relaxed))
    }
}

/// What was counted in a minute, of the whole and of each app that did something.
type Counted = Vec<(Option<AppId>, Figures)>;

/// One minute that is over.
struct Minute {
    at: Timestamp,
    figures: HashMap<Option<AppId>, Figures>,
}

/// Figures of this node, over time.
pub(crate) struct Tally {
    whole: Counters,
    apps: RwLock<HashMap<AppId, Counters>>,
    /// The beginning of the present minute, in milliseconds since the epoch.
    since: AtomicI64,
    recent: Mutex<VecDeque<Minute>>,
    /// Minutes that the store does not have yet, oldest first.
    unsaved: Mutex<VecDeque<(Timestamp, Counted)>>,
}

impl Tally {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            whole: Counters::default(),
            apps: RwLock::default(),
            since: AtomicI64::new(start_of(now, MINUTE_SECS).millis()),
            recent: Mutex::default(),
            unsaved: Mutex::default(),
        }
    }

    /// Counts an answered request, which did `deed`.
    pub(crate) fn answered(&self, app: Option<AppId>, deed: Option<Deed>, refused: Option<Code>, took: Duration) {
        let class = latency_class(u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 1));
        self.whole.count(deed, refused, class);
        self.of_app(app, |counters| counters.count(deed, refused, class));
    }

    /// Counts a refusal that answered no request for an operation.
    pub(crate) fn refused(&self, app: Option<AppId>, code: Code) {
        self.whole.refused(code);
        self.of_app(app, |counters| counters.refused(code));
    }

    /// Counts what was done by no request that is counted: a page of the console mints too.
    pub(crate) fn happened(&self, app: Option<AppId>, deed: Deed) {
        self.whole.happened(deed);
        self.of_app(app, |counters| counters.happened(deed));
    }

    fn of_app(&self, app: Option<AppId>, count: impl Fn(&Counters)) {
        let Some(app) = app else { return };
        if let Some(counters) = self.apps.read().get(&app) {
            return count(counters);
        }
        let mut apps = self.apps.write();
        if apps.len() < APPS_MAX || apps.contains_key(&app) {
            count(apps.entry(app).or_default());
        }
    }

    /// What was counted since the present minute began, and when that was.
    pub(crate) fn present(&self, app: Option<AppId>) -> (Timestamp, Figures) {
        let figures = match app {
            None => self.whole.peek(),
            Some(app) => self.apps.read().get(&app).map(Counters::peek).unwrap_or_default(),
        };
        (Timestamp::from_millis(self.since.load(Ordering::Relaxed)), figures)
    }

    /// The minutes before the present one, oldest first; those in which nothing happened are left out.
    pub(crate) fn minutes(&self, app: Option<AppId>) -> Vec<(Timestamp, Figures)> {
        let recent = self.recent.lock();
        recent.iter().filter_map(|minute| Some((minute.at, minute.figures.get(&app)?.clone()))).collect()
    }

    /// Ends the present minute and begins another at `now`; says what was counted in it.
    pub(crate) fn turn_minute(
        &self,
        now: Timestamp,
        sessions: u64,
        connections: impl Fn(Option<AppId>) -> u64,
    ) -> (Timestamp, Counted) {
        let since = self.since.swap(start_of(now, MINUTE_SECS).millis(), Ordering::Relaxed);
        let at = Timestamp::from_millis(since);
        let mut counted = vec![(None, Figures { sessions, connections: connections(None), ..self.whole.take() })];
        // Nobody counts while the lock is held, so that nothing is counted into counters that go.
        self.apps.write().retain(|app, counters| {
            let figures = Figures { connections: connections(Some(*app)), ..counters.take() };
            let active = figures != Figures::default();
            if active {
                counted.push((Some(*app), figures));
            }
            active
        });
        let mut recent = self.recent.lock();
        if recent.len() >= MINUTES_KEPT {
            recent.pop_front();
        }
        recent.push_back(Minute { at, figures: counted.iter().cloned().collect() });
        drop(recent);
        let mut unsaved = self.unsaved.lock();
        if unsaved.len() >= UNSAVED_MAX {
            unsaved.pop_front();
        }
        unsaved.push_back((at, counted.clone()));
        (at, counted)
    }

    /// The oldest minute that the store does not have yet.
    pub(crate) fn oldest_unsaved(&self) -> Option<(Timestamp, Counted)> {
        self.unsaved.lock().front().cloned()
    }

    /// Notes that the store has the oldest one now.
    pub(crate) fn oldest_is_saved(&self) {
        self.unsaved.lock().pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn answered(tally: &Tally, app: Option<AppId>, deed: Option<Deed>, code: Option<Code>) {
        tally.answered(app, deed, code, Duration::from_millis(1));
    }

    #[test]
    fn what_happens_is_counted_for_its_app_and_for_the_whole() {
        let tally = Tally::new(NOW);
        let (one, two) = (AppId::random(), AppId::random());
        answered(&tally, Some(one), Some(Deed::Minted), None);
        answered(&tally, Some(one), None, Some(Code::Forbidden));
        answered(&tally, Some(two), Some(Deed::Publication), None);
        answered(&tally, None, None, Some(Code::TokenRefused));
        tally.happened(Some(two), Deed::TurnCredentials);
        let (since, whole) = tally.present(None);
        assert_eq!(since, start_of(NOW, 60));
        assert_eq!((whole.requests, whole.minted, whole.publications, whole.turn_credentials), (4, 1, 1, 1));
        assert_eq!(whole.refused, BTreeMap::from([("forbidden".into(), 1), ("token_refused".into(), 1)]));
        assert_eq!(whole.latencies.iter().sum::<u64>(), 4);
        let (_, own) = tally.present(Some(one));
        assert_eq!((own.requests, own.minted, own.redeemed), (2, 1, 0));
        assert_eq!(tally.present(Some(AppId::random())).1, Figures::default());
    }

    #[test]
    fn a_minute_ends_and_is_kept_for_an_hour() {
        let tally = Tally::new(NOW);
        let app = AppId::random();
        answered(&tally, Some(app), Some(Deed::Message), None);
        let connections = |app: Option<AppId>| if app.is_none() { 7 } else { 0 };
        let (at, counted) = tally.turn_minute(NOW.plus_secs(60), 3, connections);
        assert_eq!((at, counted.len()), (start_of(NOW, 60), 2));
        assert_eq!((counted[0].1.connections, counted[0].1.sessions, counted[1].1.messages), (7, 3, 1));
        assert_eq!(tally.present(Some(app)).1, Figures::default());
        for nth in 2..=61 {
            let (_, counted) = tally.turn_minute(NOW.plus_secs(nth * 60), 0, |_| 0);
            assert_eq!(counted.len(), 1, "an app that does nothing is not carried along");
        }
        assert_eq!(tally.minutes(None).len(), MINUTES_KEPT);
        assert!(tally.minutes(Some(app)).is_empty() && tally.apps.read().is_empty());
    }

    #[test]
    fn a_minute_that_could_not_be_written_is_kept_for_the_next_time() {
        let tally = Tally::new(NOW);
        let oldest = || tally.oldest_unsaved().map(|(at, counted)| (at, counted[0].1.minted));
        tally.happened(Some(AppId::random()), Deed::Minted);
        tally.turn_minute(NOW.plus_secs(60), 0, |_| 0);
        tally.turn_minute(NOW.plus_secs(120), 0, |_| 0);
        let first = start_of(NOW, 60);
        assert_eq!((oldest(), oldest()), (Some((first, 1)), Some((first, 1))));
        tally.oldest_is_saved();
        assert_eq!(oldest(), Some((first.plus_secs(60), 0)));
        tally.oldest_is_saved();
        assert_eq!(oldest(), None);
    }

    #[test]
    fn only_so_many_apps_are_counted_by_themselves() {
        let tally = Tally::new(NOW);
        for _ in 0..=APPS_MAX {
            answered(&tally, Some(AppId::random()), Some(Deed::Minted), None);
        }
        assert_eq!(tally.apps.read().len(), APPS_MAX);
        assert_eq!(tally.present(None).1.minted, APPS_MAX as u64 + 1);
    }
}
