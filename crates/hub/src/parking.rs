//! What is parked on this node, and which others park. What becomes of it is in `coming_back.rs`.
//!
//! The lock of the books is taken before all others.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, ConnectionId, EndpointId};
use respoke_core::ops::Rights;
use respoke_core::ports::{ConnectionStateFacts, Node, ParkingClaim};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Socket;
use crate::registry::{Connection, Gone};

/// How long a connection that arrived elsewhere may be looked for here. Whoever does so asked who has it before, and waits for
/// no answer longer than that.
const MOVED_FOR: Duration = Duration::from_secs(1);

/// What is parked here, and who else parks.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    books: Mutex<Books>,
    /// Told when something arrived that was given up.
    pub(crate) arrived: Notify,
}

/// How far this node is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is not about to end.
    #[default]
    Serves,
    /// It is, and not all other nodes have said that they know of parking.
    Begins,
    /// It parks, and these know it.
    Parks(BTreeSet<Node>),
    /// It parks nothing any more.
    Over,
}

/// What is known of that.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) stage: Stage,
    /// Bounded as connections are.
    pub(crate) parked: HashMap<(AppId, EndpointId), Vec<Parked>>,
    /// What was given up, until it arrives where it is to go.
    pub(crate) given: HashMap<ConnectionId, Given>,
    /// What arrived, and when that was heard. No more than were parked.
    pub(crate) moved: HashMap<ConnectionId, Instant>,
    /// Other nodes that park, and when that was heard of each.
    pub(crate) nodes: BTreeMap<Node, Timestamp>,
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

/// A connection that was given up here.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) since: Instant,
    pub(crate) gone: Gone,
}

/// A connection that a node gave up.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) from: Node,
    pub(crate) state: ConnectionStateFacts,
    /// What whoever takes it over may do.
    pub(crate) rights: Rights,
}

impl Claimed {
    pub(crate) const fn id(&self) -> ConnectionId {
        self.state.connection.id
    }
}

impl Parking {
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock()
    }

    /// Whether a connection was given up here and has not arrived, or did so a moment ago. Who looks for it meanwhile may find
    /// it nowhere.
    pub(crate) fn is_moving(&self, connection: ConnectionId) -> bool {
        let books = self.books();
        let has_moved = || books.moved.get(&connection).is_some_and(|since| since.elapsed() < MOVED_FOR);
        books.given.contains_key(&connection) || has_moved()
    }

    /// What was given up so long ago and has not arrived.
    pub(crate) fn take_lost(&self, after: Duration) -> Vec<Gone> {
        let mut books = self.books();
        let lost = books.given.extract_if(|_, given| given.since.elapsed() >= after);
        lost.map(|(_, given)| given.gone).collect()
    }

    /// Since when what was given up first is on its way, of what has not arrived.
    pub(crate) fn given_since(&self) -> Option<Instant> {
        self.books().given.values().map(|given| given.since).min()
    }

    /// A node is gone.
    pub(crate) fn lost(&self, node: Node) {
        let mut books = self.books();
        books.nodes.remove(&node);
        if let Stage::Parks(known_to) = &mut books.stage {
            known_to.remove(&node);
        }
    }
}

impl Books {
    /// Whether anything is parked that did not end.
    pub(crate) fn has_parked(&self) -> bool {
        self.parked.values().flatten().any(|parked| !parked.connection.is_gone())
    }

    /// The one that is surest of those that are parked for who claims it. None if several are equally sure: the claimer may be
    /// the one or the other, and is neither's heir.
    pub(crate) fn take(&mut self, claim: &ParkingClaim) -> Option<Parked> {
        let Entry::Occupied(mut parked) = self.parked.entry((claim.app_id, claim.endpoint.clone())) else {
            return None;
        };
        let like = |parked: &Parked| claim.likeness(&parked.owner).filter(|_| !parked.connection.is_gone());
        let fitting = parked.get().iter().enumerate().filter_map(|(at, parked)| Some((like(parked)?, at)));
        let (likeness, at) = fitting.clone().max()?;
        if fitting.filter(|(other, _)| *other == likeness).count() > 1 {
            return None;
        }
        let found = parked.get_mut().swap_remove(at);
        if parked.get().is_empty() {
            parked.remove();
        }
        Some(found)
    }
}
