//! What keeps others away from a server until a move or a restore is over, and what it says of itself meanwhile and afterwards.

use std::time::Duration;

use respoke_core::chance::Chance;
use respoke_core::ports::StoreError;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::{Claimed, DURABLE, SETTINGS, Server, Standing, Task, all_tables, get, joined, quoted};
use crate::marks::{MOVED, Mark, UNFINISHED};
use crate::postgres::{APPLICATION as NODES, FIRST_RUN_LOCK, LEFT, MIGRATION_LOCK};
use crate::transfer::contents::refused;
use crate::transfer::tables::{TABLES, left};

/// What those lock together who fill a server. A pooler may lead each transaction elsewhere, so each locks it anew.
const TRANSFER_LOCK: i64 = i64::from_be_bytes(*b"transfer");
/// How long the connections of a node that was stopped are waited for, and how often it is looked.
const NODES_END_WITHIN: Duration = Duration::from_secs(5);
const NODES_LOOKED_AFTER: Duration = Duration::from_millis(50);
/// That what is committed is on the disks of those standbys too that are to be waited for: one that was promoted without the mark
/// of a source that left would be served from.
const REPLICATED: &str = "SELECT set_config('synchronous_commit', 'on', true)
                          WHERE current_setting('synchronous_commit') <> 'remote_apply'";

impl Server {
    /// Fails if the role may not do all of a task. Nobody but the owner of a table may fill it at once or keep others from writing
    /// to it.
    pub(in crate::transfer) async fn check_rights(&self, task: Task) -> Result<(), StoreError> {
        const ASK: &str = "
            SELECT current_user::text, n.oid IS NOT NULL, has_database_privilege(current_database(), 'CREATE'),
                   coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE'), FALSE),
                   coalesce(pg_has_role(n.nspowner, 'USAGE'), FALSE),
                   NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'S', 'v')
                               AND NOT pg_has_role(c.relowner, 'USAGE')),
                   EXISTS (SELECT FROM pg_catalog.pg_language l WHERE l.lanname = 'plpgsql'
                           AND has_language_privilege(l.oid, 'USAGE'))
            FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'respoked'";
        let rows = self.query(ASK, &[]).await?;
        let row = rows.first().ok_or(StoreError::Corrupt("the catalog is empty"))?;
        let role: String = get(row, 0)?;
        let may = |at| get::<bool>(row, at);
        let (is_there, makes_schemas, makes_in_it, owns_it, owns_all, has_language) =
            (may(1)?, may(2)?, may(3)?, may(4)?, may(5)?, may(6)?);
        let lacks = match task {
            _ if !has_language => "use the language plpgsql",
            Task::Fill if !is_there && !makes_schemas => "make a schema in the database (GRANT CREATE ON DATABASE)",
            Task::Replace if !makes_schemas => "make a schema in the database (GRANT CREATE ON DATABASE)",
            Task::Replace if is_there && !owns_it => {
                "give the schema respoked another name, because it does not own it"
            }
            _ if is_there && !owns_all => "work on the tables of respoked, because it does not own them",
            _ if is_there && !makes_in_it => "make anything in the schema respoked (GRANT USAGE, CREATE ON SCHEMA)",
            Task::Fill | Task::Replace | Task::Mark => return Ok(()),
        };
        Err(refused(format!("the role {role} may not {lacks}: name the role that made them (respoked migrate)")))
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
    pub(in crate::transfer) async fn wait_until_unused(&self) -> Result<(), StoreError> {
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

    /// Waits for a lock that is held until the transaction's end.
    async fn lock(&self, lock: i64) -> Result<(), StoreError> {
        let sql = format!("SELECT pg_advisory_xact_lock({lock})");
        let locking = async {
            match self.client.batch_execute(&sql).await {
                Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
                locked => locked.map(|()| true),
            }
        };
        if self.answered(self.waits.look, locking).await? {
            Ok(())
        } else {
            Err(refused("another move, restore or migration is at work on it"))
        }
    }

    /// Takes the database for the copy that the mark tells of. What it holds is nothing, an unfinished copy, or goes by another
    /// name from now on, if the task is to replace it: by the one in the mark. Whatever ends this, nobody takes what is there for an
    /// installation, or makes a new one.
    pub(in crate::transfer) async fn claim(&self, mark: &Mark, task: Task) -> Result<Claimed, StoreError> {
        if self.has_meta().await? {
            self.wait_until_unused().await?;
        }
        self.batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {SETTINGS}; {DURABLE}")).await?;
        for lock in [TRANSFER_LOCK, MIGRATION_LOCK, FIRST_RUN_LOCK] {
            self.lock(lock).await?;
        }
        // What was seen before may be otherwise by now. From here on nobody takes the lease, or begins a first run.
        let there = self.has_meta().await?;
        if there {
            let mode = if task == Task::Replace { "ACCESS EXCLUSIVE" } else { "SHARE ROW EXCLUSIVE" };
            self.batch(&format!("LOCK TABLE respoked.meta IN {mode} MODE")).await?;
            self.check_unused().await?;
        }
        let claimed = match (self.standing().await?, task, &mark.aside) {
            (Standing::Nothing | Standing::Empty, Task::Fill, None) => Claimed::Nothing,
            (Standing::Unfinished(found), Task::Fill, aside) if found.of == mark.of && found.aside == *aside => {
                Claimed::Unfinished
            }
            (Standing::Whole { .. }, Task::Replace, Some(aside)) => {
                self.batch(&format!("ALTER SCHEMA respoked RENAME TO {}", quoted(aside))).await?;
                Claimed::Nothing
            }
            _ => return Err(refused("somebody began to put another installation there meanwhile")),
        };
        if self.number("SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'respoked'").await? == 0 {
            self.batch("CREATE SCHEMA respoked").await?;
        }
        if !there || task == Task::Replace {
            self.batch("CREATE TABLE respoked.meta (key TEXT PRIMARY KEY, value BYTEA NOT NULL)").await?;
        }
        self.set_meta(UNFINISHED, &mark.bytes()).await?;
        self.commit().await?;
        Ok(claimed)
    }

    /// Begins a transaction on the copy that was claimed with the mark. Fails if another has claimed it since; until the
    /// transaction's end nobody does.
    pub(super) async fn begin_on(&self, mark: &Mark) -> Result<(), StoreError> {
        self.batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {SETTINGS}; {DURABLE}")).await?;
        self.lock(TRANSFER_LOCK).await?;
        let sql = "SELECT 1::bigint FROM respoked.meta WHERE key = $1 AND value = $2 FOR UPDATE";
        let mine = self.query(sql, &[(&UNFINISHED, Type::TEXT), (&mark.bytes(), Type::BYTEA)]).await?;
        if mine.is_empty() { Err(self.taken_over().await) } else { Ok(()) }
    }

    pub(super) async fn taken_over(&self) -> StoreError {
        // Should that fail, it is rolled back with the connection.
        let _ = self.batch("ROLLBACK").await;
        refused(
            "another move or restore took the unfinished copy over, or somebody removed it: nothing more was done to it",
        )
    }

    /// Begins to read, all of it as it is at one moment. Nobody writes to it, or takes the lease, until the end. Fails if a node
    /// serves from there.
    pub(in crate::transfer) async fn begin_leaving(&self) -> Result<(), StoreError> {
        // The locks come before the first look: what is seen is what nobody changes any more.
        self.batch(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {SETTINGS}")).await?;
        self.lock_all().await?;
        self.check_unused().await
    }

    /// Keeps everybody from writing to any table until the transaction's end.
    async fn lock_all(&self) -> Result<(), StoreError> {
        let others = joined(left::TABLES.iter().copied());
        self.work(&format!("LOCK TABLE {}, {others} IN SHARE ROW EXCLUSIVE MODE", all_tables())).await
    }

    /// Marks the installation as moved and ends what [`Self::begin_leaving`] began. A node that runs all the same reads and writes
    /// nothing any more: each table refuses what is written, and where the server stands cannot be read. One that does not ask where
    /// it stands reads until it is to renew the lease of upkeep.
    pub(in crate::transfer) async fn leave(&self, mark: &Mark) -> Result<(), StoreError> {
        self.batch(REPLICATED).await?;
        self.set_meta(MOVED, &mark.bytes()).await?;
        let mut sql = format!(
            "UPDATE respoked.meta SET value = value || '{LEFT}'::bytea WHERE key = 'lineage';
             CREATE OR REPLACE FUNCTION respoked.refuse_moved() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN RAISE EXCEPTION 'this installation was moved elsewhere (SELECT convert_from(value, ''UTF8'') FROM respoked.meta
             WHERE key = ''{MOVED}'')'; END $$;"
        );
        // Behind all that is written to them.
        sql.extend(TABLES.iter().map(|table| table.name).chain(left::TABLES.iter().copied()).map(|table| {
            format!(
                "CREATE TRIGGER moved BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON respoked.{table}
                 FOR EACH STATEMENT EXECUTE FUNCTION respoked.refuse_moved();"
            )
        }));
        self.work(&sql).await?;
        self.commit().await
    }

    /// Takes the mark of an installation that was moved back, and returns it. What follows is another history. What was redeemed
    /// elsewhere is not known here: tokens that were not redeemed are spent, and the keys of their mints are forgotten. Admins sign in
    /// anew, and links with which they set a password are good no more. Fails if a node serves from there: it would be one that did not notice that the installation left.
    pub(in crate::transfer) async fn take_back(&self, chance: &dyn Chance) -> Result<Mark, StoreError> {
        if self.has_meta().await? {
            self.wait_until_unused().await?;
        }
        self.batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {SETTINGS}; {REPLICATED}")).await?;
        for lock in [TRANSFER_LOCK, MIGRATION_LOCK] {
            self.lock(lock).await?;
        }
        self.lock_all().await?;
        self.check_unused().await?;
        let Some(mark) = self.meta(MOVED).await? else {
            return Err(refused("it is not marked as moved: there is nothing to take back"));
        };
        let drawn = || i64::from_be_bytes(chance.bytes()) & i64::MAX;
        let sql = format!(
            "DROP FUNCTION IF EXISTS respoked.refuse_moved() CASCADE;
             DELETE FROM respoked.meta WHERE key = '{MOVED}';
             UPDATE respoked.meta SET value = substring(value FROM 1 FOR octet_length(value) - octet_length('{LEFT}'))
             WHERE key = 'lineage' AND encode(value, 'escape') LIKE '%{LEFT}';
             UPDATE respoked.message_groups SET epoch = epoch # {};
             UPDATE respoked.feed SET epoch = {}, head = head + 1;
             DELETE FROM respoked.changes;
             UPDATE respoked.apps SET tokens_from = (SELECT head FROM respoked.feed);
             DELETE FROM respoked.idempotency WHERE octet_length(object) = 8;
             DELETE FROM respoked.setup_tokens;
             DELETE FROM respoked.admin_sessions",
            drawn(),
            drawn()
        );
        self.work(&sql).await?;
        self.commit().await?;
        Ok(Mark::read(&mark))
    }
}
