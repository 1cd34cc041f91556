//! Who is connected anywhere.
//!
//! An operation may want to know who is connected, in which group, observing whom, on whatever node. It asks here. On a
//! server that is alone the answer is what this node holds, and is there at once. Where there are several nodes, the
//! others' part is added. If something here is there for it, that part is known (`others/kept.rs`). All else is asked of
//! whoever holds it (`others/asks.rs`).
//!
//! A count says what a request costs, or how much of a limit is left. It may be a second old, and older of a node that does
//! not answer. A list is whole, or is refused.

use std::sync::Arc;

use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};
use respoke_core::ports::{Holder, Node, Whom};
use respoke_core::refusal::Refusal;

use crate::local::Local;
use crate::others::{Count, Others};
use crate::registry::{Caps, Connection, ConnectionState, Members, Presences};

/// Who is connected anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roster<'a> {
    local: &'a Local,
    others: Option<&'a Others>,
}

/// How many connections there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCount {
    /// Of all nodes that ever said how many they have.
    pub known: usize,
    /// Whether every node did. Otherwise there may be more.
    pub is_all: bool,
}

/// On which nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// On all.
    #[default]
    Anywhere,
    /// On this one.
    Here,
    /// On another.
    There(Node),
}

impl At {
    /// What is here, if that is meant.
    fn with_here<T: Default>(self, here: impl FnOnce() -> T) -> T {
        match self {
            Self::Anywhere | Self::Here => here(),
            Self::There(_) => T::default(),
        }
    }
}

impl<'a> Roster<'a> {
    pub(crate) const fn new(local: &'a Local, others: Option<&'a Others>) -> Self {
        Self { local, others }
    }

    /// So many here, and as many as others say.
    async fn with_others(self, here: usize, app: AppId, of: impl FnOnce() -> Holder) -> usize {
        match self.others {
            None => here,
            // In a box, for what a server that is alone asks should not be longer for it.
            Some(others) => here.saturating_add(Box::pin(others.count(app, of())).await),
        }
    }
}

/// How many there are. These say what a request costs, and are asked often.
impl Roster<'_> {
    /// How many connections an app has, as far as that is known.
    pub(crate) async fn connection_count(self, app: AppId) -> ConnectionCount {
        let here = self.local.registry.connection_count(app);
        let Some(others) = self.others else { return ConnectionCount { known: here, is_all: true } };
        let Count { known, unheard } = Box::pin(others.count_lately(app, Holder::App)).await;
        ConnectionCount { known: here.saturating_add(known), is_all: unheard == 0 }
    }

    /// How many connections an endpoint has.
    pub(crate) async fn sibling_count(self, app: AppId, endpoint: &EndpointId) -> usize {
        let here = self.local.registry.sibling_count(app, endpoint);
        self.with_others(here, app, || Holder::Endpoint(endpoint.clone())).await
    }

    /// How many members a group has.
    pub(crate) async fn member_count(self, app: AppId, group: &GroupName) -> usize {
        let here = self.local.registry.member_count(app, group);
        self.with_others(here, app, || Holder::Group(group.clone())).await
    }

    /// How many observe an endpoint.
    pub(crate) async fn observer_count(self, app: AppId, endpoint: &EndpointId) -> usize {
        let here = self.local.registry.observer_count(app, endpoint);
        self.with_others(here, app, || Holder::Observers(endpoint.clone())).await
    }

    /// What an app allows this node's connections, beside those of others.
    ///
    /// # Errors
    ///
    /// [`Refusal::NodeSilent`] if a node decides that by what it has never told.
    pub(crate) async fn caps_of_connections(
        self,
        app: AppId,
        endpoint: &EndpointId,
        caps: Caps,
    ) -> Result<Caps, Refusal> {
        let Some(others) = self.others else { return Ok(caps) };
        let left = async |most: Option<u32>, here: usize, of: Holder| match most {
            None => Ok(None),
            Some(_) => Box::pin(others.count_now(app, of)).await.beside(most, here, 1),
        };
        let registry = &self.local.registry;
        let (connections, endpoint_connections) = tokio::join!(
            left(caps.connections, registry.connection_count(app), Holder::App),
            left(caps.endpoint_connections, registry.sibling_count(app, endpoint), Holder::Endpoint(endpoint.clone())),
        );
        Ok(Caps { connections: connections?, endpoint_connections: endpoint_connections?, ..caps })
    }
}

/// How many there are of what is held here, so that it is known.
impl Roster<'_> {
    /// How many connections observed endpoints have together, each of them counted once however often it is named.
    pub(crate) fn connection_count_of(self, app: AppId, endpoints: &[EndpointId]) -> usize {
        let here = self.local.registry.connection_count_of(app, endpoints);
        here + self.others.map_or(0, |others| others.observed_known(app, endpoints))
    }

    /// Whether a group has members. None: that cannot be known at present.
    pub(crate) fn group_exists(self, app: AppId, group: &GroupName) -> Option<bool> {
        match self.others {
            _ if self.local.registry.group_exists(app, group) => Some(true),
            None => Some(false),
            Some(others) => others.is_anybody_in(app, group),
        }
    }

    /// How many frames tell of `connection` joining a group, and one day of its leaving: those who are members already
    /// hear of both, and so does the connection itself where others do that for it. None if it is a member.
    pub(crate) fn frames_of_joining(self, connection: &Connection, group: &GroupName, told: bool) -> usize {
        let here = self.local.registry.frames_of_joining(connection, group, told);
        let Some(others) = self.others else { return here };
        let app = connection.app_id;
        let is_member = here == 0 && self.local.registry.is_member(app, group, connection.id);
        if is_member || others.is_member(app, group, connection.id) {
            return 0;
        }
        here + 2 * self.members_elsewhere(app, group)
    }

    /// How many members a group has on other nodes, of those who said so.
    pub(crate) fn members_elsewhere(self, app: AppId, group: &GroupName) -> usize {
        self.others.and_then(|others| others.members_known(app, group)).map_or(0, |count| count.known)
    }

    /// What an app allows this node's members of a group, beside those of others, before so many more join.
    ///
    /// # Errors
    ///
    /// [`Refusal::NodeSilent`] if the others were not asked yet, or one decides that by what it has never told.
    pub(crate) fn caps_of_members(
        self,
        app: AppId,
        group: &GroupName,
        more: usize,
        caps: Caps,
    ) -> Result<Caps, Refusal> {
        let Some(others) = self.others.filter(|_| caps.members.is_some()) else { return Ok(caps) };
        let elsewhere = others.members_known(app, group).ok_or(Refusal::NodeSilent)?;
        let members = elsewhere.beside(caps.members, self.local.registry.member_count(app, group), more)?;
        Ok(Caps { members, ..caps })
    }

    /// The same beside those of others that are known, for one of many that were judged together: who is refused only now has
    /// joined in part.
    pub(crate) fn caps_beside_known_members(self, app: AppId, group: &GroupName, caps: Caps) -> Caps {
        let elsewhere =
            self.others.filter(|_| caps.members.is_some()).and_then(|others| others.members_known(app, group));
        elsewhere.map_or(caps, |elsewhere| Caps { members: elsewhere.left(caps.members), ..caps })
    }

    /// What each connection of observed endpoints says of its availability; what is here, all of one moment.
    pub(crate) fn presences(self, app: AppId, endpoints: Vec<EndpointId>) -> Vec<(EndpointId, Presences)> {
        let Some(others) = self.others else { return self.local.registry.presences(app, endpoints) };
        let mut found = self.local.registry.presences(app, endpoints.clone());
        if found.is_empty() {
            found = endpoints.into_iter().map(|endpoint| (endpoint, Presences::new())).collect();
        }
        for (endpoint, presences) in &mut found {
            presences.extend(others.presences(app, endpoint));
        }
        found
    }

    /// What a connection of an observed endpoint said last of its availability.
    pub(crate) fn presence(self, app: AppId, id: ConnectionId) -> Option<Presence> {
        let here = self.local.registry.presence(app, id);
        here.or_else(|| self.others?.presence(id))
    }
}

/// Who they are. Each of these is refused if a node does not answer that would have to say.
impl Roster<'_> {
    /// A connection by its id.
    pub(crate) async fn connection(self, app: AppId, id: ConnectionId) -> Result<Option<Arc<Connection>>, Refusal> {
        match (self.local.registry.connection(app, id), self.others) {
            (None, Some(others)) => Box::pin(others.connection(app, id)).await,
            (here, _) => Ok(here),
        }
    }

    /// An endpoint's connections.
    pub(crate) async fn connections_of(
        self,
        app: AppId,
        endpoint: &EndpointId,
        at: At,
    ) -> Result<Vec<Arc<Connection>>, Refusal> {
        let here = at.with_here(|| self.local.registry.connections_of(app, endpoint));
        let there = self.connections_there(app, || Holder::Endpoint(endpoint.clone()), (None, usize::MAX), at).await?;
        Ok([here, there].concat())
    }

    /// All connections of an app.
    pub(crate) async fn connections(self, app: AppId, at: At) -> Result<Vec<Arc<Connection>>, Refusal> {
        let here = at.with_here(|| self.local.registry.connections(app));
        let there = self.connections_there(app, || Holder::App, (None, usize::MAX), at).await?;
        Ok(if self.others.is_none() { here } else { in_order([here, there].concat(), usize::MAX) })
    }

    /// At most `most` connections of an app after `after`, in the order of their ids.
    pub(crate) async fn connections_after(
        self,
        app: AppId,
        after: Option<ConnectionId>,
        most: usize,
        at: At,
    ) -> Result<Vec<Arc<Connection>>, Refusal> {
        let here = at.with_here(|| self.local.registry.connections_after(app, after, most));
        let there = self.connections_there(app, || Holder::App, (after, most), at).await?;
        Ok(if self.others.is_none() { here } else { in_order([here, there].concat(), most) })
    }

    /// What other nodes have of that, after one and at most so many.
    async fn connections_there(
        self,
        app: AppId,
        of: impl FnOnce() -> Holder,
        (after, most): (Option<ConnectionId>, usize),
        at: At,
    ) -> Result<Vec<Arc<Connection>>, Refusal> {
        let whom = match at {
            At::Anywhere => Whom::Others,
            At::There(node) => Whom::One(node),
            At::Here => return Ok(Vec::new()),
        };
        let Some(others) = self.others else { return Ok(Vec::new()) };
        // In a box, for what a server that is alone asks should not be longer for it.
        Box::pin(others.connections(whom, app, of(), after, most)).await
    }

    /// The connections of an endpoint with what each is in and says.
    pub(crate) async fn states_of(self, app: AppId, endpoint: &EndpointId) -> Result<Vec<ConnectionState>, Refusal> {
        let mut states = self.local.registry.states_of(app, endpoint);
        if let Some(others) = self.others {
            let there = Box::pin(others.states(app, endpoint)).await?;
            states.extend(there.into_iter().map(|(node, state)| {
                let connection = Arc::new(Connection::there(app, node, state.connection));
                ConnectionState { connection, groups: state.groups, presence: state.presence }
            }));
        }
        Ok(states)
    }

    /// The members of a group.
    pub(crate) async fn members(self, app: AppId, group: &GroupName) -> Result<Members, Refusal> {
        let here = self.local.registry.members(app, group);
        let Some(others) = self.others else { return Ok(here) };
        let of = Holder::Group(group.clone());
        let there = Box::pin(others.connections(Whom::Others, app, of, None, usize::MAX)).await?;
        Ok(in_order([here.to_vec(), there].concat(), usize::MAX).into())
    }

    /// The names of at most `most` groups after `after`, in order.
    pub(crate) async fn groups(
        self,
        app: AppId,
        after: Option<&GroupName>,
        most: usize,
    ) -> Result<Vec<GroupName>, Refusal> {
        let here = self.local.registry.groups(app, after, most);
        let Some(others) = self.others else { return Ok(here) };
        let there = Box::pin(others.groups(app, None, after.cloned(), most)).await?;
        Ok(names([here, there].concat(), most))
    }

    /// The groups that an endpoint's connections are in.
    pub(crate) async fn groups_of(self, app: AppId, endpoint: &EndpointId) -> Result<Vec<GroupName>, Refusal> {
        let here = self.local.registry.groups_of(app, endpoint).into_iter().collect();
        let Some(others) = self.others else { return Ok(here) };
        let there = Box::pin(others.groups(app, Some(endpoint), None, usize::MAX)).await?;
        Ok(names([here, there].concat(), usize::MAX))
    }
}

fn in_order(mut connections: Vec<Arc<Connection>>, most: usize) -> Vec<Arc<Connection>> {
    connections.sort_unstable_by_key(|connection| connection.id);
    connections.truncate(most);
    connections
}

fn names(mut names: Vec<GroupName>, most: usize) -> Vec<GroupName> {
    names.sort_unstable();
    names.dedup();
    names.truncate(most);
    names
}
