//! The schema, and how a database comes to it. Migrations go forward only; one that was released is never edited.
//!
//! All of them run in one transaction under a lock that one process has at a time, so that of several that start at once one
//! migrates, and the others find it done. Whether there is something to do is looked at before, by statements that need no
//! right to change anything: who serves need not be who owns the schema.

use respoke_core::chance::Chance;

use super::connect::{Connection, params};
use super::failure::Failure;
use super::node_lives;
use super::rows::{Columns, one};
use super::unready::Unready;
use crate::marks::{self, Mark, Marks};

/// Each migration brings the database from its place in the list to the next.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/0001_token_service.sql"),
    include_str!("schema/0002_hub.sql"),
    include_str!("schema/0003_nodes.sql"),
    include_str!("schema/0004_carrier.sql"),
    include_str!("schema/0005_feed_age.sql"),
];

/// The oldest program that can work with the newest schema: the number of migrations that it knows at least. One that knows no
/// nodes would serve beside them unseen.
const MIN_READER: usize = 3;

/// How the mark of an installation that was moved is taken back.
pub(crate) const UNDO_MOVED: &str =
    "respoked migrate-store --take-back ADDRESS, the address of this database, as the role that owns its tables";

/// The newest schema.
pub(crate) const fn newest() -> usize {
    MIGRATIONS.len()
}

/// What those who migrate lock together: the name of the schema, in bytes.
pub(crate) const LOCK: i64 = i64::from_be_bytes(*b"respoked");

/// What a role may do who serves: everything that no change of the schema is.
const GRANTS: [&str; 5] = [
    "GRANT USAGE ON SCHEMA respoked TO %I",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA respoked TO %I",
    // What goes from node to node is emptied by whoever carries it.
    "GRANT TRUNCATE ON respoked.carrier_0, respoked.carrier_1, respoked.carrier_2 TO %I",
    "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA respoked TO %I",
    // Everybody may by default, which is often taken back.
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA respoked TO %I",
];

/// What a migration did.
#[derive(Debug)]
pub struct Migrated {
    /// The schema that it found; 0: none.
    pub from: usize,
    /// The schema that is there now.
    pub to: usize,
    /// The roles that may use it beside its owner.
    pub granted: Vec<String>,
}

/// How a database stands, for the role that asks.
pub(super) struct State {
    role: String,
    /// Whether the role may change the schema, or make it where there is none.
    pub(super) may_make: bool,
    /// Of what it may not use all that it has to, as a list.
    forbidden: Option<String>,
    version: usize,
    min_reader: usize,
    /// Why it is not to be served from, though all is there.
    marked: Option<String>,
    key: Option<[u8; 16]>,
}

impl State {
    pub(super) async fn read(connection: &Connection) -> Result<Self, Failure> {
        // By the catalog, which everybody may read: what is named is looked for only by those who may use it.
        const ASK: &str = "
            SELECT current_user::text,
                   coalesce(has_schema_privilege(n.oid, 'CREATE'), has_database_privilege(current_database(), 'CREATE')),
                   CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'anything' ELSE (
                       SELECT string_agg(lacking.name, ', ' ORDER BY lacking.name) FROM (
                           SELECT c.relname AS name FROM pg_catalog.pg_class c
                           WHERE c.relnamespace = n.oid AND NOT CASE c.relkind
                               WHEN 'S' THEN has_sequence_privilege(c.oid, 'USAGE')
                                         AND has_sequence_privilege(c.oid, 'UPDATE')
                               WHEN 'v' THEN has_table_privilege(c.oid, 'SELECT')
                               WHEN 'r' THEN has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                                         AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
                                         -- What nodes tell each other is emptied.
                                         AND (c.relpersistence <> 'u' OR has_table_privilege(c.oid, 'TRUNCATE'))
                               ELSE TRUE END
                           UNION ALL
                           -- What a trigger calls is called by whoever sets it off, with a right or without.
                           SELECT p.proname FROM pg_catalog.pg_proc p
                           WHERE p.pronamespace = n.oid AND p.prorettype <> 'trigger'::regtype
                             AND NOT has_function_privilege(p.oid, 'EXECUTE')
                       ) lacking
                   ) END,
                   EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'meta')
            FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'respoked'";
        let read = |columns: &mut Columns<'_>| {
            Ok((columns.next()?, columns.next()?, columns.next::<Option<String>>()?, columns.next()?))
        };
        let read = one(connection, ASK, &[], read).await?;
        let (role, may_make, forbidden, is_made) = read.ok_or(Failure::Row("the catalog is empty"))?;
        let mut state = Self { role, may_make, forbidden, version: 0, min_reader: 0, marked: None, key: None };
        if is_made && state.forbidden.is_none() {
            (state.version, state.min_reader) = versions(connection).await?;
            state.marked = marked(connection).await?;
            state.key = meta(connection, "seal_key").await?.and_then(|key| key.try_into().ok());
        }
        Ok(state)
    }

    /// Whether there is something to migrate.
    pub(super) const fn is_older(&self) -> bool {
        self.forbidden.is_none() && self.marked.is_none() && self.version < newest()
    }

    /// The schema that is there; 0: none. None: the role may not look at it.
    pub(super) fn version(&self) -> Option<usize> {
        self.forbidden.is_none().then_some(self.version)
    }

    /// The key of its tokens, if everything is there that has to be.
    pub(super) fn key(self) -> Result<Option<[u8; 16]>, Unready> {
        let (of, known) = (self.version, MIGRATIONS.len());
        if self.min_reader > known {
            return Err(Unready::Newer { of, known });
        }
        if let Some(why) = self.marked {
            return Err(Unready::Marked(why));
        }
        let role = self.role;
        match self.forbidden {
            Some(what) => Err(Unready::NoRights { role, what }),
            None if of < known && self.may_make => Err(Unready::Unmigrated { of, known }),
            None if of == 0 => Err(Unready::Absent { role }),
            None if of < known => Err(Unready::Older { of, known, role }),
            None => Ok(self.key),
        }
    }
}

/// Brings the database to the present schema, or finds that it is there. Whoever could use the schema can use all of it
/// afterwards, and so can `grant_to`.
pub(super) async fn migrate(
    connection: &Connection,
    chance: &dyn Chance,
    grant_to: Option<&str>,
) -> Result<Result<Migrated, Unready>, Failure> {
    // Whoever migrates may take long, and the others wait for it.
    connection
        .batch(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '1h';
             SET LOCAL idle_in_transaction_session_timeout = '1min'; SET LOCAL synchronous_commit = on",
        )
        .await?;
    connection.query("SELECT pg_advisory_xact_lock($1)", params![LOCK]).await?;
    // Whoever holds a table for long makes this fail, and nobody wait behind it.
    connection.batch("SET LOCAL lock_timeout = '3s'").await?;
    make_meta(connection).await?;
    let (from, min_reader) = versions(connection).await?;
    let known = newest();
    if min_reader > known {
        connection.batch("ROLLBACK").await?;
        return Ok(Err(Unready::Newer { of: from, known }));
    }
    for migration in MIGRATIONS.iter().skip(from) {
        connection.batch(migration).await?;
    }
    if from < known {
        node_lives::make_cluster(connection, chance).await?;
        set_meta(connection, "schema", &(known as u64).to_be_bytes()).await?;
        set_meta(connection, "min_reader", &(MIN_READER as u64).to_be_bytes()).await?;
    }
    if from == 0 {
        // Which history the numbers belong to; never negative. Number 1 stands for all that came before the feed.
        let epoch = i64::from_be_bytes(chance.bytes()) & i64::MAX;
        let sql = "INSERT INTO respoked.feed (one, epoch, head) VALUES (1, $1, 1)";
        connection.execute(sql, params![epoch]).await?;
        set_meta(connection, "seal_key", &chance.bytes::<16>()).await?;
    }
    let granted = grant(connection, grant_to).await?;
    connection.commit().await?;
    Ok(Ok(Migrated { from, to: from.max(known), granted }))
}

async fn make_meta(connection: &Connection) -> Result<(), Failure> {
    // `IF NOT EXISTS` would ask for the right to make schemas where there is nothing to make.
    let schema = "SELECT 1::bigint FROM pg_catalog.pg_namespace WHERE nspname = 'respoked'";
    if connection.query(schema, &[]).await?.is_empty() {
        connection.batch("CREATE SCHEMA respoked").await?;
    }
    let meta = "CREATE TABLE respoked.meta (key TEXT PRIMARY KEY, value BYTEA NOT NULL)";
    let there = "SELECT 1::bigint FROM pg_catalog.pg_class WHERE oid = to_regclass('respoked.meta')";
    if connection.query(there, &[]).await?.is_empty() {
        connection.batch(meta).await?;
    }
    Ok(())
}

/// Lets those use everything in the schema who may use the schema.
async fn grant(connection: &Connection, to: Option<&str>) -> Result<Vec<String>, Failure> {
    const GRANTED: &str = "SELECT r.rolname::text FROM pg_catalog.pg_namespace n, aclexplode(n.nspacl) a
                           JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
                           WHERE n.nspname = 'respoked' AND a.privilege_type = 'USAGE' AND a.grantee <> n.nspowner
                           ORDER BY 1";
    let mut roles = Vec::new();
    for row in connection.query(GRANTED, &[]).await? {
        roles.push(Columns::of(&row).next::<String>()?);
    }
    if let Some(to) = to
        && !roles.iter().any(|role| role == to)
    {
        roles.push(to.to_owned());
    }
    for role in &roles {
        for grant in GRANTS {
            for row in connection.query("SELECT format($1, $2)", params![grant, &role[..]]).await? {
                connection.batch(Columns::of(&row).next()?).await?;
            }
        }
    }
    Ok(roles)
}

/// The schema that is there, and the oldest program that can work with it.
async fn versions(connection: &Connection) -> Result<(usize, usize), Failure> {
    let version = meta_number(connection, "schema").await?.unwrap_or(0);
    Ok((version, meta_number(connection, "min_reader").await?.unwrap_or(0)))
}

pub(super) async fn meta(connection: &Connection, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let sql = "SELECT value FROM respoked.meta WHERE key = $1";
    one(connection, sql, params![key], |columns| Ok(columns.next::<&[u8]>()?.to_vec())).await
}

/// Why the database is not to be served from.
pub(super) async fn marked(connection: &Connection) -> Result<Option<String>, Failure> {
    let (moved, unfinished) = (mark(connection, marks::MOVED).await?, mark(connection, marks::UNFINISHED).await?);
    Ok(Marks { moved, unfinished, arrived: None }.refusal(UNDO_MOVED))
}

async fn mark(connection: &Connection, key: &str) -> Result<Option<Mark>, Failure> {
    Ok(meta(connection, key).await?.as_deref().map(Mark::read))
}

async fn meta_number(connection: &Connection, key: &str) -> Result<Option<usize>, Failure> {
    let Some(value) = meta(connection, key).await? else { return Ok(None) };
    let number = value.try_into().ok().map(u64::from_be_bytes).and_then(|number| usize::try_from(number).ok());
    number.map(Some).ok_or(Failure::Row("a number of the schema is none"))
}

pub(super) async fn set_meta(connection: &Connection, key: &str, value: &[u8]) -> Result<(), Failure> {
    let sql =
        "INSERT INTO respoked.meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.execute(sql, params![key, value]).await.map(drop)
}
