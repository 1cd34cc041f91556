//! What every carrier must do, with a bus on it: in real time, on many threads at once.
//!
//! Nothing is given up here for being late, so a busy machine changes nothing. What a carrier brings is looked at before
//! the bus gets it: the bus would make good much of what a carrier must not do.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use respoke_core::id::{ConnectionId, EndpointId};
use respoke_core::ports::{
    Bus, Carrier, Confirmation, Delivery, Departed, Incarnation, Node, NodeId, Question, Receiver, Whom,
};
use respoke_wire::bus::FRAME_LEN_MAX;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use super::fixture::{APP, LONG, Notes, change, done, in_room, long_words, room, words};
use crate::carried::{CarriedBus, CarriedLimits, TICK};

const NODES: u32 = 3;
/// Who publish at once, on each node.
const PUBLISHERS: u64 = 2;
const EACH: u64 = 500;
const HALLS: u64 = 50;
/// Said by each node at the end of a case.
const CLOSING: u64 = u64::MAX;

const LIMITS: CarriedLimits = CarriedLimits {
    kept_for: Duration::from_secs(3_600),
    recent_for: Duration::from_secs(3_600),
    recent_bytes_max: 1 << 30,
    ..CarriedLimits::DEFAULT
};

/// Takes a frame for a node.
pub(crate) type Bring = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Carriers of some nodes.
pub(crate) trait Carriers {
    /// What a node sends by.
    fn carrier(&self, node: Node) -> Arc<dyn Carrier>;

    /// Brings a node what is for it, for as long as this is there or until a later life of it comes.
    ///
    /// `bring` may stand still for as long as it likes, as a node may.
    fn bring_to(&mut self, node: Node, bring: Bring);

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
            // A case that failed waits for no thread, which may wait for the case.
            if std::thread::panicking() {
                continue;
            }
            if let Err(panic) = running.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// What goes by a carrier, and who stands still.
#[derive(Default)]
struct Road {
    sent: Mutex<HashMap<NodeId, HashSet<Bytes>>>,
    still: Mutex<HashSet<NodeId>>,
    went_on: Condvar,
    failed: Notify,
}

thread_local! {
    static SENDING: Cell<bool> = const { Cell::new(false) };
}

impl Road {
    /// Checks what a carrier brings.
    fn check(&self, to: NodeId, frame: &[u8]) {
        assert!(!SENDING.get(), "it brings within send");
        let sent = self.sent.lock().get(&to).is_some_and(|sent| sent.contains(frame));
        assert!(sent, "node {to:?} is brought what was not sent to it");
        let mut still = self.still.lock();
        while still.contains(&to) {
            self.went_on.wait(&mut still);
        }
    }

    fn stand_still(&self, node: NodeId) {
        self.still.lock().insert(node);
    }

    fn go_on(&self) {
        self.still.lock().clear();
        self.went_on.notify_all();
    }
}

/// A carrier whose frames are known.
struct Watched {
    carrier: Arc<dyn Carrier>,
    road: Arc<Road>,
}

impl Carrier for Watched {
    fn send(&self, to: NodeId, frame: Bytes) {
        self.road.sent.lock().entry(to).or_default().insert(frame.clone());
        SENDING.set(true);
        self.carrier.send(to, frame);
        SENDING.set(false);
    }

    fn usual_delay(&self) -> Duration {
        self.carrier.usual_delay()
    }
}

/// Ends the case if what holds it panics.
struct Alarm<'a>(&'a Road);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.notify_one();
        }
    }
}

type Member = (Arc<CarriedBus>, Arc<Notes>);

/// Nodes by id, beginning with 1, and what is between them.
pub(super) struct Nodes<C: Carriers> {
    members: Vec<Member>,
    ticking: Threads,
    carriers: C,
    road: Arc<Road>,
}

impl<C: Carriers> Drop for Nodes<C> {
    fn drop(&mut self) {
        self.road.go_on();
        self.carriers.interrupt(false);
    }
}

/// Runs a case on three nodes that know each other, and ends it when anything panics on any thread.
pub(super) async fn judge<C: Carriers>(carriers: C, case: impl AsyncFnOnce(&mut Nodes<C>)) {
    let road = Arc::<Road>::default();
    let mut nodes = Nodes { members: Vec::new(), ticking: Threads::default(), carriers, road: road.clone() };
    let failed = tokio::select! {
        biased;
        () = road.failed.notified() => true,
        () = async {
            for id in 1..=NODES {
                nodes.start(id, 1);
            }
            done_all(nodes.all_know(&[])).await;
            case(&mut nodes).await;
        } => false,
    };
    // Whatever panicked on a thread goes on here.
    drop(nodes);
    assert!(!failed, "a thread of it panicked");
}

fn node(id: u32, incarnation: u64) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(incarnation) }
}

async fn done_all(confirmations: Vec<Confirmation>) {
    for confirmation in confirmations {
        done(confirmation).await;
    }
}

impl<C: Carriers> Nodes<C> {
    /// Begins a life, in place of the former one, which goes on and does not know that it is over.
    fn start(&mut self, id: u32, incarnation: u64) {
        let (node, road) = (node(id, incarnation), self.road.clone());
        let carrier = Watched { carrier: self.carriers.carrier(node), road: road.clone() };
        let bus = Arc::new(CarriedBus::new(node, Arc::new(carrier), LIMITS));
        let notes = Notes::of_node(id);
        bus.attach(&(notes.clone() as Arc<dyn Receiver>));
        let (brought, ticks) = (bus.clone(), bus.clone());
        let bring = move |frame: &[u8]| {
            let _alarm = Alarm(&road);
            road.check(node.id, frame);
            brought.arrived(frame).unwrap();
        };
        self.carriers.bring_to(node, Arc::new(bring));
        let road = self.road.clone();
        self.ticking.run(move || {
            let _alarm = Alarm(&road);
            ticks.tick();
            std::thread::park_timeout(TICK / 10);
        });
        self.members.truncate(self.members.len().max(id as usize - 1));
        match self.members.get_mut(id as usize - 1) {
            Some(member) => *member = (bus, notes),
            None => self.members.push((bus, notes)),
        }
    }

    /// Tells each who lives, and these besides. It is done when each knows what the others are there for.
    fn all_know(&self, besides: &[Node]) -> Vec<Confirmation> {
        let live: Vec<_> = self.members.iter().map(|(bus, _)| bus.node()).chain(besides.iter().copied()).collect();
        self.members.iter().flat_map(|(bus, _)| bus.nodes_are(&live)).collect()
    }

    async fn all_hold(&self, group: &str) {
        for (bus, _) in &self.members {
            done(bus.hold(&in_room(group))).await;
        }
    }

    /// Each two members: to whom and from whom.
    fn pairs(&self) -> impl Iterator<Item = (&Member, &Member)> {
        let among = || self.members.iter();
        among().flat_map(move |to| among().filter(move |from| !std::ptr::eq(to, *from)).map(move |from| (to, from)))
    }

    /// Waits until nothing is on its way any more that could come twice or late, and nothing was lost.
    async fn close(&self) {
        for (bus, _) in &self.members {
            bus.publish(change(CLOSING));
        }
        for ((_, notes), (from, _)) in self.pairs() {
            notes.until(|notes| notes.of(from.node()).contains(&CLOSING)).await;
        }
        for (bus, _) in &self.members {
            let answers = bus.ask(Whom::Others, question(), LONG).await;
            assert_eq!((answers.given.len() + 1, answers.silent), (self.members.len(), vec![]));
        }
        for (_, notes) in &self.members {
            let gone = notes.lost();
            let gaps: Vec<_> = notes.gaps().into_iter().filter(|gap| !gone.contains(&gap.from)).collect();
            assert_eq!(gaps, []);
        }
    }
}

/// What a node heard of another in all, once that is closed.
fn heard((to, from): (&Member, &Member)) -> Vec<u64> {
    let mut heard = to.1.of(from.0.node());
    assert_eq!(heard.pop(), Some(CLOSING), "nothing comes after what was said last");
    heard
}

/// Does something that must not wait, on a thread of its own, so that it is seen if it does.
async fn without_waiting(what: impl FnOnce() + Send + 'static) {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        what();
        ended.send(())
    });
    assert!(matches!(timeout(LONG, end).await, Ok(Ok(()))), "who sends waits");
}

fn question() -> Question {
    Question::Groups { app_id: APP, endpoint: None, after: None, most: 1 }
}

pub(super) async fn what_is_done_on_many_threads_comes_once_and_in_order(nodes: &mut Nodes<impl Carriers>) {
    nodes.all_hold("room").await;
    let mut publishing = Vec::new();
    for (bus, _) in &nodes.members {
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
    let (first, second) = (&nodes.members[0], &nodes.members[1]);
    for nth in 0..HALLS {
        let hall = format!("confirmed {nth}");
        done(first.0.hold(&in_room(&hall))).await;
        second.0.publish(words(&hall, 1_000_000 + nth));
    }
    for publishing in publishing {
        publishing.join().unwrap();
    }
    nodes.close().await;
    for pair in nodes.pairs() {
        let mut due: Vec<_> = (0..PUBLISHERS).map(|publisher| publisher * EACH..(publisher + 1) * EACH).collect();
        if std::ptr::eq(pair.0, first) && std::ptr::eq(pair.1, second) {
            due.push(1_000_000..1_000_000 + HALLS);
        }
        let heard = heard(pair);
        assert_eq!(heard.len(), due.iter().flat_map(Clone::clone).count(), "nothing comes twice");
        for due in due {
            let heard: Vec<_> = heard.iter().copied().filter(|said| due.contains(said)).collect();
            assert_eq!(heard, due.collect::<Vec<_>>(), "in its order");
        }
    }
}

/// Whatever cannot be reached, nobody waits for it; and when it can, nothing has to be done for all to come.
pub(super) async fn an_interruption_is_made_good_by_itself(nodes: &mut Nodes<impl Carriers>) {
    const AT_ONCE: u64 = 2_000;
    let (a, b) = (&nodes.members[0], &nodes.members[1]);
    done(b.0.hold(&in_room("room"))).await;
    let mut said = 0;
    for round in 0..5 {
        nodes.carriers.interrupt(true);
        let (bus, first) = (a.0.clone(), said);
        said += AT_ONCE;
        without_waiting(move || (first..first + AT_ONCE).for_each(|said| bus.publish(words("room", said)))).await;
        let held = b.0.hold(&in_room(&format!("hall {round}")));
        // Long enough for one that is not interrupted.
        let answers = a.0.ask(Whom::One(b.0.node()), question(), Duration::from_millis(100)).await;
        assert_eq!((answers.given.len(), answers.silent), (0, vec![b.0.node()]), "it is interrupted");
        assert_eq!(b.1.of(a.0.node()).len() as u64, first, "it is interrupted");
        nodes.carriers.interrupt(false);
        done(held).await;
        a.0.publish(words(&format!("hall {round}"), said));
        said += 1;
        b.1.until_of(a.0.node(), 0..said).await;
    }
    nodes.close().await;
    for pair in nodes.pairs() {
        let due = if std::ptr::eq(pair.0, b) && std::ptr::eq(pair.1, a) { said } else { 0 };
        assert_eq!(heard(pair), (0..due).collect::<Vec<_>>());
    }
}

/// However short or long what is said is.
pub(super) async fn what_is_of_any_length_comes_as_it_was_sent(nodes: &mut Nodes<impl Carriers>) {
    let (a, b) = (&nodes.members[0], &nodes.members[1]);
    done(b.0.hold(&in_room("room"))).await;
    let mut due = Vec::new();
    for (said, len) in (0..).zip([0, 1, 1_000, 60_000, 65_500, 65_536, 131_072, 250_000, 262_000, 262_144, 1 << 20]) {
        due.push(said);
        a.0.publish(long_words("room", said, len));
    }
    let name = |number: u64| room(&format!("{number}{}", "x".repeat(200)));
    for groups in [1, 1_000, 10_000] {
        due.push(groups + 1);
        a.0.publish(Delivery::Departed(Departed {
            app_id: APP,
            endpoint: EndpointId::parse("jo").unwrap(),
            connection: ConnectionId::from_uuid(Uuid::from_u128(1)),
            groups: (0..groups).map(name).chain([room("room")]).collect(),
        }));
    }
    nodes.close().await;
    for pair in nodes.pairs() {
        let due = if std::ptr::eq(pair.0, b) && std::ptr::eq(pair.1, a) { &due[..] } else { &[] };
        assert_eq!(heard(pair), due);
    }
    let longest = nodes.road.sent.lock()[&b.0.node().id].iter().map(Bytes::len).max();
    assert_eq!(longest, Some(FRAME_LEN_MAX), "frames of every length went");
}

/// Frames go to whom they are for.
pub(super) async fn what_is_for_one_comes_to_nobody_else(nodes: &mut Nodes<impl Carriers>) {
    for (bus, _) in &nodes.members {
        done(bus.hold(&in_room(&bus.node().id.0.to_string()))).await;
    }
    for said in 0..300 {
        for (from, _) in &nodes.members {
            from.publish(words(&(said % 3 + 1).to_string(), said));
        }
    }
    nodes.close().await;
    for pair in nodes.pairs() {
        let due = (0..300).filter(|said| said % 3 + 1 == u64::from(pair.0.0.node().id.0));
        assert_eq!(heard(pair), due.collect::<Vec<_>>());
    }
}

/// Whoever starts anew hears and is heard as the others are, though its former life goes on beside it.
pub(super) async fn who_starts_anew_hears_and_is_heard(nodes: &mut Nodes<impl Carriers>) {
    const FORMER: u64 = 1_000_000;
    let mut since = [0; NODES as usize];
    nodes.all_hold("room").await;
    for round in 1..=7_u64 {
        let id = u32::try_from(round).unwrap() % NODES + 1;
        let former = nodes.members[id as usize - 1].0.clone();
        nodes.start(id, 1 + round);
        since[id as usize - 1] = round;
        done_all(nodes.all_know(&[])).await;
        nodes.all_hold("room").await;
        for (bus, _) in &nodes.members {
            for nth in 0..100 {
                former.publish(words("room", FORMER));
                bus.publish(words("room", 100 * round + nth));
            }
        }
        for ((to, notes), (from, _)) in nodes.pairs() {
            let [to, from_id] = [to, from].map(|bus| bus.node().id.0 as usize - 1);
            let first = since[to].max(since[from_id]).max(1);
            notes.until_of(from.node(), 100 * first..100 * (round + 1)).await;
        }
        for (_, notes) in nodes.members.iter().filter(|(bus, _)| bus.node().id.0 != id) {
            notes.until(|notes| notes.lost().last() == Some(&former.node())).await;
        }
    }
    nodes.close().await;
    for (_, notes) in &nodes.members {
        let lost = notes.lost();
        assert_eq!(lost.len(), lost.iter().collect::<HashSet<_>>().len(), "each is lost once");
    }
    assert!(nodes.pairs().all(|pair| !heard(pair).contains(&FORMER)));
}

/// Whoever is not there yet, and whoever stands still, holds up nobody else, and hears of everything when it can.
pub(super) async fn who_takes_nothing_holds_up_nobody_else(nodes: &mut Nodes<impl Carriers>) {
    const SAID: u64 = 2_000;
    nodes.all_hold("room").await;
    let late = node(NODES + 1, 1);
    nodes.all_know(&[late]);
    let (still, a) = (nodes.members[2].0.node(), nodes.members[0].0.clone());
    nodes.road.stand_still(still.id);
    without_waiting(move || {
        for said in 0..SAID {
            a.publish(long_words("room", said, 1_000));
            a.publish(change(SAID + said));
        }
    })
    .await;
    let (a, b) = (&nodes.members[0], &nodes.members[1]);
    let due: Vec<_> = (0..SAID).flat_map(|said| [said, SAID + said]).collect();
    b.1.until_of(a.0.node(), due.clone()).await;
    let answers = a.0.ask(Whom::One(b.0.node()), question(), LONG).await;
    assert_eq!(answers.given.len(), 1);
    assert!(nodes.members[2].1.of(a.0.node()).is_empty());
    nodes.road.go_on();
    nodes.start(late.id.0, late.incarnation.0);
    done_all(nodes.all_know(&[])).await;
    nodes.close().await;
    for pair in nodes.pairs().filter(|(_, from)| from.0.node().id == NodeId(1)) {
        let changes = pair.0.0.node() == late;
        let due: Vec<_> = due.iter().copied().filter(|said| !changes || *said >= SAID).collect();
        assert_eq!(heard(pair), due);
    }
}
