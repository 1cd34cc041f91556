//! `/v1/admin-sessions`, also known as `/v1/adminsessions`. The answer is [`super::session_tokens::Authorized`].

use respoke_core::secret::Secret;
use serde::Deserialize;
use utoipa::ToSchema;

use super::optional_secret;
use crate::lenient::optional_bool;

/// What `POST /v1/admin-sessions` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateAdminSession {
    /// The user name.
    #[schema(nullable, max_length = 128)]
    pub username: Option<String>,
    /// The password.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, format = Password, max_length = 1024)]
    pub password: Option<Secret>,
    /// Six digits of the second factor's device, or a recovery code; needed by who has a second factor.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, max_length = 64)]
    pub code: Option<Secret>,
    /// The token of the setup link that the first start prints, instead of all the others; it is taken once.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, max_length = 64)]
    pub setup_token: Option<Secret>,
}

/// What `DELETE /v1/admin-sessions` takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndAdminSessions {
    /// Whether every sign-in of the admin ends, and not only the one that asks.
    #[serde(default, deserialize_with = "optional_bool")]
    pub everywhere: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_print() {
        let body: CreateAdminSession =
            serde_json::from_str(r#"{"username":"jo","password":"canary","code":"canary","setupToken":"canary"}"#)
                .unwrap();
        assert!(!format!("{body:?}").contains("canary"));
    }
}
