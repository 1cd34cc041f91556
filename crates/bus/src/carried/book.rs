//! What this node is there for, as it tells it to others; and what another is there for, as it is kept here.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use respoke_core::id::AppId;
use respoke_core::ports::Interest;
use respoke_wire::bus::{InterestHash, InterestNews};

use super::outgoing::WaitedFor;

/// Hashes in one item: 64 KiB, so that what is published meanwhile is not held up by a million.
const HASHES_MAX: usize = 4_096;

/// What this node is there for.
#[derive(Debug)]
pub(super) struct Book {
    held: HashMap<Interest, Held>,
    apps: HashMap<AppId, AppBook>,
    /// Those that somebody may not know of yet, in order.
    waiting: VecDeque<Interest>,
    per_app_max: usize,
}

#[derive(Debug)]
struct Held {
    /// How often.
    count: usize,
    /// Whether others know of it by its own hash, and not because they send all of the app.
    told: bool,
    /// Who does not know of it yet.
    waited_for: Option<WaitedFor>,
}

#[derive(Debug, Default)]
struct AppBook {
    /// How many interests of the app there are.
    count: usize,
    /// It was told that there are too many to tell.
    whole: bool,
    /// Who does not know of that yet.
    waited_for: Option<WaitedFor>,
}

/// What has to be told because of a first in.
#[derive(Debug)]
pub(super) enum FirstIn {
    /// It is no first one. Whoever is still waited for is to be waited for again.
    No(Option<WaitedFor>),
    /// This news, by all who are waited for then.
    Tell(InterestNews),
}

impl Book {
    pub(super) fn new(per_app_max: usize) -> Self {
        Self { held: HashMap::new(), apps: HashMap::new(), waiting: VecDeque::new(), per_app_max }
    }

    pub(super) fn hold(&mut self, interest: &Interest) -> FirstIn {
        let app_id = interest.app_id();
        match self.held.entry(interest.clone()) {
            Entry::Occupied(mut held) => {
                let held = held.get_mut();
                held.count += 1;
                // Somebody else waits for the same; whoever is second is not there for it any earlier.
                held.waited_for = held.waited_for.take().filter(is_waited_for);
                FirstIn::No(held.waited_for.clone())
            }
            Entry::Vacant(free) => {
                let app = self.apps.entry(app_id).or_default();
                app.count += 1;
                if app.whole {
                    app.waited_for = app.waited_for.take().filter(is_waited_for);
                    free.insert(Held { count: 1, told: false, waited_for: app.waited_for.clone() });
                    if app.waited_for.is_some() {
                        self.waiting.push_back(interest.clone());
                    }
                    return FirstIn::No(app.waited_for.clone());
                }
                app.whole = app.count > self.per_app_max;
                free.insert(Held { count: 1, told: !app.whole, waited_for: None });
                FirstIn::Tell(if app.whole {
                    InterestNews::WholeApp(app_id)
                } else {
                    InterestNews::Held(vec![interest.into()])
                })
            }
        }
    }

    /// Those who were told of a first in are waited for.
    pub(super) fn wait_for(&mut self, interest: &Interest, waited_for: &WaitedFor) {
        if let Some(app) = self.apps.get_mut(&interest.app_id())
            && app.whole
        {
            app.waited_for = Some(waited_for.clone());
        }
        if let Some(held) = self.held.get_mut(interest) {
            held.waited_for = Some(waited_for.clone());
            self.waiting.push_back(interest.clone());
        }
    }

    /// Gives back what is needed no more of those that everybody knows of. Whoever is long in confirming one holds up the
    /// later ones, until it is known to be lost.
    pub(super) fn forget_confirmed(&mut self) {
        while let Some(oldest) = self.waiting.front() {
            if let Some(held) = self.held.get_mut(oldest) {
                if held.waited_for.as_ref().is_some_and(is_waited_for) {
                    return;
                }
                held.waited_for = None;
            }
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.waiting.shrink_to(HASHES_MAX);
        }
    }

    /// What has to be told because of one less.
    pub(super) fn release(&mut self, interest: &Interest) -> Vec<InterestNews> {
        let Entry::Occupied(mut held) = self.held.entry(interest.clone()) else { return Vec::new() };
        held.get_mut().count -= 1;
        if held.get().count > 0 {
            return Vec::new();
        }
        let told = held.remove().told;
        let mut news = Vec::new();
        if told {
            news.push(InterestNews::Released(vec![interest.into()]));
        }
        let app_id = interest.app_id();
        let Entry::Occupied(mut app) = self.apps.entry(app_id) else { return news };
        let book = app.get_mut();
        book.count -= 1;
        // Half, so that one who comes and goes does not tell thousands each time.
        if book.whole && book.count <= self.per_app_max / 2 {
            book.whole = false;
            book.waited_for = None;
            let untold = self.held.iter_mut().filter(|(interest, held)| interest.app_id() == app_id && !held.told);
            let untold: Vec<_> = untold
                .map(|(interest, held)| {
                    held.told = true;
                    InterestHash::from(interest)
                })
                .collect();
            news.extend(in_pieces(&untold));
            news.push(InterestNews::PartOfApp(app_id));
        }
        if app.get().count == 0 {
            app.remove();
        }
        news
    }

    /// Everything, for one who knows nothing.
    pub(super) fn everything(&self) -> Vec<InterestNews> {
        let told: Vec<_> =
            self.held.iter().filter(|(_, held)| held.told).map(|(interest, _)| InterestHash::from(interest)).collect();
        let whole = self.apps.iter().filter(|(_, app)| app.whole).map(|(app_id, _)| InterestNews::WholeApp(*app_id));
        let mut news = vec![InterestNews::Anew];
        news.extend(in_pieces(&told));
        news.extend(whole);
        news.push(InterestNews::Complete);
        news
    }
}

fn is_waited_for(waited_for: &WaitedFor) -> bool {
    !waited_for.borrow().is_empty()
}

fn in_pieces(hashes: &[InterestHash]) -> impl Iterator<Item = InterestNews> {
    hashes.chunks(HASHES_MAX).map(|piece| InterestNews::Held(piece.to_vec()))
}

/// What another node is there for: 16 bytes each, and what a hash table needs beside, which is less than twice that.
#[derive(Debug, Default)]
pub(super) struct Holds {
    hashes: HashSet<InterestHash>,
    apps: HashSet<AppId>,
}

impl Holds {
    pub(super) fn learn(&mut self, news: InterestNews) {
        match news {
            InterestNews::Anew => *self = Self::default(),
            InterestNews::Held(hashes) => self.hashes.extend(hashes),
            InterestNews::Released(hashes) => {
                for hash in hashes {
                    self.hashes.remove(&hash);
                }
                // What a crowd left behind is given back, but not at each who goes.
                if self.hashes.capacity() > 64 && self.hashes.len() < self.hashes.capacity() / 4 {
                    self.hashes.shrink_to(self.hashes.len() * 2);
                }
            }
            InterestNews::WholeApp(app_id) => {
                self.apps.insert(app_id);
            }
            InterestNews::PartOfApp(app_id) => {
                self.apps.remove(&app_id);
            }
            // What is asked for besides, and changes nothing of that.
            InterestNews::Complete | InterestNews::Late(..) => {}
        }
    }

    pub(super) fn any(&self, wanted: &[(AppId, InterestHash)]) -> bool {
        wanted.iter().any(|(app_id, hash)| self.hashes.contains(hash) || self.apps.contains(app_id))
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::id::GroupName;

    use super::*;

    fn group(app_id: AppId, number: usize) -> Interest {
        Interest::Group(app_id, GroupName::parse(&format!("group {number}")).unwrap())
    }

    fn apply(holds: &mut Holds, news: Vec<InterestNews>) -> usize {
        let len = news.len();
        for news in news {
            holds.learn(news);
        }
        len
    }

    fn hold(book: &mut Book, holds: &mut Holds, interest: &Interest) -> usize {
        match book.hold(interest) {
            FirstIn::No(_) => 0,
            FirstIn::Tell(news) => apply(holds, vec![news]),
        }
    }

    fn knows(holds: &Holds, interest: &Interest) -> bool {
        holds.any(&[(interest.app_id(), interest.into())])
    }

    #[test]
    fn only_the_first_and_the_last_are_told() {
        let (mut book, mut holds, one) = (Book::new(10), Holds::default(), group(AppId::random(), 1));
        assert_eq!(hold(&mut book, &mut holds, &one), 1);
        assert_eq!(hold(&mut book, &mut holds, &one), 0);
        assert!(book.release(&one).is_empty() && knows(&holds, &one));
        assert_eq!(apply(&mut holds, book.release(&one)), 1);
        assert!(!knows(&holds, &one) && book.release(&one).is_empty());
        assert!(book.held.is_empty() && book.apps.is_empty());
    }

    #[test]
    fn beyond_its_cap_an_app_is_told_as_a_whole_and_below_half_of_it_in_parts() {
        let (app, other) = (AppId::random(), AppId::random());
        let (mut book, mut holds) = (Book::new(10), Holds::default());
        let told: usize = (0..1_000).map(|number| hold(&mut book, &mut holds, &group(app, number))).sum();
        assert_eq!((told, holds.hashes.len()), (11, 10));
        assert!((0..1_000).all(|number| knows(&holds, &group(app, number))));
        assert!(!knows(&holds, &group(other, 1)), "nothing crosses an app's border");
        let mut anew = Holds::default();
        apply(&mut anew, book.everything());
        assert!((0..1_000).all(|number| knows(&anew, &group(app, number))));
        // Those go first who were told by themselves.
        let mut told = 0;
        for number in 0..1_000 {
            told += apply(&mut holds, book.release(&group(app, number)));
            assert!(!(number + 1..1_000).any(|left| !knows(&holds, &group(app, left))), "after {number}");
        }
        assert_eq!(told, 10 + 2 + 5);
        assert!(holds.hashes.is_empty() && holds.apps.is_empty() && book.apps.is_empty());
    }

    #[test]
    fn whoever_is_second_waits_for_the_same() {
        let app = AppId::random();
        let mut book = Book::new(1);
        let (waited_for, _) = tokio::sync::watch::channel(vec![respoke_core::ports::Node::ALONE]);
        let waited_for = std::sync::Arc::new(waited_for);
        for number in 0..3 {
            let one = group(app, number);
            match book.hold(&one) {
                FirstIn::Tell(_) => book.wait_for(&one, &waited_for),
                FirstIn::No(waits) => assert!(waits.is_some(), "the app's own is not confirmed yet"),
            }
            assert!(matches!(book.hold(&one), FirstIn::No(Some(_))));
        }
        book.forget_confirmed();
        assert_eq!(book.waiting.len(), 3);
        waited_for.send_modify(Vec::clear);
        book.forget_confirmed();
        assert!(book.waiting.is_empty() && book.held.values().all(|held| held.waited_for.is_none()));
        assert!(matches!(book.hold(&group(app, 0)), FirstIn::No(None)));
        assert!(matches!(book.hold(&group(app, 7)), FirstIn::No(None)));
    }

    #[test]
    fn a_hash_takes_less_than_48_bytes() {
        let app = AppId::random();
        let mut holds = Holds::default();
        // A table is emptiest just after it grew.
        for number in 0..30_000 {
            let before = holds.hashes.capacity();
            holds.learn(InterestNews::Held(vec![(&group(app, number)).into()]));
            let (len, capacity) = (holds.hashes.len(), holds.hashes.capacity());
            if capacity != before && len > 100 {
                // Seven of eight buckets are capacity, and each has a byte beside.
                let bytes = (capacity / 7 * 8) * (size_of::<InterestHash>() + 1) + 16;
                assert!(bytes <= 48 * len, "{bytes} for {len}");
            }
        }
    }
}
