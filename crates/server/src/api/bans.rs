//! `/v1/endpoints/{id}/ban` and `/v1/bans`.

use std::sync::Arc;

use respoke_core::ops::Caller;
use respoke_wire::body::Done;
use respoke_wire::body::bans::{BanView, CreateBan};
use respoke_wire::body::ends::InApp;
use respoke_wire::body::lists::{AppParams, ListRequest, PageParams};

use super::answer::{JsonAnswer, ListAnswer};
use super::asked::{named_app, page};
use crate::call::Call;
use crate::openapi::{Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;

/// Bans an endpoint: no token is minted for it or redeemed, and what it has is ended, for good.
///
/// Banning again replaces reason and expiry.
#[utoipa::path(
    put, path = "/v1/endpoints/{id}/ban", tag = "Bans", operation_id = "putBan",
    params(("id" = String, Path, description = "The endpoint's id")),
    request_body = CreateBan,
    responses((status = 200, description = "The ban", body = BanView), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn ban(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<BanView>, Problem> {
    let id = call.id();
    let body: CreateBan = call.read_strictly()?;
    let app = named_app(&api, &call, &caller, body.app_id.as_deref()).await?;
    let ban = api.broker.ban(&caller, app, &id, body.reason, body.expires_at, &call.context()).await?;
    Ok(JsonAnswer(BanView::from(ban)))
}

/// Reads the ban of an endpoint; 404 if it is not banned.
#[utoipa::path(
    get, path = "/v1/endpoints/{id}/ban", tag = "Bans", operation_id = "getBan",
    params(("id" = String, Path, description = "The endpoint's id"), AppParams),
    responses((status = 200, description = "The ban", body = BanView), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn read(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<BanView>, Problem> {
    let id = call.id();
    let request: ListRequest = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let ban = api.broker.get_ban(&caller, app, &id).await?;
    Ok(JsonAnswer(BanView::from(ban)))
}

/// Lifts a ban. What it ended stays ended.
#[utoipa::path(
    delete, path = "/v1/endpoints/{id}/ban", tag = "Bans", operation_id = "deleteBan",
    params(("id" = String, Path, description = "The endpoint's id"), AppParams),
    responses((status = 200, description = "It is lifted", body = Done), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn lift(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let request: InApp = call.read_strictly()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    api.broker.lift_ban(&caller, app, &id, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Lists an app's bans by endpoint; past ones too until they are lifted or removed by upkeep.
#[utoipa::path(
    get, path = "/v1/bans", tag = "Bans", operation_id = "listBans",
    params(PageParams, AppParams),
    responses((status = 200, description = "A page of them", body = Vec<BanView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<BanView>, Problem> {
    let request: ListRequest = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let found = api.broker.list_bans(&caller, app, page(&request)?).await?;
    Ok(ListAnswer::of(found, BanView::from))
}
