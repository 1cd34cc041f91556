//! Sets of connections: the members of a group, the observers of an endpoint.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use respoke_core::id::{ConnectionId, EndpointId, GroupName};

use super::Connection;

/// Connections at one moment, in the order of their ids, shared and not copied.
pub type Members = Arc<[Arc<Connection>]>;

/// Those of them who are not gone.
pub(super) fn there(members: Members) -> Members {
    if members.iter().any(|member| member.is_gone()) {
        members.iter().filter(|member| !member.is_gone()).cloned().collect()
    } else {
        members
    }
}

/// A set of connections that is read far more often than changed: its list is made once after each change.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// In order, and so is the list, for it is told in pages.
    pub(super) members: Seated,
    list: Option<Members>,
}

#[derive(Debug)]
pub(super) struct Member {
    connection: Arc<Connection>,
    /// When it came, on the registry's own count.
    since: u64,
}

impl Crowd {
    pub(super) fn add(&mut self, connection: &Arc<Connection>, since: u64) {
        self.members.insert(Member { connection: connection.clone(), since });
        self.list = None;
    }

    /// Takes a connection out. False: it was not there.
    fn part(&mut self, id: ConnectionId) -> bool {
        self.list = None;
        self.members.remove(&id)
    }

    /// How many are in it who are gone.
    pub(super) fn gone(&self) -> usize {
        self.members.values().filter(|member| member.connection.is_gone()).count()
    }

    /// Whether somebody is in it who is not gone.
    pub(super) fn is_anybody_there(&self) -> bool {
        self.members.values().any(|member| !member.connection.is_gone())
    }

    /// All in it, those among them who are gone and not yet taken away.
    pub(super) fn list(&mut self) -> Members {
        let members = &self.members;
        self.list.get_or_insert_with(|| members.values().map(|member| member.connection.clone()).collect()).clone()
    }

    /// At most so many behind one, in the order of their ids, and when each came.
    pub(super) fn some_after(
        &self,
        after: Option<ConnectionId>,
        most: usize,
    ) -> impl Iterator<Item = (&Arc<Connection>, u64)> {
        self.members.after(after).take(most).map(|member| (&member.connection, member.since))
    }

    /// When one came, if it is in it.
    pub(super) fn since(&self, id: ConnectionId) -> Option<u64> {
        self.members.get(&id).map(|member| member.since)
    }

    pub(super) fn before(&self, moment: u64) -> Vec<Arc<Connection>> {
        let members = self.members.values().filter(|member| member.since < moment);
        members.map(|member| member.connection.clone()).collect()
    }
}

/// Members in the order of their ids. Most crowds have one, as the observers of a contact have, and a map takes room for
/// eleven.
#[derive(Debug, Default)]
pub(super) enum Seated {
    #[default]
    Nobody,
    One(Member),
    Many(BTreeMap<ConnectionId, Member>),
}

impl Seated {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::One(_) => 1,
            Self::Many(members) => members.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn contains_key(&self, id: &ConnectionId) -> bool {
        match self {
            Self::Nobody => false,
            Self::One(member) => member.connection.id == *id,
            Self::Many(members) => members.contains_key(id),
        }
    }

    fn get(&self, id: &ConnectionId) -> Option<&Member> {
        match self {
            Self::Nobody => None,
            Self::One(member) => Some(member).filter(|one| one.connection.id == *id),
            Self::Many(members) => members.get(id),
        }
    }

    fn values(&self) -> impl Iterator<Item = &Member> {
        let (one, many) = match self {
            Self::Nobody => (None, None),
            Self::One(member) => (Some(member), None),
            Self::Many(members) => (None, Some(members.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Those behind one.
    fn after(&self, after: Option<ConnectionId>) -> impl Iterator<Item = &Member> {
        let (one, many) = match self {
            Self::Nobody => (None, None),
            Self::One(member) => (Some(member).filter(|one| after.is_none_or(|after| one.connection.id > after)), None),
            Self::Many(members) => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                (None, Some(members.range((from, Bound::Unbounded))))
            }
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(_, member)| member))
    }

    fn insert(&mut self, member: Member) {
        match std::mem::take(self) {
            Self::Nobody => *self = Self::One(member),
            Self::One(other) => {
                let both = [other, member].map(|member| (member.connection.id, member));
                *self = Self::Many(both.into());
            }
            Self::Many(mut members) => {
                members.insert(member.connection.id, member);
                *self = Self::Many(members);
            }
        }
    }

    fn remove(&mut self, id: &ConnectionId) -> bool {
        let removed = match self {
            Self::Nobody => false,
            Self::One(member) => member.connection.id == *id,
            Self::Many(members) => return members.remove(id).is_some(),
        };
        if removed {
            *self = Self::Nobody;
        }
        removed
    }
}

/// Takes a connection out of the crowd of that name; an empty one goes. False: it was not there.
pub(super) fn part_group(groups: &mut BTreeMap<GroupName, Crowd>, group: &GroupName, id: ConnectionId) -> bool {
    let Some(crowd) = groups.get_mut(group) else { return false };
    let parted = crowd.part(id);
    if crowd.members.is_empty() {
        groups.remove(group);
    }
    parted
}

/// The same of who observes an endpoint.
pub(super) fn part_observers(
    observers: &mut HashMap<EndpointId, Crowd>,
    endpoint: &EndpointId,
    id: ConnectionId,
) -> bool {
    let Some(crowd) = observers.get_mut(endpoint) else { return false };
    let parted = crowd.part(id);
    if crowd.members.is_empty() {
        observers.remove(endpoint);
    }
    parted
}
