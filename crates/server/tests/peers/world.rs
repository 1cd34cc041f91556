//! Some nodes over one database, a backend, and clients.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use respoke_bus::LocalNodes;
use respoke_bus::carried::CarriedLimits;
use respoke_bus::faulty::{Faults, FaultyNodes};
use respoke_core::app::{AppPatch, LimitsPatch};
use respoke_core::chance::of_this_test;
use respoke_core::clock::ManualClock;
use respoke_core::event::Presence;
use respoke_core::id::{AppId, RoleId};
use respoke_core::ops::{Broker, Caller, Context, Credential, IssueToken};
use respoke_core::ports::{
    Answers, Bus, Confirmation, Delivery, Interest, Node, NodeId, Notice, Question, Receiver, Whom,
};
use respoke_core::refusal::Refusal;
use respoke_core::role::Permissions;
use respoke_core::token::Replaces;
use respoke_hub::ops::{Asker, Connect, Message, Publish, Purse, Unlimited};
use respoke_hub::outbox::OutboxLimits;
use respoke_hub::{Connection, Hub, HubSettings, Opening, Socket};
use respoke_store::Options;
use respoke_wire::dialect::Dialect;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use crate::home::{self, Tenant, clock, database, first_admin};
pub(crate) use crate::home::{endpoint, group};

/// What a test does when what was asked is answered.
type Answered = Box<dyn FnOnce() + Send>;
/// What it does when something is to be published, that among it.
type Publishing = Arc<dyn Fn(&Delivery, &dyn Fn()) + Send + Sync>;

/// A bus, and what was asked over it.
pub(crate) struct Watched {
    bus: Arc<dyn Bus>,
    asked: Mutex<Vec<Question>>,
    /// Done once, when the next question is answered.
    pub(crate) when_answered: Mutex<Option<Answered>>,
    /// Done once, when the next claim of what is parked is answered.
    pub(crate) when_claimed: Mutex<Option<Answered>>,
    /// Done each time, on the thread that publishes.
    pub(crate) when_publishing: Mutex<Option<Publishing>>,
    /// What it told other nodes alone.
    pub(crate) told: Mutex<Vec<(Node, Notice)>>,
    /// How often it was asked who else there is.
    pub(crate) looked: AtomicUsize,
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
        let publishing = self.when_publishing.lock().clone();
        match publishing {
            Some(publishing) => publishing(&delivery, &|| self.bus.publish(delivery.clone())),
            None => self.bus.publish(delivery),
        }
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

    fn other_nodes(&self) -> Vec<Node> {
        self.looked.fetch_add(1, Ordering::SeqCst);
        self.bus.other_nodes()
    }

    async fn ask(&self, whom: Whom, question: Question, deadline: Duration) -> Answers {
        let is_claim = matches!(question, Question::Parked(_));
        self.asked.lock().push(question.clone());
        let answers = self.bus.ask(whom, question, deadline).await;
        let claimed = is_claim.then(|| self.when_claimed.lock().take()).flatten();
        let answered = self.when_answered.lock().take();
        for then in [claimed, answered].into_iter().flatten() {
            then();
        }
        answers
    }

    fn tell(&self, node: Node, notice: Notice) {
        self.told.lock().push((node, notice));
        self.bus.tell(node, notice);
    }

    fn round_trip(&self) -> Duration {
        self.bus.round_trip()
    }
}

pub(crate) struct Peer {
    pub(crate) bus: Arc<Watched>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) clock: Arc<ManualClock>,
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

/// With what a client comes, from where, and who pays for it.
pub(crate) struct Coming<'a> {
    pub(crate) by: &'a Credential,
    pub(crate) from: IpAddr,
    pub(crate) purse: &'a dyn Purse,
}

impl<'a> Coming<'a> {
    pub(crate) fn by(by: &'a Credential) -> Self {
        Self { by, from: IpAddr::V4(Ipv4Addr::LOCALHOST), purse: &Unlimited }
    }

    /// From another place than all others.
    pub(crate) fn elsewhere(self) -> Self {
        Self { from: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), ..self }
    }
}

/// Some nodes, an app, and its backend.
pub(crate) struct World {
    pub(crate) nodes: Vec<Peer>,
    admin: Caller,
    pub(crate) app: AppId,
    pub(crate) backend: Credential,
    /// What lies between them, if anything does.
    pub(crate) between: Arc<FaultyNodes>,
    /// What goes on while the world is there.
    tasks: JoinSet<()>,
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
        home::asker(&self.caller, &self.context)
    }

    /// The same on a client's socket.
    pub(crate) fn over<'a>(&'a self, client: &'a Client, purse: &'a dyn Purse) -> Asker<'a> {
        Asker { socket: Some(&client.socket), purse, ..self.asker() }
    }
}

type Attach = Box<dyn FnOnce(&Arc<Hub>)>;

impl World {
    /// Three nodes that hear each other at once.
    pub(crate) async fn near() -> Self {
        let local = Arc::new(LocalNodes::default());
        let start = |id| {
            let bus = local.start(NodeId(id));
            let attached = bus.clone();
            let attach = move |hub: &Arc<Hub>| attached.attach(&(hub.clone() as Arc<dyn Receiver>));
            (bus as Arc<dyn Bus>, Box::new(attach) as Attach)
        };
        let between = FaultyNodes::new(1, Faults::NONE, CarriedLimits::DEFAULT);
        Self::of((1..=3).map(start).collect(), between, JoinSet::new()).await
    }

    /// Three nodes that can be cut off from each other. What one sends takes up to so long.
    pub(crate) async fn apart(delay_max: Duration) -> Self {
        Self::with_between(3, 1, Faults { delay_max, ..Faults::NONE }).await
    }

    /// The same, and it takes just so long.
    pub(crate) async fn far(delay: Duration) -> Self {
        Self::with_between(3, 1, Faults { delay_min: delay, delay_max: delay, ..Faults::NONE }).await
    }

    /// So many nodes that can be cut off from each other, and between which this goes wrong.
    pub(crate) async fn with_between(nodes: u32, seed: u64, faults: Faults) -> Self {
        let between = FaultyNodes::new(seed, faults, CarriedLimits::DEFAULT);
        let start = |id| {
            let (bus, _) = between.start(NodeId(id));
            let attached = bus.clone();
            let attach = move |hub: &Arc<Hub>| attached.attach(&(hub.clone() as Arc<dyn Receiver>));
            (bus as Arc<dyn Bus>, Box::new(attach) as Attach)
        };
        let buses = (1..=nodes).map(start).collect();
        let mut tasks = JoinSet::new();
        let carrier = between.clone();
        tasks.spawn(async move { carrier.carry().await });
        let world = Self::of(buses, between, tasks).await;
        // Until each knows what the others are there for.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world
    }

    async fn of(buses: Vec<(Arc<dyn Bus>, Attach)>, between: Arc<FaultyNodes>, mut tasks: JoinSet<()>) -> Self {
        let (store, folder) = database(Options::default());
        let node = |(bus, attach): (Arc<dyn Bus>, Attach)| {
            let bus = Arc::new(Watched {
                bus,
                asked: Mutex::default(),
                when_answered: Mutex::default(),
                when_claimed: Mutex::default(),
                when_publishing: Mutex::default(),
                told: Mutex::default(),
                looked: AtomicUsize::new(0),
            });
            let clock = clock();
            let broker = Arc::new(Broker::new(store.clone(), bus.clone(), clock.clone(), of_this_test(), 100));
            let outbox = OutboxLimits { frames_max: 10_000, bytes_max: 4 << 20 };
            let settings = HubSettings { outbox, heartbeat_timeout: Duration::from_secs(60), sockets_max: 10_000 };
            let hub = Arc::new(Hub::new(broker.clone(), bus.clone(), settings));
            attach(&hub);
            let announcing = hub.clone();
            tasks.spawn(async move { announcing.announce_departures().await });
            let (asking, looking) = (hub.clone(), hub.clone());
            tasks.spawn(async move { asking.keep_up().await });
            tasks.spawn(async move { looking.keep_looking().await });
            Peer { bus, hub, broker, clock }
        };
        let nodes: Vec<_> = buses.into_iter().map(node).collect();
        let broker = &nodes[0].broker;
        let admin = first_admin(broker).await;
        let Tenant { app, backend } = Tenant::new(broker, &admin, "app", LimitsPatch::default()).await;
        Self { nodes, admin, app, backend, between, tasks, _folder: folder }
    }

    /// Limits the app. To be called before anybody connects: who knows the app already hears of it in its time.
    pub(crate) async fn limit(&self, limits: LimitsPatch) {
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

    /// Lets a node follow the feed as a server does.
    pub(crate) fn follows(&mut self, node: usize) {
        let broker = self.nodes[node].broker.clone();
        self.tasks.spawn(async move { broker.keep_following().await });
    }

    pub(crate) async fn asking(&self, node: usize) -> Asking {
        let caller = self.nodes[node].broker.authenticate(&self.backend, None).await.unwrap();
        Asking { caller, context: Context::internal() }
    }

    pub(crate) async fn connect(&self, node: usize, name: &str) -> Client {
        self.try_connect(node, name).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, node: usize, name: &str) -> Result<Client, Refusal> {
        self.come(node, name, Coming::by(&self.backend)).await
    }

    /// A client comes as that endpoint.
    pub(crate) async fn come(&self, node: usize, name: &str, coming: Coming<'_>) -> Result<Client, Refusal> {
        let Coming { by, from, purse } = coming;
        let Peer { hub, broker, .. } = &self.nodes[node];
        let (caller, context) = (broker.authenticate(by, None).await?, Context::internal());
        let opening = Opening {
            credential: by.clone(),
            caller,
            address: from,
            origin: None,
            host: None,
            dialect: Dialect::SocketIo,
        };
        let socket = hub.open(opening).unwrap();
        let asker = home::asker(&socket.opening.caller, &context);
        let asker = Asker { socket: Some(&socket), endpoint_id: Some(endpoint(name)), purse, ..asker };
        let connection = hub.connect(&asker, Connect::default()).await?;
        Ok(Client { node, socket, connection })
    }

    /// Another session of an endpoint.
    pub(crate) async fn session(&self, name: &str, role: RoleId) -> Credential {
        let (asking, broker) = (self.asking(0).await, &self.nodes[0].broker);
        let request = IssueToken {
            app_id: None,
            endpoint_id: Some(name.to_owned()),
            role_id: Some(role.to_string()),
            role_name: None,
            ttl_secs: None,
            replaces: Replaces::Nothing,
        };
        let token = broker.issue_token(&asking.caller, request, None, &asking.context).await.unwrap();
        let session =
            broker.open_session(&Caller::Anonymous, Some(&token.text), None, None, &asking.context).await.unwrap();
        Credential::AppToken(session.text)
    }

    /// A role that permits this.
    pub(crate) async fn role(&self, permissions: Permissions) -> RoleId {
        let (asking, broker) = (self.asking(0).await, &self.nodes[0].broker);
        let name = Some("member".to_owned());
        broker.create_role(&asking.caller, None, None, name, permissions, None, &asking.context).await.unwrap().0.id
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

    pub(crate) async fn observe(&self, client: &Client, name: &str) {
        let asking = self.asking(client.node).await;
        let hub = &self.nodes[client.node].hub;
        hub.observe(&asking.over(client, &Unlimited), vec![endpoint(name)]).await.unwrap();
    }

    /// To a connection, for which nobody has to be asked first.
    pub(crate) async fn send(&self, client: &Client, to: &Client) {
        let asking = self.asking(client.node).await;
        let hub = &self.nodes[client.node].hub;
        let body = RawValue::from_string("1".to_owned()).unwrap();
        let Connection { endpoint, id, .. } = &*to.connection;
        let message = Message { to: endpoint.clone(), to_connection: Some(*id), body, cc_self: false, once: None };
        hub.send(&asking.over(client, &Unlimited), message).await.unwrap();
    }

    pub(crate) async fn publish(&self, client: &Client, name: &str) {
        self.publish_text(client, name, "1").await;
    }

    /// Publishes JSON.
    pub(crate) async fn publish_text(&self, client: &Client, name: &str, said: &str) {
        let asking = self.asking(client.node).await;
        let hub = &self.nodes[client.node].hub;
        let message = RawValue::from_string(said.to_owned()).unwrap();
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

/// The events that a socket received since it was last looked at.
pub(crate) fn heard(socket: &Socket) -> impl Iterator<Item = Value> {
    let mut frames = VecDeque::new();
    let _ = socket.outbox.take_now(&mut frames);
    let read = |frame: bytes::Bytes| {
        let text = std::str::from_utf8(&frame).unwrap();
        serde_json::from_str(text.splitn(4, ':').last().unwrap()).unwrap()
    };
    frames.into_iter().map(read)
}

/// Of each of them its name, and whom its header names there.
pub(crate) fn received_from(socket: &Socket, header: &str) -> Vec<(String, String)> {
    let read = |event: Value| {
        let from = event["args"][0]["header"][header].as_str().unwrap_or_default().to_owned();
        (event["name"].as_str().unwrap().to_owned(), from)
    };
    heard(socket).map(read).collect()
}

/// What a client received: each event's name, and whose it is.
pub(crate) fn received(client: &Client) -> Vec<(String, String)> {
    received_from(&client.socket, "from")
}

pub(crate) fn events(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, from)| ((*name).to_owned(), (*from).to_owned())).collect()
}
