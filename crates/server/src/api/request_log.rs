//! `/v1/request-log`.

use std::collections::HashSet;
use std::sync::Arc;

use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use respoke_wire::body::lists::{AppParams, ListRequest, PageParams};
use respoke_wire::body::request_log::RequestView;

use super::answer::Listed;
use super::asked::{app_id, given, lines_wanted, list_page, list_request, request_id};
use crate::call::Call;
use crate::openapi::{Missing, Refused, Unconnected};
use crate::problem::Problem;
use crate::request_log::{RequestEntry, RequestFilter, StatusFilter};
use crate::state::Api;
use crate::watch::UNMATCHED;

/// Reads the log of this node's last requests, newest first. An App-Secret sees its own app's.
#[utoipa::path(
    get, path = "/v1/request-log", tag = "Logs", operation_id = "listRequestLog",
    params(
        PageParams,
        AppParams,
        ("endpointId" = Option<String>, Query, description = "Only this endpoint's"),
        ("route" = Option<String>, Query, description = "Only this route, such as `/v1/tokens/{id}`"),
        ("status" = Option<String>, Query, description = "Only this status, such as `404`, or this class, such as `4xx`"),
        ("requestId" = Option<String>, Query, format = Uuid, description = "Only this request"),
        ("format" = Option<String>, Query, description = "`jsonl`: one object a line, and up to 10,000 of them; not over a socket"),
    ),
    responses((status = 200, description = "A page of it", body = Vec<RequestView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing, Unconnected),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<Listed<RequestView>, Problem> {
    let request = list_request(&api, &call, &caller).await?;
    let _turn = api.long_answer(&caller).await?;
    find(&api, &caller, &request).await
}

/// The requests that `request` asks for, for the API and for the console alike.
pub(crate) async fn find(api: &Api, caller: &Caller, request: &ListRequest) -> Result<Listed<RequestView>, Problem> {
    let scope = api.broker.scope(caller, app_id(request.app_id.as_deref())?).await?;
    let lines = lines_wanted(request)?;
    let page = list_page(request, lines)?;
    let filter = RequestFilter {
        app_id: scope.app_id,
        endpoint_id: given(request.endpoint_id.as_deref()).map(str::to_owned),
        route: given(request.route.as_deref()).map(str::to_owned),
        request_id: request_id(request.request_id.as_deref())?,
        status: status(request.status.as_deref())?,
    };
    let mut seen = HashSet::new();
    for app in api.watch.requests.apps() {
        if api.broker.get_app(caller, app).await.is_ok() {
            seen.insert(app);
        }
    }
    Ok(Listed::of(api.watch.requests.find(&filter, &seen, &page).map(show), lines))
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

fn show(entry: RequestEntry) -> RequestView {
    RequestView {
        number: entry.number,
        at: entry.at,
        request_id: entry.request_id,
        app_id: entry.app_id,
        endpoint_id: entry.endpoint_id,
        caller: entry.caller,
        method: entry.method,
        route: entry.route.as_ref().map_or(UNMATCHED, |route| route.as_str()).to_owned(),
        status: entry.status,
        code: entry.code,
        took_micros: entry.took_micros,
        address: entry.address.to_string(),
        over_socket: entry.over_socket,
    }
}
