//! `/v1/admin-sessions`, also known as `/v1/adminsessions`. The answer is [`super::session_tokens::Authorized`].

use respoke_core::secret::Secret;
use serde::Deserialize;
use utoipa::ToSchema;

use super::optional_secret;

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_print() {
        let body: CreateAdminSession = serde_json::from_str(r#"{"username":"jo","password":"canary"}"#).unwrap();
        assert!(!format!("{body:?}").contains("canary"));
    }
}
