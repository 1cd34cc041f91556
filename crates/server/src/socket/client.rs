//! Clients by their session ids, from the handshake on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use respoke_hub::Socket;
use respoke_hub::agenda::Agenda;
use respoke_wire::ack::AckStyle;
use respoke_wire::close::Close;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::polling::{Held, Polling};
use super::sid::Sid;
use crate::transport::Share;
use crate::websocket::IdleFrames;

/// A client that shook hands.
pub(crate) struct Client {
    pub(super) sid: Sid,
    pub(crate) socket: Arc<Socket>,
    pub(super) style: AckStyle,
    transport: Mutex<Transport>,
    /// Its place among the sockets of its address.
    _share: Share,
    opened: Instant,
    /// Held while a request is answered: for a moment two transports may bring some.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// When it was first seen closed.
    closed_at: OnceLock<Instant>,
    /// Heartbeats sent.
    heartbeats: AtomicU64,
    /// What it sent besides requests.
    idle: IdleFrames,
}

/// How clients are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two heartbeats.
    pub(super) heartbeat_interval: Duration,
    /// How long what is kept of a closed client waits for it to fetch its last packets.
    pub(super) patience: Duration,
}

impl Pace {
    /// Whole seconds between two heartbeats.
    fn interval_secs(self) -> u64 {
        self.heartbeat_interval.as_secs().max(1)
    }
}

/// What carries a client's packets. A new one takes the place of the one before: a browser whose websocket never came
/// up turns to polling under the same session id.
enum Transport {
    None,
    /// It is another node's client, and gets none here.
    GivenUp,
    WebSocket(CancellationToken),
    Polling(Arc<Polling>),
}

impl Client {
    /// Attaches a websocket. The token ends it once another transport takes its place. None: the client was given up.
    pub(super) fn attach_websocket(&self, parent: &CancellationToken) -> Option<CancellationToken> {
        let token = parent.child_token();
        self.replace(Transport::WebSocket(token.clone())).then_some(token)
    }

    /// The polling of this client; with the first poll it is attached, and its inbox handed out. None: the client was given up.
    pub(super) fn attach_polling(
        &self,
        parent: &CancellationToken,
    ) -> Option<(Arc<Polling>, Option<mpsc::Receiver<Held>>)> {
        let mut transport = self.transport.lock();
        match &*transport {
            Transport::Polling(polling) => return Some((polling.clone(), None)),
            Transport::GivenUp => return None,
            Transport::None | Transport::WebSocket(_) => {}
        }
        let (polling, inbox) = Polling::new(parent.child_token());
        let polling = Arc::new(polling);
        let before = std::mem::replace(&mut *transport, Transport::Polling(polling.clone()));
        drop(transport);
        before.end();
        Some((polling, Some(inbox)))
    }

    /// Ends whatever transport there is.
    pub(super) fn detach(&self) {
        self.replace(Transport::None);
    }

    /// Whether it came for nothing yet since it shook hands.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(&*self.transport.lock(), Transport::None) && self.socket.outbox.closed().is_none()
    }

    /// Gives it up for another node, if it is [awaited](Self::is_awaited). From then on it is not.
    fn give_up(&self) -> bool {
        let mut transport = self.transport.lock();
        let is_awaited = matches!(&*transport, Transport::None) && self.socket.outbox.closed().is_none();
        if is_awaited {
            *transport = Transport::GivenUp;
        }
        is_awaited
    }

    /// Whether a closed client can be forgotten: its transport is gone, or it polls and has had the time to fetch its last
    /// packets.
    fn is_over(&self, now: Instant, pace: Pace) -> bool {
        let closed_at = *self.closed_at.get_or_init(|| now);
        match &*self.transport.lock() {
            Transport::None | Transport::GivenUp => true,
            Transport::WebSocket(_) => false,
            Transport::Polling(_) => now.duration_since(closed_at) >= pace.patience,
        }
    }

    /// When a look at it may be of use, as things are: to send a heartbeat over a websocket, or to forget a closed client
    /// that polls. Everything else is done by whatever happens to it.
    fn next_look(&self, pace: Pace) -> Option<Instant> {
        match (&*self.transport.lock(), self.closed_at.get()) {
            (Transport::WebSocket(_), None) => Some(self.heartbeat_at(pace)),
            (Transport::Polling(_), Some(closed_at)) => Some(*closed_at + pace.patience),
            // The end of its websocket is its own.
            (Transport::WebSocket(_), Some(_))
            | (Transport::None | Transport::GivenUp, _)
            | (Transport::Polling(_), None) => None,
        }
    }

    /// When its next heartbeat is due.
    fn heartbeat_at(&self, pace: Pace) -> Instant {
        let nth = self.heartbeats.load(Ordering::Relaxed) + 1;
        self.opened + Duration::from_secs(nth * pace.interval_secs())
    }

    /// Puts a transport in the place of the one before. False: it was given up, and stays so.
    fn replace(&self, transport: Transport) -> bool {
        let mut present = self.transport.lock();
        if let Transport::GivenUp = &*present {
            return false;
        }
        let before = std::mem::replace(&mut *present, transport);
        drop(present);
        before.end();
        true
    }

    /// Notes that it fetches by polling what is for it, if it still does.
    pub(super) fn polls(&self, note: impl FnOnce(&Socket)) {
        let transport = self.transport.lock();
        if let Transport::Polling(_) = &*transport {
            note(&self.socket);
        }
    }

    /// Counts frames that are no requests. The error says that they are too many.
    pub(super) fn is_idle(&self, frames: u32, per_sec: u32) -> Result<(), Close> {
        if self.idle.count(frames, self.opened.elapsed(), per_sec) { Ok(()) } else { Err(Close::BadFrame) }
    }

    /// Whether it is time for another heartbeat, which only a websocket gets.
    fn heartbeat_due(&self, now: Instant, pace: Pace) -> bool {
        if !matches!(&*self.transport.lock(), Transport::WebSocket(_)) {
            return false;
        }
        let elapsed = now.duration_since(self.opened).as_secs() / pace.interval_secs();
        self.heartbeats.fetch_max(elapsed, Ordering::Relaxed) < elapsed
    }
}

impl Transport {
    fn end(self) {
        match self {
            Self::None | Self::GivenUp => {}
            Self::WebSocket(token) => token.cancel(),
            Self::Polling(polling) => polling.replaced.cancel(),
        }
    }
}

/// All clients of this node.
///
/// Invariant: one that a look would be of use to is in `looks`, under when it would, or among the sockets that the hub
/// has to tell of yet.
pub(super) struct Clients {
    maps: RwLock<Maps>,
    looks: Mutex<Agenda<Instant>>,
    pace: Pace,
}

#[derive(Default)]
struct Maps {
    by_sid: HashMap<Sid, Arc<Client>>,
    /// By the numbers of their sockets.
    by_number: HashMap<u64, Arc<Client>>,
}

impl Clients {
    pub(super) fn new(pace: Pace) -> Self {
        Self { maps: RwLock::default(), looks: Mutex::default(), pace }
    }

    pub(super) fn add(&self, sid: Sid, socket: Arc<Socket>, style: AckStyle, share: Share) -> Arc<Client> {
        let client = Arc::new(Client {
            sid,
            socket,
            style,
            transport: Mutex::new(Transport::None),
            _share: share,
            opened: Instant::now(),
            turn: tokio::sync::Mutex::default(),
            closed_at: OnceLock::new(),
            heartbeats: AtomicU64::new(0),
            idle: IdleFrames::default(),
        });
        let mut maps = self.maps.write();
        maps.by_sid.insert(client.sid.clone(), client.clone());
        maps.by_number.insert(client.socket.number, client.clone());
        drop(maps);
        if client.socket.outbox.closed().is_some() {
            // The hub may have told so before there was a client to find.
            self.looks.lock().enter(client.opened, client.socket.number);
        }
        client
    }

    pub(super) fn find(&self, sid: &str) -> Option<Arc<Client>> {
        self.maps.read().by_sid.get(&Sid::parse(sid)?).cloned()
    }

    /// Takes out a client that has no transport yet, and gets none here from then on.
    pub(super) fn give_up(&self, sid: &Sid) -> Option<Arc<Client>> {
        let client = self.maps.read().by_sid.get(sid).cloned()?;
        client.give_up().then(|| {
            self.forget(&client);
            client
        })
    }

    pub(super) fn forget(&self, client: &Client) {
        let number = client.socket.number;
        let mut maps = self.maps.write();
        maps.by_sid.remove(&client.sid);
        maps.by_number.remove(&number);
        drop(maps);
        let mut looks = self.looks.lock();
        looks.strike(client.heartbeat_at(self.pace), number);
        if let Some(closed_at) = client.closed_at.get() {
            looks.strike(*closed_at + self.pace.patience, number);
        }
    }

    /// Whether the client of a socket is [awaited](Client::is_awaited).
    pub(super) fn awaits(&self, number: u64) -> bool {
        self.maps.read().by_number.get(&number).is_some_and(|client| client.is_awaited())
    }

    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        self.maps.read().by_sid.values().cloned().collect()
    }

    /// Lets a client be looked at when that is of use, as things are now.
    pub(super) fn plan(&self, client: &Client) {
        if let Some(at) = client.next_look(self.pace) {
            self.looks.lock().enter(at, client.socket.number);
        }
    }

    /// The number of a client's socket that is to be looked at; another each time, until none is.
    pub(super) fn next_due(&self, now: Instant) -> Option<u64> {
        self.looks.lock().take_due(now)
    }

    /// Looks at the client of a socket, and plans the next look. None: there is nothing to do.
    pub(super) fn look(&self, number: u64, now: Instant) -> Option<Due> {
        let client = self.maps.read().by_number.get(&number).cloned()?;
        if let Some(why) = client.socket.outbox.closed() {
            if client.is_over(now, self.pace) {
                return Some(Due::Forgetting(client, why));
            }
            self.plan(&client);
            return None;
        }
        let due = client.heartbeat_due(now, self.pace);
        self.plan(&client);
        due.then_some(Due::Heartbeat(client))
    }
}

/// What is to be done with a client.
pub(super) enum Due {
    /// It is sent a heartbeat.
    Heartbeat(Arc<Client>),
    /// It was closed for this, and its time to fetch what is left is over.
    Forgetting(Arc<Client>, Close),
}

#[cfg(test)]
mod tests;
