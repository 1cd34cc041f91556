//! The database as a file: copying it while a server uses it, checking it, and what a restored one must forget.
//!
//! Invariant: nothing here writes to a database that is in use.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::id::RequestId;
use respoke_core::ports::StoreError;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::{failure, schema};

/// How often a copy is tried again when the database is locked, a tenth of a second apart.
const TRIES_MAX: u32 = 100;
/// Faults reported of one database; the first few say enough.
const FAULTS_MAX: usize = 20;
/// Undone changes reported of one restore.
const UNDONE_MAX: usize = 500;

/// Tables that are counted, by the word shown for their rows.
const TABLES: &[&str] =
    &["accounts", "admins", "apps", "secrets", "roles", "endpoints", "tokens", "sessions", "admin_sessions", "audit"];

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

/// What a database is like.
#[derive(Clone, Debug, Default)]
pub struct DatabaseCheck {
    /// What is wrong with it; empty if it is sound.
    pub faults: Vec<String>,
    /// The schema it has.
    pub schema: usize,
    /// The newest schema this program knows.
    pub schema_known: usize,
    /// The database's own word for how it is journalled; `wal` in use.
    pub journal_mode: String,
    /// Rows by table.
    pub counts: Vec<(&'static str, u64)>,
    /// When its newest row was written.
    pub newest_at: Option<Timestamp>,
    /// Size of the file, its log excepted.
    pub bytes: u64,
}

/// How closely a database is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckDepth {
    /// A server may be using it: the order of its pages is checked, its indexes are not held against its tables.
    InUse,
    /// Nobody uses it, such as a backup: everything is checked, and not even a side file is made.
    AtRest,
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

/// Copies the database at `from`, as it is at this moment, to the new file `to`, and returns the copy's size in bytes.
///
/// `from` may be in use. `to` is readable by its owner alone and is one file, without a log beside it.
///
/// # Errors
///
/// When `to` exists already, or either cannot be used. What was begun of `to` is left for the caller to remove.
pub fn copy_database(from: &Path, to: &Path) -> Result<u64, StoreError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(unavailable)?;
    copy(from, to).map_err(failure)?;
    let file = File::open(to).map_err(unavailable)?;
    file.sync_all().map_err(unavailable)?;
    Ok(file.metadata().map_err(unavailable)?.len())
}

fn copy(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let source = open(from)?;
    let mut target = Connection::open(to)?;
    {
        let backup = Backup::new(&source, &mut target)?;
        for tried in 0.. {
            // All pages in one step. Between two steps a write of the server would begin the copy anew, and on a busy
            // server it would never end; readers and writers go on beside it either way.
            match backup.step(-1)? {
                StepResult::Done => break,
                StepResult::Busy | StepResult::Locked if tried == TRIES_MAX => {
                    return Err(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                        Some("the database stays locked".to_owned()),
                    ));
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
    // The copy says of itself that it has a log. One file is easier to carry, and can be read where nothing is written.
    target.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)
}

/// Looks at a database and changes nothing.
///
/// # Errors
///
/// When the file is not there or cannot be read. A damaged one is no error: see [`DatabaseCheck::faults`].
pub fn check_database(path: &Path, depth: CheckDepth) -> Result<DatabaseCheck, StoreError> {
    let bytes = std::fs::metadata(path).map_err(unavailable)?.len();
    let schema_known = schema_known().map_err(failure)?;
    let mut check = DatabaseCheck { schema_known, bytes, ..DatabaseCheck::default() };
    let examined = match depth {
        CheckDepth::InUse => open(path),
        CheckDepth::AtRest => open_at_rest(path),
    }
    .and_then(|connection| examine(&connection, depth, &mut check));
    match examined {
        Ok(()) => Ok(check),
        Err(error) if lies_outside_the_file(&error) => Err(failure(error)),
        Err(error) => {
            check.faults.push(error.to_string());
            Ok(check)
        }
    }
}

fn lies_outside_the_file(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
        )
    )
}

fn examine(connection: &Connection, depth: CheckDepth, check: &mut DatabaseCheck) -> rusqlite::Result<()> {
    check.journal_mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    check.schema = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let pragma = match depth {
        CheckDepth::InUse => "quick_check",
        CheckDepth::AtRest => "integrity_check",
    };
    let mut statement = connection.prepare(&format!("PRAGMA {pragma}({FAULTS_MAX})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    check.faults.extend(lines.into_iter().filter(|line| line != "ok"));
    if check.schema == 0 {
        check.faults.push("it is not a database of respoked, or an empty one".to_owned());
        return Ok(());
    }
    if check.schema > check.schema_known {
        check.faults.push(format!(
            "it has schema {}, made by a newer respoked; this one knows {}",
            check.schema, check.schema_known
        ));
        return Ok(());
    }
    for table in TABLES {
        let sql = format!("SELECT count(*) FROM {table}");
        check.counts.push((table, connection.query_row(&sql, [], |row| row.get(0))?));
    }
    check.newest_at = connection.query_row(
        "SELECT max(at) FROM (
             SELECT * FROM (SELECT created_at AS at FROM tokens ORDER BY number DESC LIMIT 1)
             UNION ALL SELECT * FROM (SELECT created_at FROM sessions ORDER BY number DESC LIMIT 1)
             UNION ALL SELECT * FROM (SELECT at FROM audit ORDER BY number DESC LIMIT 1))",
        [],
        |row| Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp::from_millis)),
    )?;
    Ok(())
}

/// Ends every token and session that the database at `path` knows, and every sign-in of an admin.
///
/// For a database just restored: what was revoked after its backup was taken is not revoked in it. Nobody else may be
/// using the file. An audit row says that this was done, and `object` is what it names.
///
/// # Errors
///
/// When the file cannot be written; then it is as it was.
pub fn end_everything_issued(path: &Path, object: &str, at: Timestamp) -> Result<(), StoreError> {
    end_everything(path, object, at).map_err(failure)
}

fn end_everything(path: &Path, object: &str, at: Timestamp) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    schema::migrate(&mut connection)?;
    let transaction = connection.transaction()?;
    transaction.execute(
        "UPDATE apps SET
             tokens_from = max(tokens_from, (SELECT coalesce(max(number), 0) + 1 FROM tokens)),
             sessions_from = max(sessions_from, (SELECT coalesce(max(number), 0) + 1 FROM sessions))",
        [],
    )?;
    transaction.execute("DELETE FROM admin_sessions", [])?;
    transaction.execute("DELETE FROM setup_tokens", [])?;
    // A request repeated with its key would otherwise be answered with a token that was just ended.
    transaction.execute("DELETE FROM idempotency", [])?;
    transaction.execute(
        "INSERT INTO audit (at, actor_kind, action, object, address, request_id) VALUES (?1, 1, ?2, ?3, '', ?4)",
        params![at.millis(), Action::Restored.code(), object, RequestId::random().uuid()],
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
pub fn undone_changes(replaced: &Path, restored: &Path) -> Result<Vec<UndoneChange>, StoreError> {
    undone(replaced, restored).map_err(failure)
}

fn undone(replaced: &Path, restored: &Path) -> rusqlite::Result<Vec<UndoneChange>> {
    let (replaced, restored) = (open(replaced)?, open(restored)?);
    let key = |connection: &Connection| -> rusqlite::Result<Option<Vec<u8>>> {
        connection.query_row("SELECT value FROM meta WHERE key = 'seal_key'", [], |row| row.get(0)).optional()
    };
    if key(&replaced)? != key(&restored)? {
        return Ok(Vec::new());
    }
    let newest: i64 = restored.query_row("SELECT coalesce(max(number), 0) FROM audit", [], |row| row.get(0))?;
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

/// Brings everything that was written to the database at `path` into its one file, if nobody uses it.
///
/// # Errors
///
/// When it is damaged, or still in use.
pub fn fold_log(path: &Path) -> Result<(), StoreError> {
    let fold = || {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(busy)
    };
    let busy = fold().map_err(failure)?;
    if busy { Err(StoreError::Unavailable("the database is in use".into())) } else { Ok(()) }
}

/// The newest schema: the one that an empty database is brought to.
fn schema_known() -> rusqlite::Result<usize> {
    let mut connection = Connection::open_in_memory()?;
    schema::migrate(&mut connection)?;
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection)
}

/// Opens a file that nobody writes. A log that lies beside it belongs to it, and is then read the usual way.
fn open_at_rest(path: &Path) -> rusqlite::Result<Connection> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let Some(text) = path.to_str().filter(|_| !Path::new(&log).exists()) else { return open(path) };
    let text = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    // A relative path must not be taken for the authority of the URI.
    let uri =
        if path.is_absolute() { format!("file://{text}?immutable=1") } else { format!("file:{text}?immutable=1") };
    Connection::open_with_flags(uri, flags)
}

fn unavailable(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{Options, SqliteStore};

    fn database() -> (tempfile::TempDir, std::path::PathBuf, SqliteStore) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a?b %41#.db");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        (folder, path, store)
    }

    #[test]
    fn a_copy_is_one_private_file_with_what_was_written() {
        let (folder, path, _store) = database();
        Connection::open(&path)
            .unwrap()
            .execute("INSERT INTO accounts (id, name, created_at) VALUES (x'01', 'a', 5)", [])
            .unwrap();
        let copy = folder.path().join("copy");
        let bytes = copy_database(&path, &copy).unwrap();
        assert_eq!(bytes, std::fs::metadata(&copy).unwrap().len());
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let check = check_database(&copy, CheckDepth::AtRest).unwrap();
        assert_eq!(check.faults, Vec::<String>::new());
        assert_eq!((check.schema, check.counts[0]), (check.schema_known, ("accounts", 1)));
        assert!(!folder.path().join("copy-wal").exists() && !folder.path().join("copy-shm").exists());
        assert!(copy_database(&path, &copy).is_err(), "an existing file is not written over");
    }

    #[test]
    fn a_database_in_use_is_checked_beside_its_user() {
        let (_folder, path, _store) = database();
        let check = check_database(&path, CheckDepth::InUse).unwrap();
        assert_eq!((check.faults.len(), check.journal_mode.as_str()), (0, "wal"));
    }

    #[test]
    fn damage_is_found() {
        let (folder, path, store) = database();
        let copy = folder.path().join("copy");
        copy_database(&path, &copy).unwrap();
        drop(store);
        let sound = std::fs::read(&copy).unwrap();

        let mut torn = sound.clone();
        torn.chunks_mut(4_096).skip(1).for_each(|page| page[..100].fill(0xa5));
        for (damaged, what) in [
            (torn, "pages written over"),
            (sound[..sound.len() / 2].to_vec(), "cut short"),
            (
                b"not a database at all, but long enough to be looked at ........................................"
                    .to_vec(),
                "another file",
            ),
            (Vec::new(), "empty"),
        ] {
            std::fs::write(&copy, damaged).unwrap();
            let check = check_database(&copy, CheckDepth::AtRest).unwrap();
            assert!(!check.faults.is_empty(), "{what}");
        }
        assert!(check_database(&folder.path().join("absent"), CheckDepth::AtRest).is_err());
    }

    #[test]
    fn a_newer_schema_is_a_fault() {
        let (_folder, path, store) = database();
        drop(store);
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        let check = check_database(&path, CheckDepth::AtRest).unwrap();
        assert!(check.faults[0].contains("newer respoked"), "{:?}", check.faults);
    }
}
