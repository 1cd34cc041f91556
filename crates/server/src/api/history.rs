//! `/v1/groups/{id}/history`, `/v1/group-history-search` and `/v1/group-histories`.

use std::sync::Arc;

use axum::response::Response;
use respoke_wire::body::history::{PubsubEventShape, ReadHistory, SearchHistory};

use super::asked::named_app;
use super::telling;
use crate::call::Call;
use crate::openapi::Refused;
use crate::problem::Problem;
use crate::state::Api;
use respoke_core::ops::Caller;

/// Reads what was said in a group, newest first. Only messages that were published with `persist` are kept.
///
/// It needs the right to join the group. For earlier messages give the `timestamp` of the last one as `before`; a page
/// may be shorter or longer than `limit`, so that messages of one millisecond stay together, and ends after a megabyte.
#[utoipa::path(
    get, path = "/v1/groups/{id}/history", tag = "Groups", operation_id = "getGroupHistory",
    params(
        ("id" = String, Path, description = "The group's name"),
        ("limit" = Option<u64>, Query, description = "At most this many messages, brought within 1 and 200; 50 by default"),
        ("before" = Option<f64>, Query, description = "Only what was said before this: milliseconds since the epoch, or RFC 3339 text"),
    ),
    responses((status = 200, description = "The messages", body = Vec<PubsubEventShape>), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn read(api: Arc<Api>, call: Call, caller: Caller) -> Result<Response, Problem> {
    let id = call.id();
    let request: ReadHistory = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let found = api.broker.history(&caller, app, &id, request.before, request.limit).await?;
    telling::tell(&api, &call, &caller, found).await
}

/// Reads the newest messages of many groups at once: an object of lists, newest first, by group.
///
/// It needs the right to join each of the groups. A megabyte is shared out among them. Of a group whose newest message
/// alone is more than its share that one comes, unless the megabyte is full: then the group is not in the answer, and can
/// be asked for again.
#[utoipa::path(
    post, path = "/v1/group-history-search", tag = "Groups", operation_id = "postGroupHistorySearch",
    request_body = SearchHistory,
    responses((status = 200, description = "The messages by group", body = HashMap<String, Vec<PubsubEventShape>>), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn search(api: Arc<Api>, call: Call, caller: Caller) -> Result<Response, Problem> {
    answer(&api, &call, &caller).await
}

/// The same for older clients, which name the groups in the query.
#[utoipa::path(
    get, path = "/v1/group-histories", tag = "Groups", operation_id = "getGroupHistories",
    params(
        ("groupIds" = Vec<String>, Query, description = "Which groups; the name is repeated"),
        ("limit" = Option<u64>, Query, description = "At most this many messages of each group, and 1,000 together; 1 by default"),
    ),
    responses((status = 200, description = "The messages by group", body = HashMap<String, Vec<PubsubEventShape>>), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn search_by_query(api: Arc<Api>, call: Call, caller: Caller) -> Result<Response, Problem> {
    answer(&api, &call, &caller).await
}

async fn answer(api: &Arc<Api>, call: &Call, caller: &Caller) -> Result<Response, Problem> {
    let request: SearchHistory = call.read()?;
    let app = named_app(api, call, caller, request.app_id.as_deref()).await?;
    let turn = api.long_answer(caller).await?;
    let found = api.broker.search_history(caller, app, request.group_ids, request.limit).await?;
    drop(turn);
    telling::tell_groups(api, call, caller, found).await
}
