//! What is parked on this node, and which others park. What becomes of it is in `coming_back.rs`.
//!
//! The lock of the books is taken before a socket's own, and under no other.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use respoke_core::id::{AppId, ConnectionId, EndpointId};
use respoke_core::ports::{ConnectionStateFacts, Node, ParkingClaim};
use tokio::time::Instant;

use crate::Socket;
use crate::registry::{Connection, Gone};

/// What is parked here, and who else parks.
#[derive(Debug, Default)]
pub(crate) struct Parking(Mutex<Books>);

/// What is known of that.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Whether this node parks, and which nodes know it.
    pub(crate) known_to: Option<BTreeSet<Node>>,
    /// Bounded as connections are.
    pub(crate) parked: HashMap<(AppId, EndpointId), Vec<Parked>>,
    /// What was given up, until it arrives where it is to go.
    pub(crate) given: HashMap<ConnectionId, Gone>,
    /// Other nodes that park.
    pub(crate) nodes: BTreeSet<Node>,
    /// Connections that inherited something, and until when their clients may ask for it.
    pub(crate) heirs: VecDeque<(Instant, Arc<Connection>)>,
}

/// A parked connection.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) socket: Arc<Socket>,
    pub(crate) connection: Arc<Connection>,
    /// Who may have it.
    pub(crate) owner: ParkingClaim,
}

/// A connection that a node gave up.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) from: Node,
    pub(crate) state: ConnectionStateFacts,
}

impl Claimed {
    pub(crate) const fn id(&self) -> ConnectionId {
        self.state.connection.id
    }
}

impl Parking {
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock()
    }

    /// A node is gone.
    pub(crate) fn lost(&self, node: Node) {
        let mut books = self.books();
        books.nodes.remove(&node);
        if let Some(known_to) = &mut books.known_to {
            known_to.remove(&node);
        }
    }

    /// The one that fits best of those that are parked for who claims it.
    pub(crate) fn take(&self, claim: &ParkingClaim) -> Option<Parked> {
        let mut books = self.books();
        let Entry::Occupied(mut parked) = books.parked.entry((claim.app_id, claim.endpoint.clone())) else {
            return None;
        };
        let fitting = parked.get().iter().enumerate().filter(|(_, parked)| claim.fits(&parked.owner));
        let (at, _) = fitting.max_by_key(|(_, parked)| claim.likeness(&parked.owner))?;
        let found = parked.get_mut().swap_remove(at);
        if parked.get().is_empty() {
            parked.remove();
        }
        Some(found)
    }
}
