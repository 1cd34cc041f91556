//! Three nodes over one database, a backend, and clients.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use respoke_bus::LocalNodes;
use respoke_bus::carried::CarriedLimits;
use respoke_bus::faulty::{Faults, FaultyNodes};
use respoke_core::app::{AppPatch, LimitsPatch};
use respoke_core::chance::of_this_test;
use respoke_core::clock::{ManualClock, Timestamp};
use respoke_core::event::Presence;
use respoke_core::id::{AppId, EndpointId, GroupName};
use respoke_core::ops::{Broker, Caller, Context, Credential};
use respoke_core::ports::{
    Answers, BanRecord, Bus, Confirmation, Delivery, Interest, Node, NodeId, Question, Receiver, Store, Whom,
};
use respoke_core::secret::Secret;
use respoke_hub::ops::{Asker, Connect, Publish};
use respoke_hub::outbox::OutboxLimits;
use respoke_hub::reach::{Purse, Unlimited};
use respoke_hub::{Connection, Hub, HubSettings, Opening, Socket};
use respoke_store::{Options, SqliteStore};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

/// What a test does when what was asked is answered.
type Answered = Box<dyn FnOnce() + Send>;

/// A bus, and what was asked over it.
pub(crate) struct Watched {
    bus: Arc<dyn Bus>,
    asked: Mutex<Vec<Question>>,
    /// Done once, when the next question is answered.
    pub(crate) when_answered: Mutex<Option<Answered>>,
}

impl Watched {
    /// What was asked since this was last looked at.
    pub(crate) fn asked(&self) -> Vec<Question> {
        std::mem::take(&mut *self.asked.lock())
    }
}

#[async_trait]
impl Bus for Watched {
    fn node(&self) -> Node {
        self.bus.node()
    }

    fn publish(&self, delivery: Delivery) {
        self.bus.publish(delivery);
    }

    fn hold(&self, interest: &Interest) -> Confirmation {
        self.bus.hold(interest)
    }

    fn release(&self, interest: &Interest) {
        self.bus.release(interest);
    }

    fn wanted_elsewhere(&self, interest: &Interest) -> bool {
        self.bus.wanted_elsewhere(interest)
    }

    async fn ask(&self, whom: Whom, question: Question, deadline: Duration) -> Answers {
        self.asked.lock().push(question.clone());
        let answers = self.bus.ask(whom, question, deadline).await;
        let then = self.when_answered.lock().take();
        if let Some(then) = then {
            then();
        }
        answers
    }
}

pub(crate) struct Peer {
    pub(crate) bus: Arc<Watched>,
    pub(crate) hub: Arc<Hub>,
    broker: Arc<Broker>,
}

pub(crate) struct Client {
    pub(crate) node: usize,
    pub(crate) socket: Arc<Socket>,
    pub(crate) connection: Arc<Connection>,
}

impl Peer {
    pub(crate) fn node(&self) -> Node {
        self.bus.node()
    }
}

/// Three nodes, an app, and its backend.
pub(crate) struct World {
    pub(crate) nodes: Vec<Peer>,
    admin: Caller,
    app: AppId,
    backend: Credential,
    /// What lies between them, if anything does.
    pub(crate) between: Arc<FaultyNodes>,
    /// What goes on while the world is there.
    _tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

/// Who asks, as which node found out, and in which request.
pub(crate) struct Asking {
    caller: Caller,
    context: Context,
}

impl Asking {
    /// The backend, without a socket.
    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker {
            caller: &self.caller,
            socket: None,
            context: &self.context,
            app_id: None,
            endpoint_id: None,
            connection_id: None,
            purse: &Unlimited,
        }
    }

    /// The same on a client's socket.
    pub(crate) fn over<'a>(&'a self, client: &'a Client, purse: &'a dyn Purse) -> Asker<'a> {
        Asker { socket: Some(&client.socket), purse, ..self.asker() }
    }
}

type Attach = Box<dyn FnOnce(&Arc<Hub>)>;

impl World {
    /// Nodes that hear each other at once.
    pub(crate) async fn near() -> Self {
        let local = Arc::new(LocalNodes::default());
        let start = |id| {
            let bus = local.start(NodeId(id));
            let attached = bus.clone();
            let attach = move |hub: &Arc<Hub>| attached.attach(&(hub.clone() as Arc<dyn Receiver>));
            (bus as Arc<dyn Bus>, Box::new(attach) as Attach)
        };
        let between = FaultyNodes::new(1, Faults::NONE, CarriedLimits::DEFAULT);
        Self::of([1, 2, 3].map(start), between, JoinSet::new()).await
    }

    /// Nodes that can be cut off from each other. What one sends takes up to so long.
    pub(crate) async fn apart(delay_max: Duration) -> Self {
        let between = FaultyNodes::new(1, Faults { delay_max, ..Faults::NONE }, CarriedLimits::DEFAULT);
        let start = |id| {
            let (bus, _) = between.start(NodeId(id));
            let attached = bus.clone();
            let attach = move |hub: &Arc<Hub>| attached.attach(&(hub.clone() as Arc<dyn Receiver>));
            (bus as Arc<dyn Bus>, Box::new(attach) as Attach)
        };
        let buses = [1, 2, 3].map(start);
        let mut tasks = JoinSet::new();
        let carrier = between.clone();
        tasks.spawn(async move { carrier.carry().await });
        let world = Self::of(buses, between, tasks).await;
        // Until each knows what the others are there for.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world
    }

    async fn of(buses: [(Arc<dyn Bus>, Attach); 3], between: Arc<FaultyNodes>, mut tasks: JoinSet<()>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&folder.path().join("peers.db"), Options::default()).unwrap());
        let node = |(bus, attach): (Arc<dyn Bus>, Attach)| {
            let bus = Arc::new(Watched { bus, asked: Mutex::default(), when_answered: Mutex::default() });
            let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
            let broker = Arc::new(Broker::new(store.clone(), bus.clone(), clock, of_this_test(), 100));
            let outbox = OutboxLimits { frames_max: 10_000, bytes_max: 4 << 20 };
            let settings = HubSettings { outbox, heartbeat_timeout: Duration::from_secs(60), sockets_max: 10_000 };
            let hub = Arc::new(Hub::new(broker.clone(), bus.clone(), settings));
            attach(&hub);
            let announcing = hub.clone();
            tasks.spawn(async move { announcing.announce_departures().await });
            let asking = hub.clone();
            tasks.spawn(async move { asking.keep_up().await });
            Peer { bus, hub, broker }
        };
        let nodes: Vec<_> = buses.into_iter().map(node).collect();
        let broker = &nodes[0].broker;
        let password = Secret::new("correct horse".to_owned());
        broker.first_run(Some("root".to_owned()), Some(password)).await.unwrap().unwrap();
        let admin = store.admins().await.unwrap().remove(0);
        let admin = Caller::Admin {
            admin_id: admin.id,
            account_id: admin.account_id,
            role: admin.role,
            session: 0,
            expires_at: BanRecord::FOREVER,
        };
        let (name, context) = (Some("app".to_owned()), Context::internal());
        let (app, secret) = broker.create_app(&admin, name, AppPatch::default(), None, &context).await.unwrap();
        let backend = Credential::AppSecret(Secret::new(secret.text.secret().expose().to_owned()));
        Self { nodes, admin, app: app.id, backend, between, _tasks: tasks, _folder: folder }
    }

    /// Lets so many connections be in a group. To be called before anybody connects: who knows the app already hears of it
    /// in its time.
    pub(crate) async fn limit_members(&self, most: u32) {
        let limits = LimitsPatch { members_per_group: Some(Some(most)), ..LimitsPatch::default() };
        let patch = AppPatch { limits, ..AppPatch::default() };
        let broker = &self.nodes[0].broker;
        broker.update_app(&self.admin, self.app, patch, &Context::internal()).await.unwrap();
    }

    /// Nothing goes between two nodes any more.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        self.between.cut(id(one), id(other));
    }

    pub(crate) fn mend(&self, one: usize, other: usize) {
        self.between.mend(id(one), id(other));
    }

    pub(crate) async fn asking(&self, node: usize) -> Asking {
        let caller = self.nodes[node].broker.authenticate(&self.backend, None).await.unwrap();
        Asking { caller, context: Context::internal() }
    }

    pub(crate) async fn connect(&self, node: usize, name: &str) -> Client {
        let (asking, hub) = (self.asking(node).await, &self.nodes[node].hub);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (credential, caller) = (self.backend.clone(), asking.caller.clone());
        let socket = hub.open(Opening { credential, caller, address, origin: None, host: None }).unwrap();
        let asker = Asker { socket: Some(&socket), endpoint_id: Some(endpoint(name)), ..asking.asker() };
        let connection = hub.connect(&asker, Connect::default()).await.unwrap();
        Client { node, socket, connection }
    }

    pub(crate) async fn join(&self, client: &Client, name: &str) {
        let asking = self.asking(client.node).await;
        let hub = &self.nodes[client.node].hub;
        hub.join(&asking.over(client, &Unlimited), &[group(name)]).await.unwrap();
    }

    pub(crate) async fn leave(&self, client: &Client, name: &str) {
        let asking = self.asking(client.node).await;
        let hub = &self.nodes[client.node].hub;
        hub.leave(&asking.over(client, &Unlimited), &[group(name)]).await.unwrap();
    }

    pub(crate) async fn say(&self, client: &Client, kind: &str) {
        let asking = self.asking(client.node).await;
        let hub = &self.nodes[client.node].hub;
        let kind = RawValue::from_string(format!("\"{kind}\"")).unwrap();
        let presence = Presence { kind, show: None, status: None };
        hub.set_presence(&asking.over(client, &Unlimited), presence).await.unwrap();
    }

    pub(crate) async fn publish(&self, client: &Client, name: &str) {
        let asking = self.asking(client.node).await;
        let hub = &self.nodes[client.node].hub;
        let message = RawValue::from_string("1".to_owned()).unwrap();
        let request = Publish { message, persist: false, once: None };
        hub.publish(&asking.over(client, &Unlimited), &group(name), request).await.unwrap();
    }

    /// Memberships on a node.
    pub(crate) fn members(&self, node: usize) -> usize {
        self.nodes[node].hub.view().counts.members
    }
}

pub(crate) fn id(node: usize) -> NodeId {
    NodeId(u32::try_from(node + 1).unwrap())
}

pub(crate) fn endpoint(name: &str) -> EndpointId {
    EndpointId::parse(name).unwrap()
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

/// What a client received: each event's name, and whose it is.
pub(crate) fn received(client: &Client) -> Vec<(String, String)> {
    let mut frames = VecDeque::new();
    let _ = client.socket.outbox.take_now(&mut frames);
    let read = |frame: &bytes::Bytes| {
        let text = std::str::from_utf8(frame).unwrap();
        let event: Value = serde_json::from_str(text.splitn(4, ':').last().unwrap()).unwrap();
        let from = event["args"][0]["header"]["from"].as_str().unwrap().to_owned();
        (event["name"].as_str().unwrap().to_owned(), from)
    };
    frames.iter().map(read).collect()
}

pub(crate) fn events(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, from)| ((*name).to_owned(), (*from).to_owned())).collect()
}
