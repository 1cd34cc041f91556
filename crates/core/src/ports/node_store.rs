//! Which nodes serve together, as the database that they share knows it.
//!
//! A node has a row while it lives, and renews it every [`BEAT`]. Its death is a committed row, and a change of the feed tells
//! of it: so all nodes hear the same, whoever found out. All time here is the database's.
//!
//! Invariant: a node that renewed its row less than [`FENCE`] ago, by a clock that never stops, is dead to nobody.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;

use super::node::{Node, NodeId};
use super::store_error::StoreError;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// Between two renewals of a node's row.
pub const BEAT: Duration = Duration::from_secs(3);
/// A node whose renewal was asked for so long ago, and confirmed, is dead to nobody. Past it, it serves nothing until the next
/// is confirmed.
pub const FENCE: Duration = Duration::from_secs(8);
/// A node that is so late may be declared dead, by one whose own beats had no break for as long.
pub const LATE: Duration = Duration::from_secs(10);
/// A node whose clock is further off than this from the database's does not begin.
pub const SKEW_MAX: Duration = Duration::from_secs(5);
/// Nodes that live at once, at most: each tells each other what it is there for.
pub const NODES_MAX: usize = 64;

/// What carries what nodes tell each other. All nodes of a cluster have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarrierKind {
    /// Tables of the database.
    Postgres,
    /// A NATS server.
    Nats,
}

impl CarrierKind {
    /// Its name in rows and lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Nats => "nats",
        }
    }
}

/// A life of a node that is to begin.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// The node that was declared dead and begins another life: it keeps its id. None: a new one.
    pub was: Option<NodeId>,
    /// What only one process has at a time, such as an address of one machine on which it listens: whoever had it before is gone.
    /// None: it has nothing of the kind.
    pub place: Option<String>,
    /// What operators call it; nobody else goes by it, and two may have one name.
    pub name: String,
    /// Where it listens, for operators.
    pub address: String,
    /// Which program it is.
    pub version: String,
    /// What it talks by.
    pub carrier: CarrierKind,
    /// Which versions of what goes over the bus it reads; it can write the newest.
    pub codec: RangeInclusive<u8>,
    /// The present by its own clock.
    pub now: Timestamp,
}

/// What all nodes of a cluster have in common. A copy of the database is another cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name, where several use one carrier.
    pub id: [u8; 16],
    /// By what they know each other: 64 hexadecimal digits, of 32 bytes drawn by chance.
    pub key: Secret,
}

/// What came of beginning a life.
#[derive(Clone, Debug)]
#[must_use]
pub enum Joining {
    /// It lives from now on, as [`NodeState::Starting`].
    Joined {
        /// Who it is.
        node: Node,
        /// Among whom.
        cluster: Cluster,
        /// The present by the database's clock.
        now: Timestamp,
    },
    /// It does not fit with those who live.
    Refused(JoinRefusal),
}

/// Why a node does not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// Those who live talk by something else.
    #[error("the nodes that serve talk by {}: node {name} does", theirs.name())]
    Carrier {
        /// By what.
        theirs: CarrierKind,
        /// One of them.
        name: String,
    },
    /// One who lives does not understand it.
    #[error("node {name} of version {version} talks another language")]
    Codec {
        /// Which of them.
        name: String,
        /// Of which version.
        version: String,
    },
    /// Its clock is off.
    #[error("the clock is {millis} ms off from the database's, and {} s are the most", SKEW_MAX.as_secs())]
    Clock {
        /// How far it is ahead, in milliseconds; negative: behind.
        millis: i64,
    },
    /// There are [`NODES_MAX`].
    #[error("there are {NODES_MAX} nodes, which are the most")]
    TooMany,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It does not serve yet.
    Starting,
    /// It serves.
    Serving,
    /// It serves those whom it has, and is about to end.
    Draining,
}

/// What came of asking a node to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draining {
    /// It does, or did so already.
    Told,
    /// It does not live.
    Gone,
    /// No other one serves and beats and is not to drain itself: its clients have nowhere to go.
    Alone,
}

/// What a node tells of itself with each beat, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Open sockets.
    pub sockets: u64,
    /// Connections of endpoints.
    pub connections: u64,
    /// How long what others told was under way lately, at most, in milliseconds.
    pub lag_millis: u64,
    /// How far its clock is ahead of the database's, in milliseconds.
    pub skew_millis: i64,
    /// How long ago it had last followed all changes, in milliseconds.
    pub feed_age_millis: u64,
}

/// A node, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Which.
    pub node: Node,
    /// What operators call it.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Which program it is.
    pub version: String,
    /// Which versions of what goes over the bus it reads.
    pub codec: RangeInclusive<u8>,
    /// Since when it lives.
    pub since: Timestamp,
    /// When it last said so.
    pub beat_at: Timestamp,
    /// What it does.
    pub state: NodeState,
    /// Whether an operator wants it to drain.
    pub is_to_drain: bool,
    /// What it told of itself.
    pub load: Load,
}

/// What came of a beat.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Beating {
    /// The node lives.
    Lives {
        /// The present by the database's clock.
        now: Timestamp,
        /// All who live, this one among them, by their ids.
        nodes: Vec<NodeRecord>,
        /// Lives that began after this one, came as far as to serve, and are over: those that ended last, and at most within an
        /// hour. Who did not hear of one while it lived hears of it here.
        over: Vec<Node>,
    },
    /// It was declared dead. It closes what it has, and may begin another life.
    Dead,
}

/// Which nodes there are.
#[async_trait]
pub trait NodeStore: Send + Sync {
    /// Begins a life of a node. A change tells of it. Who was late and in the way when this was asked before, [`LATE`] ago or
    /// more, and did not beat since, is declared dead by it: else nodes that were all killed would keep others out for ever.
    async fn join(&self, newcomer: Newcomer) -> Result<Joining, StoreError>;
    /// Says that a node lives, what it does and what it tells of itself, and hears who else does. If its state is another than
    /// before, a change tells of it. It may try several times: what it confirms counts from when it was asked for.
    async fn beat(&self, node: Node, state: NodeState, load: Load) -> Result<Beating, StoreError>;
    /// Declares `late` dead, if it is [`LATE`] and the beats of `by` had no break for as long. A change tells of it. Whether
    /// that was done.
    async fn declare_dead(&self, by: Node, late: Node) -> Result<bool, StoreError>;
    /// Ends a node's life, when it ended what it had. A change tells of it.
    async fn leave(&self, node: Node) -> Result<(), StoreError>;
    /// All who live, by their ids.
    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError>;
    /// Has a node drain, if another one serves: it hears of it with its next beat, and a change tells of it.
    async fn have_drain(&self, node: NodeId) -> Result<Draining, StoreError>;
}
