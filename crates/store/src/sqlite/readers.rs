//! Read-only connections. A point look-up takes one, uses it at once and puts it back; a scan does so on a thread
//! where waiting is allowed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use respoke_core::ports::StoreError;
use rusqlite::{Connection, OpenFlags};

use super::failure;

/// Connections kept; more are opened when more are needed at once, and closed after.
const KEPT: usize = 8;

#[derive(Clone)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<ArrayQueue<Connection>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Arc::new(ArrayQueue::new(KEPT)) }
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

    /// Reads many rows, off the async threads.
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
