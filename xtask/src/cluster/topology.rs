//! All parts of a cluster on this machine, started one after the other and ended in the opposite order.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use super::coturn::{self, Coturn};
use super::haproxy::{self, Haproxy};
use super::node::{Node, Setting};
use crate::programs::Programs;
use crate::test::nats::{self, Nats};
use crate::test::postgres::Postgres;

/// The database that all nodes share.
const DATABASE: &str = "respoked";

/// By what nodes talk.
#[derive(Clone, Copy)]
pub(super) enum Carrier {
    Postgres,
    Nats,
}

/// A cluster that runs until this is dropped. What each part needs is ended after it: fields are dropped in their order.
pub(super) struct Topology {
    proxy: Haproxy,
    nodes: Vec<Node>,
    coturn: Coturn,
    nats: Option<Nats>,
    postgres: Postgres,
    folder: TempDir,
}

/// What the first node made at its start.
pub(super) struct FirstApp {
    pub(super) role: String,
    /// Where its App-Secret is.
    pub(super) secret: PathBuf,
}

impl Topology {
    /// Starts all parts, and waits until each is ready. `binary` is the server.
    pub(super) fn start(programs: &Programs, binary: &Path, count: u8, carrier: Carrier) -> anyhow::Result<Self> {
        let postgres = programs.postgres()?;
        programs.have_without_service(haproxy::PROGRAM, haproxy::PACKAGE)?;
        programs.have_without_service(coturn::PROGRAM, coturn::PACKAGE)?;
        if let Carrier::Nats = carrier {
            programs.have_without_service(nats::PROGRAM, nats::PACKAGE)?;
        }

        // Others are not to read the secrets in it.
        let for_its_owner = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("respoked-cluster-").permissions(for_its_owner).tempdir()?;
        let postgres = Postgres::start(&postgres, folder.path())?;
        postgres.create_database(DATABASE)?;
        let secret = made_up()?;
        std::fs::write(turn_secret(folder.path()), &secret)?;
        let coturn = Coturn::start(&secret, folder.path())?;
        let nats = match carrier {
            Carrier::Postgres => None,
            Carrier::Nats => Some(Nats::start(folder.path())?),
        };
        std::fs::write(password(folder.path()), made_up()?)?;

        let mut nodes = Vec::new();
        for at in 1..=count {
            let name = format!("node-{at}");
            let mut environment = vec![
                ("RESPOKED_NODE_NAME", name.clone()),
                ("RESPOKED_DATABASE", postgres.address_of(DATABASE)),
                ("RESPOKED_TRUSTED_PROXIES", "127.0.0.1/32".to_owned()),
                ("RESPOKED_ADMIN_PASSWORD_FILE", password(folder.path()).display().to_string()),
                ("RESPOKED_TURN_URIS", coturn.uris()),
                ("RESPOKED_TURN_SECRET_FILE", turn_secret(folder.path()).display().to_string()),
            ];
            if let Some(nats) = &nats {
                environment.push(("RESPOKED_NATS", nats.url()));
            }
            let setting = Setting { name, binary: binary.to_owned(), folder: folder.path().to_owned(), environment };
            nodes.push(Node::start(setting)?);
        }
        let addresses: Vec<SocketAddr> = nodes.iter().map(Node::address).collect();
        let proxy = Haproxy::start(&addresses, &folder.path().join("haproxy.log"))?;
        Ok(Self { proxy, nodes, coturn, nats, postgres, folder })
    }

    /// By which address all nodes are reached.
    pub(super) fn proxy(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    pub(super) fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// The address of the database that all nodes share.
    pub(super) fn database(&self) -> String {
        self.postgres.address_of(DATABASE)
    }

    /// Where everything is that is gone afterwards.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the admin's password is.
    pub(super) fn password(&self) -> PathBuf {
        password(self.folder.path())
    }

    /// What the first node made, its App-Secret in a file.
    pub(super) fn first_app(&self) -> anyhow::Result<FirstApp> {
        let said = self.nodes.first().context("there is a node")?.said();
        let after = |label: &str| {
            let found = said.iter().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
            found.map(str::to_owned).with_context(|| format!("the first start did not print: {label}"))
        };
        let secret = self.folder.path().join("app-secret");
        std::fs::write(&secret, after("App-Secret")?)?;
        Ok(FirstApp { role: after("Role id")?, secret })
    }

    /// Ends the proxy, then all nodes at once, then what they stand on.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        let Self { proxy, nodes, coturn, nats, postgres, folder } = self;
        drop(proxy);
        nodes.iter().for_each(Node::ask_to_stop);
        let stopped: Vec<anyhow::Result<()>> = nodes.into_iter().map(Node::stop).collect();
        drop((coturn, nats, postgres));
        folder.close().context("the folder could not be removed")?;
        stopped.into_iter().collect()
    }
}

fn password(folder: &Path) -> PathBuf {
    folder.join("admin-password")
}

fn turn_secret(folder: &Path) -> PathBuf {
    folder.join("turn-secret")
}

/// What nobody can guess.
fn made_up() -> anyhow::Result<String> {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("the system makes up no text")?;
    Ok(uuid.trim().replace('-', ""))
}
