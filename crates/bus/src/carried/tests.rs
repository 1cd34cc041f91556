mod aside;
mod farewell;
mod unknown;

use respoke_core::id::GroupName;
use respoke_core::ports::{Answer, Change, Gap, Incarnation, NodeId};

use super::*;

struct Nowhere;

impl Carrier for Nowhere {
    fn send(&self, _: NodeId, _: Bytes) {}

    fn usual_delay(&self) -> Duration {
        Duration::ZERO
    }
}

fn node(id: u32) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(1) }
}

fn later(node: Node) -> Node {
    Node { incarnation: Incarnation(node.incarnation.0 + 1), ..node }
}

fn bus() -> CarriedBus {
    CarriedBus::new(node(1), Arc::new(Nowhere), CarriedLimits::DEFAULT)
}

fn room(name: &str) -> Interest {
    Interest::Group(AppId::random(), GroupName::parse(name).unwrap())
}

/// Whoever goes on with a node that was lost meanwhile, on another thread, neither waits for it nor keeps anything.
#[tokio::test(start_paused = true)]
async fn what_comes_too_late_for_a_lost_node_is_not_waited_for() {
    let bus = bus();
    let mut introductions = bus.nodes_are(&[node(1), node(2)]);
    let peer = bus.peers().remove(0);
    let held = bus.hold(&room("room"));
    assert_eq!(held.missing(), [node(2)]);
    assert!(bus.nodes_are(&[node(1)]).is_empty());
    introductions.push(held);
    assert!(introductions.iter().all(|introduction| introduction.missing().is_empty()));
    bus.send(&peer, &encoded(&Item::Unsent), &Kind::Other);
    assert_eq!(peer.outgoing.lock().unseen(), Some(2), "only what came before");
    let mut confirmation = Confirmation::DONE;
    peer.waits_for(u64::MAX, &mut confirmation);
    assert!(confirmation.missing().is_empty());
    // A node that comes is waited for, and what is held meanwhile is told to it as well.
    introductions = bus.nodes_are(&[node(3)]);
    assert_eq!(introductions[0].missing(), [node(3)]);
    assert_eq!(bus.hold(&room("room")).missing(), [node(3)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_or_for_somebody_else_changes_nothing() {
    let bus = bus();
    bus.nodes_are(&[node(2)]);
    assert_eq!(bus.arrived(b"").unwrap_err(), BusCodecError::CutShort);
    assert_eq!(bus.arrived(&[7; 40]).unwrap_err(), BusCodecError::UnknownVersion(7));
    for (from, to) in [(node(3), node(1)), (later(node(2)), node(1)), (node(2), later(node(1)))] {
        let frame = Frame { from, to, content: Content::Item { number: 1, item: Item::Unsent } };
        bus.arrived(&frame.encode().unwrap()).unwrap();
    }
    assert_eq!(bus.peers()[0].seen.load(Ordering::Acquire), 0);
}

#[derive(Default)]
struct Told {
    lost: Mutex<Vec<Node>>,
    missed: Mutex<Vec<Gap>>,
    received: Mutex<usize>,
    /// What it does with each delivery.
    reacts: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Receiver for Told {
    fn receive(&self, _: Source, _: Delivery) {
        *self.received.lock() += 1;
        let reacts = self.reacts.lock().take();
        if let Some(reacts) = reacts {
            reacts();
        }
    }

    fn missed(&self, gap: Gap) {
        self.missed.lock().push(gap);
    }

    fn answer(&self, _: Node, _: Question) -> Answer {
        Answer::Groups(Vec::new())
    }

    fn told(&self, _: Node, _: Notice) {}

    fn lost(&self, node: Node) {
        self.lost.lock().push(node);
    }
}

/// Two who look who lives may be overtaken by one another.
#[tokio::test(start_paused = true)]
async fn an_old_list_of_who_lives_brings_nobody_back() {
    let (bus, told) = (bus(), Arc::new(Told::default()));
    bus.attach(&(told.clone() as Arc<dyn Receiver>));
    let (old, new) = (node(2), later(node(2)));
    let live = || bus.peers().iter().map(|peer| peer.node).collect::<Vec<_>>();
    for (list, expected) in [
        (vec![old, node(3)], vec![old, node(3)]),
        (vec![new, node(3)], vec![new, node(3)]),
        (vec![old, node(3)], vec![new, node(3)]),
        (vec![old, node(3), new], vec![new, node(3)]),
        (vec![new], vec![new]),
        (vec![node(3), old], vec![new]),
        (vec![], vec![]),
        (vec![old, new, node(3)], vec![]),
        (vec![later(new), later(node(3))], vec![later(new), later(node(3))]),
    ] {
        bus.nodes_are(&list);
        assert_eq!(live(), expected, "after {list:?}");
    }
    assert_eq!(*told.lost.lock(), [old, node(3), new]);
}

/// However short or long what comes is, only so much of it waits.
#[tokio::test(start_paused = true)]
async fn what_waits_to_be_handed_on_is_bounded_by_what_it_takes() {
    for (len, count) in [(0, 100_000), (200_000, 200)] {
        let (bus, told) = (Arc::new(bus()), Arc::new(Told::default()));
        bus.attach(&(told.clone() as Arc<dyn Receiver>));
        bus.nodes_are(&[node(2)]);
        let frame = move |number: u64| {
            let groups = (0..len / 250).map(|number| GroupName::parse(&format!("{number:0250}")).unwrap()).collect();
            let delivery = Delivery::Departed(respoke_core::ports::Departed {
                app_id: AppId::from_uuid(uuid::Uuid::nil()),
                endpoint: respoke_core::id::EndpointId::parse("jo").unwrap(),
                connection: respoke_core::id::ConnectionId::from_uuid(uuid::Uuid::nil()),
                groups,
            });
            let delivery = if len == 0 { Delivery::Change(Change::Session(number)) } else { delivery };
            let content = Content::Item { number, item: Item::Delivery(delivery) };
            Frame { from: node(2), to: node(1), content }.encode().unwrap()
        };
        // All the others come while it takes the first.
        let during = bus.clone();
        *told.reacts.lock() = Some(Box::new(move || {
            for number in 2..=count {
                during.arrived(&frame(number)).unwrap();
            }
            let waiting = during.inbox.add(|waiting| waiting.bytes());
            assert!(waiting < WAITING_BYTES_MAX + 300_000 && waiting > WAITING_BYTES_MAX / 2, "{waiting}");
        }));
        bus.arrived(&frame(1)).unwrap();
        let received = *told.received.lock() as u64;
        assert!(received > 50 && received < count, "{received}");
        // What did not fit is not taken to be here, so it comes again.
        assert_eq!(bus.peers()[0].seen.load(Ordering::Acquire), received);
        for number in received + 1..=count {
            bus.arrived(&frame(number)).unwrap();
        }
        assert_eq!(*told.received.lock() as u64, count);
        assert_eq!(*told.missed.lock(), []);
    }
}

/// What there was no room for, and is kept no more where it came from, is told as a gap where it would have stood.
#[tokio::test(start_paused = true)]
async fn what_did_not_fit_and_is_gone_is_told() {
    let (bus, told) = (Arc::new(bus()), Arc::new(Told::default()));
    bus.attach(&(told.clone() as Arc<dyn Receiver>));
    bus.nodes_are(&[node(2)]);
    let frame = |content| Frame { from: node(2), to: node(1), content }.encode().unwrap();
    let item = move |number| {
        let groups = (0..800).map(|number| GroupName::parse(&format!("{number:0250}")).unwrap()).collect();
        let delivery = Delivery::Departed(respoke_core::ports::Departed {
            app_id: AppId::from_uuid(uuid::Uuid::nil()),
            endpoint: respoke_core::id::EndpointId::parse("jo").unwrap(),
            connection: respoke_core::id::ConnectionId::from_uuid(uuid::Uuid::nil()),
            groups,
        });
        frame(Content::Item { number, item: Item::Delivery(delivery) })
    };
    let during = bus.clone();
    *told.reacts.lock() = Some(Box::new(move || {
        for number in 2..=200 {
            during.arrived(&item(number)).unwrap();
        }
    }));
    bus.arrived(&item(1)).unwrap();
    let received = *told.received.lock() as u64;
    assert!(received < 200, "{received}");
    bus.arrived(&frame(Content::Gone(200))).unwrap();
    assert_eq!(*told.missed.lock(), [Gap { from: node(2), numbers: received + 1..=200 }]);
    bus.arrived(&item(201)).unwrap();
    assert_eq!(*told.received.lock() as u64, received + 1);
}
