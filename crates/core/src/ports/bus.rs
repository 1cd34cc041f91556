//! The bus: how what happens here reaches whoever it concerns, on this node and on any other.
//!
//! Nodes are addressed, not groups. Each tells the others what its sockets are there for ([`Interest`]), and what is
//! published is sent to those whom it concerns, numbered by sender and receiver. So there is one order, a loss is noticed,
//! and a node has one subscription however many groups it has.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::event::Event;
use crate::id::{AppId, ConnectionId, EndpointId, GroupName};
use crate::ports::{Answer, Answers, Change, Counted, Interest, Moved, Node, Notice, Question, Whom};
use crate::tail::TailedFrame;

/// The way from one node to all.
///
/// What one task publishes, a node receives in that order and at most once. What is lost on the way is sent again; what
/// cannot be sent again is told ([`Receiver::missed`]), and so is what a node may have said last that is lost. Whoever must not
/// miss something asks the store.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Who this node is.
    fn node(&self) -> Node;

    /// Hands `delivery` to this node, where it was received when this returns, and sends it to every other that it
    /// concerns.
    ///
    /// It never waits. What waits for a node beyond what is kept for it is given up, and that node is told so.
    fn publish(&self, delivery: Delivery);

    /// Notes that something here is there for `interest`, once more. With the first the other nodes are told.
    ///
    /// What another node publishes after it confirmed this, arrives. Of one that is late in confirming it, messages to a
    /// group come late too, and behind what it published since. Whoever took leave is not waited for. It never waits.
    fn hold(&self, interest: &Interest) -> Confirmation;

    /// Takes back one [`Bus::hold`]. With the last the other nodes are told. It never waits.
    fn release(&self, interest: &Interest);

    /// Whether another node is there for `interest`, as far as this one has heard. Of an app of which another node gets
    /// all, it is so for everything.
    fn wanted_elsewhere(&self, interest: &Interest) -> bool;

    /// The other nodes, as far as this one has heard of them. Whoever took leave is none of them: nobody is connected there, and
    /// nothing more is published there.
    fn other_nodes(&self) -> Vec<Node>;

    /// Asks other nodes and waits for their answers, for as long as `deadline`. Whoever is lost meanwhile is not waited
    /// for.
    async fn ask(&self, whom: Whom, question: Question, deadline: Duration) -> Answers;

    /// Tells a life of another node something. It never waits.
    ///
    /// It comes to that life alone, at most once, in its place among what is published. If it is lost, that is a [`Gap`].
    fn tell(&self, node: Node, notice: Notice);

    /// How long a question and its answer are on their way as a rule. A node that is well is heard of in that time and the
    /// little that it takes itself.
    fn round_trip(&self) -> Duration;
}

/// What a node does with what comes over the bus.
///
/// It is called from within operations, and while it runs nothing else comes from any node. So nothing here may wait for
/// an answer or for a client; at most for another thread that tells of the same connection, or of it and others that leave
/// with a group. That one waits for nobody.
pub trait Receiver: Send + Sync {
    /// Takes a delivery.
    fn receive(&self, from: Source, delivery: Delivery);

    /// Learns that something that was for this node is lost for good.
    fn missed(&self, gap: Gap);

    /// Answers another node, from what is known here, and does what it asks for.
    ///
    /// While a question is answered that takes long ([`Question::takes_long`]), other things come.
    fn answer(&self, from: Node, question: Question) -> Answer;

    /// Learns what another node tells it.
    fn told(&self, from: Node, notice: Notice);

    /// Learns that a life of a node is over, once for each that it received something of or was told about. Nothing that
    /// it sent comes after this. Unless it took leave, it learned before that all after what came is lost.
    fn lost(&self, node: Node);
}

/// Where a delivery comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From this node.
    Here,
    /// From another.
    There {
        /// Which.
        node: Node,
        /// Its number in what that node sends to this one; greater with each, not always by one.
        number: u64,
    },
}

/// What is lost for good of what one node sent to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Who sent it.
    pub from: Node,
    /// The numbers that will not come. Not each of them was a delivery; and of what was published past somebody who joined,
    /// one stands for all.
    pub numbers: RangeInclusive<u64>,
}

/// Who does not know yet of an interest, or has not done what it was asked for.
#[derive(Clone, Debug)]
pub struct Confirmation(Vec<Awaited>);

/// One who confirms in order: whatever has a number, and with it all that has a smaller one.
#[derive(Clone, Debug)]
struct Awaited {
    node: Node,
    number: u64,
    confirmed: watch::Receiver<u64>,
}

impl Confirmation {
    /// Everybody knows.
    pub const DONE: Self = Self(Vec::new());
    /// What a node has confirmed that is gone. Nobody waits for it, and it knows nothing.
    pub const GONE: u64 = u64::MAX;

    /// Waits for one more node as well: until what it `confirmed` has come to this number.
    pub fn wait_for(&mut self, node: Node, number: u64, confirmed: watch::Receiver<u64>) {
        self.0.push(Awaited { node, number, confirmed });
    }

    /// Each of those who do not know yet, to be waited for by itself.
    #[must_use]
    pub fn each_missing(&self) -> Vec<(Node, Self)> {
        let missing = self.0.iter().filter(|awaited| *awaited.confirmed.borrow() < awaited.number);
        missing.map(|awaited| (awaited.node, Self(vec![awaited.clone()]))).collect()
    }

    /// Waits until everybody knows or is gone. It may take as long as a node is cut off, so whoever is waited for has a deadline.
    pub async fn done(&mut self) {
        for Awaited { node: _, number, confirmed } in &mut self.0 {
            // A bus that is gone has nobody who could know.
            let _ = confirmed.wait_for(|confirmed| *confirmed >= *number).await;
        }
    }

    /// How many know, of how many who are not gone.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let confirmed = |awaited: &Awaited| *awaited.confirmed.borrow();
        let live = self.0.iter().filter(|awaited| confirmed(awaited) != Self::GONE);
        let (mut known, mut of) = (0, 0);
        for awaited in live {
            of += 1;
            known += usize::from(confirmed(awaited) >= awaited.number);
        }
        (known, of)
    }

    /// Who does not know yet.
    #[must_use]
    pub fn missing(&self) -> Vec<Node> {
        let missing = self.0.iter().filter(|awaited| *awaited.confirmed.borrow() < awaited.number);
        missing.map(|awaited| awaited.node).collect()
    }
}

/// What goes over the bus.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Something for connections.
    Push {
        /// In which app. Nothing crosses its border.
        app_id: AppId,
        /// For whom.
        to: Audience,
        /// What.
        event: Arc<Event>,
    },
    /// A connection came. Nobody is told: a node that observes its endpoint knows from here on of whom it tells that it is
    /// gone, however that happens.
    Arrived(Arrived),
    /// A connection ended. Each node tells its own sockets: who was in one of its groups before this came, and is still
    /// there when it is told, and who observes its endpoint.
    Departed(Departed),
    /// A connection that another node had parked is the sender's from here on. Nothing changes for those who know it.
    Moved(Box<Moved>),
    /// A group ends: these were members on the node that sends this, are none any more, and were told so there.
    GroupEnded {
        /// In which app.
        app_id: AppId,
        /// Which.
        group: GroupName,
        /// A portion of its members.
        connections: Vec<ConnectionId>,
    },
    /// A frame of a connection of the node that sends this, for whoever looks on at its endpoint elsewhere.
    Tailed {
        /// In which app.
        app_id: AppId,
        /// Whose connection's.
        endpoint: EndpointId,
        /// What is seen of it.
        frame: Box<TailedFrame>,
    },
    /// Something ended or changed. It concerns every node.
    Change(Change),
    /// What was counted on the node that sends this, and every node counts.
    Counted(Counted),
}

impl Delivery {
    /// A node is concerned that holds one of these. None: every node is.
    #[must_use]
    pub fn interests(&self) -> Option<Vec<Interest>> {
        match self {
            Self::Push { app_id, to, event: _ } => Some(vec![match to {
                Audience::Endpoint { endpoint, .. } => Interest::Endpoint(*app_id, endpoint.clone()),
                Audience::Group { group, .. } => Interest::Group(*app_id, group.clone()),
                Audience::Observers { endpoint, .. } => Interest::Observers(*app_id, endpoint.clone()),
            }]),
            Self::Arrived(Arrived { app_id, endpoint, connection: _ }) => {
                Some(vec![Interest::Observers(*app_id, endpoint.clone())])
            }
            Self::Departed(Departed { app_id, endpoint, groups, connection: _ }) => {
                let groups = groups.iter().map(|group| Interest::Group(*app_id, group.clone()));
                Some(groups.chain([Interest::Observers(*app_id, endpoint.clone())]).collect())
            }
            Self::Moved(moved) => {
                let Moved { app_id, endpoint, groups, .. } = &**moved;
                let groups = groups.iter().map(|group| Interest::Group(*app_id, group.clone()));
                // The node that parked it has to hear that it arrived. It may have no one in these groups, and no observer. But
                // until then it holds the endpoint, because of this very connection.
                let observers = Interest::Observers(*app_id, endpoint.clone());
                Some(groups.chain([observers, Interest::Endpoint(*app_id, endpoint.clone())]).collect())
            }
            Self::GroupEnded { app_id, group, connections: _ } => Some(vec![Interest::Group(*app_id, group.clone())]),
            Self::Tailed { app_id, endpoint, frame: _ } => Some(vec![Interest::Tails(*app_id, endpoint.clone())]),
            Self::Change(_) | Self::Counted(_) => None,
        }
    }
}

/// A connection that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// In which app.
    pub app_id: AppId,
    /// Whose connection.
    pub endpoint: EndpointId,
    /// Which.
    pub connection: ConnectionId,
}

/// A connection that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// In which app.
    pub app_id: AppId,
    /// Whose connection.
    pub endpoint: EndpointId,
    /// Which.
    pub connection: ConnectionId,
    /// The groups that it was in.
    pub groups: Vec<GroupName>,
}

/// For whom a push is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// An endpoint's connections.
    Endpoint {
        /// Which endpoint.
        endpoint: EndpointId,
        /// Only this connection of it.
        only: Option<ConnectionId>,
        /// Not this connection.
        except: Option<ConnectionId>,
    },
    /// The members of a group.
    Group {
        /// Which group.
        group: GroupName,
        /// Not this connection.
        except: Option<ConnectionId>,
    },
    /// Who observes an endpoint's presence.
    Observers {
        /// Whose presence.
        endpoint: EndpointId,
        /// Not this connection.
        except: Option<ConnectionId>,
    },
}
