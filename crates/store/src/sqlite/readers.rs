//! Read-only connections. A point look-up takes one, uses it at once and puts it back; a scan does so on a thread
//! where waiting is allowed, and of those that may look at millions of rows only a few run at once.
//!
//! Invariant: on a thread that must not wait no file is opened, and none is read while the disk lets others wait. Such a
//! look-up goes to a thread that may wait, as a scan does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use respoke_core::ports::StoreError;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::condition::Condition;
use super::failure::failure;
use super::file::{open_file, prepare};

/// Connections kept for threads that may wait; more are opened when more are needed at once, and closed after.
const KEPT: usize = 8;

/// Look-ups and scans at once on threads that may wait. On a sound disk each takes its moment; on one that stands still
/// these are the threads and connections that stand still with it.
const ELSEWHERE: usize = 32;
/// Searches at once. On two cores more would only take the time of each other, and of everything else.
const SEARCHES: usize = 2;
/// Gatherings at once: each is bounded by the keys that are asked for.
const GATHERINGS: usize = 2;
/// How long one waits for its turn, and for a disk that stands still.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks for a free connection, of which a look-up takes a fraction.
const FREE_SOON: Duration = Duration::from_millis(1);

#[derive(Clone)]
pub(super) struct Readers {
    path: PathBuf,
    condition: Arc<Condition>,
    /// For threads that must not wait: one for each, opened beforehand.
    here: Arc<ArrayQueue<Connection>>,
    idle: Arc<ArrayQueue<Connection>>,
    elsewhere: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    /// Not the same: one who lists tokens all day must not keep others from what keys find.
    gatherings: Arc<Semaphore>,
    patience: Duration,
}

impl Readers {
    pub(super) fn open(path: &Path, condition: Arc<Condition>) -> rusqlite::Result<Self> {
        // More threads than cores may serve; what they lack is opened elsewhere when they first need it.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let here = ArrayQueue::new(threads.max(KEPT));
        for _ in 0..threads {
            let _ = here.push(open_reader(path)?);
        }
        Ok(Self {
            path: path.to_owned(),
            condition,
            here: Arc::new(here),
            idle: Arc::new(ArrayQueue::new(KEPT)),
            elsewhere: Arc::new(Semaphore::new(ELSEWHERE)),
            searches: Arc::new(Semaphore::new(SEARCHES)),
            gatherings: Arc::new(Semaphore::new(GATHERINGS)),
            patience: PATIENCE,
        })
    }

    /// Reads a few rows by key, on this thread if that is sure not to wait: it takes microseconds, so that handing it
    /// to another would cost more.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.reader_here() {
            Some(connection) => self.read_here(connection, query),
            None => self.scan(query).await,
        }
    }

    /// A connection for [`Self::read_here`]. None: look-ups must not be done here.
    pub(super) fn reader_here(&self) -> Option<Connection> {
        if self.condition.is_fine() { self.here.pop() } else { None }
    }

    /// Reads a few rows by key on this thread.
    pub(super) fn read_here<T>(
        &self,
        connection: Connection,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let result = query(&connection).map_err(|error| self.condition.met(error));
        self.put_back(connection, &self.here);
        result
    }

    /// Reads what an index finds, a page or so, off the async threads.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.condition.readable()?;
        let Ok(Ok(turn)) = timeout(self.patience, self.elsewhere.clone().acquire_owned()).await else {
            return Err(self.too_late());
        };
        let readers = self.clone();
        let mut reading = tokio::task::spawn_blocking(move || {
            // The turn goes along: a client that gives up does not end the query.
            let _turn = turn;
            readers.read_elsewhere(query)
        });
        loop {
            match timeout(self.patience, &mut reading).await {
                Ok(Ok(result)) => return result,
                Ok(Err(error)) => return Err(StoreError::Unavailable(Box::new(error))),
                Err(late) if !self.condition.is_fine() => return Err(StoreError::Unavailable(Box::new(late))),
                // The disk answers others: there is much to read.
                Err(_) => {}
            }
        }
    }

    fn read_elsewhere<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let connection = self.reader_elsewhere()?;
        let result = query(&connection).map_err(|error| self.condition.met(error));
        if !self.here.is_full() && self.here.is_empty() {
            // A thread that must not wait found none.
            self.put_back(connection, &self.here);
        } else {
            self.put_back(connection, &self.idle);
        }
        result
    }

    /// Keeps a connection for the next who reads, unless the store is closed.
    fn put_back(&self, connection: Connection, where_to: &ArrayQueue<Connection>) {
        let _ = where_to.push(connection);
        // In the one order of these fences, either who closes the store finds this connection, or it is seen here that it is closed.
        fence(Ordering::SeqCst);
        if self.elsewhere.is_closed() {
            self.close();
        }
    }

    /// A connection that is free, or a new one if opening it is sure to end.
    fn reader_elsewhere(&self) -> Result<Connection, StoreError> {
        let asked = Instant::now();
        loop {
            if let Some(connection) = self.idle.pop() {
                return Ok(connection);
            }
            if self.condition.is_fine() {
                return open_reader(&self.path).map_err(failure);
            }
            if let Some(connection) = self.here.pop() {
                return Ok(connection);
            }
            if asked.elapsed() >= self.patience {
                return Err(self.too_late());
            }
            std::thread::sleep(FREE_SOON);
        }
    }

    /// Why one waited in vain: for the disk, if it lets others wait as well, and else for those before it.
    fn too_late(&self) -> StoreError {
        if self.condition.is_fine() {
            StoreError::Overloaded
        } else {
            StoreError::Unavailable("the disk does not answer in time".into())
        }
    }

    /// Reads what may be anywhere in a big table, as soon as few others do.
    pub(super) async fn search<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.in_turn(&self.searches, query).await
    }

    /// Reads what many keys find and may be big itself, as soon as few others do.
    pub(super) async fn gather<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.in_turn(&self.gatherings, query).await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Ok(Ok(turn)) = timeout(self.patience, turns.clone().acquire_owned()).await else {
            return Err(StoreError::Overloaded);
        };
        // The turn goes along: a client that gives up does not end the query.
        self.scan(move |connection| {
            let _turn = turn;
            query(connection)
        })
        .await
    }

    /// Waits for what is being read, for as long as one waits for a disk, and lets nothing more be read elsewhere.
    pub(super) async fn finish(&self) {
        let all = u32::try_from(ELSEWHERE).unwrap_or(u32::MAX);
        let _all = timeout(self.patience, self.elsewhere.acquire_many(all)).await;
        self.elsewhere.close();
    }

    /// Closes the connections that wait for use. What is put back later is closed by who does that.
    pub(super) fn close(&self) {
        fence(Ordering::SeqCst);
        while let Some(connection) = self.idle.pop().or_else(|| self.here.pop()) {
            close(connection, &self.condition);
        }
    }
}

/// Opens a connection that reads, and all files that it needs for that.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    prepare(&connection)?;
    // SQLite opens the log, and reads the schema, at the first query.
    connection.query_row("SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)", [], |_| Ok(()))?;
    Ok(connection)
}

/// Closes a connection, unless the files are no longer those it opened, or damaged.
///
/// The last one to be closed brings the log into the database, and removes it by its name. By then that may be the log of
/// whatever was put in the place of the database.
pub(super) fn close(connection: Connection, condition: &Condition) {
    if !condition.is_trusted() {
        std::mem::forget(connection);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use respoke_core::ports::MaintenanceStore as _;

    use super::super::{Options, SqliteStore};
    use super::*;

    #[tokio::test]
    async fn a_store_is_closed_once_nobody_reads_it_and_leaves_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        let (begins, begun) = mpsc::sync_channel::<()>(1);
        let (end, ended) = mpsc::sync_channel::<()>(1);
        let readers = store.readers.clone();
        let mut reading = tokio::task::JoinSet::new();
        reading.spawn(async move {
            let read = move |_: &Connection| {
                begins.send(()).unwrap();
                Ok(ended.recv().is_err())
            };
            readers.scan(read).await
        });
        tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
        let mut closing = Box::pin(store.close());
        assert!(timeout(Duration::from_millis(100), &mut closing).await.is_err());
        drop(end);
        closing.await;
        assert!(reading.join_next().await.unwrap().unwrap().unwrap());
        assert!(!folder.path().join("some.db-wal").exists());
    }

    #[tokio::test]
    async fn a_third_search_waits_its_turn_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE some (number INTEGER)").unwrap();
        let readers = Readers::open(&path, Arc::default()).unwrap();
        let readers = Readers { patience: Duration::from_millis(50), ..readers };
        let (ends, searches): (Vec<_>, Vec<_>) = (0..SEARCHES)
            .map(|_| {
                let (end, ended) = mpsc::sync_channel::<()>(1);
                let readers = readers.clone();
                let search = async move { readers.search(move |_| Ok(ended.recv().is_err())).await };
                (end, Box::pin(search))
            })
            .unzip();
        // One that nobody waits for any more still runs.
        for search in searches {
            assert!(timeout(Duration::from_millis(1), search).await.is_err());
        }
        let one = |connection: &Connection| connection.query_row("SELECT 1", [], |row| row.get::<_, i64>(0));
        assert!(matches!(readers.search(one).await, Err(StoreError::Overloaded)));
        assert_eq!(readers.scan(one).await.unwrap(), 1, "quick ones are not held up");
        assert_eq!(readers.gather(one).await.unwrap(), 1, "nor is what is found by keys");
        assert_eq!(readers.read(one).await.unwrap(), 1);

        let patient = Readers { patience: PATIENCE, ..readers };
        let (third, ()) = tokio::join!(patient.search(one), async move { drop(ends) });
        assert_eq!(third.unwrap(), 1);
    }
}
