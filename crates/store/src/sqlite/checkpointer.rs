//! The thread that copies the log into the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use rusqlite::Connection;

use super::condition::Condition;
use super::readers;

/// The way to the thread.
pub(super) struct Checkpointer {
    /// Taken when it ends.
    orders: Option<SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    busy: Arc<AtomicBool>,
    finished: Arc<AtomicBool>,
}

impl Checkpointer {
    pub(super) fn start(connection: Connection, condition: Arc<Condition>) -> std::io::Result<Self> {
        let (orders, ordered) = std::sync::mpsc::sync_channel::<()>(1);
        let busy = Arc::new(AtomicBool::new(false));
        let finished = Arc::new(AtomicBool::new(false));
        let (thread_busy, thread_finished) = (busy.clone(), finished.clone());
        let thread = std::thread::Builder::new().name("respoked-log".into()).spawn(move || {
            while ordered.recv().is_ok() {
                // What was put in the place of the database is not written to, nor one that is damaged.
                if condition.is_trusted()
                    && let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                {
                    tracing::warn!(error = &error as &dyn std::error::Error, "checkpoint failed");
                }
                thread_finished.store(true, Ordering::Release);
                thread_busy.store(false, Ordering::Release);
            }
            readers::close(connection, &condition);
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread), busy, finished })
    }

    pub(super) fn begin(&self) {
        if !self.busy.swap(true, Ordering::AcqRel) {
            let _ = self.orders.as_ref().map(|orders| orders.try_send(()));
        }
    }

    pub(super) fn take_finished(&self) -> bool {
        self.finished.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Checkpointer {
    /// Waits for the thread, so that a closed store has no file open.
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
