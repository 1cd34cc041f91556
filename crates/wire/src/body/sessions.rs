//! `/v1/sessions`.

use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, RoleId, SessionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::iso;
use super::nodes::NodeRef;
use crate::instant::optional_instant;
use crate::lenient::optional_bool;

/// A session, without its App-Token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Names the session without being its App-Token.
    #[schema(value_type = String, format = Uuid)]
    pub id: SessionId,
    /// The app.
    #[schema(value_type = String, format = Uuid)]
    pub app_id: AppId,
    /// Who it speaks as.
    #[schema(value_type = String)]
    pub endpoint_id: EndpointId,
    /// With which role; `null` in development mode.
    #[schema(value_type = Option<String>, format = Uuid, required = true)]
    pub role_id: Option<RoleId>,
    /// When it was opened.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends by itself.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
    /// From which address it was last used.
    pub address: String,
    /// The nodes on which it has open sockets. Admins are told, in lists and of an endpoint, where there may be several nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<NodeRef>>,
}

/// What `DELETE /v1/sessions` takes: exactly one of `endpointId`, `roleId` and `all`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndSessions {
    /// The app; with an App-Secret its own by default.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// All sessions of this endpoint.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
    /// All sessions with this role.
    #[schema(nullable, format = Uuid)]
    pub role_id: Option<String>,
    /// All sessions of the app.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable)]
    pub all: Option<bool>,
    /// Only what was issued before this: RFC 3339 text, or seconds or milliseconds since the epoch.
    #[serde(default, deserialize_with = "optional_instant")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub issued_before: Option<Timestamp>,
    /// Whether outstanding tokenIds are spent as well.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable, default = true)]
    pub tokens: Option<bool>,
}
