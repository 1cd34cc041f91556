//! Hubs against a reference: random clients of two apps do random things on one node or several, nodes are lost and come
//! back, and after each step everybody has received exactly what the reference says, in order, and is where it says,
//! whatever node is asked.
//!
//! It stands here and not beside the hub because nodes share a database, and the hub knows none.
//!
//! A run is decided by its seed, which a failure names along with the last steps: no time passes while the database works.

#![expect(clippy::unwrap_used, reason = "in a test a failure to go on is a failure")]

mod cluster;
mod compared;
mod doings;
#[path = "../peers/home.rs"]
mod home;
mod reference;
mod storm;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use respoke_core::app::LimitsPatch;
use respoke_core::id::{AppId, ConnectionId, EndpointId, RoleId};
use respoke_core::ops::{Caller, Context, Credential};
use respoke_hub::ops::{Asker, Unlimited};
use respoke_hub::{Hub, Socket};

use cluster::{Between, Cluster, Node};
use home::{endpoint, first_admin};
use reference::{Model, Named};

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
/// Longer than between two times at which it is told that something may have been missed.
const MISSED_EVERY: Duration = Duration::from_millis(1_100);

/// A server that is alone.
#[tokio::test(start_paused = true)]
async fn the_hub_does_what_the_reference_does() {
    run(Between::Alone, 1, 1..=8, 800).await;
}

/// Nodes that hear each other at once.
#[tokio::test(start_paused = true)]
async fn two_and_three_hubs_do_what_the_reference_does() {
    run(Between::Nothing, 1, [1], 200).await;
    run(Between::Nothing, 2, 1..=3, 600).await;
    run(Between::Nothing, 3, 1..=3, 600).await;
}

/// Nodes with something between them that delays, reorders, doubles and loses. After each step it is waited until all has
/// come that is to come.
#[tokio::test(start_paused = true)]
async fn with_whatever_between_them_hubs_come_to_what_the_reference_says() {
    // Those of three digits are runs in which a node was silent, or heard late of what ends or of who joins.
    run(Between::Faults, 2, [1, 226, 301], 250).await;
    run(Between::Faults, 3, [1, 276, 316], 250).await;
}

/// Runs worlds of these seeds and of so many nodes for so many steps: those of `MODEL_SEED` and `MODEL_STEPS` instead, if they
/// are set.
async fn run(between: Between, nodes: u32, seeds: impl IntoIterator<Item = u64>, steps: usize) {
    let seeds = set("MODEL_SEED").map_or_else(|| seeds.into_iter().collect(), |seed| vec![seed]);
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
}
