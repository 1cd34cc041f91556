//! What an operation makes others receive. It is known before the operation is done, and charged to who asks.
//!
//! A membership pays for its end as well. Of two members of a group one leaves first, and the other is told: one frame for
//! each two. Whoever joined later of the two paid for that frame when it joined. The same holds for an observer and what it observes. If an endpoint's
//! connection went before somebody began to observe it, the observer has paid for hearing of that. So connections that end,
//! many at once perhaps, cause no frame that was not paid for.
//!
//! Who is in a group or observes somebody pays once, beside that, for what is held of it meanwhile.
//!
//! Others may come between the counting and the doing. What they cost is known when it is done, and owed.

use respoke_core::id::{EndpointId, GroupName};
use respoke_wire::event::ENVELOPE_LEN_MAX;

/// Frames that go out because of a request, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// How many frames are handed to sockets.
    pub frames: u64,
    /// Bytes of all of them, at most.
    pub bytes: u64,
}

impl Reach {
    /// `connections` that each receive a frame of at most `frame_len` bytes.
    pub(crate) fn of(connections: usize, frame_len: usize) -> Self {
        let (frames, len) = (connections as u64, frame_len as u64);
        Self { frames, bytes: frames.saturating_mul(len) }
    }

    /// So many bytes that are held because of it, and go out to nobody.
    pub(crate) fn held(bytes: usize) -> Self {
        Self { frames: 0, bytes: bytes as u64 }
    }

    /// What of this goes beyond what was paid.
    pub(crate) fn beyond(self, paid: Self) -> Self {
        Self { frames: self.frames.saturating_sub(paid.frames), bytes: self.bytes.saturating_sub(paid.bytes) }
    }

    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { frames: self.frames.saturating_add(other.frames), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// The longest frame in which `endpoint` says `body_len` bytes to `to`, a group's or another endpoint's name.
pub(crate) fn frame_len(endpoint: &EndpointId, to: &str, body_len: usize) -> usize {
    // Each name stands there twice at most, and each of its bytes may have to be escaped.
    ENVELOPE_LEN_MAX + 4 * (endpoint.as_str().len() + to.len()) + body_len
}

/// The same of whichever endpoint it is.
pub(crate) fn longest_len(to: &str) -> usize {
    ENVELOPE_LEN_MAX + 4 * (EndpointId::LEN_MAX + to.len())
}

/// The longest frame of a coming or going.
pub(crate) fn membership_len(endpoint: &EndpointId, group: &GroupName) -> usize {
    frame_len(endpoint, group.as_str(), 0)
}

#[cfg(test)]
mod tests {
    use respoke_core::clock::Timestamp;
    use respoke_core::event::{Content, Event, Presence, Signal};
    use respoke_core::id::{ConnectionId, MessageId, RequestId};
    use respoke_wire::dialect::Dialect;
    use serde_json::value::RawValue;

    use super::*;

    /// Every kind of event with the longest of everything: whatever it says, its frame is no longer than what is paid for.
    #[test]
    fn no_frame_is_longer_than_what_is_paid_for() {
        // Quotation marks are the longest there is in JSON, being two bytes each.
        let name = "\"".repeat(EndpointId::LEN_MAX);
        let (from, group) = (EndpointId::parse(&name).unwrap(), GroupName::parse(&name).unwrap());
        let (connection, message_id) = (ConnectionId::random(), MessageId::from_uuid(RequestId::random().uuid()));
        let body = RawValue::from_string(format!("\"{}\"", "x".repeat(1_000))).unwrap();
        let presence = Presence { kind: body.clone(), show: Some(body.clone()), status: Some(body.clone()) };
        let signal = Signal {
            to: from.clone(),
            to_connection: Some(connection),
            to_original: None,
            from_type: "conference".to_owned(),
            to_type: "conference".to_owned(),
            body: body.clone(),
            spares_answerers_of: None,
        };
        let copy = Signal { to_original: Some(from.clone()), ..signal.clone() };
        let (said, message) = (frame_len(&from, &name, body.get().len()), body.clone());
        let copied = Some(from.clone());
        for (content, paid) in [
            (Content::Message { message_id, to: from.clone(), to_original: None, body: body.clone() }, said),
            (Content::Message { message_id, to: from.clone(), to_original: copied, body }, said),
            (Content::Published { message_id, group: group.clone(), message, place: None }, said),
            (
                Content::Joined { group: group.clone(), endpoint: from.clone(), connection },
                membership_len(&from, &group),
            ),
            (Content::Left { group: group.clone(), endpoint: from.clone(), connection }, longest_len(&name)),
            (Content::Presence(presence), frame_len(&from, "", 3 * 1_002)),
            (Content::Presence(Presence::unavailable()), longest_len("")),
            (Content::Signal(signal), said + "conference".len()),
            (Content::Signal(copy), said + "conference".len()),
        ] {
            let at = Timestamp::from_millis(253_402_300_799_999);
            let event = Event {
                from: from.clone(),
                from_connection: Some(connection),
                at,
                request_id: RequestId::random(),
                content,
            };
            for dialect in [Dialect::SocketIo, Dialect::Respoke1] {
                let len = dialect.event(&event).len();
                assert!(len <= paid, "{len} of {paid} in {dialect:?}: {:?}", event.content);
            }
        }
    }
}
