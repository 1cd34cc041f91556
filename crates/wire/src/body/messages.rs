//! `/v1/messages`.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::lenient::optional_bool;

/// What `POST /v1/messages` takes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendMessage {
    /// The app; needed with an Admin-Token that has several.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Who speaks; not looked at with an App-Token.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
    /// To which endpoint.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub to: Option<String>,
    /// Only to this connection of it.
    #[schema(nullable, format = Uuid)]
    pub to_connection: Option<String>,
    /// The same, as the Node client calls it.
    #[schema(nullable, format = Uuid)]
    pub connection_id: Option<String>,
    /// Any JSON.
    #[schema(value_type = Option<serde_json::Value>)]
    pub message: Option<Box<RawValue>>,
    /// Whether the sender's other connections get a copy.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable)]
    pub cc_self: Option<bool>,
}
