//! The store as its parts make it: what every method works with.

use std::sync::Arc;

use parking_lot::Mutex;
use respoke_core::chance::Chance;
use respoke_core::ports::{Store, StoreError};
use respoke_core::seal::Sealer;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_postgres::Row;
use tokio_util::task::TaskTracker;

use super::connect::{Param, Patience};
use super::connector::Connector;
use super::examine::{self, Examined};
use super::failure::Failure;
use super::fitting;
use super::lineage::{Line, Moves};
use super::message_writer::Messages;
use super::migrations::Migrated;
use super::opening;
use super::options::{Options, Writers};
use super::own_thread;
use super::pool::{Errand, Lent, Pool};
use super::rows::Columns;
use super::settle;
use super::settling::Comer;
use super::token_writer::{KnownGrounds, Tokens};
use super::tries::{Figures, Tries, Undone};
use super::unready::Unready;
use super::walk::Walk;
use super::writer::{Start, Writer};
use crate::crash::Crash;
use crate::writer_figures::WriterFigures;

/// A store in a PostgreSQL database.
pub struct PostgresStore {
    pub(super) writer: Writer<Tokens>,
    pub(super) messages: Writer<Messages>,
    pub(super) pool: Pool,
    /// Where the database stands. None: nobody looks.
    pub(super) line: Option<Arc<Line>>,
    pub(super) sealer: Sealer,
    pub(super) chance: Arc<dyn Chance>,
    pub(super) patience: Patience,
    pub(super) figures: Arc<Figures>,
    pub(super) crash: Crash,
    /// Those that drive the connections, and those that take them back.
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
    /// When the database cannot be reached, is not to be trusted, or was written by a newer program.
    pub async fn open(options: Options) -> Result<Self, StoreError> {
        Self::open_crashing(options, Crash::default()).await
    }

    /// Brings the schema of the database to the present one. Then `grant_to` may use it, and so may all who could before.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached, or the role may not do that.
    pub async fn migrate(options: &Options, grant_to: Option<&str>) -> Result<Migrated, StoreError> {
        opening::migrate(options, grant_to).await
    }

    /// Looks at the database and says what it is, whether or not it can be served from.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached.
    pub async fn examine(options: &Options) -> Result<Examined, StoreError> {
        examine::examine(options).await
    }

    /// Opens the database; the first transaction may crash.
    pub(crate) async fn open_crashing(options: Options, crash: Crash) -> Result<Self, StoreError> {
        let sealer = Sealer::new(Box::pin(opening::open(&options)).await?);
        let Options {
            config,
            tls,
            commit_batch_max,
            patience,
            promotions,
            writers,
            chance,
            ended,
            schema: _,
            reached_within: _,
        } = options;
        let (config, tls) = tls.with(config);
        let tasks = TaskTracker::new();
        let mut connector = Connector::new(config, tls, patience, tasks.clone());
        let first = Box::pin(connector.connect_to_the_newest()).await.map_err(Failure::nothing_written)?;
        let line = Box::pin(settle::begin(&first, promotions, chance.clone(), ended)).await?.map(Arc::new);
        drop(first);
        if let Some(line) = &line {
            connector.keep_to(line.clone());
        }
        connector.keep_to_those_that_keep();
        let connector = Arc::new(connector);
        let figures = Arc::new(Figures::default());
        let start = Start {
            connector: connector.clone(),
            batch_max: commit_batch_max.max(1),
            patience,
            chance: chance.clone(),
            figures: figures.clone(),
            crash,
        };
        let runtime = (writers == Writers::OnTheirOwnThread).then(own_thread::runtime).transpose()?;
        let handle = runtime.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone());
        let tokens = Tokens { sealer: sealer.clone(), known: KnownGrounds::default() };
        let writer = Writer::start(start.clone(), tokens, &handle);
        let messages = Writer::start(start, Messages { chance: chance.clone() }, &handle);
        if let Some(runtime) = runtime {
            own_thread::start("respoked-store", runtime, vec![writer.tasks(), messages.tasks()])?;
        }
        if let Some(line) = &line {
            tasks.spawn(fitting::run(line.clone(), tasks.clone()));
            if connector.has_several() {
                tasks.spawn(fitting::look_at_others(line.clone(), connector.clone(), patience.others));
            }
        }
        Ok(Self {
            writer,
            messages,
            pool: Pool::new(connector, patience.turn, tasks.clone()),
            line,
            sealer,
            chance,
            patience,
            figures,
            crash,
            tasks,
            ended: Notify::new(),
            walk: Mutex::default(),
        })
    }

    /// What tells whoever has connections of its own to the same database that it goes on elsewhere. None: nobody notices that.
    #[must_use]
    pub fn moves(&self) -> Option<Moves> {
        self.line.as_ref().map(Moves::of)
    }

    /// What its writers did, and what was tried again, for metrics. How large the database is, the server knows.
    #[must_use]
    pub fn figures(&self) -> WriterFigures {
        self.figures.read()
    }

    #[cfg(test)]
    pub(super) async fn reader(&self) -> Result<Lent, StoreError> {
        self.pool.lend(&Errand::LookUp).await.map_err(Failure::nothing_written)
    }

    /// A connection that leads where the database goes on: the database may have gone on elsewhere, or a pooler have led this one
    /// away.
    async fn lend_to_read(&self, errand: &Errand) -> Result<Lent, Failure> {
        let lent = self.pool.lend(errand).await?;
        if let Some(line) = self.line.as_ref().filter(|line| !lent.is_confirmed(line))
            && let Err(failure) = settle::admit(line, &lent, Comer::Usual, None).await
        {
            lent.give_up();
            return Err(failure.into_loss());
        }
        Ok(lent)
    }

    /// Runs a statement that only reads.
    pub(super) async fn read(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.read_on(&Errand::LookUp, sql, params).await
    }

    /// Runs a statement that only reads. One that a lost connection kept from it is run again on another. One that was not
    /// answered in time is not: the server may still be at it, and would have twice the work.
    pub(super) async fn read_on(
        &self,
        errand: &Errand,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let mut tries = Tries::within(self.patience);
        loop {
            let once = async { self.lend_to_read(errand).await?.query(sql, params).await };
            match once.await {
                Ok(rows) => return Ok(rows),
                Err(failure) => {
                    let undone = Undone::NothingWritten(failure);
                    tries.once_more(undone, &*self.chance, &self.figures).await.map_err(Undone::told)?;
                }
            }
        }
    }

    /// Has one's turn to look through a big table.
    pub(super) async fn search(&self) -> Result<Reader<'_>, StoreError> {
        let turn = self.pool.turn_to_search().await.map_err(Failure::nothing_written)?;
        Ok(Reader { store: self, errand: Errand::OfTurn(turn) })
    }

    /// Has one's turn to read what many keys find.
    pub(super) async fn gather(&self) -> Result<Reader<'_>, StoreError> {
        let turn = self.pool.turn_to_gather().await.map_err(Failure::nothing_written)?;
        Ok(Reader { store: self, errand: Errand::OfTurn(turn) })
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
        all_of(&self.read(sql, params).await?, read)
    }

    /// Notes that something was ended that leaves rows to remove.
    pub(super) fn note_ended(&self, ended: bool) {
        if ended {
            self.ended.notify_one();
        }
    }

    /// Stops, because the installation is served from elsewhere, or what is here is not whole: nothing of it is told any more.
    pub(super) fn stop_where_marked(&self, why: String) -> StoreError {
        self.stop();
        Unready::Marked(why).into()
    }

    /// Takes nothing any more.
    pub(super) fn stop(&self) {
        self.end_settling();
        self.writer.close();
        self.messages.close();
        self.pool.close();
    }

    /// Makes no server fit any more.
    pub(super) fn end_settling(&self) {
        if let Some(line) = &self.line {
            line.settling.end();
        }
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.end_settling();
    }
}

/// Somebody who has a turn to read for long. A connection is borrowed for each statement, so that others come in between.
pub(super) struct Reader<'a> {
    store: &'a PostgresStore,
    errand: Errand,
}

impl Reader<'_> {
    pub(super) async fn read(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.store.read_on(&self.errand, sql, params).await
    }
}

/// What rows hold.
pub(super) fn all_of<T>(
    rows: &[Row],
    read: impl Fn(&mut Columns<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|row| read(&mut Columns::of(row))).collect::<Result<_, _>>().map_err(Failure::nothing_written)
}
