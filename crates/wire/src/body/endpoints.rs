//! `/v1/endpoints/{id}` and its tail.

use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName, RequestId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::AuditView;
use super::bans::BanView;
use super::connections::ConnectionView;
use super::iso;
use super::presence::ConnectionState;
use super::sessions::SessionView;
use crate::lenient::optional_bool;

/// All that there is of an endpoint. Any name is one: an endpoint that was never heard of has nothing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: EndpointId,
    /// The app.
    #[schema(value_type = String, format = Uuid)]
    pub app_id: AppId,
    /// Its live connections.
    pub connections: Vec<EndpointConnectionView>,
    /// Its live sessions, 200 at most.
    pub sessions: Vec<SessionView>,
    /// How many tokenIds wait to be redeemed, as far as they were counted; with `include=tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outstanding_tokens: Option<u64>,
    /// Whether there may be more of them; with `include=tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more_tokens: Option<bool>,
    /// The ban in force, if there is one.
    #[schema(required = true)]
    pub ban: Option<BanView>,
    /// The last 20 rows of the audit log about it; with `include=audit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Vec<AuditView>>,
}

/// A live connection, and what it is in and says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointConnectionView {
    /// The connection.
    #[serde(flatten)]
    pub connection: ConnectionView,
    /// Its groups, by name.
    #[serde(serialize_with = "texts")]
    #[schema(value_type = Vec<String>)]
    pub groups: Vec<GroupName>,
    /// Its presence: an object with `type`.
    #[schema(value_type = Object)]
    pub presence: ConnectionState,
}

fn texts<S: serde::Serializer>(groups: &[GroupName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(groups.iter().map(GroupName::as_str))
}

/// What `GET /v1/endpoints/{id}` takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskEndpoint {
    /// In which app.
    pub app_id: Option<String>,
    /// What else is looked for: `tokens`, `audit`, or both with a comma between them.
    pub include: Option<String>,
}

/// What `GET /v1/endpoints/{id}/tail` takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskTail {
    /// In which app.
    pub app_id: Option<String>,
    /// Whether what is said is shown.
    #[serde(default, deserialize_with = "optional_bool")]
    pub payloads: Option<bool>,
}

/// A frame to or from one of an endpoint's connections: the data of one server-sent event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TailedFrameView {
    /// When.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Which connection.
    #[schema(value_type = String, format = Uuid)]
    pub connection_id: ConnectionId,
    /// `in`: from the client; `out`: to it.
    pub direction: &'static str,
    /// `event`, `request` or `answer`.
    pub kind: &'static str,
    /// An event's name, or method and route of a request.
    #[schema(example = "POST /v1/messages")]
    pub name: String,
    /// The request it is, answers, or was caused by.
    #[schema(value_type = String, format = Uuid)]
    pub request_id: RequestId,
    /// Of an event: who speaks.
    #[schema(value_type = Option<String>, required = true)]
    pub from: Option<EndpointId>,
    /// Of an answer.
    #[schema(required = true)]
    pub status: Option<u16>,
    /// The length of the frame, or of a request's body.
    pub bytes: usize,
    /// What it says, up to 16,384 bytes; only with `payloads`, and never where credentials may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// How many frames before it were not read in time and are lost.
    pub lost: u64,
}
