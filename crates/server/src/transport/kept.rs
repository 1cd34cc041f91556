//! What waits for the clients of sockets: long answers in an outbox, until the client reads or polls, and what polling
//! clients brought before they fetch the answers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_hub::Socket;

use super::places::Places;
use super::unread::CallerKey;

/// Those that wait, by the number of their socket.
#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<u64, OfSocket>>);

/// What waits for one socket.
struct OfSocket {
    socket: Weak<Socket>,
    caller: CallerKey,
    frames: usize,
    bytes: usize,
    /// The number of the last progress, or of when it began to wait.
    changed: u64,
}

/// What waits for a socket, as it is looked at.
pub(super) struct Waiting {
    /// None: nothing is written to it any more, and what waits is about to go.
    pub(super) socket: Option<Arc<Socket>>,
    pub(super) caller: CallerKey,
    pub(super) bytes: usize,
    /// The number of its last progress.
    pub(super) changed: u64,
}

impl Kept {
    pub(super) fn begin(&self, moment: u64, len: usize, socket: &Arc<Socket>, caller: CallerKey) {
        let mut kept = self.0.lock();
        let new = || OfSocket { socket: Arc::downgrade(socket), caller, frames: 0, bytes: 0, changed: moment };
        let waits = kept.entry(socket.number).or_insert_with(new);
        waits.frames += 1;
        waits.bytes += len;
    }

    /// A part of what waits for a socket was written.
    pub(super) fn progresses(&self, moment: u64, socket: u64) {
        if let Some(waits) = self.0.lock().get_mut(&socket) {
            waits.changed = moment;
        }
    }

    /// A frame was written, or dropped.
    pub(super) fn over(&self, moment: u64, socket: u64, len: usize) {
        let mut kept = self.0.lock();
        let Entry::Occupied(mut entry) = kept.entry(socket) else { return };
        let waits = entry.get_mut();
        waits.frames -= 1;
        waits.bytes -= len;
        waits.changed = moment;
        if waits.frames == 0 {
            entry.remove();
        }
    }

    /// All that waits.
    pub(super) fn all(&self) -> Vec<Waiting> {
        let kept = self.0.lock();
        let found = kept.values().map(|waits| {
            let OfSocket { caller, bytes, changed, .. } = *waits;
            Waiting { socket: waits.socket.upgrade(), caller, bytes, changed }
        });
        let mut found: Vec<_> = found.collect();
        drop(kept);
        for waiting in &mut found {
            // Dropped only once nothing is locked here: with the last of a socket its frames go.
            waiting.socket = waiting.socket.take().filter(|socket| !socket.outbox.is_abandoned());
        }
        found
    }
}

/// A frame that is counted as long as it lives.
pub(super) struct KeptFrame {
    pub(super) frame: Bytes,
    pub(super) _kept: KeptBytes,
}

/// Bytes that are counted for a socket as long as this lives.
pub(crate) struct KeptBytes {
    /// The number of the socket.
    pub(super) socket: u64,
    pub(super) len: usize,
    pub(super) caller: CallerKey,
    pub(super) places: Arc<Places>,
}

impl AsRef<[u8]> for KeptFrame {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for KeptBytes {
    fn drop(&mut self) {
        self.places.let_go(self.socket, self.len, self.caller);
    }
}
