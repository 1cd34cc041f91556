//! Tails: who looks on while frames go to and from an endpoint's connections on this node.
//!
//! Invariant: looking on never holds anything up. A queue that is full loses frames, and the next one that finds room
//! says how many. While nobody looks on, a frame costs one relaxed load more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, ConnectionId, EndpointId, RequestId};
use respoke_core::refusal::Refusal;
use tokio::sync::{Notify, mpsc};

use crate::registry::Connection;

/// Tails open at once on this node. They are for people, and each costs every frame of its endpoint a copy.
const TAILS_MAX: usize = 32;
/// Frames that wait for one tail: a few seconds of a busy endpoint.
const QUEUE_LEN_MAX: usize = 256;
/// The longest payload that is shown, in bytes; so much of a full queue is four megabytes.
pub const PAYLOAD_LEN_MAX: usize = 16_384;

/// A frame that was looked at.
#[derive(Clone, Debug)]
pub struct TailedFrame {
    /// When.
    pub at: Timestamp,
    /// The connection it went to or came from.
    pub connection_id: ConnectionId,
    /// Which way, and what kind.
    pub kind: FrameKind,
    /// What it is called: an event's name, or method and route of a request. Never a path, which may hold a token.
    pub name: String,
    /// The request it is, answers, or was caused by.
    pub request_id: RequestId,
    /// Of an event: who speaks.
    pub from: Option<EndpointId>,
    /// Of an answer.
    pub status: Option<u16>,
    /// The length of the frame, or of a request's body.
    pub bytes: usize,
    /// What it says, if that was asked for and holds no credential.
    pub payload: Option<String>,
    /// How many frames before it were lost, because they were not read in time.
    pub lost: u64,
}

/// What kind of frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Pushed to the client.
    Event,
    /// Asked by the client.
    Request,
    /// Answered to the client.
    Answer,
}

/// Whether payloads are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// They are.
    Shown,
    /// They are left out.
    Redacted,
}

/// The open tails.
#[derive(Debug, Default)]
pub struct Tails {
    count: AtomicUsize,
    open: RwLock<Open>,
    /// Tells whoever looks on that the server stops.
    ending: Notify,
    numbers: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    tails: Vec<Tail>,
    /// The server stops. Known under the same lock, so that no tail slips in behind the end of all.
    ended: bool,
}

#[derive(Debug)]
struct Tail {
    number: u64,
    app_id: AppId,
    endpoint: EndpointId,
    payloads: Payloads,
    queue: mpsc::Sender<TailedFrame>,
    lost: AtomicU64,
}

/// An open tail; it ends when this is dropped.
#[derive(Debug)]
pub struct OpenTail {
    tails: Arc<Tails>,
    number: u64,
    frames: mpsc::Receiver<TailedFrame>,
}

impl OpenTail {
    /// The next frame. None: the server stops.
    pub async fn next(&mut self) -> Option<TailedFrame> {
        self.frames.recv().await
    }

    /// Waits until the server stops, whatever frames wait.
    pub async fn ended(&self) {
        let mut ending = std::pin::pin!(self.tails.ending.notified());
        ending.as_mut().enable();
        let ended = self.tails.open.read().ended;
        if !ended {
            ending.await;
        }
    }
}

impl Drop for OpenTail {
    fn drop(&mut self) {
        let mut open = self.tails.open.write();
        open.tails.retain(|tail| tail.number != self.number);
        self.tails.count.store(open.tails.len(), Ordering::Relaxed);
    }
}

impl Tails {
    /// Opens a tail of an endpoint. Once the server stops, it has ended before it began.
    ///
    /// # Errors
    ///
    /// [`Refusal::LimitReached`] when there are as many as there may be.
    pub fn open(
        self: &Arc<Self>,
        app_id: AppId,
        endpoint: EndpointId,
        payloads: Payloads,
    ) -> Result<OpenTail, Refusal> {
        let (queue, frames) = mpsc::channel(QUEUE_LEN_MAX);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.write();
        if open.tails.len() >= TAILS_MAX {
            return Err(Refusal::LimitReached("as many tails are open as may be"));
        }
        if !open.ended {
            open.tails.push(Tail { number, app_id, endpoint, payloads, queue, lost: AtomicU64::new(0) });
            self.count.store(open.tails.len(), Ordering::Relaxed);
        }
        drop(open);
        Ok(OpenTail { tails: self.clone(), number, frames })
    }

    /// Ends all tails, because the server stops.
    pub fn end(&self) {
        let mut open = self.open.write();
        open.tails.clear();
        open.ended = true;
        self.count.store(0, Ordering::Relaxed);
        drop(open);
        self.ending.notify_waiters();
    }

    /// Whether anybody looks on at anything.
    #[must_use]
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Shows a frame of a connection to whoever looks on at its endpoint.
    pub fn show(&self, connection: &Connection, frame: impl Fn(Payloads) -> TailedFrame) {
        for tail in &self.open.read().tails {
            if tail.app_id != connection.app_id || tail.endpoint != connection.endpoint {
                continue;
            }
            let mut shown = frame(tail.payloads);
            if tail.payloads == Payloads::Redacted {
                shown.payload = None;
            }
            shown.lost = tail.lost.swap(0, Ordering::Relaxed);
            let lost = shown.lost;
            if tail.queue.try_send(shown).is_err() {
                tail.lost.fetch_add(lost + 1, Ordering::Relaxed);
            }
        }
    }
}

/// As much of a payload as is shown.
#[must_use]
pub fn shown_payload(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(PAYLOAD_LEN_MAX)];
    String::from_utf8_lossy(cut).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::outbox::{Outbox, OutboxLimits};
    use crate::registry::Home;

    fn connection(app_id: AppId, endpoint: &str) -> Connection {
        Connection {
            id: ConnectionId::random(),
            app_id,
            endpoint: EndpointId::parse(endpoint).unwrap(),
            role_id: None,
            client_type: "WEB".into(),
            address: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            trickle_ice: true,
            ice_final_candidates: false,
            home: Home::Here(Arc::new(Outbox::new(OutboxLimits { frames_max: 1, bytes_max: 1 }))),
            gone: AtomicBool::new(false),
        }
    }

    fn frame(connection: &Connection) -> TailedFrame {
        TailedFrame {
            at: Timestamp::from_secs(1),
            connection_id: connection.id,
            kind: FrameKind::Event,
            name: "message".into(),
            request_id: RequestId::random(),
            from: None,
            status: None,
            bytes: 5,
            payload: Some("words".into()),
            lost: 0,
        }
    }

    #[tokio::test]
    async fn frames_of_the_endpoint_are_shown_and_no_others() {
        let tails = Arc::new(Tails::default());
        let app = AppId::random();
        let (jo, flo, stranger) = (connection(app, "jo"), connection(app, "flo"), connection(AppId::random(), "jo"));
        assert!(!tails.any());
        let mut redacted = tails.open(app, jo.endpoint.clone(), Payloads::Redacted).unwrap();
        let mut shown = tails.open(app, jo.endpoint.clone(), Payloads::Shown).unwrap();
        for connection in [&stranger, &flo, &jo] {
            tails.show(connection, |_| frame(connection));
        }
        let frame = shown.next().await.unwrap();
        assert_eq!((frame.connection_id, frame.payload.as_deref()), (jo.id, Some("words")));
        let frame = redacted.next().await.unwrap();
        assert_eq!((frame.connection_id, frame.payload), (jo.id, None));
        let ends = async {
            tokio::task::yield_now().await;
            tails.end();
        };
        tokio::join!(shown.ended(), ends);
        shown.ended().await;
        assert!(redacted.next().await.is_none() && !tails.any());
        let mut late = tails.open(app, jo.endpoint.clone(), Payloads::Shown).unwrap();
        assert_eq!(late.frames.try_recv().unwrap_err(), mpsc::error::TryRecvError::Disconnected);
        assert!(!tails.any(), "none outlives the end of all");
    }

    #[tokio::test]
    async fn a_tail_that_is_not_read_loses_frames_and_says_how_many() {
        let tails = Arc::new(Tails::default());
        let jo = connection(AppId::random(), "jo");
        let mut tail = tails.open(jo.app_id, jo.endpoint.clone(), Payloads::Shown).unwrap();
        for _ in 0..QUEUE_LEN_MAX + 3 {
            tails.show(&jo, |_| frame(&jo));
        }
        for _ in 0..QUEUE_LEN_MAX {
            assert_eq!(tail.next().await.unwrap().lost, 0);
        }
        tails.show(&jo, |_| frame(&jo));
        assert_eq!(tail.next().await.unwrap().lost, 3);
    }

    #[test]
    fn only_so_many_are_open_and_a_dropped_one_makes_room() {
        let tails = Arc::new(Tails::default());
        let jo = connection(AppId::random(), "jo");
        let open = || tails.open(jo.app_id, jo.endpoint.clone(), Payloads::Shown);
        let mut held: Vec<_> = (0..TAILS_MAX).map(|_| open().unwrap()).collect();
        assert_eq!(open().unwrap_err().code(), "limit_reached");
        held.pop();
        assert!(open().is_ok());
        held.clear();
        assert!(!tails.any());
    }
}
