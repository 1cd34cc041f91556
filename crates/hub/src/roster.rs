//! Who is connected anywhere.
//!
//! All that an operation asks of who is connected, in which group, observing whom, on whatever node, it asks here. On a
//! server that is alone the answer is what this node holds. Where there are several, this is where the others' part is
//! added: counts from what each tells of what it holds, so they are answered at once, and lists by asking whoever holds
//! them, so they are waited for.

use std::collections::HashSet;
use std::future::{Ready, ready};
use std::sync::Arc;

use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};

use crate::local::Local;
use crate::ops::ConnectionState;
use crate::registry::{Connection, Members, Presences};

/// Who is connected anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roster<'a> {
    local: &'a Local,
}

impl<'a> Roster<'a> {
    pub(crate) const fn new(local: &'a Local) -> Self {
        Self { local }
    }
}

/// How many there are. These say what a request costs, and are asked often.
impl Roster<'_> {
    /// How many connections an app has.
    pub(crate) fn connection_count(self, app: AppId) -> usize {
        self.local.registry.connection_count(app)
    }

    /// How many connections an endpoint has.
    pub(crate) fn sibling_count(self, app: AppId, endpoint: &EndpointId) -> usize {
        self.local.registry.sibling_count(app, endpoint)
    }

    /// How many connections endpoints have together, each of them counted once however often it is named.
    pub(crate) fn connection_count_of(self, app: AppId, endpoints: &[EndpointId]) -> usize {
        self.local.registry.connection_count_of(app, endpoints)
    }

    /// How many members a group has.
    pub(crate) fn member_count(self, app: AppId, group: &GroupName) -> usize {
        self.local.registry.member_count(app, group)
    }

    /// Whether a group has members.
    pub(crate) fn group_exists(self, app: AppId, group: &GroupName) -> bool {
        self.local.registry.group_exists(app, group)
    }

    /// How many frames tell of `connection` joining a group, and one day of its leaving: those who are members already
    /// hear of both, and so does the connection itself where others do that for it. None if it is a member.
    pub(crate) fn frames_of_joining(self, connection: &Connection, group: &GroupName, told: bool) -> usize {
        self.local.registry.frames_of_joining(connection, group, told)
    }

    /// How many observe an endpoint.
    pub(crate) fn observer_count(self, app: AppId, endpoint: &EndpointId) -> usize {
        self.local.registry.observer_count(app, endpoint)
    }

    /// The groups that an endpoint's connections are in.
    pub(crate) fn groups_of(self, app: AppId, endpoint: &EndpointId) -> HashSet<GroupName> {
        self.local.registry.groups_of(app, endpoint)
    }
}

/// Who they are.
impl Roster<'_> {
    /// A connection by its id.
    pub(crate) fn connection(self, app: AppId, id: ConnectionId) -> Ready<Option<Arc<Connection>>> {
        ready(self.local.registry.connection(app, id))
    }

    /// An endpoint's connections.
    pub(crate) fn connections_of(self, app: AppId, endpoint: &EndpointId) -> Ready<Vec<Arc<Connection>>> {
        ready(self.local.registry.connections_of(app, endpoint))
    }

    /// All connections of an app.
    pub(crate) fn connections(self, app: AppId) -> Ready<Vec<Arc<Connection>>> {
        ready(self.local.registry.connections(app))
    }

    /// At most `most` connections of an app after `after`, in the order of their ids.
    pub(crate) fn connections_after(
        self,
        app: AppId,
        after: Option<ConnectionId>,
        most: usize,
    ) -> Ready<Vec<Arc<Connection>>> {
        ready(self.local.registry.connections_after(app, after, most))
    }

    /// The connections of an endpoint with what each is in and says.
    pub(crate) fn states_of(self, app: AppId, endpoint: &EndpointId) -> Ready<Vec<ConnectionState>> {
        ready(self.local.registry.states_of(app, endpoint))
    }

    /// The members of a group.
    pub(crate) fn members(self, app: AppId, group: &GroupName) -> Ready<Members> {
        ready(self.local.registry.members(app, group))
    }

    /// The names of at most `most` groups after `after`, in order.
    pub(crate) fn groups(self, app: AppId, after: Option<&str>, most: usize) -> Ready<Vec<GroupName>> {
        ready(self.local.registry.groups(app, after, most))
    }

    /// What each connection of endpoints says of its availability, all of one moment.
    pub(crate) fn presences(self, app: AppId, endpoints: Vec<EndpointId>) -> Ready<Vec<(EndpointId, Presences)>> {
        ready(self.local.registry.presences(app, endpoints))
    }

    /// What a connection said last of its availability.
    pub(crate) fn presence(self, app: AppId, id: ConnectionId) -> Ready<Option<Presence>> {
        ready(self.local.registry.presence(app, id))
    }
}
