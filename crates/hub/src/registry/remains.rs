//! What connections that are gone observed and were in, until it is taken away.
//!
//! A connection may have been in thousands of groups, and thousands of connections may go at once. So a few things are
//! taken away with the connection, which is all that nearly every client has. The rest is taken away in portions, and
//! others get their turn between them. Until then a connection that is gone is counted where it was. It is shown to nobody
//! and hears nothing any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};
use tokio::sync::Notify;

use super::crowd::{Crowd, part_group, part_observers};
use super::holding::cost;
use super::{App, Registry};

/// So many are taken away at once: less than a millisecond's work.
pub(super) const PORTION: usize = 256;
/// So many more are taken away with a connection that goes where much is left: all that can be left of one of which no more
/// is left than there is room for of each. Of others so much is left that they find an end without this.
const PORTIONS_MORE: usize = 3;
/// A map that had room for more than this gives it back when it holds few.
const ROOM_KEPT: usize = 8_192;

/// What is left of one connection.
#[derive(Debug)]
pub(super) struct Remains {
    pub(super) id: ConnectionId,
    pub(super) groups: Vec<GroupName>,
    pub(super) observed: Arc<[EndpointId]>,
    /// How many of those are taken away.
    pub(super) taken: usize,
}

/// The apps in which something is left to be taken away.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    apps: Mutex<VecDeque<AppId>>,
    added: Notify,
    /// Connections of which something is left.
    pub(super) connections: AtomicUsize,
    /// What that takes.
    pub(super) held: AtomicUsize,
}

impl Leftovers {
    pub(super) fn add(&self, app: AppId) {
        self.apps.lock().push_back(app);
        self.added.notify_one();
    }

    /// The first app had its turn. If more of it is left, it waits behind the others: one that always leaves more does not
    /// keep theirs where it is.
    fn end_turn(&self, more: bool) {
        let mut apps = self.apps.lock();
        let app = apps.pop_front();
        apps.extend(app.filter(|_| more));
    }
}

impl Registry {
    /// Takes away what connections left that are gone. Never ends.
    pub(crate) async fn take_all_away(&self) {
        loop {
            let added = self.leftovers.added.notified();
            // It stays on the list meanwhile: should this panic, it is gone on with.
            let Some(app) = self.leftovers.apps.lock().front().copied() else {
                added.await;
                continue;
            };
            let more = self.take_away(app);
            self.leftovers.end_turn(more);
            tokio::task::yield_now().await;
        }
    }

    /// Takes a portion away of what is left in an app. False: nothing is left.
    pub(super) fn take_away(&self, id: AppId) -> bool {
        let Some(app) = self.app(id) else { return false };
        let mut state = app.lock();
        self.take_away_of(&mut state);
        let (left, empty) = (!state.remains.is_empty(), state.is_empty());
        state.forgotten |= empty;
        drop(state);
        if empty {
            self.forget(id, &app);
        }
        left
    }

    fn take_away_of(&self, app: &mut App) {
        let before = app.remains.len();
        let freed = app.take_portion();
        self.let_go_of_left(app, freed);
        self.leftovers.connections.fetch_sub(before - app.remains.len(), Ordering::Relaxed);
    }

    /// Where more is left than there is room for, whoever goes takes some of it away.
    pub(super) fn catch_up(&self, app: &mut App) {
        for _ in 0..PORTIONS_MORE {
            if !app.is_much_left() {
                return;
            }
            self.take_away_of(app);
        }
    }
}

impl App {
    /// Whether nobody is there, and nothing of anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.remains.is_empty()
    }

    /// How many are in a group who are gone. Nobody is where no membership is left, and then its members are not looked through:
    /// whoever is refused may try again and again.
    pub(super) fn gone_in(&self, group: Option<&Crowd>) -> usize {
        if self.groups_left == 0 { 0 } else { group.map_or(0, Crowd::gone) }
    }

    /// Takes a portion away of what is left. Returns what that took.
    fn take_portion(&mut self) -> usize {
        let Some(mut remains) = self.remains.pop_front() else { return 0 };
        let groups = remains.groups.len();
        let freed = self.take_of(&mut remains);
        self.groups_left -= groups - remains.groups.len();
        if !remains.is_empty() {
            self.remains.push_front(remains);
        }
        if self.observers.capacity() > ROOM_KEPT && self.observers.len() < ROOM_KEPT / 8 {
            self.observers.shrink_to(ROOM_KEPT / 4);
        }
        freed
    }

    /// Takes a portion away of what is left of one connection, its groups first. Returns what that took.
    pub(super) fn take_of(&mut self, remains: &mut Remains) -> usize {
        let mut freed = 0;
        for _ in 0..PORTION {
            let (parted, cost) = if let Some(group) = remains.groups.pop() {
                (part_group(&mut self.groups, &group, remains.id), cost(group.as_str()))
            } else if let Some(endpoint) = remains.observed.get(remains.taken).cloned() {
                remains.taken += 1;
                (part_observers(&mut self.observers, &endpoint, remains.id), cost(endpoint.as_str()))
            } else {
                break;
            };
            freed += if parted { cost } else { 0 };
        }
        freed
    }
}

impl Remains {
    /// What it takes.
    pub(super) fn cost(&self) -> usize {
        let observed = self.observed.iter().skip(self.taken).map(EndpointId::as_str);
        self.groups.iter().map(GroupName::as_str).chain(observed).map(cost).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.taken == self.observed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Caps;
    use crate::registry::tests::{connection, end};

    #[test]
    fn what_is_left_of_a_connection_is_not_shown_and_makes_no_group_exist() {
        let (registry, app) = (Registry::default(), AppId::random());
        let alice = connection(app, "alice");
        registry.add(&alice, None, Caps::default()).unwrap();
        let groups: Vec<_> = (0..2 * PORTION).map(|nth| GroupName::parse(&format!("room {nth}")).unwrap()).collect();
        for group in &groups {
            registry.join(&alice, group, Caps::default());
            assert_eq!(registry.members(app, group).len(), 1);
        }
        registry.remove(app, alice.id).unwrap();
        assert_eq!(registry.counts().members, PORTION, "the rest is yet to be taken away");
        assert!(groups.iter().all(|group| registry.members(app, group).is_empty()));
        assert!(groups.iter().all(|group| !registry.group_exists(app, group)));
        assert_eq!(registry.groups(app, None, 1), []);
        // One of those that somebody is in as well is listed, wherever it is among them.
        let bob = connection(app, "bob");
        registry.add(&bob, None, Caps::default()).unwrap();
        registry.join(&bob, &groups[PORTION], Caps::default());
        assert_eq!(registry.groups(app, None, 1), [groups[PORTION].clone()]);
        registry.remove(app, bob.id).unwrap();
        assert!(groups.iter().all(|group| end(&registry, app, group).is_empty()));
    }

    #[test]
    fn contacts_that_are_left_have_no_group_looked_through() {
        let (registry, app) = (Registry::default(), AppId::random());
        let [alice, bob] = ["alice", "bob"].map(|endpoint| connection(app, endpoint));
        let groups_left = || registry.app(app).unwrap().lock().groups_left;
        registry.add(&alice, None, Caps::default()).unwrap();
        registry.add(&bob, None, Caps::default()).unwrap();
        for nth in 0..PORTION + 2 {
            registry.join(&alice, &GroupName::parse(&format!("room {nth}")).unwrap(), Caps::default());
        }
        let contacts: Vec<_> = (0..3 * PORTION).map(|nth| EndpointId::parse(&format!("{nth}")).unwrap()).collect();
        registry.observe(&alice, &contacts).unwrap();
        registry.remove(app, alice.id).unwrap();
        assert_eq!(groups_left(), 2);
        assert!(registry.take_away(app), "contacts are left");
        assert_eq!(groups_left(), 0);
        while registry.take_away(app) {}
        assert_eq!(groups_left(), 0);
    }

    #[tokio::test]
    async fn apps_take_turns() {
        let registry = Registry::default();
        let apps = [(); 2].map(|()| AppId::random());
        let contacts: Vec<_> = (0..2_000).map(|nth| EndpointId::parse(&format!("{nth}")).unwrap()).collect();
        for app in apps {
            let one = connection(app, "alice");
            registry.add(&one, None, Caps::default()).unwrap();
            registry.observe(&one, &contacts).unwrap();
            registry.remove(app, one.id).unwrap();
        }
        let looking = async {
            loop {
                let left = apps.map(|app| registry.app(app).map_or(0, |app| app.lock().observers.len()));
                assert!(left[0].abs_diff(left[1]) <= PORTION, "{left:?}");
                if left == [0, 0] {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = registry.take_all_away() => unreachable!("it never ends"),
            () = looking => {}
        }
        assert!(registry.apps.read().is_empty());
    }

    #[tokio::test]
    async fn much_is_taken_away_in_portions_and_others_get_their_turn() {
        let (registry, app) = (Arc::new(Registry::default()), AppId::random());
        let [alice, bob] = ["alice", "bob"].map(|endpoint| connection(app, endpoint));
        let names: Vec<_> = (0..2_000).map(|nth| format!("name {nth}")).collect();
        let contacts: Vec<_> = names.iter().map(|name| EndpointId::parse(name).unwrap()).collect();
        for one in [&alice, &bob] {
            registry.add(one, None, Caps::default()).unwrap();
            registry.observe(one, &contacts[..if one.id == alice.id { 2_000 } else { 10 }]).unwrap();
            for name in &names[..500] {
                registry.join(one, &GroupName::parse(name).unwrap(), Caps::default());
            }
        }
        assert_eq!(registry.remove(app, alice.id).unwrap().departed.groups.len(), 500);
        let left = |registry: &Registry| (registry.counts().observers, registry.counts().members);
        let before = left(&registry);
        assert_eq!(before.0 + before.1, 2_010 + 1_000 - PORTION, "one portion goes at once");
        let taking = {
            let registry = registry.clone();
            async move { registry.take_all_away().await }
        };
        let mut turns = 0;
        let looking = async {
            while left(&registry) != (10, 500) {
                turns += 1;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = taking => unreachable!("it never ends"),
            () = looking => {}
        }
        assert!(turns >= 8, "{turns}");
        // The last one's app goes once everything is.
        registry.remove(app, bob.id).unwrap();
        assert!(!registry.apps.read().is_empty());
        while registry.take_away(app) {}
        assert!(registry.apps.read().is_empty());
    }
}
