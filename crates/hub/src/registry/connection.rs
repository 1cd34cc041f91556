//! A connection, and how many an app allows of everything.

use std::net::IpAddr;
use std::sync::Arc;

use respoke_core::id::{AppId, ConnectionId, EndpointId, RoleId};

use crate::outbox::Outbox;

/// A live socket that was registered as an endpoint's.
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
    /// Where what is for it goes.
    pub outbox: Arc<Outbox>,
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
