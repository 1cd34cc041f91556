//! Who is in which group.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};

use super::connection::reached;
use super::crowd::{Crowd, part_group, there};
use super::holding::cost;
use super::remains::PORTION;
use super::{Caps, Connection, Full, Members, Registry};

/// What came of joining a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// It is a member now, as so many others were before.
    Joined {
        /// How many.
        others: usize,
    },
    /// It was one before.
    Already,
    /// The connection is gone.
    Gone,
    /// A limit was reached.
    Full(Full),
}

impl Registry {
    /// Makes a connection a member of a group.
    pub(crate) fn join(&self, connection: &Arc<Connection>, group: &GroupName, caps: Caps) -> Join {
        let Some(app) = self.app(connection.app_id) else { return Join::Gone };
        let mut app = app.lock();
        let app = &mut *app;
        let Some(seat) = app.connections.get_mut(&connection.id) else { return Join::Gone };
        if seat.groups.contains(group) {
            return Join::Already;
        }
        if reached(seat.groups.len(), caps.groups) {
            return Join::Full(Full::Connection);
        }
        let crowd = app.groups.get(group);
        let others = crowd.map_or(0, |crowd| crowd.members.len());
        // Who is gone is looked for only where there would be no room.
        if reached(others, caps.members) && reached(others - app.gone_in(crowd), caps.members) {
            return Join::Full(Full::Group);
        }
        if !self.hold(app, cost(group.as_str())) {
            return Join::Full(Full::Connection);
        }
        let Some(seat) = app.connections.get_mut(&connection.id) else { return Join::Gone };
        seat.groups.insert(group.clone());
        app.groups.entry(group.clone()).or_default().add(connection, self.moment());
        Join::Joined { others }
    }

    /// Takes a connection out of a group. False: it was no member.
    pub(crate) fn leave(&self, app: AppId, id: ConnectionId, group: &GroupName) -> bool {
        self.read(app, |app| {
            let left = app.connections.get_mut(&id).is_some_and(|seat| seat.groups.remove(group));
            if left && part_group(&mut app.groups, group, id) {
                self.let_go(app, cost(group.as_str()));
            }
            left
        })
    }

    /// The members of a group, to be told something; whoever is gone is passed over there.
    pub(crate) fn heard_in(&self, app: AppId, group: &GroupName) -> Members {
        self.read(app, |app| app.groups.get_mut(group).map(Crowd::list).unwrap_or_default())
    }

    /// The members of a group.
    pub(crate) fn members(&self, app: AppId, group: &GroupName) -> Members {
        there(self.heard_in(app, group))
    }

    /// How many frames tell of `connection` joining a group, and one day of its leaving: those who are members already
    /// hear of both, and so does the connection itself where others do that for it. None if it is a member.
    pub(crate) fn frames_of_joining(&self, connection: &Connection, group: &GroupName, told: bool) -> usize {
        self.read(connection.app_id, |app| {
            let Some(crowd) = app.groups.get(group) else { return 2 * usize::from(told) };
            if crowd.members.contains_key(&connection.id) { 0 } else { 2 * (crowd.members.len() + usize::from(told)) }
        })
    }

    /// Whether a connection is a member of a group.
    pub(crate) fn is_member(&self, app: AppId, group: &GroupName, id: ConnectionId) -> bool {
        self.read(app, |app| app.groups.get(group).is_some_and(|crowd| crowd.members.contains_key(&id)))
    }

    /// How many members a group has.
    pub(crate) fn member_count(&self, app: AppId, group: &GroupName) -> usize {
        self.read(app, |app| app.groups.get(group).map_or(0, |crowd| crowd.members.len()))
    }

    /// Those members of a group who were it before a moment.
    pub(crate) fn members_before(&self, app: AppId, group: &GroupName, moment: u64) -> Vec<Arc<Connection>> {
        self.read(app, |app| app.groups.get(group).map(|crowd| crowd.before(moment)).unwrap_or_default())
    }

    /// Whether a group has members.
    pub(crate) fn group_exists(&self, app: AppId, group: &GroupName) -> bool {
        self.read(app, |app| app.groups.get(group).is_some_and(Crowd::is_anybody_there))
    }

    /// The names of at most `most` groups after `after` that have members, in order.
    pub(crate) fn groups(&self, app: AppId, after: Option<&GroupName>, most: usize) -> Vec<GroupName> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(app, |app| {
            let groups = app.groups.range::<GroupName, _>((from, Bound::Unbounded));
            let groups = groups.filter(|(_, crowd)| crowd.is_anybody_there());
            groups.take(most).map(|(name, _)| name.clone()).collect()
        })
    }

    /// The groups that an endpoint's connections are in.
    pub(crate) fn groups_of(&self, app: AppId, endpoint: &EndpointId) -> HashSet<GroupName> {
        self.read(app, |app| {
            let connections = app.endpoints.get(endpoint).into_iter().flatten();
            connections
                .filter_map(|connection| app.connections.get(&connection.id))
                .flat_map(|seat| seat.groups.iter().cloned())
                .collect()
        })
    }

    /// The same of at most `most` behind `after`, in order.
    pub(crate) fn some_groups_of(
        &self,
        app: AppId,
        endpoint: &EndpointId,
        after: Option<&GroupName>,
        most: usize,
    ) -> Vec<GroupName> {
        self.read(app, |app| {
            let siblings = app.endpoints.get(endpoint).into_iter().flatten();
            let seats = siblings.filter_map(|sibling| app.connections.get(&sibling.id));
            let mut first = BTreeSet::new();
            for group in seats.flat_map(|seat| &seat.groups).filter(|group| after.is_none_or(|after| *group > after)) {
                first.insert(group);
                if first.len() > most {
                    first.pop_last();
                }
            }
            first.into_iter().cloned().collect()
        })
    }

    /// Begins to end a group. Whoever is a member by now is none any more once all portions were taken out; who joins later
    /// stays.
    pub(crate) fn begin_to_end(&self) -> Ending {
        Ending { began: self.moment(), after: None, is_over: false }
    }

    /// The next portion of the members of a group that ends, in the order of their ids. Each is to be taken out by
    /// [`Self::end_of`].
    pub(crate) fn next_to_end(&self, app: AppId, group: &GroupName, ending: &mut Ending) -> Vec<Arc<Connection>> {
        // Of an app that has nobody nothing is read.
        ending.is_over = true;
        self.read(app, |app| {
            let crowd = app.groups.get(group);
            let portion = crowd.into_iter().flat_map(|crowd| crowd.some_after(ending.after, PORTION));
            let mut portion: Vec<_> = portion.map(|(member, since)| (member.clone(), since)).collect();
            ending.is_over = portion.len() < PORTION;
            ending.after = portion.last().map(|(last, _)| last.id);
            portion.retain(|(_, since)| *since < ending.began);
            portion.into_iter().map(|(member, _)| member).collect()
        })
    }

    /// Takes a portion out of a group that ends, but for whoever left meanwhile, or joined anew. Returns those who are not
    /// gone.
    pub(crate) fn end_of(
        &self,
        app: AppId,
        group: &GroupName,
        ending: &Ending,
        portion: &[Arc<Connection>],
    ) -> Vec<Arc<Connection>> {
        self.read(app, |app| {
            let (mut members, mut gone) = (0, 0);
            let mut taken_out = portion.to_vec();
            taken_out.retain(|member| {
                let since = app.groups.get(group).and_then(|crowd| crowd.since(member.id));
                if since.is_none_or(|since| since >= ending.began) {
                    return false;
                }
                if let Some(seat) = app.connections.get_mut(&member.id) {
                    seat.groups.remove(group);
                }
                part_group(&mut app.groups, group, member.id);
                *(if member.is_gone() { &mut gone } else { &mut members }) += 1;
                !member.is_gone()
            });
            self.let_go(app, members * cost(group.as_str()));
            self.let_go_of_left(app, gone * cost(group.as_str()));
            taken_out
        })
    }
}

/// How far the ending of a group has come.
#[derive(Debug)]
pub(crate) struct Ending {
    /// When, on the registry's own count.
    began: u64,
    /// Up to where, in the order of ids.
    after: Option<ConnectionId>,
    /// Whether none is left.
    pub(crate) is_over: bool,
}
