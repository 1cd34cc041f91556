//! `/v1/endpoints/{id}/conversations`.

use std::sync::Arc;

use respoke_core::ops::{Caller, MarkRead};
use respoke_wire::body::Done;
use respoke_wire::body::conversations::{ConversationView, WriteReadMarks};
use respoke_wire::body::lists::{AppParams, ListRequest};

use super::answer::JsonAnswer;
use super::asked::named_app;
use crate::call::Call;
use crate::openapi::Refused;
use crate::problem::Problem;
use crate::state::Api;

/// What one message that was looked at is charged, in bytes of answers: a list that looks at as many as it may takes some
/// tenths of a second, in which the default rate gives an endpoint as many bytes.
const LOOKED_AT_LEN: usize = 16;

/// Lists an endpoint's conversations, those with the newest messages first, at most 200.
///
/// A conversation is a group with kept messages that the endpoint wrote to, marked as read, or is in. An App-Token
/// reads its own endpoint's.
#[utoipa::path(
    get, path = "/v1/endpoints/{id}/conversations", tag = "Groups", operation_id = "getConversations",
    params(("id" = String, Path, description = "The endpoint's id"), AppParams),
    responses((status = 200, description = "The conversations", body = Vec<ConversationView>), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn list(
    api: Arc<Api>,
    call: Call,
    caller: Caller,
) -> Result<JsonAnswer<Vec<ConversationView>>, Problem> {
    let id = call.id();
    let request: ListRequest = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let _turn = api.long_answer(&caller).await?;
    let hub = &api.hub;
    let joined = |app, endpoint| async move { hub.groups_of(app, &endpoint).await };
    let found = api.broker.conversations(&caller, app, &id, joined).await?;
    api.accounts.answered(&caller, call.address(), (found.looked_at * LOOKED_AT_LEN) as u64);
    Ok(JsonAnswer(found.list.into_iter().map(ConversationView::from).collect()))
}

/// Marks groups as read up to an instant. A mark never goes back.
///
/// Groups of which nothing is kept, or that the caller may not join, are passed over.
#[utoipa::path(
    put, path = "/v1/endpoints/{id}/conversations", tag = "Groups", operation_id = "putConversations",
    params(("id" = String, Path, description = "The endpoint's id")),
    request_body = WriteReadMarks,
    responses((status = 200, description = "They are marked", body = Done), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn mark_read(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let body: WriteReadMarks = call.read()?;
    let app = named_app(&api, &call, &caller, body.app_id.as_deref()).await?;
    let marks = body.groups.map(|groups| groups.into_iter().map(MarkRead::from).collect());
    api.broker.mark_read(&caller, app, &id, marks).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}
