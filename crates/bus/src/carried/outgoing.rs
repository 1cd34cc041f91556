//! What one node sends to one other. It is numbered. If something is lost for good that the other must know, it is told
//! anew.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use respoke_core::id::AppId;
use respoke_core::ports::Node;
use respoke_wire::bus::{frame_item, pieces};
use tokio::time::Instant;

use super::CarriedLimits;
use super::sent::{Again, Kind, Late, News, SentFrames};

/// Interests of one app that the other is told one by one to have heard of late: 16 KiB. Beyond that it is all of the app.
const LATE_MAX: usize = 1_024;

/// What the other has to be told, when there is room.
#[derive(Debug)]
pub(super) enum Owed {
    /// All of an app, for which somebody may wait since then.
    App(AppId, Option<Instant>),
    Late(AppId, Late),
    Complete,
}

/// Invariant: all that is there to be lost is in `sent`, and what is lost of it that is not for the other to know is in
/// `untold` or `late` or makes `introduced` false. Each has one entry for an app at most.
#[derive(Debug)]
pub(super) struct Outgoing {
    from: Node,
    to: Node,
    limits: CarriedLimits,
    last: u64,
    seen: u64,
    sent: SentFrames,
    /// Apps of which something was lost, or nothing was told yet; and since when somebody waits for what was.
    untold: BTreeMap<AppId, Option<Instant>>,
    /// Up to which number everything is told anew that was lost before. [`u64::MAX`]: some of it is not told yet.
    behind: Option<u64>,
    /// The version of the last news that was seen.
    version_seen: u64,
    /// What it has to be told to have heard of late.
    late: BTreeMap<AppId, Late>,
    /// It was told that everything was told.
    introduced: bool,
}

impl Outgoing {
    /// `version`: of what `from` is there for by now, of which nothing was told yet.
    pub(super) fn new(from: Node, to: Node, limits: CarriedLimits, version: u64) -> Self {
        Self {
            from,
            to,
            limits,
            last: 0,
            seen: 0,
            sent: SentFrames::new(limits),
            untold: BTreeMap::new(),
            behind: None,
            version_seen: version,
            late: BTreeMap::new(),
            introduced: false,
        }
    }

    /// Adds one more item, and sends its frame, or those of its parts.
    pub(super) fn add(&mut self, item: &Bytes, kind: &Kind, now: Instant, send: impl Fn(Bytes)) {
        let mut parts_left = pieces(item).len();
        for piece in pieces(item) {
            parts_left -= 1;
            self.last += 1;
            let frame = frame_item(self.from, self.to, self.last, &piece);
            self.sent.add(self.last, frame.clone(), kind.clone(), parts_left == 0, now);
            self.forget(now);
            send(frame);
        }
        // Not before its last part: whoever has seen the first knows nothing yet of what it says.
        if self.behind == Some(u64::MAX) && self.untold.is_empty() {
            self.behind = Some(self.last);
        }
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The last number, if the other is not known to have it.
    pub(super) fn unseen(&self) -> Option<u64> {
        (self.last > self.seen).then_some(self.last)
    }

    /// Whether the other is not known to have anything of it.
    pub(super) const fn is_nothing_seen(&self) -> bool {
        self.last > 0 && self.seen == 0
    }

    /// Gives up what is kept for too long, or is too much.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some(lost) = self.sent.give_up(now) {
            match lost {
                Kind::News(News { app_id, since, .. }) => self.owe(app_id, since),
                Kind::Complete => self.introduced = false,
                Kind::Late(app_id, late) => self.be_late(app_id, late),
                Kind::Other => {}
            }
        }
    }

    /// All of an app has to be told.
    pub(super) fn owe(&mut self, app_id: AppId, since: Option<Instant>) {
        let owed = self.untold.entry(app_id).or_default();
        *owed = [*owed, since].into_iter().flatten().min();
        self.behind = Some(u64::MAX);
    }

    fn be_late(&mut self, app_id: AppId, late: Late) {
        let before = self.late.entry(app_id).or_insert_with(|| late.clone());
        before.since = before.since.min(late.since);
        before.of = match (before.of.take(), late.of) {
            (Some(before), Some(late)) => Some(&before | &late).filter(|of| of.len() <= LATE_MAX),
            (None, _) | (_, None) => None,
        };
    }

    /// The other has everything up to `number`, or knows that it is lost. Tells up to which version of what this node is
    /// there for it has heard of everything; none if something was lost of that.
    pub(super) fn see(&mut self, number: u64, now: Instant) -> Option<u64> {
        if number > self.last || number <= self.seen {
            return None;
        }
        self.seen = number;
        while let Some(seen) = self.sent.take_seen(number) {
            if let (true, Kind::News(News { app_id, hash, since, version })) = (seen.completes, seen.kind) {
                self.version_seen = self.version_seen.max(version);
                if let Some(since) = since.filter(|since| now.duration_since(*since) > self.limits.late_after) {
                    self.be_late(app_id, Late { of: hash.map(|hash| BTreeSet::from([hash])), since });
                }
            }
        }
        // What was lost with news confirms nothing; it will be told anew.
        self.behind = self.behind.filter(|behind| *behind > number);
        self.behind.is_none().then_some(self.version_seen)
    }

    /// Whether the other may have published something past what it was not told in time, until it `left`, and is not known to
    /// have made up for that. It is known here `known_since` then.
    pub(super) fn is_late(&self, known_since: Instant, left: Instant) -> bool {
        let is_late_since = |since: Instant| left.duration_since(since) > self.limits.late_after;
        let is_late = |kind: &Kind| match kind {
            Kind::News(News { since, .. }) => since.is_some_and(is_late_since),
            Kind::Complete => is_late_since(known_since),
            Kind::Late(_, late) => is_late_since(late.since),
            Kind::Other => false,
        };
        let is_late_with_all = !self.introduced && is_late_since(known_since);
        let is_late_with_news = self.untold.values().flatten().any(|since| is_late_since(*since));
        let is_late_with_some = self.late.values().any(|late| is_late_since(late.since));
        is_late_with_some || is_late_with_all || is_late_with_news || self.sent.kinds().any(is_late)
    }

    /// Something that is owed, if there is any, and room for it. It has to be sent then.
    pub(super) fn next_owed(&mut self) -> Option<Owed> {
        // A quarter, so that what is owed neither pushes out what goes beside it nor itself.
        if self.sent.bytes() > self.limits.kept_bytes_max / 4 {
            return None;
        }
        if let Some((app_id, since)) = self.untold.pop_first() {
            return Some(Owed::App(app_id, since));
        }
        if let Some((app_id, late)) = self.late.pop_first() {
            return Some(Owed::Late(app_id, late));
        }
        // Only when all is seen, for whoever hears this relies on it.
        let complete = !self.introduced && self.behind.is_none();
        self.introduced |= complete;
        complete.then_some(Owed::Complete)
    }

    /// Whether anything is owed that could be sent.
    pub(super) fn owes(&self) -> bool {
        !self.untold.is_empty() || !self.late.is_empty() || (!self.introduced && self.behind.is_none())
    }

    /// The other misses what lies between two numbers, both included, in each of some pieces.
    pub(super) fn again(&mut self, missing: &[(u64, u64)], now: Instant) -> Again {
        self.forget(now);
        self.sent.again(missing, self.seen + 1..=self.last, now)
    }

    /// The other is gone, and is owed nothing.
    pub(super) fn end(&mut self) {
        self.sent.clear();
        self.untold.clear();
        self.late.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use respoke_core::ports::{Incarnation, NodeId};
    use respoke_wire::bus::InterestHash;
    use uuid::Uuid;

    use super::super::sent::SentFrame;
    use super::*;

    const A: Node = Node { id: NodeId(1), incarnation: Incarnation(1) };
    const B: Node = Node { id: NodeId(2), incarnation: Incarnation(1) };
    const KEPT: usize = size_of::<SentFrame>();

    fn outgoing() -> Outgoing {
        let limits = CarriedLimits { kept_bytes_max: 1_000 + 8 * KEPT, again_bytes_max: 300, ..CarriedLimits::DEFAULT };
        Outgoing::new(A, B, limits, 0)
    }

    fn add(outgoing: &mut Outgoing, len: usize, kind: &Kind) {
        outgoing.add(&vec![0; len].into(), kind, Instant::now(), drop);
    }

    const fn app(number: u128) -> AppId {
        AppId::from_uuid(Uuid::from_u128(number))
    }

    fn news(app_number: u128, version: u64) -> Kind {
        let hash = Some(InterestHash(u128::from(version)));
        Kind::News(News { app_id: app(app_number), hash, since: Some(Instant::now()), version })
    }

    fn see(outgoing: &mut Outgoing, number: u64) -> Option<u64> {
        outgoing.see(number, Instant::now())
    }

    /// Sends what is owed, and tells what it was.
    fn pay(outgoing: &mut Outgoing, version: u64) -> Vec<String> {
        let mut paid = Vec::new();
        while let Some(owed) = outgoing.next_owed() {
            let kind = match owed {
                Owed::App(app_id, since) => {
                    paid.push(format!("app {}", app_id.uuid().as_u128()));
                    Kind::News(News { app_id, hash: None, since, version })
                }
                Owed::Late(app_id, late) => {
                    let of = late.of.as_ref().map_or(0, BTreeSet::len);
                    paid.push(format!("late {} of app {}", of, app_id.uuid().as_u128()));
                    Kind::Late(app_id, late)
                }
                Owed::Complete => {
                    paid.push("complete".to_owned());
                    Kind::Complete
                }
            };
            add(outgoing, 10, &kind);
        }
        paid
    }

    /// What would be sent again, by length, and up to where it is gone.
    fn again(outgoing: &mut Outgoing, missing: &[(u64, u64)]) -> (usize, Option<u64>) {
        let again = outgoing.again(missing, Instant::now());
        (again.frames.len(), again.gone)
    }

    async fn be_cut_off() {
        tokio::time::advance(CarriedLimits::DEFAULT.kept_for + Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_is_confirmed_and_kept_no_longer() {
        let mut outgoing = outgoing();
        add(&mut outgoing, 10, &news(1, 1));
        add(&mut outgoing, 10, &Kind::Other);
        // Nobody can have seen what was not sent.
        assert_eq!((see(&mut outgoing, 0), see(&mut outgoing, 3), outgoing.unseen()), (None, None, Some(2)));
        assert_eq!((see(&mut outgoing, 1), outgoing.sent.len()), (Some(1), 1));
        assert_eq!(see(&mut outgoing, 2), Some(1));
        assert_eq!((outgoing.unseen(), outgoing.sent.bytes(), outgoing.sent.len()), (None, 0, 0));
        assert_eq!(pay(&mut outgoing, 1), ["complete"], "nobody was late");
    }

    /// Much may be published between two ticks, and nobody asks for any of it meanwhile.
    #[tokio::test(start_paused = true)]
    async fn whoever_sees_nothing_has_only_so_much_kept_for_it() {
        let mut outgoing = outgoing();
        let max = outgoing.limits.kept_bytes_max;
        for _ in 0..10 {
            add(&mut outgoing, 100 + KEPT / 7, &Kind::Other);
            assert!(outgoing.sent.bytes() <= max);
        }
        let kept = outgoing.sent.len() as u64;
        assert!((5..9).contains(&kept));
        // Nobody can miss what was never sent.
        assert_eq!(again(&mut outgoing, &[(0, 0), (11, u64::MAX), (9, 2)]), (0, None));
        assert_eq!(again(&mut outgoing, &[(1, 10)]).1, Some(10 - kept));
        let last = outgoing.last() - 1;
        see(&mut outgoing, last);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(again(&mut outgoing, &[(1, last)]), (0, None), "it has that");
        be_cut_off().await;
        assert_eq!(again(&mut outgoing, &[(1, u64::MAX)]), (0, Some(10)), "there is no more than that to be lost");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_of_an_app_is_confirmed_when_the_app_was_told_anew_and_not_before() {
        let mut outgoing = outgoing();
        assert_eq!(pay(&mut outgoing, 0), ["complete"]);
        add(&mut outgoing, 10, &news(1, 1));
        be_cut_off().await;
        add(&mut outgoing, 10, &news(2, 2));
        assert_eq!(again(&mut outgoing, &[(1, 3)]), (1, Some(2)));
        // The other knows that the first is lost, which is not to know what it said.
        assert_eq!((see(&mut outgoing, 3), outgoing.owes()), (None, true));
        assert_eq!(pay(&mut outgoing, 2), ["app 1"]);
        // That is lost too, and something of another app with it.
        add(&mut outgoing, 10, &news(3, 3));
        be_cut_off().await;
        outgoing.forget(Instant::now());
        assert_eq!(see(&mut outgoing, 5), None);
        assert_eq!(pay(&mut outgoing, 3), ["app 1", "app 3"]);
        assert_eq!(see(&mut outgoing, 6), None, "one of two");
        assert_eq!(see(&mut outgoing, 7), Some(3));
        assert_eq!(pay(&mut outgoing, 3), ["late 0 of app 1", "late 0 of app 3", "complete"]);
    }

    /// Elsewhere whoever had the first part of a list was taken to know all of it.
    #[tokio::test(start_paused = true)]
    async fn what_goes_in_parts_is_confirmed_with_its_last() {
        let limits = CarriedLimits { kept_bytes_max: 4 << 20, ..CarriedLimits::DEFAULT };
        let mut outgoing = Outgoing::new(A, B, limits, 0);
        assert_eq!(pay(&mut outgoing, 0), ["complete"]);
        // As news, and as what makes good that some was lost.
        for lost_before in [false, true] {
            let first = outgoing.last() + 1;
            if lost_before {
                outgoing.owe(app(1), None);
                assert!(matches!(outgoing.next_owed(), Some(Owed::App(..))));
            }
            let since = Some(Instant::now());
            let version = first;
            add(&mut outgoing, 600_000, &Kind::News(News { app_id: app(1), hash: None, since, version }));
            assert_eq!(outgoing.last(), first + 2);
            for part in first..first + 2 {
                assert!(see(&mut outgoing, part).is_none_or(|confirmed| confirmed < version), "part {part}");
            }
            assert_eq!(see(&mut outgoing, first + 2), Some(version));
        }
        // Whichever part is lost, all of it is.
        let first = outgoing.last() + 1;
        add(&mut outgoing, 600_000, &news(1, 9));
        outgoing.forget(Instant::now() + CarriedLimits::DEFAULT.kept_for * 2);
        assert_eq!((see(&mut outgoing, first + 2), pay(&mut outgoing, 9)), (None, vec!["app 1".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn that_one_is_late_is_told_until_it_is_seen() {
        let mut outgoing = outgoing();
        assert_eq!(pay(&mut outgoing, 0), ["complete"]);
        for version in 1..=3 {
            add(&mut outgoing, 10, &news(1, version));
        }
        tokio::time::advance(CarriedLimits::DEFAULT.late_after + Duration::from_millis(1)).await;
        add(&mut outgoing, 10, &news(1, 4));
        assert_eq!(see(&mut outgoing, 5), Some(4));
        for _ in 0..3 {
            assert_eq!(pay(&mut outgoing, 4), ["late 3 of app 1"]);
            assert!(!outgoing.owes());
            be_cut_off().await;
            outgoing.forget(Instant::now());
        }
        // One more, and then too many to name.
        add(&mut outgoing, 10, &news(1, 5));
        tokio::time::advance(Duration::from_secs(1)).await;
        let last = outgoing.last();
        see(&mut outgoing, last);
        assert_eq!(pay(&mut outgoing, 5), ["late 4 of app 1"]);
        let many = (0..1_025).map(InterestHash).collect();
        outgoing.be_late(app(1), Late { of: Some(many), since: Instant::now() });
        outgoing.be_late(app(1), Late { of: Some(BTreeSet::from([InterestHash(9_999)])), since: Instant::now() });
        assert_eq!(pay(&mut outgoing, 5), ["late 0 of app 1"]);
        let last = outgoing.last();
        see(&mut outgoing, last);
        assert!(!outgoing.owes());
    }

    #[tokio::test(start_paused = true)]
    async fn however_much_is_owed_it_pushes_nothing_out() {
        let mut outgoing = outgoing();
        for number in 0..1_000 {
            outgoing.owe(app(number), None);
        }
        let mut told = 0;
        while outgoing.owes() {
            told += pay(&mut outgoing, 7).len();
            assert!(outgoing.sent.bytes() <= outgoing.limits.kept_bytes_max / 4 + 2 * KEPT);
            let last = outgoing.last();
            let confirmed = see(&mut outgoing, last);
            assert_eq!(confirmed, (told >= 1_000).then_some(7));
        }
        assert_eq!(told, 1_001);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_gone_is_owed_nothing() {
        let mut outgoing = outgoing();
        outgoing.owe(app(1), None);
        add(&mut outgoing, 10, &Kind::Other);
        outgoing.end();
        assert!(outgoing.sent.bytes() == 0 && outgoing.untold.is_empty() && outgoing.late.is_empty());
    }
}
