//! The carrier that is made of tables: one database is a cluster.
//!
//! Nodes write what they tell each other into three tables in turn, and read what is for them (`schema/0004_carrier.sql` has the
//! rule by which they take turns). One task writes, with a connection of its own (`writing.rs`), and one reads, with another one
//! (`reading.rs`). Each has a thread of its own: whoever takes what is read may take long, and what is to be sent does not wait
//! for that, nor for requests.
//!
//! Invariant: [`Carrier::send`] waits for nothing. What is not written within five seconds, or finds no room, is lost, and so is
//! what was on its way when a connection was: the bus asks for it again.
//! Invariant: each life of a node numbers what it sends, and is the only one who writes under that number. So a reader has a cursor
//! for each life of each sender. With one number for all, what is committed late would be passed over.

mod figures;
mod link;
mod outbox;
mod peers;
mod probe;
mod reading;
mod repeated;
mod shared;
mod writing;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use respoke_core::ports::{Carrier, Node, NodeId, StoreError};
use tokio_util::task::TaskTracker;

pub use self::figures::CarrierFigures;
use self::link::Link;
pub(crate) use self::shared::Limits;
use self::shared::{POLL, Shared};
use super::connector::{Connector, Notified};
use super::failure::Failure;
use super::lineage::Moves;
use super::options::Options;
use super::rows::{one, only};
use super::{opening, own_thread};

/// How long a frame is on its way as a rule, if its receiver is woken.
const WOKEN_DELAY: Duration = Duration::from_millis(2);

/// Where the tables of a carrier are.
#[derive(Clone)]
pub struct CarrierOptions {
    /// The database, as the store uses it.
    pub database: Options,
    /// A way to the same database that leads past every pooler, so that the node can be woken. None: the same way.
    pub direct: Option<Options>,
    /// Tells that the store goes on elsewhere, and so does the carrier. None: only a lost connection has it look for the server that
    /// was promoted last.
    pub moves: Option<Moves>,
}

/// What carries what nodes tell each other, as rows of a PostgreSQL database: one node's end of it.
pub struct PostgresCarrier {
    shared: Arc<Shared>,
    tasks: [TaskTracker; 2],
}

impl std::fmt::Debug for PostgresCarrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresCarrier").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

impl CarrierOptions {
    /// Looks where the direct way leads, if there is one. Nodes of which one goes elsewhere would not hear each other, and nobody would
    /// see it.
    ///
    /// # Errors
    ///
    /// When nothing is reached, or not the database of the cluster with this id.
    pub async fn check_direct(&self, cluster: &[u8; 16]) -> Result<(), StoreError> {
        let Some(direct) = &self.direct else { return Ok(()) };
        let options = Options { reached_within: self.database.reached_within, ..direct.clone() };
        let connection = opening::connected(&options, options.patience).await?;
        let found = one(&connection, "SELECT id FROM respoked.cluster", &[], only::<Vec<u8>>).await;
        let leads_there = match found {
            Ok(found) => found.is_some_and(|id| id == cluster),
            // It has no such table, or the role may not read it.
            Err(Failure::Refused(_)) => false,
            Err(failure) => return Err(failure.nothing_written()),
        };
        if leads_there { Ok(()) } else { Err(StoreError::Unavailable(Box::new(Elsewhere))) }
    }
}

/// A direct way that leads to another database.
#[derive(Debug, thiserror::Error)]
#[error("it leads to another database than the one that is served from")]
struct Elsewhere;

impl PostgresCarrier {
    /// Begins to carry for this life of a node. It need not reach the database yet: it goes on trying until it is closed.
    ///
    /// # Errors
    ///
    /// When no thread could be started.
    pub fn open(options: CarrierOptions, node: Node) -> Result<Self, StoreError> {
        Self::open_within(options, node, Limits::DEFAULT)
    }

    /// The same within other limits.
    pub(crate) fn open_within(options: CarrierOptions, node: Node, limits: Limits) -> Result<Self, StoreError> {
        let CarrierOptions { database, direct, moves } = options;
        let shared = Arc::new(Shared::of(node, direct.is_none()));
        let carrier = Self { shared: shared.clone(), tasks: [TaskTracker::new(), TaskTracker::new()] };
        let [writes, reads] = &carrier.tasks;
        let to_write = link(&database, moves.clone(), writes, None);
        let listening = shared.clone();
        let hears = move |channel: &str| listening.hear(channel);
        let to_read = link(direct.as_ref().unwrap_or(&database), moves, reads, Some(Arc::new(hears)));
        // If the second thread cannot be started, the first ends with the carrier.
        spawn("respoked-sends", writes, writing::run(shared.clone(), to_write, limits))?;
        spawn("respoked-reads", reads, reading::run(shared, to_read))?;
        Ok(carrier)
    }

    /// Hands all frames that are for this node to `bring`, the first that is attached. Until then none is read.
    ///
    /// It is called on a thread of the carrier's own. Whoever waits in it delays what comes behind, and nothing else.
    pub fn attach(&self, bring: impl Fn(&[u8]) + Send + Sync + 'static) {
        // A node attaches one bus; a second would be a defect that its tests show at once.
        let _ = self.shared.bring.set(Arc::new(bring));
        self.shared.woken.notify_one();
    }

    /// These lives of nodes are read from now on, that of this node excepted, and no others.
    pub fn nodes_are(&self, live: &[Node]) {
        self.shared.peers.are(live.iter().copied().filter(|node| node.id != self.shared.node.id));
        self.shared.woken.notify_one();
    }

    /// What it did and how it stands, for metrics.
    #[must_use]
    pub fn figures(&self) -> CarrierFigures {
        self.shared.figures.read(self.shared.is_woken.load(Ordering::Relaxed))
    }

    /// Carries nothing any more, and waits until its connections are closed.
    pub async fn close(&self) {
        self.shared.over.cancel();
        for tasks in &self.tasks {
            tasks.wait().await;
        }
    }
}

impl Drop for PostgresCarrier {
    fn drop(&mut self) {
        self.shared.over.cancel();
    }
}

impl Carrier for PostgresCarrier {
    fn send(&self, to: NodeId, frame: Bytes) {
        let lost = self.shared.outbox.add(to, frame);
        self.shared.figures.note_lost(lost.frames, lost.bytes);
    }

    fn usual_delay(&self) -> Duration {
        if self.shared.is_woken.load(Ordering::Relaxed) { WOKEN_DELAY } else { POLL }
    }
}

/// A way to a database, for one task.
fn link(options: &Options, moves: Option<Moves>, tasks: &TaskTracker, notified: Option<Notified>) -> Link {
    let (config, tls) = options.tls.clone().with(options.config.clone());
    let mut connector = Connector::new(config, tls, options.patience, tasks.clone());
    if let Some(notified) = notified {
        connector.tell_of_notifications(notified);
    }
    Link::new(connector, moves, options.chance.clone())
}

/// Runs a task on a thread of its own, which ends with it and its connections.
fn spawn(name: &str, tasks: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) -> Result<(), StoreError> {
    let runtime = own_thread::runtime()?;
    tasks.spawn_on(task, runtime.handle());
    tasks.close();
    own_thread::start(name, runtime, vec![tasks.clone()])
}
