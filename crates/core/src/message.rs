//! Group messages that are kept: histories, conversations and how far somebody has read.

use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId, GroupName};

/// A group message to be kept.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// In which app.
    pub app_id: AppId,
    /// To which group it went.
    pub group: GroupName,
    /// Who spoke.
    pub sender: EndpointId,
    /// When; the instant that the event itself tells.
    pub at: Timestamp,
    /// The event as members got it, a JSON object.
    pub event: Box<RawValue>,
}

/// A message as it is kept.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// When it was sent.
    pub at: Timestamp,
    /// The event as members got it.
    pub event: Box<RawValue>,
}

/// How far an endpoint has read a group.
#[derive(Clone, Debug)]
pub struct ReadMark {
    /// Which group.
    pub group: GroupName,
    /// Up to and with the messages of this instant.
    pub at: Timestamp,
}

/// A group with kept messages, as one endpoint sees it.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Which group.
    pub group: GroupName,
    /// Who sent the newest message.
    pub sender: EndpointId,
    /// The newest message.
    pub latest: StoredMessage,
    /// Messages after the endpoint's mark; [`Conversation::UNREAD_MAX`] stands for that many or more.
    pub unread: usize,
}

impl Conversation {
    /// The most conversations of one list, and with the most unread messages each 200,000 index entries to count.
    pub const LIST_MAX: usize = 200;
    /// Where counting stops.
    pub const UNREAD_MAX: usize = 1_000;
    /// Groups of which it is kept that one endpoint wrote to or read them. The longest untouched go.
    pub const PER_ENDPOINT_MAX: usize = 1_000;
}

/// The most bytes of events of one answer: a page of the longest messages would be four times that, a search twenty.
pub const HISTORY_BYTES_MAX: usize = 1024 * 1024;
/// The most messages of one millisecond that can be read of a group. Not even a thousand publishers get as many in.
pub const INSTANT_MESSAGES_MAX: usize = 1_000;
/// The most bytes of events of one millisecond that can be read of a group, but for its last message.
pub const INSTANT_BYTES_MAX: usize = 4 * HISTORY_BYTES_MAX;
/// The most messages of one history.
pub const HISTORY_LIMIT_MAX: usize = 200;
