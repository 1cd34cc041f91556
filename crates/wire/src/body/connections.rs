//! `/v1/connections`.

use respoke_core::id::{AccountId, AppId, ConnectionId, EndpointId, RoleId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::nodes::NodeRef;
use crate::lenient::optional_bool;

/// What `POST /v1/connections` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateConnection {
    /// The app; needed with an Admin-Token that has several.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// As whom; needed with an App-Secret or Admin-Token, and not looked at with an App-Token.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
    /// What the client calls itself.
    #[schema(nullable, max_length = 64)]
    pub client_type: Option<String>,
    /// The device's push token, as it was registered before.
    #[schema(nullable)]
    pub push_token_id: Option<String>,
    /// What it can do.
    #[schema(nullable)]
    pub capabilities: Option<Capabilities>,
}

/// What a client can do.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Take ICE candidates one by one.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable)]
    pub trickle_ice: Option<bool>,
    /// Take the final list of ICE candidates.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable)]
    pub ice_final_candidates: Option<bool>,
}

/// A live connection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: ConnectionId,
    /// The app.
    #[schema(value_type = String, format = Uuid)]
    pub app_id: AppId,
    /// The app's owner.
    #[schema(value_type = String, format = Uuid)]
    pub account_id: AccountId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub endpoint_id: EndpointId,
    /// With which role; `null` for backends and in development mode.
    #[schema(value_type = Option<String>, format = Uuid, required = true)]
    pub role_id: Option<RoleId>,
    /// From which address.
    pub ip_address: String,
    /// What the client calls itself, in capitals.
    pub client_type: String,
    /// Whether it takes ICE candidates one by one.
    pub trickle_ice: bool,
    /// Whether it takes the final list of ICE candidates.
    pub ice_final_candidates: bool,
    /// Always `websocket`, whatever carries it.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The node that has its socket. Admins are told, where there may be several nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRef>,
}
