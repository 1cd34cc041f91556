//! A carrier over core NATS.
//!
//! Each node has one subject, and the nodes send what they have for it there. What waits for a node goes in one message as far
//! as it fits. So there is one subscription a node, and nothing to subscribe while sockets come and go.
//!
//! Core NATS promises nothing, as little as a [`Carrier`]: what was sent when a connection broke is lost though the library said
//! that it was sent. The bus finds that by its numbers.
//!
//! Nothing here waits for NATS: frames wait in a queue of their own, because the library's `publish` stands still while there
//! is no connection. The library gets a lost connection back by itself. A node sends itself signs of life besides
//! (`nats/pulse.rs`): for that it hears its own messages, of which there are no others.

mod credentials;
mod error;
mod figures;
mod files;
mod options;
mod packet;
mod pulse;
mod tasks;
mod waiting;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind, Event, ServerError, Subject};
use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::ports::{Carrier, Node, NodeId};
use respoke_wire::bus::{FRAME_LEN_MAX, TAG_LEN};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub use self::credentials::NatsCredentials;
pub use self::error::NatsError;
pub use self::figures::NatsFigures;
use self::figures::{Counted, of};
pub use self::options::{NatsOptions, NatsServers, nats_permissions};
use self::packet::{FRAME_HEAD_LEN, PACKET_HEAD_LEN};
use self::pulse::Pulse;
use self::waiting::Waiting;
use crate::seldom::Seldom;

/// How long a server is tried at first.
const START: Duration = Duration::from_secs(10);
/// Between two attempts then.
const START_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long what waits is sent at the end.
const END: Duration = Duration::from_secs(1);
/// What the longest frame needs.
const NEEDED: usize = PACKET_HEAD_LEN + FRAME_HEAD_LEN + FRAME_LEN_MAX + TAG_LEN;
/// Messages that came and were looked at, and wait to be handed on.
const ARRIVED_MAX: usize = 4_096;

type Bring = Box<dyn Fn(&[u8]) + Send + Sync>;

/// A node's connection to its NATS servers.
pub struct NatsCarrier {
    shared: Arc<Shared>,
    client: Client,
    tasks: Mutex<JoinSet<()>>,
}

/// What the tasks of a carrier have in common.
struct Shared {
    node: Node,
    cluster: [u8; 16],
    waiting: Mutex<Waiting>,
    /// Something waits, where nothing did before.
    more: Notify,
    /// Nothing waits any more.
    done: Notify,
    bring: OnceLock<Bring>,
    /// Bytes of what came and waits to be handed on.
    arrived_bytes: AtomicUsize,
    pulse: Pulse,
    /// The first sign of life came.
    works: Notify,
    /// What the server said last that is wrong, and that it did.
    complaint: Mutex<Option<String>>,
    complained: Notify,
    /// The server is about to end.
    lame_duck: Notify,
    counted: Counted,
    frames_dropped: Seldom,
    messages_dropped: Seldom,
    complaints: Seldom,
}

impl std::fmt::Debug for NatsCarrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsCarrier").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

impl NatsCarrier {
    /// Connects to a server. What comes is handed on once [`Self::bring_to`] says to whom, and is lost until then.
    ///
    /// It works when this returns: a message went to the server and came back. Servers that cannot be reached are tried for
    /// ten seconds. A connection that is lost later comes back by itself, whatever that takes.
    ///
    /// # Errors
    ///
    /// [`NatsError`].
    pub async fn connect(options: &NatsOptions) -> Result<Self, NatsError> {
        let deadline = Instant::now() + START;
        let shared = Arc::new(Shared::new(options));
        let client = shared.first_connection(options, deadline).await?;
        let servers = || options.servers.to_string();
        let max = client.max_payload();
        if max < NEEDED {
            return Err(NatsError::ShortMessages { servers: servers(), max, needed: NEEDED });
        }
        let unreachable = |_| NatsError::Unreachable { servers: servers(), cause: None };
        let subscription = client.subscribe(shared.subject(shared.node.id)).await.map_err(unreachable)?;
        let (arrived, arriving) = mpsc::channel(ARRIVED_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(shared.clone().write(client.clone()));
        tasks.spawn(shared.clone().read(subscription, arrived));
        tasks.spawn(shared.clone().hand_on(arriving));
        tasks.spawn(shared.clone().keep_alive(client.clone()));
        let carrier = Self { shared, client, tasks: Mutex::new(tasks) };
        tokio::select! {
            biased;
            () = carrier.shared.works.notified() => Ok(carrier),
            () = carrier.shared.complained.notified() => {
                let said = carrier.shared.complaint.lock().take().unwrap_or_default();
                Err(NatsError::NotPermitted { servers: servers(), said })
            }
            () = tokio::time::sleep_until(deadline) => Err(NatsError::Unreachable { servers: servers(), cause: None }),
        }
    }

    /// Hands what comes from now on to `bring`, one frame after the other, on a task of the runtime. The first that is given
    /// stays. It should hold nothing that holds this.
    pub fn bring_to(&self, bring: impl Fn(&[u8]) + Send + Sync + 'static) {
        // A server gives one; a second would be a defect that its tests show at once.
        let _ = self.shared.bring.set(Box::new(bring));
    }

    /// Sends what waits, for a second at most, and ends the connection.
    pub async fn end(&self) {
        let sent = async {
            loop {
                let done = self.shared.done.notified();
                if self.shared.waiting.lock().is_idle() {
                    break;
                }
                done.await;
            }
            // What cannot be sent is lost.
            let _ = self.client.flush().await;
        };
        let _ = timeout(END, sent).await;
        self.tasks.lock().abort_all();
    }

    /// What it did so far.
    #[must_use]
    pub fn figures(&self) -> NatsFigures {
        let Shared { counted, frames_dropped, messages_dropped, complaints, pulse, .. } = &*self.shared;
        NatsFigures {
            frames_sent: of(&counted.frames_sent),
            bytes_sent: of(&counted.bytes_sent),
            frames_received: of(&counted.frames_received),
            bytes_received: of(&counted.bytes_received),
            frames_dropped: frames_dropped.all(),
            messages_dropped: messages_dropped.all(),
            reconnects: self.client.statistics().connects.load(Ordering::Relaxed).saturating_sub(1),
            server_errors: complaints.all(),
            is_connected: self.client.connection_state() == State::Connected,
            delay_micros: u64::try_from(pulse.delay().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl Carrier for NatsCarrier {
    fn send(&self, to: NodeId, frame: Bytes) {
        let mut waiting = self.shared.waiting.lock();
        let first = waiting.is_empty();
        let dropped = waiting.add(to, frame, Instant::now());
        drop(waiting);
        self.shared.drop_frames(dropped);
        if first {
            self.shared.more.notify_one();
        }
    }

    fn usual_delay(&self) -> Duration {
        self.shared.pulse.delay()
    }
}

impl Shared {
    fn new(options: &NatsOptions) -> Self {
        Self {
            node: options.node,
            cluster: options.cluster,
            waiting: Mutex::default(),
            more: Notify::new(),
            done: Notify::new(),
            bring: OnceLock::new(),
            arrived_bytes: AtomicUsize::new(0),
            pulse: Pulse::new(),
            works: Notify::new(),
            complaint: Mutex::default(),
            complained: Notify::new(),
            lame_duck: Notify::new(),
            counted: Counted::default(),
            frames_dropped: Seldom::default(),
            messages_dropped: Seldom::default(),
            complaints: Seldom::default(),
        }
    }

    fn subject(&self, node: NodeId) -> Subject {
        options::subject(&self.cluster, node).into()
    }

    async fn first_connection(self: &Arc<Self>, options: &NatsOptions, deadline: Instant) -> Result<Client, NatsError> {
        let (servers, with_credentials) = (options.servers.to_string(), options.credentials.is_some());
        let mut cause = None;
        loop {
            let shared = self.clone();
            let connecting = options.connect_options()?.event_callback(move |event| {
                shared.notice(event);
                std::future::ready(())
            });
            let attempt = timeout_at(deadline, connecting.connect(options.servers.addresses())).await;
            match attempt {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => match error.kind() {
                    ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                        return Err(NatsError::Refused { servers, with_credentials });
                    }
                    _ => cause = Some(error),
                },
                Err(_) => return Err(NatsError::Unreachable { servers, cause }),
            }
            if Instant::now() + START_AGAIN_AFTER >= deadline || cause.as_ref().is_some_and(is_final) {
                return Err(NatsError::Unreachable { servers, cause });
            }
            sleep(START_AGAIN_AFTER).await;
        }
    }

    /// Takes what the library tells of the connection. It may leave out some when it tells very much.
    fn notice(&self, event: Event) {
        match event {
            Event::Connected => {
                tracing::info!("connected to NATS");
                self.pulse.begin_anew();
            }
            Event::Disconnected => tracing::warn!("the connection to NATS is lost"),
            Event::LameDuckMode => self.lame_duck.notify_one(),
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => self.drop_messages(1),
            Event::ServerError(error) => {
                *self.complaint.lock() = Some(error.to_string());
                self.complained.notify_one();
                self.complain(&error.to_string());
            }
            Event::ClientError(error) => self.complain(&error.to_string()),
            Event::Draining | Event::Closed => {}
        }
    }

    fn complain(&self, said: &str) {
        if let Some(complaints) = self.complaints.count(1) {
            tracing::warn!(complaints, said, "NATS does not do what is asked of it");
        }
    }

    fn drop_frames(&self, dropped: u64) {
        if dropped > 0
            && let Some(dropped) = self.frames_dropped.count(dropped)
        {
            tracing::warn!(dropped, "frames for other nodes were not sent over NATS");
        }
    }

    fn drop_messages(&self, dropped: u64) {
        if let Some(dropped) = self.messages_dropped.count(dropped) {
            tracing::warn!(dropped, "messages that came over NATS were dropped");
        }
    }
}

/// Whether it makes no sense to try again: a certificate that is not trusted is not trusted a moment later.
fn is_final(error: &async_nats::ConnectError) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    error.kind() == ConnectErrorKind::Tls || io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData)
}

#[cfg(test)]
pub(crate) mod tests;
