//! The store in one SQLite file.

mod admins;
mod apps;
mod audit;
mod backup;
mod call_reports;
mod checkpointer;
mod endpoints;
mod figures;
mod first_run;
mod leftovers;
mod maintenance;
mod messages;
mod push_tokens;
mod readers;
mod retention;
mod roles;
mod rows;
mod schema;
mod secrets;
mod sessions;
mod source;
mod tokens;
mod trouble;
mod writer;

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use respoke_core::ports::{Store, StoreError};
use respoke_core::seal::Sealer;
use rusqlite::Connection;

pub use backup::{UndoneChange, end_everything_issued, fold_log, undone_changes};
use maintenance::Walk;
use readers::Readers;
pub use source::{CheckDepth, DatabaseCheck, Source, check_database, copy_database};
pub use trouble::Trouble;
pub use writer::CrashPoint;
use writer::{Start, Writer};

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most operations committed together.
    pub commit_batch_max: usize,
    /// Where to stop as if killed; tests only.
    pub crash_at: Option<CrashPoint>,
}

impl Default for Options {
    fn default() -> Self {
        // Half of 64 busy connections: the others' HTTP work then overlaps this batch's flush.
        Self { commit_batch_max: 32, crash_at: None }
    }
}

/// A store in one SQLite file.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    sealer: Sealer,
    path: PathBuf,
    walk: Mutex<Walk>,
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
    /// When the file cannot be opened, or was written by a newer program.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        make_private(path).map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        Self::open_private(path, options).map_err(failure)
    }

    fn open_private(path: &Path, options: Options) -> rusqlite::Result<Self> {
        let mut connection = open_for_writing(path)?;
        schema::migrate(&mut connection)?;
        let sealer = Sealer::new(seal_key(&connection)?);
        let writer = Writer::start(Start {
            connection,
            checkpoints: open_for_writing(path)?,
            sealer: sealer.clone(),
            batch_max: options.commit_batch_max,
            crash_at: options.crash_at,
        })?;
        let readers = Readers::new(path);
        Ok(Self { writer, readers, sealer, path: path.to_owned(), walk: Mutex::new(Walk::default()) })
    }
}

fn open_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    prepare(&connection)?;
    // FULL: with NORMAL a power cut could un-redeem a token. Checkpoints are the writer's business.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;",
    )?;
    Ok(connection)
}

/// Settings of every connection.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(128);
    // Without this guarantee SQLite may plan a statement anew for each value bound to it, which costs ten look-ups.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// The key this database's tokens are sealed with, made at its first opening.
fn seal_key(connection: &Connection) -> rusqlite::Result<[u8; 16]> {
    let mut fresh = [0_u8; 16];
    respoke_core::secret::fill_random(&mut fresh);
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('seal_key', ?1)", [&fresh[..]])?;
    connection.query_row("SELECT value FROM meta WHERE key = 'seal_key'", [], |row| row.get(0))
}

/// Makes the file, if there is none, so that SQLite finds it with the right permissions; its log files inherit them.
/// A symbolic link is not followed: in a folder where others may write, it could lead to any file of ours.
fn make_private(path: &Path) -> std::io::Result<()> {
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
    Ok(())
}

/// A failure of SQLite as the port names it.
fn failure(error: rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
            StoreError::Corrupt("a column holds what it never should")
        }
        error => StoreError::Unavailable(Box::new(error)),
    }
}
