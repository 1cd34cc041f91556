//! Group messages that are kept: histories, conversations and how far somebody has read.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId, GroupName, MessageId};
use crate::idempotency::IdempotencyKey;

/// A group message to be kept.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// In which app.
    pub app_id: AppId,
    /// To which group it went.
    pub group: GroupName,
    /// Who spoke.
    pub sender: EndpointId,
    /// When, by the clock; the instant that the event itself tells.
    pub at: Timestamp,
    /// The event as members are to get it, a JSON object that begins with its header.
    pub event: Box<RawValue>,
}

impl NewMessage {
    /// The event as of `at`, which is another instant only after the clock stepped back, or of the next message within a
    /// millisecond.
    #[must_use]
    pub fn event_as_of(&self, at: Timestamp) -> Cow<'_, str> {
        // No text before it in the header can hold this: in JSON a quote within text is escaped.
        const KEY: &str = "\"timestamp\":";
        let event = self.event.get();
        if at == self.at {
            return Cow::Borrowed(event);
        }
        let Some(start) = event.find(KEY).map(|key| key + KEY.len()) else { return Cow::Borrowed(event) };
        let rest = event[start..].trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == '-');
        Cow::Owned(format!("{}{}{rest}", &event[..start], at.millis()))
    }
}

/// Where a kept message stands among those of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which history of the group: one that is ended and begins anew has another.
    pub epoch: u64,
    /// 1, 2, 3 and so on, in the order of commits.
    pub offset: u64,
}

/// A message that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// As of when, which its event tells too.
    pub at: Timestamp,
    /// Where it stands.
    pub place: Place,
}

/// The key of a request that says a message, which names the message however often the request comes.
#[derive(Clone, Debug)]
pub struct SaidOnce {
    /// In which app.
    pub app_id: AppId,
    /// The key.
    pub key: IdempotencyKey,
    /// What the message is called if this is the first time.
    pub id: MessageId,
}

impl SaidOnce {
    /// So many are remembered of one app; its oldest make room. Two minutes' worth of a backend that says with keys all that
    /// it may say by default, and a day's of three a second.
    pub const PER_APP_MAX: u32 = 250_000;
    /// So many are remembered on the whole, some 200 bytes each. Beyond that no app keeps more than its share.
    pub const REMEMBERED_MAX: u32 = 1_000_000;
}

/// What came of saying a message by a request with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It was not said before. If it is kept, as of this instant and there.
    First(Timestamp, Option<Place>),
    /// It was, and is called this. Nothing was written.
    Before(MessageId),
    /// The key was used with another request.
    KeyReused,
    /// It was to be kept in an app that there is not.
    NoApp,
    /// It was to be kept in an app that keeps as much as it may. Nothing was written.
    Full,
}

/// A message as it is kept.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// When it was sent.
    pub at: Timestamp,
    /// The event as members got it.
    pub event: Box<RawValue>,
}

/// Where a kept message is, and how long it is: what is said of a long history before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef {
    /// The group, as the store numbers it. No number is given twice.
    pub group: i64,
    /// The message, likewise; after it went another of the same group may get it.
    pub number: i64,
    /// When it was sent.
    pub at: Timestamp,
    /// Bytes of the event.
    pub len: usize,
}

/// How far an endpoint has read a group.
#[derive(Clone, Debug)]
pub struct ReadMark {
    /// Which group.
    pub group: GroupName,
    /// Up to and with the messages of this instant, as far as there are any.
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
    /// Messages of others after the endpoint's mark; [`Conversation::UNREAD_MAX`] stands for that many or more.
    pub unread: usize,
}

/// Conversations of an endpoint, and what it took to find them.
#[derive(Clone, Debug, Default)]
pub struct Conversations {
    /// Those with the newest messages first.
    pub list: Vec<Conversation>,
    /// Messages that were looked at to count those unread.
    pub looked_at: usize,
}

impl Conversation {
    /// The most conversations of one list, and with the most unread messages each 200,000 index entries to count.
    pub const LIST_MAX: usize = 200;
    /// Where counting stops.
    pub const UNREAD_MAX: usize = 1_000;
    /// The newest messages of a group that are looked at: as many as are kept of one by default. Beyond that it matters
    /// only of whoever said nearly all of them without reading.
    pub const LOOKED_AT_MAX: usize = 10_000;
    /// Messages looked at for one list, but for [`Conversation::UNREAD_MAX`] of each: some tenths of a second.
    pub const LIST_LOOKED_AT_MAX: usize = 200_000;
    /// Groups of which it is kept that one endpoint wrote to or read them. The longest untouched go.
    pub const PER_ENDPOINT_MAX: usize = 1_000;
}

/// The most bytes of events of one answer: a page of the longest messages would be four times that, a search twenty.
pub const HISTORY_BYTES_MAX: usize = 1024 * 1024;
/// The most messages of one millisecond that can be read of a group. Not even a thousand publishers get as many in.
pub const INSTANT_MESSAGES_MAX: usize = 1_000;
/// The most bytes of events of one millisecond that can be read of a group, but for its last message.
pub const INSTANT_BYTES_MAX: usize = 4 * HISTORY_BYTES_MAX;
/// The most messages that are read at once of what is missing between two others.
pub const KEPT_BETWEEN_MAX: u64 = 64;
/// The most messages of one history.
pub const HISTORY_LIMIT_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instant_of_an_event_is_moved_and_nothing_else() {
        let event = |at: i64| {
            let from = r#"\"timestamp\":7"#;
            format!(r#"{{"header":{{"from":"{from}","timestamp":{at},"id":7}},"message":{{"timestamp":{at}}}}}"#)
        };
        let moved = |event: &str, to: i64| {
            let message = NewMessage {
                app_id: AppId::random(),
                group: GroupName::parse("room").unwrap(),
                sender: EndpointId::parse("jo").unwrap(),
                at: Timestamp::from_millis(7),
                event: RawValue::from_string(event.to_owned()).unwrap(),
            };
            message.event_as_of(Timestamp::from_millis(to)).into_owned()
        };
        assert_eq!(moved(&event(7), 7), event(7));
        assert_eq!(moved(&event(7), 1_000), event(7).replacen("\"timestamp\":7", "\"timestamp\":1000", 1));
        assert_eq!(moved(&event(-7), 8), event(-7).replacen("\"timestamp\":-7", "\"timestamp\":8", 1));
        assert_eq!(moved("{}", 8), "{}");
    }
}
