//! The store: how it is opened, and what it is made of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use respoke_core::chance::{Chance, SystemChance};
use respoke_core::ports::{Store, StoreError};
use respoke_core::seal::Sealer;
use tokio::sync::Notify;

use super::condition::Condition;
use super::failure::{failure, unavailable};
use super::file::{fold, make_private, open_for_writing};
use super::readers::Readers;
use super::vigil::Vigil;
use super::walk::Walk;
use super::writer::{Start, Writer};
use super::{key, marked, origin, rebuild, schema};
use crate::crash::Crash;
use crate::minted::Minted;
use crate::writer_figures::WriterFigures;

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
    pub(super) vigil: Mutex<Option<Vigil>>,
    pub(super) readers: Readers,
    pub(super) writer: Writer,
    pub(super) condition: Arc<Condition>,
    pub(super) sealer: Sealer,
    pub(super) path: PathBuf,
    pub(super) walk: Mutex<Walk>,
    /// No token is numbered this or lower, as far as upkeep has seen: the log's older rows hold none any more.
    pub(super) tokens_begin: AtomicI64,
    pub(super) minted: Arc<Minted>,
    /// Tells whoever keeps it in order that there is something to remove.
    pub(super) ended: Notify,
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
        make_private(path).map_err(unavailable)?;
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
        marked::is_to_be_used(&connection)?;
        if beside_a_server {
            schema::is_newest(&connection)?;
        } else {
            schema::migrate(&mut connection)?;
            fold(&connection)?;
        }
        let sealer = Sealer::new(key::found_or_made(&connection, &*chance)?);
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

    /// What its writer did, for metrics.
    #[must_use]
    pub fn figures(&self) -> WriterFigures {
        WriterFigures { bytes: Some(self.condition.bytes.load(Ordering::Relaxed)), ..self.writer.figures() }
    }

    /// From now on the paused time of a test does not pass while something is written.
    #[cfg(feature = "paused")]
    pub fn keep_still(&self) {
        self.writer.keep_still();
    }

    /// Tells whoever keeps the store in order that there is something to remove, if there is.
    pub(super) fn note_ended(&self, ended: bool) {
        if ended {
            self.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::clock::Timestamp;
    use respoke_core::ports::{Change, ChangeStore as _, MaintenanceStore as _};
    use rusqlite::Connection;

    use super::*;

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
