//! `/v1/groups` and `/v1/channels`.

use respoke_core::id::{ConnectionId, EndpointId, GroupName, MessageId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Done;
use crate::lenient::optional_bool;

/// What joining, leaving and listing take.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// The app; needed with an Admin-Token that has several.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Whose connections; not looked at with an App-Token.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
    /// Only this connection.
    #[schema(nullable, format = Uuid)]
    pub connection_id: Option<String>,
    /// The groups, where the path names none.
    #[schema(nullable)]
    pub groups: Option<Vec<String>>,
}

/// What `POST /v1/groups` takes.
///
/// [`Membership`] and one more, field by field: serde reads all that a flattened struct may be part of into values, which do
/// not hold every number and text, and forgets which field was wrong.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinOrName {
    /// The app; needed with an Admin-Token that has several.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Whose connections; not looked at with an App-Token.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
    /// Only this connection.
    #[schema(nullable, format = Uuid)]
    pub connection_id: Option<String>,
    /// Groups to join.
    #[schema(nullable)]
    pub groups: Option<Vec<String>>,
    /// Without `groups`: the name, which is the id, of a group to answer.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub name: Option<String>,
}

impl From<JoinOrName> for Membership {
    fn from(body: JoinOrName) -> Self {
        let JoinOrName { app_id, endpoint_id, connection_id, groups, name: _ } = body;
        Self { app_id, endpoint_id, connection_id, groups }
    }
}

/// What `POST /v1/groups` answers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum JoinedOrNamed {
    /// It is a member.
    Joined(Done),
    /// The group of the name; it comes into being with its first member.
    Named(GroupView),
}

/// What publishing takes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishMessage {
    /// The app; needed with an Admin-Token that has several.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Who speaks; not looked at with an App-Token.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
    /// Any JSON.
    #[schema(value_type = Option<serde_json::Value>)]
    pub message: Option<Box<RawValue>>,
    /// Whether it is kept for the group's history.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable)]
    pub persist: Option<bool>,
}

/// The answer to a message that was sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// Always `success`.
    #[schema(example = "success")]
    pub message: &'static str,
    /// Names the message: in what receivers get, and in history.
    #[schema(value_type = String, format = Uuid)]
    pub message_id: MessageId,
}

impl From<MessageId> for Sent {
    fn from(message_id: MessageId) -> Self {
        Self { message: "success", message_id }
    }
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupView {
    /// Its name.
    #[schema(value_type = String)]
    pub id: GroupName,
    /// The same.
    #[schema(value_type = String)]
    pub name: GroupName,
}

impl From<GroupName> for GroupView {
    fn from(name: GroupName) -> Self {
        Self { id: name.clone(), name }
    }
}

/// A member of a group.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Whose connection.
    #[schema(value_type = String)]
    pub endpoint_id: EndpointId,
    /// Which.
    #[schema(value_type = String, format = Uuid)]
    pub connection_id: ConnectionId,
}
