//! `/v1/endpoints/{id}/conversations`.

use respoke_core::clock::Timestamp;
use respoke_core::id::{EndpointId, GroupName};
use respoke_core::message::Conversation;
use respoke_core::ops::MarkRead;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::history::PubsubEventShape;
use crate::instant::optional_moment;

/// What `PUT` and `POST /v1/endpoints/{id}/conversations` take.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteReadMarks {
    /// The app; an App-Token's and App-Secret's own by default.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// How far which groups were read.
    #[schema(required = true)]
    pub groups: Option<Vec<WriteReadMark>>,
}

/// How far a group was read.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteReadMark {
    /// Which group.
    #[schema(required = true)]
    pub group_id: Option<String>,
    /// Up to when: milliseconds since the epoch, RFC 3339 text, or a date as Java writes it. The present if absent.
    #[serde(default, deserialize_with = "optional_moment")]
    #[schema(value_type = Option<f64>)]
    pub timestamp: Option<Timestamp>,
}

impl From<WriteReadMark> for MarkRead {
    fn from(mark: WriteReadMark) -> Self {
        Self { group: mark.group_id, at: mark.timestamp }
    }
}

/// A conversation. The mobile clients need all five fields.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationView {
    /// Which group.
    #[schema(value_type = String)]
    pub group_id: GroupName,
    /// Who sent the newest message.
    #[schema(value_type = String)]
    pub source_id: EndpointId,
    /// The newest message.
    #[schema(value_type = PubsubEventShape)]
    pub latest_msg: Box<RawValue>,
    /// Messages after the endpoint's read mark; 1,000 stands for that many or more.
    pub unread_count: usize,
    /// When the newest message was sent, in milliseconds since the epoch.
    pub timestamp: i64,
}

impl From<Conversation> for ConversationView {
    fn from(conversation: Conversation) -> Self {
        Self {
            group_id: conversation.group,
            source_id: conversation.sender,
            timestamp: conversation.latest.at.millis(),
            latest_msg: conversation.latest.event,
            unread_count: conversation.unread,
        }
    }
}
