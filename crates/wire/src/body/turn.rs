//! `/v1/turn`.

use respoke_core::ops::RelayAccess;
use respoke_core::secret::Secret;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::reveal;

/// What `GET` and `POST /v1/turn` take.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskRelay {
    /// The app; an App-Token's and App-Secret's own by default.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// For whom; an App-Token's own endpoint by default.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
}

/// Servers that help media along.
///
/// # Source
///
/// Section 6.3 of docs/protocol.md.
#[derive(Debug, Serialize, ToSchema)]
pub struct RelayView {
    /// The user name; absent for STUN servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password; absent for STUN servers.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "reveal_if_any")]
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret>,
    /// For how many seconds this is good.
    pub ttl: u32,
    /// The servers, at least one.
    #[schema(example = json!(["turn:turn.example.com:3478?transport=udp"]))]
    pub uris: Vec<String>,
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn reveal_if_any<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => reveal(secret, serializer),
        None => serializer.serialize_none(),
    }
}

impl From<RelayAccess> for RelayView {
    fn from(access: RelayAccess) -> Self {
        let (username, password) = access.credentials.unzip();
        Self { username, password, ttl: access.ttl_secs, uris: access.uris }
    }
}
