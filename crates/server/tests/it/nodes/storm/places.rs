//! Three nodes, each a process of its own, what they stand on, and what befalls them.

use std::time::Duration;

use respoke_core::chance::SeededChance;
use serde_json::json;

use super::links::{Link, Way};
use crate::harness::{Client, NatsServer, Postgres, PostgresServer, Process, eventually, note_secret, text};

pub(super) const NODES: usize = 3;

/// What nodes talk by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Tables,
    Nats,
}

/// What befalls a node or what all stand on. For short nobody is declared dead, for long somebody is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Killed { node: usize, long: bool },
    Stopped { node: usize, long: bool },
    Drained { node: usize },
    Database { node: usize, way: Way, long: bool },
    Nats { node: usize, way: Way, long: bool },
    DatabaseRestarted { crashed: bool },
    NatsRestarted { away: bool },
}

impl Fault {
    /// One that a carrier has.
    pub(super) fn draw(chance: &SeededChance, carrier: Carrier) -> Self {
        let below = |end: u64| usize::try_from(chance.below(end)).unwrap();
        let (node, long) = (below(NODES as u64), below(3) == 0);
        let way = if below(2) == 0 { Way::Held } else { Way::Cut };
        match below(if carrier == Carrier::Nats { 9 } else { 6 }) {
            0 => Self::Killed { node, long },
            1 => Self::Stopped { node, long },
            2 => Self::Drained { node },
            3 | 4 => Self::Database { node, way, long },
            5 => Self::DatabaseRestarted { crashed: long },
            6 | 7 => Self::Nats { node, way, long },
            _ => Self::NatsRestarted { away: long },
        }
    }

    /// A node of which clients are to keep away meanwhile: whoever it answers waits for long.
    pub(super) const fn silent(self) -> Option<usize> {
        match self {
            Self::Killed { node, .. } | Self::Stopped { node, .. } | Self::Drained { node } => Some(node),
            Self::Database { .. } | Self::Nats { .. } | Self::DatabaseRestarted { .. } | Self::NatsRestarted { .. } => {
                None
            }
        }
    }
}

/// Longer than it takes until a node is declared dead; and shorter than a break between its beats.
const fn lasting(long: bool) -> Duration {
    if long { Duration::from_secs(14) } else { Duration::from_secs(3) }
}

pub(super) struct Places {
    pub(super) client: Client,
    pub(super) admin: String,
    nodes: Vec<Option<Process>>,
    pub(super) urls: Vec<String>,
    links: Vec<(Link, Option<Link>)>,
    database: Postgres,
    nats: Option<NatsServer>,
    server: PostgresServer,
    folder: Option<tempfile::TempDir>,
}

impl Places {
    /// None: the programs are not there.
    pub(super) fn start(carrier: Carrier) -> Option<Self> {
        let nats = if carrier == Carrier::Nats { Some(NatsServer::start("")?) } else { None };
        let mut server = PostgresServer::make("trust")?;
        server.start(&["max_connections=100"]);
        let database = Postgres::on(server.config());
        let links =
            (0..NODES).map(|_| (Link::to(server.port()), nats.as_ref().map(|nats| Link::to(nats.port)))).collect();
        let mut places = Self {
            client: Client::nowhere(),
            admin: String::new(),
            nodes: Vec::new(),
            urls: Vec::new(),
            links,
            database,
            nats,
            server,
            folder: Some(tempfile::tempdir().unwrap()),
        };
        for node in 0..NODES {
            let started = places.begin(node, "127.0.0.1:0");
            places.urls.push(started.client.url.clone());
            places.nodes.push(Some(started));
        }
        places.set_up();
        Some(places)
    }

    fn begin(&self, node: usize, listen: &str) -> Process {
        let (database, nats) = &self.links[node];
        let (database, name) = (self.database.url_by(database.port), format!("node-{node}"));
        let nats = nats.as_ref().map(|nats| format!("nats://127.0.0.1:{}", nats.port));
        let mut flags = vec!["--database", &database, "--node-name", &name, "--log", "info", "--drain-secs", "2"];
        flags.extend(["--failed-credentials-free", "1000000", "--address-requests-per-second", "100000"]);
        flags.extend(["--address-requests-burst", "100000"]);
        if let Some(nats) = &nats {
            flags.extend(["--nats", nats]);
        }
        let data = self.folder.as_ref().expect("it is there until the end").path().join(&name);
        Process::spawn_listening(listen, &data, &flags)
    }

    fn set_up(&mut self) {
        let first = self.nodes[0].as_ref().expect("it was started");
        self.client = first.client.clone();
        self.admin = self.client.admin_token("owner");
        let app = self.client.post("/v1/apps").admin(&self.admin).send(json!({"name": "test"})).ok();
        (self.client.app, self.client.secret) = (text(&app["id"]), text(&app["secret"]));
        note_secret(&self.client.secret);
        let every = json!({"create": true, "publish": true, "subscribe": true, "unsubscribe": true});
        let rights = json!({"groups": {"*": every}});
        self.client.role = self.client.create_role("all", rights);
        self.client.unlimited(&self.admin);
    }

    /// A client of a node.
    pub(super) fn at(&self, node: usize) -> Client {
        let mut client = self.client.clone();
        client.url.clone_from(&self.urls[node]);
        client
    }

    /// Lets something befall them, for as long as it lasts, and mends it.
    pub(super) fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Killed { node, long } => {
                self.nodes[node].take().expect("it lives").kill();
                std::thread::sleep(lasting(long));
                self.start_again(node);
            }
            Fault::Drained { node } => {
                let process = self.nodes[node].take().expect("it lives");
                process.signal("TERM");
                assert_eq!(process.wait(), 0);
                self.start_again(node);
            }
            Fault::Stopped { node, long } => {
                let process = self.nodes[node].as_ref().expect("it lives");
                process.signal("STOP");
                std::thread::sleep(lasting(long));
                process.signal("CONT");
            }
            Fault::Database { node, way, long } => {
                self.links[node].0.set(way);
                std::thread::sleep(lasting(long));
                self.links[node].0.set(Way::Open);
            }
            Fault::Nats { node, way, long } => {
                let link = self.links[node].1.as_ref().expect("nodes talk by NATS");
                link.set(way);
                std::thread::sleep(lasting(long));
                link.set(Way::Open);
            }
            Fault::DatabaseRestarted { crashed } => {
                if crashed {
                    self.server.crash();
                } else {
                    self.server.stop();
                }
                self.server.start(&["max_connections=100"]);
            }
            Fault::NatsRestarted { away } => {
                let nats = self.nats.as_mut().expect("nodes talk by NATS");
                nats.kill();
                if away {
                    std::thread::sleep(lasting(false));
                }
                nats.start_again();
            }
        }
    }

    fn start_again(&mut self, node: usize) {
        let listen = self.urls[node].trim_start_matches("http://").to_owned();
        self.nodes[node] = Some(self.begin(node, &listen));
    }

    /// Waits until all nodes serve.
    pub(super) fn all_serve(&self) {
        for node in 0..NODES {
            let client = self.at(node);
            eventually(|| (client.get("/readyz").try_call()?.status == 200).then_some(()));
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("what the nodes logged is in {}", folder.keep().display());
        }
    }
}
