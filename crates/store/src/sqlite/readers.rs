//! Read-only connections. A point look-up takes one, uses it at once and puts it back; a scan does so on a thread
//! where waiting is allowed, and of those that may look at millions of rows only a few run at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use respoke_core::ports::StoreError;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::failure;

/// Connections kept; more are opened when more are needed at once, and closed after.
const KEPT: usize = 8;

/// Searches at once. On two cores more would only take the time of each other, and of everything else.
const SEARCHES: usize = 2;
/// Gatherings at once: each is bounded by the keys that are asked for.
const GATHERINGS: usize = 2;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<ArrayQueue<Connection>>,
    searches: Arc<Semaphore>,
    /// Not the same: one who lists tokens all day must not keep others from what keys find.
    gatherings: Arc<Semaphore>,
    patience: Duration,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            idle: Arc::new(ArrayQueue::new(KEPT)),
            searches: Arc::new(Semaphore::new(SEARCHES)),
            gatherings: Arc::new(Semaphore::new(GATHERINGS)),
            patience: PATIENCE,
        }
    }

    /// Reads a few rows by key, on this thread: microseconds, so that handing it to another would cost more.
    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let connection = match self.idle.pop() {
            Some(connection) => connection,
            None => self.open().map_err(failure)?,
        };
        let result = query(&connection).map_err(failure);
        let _ = self.idle.push(connection);
        result
    }

    /// Reads what an index finds, a page or so, off the async threads.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.clone();
        match tokio::task::spawn_blocking(move || readers.read(query)).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Unavailable(Box::new(error))),
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

    /// Closes the connections that wait for use.
    pub(super) fn close(&self) {
        while self.idle.pop().is_some() {}
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        super::prepare(&connection)?;
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_third_search_waits_its_turn_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE some (number INTEGER)").unwrap();
        let readers = Readers { patience: Duration::from_millis(50), ..Readers::new(&path) };
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
        assert_eq!(readers.read(one).unwrap(), 1);

        let patient = Readers { patience: PATIENCE, ..readers };
        let (third, ()) = tokio::join!(patient.search(one), async move { drop(ends) });
        assert_eq!(third.unwrap(), 1);
    }
}
