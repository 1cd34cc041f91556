//! What every refusal looks like.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// A refusal. Programs match `code`; existing SDKs show `error`.
///
/// # Source
///
/// Section 1.4 of docs/protocol.md; `code` and `requestId` are additions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemBody<'a> {
    /// What went wrong, in words.
    pub error: &'a str,
    /// What went wrong, as a stable word; docs/errors.md lists all.
    #[schema(example = "not_found")]
    pub code: &'static str,
    /// The request, as in the header `Request-Id`.
    #[schema(format = Uuid)]
    pub request_id: &'a str,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details<'a>>,
    /// What is wrong, by field.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Vec<String>>>)]
    pub validation_errors: Option<&'a BTreeMap<String, Vec<String>>>,
}

/// More about a suspension: respoke.js looks for the word "suspended" in `message`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Details<'a> {
    /// In words.
    pub message: &'a str,
    /// The reason given with the ban.
    pub reason: &'a str,
}

/// A refusal of `/oauth/introspect` and `/oauth/revoke`.
///
/// # Source
///
/// RFC 6749 section 5.2; `code` and `requestId` are additions.
#[derive(Debug, Serialize, ToSchema)]
pub struct OAuthProblemBody<'a> {
    /// The word OAuth has for it.
    #[schema(example = "invalid_client")]
    pub error: &'static str,
    /// What went wrong, in words.
    pub error_description: &'a str,
    /// What went wrong, as a stable word; docs/errors.md lists all.
    pub code: &'static str,
    /// The request, as in the header `Request-Id`.
    #[serde(rename = "requestId")]
    #[schema(format = Uuid)]
    pub request_id: &'a str,
}
