//! `/v1/roles`.

use std::sync::Arc;

use respoke_core::id::RoleId;
use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use respoke_core::role::Permissions;
use respoke_wire::body::Done;
use respoke_wire::body::lists::{AppParams, ListRequest, PageParams};
use respoke_wire::body::roles::{RoleView, WriteRole};

use super::answer::{JsonAnswer, ListAnswer};
use super::asked::{given, named_app, page};
use crate::call::{Call, KeyOwner};
use crate::openapi::{Conflicts, Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;

/// Lists an app's roles, oldest first.
#[utoipa::path(
    get, path = "/v1/roles", tag = "Roles", operation_id = "listRoles",
    params(PageParams, AppParams),
    responses((status = 200, description = "A page of them", body = Vec<RoleView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<RoleView>, Problem> {
    let request: ListRequest = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let _turn = api.long_answer(&caller).await?;
    let (found, account) = api.broker.list_roles(&caller, app, page(&request)?).await?;
    Ok(ListAnswer::of(found, |role| RoleView::from((role, account))))
}

/// Creates a role. The caller may choose its id.
#[utoipa::path(
    post, path = "/v1/roles", tag = "Roles", operation_id = "postRoles",
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer")),
    request_body = WriteRole,
    responses((status = 200, description = "The role", body = RoleView), Refused, Missing, Conflicts),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<RoleView>, Problem> {
    let mut body: WriteRole = call.read()?;
    let once = call.once(&api, KeyOwner::Caller)?;
    let app = named_app(&api, &call, &caller, body.app_id.as_deref()).await?;
    let id = match given(body.id.as_deref()) {
        None => None,
        Some(text) => Some(RoleId::parse(text).ok_or_else(|| Refusal::field("id", "must be a UUID"))?),
    };
    let name = body.name.take();
    let permissions = body.permissions_over(Permissions::default());
    let role = api.broker.create_role(&caller, app, id, name, permissions, once, &call.context()).await?;
    Ok(JsonAnswer(RoleView::from(role)))
}

/// Reads a role.
#[utoipa::path(
    get, path = "/v1/roles/{id}", tag = "Roles", operation_id = "getRole",
    params(("id" = String, Path, description = "The role's id"), AppParams),
    responses((status = 200, description = "The role", body = RoleView), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn read(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<RoleView>, Problem> {
    let id = call.id();
    let request: ListRequest = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let role = api.broker.get_role(&caller, app, &id).await?;
    Ok(JsonAnswer(RoleView::from(role)))
}

/// Changes a role; what is absent stays. Sessions that use it feel it at once.
#[utoipa::path(
    put, path = "/v1/roles/{id}", tag = "Roles", operation_id = "putRole",
    params(("id" = String, Path, description = "The role's id"), AppParams),
    request_body = WriteRole,
    responses((status = 200, description = "The role", body = RoleView), Refused, Missing, Conflicts),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn update(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<RoleView>, Problem> {
    let id = call.id();
    let mut body: WriteRole = call.read()?;
    let app = named_app(&api, &call, &caller, body.app_id.as_deref()).await?;
    let name = body.name.take();
    let permissions = if body.names_permissions() {
        let (stored, _) = api.broker.get_role(&caller, app, &id).await?;
        Some(body.permissions_over(stored.permissions))
    } else {
        None
    };
    let role = api.broker.update_role(&caller, app, &id, name, permissions, &call.context()).await?;
    Ok(JsonAnswer(RoleView::from(role)))
}

/// Deletes a role and ends the tokens and sessions that use it.
#[utoipa::path(
    delete, path = "/v1/roles/{id}", tag = "Roles", operation_id = "deleteRole",
    params(("id" = String, Path, description = "The role's id"), AppParams),
    responses((status = 200, description = "It is gone", body = Done), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn remove(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let request: ListRequest = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    api.broker.delete_role(&caller, app, &id, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}
