//! Who makes a promoted server fit to be used: one task of the store's own. What it does there stands in `settle.rs`.
//!
//! It may take minutes. So nobody who comes to such a server does it, nor waits for it with a connection in hand: they have it begun, and
//! wait a while. If they go away, it goes on all the same.
//!
//! Invariant: one server at a time. If one is met meanwhile that was promoted later, that one takes its place.
//! Invariant: it ends with the store, whatever it is at.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use respoke_core::chance::Chance;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::Patience;
use super::connector::Connector;
use super::failure::Failure;
use super::journal::Journal;
use super::lineage::{Line, Lineage};
use super::settle;
use super::tries::part_of;

/// How long a server is left alone after it could not be made fit: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// After which nobody comes back any more to a server that could not be made fit: as a rule it was a mistake to promote it.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The way to a server.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) patience: Patience,
}

impl Way {
    /// What makes connections there, and has to stay as long as they do.
    fn connector(self, tasks: TaskTracker) -> Connector {
        let mut connector = Connector::new(self.config, self.tls, self.patience, tasks);
        connector.keep_to_those_that_keep();
        connector
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No server is made fit.
    Idle,
    /// One is, and nobody may use it.
    Begun,
    /// Only what this process had ended is still to be ended there: nodes may say that they live.
    BeatsPass,
}

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comer {
    /// Whoever reads or writes.
    Usual,
    /// The same of one who would rather fail than wait.
    InHaste,
    /// Whoever says that a node lives.
    Beat,
}

/// What there is of it for all connections.
pub(super) struct Settling {
    aim: Mutex<Aim>,
    stage: watch::Sender<Stage>,
    /// Told when the task is to look anew what to do.
    changed: Notify,
    tasks: TaskTracker,
    runtime: Handle,
    over: CancellationToken,
}

/// What the task is to do.
#[derive(Default)]
struct Aim {
    server: Option<Server>,
    /// Until when none is tried, because one was in vain, and how long that is.
    rest: Option<(Instant, Duration)>,
    /// Where the database goes on since it was promoted last.
    here: Option<Way>,
    is_running: bool,
}

/// What it does.
enum Task {
    Fit(Server),
    /// Ends there what came too late to be ended when that server was made fit.
    EndLate(Way),
}

/// A server that was met, and is to be made fit.
#[derive(Clone)]
struct Server {
    way: Way,
    met: Lineage,
}

impl Settling {
    /// Its task is on `tasks`, and on the runtime that this is called on.
    pub(super) fn on(tasks: TaskTracker) -> Self {
        Self {
            aim: Mutex::default(),
            stage: watch::Sender::new(Stage::Idle),
            changed: Notify::new(),
            tasks,
            runtime: Handle::current(),
            over: CancellationToken::new(),
        }
    }

    /// Whether a server is being made fit.
    pub(super) fn is_under_way(&self) -> bool {
        *self.stage.borrow() != Stage::Idle
    }

    /// Whether nobody makes a server fit, nor tried it lately.
    pub(super) fn is_over(&self) -> bool {
        let aim = self.aim.lock();
        aim.server.is_none() && aim.rest.is_none_or(|(until, _)| until.elapsed() > FORGOTTEN)
    }

    /// Waits until a server that is being made fit may be used, or came to nothing. False: that takes longer than this.
    pub(super) async fn ends_within(&self, patience: Duration, comer: Comer) -> bool {
        let may_look = |stage: &Stage| match comer {
            Comer::Usual => *stage == Stage::Idle,
            Comer::Beat => *stage != Stage::Begun,
            Comer::InHaste => true,
        };
        tokio::time::timeout(patience, self.stage.subscribe().wait_for(may_look)).await.is_ok()
    }

    /// From now on nodes may say that they live.
    pub(super) fn let_beats_pass(&self) {
        self.stage.send_replace(Stage::BeatsPass);
    }

    /// Ends it, for good.
    pub(super) fn end(&self) {
        self.over.cancel();
    }

    /// Does it, unless there is something else to do, or the store ends.
    async fn undisturbed<T>(&self, doing: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.over.cancelled() => None,
            () = self.changed.notified() => None,
            done = doing => Some(done),
        }
    }

    /// What to do. None: nothing, and the task ends.
    fn next(&self, journal: &Journal) -> Option<Task> {
        let mut aim = self.aim.lock();
        let task = match (&aim.server, &aim.here) {
            _ if self.over.is_cancelled() => None,
            (Some(server), _) => Some(Task::Fit(server.clone())),
            (None, Some(here)) if journal.has_late() => Some(Task::EndLate(here.clone())),
            (None, _) => None,
        };
        let stage = if matches!(task, Some(Task::Fit(_))) { Stage::Begun } else { Stage::Idle };
        self.stage.send_replace(stage);
        aim.is_running = task.is_some();
        task
    }

    /// Notes what came of a server, unless another one took its place.
    fn note(&self, server: Server, made: Result<(), Failure>, chance: &dyn Chance) {
        let mut aim = self.aim.lock();
        aim.server.take_if(|other| other.met == server.met);
        match made {
            Ok(()) => (aim.rest, aim.here) = (None, Some(server.way)),
            Err(failure) => {
                let error: &dyn std::error::Error = &failure;
                tracing::warn!(error, "the database was promoted, and could not be made fit: it is tried again");
                let pause = aim.rest.map_or(PAUSE_MIN, |(_, pause)| longer(pause));
                aim.rest = Some((Instant::now() + part_of(pause, chance), pause));
            }
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSE_MAX)
}

/// Has what came too late be ended where the database goes on.
pub(super) fn see_to_late(line: &Arc<Line>) {
    let settling = &line.settling;
    if line.journal.has_late() && !settling.over.is_cancelled() {
        let mut aim = settling.aim.lock();
        // If it runs, it looks once more before it ends.
        if aim.here.is_some() && !aim.is_running {
            begin(line, &mut aim);
        }
    }
}

/// Has a server be made fit that was met, unless it is, or was tried a moment ago.
pub(super) fn want(line: &Arc<Line>, met: Lineage, way: Way) {
    let settling = &line.settling;
    if settling.over.is_cancelled() {
        return;
    }
    let mut aim = settling.aim.lock();
    let rests = aim.rest.is_some_and(|(until, _)| Instant::now() < until);
    match &mut aim.server {
        Some(server) if met.timeline > server.met.timeline => {
            *server = Server { way, met };
            settling.changed.notify_one();
        }
        Some(_) => {}
        None if rests => {}
        None => {
            aim.server = Some(Server { way, met });
            settling.stage.send_replace(Stage::Begun);
            begin(line, &mut aim);
        }
    }
}

/// Begins the task, or tells it that there is something else to do.
fn begin(line: &Arc<Line>, aim: &mut Aim) {
    if std::mem::replace(&mut aim.is_running, true) {
        line.settling.changed.notify_one();
    } else {
        line.settling.tasks.spawn_on(run(line.clone()), &line.settling.runtime);
    }
}

/// Looks again and again whether another server was promoted, until the store ends: nobody comes to one as long as the one before lives.
pub(super) async fn look_at_others(line: Arc<Line>, connector: Arc<Connector>, pause: Duration) {
    let over = &line.settling.over;
    while over.run_until_cancelled(tokio::time::sleep(part_of(pause, &*line.chance))).await.is_some() {
        let looking = AssertUnwindSafe(connector.look_at_others()).catch_unwind();
        if let Some(Err(_)) = over.run_until_cancelled(looking).await {
            tracing::error!("a look at other servers of the database panicked");
        }
    }
}

async fn run(line: Arc<Line>) {
    let (settling, mut pause) = (&line.settling, PAUSE_MIN);
    while let Some(task) = settling.next(&line.journal) {
        let doing = AssertUnwindSafe(work(&line, &task)).catch_unwind();
        let Some(done) = settling.undisturbed(doing).await else { continue };
        let done = done.unwrap_or_else(|_| Err(Failure::lost("what makes a promoted server fit panicked")));
        match (task, done) {
            (Task::Fit(server), made) => settling.note(server, made, &*line.chance),
            (Task::EndLate(_), Ok(())) => pause = PAUSE_MIN,
            (Task::EndLate(_), Err(failure)) => {
                tracing::warn!(
                    error = &failure as &dyn std::error::Error,
                    "what was ended on a server that was left behind could not be ended: it is tried again"
                );
                settling.undisturbed(tokio::time::sleep(part_of(pause, &*line.chance))).await;
                pause = longer(pause);
            }
        }
    }
}

async fn work(line: &Line, task: &Task) -> Result<(), Failure> {
    let (Task::Fit(Server { way, .. }) | Task::EndLate(way)) = task;
    let connector = way.clone().connector(line.settling.tasks.clone());
    let connection = connector.connect().await?;
    match task {
        Task::Fit(_) => settle::make_fit(line, &connection).await,
        Task::EndLate(_) => settle::end_late(line, &connection).await,
    }
}

#[cfg(test)]
mod tests;
