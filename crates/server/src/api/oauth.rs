//! `/oauth/introspect` and `/oauth/revoke`: the same tokens, seen as OAuth sees them.

use std::sync::Arc;

use respoke_core::grant::Grant;
use respoke_core::ops::Introspection;
use respoke_core::refusal::Refusal;
use respoke_wire::body::Done;
use respoke_wire::body::oauth::{TokenAnswer, TokenQuestion};

use super::answer::JsonAnswer;
use crate::call::{Call, Client};
use crate::openapi::OAuthRefused;
use crate::problem::Problem;
use crate::state::Api;

/// Says whether a token is good and whose it is.
///
/// App-Tokens and outstanding tokenIds of the caller's apps are active; everything else is not.
#[utoipa::path(
    post, path = "/oauth/introspect", tag = "OAuth", operation_id = "introspect",
    request_body(content((TokenQuestion = "application/x-www-form-urlencoded"), (TokenQuestion = "application/json"))),
    responses((status = 200, description = "What the token is", body = TokenAnswer), OAuthRefused),
    security(("App-Secret" = []), ("Admin-Token" = []), ("OAuth-Client" = []), ("Bearer" = []))
)]
pub(crate) async fn introspect(api: Arc<Api>, call: Call, client: Client) -> Result<JsonAnswer<TokenAnswer>, Problem> {
    let body: TokenQuestion = call.read()?;
    let caller = client.admit(&api, &call, &body).await?;
    let token = body.token.ok_or_else(|| Refusal::missing("token"))?;
    let answer = match api.broker.introspect(&caller, &token).await? {
        Introspection::Inactive => TokenAnswer::default(),
        Introspection::Session(session) => TokenAnswer {
            token_type: Some("App-Token"),
            exp: Some(session.record.expires_at.secs()),
            iat: Some(session.record.created_at.secs()),
            jti: Some(api.broker.session_id(session.record.number).to_string()),
            ..of(session.record.grant.clone())
        },
        Introspection::Token(record) => TokenAnswer {
            token_type: Some("tokenId"),
            // What the token itself has: after this it cannot be redeemed.
            exp: Some(record.activate_by.secs()),
            iat: Some(record.created_at.secs()),
            jti: Some(api.broker.token_id(record.number).to_string()),
            ..of(record.grant)
        },
    };
    Ok(JsonAnswer(answer))
}

fn of(grant: Grant) -> TokenAnswer {
    TokenAnswer {
        active: true,
        client_id: Some(grant.app_id),
        sub: Some(grant.endpoint_id.clone()),
        username: Some(grant.endpoint_id),
        role_id: grant.role_id,
        ..TokenAnswer::default()
    }
}

/// Ends a session by its App-Token, or a tokenId that was not redeemed. A token that is nothing is no error.
#[utoipa::path(
    post, path = "/oauth/revoke", tag = "OAuth", operation_id = "revoke",
    request_body(content((TokenQuestion = "application/x-www-form-urlencoded"), (TokenQuestion = "application/json"))),
    responses((status = 200, description = "It is over", body = Done), OAuthRefused),
    security(("App-Secret" = []), ("Admin-Token" = []), ("OAuth-Client" = []), ("Bearer" = []))
)]
pub(crate) async fn revoke(api: Arc<Api>, call: Call, client: Client) -> Result<JsonAnswer<Done>, Problem> {
    let body: TokenQuestion = call.read()?;
    let caller = client.admit(&api, &call, &body).await?;
    let token = body.token.ok_or_else(|| Refusal::missing("token"))?;
    api.broker.revoke(&caller, &token, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}
