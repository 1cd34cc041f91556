//! The writer's thread: takes batches, commits them, answers them, and keeps the log short.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use respoke_core::ports::StoreError;
use respoke_core::seal::Sealer;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::mpsc;

use super::answers::{Answers, Batch, Failed};
use super::doubt::{Doubt, LOG_PAGES, LOG_WRITTEN, note_log_pages, touch};
use super::job::Job;
use super::write::{Numbers, Write};
use crate::crash::{Crash, CrashPoint};
use crate::mint_grounds::MintGrounds;
use crate::sqlite::checkpointer::Checkpointer;
use crate::sqlite::condition::Condition;
use crate::sqlite::failure::failure;
use crate::sqlite::file::{BUSY_TIMEOUT, at_once};
use crate::sqlite::readers;
use crate::sqlite::rows::defect;
use crate::writer_figures::Committed;

/// Pages of write-ahead log after which they are copied into the database, off this thread (32 MiB).
const CHECKPOINT_PAGES: usize = 32_000;
/// Pages after which this thread does so itself after each batch (256 MiB).
const CHECKPOINT_PAGES_MAX: usize = 262_144;

pub(super) struct Worker {
    pub(super) connection: Connection,
    pub(super) condition: Arc<Condition>,
    pub(super) sealer: Sealer,
    pub(super) numbers: Numbers,
    pub(super) grounds: MintGrounds,
    pub(super) waiting: mpsc::Receiver<Box<dyn Job>>,
    pub(super) batch_max: usize,
    pub(super) figures: Arc<Committed>,
    pub(super) answers: Answers,
    pub(super) checkpointer: Checkpointer,
    pub(super) doubt: Doubt,
    /// Whether keeping the log short is another's business.
    pub(super) beside_a_server: bool,
    pub(super) crash: Crash,
}

/// Why the thread ends.
enum End {
    OfTheStore,
    /// A test lets it die.
    OfATest,
}

impl Worker {
    pub(super) fn work(mut self) {
        if let Err(error) = self.connection.wal_hook(Some(note_log_pages)) {
            // Without it the log is never found long: it then grows until the store is closed.
            tracing::error!(error = &error as &dyn std::error::Error, "the length of the log cannot be watched");
        }
        loop {
            // Whoever waits for one of a batch that panics hears that it is in doubt.
            match std::panic::catch_unwind(AssertUnwindSafe(|| self.write_next())) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(End::OfATest)) => return,
                Ok(ControlFlow::Break(End::OfTheStore)) => break,
                Err(_) => self.go_on_behind_a_panic(),
            }
        }
        if self.condition.is_trusted() && !self.beside_a_server {
            // Leave a tidy file behind; failing that, the next start does it.
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA optimize;");
        }
        readers::close(self.connection, &self.condition);
    }

    /// Writes what waits, or waits for it.
    fn write_next(&mut self) -> ControlFlow<End> {
        let Some(job) = self.next_job() else { return ControlFlow::Break(End::OfTheStore) };
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
            return ControlFlow::Break(End::OfATest);
        }
        self.condition.batches.fetch_add(1, Ordering::Relaxed);
        self.keep_log_short();
        self.condition.writer.end();
        ControlFlow::Continue(())
    }

    /// Leaves nothing of a batch that panicked to those behind it: neither an open transaction nor what it had read.
    fn go_on_behind_a_panic(&mut self) {
        // What it said and where is in the log already.
        tracing::error!("a batch panicked: what waits behind it is written");
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            self.condition.met(error);
        }
        self.numbers = Numbers::default();
        self.grounds.clear();
        self.condition.writer.end();
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
            self.figures.count(batch.len());
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
                    if self.doubt.is_there() {
                        // The disk fails, and would fail the others after as long a wait.
                        break;
                    }
                }
            }
        }
        failed.extend(jobs.map(|job| (job, defect("it was not tried after a commit failed"))));
        if self.doubt.is_there() && !failed.is_empty() {
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
        let settled = self.in_transaction(|write| touch(write.connection));
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
                    .unwrap_or_else(|_| Err(defect("a write panicked")))?;
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
            Ok(()) if self.crash.is_at(CrashPoint::BeforeCommit) => Err(defect("a test lets the commit fail")),
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
