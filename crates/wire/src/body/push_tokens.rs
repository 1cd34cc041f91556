//! `/v1/connections/{id}/push-token`.

use respoke_core::id::{EndpointId, PushTokenId};
use respoke_core::push_token::{PushService, PushToken};
use respoke_core::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::optional_secret;

/// What `POST /v1/connections/{id}/push-token` and `PUT` under it take.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WritePushToken {
    /// The app; an App-Token's and App-Secret's own by default.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Whose device it is; an App-Token's own endpoint by default.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
    /// What the service knows the device by.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 4096)]
    pub token: Option<Secret>,
    /// `google` or `apple`.
    #[schema(required = true, example = "apple")]
    pub service: Option<String>,
}

/// A registered device, without the text of its push token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushTokenView {
    /// The push token's id, to be named when it changes or goes.
    #[schema(value_type = String, format = Uuid)]
    pub id: PushTokenId,
    /// Whose device it is.
    #[schema(value_type = String)]
    pub endpoint_id: EndpointId,
    /// `google` or `apple`.
    #[schema(value_type = String)]
    pub service: PushService,
}

impl From<PushToken> for PushTokenView {
    fn from(token: PushToken) -> Self {
        Self { id: token.id, endpoint_id: token.endpoint_id, service: token.service }
    }
}
