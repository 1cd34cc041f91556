//! Hubs against a reference: random clients of two apps do random things on one node or several, nodes are lost and come
//! back, and after each step everybody has received exactly what the reference says, in order, and is where it says,
//! whatever node is asked.
//!
//! It stands here and not beside the hub because nodes share a database, and the hub knows none.
//!
//! A run is decided by its seed, which a failure names along with the last steps, but for ids, which are random, and how
//! long it takes to end a group.

#![expect(clippy::unwrap_used, reason = "in a test a failure to go on is a failure")]

mod cluster;
#[path = "../peers/home.rs"]
mod home;
mod reference;
mod storm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use respoke_core::app::LimitsPatch;
use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName, RoleId};
use respoke_core::ops::{Caller, Context, Credential, EndSessions, IssueToken};
use respoke_core::page::PageRequest;
use respoke_core::ports::EndScope;
use respoke_core::refusal::Refusal;
use respoke_core::role::Permissions;
use respoke_hub::ops::{Asker, Connect, Message, Publish, SignalRequest, Unlimited};
use respoke_hub::outbox::Taken;
use respoke_hub::{Counts, Hub, Socket};
use respoke_wire::close::Close;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::time::Instant;

use cluster::{Between, Cluster, Node, Still};
use home::{endpoint, first_admin, group, open};
use reference::{Due, Model, Named, Outcome, Rule, State};

const ENDPOINTS: [&str; 5] = ["ann", "bob", "cat", "dan", "eve"];
const GROUPS: [&str; 3] = ["g0", "g1", "g2"];
const SWITCHES: [&str; 6] = ["subscribe", "unsubscribe", "create", "destroy", "publish", "getsubscribers"];
const KINDS: [&str; 4] = ["chat", "away", "unavailable", "dnd"];
const ROLES: usize = 2;
const CLIENTS_MAX: usize = 16;
/// Few enough that a client that does not read for a while is closed for it.
const FRAMES_MAX: usize = 25;
/// How long who registers waits until all nodes know it.
const SETTLED_WITHIN: Duration = Duration::from_millis(250);
/// How long who is asked for a list, or who has a connection, is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long departures are held back.
const TOLD_AFTER: Duration = Duration::from_millis(150);
/// Longer than that.
const LATER: Duration = Duration::from_millis(300);

/// A server that is alone.
#[tokio::test(start_paused = true)]
async fn the_hub_does_what_the_reference_does() {
    run(Between::Alone, 1, 8, 800).await;
}

/// Nodes that hear each other at once.
#[tokio::test(start_paused = true)]
async fn two_and_three_hubs_do_what_the_reference_does() {
    run(Between::Nothing, 1, 1, 200).await;
    run(Between::Nothing, 2, 3, 600).await;
    run(Between::Nothing, 3, 3, 600).await;
}

/// Nodes with something between them that delays, reorders, doubles and loses. After each step it is waited until all has
/// come that is to come.
#[tokio::test(start_paused = true)]
async fn with_whatever_between_them_hubs_come_to_what_the_reference_says() {
    run(Between::Faults, 2, 2, 250).await;
    run(Between::Faults, 3, 2, 250).await;
}

/// Runs so many worlds of so many nodes for so many steps: those of `MODEL_SEED` and `MODEL_STEPS` instead, if they are set.
async fn run(between: Between, nodes: u32, seeds: u64, steps: usize) {
    let seeds = set("MODEL_SEED").map_or(1..=seeds, |seed| seed..=seed);
    let steps = set("MODEL_STEPS").map_or(steps, |steps| usize::try_from(steps).unwrap());
    for seed in seeds {
        let mut world = World::new(seed, between, nodes).await;
        for _ in 0..steps {
            world.step().await;
            world.settle().await;
        }
        world.end().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a test that failed is run again with what it printed")]
fn set(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Chance by a seed.
///
/// # Source
///
/// `SplitMix64` (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((number ^ (number >> 31)) % end as u64).unwrap()
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// Some of them, at least one, none twice.
    fn some(&mut self, all: &[&str]) -> Vec<String> {
        let first = self.below(all.len());
        let count = 1 + self.below(all.len());
        all.iter().cycle().skip(first).take(count).map(|name| (*name).to_owned()).collect()
    }
}

struct Tenant {
    id: AppId,
    backend: Credential,
    roles: Vec<RoleId>,
}

struct Client {
    node: usize,
    /// What it read while it waited for an answer.
    read: Vec<Bytes>,
    socket: Arc<Socket>,
    credential: Credential,
    /// Whether it is told that it may have missed something: it came while a node was late.
    came_to_a_late_node: bool,
}

struct World {
    seed: u64,
    chance: Chance,
    cluster: Cluster,
    nodes: Vec<Node>,
    admin: Caller,
    tenants: Vec<Tenant>,
    clients: Vec<Client>,
    model: Model,
    steps: VecDeque<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} nodes, {:?} between them; the last steps were:", self.nodes.len(), self.cluster.between);
            for step in &self.steps {
                eprintln!("  {step}");
            }
            for (number, client) in self.clients.iter().enumerate() {
                let Client { node, .. } = client;
                let reference::Client { app, connection, state, .. } = &self.model.clients[number];
                eprintln!(
                    "  {number} in app {app} on {node} as {} is {state:?}",
                    connection.as_deref().unwrap_or("nobody")
                );
            }
            let thread = std::thread::current();
            let (seed, test) = (self.seed, thread.name().unwrap_or_default());
            eprintln!("again: MODEL_SEED={seed} cargo test -p respoked --test model -- --exact {test}");
        }
    }
}

/// What an asker borrows.
struct Asking {
    caller: Caller,
    context: Context,
    socket: Arc<Socket>,
    endpoint: Option<EndpointId>,
    connection: Option<ConnectionId>,
}

impl Asking {
    fn asker(&self) -> Asker<'_> {
        Asker {
            caller: &self.caller,
            socket: Some(&self.socket),
            context: &self.context,
            app_id: None,
            endpoint_id: self.endpoint.clone(),
            connection_id: self.connection,
            purse: &Unlimited,
        }
    }
}

impl World {
    async fn new(seed: u64, between: Between, count: u32) -> Self {
        let cluster = Cluster::new(seed, between, cluster::SOME, FRAMES_MAX);
        let mut nodes = Vec::new();
        for id in 1..=count {
            nodes.push(cluster.start(id).await);
        }
        let broker = nodes[0].broker.clone();
        let admin = first_admin(&broker).await;
        let mut tenants = Vec::new();
        for number in 0..2 {
            let home::Tenant { app, backend } =
                home::Tenant::new(&broker, &admin, &format!("app {number}"), LimitsPatch::default()).await;
            tenants.push(Tenant { id: app, backend, roles: Vec::new() });
        }
        let (chance, model) = (Chance(seed), Model::new(2, ROLES, FRAMES_MAX, between == Between::Faults));
        let (clients, steps) = (Vec::new(), VecDeque::new());
        let mut world = Self { seed, chance, cluster, nodes, admin, tenants, clients, model, steps };
        for app in 0..2 {
            for role in 0..ROLES {
                world.create_role(app, role, None).await;
            }
        }
        world
    }

    fn note(&mut self, step: String) {
        if self.steps.len() == 30 {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }

    /// Proves who shows this to a node.
    async fn prove_to(&self, node: usize, credential: &Credential) -> Caller {
        self.nodes[node].broker.authenticate(credential, None).await.unwrap()
    }

    /// Some node.
    fn somewhere(&mut self) -> usize {
        self.chance.below(self.nodes.len())
    }

    /// The hub of a client's node.
    fn hub_of(&self, client: usize) -> Arc<Hub> {
        self.nodes[self.clients[client].node].hub.clone()
    }

    async fn asking(&self, client: usize, named: &Named) -> Asking {
        Asking {
            caller: self.prove_to(self.clients[client].node, &self.clients[client].credential).await,
            context: Context::internal(),
            socket: self.clients[client].socket.clone(),
            endpoint: named.endpoint.as_deref().map(endpoint),
            connection: named.connection.as_deref().map(|id| ConnectionId::parse(id).unwrap()),
        }
    }

    /// An open client, if there is one.
    fn anyone(&mut self) -> Option<usize> {
        let app = self.chance.below(2);
        let open: Vec<_> = self.model.open_clients(app).collect();
        (!open.is_empty()).then(|| self.chance.of(&open))
    }

    /// Whom an operation names: nobody, an endpoint, or a connection, of this app or another.
    fn named(&mut self, client: usize) -> Named {
        let app = if self.chance.percent(95) { self.model.clients[client].app } else { self.chance.below(2) };
        let connections = &self.model.apps[app].connections;
        match self.chance.below(10) {
            0..=1 => Named { endpoint: Some(self.chance.of(&ENDPOINTS).to_owned()), connection: None },
            2 if !connections.is_empty() => {
                let connection = connections[self.chance.below(connections.len())].id.clone();
                Named { endpoint: None, connection: Some(connection) }
            }
            _ => Named::default(),
        }
    }

    /// A connection of an endpoint, sometimes.
    fn one_of(&mut self, app: usize, of: &str) -> Option<String> {
        let all = self.model.apps[app].connections.iter().filter(|connection| connection.endpoint == of);
        let all: Vec<_> = all.map(|connection| connection.id.clone()).collect();
        (self.chance.percent(40) && !all.is_empty()).then(|| self.chance.of(&all))
    }

    async fn step(&mut self) {
        if self.nodes.len() > 1 {
            self.model.next_step();
        }
        match self.chance.below(100) {
            0..=13 => self.open().await,
            14..=17 => self.register_anew().await,
            18..=31 => self.join().await,
            32..=36 => self.leave().await,
            37..=45 => self.publish().await,
            46..=53 => self.send().await,
            54..=66 => self.signal().await,
            67..=73 => self.set_presence().await,
            74..=79 => self.observe().await,
            80..=83 => self.go(),
            84..=85 => self.end_connection().await,
            86..=87 => self.end_group().await,
            88..=90 => self.stall(),
            91..=93 => self.revoke().await,
            94..=95 => self.change_role().await,
            96 if self.nodes.len() > 1 => self.lose_a_node().await,
            _ => self.later().await,
        }
    }

    async fn open(&mut self) {
        let app = self.chance.below(2);
        if self.model.open_clients(app).count() >= CLIENTS_MAX / 2 {
            return;
        }
        let (name, role, node) = (self.chance.of(&ENDPOINTS), self.chance.below(ROLES), self.somewhere());
        let session = self.chance.percent(75).then(|| (name.to_owned(), role));
        self.note(format!("open in app {app} on {node} {session:?}"));
        let credential = if session.is_some() {
            match self.session(app, name, role).await {
                Some(credential) => credential,
                None => return,
            }
        } else {
            self.tenants[app].backend.clone()
        };
        let caller = self.prove_to(node, &credential).await;
        let socket = open(&self.nodes[node].hub, &credential, &caller).unwrap();
        self.clients.push(Client { node, socket, credential, read: Vec::new(), came_to_a_late_node: false });
        self.model.open(app, node, session);
        if self.chance.percent(90) {
            let named = Named { endpoint: Some(name.to_owned()), connection: None };
            self.register(self.clients.len() - 1, &named).await;
        }
    }

    /// A session of an endpoint; none if it is banned.
    async fn session(&mut self, app: usize, name: &str, role: usize) -> Option<Credential> {
        let _still = Still::new();
        // Any node may mint it, and any other may open it.
        let (minting, opening) = (self.somewhere(), self.somewhere());
        let backend = self.prove_to(minting, &self.tenants[app].backend).await;
        let request = IssueToken {
            endpoint_id: Some(name.to_owned()),
            role_id: Some(self.tenants[app].roles[role].to_string()),
            ..IssueToken::default()
        };
        let issued = self.nodes[minting].broker.issue_token(&backend, request, None, &Context::internal()).await;
        let banned = self.model.apps[app].banned.contains(name);
        assert_eq!(issued.as_ref().err().map(Refusal::code), banned.then_some("endpoint_banned"));
        let token = issued.ok()?.text;
        let (broker, context) = (&self.nodes[opening].broker, Context::internal());
        let opened = broker.open_session(&Caller::Anonymous, Some(&token), None, None, &context).await;
        Some(Credential::AppToken(opened.unwrap().text))
    }

    async fn register(&mut self, client: usize, named: &Named) {
        let expected = self.model.may_register(client, named);
        let asking = self.asking(client, named).await;
        let asked_at = Instant::now();
        match self.hub_of(client).connect(&asking.asker(), Connect::default()).await {
            Ok(connection) => {
                self.clients[client].came_to_a_late_node |= asked_at.elapsed() >= SETTLED_WITHIN;
                self.note(format!("register {client} as {} {}", connection.endpoint, connection.id));
                assert_eq!(expected, Ok(connection.endpoint.to_string()));
                self.model.registered(client, connection.endpoint.to_string(), &connection.id.to_string());
            }
            Err(refusal) => {
                self.note(format!("register {client}: {}", refusal.code()));
                assert_eq!(expected, Err(refusal.code()));
            }
        }
    }

    async fn register_anew(&mut self) {
        let Some(client) = self.anyone() else { return };
        let endpoint = self.chance.percent(90).then(|| self.chance.of(&ENDPOINTS).to_owned());
        self.register(client, &Named { endpoint, connection: None }).await;
    }

    async fn join(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, names) = (self.named(client), self.chance.some(&GROUPS));
        self.note(format!("join {client} {names:?} for {:?} {:?}", named.endpoint, named.connection));
        let asking = self.asking(client, &named).await;
        let hub = self.hub_of(client);
        let joined = async || hub.join(&asking.asker(), &groups(&names)).await;
        let joined = self.unless_silent(SETTLED_WITHIN, joined).await;
        same(joined, self.model.join(client, &named, &names));
    }

    /// What comes of something that is refused where a node is silent that would have to be asked, which takes so long.
    /// Nothing is done then, and it is worth another try.
    async fn unless_silent(
        &mut self,
        silent_after: Duration,
        deed: impl AsyncFn() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        loop {
            let asked_at = Instant::now();
            let done = deed().await;
            if !matches!(done, Err(Refusal::NodeSilent)) {
                return done;
            }
            self.note("a node was silent".to_owned());
            assert!(self.cluster.tells_in_time() && asked_at.elapsed() >= silent_after, "nobody was silent");
            self.settle().await;
        }
    }

    /// Whether something took so long that who ended by it is told to whoever is still there.
    fn is_late(&self, asked_at: Instant) -> bool {
        self.cluster.tells_in_time() && asked_at.elapsed() >= TOLD_AFTER
    }

    async fn leave(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, names) = (self.named(client), self.chance.some(&GROUPS));
        self.note(format!("leave {client} {names:?} for {:?} {:?}", named.endpoint, named.connection));
        let asking = self.asking(client, &named).await;
        let hub = self.hub_of(client);
        let left = self.unless_silent(ANSWER_WITHIN, async || hub.leave(&asking.asker(), &groups(&names)).await).await;
        same(left, self.model.leave(client, &named, &names));
    }

    async fn end_group(&mut self) {
        let Some(client) = self.anyone() else { return };
        let name = self.chance.of(&GROUPS);
        self.note(format!("end {name} by {client}"));
        let asking = self.asking(client, &Named::default()).await;
        let asked_at = Instant::now();
        let ended = self.hub_of(client).end_group(&asking.asker(), &group(name)).await;
        same(ended, self.model.end_group(client, name, self.is_late(asked_at)));
    }

    async fn publish(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, name) = (self.named(client), self.chance.of(&GROUPS));
        let named = Named { connection: None, ..named };
        let text = format!("published {}", self.chance.below(1_000));
        self.note(format!("publish to {name} by {client} for {:?}", named.endpoint));
        let asking = self.asking(client, &named).await;
        let persist = self.chance.percent(10);
        let request = Publish { message: raw(&json!(text)), persist, once: None };
        let published = self.hub_of(client).publish(&asking.asker(), &group(name), request).await;
        same(published, self.model.publish(client, &named, name, &text, persist));
    }

    async fn send(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, to) = (self.named(client), self.chance.of(&ENDPOINTS));
        let named = Named { connection: None, ..named };
        let only = self.one_of(self.model.clients[client].app, to);
        let (cc, text) = (self.chance.percent(40), format!("sent {}", self.chance.below(1_000)));
        self.note(format!("send to {to} {only:?} by {client} for {:?} cc {cc}", named.endpoint));
        let asking = self.asking(client, &named).await;
        let to_connection = only.as_deref().map(|id| ConnectionId::parse(id).unwrap());
        let message = Message { to: endpoint(to), to_connection, body: raw(&json!(text)), cc_self: cc, once: None };
        self.hub_of(client).send(&asking.asker(), message).await.unwrap();
        self.model.send(client, &named, to, only.as_deref(), cc, &text);
    }

    async fn signal(&mut self) {
        let Some(client) = self.anyone() else { return };
        let kind = self.chance.of(&["offer", "answer", "answer", "connected", "bye", "bye", "iceCandidates"]);
        let body = json!({"signalType": kind, "sessionId": format!("call {}", self.chance.below(2))});
        let to = self.chance.of(&ENDPOINTS);
        let only = self.one_of(self.model.clients[client].app, to);
        let cc = self.chance.percent(50);
        self.note(format!("signal {body} to {to} {only:?} by {client} cc {cc}"));
        let asking = self.asking(client, &Named::default()).await;
        let request = SignalRequest {
            to: endpoint(to),
            to_type: None,
            from_type: None,
            to_connection: only.as_deref().map(|id| ConnectionId::parse(id).unwrap()),
            cc_self: cc,
            signal: raw(&body),
            once: None,
        };
        let relayed = self.hub_of(client).signal(&asking.asker(), request).await;
        same(relayed, self.model.signal(client, to, only.as_deref(), cc, &body));
    }

    async fn set_presence(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, kind) = (self.named(client), self.chance.of(&KINDS));
        self.note(format!("presence {kind} by {client} for {:?} {:?}", named.endpoint, named.connection));
        let asking = self.asking(client, &named).await;
        let presence = Presence { kind: raw(&json!(kind)), show: None, status: None };
        let hub = self.hub_of(client);
        let set = async || hub.set_presence(&asking.asker(), presence.clone()).await;
        let set = self.unless_silent(ANSWER_WITHIN, set).await;
        same(set, self.model.set_presence(client, &named, kind));
    }

    async fn observe(&mut self) {
        // Who does not read is not told either, until it does.
        let Some(client) = self.anyone().filter(|client| !self.model.clients[*client].stalled) else { return };
        let names = self.chance.some(&ENDPOINTS);
        self.note(format!("observe {names:?} by {client}"));
        let asking = self.asking(client, &Named::default()).await;
        let asker = asking.asker();
        let hub = self.hub_of(client);
        let mut observing = pin!(hub.observe(&asker, names.iter().map(|name| endpoint(name)).collect()));
        let mut frames = VecDeque::new();
        let found = loop {
            tokio::select! {
                biased;
                found = &mut observing => break found,
                _ = self.clients[client].socket.outbox.take(&mut frames) => {
                    self.clients[client].read.extend(frames.drain(..));
                }
            }
        };
        let answer = found.map_err(|refusal| refusal.code()).map(|found| {
            let kind = |presence: Presence| serde_json::from_str::<Value>(presence.kind.get()).unwrap();
            let states = |states: Vec<(ConnectionId, Option<Presence>)>| {
                let state =
                    |(id, presence): (ConnectionId, Option<Presence>)| json!([id.to_string(), presence.map(kind)]);
                states.into_iter().map(state).collect::<Value>()
            };
            found.into_iter().map(|(endpoint, found)| json!([endpoint.to_string(), states(found)])).collect::<Value>()
        });
        let expected = self.model.observe(client, &names);
        if self.nodes.len() > 1 {
            // Each node's connections are in the order in which they came.
            assert_eq!(answer.map(in_any_order), expected.map(in_any_order));
        } else {
            assert_eq!(answer, expected);
        }
    }

    /// A client hangs up.
    fn go(&mut self) {
        let Some(client) = self.anyone() else { return };
        self.note(format!("go {client}"));
        self.hub_of(client).close(&self.clients[client].socket, Close::Left);
        self.model.close(client);
    }

    /// A client ends its connection, or a backend somebody's.
    async fn end_connection(&mut self) {
        let Some(client) = self.anyone() else { return };
        let connections = &self.model.apps[self.chance.below(2)].connections;
        if connections.is_empty() {
            return;
        }
        let id = connections[self.chance.below(connections.len())].id.clone();
        self.note(format!("end connection {id} by {client}"));
        let asking = self.asking(client, &Named::default()).await;
        let hub = self.hub_of(client);
        let ended = self.unless_silent(ANSWER_WITHIN, async || hub.disconnect(&asking.asker(), &id).await).await;
        if self.model.clients[client].session.is_some() {
            self.model.unregister(client);
            ended.unwrap();
        } else {
            same(ended, self.model.cut(client, &id));
        }
    }

    /// A client stops reading, or reads again.
    fn stall(&mut self) {
        let Some(client) = self.anyone() else { return };
        let stalled = !self.model.clients[client].stalled;
        self.note(format!("{client} is stalled: {stalled}"));
        self.model.clients[client].stalled = stalled;
    }

    async fn later(&mut self) {
        self.note("later".to_owned());
        if self.cluster.tells_in_time() {
            return;
        }
        tokio::time::advance(LATER).await;
        // Everything that is due is announced at once.
        for node in &self.nodes {
            let _ = tokio::time::timeout(Duration::from_millis(1), node.hub.announce_departures()).await;
        }
        self.model.tick();
    }

    /// A node is killed with all its sockets, and comes back with none.
    async fn lose_a_node(&mut self) {
        let node = self.somewhere();
        self.note(format!("node {node} is lost"));
        self.model.lose(node);
        self.cluster.lose(&mut self.nodes[node]);
        self.settle().await;
        self.nodes[node] = self.cluster.start(u32::try_from(node + 1).unwrap()).await;
    }

    async fn revoke(&mut self) {
        let _still = self.cluster.still();
        let (app, name, role) = (self.chance.below(2), self.chance.of(&ENDPOINTS), self.chance.below(ROLES));
        let node = self.somewhere();
        let (broker, backend) =
            (self.nodes[node].broker.clone(), self.prove_to(node, &self.tenants[app].backend).await);
        let context = Context::internal();
        let which = self.chance.below(8);
        self.note(format!("revoke {which} in app {app}: {name}, role {role}"));
        let asked_at = Instant::now();
        let ended = match which {
            0..=2 => {
                let banned = self.model.apps[app].banned.remove(name);
                if banned {
                    broker.lift_ban(&backend, None, name, &context).await.unwrap();
                    return;
                }
                self.model.apps[app].banned.insert(name.to_owned());
                broker.ban(&backend, None, name, None, None, &context).await.unwrap();
                self.model.standing_on(app, name)
            }
            3 => {
                let id = self.tenants[app].roles[role];
                broker.delete_role(&backend, None, &id.to_string(), &context).await.unwrap();
                let ended = self.model.in_session(app, Some(role));
                self.create_role(app, role, Some(id)).await;
                ended
            }
            _ => {
                let (scope, ended) = match which {
                    4 => (EndScope::Role(self.tenants[app].roles[role]), self.model.in_session(app, Some(role))),
                    5 => (EndScope::App, self.model.in_session(app, None)),
                    _ => {
                        let mut ended = self.model.in_session(app, None);
                        ended.retain(|client| {
                            self.model.clients[*client].session.as_ref().is_some_and(|(of, _)| of == name)
                        });
                        (EndScope::Endpoint(endpoint(name)), ended)
                    }
                };
                let request = EndSessions { app_id: None, scope, issued_before: None, tokens_too: true };
                broker.end_sessions(&backend, request, &context).await.unwrap();
                ended
            }
        };
        self.model.end(&ended, node, self.is_late(asked_at));
    }

    /// Random rules, of which most permit.
    fn rules(&mut self) -> BTreeMap<String, Rule> {
        let mut rule = || SWITCHES.map(|switch| (switch, self.chance.percent(85))).into_iter().collect::<Rule>();
        let (all, one) = (rule(), rule());
        let mut rules = BTreeMap::from([("*".to_owned(), all)]);
        if self.chance.percent(50) {
            rules.insert(GROUPS[0].to_owned(), one);
        }
        rules
    }

    async fn create_role(&mut self, app: usize, role: usize, id: Option<RoleId>) {
        let _still = self.cluster.still();
        let (rules, node) = (self.rules(), self.somewhere());
        let backend = self.prove_to(node, &self.tenants[app].backend).await;
        let (name, permissions) = (Some(format!("role {role}")), permissions(&rules));
        let made = self.nodes[node]
            .broker
            .create_role(&backend, None, id, name, permissions, None, &Context::internal())
            .await;
        let made = made.unwrap().0.id;
        if id.is_none() {
            self.tenants[app].roles.push(made);
        }
        self.model.apps[app].roles[role] = rules;
    }

    async fn change_role(&mut self) {
        let _still = self.cluster.still();
        let (app, role, rules) = (self.chance.below(2), self.chance.below(ROLES), self.rules());
        self.note(format!("role {role} of app {app} is {rules:?}"));
        let node = self.somewhere();
        let backend = self.prove_to(node, &self.tenants[app].backend).await;
        let id = self.tenants[app].roles[role].to_string();
        let permissions = Some(permissions(&rules));
        self.nodes[node]
            .broker
            .update_role(&backend, None, &id, None, permissions, &Context::internal())
            .await
            .unwrap();
        self.model.apps[app].roles[role] = rules;
    }

    /// Lets the hubs do what is to be done, and plays the transports of clients that were told to go: so many.
    async fn rest(&mut self) -> usize {
        self.cluster.rest(&self.nodes).await;
        if self.cluster.tells_in_time() {
            self.model.tick();
        }
        let mut closed = 0;
        for number in 0..self.clients.len() {
            let (is_closed, expected) =
                (self.clients[number].socket.outbox.closed().is_some(), self.model.clients[number].state);
            if expected == State::Lost {
                continue;
            }
            assert_eq!(is_closed, expected != State::Open, "{number} is {expected:?}");
            if expected == State::Closing {
                self.hub_of(number).close(&self.clients[number].socket, Close::Left);
                self.model.close(number);
                closed += 1;
            }
        }
        closed
    }

    /// Lets the hubs come to rest, and compares everything.
    async fn settle(&mut self) {
        while self.rest().await > 0 {}
        for (number, client) in self.clients.iter_mut().enumerate() {
            let expected = &mut self.model.clients[number];
            if expected.state == State::Lost || expected.stalled && expected.state == State::Open {
                continue;
            }
            let mut frames = VecDeque::new();
            let taken = client.socket.outbox.take_now(&mut frames);
            assert!(!matches!(taken, Some(Taken::Closed(_))) || expected.state == State::Closed);
            let mut got: Vec<String> = client.read.drain(..).chain(frames).map(|frame| read(&frame)).collect();
            let expected = std::mem::take(&mut expected.waiting);
            if self.cluster.tells_in_time() {
                // A node that heard too late of who joined tells it of members that came before.
                let is_due = |event: &String| expected.iter().any(|due| due.event == *event);
                got.retain(|event| is_due(event) || !event.contains(r#""name":"join""#));
                if let Some(missed) = got.iter().position(|event| event.contains(r#""name":"missed""#))
                    && std::mem::take(&mut client.came_to_a_late_node)
                {
                    got.remove(missed);
                }
            }
            assert_streams(number, &expected, &got);
        }
        for (number, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.lives) {
            let is_there = |client: usize| self.clients[client].node == number;
            let view = node.hub.view();
            let Counts { connections, endpoints, groups, members, observers } = view.counts;
            let counts = [connections, endpoints, groups, members, observers];
            assert_eq!(counts, self.model.counts(is_there), "on node {number}");
            let open = (0..2).flat_map(|app| self.model.open_clients(app)).filter(|client| is_there(*client));
            assert_eq!(view.sockets, open.count(), "on node {number}");
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].lives {
                self.compare_an_app(node).await;
            }
        }
    }

    /// Compares what a backend is told of one of the apps by a node.
    async fn compare_an_app(&mut self, node: usize) {
        let app = self.chance.below(2);
        if self.tenants[app].roles.is_empty() {
            return;
        }
        let caller = self.prove_to(node, &self.tenants[app].backend).await;
        let (hub, broker) = (self.nodes[node].hub.clone(), self.nodes[node].broker.clone());
        let context = Context::internal();
        let mut asker = Asker {
            caller: &caller,
            socket: None,
            context: &context,
            app_id: Some(self.tenants[app].id),
            endpoint_id: None,
            connection_id: None,
            purse: &Unlimited,
        };
        let name = self.chance.of(&GROUPS);
        let members = told(async || hub.members(&asker, &group(name)).await).await;
        let mut members: Vec<_> = members.iter().map(|member| member.id.to_string()).collect();
        let mut expected = self.model.members(app, name);
        members.sort_unstable();
        expected.sort_unstable();
        assert_eq!(members, expected);
        let names = told(async || hub.groups(&asker, None, 10).await).await;
        let expected: Vec<_> = GROUPS.iter().filter(|name| !self.model.members(app, name).is_empty()).collect();
        assert_eq!(
            names.iter().map(GroupName::as_str).collect::<Vec<_>>(),
            expected.into_iter().copied().collect::<Vec<_>>()
        );
        let name = self.chance.of(&GROUPS);
        let kept = broker.history(&caller, None, name, None, None).await.unwrap();
        let kept = broker.messages(kept).await.unwrap();
        let kept = kept.iter().flatten().map(|kept| {
            let event: Value = serde_json::from_str(kept.event.get()).unwrap();
            event["message"].as_str().unwrap().to_owned()
        });
        assert!(kept.eq(self.model.apps[app].kept.get(name).into_iter().flatten().rev().take(50).cloned()));
        let name = self.chance.of(&ENDPOINTS);
        asker.endpoint_id = Some(endpoint(name));
        let connections = told(async || hub.connections(&asker).await).await;
        let expected = self.model.apps[app].connections.iter().filter(|connection| connection.endpoint == name);
        assert_eq!(
            sorted(connections.iter().map(|connection| connection.id.to_string())),
            sorted(expected.map(|found| found.id.clone()))
        );
        let states = told(async || hub.endpoint_state(&asker).await).await.into_iter().map(|state| {
            let groups: Vec<_> = state.groups.iter().map(GroupName::to_string).collect();
            let presence = state.presence.map(|presence| serde_json::from_str::<String>(presence.kind.get()).unwrap());
            format!("{} {groups:?} {presence:?}", state.connection.id)
        });
        let expected = self.model.apps[app].connections.iter().filter(|connection| connection.endpoint == name);
        let expected = expected.map(|found| {
            let groups: Vec<_> = found.groups.iter().collect();
            format!("{} {groups:?} {:?}", found.id, found.presence)
        });
        assert_eq!(sorted(states), sorted(expected));
        let mut page = PageRequest { limit: 3, after: None };
        let mut listed = Vec::new();
        asker.endpoint_id = None;
        loop {
            let found = told(async || hub.connections_page(&asker, &page).await).await;
            listed.extend(found.items.iter().map(|connection| connection.id.to_string()));
            page.after = found.next;
            if page.after.is_none() {
                break;
            }
        }
        assert_eq!(listed, sorted(self.model.apps[app].connections.iter().map(|found| found.id.clone())));
        let app_id = self.tenants[app].id;
        let groups = told(async || hub.groups_of(app_id, &endpoint(name)).await).await;
        let expected = self.model.apps[app].connections.iter().filter(|connection| connection.endpoint == name);
        let expected: BTreeSet<_> = expected.flat_map(|connection| connection.groups.iter().cloned()).collect();
        assert_eq!(sorted(groups.iter().map(GroupName::to_string)), expected.into_iter().collect::<Vec<_>>());
    }

    /// One app is deleted, the other's clients go one by one, and nothing is left.
    async fn end(&mut self) {
        self.note("the end".to_owned());
        let asked_at = Instant::now();
        self.nodes[0].broker.delete_app(&self.admin, self.tenants[0].id, &Context::internal()).await.unwrap();
        self.tenants[0].roles.clear();
        let ended: Vec<_> = self.model.open_clients(0).collect();
        self.model.end(&ended, 0, self.is_late(asked_at));
        self.settle().await;
        for client in self.model.open_clients(1).collect::<Vec<_>>() {
            self.hub_of(client).close(&self.clients[client].socket, Close::Left);
            self.model.close(client);
            self.settle().await;
            self.later().await;
        }
        self.settle().await;
        for node in &self.nodes {
            let view = node.hub.view();
            assert_eq!((view.counts, view.sockets), (Counts::default(), 0));
        }
    }
}

/// What all nodes say. One that answers too late, as there are with faults between them, is asked again: that changes nothing.
async fn told<T>(ask: impl AsyncFn() -> Result<T, Refusal>) -> T {
    loop {
        let asked_at = Instant::now();
        match ask().await {
            Err(Refusal::NodeSilent) => assert!(asked_at.elapsed() >= ANSWER_WITHIN, "nobody was silent"),
            told => return told.unwrap(),
        }
    }
}

/// A snapshot with the connections of each endpoint in the order of their ids.
fn in_any_order(mut snapshot: Value) -> Value {
    for of in snapshot.as_array_mut().unwrap() {
        of[1].as_array_mut().unwrap().sort_unstable_by_key(|state| state[0].as_str().unwrap().to_owned());
    }
    snapshot
}

fn sorted(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all
}

fn groups(names: &[String]) -> Vec<GroupName> {
    names.iter().map(|name| group(name)).collect()
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

fn permissions(rules: &BTreeMap<String, Rule>) -> Permissions {
    serde_json::from_value(json!({"groups": rules})).unwrap()
}

fn same<T>(outcome: Result<T, Refusal>, expected: Outcome) {
    assert_eq!(outcome.map(drop).map_err(|refusal| refusal.code()), expected);
}

/// What a frame says, without what is another each time.
fn read(frame: &[u8]) -> String {
    let text = std::str::from_utf8(frame).unwrap().strip_prefix("5:::").unwrap();
    let mut push: Value = serde_json::from_str(text).unwrap();
    let is_published = push["name"] == "pubsub";
    let header = push["args"][0]["header"].as_object_mut().unwrap();
    let late = header.remove("timestamp").unwrap().as_u64().unwrap() - 1_800_000_000_000;
    // The clock stands still, and each that is kept is a millisecond later than the one before.
    assert!(late == 0 || is_published && late < 1_000, "{late}");
    assert!(header.remove("requestId").is_some());
    header.remove("messageId");
    push.to_string()
}

/// Compares what a client got with what it was to get. What has one number may be in any order.
fn assert_streams(client: usize, expected: &[Due], got: &[String]) {
    let mut left = got;
    for run in expected.chunk_by(|one, other| one.run.is_some() && one.run == other.run) {
        let (mut certain, mut perhaps): (Vec<_>, Vec<_>) = run.iter().partition(|due| due.certain);
        while let Some((next, rest)) = left.split_first() {
            let of = [&mut certain, &mut perhaps].into_iter().find(|due| due.iter().any(|due| due.event == *next));
            let Some(of) = of else { break };
            of.swap_remove(of.iter().position(|due| due.event == *next).unwrap());
            left = rest;
        }
        assert!(certain.is_empty(), "client {client} got\n{got:#?}\nand not\n{certain:#?}\nof\n{expected:#?}");
    }
    assert!(left.is_empty(), "client {client} got\n{left:#?}\nof\n{got:#?}\nand was to get\n{expected:#?}");
}
