//! `/v1/groups` and `/v1/channels`: the same groups, as different clients call them.

use std::sync::Arc;

use axum::extract::State;
use respoke_core::id::GroupName;
use respoke_core::page::{Page, PageRequest};
use respoke_core::refusal::Refusal;
use respoke_hub::ops::Publish;
use respoke_wire::body::Done;
use respoke_wire::body::groups::{GroupView, MemberView, Membership, NameGroup, PublishMessage, Sent};
use respoke_wire::body::lists::{AppParams, ListRequest, PageParams, PartParams};

use super::answer::{Answer, ListAnswer};
use super::{Api, Named, connections, page};
use crate::call::{Call, Id};
use crate::openapi::{Missing, Refused, Unconnected};
use crate::problem::Problem;

/// Lists the app's groups by name.
#[utoipa::path(
    get, path = "/v1/groups", tag = "Groups", operation_id = "listGroups",
    params(PageParams, AppParams),
    responses((status = 200, description = "A page of them", body = Vec<GroupView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(super) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<ListAnswer<GroupView>, Problem> {
    let caller = call.authenticate(&api).await?;
    let request: ListRequest = call.read()?;
    let page: PageRequest<GroupName> = page(&request)?;
    let context = call.context();
    let named = Named { app: request.app_id.as_deref(), ..Named::default() };
    let asker = named.asker(&api, &call, &caller, &context).await?;
    let found = api.hub.groups(&asker, page.after.as_ref().map(GroupName::as_str), page.limit + 1).await?;
    Ok(ListAnswer::of(Page::cut(found, page.limit, GroupName::clone), GroupView::from))
}

/// Joins groups: the caller's connection becomes a member, and each group comes into being with its first.
#[utoipa::path(
    post, path = "/v1/groups", tag = "Groups", operation_id = "postGroups",
    request_body = Membership,
    responses((status = 200, description = "It is a member", body = Done), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(super) async fn join_many(State(api): State<Arc<Api>>, call: Call) -> Result<Answer<Done>, Problem> {
    change(&api, &call, None, Change::Join).await
}

/// Joins one group.
#[utoipa::path(
    post, path = "/v1/groups/{id}", tag = "Groups", operation_id = "postGroup",
    params(("id" = String, Path, description = "The group")),
    request_body = Membership,
    responses((status = 200, description = "It is a member", body = Done), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(super) async fn join(State(api): State<Arc<Api>>, Id(id): Id, call: Call) -> Result<Answer<Done>, Problem> {
    change(&api, &call, Some(id), Change::Join).await
}

/// Leaves groups.
#[utoipa::path(
    delete, path = "/v1/groups", tag = "Groups", operation_id = "deleteGroups",
    responses((status = 200, description = "It is no member", body = Done), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(super) async fn leave_many(State(api): State<Arc<Api>>, call: Call) -> Result<Answer<Done>, Problem> {
    change(&api, &call, None, Change::Leave).await
}

/// Leaves one group.
#[utoipa::path(
    delete, path = "/v1/channels/{id}/subscribers", tag = "Groups", operation_id = "deleteChannelSubscribers",
    params(("id" = String, Path, description = "The group")),
    responses((status = 200, description = "It is no member", body = Done), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(super) async fn leave(State(api): State<Arc<Api>>, Id(id): Id, call: Call) -> Result<Answer<Done>, Problem> {
    change(&api, &call, Some(id), Change::Leave).await
}

enum Change {
    Join,
    Leave,
}

async fn change(api: &Api, call: &Call, group: Option<String>, change: Change) -> Result<Answer<Done>, Problem> {
    let caller = call.authenticate(api).await?;
    let body: Membership = call.read()?;
    let names = match group {
        Some(group) => vec![group],
        None => body.groups.ok_or_else(|| Refusal::missing("groups"))?,
    };
    let groups = names.iter().map(|name| group_name(name)).collect::<Result<Vec<_>, _>>()?;
    let context = call.context();
    let named = Named {
        app: body.app_id.as_deref(),
        endpoint: body.endpoint_id.as_deref(),
        connection: body.connection_id.as_deref(),
    };
    let asker = named.asker(api, call, &caller, &context).await?;
    match change {
        Change::Join => api.hub.join(&asker, &groups).await?,
        Change::Leave => api.hub.leave(&asker, &groups).await?,
    }
    Ok(Answer(Done::SUCCESS))
}

/// Ends a group: every member leaves it.
#[utoipa::path(
    delete, path = "/v1/groups/{id}", tag = "Groups", operation_id = "deleteGroup",
    params(("id" = String, Path, description = "The group"), AppParams),
    responses((status = 200, description = "It is over", body = Done), Refused, Missing),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(super) async fn end(State(api): State<Arc<Api>>, Id(id): Id, call: Call) -> Result<Answer<Done>, Problem> {
    let caller = call.authenticate(&api).await?;
    let request: ListRequest = call.read()?;
    let context = call.context();
    let named = Named { app: request.app_id.as_deref(), ..Named::default() };
    api.hub.end_group(&named.asker(&api, &call, &caller, &context).await?, &group_name(&id)?).await?;
    Ok(Answer(Done::SUCCESS))
}

/// Lists the members of a group, one a connection; also served as `/v1/channels/{id}/subscribers`.
#[utoipa::path(
    get, path = "/v1/groups/{id}", tag = "Groups", operation_id = "getGroup",
    params(("id" = String, Path, description = "The group"), PartParams, AppParams),
    responses((status = 200, description = "All of them, or a page", body = Vec<MemberView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(super) async fn members(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    call: Call,
) -> Result<ListAnswer<MemberView>, Problem> {
    let caller = call.authenticate(&api).await?;
    let request: ListRequest = call.read()?;
    let part = connections::part(&request)?;
    let context = call.context();
    let named = Named { app: request.app_id.as_deref(), ..Named::default() };
    let members = api.hub.members(&named.asker(&api, &call, &caller, &context).await?, &group_name(&id)?).await?;
    let show = |member: Arc<respoke_hub::Connection>| MemberView {
        endpoint_id: member.endpoint.clone(),
        connection_id: member.id,
    };
    Ok(ListAnswer::of(connections::cut(&members, part.as_ref()), show))
}

/// Publishes to a group; also served as `/v1/channels/{id}/publish`.
#[utoipa::path(
    post, path = "/v1/groups/{id}/publish", tag = "Groups", operation_id = "postGroupPublish",
    params(("id" = String, Path, description = "The group")),
    request_body = PublishMessage,
    responses((status = 200, description = "It was handed to every member", body = Sent), Refused, Missing),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(super) async fn publish(State(api): State<Arc<Api>>, Id(id): Id, call: Call) -> Result<Answer<Sent>, Problem> {
    let caller = call.authenticate_speaking(&api).await?;
    let body: PublishMessage = call.read()?;
    let message = body.message.ok_or_else(|| Refusal::missing("message"))?;
    let context = call.context();
    let named = Named { app: body.app_id.as_deref(), endpoint: body.endpoint_id.as_deref(), connection: None };
    let request = Publish { message, persist: body.persist == Some(true) };
    let id = api.hub.publish(&named.asker(&api, &call, &caller, &context).await?, &group_name(&id)?, request).await?;
    Ok(Answer(Sent::from(id)))
}

/// Answers the group of a name. It comes into being with its first member.
#[utoipa::path(
    post, path = "/v1/channels", tag = "Groups", operation_id = "postChannels",
    request_body = NameGroup,
    responses((status = 200, description = "The group", body = GroupView), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(super) async fn name(State(api): State<Arc<Api>>, call: Call) -> Result<Answer<GroupView>, Problem> {
    let caller = call.authenticate(&api).await?;
    api.broker.rights(&caller).await?;
    let body: NameGroup = call.read()?;
    let name = body.name.ok_or_else(|| Refusal::missing("name"))?;
    Ok(Answer(GroupView::from(group_name(&name)?)))
}

pub(super) fn group_name(text: &str) -> Result<GroupName, Refusal> {
    GroupName::parse(text).map_err(|problem| Refusal::field("group", problem))
}
