//! `/v1/tokens`: minting, listing, inspecting and revoking one-use tokens.

use std::sync::Arc;

use respoke_core::ops::{Broker, Caller, InspectedToken, IssueToken, IssuedToken};
use respoke_core::secret::Secret;
use respoke_core::token::Replaces;
use respoke_wire::body::Done;
use respoke_wire::body::ends::Nothing;
use respoke_wire::body::lists::{AppParams, FilterParams, ListRequest, PageParams};
use respoke_wire::body::tokens::{IssueToken as IssueTokenBody, TokenIssued, TokenView};

use super::answer::{JsonAnswer, ListAnswer};
use super::asked::{app_id, filter, named_app, page};
use crate::call::{Call, KeyOwner, Minting};
use crate::openapi::{Conflicts, Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;

/// Mints a one-use token for an endpoint.
///
/// In an app in development mode no credential is needed; the token then has no role and permits what development mode
/// permits. An App-Token is not looked at.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "Tokens", operation_id = "postTokens",
    params(
        ("App-Secret" = Option<String>, Header, description = "The app's secret"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer"),
    ),
    request_body = IssueTokenBody,
    responses((status = 200, description = "The token", body = TokenIssued), Refused, Missing, Conflicts),
    security(("App-Secret" = []), ("App-Secret-Query" = []), ("Admin-Token" = []), ())
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, minting: Minting) -> Result<JsonAnswer<TokenIssued>, Problem> {
    issue(&api, &call, minting, Asked::ToAdd).await
}

/// Mints a one-use token and spends every other outstanding one of the endpoint, so that exactly one is live.
///
/// With `endSessions` the endpoint's sessions end as well.
#[utoipa::path(
    put, path = "/v1/tokens", tag = "Tokens", operation_id = "putTokens",
    params(
        ("App-Secret" = Option<String>, Query, description = "The app's secret; the header of the same name is taken too"),
    ),
    request_body = IssueTokenBody,
    responses((status = 200, description = "The token", body = TokenIssued), Refused, Missing),
    security(("App-Secret-Query" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn replace(api: Arc<Api>, call: Call, minting: Minting) -> Result<JsonAnswer<TokenIssued>, Problem> {
    issue(&api, &call, minting, Asked::ToReplace).await
}

/// What a method of the path asks for.
#[derive(Clone, Copy)]
enum Asked {
    ToAdd,
    ToReplace,
}

async fn issue(api: &Api, call: &Call, minting: Minting, asked: Asked) -> Result<JsonAnswer<TokenIssued>, Problem> {
    let body: IssueTokenBody = call.read()?;
    let app_id = app_id(body.app_id.as_deref())?;
    let caller = minting.admit(api, call, app_id, body.endpoint_id.as_deref()).await?;
    // A replacement is safe to repeat as it is: however often it is sent, one token is live.
    let (replaces, once) = match asked {
        Asked::ToReplace if body.end_sessions == Some(true) => (Replaces::TokensAndSessions, None),
        Asked::ToReplace => (Replaces::Tokens, None),
        Asked::ToAdd => {
            let owner = KeyOwner::Minter(body.app_id.as_deref().unwrap_or_default());
            (Replaces::Nothing, call.once(api, owner)?)
        }
    };
    let request = IssueToken {
        app_id,
        endpoint_id: body.endpoint_id,
        role_id: body.role_id.filter(|id| !id.is_empty()),
        role_name: body.role_name.filter(|name| !name.is_empty()),
        ttl_secs: body.ttl,
        replaces,
    };
    let issued = api.broker.issue_token(&caller, request, once, &call.context()).await?;
    call.concerns(issued.app.id, Some(&issued.grant.endpoint_id));
    Ok(JsonAnswer(show_issued(issued)))
}

fn show_issued(issued: IssuedToken) -> TokenIssued {
    TokenIssued {
        app_id: issued.app.id,
        endpoint_id: issued.grant.endpoint_id,
        role_id: issued.grant.role_id,
        account_id: issued.app.account_id,
        create_time: issued.created_at.secs(),
        expiry_time: issued.expires_at.secs(),
        id: issued.text.clone(),
        for_development: issued.grant.role_id.is_none(),
        created_at: issued.created_at,
        token_id: issued.text,
    }
}

/// Lists outstanding tokens, oldest first, without their texts.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "Tokens", operation_id = "listTokens",
    params(PageParams, AppParams, FilterParams),
    responses((status = 200, description = "A page of them", body = Vec<TokenView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<TokenView>, Problem> {
    let request: ListRequest = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let found = api.broker.list_tokens(&caller, app, filter(&request)?, page(&request)?).await?;
    Ok(ListAnswer::of(found, |record| show(&api.broker, InspectedToken { record, lapse: None })))
}

/// Says what a token is and why it would be refused.
#[utoipa::path(
    get, path = "/v1/tokens/{id}", tag = "Tokens", operation_id = "getToken",
    params(("id" = String, Path, description = "The `id` of the list, or the tokenId itself")),
    responses((status = 200, description = "The token", body = TokenView), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn inspect(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<TokenView>, Problem> {
    let id = call.id();
    let id = Secret::new(id);
    let inspected = api.broker.inspect_token(&caller, &id).await?;
    Ok(JsonAnswer(show(&api.broker, inspected)))
}

/// Revokes a token. One that is over already is no error.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "Tokens", operation_id = "deleteToken",
    params(("id" = String, Path, description = "The `id` of the list, or the tokenId itself")),
    responses((status = 200, description = "It is over", body = Done), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn revoke(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let id = Secret::new(id);
    let Nothing {} = call.read_strictly()?;
    api.broker.revoke_token(&caller, &id, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

fn show(broker: &Broker, inspected: InspectedToken) -> TokenView {
    let InspectedToken { record, lapse } = inspected;
    TokenView {
        id: broker.token_id(record.number),
        app_id: record.grant.app_id,
        endpoint_id: record.grant.endpoint_id,
        role_id: record.grant.role_id,
        created_at: record.created_at,
        activate_by: record.activate_by,
        expires_at: record.expires_at,
        state: lapse.map_or(TokenView::OUTSTANDING, respoke_core::grant::Lapse::word),
        why: lapse.map(TokenView::why),
    }
}
