//! A connection, and how many an app allows of everything.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::app::App;
use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName, RoleId};
use respoke_core::ports::{ConnectionFacts, Node};
use respoke_wire::dialect::Dialect;

use crate::outbox::Outbox;

/// A live socket, of this node or another, that was registered as an endpoint's.
#[derive(Debug)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Its app.
    pub app_id: AppId,
    /// Whose it is.
    pub endpoint: EndpointId,
    /// The role it acts with; none for backends and in development mode.
    pub role_id: Option<RoleId>,
    /// What the client calls itself, in capitals.
    pub client_type: String,
    /// From where.
    pub address: IpAddr,
    /// Whether it takes ICE candidates one by one.
    pub trickle_ice: bool,
    /// Whether it wants the final list of ICE candidates.
    pub ice_final_candidates: bool,
    /// Where its socket is.
    pub home: Home,
    /// Whether it ended. It may still be found where it was, until that is taken away.
    pub(crate) gone: AtomicBool,
    /// Locked from before it joins, leaves or says something until that is told: two threads that do one after the other
    /// tell it in that order, or others would take for the last what was not. Whoever locks several does so in the order of
    /// their ids. What tells waits for nobody, and takes none of these.
    pub(crate) telling: Mutex<()>,
    /// Whether it is parked: it has no socket, and waits for its client to come back to another node.
    pub(crate) parked: AtomicBool,
    /// What it was in and said on the node that had parked it, and its client has not asked for again.
    pub(crate) inherited: Mutex<Option<Box<Inherited>>>,
}

/// What a connection that was parked is in and says until its client asks for it again.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Groups.
    pub(crate) groups: BTreeSet<GroupName>,
    /// What it says.
    pub(crate) presence: Option<Presence>,
}

/// Where a connection's socket is.
#[derive(Clone, Debug)]
pub enum Home {
    /// On this node: what is for it goes here.
    Here(Arc<Outbox>),
    /// On another.
    There(Node),
}

impl Connection {
    /// One of another node, as that tells of it.
    pub(crate) fn there(app_id: AppId, node: Node, facts: ConnectionFacts) -> Self {
        let ConnectionFacts { id, endpoint, role_id, client_type, address, trickle_ice, ice_final_candidates } = facts;
        let home = Home::There(node);
        let (gone, telling) = (AtomicBool::new(false), Mutex::default());
        let (parked, inherited) = (AtomicBool::new(false), Mutex::default());
        Self {
            id,
            app_id,
            endpoint,
            role_id,
            client_type,
            address,
            trickle_ice,
            ice_final_candidates,
            home,
            gone,
            telling,
            parked,
            inherited,
        }
    }

    /// Notes that it has no socket any more, and may get one on another node.
    pub(crate) fn park(&self) {
        self.parked.store(true, Ordering::Relaxed);
    }

    /// Whether it has no socket. It is in its groups and says what it said, and nothing reaches it.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed)
    }

    /// Its client asked for this group, which it may have inherited.
    pub(crate) fn takes_up(&self, group: &GroupName) {
        if let Some(inherited) = &mut *self.inherited.lock() {
            inherited.groups.remove(group);
        }
    }

    /// Its client says this. Whether it inherited the same, so that nobody has to be told.
    pub(crate) fn takes_up_presence(&self, presence: &Presence) -> bool {
        let inherited = self.inherited.lock().as_mut().and_then(|inherited| inherited.presence.take());
        inherited.is_some_and(|inherited| inherited.texts() == presence.texts())
    }

    /// Takes out one of the groups that its client has not asked for again. Whoever does so holds `telling` until it has left
    /// the group: a client that asks for it meanwhile would be answered that it is a member.
    pub(crate) fn gives_up_group(&self) -> Option<GroupName> {
        self.inherited.lock().as_mut()?.groups.pop_first()
    }

    /// The same of what it says. Nothing is left then of what it inherited.
    pub(crate) fn gives_up_presence(&self) -> bool {
        self.inherited.lock().take().is_some_and(|inherited| inherited.presence.is_some())
    }

    /// Whether it ended: it hears nothing any more, and is nobody's member.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// What other nodes may know of it.
    pub(crate) fn facts(&self) -> ConnectionFacts {
        ConnectionFacts {
            id: self.id,
            endpoint: self.endpoint.clone(),
            role_id: self.role_id,
            client_type: self.client_type.clone(),
            address: self.address,
            trickle_ice: self.trickle_ice,
            ice_final_candidates: self.ice_final_candidates,
        }
    }

    /// In which protocol its frames are. Another node's gets none here.
    pub(crate) fn dialect(&self) -> Dialect {
        match &self.home {
            Home::Here(outbox) => outbox.dialect(),
            Home::There(_) => Dialect::default(),
        }
    }

    /// Puts a frame into its outbox, of which so many bytes count for it. False: the socket is closed, or another node's.
    pub(crate) fn offer(&self, frame: Bytes, share: usize) -> bool {
        match &self.home {
            Home::Here(outbox) => outbox.offer_share(frame, share),
            Home::There(_) => false,
        }
    }
}

/// A live connection, and what it is in and says.
#[derive(Clone, Debug)]
pub struct ConnectionState {
    /// The connection.
    pub connection: Arc<Connection>,
    /// Its groups, by name.
    pub groups: Vec<GroupName>,
    /// Its presence, if it said one.
    pub presence: Option<Presence>,
}

/// The most of each that an app allows; none is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caps {
    /// Connections of the app.
    pub connections: Option<u32>,
    /// Connections of one endpoint.
    pub endpoint_connections: Option<u32>,
    /// Groups of one connection.
    pub groups: Option<u32>,
    /// Members of one group.
    pub members: Option<u32>,
}

impl Caps {
    /// What an app allows its connections.
    pub(crate) fn of(app: &App) -> Self {
        let limits = &app.settings.limits;
        Self {
            connections: limits.connections,
            endpoint_connections: limits.endpoint_connections,
            groups: limits.groups_per_connection,
            members: limits.members_per_group,
        }
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Of the app's connections.
    App,
    /// Of the endpoint's connections.
    Endpoint,
    /// Of the connection's groups, or endpoints observed.
    Connection,
    /// Of the group's members.
    Group,
}

/// Whether there may be no more.
pub(super) fn reached(count: usize, most: Option<u32>) -> bool {
    most.is_some_and(|most| count >= most as usize)
}
