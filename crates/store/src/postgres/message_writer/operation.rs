//! What the writer of messages does, and what comes of it.

use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, PushTokenId};
use respoke_core::message::{NewMessage, Said, SaidOnce};

/// A message that is said.
pub(in crate::postgres) struct Say {
    /// With which key, if with one.
    pub(in crate::postgres) once: Option<SaidOnce>,
    /// None: it is not kept.
    pub(in crate::postgres) kept: Option<NewMessage>,
    pub(in crate::postgres) now: Timestamp,
    /// What its app may keep.
    pub(in crate::postgres) bytes_max: u64,
}

/// A note that a device was seen, which may be lost.
pub(in crate::postgres) struct Seen {
    pub(in crate::postgres) app: AppId,
    pub(in crate::postgres) id: PushTokenId,
    pub(in crate::postgres) endpoint: EndpointId,
    pub(in crate::postgres) at: Timestamp,
}

/// What is done in batches.
pub(in crate::postgres) enum Operation {
    Say(Say),
    Seen(Seen),
}

/// What came of it.
pub(in crate::postgres) enum Outcome {
    Said(Said),
    Noted,
}
