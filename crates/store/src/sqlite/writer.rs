//! The one writer: a thread that commits what waits in batches.
//!
//! It takes the first operation that waits and whatever waits behind it, up to a limit, runs them in one transaction,
//! and answers after the commit is on disk. Nothing lingers: while one batch is flushed the next one gathers.
//!
//! Invariant: an operation is answered with success only after its commit returned.
//! Invariant: an operation is answered with "nothing was written" only if that stays so whatever happens: see [`Doubt`].
//! Invariant: an operation that fails takes nobody with it. Its batch is rolled back and each operation run again
//! alone, which is why operations can be run twice.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use respoke_core::ports::StoreError;
use respoke_core::seal::Sealer;
use rusqlite::{Connection, ErrorCode};
use tokio::runtime::{self, Handle};
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use super::condition::Condition;
use super::crash::{Crash, CrashPoint};
use super::tokens::MintGrounds;
use super::{BUSY_TIMEOUT, at_once, failure, maintenance, readers};

/// Operations that may wait. At 50,000 a second this is a tenth of a second's worth; more would only wait longer.
const QUEUE_LEN_MAX: usize = 4_096;
/// Committed batches that may wait for the task that answers them.
const BATCHES_MAX: usize = 64;
/// How long a caller waits for a place in the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of write-ahead log after which they are copied into the database, off this thread (32 MiB).
const CHECKPOINT_PAGES: usize = 32_000;
/// Pages after which this thread does so itself after each batch (256 MiB).
const CHECKPOINT_PAGES_MAX: usize = 262_144;

/// What an operation works with.
pub(super) struct Write<'a> {
    pub(super) connection: &'a Connection,
    pub(super) sealer: &'a Sealer,
    pub(super) grounds: &'a MintGrounds,
    numbers: &'a Numbers,
}

/// The next free row numbers, and the number of the newest change, as this transaction finds them.
///
/// They are kept from one transaction to the next. Should another process have committed in between, as a command line
/// beside the server does, they are read anew: within the transaction nobody else commits.
#[derive(Default)]
struct Numbers {
    /// What SQLite counts up when others commit. None: nothing was read yet.
    data_version: Cell<Option<i64>>,
    log: Cell<u64>,
    session: Cell<u64>,
    head: Cell<u64>,
}

impl Numbers {
    /// Sees to it that they are true in the transaction that was just begun.
    fn look(&self, connection: &Connection) -> rusqlite::Result<()> {
        let version = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.data_version.get() == Some(version) {
            return Ok(());
        }
        let sql = "SELECT (SELECT coalesce(max(number), 0) + 1 FROM log),
                          (SELECT coalesce(max(number), 0) + 1 FROM sessions), head FROM feed";
        let found = connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        self.set(found);
        self.data_version.set(Some(version));
        Ok(())
    }

    fn get(&self) -> (u64, u64, u64) {
        (self.log.get(), self.session.get(), self.head.get())
    }

    fn set(&self, (log, session, head): (u64, u64, u64)) {
        self.log.set(log);
        self.session.set(session);
        self.head.set(head);
    }
}

impl Write<'_> {
    /// The number of the log's next row, which a token may be in.
    pub(super) fn next_row(&self) -> u64 {
        self.numbers.log.replace(self.numbers.log.get() + 1)
    }

    pub(super) fn next_session(&self) -> u64 {
        self.numbers.session.replace(self.numbers.session.get() + 1)
    }

    /// The number of the newest change: after which one what is made now is born.
    pub(super) fn head(&self) -> u64 {
        self.numbers.head.get()
    }

    /// The number that the next change will get; a mark that is set with it is that number.
    pub(super) fn next_change(&self) -> u64 {
        self.head() + 1
    }

    /// Notes that [`super::feed::write`] wrote that change.
    pub(super) fn changed(&self) {
        self.numbers.head.set(self.next_change());
    }
}

/// The way of answers to those who wait for them: a task beside them answers whole batches.
///
/// Each answer from another thread would wake the callers' runtime by a system call of its own.
#[derive(Clone, Default)]
struct Answers(Arc<OnceLock<(runtime::Id, mpsc::Sender<Batch>)>>);

/// Operations that are committed.
type Batch = Vec<Box<dyn Job>>;
/// Operations that are not, and why.
type Failed = Vec<(Box<dyn Job>, rusqlite::Error)>;

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

/// An operation of which nobody hears what came of it.
fn unheard<F>(run: F) -> Box<dyn Job>
where
    F: FnMut(&Write<'_>) -> rusqlite::Result<()> + Send + 'static,
{
    Box::new(Operation { spares_grounds: false, answered_near: true, run, value: None, answer: None })
}

/// The way to the writer.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    condition: Arc<Condition>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    figures: Arc<Figures>,
    answers: Answers,
}

/// What the writer did since the start, and how large the database is.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriterFigures {
    /// Bytes of the database's files.
    pub bytes: u64,
    /// Batches committed.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Microseconds spent committing.
    pub commit_micros: u64,
    /// Batches by how many operations they held: at most 1, 2, 4, 8, 16, 32, and more.
    pub commit_sizes: [u64; 7],
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
    pub(super) condition: Arc<Condition>,
    pub(super) sealer: Sealer,
    pub(super) batch_max: usize,
    pub(super) beside_a_server: bool,
    pub(super) crash: Crash,
}

impl Writer {
    pub(super) fn start(start: Start) -> rusqlite::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_LEN_MAX);
        let figures = Arc::new(Figures::default());
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
        Ok(Self { queue: Mutex::new(Some(queue)), condition, thread: Mutex::new(Some(thread)), figures, answers })
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
        answered.await.map_err(|_| StoreError::InDoubt("the store's writer ended".into()))?
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
        WriterFigures {
            bytes: 0,
            commits: self.figures.commits.load(Ordering::Relaxed),
            operations: self.figures.operations.load(Ordering::Relaxed),
            commit_micros: self.figures.commit_micros.load(Ordering::Relaxed),
            commit_sizes: std::array::from_fn(|class| self.figures.commit_sizes[class].load(Ordering::Relaxed)),
        }
    }

    /// Lets what waits be written, then ends the thread.
    pub(super) fn end(&self) -> Ending {
        drop(self.queue.lock().take());
        Ending(self.thread.lock().take())
    }
}

/// The writer's thread, which ends.
pub(super) struct Ending(Option<std::thread::JoinHandle<()>>);

impl Ending {
    /// Blocks until it has ended.
    pub(super) fn wait(self) {
        if self.0.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer had panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end().wait();
    }
}

struct Worker {
    connection: Connection,
    condition: Arc<Condition>,
    sealer: Sealer,
    numbers: Numbers,
    grounds: MintGrounds,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    batch_max: usize,
    figures: Arc<Figures>,
    answers: Answers,
    checkpointer: Checkpointer,
    doubt: Doubt,
    /// Whether keeping the log short is another's business.
    beside_a_server: bool,
    crash: Crash,
}

/// Whether a transaction whose commit failed may stand in the log, past its good end.
///
/// SQLite writes a transaction into the log and then flushes it. If the flush fails, it takes the transaction back in
/// memory and leaves it in the file, where the next start finds it whole and takes it for committed. The next
/// transaction that is committed lies over it. Until then nobody may be told that nothing was written.
#[derive(Default)]
struct Doubt(Cell<bool>);

impl Doubt {
    /// A commit failed.
    fn begin(&self, error: &rusqlite::Error) {
        // The disk was full: the end of the transaction, without which it counts for nothing, never came into the file.
        // What an earlier one may have left stays as doubtful as it was.
        if error.sqlite_error_code() != Some(ErrorCode::DiskFull) {
            self.0.set(true);
        }
    }

    /// A commit succeeded.
    fn end(&self) {
        // One that had nothing to write lies over nothing.
        if LOG_WRITTEN.get() {
            self.0.set(false);
        }
    }

    /// What to tell those whose operation ended with `error`.
    fn told(&self, error: rusqlite::Error) -> StoreError {
        if self.0.get() { StoreError::InDoubt(Box::new(error)) } else { failure(error) }
    }
}

thread_local! {
    /// Pages in the write-ahead log after the last commit of this thread.
    static LOG_PAGES: Cell<usize> = const { Cell::new(0) };
    /// Whether the last commit of this thread wrote any.
    static LOG_WRITTEN: Cell<bool> = const { Cell::new(false) };
}

#[expect(clippy::unnecessary_wraps, reason = "SQLite's hook may fail; this one does not")]
fn note_log_pages(_: &mut rusqlite::hooks::Wal, pages: i32) -> rusqlite::Result<()> {
    LOG_PAGES.set(usize::try_from(pages).unwrap_or(0));
    LOG_WRITTEN.set(true);
    Ok(())
}

impl Worker {
    fn work(mut self) {
        if let Err(error) = self.connection.wal_hook(Some(note_log_pages)) {
            // Without it the log is never found long: it then grows until the store is closed.
            tracing::error!(error = &error as &dyn std::error::Error, "the length of the log cannot be watched");
        }
        while let Some(job) = self.next_job() {
            let mut batch = vec![job];
            while batch.len() < self.batch_max {
                match self.waiting.try_recv() {
                    Ok(job) => batch.push(job),
                    Err(_) => break,
                }
            }
            self.condition.writer.begin(&self.condition);
            self.commit(batch);
            if self.crash.is_to_come() {
                return;
            }
            self.keep_log_short();
            self.condition.writer.end();
        }
        if self.condition.is_trusted() && !self.beside_a_server {
            // Leave a tidy file behind; failing that, the next start does it.
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA optimize;");
        }
        readers::close(self.connection, &self.condition);
    }

    fn next_job(&mut self) -> Option<Box<dyn Job>> {
        if let Ok(job) = self.waiting.try_recv() {
            return Some(job);
        }
        if LOG_WRITTEN.replace(false) {
            self.leave_read_mark();
        }
        self.waiting.blocking_recv()
    }

    /// Reads, so that who reads next need not write.
    ///
    /// The first reader after a commit notes in shared memory how far it reads. That memory is a file, and on a file
    /// system that stands still even such a note waits. The next transaction leaves the note too, if there is one.
    fn leave_read_mark(&self) {
        self.condition.writer.begin(&self.condition);
        let read = self.connection.prepare_cached("SELECT 1 FROM meta LIMIT 0").and_then(|mut read| read.exists([]));
        if let Err(error) = read {
            self.condition.met(error);
        }
        self.condition.writer.end();
    }

    fn commit(&mut self, mut batch: Batch) {
        if !self.condition.is_trusted() {
            // That became known while they waited.
            for job in batch {
                let refused = self.condition.writable().and_then(|()| self.condition.readable());
                job.answer(refused.and(Err(StoreError::Unavailable("the database cannot be used".into()))));
            }
            return;
        }
        match self.transaction(batch.iter_mut()) {
            Ok(()) => self.answer_committed(batch),
            Err(_) if self.crash.is_to_come() => {}
            Err(error) if is_busy(&error) => self.give_up(batch.into_iter().map(|job| (job, busy())).collect()),
            Err(_) => self.commit_each(batch),
        }
    }

    /// Answers operations that are committed, unless into files that nobody will find again: that is none. It is asked once
    /// a batch.
    fn answer_committed(&self, batch: Batch) {
        self.condition.look_at_files();
        if self.condition.is_lost() {
            for job in batch {
                job.answer(Err(StoreError::InDoubt("the database was taken away meanwhile".into())));
            }
        } else if !self.crash.is_at(CrashPoint::AfterCommit) {
            self.figures.committed(batch.len());
            self.answers.give(batch);
        }
    }

    /// Runs a batch that failed one by one, to find out who made it fail, and answers all of it.
    fn commit_each(&mut self, batch: Batch) {
        let mut failed = Vec::new();
        let mut jobs = batch.into_iter();
        while let Some(mut job) = jobs.next() {
            match self.transaction(std::iter::once(&mut job)) {
                Ok(()) => self.answer_committed(vec![job]),
                Err(error) => {
                    self.condition.note(&error);
                    let held = is_busy(&error);
                    failed.push((job, error));
                    if held {
                        failed.extend(jobs.map(|job| (job, busy())));
                        return self.give_up(failed);
                    }
                    if self.doubt.0.get() {
                        // The disk fails, and would fail the others after as long a wait.
                        break;
                    }
                }
            }
        }
        failed.extend(jobs.map(|job| (job, rusqlite::Error::InvalidQuery)));
        if self.doubt.0.get() && !failed.is_empty() {
            self.settle();
        }
        self.answer_failed(failed);
    }

    fn answer_failed(&self, failed: Failed) {
        for (job, error) in failed {
            job.answer(Err(self.doubt.told(error)));
        }
    }

    /// Answers those who failed, and all who wait behind them: another process holds the database, and each further wait
    /// for it would be as long as the one that is over, which they have waited too.
    ///
    /// A commit that failed before is not undone now, as that would be such a wait as well.
    fn give_up(&mut self, failed: Failed) {
        tracing::warn!(
            seconds = BUSY_TIMEOUT.as_secs(),
            "another process has held the database for too long: what waits to be written is refused"
        );
        self.answer_failed(failed);
        // Not those who come meanwhile: they have waited for nothing yet.
        for _ in 0..self.waiting.len() {
            let Ok(job) = self.waiting.try_recv() else { break };
            // Of these nothing ever ran.
            job.answer(Err(failure(busy())));
        }
    }

    /// Tries to lay something of no meaning over what a failed commit may have left, so that it never happened.
    fn settle(&self) {
        let settled = self.in_transaction(|write| maintenance::touch(write.connection));
        if let Err(error) = settled {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a commit failed, and so did undoing it: what it held will have happened or not after the next start"
            );
        }
    }

    fn transaction<'a>(&self, jobs: impl Iterator<Item = &'a mut Box<dyn Job>>) -> rusqlite::Result<()> {
        self.grounds.clear();
        self.in_transaction(|write| {
            for job in jobs {
                // A panic in an operation is a defect of ours; it must not take the store down with it.
                std::panic::catch_unwind(AssertUnwindSafe(|| job.run(write)))
                    .unwrap_or(Err(rusqlite::Error::InvalidQuery))?;
                if !job.spares_grounds() {
                    self.grounds.clear();
                }
            }
            Ok(())
        })
    }

    fn in_transaction(&self, run: impl FnOnce(&Write<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
        let write = Write {
            connection: &self.connection,
            sealer: &self.sealer,
            grounds: &self.grounds,
            numbers: &self.numbers,
        };
        let mut numbers = None;
        let ran = (|| {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.numbers.look(&self.connection)?;
            numbers = Some(self.numbers.get());
            run(&write)
        })();
        let done = match ran {
            Ok(()) if self.crash.is_at(CrashPoint::BeforeCommit) => Err(rusqlite::Error::InvalidQuery),
            Ok(()) => self.end_transaction(),
            Err(error) => Err(error),
        };
        if done.is_err() {
            if !self.connection.is_autocommit() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            // What was rolled back gives its numbers back.
            if let Some(numbers) = numbers {
                self.numbers.set(numbers);
            }
        }
        done
    }

    fn end_transaction(&self) -> rusqlite::Result<()> {
        let started = Instant::now();
        LOG_WRITTEN.set(false);
        let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.figures.commit_micros.fetch_add(micros, Ordering::Relaxed);
        match &committed {
            Ok(_) => self.doubt.end(),
            Err(error) => self.doubt.begin(error),
        }
        committed.map(|_| ())
    }

    /// Starts copying the log into the database when it has grown, and completes that between two batches.
    ///
    /// A copy beside a busy writer never reaches the end of the log, and only a log copied to its end is begun anew.
    /// So the thread beside copies nearly all, and this one the few pages written meanwhile.
    fn keep_log_short(&self) {
        if !self.condition.is_trusted() {
            return;
        }
        let pages = LOG_PAGES.get();
        let long = self.condition.log_long.load(Ordering::Relaxed);
        let copied = self.checkpointer.take_finished();
        if !copied && pages < CHECKPOINT_PAGES_MAX {
            if pages >= CHECKPOINT_PAGES || long {
                self.checkpointer.begin();
            }
            return;
        }
        // Never one that waits for readers: a backup reads for as long as it copies, and the log may grow meanwhile.
        let checkpoint = if long { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
        let done = at_once(&self.connection, |connection| connection.query_row(checkpoint, [], |_| Ok(())));
        // Tried again after the next look at the files.
        self.condition.log_long.store(false, Ordering::Relaxed);
        if let Err(error) = done {
            self.condition.note(&error);
            tracing::warn!(error = &error as &dyn std::error::Error, "checkpoint failed");
        }
    }
}

/// Whether another process held the database for as long as the writer waits.
fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

fn busy() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    rusqlite::Error::SqliteFailure(code, Some("another process holds the database".to_owned()))
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// A failure of the system as one of SQLite's.
pub(super) fn thread_failed(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::AtomicBool;

    use respoke_core::ports::MaintenanceStore;

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

    /// Lets an operation hold the writer until `meanwhile` lets go, and then write `rows`. What came of both.
    async fn held<T>(
        store: &SqliteStore,
        rows: &'static str,
        meanwhile: impl AsyncFnOnce(std::sync::mpsc::SyncSender<()>) -> T,
    ) -> (Result<(), StoreError>, T) {
        let (release, released) = std::sync::mpsc::sync_channel(1);
        let (holds, held) = oneshot::channel();
        let mut holds = Some(holds);
        let hold = store.writer.write(move |write| {
            if let Some(holds) = holds.take() {
                holds.send(()).unwrap();
                released.recv().unwrap();
            }
            write.connection.execute_batch(rows)
        });
        let meanwhile = async {
            held.await.unwrap();
            meanwhile(release).await
        };
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(hold, meanwhile) }).await.unwrap()
    }

    fn insert(key: &'static str) -> impl FnMut(&Write<'_>) -> rusqlite::Result<()> + Send + 'static {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, x'') ON CONFLICT DO NOTHING";
        move |write| write.connection.execute(sql, [key]).map(drop)
    }

    #[tokio::test]
    async fn once_the_database_is_known_to_be_lost_or_damaged_nothing_more_is_written() {
        let learn: [fn(&Condition); 2] = [
            |condition| {
                let damage = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
                condition.note(&rusqlite::Error::SqliteFailure(damage, None));
            },
            |condition| condition.lost("a test takes it away"),
        ];
        for learn in learn {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("respoked.db");
            let store = SqliteStore::open(&path, Options::default()).unwrap();
            // Long enough for the log to be copied.
            let long = "INSERT INTO meta (key, value) VALUES ('held', randomblob(50331648))";
            let (_, waited) = held(&store, long, async |release| {
                let mut waits = std::pin::pin!(store.writer.write(insert("waited")));
                assert!(tokio::time::timeout(Duration::from_millis(1), &mut waits).await.is_err());
                learn(&store.condition);
                store.writer.write_if_idle(insert("unheard"));
                release.send(()).unwrap();
                waits.await
            })
            .await;
            assert!(matches!(waited, Err(StoreError::Unavailable(_))), "{waited:?}");
            drop(store);
            assert!(std::fs::metadata(&path).unwrap().len() < 4 << 20, "the log was not copied");
            let found = "SELECT group_concat(key) FROM meta WHERE key IN ('held', 'waited', 'unheard')";
            let written = Connection::open(&path).unwrap().query_row(found, [], |row| row.get::<_, String>(0));
            assert_eq!(written.unwrap(), "held");
        }
    }

    #[tokio::test]
    async fn one_of_a_failed_batch_is_not_told_of_success_in_files_that_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("respoked.db");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        let (_, (good, bad)) = held(&store, "", async |release| {
            let mut write = insert("written");
            let good = store.writer.write(move |with| {
                let _ = std::fs::remove_file(&path);
                write(with)
            });
            let bad = store.writer.write(|_| Err::<(), _>(rusqlite::Error::InvalidQuery));
            let (good, bad, ()) = tokio::join!(good, bad, async { release.send(()).unwrap() });
            (good, bad)
        })
        .await;
        assert!(matches!(good, Err(StoreError::InDoubt(_))), "{good:?}");
        assert!(bad.is_err());
    }

    static WAITS: AtomicU64 = AtomicU64::new(0);
    static QUEUED: AtomicBool = AtomicBool::new(false);

    /// Counts how often the writer waits for another process, and lets it give up when all are queued.
    fn wait_for_the_queue(_: i32) -> bool {
        WAITS.fetch_add(1, Ordering::SeqCst);
        while !QUEUED.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        false
    }

    #[tokio::test]
    async fn while_another_process_holds_the_database_everybody_is_answered_after_one_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("respoked.db");
        drop(SqliteStore::open(&path, Options::default()).unwrap());
        let open = || crate::sqlite::open_for_writing(&path).unwrap();
        let mut connection = open();
        connection.busy_handler(Some(wait_for_the_queue)).unwrap();
        let writer = Writer::start(Start {
            connection,
            checkpoints: open(),
            condition: Arc::default(),
            sealer: Sealer::new([7; 16]),
            batch_max: 32,
            beside_a_server: true,
            crash: Crash::default(),
        });
        let writer = writer.unwrap();
        let other = open();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        // Some batches.
        let mut writes: Vec<_> = (0..100).map(|_| Box::pin(writer.write(insert("refused")))).collect();
        std::future::poll_fn(|context| {
            assert!(writes.iter_mut().all(|write| write.as_mut().poll(context).is_pending()));
            std::task::Poll::Ready(())
        })
        .await;
        QUEUED.store(true, Ordering::SeqCst);
        for write in writes {
            let answer = write.await;
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "nothing was written: {answer:?}");
            let trouble = crate::sqlite::Trouble::of(&answer.unwrap_err());
            assert_eq!(trouble, Some(crate::sqlite::Trouble::Busy));
        }
        assert_eq!(WAITS.load(Ordering::SeqCst), 1);
        other.execute_batch("ROLLBACK").unwrap();
        writer.write(insert("written")).await.unwrap();
        let found = "SELECT group_concat(key) FROM meta WHERE key IN ('refused', 'written')";
        let written = other.query_row(found, [], |row| row.get::<_, String>(0));
        assert_eq!(written.unwrap(), "written");
    }

    #[tokio::test]
    async fn a_log_that_grew_beside_a_long_reader_is_cut_when_the_reader_is_gone() {
        for writes_go_on in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("respoked.db");
            let store = SqliteStore::open(&path, Options::default()).unwrap();
            let log = crate::sqlite::origin::beside(&path, "-wal");
            let log_bytes = || std::fs::metadata(&log).unwrap().len();
            let fill = |bytes: u32| {
                store.writer.write(move |write: &Write<'_>| {
                    let sql = "INSERT INTO meta (key, value) VALUES ('filling', randomblob(?1))
                               ON CONFLICT DO UPDATE SET value = excluded.value";
                    write.connection.execute(sql, [bytes])
                })
            };
            // As a backup does.
            let reader = Connection::open(&path).unwrap();
            reader.execute_batch("BEGIN; SELECT count(*) FROM meta").unwrap();
            for _ in 0..90 {
                fill(1 << 20).await.unwrap();
            }
            assert!(log_bytes() > 89 << 20);
            drop(reader);
            let deadline = Instant::now() + Duration::from_secs(30);
            while log_bytes() > 40 << 20 {
                assert!(Instant::now() < deadline, "{writes_go_on}: the log stays {} bytes long", log_bytes());
                if writes_go_on {
                    fill(1).await.unwrap();
                } else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            store.check().await.unwrap();
        }
    }
}
