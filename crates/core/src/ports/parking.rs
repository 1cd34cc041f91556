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
    /// The same, of a session that was opened after the node that asks had heard that the other one parks.
    NewSession(u64),
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

/// By what who came is taken for the client that a parked connection waits for. What comes later is surer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// It comes from the same address, with a new session. Another device of the endpoint may do that too.
    Address,
    /// It proves itself by the same.
    Ground,
    /// Both.
    Both,
}

impl ParkingClaim {
    /// Whether who came may be whom `parked` describes, and by what: the same endpoint with the same rights, and the same kind
    /// of client. Some clients come back with a new session; those have to come from where they were. One that comes with an old
    /// session had it before anybody was sent away, and by it another connection.
    #[must_use]
    pub fn likeness(&self, parked: &Self) -> Option<Likeness> {
        let is_same_kind = self.app_id == parked.app_id
            && self.endpoint == parked.endpoint
            && self.role_id == parked.role_id
            && self.client_type == parked.client_type;
        let is_new = matches!(self.ground, ParkingGround::NewSession(_));
        let was_in_session = matches!(parked.ground, ParkingGround::Session(_));
        match (self.ground.of_any_age() == parked.ground, self.address == parked.address) {
            _ if !is_same_kind => None,
            (true, true) => Some(Likeness::Both),
            (true, false) => Some(Likeness::Ground),
            (false, true) if is_new && was_in_session => Some(Likeness::Address),
            (false, _) => None,
        }
    }
}

impl ParkingGround {
    /// What it was when it was parked.
    const fn of_any_age(self) -> Self {
        match self {
            Self::Session(number) | Self::NewSession(number) => Self::Session(number),
            Self::Secret(_) | Self::SignIn(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn session(number: u64) -> ParkingGround {
        ParkingGround::Session(number)
    }

    fn new(number: u64) -> ParkingGround {
        ParkingGround::NewSession(number)
    }

    /// Who is known by this, at the address that ends so.
    fn by(ground: ParkingGround, address: u8) -> ParkingClaim {
        ParkingClaim {
            app_id: AppId::from_uuid(uuid::Uuid::from_u128(1)),
            endpoint: EndpointId::parse("jo").unwrap(),
            role_id: Some(RoleId::from_uuid(uuid::Uuid::from_u128(2))),
            client_type: "WEB".to_owned(),
            address: Ipv4Addr::new(192, 0, 2, address).into(),
            ground,
        }
    }

    #[test]
    fn who_comes_is_known_by_its_proof_or_by_its_address() {
        let (one, other) = ([3, 4].map(|id| SecretId::from_uuid(uuid::Uuid::from_u128(id)))).into();
        let secret = ParkingGround::Secret;
        let sign_in = ParkingGround::SignIn;
        for (parked, claim, likeness) in [
            (by(session(1), 1), by(session(1), 1), Some(Likeness::Both)),
            (by(session(1), 1), by(session(1), 2), Some(Likeness::Ground)),
            (by(session(1), 1), by(new(2), 1), Some(Likeness::Address)),
            (by(session(1), 1), by(new(2), 2), None),
            // It was parked a moment after it came.
            (by(session(1), 1), by(new(1), 1), Some(Likeness::Both)),
            (by(session(1), 1), by(new(1), 2), Some(Likeness::Ground)),
            // It is another device, which had its session before.
            (by(session(1), 1), by(session(2), 1), None),
            (by(secret(one), 1), by(secret(one), 1), Some(Likeness::Both)),
            (by(secret(one), 1), by(secret(one), 2), Some(Likeness::Ground)),
            // Backends behind one address are not one backend.
            (by(secret(one), 1), by(secret(other), 1), None),
            (by(sign_in(1), 1), by(sign_in(1), 2), Some(Likeness::Ground)),
            (by(sign_in(1), 1), by(sign_in(2), 1), None),
            // The number of one is not that of the other.
            (by(session(1), 1), by(sign_in(1), 1), None),
            (by(session(1), 1), by(secret(one), 1), None),
            (by(secret(one), 1), by(new(1), 1), None),
            (by(sign_in(1), 1), by(new(1), 1), None),
        ] {
            assert_eq!(claim.likeness(&parked), likeness, "{claim:?} for {parked:?}");
        }
    }

    #[test]
    fn who_is_of_another_kind_is_nobody_that_is_waited_for() {
        let parked = || by(session(1), 1);
        for other in [
            ParkingClaim { app_id: AppId::from_uuid(uuid::Uuid::from_u128(9)), ..parked() },
            ParkingClaim { endpoint: EndpointId::parse("flo").unwrap(), ..parked() },
            ParkingClaim { role_id: None, ..parked() },
            ParkingClaim { role_id: Some(RoleId::from_uuid(uuid::Uuid::from_u128(9))), ..parked() },
            ParkingClaim { client_type: "PHONE".to_owned(), ..parked() },
        ] {
            assert_eq!(other.likeness(&parked()), None, "{other:?}");
        }
    }

    #[test]
    fn a_proof_is_surer_than_an_address() {
        assert!(Likeness::Both > Likeness::Ground && Likeness::Ground > Likeness::Address);
    }
}
