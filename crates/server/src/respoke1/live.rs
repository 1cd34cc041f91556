//! A client that was let in, whether a websocket carries it just now or not.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_hub::Socket;
use respoke_wire::close::Close;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::inside::Inside;
use super::ring::Ring;
use super::sessions::{Keys, Sessions};
use crate::transport::Share;
use crate::websocket::IdleFrames;

/// Requests of a client that may be under way. More than these are refused.
pub(super) const WINDOW: usize = 64;

/// A client that was let in.
pub(super) struct Live {
    pub(super) inside: Arc<Inside>,
    pub(super) socket: Arc<Socket>,
    sessions: Arc<Sessions<Self>>,
    pub(super) keys: Mutex<Keys>,
    /// What was sent and may not have come.
    pub(super) ring: Mutex<Ring>,
    /// Held by who takes from the outbox.
    pub(super) taking: Arc<tokio::sync::Mutex<()>>,
    /// Held while a request is answered: for a moment two websockets may bring some.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Tells the websocket that carries it that another one does.
    replaced: Mutex<CancellationToken>,
    /// Its place among the sockets of its address.
    _share: Share,
    opened: Instant,
    /// What it sent besides requests.
    idle: IdleFrames,
}

/// The websocket that carries a client, or waits for it to come back. Its end is the client's, unless another one took its place.
pub(super) struct Transport {
    pub(super) live: Arc<Live>,
    pub(super) replaced: CancellationToken,
}

impl Drop for Transport {
    fn drop(&mut self) {
        if !self.replaced.is_cancelled() {
            self.live.sessions.forget(&self.live.keys);
            self.live.inside.hub.close(&self.live.socket, Close::Left);
        }
    }
}

impl Live {
    /// One that was just let in, and the websocket that carries it.
    pub(super) fn begin(
        inside: Arc<Inside>,
        sessions: Arc<Sessions<Self>>,
        socket: Arc<Socket>,
        share: Share,
    ) -> Transport {
        let ring = Mutex::new(Ring::new(inside.rings.clone()));
        let live = Arc::new(Self {
            inside,
            socket,
            sessions,
            keys: Mutex::default(),
            ring,
            taking: Arc::default(),
            turn: tokio::sync::Mutex::default(),
            replaced: Mutex::default(),
            _share: share,
            opened: Instant::now(),
            idle: IdleFrames::default(),
        });
        live.attach()
    }

    /// Has another websocket carry it from now on.
    pub(super) fn attach(self: Arc<Self>) -> Transport {
        let replaced = CancellationToken::new();
        std::mem::replace(&mut *self.replaced.lock(), replaced.clone()).cancel();
        Transport { live: self, replaced }
    }

    /// The client has shown that the welcome came.
    pub(super) fn settle(&self) {
        self.sessions.settle(&self.keys);
    }

    /// Notes what is about to be sent.
    pub(super) fn sends<'a>(&self, objects: impl IntoIterator<Item = &'a Bytes>) {
        let mut ring = self.ring.lock();
        objects.into_iter().for_each(|object| ring.sends(object));
    }

    /// Counts what is no request. The error says that it is too much.
    pub(super) fn idle(&self, frames: u32) -> Result<(), Close> {
        let per_sec = self.inside.settings.idle_frames_per_sec;
        if self.idle.count(frames, self.opened.elapsed(), per_sec) { Ok(()) } else { Err(Close::BadFrame) }
    }
}
