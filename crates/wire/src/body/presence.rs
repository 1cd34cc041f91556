//! `/v1/presence` and `/v1/presenceobservers`.

use std::collections::BTreeMap;

use respoke_core::event::Presence;
use respoke_core::id::{ConnectionId, EndpointId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// What `POST /v1/presence` takes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetPresence {
    /// The app; needed with an Admin-Token that has several.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Whose connections; not looked at with an App-Token.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
    /// What to say.
    #[schema(nullable)]
    pub presence: Option<PresenceBody>,
}

/// A presence as clients say it.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct PresenceBody {
    /// Usually a word such as `available`; any JSON.
    #[serde(rename = "type")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub kind: Option<Box<RawValue>>,
    /// For people.
    #[schema(value_type = Option<serde_json::Value>)]
    pub show: Option<Box<RawValue>>,
    /// For people.
    #[schema(value_type = Option<serde_json::Value>)]
    pub status: Option<Box<RawValue>>,
}

/// What `POST /v1/presenceobservers` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservePresence {
    /// Whose presence to observe from now on.
    #[schema(nullable)]
    pub endpoint_list: Option<Vec<String>>,
}

/// The present presence of an endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PresenceSnapshot {
    /// Whose.
    #[schema(value_type = String)]
    pub endpoint_id: EndpointId,
    /// Of each of its connections, by connection id: an object with `type`.
    #[schema(value_type = Object)]
    pub connection_states: BTreeMap<ConnectionId, ConnectionState>,
}

/// What a connection says.
#[derive(Debug, Serialize)]
pub struct ConnectionState {
    #[serde(rename = "type")]
    kind: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    show: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Box<RawValue>>,
}

impl From<Option<Presence>> for ConnectionState {
    /// One that never said anything shows as not there: without a `type` Android's loop over the list ends early.
    fn from(presence: Option<Presence>) -> Self {
        let Presence { kind, show, status } = presence.unwrap_or_else(Presence::unavailable);
        Self { kind, show, status }
    }
}
