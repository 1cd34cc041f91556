//! Writers: tasks with a connection each, which commit what waits in batches. One writes mints and redemptions
//! (`token_writer.rs`), another one what is said in groups (`message_writer.rs`).
//!
//! A task takes the first operation that waits and whatever waits behind it, up to a limit, and has them run in one
//! transaction. While one batch is committed, the next gathers (`writer/gathering.rs`). Another task runs it if the first takes long.
//!
//! Invariant: an operation is answered with success only after its commit was confirmed.
//! Invariant: an operation is answered with "nothing was written" only if no commit that could hold it was asked for.
//! Invariant: an operation that fails takes nobody with it. Its batch is rolled back and run again in halves, and so on.
//! Invariant: an operation that another transaction keeps waiting waits aside (`writer/held.rs`), and the others of its batch do not.
//! Invariant: a task whose commit is not answered takes nothing that another one can take (`writer/stuck.rs`).
//! Invariant: a task goes on behind a batch that panics. Without it what waits would wait in vain.
//! Invariant: an operation that waited too long before it was begun is not run. One whose connection is lost is followed by
//! nobody of its batch: they would each wait as long.

mod gathering;
mod held;
mod stuck;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use respoke_core::chance::Chance;
use respoke_core::ports::StoreError;
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connect::{Connection, Patience};
use super::connector::Connector;
use super::failure::Failure;
use super::settling::Comer;
use super::tries::{Figures, Tries, Undone, part_of};
use crate::crash::{Crash, CrashPoint};
use gathering::{Pace, Queue};
use held::Held;
use stuck::Stuck;

/// Operations that may wait. At 50,000 a second this is a tenth of a second's worth; more would only wait longer.
const QUEUE_LEN_MAX: usize = 4_096;
/// Batches that were committed and not handed out yet. More would only be promised later.
const ANSWERED_LEN_MAX: usize = 16;
/// Pauses between tries to connect: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a writer writes.
pub(super) trait Work: Send + Sync + 'static {
    type Operation: Send + Sync;
    /// What comes of one.
    type Outcome: Send;

    /// Connections, and tasks that use them.
    const CONNECTIONS: usize;

    /// Runs a batch as one transaction. Returns what came of each operation; none of those that another keeps waiting.
    fn run(
        &self,
        connection: &Connection,
        end: End<'_>,
        operations: &[&Self::Operation],
    ) -> impl Future<Output = Result<Vec<Option<Self::Outcome>>, Undone>> + Send;
}

/// An operation that waits, and whoever waits for it, if anybody does.
struct Job<W: Work> {
    operation: W::Operation,
    since: Instant,
    answer: Option<Waiting<W>>,
}

/// Who waits for an operation, and what came of it.
type Answered<W> = (Waiting<W>, Result<<W as Work>::Outcome, StoreError>);
type Waiting<W> = oneshot::Sender<Result<<W as Work>::Outcome, StoreError>>;

/// The right to take what waits.
type Turn<W> = OwnedMutexGuard<Queue<Job<W>>>;

/// The way to a writer.
pub(super) struct Writer<W: Work> {
    queue: Mutex<Option<mpsc::Sender<Job<W>>>>,
    patience: Patience,
    tasks: TaskTracker,
}

/// What a writer is started with.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) connector: Arc<Connector>,
    pub(super) batch_max: usize,
    pub(super) patience: Patience,
    pub(super) chance: Arc<dyn Chance>,
    pub(super) figures: Arc<Figures>,
    pub(super) crash: Crash,
}

impl<W: Work> Writer<W> {
    /// Its tasks and their connections are on the runtime of `runtime`.
    pub(super) fn start(start: Start, work: W, runtime: &Handle) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_LEN_MAX);
        let patience = start.patience;
        let (start, work, waiting) =
            (Arc::new(start), Arc::new(work), Arc::new(tokio::sync::Mutex::new(Queue::of(waiting))));
        let tasks = TaskTracker::new();
        let stuck = Stuck::of(W::CONNECTIONS);
        let (answers, answered) = mpsc::channel(ANSWERED_LEN_MAX);
        tasks.spawn(hand_out::<W>(answered));
        for _ in 0..W::CONNECTIONS {
            let worker = Worker {
                start: start.clone(),
                work: work.clone(),
                waiting: waiting.clone(),
                held: Held::default(),
                connection: None,
                pace: Pace::default(),
                stuck: stuck.clone(),
                answers: answers.clone(),
                is_cut_off: false,
                pause: PAUSE_MIN,
            };
            tasks.spawn_on(worker.work(), runtime);
        }
        tasks.close();
        Self { queue: Mutex::new(Some(queue)), patience, tasks }
    }

    /// Runs it some time, unless too much else waits. Nobody hears what came of it.
    pub(super) fn do_if_idle(&self, operation: W::Operation) {
        let queue = self.queue.lock().clone();
        if let Some(queue) = queue
            && queue.capacity() > QUEUE_LEN_MAX / 2
        {
            let _ = queue.try_send(Job { operation, since: Instant::now(), answer: None });
        }
    }

    /// Runs it, with what else waits.
    pub(super) async fn done(&self, operation: W::Operation) -> Result<W::Outcome, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Job { operation, since: Instant::now(), answer: Some(answer) };
        let queue = self.queue.lock().clone().ok_or_else(closed)?;
        match queue.try_send(job) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(job)) => {
                let sent = tokio::time::timeout(self.patience.turn, queue.send(job)).await;
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

    /// Takes nothing any more.
    pub(super) fn close(&self) {
        drop(self.queue.lock().take());
    }

    /// Its tasks, which end once it is closed.
    pub(super) fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Waits until what waits was written.
    pub(super) async fn drain(&self) {
        self.tasks.wait().await;
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// One of the tasks.
struct Worker<W: Work> {
    start: Arc<Start>,
    work: Arc<W>,
    waiting: Arc<tokio::sync::Mutex<Queue<Job<W>>>>,
    held: Held<Job<W>>,
    /// None before the first batch, and after a loss.
    connection: Option<Connection>,
    pace: Pace,
    /// The one before it, until that is closed.
    stuck: Stuck,
    answers: mpsc::Sender<Vec<Answered<W>>>,
    /// Whether the last batch found no server, however often it was tried.
    is_cut_off: bool,
    /// Before the next try to connect, if the last one failed.
    pause: Duration,
}

impl<W: Work> Worker<W> {
    async fn work(mut self) {
        while let Some((batch, turn)) = self.next_batch().await {
            // Whoever waits for one of a batch that panics hears that it is in doubt.
            if AssertUnwindSafe(self.write(batch, turn)).catch_unwind().await.is_err() {
                // What it said and where is in the log already.
                tracing::error!("a batch panicked: its connection is given up, and what waits behind it is written");
                if let Some(connection) = &self.connection {
                    connection.give_up();
                }
                self.rest().await;
            }
            self.put_broken_aside();
            if self.start.crash.is_to_come() {
                return;
            }
        }
    }

    /// Runs a batch and answers it. Whoever comes while there is no server is not kept waiting for it.
    async fn write(&mut self, batch: Vec<Job<W>>, turn: Option<Turn<W>>) {
        if self.is_cut_off {
            drop(turn);
            if let Err(failure) = self.connect_for(Comer::InHaste).await {
                refuse(batch, Undone::NothingWritten(failure));
                self.rest().await;
                return;
            }
            self.commit(batch).await;
        } else {
            self.commit_in_turn(batch, turn).await;
        }
        self.is_cut_off = self.connection.is_none();
    }

    /// What waits, without those who waited too long, and the turn to take it. None: nothing will come any more.
    async fn next_batch(&mut self) -> Option<(Vec<Job<W>>, Option<Turn<W>>)> {
        loop {
            let mut batch = Vec::new();
            let receive = async {
                self.stuck.may_take().await;
                let mut turn = self.waiting.clone().lock_owned().await;
                turn.take(&mut batch, self.start.batch_max, self.pace.of_busy()).await;
                turn
            };
            let received = tokio::select! {
                biased;
                () = self.held.due() => None,
                received = receive => Some(received),
            };
            let turn = match received {
                Some(_) if batch.is_empty() && self.held.is_empty() => return None,
                Some(_) if batch.is_empty() => {
                    self.held.due().await;
                    None
                }
                received => received,
            };
            if batch.is_empty() {
                batch = self.held.take(self.start.batch_max);
            }
            let batch = self.in_time(batch);
            if !batch.is_empty() {
                return Some((batch, turn));
            }
        }
    }

    /// Those of a batch that did not wait too long. The others are refused.
    fn in_time(&self, batch: Vec<Job<W>>) -> Vec<Job<W>> {
        let patience = self.start.patience.turn;
        let (batch, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|job| job.since.elapsed() < patience);
        refuse(late, Undone::NothingWritten(Failure::Overloaded));
        batch
    }

    /// The connection. One that is of no use any more is closed before another is made.
    async fn connect(&mut self) -> Result<&Connection, Failure> {
        self.connect_for(Comer::Usual).await
    }

    async fn connect_for(&mut self, comer: Comer) -> Result<&Connection, Failure> {
        self.put_broken_aside();
        self.stuck.closed().await?;
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.pace = Pace::default();
                self.start.connector.connect_for(comer).await?
            }
        };
        self.pause = PAUSE_MIN;
        Ok(self.connection.insert(connection))
    }

    fn put_broken_aside(&mut self) {
        if let Some(broken) = self.connection.take_if(|connection| connection.is_broken()) {
            self.stuck.put(broken.into_closing());
        }
    }

    /// Waits before the next try to connect: longer each time, and never as long as another node does.
    async fn rest(&mut self) {
        tokio::time::sleep(part_of(self.pause, &*self.start.chance)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Runs a batch and answers it. Meanwhile the others take nothing, unless it takes long.
    async fn commit_in_turn(&mut self, batch: Vec<Job<W>>, turn: Option<Turn<W>>) {
        let (since, keeping) = (Instant::now(), tokio::time::sleep(self.pace.turn()));
        {
            let mut committing = pin!(self.commit(batch));
            let is_quick = tokio::select! {
                biased;
                () = &mut committing => true,
                () = keeping => false,
            };
            drop(turn);
            if !is_quick {
                committing.await;
            }
        }
        self.pace.note(since.elapsed());
    }

    /// Runs a batch and answers it. If one of its operations makes it fail, it is run in halves to find out which.
    async fn commit(&mut self, batch: Vec<Job<W>>) {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let mut part = self.in_time(part);
            if part.is_empty() {
                continue;
            }
            match self.run(&part).await {
                Ok(outcomes) => {
                    let (answered, held) = sorted(part, outcomes);
                    // Whoever hands them out is there for as long as this.
                    let _ = self.answers.send(answered).await;
                    let surplus = self.held.put(held, QUEUE_LEN_MAX);
                    refuse(surplus, Undone::NothingWritten(Failure::Overloaded));
                }
                Err(undone) if part.len() > 1 && is_of_one(&undone) => {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
                Err(undone) => {
                    let lost = is_of_all(&undone);
                    refuse(part, undone);
                    if let Some(why) = lost {
                        let rest = parts.drain(..).flatten().collect();
                        refuse(rest, Undone::NothingWritten(Failure::lost(why)));
                    }
                }
            }
        }
    }

    /// Runs a batch, again if others are in its way or the connection is lost before a commit was asked for.
    async fn run(&mut self, batch: &[Job<W>]) -> Result<Vec<Option<W::Outcome>>, Undone> {
        let (start, work) = (self.start.clone(), self.work.clone());
        let mut tries = Tries::within(start.patience);
        let operations = batch.iter().map(|job| &job.operation).collect::<Vec<_>>();
        let end = End { crash: start.crash, figures: &start.figures };
        loop {
            let ran = match self.connect().await {
                Ok(connection) => work.run(connection, end, &operations).await,
                Err(failure) => Err(Undone::NothingWritten(failure)),
            };
            match ran {
                Ok(outcomes) => return Ok(outcomes),
                Err(undone) => tries.once_more(undone, &*start.chance, &start.figures).await?,
            }
        }
    }
}

/// Whether one operation of a batch may be why it failed.
fn is_of_one(undone: &Undone) -> bool {
    match undone {
        // Whoever waited for a lock in vain would each wait as long.
        Undone::NothingWritten(failure @ Failure::Refused(_)) => !failure.is_of_a_held_row(),
        Undone::NothingWritten(Failure::Row(_) | Failure::Again(_)) => true,
        Undone::NothingWritten(
            Failure::Lost(_) | Failure::Unanswered | Failure::Failed | Failure::Closed | Failure::Overloaded,
        )
        | Undone::InDoubt(_) => false,
    }
}

/// Why those that were to follow in a batch are not run, if they are not.
fn is_of_all(undone: &Undone) -> Option<&'static str> {
    match undone {
        Undone::NothingWritten(failure) if failure.is_of_a_held_row() => Some("a lock was waited for in vain"),
        Undone::NothingWritten(failure) | Undone::InDoubt(failure) if failure.is_a_loss() => {
            Some("the connection was lost while others of the batch were written")
        }
        Undone::NothingWritten(_) | Undone::InDoubt(_) => None,
    }
}

/// What came of each of a batch for whoever waits for it, and those that have to wait.
fn sorted<W: Work>(batch: Vec<Job<W>>, outcomes: Vec<Option<W::Outcome>>) -> (Vec<Answered<W>>, Vec<Job<W>>) {
    let (mut answered, mut held) = (Vec::with_capacity(batch.len()), Vec::new());
    for (job, outcome) in batch.into_iter().zip(outcomes) {
        match (outcome, job.answer) {
            (Some(outcome), Some(answer)) => answered.push((answer, Ok(outcome))),
            (Some(_), None) => {}
            (None, answer) => held.push(Job { answer, ..job }),
        }
    }
    (answered, held)
}

/// Hands out what came of batches, on the runtime that waits for it: each answer from another thread would wake that by a system
/// call of its own.
async fn hand_out<W: Work>(mut batches: mpsc::Receiver<Vec<Answered<W>>>) {
    while let Some(batch) = batches.recv().await {
        for (waiting, outcome) in batch {
            // A caller that went away is no concern of the writer's.
            let _ = waiting.send(outcome);
        }
    }
}

/// Answers all of a batch with why it was not done.
fn refuse<W: Work>(batch: Vec<Job<W>>, undone: Undone) {
    let told = undone.told_to_many();
    for job in batch {
        if let Some(answer) = job.answer {
            let _ = answer.send(Err(told()));
        }
    }
}

/// What a batch wrote before it is committed.
pub(super) enum Drafted {
    /// Rows, for this many operations.
    Rows(usize),
    Nothing,
}

/// How a batch's transaction ends, and where that is counted.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) crash: Crash,
    pub(super) figures: &'a Figures,
}

/// Runs what writes a batch in the transaction that it begins, and commits that.
pub(super) async fn committed<T>(
    connection: &Connection,
    End { crash, figures }: End<'_>,
    drafting: impl Future<Output = Result<(T, Drafted), Failure>>,
) -> Result<T, Undone> {
    let (outcomes, drafted) = match drafting.await {
        Ok(drafted) => drafted,
        Err(failure) => {
            roll_back(connection).await;
            return Err(Undone::NothingWritten(failure));
        }
    };
    let Drafted::Rows(operations) = drafted else {
        roll_back(connection).await;
        return Ok(outcomes);
    };
    if crash.is_at(CrashPoint::BeforeCommit) {
        connection.give_up();
        return Err(Undone::NothingWritten(Failure::Overloaded));
    }
    let since = Instant::now();
    let committed = connection.commit().await;
    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    figures.committed.commit_micros.fetch_add(micros, Ordering::Relaxed);
    if crash.is_at(CrashPoint::AfterCommit) {
        connection.give_up();
        return Err(Undone::InDoubt(Failure::lost("a test cut the connection")));
    }
    match committed {
        Ok(()) => {
            figures.committed.count(operations);
            Ok(outcomes)
        }
        Err(failure) => {
            roll_back(connection).await;
            Err(Undone::of_commit(failure))
        }
    }
}

async fn roll_back(connection: &Connection) {
    if connection.is_broken() || connection.roll_back().await.is_err() {
        connection.give_up();
    }
}

#[cfg(test)]
mod tests;
