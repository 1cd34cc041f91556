//! The contract through `PgBouncer` in transaction mode: each transaction may get another connection there. It runs where the
//! contract runs on PostgreSQL.

use std::sync::{Arc, LazyLock, mpsc};

use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio_postgres::Config;

use super::postgres::{Postgres, server, there_is_a_server};
use super::postgres_pooler::Pooler;
use super::{Fixture, Opened};
use crate::crash::{Crash, CrashPoint};
use crate::{PostgresOptions, PostgresStore};

/// The way through the pooler, if there is one.
pub(crate) static POOLER: LazyLock<Option<Config>> = LazyLock::new(|| {
    let (told, tells) = mpsc::sync_channel(1);
    let server = there_is_a_server().then(server)?;
    // The pooler ends with the thread that started it, and so with the process.
    std::thread::spawn(move || {
        let pooler = Pooler::to(&server);
        told.send(pooler.as_ref().map(Pooler::config)).unwrap();
        loop {
            std::thread::park();
        }
    });
    tells.recv().unwrap()
});

fn there_is_a_pooler() -> bool {
    POOLER.is_some()
}

/// A database of a case's own, to which the way leads through the pooler.
struct Pooled {
    database: Postgres,
    /// The case's, which threads of its own use as well.
    runtime: Handle,
}

impl Default for Pooled {
    fn default() -> Self {
        Self { database: Postgres::default(), runtime: Handle::current() }
    }
}

impl Fixture for Pooled {
    fn open(&self, crash_at: Option<CrashPoint>) -> Opened {
        let mut config = POOLER.clone().expect("there is a pooler");
        config.dbname(self.database.config().get_dbname().expect("it has a name"));
        let opening = PostgresStore::open_crashing(PostgresOptions::of(config), Crash { at: crash_at });
        Arc::new(block_in_place(|| self.runtime.block_on(opening)).unwrap())
    }
}

every_case!(contract! { Pooled, if there_is_a_pooler });
