use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use respoke_core::ports::{Bus as _, Incarnation, Node, Receiver};
use respoke_core::secret::Secret;
use respoke_wire::bus::{Content, Frame};

use super::*;
use crate::carried::CarriedLimits;
use crate::contract::fixture::{Notes, change, done, in_room, words};

const A: Node = Node { id: NodeId(1), incarnation: Incarnation(1) };
const B: Node = Node { id: NodeId(2), incarnation: Incarnation(1) };

fn cluster(id: u8, key: &str) -> Cluster {
    Cluster { id: [id; 16], key: Secret::new(key.to_owned()) }
}

/// What was sent and waits to be brought.
#[derive(Default)]
struct Road(Mutex<VecDeque<(NodeId, Bytes)>>);

impl Carrier for Road {
    fn send(&self, to: NodeId, frame: Bytes) {
        self.0.lock().push_back((to, frame));
    }

    fn usual_delay(&self) -> Duration {
        Duration::from_millis(7)
    }
}

fn tagged(cluster: &Cluster, frame: &'static [u8]) -> Bytes {
    let road = Arc::new(Road::default());
    Authenticated::new(cluster, road.clone()).send(A.id, Bytes::from_static(frame));
    let (to, sent) = road.0.lock().pop_front().unwrap();
    assert_eq!((to, sent.len()), (A.id, frame.len() + TAG_LEN));
    sent
}

#[test]
fn what_a_node_of_the_cluster_sent_is_taken_as_it_was_and_nothing_else() {
    let ours = cluster(1, "key");
    let checks = Authenticated::new(&ours, Arc::new(Road::default()));
    assert_eq!(checks.usual_delay(), Duration::from_millis(7));
    for frame in [&b""[..], b"frame", &[7; 300]] {
        let sent = tagged(&ours, frame);
        assert_eq!(checks.check(&sent), Some(frame));
        for bit in 0..sent.len() * 8 {
            let mut changed = sent.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(checks.check(&changed), None, "{bit}");
        }
        for len in 0..sent.len() {
            assert_eq!(checks.check(&sent[..len]), None, "{len}");
        }
        assert_eq!(checks.check(&[&sent[..], &[0]].concat()), None);
        for others in [cluster(2, "key"), cluster(1, "kez"), cluster(1, "")] {
            assert_eq!(checks.check(&tagged(&others, frame)), None, "{others:?}");
        }
    }
}

/// Two nodes, and what went between them.
struct Two {
    road: Arc<Road>,
    nodes: [(Arc<CarriedBus>, Authenticated, Arc<Notes>); 2],
    /// All that was ever sent.
    sent: Vec<(NodeId, Bytes)>,
}

impl Two {
    fn start() -> Self {
        let road = Arc::new(Road::default());
        let nodes = [A, B].map(|node| {
            let authenticated = || Authenticated::new(&cluster(1, "key"), road.clone());
            let bus = Arc::new(CarriedBus::new(node, Arc::new(authenticated()), CarriedLimits::DEFAULT));
            let notes = Notes::of_node(node.id.0);
            bus.attach(&(notes.clone() as Arc<dyn Receiver>));
            (bus, authenticated(), notes)
        });
        Self { road, nodes, sent: Vec::new() }
    }

    fn bring(&self, to: NodeId, tagged: &[u8]) {
        let (bus, authenticated, _) = self.nodes.iter().find(|(bus, ..)| bus.node().id == to).unwrap();
        authenticated.bring(bus, tagged);
    }

    /// Brings what waits, unless it is lost, and what is sent because of it.
    fn bring_all(&mut self, mut lost: impl FnMut() -> bool) {
        loop {
            let next = self.road.0.lock().pop_front();
            let Some((to, tagged)) = next else { return };
            self.sent.push((to, tagged.clone()));
            if !lost() {
                self.bring(to, &tagged);
            }
        }
    }

    async fn after(&mut self, time: Duration, lost: impl FnMut() -> bool) {
        tokio::time::advance(time).await;
        self.nodes.iter().for_each(|(bus, ..)| bus.tick());
        self.bring_all(lost);
    }

    /// Lets all that is missing come.
    async fn settle(&mut self) {
        for _ in 0..20 {
            self.after(Duration::from_millis(120), || false).await;
        }
    }

    /// Brings all that was ever sent once more, in an order of its own.
    fn replay(&mut self, order: impl Fn(&mut Vec<(NodeId, Bytes)>)) {
        let mut all = self.sent.clone();
        order(&mut all);
        for (to, tagged) in all {
            self.bring(to, &tagged);
            self.bring_all(|| false);
        }
    }
}

/// Whoever can write to the carrier can bring again all that went there. Nothing of it changes anything: neither an item, nor
/// what has no number, which tells how many there were, were seen, are asked for, and are gone.
#[tokio::test(start_paused = true)]
async fn what_is_brought_again_changes_nothing() {
    let mut two = Two::start();
    let introductions: Vec<_> = two.nodes.iter().flat_map(|(bus, ..)| bus.nodes_are(&[A, B])).collect();
    two.bring_all(|| false);
    for introduction in introductions {
        done(introduction).await;
    }
    let held = two.nodes[1].0.hold(&in_room("room"));
    two.bring_all(|| false);
    done(held).await;
    let mut said = 0;
    let mut say = |two: &Two, many| {
        for _ in 0..many {
            two.nodes[0].0.publish(if said % 2 == 0 { words("room", said) } else { change(said) });
            said += 1;
        }
        said
    };
    // Each third is lost, and asked for again.
    say(&two, 30);
    let mut nth = 0;
    two.bring_all(|| (nth += 1, nth % 3 == 0).1);
    two.settle().await;
    assert_eq!(two.nodes[1].2.of(A), (0..30).collect::<Vec<_>>());
    // These are kept no more when they are asked for.
    say(&two, 10);
    two.bring_all(|| true);
    two.after(Duration::from_secs(6), || false).await;
    two.settle().await;
    say(&two, 10);
    two.settle().await;
    let gap = two.nodes[1].2.gaps();
    assert_eq!(gap.iter().map(|gap| gap.numbers.clone().count()).sum::<usize>(), 10, "{gap:?}");
    // Some are on their way while all is brought again, and come last.
    let all = say(&two, 10);
    let late = std::mem::take(&mut *two.road.0.lock());
    two.replay(|all| all.reverse());
    two.replay(|_| {});
    two.road.0.lock().extend(late);
    two.settle().await;
    two.replay(|all| all.reverse());
    two.settle().await;

    let heard: Vec<_> = (0..30).chain(40..all).collect();
    assert_eq!((two.nodes[1].2.of(A), two.nodes[1].2.gaps()), (heard, gap));
    assert_eq!((two.nodes[0].2.of(B), two.nodes[0].2.gaps()), (vec![], vec![]));
    let kinds: HashSet<_> = two.sent.iter().map(|(_, tagged)| kind(tagged)).collect();
    assert_eq!(kinds, HashSet::from(["item", "head", "seen", "again", "gone"]));
    // And still both hear each other.
    let held = two.nodes[0].0.hold(&in_room("room"));
    two.bring_all(|| false);
    done(held).await;
    two.nodes[1].0.publish(words("room", 1_000));
    two.bring_all(|| false);
    assert_eq!(two.nodes[0].2.of(B), [1_000]);
    assert!(two.nodes.iter().all(|(_, authenticated, _)| authenticated.refused() + authenticated.unreadable() == 0));
}

fn kind(tagged: &[u8]) -> &'static str {
    match Frame::decode(&tagged[..tagged.len() - TAG_LEN]).unwrap().content {
        Content::Item { .. } => "item",
        Content::Head(_) => "head",
        Content::Seen(_) => "seen",
        Content::Again(_) => "again",
        Content::Gone(_) => "gone",
    }
}

#[test]
fn what_nobody_of_the_cluster_sent_does_not_reach_the_bus_and_is_counted() {
    let two = Two::start();
    for (bus, ..) in &two.nodes {
        drop(bus.nodes_are(&[A, B]));
    }
    let others = cluster(2, "key");
    let road = Arc::new(Road::default());
    let bus = CarriedBus::new(A, Arc::new(Authenticated::new(&others, road.clone())), CarriedLimits::DEFAULT);
    drop(bus.nodes_are(&[A, B]));
    bus.publish(change(7));
    let (bus, authenticated, notes) = &two.nodes[1];
    let forged = road.0.lock().split_off(0);
    assert!(forged.len() > 1);
    for (_, tagged) in &forged {
        authenticated.bring(bus, tagged);
        // Not even without a tag.
        authenticated.bring(bus, &tagged[..tagged.len() - TAG_LEN]);
    }
    assert_eq!((authenticated.refused(), authenticated.unreadable()), (2 * forged.len() as u64, 0));
    assert_eq!(notes.all(), []);
    authenticated.bring(bus, &tagged(&cluster(1, "key"), b"no frame"));
    assert_eq!(authenticated.unreadable(), 1);
}

#[test]
fn what_it_prints_holds_no_key() {
    let authenticated = Authenticated::new(&cluster(1, "hidden"), Arc::new(Road::default()));
    assert_eq!(format!("{authenticated:?}"), "Authenticated { refused: 0, .. }");
}
