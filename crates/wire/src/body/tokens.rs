//! `/v1/tokens`.

use respoke_core::clock::Timestamp;
use respoke_core::grant::Lapse;
use respoke_core::id::{AccountId, AppId, EndpointId, RoleId, TokenId};
use respoke_core::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{iso, reveal};
use crate::lenient::{optional_bool, optional_u64};

/// What `POST` and `PUT /v1/tokens` take.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssueToken {
    /// The app; with an App-Secret its own by default.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Who the token lets in: any text the developer chose.
    #[schema(nullable, min_length = 1, max_length = 256, example = "jo@example.com")]
    pub endpoint_id: Option<String>,
    /// The role by its id. Not needed in development mode.
    #[schema(nullable, format = Uuid)]
    pub role_id: Option<String>,
    /// The role by its name, instead of `roleId`.
    #[schema(nullable, max_length = 128)]
    pub role_name: Option<String>,
    /// Life of the session in seconds, from minting on; brought within 60 and the app's maximum. Text is taken too.
    #[serde(default, deserialize_with = "optional_u64")]
    #[schema(nullable, minimum = 1, default = 86400)]
    pub ttl: Option<u64>,
    /// With `PUT` only: whether the endpoint's sessions end as well.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable)]
    pub end_sessions: Option<bool>,
}

/// A token just minted.
///
/// # Source
///
/// The recorded answer, field for field and in its order (section 2.4 of docs/protocol.md).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenIssued {
    /// The app.
    #[schema(value_type = String, format = Uuid)]
    pub app_id: AppId,
    /// Who it lets in.
    #[schema(value_type = String)]
    pub endpoint_id: EndpointId,
    /// With which role; `null` in development mode.
    #[schema(value_type = Option<String>, format = Uuid, required = true)]
    pub role_id: Option<RoleId>,
    /// The account that owns the app.
    #[schema(value_type = String, format = Uuid)]
    pub account_id: AccountId,
    /// When it was minted, in seconds since the epoch.
    pub create_time: i64,
    /// When its session ends, in seconds since the epoch.
    pub expiry_time: i64,
    /// The same as `tokenId`.
    #[serde(serialize_with = "reveal")]
    #[schema(value_type = String, format = Uuid)]
    pub id: Secret,
    /// Whether development mode minted it.
    pub for_development: bool,
    /// When it was minted.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The one-use token, to be handed to the user's client.
    #[serde(serialize_with = "reveal")]
    #[schema(value_type = String, format = Uuid)]
    pub token_id: Secret,
}

/// A token as those with authority over its app may see it: never its text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// Names the token without being it.
    #[schema(value_type = String, format = Uuid)]
    pub id: TokenId,
    /// The app.
    #[schema(value_type = String, format = Uuid)]
    pub app_id: AppId,
    /// Who it lets in.
    #[schema(value_type = String)]
    pub endpoint_id: EndpointId,
    /// With which role; `null` in development mode.
    #[schema(value_type = Option<String>, format = Uuid, required = true)]
    pub role_id: Option<RoleId>,
    /// When it was minted.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// It must be redeemed before this.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub activate_by: Timestamp,
    /// Its session ends at this.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// `outstanding`, or the word for why it is over.
    #[schema(example = "outstanding")]
    pub state: &'static str,
    /// Why it would be refused, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

impl TokenView {
    /// The word for a token that can be redeemed.
    pub const OUTSTANDING: &str = "outstanding";

    /// What `why` says of a lapse.
    #[must_use]
    pub const fn why(lapse: Lapse) -> &'static str {
        match lapse {
            Lapse::Redeemed => "it was already traded for a session",
            Lapse::Revoked => "it was revoked, by itself or with others",
            Lapse::Superseded => "a newer session took its place",
            Lapse::SignedOut => "its owner signed out",
            Lapse::Expired => "its time is over",
            Lapse::NotActivated => "it was not redeemed within the app's activation window",
            Lapse::AppDeleted => "its app was deleted",
            Lapse::RoleDeleted => "its role was deleted",
            Lapse::SecretRevoked => "the App-Secret that minted it was revoked",
            Lapse::Banned => "its endpoint is banned",
            Lapse::DevelopmentModeOff => "it was minted in development mode, which is off now",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_answer_keeps_its_keys_and_order() {
        let id = "7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001";
        let issued = TokenIssued {
            app_id: AppId::parse(id).unwrap(),
            endpoint_id: EndpointId::parse("jo \"x\"").unwrap(),
            role_id: None,
            account_id: AccountId::parse(id).unwrap(),
            create_time: 1,
            expiry_time: 86_401,
            id: Secret::new("T".into()),
            for_development: true,
            created_at: Timestamp::from_millis(1_001),
            token_id: Secret::new("T".into()),
        };
        assert_eq!(
            serde_json::to_string(&issued).unwrap(),
            concat!(
                r#"{"appId":"7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001","endpointId":"jo \"x\"","roleId":null,"#,
                r#""accountId":"7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001","createTime":1,"expiryTime":86401,"id":"T","#,
                r#""forDevelopment":true,"createdAt":"1970-01-01T00:00:01.001Z","tokenId":"T"}"#
            )
        );
        assert!(!format!("{issued:?}").contains("\"T\""));
    }
}
