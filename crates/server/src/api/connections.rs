//! `/v1/connections`, also served as `/v1/endpointconnections` and `/v1/endpoints/{id}/connections`.

use std::sync::Arc;

use respoke_core::admin::AdminRole;
use respoke_core::id::{AccountId, ConnectionId};
use respoke_core::ops::Caller;
use respoke_core::page::{Page, PageRequest};
use respoke_core::refusal::Refusal;
use respoke_hub::Connection;
use respoke_hub::ops::Connect;
use respoke_wire::body::Done;
use respoke_wire::body::connections::{ConnectionView, CreateConnection};
use respoke_wire::body::lists::{AppParams, ListRequest, PartParams};
use respoke_wire::body::nodes::NodeRef;

use super::answer::{JsonAnswer, ListAnswer};
use super::asked::{Named, given, page};
use super::nodes::{self, NodeNames};
use crate::call::Call;
use crate::openapi::{Missing, Refused, Unconnected};
use crate::problem::Problem;
use crate::state::Api;

/// Registers the socket that the request comes over as an endpoint's connection.
///
/// Over HTTP there is no socket, and the request is refused with `not_connected`.
#[utoipa::path(
    post, path = "/v1/connections", tag = "Connections", operation_id = "postConnections",
    request_body = CreateConnection,
    responses((status = 200, description = "The connection", body = ConnectionView), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<ConnectionView>, Problem> {
    connect(&api, &call, &caller, None).await
}

/// The same for the endpoint in the path.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/connections", tag = "Connections", operation_id = "postEndpointConnections",
    params(("id" = String, Path, description = "The endpoint's id")),
    request_body = CreateConnection,
    responses((status = 200, description = "The connection", body = ConnectionView), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn create_for(
    api: Arc<Api>,
    call: Call,
    caller: Caller,
) -> Result<JsonAnswer<ConnectionView>, Problem> {
    let id = call.id();
    connect(&api, &call, &caller, Some(id)).await
}

async fn connect(
    api: &Api,
    call: &Call,
    caller: &Caller,
    endpoint: Option<String>,
) -> Result<JsonAnswer<ConnectionView>, Problem> {
    let body: CreateConnection = call.read()?;
    let endpoint = endpoint.or(body.endpoint_id);
    let context = call.context();
    let named = Named { app: body.app_id.as_deref(), endpoint: endpoint.as_deref(), connection: None };
    let capabilities = body.capabilities.unwrap_or_default();
    let request = Connect {
        client_type: body.client_type,
        trickle_ice: capabilities.trickle_ice,
        ice_final_candidates: capabilities.ice_final_candidates,
    };
    let asker = named.asker(api, call, caller, &context).await?;
    // Before it is done: afterwards nothing may fail any more. And before a socket is asked for: who may not is told that.
    caller.permit(AdminRole::Developer)?;
    let account_id = match caller {
        Caller::Endpoint { app, .. } => app.account_id,
        Caller::Admin { .. } | Caller::App { .. } | Caller::Anonymous => {
            api.broker.app_of(caller, asker.app_id).await?.account_id
        }
    };
    if call.socket().is_none() {
        return Err(Refusal::NotConnected.into());
    }
    let connection = api.hub.connect(&asker, request).await?;
    if let Some(device) = &body.push_token_id {
        api.broker.device_connected(connection.app_id, &connection.endpoint, device);
    }
    Ok(JsonAnswer(view(&connection, account_id, None)))
}

/// Ends the caller's own connection, or with an App-Secret or Admin-Token any by its id. The socket stays open.
#[utoipa::path(
    delete, path = "/v1/connections/{id}", tag = "Connections", operation_id = "deleteConnection",
    params(("id" = String, Path, description = "The connection's id, or the caller's endpoint id"), AppParams),
    responses((status = 200, description = "It is over", body = Done), Refused, Missing),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn end(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let request: ListRequest = call.read()?;
    let context = call.context();
    let named = Named { app: request.app_id.as_deref(), ..Named::default() };
    api.hub.disconnect(&named.asker(&api, &call, &caller, &context).await?, &id).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Lists live connections of the app, or of one endpoint.
#[utoipa::path(
    get, path = "/v1/connections", tag = "Connections", operation_id = "listConnections",
    params(
        PartParams,
        AppParams,
        ("endpointId" = Option<String>, Query, description = "Only this endpoint's"),
        ("node" = Option<String>, Query, description = "Only those of the node with this `id`; for admins"),
    ),
    responses((status = 200, description = "All of them, or a page", body = Vec<ConnectionView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<ConnectionView>, Problem> {
    let request: ListRequest = call.read()?;
    let part = part(&request)?;
    let context = call.context();
    let named = Named { app: request.app_id.as_deref(), endpoint: request.endpoint_id.as_deref(), connection: None };
    let asker = named.asker(&api, &call, &caller, &context).await?;
    let at = nodes::at(&api, &caller, request.node.as_deref())?;
    let _turn = api.long_answer(&caller).await?;
    let found = match (at, part) {
        (None, _) => Page { items: Vec::new(), next: None },
        (Some(at), Some(part)) => api.hub.connections_page_at(&asker, &part, at).await?,
        (Some(at), None) => Page { items: api.hub.connections_at(&asker, at).await?, next: None },
    };
    let names = NodeNames::told(&api, &caller);
    let mut items = Vec::with_capacity(found.items.len());
    for connection in found.items {
        items.push(show(&api, names.as_ref(), &connection).await?);
    }
    Ok(ListAnswer::of(Page { items, next: found.next }, |shown| shown))
}

/// The part of a list of connections that is asked for. None: all, as clients expect who know no pages.
pub(crate) fn part(request: &ListRequest) -> Result<Option<PageRequest<ConnectionId>>, Refusal> {
    let asked = request.limit.is_some() || given(request.cursor.as_deref()).is_some();
    asked.then(|| page(request)).transpose()
}

/// That part of `members`, which are in the order of their ids, or all of them.
pub(crate) fn cut(
    members: &[Arc<Connection>],
    part: Option<&PageRequest<ConnectionId>>,
) -> Page<Arc<Connection>, ConnectionId> {
    let Some(page) = part else { return Page { items: members.to_vec(), next: None } };
    let from = page.after.map_or(0, |after| members.partition_point(|member| member.id <= after));
    let rest = members[from..].iter().take(page.limit.saturating_add(1)).cloned().collect();
    Page::cut(rest, page.limit, |member| member.id)
}

pub(crate) async fn show(
    api: &Api,
    names: Option<&NodeNames>,
    connection: &Connection,
) -> Result<ConnectionView, Problem> {
    let node = names.map(|names| names.home(connection));
    Ok(view(connection, api.broker.account_of(connection.app_id).await?, node))
}

fn view(connection: &Connection, account_id: AccountId, node: Option<NodeRef>) -> ConnectionView {
    ConnectionView {
        id: connection.id,
        app_id: connection.app_id,
        account_id,
        endpoint_id: connection.endpoint.clone(),
        role_id: connection.role_id,
        ip_address: connection.address.to_string(),
        client_type: connection.client_type.clone(),
        trickle_ice: connection.trickle_ice,
        ice_final_candidates: connection.ice_final_candidates,
        kind: "websocket",
        node,
    }
}
