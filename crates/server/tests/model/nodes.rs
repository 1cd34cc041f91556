//! What comes from another node: two hubs over one database, and a bus that knows both.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use respoke_bus::carried::{CarriedBus, CarriedLimits};
use respoke_bus::faulty::{Faults, FaultyNodes};
use respoke_bus::{LocalBus, LocalNodes};
use respoke_core::app::AppPatch;
use respoke_core::chance::of_this_test;
use respoke_core::clock::{ManualClock, Timestamp};
use respoke_core::event::Presence;
use respoke_core::id::AppId;
use respoke_core::ops::{Broker, Caller, Context, Credential};
use respoke_core::ports::{Answer, Bus, Delivery, Holder, NodeId, Question, Receiver, Store, Whom};
use respoke_core::secret::Secret;
use respoke_hub::ops::{Asker, Connect, Message, Publish};
use respoke_hub::outbox::OutboxLimits;
use respoke_hub::reach::Unlimited;
use respoke_hub::{Connection, Hub, HubSettings, Opening, Socket};
use respoke_store::{Options, SqliteStore};
use respoke_wire::close::Close;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::{LATER, endpoint, group};

mod tails;

struct Node {
    bus: Arc<dyn Bus>,
    broker: Arc<Broker>,
    hub: Arc<Hub>,
}

/// Lets a bus hand what comes to a hub.
type Attach = Box<dyn FnOnce(&Arc<Hub>)>;

struct Client {
    node: usize,
    socket: Arc<Socket>,
    connection: Arc<Connection>,
}

/// Two nodes, an app, and its backend.
struct World {
    nodes: [Node; 2],
    app: AppId,
    backend: Credential,
    /// What lies between them, if anything does.
    between: Option<Arc<FaultyNodes>>,
    /// What goes on while the world is there.
    _tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl World {
    /// With nothing between its nodes.
    async fn new() -> Self {
        let local = Arc::new(LocalNodes::default());
        let start = |id| {
            let bus = local.start(NodeId(id));
            let attach = |bus: &LocalBus, hub: &Arc<Hub>| bus.attach(&(hub.clone() as Arc<dyn Receiver>));
            (bus.clone() as Arc<dyn Bus>, Box::new(move |hub: &Arc<Hub>| attach(&bus, hub)) as Attach)
        };
        Self::of([1, 2].map(start), JoinSet::new()).await
    }

    /// With something between its nodes that delays, reorders, doubles and loses.
    async fn faulty(seed: u64) -> Self {
        Self::with_between(seed, Faults::MANY).await
    }

    async fn with_between(seed: u64, faults: Faults) -> Self {
        let faulty = FaultyNodes::new(seed, faults, CarriedLimits::DEFAULT);
        let start = |id| {
            let (bus, _) = faulty.start(NodeId(id));
            let attach = |bus: &CarriedBus, hub: &Arc<Hub>| bus.attach(&(hub.clone() as Arc<dyn Receiver>));
            (bus.clone() as Arc<dyn Bus>, Box::new(move |hub: &Arc<Hub>| attach(&bus, hub)) as Attach)
        };
        let buses = [1, 2].map(start);
        let mut tasks = JoinSet::new();
        let carrier = faulty.clone();
        tasks.spawn(async move { carrier.carry().await });
        Self { between: Some(faulty), ..Self::of(buses, tasks).await }
    }

    async fn of(buses: [(Arc<dyn Bus>, Attach); 2], mut tasks: JoinSet<()>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&folder.path().join("nodes.db"), Options::default()).unwrap());
        let nodes = buses.map(|(bus, attach)| {
            let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
            let broker = Arc::new(Broker::new(store.clone(), bus.clone(), clock, of_this_test(), 100));
            let outbox = OutboxLimits { frames_max: 1_000, bytes_max: 1 << 20 };
            let settings = HubSettings { outbox, heartbeat_timeout: Duration::from_secs(60), sockets_max: 100 };
            let hub = Arc::new(Hub::new(broker.clone(), bus.clone(), settings));
            attach(&hub);
            let announcer = hub.clone();
            tasks.spawn(async move { announcer.announce_departures().await });
            let (asking, looking) = (hub.clone(), hub.clone());
            tasks.spawn(async move { asking.keep_up().await });
            tasks.spawn(async move { looking.keep_looking().await });
            Node { bus, broker, hub }
        });
        let broker = &nodes[0].broker;
        let password = Secret::new("correct horse".to_owned());
        broker.first_run(Some("root".to_owned()), Some(password)).await.unwrap().unwrap();
        let admin = store.admins().await.unwrap().remove(0);
        let admin = Caller::Admin {
            admin_id: admin.id,
            account_id: admin.account_id,
            role: admin.role,
            session: 0,
            expires_at: respoke_core::ports::BanRecord::FOREVER,
        };
        let (name, context) = (Some("app".to_owned()), Context::internal());
        let (app, secret) = broker.create_app(&admin, name, AppPatch::default(), None, &context).await.unwrap();
        let backend = Credential::AppSecret(Secret::new(secret.text.secret().expose().to_owned()));
        Self { nodes, app: app.id, backend, between: None, _tasks: tasks, _folder: folder }
    }

    async fn connect(&self, node: usize, name: &str) -> Client {
        let Node { broker, hub, .. } = &self.nodes[node];
        let caller = broker.authenticate(&self.backend, None).await.unwrap();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let opening =
            Opening { credential: self.backend.clone(), caller: caller.clone(), address, origin: None, host: None };
        let socket = hub.open(opening).unwrap();
        let context = Context::internal();
        let asker = asker(&caller, &socket, &context);
        let asker = Asker { endpoint_id: Some(endpoint(name)), ..asker };
        let connection = hub.connect(&asker, Connect::default()).await.unwrap();
        Client { node, socket, connection }
    }

    async fn join(&self, client: &Client, name: &str) {
        let Node { broker, hub, .. } = &self.nodes[client.node];
        let caller = broker.authenticate(&self.backend, None).await.unwrap();
        hub.join(&asker(&caller, &client.socket, &Context::internal()), &[group(name)]).await.unwrap();
    }

    async fn leave(&self, client: &Client, name: &str) {
        let Node { broker, hub, .. } = &self.nodes[client.node];
        let caller = broker.authenticate(&self.backend, None).await.unwrap();
        hub.leave(&asker(&caller, &client.socket, &Context::internal()), &[group(name)]).await.unwrap();
    }

    async fn observe(&self, client: &Client, name: &str) {
        let Node { broker, hub, .. } = &self.nodes[client.node];
        let caller = broker.authenticate(&self.backend, None).await.unwrap();
        hub.observe(&asker(&caller, &client.socket, &Context::internal()), vec![endpoint(name)]).await.unwrap();
    }

    async fn say(&self, client: &Client, kind: &str) {
        let Node { broker, hub, .. } = &self.nodes[client.node];
        let caller = broker.authenticate(&self.backend, None).await.unwrap();
        let kind = RawValue::from_string(format!("\"{kind}\"")).unwrap();
        let presence = Presence { kind, show: None, status: None };
        hub.set_presence(&asker(&caller, &client.socket, &Context::internal()), presence).await.unwrap();
    }

    /// To a connection, for which nobody has to be asked first.
    async fn send(&self, client: &Client, to: &Client) {
        let Node { broker, hub, .. } = &self.nodes[client.node];
        let caller = broker.authenticate(&self.backend, None).await.unwrap();
        let body = RawValue::from_string("1".to_owned()).unwrap();
        let Connection { endpoint, id, .. } = &*to.connection;
        let message = Message { to: endpoint.clone(), to_connection: Some(*id), body, cc_self: false, once: None };
        hub.send(&asker(&caller, &client.socket, &Context::internal()), message).await.unwrap();
    }

    async fn publish(&self, client: &Client, name: &str, said: &Value) {
        self.publish_text(client, name, &said.to_string()).await;
    }

    async fn publish_text(&self, client: &Client, name: &str, said: &str) {
        let Node { broker, hub, .. } = &self.nodes[client.node];
        let caller = broker.authenticate(&self.backend, None).await.unwrap();
        let message = RawValue::from_string(said.to_owned()).unwrap();
        let request = Publish { message, persist: false, once: None };
        hub.publish(&asker(&caller, &client.socket, &Context::internal()), &group(name), request).await.unwrap();
    }
}

fn asker<'a>(caller: &'a Caller, socket: &'a Arc<Socket>, context: &'a Context) -> Asker<'a> {
    Asker {
        caller,
        socket: Some(socket),
        context,
        app_id: None,
        endpoint_id: None,
        connection_id: None,
        purse: &Unlimited,
    }
}

/// What a client received: each event's name, and whose it is.
fn received(client: &Client) -> Vec<(String, String)> {
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

fn events(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, from)| ((*name).to_owned(), (*from).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_published_on_one_node_reaches_members_on_the_other() {
    let world = World::new().await;
    let (ann, bob, eve) = (world.connect(0, "ann").await, world.connect(1, "bob").await, world.connect(1, "eve").await);
    world.join(&ann, "room").await;
    world.join(&bob, "room").await;
    let _ = [&ann, &bob, &eve].map(received);
    world.publish(&ann, "room", &Value::from("hello")).await;
    assert_eq!(received(&bob), events(&[("pubsub", "ann")]));
    assert_eq!((received(&ann), received(&eve)), (Vec::new(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn whatever_lies_between_them_all_of_it_arrives_as_it_was_said() {
    for seed in 1..=5 {
        let world = World::faulty(seed).await;
        let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
        world.join(&bob, "room").await;
        let mut said = Vec::new();
        for round in 0..300 {
            // What no value of a program holds passes too.
            let words = format!("[{round},1e999,\"half of a pair: \\ud83d\"]");
            world.publish_text(&ann, "room", &words).await;
            said.push(words);
            tokio::time::sleep(Duration::from_millis(round % 7)).await;
        }
        let mut frames = VecDeque::new();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let _ = bob.socket.outbox.take_now(&mut frames);
        let heard: Vec<_> = frames.iter().map(|frame| std::str::from_utf8(frame).unwrap()).collect();
        assert_eq!(heard.len(), said.len(), "seed {seed}");
        for (heard, said) in heard.iter().zip(&said) {
            assert!(heard.contains(&format!("\"message\":{said}")), "{said} was heard as {heard}, seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_departure_on_one_node_is_told_on_the_other_to_those_who_were_there() {
    let world = World::new().await;
    let (bob, cat) = (world.connect(1, "bob").await, world.connect(1, "cat").await);
    world.join(&bob, "room").await;
    let _ = received(&bob);
    let ann = world.connect(0, "ann").await;
    world.join(&ann, "room").await;
    assert_eq!(received(&bob), events(&[("join", "ann")]));
    world.nodes[0].hub.close(&ann.socket, Close::Left);
    world.join(&cat, "room").await;
    assert_eq!(received(&bob), events(&[("join", "cat")]), "it is told a little later");
    tokio::time::sleep(LATER).await;
    assert_eq!(received(&bob), events(&[("leave", "ann")]));
    assert_eq!(received(&cat), []);
}

#[tokio::test(start_paused = true)]
async fn one_node_ends_a_connection_of_the_other_and_asks_it_who_is_there() {
    let world = World::new().await;
    let (ann, bob) = (world.connect(1, "ann").await, world.connect(1, "bob").await);
    world.join(&ann, "room").await;
    world.join(&bob, "room").await;
    let bus = &world.nodes[0].bus;
    let members = async || {
        let of = Holder::Group(group("room"));
        let question = Question::Connections { app_id: world.app, of, after: None, most: 10 };
        let mut answers = bus.ask(Whom::Others, question, Duration::from_secs(1)).await;
        assert!(answers.silent.is_empty());
        let Answer::Connections(found) = answers.given.remove(0).answer else { panic!("connections were asked for") };
        let mut names: Vec<_> = found.into_iter().map(|facts| facts.endpoint.to_string()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(members().await, ["ann", "bob"]);
    let end = Delivery::End { app_id: world.app, endpoint: endpoint("bob"), connection: bob.connection.id };
    bus.publish(end);
    assert_eq!(bob.socket.outbox.closed(), Some(Close::SessionEnded));
    assert_eq!(ann.socket.outbox.closed(), None);
    assert_eq!(members().await, ["ann"]);
}

/// Beyond what is sent again: whoever may have missed something is told so, and of who came and went meanwhile.
#[tokio::test(start_paused = true)]
async fn what_a_long_cut_took_is_told_and_who_is_there_made_good() {
    let world = World::with_between(1, Faults::NONE).await;
    let (ann, bob, cat) = (world.connect(0, "ann").await, world.connect(1, "bob").await, world.connect(1, "cat").await);
    let dan = world.connect(1, "dan").await;
    for member in [&ann, &bob, &cat] {
        world.join(member, "room").await;
    }
    for name in ["bob", "cat", "dan"] {
        world.observe(&ann, name).await;
    }
    world.say(&bob, "chat").await;
    tokio::time::sleep(LATER).await;
    let _ = [&ann, &bob, &cat, &dan].map(received);
    let between = world.between.as_ref().unwrap();
    between.cut(NodeId(1), NodeId(2));
    world.publish(&bob, "room", &Value::from("lost")).await;
    world.leave(&bob, "room").await;
    world.say(&bob, "away").await;
    world.join(&dan, "room").await;
    world.nodes[1].hub.close(&cat.socket, Close::Left);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(received(&ann), []);
    between.mend(NodeId(1), NodeId(2));
    // What comes after the break shows it.
    world.publish(&dan, "room", &Value::from("heard")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut told = received(&ann);
    told.sort_unstable();
    let due = events(&[
        ("join", "dan"),
        ("leave", "bob"),
        ("leave", "cat"),
        ("missed", "__SYSTEM__"),
        ("presence", "bob"),
        ("presence", "cat"),
        ("pubsub", "dan"),
    ]);
    assert_eq!(told, due);
    // And none of it again, nor anything else when the node is lost, but what is there by now.
    between.lose(world.nodes[1].bus.node());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut told = received(&ann);
    told.sort_unstable();
    assert_eq!(told, events(&[("leave", "dan"), ("presence", "bob"), ("presence", "dan")]));
}

/// Elsewhere what was published just after a subscription was lost.
#[tokio::test(start_paused = true)]
async fn what_is_said_just_after_a_join_or_a_connect_was_answered_arrives() {
    let slow = Faults { delay_max: Duration::from_millis(40), ..Faults::NONE };
    let world = World::with_between(1, slow).await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
    for round in 0..30 {
        let name = format!("room {round}");
        world.join(&bob, &name).await;
        world.publish(&ann, &name, &Value::from(round)).await;
        let name = format!("endpoint {round}");
        let new = world.connect(1, &name).await;
        world.send(&ann, &new).await;
        // What was said has come by then.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(received(&new), events(&[("message", "ann")]), "in round {round}");
        if round % 2 == 0 {
            world.leave(&bob, &format!("room {round}")).await;
        }
    }
    assert_eq!(received(&bob), vec![("pubsub".to_owned(), "ann".to_owned()); 30]);
}
