//! `/v1/apps/{id}/secrets`.

use respoke_core::app::SecretRecord;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, SecretId};
use respoke_core::ops::{CreatedSecret, SecretReach};
use respoke_core::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{REDACTED, iso, optional_iso, optional_secret, reveal};
use crate::instant::optional_instant;
use crate::lenient::optional_bool;

/// What `POST /v1/apps/{id}/secrets` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateSecret {
    /// What to call it.
    #[schema(nullable, min_length = 1, max_length = 128)]
    pub name: Option<String>,
    /// When it ceases to be taken; never if absent. RFC 3339 text, or seconds or milliseconds since the epoch.
    #[serde(default, deserialize_with = "optional_instant")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// A secret that backends already hold and that is to go on working: a UUID, or one made by respoked.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, format = Password)]
    pub secret: Option<Secret>,
}

/// What `POST /v1/apps/{id}/secrets/{sid}/roll` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollSecret {
    /// How long the old secret is still taken: `now`, `1h`, `24h` or `7d`.
    #[schema(nullable, default = "24h", pattern = "^(now|1h|24h|7d)$")]
    pub overlap: Option<String>,
}

/// What `DELETE /v1/apps/{id}/secrets/{sid}` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeSecret {
    /// Whether tokens and sessions minted with the secret live on.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable, default = false)]
    pub keep_sessions: Option<bool>,
}

/// An App-Secret's record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretView {
    /// Names the secret without being it.
    #[schema(value_type = String, format = Uuid)]
    pub id: SecretId,
    /// The app it opens.
    #[schema(value_type = String, format = Uuid)]
    pub app_id: AppId,
    /// What it is called.
    pub name: String,
    /// The last four symbols, to recognise it by.
    pub hint: String,
    /// Its text in the answer that makes it, `<redacted>` ever after.
    #[serde(serialize_with = "reveal")]
    #[schema(value_type = String)]
    pub secret: Secret,
    /// When it was made.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    #[serde(serialize_with = "optional_iso")]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub last_used_at: Option<Timestamp>,
    /// When it ceases to be taken; `null`: never.
    #[serde(serialize_with = "optional_iso")]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[serde(serialize_with = "optional_iso")]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub revoked_at: Option<Timestamp>,
}

/// An App-Secret's record, and what would be over if it were revoked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReachView {
    /// The record.
    #[serde(flatten)]
    pub secret: SecretView,
    /// Live sessions whose tokens it minted; 1,000 are counted at most.
    pub live_sessions: usize,
    /// Whether there may be more of them.
    pub more_sessions: bool,
    /// tokenIds that it minted and that wait to be redeemed; 1,000 are counted at most.
    pub outstanding_tokens: usize,
    /// Whether there may be more of them.
    pub more_tokens: bool,
}

impl From<SecretReach> for SecretReachView {
    fn from(reach: SecretReach) -> Self {
        Self {
            secret: reach.record.into(),
            live_sessions: reach.sessions.count,
            more_sessions: reach.sessions.more,
            outstanding_tokens: reach.tokens.count,
            more_tokens: reach.tokens.more,
        }
    }
}

impl From<SecretRecord> for SecretView {
    fn from(record: SecretRecord) -> Self {
        Self::with(record, Secret::new(REDACTED.to_owned()))
    }
}

impl From<CreatedSecret> for SecretView {
    fn from(created: CreatedSecret) -> Self {
        let text = created.text.secret().clone();
        Self::with(created.record, text)
    }
}

impl SecretView {
    fn with(record: SecretRecord, secret: Secret) -> Self {
        Self {
            id: record.id,
            app_id: record.app_id,
            name: record.name,
            hint: record.hint,
            secret,
            created_at: record.created_at,
            last_used_at: record.last_used_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
        }
    }
}
