//! `/v1/admins`.

use respoke_core::admin::{Admin, AdminRole};
use respoke_core::clock::Timestamp;
use respoke_core::id::AdminId;
use respoke_core::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{iso, optional_secret, reveal};

/// What `POST /v1/admins` and `PUT /v1/admins/{id}` take.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteAdmin {
    /// What is typed to sign in; it does not change later.
    #[schema(nullable, min_length = 1, max_length = 128)]
    pub username: Option<String>,
    /// The password; setting one for another admin takes the second factor away and ends every sign-in.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 1024)]
    pub password: Option<Secret>,
    /// What the admin may do: `owner`, `developer` or `read-only`.
    #[schema(nullable, example = "developer")]
    pub role: Option<String>,
    /// The password of who asks, so that a screen left unlocked gives nobody the account.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, format = Password, max_length = 1024)]
    pub current_password: Option<Secret>,
}

/// An admin.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: AdminId,
    /// What is typed to sign in.
    pub username: String,
    /// `owner`, `developer` or `read-only`.
    #[schema(value_type = String, example = "owner")]
    pub role: AdminRole,
    /// Whether a second factor is asked for.
    pub second_factor: bool,
    /// When it was made.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<Admin> for AdminView {
    fn from(admin: Admin) -> Self {
        Self {
            id: admin.id,
            username: admin.username,
            role: admin.role,
            second_factor: admin.second_factor.is_some(),
            created_at: admin.created_at,
        }
    }
}

/// What `PUT /v1/admins/me/password` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePassword {
    /// The present password.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, format = Password, max_length = 1024)]
    pub password: Option<Secret>,
    /// The new one.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 1024)]
    pub new_password: Option<Secret>,
}

/// What the methods of `/v1/admins/me/totp` take: `POST` the password, `PUT` a code, `DELETE` both.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Totp {
    /// The present password.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, format = Password, max_length = 1024)]
    pub password: Option<Secret>,
    /// Six digits of the device; with `DELETE` a recovery code does as well.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, max_length = 64)]
    pub code: Option<Secret>,
}

/// A second factor about to be taken up; shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct TotpEnrolled {
    /// The secret, in base32, to be typed into a device.
    #[serde(serialize_with = "reveal")]
    #[schema(value_type = String)]
    pub secret: Secret,
    /// The same as a URI, which devices read from a QR code.
    #[serde(serialize_with = "reveal")]
    #[schema(value_type = String, example = "otpauth://totp/respoked:jo?secret=GEZDGNBVGY3TQOJQ&issuer=respoked")]
    pub uri: Secret,
}

/// The codes that stand in for the device, each once; shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryCodes {
    /// Ten of them.
    #[serde(serialize_with = "reveal_all")]
    #[schema(value_type = Vec<String>)]
    pub recovery_codes: Vec<Secret>,
}

fn reveal_all<S: serde::Serializer>(secrets: &[Secret], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(secrets.iter().map(Secret::expose))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_typed_prints() {
        let admin: WriteAdmin =
            serde_json::from_str(r#"{"username":"jo","password":"canary","currentPassword":"canary"}"#).unwrap();
        let change: ChangePassword = serde_json::from_str(r#"{"password":"canary","newPassword":"canary"}"#).unwrap();
        let totp: Totp = serde_json::from_str(r#"{"password":"canary","code":"canary"}"#).unwrap();
        assert!(change.new_password.is_some() && totp.code.is_some());
        assert!(!format!("{admin:?}{change:?}{totp:?}").contains("canary"));
    }
}
