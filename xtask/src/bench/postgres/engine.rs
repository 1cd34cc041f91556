//! The PostgreSQL server that a run has to itself, and what it costs.

use std::cell::Cell;
use std::fs;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls};

use crate::bench::procfs;
use crate::bench::workplace::Workplace;
use crate::test::postgres::Postgres;

/// A running server as Debian's package sets it up, with a folder on the real disk.
pub(in crate::bench) struct Engine {
    runtime: Runtime,
    made: Cell<u32>,
    server: Postgres,
    _logs: tempfile::TempDir,
}

impl Engine {
    pub(in crate::bench) fn start(workplace: &Workplace) -> anyhow::Result<Self> {
        let programs =
            Postgres::programs().context("PostgreSQL 15 or later is needed: install the package postgresql")?;
        let logs = workplace.fresh_folder()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let server = Postgres::start_in(&programs, logs.path(), workplace.folder())?;
        Ok(Self { runtime, made: Cell::new(0), server, _logs: logs })
    }

    /// Makes an empty database and returns its address.
    pub(in crate::bench) fn database(&self) -> anyhow::Result<String> {
        self.made.set(self.made.get() + 1);
        let name = format!("bench_{}", self.made.get());
        self.execute(&self.server.address(), &format!("CREATE DATABASE {name}"))?;
        Ok(self.server.address_of(&name))
    }

    /// Runs statements in the database at `address`.
    pub(in crate::bench) fn execute(&self, address: &str, sql: &str) -> anyhow::Result<()> {
        self.runtime.block_on(async { Ok(connect(address).await?.batch_execute(sql).await?) })
    }

    /// CPU time of the server so far, all its processes, in seconds. A process that ended counts as its parent's.
    pub(in crate::bench) fn cpu_secs(&self) -> anyhow::Result<f64> {
        let server = self.server.id();
        let mut cpu_secs = procfs::cpu_secs_with_ended(server)?;
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"))?;
        for child in children.split_ascii_whitespace() {
            // One that ended meanwhile is a moment's worth.
            cpu_secs += procfs::cpu_secs_with_ended(child.parse()?).unwrap_or(0.0);
        }
        Ok(cpu_secs)
    }
}

/// A connection, driven by a task of the running runtime.
#[expect(clippy::disallowed_methods, reason = "the task ends with the client, which its caller holds")]
pub(in crate::bench) async fn connect(address: &str) -> anyhow::Result<Client> {
    let (client, connection) = address.parse::<Config>()?.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
