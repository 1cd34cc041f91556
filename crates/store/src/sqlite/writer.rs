//! The one writer: a thread that commits what waits in batches.
//!
//! It takes the first operation that waits and whatever waits behind it, up to a limit, runs them in one transaction,
//! and answers after the commit is on disk. Nothing lingers: while one batch is flushed the next one gathers.
//!
//! Invariant: an operation is answered with success only after its commit returned.
//! Invariant: an operation is answered with "nothing was written" only if that stays so whatever happens: see `doubt.rs`.
//! Invariant: an operation that fails takes nobody with it. Its batch is rolled back and each operation run again
//! alone, which is why operations can be run twice.
//! Invariant: the thread goes on behind a batch that panics. Without it nothing would be written any more.

mod answers;
mod doubt;
mod job;
mod still;
#[cfg(test)]
pub(super) mod tests;
mod worker;
mod write;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::ports::StoreError;
use respoke_core::seal::Sealer;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use super::condition::Condition;
use super::failure::thread_failed;
use crate::crash::Crash;
use crate::mint_grounds::MintGrounds;
use crate::writer_figures::{Committed, WriterFigures};
use answers::Answers;
use doubt::Doubt;
pub(super) use doubt::touch;
use job::{Job, Operation, unheard};
use still::Stillness;
use worker::Worker;
use write::Numbers;
pub(super) use write::Write;

/// Operations that may wait. At 50,000 a second this is a tenth of a second's worth; more would only wait longer.
const QUEUE_LEN_MAX: usize = 4_096;
/// How long a caller waits for a place in the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

type Queue = mpsc::Sender<Box<dyn Job>>;

/// The way to the writer.
pub(super) struct Writer {
    queue: Mutex<Option<Queue>>,
    condition: Arc<Condition>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    figures: Arc<Committed>,
    answers: Answers,
    stillness: Stillness,
}

/// What the writer is started with.
pub(super) struct Start {
    pub(super) connection: Connection,
    pub(super) checkpoints: Connection,
    pub(super) condition: Arc<Condition>,
    pub(super) sealer: Sealer,
    pub(super) batch_max: usize,
    pub(super) beside_a_server: bool,
    pub(super) crash: Crash,
}

impl Writer {
    pub(super) fn start(start: Start) -> rusqlite::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_LEN_MAX);
        let figures = Arc::new(Committed::default());
        let answers = Answers::default();
        let condition = start.condition;
        let checkpointer = Checkpointer::start(start.checkpoints, condition.clone()).map_err(thread_failed)?;
        let worker = Worker {
            connection: start.connection,
            condition: condition.clone(),
            sealer: start.sealer,
            numbers: Numbers::default(),
            grounds: MintGrounds::default(),
            waiting,
            batch_max: start.batch_max.max(1),
            figures: figures.clone(),
            answers: answers.clone(),
            checkpointer,
            doubt: Doubt::default(),
            beside_a_server: start.beside_a_server,
            crash: start.crash,
        };
        let thread = std::thread::Builder::new().name("respoked-store".into()).spawn(move || worker.work());
        let thread = thread.map_err(thread_failed)?;
        let (queue, thread) = (Mutex::new(Some(queue)), Mutex::new(Some(thread)));
        Ok(Self { queue, condition, thread, figures, answers, stillness: Stillness::default() })
    }

    /// Runs `operation` in the next batch and returns once that is on disk.
    pub(super) async fn write<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Write<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.write_as(false, operation).await
    }

    /// The same for an operation that changes no app, role, secret or ban, so that what others of its batch found of
    /// these stays true.
    pub(super) async fn write_sparing_grounds<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Write<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.write_as(true, operation).await
    }

    async fn write_as<T, F>(&self, spares_grounds: bool, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Write<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.condition.writable()?;
        let _still = self.stillness.begin();
        let answered_near = self.answers.are_near();
        let (answer, answered) = oneshot::channel();
        let job: Box<dyn Job> =
            Box::new(Operation { spares_grounds, answered_near, run, value: None, answer: Some(answer) });
        let queue = self.queue.lock().clone().ok_or_else(closed)?;
        match queue.try_send(job) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(job)) => {
                let sent = tokio::time::timeout(QUEUE_TIMEOUT, queue.send(job)).await;
                sent.map_err(|_| StoreError::Overloaded)?.map_err(|_| closed())?;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed()),
        }
        drop(queue);
        // Whoever ran it ended before it said what came of it.
        answered
            .await
            .map_err(|_| StoreError::InDoubt("what was to write it ended before it said what came of it".into()))?
    }

    /// Runs it some time, unless too much else waits. Nobody hears what came of it.
    pub(super) fn write_if_idle<F>(&self, run: F)
    where
        F: FnMut(&Write<'_>) -> rusqlite::Result<()> + Send + 'static,
    {
        if self.condition.writable().is_err() {
            return;
        }
        let queue = self.queue.lock().clone();
        if let Some(queue) = queue
            && queue.capacity() > QUEUE_LEN_MAX / 2
        {
            let _ = queue.try_send(unheard(run));
        }
    }

    /// Makes the writer look after the log if it has nothing else to do.
    pub(super) fn waker(&self) -> impl Fn() + Send + 'static {
        // Not one that keeps the writer from ending.
        let queue = self.queue.lock().as_ref().map(mpsc::Sender::downgrade);
        move || {
            if let Some(queue) = queue.as_ref().and_then(mpsc::WeakSender::upgrade) {
                let _ = queue.try_send(unheard(|_| Ok(())));
            }
        }
    }

    pub(super) fn figures(&self) -> WriterFigures {
        self.figures.read()
    }

    /// From now on no paused time passes while something is written.
    #[cfg(feature = "paused")]
    pub(super) fn keep_still(&self) {
        self.stillness.keep();
    }

    /// Takes nothing more. What waits is written, and the thread ends once that is waited for.
    pub(super) fn ending(&self) -> Ending {
        Ending { queue: self.queue.lock().take(), thread: self.thread.lock().take() }
    }
}

/// The writer's thread, which is to end.
pub(super) struct Ending {
    queue: Option<Queue>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ending {
    /// Lets it end, and blocks until it has.
    pub(super) fn wait(self) {
        drop(self.queue);
        if self.thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer had panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.ending().wait();
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}
