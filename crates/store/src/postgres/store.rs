//! The store as its parts make it: what every method works with.

use std::sync::Arc;

use parking_lot::Mutex;
use respoke_core::chance::{Chance, SystemChance};
use respoke_core::ports::{Store, StoreError};
use respoke_core::seal::Sealer;
use tokio::sync::Notify;
use tokio_postgres::{Config, Row};
use tokio_util::task::TaskTracker;

use super::connect::{Param, Patience};
use super::connector::Connector;
use super::failure::Failure;
use super::message_writer::Messages;
use super::migrations;
use super::pool::{Lent, Pool};
use super::rows::Columns;
use super::tls::Tls;
use super::token_writer::Tokens;
use super::tries::Figures;
use super::walk::Walk;
use super::writer::{Start, Writer};
use crate::crash::Crash;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Where the database is, and as who it is used.
    pub config: Config,
    /// How connections are made private.
    pub tls: Tls,
    /// The most operations committed together.
    pub commit_batch_max: usize,
    /// How long the server is waited for.
    pub(crate) patience: Patience,
    /// What a new database's key is drawn from.
    pub chance: Arc<dyn Chance>,
}

impl Options {
    /// As is usual, for the database there.
    #[must_use]
    pub fn of(config: Config) -> Self {
        // A row of 128 costs half as much of the machine as one of 32.
        Self {
            config,
            tls: Tls::None,
            commit_batch_max: 128,
            patience: Patience::default(),
            chance: Arc::new(SystemChance),
        }
    }
}

/// A store in a PostgreSQL database.
pub struct PostgresStore {
    pub(super) writer: Writer<Tokens>,
    pub(super) messages: Writer<Messages>,
    pub(super) pool: Pool,
    pub(super) sealer: Sealer,
    pub(super) figures: Arc<Figures>,
    pub(super) crash: Crash,
    /// Those that drive the connections.
    pub(super) tasks: TaskTracker,
    /// Tells whoever keeps it in order that there is something to remove.
    pub(super) ended: Notify,
    /// How far upkeep has come.
    pub(super) walk: Mutex<Walk>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("figures", &self.figures).finish_non_exhaustive()
    }
}

impl Store for PostgresStore {}

impl PostgresStore {
    /// Opens the database, making or migrating its schema as needed.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached, or was written by a newer program.
    pub async fn open(options: Options) -> Result<Self, StoreError> {
        Self::open_crashing(options, Crash::default()).await
    }

    /// Opens the database; the first transaction may crash.
    pub(crate) async fn open_crashing(options: Options, crash: Crash) -> Result<Self, StoreError> {
        let Options { config, tls, commit_batch_max, patience, chance } = options;
        let (config, tls) = tls.with(config);
        let tasks = TaskTracker::new();
        let connector = Arc::new(Connector::new(config, tls, patience, tasks.clone()));
        let first = connector.connect().await.map_err(Failure::nothing_written)?;
        let sealer = Sealer::new(migrations::migrate(&first, &*chance).await?);
        drop(first);
        let figures = Arc::new(Figures::default());
        let start = Start {
            connector: connector.clone(),
            batch_max: commit_batch_max.max(1),
            chance: chance.clone(),
            figures: figures.clone(),
            crash,
        };
        let writer = Writer::start(start.clone(), Tokens { sealer: sealer.clone() });
        let messages = Writer::start(start, Messages { chance });
        Ok(Self {
            writer,
            messages,
            pool: Pool::new(connector),
            sealer,
            figures,
            crash,
            tasks,
            ended: Notify::new(),
            walk: Mutex::default(),
        })
    }

    /// A connection to read with.
    pub(super) async fn reader(&self) -> Result<Lent, StoreError> {
        self.pool.lend().await.map_err(Failure::nothing_written)
    }

    /// Runs a statement that only reads. One that a lost connection kept from it is run again on another.
    pub(super) async fn read(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let first = self.reader().await?.query(sql, params).await;
        let rows = match first {
            Err(Failure::Lost(_)) => self.reader().await?.query(sql, params).await,
            done => done,
        };
        rows.map_err(Failure::nothing_written)
    }

    pub(super) async fn read_one<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl Fn(&mut Columns<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, StoreError> {
        let rows = self.read(sql, params).await?;
        rows.first().map(|row| read(&mut Columns::of(row))).transpose().map_err(Failure::nothing_written)
    }

    pub(super) async fn read_all<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl Fn(&mut Columns<'_>) -> Result<T, Failure>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.read(sql, params).await?;
        rows.iter().map(|row| read(&mut Columns::of(row))).collect::<Result<_, _>>().map_err(Failure::nothing_written)
    }

    /// Notes that something was ended that leaves rows to remove.
    pub(super) fn note_ended(&self, ended: bool) {
        if ended {
            self.ended.notify_one();
        }
    }

    /// Takes nothing any more.
    pub(super) fn stop(&self) {
        self.writer.close();
        self.messages.close();
        self.pool.close();
    }
}
