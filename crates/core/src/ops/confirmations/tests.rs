use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use async_trait::async_trait;

use super::*;
use crate::ports::{Answers, Delivery, Incarnation, Interest, NodeId, Question, Whom};

/// The bus of node 1, which keeps what others are told.
struct Kept {
    others: Mutex<Vec<Node>>,
    told: Mutex<Vec<(u32, u64)>>,
}

impl Kept {
    fn beside(others: &[u32]) -> Self {
        Self { others: Mutex::new(others.iter().copied().map(node).collect()), told: Mutex::default() }
    }

    /// Whom it told of which number since this was asked last.
    fn told(&self) -> Vec<(u32, u64)> {
        std::mem::take(&mut self.told.lock())
    }
}

#[async_trait]
impl Bus for Kept {
    fn node(&self) -> Node {
        node(1)
    }

    fn publish(&self, _: Delivery) {}

    fn hold(&self, _: &Interest) -> Confirmation {
        Confirmation::DONE
    }

    fn release(&self, _: &Interest) {}

    fn wanted_elsewhere(&self, _: &Interest) -> bool {
        false
    }

    fn other_nodes(&self) -> Vec<Node> {
        self.others.lock().clone()
    }

    async fn ask(&self, _: Whom, _: Question, _: Duration) -> Answers {
        Answers::default()
    }

    fn tell(&self, to: Node, notice: Notice) {
        let Notice::Follow { number } = notice else { panic!("{notice:?}") };
        self.told.lock().push((to.id.0, number));
    }

    fn round_trip(&self) -> Duration {
        Duration::ZERO
    }
}

fn node(id: u32) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(1) }
}

/// What comes of it if nothing more does.
async fn waited(confirmations: &Confirmations, bus: &Kept, waiting: Waiting) -> (String, Duration) {
    waited_among(confirmations, bus, waiting, &NodeList::default(), None).await
}

/// The same where somebody says which nodes serve.
async fn waited_among(
    confirmations: &Confirmations,
    bus: &Kept,
    waiting: Waiting,
    nodes: &NodeList,
    changes: Option<u64>,
) -> (String, Duration) {
    let since = Instant::now();
    let confirmed = confirmations.wait(bus, waiting, nodes, changes).await;
    (confirmed.to_string(), since.elapsed())
}

/// Lets whoever waits do what it can, which is not to the end.
async fn waits(waiting: &mut std::pin::Pin<&mut impl Future<Output = (String, Duration)>>) {
    poll_fn(|context| {
        assert!(waiting.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_ends_at_once_are_two_notices_to_each_node() {
    let (confirmations, bus) = (Confirmations::default(), Kept::beside(&[2, 3]));
    let all: Vec<_> = (0..1_000).map(|_| confirmations.ask(&bus, &NodeList::default()).unwrap()).collect();
    assert_eq!(bus.told(), [(2, 1), (3, 1)], "each is told at once of the first");
    confirmations.confirmed(&bus, node(2), 1);
    assert_eq!(bus.told(), [(2, 1_000)], "and of all that came meanwhile when it has answered");
    confirmations.confirmed(&bus, node(2), 1_000);
    assert_eq!(bus.told(), []);
    for number in [1, 1_000] {
        confirmations.confirmed(&bus, node(3), number);
    }
    assert_eq!(bus.told(), [(3, 1_000)]);
    for waiting in all {
        assert_eq!(waited(&confirmations, &bus, waiting).await, ("3/3".to_owned(), Duration::ZERO));
    }
    // Who has answered everything is told at once again.
    assert!(confirmations.ask(&bus, &NodeList::default()).is_some());
    assert_eq!(bus.told(), [(2, 1_001), (3, 1_001)]);
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_waited_for_a_quarter_of_a_second_and_told_again() {
    let (confirmations, bus) = (Confirmations::default(), Kept::beside(&[2, 3]));
    let first = confirmations.ask(&bus, &NodeList::default()).unwrap();
    let second = confirmations.ask(&bus, &NodeList::default()).unwrap();
    confirmations.confirmed(&bus, node(3), 1);
    assert_eq!(bus.told(), [(2, 1), (3, 1), (3, 2)]);
    // What was confirmed before says nothing of what was changed since.
    assert_eq!(waited(&confirmations, &bus, second).await, ("1/3".to_owned(), CONFIRMED_WITHIN));
    assert_eq!(waited(&confirmations, &bus, first).await, ("2/3".to_owned(), Duration::ZERO));
    assert_eq!(bus.told(), [(2, 2)], "nothing came after the second, and the first may be lost");
    let third = confirmations.ask(&bus, &NodeList::default()).unwrap();
    confirmations.confirmed(&bus, node(3), 2);
    assert_eq!(bus.told(), [(3, 3)], "the second, told again, is awaited of the other");
    confirmations.confirmed(&bus, node(2), 2);
    confirmations.confirmed(&bus, node(2), 3);
    confirmations.confirmed(&bus, node(2), 1);
    confirmations.confirmed(&bus, node(3), 3);
    assert_eq!(waited(&confirmations, &bus, third).await, ("3/3".to_owned(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn who_is_lost_meanwhile_is_not_waited_for_nor_counted() {
    let (confirmations, bus) = (Confirmations::default(), Kept::beside(&[2, 3]));
    let waiting = confirmations.ask(&bus, &NodeList::default()).unwrap();
    let mut waiting = pin!(waited(&confirmations, &bus, waiting));
    confirmations.confirmed(&bus, node(3), 1);
    waits(&mut waiting).await;
    bus.others.lock().retain(|other| *other != node(2));
    confirmations.lost(node(2));
    assert_eq!(waiting.await, ("2/2".to_owned(), Duration::ZERO));
    // What it says from then on is nobody's, and nothing is kept of it.
    confirmations.confirmed(&bus, node(2), 1);
    assert_eq!(confirmations.asked.lock().of.keys().copied().collect::<Vec<_>>(), [node(3)]);
}

/// A node that joined before something is written may remember what that ends, and the bus learns of the node a little later.
#[tokio::test(start_paused = true)]
async fn who_joined_before_and_is_known_later_is_waited_for() {
    for others in [&[][..], &[2]] {
        let (confirmations, nodes) = (Confirmations::default(), NodeList::default());
        let bus = Kept::beside(others);
        nodes.list(0);
        nodes.change();
        let waiting = confirmations.ask(&bus, &nodes).unwrap();
        confirmations.confirmed(&bus, node(2), 1);
        bus.told();
        let mut waiting = pin!(waited_among(&confirmations, &bus, waiting, &nodes, Some(1)));
        waits(&mut waiting).await;
        // Rows that were read before that was followed say nothing of it.
        nodes.list(0);
        waits(&mut waiting).await;
        bus.others.lock().push(node(3));
        nodes.list(1);
        waits(&mut waiting).await;
        assert_eq!(bus.told(), [(3, 1)]);
        confirmations.confirmed(&bus, node(3), 1);
        let all = others.len() + 2;
        assert_eq!(waiting.await, (format!("{all}/{all}"), Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn while_it_is_not_known_who_joined_no_answer_is_full() {
    let (confirmations, nodes) = (Confirmations::default(), NodeList::default());
    nodes.list(0);
    nodes.change();
    // Nor if it is not known whether somebody has.
    for (number, changes) in [(1, Some(1)), (2, None)] {
        let bus = Kept::beside(&[2]);
        let waiting = confirmations.ask(&bus, &nodes).unwrap();
        confirmations.confirmed(&bus, node(2), number);
        let waited = waited_among(&confirmations, &bus, waiting, &nodes, changes).await;
        assert_eq!(waited, ("2/3".to_owned(), CONFIRMED_WITHIN));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_asks_nobody() {
    let (confirmations, bus) = (Confirmations::default(), Kept::beside(&[]));
    let waiting = confirmations.ask(&bus, &NodeList::default()).unwrap();
    assert_eq!(waited(&confirmations, &bus, waiting).await, ("1/1".to_owned(), Duration::ZERO));
    assert!(bus.told().is_empty() && confirmations.asked.lock().of.is_empty());
}

#[test]
fn waits_are_counted_by_how_long_they_were() {
    let figures = ConfirmFigures::default();
    let (full, short) = (Confirmed { by: 2, of: 2 }, Confirmed { by: 1, of: 2 });
    for (micros, confirmed) in
        [(0, full), (999, full), (1_000, full), (128_000, full), (250_000, short), (256_000, short)]
    {
        figures.note(Duration::from_micros(micros), confirmed);
    }
    let waits = figures.waits.iter().map(|waits| waits.load(Ordering::Relaxed)).collect::<Vec<_>>();
    assert_eq!(waits, [2, 1, 0, 0, 0, 0, 0, 0, 2, 1]);
    assert_eq!(figures.unconfirmed.load(Ordering::Relaxed), 2);
    assert_eq!(figures.micros.load(Ordering::Relaxed), 635_999);
}
