//! What waits for the clients of sockets: long answers in an outbox, until the client reads or polls, and what polling
//! clients brought before they fetch the answers.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_hub::Socket;

use super::places::Places;
use super::unread::CallerKey;

/// Those that wait, by number: how long each is, and for which socket.
#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<u64, (usize, Weak<Socket>)>>);

impl Kept {
    pub(super) fn begin(&self, number: u64, len: usize, socket: &Arc<Socket>) {
        self.0.lock().insert(number, (len, Arc::downgrade(socket)));
    }

    pub(super) fn over(&self, number: u64) {
        self.0.lock().remove(&number);
    }

    /// Those whose sockets are still to be written to.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, usize, Arc<Socket>)> {
        let kept = self.0.lock();
        let found = kept.iter().filter_map(|(number, (len, socket))| Some((*number, *len, socket.upgrade()?)));
        let found: Vec<_> = found.collect();
        drop(kept);
        found.into_iter().filter(|(.., socket)| !socket.outbox.is_abandoned())
    }
}

/// A frame that is counted as long as it lives.
pub(super) struct KeptFrame {
    pub(super) frame: Bytes,
    pub(super) _kept: KeptBytes,
}

/// Bytes that are counted for a socket as long as this lives.
pub(crate) struct KeptBytes {
    pub(super) number: u64,
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
        self.places.let_go(self.number, self.len, self.caller);
    }
}
