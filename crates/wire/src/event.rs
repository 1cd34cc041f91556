//! Pushes as clients read them: one JSON object with a `header`.
//!
//! # Source
//!
//! Section 4 of docs/protocol.md. Clients differ in which key they look for, so each kind has its own: `body` for
//! messages and signals, `message` for what is published to groups, everything else at the top level.

use respoke_core::clock::Timestamp;
use respoke_core::event::{Content, Event, Presence};
use respoke_core::id::{ConnectionId, EndpointId, GroupName, MessageId, RequestId};
use respoke_core::message::Place;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Header<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    from: &'a EndpointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_connection: Option<ConnectionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a EndpointId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_connection: Option<ConnectionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_original: Option<&'a EndpointId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Channel<'a>>,
    timestamp: i64,
    request_id: RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
}

enum Channel<'a> {
    Group(&'a GroupName),
    PresenceOf(&'a EndpointId),
}

impl Serialize for Channel<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Group(group) => group.serialize(serializer),
            Self::PresenceOf(endpoint) => serializer.collect_str(&format_args!("presence:{endpoint}")),
        }
    }
}

#[derive(Serialize)]
struct Message<'a> {
    header: Header<'a>,
    body: &'a RawValue,
}

#[derive(Serialize)]
struct Published<'a> {
    header: Header<'a>,
    message: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Membership<'a> {
    header: Header<'a>,
    endpoint_id: &'a EndpointId,
    connection_id: ConnectionId,
}

#[derive(Serialize)]
struct PresenceChange<'a> {
    header: Header<'a>,
    #[serde(flatten)]
    presence: PresenceView<'a>,
}

/// What is not known says nothing but that.
#[derive(Serialize)]
struct Missed<'a> {
    header: Header<'a>,
}

/// A presence as it stands in pushes and snapshots.
#[derive(Serialize)]
pub struct PresenceView<'a> {
    #[serde(rename = "type")]
    kind: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    show: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a RawValue>,
}

impl<'a> From<&'a Presence> for PresenceView<'a> {
    fn from(presence: &'a Presence) -> Self {
        Self { kind: &presence.kind, show: presence.show.as_deref(), status: presence.status.as_deref() }
    }
}

/// The longest frame around what an event says, in bytes: all keys, ids and numbers, without the names of endpoints and
/// groups and without the payload.
pub const ENVELOPE_LEN_MAX: usize = 448;

/// The name under which clients listen for `event`.
#[must_use]
pub const fn name(event: &Event) -> &'static str {
    match &event.content {
        Content::Message { .. } => "message",
        Content::Published { .. } => "pubsub",
        Content::Joined { .. } => "join",
        Content::Left { .. } => "leave",
        Content::Presence(_) => "presence",
        Content::Signal(_) => "signal",
        Content::Missed => "missed",
    }
}

/// The event's one argument. History keeps it and answers with it.
///
/// # Panics
///
/// Never: text, numbers and JSON always serialize.
#[must_use]
pub fn object(event: &Event) -> Box<RawValue> {
    let header = Header {
        kind: name(event),
        from: &event.from,
        from_connection: event.from_connection,
        from_type: None,
        to: None,
        to_type: None,
        to_connection: None,
        to_original: None,
        channel: None,
        timestamp: event.at.millis(),
        request_id: event.request_id,
        message_id: None,
    };
    let text = match &event.content {
        Content::Message { message_id, to, to_original, body } => to_raw_value(&Message {
            header: Header { to: Some(to), to_original: to_original.as_ref(), message_id: Some(*message_id), ..header },
            body,
        }),
        Content::Published { message_id, group, message, place: _ } => to_raw_value(&Published {
            header: Header { channel: Some(Channel::Group(group)), message_id: Some(*message_id), ..header },
            message,
        }),
        Content::Joined { group, endpoint, connection } | Content::Left { group, endpoint, connection } => {
            to_raw_value(&Membership {
                header: Header { channel: Some(Channel::Group(group)), ..header },
                endpoint_id: endpoint,
                connection_id: *connection,
            })
        }
        Content::Presence(presence) => {
            let channel = Some(Channel::PresenceOf(&event.from));
            let presence = PresenceView::from(presence);
            let header = Header { channel, ..header };
            to_raw_value(&PresenceChange { header, presence })
        }
        Content::Signal(signal) => to_raw_value(&Message {
            header: Header {
                from_type: Some(&signal.from_type),
                to: Some(&signal.to),
                to_type: Some(&signal.to_type),
                to_connection: signal.to_connection,
                to_original: signal.to_original.as_ref(),
                ..header
            },
            body: &signal.body,
        }),
        Content::Missed => to_raw_value(&Missed { header }),
    };
    text.expect("text, numbers and JSON always serialize")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredHeader {
    from: String,
    from_connection: Option<String>,
    channel: String,
    timestamp: i64,
    request_id: String,
    message_id: String,
}

#[derive(Deserialize)]
struct Stored {
    header: StoredHeader,
    message: Box<RawValue>,
}

/// A message to a group as it was kept ([`object`]), and stands at `place`. None: it is none that this release could have made.
#[must_use]
pub fn stored(object: &RawValue, place: Place) -> Option<Event> {
    let Stored { header, message } = serde_json::from_str(object.get()).ok()?;
    let from_connection = match header.from_connection {
        Some(connection) => Some(ConnectionId::parse(&connection)?),
        None => None,
    };
    Some(Event {
        from: EndpointId::parse(&header.from).ok()?,
        from_connection,
        at: Timestamp::from_millis(header.timestamp),
        request_id: RequestId::parse(&header.request_id)?,
        content: Content::Published {
            message_id: MessageId::parse(&header.message_id)?,
            group: GroupName::parse(&header.channel).ok()?,
            message,
            place: Some(place),
        },
    })
}

#[cfg(test)]
mod tests {
    use respoke_core::clock::Timestamp;
    use respoke_core::event::Signal;

    use super::*;

    const UUID: &str = "7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001";

    fn endpoint(text: &str) -> EndpointId {
        EndpointId::parse(text).unwrap()
    }

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn event(content: Content) -> String {
        let object = object(&Event {
            from: endpoint("alice"),
            from_connection: ConnectionId::parse(UUID),
            at: Timestamp::from_millis(1_432_068_449_650),
            request_id: RequestId::parse(UUID).unwrap(),
            content,
        });
        object.get().to_owned()
    }

    const HEAD: &str = r#""from":"alice","fromConnection":"7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001""#;
    const TAIL: &str = r#""timestamp":1432068449650,"requestId":"7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001""#;

    #[test]
    fn each_kind_has_the_keys_that_clients_look_for() {
        let message_id = MessageId::parse(UUID).unwrap();
        let group = GroupName::parse("room").unwrap();
        let body = raw(r#"{"a":[0,"x"]}"#);
        let message = Content::Message { message_id, to: endpoint("bob"), to_original: None, body: body.clone() };
        assert_eq!(
            event(message),
            format!(
                r#"{{"header":{{"type":"message",{HEAD},"to":"bob",{TAIL},"messageId":"{UUID}"}},"body":{{"a":[0,"x"]}}}}"#
            )
        );
        let published = Content::Published { message_id, group: group.clone(), message: body, place: None };
        assert_eq!(
            event(published),
            format!(
                r#"{{"header":{{"type":"pubsub",{HEAD},"channel":"room",{TAIL},"messageId":"{UUID}"}},"message":{{"a":[0,"x"]}}}}"#
            )
        );
        let joined =
            Content::Joined { group, endpoint: endpoint("bob"), connection: ConnectionId::parse(UUID).unwrap() };
        assert_eq!(
            event(joined),
            format!(
                r#"{{"header":{{"type":"join",{HEAD},"channel":"room",{TAIL}}},"endpointId":"bob","connectionId":"{UUID}"}}"#
            )
        );
        let presence = Presence { kind: raw(r#""away""#), show: None, status: Some(raw(r#""out""#)) };
        assert_eq!(
            event(Content::Presence(presence)),
            format!(
                r#"{{"header":{{"type":"presence",{HEAD},"channel":"presence:alice",{TAIL}}},"type":"away","status":"out"}}"#
            )
        );
        let signal = Signal {
            to: endpoint("bob"),
            to_connection: None,
            to_original: Some(endpoint("carol")),
            from_type: "web".into(),
            to_type: "web".into(),
            body: raw(r#"{"signalType":"bye"}"#),
            spares_answerers_of: None,
        };
        assert_eq!(
            event(Content::Signal(signal)),
            format!(
                r#"{{"header":{{"type":"signal",{HEAD},"fromType":"web","to":"bob","toType":"web","toOriginal":"carol",{TAIL}}},"body":{{"signalType":"bye"}}}}"#
            )
        );
        assert_eq!(event(Content::Missed), format!(r#"{{"header":{{"type":"missed",{HEAD},{TAIL}}}}}"#));
    }
}
