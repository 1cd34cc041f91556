use respoke_core::id::GroupName;
use respoke_core::ports::Incarnation;

use super::*;

struct Nowhere;

impl Carrier for Nowhere {
    fn send(&self, _: NodeId, _: Bytes) {}
}

fn node(id: u32) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(1) }
}

/// Whoever goes on with a node that was lost meanwhile, on another thread, neither waits for it nor keeps anything.
#[tokio::test(start_paused = true)]
async fn what_comes_too_late_for_a_lost_node_is_not_waited_for() {
    let bus = CarriedBus::new(node(1), Arc::new(Nowhere), CarriedLimits::DEFAULT);
    bus.nodes_are(&[node(1), node(2)]);
    let peer = bus.peers().remove(0);
    let mut introductions = bus.nodes_are(&[node(1)]);
    assert!(introductions.is_empty() && peer.introduced.borrow().is_empty());
    let waited_for = Arc::new(watch::channel(vec![peer.node]).0);
    bus.tell(&peer, InterestNews::Anew, Some(((AppId::random(), None), &waited_for)));
    assert!(waited_for.borrow().is_empty() && peer.outgoing.lock().unseen() == Some(2), "only what came before");
    // A node that comes is waited for, and what is held meanwhile is told to it as well.
    introductions = bus.nodes_are(&[node(2)]);
    assert_eq!(introductions[0].missing(), [node(2)]);
    let group = Interest::Group(AppId::random(), GroupName::parse("room").unwrap());
    assert_eq!(bus.hold(&group).missing(), [node(2)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_or_for_somebody_else_changes_nothing() {
    let bus = CarriedBus::new(node(1), Arc::new(Nowhere), CarriedLimits::DEFAULT);
    bus.nodes_are(&[node(2)]);
    assert_eq!(bus.arrived(b"").unwrap_err(), BusCodecError::CutShort);
    assert_eq!(bus.arrived(&[7; 40]).unwrap_err(), BusCodecError::UnknownVersion(7));
    let later = |node: Node| Node { incarnation: Incarnation(2), ..node };
    for (from, to) in [(node(3), node(1)), (later(node(2)), node(1)), (node(2), later(node(1)))] {
        let frame = Frame { from, to, content: Content::Item { number: 1, item: Item::Unsent } };
        bus.arrived(&frame.encode().unwrap()).unwrap();
    }
    assert_eq!(bus.peers()[0].seen.load(Ordering::Acquire), 0);
}
