//! What is kept of the realtime hub: group messages and read marks, push tokens, call reports.
//!
//! None of it has an audit row: the log tells what was done to endpoints, and this is what they say themselves.

use std::ops::Range;

use async_trait::async_trait;

use super::outcome::Removal;
use super::store_error::StoreError;
use crate::call_report::{CallReport, NewCallReport};
use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId, GroupName, PushTokenId};
use crate::message::{Conversations, Kept, MessageRef, NewMessage, ReadMark, Said, SaidOnce, StoredMessage};
use crate::page::{Page, PageRequest, RowNumber};
use crate::push_token::PushToken;
use crate::refusal::Refusal;

/// What came of keeping something for an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping<T> {
    /// It is kept.
    Kept(T),
    /// There is no such app.
    NoApp,
    /// The app keeps as much as it may; nothing was written.
    Full,
}

impl<T> Keeping<T> {
    /// The same with something else of what is kept.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Keeping<U> {
        match self {
            Self::Kept(kept) => Keeping::Kept(of(kept)),
            Self::NoApp => Keeping::NoApp,
            Self::Full => Keeping::Full,
        }
    }

    /// What is kept.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`], [`Refusal::QuotaExceeded`].
    pub fn kept(self) -> Result<T, Refusal> {
        match self {
            Self::Kept(kept) => Ok(kept),
            Self::NoApp => Err(Refusal::NotFound("Apps")),
            Self::Full => Err(Refusal::QuotaExceeded),
        }
    }
}

/// Group messages, and how far they were read.
///
/// A group is known here by its kept messages alone: the last one that goes takes its marks along.
#[async_trait]
pub trait MessageStore: Send + Sync {
    /// Keeps a message; its group is thereafter a conversation of its sender. Returns the instant it is kept as of, which
    /// its event tells too, and its place. The app keeps at most `bytes_max` bytes ([`Self::kept_bytes`]).
    ///
    /// The instant is the message's own, or, if that is no later than the one before in the group, the next millisecond:
    /// what is said last is the newest, whatever the clock does. Nothing is written for other members, however many the
    /// group has.
    async fn append_message(&self, message: NewMessage, bytes_max: u64) -> Result<Keeping<Kept>, StoreError>;
    /// Remembers that a message is said by a request with a key, for [`REMEMBERED_SECS`] and among the app's last
    /// [`SaidOnce::PER_APP_MAX`]; and keeps the message, if it is `kept`, as [`MessageStore::append_message`] does and
    /// in the same step. Of any number of concurrent calls with one key exactly one is [`Said::First`].
    ///
    /// [`REMEMBERED_SECS`]: crate::idempotency::REMEMBERED_SECS
    async fn say_once(
        &self,
        once: SaidOnce,
        kept: Option<NewMessage>,
        now: Timestamp,
        bytes_max: u64,
    ) -> Result<Said, StoreError>;
    /// How much an app keeps of what its clients say, in bytes: messages, groups, read marks, push tokens, call reports.
    /// Each row counts with what one of its size takes in the store, indexes included, from when it comes until it is
    /// removed.
    async fn kept_bytes(&self, app: AppId) -> Result<u64, StoreError>;
    /// The same counted anew, row by row: slow, and for whoever doubts the count.
    async fn recounted_bytes(&self, app: AppId) -> Result<u64, StoreError>;
    /// The same of all apps together.
    async fn kept_bytes_of_all(&self) -> Result<u64, StoreError>;
    /// Ends a group: its messages and marks are gone when this returns, and what is kept under its name from then on is
    /// another group's.
    async fn end_group(&self, app: AppId, group: &GroupName) -> Result<Removal, StoreError>;
    /// Where messages of a group are, newest first, from before an instant; at most `limit`, and [`HISTORY_BYTES_MAX`] of them.
    ///
    /// Where that would part messages of one millisecond, which `before` cannot tell apart, those are left for the
    /// next call. If they alone are more than that they come all, as far as [`INSTANT_MESSAGES_MAX`] and
    /// [`INSTANT_BYTES_MAX`] let them.
    ///
    /// [`HISTORY_BYTES_MAX`]: crate::message::HISTORY_BYTES_MAX
    /// [`INSTANT_MESSAGES_MAX`]: crate::message::INSTANT_MESSAGES_MAX
    /// [`INSTANT_BYTES_MAX`]: crate::message::INSTANT_BYTES_MAX
    async fn history(
        &self,
        app: AppId,
        group: &GroupName,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<MessageRef>, StoreError>;
    /// Kept messages of a group with these offsets in that history of it, oldest first; of more than [`KEPT_BETWEEN_MAX`] offsets
    /// the last ones, as far as they are still kept. `before` is the instant of the message at the end of `offsets`, which is
    /// kept, too.
    ///
    /// [`KEPT_BETWEEN_MAX`]: crate::message::KEPT_BETWEEN_MAX
    async fn kept_between(
        &self,
        app: AppId,
        group: &GroupName,
        epoch: u64,
        offsets: Range<u64>,
        before: Timestamp,
    ) -> Result<Vec<(u64, StoredMessage)>, StoreError>;
    /// Where the newest messages of each group are, newest first; at most `limit` of each, and as many bytes as is each group's
    /// share of [`HISTORY_BYTES_MAX`], or the newest alone if that is more. The groups are in the order given, without
    /// those with which it would be more than [`HISTORY_BYTES_MAX`] together; the first that has messages is there in
    /// any case.
    ///
    /// [`HISTORY_BYTES_MAX`]: crate::message::HISTORY_BYTES_MAX
    async fn latest(
        &self,
        app: AppId,
        groups: Vec<GroupName>,
        limit: usize,
    ) -> Result<Vec<(GroupName, Vec<MessageRef>)>, StoreError>;
    /// What was said, in the order given; none of what is not kept any more.
    ///
    /// It is not asked for more than a few at a time, which the caller has room for.
    async fn messages(&self, which: Vec<MessageRef>) -> Result<Vec<Option<StoredMessage>>, StoreError>;
    /// The groups with kept messages that `endpoint` wrote to, has a mark in, or is in by `joined`; those with the
    /// newest messages first, at most [`LIST_MAX`].
    ///
    /// [`LIST_MAX`]: crate::message::Conversation::LIST_MAX
    async fn conversations(
        &self,
        app: AppId,
        endpoint: &EndpointId,
        joined: Vec<GroupName>,
    ) -> Result<Conversations, StoreError>;
    /// Moves marks forward, to the newest message at most; none goes back. A group without kept messages is passed over:
    /// there is nothing to read. `now` says which marks were moved last. [`Keeping::Full`] if there is no room for those
    /// that are new; then none was moved.
    async fn mark_read(
        &self,
        app: AppId,
        endpoint: &EndpointId,
        marks: Vec<ReadMark>,
        now: Timestamp,
        bytes_max: u64,
    ) -> Result<Keeping<()>, StoreError>;
}

/// Push tokens.
#[async_trait]
pub trait PushTokenStore: Send + Sync {
    /// Writes a push token in place of the one of its id, whosever that was, and of any of the same text and service
    /// in the app: a device is one endpoint's. What takes the place of others and is no longer than they are is not refused
    /// for want of room.
    async fn put_push_token(&self, token: PushToken, bytes_max: u64) -> Result<Keeping<()>, StoreError>;
    /// Removes a push token, if it is of `endpoint` where one is named.
    async fn delete_push_token(
        &self,
        app: AppId,
        id: PushTokenId,
        endpoint: Option<&EndpointId>,
    ) -> Result<Removal, StoreError>;
    /// The push tokens of an endpoint, the last seen first; at most [`PushToken::PER_ENDPOINT_MAX`].
    async fn push_tokens(&self, app: AppId, endpoint: &EndpointId) -> Result<Vec<PushToken>, StoreError>;
    /// Notes that an endpoint's device connected, to the day; may be dropped when the store is busy.
    fn touch_push_token(&self, app: AppId, id: PushTokenId, endpoint: &EndpointId, at: Timestamp);
}

/// Call reports.
#[async_trait]
pub trait CallReportStore: Send + Sync {
    /// Keeps a call report.
    async fn add_call_report(&self, report: NewCallReport, bytes_max: u64) -> Result<Keeping<()>, StoreError>;
    /// Call reports of an app, newest first.
    async fn call_reports(
        &self,
        app: AppId,
        page: PageRequest<RowNumber>,
    ) -> Result<Page<CallReport, RowNumber>, StoreError>;
}
