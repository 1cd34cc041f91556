//! Carriers that are made of the tables of one database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::chance::{Chance, SystemChance};
use respoke_core::ports::{Carrier, Node};
use respoke_store::{CarrierOptions, PostgresCarrier, PostgresOptions, PostgresStore};
use tokio_postgres::{Config, NoTls};
use uuid::Uuid;

use crate::pooler::Pooler;
use crate::proxy::{Proxy, Way as Passing};
use crate::real_cases::{Bring, Carriers};

/// How nodes come to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Directly,
    /// In transaction mode: nobody is woken.
    ThroughAPooler,
    /// The same, with another way by which they are woken.
    ThroughAPoolerAndPastIt,
}

/// Carriers of some nodes, and what is between them and the database.
pub(crate) struct OverTables {
    carriers: Mutex<Vec<(Node, Arc<PostgresCarrier>)>>,
    options: CarrierOptions,
    proxies: Vec<Proxy>,
    /// What was fetched before an interruption is not brought within it.
    interrupted: Arc<AtomicBool>,
    is_woken: bool,
    _pooler: Option<Pooler>,
    _database: Database,
}

impl OverTables {
    /// None: there is no server, or no pooler, which is said.
    pub(crate) async fn by(way: Way) -> Option<Self> {
        let database = Database::new()?;
        let server = database.config();
        PostgresStore::migrate(&PostgresOptions::of(server.clone()), None).await.unwrap();
        let pooler = if way == Way::Directly { None } else { Some(Pooler::to(&server)?) };
        let mut proxies = vec![Proxy::to(&pooler.as_ref().map_or(server.clone(), Pooler::config)).await];
        if way == Way::ThroughAPoolerAndPastIt {
            proxies.push(Proxy::to(&server).await);
        }
        let by = |proxy: &Proxy| PostgresOptions::of(proxy.config(&server));
        let options = CarrierOptions { database: by(&proxies[0]), direct: proxies.get(1).map(by), moves: None };
        Some(Self {
            carriers: Mutex::default(),
            options,
            proxies,
            interrupted: Arc::default(),
            is_woken: way != Way::ThroughAPooler,
            _pooler: pooler,
            _database: database,
        })
    }

    /// Tells each who lives: of each node its last life.
    fn tell(&self) {
        let carriers = self.carriers.lock();
        let is_last =
            |node: Node| carriers.iter().all(|(of, _)| of.id != node.id || of.incarnation <= node.incarnation);
        let live: Vec<_> = carriers.iter().map(|(node, _)| *node).filter(|node| is_last(*node)).collect();
        for (_, carrier) in carriers.iter() {
            carrier.nodes_are(&live);
        }
    }
}

impl Carriers for OverTables {
    fn carrier(&self, node: Node) -> Arc<dyn Carrier> {
        let carrier = Arc::new(PostgresCarrier::open(self.options.clone(), node).unwrap());
        self.carriers.lock().push((node, carrier.clone()));
        self.tell();
        carrier
    }

    fn bring_to(&mut self, node: Node, bring: Bring) {
        let interrupted = self.interrupted.clone();
        let carriers = self.carriers.lock();
        let (_, carrier) = carriers.iter().find(|(of, _)| *of == node).expect("it was started");
        carrier.attach(move |frame| {
            if !interrupted.load(Ordering::Acquire) {
                bring(frame);
            }
        });
    }

    fn interrupt(&self, interrupted: bool) {
        self.interrupted.store(interrupted, Ordering::Release);
        for proxy in &self.proxies {
            if interrupted {
                proxy.refuse();
            } else {
                proxy.set(Passing::Open);
            }
        }
    }
}

impl Drop for OverTables {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for (node, carrier) in self.carriers.lock().iter() {
            let figures = carrier.figures();
            // An interruption may just have ended.
            let is_as_fast = figures.is_woken == self.is_woken || figures.connections > 2;
            assert!(is_as_fast, "node {node} is woken or not: {figures:?}");
            let usual = Duration::from_millis(if figures.is_woken { 2 } else { 50 });
            assert_eq!(carrier.usual_delay(), usual);
        }
    }
}

/// A database, which goes with this.
struct Database {
    server: Config,
    name: String,
}

impl Database {
    fn new() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "tests take their server from the test command")]
        let server = std::env::var("TEST_POSTGRES").ok()?;
        let chance: &dyn Chance = &SystemChance;
        let name = format!("respoked_carrier_{}", Uuid::from_bytes(chance.bytes()).simple());
        let database = Self { server: server.parse().expect("TEST_POSTGRES is an address"), name };
        database.run(&format!("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", database.name));
        Some(database)
    }

    fn config(&self) -> Config {
        let mut config = self.server.clone();
        config.dbname(&self.name);
        config
    }

    /// Runs a statement on the server, on a thread of its own: this is within a runtime.
    fn run(&self, sql: &str) {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (client, connection) = self.server.connect(NoTls).await.unwrap();
                let worked = async {
                    client.batch_execute(sql).await.unwrap();
                    drop(client);
                };
                let ((), _) = tokio::join!(worked, connection);
            });
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
