//! Which promoted server is to be made fit to be used, and who waits for that. The task that does it stands in `fitting.rs`.
//!
//! It may take minutes. So nobody who comes to such a server does it, nor waits for it with a connection in hand: they have it begun, and
//! wait a while. If they go away, it goes on all the same.
//!
//! Invariant: one server at a time. If one is met meanwhile that was promoted later, that one takes its place.

use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::chance::Chance;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::patience::Patience;
use super::places::Lineage;
use super::tries::part_of;

/// How long a server is left alone after it could not be made fit: at first, and at most.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(100);
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
    pub(super) over: CancellationToken,
}

/// What the task is to do.
#[derive(Default)]
struct Aim {
    server: Option<Server>,
    /// Until when none is tried, because one was in vain, and how long that is.
    rest: Option<(Instant, Duration)>,
    /// Where the database goes on since it was promoted last.
    here: Option<Way>,
    is_busy: bool,
}

/// What it does.
pub(super) enum Task {
    Fit(Server),
    /// Ends there what came too late to be ended when that server was made fit.
    EndLate(Way),
}

/// A server that was met, and is to be made fit.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) way: Way,
    met: Lineage,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            aim: Mutex::default(),
            stage: watch::Sender::new(Stage::Idle),
            changed: Notify::new(),
            over: CancellationToken::new(),
        }
    }
}

impl Settling {
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

    /// Has a server be made fit that was met, unless it is, or was tried a moment ago.
    pub(super) fn want(&self, met: Lineage, way: Way) {
        let mut aim = self.aim.lock();
        let rests = aim.rest.is_some_and(|(until, _)| Instant::now() < until);
        match &aim.server {
            _ if self.over.is_cancelled() => return,
            Some(server) if met.timeline > server.met.timeline => {}
            None if !rests => {}
            Some(_) | None => return,
        }
        aim.server = Some(Server { way, met });
        if !self.is_under_way() {
            self.stage.send_replace(Stage::Begun);
        }
        self.changed.notify_one();
    }

    /// Has the task look whether something came too late, unless it does so anyway before it rests.
    pub(super) fn look(&self) {
        let aim = self.aim.lock();
        if aim.here.is_some() && !aim.is_busy {
            self.changed.notify_one();
        }
    }

    /// Does it, unless there is something else to do, or the store ends.
    pub(super) async fn undisturbed<T>(&self, doing: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.over.cancelled() => None,
            () = self.changed.notified() => None,
            done = doing => Some(done),
        }
    }

    /// What to do. None: nothing.
    pub(super) fn next(&self, has_late: impl Fn() -> bool) -> Option<Task> {
        let mut aim = self.aim.lock();
        let task = match (&aim.server, &aim.here) {
            _ if self.over.is_cancelled() => None,
            (Some(server), _) => Some(Task::Fit(server.clone())),
            (None, Some(here)) if has_late() => Some(Task::EndLate(here.clone())),
            (None, _) => None,
        };
        let stage = if matches!(task, Some(Task::Fit(_))) { Stage::Begun } else { Stage::Idle };
        self.stage.send_replace(stage);
        aim.is_busy = task.is_some();
        task
    }

    /// Notes what came of a server, unless another one took its place.
    pub(super) fn note(&self, server: Server, made: Result<(), Failure>, chance: &dyn Chance) {
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

/// The next pause.
pub(super) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSE_MAX)
}
