//! The store in one SQLite file.

mod admins;
mod age;
mod apps;
mod audit;
mod backup;
mod call_reports;
mod checkpointer;
mod condition;
mod crash;
mod endpoints;
mod feed;
mod figures;
mod first_run;
mod kept;
mod lease;
mod leftovers;
mod log;
mod maintenance;
mod messages;
mod origin;
#[cfg(test)]
mod plans;
mod push_tokens;
mod readers;
mod rebuild;
mod retention;
mod roles;
mod rows;
mod schema;
mod secrets;
mod sessions;
mod source;
mod tokens;
mod trouble;
mod vigil;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::chance::{Chance, SystemChance};
use respoke_core::ports::{Store, StoreError};
use respoke_core::seal::Sealer;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::Notify;

use crate::minted::Minted;

pub use backup::{UndoneChange, end_everything_issued, fold_log, undone_changes};
use condition::Condition;
pub(crate) use crash::Crash;
#[cfg(test)]
pub(crate) use crash::CrashPoint;
use maintenance::Walk;
use readers::Readers;
pub use source::{CheckDepth, DatabaseCheck, Source, check_database, copy_database};
pub use trouble::Trouble;
use vigil::Vigil;
pub use writer::WriterFigures;
use writer::{Start, Writer};

/// How long a connection that writes waits for another process that does.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// To what the log's file is cut when the log begins anew after a long reader held it up, and work goes on. More than it
/// needs under load: growing the file again costs each commit a second flush.
const LOG_BYTES_KEPT: u64 = 64 << 20;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most operations committed together.
    pub commit_batch_max: usize,
    /// Whether another process may be serving from it, whose business keeping it in order then is.
    pub beside_a_server: bool,
    /// What a new database's key is drawn from.
    pub chance: Arc<dyn Chance>,
}

impl Default for Options {
    fn default() -> Self {
        // Half of 64 busy connections: the others' HTTP work then overlaps this batch's flush.
        Self { commit_batch_max: 32, beside_a_server: false, chance: Arc::new(SystemChance) }
    }
}

/// A store in one SQLite file.
pub struct SqliteStore {
    // Dropped in this order: the last connection to be closed removes the log, which those that only read cannot.
    vigil: Mutex<Option<Vigil>>,
    readers: Readers,
    writer: Writer,
    condition: Arc<Condition>,
    sealer: Sealer,
    path: PathBuf,
    walk: Mutex<Walk>,
    /// No token is numbered this or lower, as far as upkeep has seen: the log's older rows hold none any more.
    tokens_begin: AtomicI64,
    minted: Arc<Minted>,
    /// Tells whoever keeps it in order that there is something to remove.
    ended: Notify,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store for SqliteStore {}

impl SqliteStore {
    /// Opens the database at `path`, making or migrating it as needed. The file is readable by its owner alone.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, was written by a newer program, or lost what it held.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        origin::found_or_made(path, &*options.chance)?;
        make_private(path).map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        if !options.beside_a_server {
            rebuild::rebuild_if_old(path)?;
        }
        Self::open_private(path, options, Crash::default()).map_err(failure)
    }

    /// Opens the database, whose writer crashes.
    #[cfg(test)]
    pub(crate) fn open_crashing(path: &Path, crash: Crash) -> Result<Self, StoreError> {
        let options = Options::default();
        origin::found_or_made(path, &*options.chance)?;
        Self::open_private(path, options, crash).map_err(failure)
    }

    fn open_private(path: &Path, options: Options, crash: Crash) -> rusqlite::Result<Self> {
        let Options { commit_batch_max, beside_a_server, chance } = options;
        let mut connection = open_for_writing(path)?;
        if beside_a_server {
            schema::is_newest(&connection)?;
        } else {
            schema::migrate(&mut connection)?;
            fold(&connection)?;
        }
        let sealer = Sealer::new(seal_key(&connection, &*chance)?);
        let condition = Arc::new(Condition::default());
        let writer = Writer::start(Start {
            connection,
            checkpoints: open_for_writing(path)?,
            condition: condition.clone(),
            sealer: sealer.clone(),
            batch_max: commit_batch_max,
            beside_a_server,
            crash,
        })?;
        let readers = Readers::open(path, condition.clone())?;
        let vigil = if beside_a_server { None } else { Some(Vigil::start(path, &condition, writer.waker())?) };
        Ok(Self {
            writer,
            readers,
            condition,
            vigil: Mutex::new(vigil),
            sealer,
            path: path.to_owned(),
            walk: Mutex::new(Walk::default()),
            tokens_begin: AtomicI64::new(0),
            minted: Arc::default(),
            ended: Notify::new(),
        })
    }
}

fn open_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    prepare(&connection)?;
    // FULL: with NORMAL a power cut could un-redeem a token. Checkpoints are the writer's business.
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = {LOG_BYTES_KEPT}; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;",
    ))?;
    Ok(connection)
}

/// Opens the database's file, and over a symbolic link of its name none: whoever may write in the folder may have put one
/// there since somebody looked. The folder itself may be named by one.
fn open_file(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Connection::open_with_flags(without_links(path), flags)
}

/// The same file, in a folder that is named without symbolic links; the name itself may be one.
fn without_links(path: &Path) -> PathBuf {
    let folder = folder_of(path).canonicalize().ok();
    folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Brings what the log holds into the database's own file, as far as others who read let it.
///
/// The log of a process that was killed may have been read from the system's memory alone: after a flush that failed,
/// the system forgets that it is not on disk, and what is written behind it would be lost with it.
fn fold(connection: &Connection) -> rusqlite::Result<Folded> {
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    match at_once(connection, |connection| connection.query_row(checkpoint, [], |row| row.get::<_, bool>("busy"))) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            tracing::warn!("the disk is full: what the log of the database holds stays there for now");
            Ok(Folded::NotAll)
        }
        Ok(busy) => Ok(if busy { Folded::NotAll } else { Folded::AllOfIt }),
        Err(error) => Err(error),
    }
}

/// How much of the log is in the database's own file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Folded {
    AllOfIt,
    /// Others read from it or write to it, or the disk is full.
    NotAll,
}

/// Does something that waits for nobody. Whatever comes of it, the connection waits again for what it does next.
fn at_once<T>(connection: &Connection, run: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    connection.busy_timeout(Duration::ZERO)?;
    let done = run(connection);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    done
}

/// Settings of every connection.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(128);
    // Without this guarantee SQLite may plan a statement anew for each value bound to it, which costs ten look-ups.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// The key this database's tokens are sealed with, made at its first opening.
fn seal_key(connection: &Connection, chance: &dyn Chance) -> rusqlite::Result<[u8; 16]> {
    let fresh: [u8; 16] = chance.bytes();
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('seal_key', ?1)", [&fresh[..]])?;
    connection.query_row("SELECT value FROM meta WHERE key = 'seal_key'", [], |row| row.get(0))
}

/// Makes the file, if there is none, so that SQLite finds it with the right permissions; its log files inherit them.
/// A symbolic link is not followed: in a folder where others may write, it could lead to any file of ours.
fn make_private(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::Error::other("it is no plain file"));
    }
    // Of a group's volume the file may be another user's, who has shared it.
    if found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// A failure of SQLite as the port names it.
fn failure(error: rusqlite::Error) -> StoreError {
    match error {
        error if condition::is_of_a_row(&error) => StoreError::Corrupt("a column holds what it never should"),
        error => StoreError::Unavailable(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::clock::Timestamp;
    use respoke_core::ports::{Change, ChangeStore as _, MaintenanceStore as _};

    use super::*;

    #[test]
    fn a_row_that_cannot_be_read_is_no_reason_to_try_again() {
        let connection = Connection::open_in_memory().unwrap();
        let refused = [
            connection.query_row("SELECT x'01'", [], |row| row.get::<_, uuid::Uuid>(0)).unwrap_err(),
            connection.query_row("SELECT 'text'", [], |row| row.get::<_, i64>(0)).unwrap_err(),
            connection.query_row("SELECT -1", [], |row| row.get::<_, u64>(0)).unwrap_err(),
            connection.query_row("SELECT CAST(x'ff' AS TEXT)", [], |row| row.get::<_, String>(0)).unwrap_err(),
            connection
                .query_row("SELECT CAST(x'ff' AS TEXT)", [], |row| {
                    row.get_ref(0)?.as_str().map(str::to_owned).map_err(Into::into)
                })
                .unwrap_err(),
        ];
        for error in refused {
            assert!(condition::is_of_a_row(&error), "{error:?}");
            let said = error.to_string();
            assert!(matches!(failure(error), StoreError::Corrupt(_)), "{said}");
        }
    }

    #[test]
    fn who_failed_at_once_waits_for_others_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_for_writing(&folder.path().join("some.db")).unwrap();
        let patience = |connection: &Connection| connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0));
        let during: i64 = at_once(&connection, patience).unwrap();
        assert!(at_once(&connection, |_| Err::<(), _>(rusqlite::Error::InvalidQuery)).is_err());
        let after: i64 = patience(&connection).unwrap();
        assert_eq!((during, after), (0, 10_000));
    }

    #[tokio::test]
    async fn a_link_put_in_the_place_of_the_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (other, path) = (folder.path().join("other.db"), folder.path().join("some.db"));
        SqliteStore::open(&other, Options::default()).unwrap().close().await;
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(open_for_writing(&path).is_err());
        assert!(readers::open_reader(&path).is_err());
        // Nor in the place of its log.
        std::fs::rename(&other, &path).unwrap();
        let target = folder.path().join("target");
        std::fs::write(&target, "text").unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join("some.db-wal")).unwrap();
        let opened = open_for_writing(&path).and_then(|connection| connection.execute_batch("DELETE FROM admins"));
        assert!(opened.is_err());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "text");
        // Whoever names the folder by a link chose that.
        std::fs::remove_file(folder.path().join("some.db-wal")).unwrap();
        let named = folder.path().with_extension("link");
        std::os::unix::fs::symlink(folder.path(), &named).unwrap();
        open_for_writing(&named.join("some.db")).unwrap();
        std::fs::remove_file(named).unwrap();
    }

    #[tokio::test]
    async fn a_log_that_others_read_is_not_said_to_be_folded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM admins").unwrap();
        store.write_change(Change::Session(7), Timestamp::from_secs(1)).await.unwrap();
        assert!(store.fold().await.is_err());
        drop(reader);
        store.fold().await.unwrap();
        assert_eq!(std::fs::metadata(folder.path().join("some.db-wal")).unwrap().len(), 0);
        store.close().await;
    }

    fn beside() -> Options {
        Options { beside_a_server: true, ..Options::default() }
    }

    #[tokio::test]
    async fn what_another_version_may_be_serving_from_is_not_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        SqliteStore::open(&path, Options::default()).unwrap().close().await;
        let version = || -> usize {
            let connection = Connection::open(&path).unwrap();
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
        };
        let newest = version();
        Connection::open(&path).unwrap().pragma_update(None, "user_version", newest - 1).unwrap();
        let refused = std::error::Error::source(&SqliteStore::open(&path, beside()).unwrap_err()).unwrap().to_string();
        assert!(refused.contains("made by an older respoked"), "{refused}");
        assert_eq!(version(), newest - 1);
    }

    #[tokio::test]
    async fn whoever_works_beside_a_server_leaves_its_log_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        let server = SqliteStore::open(&path, Options::default()).unwrap();
        server.write_change(Change::Session(7), Timestamp::from_secs(1)).await.unwrap();
        let log_len = || std::fs::metadata(folder.path().join("some.db-wal")).unwrap().len();
        let before = log_len();
        SqliteStore::open(&path, beside()).unwrap().close().await;
        assert!(before > 0 && log_len() == before, "{before}, then {}", log_len());
        server.close().await;
    }
}
