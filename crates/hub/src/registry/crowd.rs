//! Sets of connections: the members of a group, the observers of an endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use respoke_core::id::{ConnectionId, GroupName};

use super::Connection;

/// Connections at one moment, in the order of their ids, shared and not copied.
pub type Members = Arc<[Arc<Connection>]>;

/// A set of connections that is read far more often than changed: its list is made once after each change.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// In order, and so is the list, for it is told in pages.
    pub(super) members: BTreeMap<ConnectionId, Member>,
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
        self.members.insert(connection.id, Member { connection: connection.clone(), since });
        self.list = None;
    }

    /// Takes a connection out. True: nobody is left.
    pub(super) fn part(&mut self, id: ConnectionId) -> bool {
        self.members.remove(&id);
        self.list = None;
        self.members.is_empty()
    }

    pub(super) fn list(&mut self) -> Members {
        let members = &self.members;
        self.list.get_or_insert_with(|| members.values().map(|member| member.connection.clone()).collect()).clone()
    }

    pub(super) fn before(&self, moment: u64) -> Vec<Arc<Connection>> {
        let members = self.members.values().filter(|member| member.since < moment);
        members.map(|member| member.connection.clone()).collect()
    }
}

/// Takes a connection out of the crowd of that name; an empty one goes.
pub(super) fn part_group(groups: &mut BTreeMap<GroupName, Crowd>, group: &GroupName, id: ConnectionId) {
    if groups.get_mut(group).is_some_and(|crowd| crowd.part(id)) {
        groups.remove(group);
    }
}
