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
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::{Connection, Patience};
use super::connector::Connector;
use super::failure::Failure;
use super::lineage::{Line, Lineage};
use super::settle;
use super::tries::part_of;

/// How long a server is left alone after it could not be made fit: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

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
    /// When it was tried in vain, and how long it rests.
    rest: Option<(Instant, Duration)>,
    is_running: bool,
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

    /// What to do. None: nothing, and the task ends.
    fn next(&self) -> Option<Server> {
        let mut aim = self.aim.lock();
        if aim.server.is_none() || self.over.is_cancelled() {
            *aim = Aim { rest: aim.rest, ..Aim::default() };
            self.stage.send_replace(Stage::Idle);
            return None;
        }
        self.stage.send_replace(Stage::Begun);
        aim.server.clone()
    }

    /// Notes what came of a server, unless another one took its place.
    fn note(&self, server: &Server, made: Result<(), Failure>, pause: impl Fn(Duration) -> Duration) {
        let mut aim = self.aim.lock();
        match made {
            Ok(()) => aim.rest = None,
            Err(failure) => {
                let error: &dyn std::error::Error = &failure;
                tracing::warn!(error, "the database was promoted, and could not be made fit: it is tried again");
                let longer = aim.rest.map_or(PAUSE_MIN, |(_, length)| (length * 2).min(PAUSE_MAX));
                aim.rest = Some((Instant::now() + pause(longer), longer));
            }
        }
        aim.server.take_if(|other| other.met == server.met);
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

async fn run(line: Arc<Line>) {
    let settling = &line.settling;
    while let Some(server) = settling.next() {
        let making = AssertUnwindSafe(make_fit(&line, &server.way)).catch_unwind();
        let made = tokio::select! {
            biased;
            () = settling.over.cancelled() => continue,
            () = settling.changed.notified() => continue,
            made = making => made.unwrap_or_else(|_| Err(Failure::lost("what makes it fit panicked"))),
        };
        settling.note(&server, made, |pause| part_of(pause, &*line.chance));
    }
}

async fn make_fit(line: &Line, way: &Way) -> Result<(), Failure> {
    let connector = way.clone().connector(line.settling.tasks.clone());
    let connection: Connection = connector.connect().await?;
    settle::make_fit(line, &connection).await
}

#[cfg(test)]
mod tests;
