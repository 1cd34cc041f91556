//! `/v1/sessions`, for those with authority over the app.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use respoke_core::clock::Timestamp;
use respoke_core::id::AppId;
use respoke_core::ops::{Broker, Caller, EndSessions};
use respoke_core::page::{PAGE_LIMIT_MAX, Page, PageRequest, RowNumber};
use respoke_core::ports::{EndScope, Node, SessionFilter};
use respoke_core::refusal::Refusal;
use respoke_core::session::SessionRecord;
use respoke_hub::ops::{At, SessionPlaces};
use respoke_wire::body::Done;
use respoke_wire::body::ends::Nothing;
use respoke_wire::body::lists::{AppParams, FilterParams, ListRequest, PageParams};
use respoke_wire::body::sessions::{EndSessions as EndSessionsBody, SessionView};
use tokio::time::Instant;

use super::answer::{JsonAnswer, ListAnswer};
use super::asked::{endpoint_id, filter, given, named_app, page, role_id};
use super::nodes::{self, NodeNames};
use crate::call::Call;
use crate::openapi::{Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;

/// How long a page of sessions that are connected at one node is looked for. Then it is told as it is, with where to go on.
const LOOKED_FOR: Duration = Duration::from_secs(1);

/// Lists live sessions, oldest first.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "Sessions", operation_id = "listSessions",
    params(
        PageParams,
        AppParams,
        FilterParams,
        ("address" = Option<String>, Query, description = "Only those last used from this address"),
        ("since" = Option<String>, Query, description = "Only those opened then or later: RFC 3339 text, or seconds or milliseconds since the epoch"),
        ("node" = Option<String>, Query, description = "Only those that are connected at the node with this `id`; for admins"),
    ),
    responses((status = 200, description = "A page of them", body = Vec<SessionView>,
        headers(
            ("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"),
            ("Silent-Nodes" = String, description = "The `id`s of nodes that did not say which of them are connected there"),
        )), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<SessionView>, Problem> {
    let request: ListRequest = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let filter = SessionFilter {
        of: filter(&request)?,
        address: given(request.address.as_deref()).map(address).transpose()?,
        since: given(request.since.as_deref()).map(since).transpose()?,
    };
    let at = nodes::at(&api, &caller, request.node.as_deref())?;
    let found = find(&api, &caller, app, filter, page(&request)?, at).await?;
    let names = NodeNames::told(&api, &caller);
    let next = found.next;
    let Placed { items, silent } = placed(&api, names.as_ref(), found.items).await;
    Ok(ListAnswer::of(Page { items, next }, |shown| shown).without(&silent))
}

/// A page of sessions on some nodes, as [`nodes::at`] reads them, for the API and for the console alike.
///
/// The database does not know where sessions are connected. So those of one node are looked for among all of the app: a
/// page may hold fewer than asked for, even none, and still have a next one.
pub(crate) async fn find(
    api: &Api,
    caller: &Caller,
    app: Option<AppId>,
    filter: SessionFilter,
    mut part: PageRequest<RowNumber>,
    at: Option<At>,
) -> Result<Page<SessionRecord, RowNumber>, Refusal> {
    let node = match at {
        Some(At::Anywhere) => return api.broker.list_sessions(caller, app, filter, part).await,
        Some(At::Here) => Some(api.among.as_ref().map_or(Node::ALONE, |among| among.node())),
        Some(At::There(node)) => Some(node),
        None => None,
    };
    let limit = std::mem::replace(&mut part.limit, PAGE_LIMIT_MAX);
    let (mut items, since) = (Vec::new(), Instant::now());
    loop {
        let found = api.broker.list_sessions(caller, app, filter.clone(), part.clone()).await?;
        // One that does not live has none; and whether the caller may ask is known by now.
        let Some(node) = node else { return Ok(Page { items, next: None }) };
        let numbers: Vec<_> = found.items.iter().map(|record| record.number).collect();
        let are_there = api.hub.are_sessions_at(&numbers, node).await?;
        items
            .extend(found.items.into_iter().zip(are_there).filter_map(|(record, is_there)| is_there.then_some(record)));
        if items.len() > limit {
            return Ok(Page::cut(items, limit, |record| RowNumber::new(record.number)));
        }
        part.after = found.next;
        if part.after.is_none() || items.len() == limit || since.elapsed() >= LOOKED_FOR {
            return Ok(Page { items, next: part.after });
        }
    }
}

/// Sessions with the nodes where they are connected, as far as those who ask may know.
pub(crate) struct Placed {
    pub(crate) items: Vec<SessionView>,
    /// Who did not say.
    pub(crate) silent: Vec<Node>,
}

/// Finds out where sessions are connected, if `names` may be told. A page of them at most.
pub(crate) async fn placed(api: &Api, names: Option<&NodeNames>, found: Vec<SessionRecord>) -> Placed {
    let Some(names) = names else {
        let items = found.into_iter().map(|record| show(&api.broker, record)).collect();
        return Placed { items, silent: Vec::new() };
    };
    let numbers: Vec<_> = found.iter().map(|record| record.number).collect();
    let SessionPlaces { of, silent } = api.hub.places_of_sessions(&numbers).await;
    let items = found.into_iter().zip(of).map(|(record, nodes)| {
        let nodes = nodes.into_iter().map(|node| names.of(node)).collect();
        SessionView { nodes: Some(nodes), ..show(&api.broker, record) }
    });
    Placed { items: items.collect(), silent }
}

/// Reads `address`.
fn address(text: &str) -> Result<IpAddr, Refusal> {
    let address: Result<IpAddr, _> = text.parse();
    address.map(|address| address.to_canonical()).map_err(|_| Refusal::field("address", "must be an IP address"))
}

fn since(text: &str) -> Result<Timestamp, Refusal> {
    Timestamp::parse(text).ok_or_else(|| Refusal::field("since", "must be RFC 3339 text or a number since the epoch"))
}

/// Reads one live session.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "Sessions", operation_id = "getSession",
    params(("id" = String, Path, description = "The session's `id`")),
    responses((status = 200, description = "The session", body = SessionView), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn read(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<SessionView>, Problem> {
    let id = call.id();
    Ok(JsonAnswer(show(&api.broker, api.broker.session(&caller, &id).await?)))
}

/// Ends one session. One that is over already is no error.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "Sessions", operation_id = "deleteSession",
    params(("id" = String, Path, description = "The session's `id`")),
    responses((status = 200, description = "It is over", body = Done), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn end(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let Nothing {} = call.read_strictly()?;
    api.broker.end_session(&caller, &id, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Ends all sessions of an endpoint, of a role or of the app, at once.
///
/// Exactly one of `endpointId`, `roleId` and `all` is given, in the query or in a body.
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "Sessions", operation_id = "deleteSessions",
    params(
        AppParams,
        FilterParams,
        ("all" = Option<bool>, Query, description = "All sessions of the app"),
        ("issuedBefore" = Option<String>, Query, description = "Only what was issued before this: RFC 3339 text, or seconds or milliseconds since the epoch"),
        ("tokens" = Option<bool>, Query, description = "Whether outstanding tokenIds are spent as well; true by default"),
    ),
    responses((status = 200, description = "They are over", body = Done), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn end_many(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let body: EndSessionsBody = call.read_strictly()?;
    let request = EndSessions {
        app_id: named_app(&api, &call, &caller, body.app_id.as_deref()).await?,
        scope: scope(&body)?,
        issued_before: body.issued_before,
        tokens_too: body.tokens.unwrap_or(true),
    };
    api.broker.end_sessions(&caller, request, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

fn scope(body: &EndSessionsBody) -> Result<EndScope, Refusal> {
    let role = role_id(body.role_id.as_deref())?;
    match (given(body.endpoint_id.as_deref()), role, body.all) {
        (Some(endpoint), None, None | Some(false)) => Ok(EndScope::Endpoint(endpoint_id(endpoint)?)),
        (None, Some(role), None | Some(false)) => Ok(EndScope::Role(role)),
        (None, None, Some(true)) => Ok(EndScope::App),
        // Nothing is ended by leaving something out, nor more than was meant by saying too much.
        _ => Err(Refusal::field("all", "or endpointId or roleId must be given, and only one of them")),
    }
}

pub(crate) fn show(broker: &Broker, record: SessionRecord) -> SessionView {
    SessionView {
        id: broker.session_id(record.number),
        app_id: record.grant.app_id,
        endpoint_id: record.grant.endpoint_id,
        role_id: record.grant.role_id,
        created_at: record.created_at,
        expires_at: record.expires_at,
        last_seen_at: record.last_seen_at,
        address: record.address,
        nodes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sessions_are_ended_only_by_exactly_one_scope() {
        let role = Some("7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001".to_owned());
        let endpoint = Some("jo".to_owned());
        let body = |endpoint_id: &Option<String>, role_id: &Option<String>, all| EndSessionsBody {
            endpoint_id: endpoint_id.clone(),
            role_id: role_id.clone(),
            all,
            ..EndSessionsBody::default()
        };
        assert!(matches!(scope(&body(&endpoint, &None, None)), Ok(EndScope::Endpoint(_))));
        assert!(matches!(scope(&body(&None, &role, Some(false))), Ok(EndScope::Role(_))));
        assert!(matches!(scope(&body(&None, &None, Some(true))), Ok(EndScope::App)));
        for body in [
            body(&None, &None, None),
            body(&None, &None, Some(false)),
            body(&endpoint, &role, None),
            body(&endpoint, &None, Some(true)),
            body(&Some(String::new()), &None, None),
        ] {
            assert_eq!(scope(&body).unwrap_err().code(), "invalid");
        }
    }
}
