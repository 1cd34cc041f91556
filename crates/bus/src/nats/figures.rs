//! What a carrier did, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a carrier over NATS did since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatsFigures {
    /// Frames that were given to the connection.
    pub frames_sent: u64,
    /// Their bytes, with what stands around them.
    pub bytes_sent: u64,
    /// Frames that came.
    pub frames_received: u64,
    /// Their bytes, with what stands around them.
    pub bytes_received: u64,
    /// Frames that found no room before they were sent, waited too long, or were longer than the server takes.
    pub frames_dropped: u64,
    /// Messages that came and found no room, or were no messages of a node. One holds several frames.
    pub messages_dropped: u64,
    /// How often the connection was lost and came back.
    pub reconnects: u64,
    /// How often the server said that something is wrong.
    pub server_errors: u64,
    /// Whether there is a connection.
    pub is_connected: bool,
    /// How long a message to itself was on its way as a rule, in microseconds.
    pub delay_micros: u64,
}

/// Counters that any thread counts on.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) frames_sent: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) frames_received: AtomicU64,
    pub(super) bytes_received: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

pub(super) fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
