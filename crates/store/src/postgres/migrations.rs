//! The schema, and how a database comes to it. Migrations go forward only; one that was released is never edited.
//!
//! All of them run in one transaction under a lock that one process has at a time, so that of several that start at once one
//! migrates, and the others find it done.

use respoke_core::chance::Chance;
use respoke_core::ports::StoreError;

use super::connect::{Connection, params};
use super::failure::Failure;
use super::rows::one;
use crate::marks::{self, Mark, Marks};

/// Each migration brings the database from its place in the list to the next.
const MIGRATIONS: &[&str] = &[include_str!("schema/0001_token_service.sql"), include_str!("schema/0002_hub.sql")];

/// The oldest program that can work with the newest schema: the number of migrations that it knows at least.
const MIN_READER: usize = 2;

/// How the mark of an installation that was moved is taken back, with what refuses writes.
pub(crate) const UNDO_MOVED: &str =
    "DROP FUNCTION respoked.refuse_moved() CASCADE; DELETE FROM respoked.meta WHERE key = 'moved'";

/// The newest schema.
pub(crate) const fn newest() -> usize {
    MIGRATIONS.len()
}

/// What those who migrate lock together: the name of the schema, in bytes.
const LOCK: i64 = i64::from_be_bytes(*b"respoked");

/// Brings the database to the present schema, or finds that it is there, and returns the key of its tokens.
pub(super) async fn migrate(connection: &Connection, chance: &dyn Chance) -> Result<[u8; 16], StoreError> {
    match in_transaction(connection, chance).await {
        Ok(ready) => ready,
        Err(failure @ Failure::Lost(_)) => Err(failure.in_doubt()),
        Err(failure) => Err(failure.nothing_written()),
    }
}

async fn in_transaction(connection: &Connection, chance: &dyn Chance) -> Result<Result<[u8; 16], StoreError>, Failure> {
    // Whoever holds a table for long makes this fail, and nobody wait behind it.
    connection.batch("BEGIN; SET LOCAL lock_timeout = '3s'").await?;
    connection.query("SELECT pg_advisory_xact_lock($1)", params![LOCK]).await?;
    let there = "SELECT 1::bigint FROM pg_catalog.pg_class WHERE oid = to_regclass('respoked.meta')";
    if connection.query(there, &[]).await?.is_empty() {
        connection
            .batch(
                "CREATE SCHEMA IF NOT EXISTS respoked;
                 CREATE TABLE respoked.meta (key TEXT PRIMARY KEY, value BYTEA NOT NULL)",
            )
            .await?;
    }
    let version = meta_number(connection, "schema").await?.unwrap_or(0);
    let min_reader = meta_number(connection, "min_reader").await?.unwrap_or(0);
    let newest = MIGRATIONS.len();
    if min_reader > newest {
        connection.batch("ROLLBACK").await?;
        return Ok(Err(StoreError::Unavailable(
            format!("the database has schema {version}, made by a newer respoked; this one knows {newest}").into(),
        )));
    }
    for migration in MIGRATIONS.iter().skip(version) {
        connection.batch(migration).await?;
    }
    if version < newest {
        set_meta(connection, "schema", &(newest as u64).to_be_bytes()).await?;
        set_meta(connection, "min_reader", &(MIN_READER as u64).to_be_bytes()).await?;
    }
    let marks =
        Marks { moved: mark(connection, marks::MOVED).await?, unfinished: mark(connection, marks::UNFINISHED).await? };
    if let Some(why) = marks.refusal(UNDO_MOVED) {
        connection.batch("ROLLBACK").await?;
        return Ok(Err(StoreError::Unavailable(why.into())));
    }
    if version == 0 {
        // Which history the numbers belong to; never negative. Number 1 stands for all that came before the feed.
        let epoch = i64::from_be_bytes(chance.bytes()) & i64::MAX;
        let sql = "INSERT INTO respoked.feed (one, epoch, head) VALUES (1, $1, 1)";
        connection.execute(sql, params![epoch]).await?;
        set_meta(connection, "seal_key", &chance.bytes::<16>()).await?;
    }
    let key = meta(connection, "seal_key").await?;
    connection.commit().await?;
    let key = key.and_then(|key| key.try_into().ok());
    Ok(key.ok_or(StoreError::Corrupt("the database holds no key of its tokens")))
}

async fn meta(connection: &Connection, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let sql = "SELECT value FROM respoked.meta WHERE key = $1";
    one(connection, sql, params![key], |columns| Ok(columns.next::<&[u8]>()?.to_vec())).await
}

async fn mark(connection: &Connection, key: &str) -> Result<Option<Mark>, Failure> {
    Ok(meta(connection, key).await?.as_deref().map(Mark::read))
}

async fn meta_number(connection: &Connection, key: &str) -> Result<Option<usize>, Failure> {
    let Some(value) = meta(connection, key).await? else { return Ok(None) };
    let number = value.try_into().ok().map(u64::from_be_bytes).and_then(|number| usize::try_from(number).ok());
    number.map(Some).ok_or(Failure::Row("a number of the schema is none"))
}

async fn set_meta(connection: &Connection, key: &str, value: &[u8]) -> Result<(), Failure> {
    let sql =
        "INSERT INTO respoked.meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.execute(sql, params![key, value]).await.map(drop)
}
