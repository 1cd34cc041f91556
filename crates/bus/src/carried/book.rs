//! What this node is there for, as it tells others; and what another node is there for, as this one keeps it.
//!
//! Both are kept as hashes. What an app has may be too much to be told one by one: then the app is told as a whole. So all
//! that is told of an app is one item, which another node takes in one moment. It makes good whatever news of the app was
//! lost.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use respoke_core::id::AppId;
use respoke_wire::bus::{ITEM_LEN_MAX, InterestHash, InterestNews};

use super::CarriedLimits;

/// What all of an app takes besides its hashes, in hashes.
const HEAD_HASHES: usize = 2;

/// What this node is there for.
#[derive(Debug)]
pub(super) struct Book {
    apps: HashMap<AppId, AppBook>,
    /// Greater with each first in that was told.
    version: u64,
    /// How many are told one by one.
    told: usize,
    per_app_max: usize,
    told_max: usize,
}

#[derive(Debug, Default)]
struct AppBook {
    held: HashMap<InterestHash, Held>,
    /// With which version it was told as a whole, if there is so much of it.
    whole: Option<u64>,
}

#[derive(Debug)]
struct Held {
    /// How often.
    count: usize,
    /// With which version it was told.
    version: u64,
}

/// A first in, or not.
#[derive(Debug)]
pub(super) enum FirstIn {
    /// Whoever knows this version knows of it.
    No(u64),
    /// This news is to be told, and is this version.
    Tell(InterestNews, u64),
}

impl Book {
    pub(super) fn new(limits: CarriedLimits) -> Self {
        let CarriedLimits { interests_per_app_max, interests_max, kept_bytes_max, .. } = limits;
        // All of an app is one item, and one that is longer than this would never be heard.
        let item_len_max = ITEM_LEN_MAX.min(kept_bytes_max / 4);
        let fit = (item_len_max / size_of::<InterestHash>()).saturating_sub(HEAD_HASHES);
        let per_app_max = interests_per_app_max.min(fit);
        Self { apps: HashMap::new(), version: 0, told: 0, per_app_max, told_max: interests_max }
    }

    /// The version of what is there by now.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn apps(&self) -> impl Iterator<Item = AppId> {
        self.apps.keys().copied()
    }

    pub(super) fn hold(&mut self, app_id: AppId, hash: InterestHash) -> FirstIn {
        let app = self.apps.entry(app_id).or_default();
        let held_before = app.held.len();
        match app.held.entry(hash) {
            Entry::Occupied(mut held) => {
                // Whoever is second is not there for it any earlier.
                let held = held.get_mut();
                held.count += 1;
                FirstIn::No(held.version)
            }
            Entry::Vacant(free) => {
                if let Some(version) = app.whole {
                    free.insert(Held { count: 1, version });
                    return FirstIn::No(version);
                }
                self.version += 1;
                free.insert(Held { count: 1, version: self.version });
                if held_before >= self.per_app_max || self.told >= self.told_max {
                    app.whole = Some(self.version);
                    self.told -= held_before;
                    return FirstIn::Tell(InterestNews::WholeApp(app_id), self.version);
                }
                self.told += 1;
                FirstIn::Tell(InterestNews::Held(app_id, hash), self.version)
            }
        }
    }

    /// What has to be told because of one less.
    pub(super) fn release(&mut self, app_id: AppId, hash: InterestHash) -> Option<InterestNews> {
        let Entry::Occupied(mut app) = self.apps.entry(app_id) else { return None };
        let book = app.get_mut();
        let Entry::Occupied(mut held) = book.held.entry(hash) else { return None };
        held.get_mut().count -= 1;
        if held.get().count > 0 {
            return None;
        }
        held.remove();
        let left = book.held.len();
        shrink(&mut book.held);
        if book.whole.is_none() {
            self.told -= 1;
            if left == 0 {
                app.remove();
            }
            return Some(InterestNews::Released(app_id, hash));
        }
        // Half, so that one who comes and goes does not tell thousands each time.
        let fits = left <= self.per_app_max / 2 && self.told + left <= self.told_max / 2;
        if !fits && left > 0 {
            return None;
        }
        book.whole = None;
        self.told += left;
        let all = book.all(app_id);
        if left == 0 {
            app.remove();
        }
        Some(all)
    }

    /// How often something here is there for each.
    #[cfg(any(test, feature = "faulty"))]
    pub(super) fn counts(&self) -> std::collections::BTreeMap<(AppId, InterestHash), usize> {
        let of_app = |(app_id, app): (&AppId, &AppBook)| {
            let app_id = *app_id;
            app.held.iter().map(move |(hash, held)| ((app_id, *hash), held.count)).collect::<Vec<_>>()
        };
        self.apps.iter().flat_map(of_app).collect()
    }

    /// All of an app.
    pub(super) fn all_of(&self, app_id: AppId) -> InterestNews {
        self.apps.get(&app_id).map_or_else(|| InterestNews::App(app_id, Vec::new()), |app| app.all(app_id))
    }
}

impl AppBook {
    fn all(&self, app_id: AppId) -> InterestNews {
        if self.whole.is_some() {
            InterestNews::WholeApp(app_id)
        } else {
            InterestNews::App(app_id, self.held.keys().copied().collect())
        }
    }
}

/// What a crowd left behind is given back, but not at each who goes.
fn shrink<T>(held: &mut HashMap<InterestHash, T>) {
    if held.capacity() > 64 && held.len() < held.capacity() / 4 {
        held.shrink_to(held.len() * 2);
    }
}

/// What another node is there for: 16 bytes each, and what a hash table needs beside, which is less than twice that.
#[derive(Debug, Default)]
pub(super) struct Holds {
    apps: HashMap<AppId, AppHolds>,
    /// It told something that this build does not know: from then on it gets everything.
    everything: bool,
}

#[derive(Debug)]
enum AppHolds {
    Whole,
    Some(HashSet<InterestHash>),
}

impl Holds {
    /// That it is there for one more.
    pub(super) fn add(&mut self, app_id: AppId, hash: InterestHash) {
        match self.apps.entry(app_id).or_insert_with(|| AppHolds::Some(HashSet::new())) {
            AppHolds::Whole => {}
            AppHolds::Some(hashes) => {
                hashes.insert(hash);
            }
        }
    }

    /// That it is there for one less.
    pub(super) fn remove(&mut self, app_id: AppId, hash: InterestHash) {
        let Entry::Occupied(mut app) = self.apps.entry(app_id) else { return };
        let AppHolds::Some(hashes) = app.get_mut() else { return };
        hashes.remove(&hash);
        if hashes.is_empty() {
            app.remove();
        } else if hashes.capacity() > 64 && hashes.len() < hashes.capacity() / 4 {
            hashes.shrink_to(hashes.len() * 2);
        }
    }

    /// That of an app it is there for these, and for nothing else.
    pub(super) fn set(&mut self, app_id: AppId, hashes: HashSet<InterestHash>) {
        if hashes.is_empty() {
            self.apps.remove(&app_id);
        } else {
            self.apps.insert(app_id, AppHolds::Some(hashes));
        }
    }

    /// That it gets all of an app.
    pub(super) fn set_whole(&mut self, app_id: AppId) {
        self.apps.insert(app_id, AppHolds::Whole);
    }

    /// That it gets everything, whatever else it tells. Whether it did before.
    pub(super) const fn set_everything(&mut self) -> bool {
        std::mem::replace(&mut self.everything, true)
    }

    /// All that it is there for. None: it gets all of an app.
    #[cfg(any(test, feature = "faulty"))]
    pub(super) fn all(&self) -> Option<std::collections::BTreeSet<(AppId, InterestHash)>> {
        if self.everything {
            return None;
        }
        let mut all = std::collections::BTreeSet::new();
        for (app_id, holds) in &self.apps {
            let AppHolds::Some(hashes) = holds else { return None };
            all.extend(hashes.iter().map(|hash| (*app_id, *hash)));
        }
        Some(all)
    }

    pub(super) fn any(&self, wanted: &[(AppId, InterestHash)]) -> bool {
        let holds = |(app_id, hash): &(AppId, InterestHash)| match self.apps.get(app_id) {
            None => false,
            Some(AppHolds::Whole) => true,
            Some(AppHolds::Some(hashes)) => hashes.contains(hash),
        };
        self.everything || wanted.iter().any(holds)
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::id::GroupName;
    use respoke_core::ports::Interest;
    use respoke_wire::bus::Item;

    use super::*;

    fn group(app_id: AppId, number: usize) -> InterestHash {
        (&Interest::Group(app_id, GroupName::parse(&format!("group {number}")).unwrap())).into()
    }

    fn book(per_app_max: usize, interests_max: usize) -> Book {
        Book::new(CarriedLimits { interests_per_app_max: per_app_max, interests_max, ..CarriedLimits::DEFAULT })
    }

    /// Learns it, and tells whether there was anything.
    fn learn(holds: &mut Holds, news: Option<&InterestNews>) -> bool {
        match news {
            None => {}
            Some(InterestNews::Held(app_id, hash)) => holds.add(*app_id, *hash),
            Some(InterestNews::Released(app_id, hash)) => holds.remove(*app_id, *hash),
            Some(InterestNews::App(app_id, hashes)) => holds.set(*app_id, hashes.iter().copied().collect()),
            Some(InterestNews::WholeApp(app_id)) => holds.set_whole(*app_id),
            Some(other) => panic!("{other:?}"),
        }
        news.is_some()
    }

    fn hold(book: &mut Book, holds: &mut Holds, app_id: AppId, hash: InterestHash) -> bool {
        match book.hold(app_id, hash) {
            FirstIn::No(_) => false,
            FirstIn::Tell(news, _) => learn(holds, Some(&news)),
        }
    }

    fn hashes(holds: &Holds) -> usize {
        let len = |app: &AppHolds| if let AppHolds::Some(hashes) = app { hashes.len() } else { 0 };
        holds.apps.values().map(len).sum()
    }

    #[test]
    fn only_the_first_and_the_last_are_told() {
        let (mut book, mut holds, app) = (book(10, 100), Holds::default(), AppId::random());
        let one = group(app, 1);
        assert!(hold(&mut book, &mut holds, app, one));
        assert!(!hold(&mut book, &mut holds, app, one));
        assert!(book.release(app, one).is_none() && holds.any(&[(app, one)]));
        assert!(learn(&mut holds, book.release(app, one).as_ref()));
        assert!(!holds.any(&[(app, one)]) && book.release(app, one).is_none());
        assert!(book.apps.is_empty() && holds.apps.is_empty() && book.told == 0);
    }

    #[test]
    fn beyond_its_cap_an_app_is_told_as_a_whole_and_below_half_of_it_in_parts() {
        let (app, other) = (AppId::random(), AppId::random());
        let (mut book, mut holds) = (book(10, 100), Holds::default());
        let told = (0..1_000).filter(|number| hold(&mut book, &mut holds, app, group(app, *number))).count();
        assert_eq!((told, hashes(&holds), book.told), (11, 0, 0));
        assert!((0..1_000).all(|number| holds.any(&[(app, group(app, number))])));
        assert!(!holds.any(&[(other, group(other, 1))]), "nothing crosses an app's border");
        assert_eq!(book.all_of(app), InterestNews::WholeApp(app));
        let mut told = 0;
        for number in 0..1_000 {
            told += usize::from(learn(&mut holds, book.release(app, group(app, number)).as_ref()));
            assert!((number + 1..1_000).all(|left| holds.any(&[(app, group(app, left))])), "after {number}");
        }
        assert_eq!(told, 1 + 5);
        assert!(holds.apps.is_empty() && book.apps.is_empty() && book.told == 0);
        assert_eq!(book.all_of(app), InterestNews::App(app, Vec::new()));
    }

    #[test]
    fn beyond_what_may_be_told_in_all_each_app_is_told_as_a_whole() {
        let apps: Vec<_> = (0..50).map(|_| AppId::random()).collect();
        let (mut book, mut holds) = (book(10, 20), Holds::default());
        let interests: Vec<_> = (0..200).map(|number| (apps[number % 50], group(apps[number % 50], number))).collect();
        for (app, hash) in &interests {
            hold(&mut book, &mut holds, *app, *hash);
            assert!(hashes(&holds) <= 20 && book.told <= 20);
        }
        for (at, (app, hash)) in interests.iter().enumerate() {
            assert!(interests[at..].iter().all(|one| holds.any(&[*one])), "before {at}");
            learn(&mut holds, book.release(*app, *hash).as_ref());
            assert!(hashes(&holds) <= 20 && hashes(&holds) == book.told);
        }
        assert!(holds.apps.is_empty() && book.apps.is_empty() && book.told == 0);
    }

    #[test]
    fn whatever_the_limits_all_of_an_app_can_be_sent() {
        let app = AppId::random();
        for (limits, count) in [
            (CarriedLimits { interests_per_app_max: usize::MAX, ..CarriedLimits::DEFAULT }, ITEM_LEN_MAX / 16 + 10),
            (CarriedLimits { kept_bytes_max: 100_000, ..CarriedLimits::DEFAULT }, 100_000 / 4 / 16 + 10),
        ] {
            let mut book = Book::new(limits);
            let mut longest = 0;
            for number in 0..count {
                book.hold(app, InterestHash(number as u128));
                // It is long only near its end.
                if number + 100 > count {
                    longest = longest.max(Item::News(book.all_of(app)).encode().unwrap().len());
                }
            }
            assert!(longest > limits.kept_bytes_max / 5 && longest <= limits.kept_bytes_max / 4, "{longest}");
            assert_eq!(book.all_of(app), InterestNews::WholeApp(app));
        }
    }

    #[test]
    fn whoever_is_second_waits_for_the_same() {
        let app = AppId::random();
        let mut book = book(2, 100);
        let mut versions = Vec::new();
        for number in 0..5 {
            let told = match book.hold(app, group(app, number)) {
                FirstIn::Tell(_, version) | FirstIn::No(version) => version,
            };
            assert!(matches!(book.hold(app, group(app, number)), FirstIn::No(version) if version == told));
            versions.push(told);
        }
        assert_eq!(versions, [1, 2, 3, 3, 3], "the third makes it whole");
    }

    #[test]
    fn a_hash_takes_less_than_48_bytes() {
        let app = AppId::random();
        let mut holds = Holds::default();
        let mut before = 0;
        // A table is emptiest just after it grew.
        for number in 0..30_000 {
            holds.add(app, group(app, number));
            let Some(AppHolds::Some(hashes)) = holds.apps.get(&app) else { panic!() };
            let (len, capacity) = (hashes.len(), hashes.capacity());
            if capacity != before && len > 100 {
                // Seven of eight buckets are capacity, and each has a byte beside.
                let bytes = (capacity / 7 * 8) * (size_of::<InterestHash>() + 1) + 16;
                assert!(bytes <= 48 * len, "{bytes} for {len}");
            }
            before = capacity;
        }
    }
}
