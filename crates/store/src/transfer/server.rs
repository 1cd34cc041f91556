//! The side that is a PostgreSQL server: one connection. `holding` keeps others away from it, and `copying` is what goes either way.
//! `line` takes the one of several servers that was promoted last.
//!
//! Invariant: every wait for the server ends. Who waited too long has closed the connection, and what was under way on it is
//! rolled back, unless it was a commit.

mod copying;
mod holding;
mod line;

use std::time::Duration;

use respoke_core::ports::StoreError;
use tokio::task::AbortHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_util::task::TaskTracker;

use super::contents::{failed, refused};
use super::tables::{TABLES, Table};
use crate::marks::{ARRIVED, MOVED, Mark, Marks, UNFINISHED};
use crate::postgres::{Options, Tls, newest_schema, rolls_a_commit_back};

/// What the connection is called in the server's lists of them. Not as nodes call theirs.
const APPLICATION: &str = "respoked transfer";
/// How long a connection is tried for, the greeting included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After which silence the other machine is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unconfirmed by the other machine.
const UNCONFIRMED_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the server is waited for. Tests wait less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// For an answer to a look, or to what waits for one lock.
    pub(super) look: Duration,
    /// For an answer to what goes through a table or locks all of them, and between two rows that are read: the first comes when
    /// all are sorted.
    pub(super) work: Duration,
    /// For an answer to a commit, which may wait for a standby. Who gives up does not know what came of it.
    pub(super) commit: Duration,
}

impl Waits {
    const USUAL: Self =
        Self { look: Duration::from_secs(60), work: Duration::from_secs(3_600), commit: Duration::from_secs(60) };
}

/// What each transaction here says of itself: nothing ends a long statement, or the connection while the other side works.
/// Who waits for a lock waits behind transactions of nodes, which are short.
const SETTINGS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
                        SET LOCAL lock_timeout = '10s'";
/// That what is committed is on disk, whatever the role's settings say.
const DURABLE: &str =
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'";

/// What a server holds.
pub(super) enum Standing {
    /// No schema.
    Nothing,
    /// A schema without an account.
    Empty,
    /// A copy that is not finished. It may have no tables yet.
    Unfinished(Mark),
    /// An installation.
    Whole { key: Vec<u8>, marks: Box<Marks> },
}

/// What a role is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Fill a schema that is there, or make one.
    Fill,
    /// Give another name to the one that is there, and make one.
    Replace,
    /// Mark what is there as moved, or take that back.
    Mark,
}

/// What was there of a copy when it was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// No account.
    Nothing,
    /// What an earlier try has left.
    Unfinished,
}

/// A server.
pub(super) struct Server {
    client: Client,
    driving: AbortHandle,
    pub(super) waits: Waits,
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is under way on it is rolled back at once.
        self.driving.abort();
    }
}

impl Server {
    pub(super) async fn connect(options: &Options, attrs: TargetSessionAttrs) -> Result<Self, StoreError> {
        let mut config = options.config.clone();
        config
            .application_name(APPLICATION)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(UNCONFIRMED_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE)
            .target_session_attrs(attrs);
        let several = config.get_hosts().len().max(config.get_hostaddrs().len()) > 1;
        if several && attrs == TargetSessionAttrs::ReadWrite {
            // On the heap: most addresses name one.
            Box::pin(Self::connect_to_the_newest(&config, &options.tls)).await
        } else {
            Self::connect_to(config, options.tls.clone()).await
        }
    }

    async fn connect_to(config: Config, tls: Tls) -> Result<Self, StoreError> {
        let (config, tls) = tls.with(config);
        let tasks = TaskTracker::new();
        let connecting = async {
            Ok(match tls {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    (client, tasks.spawn(connection).abort_handle())
                }
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await?;
                    (client, tasks.spawn(connection).abort_handle())
                }
            })
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected
                .map(|(client, driving)| Self { client, driving, waits: Waits::USUAL })
                .map_err(|error: tokio_postgres::Error| failed(error)),
            Err(_) => Err(refused("the database did not answer while it was connected to")),
        }
    }

    /// Waits for an answer. Who waited too long has no connection any more.
    async fn answered<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(patience, answer).await {
            Ok(answered) => answered.map_err(failed),
            Err(_) => Err(self.give_up(patience)),
        }
    }

    fn give_up(&self, patience: Duration) -> StoreError {
        self.driving.abort();
        refused(format!("the database did not answer for {patience:?}"))
    }

    pub(super) async fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.answered(self.waits.look, self.client.batch_execute(sql)).await
    }

    /// The same of statements that go through a table, or lock all of them.
    async fn work(&self, sql: &str) -> Result<(), StoreError> {
        self.answered(self.waits.work, self.client.batch_execute(sql)).await
    }

    /// Ends a transaction. What came of it is not known if this fails with [`StoreError::InDoubt`].
    pub(super) async fn commit(&self) -> Result<(), StoreError> {
        match tokio::time::timeout(self.waits.commit, self.client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if rolls_a_commit_back(&error) => Err(failed(error)),
            Ok(Err(error)) => Err(StoreError::InDoubt(Box::new(error))),
            Err(_) => {
                self.driving.abort();
                Err(StoreError::InDoubt(
                    format!("the database did not answer to a commit for {:?}", self.waits.commit).into(),
                ))
            }
        }
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, StoreError> {
        self.answered(self.waits.look, self.client.query_typed(sql, params)).await
    }

    /// The one number that a statement tells.
    pub(super) async fn number(&self, sql: &str) -> Result<i64, StoreError> {
        Self::first(&self.query(sql, &[]).await?)
    }

    /// The same of a statement that goes through a table.
    async fn counted(&self, sql: &str) -> Result<i64, StoreError> {
        Self::first(&self.answered(self.waits.work, self.client.query_typed(sql, &[])).await?)
    }

    fn first(rows: &[Row]) -> Result<i64, StoreError> {
        rows.first().ok_or(StoreError::Corrupt("a count has no row"))?.try_get(0).map_err(failed)
    }

    async fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.query("SELECT value FROM respoked.meta WHERE key = $1", &[(&key, Type::TEXT)]).await?;
        rows.first().map(|row| row.try_get(0).map_err(failed)).transpose()
    }

    pub(super) async fn set_meta(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let sql = "INSERT INTO respoked.meta (key, value) VALUES ($1, $2)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.query(sql, &[(&key, Type::TEXT), (&value, Type::BYTEA)]).await.map(drop)
    }

    /// The key of the installation in a schema, if it is there.
    pub(super) async fn key_in(&self, schema: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let meta = format!("{}.meta", quoted(schema));
        let there = self.query("SELECT 1::bigint WHERE to_regclass($1) IS NOT NULL", &[(&meta, Type::TEXT)]).await?;
        if there.is_empty() {
            return Ok(None);
        }
        let rows = self.query(&format!("SELECT value FROM {meta} WHERE key = 'seal_key'"), &[]).await?;
        rows.first().map(|row| row.try_get(0).map_err(failed)).transpose()
    }

    async fn has_meta(&self) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('respoked.meta')";
        Ok(self.number(sql).await? > 0)
    }

    /// What is there.
    pub(super) async fn standing(&self) -> Result<Standing, StoreError> {
        if !self.has_meta().await? {
            return Ok(Standing::Nothing);
        }
        let [moved, unfinished, arrived] =
            [self.meta(MOVED).await?, self.meta(UNFINISHED).await?, self.meta(ARRIVED).await?];
        if let Some(mark) = unfinished {
            return Ok(Standing::Unfinished(Mark::read(&mark)));
        }
        let newest = newest_schema() as u64;
        let version = self.meta("schema").await?.and_then(|value| value.try_into().ok()).map_or(0, u64::from_be_bytes);
        if version != newest {
            return Err(refused(format!(
                "the database has schema {version}, and this respoked knows {newest}: bring it there first (respoked migrate), \
                 or use the respoked that made it"
            )));
        }
        let key = self.meta("seal_key").await?.ok_or(StoreError::Corrupt("the database holds no key of its tokens"))?;
        let [moved, arrived] = [moved, arrived].map(|mark| mark.as_deref().map(Mark::read));
        let marks = Box::new(Marks { moved, unfinished: None, arrived });
        let is_empty = marks.moved.is_none() && !self.has_accounts().await?;
        Ok(if is_empty { Standing::Empty } else { Standing::Whole { key, marks } })
    }
}

/// The tables, joined by commas.
fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("respoked.{name}")).collect::<Vec<_>>().join(", ")
}

fn all_tables() -> String {
    joined(TABLES.iter().map(|table| table.name))
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, StoreError> {
    row.try_get(at).map_err(failed)
}

fn columns(table: &Table) -> String {
    table.columns.iter().map(|column| format!("\"{}\"", column.server)).collect::<Vec<_>>().join(", ")
}

/// A name, as it stands in a statement.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
