//! Pushes as clients of this protocol read them. One text serves everybody whom an event is for.

use bytes::Bytes;
use respoke_core::event::{Content, Event};
use respoke_core::id::{ConnectionId, EndpointId, GroupName, MessageId};
use serde::Serialize;
use serde_json::value::RawValue;

use super::said::on_one_line;
use crate::event::PresenceView;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pushed<'a> {
    ev: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    g: Option<&'a GroupName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a EndpointId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<ConnectionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a EndpointId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_connection: Option<ConnectionId>,
    at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Said(&'a RawValue),
    Presence(PresenceView<'a>),
}

/// The object of an event.
///
/// # Panics
///
/// Never: text, numbers and JSON always serialize.
#[must_use]
pub fn object(event: &Event) -> Bytes {
    let pushed = Pushed {
        ev: "message",
        kind: None,
        g: None,
        m: None,
        from: Some(&event.from),
        from_type: None,
        connection: event.from_connection,
        to: None,
        to_type: None,
        to_connection: None,
        at: event.at.millis(),
        data: None,
    };
    let pushed = match &event.content {
        Content::Message { message_id, to, to_original, body } => Pushed {
            m: Some(*message_id),
            to: Some(to_original.as_ref().unwrap_or(to)),
            data: Some(Data::Said(body)),
            ..pushed
        },
        Content::Published { message_id, group, message, place: _ } => {
            Pushed { g: Some(group), m: Some(*message_id), data: Some(Data::Said(message)), ..pushed }
        }
        Content::Joined { group, endpoint, connection } => {
            Pushed { ev: "join", g: Some(group), from: Some(endpoint), connection: Some(*connection), ..pushed }
        }
        Content::Left { group, endpoint, connection } => {
            Pushed { ev: "leave", g: Some(group), from: Some(endpoint), connection: Some(*connection), ..pushed }
        }
        Content::Presence(presence) => Pushed { ev: "presence", data: Some(Data::Presence(presence.into())), ..pushed },
        Content::Signal(signal) => Pushed {
            ev: "signal",
            from_type: Some(&signal.from_type),
            to: Some(signal.to_original.as_ref().unwrap_or(&signal.to)),
            to_type: Some(&signal.to_type),
            to_connection: signal.to_connection,
            data: Some(Data::Said(&signal.body)),
            ..pushed
        },
        Content::Missed => Pushed { ev: "gap", kind: Some("live"), from: None, connection: None, ..pushed },
    };
    let json = serde_json::to_vec(&pushed).expect("text, numbers and JSON always serialize");
    on_one_line(json)
}

#[cfg(test)]
mod tests {
    use respoke_core::clock::Timestamp;
    use respoke_core::event::{Presence, Signal};
    use respoke_core::id::RequestId;

    use super::*;

    const UUID: &str = "7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001";
    const FROM: &str = r#""from":"alice","connection":"7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001""#;
    const AT: &str = r#""at":1432068449650"#;

    fn endpoint(text: &str) -> EndpointId {
        EndpointId::parse(text).unwrap()
    }

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn pushed(content: Content) -> String {
        let object = object(&Event {
            from: endpoint("alice"),
            from_connection: ConnectionId::parse(UUID),
            at: Timestamp::from_millis(1_432_068_449_650),
            request_id: RequestId::parse(UUID).unwrap(),
            content,
        });
        String::from_utf8(object.to_vec()).unwrap()
    }

    #[test]
    fn each_kind_has_the_fields_of_docs_socket_md() {
        let (message_id, group) = (MessageId::parse(UUID).unwrap(), GroupName::parse("room").unwrap());
        let connection = ConnectionId::parse(UUID).unwrap();
        let published =
            Content::Published { message_id, group: group.clone(), message: raw("{\"a\":\n[0, 1e400]}"), place: None };
        assert_eq!(
            pushed(published),
            format!(r#"{{"ev":"message","g":"room","m":"{UUID}",{FROM},{AT},"data":{{"a": [0, 1e400]}}}}"#)
        );
        let message = |to: &str, to_original: Option<&str>| Content::Message {
            message_id,
            to: endpoint(to),
            to_original: to_original.map(endpoint),
            body: raw("null"),
        };
        let to_bob = format!(r#"{{"ev":"message","m":"{UUID}",{FROM},"to":"bob",{AT},"data":null}}"#);
        assert_eq!(pushed(message("bob", None)), to_bob);
        assert_eq!(pushed(message("alice", Some("bob"))), to_bob, "a copy says to whom it went");
        let joined = Content::Joined { group: group.clone(), endpoint: endpoint("bob"), connection };
        assert_eq!(pushed(joined), format!(r#"{{"ev":"join","g":"room","from":"bob","connection":"{UUID}",{AT}}}"#));
        let left = Content::Left { group, endpoint: endpoint("bob"), connection };
        assert_eq!(pushed(left), format!(r#"{{"ev":"leave","g":"room","from":"bob","connection":"{UUID}",{AT}}}"#));
        let presence = Presence { kind: raw(r#""away""#), show: None, status: Some(raw(r#""out""#)) };
        assert_eq!(
            pushed(Content::Presence(presence)),
            format!(r#"{{"ev":"presence",{FROM},{AT},"data":{{"type":"away","status":"out"}}}}"#)
        );
        let signal = Signal {
            to: endpoint("bob"),
            to_connection: Some(connection),
            to_original: None,
            from_type: "web".into(),
            to_type: "web".into(),
            body: raw(r#"{"signalType":"bye"}"#),
            spares_answerers_of: None,
        };
        assert_eq!(
            pushed(Content::Signal(signal)),
            format!(
                r#"{{"ev":"signal","from":"alice","fromType":"web","connection":"{UUID}","to":"bob","toType":"web","toConnection":"{UUID}",{AT},"data":{{"signalType":"bye"}}}}"#
            )
        );
        assert_eq!(pushed(Content::Missed), format!(r#"{{"ev":"gap","kind":"live",{AT}}}"#));
    }
}
