//! A life of this node: it begins with a row in the database, goes on with each beat, and ends when the row is gone.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use respoke_bus::Authenticated;
use respoke_bus::carried::{CarriedBus, CarriedLimits, TICK};
use respoke_core::clock::{Clock, SystemClock};
use respoke_core::ops::Broker;
use respoke_core::ports::{
    BEAT, Beating, Cluster, Joining, LATE, Load, Newcomer, Node, NodeRecord, NodeState, NodeStore, SKEW_MAX, StoreError,
};
use respoke_wire::bus::VERSIONS;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::carriage::{Carriage, Talk};
use super::fence::{BootTime, Fence};
use super::place;
use crate::enduring;
use crate::metrics::NodesView;

/// How long a beat is waited for. Behind that is another, and both may come before the fence.
const BEAT_PATIENCE: Duration = Duration::from_secs(4);
/// A beat that takes longer says nothing of the time.
const TRIP_MAX: Duration = Duration::from_millis(500);
/// How long others are waited for, at the end, to have what was sent to them. Whoever has not is told of a gap, and so are all its
/// clients; so one that is only slow is given time. One that is dead takes it as well.
const SEEN_WITHIN: Duration = Duration::from_secs(3);
/// How long the others are waited for to know that this node drains.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// When a beat is tried again that failed.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a start waits until the nodes that live have told what they are there for. One that does not by then was killed, as
/// a rule, and is declared dead soon.
const INTRODUCTIONS: Duration = Duration::from_secs(3);
/// How long the end of a life may take to be written; else it is found out.
const LEAVING: Duration = Duration::from_secs(2);

/// Who begins a life, and how it is reached.
pub(crate) struct Begin<'a> {
    pub(crate) nodes: Arc<dyn NodeStore>,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) talk: Talk,
    pub(crate) clock: &'a dyn Clock,
    /// After so long without the database sockets are closed. None: never.
    pub(crate) isolation: Option<Duration>,
}

/// This node among others.
pub(crate) struct Among {
    nodes: Arc<dyn NodeStore>,
    node: Node,
    cluster: Cluster,
    carriage: Carriage,
    bus: Arc<CarriedBus>,
    fence: Fence,
    state: watch::Sender<NodeState>,
    isolation: Option<Duration>,
    /// Told when sockets are to be closed, because the database is away for long.
    isolated: Notify,
    /// Told when an operator wants the node to drain.
    to_drain: CancellationToken,
    dead: CancellationToken,
    load: OnceLock<Box<dyn Fn() -> Load + Send + Sync>>,
    /// Those who live, as far as was heard.
    live: Mutex<Vec<NodeRecord>>,
    declared_dead: AtomicU64,
    /// Those that were late at the last beat.
    late: watch::Sender<Vec<(Node, String)>>,
    /// Told when one of them was declared dead.
    buried: Notify,
    /// How far the machine's clock is ahead of the database's, in milliseconds.
    skew: AtomicI64,
    tasks: TaskTracker,
    _stop: DropGuard,
    stop: CancellationToken,
}

impl std::fmt::Debug for Among {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Among").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What came of a beat.
enum Beaten {
    Lives,
    Dead,
    Unheard(StoreError),
}

impl Among {
    /// Begins a life.
    pub(crate) async fn join(begin: Begin<'_>) -> anyhow::Result<Arc<Self>> {
        let Begin { nodes, name, address, talk, clock, isolation } = begin;
        let (asked, before) = (BootTime::now(), clock.monotonic());
        let newcomer = Newcomer {
            was: None,
            place: place::of(&address),
            name,
            address,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            carrier: talk.kind(),
            codec: VERSIONS,
            now: SystemClock.now(),
        };
        let (node, cluster) =
            match nodes.join(newcomer).await.context("this node could not be added to those that serve")? {
                Joining::Joined { node, cluster, now } => {
                    clock.correct(now, before + (clock.monotonic() - before) / 2);
                    (node, cluster)
                }
                Joining::Refused(why) => bail!("this node cannot serve among those that do: {why}"),
            };
        let carriage = match Carriage::open(talk, node, &cluster).await {
            Ok(carriage) => carriage,
            Err(error) => {
                leave(&*nodes, node).await;
                return Err(error);
            }
        };
        let carrier = Arc::new(Authenticated::new(&cluster, carriage.carrier()));
        let bus = Arc::new(CarriedBus::new(node, carrier.clone(), CarriedLimits::DEFAULT));
        let hears = Arc::downgrade(&bus);
        let checks = Arc::downgrade(&carrier);
        carriage.bring_to(move |brought| {
            let (Some(bus), Some(carrier)) = (hears.upgrade(), checks.upgrade()) else { return };
            // Whoever brings it goes on: a node that hears nothing any more would look like one that does.
            if catch_unwind(AssertUnwindSafe(|| carrier.bring(&bus, brought))).is_err() {
                tracing::error!("what another node sent could not be taken: this node passes it over");
            }
        });
        let stop = CancellationToken::new();
        Ok(Arc::new(Self {
            nodes,
            node,
            cluster,
            carriage,
            bus,
            fence: Fence::confirmed_at(asked),
            state: watch::Sender::new(NodeState::Starting),
            isolation,
            isolated: Notify::new(),
            to_drain: CancellationToken::new(),
            dead: CancellationToken::new(),
            load: OnceLock::new(),
            live: Mutex::default(),
            declared_dead: AtomicU64::new(0),
            late: watch::Sender::default(),
            buried: Notify::new(),
            skew: AtomicI64::new(0),
            tasks: TaskTracker::new(),
            _stop: stop.clone().drop_guard(),
            stop,
        }))
    }

    /// Who it is.
    pub(crate) const fn node(&self) -> Node {
        self.node
    }

    /// Among whom.
    pub(crate) const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What it talks by.
    pub(crate) const fn bus(&self) -> &Arc<CarriedBus> {
        &self.bus
    }

    /// Whether it may go by what it knows.
    pub(crate) const fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Where the nodes are.
    pub(crate) const fn nodes(&self) -> &Arc<dyn NodeStore> {
        &self.nodes
    }

    /// Those who live, this one among them, as far as was heard.
    pub(crate) fn live(&self) -> Vec<NodeRecord> {
        self.live.lock().clone()
    }

    /// What there is to tell of it in metrics.
    pub(crate) fn view(&self) -> NodesView {
        NodesView {
            live: u64::try_from(self.live.lock().len()).unwrap_or(u64::MAX),
            declared_dead: self.declared_dead.load(Ordering::Relaxed),
            beat_age_millis: u64::try_from(self.fence.age_millis()).unwrap_or(0),
            skew_millis: self.skew.load(Ordering::Relaxed),
            bus: self.bus.figures(),
            carriage: self.carriage.view(),
        }
    }

    /// Whether it serves, and is not about to end.
    pub(crate) fn is_serving(&self) -> bool {
        *self.state.borrow() == NodeState::Serving
    }

    /// Has operators told what `load` says.
    pub(crate) fn tell_of(&self, load: impl Fn() -> Load + Send + Sync + 'static) {
        // A server says it once.
        let _ = self.load.set(Box::new(load));
    }

    /// Begins to beat, and to look after the bus.
    pub(crate) fn keep(self: &Arc<Self>, broker: Arc<Broker>) {
        let (this, stop) = (self.clone(), self.stop.clone());
        self.tasks.spawn(enduring::run("beats", move || {
            let (this, broker, stop) = (this.clone(), broker.clone(), stop.clone());
            async move {
                let _ = stop.run_until_cancelled(this.beats(&broker)).await;
            }
        }));
        let (this, stop) = (self.clone(), self.stop.clone());
        self.tasks.spawn(enduring::run("deaths", move || {
            let (this, stop) = (this.clone(), stop.clone());
            async move {
                let _ = stop.run_until_cancelled(this.declare_dead()).await;
            }
        }));
        let (bus, stop) = (self.bus.clone(), self.stop.clone());
        self.tasks.spawn(enduring::run("answers", move || {
            let (bus, stop) = (bus.clone(), stop.clone());
            async move {
                let _ = stop.run_until_cancelled(bus.answer_aside()).await;
            }
        }));
        let (bus, stop) = (self.bus.clone(), self.stop.clone());
        self.tasks.spawn(enduring::run("bus", move || {
            let (bus, stop) = (bus.clone(), stop.clone());
            async move {
                let mut ticks = tokio::time::interval(TICK);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                    bus.tick();
                }
            }
        }));
    }

    /// Waits until all who live have told what they are there for, for a while, and serves from then on.
    pub(crate) async fn introduce(&self, broker: &Broker) -> anyhow::Result<()> {
        let until = Instant::now() + INTRODUCTIONS;
        match self.beat(broker).await {
            Beaten::Lives => {}
            Beaten::Dead => bail!("this node was declared dead before it served"),
            Beaten::Unheard(error) => return Err(error).context("the database does not answer"),
        }
        let live = self.live();
        let mut silent = BTreeSet::new();
        for mut introduction in self.bus.nodes_are(&nodes_of(&live)) {
            if timeout_at(until, introduction.done()).await.is_err() {
                silent.extend(introduction.missing());
            }
        }
        // Others may be heard that hear nothing.
        let _ = timeout_at(until, self.all_seen()).await;
        silent.extend(self.bus.deaf());
        for record in live.iter().filter(|record| silent.contains(&record.node)) {
            let (node, name, address) = (record.node, &record.name, &record.address);
            tracing::warn!(%node, name, address, "a node that lives by its row in the database does not answer: if it goes on \
                living, nothing goes between the two. All nodes have to name the same NATS servers, or none");
        }
        let others = live.iter().filter(|record| record.node != self.node).count();
        let cluster = data_encoding::HEXLOWER.encode(&self.cluster().id);
        tracing::info!(node = %self.node, cluster, others, "this node serves");
        self.state.send_replace(NodeState::Serving);
        // Written before anything is served: whoever does not hear of this life before it is over hears by that that something
        // may have been said in it.
        match self.beat(broker).await {
            Beaten::Dead => bail!("this node was declared dead before it served"),
            // It is written with a beat that is heard.
            Beaten::Lives | Beaten::Unheard(_) => Ok(()),
        }
    }

    /// Tells the others that this node is about to end, and waits a moment until the database has it: whoever then listens
    /// where this node did is known to be its successor.
    pub(crate) async fn drain(&self) {
        self.state.send_replace(NodeState::Draining);
        let told = async {
            let mut beats = self.fence.beats();
            while !self.dead.is_cancelled() && self.state_told() != Some(NodeState::Draining) {
                // The sender is here.
                let _ = beats.changed().await;
            }
        };
        let _ = timeout(TOLD_WITHIN, told).await;
    }

    /// What the database has of this node's state.
    fn state_told(&self) -> Option<NodeState> {
        self.live.lock().iter().find(|record| record.node == self.node).map(|record| record.state)
    }

    /// Whether another node serves, to which clients can go.
    pub(crate) fn has_successors(&self) -> bool {
        self.live.lock().iter().any(|record| record.node != self.node && record.state == NodeState::Serving)
    }

    /// Waits until an operator wants that.
    pub(crate) async fn is_to_drain(&self) {
        self.to_drain.cancelled().await;
    }

    /// Waits until it was declared dead.
    pub(crate) async fn died(&self) {
        self.dead.cancelled().await;
    }

    /// Waits until the database was away for so long that sockets are to be closed.
    pub(crate) async fn isolated(&self) {
        self.isolated.notified().await;
    }

    /// Ends this life, once nobody is connected.
    pub(crate) async fn leave(&self) {
        // The end comes by the database, and may come before what was said last. Whoever has not seen that by then takes this
        // node for one that died, and tells a gap. One that is dead to them is heard by nobody.
        if !self.dead.is_cancelled() {
            self.bus.say_farewell();
            let _ = timeout(SEEN_WITHIN, self.dead.run_until_cancelled(self.all_seen())).await;
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if !self.dead.is_cancelled() {
            leave(&*self.nodes, self.node).await;
        }
        self.carriage.end().await;
    }

    /// Waits until the others have what was sent to them.
    async fn all_seen(&self) {
        while !self.bus.is_all_seen() {
            tokio::time::sleep(TICK / 4).await;
        }
    }

    async fn beats(&self, broker: &Broker) {
        let mut state = self.state.subscribe();
        let (mut heard, mut closed) = (true, false);
        loop {
            let began = Instant::now();
            let beaten = self.beat(broker).await;
            let next = match &beaten {
                Beaten::Lives => began + BEAT,
                Beaten::Unheard(_) => Instant::now() + AGAIN,
                Beaten::Dead => {
                    tracing::error!(node = %self.node, "this node was declared dead: it closes its sockets and begins anew");
                    self.fence.break_for_good();
                    return self.dead.cancel();
                }
            };
            match beaten {
                Beaten::Unheard(error) => {
                    if heard {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(error, "this node cannot say that it lives: soon it serves nothing");
                    }
                    heard = false;
                    let is_long = self.isolation.is_some_and(|isolation| {
                        i64::try_from(isolation.as_millis()).is_ok_and(|isolation| self.fence.age_millis() >= isolation)
                    });
                    if is_long && !closed {
                        tracing::error!("the database is away for isolation_secs: sockets are closed");
                        self.isolated.notify_one();
                        closed = true;
                    }
                }
                Beaten::Lives | Beaten::Dead => {
                    if !heard {
                        tracing::info!("this node is heard again");
                    }
                    (heard, closed) = (true, false);
                }
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = broker.nodes_changed() => {}
                () = self.buried.notified() => {}
                // The sender is here.
                _ = state.changed() => {}
            }
        }
    }

    /// Notes how far this machine's clock is ahead of the database's, and says it once it is as far as keeps a node from starting.
    fn note_skew(&self, millis: i64) {
        let is_far = |millis: i64| u128::from(millis.unsigned_abs()) > SKEW_MAX.as_millis();
        let before = self.skew.swap(millis, Ordering::Relaxed);
        if is_far(millis) && !is_far(before) {
            let allowed_secs = SKEW_MAX.as_secs();
            tracing::warn!(
                millis,
                allowed_secs,
                "the clock of this machine is off: this node goes on, and will not start again"
            );
        }
    }

    /// Says that this node lives, and takes what it hears of the others.
    async fn beat(&self, broker: &Broker) -> Beaten {
        let (clock, changes) = (broker.clock(), broker.node_changes());
        let (asked, before) = (BootTime::now(), clock.monotonic());
        let unheard = |error| {
            self.fence.tried(asked);
            Beaten::Unheard(error)
        };
        let state = *self.state.borrow();
        let mut load = self.load.get().map(|load| load()).unwrap_or_default();
        load.lag_millis = u64::try_from(self.carriage.lag().as_millis()).unwrap_or(u64::MAX);
        load.skew_millis = self.skew.load(Ordering::Relaxed);
        let began = SystemClock.now();
        let beating = match timeout(BEAT_PATIENCE, self.nodes.beat(self.node, state, load)).await {
            Ok(Ok(beating)) => beating,
            Ok(Err(error)) => return unheard(error),
            Err(late) => return unheard(StoreError::Unavailable(Box::new(late))),
        };
        let Beating::Lives { now, nodes, over } = beating else { return Beaten::Dead };
        let trip = clock.monotonic() - before;
        // Of one that was tried again or waited for, nobody knows when in it the database looked at its clock.
        if trip <= TRIP_MAX {
            clock.correct(now, before + trip / 2);
            let half_way = began.millis().midpoint(SystemClock.now().millis());
            self.note_skew(half_way.saturating_sub(now.millis()));
        }
        let live = nodes_of(&nodes);
        self.carriage.nodes_are(&live);
        drop(self.bus.nodes_are(&live));
        self.bus.are_over(&over);
        broker.nodes_are_known(changes);
        if nodes.iter().any(|record| record.node == self.node && record.is_to_drain) {
            self.to_drain.cancel();
        }
        let is_late = |record: &&NodeRecord| {
            u128::try_from(now.millis() - record.beat_at.millis()).is_ok_and(|late| late >= LATE.as_millis())
        };
        let late: Vec<_> = nodes.iter().filter(is_late).map(|record| (record.node, record.name.clone())).collect();
        *self.live.lock() = nodes;
        self.fence.confirm(asked);
        self.late.send_replace(late);
        Beaten::Lives
    }

    /// Declares dead who is late. It is no part of a beat, which it would keep waiting where the database is slow. Never ends.
    async fn declare_dead(&self) {
        let mut found = self.late.subscribe();
        loop {
            // The sender is here.
            let _ = found.changed().await;
            let late = found.borrow_and_update().clone();
            for (node, name) in late {
                // If it fails, others do it, or it is tried again after the next beat.
                if let Ok(Ok(true)) = timeout(BEAT_PATIENCE, self.nodes.declare_dead(self.node, node)).await {
                    tracing::warn!(%node, name, "a node has not been heard of and is declared dead");
                    self.declared_dead.fetch_add(1, Ordering::Relaxed);
                    self.buried.notify_one();
                }
            }
        }
    }
}

async fn leave(nodes: &dyn NodeStore, node: Node) {
    let left = timeout(LEAVING, nodes.leave(node)).await;
    if !matches!(left, Ok(Ok(()))) {
        tracing::warn!(%node, "the others could not be told that this node ends: they find out");
    }
}

fn nodes_of(records: &[NodeRecord]) -> Vec<Node> {
    records.iter().map(|record| record.node).collect()
}
