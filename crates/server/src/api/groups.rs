//! `/v1/groups` and `/v1/channels`: the same groups, as different clients call them. Each has every route of the other.

use std::sync::Arc;

use respoke_core::id::GroupName;
use respoke_core::ops::Caller;
use respoke_core::page::{Page, PageRequest};
use respoke_core::refusal::Refusal;
use respoke_hub::ops::Publish;
use respoke_wire::body::Done;
use respoke_wire::body::ends::InApp;
use respoke_wire::body::groups::{GroupView, JoinOrName, JoinedOrNamed, MemberView, Membership, PublishMessage, Sent};
use respoke_wire::body::lists::{AppParams, ListRequest, PageParams, PartParams};

use super::answer::{JsonAnswer, ListAnswer};
use super::asked::{Named, page};
use super::connections;
use crate::call::{Call, KeyOwner};
use crate::openapi::{Missing, Refused, Reused, Unconnected};
use crate::problem::Problem;
use crate::state::Api;

/// Lists the app's groups by name.
#[utoipa::path(
    get, path = "/v1/groups", tag = "Groups", operation_id = "listGroups",
    params(PageParams, AppParams),
    responses((status = 200, description = "A page of them", body = Vec<GroupView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<GroupView>, Problem> {
    let request: ListRequest = call.read()?;
    let page: PageRequest<GroupName> = page(&request)?;
    let context = call.context();
    let named = Named { app: request.app_id.as_deref(), ..Named::default() };
    let asker = named.asker(&api, &call, &caller, &context).await?;
    let found = api.hub.groups(&asker, page.after.as_ref(), page.limit + 1).await?;
    Ok(ListAnswer::of(Page::cut(found, page.limit, GroupName::clone), GroupView::from))
}

/// Joins groups: the caller's connection becomes a member, and each group comes into being with its first. With a `name`
/// and no `groups`, answers the group of that name.
#[utoipa::path(
    post, path = "/v1/groups", tag = "Groups", operation_id = "postGroups",
    request_body = JoinOrName,
    responses((status = 200, description = "It is a member, or the group of the name", body = JoinedOrNamed),
        Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn join_many(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<JoinedOrNamed>, Problem> {
    let body: JoinOrName = call.read()?;
    if let (None, Some(name)) = (&body.groups, &body.name) {
        api.broker.rights(&caller).await?;
        return Ok(JsonAnswer(JoinedOrNamed::Named(GroupView::from(group_name(name)?))));
    }
    change(&api, &call, &caller, body.into(), MembershipChange::Join).await?;
    Ok(JsonAnswer(JoinedOrNamed::Joined(Done::SUCCESS)))
}

/// Joins one group.
#[utoipa::path(
    post, path = "/v1/groups/{id}", tag = "Groups", operation_id = "postGroup",
    params(("id" = String, Path, description = "The group")),
    request_body = Membership,
    responses((status = 200, description = "It is a member", body = Done), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn join(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    change_one(&api, &call, &caller, id, MembershipChange::Join).await
}

/// Leaves groups.
#[utoipa::path(
    delete, path = "/v1/groups", tag = "Groups", operation_id = "deleteGroups",
    responses((status = 200, description = "It is no member", body = Done), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn leave_many(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    change(&api, &call, &caller, call.read()?, MembershipChange::Leave).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Leaves one group.
#[utoipa::path(
    delete, path = "/v1/groups/{id}/subscribers", tag = "Groups", operation_id = "deleteGroupSubscribers",
    params(("id" = String, Path, description = "The group")),
    responses((status = 200, description = "It is no member", body = Done), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn leave(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    change_one(&api, &call, &caller, id, MembershipChange::Leave).await
}

enum MembershipChange {
    Join,
    Leave,
}

async fn change_one(
    api: &Api,
    call: &Call,
    caller: &Caller,
    group: String,
    change_to: MembershipChange,
) -> Result<JsonAnswer<Done>, Problem> {
    let body: Membership = call.read()?;
    change(api, call, caller, Membership { groups: Some(vec![group]), ..body }, change_to).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

async fn change(
    api: &Api,
    call: &Call,
    caller: &Caller,
    body: Membership,
    change: MembershipChange,
) -> Result<(), Problem> {
    let names = body.groups.ok_or_else(|| Refusal::missing("groups"))?;
    let groups = names.iter().map(|name| group_name(name)).collect::<Result<Vec<_>, _>>()?;
    let context = call.context();
    let named = Named {
        app: body.app_id.as_deref(),
        endpoint: body.endpoint_id.as_deref(),
        connection: body.connection_id.as_deref(),
    };
    let asker = named.asker(api, call, caller, &context).await?;
    match change {
        MembershipChange::Join => api.hub.join(&asker, &groups).await?,
        MembershipChange::Leave => api.hub.leave(&asker, &groups).await?,
    }
    Ok(())
}

/// Ends a group: its history is gone, and every member leaves it.
#[utoipa::path(
    delete, path = "/v1/groups/{id}", tag = "Groups", operation_id = "deleteGroup",
    params(("id" = String, Path, description = "The group"), AppParams),
    responses((status = 200, description = "It is over", body = Done), Refused, Missing),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn end(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let request: InApp = call.read_strictly()?;
    let context = call.context();
    let named = Named { app: request.app_id.as_deref(), ..Named::default() };
    api.hub.end_group(&named.asker(&api, &call, &caller, &context).await?, &group_name(&id)?).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Lists the members of a group, one a connection.
#[utoipa::path(
    get, path = "/v1/groups/{id}", tag = "Groups", operation_id = "getGroup",
    params(("id" = String, Path, description = "The group"), PartParams, AppParams),
    responses((status = 200, description = "All of them, or a page", body = Vec<MemberView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn members(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<MemberView>, Problem> {
    let id = call.id();
    let request: ListRequest = call.read()?;
    let part = connections::part(&request)?;
    let context = call.context();
    let named = Named { app: request.app_id.as_deref(), ..Named::default() };
    let _turn = api.long_answer(&caller).await?;
    let members = api.hub.members(&named.asker(&api, &call, &caller, &context).await?, &group_name(&id)?).await?;
    let show = |member: Arc<respoke_hub::Connection>| MemberView {
        endpoint_id: member.endpoint.clone(),
        connection_id: member.id,
    };
    Ok(ListAnswer::of(connections::cut(&members, part.as_ref()), show))
}

/// Publishes to a group.
#[utoipa::path(
    post, path = "/v1/groups/{id}/publish", tag = "Groups", operation_id = "postGroupPublish",
    params(
        ("id" = String, Path, description = "The group"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer, and says nothing twice"),
    ),
    request_body = PublishMessage,
    responses((status = 200, description = "It was handed to every member", body = Sent), Refused, Missing, Reused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn publish(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Sent>, Problem> {
    let id = call.id();
    let body: PublishMessage = call.read()?;
    let message = body.message.ok_or_else(|| Refusal::missing("message"))?;
    let context = call.context();
    let named = Named { app: body.app_id.as_deref(), endpoint: body.endpoint_id.as_deref(), connection: None };
    let once = call.once(&api, KeyOwner::Speaker(&caller))?;
    let request = Publish { message, persist: body.persist == Some(true), once };
    let id = api.hub.publish(&named.asker(&api, &call, &caller, &context).await?, &group_name(&id)?, request).await?;
    Ok(JsonAnswer(Sent::from(id)))
}

pub(crate) fn group_name(text: &str) -> Result<GroupName, Refusal> {
    GroupName::parse(text).map_err(|problem| Refusal::field("group", problem))
}
