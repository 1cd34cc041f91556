//! What is pushed to connections: who says what, to whom. How it looks on a socket is the wire's business.

use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::id::{ConnectionId, EndpointId, GroupName, MessageId, RequestId};

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

/// What a push says.
#[derive(Clone, Debug)]
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
}

/// What a connection says of its availability.
#[derive(Clone, Debug)]
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

    /// Whether it says that nobody is there.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.kind.get() == UNAVAILABLE
    }
}

/// A signal on its way.
#[derive(Clone, Debug)]
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
