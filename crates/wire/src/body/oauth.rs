//! `/oauth/introspect` and `/oauth/revoke`.

use respoke_core::id::{AppId, EndpointId, RoleId};
use respoke_core::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::optional_secret;

/// What `POST /oauth/introspect` and `POST /oauth/revoke` take, as a form or as JSON. A `token_type_hint` is ignored.
///
/// # Source
///
/// RFC 7662 section 2.1, RFC 7009 section 2.1, RFC 6749 section 2.3.1.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]

pub struct TokenQuestion {
    /// An App-Token or a tokenId.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>)]
    pub token: Option<Secret>,
    /// The app's id, with `client_secret`.
    #[schema(nullable, format = Uuid)]
    pub client_id: Option<String>,
    /// An App-Secret, where no header carries one.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, format = Password)]
    pub client_secret: Option<Secret>,
}

/// What a token is.
///
/// # Source
///
/// RFC 7662 section 2.2; `role_id` is an addition.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct TokenAnswer {
    /// Whether it is good now. Nothing else is said of one that is not.
    pub active: bool,
    /// The app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub client_id: Option<AppId>,
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub sub: Option<EndpointId>,
    /// The endpoint again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub username: Option<EndpointId>,
    /// `App-Token` or `tokenId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// When it ends by itself, in seconds since the epoch: of an App-Token the end of its session, of a tokenId the
    /// end of its activation window, after which it cannot be redeemed.
    // RFC 7662 section 2.2: when *this* token expires, and not the session that a tokenId would open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When it was made, in seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Names the session or token without being it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    pub jti: Option<String>,
    /// The role; absent in development mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub role_id: Option<RoleId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_inactive_token_nothing_else_is_said() {
        assert_eq!(serde_json::to_string(&TokenAnswer::default()).unwrap(), r#"{"active":false}"#);
    }
}
