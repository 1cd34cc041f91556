//! The one writer: a thread that commits what waits in batches.
//!
//! It takes the first operation that waits and whatever waits behind it, up to a limit, runs them in one transaction,
//! and answers after the commit is on disk. Nothing lingers: while one batch is flushed the next one gathers.
//!
//! Invariant: an operation is answered with success only after its commit returned.
//! Invariant: an operation that fails takes nobody with it. Its batch is rolled back and each operation run again
//! alone, which is why operations can be run twice.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use respoke_core::ports::{StoreError, StoreFigures};
use respoke_core::seal::Sealer;
use rusqlite::Connection;
use tokio::runtime::{self, Handle};
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use super::failure;
use super::tokens::MintGrounds;

/// Operations that may wait. At 50,000 a second this is a tenth of a second's worth; more would only wait longer.
const QUEUE_LEN_MAX: usize = 4_096;
/// Committed batches that may wait for the task that answers them.
const BATCHES_MAX: usize = 64;
/// How long a caller waits for a place in the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of write-ahead log after which they are copied into the database, off this thread.
const CHECKPOINT_PAGES: usize = 8_000;
/// Pages after which this thread does so itself after each batch (256 MiB).
const CHECKPOINT_PAGES_MAX: usize = 65_536;

/// What an operation works with.
pub(super) struct Write<'a> {
    pub(super) connection: &'a Connection,
    pub(super) sealer: &'a Sealer,
    pub(super) grounds: &'a MintGrounds,
    numbers: &'a Numbers,
}

/// The next free row numbers: always one more than the newest row's, so that a mark set at them ends what is there and
/// nothing that comes, after a restart too.
struct Numbers {
    token: Cell<u64>,
    session: Cell<u64>,
}

impl Write<'_> {
    pub(super) fn next_token(&self) -> u64 {
        self.numbers.token.replace(self.numbers.token.get() + 1)
    }

    pub(super) fn next_session(&self) -> u64 {
        self.numbers.session.replace(self.numbers.session.get() + 1)
    }

    /// The numbers the next token and session will get; all below are given.
    pub(super) fn given(&self) -> (u64, u64) {
        (self.numbers.token.get(), self.numbers.session.get())
    }
}

/// The way of answers to those who wait for them: a task beside them answers whole batches.
///
/// Each answer from another thread would wake the callers' runtime by a system call of its own.
#[derive(Clone, Default)]
struct Answers(Arc<OnceLock<(runtime::Id, mpsc::Sender<Batch>)>>);

/// Operations that are committed.
type Batch = Vec<Box<dyn Job>>;

impl Answers {
    /// Whether the task runs where the caller does; the first caller starts it.
    fn are_near(&self) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        let (home, _) = self.0.get_or_init(|| {
            let (batches, mut committed) = mpsc::channel::<Batch>(BATCHES_MAX);
            runtime.spawn(async move {
                while let Some(batch) = committed.recv().await {
                    answer_all(batch);
                }
            });
            (runtime.id(), batches)
        });
        *home == runtime.id()
    }

    /// Answers `batch`: by the task, if it is near all who wait and more than one does.
    ///
    /// Of another runtime nobody knows whether it is running now. A batch of one may overtake another that the task has
    /// not come to yet.
    fn give(&self, batch: Batch) {
        match self.0.get().filter(|_| batch.len() > 1 && batch.iter().all(|job| job.is_answered_near())) {
            None => answer_all(batch),
            Some((_, task)) => {
                if let Err(mpsc::error::TrySendError::Full(batch) | mpsc::error::TrySendError::Closed(batch)) =
                    task.try_send(batch)
                {
                    answer_all(batch);
                }
            }
        }
    }
}

fn answer_all(batch: Batch) {
    for job in batch {
        job.answer(Ok(()));
    }
}

/// Where a test stops the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The batch ran and is not committed.
    BeforeCommit,
    /// The batch is committed and nobody was answered.
    AfterCommit,
}

trait Job: Send {
    /// Whether it leaves [`Write::grounds`] as they were.
    fn spares_grounds(&self) -> bool;
    /// Whether who waits for it, if anybody does, waits where [`Answers`] are given.
    fn is_answered_near(&self) -> bool;
    fn run(&mut self, write: &Write<'_>) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Operation<F, T> {
    spares_grounds: bool,
    answered_near: bool,
    run: F,
    value: Option<T>,
    answer: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<F, T> Job for Operation<F, T>
where
    F: FnMut(&Write<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn spares_grounds(&self) -> bool {
        self.spares_grounds
    }

    fn is_answered_near(&self) -> bool {
        self.answered_near
    }

    fn run(&mut self, write: &Write<'_>) -> rusqlite::Result<()> {
        self.value = Some((self.run)(write)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Some(answer) = self.answer else { return };
        let result = match (committed, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(StoreError::Corrupt("an operation ended without a result")),
        };
        // A caller that went away is no concern of the writer's.
        let _ = answer.send(result);
    }
}

/// The way to the writer.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    figures: Arc<Figures>,
    answers: Answers,
}

#[derive(Default)]
struct Figures {
    commits: AtomicU64,
    operations: AtomicU64,
    commit_micros: AtomicU64,
    commit_sizes: [AtomicU64; 7],
}

impl Figures {
    /// Counts a batch of `operations` by the power of two that it does not exceed.
    fn committed(&self, operations: usize) {
        let class = operations.max(1).next_power_of_two().trailing_zeros() as usize;
        self.commit_sizes[class.min(self.commit_sizes.len() - 1)].fetch_add(1, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.operations.fetch_add(operations as u64, Ordering::Relaxed);
    }
}

/// What the writer is started with.
pub(super) struct Start {
    pub(super) connection: Connection,
    pub(super) checkpoints: Connection,
    pub(super) sealer: Sealer,
    pub(super) batch_max: usize,
    pub(super) crash_at: Option<CrashPoint>,
}

impl Writer {
    pub(super) fn start(start: Start) -> rusqlite::Result<Self> {
        let next = |table: &str| -> rusqlite::Result<u64> {
            let sql = format!("SELECT coalesce(max(number), 0) + 1 FROM {table}");
            start.connection.query_row(&sql, [], |row| row.get(0))
        };
        let numbers = Numbers { token: Cell::new(next("tokens")?), session: Cell::new(next("sessions")?) };
        let (queue, waiting) = mpsc::channel(QUEUE_LEN_MAX);
        let figures = Arc::new(Figures::default());
        let answers = Answers::default();
        let checkpointer = Checkpointer::start(start.checkpoints).map_err(thread_failed)?;
        let mut worker = Worker {
            connection: start.connection,
            sealer: start.sealer,
            numbers,
            grounds: MintGrounds::default(),
            waiting,
            batch_max: start.batch_max.max(1),
            figures: figures.clone(),
            answers: answers.clone(),
            checkpointer,
            crash_at: start.crash_at,
        };
        let thread = std::thread::Builder::new().name("respoked-store".into()).spawn(move || worker.work());
        let thread = thread.map_err(thread_failed)?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), figures, answers })
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
        answered.await.map_err(|_| closed())?
    }

    /// Runs it some time, unless too much else waits. Nobody hears what came of it.
    pub(super) fn write_if_idle<F>(&self, run: F)
    where
        F: FnMut(&Write<'_>) -> rusqlite::Result<()> + Send + 'static,
    {
        let queue = self.queue.lock().clone();
        if let Some(queue) = queue
            && queue.capacity() > QUEUE_LEN_MAX / 2
        {
            let _ = queue.try_send(Box::new(Operation {
                spares_grounds: false,
                answered_near: true,
                run,
                value: None,
                answer: None,
            }));
        }
    }

    pub(super) fn figures(&self) -> StoreFigures {
        StoreFigures {
            bytes: 0,
            commits: self.figures.commits.load(Ordering::Relaxed),
            operations: self.figures.operations.load(Ordering::Relaxed),
            commit_micros: self.figures.commit_micros.load(Ordering::Relaxed),
            commit_sizes: std::array::from_fn(|class| self.figures.commit_sizes[class].load(Ordering::Relaxed)),
        }
    }

    /// Lets what waits be written, then ends the thread. Blocks until it has ended.
    pub(super) fn close(&self) {
        drop(self.queue.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

struct Worker {
    connection: Connection,
    sealer: Sealer,
    numbers: Numbers,
    grounds: MintGrounds,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    batch_max: usize,
    figures: Arc<Figures>,
    answers: Answers,
    checkpointer: Checkpointer,
    crash_at: Option<CrashPoint>,
}

thread_local! {
    /// Pages in the write-ahead log after the last commit of this thread.
    static LOG_PAGES: Cell<usize> = const { Cell::new(0) };
}

#[expect(clippy::unnecessary_wraps, reason = "SQLite's hook may fail; this one does not")]
fn note_log_pages(_: &mut rusqlite::hooks::Wal, pages: i32) -> rusqlite::Result<()> {
    LOG_PAGES.set(usize::try_from(pages).unwrap_or(0));
    Ok(())
}

impl Worker {
    fn work(&mut self) {
        if let Err(error) = self.connection.wal_hook(Some(note_log_pages)) {
            // Without it the log is never found long: it then grows until the store is closed.
            tracing::error!(error = &error as &dyn std::error::Error, "the length of the log cannot be watched");
        }
        while let Some(job) = self.waiting.blocking_recv() {
            let mut batch = vec![job];
            while batch.len() < self.batch_max {
                match self.waiting.try_recv() {
                    Ok(job) => batch.push(job),
                    Err(_) => break,
                }
            }
            self.commit(batch);
            if self.crash_at.is_some() {
                return;
            }
            self.keep_log_short();
        }
        // Leave a tidy file behind; failing that, the next start does it.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA optimize;");
    }

    fn commit(&mut self, mut batch: Batch) {
        if self.transaction(batch.iter_mut()).is_ok() {
            if self.crash_at != Some(CrashPoint::AfterCommit) {
                self.figures.committed(batch.len());
                self.answers.give(batch);
            }
            return;
        }
        if self.crash_at.is_some() {
            return;
        }
        // One of them failed, or the disk did: each alone, to find out who.
        for mut job in batch {
            let committed = self.transaction(std::iter::once(&mut job));
            self.figures.committed(1);
            job.answer(committed);
        }
    }

    fn transaction<'a>(&self, jobs: impl Iterator<Item = &'a mut Box<dyn Job>>) -> Result<(), StoreError> {
        let write = Write {
            connection: &self.connection,
            sealer: &self.sealer,
            grounds: &self.grounds,
            numbers: &self.numbers,
        };
        self.grounds.clear();
        let numbers = (self.numbers.token.get(), self.numbers.session.get());
        let ran = (|| {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for job in jobs {
                // A panic in an operation is a defect of ours; it must not take the store down with it.
                std::panic::catch_unwind(AssertUnwindSafe(|| job.run(&write)))
                    .unwrap_or(Err(rusqlite::Error::InvalidQuery))?;
                if !job.spares_grounds() {
                    self.grounds.clear();
                }
            }
            Ok(())
        })();
        let before_commit = self.crash_at == Some(CrashPoint::BeforeCommit);
        let done = match ran {
            Ok(()) if before_commit => Err(rusqlite::Error::InvalidQuery),
            Ok(()) => {
                let started = Instant::now();
                let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
                let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.figures.commit_micros.fetch_add(micros, Ordering::Relaxed);
                committed.map(|_| ())
            }
            Err(error) => Err(error),
        };
        if done.is_err() {
            if !self.connection.is_autocommit() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            // What was rolled back gives its numbers back.
            self.numbers.token.set(numbers.0);
            self.numbers.session.set(numbers.1);
        }
        done.map_err(failure)
    }

    /// Starts copying the log into the database when it has grown, and completes that between two batches.
    ///
    /// A copy beside a busy writer never reaches the end of the log, and only a log copied to its end is begun anew.
    /// So the thread beside copies nearly all, and this one the few pages written meanwhile.
    fn keep_log_short(&self) {
        let pages = LOG_PAGES.get();
        if !self.checkpointer.take_finished() && pages < CHECKPOINT_PAGES_MAX {
            if pages >= CHECKPOINT_PAGES {
                self.checkpointer.begin();
            }
            return;
        }
        // Never one that waits for readers: a backup reads for as long as it copies, and the log may grow meanwhile.
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(error = &error as &dyn std::error::Error, "checkpoint failed");
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

fn thread_failed(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

#[cfg(test)]
pub(super) mod tests {
    use crate::sqlite::{Options, SqliteStore};

    use super::*;

    /// Runs `together`, which queues several operations at once, so that they are one batch.
    pub(in crate::sqlite) async fn in_one_batch<F: Future>(store: &SqliteStore, together: F) -> F::Output {
        // The writer is held until all of them wait behind it.
        let (release, released) = std::sync::mpsc::sync_channel(1);
        let (holds, held) = oneshot::channel();
        let mut holds = Some(holds);
        let hold = store.writer.write(move |_| {
            holds.take().map(|holds| holds.send(()));
            released.recv().map_err(|_| rusqlite::Error::InvalidQuery)
        });
        let queued = async {
            held.await.unwrap();
            let before = store.writer.figures().commits;
            let (done, ()) = tokio::join!(together, async { release.send(()).unwrap() });
            assert_eq!(store.writer.figures().commits - before, 2, "what held the writer, and one batch");
            done
        };
        let both = async { tokio::join!(hold, queued) };
        let (held, done) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("they are answered");
        held.unwrap();
        done
    }

    #[test]
    fn who_waits_in_another_runtime_is_answered_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("respoked.db"), Options::default()).unwrap();
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (first, second) = (runtime(), runtime());
        let write = || store.writer.write(|_| Ok(()));
        let several = || in_one_batch(&store, async { tokio::try_join!(write(), write(), write()).map(drop) });
        first.block_on(several()).unwrap();
        // The first one is there, and does nothing now.
        second.block_on(several()).unwrap();
        drop(first);
        second.block_on(several()).unwrap();
    }
}
