//! How much is kept of what an app's clients say, and whether more may be.
//!
//! Invariant: `kept_bytes` is the sum of `kept_rows` for each app. Triggers see to it (`schema/0009_kept_bytes.sql`).

use respoke_core::id::AppId;
use rusqlite::{Connection, params};

use super::rows::one;

/// What a row takes besides its texts, at most; the numbers of the schema are no larger.
const ROW_BYTES: u64 = 192;

/// What an app keeps.
pub(super) fn bytes(connection: &Connection, app: AppId) -> rusqlite::Result<u64> {
    let kept: Option<i64> =
        one(connection, "SELECT bytes FROM kept_bytes WHERE app_id = ?1", params![app.uuid()], |row| row.get(0))?;
    Ok(kept.map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0)))
}

/// What an app keeps, counted anew.
pub(super) fn recounted(connection: &Connection, app: AppId) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(sum(bytes), 0) FROM kept_rows WHERE app_id = ?1";
    one(connection, sql, params![app.uuid()], |row| row.get(0)).map(Option::unwrap_or_default)
}

/// What all apps keep.
pub(super) fn of_all(connection: &Connection) -> rusqlite::Result<u64> {
    let kept: Option<i64> =
        connection.prepare_cached("SELECT sum(bytes) FROM kept_bytes")?.query_row([], |row| row.get(0))?;
    Ok(kept.map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0)))
}

/// Whether rows with so many bytes of text still fit within `bytes_max`.
pub(super) fn fits(connection: &Connection, app: AppId, texts: &[usize], bytes_max: u64) -> rusqlite::Result<bool> {
    let more = texts.iter().map(|len| *len as u64 + ROW_BYTES).sum::<u64>();
    Ok(bytes(connection, app)?.saturating_add(more) <= bytes_max)
}
