//! What the settings say of sockets.

use std::time::Duration;

/// How sockets are treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketSettings {
    /// Between two heartbeats.
    pub(crate) heartbeat_interval: Duration,
    /// How long a client may be silent.
    pub(crate) heartbeat_timeout: Duration,
    /// How long a write may make no progress.
    pub(crate) write_timeout: Duration,
    /// Frames a second of one client that are no requests.
    pub(crate) idle_frames_per_sec: u32,
    /// Whether jsonp-polling is offered.
    pub(crate) jsonp: bool,
}
