//! Nodes over one database, each with a bus that notes what it is asked, for storms.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use respoke_bus::LocalBus;
use respoke_bus::carried::CarriedBus;
use respoke_bus::faulty::FaultyNodes;
use respoke_core::app::{App, LimitsPatch};
use respoke_core::chance::of_this_test;
use respoke_core::id::{AppId, RequestId};
use respoke_core::ops::{Broker, Caller, Context, Credential};
use respoke_core::ports::{
    Answer, Answers, Bus, Concerned, Confirmation, Deed, Delivery, Gap, Interest, Node as Life, NodeId, Notice,
    Question, Receiver, Source, Store, Whom,
};
use respoke_core::refusal::Refusal;
use respoke_hub::ops::{Asker, Purse};
use respoke_hub::outbox::OutboxLimits;
use respoke_hub::reach::Reach;
use respoke_hub::{Hub, HubSettings};
use respoke_store::Options;
use tokio::task::JoinSet;

use crate::home::{self, Tenant, clock, database, first_admin};

/// A database with two apps in it.
pub(super) struct House {
    store: Arc<dyn Store>,
    /// In whose groups everybody finds room.
    roomy: Tenant,
    /// In whose groups there is room for about half of them.
    narrow: Tenant,
    _folder: tempfile::TempDir,
}

/// Members of the groups in which there is not room for everybody.
const NARROW: u32 = 5;

impl House {
    pub(super) async fn new() -> Self {
        let (store, folder) = database(Options::default());
        let broker = Broker::new(store.clone(), Arc::new(LocalBus::default()), clock(), of_this_test(), 100);
        let admin = first_admin(&broker).await;
        let few = LimitsPatch { members_per_group: Some(Some(NARROW)), ..LimitsPatch::default() };
        let roomy = Tenant::new(&broker, &admin, "roomy", LimitsPatch::default()).await;
        let narrow = Tenant::new(&broker, &admin, "narrow", few).await;
        Self { store, roomy, narrow, _folder: folder }
    }

    /// Whose clients are in a storm of this seed.
    pub(super) const fn tenant(&self, seed: u64) -> &Tenant {
        if seed.is_multiple_of(3) { &self.narrow } else { &self.roomy }
    }

    /// Starts a node. It serves once it is ready.
    pub(super) async fn start(
        &self,
        tenant: &Tenant,
        faulty: &Arc<FaultyNodes>,
        id: u32,
        listens: Listens,
    ) -> Arc<Node> {
        let _still = Still::new();
        let (carried, introductions) = faulty.start(NodeId(id));
        let (holds, stills) = (Mutex::default(), Mutex::default());
        let bus = Arc::new(Watched { bus: carried.clone(), holds, stills, listens });
        let broker = Arc::new(Broker::new(self.store.clone(), bus.clone(), clock(), of_this_test(), 1_000));
        let outbox = OutboxLimits { frames_max: 100_000, bytes_max: 1 << 30 };
        let settings = HubSettings { outbox, heartbeat_timeout: Duration::from_secs(600), sockets_max: 1_000 };
        let hub = Arc::new(Hub::new(broker.clone(), bus.clone(), settings));
        let ears = Arc::new(Ears { hub: hub.clone(), gaps: AtomicUsize::new(0) });
        carried.attach(&(ears.clone() as Arc<dyn Receiver>));
        broker.attach(&(hub.clone() as Arc<dyn Concerned>));
        broker.follow().await.unwrap();
        let caller = broker.authenticate(&tenant.backend, None).await.unwrap();
        let ready = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let (judging, asking, telling, following) = (hub.clone(), hub.clone(), hub.clone(), broker);
        tasks.spawn(async move { judging.judge().await });
        tasks.spawn(async move { asking.keep_up().await });
        tasks.spawn(async move { telling.announce_departures().await });
        tasks.spawn(async move { following.keep_following().await });
        let introduced = ready.clone();
        tasks.spawn(async move {
            for mut introduction in introductions {
                introduction.done().await;
            }
            introduced.store(true, Ordering::Release);
        });
        let credential = tenant.backend.clone();
        let life = bus.node();
        Arc::new(Node { life, carried, bus, hub, caller, credential, ears, ready, tasks: Mutex::new(tasks) })
    }
}

/// One life of a node.
pub(super) struct Node {
    pub(super) life: Life,
    pub(super) carried: Arc<CarriedBus>,
    pub(super) bus: Arc<Watched>,
    pub(super) hub: Arc<Hub>,
    pub(super) caller: Caller,
    pub(super) credential: Credential,
    ears: Arc<Ears>,
    ready: Arc<AtomicBool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Node {
    /// Whether it knows what the others are there for, and serves.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// How many gaps it was told of.
    pub(super) fn gaps(&self) -> usize {
        self.ears.gaps.load(Ordering::Relaxed)
    }

    /// Ends what goes on in it.
    pub(super) fn stop(&self) {
        self.tasks.lock().abort_all();
    }

    /// Whether something that was to go on for ever ended by a panic.
    pub(super) fn is_broken(&self) -> bool {
        let mut tasks = self.tasks.lock();
        std::iter::from_fn(|| tasks.try_join_next()).any(|ended| ended.is_err_and(|ended| ended.is_panic()))
    }

    /// The backend, asking without a socket.
    pub(super) fn asker<'a>(&'a self, app: AppId, context: &'a Context, purse: &'a dyn Purse) -> Asker<'a> {
        Asker { app_id: Some(app), purse, ..home::asker(&self.caller, context) }
    }
}

/// A bus that notes what is held on it.
pub(super) struct Watched {
    bus: Arc<CarriedBus>,
    holds: Mutex<HashMap<Interest, (usize, Confirmation)>>,
    /// By request, who lets no time pass until it asks others to do something.
    stills: Mutex<HashMap<RequestId, Still>>,
    listens: Listens,
}

/// Listens to what is published, before anybody else hears it.
pub(super) type Listens = Box<dyn Fn(&Delivery) + Send + Sync>;

impl Watched {
    /// Whether this node is there for something, and another has confirmed that.
    pub(super) fn is_confirmed(&self, interest: &Interest, by: Life) -> bool {
        self.holds.lock().get(interest).is_some_and(|(_, held)| !held.missing().contains(&by))
    }
}

#[async_trait]
impl Bus for Watched {
    fn node(&self) -> Life {
        self.bus.node()
    }

    fn publish(&self, delivery: Delivery) {
        (self.listens)(&delivery);
        self.bus.publish(delivery);
    }

    fn hold(&self, interest: &Interest) -> Confirmation {
        let held = self.bus.hold(interest);
        match self.holds.lock().entry(interest.clone()) {
            Entry::Occupied(mut before) => before.get_mut().0 += 1,
            Entry::Vacant(free) => drop(free.insert((1, held.clone()))),
        }
        held
    }

    fn release(&self, interest: &Interest) {
        self.bus.release(interest);
        if let Entry::Occupied(mut held) = self.holds.lock().entry(interest.clone()) {
            held.get_mut().0 -= 1;
            if held.get().0 == 0 {
                held.remove();
            }
        }
    }

    fn wanted_elsewhere(&self, interest: &Interest) -> bool {
        self.bus.wanted_elsewhere(interest)
    }

    fn other_nodes(&self) -> Vec<Life> {
        self.bus.other_nodes()
    }

    async fn ask(&self, whom: Whom, question: Question, deadline: Duration) -> Answers {
        if let Question::Do { request_id, deed: Deed::EndGroup { .. }, .. } = &question {
            self.stills.lock().remove(request_id);
        }
        self.bus.ask(whom, question, deadline).await
    }

    fn tell(&self, to: Life, notice: Notice) {
        self.bus.tell(to, notice);
    }

    fn round_trip(&self) -> Duration {
        self.bus.round_trip()
    }
}

/// Hands on what comes over the bus, and counts what is told to be lost.
struct Ears {
    hub: Arc<Hub>,
    gaps: AtomicUsize,
}

impl Receiver for Ears {
    fn receive(&self, from: Source, delivery: Delivery) {
        self.hub.receive(from, delivery);
    }

    fn missed(&self, gap: Gap) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
        self.hub.missed(gap);
    }

    fn answer(&self, from: Life, question: Question) -> Answer {
        self.hub.answer(from, question)
    }

    fn told(&self, from: Life, notice: Notice) {
        self.hub.told(from, notice);
    }

    fn lost(&self, node: Life) {
        self.hub.lost(node);
    }
}

/// Lets no time pass by itself for as long as it is there: what a database takes is no seed's.
struct Still(std::sync::mpsc::SyncSender<()>);

impl Still {
    fn new() -> Self {
        let (ends, ended) = std::sync::mpsc::sync_channel(1);
        // Paused time does not go on while something is blocked.
        tokio::task::spawn_blocking(move || ended.recv());
        Self(ends)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // It is waited for.
        let _ = self.0.send(());
    }
}

/// Lets no time pass from when something is paid until others are asked to do it: what a database takes is no seed's.
pub(super) struct Waiting<'a>(pub(super) &'a Watched, pub(super) RequestId);

impl std::fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waiting").field(&self.1).finish()
    }
}

impl Purse for Waiting<'_> {
    fn pay(&self, _: &Asker<'_>, _: &App, _: Reach) -> Result<(), Refusal> {
        self.0.stills.lock().insert(self.1, Still::new());
        Ok(())
    }

    fn owe(&self, _: &Asker<'_>, _: &App, _: Reach) {}
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.stills.lock().remove(&self.1);
    }
}
