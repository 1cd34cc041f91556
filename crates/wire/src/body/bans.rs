//! `/v1/endpoints/{id}/ban` and `/v1/bans`.

use respoke_core::clock::Timestamp;
use respoke_core::id::EndpointId;
use respoke_core::ports::BanRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{iso, optional_iso};
use crate::instant::optional_instant;

/// What `POST` and `PUT /v1/endpoints/{id}/ban` take.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateBan {
    /// The app; with an App-Secret its own by default.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Why, in words for the endpoint's user.
    #[schema(nullable, max_length = 512)]
    pub reason: Option<String>,
    /// Until when; for ever if absent. RFC 3339 text, or seconds or milliseconds since the epoch.
    #[serde(default, deserialize_with = "optional_instant")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// A ban.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BanView {
    /// The banned endpoint.
    #[schema(value_type = String)]
    pub endpoint_id: EndpointId,
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub banned_at: Timestamp,
    /// Until when; `null`: for ever.
    #[serde(serialize_with = "optional_iso")]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub expires_at: Option<Timestamp>,
}

impl From<BanRecord> for BanView {
    fn from(ban: BanRecord) -> Self {
        Self {
            endpoint_id: ban.endpoint_id,
            reason: ban.reason,
            banned_at: ban.banned_at,
            expires_at: (ban.until != BanRecord::FOREVER).then_some(ban.until),
        }
    }
}
