//! `/v1/session-tokens`, for the session's own holder; also served as `/v1/appauthsessions`.

use std::sync::Arc;

use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use respoke_wire::body::Done;
use respoke_wire::body::session_tokens::{Authorized, CreateSessionToken, ExtendSession};
use respoke_wire::body::sessions::SessionView;

use super::answer::JsonAnswer;
use super::sessions;
use crate::call::{Call, KeyOwner};
use crate::openapi::{Conflicts, Refused};
use crate::problem::Problem;
use crate::state::Api;

/// Trades a one-use token for a session token, once.
///
/// A valid App-Token of the same endpoint is superseded: its session ends as the new one opens. Any other is ignored.
#[utoipa::path(
    post, path = "/v1/session-tokens", tag = "Session tokens", operation_id = "postSessionTokens",
    params(
        ("App-Token" = Option<String>, Header, description = "The endpoint's previous session token"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer for as long as the session lives"),
    ),
    request_body = CreateSessionToken,
    responses((status = 200, description = "The session token", body = Authorized), Refused, Conflicts),
    security((), ("App-Token" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Authorized>, Problem> {
    let body: CreateSessionToken = call.read()?;
    let token = body.token_id.as_ref();
    let once = call.once(&api, KeyOwner::Knower(&[token.map_or("", |token| token.expose())]))?;
    let origin = call.origin();
    match api.broker.open_session(&caller, token, origin.as_deref(), once, &call.context()).await {
        Ok(opened) => {
            call.concerns(opened.session.grant.app_id, Some(&opened.session.grant.endpoint_id));
            Ok(JsonAnswer(Authorized::with(opened.text)))
        }
        Err(refused @ Refusal::TokenRefused(_)) => Err(call.counted(&api, refused)),
        Err(refused) => Err(refused.into()),
    }
}

/// Describes the caller's session.
#[utoipa::path(
    get, path = "/v1/session-tokens", tag = "Session tokens", operation_id = "getSessionTokens",
    responses((status = 200, description = "The session", body = SessionView), Refused),
    security(("App-Token" = []))
)]
pub(crate) async fn describe(api: Arc<Api>, _: Call, caller: Caller) -> Result<JsonAnswer<SessionView>, Problem> {
    let session = api.broker.own_session(&caller)?;
    Ok(JsonAnswer(sessions::show(&api.broker, session.record.clone())))
}

/// Extends the caller's session before it expires, from now on, within the app's maximum.
#[utoipa::path(
    put, path = "/v1/session-tokens", tag = "Session tokens", operation_id = "putSessionTokens",
    request_body = ExtendSession,
    responses((status = 200, description = "The session", body = SessionView), Refused),
    security(("App-Token" = []))
)]
pub(crate) async fn extend(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<SessionView>, Problem> {
    let body: ExtendSession = call.read()?;
    let session = api.broker.extend_session(&caller, body.ttl, &call.context()).await?;
    Ok(JsonAnswer(sessions::show(&api.broker, session)))
}

/// Ends the caller's session. A caller without one is no error.
#[utoipa::path(
    delete, path = "/v1/session-tokens", tag = "Session tokens", operation_id = "deleteSessionTokens",
    responses((status = 200, description = "It is over", body = Done), Refused),
    security(("App-Token" = []), ())
)]
pub(crate) async fn end(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    api.broker.close_session(&caller, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}
