//! A frame as it is shown to an admin who looks on at an endpoint's traffic.

use std::fmt;

use crate::clock::Timestamp;
use crate::id::{ConnectionId, EndpointId, RequestId};

/// A frame that was looked at. What it says is not printed.
#[derive(Clone)]
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
    pub bytes: u64,
    /// What it says, if that was asked for and holds no credential.
    pub payload: Option<String>,
    /// How many frames before it were lost, because they were not read in time or were too many for another node to tell.
    pub lost: u64,
}

impl fmt::Debug for TailedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailedFrame")
            .field("connection_id", &self.connection_id)
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("request_id", &self.request_id)
            .field("bytes", &self.bytes)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payloads {
    /// They are left out.
    Redacted,
    /// They are shown.
    Shown,
}
