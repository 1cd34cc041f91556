//! What every carrier must do, with a bus on it: in real time, on many threads at once.
//!
//! Nothing is given up for being late here, so a busy machine changes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use respoke_core::id::{ConnectionId, EndpointId};
use respoke_core::ports::{Bus, Delivery, Departed, Incarnation, Node, NodeId, Question, Receiver, Whom};
use uuid::Uuid;

use super::fixture::{APP, LONG, Notes, done, in_room, long_words, room, words};
use crate::carried::{CarriedBus, CarriedLimits, Carrier, TICK};

const NODES: u32 = 3;
/// Who publish at once, on each node.
const PUBLISHERS: u64 = 2;
const EACH: u64 = 500;
const HALLS: u64 = 50;

const LIMITS: CarriedLimits = CarriedLimits {
    kept_for: Duration::from_secs(3_600),
    recent_for: Duration::from_secs(3_600),
    recent_bytes_max: 1 << 30,
    ..CarriedLimits::DEFAULT
};

/// Carriers of some nodes.
pub(crate) trait Carriers {
    /// What a node sends by.
    fn carrier(&self, node: Node) -> Arc<dyn Carrier>;

    /// Brings a node what is for it, for as long as this is there.
    fn bring_to(&mut self, bus: &Arc<CarriedBus>);

    /// Nothing goes from any to any, or everything again.
    fn interrupt(&self, interrupted: bool);
}

/// What goes on for as long as this is there.
#[derive(Default)]
pub(crate) struct Threads {
    over: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(crate) fn run(&mut self, step: impl Fn() + Send + 'static) {
        let over = self.over.clone();
        self.running.push(std::thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                step();
            }
        }));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        for running in self.running.drain(..) {
            running.thread().unpark();
            let _ = running.join();
        }
    }
}

type Member = (Arc<CarriedBus>, Arc<Notes>);

/// Nodes that know what the others are there for.
async fn start(carriers: &mut impl Carriers) -> (Vec<Member>, Threads) {
    let nodes: Vec<_> = (1..=NODES).map(|id| Node { id: NodeId(id), incarnation: Incarnation(1) }).collect();
    let (mut ticking, mut members) = (Threads::default(), Vec::new());
    for node in &nodes {
        let bus = Arc::new(CarriedBus::new(*node, carriers.carrier(*node), LIMITS));
        let notes = Notes::of_node(node.id.0);
        bus.attach(&(notes.clone() as Arc<dyn Receiver>));
        carriers.bring_to(&bus);
        let ticks = bus.clone();
        ticking.run(move || {
            ticks.tick();
            std::thread::park_timeout(TICK / 10);
        });
        members.push((bus, notes));
    }
    let introductions: Vec<_> = members.iter().flat_map(|(bus, _)| bus.nodes_are(&nodes)).collect();
    for introduction in introductions {
        done(introduction).await;
    }
    (members, ticking)
}

pub(super) async fn what_is_done_on_many_threads_comes_once_and_in_order(mut carriers: impl Carriers) {
    let (members, _ticking) = start(&mut carriers).await;
    for (bus, _) in &members {
        done(bus.hold(&in_room("room"))).await;
    }
    let mut publishing = Vec::new();
    for (bus, _) in &members {
        for publisher in 0..PUBLISHERS {
            let bus = bus.clone();
            publishing.push(std::thread::spawn(move || {
                for nth in 0..EACH {
                    bus.publish(words("room", publisher * EACH + nth));
                    // What it is there for comes and goes meanwhile.
                    let hall = in_room(&format!("hall {}", nth % 10));
                    drop(bus.hold(&hall));
                    bus.release(&hall);
                }
            }));
        }
    }
    // What is confirmed meanwhile is in force.
    let ((first, first_notes), (second, _)) = (&members[0], &members[1]);
    for nth in 0..HALLS {
        let hall = format!("confirmed {nth}");
        done(first.hold(&in_room(&hall))).await;
        second.publish(words(&hall, 1_000_000 + nth));
    }
    for publishing in publishing {
        publishing.join().unwrap();
    }
    for (nth, (bus, notes)) in members.iter().enumerate() {
        for (from, _) in members.iter().filter(|(from, _)| from.node() != bus.node()) {
            let of_halls = if nth == 0 && from.node() == second.node() { HALLS } else { 0 };
            let due = usize::try_from(PUBLISHERS * EACH + of_halls).unwrap();
            notes.until(|notes| notes.of(from.node()).len() >= due).await;
            let heard = notes.of(from.node());
            assert_eq!(heard.len(), due, "nothing comes twice");
            for publisher in 0..PUBLISHERS {
                let of = publisher * EACH..(publisher + 1) * EACH;
                let heard: Vec<_> = heard.iter().copied().filter(|said| of.contains(said)).collect();
                assert_eq!(heard, of.collect::<Vec<_>>(), "in its order");
            }
        }
        assert_eq!(notes.gaps(), []);
    }
    let halls: Vec<_> = first_notes.of(second.node()).into_iter().filter(|said| *said >= 1_000_000).collect();
    assert_eq!(halls, (1_000_000..1_000_000 + HALLS).collect::<Vec<_>>());
}

/// Whatever cannot be reached, nobody waits for it; and when it can, nothing has to be done for all to come.
pub(super) async fn an_interruption_is_made_good_by_itself(mut carriers: impl Carriers) {
    let (members, _ticking) = start(&mut carriers).await;
    let ((a, a_notes), (b, b_notes)) = (&members[0], &members[1]);
    done(b.hold(&in_room("room"))).await;
    let mut said = 0;
    for round in 0..5 {
        carriers.interrupt(true);
        for _ in 0..200 {
            a.publish(words("room", said));
            said += 1;
        }
        let held = b.hold(&in_room(&format!("hall {round}")));
        let answers = a.ask(Whom::One(b.node()), question(), Duration::ZERO).await;
        assert_eq!((answers.given.len(), answers.silent), (0, vec![b.node()]));
        carriers.interrupt(false);
        done(held).await;
        a.publish(words(&format!("hall {round}"), said));
        said += 1;
        b_notes.until_of(a.node(), 0..said).await;
        let answers = a.ask(Whom::Others, question(), LONG).await;
        assert_eq!((answers.given.len(), answers.silent), (2, vec![]));
    }
    assert_eq!((a_notes.gaps(), b_notes.gaps()), (vec![], vec![]));
}

fn question() -> Question {
    Question::Groups { app_id: APP, endpoint: None, after: None, most: 1 }
}

/// However short or long what is said is.
pub(super) async fn what_is_of_any_length_comes_as_it_was_sent(mut carriers: impl Carriers) {
    let (members, _ticking) = start(&mut carriers).await;
    let ((a, _), (b, b_notes), (_, c_notes)) = (&members[0], &members[1], &members[2]);
    done(b.hold(&in_room("room"))).await;
    let mut due = Vec::new();
    for (said, len) in (0..).zip([0, 1, 1_000, 60_000, 65_500, 65_536, 131_072, 250_000, 262_000, 262_144, 1 << 20]) {
        due.push(said);
        a.publish(long_words("room", said, len));
    }
    let name = |number: u64| room(&format!("{number}{}", "x".repeat(200)));
    for groups in [1, 1_000, 10_000] {
        due.push(groups + 1);
        a.publish(Delivery::Departed(Departed {
            app_id: APP,
            endpoint: EndpointId::parse("jo").unwrap(),
            connection: ConnectionId::from_uuid(Uuid::from_u128(1)),
            groups: (0..groups).map(name).chain([room("room")]).collect(),
        }));
    }
    b_notes.until_of(a.node(), due).await;
    assert_eq!((b_notes.gaps(), c_notes.of(a.node())), (vec![], vec![]));
}

/// Frames go to whom they are for, and are not told from those of other lives by what carries them.
pub(super) async fn what_is_for_one_comes_to_nobody_else(mut carriers: impl Carriers) {
    let (members, _ticking) = start(&mut carriers).await;
    for (nth, (bus, _)) in members.iter().enumerate() {
        done(bus.hold(&in_room(&nth.to_string()))).await;
    }
    let mut due: HashMap<(usize, Node), Vec<u64>> = HashMap::new();
    for said in 0..300_u64 {
        let (from, to) = ((said % 3) as usize, ((said / 3) % 3) as usize);
        members[from].0.publish(words(&to.to_string(), said));
        due.entry((to, members[from].0.node())).or_default().push(said);
    }
    for ((to, from), due) in due {
        let (bus, notes) = &members[to];
        if bus.node() != from {
            notes.until_of(from, due).await;
        }
    }
}
