//! Nodes of which one is about to drain, and clients that hear what becomes of hers.

use std::collections::BTreeMap;
use std::time::Duration;

use respoke_core::id::ConnectionId;
use respoke_core::ports::Interest;
use respoke_hub::inspected::OwnState;
use respoke_wire::close::Close;

use crate::world::{Client, World, events, received};

/// Longer than departures are held back.
pub(crate) const LATER: Duration = Duration::from_secs(1);
/// Longer than a client may take to ask for its groups again.
pub(crate) const TAKEN_UP: Duration = Duration::from_secs(11);

/// Three nodes, an observer and member on each but the first, and alice on the first.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) others: [Client; 2],
    pub(crate) alice: Client,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let world = World::apart(Duration::from_millis(40)).await;
        let others = [world.connect(1, "bob").await, world.connect(2, "carol").await];
        for other in &others {
            world.observe(other, "alice").await;
            world.join(other, "room").await;
        }
        let alice = world.connect(0, "alice").await;
        world.join(&alice, "room").await;
        world.say(&alice, "chat").await;
        tokio::time::sleep(LATER).await;
        let scene = Self { world, others, alice };
        scene.told();
        scene
    }

    /// The same when alice's node drains, and has sent her away.
    pub(crate) async fn draining() -> Self {
        let scene = Self::new().await;
        scene.drain().await;
        scene
    }

    /// What the others were told since this was asked last.
    pub(crate) fn told(&self) -> [Vec<(String, String)>; 2] {
        self.others.each_ref().map(received)
    }

    pub(crate) fn nothing_is_told(&self) {
        assert_eq!(self.told(), [vec![], vec![]]);
    }

    /// The others were told that alice is gone, and nothing else.
    pub(crate) fn is_told_as_gone(&self) {
        self.told().into_iter().for_each(is_told_as_gone);
    }

    pub(crate) fn send_away(&self, client: &Client) {
        self.world.nodes[client.node].hub.send_away(&client.socket);
        assert_eq!(client.socket.outbox.closed(), Some(Close::GoingAway));
        // What the door does when the transport has ended.
        self.world.nodes[client.node].hub.close(&client.socket, Close::Left);
    }

    /// Alice's node drains.
    pub(crate) async fn drain(&self) {
        assert!(self.world.nodes[0].hub.begin_to_park(LATER).await);
        self.send_away(&self.alice);
        tokio::time::sleep(LATER).await;
        self.nothing_is_told();
    }

    pub(crate) async fn drained(&self, node: usize) {
        self.world.nodes[node].hub.end_parking().await;
        tokio::time::sleep(LATER).await;
    }

    /// A node has drained and ends in order, and all know it.
    pub(crate) async fn leave(&self, node: usize) {
        self.world.between.say_farewell(self.world.nodes[node].node());
        tokio::time::sleep(LATER).await;
        self.world.between.lose(self.world.nodes[node].node());
        tokio::time::sleep(LATER).await;
    }

    /// A node is no more, without a word. All know it, and hear that they may have missed something. Returns what else they hear.
    pub(crate) async fn lose(&self, node: usize) -> [Vec<(String, String)>; 2] {
        self.world.between.lose(self.world.nodes[node].node());
        tokio::time::sleep(LATER).await;
        self.told().map(|mut told| {
            let missed = told.iter().position(|(name, _)| name == "missed");
            assert!(missed.is_some(), "{told:?}");
            missed.map(|at| told.remove(at));
            told
        })
    }

    /// All is kept as it is on other nodes.
    pub(crate) fn is_consistent(&self, nodes: &[usize]) {
        is_consistent(&self.world, nodes);
    }
}

/// This tells that alice is gone, and nothing else.
pub(crate) fn is_told_as_gone(mut told: Vec<(String, String)>) {
    told.sort();
    assert_eq!(told, events(&[("leave", "alice"), ("presence", "alice")]));
}

/// What these nodes keep is what these nodes have.
pub(crate) fn is_consistent(world: &World, nodes: &[usize]) {
    let all: BTreeMap<_, _> = nodes.iter().map(|node| (*node, world.nodes[*node].hub.inspected())).collect();
    for (node, inspected) in &all {
        assert_eq!(inspected.faults, Vec::<String>::new(), "node {node}");
        for (interest, kept) in &inspected.kept {
            let mut there: Vec<ConnectionId> = kept.there.keys().copied().collect();
            let mut expected: Vec<ConnectionId> = Vec::new();
            for (other, of) in all.iter().filter(|(other, _)| *other != node) {
                let is_in = |own: &OwnState| match interest {
                    Interest::Group(_, group) => own.groups.contains(group),
                    Interest::Observers(_, endpoint) => own.endpoint == *endpoint,
                    _ => false,
                };
                for (id, _) in of.own.iter().filter(|(_, own)| is_in(own)) {
                    expected.push(*id);
                    assert_eq!(kept.there.get(id).map(|(at, _)| *at), Some(world.nodes[*other].node()), "{interest:?}");
                }
            }
            there.sort();
            expected.sort();
            assert_eq!(there, expected, "{interest:?} at node {node}");
        }
    }
}
