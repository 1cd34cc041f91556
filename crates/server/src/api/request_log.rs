//! `/v1/request-log`.

mod logs;
mod merging;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use respoke_core::ops::Caller;
use respoke_core::page::{Page, PageRequest};
use respoke_core::ports::Node;
use respoke_core::refusal::Refusal;
use respoke_core::request_log::{LoggedRequest, RequestFilter, StatusFilter};
use respoke_hub::ops::At;
use respoke_wire::body::lists::{AppParams, ListRequest, PageParams};
use respoke_wire::body::nodes::NodeRef;
use respoke_wire::body::request_log::RequestView;
use tokio::time::Instant;

use self::logs::AllLogs;
use self::merging::{LogPlaces, Merged, Merging};
use super::answer::Listed;
use super::asked::{app_id, given, lines_wanted, list_page, list_request, request_id};
use super::nodes::{self, NodeNames};
use crate::call::Call;
use crate::openapi::{Missing, Refused, Unconnected};
use crate::problem::Problem;
use crate::state::Api;

/// How long other nodes are waited for in all for a page.
const PAGE_WITHIN: Duration = Duration::from_secs(1);
/// The same for lines, which are fifty times as many.
const LINES_WITHIN: Duration = Duration::from_secs(5);

/// Reads the log of the last requests, newest first. An App-Secret sees its own app's.
///
/// Each node keeps its own. They are put together by their times, each in its own order. A cursor says where each was left, so
/// no page repeats another, and what is skipped has given way to newer requests meanwhile. Of a node that does not answer within a
/// quarter of a second nothing is told. If nothing else is left the page is refused, and its cursor goes on later. A page may be
/// empty and still have a next one.
#[utoipa::path(
    get, path = "/v1/request-log", tag = "Logs", operation_id = "listRequestLog",
    params(
        PageParams,
        AppParams,
        ("endpointId" = Option<String>, Query, description = "Only this endpoint's"),
        ("route" = Option<String>, Query, description = "Only this route, such as `/v1/tokens/{id}`"),
        ("status" = Option<String>, Query, description = "Only this status, such as `404`, or this class, such as `4xx`"),
        ("node" = Option<String>, Query, description = "Only those of the node with this `id`; for admins"),
        ("requestId" = Option<String>, Query, format = Uuid, description = "Only this request"),
        ("format" = Option<String>, Query, description = "`jsonl`: one object a line, and up to 10,000 of them; not over a socket"),
    ),
    responses((status = 200, description = "A page of it", body = Vec<RequestView>,
        headers(
            ("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"),
            ("Silent-Nodes" = String, description = "The `id`s of nodes that did not answer, or not with all that was asked of them, or that are no more; `some` for an App-Secret"),
        )), Refused, Missing, Unconnected),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<Listed<RequestView>, Problem> {
    let request = list_request(&api, &call, &caller).await?;
    Ok(find(&api, &caller, call.address(), &request).await?.into_listed())
}

/// A part of the log.
pub(crate) struct Found {
    pub(crate) page: Page<RequestView, LogPlaces>,
    /// Whose requests are missing in it.
    pub(crate) silent: Vec<Node>,
    /// Whether whoever asks may know which nodes there are.
    are_nodes_told: bool,
    lines: bool,
}

impl Found {
    /// As one object a line, or as an array.
    pub(crate) fn into_listed(self) -> Listed<RequestView> {
        let listed = Listed::of(self.page, self.lines);
        match (&*self.silent, self.are_nodes_told) {
            ([], _) => listed,
            (silent, true) => listed.without(silent),
            (_, false) => listed.without_some(),
        }
    }
}

/// The requests that `request` asks for, for the API and for the console alike.
pub(crate) async fn find(api: &Api, caller: &Caller, address: IpAddr, request: &ListRequest) -> Result<Found, Problem> {
    let scope = api.broker.scope(caller, app_id(request.app_id.as_deref())?).await?;
    let lines = lines_wanted(request)?;
    let page: PageRequest<LogPlaces> = list_page(request, lines)?;
    let filter = RequestFilter {
        app_id: scope.app_id,
        endpoint_id: given(request.endpoint_id.as_deref()).map(str::to_owned),
        route: given(request.route.as_deref()).map(str::to_owned),
        request_id: request_id(request.request_id.as_deref())?,
        status: status(request.status.as_deref())?,
    };
    let at = nodes::at(api, caller, request.node.as_deref())?;
    let _turn = api.page_of_logs(caller).await?;
    let until = Instant::now() + if lines { LINES_WITHIN } else { PAGE_WITHIN };
    let logs = AllLogs::of(api, caller, address, until);
    let (here, nodes) = (logs.here(), logs.nodes());
    let is_asked = |node| match at {
        None => false,
        Some(At::Anywhere) => true,
        Some(At::Here) => node == here,
        Some(At::There(there)) => node == there,
    };
    let merged = Merging::of(logs, filter, &nodes, is_asked, page.after.as_ref()).read(page.limit).await?;
    let names = NodeNames::told(api, caller);
    let view = |(node, entry)| show(entry, names.as_ref().map(|names| names.of(node)));
    let Merged { page, silent } = merged;
    Ok(Found { page: page.map(view), silent, are_nodes_told: names.is_some(), lines })
}

fn status(text: Option<&str>) -> Result<Option<StatusFilter>, Refusal> {
    match given(text) {
        None => Ok(None),
        Some(text) => match StatusFilter::parse(text) {
            Some(status) => Ok(Some(status)),
            None => Err(Refusal::field("status", "must be a status such as 404, or a class such as 4xx")),
        },
    }
}

fn show(entry: LoggedRequest, node: Option<NodeRef>) -> RequestView {
    RequestView {
        number: entry.number,
        at: entry.at,
        request_id: entry.request_id,
        app_id: entry.app_id,
        endpoint_id: entry.endpoint_id,
        caller: entry.caller,
        method: entry.method,
        route: entry.route,
        status: entry.status,
        code: entry.code,
        took_micros: entry.took_micros,
        address: entry.address.to_string(),
        over_socket: entry.over_socket,
        node,
    }
}
