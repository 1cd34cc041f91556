//! What all outboxes together note: which were closed, in which much waits, and how much of events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

/// What outboxes note for whoever looks after them, by the numbers of their sockets. Of either kind there are never more
/// than were open at once, and have been opened since somebody looked.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Those that were closed, each once.
    ended: Mutex<VecDeque<u64>>,
    /// Those in which much waits, each once.
    laden: Mutex<Vec<u64>>,
    /// Bytes of all events' frames that wait anywhere, or are being written.
    events: AtomicUsize,
}

impl Notes {
    /// Notes that this one was closed.
    pub(super) fn ended(&self, number: u64) {
        self.ended.lock().push_back(number);
    }

    /// One that was closed. One at a time: should a look at one panic, the others are still there.
    pub(crate) fn next_ended(&self) -> Option<u64> {
        self.ended.lock().pop_front()
    }

    /// Those in which much waits; who looks at them puts back those of which that is still so.
    pub(crate) fn take_laden(&self) -> Vec<u64> {
        std::mem::take(&mut self.laden.lock())
    }

    /// Notes that much waits, or waits still, in these.
    pub(crate) fn laden(&self, numbers: impl IntoIterator<Item = u64>) {
        self.laden.lock().extend(numbers);
    }

    /// Bytes of all events' frames that wait anywhere, or are being written; of one that waits for many, once.
    pub(crate) fn events(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }

    /// An event's frame that is counted for as long as it waits for anybody.
    pub(crate) fn counted(self: &Arc<Self>, frame: Bytes) -> Bytes {
        self.events.fetch_add(frame.len(), Ordering::Relaxed);
        Bytes::from_owner(CountedFrame { frame, notes: self.clone() })
    }
}

struct CountedFrame {
    frame: Bytes,
    notes: Arc<Notes>,
}

impl AsRef<[u8]> for CountedFrame {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for CountedFrame {
    fn drop(&mut self) {
        self.notes.events.fetch_sub(self.frame.len(), Ordering::Relaxed);
    }
}
