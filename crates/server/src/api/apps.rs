//! `/v1/apps`.

use std::sync::Arc;

use respoke_core::app::App;
use respoke_core::id::AppId;
use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use respoke_wire::body::Done;
use respoke_wire::body::apps::{AppView, Kept, WriteApp};
use respoke_wire::body::ends::Nothing;
use respoke_wire::body::lists::{ListRequest, PageParams};

use super::answer::{JsonAnswer, ListAnswer};
use super::asked::{note_app, page};
use crate::call::{Call, KeyOwner};
use crate::openapi::{Conflicts, Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;

/// The id of a path, of which is noted that the request is about it. What is no id names no app.
pub(crate) async fn app_of_path(api: &Api, call: &Call, caller: &Caller, id: &str) -> Result<AppId, Refusal> {
    let id = AppId::parse(id).ok_or(Refusal::NotFound("Apps"))?;
    note_app(api, call, caller, Some(id), None).await;
    Ok(id)
}

/// Lists the account's apps; with an App-Secret, its own.
#[utoipa::path(
    get, path = "/v1/apps", tag = "Apps", operation_id = "listApps",
    params(PageParams),
    responses((status = 200, description = "A page of them", body = Vec<AppView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<AppView>, Problem> {
    let request: ListRequest = call.read()?;
    let found = api.broker.list_apps(&caller, page(&request)?).await?;
    Ok(ListAnswer::of(found, AppView::from))
}

/// Creates an app. The answer shows its first App-Secret, this once.
#[utoipa::path(
    post, path = "/v1/apps", tag = "Apps", operation_id = "postApps",
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer")),
    request_body = WriteApp,
    responses((status = 200, description = "The app", body = AppView), Refused, Conflicts),
    security(("Admin-Token" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<AppView>, Problem> {
    let body: WriteApp = call.read()?;
    let once = call.once(&api, KeyOwner::Caller)?;
    let patch = body.into_patch();
    let name = patch.name.clone();
    let (app, secret) = api.broker.create_app(&caller, name, patch, once, &call.context()).await?;
    call.concerns(app.id, None);
    Ok(JsonAnswer(AppView::created(app, &secret)))
}

/// Reads an app.
#[utoipa::path(
    get, path = "/v1/apps/{id}", tag = "Apps", operation_id = "getApp",
    params(("id" = String, Path, description = "The app's id")),
    responses((status = 200, description = "The app", body = AppView), Refused, Missing),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn read(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<AppView>, Problem> {
    let id = call.id();
    let app = api.broker.get_app(&caller, app_of_path(&api, &call, &caller, &id).await?).await?;
    let kept = Kept { bytes: api.broker.store().kept_bytes(app.id).await?, max: api.broker.kept_bytes_max(&app) };
    Ok(JsonAnswer(AppView { kept: Some(kept), ..AppView::from(App::clone(&app)) }))
}

/// Changes an app. What is absent stays.
#[utoipa::path(
    put, path = "/v1/apps/{id}", tag = "Apps", operation_id = "putApp",
    params(("id" = String, Path, description = "The app's id")),
    request_body = WriteApp,
    responses((status = 200, description = "The app", body = AppView), Refused, Missing),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn update(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<AppView>, Problem> {
    let id = call.id();
    let body: WriteApp = call.read()?;
    let app = api
        .broker
        .update_app(&caller, app_of_path(&api, &call, &caller, &id).await?, body.into_patch(), &call.context())
        .await?;
    Ok(JsonAnswer(AppView::from(app)))
}

/// Deletes an app and ends everything that stands on it.
#[utoipa::path(
    delete, path = "/v1/apps/{id}", tag = "Apps", operation_id = "deleteApp",
    params(("id" = String, Path, description = "The app's id")),
    responses((status = 200, description = "It is gone", body = Done), Refused, Missing),
    security(("Admin-Token" = []))
)]
pub(crate) async fn remove(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let Nothing {} = call.read_strictly()?;
    api.broker.delete_app(&caller, app_of_path(&api, &call, &caller, &id).await?, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}
