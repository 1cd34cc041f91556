//! A carrier between nodes of one process that delays, reorders, doubles and loses what it carries, and is cut and mended.
//! It is for tests of a bus, and of whatever stands on one.
//!
//! All of it follows from a seed and from tokio's time. So under paused time, whatever went wrong goes wrong again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::chance::SeededChance;
use respoke_core::ports::{Carrier, Confirmation, Incarnation, Node, NodeId};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::carried::{CarriedBus, CarriedLimits, TICK};

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Each frame takes so long at least.
    pub delay_min: Duration,
    /// And this long at most, so later ones overtake.
    pub delay_max: Duration,
    /// So many of a thousand frames are lost.
    pub lost_per_mille: u64,
    /// So many of a thousand frames come twice.
    pub doubled_per_mille: u64,
    /// The second time up to so much later than the first might.
    pub doubled_after_max: Duration,
}

impl Faults {
    /// Nothing does.
    pub const NONE: Self = Self {
        delay_min: Duration::ZERO,
        delay_max: Duration::ZERO,
        lost_per_mille: 0,
        doubled_per_mille: 0,
        doubled_after_max: Duration::ZERO,
    };
    /// More than in any network that is in use.
    pub const MANY: Self = Self {
        delay_min: Duration::ZERO,
        delay_max: Duration::from_millis(40),
        lost_per_mille: 100,
        doubled_per_mille: 20,
        doubled_after_max: Duration::ZERO,
    };
    /// What was written when nobody knew whether it was is written once more, and comes when it is long over.
    pub const OLD_NEWS: Self =
        Self { lost_per_mille: 20, doubled_per_mille: 500, doubled_after_max: Duration::from_secs(20), ..Self::MANY };
}

/// What waits where less goes through than is sent. Beyond that it is lost, as with any carrier.
const NARROW_WAITING_MAX: usize = 1 << 20;

/// Where frames go through one after the other.
struct Narrow {
    bytes_per_sec: u64,
    /// When all of them are through.
    free_at: Instant,
}

/// Nodes, and what lies between them.
pub struct FaultyNodes {
    state: Mutex<State>,
    changed: Notify,
    limits: CarriedLimits,
}

impl std::fmt::Debug for FaultyNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyNodes").finish_non_exhaustive()
    }
}

struct State {
    chance: SeededChance,
    faults: Faults,
    /// What is on its way, by when it arrives and when it was sent.
    on_its_way: BinaryHeap<Reverse<(Instant, u64, Parcel)>>,
    sent: u64,
    /// From whom to whom nothing goes.
    cut: HashSet<(NodeId, NodeId)>,
    /// From whom to whom only so much goes.
    narrow: HashMap<(NodeId, NodeId), Narrow>,
    /// From whom to whom it takes so much longer.
    delayed: HashMap<(NodeId, NodeId), Duration>,
    /// Nothing goes anywhere.
    stopped: bool,
    /// How much was handed over to be carried, in bytes.
    handed_over: HashMap<(NodeId, NodeId), usize>,
    /// Who stands still, and what came for it meanwhile.
    paused: HashMap<NodeId, Vec<Parcel>>,
    live: HashMap<NodeId, Weak<CarriedBus>>,
    lives: u64,
    tick_at: Instant,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Parcel {
    Frame {
        from: NodeId,
        to: NodeId,
        frame: Bytes,
    },
    /// A node looks who lives.
    Look(NodeId),
}

struct Wire {
    nodes: Weak<FaultyNodes>,
    from: Node,
}

impl Carrier for Wire {
    fn send(&self, to: NodeId, frame: Bytes) {
        if let Some(nodes) = self.nodes.upgrade() {
            nodes.send(self.from, to, frame);
        }
    }

    fn usual_delay(&self) -> Duration {
        self.nodes.upgrade().map_or(Duration::ZERO, |nodes| nodes.state.lock().faults.delay_max)
    }
}

impl FaultyNodes {
    /// No nodes yet, and `seed` to decide what goes wrong between them.
    #[must_use]
    pub fn new(seed: u64, faults: Faults, limits: CarriedLimits) -> Arc<Self> {
        let state = State {
            chance: SeededChance::of(seed),
            faults,
            on_its_way: BinaryHeap::new(),
            sent: 0,
            cut: HashSet::new(),
            narrow: HashMap::new(),
            delayed: HashMap::new(),
            stopped: false,
            handed_over: HashMap::new(),
            paused: HashMap::new(),
            live: HashMap::new(),
            lives: 0,
            tick_at: Instant::now() + TICK,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new(), limits })
    }

    /// Starts a node, which needs a receiver before [`Self::carry`] is polled again. If it lives already, that life is
    /// declared over. Each node learns of it in its time.
    ///
    /// Once all that is returned is done, it knows what the others are there for.
    pub fn start(self: &Arc<Self>, id: NodeId) -> (Arc<CarriedBus>, Vec<Confirmation>) {
        let mut state = self.state.lock();
        state.lives += 1;
        let node = Node { id, incarnation: Incarnation(state.lives) };
        let wire = Arc::new(Wire { nodes: Arc::downgrade(self), from: node });
        let bus = Arc::new(CarriedBus::new(node, wire, self.limits));
        state.live.insert(id, Arc::downgrade(&bus));
        let live = state.nodes();
        drop(state);
        let introductions = bus.nodes_are(&live);
        self.all_look();
        (bus, introductions)
    }

    /// Has a node take leave, which ends in order after that. It is on its way then, as all that it said before.
    pub fn say_farewell(&self, node: Node) {
        let state = self.state.lock();
        let bus = state.nodes().contains(&node).then(|| state.bus(node.id)).flatten();
        drop(state);
        if let Some(bus) = bus {
            bus.say_farewell();
        }
    }

    /// Ends a life as if killed, which nobody knows until [`Self::lose`]. What it sent is still on its way.
    pub fn kill(&self, node: Node) {
        let mut state = self.state.lock();
        if state.nodes().contains(&node) {
            state.live.remove(&node.id);
        }
    }

    /// Ends a life as if killed and declares it over. What it sent is still on its way.
    pub fn lose(&self, node: Node) {
        self.kill(node);
        self.all_look();
    }

    /// Lets nothing through between two nodes, until they are mended.
    pub fn cut(&self, one: NodeId, other: NodeId) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Lets nothing through from one node to another, which still hears the first.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.state.lock().cut.insert((from, to));
    }

    /// Lets through again what goes between two nodes.
    pub fn mend(&self, one: NodeId, other: NodeId) {
        self.state.lock().cut.retain(|pair| *pair != (one, other) && *pair != (other, one));
    }

    /// Lets through only so much in a second from one node to another, and lets it wait there.
    pub fn narrow(&self, from: NodeId, to: NodeId, bytes_per_sec: u64) {
        let narrow = Narrow { bytes_per_sec, free_at: Instant::now() };
        self.state.lock().narrow.insert((from, to), narrow);
    }

    /// Has what goes from one node to another take so much longer.
    pub fn delay(&self, from: NodeId, to: NodeId, by: Duration) {
        self.state.lock().delayed.insert((from, to), by);
    }

    /// What carries stops: what is on its way is lost, and nothing goes until all is mended.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.on_its_way.retain(|Reverse((.., parcel))| matches!(parcel, Parcel::Look(_)));
    }

    /// How much was handed over to be carried from one node to another, in bytes.
    #[must_use]
    pub fn handed_over(&self, from: NodeId, to: NodeId) -> usize {
        self.state.lock().handed_over.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Mends all that was cut, stopped, narrow or delayed, and whoever stood still goes on.
    pub fn mend_all(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.narrow.clear();
        state.delayed.clear();
        state.stopped = false;
        let mut paused: Vec<_> = state.paused.drain().collect();
        paused.sort_unstable();
        for parcel in paused.into_iter().flat_map(|(_, parcels)| parcels) {
            state.post(parcel, Instant::now());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A node stands still: time goes on without it, and what is sent to it waits. It is for whoever tests to do nothing
    /// with it.
    pub fn pause(&self, id: NodeId) {
        self.state.lock().paused.entry(id).or_default();
    }

    /// Whether a node stands still.
    #[must_use]
    pub fn is_paused(&self, id: NodeId) -> bool {
        self.state.lock().paused.contains_key(&id)
    }

    /// Mends all that was cut, and nothing goes wrong any more.
    pub fn calm(&self) {
        self.state.lock().faults = Faults::NONE;
        self.mend_all();
    }

    /// A number below `limit`, of the same chance.
    #[must_use]
    pub fn chance(&self, limit: u64) -> u64 {
        self.state.lock().chance.below(limit)
    }

    /// Carries what is sent for as long as it is polled. Never ends.
    pub async fn carry(&self) {
        loop {
            let changed = self.changed.notified();
            let due = self.next_due();
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(due) => self.hand_over(),
            }
        }
    }

    fn next_due(&self) -> Instant {
        let state = self.state.lock();
        state.on_its_way.peek().map_or(state.tick_at, |Reverse((at, ..))| state.tick_at.min(*at))
    }

    /// Brings what is due, and ticks.
    fn hand_over(&self) {
        let now = Instant::now();
        loop {
            let mut state = self.state.lock();
            if state.on_its_way.peek().is_none_or(|Reverse((at, ..))| *at > now) {
                break;
            }
            let Some(Reverse((.., parcel))) = state.on_its_way.pop() else { break };
            let (Parcel::Frame { to, .. } | Parcel::Look(to)) = &parcel;
            if let Some(waiting) = state.paused.get_mut(&to.clone()) {
                waiting.push(parcel);
                continue;
            }
            match parcel {
                Parcel::Frame { from, to, frame } => {
                    let bus = state.bus(to).filter(|_| !state.cut.contains(&(from, to)));
                    drop(state);
                    if let Some(bus) = bus {
                        bus.arrived(&frame).expect("what a node sends is a frame");
                        while bus.answer_next_aside() {}
                    }
                }
                Parcel::Look(id) => {
                    let (bus, live) = (state.bus(id), state.nodes());
                    drop(state);
                    if let Some(bus) = bus {
                        bus.nodes_are(&live);
                    }
                }
            }
        }
        let mut state = self.state.lock();
        if state.tick_at > now {
            return;
        }
        state.tick_at = now + TICK;
        let mut ids: Vec<_> = state.live.keys().copied().filter(|id| !state.paused.contains_key(id)).collect();
        ids.sort_unstable();
        let buses: Vec<_> = ids.into_iter().filter_map(|id| state.bus(id)).collect();
        drop(state);
        for bus in buses {
            bus.tick();
        }
    }

    fn send(&self, from: Node, to: NodeId, frame: Bytes) {
        let mut state = self.state.lock();
        // A life that is over sends nothing more.
        let lives = state.nodes().contains(&from);
        if lives {
            *state.handed_over.entry((from.id, to)).or_default() += frame.len();
        }
        let sends = lives && !state.stopped && !state.cut.contains(&(from.id, to));
        let Faults { lost_per_mille, doubled_per_mille, doubled_after_max, .. } = state.faults;
        if !sends || state.chance.below(1_000) < lost_per_mille {
            return;
        }
        let Some(through_at) = state.through_at((from.id, to), frame.len()) else { return };
        if state.chance.below(1_000) < doubled_per_mille {
            let later = if doubled_after_max.is_zero() { Duration::ZERO } else { state.some(doubled_after_max) };
            state.post(Parcel::Frame { from: from.id, to, frame: frame.clone() }, through_at + later);
        }
        state.post(Parcel::Frame { from: from.id, to, frame }, through_at);
        drop(state);
        self.changed.notify_one();
    }

    fn all_look(&self) {
        let mut state = self.state.lock();
        for node in state.nodes() {
            state.post(Parcel::Look(node.id), Instant::now());
        }
        drop(state);
        self.changed.notify_one();
    }
}

impl State {
    fn bus(&self, id: NodeId) -> Option<Arc<CarriedBus>> {
        self.live.get(&id)?.upgrade()
    }

    fn nodes(&self) -> Vec<Node> {
        use respoke_core::ports::Bus as _;
        let mut nodes: Vec<_> = self.live.values().filter_map(Weak::upgrade).map(|bus| bus.node()).collect();
        nodes.sort_unstable();
        nodes
    }

    /// Something between nothing and this long.
    fn some(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.chance.below(1 + u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }

    /// When so many bytes are through, if there is room for them.
    fn through_at(&mut self, way: (NodeId, NodeId), len: usize) -> Option<Instant> {
        let now = Instant::now();
        let Some(Narrow { bytes_per_sec, free_at }) = self.narrow.get_mut(&way) else { return Some(now) };
        let takes = |len: usize| Duration::from_micros(len as u64 * 1_000_000 / *bytes_per_sec);
        let begins = (*free_at).max(now);
        if begins + takes(len) - now > takes(NARROW_WAITING_MAX) {
            return None;
        }
        *free_at = begins + takes(len);
        Some(*free_at)
    }

    fn post(&mut self, parcel: Parcel, from: Instant) {
        let Faults { delay_min, delay_max, .. } = self.faults;
        let delayed = match &parcel {
            Parcel::Frame { from, to, .. } => self.delayed.get(&(*from, *to)).copied().unwrap_or_default(),
            Parcel::Look(_) => Duration::ZERO,
        };
        let at = from + delayed + delay_min + self.some(delay_max.saturating_sub(delay_min));
        self.sent += 1;
        self.on_its_way.push(Reverse((at, self.sent, parcel)));
    }
}
