//! `/v1/session-tokens`, also known as `/v1/appauthsessions`.

use respoke_core::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{optional_secret, reveal};
use crate::lenient::optional_u64;

/// What `POST /v1/session-tokens` takes. An `appId`, which some clients send, is ignored.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateSessionToken {
    /// The one-use token.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub token_id: Option<Secret>,
}

/// What `PUT /v1/session-tokens` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtendSession {
    /// Life of the session in seconds from now; brought within 60 and the app's maximum.
    #[serde(default, deserialize_with = "optional_u64")]
    #[schema(nullable, minimum = 1, default = 86400)]
    pub ttl: Option<u64>,
}

/// A credential just handed out: an App-Token or an Admin-Token.
#[derive(Debug, Serialize, ToSchema)]
pub struct Authorized {
    /// Always `Authorization successful`.
    #[schema(example = "Authorization successful")]
    pub message: &'static str,
    /// The token.
    #[serde(serialize_with = "reveal")]
    #[schema(value_type = String, format = Uuid)]
    pub token: Secret,
}

impl Authorized {
    /// The answer that hands over `token`.
    ///
    /// # Source
    ///
    /// The recorded answers of sections 1.2 and 2.5 of docs/protocol.md.
    #[must_use]
    pub fn with(token: Secret) -> Self {
        Self { message: "Authorization successful", token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_revealed_in_json_and_nowhere_else() {
        let answer = Authorized::with(Secret::new("canary".into()));
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"message":"Authorization successful","token":"canary"}"#
        );
        assert!(!format!("{answer:?}").contains("canary"));
        let request: CreateSessionToken = serde_json::from_str(r#"{"tokenId":"canary","appId":5}"#).unwrap();
        assert!(!format!("{request:?}").contains("canary"));
    }
}
