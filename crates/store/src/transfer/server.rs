//! The side that is a PostgreSQL server: one connection, on which nothing ends a long statement but the end of the network.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::ports::StoreError;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, CopyOutStream, NoTls, Row};
use tokio_util::task::TaskTracker;

use super::contents::{Contents, Tally, failed, refused};
use super::file::Rows;
use super::rows::{HEADER, Splitter, Sum, Summing, TRAILER};
use super::tables::{SEQUENCES, TABLES, Table};
use crate::marks::{ARRIVED, MOVED, Mark, Marks, UNFINISHED};
use crate::postgres::{APPLICATION as NODES, FIRST_RUN_LOCK, MIGRATION_LOCK, Options, newest_schema};
use crate::sqlite::{UNDONE_MAX, UndoneChange, withdrawals};

/// What the connection is called in the server's lists of them. Not as nodes call theirs.
const APPLICATION: &str = "respoked transfer";
/// How long a connection is tried for, the greeting included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After which silence the other machine is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unconfirmed by the other machine.
const UNCONFIRMED_TIMEOUT: Duration = Duration::from_secs(60);
/// How many numbers of the log may be given to what is not committed yet: a few batches of all nodes.
const UNDER_WAY: i64 = 10_000;
/// Rows that one COPY takes.
const COPY_ROWS: u64 = 200_000;

/// What those lock together who fill a server. A pooler may lead each transaction elsewhere, so each locks it anew.
const TRANSFER_LOCK: i64 = i64::from_be_bytes(*b"transfer");
/// How long the connections of a node that was stopped are waited for, and how often it is looked.
const NODES_END_WITHIN: Duration = Duration::from_secs(5);
const NODES_LOOKED_AFTER: Duration = Duration::from_millis(50);

/// What each transaction here says of itself: nothing ends a long statement, or the connection while the other side works.
/// Who waits for a lock waits behind transactions of nodes, which are short.
const SETTINGS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
                        SET LOCAL lock_timeout = '10s'";
/// That what is committed is on disk, whatever the role's settings say.
const DURABLE: &str =
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'";

/// What all apps keep, as it costs there.
const COUNT_KEPT: &str = "
    DELETE FROM respoked.kept_bytes;
    INSERT INTO respoked.kept_bytes (app_id, bytes)
    SELECT app_id, sum(bytes) FROM (
        SELECT coalesce(g.app_id, e.app_id), respoked.message_cost(m.sender, m.event) FROM respoked.messages m
        LEFT JOIN respoked.message_groups g ON g.number = m.group_number
        LEFT JOIN respoked.ended_groups e ON e.number = m.group_number
        UNION ALL SELECT app_id, respoked.group_cost(name) FROM respoked.message_groups
        UNION ALL SELECT app_id, respoked.conversation_cost(endpoint) FROM respoked.conversations
        UNION ALL SELECT app_id, respoked.push_token_cost(text, endpoint) FROM respoked.push_tokens
        UNION ALL SELECT app_id, respoked.call_report_cost(report, endpoint) FROM respoked.call_reports
    ) AS kept (app_id, bytes) WHERE app_id IS NOT NULL GROUP BY app_id";

/// What a server holds.
pub(super) enum Standing {
    /// No schema.
    Nothing,
    /// A schema without an account.
    Empty,
    /// A copy that is not finished. It may have no tables yet.
    Unfinished(Mark),
    /// An installation.
    Whole { key: Vec<u8>, marks: Marks },
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
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is under way on it is rolled back at once.
        self.driving.abort();
    }
}

impl Server {
    pub(super) async fn connect(options: &Options, attrs: TargetSessionAttrs) -> Result<Self, StoreError> {
        let (mut config, tls) = options.tls.clone().with(options.config.clone());
        config
            .application_name(APPLICATION)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(UNCONFIRMED_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE)
            .target_session_attrs(attrs);
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
                .map(|(client, driving)| Self { client, driving })
                .map_err(|error: tokio_postgres::Error| failed(error)),
            Err(_) => Err(refused("the database did not answer while it was connected to")),
        }
    }

    pub(super) async fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.client.batch_execute(sql).await.map_err(failed)
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, StoreError> {
        self.client.query_typed(sql, params).await.map_err(failed)
    }

    /// The one number that a statement tells.
    pub(super) async fn number(&self, sql: &str) -> Result<i64, StoreError> {
        let rows = self.query(sql, &[]).await?;
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

    /// What is there.
    pub(super) async fn standing(&self) -> Result<Standing, StoreError> {
        let there = "SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('respoked.meta')";
        if self.number(there).await? == 0 {
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
        let marks = Marks { moved, unfinished: None, arrived };
        let is_empty = marks.moved.is_none() && !self.has_accounts().await?;
        Ok(if is_empty { Standing::Empty } else { Standing::Whole { key, marks } })
    }

    /// Fails if the role is not the tables' owner: to fill them at once, and to mark them, nobody else may.
    pub(super) async fn check_owner(&self) -> Result<(), StoreError> {
        let sql = "SELECT count(*) FROM pg_catalog.pg_tables
                   WHERE schemaname = 'respoked' AND NOT pg_has_role(tableowner, 'USAGE')";
        if self.number(sql).await? == 0 {
            return Ok(());
        }
        Err(refused("the role does not own the tables of respoked: name the role that made them (respoked migrate)"))
    }

    /// How many connections nodes have to it. A pooler adds more to their name.
    async fn nodes(&self) -> Result<i64, StoreError> {
        let sql = format!(
            "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
             AND (application_name = '{NODES}' OR application_name LIKE '{NODES} - %')"
        );
        self.number(&sql).await
    }

    /// Waits a little for what is left of a node that was stopped. Fails if one serves from there.
    pub(super) async fn wait_until_unused(&self) -> Result<(), StoreError> {
        let since = Instant::now();
        while self.nodes().await? > 0 && since.elapsed() < NODES_END_WITHIN {
            tokio::time::sleep(NODES_LOOKED_AFTER).await;
        }
        self.check_unused().await
    }

    /// Fails if a node serves from there, as far as is known: it has connections, and one that does upkeep has a lease.
    async fn check_unused(&self) -> Result<(), StoreError> {
        self.check_lease().await?;
        match self.nodes().await? {
            0 => Ok(()),
            connections => Err(refused(format!(
                "a respoked has {connections} connections to it, and serves from it or works on it: stop all of them first. A \
                 pooler may hold connections of one that was stopped (PgBouncer: RECONNECT)"
            ))),
        }
    }

    async fn check_lease(&self) -> Result<(), StoreError> {
        let Some(lease) = self.meta("upkeep").await? else { return Ok(()) };
        let until = lease.last_chunk().filter(|_| lease.len() > 8).map_or(0, |until| i64::from_be_bytes(*until));
        let now = self.number("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").await?;
        match until.saturating_sub(now) {
            ..=0 => Ok(()),
            left => Err(refused(format!(
                "a respoked serves from it: stop all of them first. One that was killed counts for {} more seconds",
                left / 1_000 + 1
            ))),
        }
    }

    async fn has_meta(&self) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('respoked.meta')";
        Ok(self.number(sql).await? > 0)
    }

    /// Waits for a lock that is held until the transaction's end.
    async fn lock(&self, lock: i64) -> Result<(), StoreError> {
        let sql = format!("SELECT pg_advisory_xact_lock({lock})");
        self.client.batch_execute(&sql).await.map_err(|error| match error.code() {
            Some(&SqlState::LOCK_NOT_AVAILABLE) => refused("another move, restore or migration is at work on it"),
            _ => failed(error),
        })
    }

    /// Takes the database for the copy that the mark tells of. What it holds is nothing, an unfinished copy, or goes by the name
    /// `aside` from now on. Whatever ends this, nobody takes what is there for an installation, or makes a new one.
    pub(super) async fn claim(&self, mark: &Mark, aside: Option<&str>) -> Result<Claimed, StoreError> {
        if self.has_meta().await? {
            self.check_owner().await?;
            self.wait_until_unused().await?;
        }
        self.batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {SETTINGS}; {DURABLE}")).await?;
        for lock in [TRANSFER_LOCK, MIGRATION_LOCK, FIRST_RUN_LOCK] {
            self.lock(lock).await?;
        }
        // What was seen before may be otherwise by now. From here on nobody takes the lease, or begins a first run.
        let there = self.has_meta().await?;
        if there {
            let mode = if aside.is_some() { "ACCESS EXCLUSIVE" } else { "SHARE ROW EXCLUSIVE" };
            self.batch(&format!("LOCK TABLE respoked.meta IN {mode} MODE")).await?;
            self.check_unused().await?;
        }
        let claimed = match (self.standing().await?, aside) {
            (Standing::Nothing | Standing::Empty, None) => Claimed::Nothing,
            (Standing::Unfinished(found), None) if found.of == mark.of => Claimed::Unfinished,
            (Standing::Whole { .. }, Some(aside)) => {
                self.batch(&format!("ALTER SCHEMA respoked RENAME TO {aside}")).await?;
                Claimed::Nothing
            }
            _ => return Err(refused("somebody began to put another installation there meanwhile")),
        };
        if self.number("SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'respoked'").await? == 0 {
            self.batch("CREATE SCHEMA respoked").await?;
        }
        if !there || aside.is_some() {
            self.batch("CREATE TABLE respoked.meta (key TEXT PRIMARY KEY, value BYTEA NOT NULL)").await?;
        }
        self.set_meta(UNFINISHED, &mark.bytes()).await?;
        self.batch("COMMIT").await?;
        Ok(claimed)
    }

    /// Begins a transaction on the copy that was claimed with the mark. Fails if another has claimed it since; until the
    /// transaction's end nobody does.
    async fn begin_on(&self, mark: &Mark) -> Result<(), StoreError> {
        self.batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {SETTINGS}; {DURABLE}")).await?;
        self.lock(TRANSFER_LOCK).await?;
        let sql = "SELECT 1::bigint FROM respoked.meta WHERE key = $1 AND value = $2 FOR UPDATE";
        let mine = self.query(sql, &[(&UNFINISHED, Type::TEXT), (&mark.bytes(), Type::BYTEA)]).await?;
        if mine.is_empty() { Err(self.taken_over().await) } else { Ok(()) }
    }

    async fn taken_over(&self) -> StoreError {
        // Should that fail, it is rolled back with the connection.
        let _ = self.batch("ROLLBACK").await;
        refused(
            "another move or restore took the unfinished copy over, or somebody removed it: nothing more was done to it",
        )
    }

    /// Gives the copy the key of the installation. Its tables are there by now.
    pub(super) async fn set_key(&self, mark: &Mark, key: &[u8]) -> Result<(), StoreError> {
        self.begin_on(mark).await?;
        match self.meta("schema").await?.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes) {
            Some(version) if version == newest_schema() as u64 => {
                self.set_meta("seal_key", key).await?;
                self.batch("COMMIT").await
            }
            _ => Err(refused(
                "another respoked began the unfinished copy: remove what is there of it (DROP SCHEMA respoked CASCADE) and begin anew",
            )),
        }
    }

    /// Fills a table that is empty, or holds something else.
    pub(super) async fn fill(
        &self,
        mark: &Mark,
        table: &Table,
        mut rows: Rows<'_>,
        tally: &Tally,
    ) -> Result<(), StoreError> {
        self.begin_on(mark).await?;
        // Nothing is counted row by row: it is counted at the end.
        self.batch(&format!("TRUNCATE respoked.{0}; ALTER TABLE respoked.{0} DISABLE TRIGGER USER", table.name))
            .await?;
        let sql = format!("COPY respoked.{} ({}) FROM STDIN (FORMAT binary)", table.name, columns(table));
        let mut whole = false;
        while !whole {
            let mut sink = pin!(self.client.copy_in::<_, Bytes>(&sql).await.map_err(failed)?);
            let (mut piece, mut copied) = (BytesMut::from(HEADER), 0);
            while copied < COPY_ROWS {
                let read = rows.put_piece(&mut piece, COPY_ROWS - copied)?;
                if read == 0 {
                    whole = true;
                    break;
                }
                copied += read;
                sink.send(piece.split().freeze()).await.map_err(failed)?;
                tally.add(read);
            }
            piece.extend_from_slice(TRAILER);
            sink.send(piece.freeze()).await.map_err(failed)?;
            sink.finish().await.map_err(failed)?;
        }
        self.batch(&format!("ALTER TABLE respoked.{0} ENABLE TRIGGER USER; COMMIT; ANALYZE respoked.{0}", table.name))
            .await
    }

    pub(super) async fn has_accounts(&self) -> Result<bool, StoreError> {
        Ok(self.number("SELECT count(*) FROM (SELECT FROM respoked.accounts LIMIT 1) AS first").await? > 0)
    }

    /// Whether a table has rows.
    pub(super) async fn has_rows(&self, table: &Table) -> Result<bool, StoreError> {
        Ok(self.number(&format!("SELECT count(*) FROM (SELECT FROM respoked.{} LIMIT 1) AS first", table.name)).await?
            > 0)
    }

    /// Counts what is kept, and has the sequences go on behind the numbers that were given.
    pub(super) async fn round_off(&self, mark: &Mark, numbers: &[i64]) -> Result<(), StoreError> {
        self.begin_on(mark).await?;
        self.batch(COUNT_KEPT).await?;
        for (sequence, given) in SEQUENCES.iter().zip(numbers) {
            let sql = format!("SELECT setval('respoked.{}', greatest($1, 1), $1 > 0)", sequence.name);
            self.query(&sql, &[(given, Type::INT8)]).await?;
        }
        self.batch("COMMIT").await
    }

    /// Begins to compare the copy. Nobody writes to it, or claims it, until [`Self::finish`].
    pub(super) async fn begin_comparing(&self, mark: &Mark) -> Result<(), StoreError> {
        self.begin_on(mark).await?;
        self.batch(&format!("LOCK TABLE {} IN SHARE MODE", all_tables())).await
    }

    /// Ends the copy, and what [`Self::begin_comparing`] began: from now on it is an installation.
    pub(super) async fn finish(&self, mark: &Mark) -> Result<(), StoreError> {
        self.query("DELETE FROM respoked.meta WHERE key = $1", &[(&ARRIVED, Type::TEXT)]).await?;
        let sql = "UPDATE respoked.meta SET key = $1 WHERE key = $2 AND value = $3 RETURNING 1::bigint";
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&ARRIVED, Type::TEXT), (&UNFINISHED, Type::TEXT), (&mark.bytes(), Type::BYTEA)];
        if self.query(sql, &params).await?.len() != 1 {
            return Err(self.taken_over().await);
        }
        self.client.batch_execute("COMMIT").await.map_err(|error| StoreError::InDoubt(Box::new(error)))
    }

    /// Begins to read, all of it as it is at one moment.
    pub(super) async fn begin_reading(&self) -> Result<(), StoreError> {
        self.batch(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {SETTINGS}")).await
    }

    /// The same, and nobody writes to it, or takes the lease, until the end. Fails if a node serves from there.
    pub(super) async fn begin_leaving(&self) -> Result<(), StoreError> {
        // The locks come before the first look: what is seen is what nobody changes any more.
        let lock = format!("LOCK TABLE {}, respoked.meta IN SHARE ROW EXCLUSIVE MODE", all_tables());
        self.batch(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {SETTINGS}; {lock}")).await?;
        self.check_unused().await
    }

    /// Ends what only read.
    pub(super) async fn end_reading(&self) -> Result<(), StoreError> {
        self.batch("COMMIT").await
    }

    /// Marks the installation as moved and ends what [`Self::begin_leaving`] began. A node that runs all the same writes
    /// nothing any more.
    pub(super) async fn leave(&self, mark: &Mark) -> Result<(), StoreError> {
        let mut sql = format!(
            "{DURABLE};
             CREATE FUNCTION respoked.refuse_moved() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN RAISE EXCEPTION 'this installation was moved elsewhere (SELECT convert_from(value, ''UTF8'') FROM respoked.meta
             WHERE key = ''{MOVED}'')'; END $$;"
        );
        sql.extend(TABLES.iter().map(|table| {
            format!(
                "CREATE TRIGGER moved BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON respoked.{}
                 FOR EACH STATEMENT EXECUTE FUNCTION respoked.refuse_moved();",
                table.name
            )
        }));
        self.batch(&sql).await?;
        self.set_meta(MOVED, &mark.bytes()).await?;
        self.client.batch_execute("COMMIT").await.map_err(|error| StoreError::InDoubt(Box::new(error)))
    }

    /// The greatest number that each sequence has given.
    pub(super) async fn numbers(&self) -> Result<Vec<i64>, StoreError> {
        let mut numbers = Vec::new();
        for sequence in SEQUENCES {
            let sql = format!(
                "SELECT greatest((SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM respoked.{}),
                                 (SELECT max(number) FROM respoked.{}))",
                sequence.name, sequence.table
            );
            numbers.push(self.number(&sql).await?);
        }
        Ok(numbers)
    }

    /// How many rows there are, by table.
    pub(super) async fn counts(&self) -> Result<Vec<(&'static str, u64)>, StoreError> {
        let mut counts = Vec::new();
        for table in TABLES {
            let sql = format!("SELECT count(*) FROM respoked.{}", table.name);
            counts.push((table.name, self.number(&sql).await?.cast_unsigned()));
        }
        Ok(counts)
    }

    /// What was withdrawn there, oldest first, of numbers that `is_known` does not know.
    pub(super) async fn withdrawn(
        &self,
        after: i64,
        is_known: impl Fn(i64) -> Result<bool, StoreError>,
    ) -> Result<Vec<UndoneChange>, StoreError> {
        let codes: Vec<i64> = withdrawals().collect();
        // What was under way at the backup may have a lower number than what was in it.
        let after = after.saturating_sub(UNDER_WAY);
        let sql = "SELECT number, at, action, object FROM respoked.audit WHERE number > $1 AND action = ANY($2)
                   ORDER BY number LIMIT $3";
        let most = UNDER_WAY + i64::try_from(UNDONE_MAX).unwrap_or(i64::MAX);
        let rows = self.query(sql, &[(&after, Type::INT8), (&codes, Type::INT8_ARRAY), (&most, Type::INT8)]).await?;
        let mut undone = Vec::new();
        for row in rows {
            let (number, at, code): (i64, i64, i64) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
            if let Some(action) = Action::from_code(code)
                && undone.len() < UNDONE_MAX
                && !is_known(number)?
            {
                undone.push(UndoneChange { at: Timestamp::from_millis(at), action, object: get(&row, 3)? });
            }
        }
        Ok(undone)
    }

    /// What is there.
    pub(super) async fn contents(&self, tally: &Tally) -> Result<Contents, StoreError> {
        let mut sums = Vec::new();
        for table in TABLES {
            sums.push(self.sum(table, tally).await?);
        }
        Ok(Contents { sums })
    }

    pub(super) async fn sum(&self, table: &Table, tally: &Tally) -> Result<Sum, StoreError> {
        let (mut stream, mut summing) = (self.read(table).await?, Summing::default());
        while let Some(row) = stream.next().await? {
            summing.take(1, &row);
            tally.add(1);
        }
        Ok(summing.sum())
    }

    /// Begins to read a table, in its order.
    pub(super) async fn read(&self, table: &Table) -> Result<Reading, StoreError> {
        let order: Vec<_> = table.order.iter().map(|name| format!("\"{name}\"")).collect();
        let sql = format!(
            "COPY (SELECT {} FROM respoked.{} ORDER BY {}) TO STDOUT (FORMAT binary)",
            columns(table),
            table.name,
            order.join(", ")
        );
        Ok(Reading {
            stream: Box::pin(self.client.copy_out(&sql).await.map_err(failed)?),
            splitter: Splitter::default(),
        })
    }
}

fn all_tables() -> String {
    TABLES.iter().map(|table| format!("respoked.{}", table.name)).collect::<Vec<_>>().join(", ")
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, StoreError> {
    row.try_get(at).map_err(failed)
}

fn columns(table: &Table) -> String {
    table.columns.iter().map(|column| format!("\"{}\"", column.server)).collect::<Vec<_>>().join(", ")
}

/// Rows of a table, as they come.
pub(super) struct Reading {
    stream: std::pin::Pin<Box<CopyOutStream>>,
    splitter: Splitter,
}

impl Reading {
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if let Some(row) = self.splitter.next().map_err(refused)? {
                return Ok(Some(row));
            }
            match self.stream.next().await {
                Some(piece) => self.splitter.take(&piece.map_err(failed)?),
                None if self.splitter.is_over() => return Ok(None),
                None => return Err(refused("what the database sends ends in the middle")),
            }
        }
    }
}
