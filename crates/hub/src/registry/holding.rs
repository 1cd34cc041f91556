//! How much is held of who is in which group and who observes whom, and how much of it there may be.
//!
//! It stays for as long as the connection. So whoever may ask for more and more has to be bounded by what there is, and not
//! only by how fast it comes. An app has room for some, and for more with each connection. So as many clients as ever come
//! find room, each with its contacts and its groups. All may lose their connections at once and come again before what they
//! had is taken away: they find room, too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use respoke_core::id::{EndpointId, GroupName};

use super::presence::OBSERVED_MAX;
use super::{App, Connection, Home, Registry};

/// What a membership or an observation takes beside its name: a place among those of its connection and one among those of
/// the group or endpoint, each with the room that such lists have to grow.
const PLACE_COST: usize = 500;
/// What there is room for of each connection: four hundred contacts and some tens of groups with names of usual length.
const OF_CONNECTION: usize = 256 << 10;
/// What an app has room for besides: three connections that observe as much as one may, and some that are in thousands of
/// groups.
const OF_APP: usize = 32 << 20;
/// What there is room for besides in all: that of eight apps. Those who fill theirs leave the others what comes with their
/// connections.
const IN_ALL: usize = 8 * OF_APP;
/// Endpoints that the connections of one endpoint observe at most: what one may, and so many more for each.
const OBSERVED_BY_EACH: usize = 1_000;

/// What something of that name takes.
pub(super) const fn cost(name: &str) -> usize {
    name.len() + PLACE_COST
}

impl Registry {
    /// Takes room for what is about to be held. False: there is none.
    pub(super) fn hold(&self, app: &mut App, bytes: usize) -> bool {
        let of_app = Stock {
            held: app.held,
            connections: app.connections.len(),
            left: app.leaving,
            gone: app.remains.len(),
            besides: OF_APP,
        };
        let in_all = || Stock {
            held: self.held.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            left: self.leftovers.held.load(Ordering::Relaxed),
            gone: self.leftovers.connections.load(Ordering::Relaxed),
            besides: IN_ALL,
        };
        if bytes > 0 && !(of_app.has_room(bytes) && in_all().has_room(bytes)) {
            return false;
        }
        app.held += bytes;
        self.held.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Gives back room of what is held no more.
    pub(super) fn let_go(&self, app: &mut App, bytes: usize) {
        app.held = app.held.saturating_sub(bytes);
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A connection is gone of which so much is left.
    pub(super) fn is_left(&self, app: &mut App, bytes: usize) {
        app.leaving += bytes;
        self.leftovers.held.fetch_add(bytes, Ordering::Relaxed);
        self.leftovers.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives back room of what was left.
    pub(super) fn let_go_of_left(&self, app: &mut App, bytes: usize) {
        app.leaving = app.leaving.saturating_sub(bytes);
        self.leftovers.held.fetch_sub(bytes, Ordering::Relaxed);
        self.let_go(app, bytes);
    }

    /// What it takes that a connection observes endpoints, each named once, of those that it does not.
    pub(crate) fn cost_of_observing(&self, connection: &Connection, endpoints: &[EndpointId]) -> usize {
        self.read(connection.app_id, |app| {
            let Some(seat) = app.connections.get(&connection.id) else { return 0 };
            let new = endpoints.iter().filter(|endpoint| !seat.observed.contains(*endpoint));
            new.map(|endpoint| cost(endpoint.as_str())).sum()
        })
    }

    /// What it takes that connections of one app join groups, of those that they are not in. What another node's are in is
    /// not known here, and is taken for nothing.
    pub(crate) fn cost_of_joining(&self, connections: &[Arc<Connection>], groups: &[GroupName]) -> usize {
        let Some(first) = connections.first() else { return 0 };
        let elsewhere = connections.iter().filter(|connection| matches!(connection.home, Home::There(_))).count();
        let of_all = || groups.iter().map(|group| cost(group.as_str())).sum::<usize>();
        let elsewhere = if elsewhere > 0 { elsewhere * of_all() } else { 0 };
        elsewhere
            + self.read(first.app_id, |app| {
                let seats = connections.iter().filter_map(|connection| app.connections.get(&connection.id));
                let new = seats.flat_map(|seat| groups.iter().filter(|group| !seat.groups.contains(*group)));
                new.map(|group| cost(group.as_str())).sum::<usize>()
            })
    }
}

/// What there is room for of so many connections, and besides.
const fn room_of(connections: usize, besides: usize) -> usize {
    besides + connections * OF_CONNECTION
}

/// What is held, in an app or in all.
struct Stock {
    held: usize,
    connections: usize,
    /// What of it connections left that are gone.
    left: usize,
    /// How many these are.
    gone: usize,
    /// What there is room for besides that of each connection.
    besides: usize,
}

impl Stock {
    /// Whether there is room for more. What is left of those who are gone is passed over, for they come again before it is
    /// taken away; but no more of it than there was room for, so that who comes and goes with more, faster than that, finds an
    /// end. Who does with less takes as much away ([`Registry::catch_up`]).
    const fn has_room(&self, bytes: usize) -> bool {
        let room = room_of(self.connections, self.besides);
        let room_of_gone = room + self.gone * OF_CONNECTION;
        let passed_over = if self.left < room_of_gone { self.left } else { room_of_gone };
        self.held.saturating_sub(passed_over) + bytes <= room
    }
}

impl App {
    /// Whether more is left of connections that are gone than there is room for of those that are there.
    pub(super) fn is_much_left(&self) -> bool {
        self.leaving > room_of(self.connections.len(), OF_APP)
    }

    /// Whether connections of an endpoint may observe so many endpoints more.
    pub(super) fn may_observe(&self, endpoint: &EndpointId, more: usize) -> bool {
        // As a rule less than that is held in the whole app, and nothing has to be looked up.
        if self.held / PLACE_COST + more <= OBSERVED_MAX {
            return true;
        }
        let siblings = self.endpoints.get(endpoint).map_or(&[][..], Vec::as_slice);
        let seats = siblings.iter().filter_map(|sibling| self.connections.get(&sibling.id));
        let observed = seats.map(|seat| seat.observed.len()).sum::<usize>();
        observed + more <= OBSERVED_MAX + siblings.len() * OBSERVED_BY_EACH
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::id::AppId;

    use super::*;
    use crate::registry::tests::{connection, end};
    use crate::registry::{Caps, Full, Join};

    fn contacts(of: usize, count: usize) -> Vec<EndpointId> {
        (0..count).map(|nth| EndpointId::parse(&format!("{of:03}{nth:05}{}", "x".repeat(240))).unwrap()).collect()
    }

    #[test]
    fn an_endpoints_connections_observe_so_many_and_no_more() {
        let (registry, app) = (Registry::default(), AppId::random());
        let all: Vec<_> = (0..5).map(|_| connection(app, "alice")).collect();
        for one in &all {
            registry.add(one, None, Caps::default()).unwrap();
        }
        registry.observe(&all[0], &contacts(0, OBSERVED_MAX)).unwrap();
        for (nth, one) in all.iter().enumerate().skip(1) {
            registry.observe(one, &contacts(nth, OBSERVED_BY_EACH)).unwrap();
        }
        registry.observe(&all[1], &contacts(10, OBSERVED_BY_EACH)).unwrap();
        assert_eq!(registry.observe(&all[2], &contacts(11, 1)), Err(Full::Connection));
        // What it observes already takes nothing.
        registry.observe(&all[2], &contacts(2, OBSERVED_BY_EACH)).unwrap();
        let bob = connection(app, "bob");
        registry.add(&bob, None, Caps::default()).unwrap();
        registry.observe(&bob, &contacts(11, OBSERVED_BY_EACH)).unwrap();
    }

    #[test]
    fn an_app_holds_so_much_for_each_connection_and_gives_all_of_it_back() {
        let (registry, app) = (Registry::default(), AppId::random());
        let mut all = Vec::new();
        let refused = (0..100).find(|nth| {
            let one = connection(app, &format!("endpoint {nth}"));
            registry.add(&one, None, Caps::default()).unwrap();
            all.push(one.clone());
            registry.observe(&one, &contacts(*nth, 5_000)).is_err()
        });
        assert_eq!(refused, Some(9), "nine times 3.7 MB and no tenth");
        let last = all.last().unwrap();
        // A list of contacts as people have them, and groups, find room.
        registry.observe(last, &contacts(50, 300)).unwrap();
        for nth in 0..50 {
            let group = GroupName::parse(&format!("group {nth}")).unwrap();
            assert!(matches!(registry.join(last, &group, Caps::default()), Join::Joined { .. }));
        }
        let group = GroupName::parse("group 0").unwrap();
        registry.join(&all[0], &group, Caps::default());
        assert!(registry.leave(app, last.id, &group));
        end(&registry, app, &group);
        for one in &all {
            registry.remove(app, one.id).unwrap();
            while registry.take_away(app) {}
        }
        assert_eq!(registry.counts(), crate::registry::Counts::default());
        assert_eq!(registry.held.load(Ordering::Relaxed), 0);
        assert!(registry.apps.read().is_empty());
    }

    #[test]
    fn all_who_lost_their_connections_find_room_again_at_once_and_not_without_end() {
        let (registry, app) = (Registry::default(), AppId::random());
        let lists: Vec<_> = (0..35).map(|nth| contacts(nth, 1_500)).collect();
        let come = || {
            let come = |(nth, list): (usize, &Vec<EndpointId>)| {
                let one = connection(app, &format!("endpoint {nth}"));
                registry.add(&one, None, Caps::default()).unwrap();
                registry.observe(&one, list).map(|_| one)
            };
            lists.iter().enumerate().map(come).collect::<Result<Vec<_>, _>>()
        };
        let go = |all: Vec<Arc<Connection>>| all.iter().for_each(|one| drop(registry.remove(app, one.id)));
        for _ in 0..2 {
            go(come().unwrap());
            assert!(registry.leftovers.held.load(Ordering::Relaxed) > 30 << 20, "nearly all is yet to be taken away");
            go(come().expect("they come again"));
            while registry.take_away(app) {}
        }
        let rounds = (0..10).take_while(|_| come().map(&go).is_ok()).count();
        assert_eq!(rounds, 4);
        for one in registry.connections(app) {
            registry.remove(app, one.id);
        }
        while registry.take_away(app) {}
        let left = &registry.leftovers;
        let held = [&registry.held, &registry.connections, &left.held, &left.connections];
        assert_eq!(held.map(|count| count.load(Ordering::Relaxed)), [0; 4]);
        assert!(registry.apps.read().is_empty());
    }

    #[test]
    fn who_comes_and_goes_with_little_takes_away_what_it_leaves() {
        let (registry, app) = (Registry::default(), AppId::random());
        // What is left of each is less than what there is room for of one that is gone.
        let list: Vec<_> = (0..700).map(|nth| EndpointId::parse(&format!("contact {nth}")).unwrap()).collect();
        let left = || registry.leftovers.held.load(Ordering::Relaxed);
        let mut most = 0;
        for _ in 0..200 {
            let one = connection(app, "alice");
            registry.add(&one, None, Caps::default()).unwrap();
            registry.observe(&one, &list).expect("there is room");
            registry.remove(app, one.id).unwrap();
            most = most.max(left());
        }
        assert!((OF_APP - OF_CONNECTION..OF_APP + OF_CONNECTION).contains(&most), "{most}");
        while registry.take_away(app) {}
        assert_eq!((left(), registry.leftovers.connections.load(Ordering::Relaxed)), (0, 0));
        assert_eq!(registry.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn of_a_group_that_ends_what_was_left_there_is_given_back_once() {
        let (registry, app) = (Registry::default(), AppId::random());
        let [alice, bob] = ["alice", "bob"].map(|endpoint| connection(app, endpoint));
        let groups: Vec<_> = (0..400).map(|nth| GroupName::parse(&format!("room {nth}")).unwrap()).collect();
        for one in [&alice, &bob] {
            registry.add(one, None, Caps::default()).unwrap();
            for group in &groups {
                registry.join(one, group, Caps::default());
            }
        }
        registry.remove(app, alice.id).unwrap();
        for group in &groups {
            end(&registry, app, group);
        }
        assert_eq!(registry.held.load(Ordering::Relaxed), 0);
        while registry.take_away(app) {}
        let left = &registry.leftovers;
        assert_eq!([&left.held, &left.connections].map(|count| count.load(Ordering::Relaxed)), [0; 2]);
    }

    #[test]
    fn who_is_gone_takes_nobodys_place_in_a_group() {
        let (registry, app) = (Registry::default(), AppId::random());
        let two = Caps { members: Some(2), ..Caps::default() };
        let [alice, bob, carol, again] = ["alice", "bob", "carol", "alice"].map(|endpoint| connection(app, endpoint));
        let groups: Vec<_> = (0..400).map(|nth| GroupName::parse(&format!("room {nth}")).unwrap()).collect();
        for one in [&alice, &bob, &carol, &again] {
            registry.add(one, None, two).unwrap();
        }
        let joins = |one| groups.iter().map(|group| registry.join(one, group, two)).collect::<Vec<_>>();
        for one in [&alice, &bob] {
            joins(one);
        }
        assert_eq!(joins(&carol), vec![Join::Full(Full::Group); 400]);
        // In more than are taken away with her.
        registry.remove(app, alice.id).unwrap();
        assert_eq!(registry.room_for(app, std::slice::from_ref(&again), &groups, two), Ok(()));
        assert!(joins(&again).iter().all(|join| matches!(join, Join::Joined { .. })));
        assert_eq!(joins(&carol), vec![Join::Full(Full::Group); 400]);
    }

    #[test]
    fn who_is_gone_is_looked_for_only_where_something_of_somebody_is_left() {
        let (registry, app) = (Registry::default(), AppId::random());
        let one = Caps { members: Some(1), ..Caps::default() };
        let [alice, bob] = ["alice", "bob"].map(|endpoint| connection(app, endpoint));
        let group = GroupName::parse("room").unwrap();
        for one in [&alice, &bob] {
            registry.add(one, None, Caps::default()).unwrap();
        }
        registry.join(&alice, &group, one);
        // Whoever looked would find that she is.
        alice.gone.store(true, Ordering::Relaxed);
        let bobs = std::slice::from_ref(&bob);
        assert_eq!(registry.join(&bob, &group, one), Join::Full(Full::Group));
        assert_eq!(registry.room_for(app, bobs, std::slice::from_ref(&group), one), Err(Full::Group));
    }

    #[test]
    fn what_is_asked_for_is_what_it_takes() {
        let (registry, app) = (Registry::default(), AppId::random());
        let alice = connection(app, "alice");
        registry.add(&alice, None, Caps::default()).unwrap();
        let (ten, groups) = (contacts(0, 10), ["a", "bc"].map(|name| GroupName::parse(name).unwrap()));
        assert_eq!(registry.cost_of_observing(&alice, &ten[..4]), 4 * (248 + PLACE_COST));
        registry.observe(&alice, &ten[..4]).unwrap();
        assert_eq!(registry.cost_of_observing(&alice, &ten), 6 * (248 + PLACE_COST));
        let targets = std::slice::from_ref(&alice);
        registry.join(&alice, &groups[0], Caps::default());
        assert_eq!(registry.cost_of_joining(targets, &groups), 2 + PLACE_COST);
        assert_eq!(registry.held.load(Ordering::Relaxed), 4 * (248 + PLACE_COST) + 1 + PLACE_COST);
    }
}
