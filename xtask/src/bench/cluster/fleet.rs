//! The nodes of a run, what they stand on, and what each part costs.

use std::net::SocketAddr;
use std::ops::Sub;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::relay::Relay;
use crate::bench::client::{Body, Client, Request};
use crate::bench::hub::host::ROOMY;
use crate::bench::metrics::Commits;
use crate::bench::postgres::engine::Engine;
use crate::bench::procfs::Usage;
use crate::bench::scenario::Site;
use crate::bench::server::{Respoked, usual};
use crate::bench::workplace::Workplace;
use crate::child::Child;
use crate::test::nats::Nats;

/// How long a node may take until it serves.
const READY: Duration = Duration::from_secs(60);

/// By what nodes talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Carrier {
    /// PostgreSQL alone.
    Postgres,
    Nats,
}

impl Carrier {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL alone",
            Self::Nats => "NATS",
        }
    }
}

/// What all nodes of a run stand on.
pub(super) struct Ground {
    pub(super) engine: Engine,
    nats: Option<Nats>,
    _logs: TempDir,
}

impl Ground {
    pub(super) fn start(workplace: &Workplace, carriers: &[Carrier]) -> anyhow::Result<Self> {
        let logs = workplace.fresh_folder()?;
        let nats = carriers.contains(&Carrier::Nats).then(|| Nats::start(logs.path())).transpose();
        let nats = nats.context("NATS is needed: install the package nats-server, or leave its carrier out")?;
        Ok(Self { engine: Engine::start(workplace)?, nats, _logs: logs })
    }
}

/// Nodes that serve as one.
pub(super) struct Fleet {
    first: Respoked,
    others: Vec<(Child, TempDir)>,
    pub(super) carrier: Carrier,
    /// What their words go through, if that is to be cut.
    relay: Option<Relay>,
}

impl Fleet {
    /// Starts so many on a database of their own.
    pub(super) fn start(
        workplace: &Workplace,
        ground: &Ground,
        carrier: Carrier,
        count: usize,
        is_to_be_cut: bool,
    ) -> anyhow::Result<Self> {
        let database = ground.engine.database()?;
        let mut environment = vec![("RESPOKED_DATABASE", database.clone())];
        let mut relay = None;
        match carrier {
            Carrier::Postgres if is_to_be_cut => {
                let (through, direct) = relayed(&database)?;
                relay = Some(through);
                environment.push(("RESPOKED_DATABASE_DIRECT", direct));
            }
            Carrier::Postgres => {}
            Carrier::Nats => {
                let mut url = ground.nats.as_ref().context("NATS was started")?.url();
                if is_to_be_cut {
                    let (through, cut) = relayed(&url)?;
                    (relay, url) = (Some(through), cut);
                }
                environment.push(("RESPOKED_NATS", url));
            }
        }
        let (child, folder) = node(workplace, &environment, 1)?;
        let first = Respoked::set_up(child, folder, ROOMY)?;
        let others = (2..=count).map(|nth| node(workplace, &environment, nth)).collect::<anyhow::Result<_>>()?;
        let fleet = Self { first, others, carrier, relay };
        fleet.wait_until_ready()?;
        Ok(fleet)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let since = Instant::now();
        for address in self.addresses() {
            let ask = Request { method: "GET", path: "/readyz", credential: None, body: Body::None };
            while Client::connect(address)?.call(&ask).is_err() {
                ensure!(since.elapsed() < READY, "a node is not ready after {READY:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// What its clients mint their tokens with.
    pub(super) fn site(&self) -> &Site {
        &self.first.site
    }

    /// Where the nodes listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.children().map(Child::address).collect()
    }

    fn children(&self) -> impl Iterator<Item = &Child> {
        std::iter::once(&self.first.child).chain(self.others.iter().map(|(child, _)| child))
    }

    /// Kills the last node.
    pub(super) fn kill_last(&mut self) -> anyhow::Result<()> {
        self.others.pop().map(drop).context("there is more than one node")
    }

    /// Ends what carries the nodes' words.
    pub(super) fn cut(&self) -> anyhow::Result<()> {
        self.relay.as_ref().map(Relay::cut).context("it was to be cut")
    }

    /// What all nodes committed so far.
    pub(super) fn commits(&self) -> anyhow::Result<Commits> {
        let mut all = Commits { commits: 0.0, operations: 0.0 };
        for address in self.addresses() {
            let of_node = Commits::of(address)?.context("a node tells what it commits")?;
            all.commits += of_node.commits;
            all.operations += of_node.operations;
        }
        Ok(all)
    }

    /// What each part cost so far.
    pub(super) fn cpu(&self, ground: &Ground) -> anyhow::Result<Cpu> {
        let mut nodes = 0.0;
        for child in self.children() {
            nodes += Usage::of(child.id())?.cpu_secs;
        }
        let nats = ground.nats.as_ref().map(|nats| Usage::of(nats.id())).transpose()?;
        Ok(Cpu {
            nodes,
            postgres: ground.engine.cpu_secs()?,
            nats: nats.map_or(0.0, |nats| nats.cpu_secs),
            generator: Usage::of(std::process::id())?.cpu_secs,
        })
    }
}

/// CPU time of each part, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    /// All nodes together.
    pub(super) nodes: f64,
    pub(super) postgres: f64,
    pub(super) nats: f64,
    pub(super) generator: f64,
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            nodes: self.nodes - earlier.nodes,
            postgres: self.postgres - earlier.postgres,
            nats: self.nats - earlier.nats,
            generator: self.generator - earlier.generator,
        }
    }
}

impl Cpu {
    /// As shares of a core.
    pub(super) fn over(self, elapsed: Duration) -> Self {
        let secs = elapsed.as_secs_f64();
        Self {
            nodes: self.nodes / secs,
            postgres: self.postgres / secs,
            nats: self.nats / secs,
            generator: self.generator / secs,
        }
    }
}

fn node(workplace: &Workplace, environment: &[(&'static str, String)], nth: usize) -> anyhow::Result<(Child, TempDir)> {
    let folder = workplace.fresh_folder()?;
    let mut command = usual(Command::new(&workplace.respoked), ROOMY);
    command.env("RESPOKED_NODE_NAME", format!("node-{nth}"));
    command.envs(environment.iter().map(|(name, value)| (name, value))).current_dir(folder.path());
    let child = Child::start(command, &folder.path().join("server.log"), READY)?;
    Ok((child, folder))
}

/// A relay to the server in `url`, and the address that leads through it.
fn relayed(url: &str) -> anyhow::Result<(Relay, String)> {
    let (head, rest) = url.split_once("127.0.0.1:").context("the server is of this machine")?;
    let (port, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let relay = Relay::start(SocketAddr::from(([127, 0, 0, 1], port.parse()?)))?;
    let through = format!("{head}{}{tail}", relay.address());
    Ok((relay, through))
}
