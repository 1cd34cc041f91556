//! Putting a backup in the place of a database: what it must forget, and what it undoes.
//!
//! Invariant: nothing here writes to a database that is in use.

use std::path::Path;
use std::time::Duration;

use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::id::RequestId;
use respoke_core::ports::StoreError;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::failure::failure;
use super::file::open_file;
use super::source::Source;
use super::{key, marked, rebuild, schema};
use crate::marks::ARRIVED;

/// Undone changes reported of one restore.
pub(crate) const UNDONE_MAX: usize = 500;

/// Changes that took something away or turned it, and that a restore of an older state therefore undoes.
const WITHDRAWALS: &[Action] = &[
    Action::SecretRevoked,
    Action::SecretRolled,
    Action::EndpointBanned,
    Action::RoleUpdated,
    Action::RoleDeleted,
    Action::AppUpdated,
    Action::AppDeleted,
    Action::AdminPasswordChanged,
    Action::AdminDeleted,
    Action::AdminPasswordReset,
    Action::AdminRoleChanged,
    Action::AccountDeleted,
];

/// Their codes.
pub(crate) fn withdrawals() -> impl Iterator<Item = i64> {
    WITHDRAWALS.iter().map(|action| action.code())
}

/// A change that a restore undid.
#[derive(Clone, Debug)]
pub struct UndoneChange {
    /// When it was made.
    pub at: Timestamp,
    /// What was done.
    pub action: Action,
    /// To what.
    pub object: String,
}

/// Ends every token and session that the database at `path` knows, and every sign-in of an admin.
///
/// For a database just restored: what was revoked after its backup was taken is not revoked in it. Nobody else may be
/// using the file. An audit row says that `request` did this, and `object` is what it names.
///
/// # Errors
///
/// When the file cannot be written; then it is as it was.
pub fn end_everything_issued(path: &Path, object: &str, at: Timestamp, request: RequestId) -> Result<(), StoreError> {
    // It may be a copy of a database whose installation was moved, to which nothing is written.
    free(path).map_err(failure)?;
    rebuild::rebuild_if_old(path)?;
    end_everything(path, object, at, request).map_err(failure)
}

fn free(path: &Path) -> rusqlite::Result<()> {
    let mut connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let transaction = connection.transaction()?;
    marked::let_be_written(&transaction)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

fn end_everything(path: &Path, object: &str, at: Timestamp, request: RequestId) -> rusqlite::Result<()> {
    let mut connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    schema::migrate(&mut connection)?;
    let transaction = connection.transaction()?;
    // What follows is another history than the one that whoever followed the replaced database knows.
    marked::begin_another_history(&transaction)?;
    transaction.execute(
        "UPDATE apps SET tokens_from = (SELECT head FROM feed), sessions_from = (SELECT head FROM feed)",
        [],
    )?;
    transaction.execute("DELETE FROM admin_sessions", [])?;
    transaction.execute("DELETE FROM setup_tokens", [])?;
    transaction.execute("DELETE FROM meta WHERE key = ?1", [ARRIVED])?;
    // A request repeated with its key would otherwise be answered with a token that was just ended.
    transaction.execute("DELETE FROM idempotency", [])?;
    transaction.execute("DELETE FROM said", [])?;
    transaction.execute(
        "INSERT INTO log (at, actor_kind, action, object, address, request_id) VALUES (?1, 1, ?2, ?3, '', ?4)",
        params![at.millis(), Action::Restored.code(), object, request.uuid()],
    )?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

/// What was withdrawn in `replaced` after `restored` was copied from it, oldest first. Nothing, if one is not a copy of
/// the other.
///
/// # Errors
///
/// When either cannot be read.
pub fn undone_changes(replaced: &Source, restored: &Source) -> Result<Vec<UndoneChange>, StoreError> {
    undone(replaced.connection(), restored.connection()).map_err(failure)
}

fn undone(replaced: &Connection, restored: &Connection) -> rusqlite::Result<Vec<UndoneChange>> {
    if key::found(replaced)? != key::found(restored)? {
        return Ok(Vec::new());
    }
    let newest = newest_in_both(replaced, restored)?;
    let codes: Vec<String> = WITHDRAWALS.iter().map(|action| action.code().to_string()).collect();
    let sql = format!(
        "SELECT at, action, object FROM audit WHERE number > ?1 AND action IN ({}) ORDER BY number LIMIT {UNDONE_MAX}",
        codes.join(", ")
    );
    let mut statement = replaced.prepare(&sql)?;
    let rows = statement.query_map([newest], |row| {
        let (at, code, object) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Action::from_code(code).map(|action| UndoneChange { at: Timestamp::from_millis(at), action, object }))
    })?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// The number that the newest row of the audit log of `restored` has in `replaced`, of which it is a copy.
fn newest_in_both(replaced: &Connection, restored: &Connection) -> rusqlite::Result<i64> {
    let of_before = |connection: &Connection| schema::version(connection).map(|version| version < schema::RESHAPED);
    if of_before(replaced)? == of_before(restored)? {
        return restored.query_row("SELECT coalesce(max(number), 0) FROM audit", [], |row| row.get(0));
    }
    // The rows were numbered anew in between.
    let newest = "SELECT at, request_id, action, object FROM audit ORDER BY number DESC LIMIT 1";
    let newest = restored.query_row(newest, [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
    });
    let Some((at, request, action, object)) = newest.optional()? else { return Ok(0) };
    let sql = "SELECT max(number) FROM audit WHERE at = ?1 AND request_id = ?2 AND action = ?3 AND object = ?4";
    let same: Option<i64> = replaced.query_row(sql, params![at, request, action, object], |row| row.get(0))?;
    let before = "SELECT coalesce(max(number), 0) FROM audit WHERE at <= ?1";
    // It went with age; what is younger came later.
    same.map_or_else(|| replaced.query_row(before, [at], |row| row.get(0)), Ok)
}

/// Brings everything that was written to the database at `path` into its one file, if nobody uses it.
///
/// # Errors
///
/// When it is damaged, or still in use.
pub fn fold_log(path: &Path) -> Result<(), StoreError> {
    let fold = || {
        let connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(busy)
    };
    let busy = fold().map_err(failure)?;
    if busy { Err(StoreError::Unavailable("the database is in use".into())) } else { Ok(()) }
}
