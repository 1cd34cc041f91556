//! Connections that a node parks when it is about to end: they have no socket, and wait for clients that come back.

use std::net::IpAddr;

use crate::event::Presence;
use crate::id::{AppId, ConnectionId, EndpointId, GroupName, RoleId, SecretId};
use crate::ports::Node;

/// Who came, and might be one who comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkingClaim {
    /// In which app.
    pub app_id: AppId,
    /// As whom.
    pub endpoint: EndpointId,
    /// With which role.
    pub role_id: Option<RoleId>,
    /// What the client calls itself, in capitals.
    pub client_type: String,
    /// From where.
    pub address: IpAddr,
    /// By what it proved that.
    pub ground: ParkingGround,
}

/// What a client proved itself by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkingGround {
    /// A session of the endpoint, by its number.
    Session(u64),
    /// A secret of the app.
    Secret(SecretId),
    /// An admin's sign-in, by its number.
    SignIn(u64),
}

/// A connection that was parked and is another node's from here on.
#[derive(Clone, Debug)]
pub struct Moved {
    /// In which app.
    pub app_id: AppId,
    /// Whose connection.
    pub endpoint: EndpointId,
    /// Which.
    pub connection: ConnectionId,
    /// Who parked it, and says nothing of it any more.
    pub from: Node,
    /// The groups that it is in.
    pub groups: Vec<GroupName>,
    /// What it says, if it said something.
    pub presence: Option<Presence>,
}

impl ParkingClaim {
    /// Whether who came may be whom `parked` describes: the same endpoint with the same rights, and the same kind of client.
    /// Some clients come back with another session; those have to come from where they were.
    #[must_use]
    pub fn fits(&self, parked: &Self) -> bool {
        let is_same_ground = self.ground == parked.ground;
        let is_session = |claim: &Self| matches!(claim.ground, ParkingGround::Session(_));
        let is_same_client = is_session(self) && is_session(parked) && self.address == parked.address;
        self.app_id == parked.app_id
            && self.endpoint == parked.endpoint
            && self.role_id == parked.role_id
            && self.client_type == parked.client_type
            && (is_same_ground || is_same_client)
    }

    /// How well it fits, if it does: the more the greater.
    #[must_use]
    pub fn likeness(&self, parked: &Self) -> (bool, bool) {
        (self.ground == parked.ground, self.address == parked.address)
    }
}
