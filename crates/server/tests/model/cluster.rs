//! Nodes over one database, and what lies between them.

use std::sync::Arc;
use std::time::Duration;

use respoke_bus::carried::CarriedLimits;
use respoke_bus::faulty::{Faults, FaultyNodes};
use respoke_bus::{LocalBus, LocalNodes};
use respoke_core::chance::SeededChance;
use respoke_core::ops::Broker;
use respoke_core::ports::{Bus, Concerned, NodeId, Receiver, Store};
use respoke_hub::outbox::OutboxLimits;
use respoke_hub::{Hub, HubSettings};
use respoke_store::Options;
use tokio::task::JoinSet;

use crate::home::{clock, database};

/// What lies between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// There is one node, on the bus of a server that is alone.
    Alone,
    /// Nothing: what one publishes the others receive at once.
    Nothing,
    /// Something that delays, reorders, doubles and loses.
    Faults,
}

/// Few enough that an answer is late once in thousands: then what is asked for is refused, and no other outcome is due.
pub(crate) const SOME: Faults = Faults { lost_per_mille: 30, ..Faults::MANY };
/// Longer than anything takes that is on its way, if something lies between nodes.
const QUIET: Duration = Duration::from_secs(3);
/// How often whoever is ready is let do something, until all have done what they could: more than there are clients, and
/// what is done because of that.
const TURNS: usize = 60;

/// Nodes, and what lies between them.
pub(crate) struct Cluster {
    pub(crate) between: Between,
    store: Arc<dyn Store>,
    local: Arc<LocalNodes>,
    /// One for all nodes, so that no two make the same.
    chance: Arc<SeededChance>,
    faulty: Arc<FaultyNodes>,
    frames_max: usize,
    _carrying: JoinSet<()>,
    _folder: tempfile::TempDir,
}

/// One life of a node.
pub(crate) struct Node {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) lives: bool,
    _receiver: Arc<dyn Receiver>,
    /// What goes on for as long as it lives.
    _tasks: JoinSet<()>,
}

impl Cluster {
    pub(crate) fn new(seed: u64, between: Between, faults: Faults, frames_max: usize) -> Self {
        let chance = Arc::new(SeededChance::of(seed));
        let options = Options { chance: chance.clone(), ..Options::default() };
        let (store, folder) = database(options);
        let faulty = FaultyNodes::new(seed, faults, CarriedLimits::DEFAULT);
        let mut carrying = JoinSet::new();
        if between == Between::Faults {
            let carrier = faulty.clone();
            carrying.spawn(async move { carrier.carry().await });
        }
        Self { between, store, local: Arc::default(), chance, faulty, frames_max, _carrying: carrying, _folder: folder }
    }

    /// Starts a node, which knows what the others are there for when this returns.
    pub(crate) async fn start(&self, id: u32) -> Node {
        match self.between {
            Between::Alone => {
                let bus = Arc::new(LocalBus::default());
                self.node(bus.clone(), |receiver| bus.attach(receiver)).await
            }
            Between::Nothing => {
                let bus = self.local.start(NodeId(id));
                self.node(bus.clone(), |receiver| bus.attach(receiver)).await
            }
            Between::Faults => {
                let (bus, introductions) = self.faulty.start(NodeId(id));
                let node = self.node(bus.clone(), |receiver| bus.attach(receiver)).await;
                for mut introduction in introductions {
                    introduction.done().await;
                }
                node
            }
        }
    }

    async fn node(&self, bus: Arc<dyn Bus>, attach: impl FnOnce(&Arc<dyn Receiver>)) -> Node {
        let broker = Arc::new(Broker::new(self.store.clone(), bus.clone(), clock(), self.chance.clone(), 1_000));
        let outbox = OutboxLimits { frames_max: self.frames_max, bytes_max: 1 << 20 };
        let settings = HubSettings { outbox, heartbeat_timeout: Duration::from_secs(60), sockets_max: 1_000 };
        let hub = Arc::new(Hub::new(broker.clone(), bus.clone(), settings));
        let receiver: Arc<dyn Receiver> = hub.clone();
        attach(&receiver);
        broker.attach(&(hub.clone() as Arc<dyn Concerned>));
        broker.follow().await.unwrap();
        let mut tasks = JoinSet::new();
        let (judging, asking, following) = (hub.clone(), hub.clone(), broker.clone());
        tasks.spawn(async move { judging.judge().await });
        tasks.spawn(async move { asking.keep_up().await });
        tasks.spawn(async move { following.keep_following().await });
        if self.tells_in_time() {
            let announcing = hub.clone();
            tasks.spawn(async move { announcing.announce_departures().await });
        }
        Node { bus, broker, hub, lives: true, _receiver: receiver, _tasks: tasks }
    }

    /// Ends a life as if killed, and tells the others.
    pub(crate) fn lose(&self, node: &mut Node) {
        node.lives = false;
        match self.between {
            Between::Alone => {}
            Between::Nothing => self.local.lose(node.bus.node()),
            Between::Faults => self.faulty.lose(node.bus.node()),
        }
    }

    /// Whether time passes as it comes, and departures are told in it. Otherwise it stands still until it is let go on.
    pub(crate) fn tells_in_time(&self) -> bool {
        self.between == Between::Faults
    }

    /// Waits until all has happened that is to happen.
    pub(crate) async fn rest(&self, nodes: &[Node]) {
        if self.tells_in_time() {
            tokio::time::sleep(QUIET).await;
        } else {
            // What they were given a hint of.
            for node in nodes {
                node.broker.follow().await.unwrap();
            }
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        // Time goes on only when nobody waits for a thread that looks something up, as they do on a busy disk.
        tokio::time::sleep(Duration::from_millis(1)).await;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }
}
