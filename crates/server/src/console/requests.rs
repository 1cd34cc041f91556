//! `/console/requests`: shows the last requests that all nodes answered, filtered, and hands them out as JSON lines. The
//! API has them at `/v1/request-log`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use respoke_core::page::PageRequest;
use respoke_core::refusal::Refusal;
use respoke_wire::body::lists::ListRequest;
use respoke_wire::body::request_log::RequestView;

use super::form::Form;
use super::layout::{
    Section, answer, app_choice, empty, field, follow, input, link, live, more, page as console_page, short, table,
};
use super::logs::{Extent, file, listed, search_and_export, text};
use super::nodes::{node_choice, node_label, silent_notice};
use super::visit::{Failure, Visit};
use super::words::{took, when};
use crate::api::nodes::NodeNames;
use crate::api::request_log::find as find_requests;
use crate::state::Api;

const PATH: &str = "/console/requests";
/// What the address may ask for.
const FILTERS: [&str; 5] = ["app", "endpoint", "status", "request", "node"];
/// Statuses to choose from.
const STATUSES: [(&str, &str); 5] =
    [("", "Any"), ("2xx", "2xx: done"), ("4xx", "4xx: refused"), ("429", "429: too many"), ("5xx", "5xx: failed")];

/// The requests that the address asks for, as `/v1/request-log` takes it.
fn asked(form: &Form, extent: Extent) -> ListRequest {
    let (endpoint_id, status, node) = (text(form, "endpoint"), text(form, "status"), text(form, "node"));
    ListRequest { endpoint_id, status, node, ..listed(form, extent) }
}

/// `GET`: for htmx the list alone.
pub(super) async fn page(State(api): State<Arc<Api>>, visit: Visit) -> Result<Response, Failure> {
    let form = visit.query();
    let found = find_requests(&api, &visit.caller, visit.call.address(), &asked(&form, Extent::Page)).await?;
    let names = NodeNames::told(&api, &visit.caller);
    let silent: Vec<_> = names.iter().flat_map(|names| found.silent.iter().map(|node| names.of(*node))).collect();
    // Beneath the address, for the table is as wide as the page already.
    let address = if names.is_some() { "Address, node" } else { "Address" };
    let columns = ["When", "Request", "Status", "Took", "Asked by", "Endpoint", address, "Id"];
    let (cursor, found) = (found.page.cursor(), found.page.items);
    let query = FILTERS.map(|name| (name, form.text(name)));
    let list = html! {
        (silent_notice(&silent, "What was answered there is missing here."))
        @if found.is_empty() {
            (empty("No request matches.", &html! {
                // A page looks at many requests, and goes on with the next one.
                @if cursor.is_some() { "Not among those looked at so far; there are more." } @else {
                    "The last requests are kept in memory, so a restart forgets them. Loosen the filters, or look into "
                    a href="/console/audit" { "the audit log" } "."
                }
            }))
        } @else {
            (table("Requests", &columns, &html! {
                @for request in &found { (show(&visit, request)) }
            }))
        }
        (more(PATH, &query, cursor.as_deref()))
    };
    let list = live(&link(PATH, &query, form.given("cursor")), &list);
    if visit.is_partial() {
        return Ok(answer(StatusCode::OK, list));
    }
    let apps = api.broker.list_apps(&visit.caller, PageRequest::first()).await?.items;
    let body = html! {
        h1 { "Requests" }
        p { "What was answered of late, newest first. Neither queries nor bodies are kept." }
        form.filter method="get" action=(PATH) {
            (app_choice(&apps, form.text("app")))
            (input("endpoint", "Endpoint", form.text("endpoint"), ""))
            (field("status", "Status", "", &html! {
                select id="status" name="status" {
                    @for (value, label) in STATUSES { option value=(value) selected[value == form.text("status")] { (label) } }
                }
            }))
            (input("request", "Request id", form.text("request"), ""))
            (node_choice(names.as_ref(), form.text("node")))
            (search_and_export("/console/requests.jsonl", &query))
            (follow())
        }
        (list)
    };
    Ok(console_page(&visit, Section::Requests, "Requests", &body))
}

fn show(visit: &Visit, request: &RequestView) -> Markup {
    let (id, failed) = (request.request_id.to_string(), request.status >= 400);
    html! {
        tr {
            td { (when(request.at, visit.now())) }
            td.whole { code { (request.method) " " (request.route) } @if request.over_socket { " " span.tag { "socket" } } }
            td.whole {
                span.tag.warn[failed] { (request.status) }
                @if let Some(code) = &request.code { " " code { (code) } }
            }
            td.whole { (took(request.took_micros)) }
            td { (request.caller) }
            td { @if let Some(endpoint) = &request.endpoint_id { (endpoint) } }
            td { (request.address) @if let Some(node) = &request.node { br; span.quiet { (node_label(node)) } } }
            td { a href=(link("/console/audit", &[("request", &id)], None)) { (short(&id)) } }
        }
    }
}

/// `GET /console/requests.jsonl`: what is kept and matches, as `/v1/request-log` gives it.
pub(super) async fn export(State(api): State<Arc<Api>>, visit: Visit) -> Result<Response, Failure> {
    let asked = asked(&visit.query(), Extent::Lines);
    let lines = find_requests(&api, &visit.caller, visit.call.address(), &asked).await?;
    // A file has no place to say what is missing in it.
    if !lines.silent.is_empty() {
        return Err(Refusal::NodeSilent.into());
    }
    Ok(file("requests.jsonl", lines.into_listed()))
}
