//! The socket of a client that was let in.

use std::sync::Arc;

use respoke_hub::Socket;
use respoke_wire::close::Close;
use tokio::time::Instant;

use super::inside::Inside;
use crate::transport::Share;
use crate::websocket::IdleFrames;

/// Requests of a client that may be under way. More than these are refused.
pub(super) const WINDOW: usize = 64;

/// A client that was let in.
pub(super) struct Live {
    pub(super) inside: Arc<Inside>,
    pub(super) socket: Arc<Socket>,
    /// Its place among the sockets of its address.
    _share: Share,
    opened: Instant,
    /// What it sent besides requests.
    idle: IdleFrames,
}

impl Drop for Live {
    /// Its end, however it comes, is that of its socket.
    fn drop(&mut self) {
        self.inside.hub.close(&self.socket, Close::Left);
    }
}

impl Live {
    pub(super) fn new(inside: Arc<Inside>, socket: Arc<Socket>, share: Share) -> Self {
        Self { inside, socket, _share: share, opened: Instant::now(), idle: IdleFrames::default() }
    }

    /// Counts what is no request. The error says that it is too much.
    pub(super) fn idle(&self, frames: u32) -> Result<(), Close> {
        let per_sec = self.inside.settings.idle_frames_per_sec;
        if self.idle.count(frames, self.opened.elapsed(), per_sec) { Ok(()) } else { Err(Close::BadFrame) }
    }
}
