//! What is pushed to connections: who says what, to whom. How it looks on a socket is the wire's business.

use std::fmt;

use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::id::{ConnectionId, EndpointId, GroupName, MessageId, RequestId};
use crate::message::Place;

/// One push. It is made once and encoded once, however many it reaches.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who speaks.
    pub from: EndpointId,
    /// By which of its connections; none when a backend speaks for it.
    pub from_connection: Option<ConnectionId>,
    /// When, by the server's clock.
    pub at: Timestamp,
    /// The request that caused it.
    pub request_id: RequestId,
    /// What.
    pub content: Content,
}

/// What a push says. What clients say in it is theirs, and in no log.
#[derive(Clone)]
pub enum Content {
    /// A message to one endpoint.
    Message {
        /// Its name for good.
        message_id: MessageId,
        /// To whom it was sent, or with a copy to the sender's other devices: whose device this is.
        to: EndpointId,
        /// With a copy to the sender's other devices: to whom the message went.
        to_original: Option<EndpointId>,
        /// Any JSON.
        body: Box<RawValue>,
    },
    /// A message to a group.
    Published {
        /// Its name for good.
        message_id: MessageId,
        /// Which group.
        group: GroupName,
        /// Any JSON.
        message: Box<RawValue>,
        /// Where it stands among what is kept of the group; none if it is not kept.
        place: Option<Place>,
    },
    /// A connection joined a group; it is the event's sender.
    Joined {
        /// Which group.
        group: GroupName,
        /// Whose connection.
        endpoint: EndpointId,
        /// Which.
        connection: ConnectionId,
    },
    /// A connection left a group.
    Left {
        /// Which group.
        group: GroupName,
        /// Whose connection.
        endpoint: EndpointId,
        /// Which.
        connection: ConnectionId,
    },
    /// A connection's presence is now this.
    Presence(Presence),
    /// A step of a call or a direct connection.
    Signal(Signal),
    /// Something that was for this connection, among others perhaps, is lost for good.
    Missed,
}

/// What a connection says of its availability.
#[derive(Clone)]
pub struct Presence {
    /// Usually a word; any JSON.
    pub kind: Box<RawValue>,
    /// For people.
    pub show: Option<Box<RawValue>>,
    /// For people.
    pub status: Option<Box<RawValue>>,
}

/// What clients take for "not there".
const UNAVAILABLE: &str = "\"unavailable\"";

impl Presence {
    /// The presence of a connection that is gone or never said anything.
    ///
    /// # Panics
    ///
    /// Never: the text is JSON.
    #[must_use]
    pub fn unavailable() -> Self {
        let kind = RawValue::from_string(UNAVAILABLE.to_owned()).expect("a quoted word is JSON");
        Self { kind, show: None, status: None }
    }

    /// All that it says.
    #[must_use]
    pub fn texts(&self) -> [Option<&str>; 3] {
        [Some(self.kind.get()), self.show.as_deref().map(RawValue::get), self.status.as_deref().map(RawValue::get)]
    }

    /// Whether it says that nobody is there.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.kind.get() == UNAVAILABLE
    }
}

/// A signal on its way. Its body may hold what opens a call's media to whoever knows it.
#[derive(Clone)]
pub struct Signal {
    /// To whom it was sent; as in [`Content::Message`].
    pub to: EndpointId,
    /// The one connection it is for.
    pub to_connection: Option<ConnectionId>,
    /// As in [`Content::Message`].
    pub to_original: Option<EndpointId>,
    /// What kind of party speaks: `web` for endpoints, `did`, `sip` and `conference` for what a gateway speaks for.
    pub from_type: String,
    /// What kind of party it is for.
    pub to_type: String,
    /// A JSON object.
    pub body: Box<RawValue>,
    /// Not for connections that answered this session of a call.
    pub spares_answerers_of: Option<String>,
}

/// Stands for a payload where it is not shown.
struct Unshown<'a>(&'a RawValue);

impl fmt::Debug for Unshown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.get().len())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { message_id, to, to_original, body } => f
                .debug_struct("Message")
                .field("message_id", message_id)
                .field("to", to)
                .field("to_original", to_original)
                .field("body", &Unshown(body))
                .finish(),
            Self::Published { message_id, group, message, place } => f
                .debug_struct("Published")
                .field("message_id", message_id)
                .field("group", group)
                .field("message", &Unshown(message))
                .field("place", place)
                .finish(),
            Self::Joined { group, endpoint, connection } => f
                .debug_struct("Joined")
                .field("group", group)
                .field("endpoint", endpoint)
                .field("connection", connection)
                .finish(),
            Self::Left { group, endpoint, connection } => f
                .debug_struct("Left")
                .field("group", group)
                .field("endpoint", endpoint)
                .field("connection", connection)
                .finish(),
            Self::Presence(presence) => presence.fmt(f),
            Self::Signal(signal) => signal.fmt(f),
            Self::Missed => f.write_str("Missed"),
        }
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence")
            .field("kind", &Unshown(&self.kind))
            .field("show", &self.show.as_deref().map(Unshown))
            .field("status", &self.status.as_deref().map(Unshown))
            .finish()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("to", &self.to)
            .field("to_connection", &self.to_connection)
            .field("to_original", &self.to_original)
            .field("from_type", &self.from_type)
            .field("to_type", &self.to_type)
            .field("body", &Unshown(&self.body))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_is_not_printed() {
        let said = || RawValue::from_string("\"a=ice-pwd:sesame\"".to_owned()).unwrap();
        let endpoint = || EndpointId::parse("jo").unwrap();
        let message_id = MessageId::from_uuid(uuid::Uuid::from_u128(7));
        let signal = Signal {
            to: endpoint(),
            to_connection: None,
            to_original: None,
            from_type: "web".to_owned(),
            to_type: "web".to_owned(),
            body: said(),
            spares_answerers_of: None,
        };
        for content in [
            Content::Message { message_id, to: endpoint(), to_original: None, body: said() },
            Content::Published { message_id, group: GroupName::parse("room").unwrap(), message: said(), place: None },
            Content::Presence(Presence { kind: said(), show: Some(said()), status: Some(said()) }),
            Content::Signal(signal),
        ] {
            let printed = format!("{content:?}");
            assert!(printed.contains("(18 bytes)") && !printed.contains("sesame"), "{printed}");
        }
    }
}
