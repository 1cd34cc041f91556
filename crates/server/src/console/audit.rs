//! `/console/audit`: shows the audit log, filtered, and hands it out as JSON lines. The API has it at `/v1/audit`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use respoke_core::admin::Admin;
use respoke_core::audit::Action;
use respoke_core::page::PageRequest;
use respoke_wire::body::audit::{ActorView, AuditView};
use respoke_wire::body::lists::ListRequest;

use super::form::Form;
use super::layout::{Section, app_choice, empty, field, input, link, more, page as console_page, short, table};
use super::logs::{Extent, file, listed, search_and_export, text};
use super::visit::{Failure, Visit};
use super::words::when;
use crate::api::audit::find as find_audit;
use crate::state::Api;

const PATH: &str = "/console/audit";
/// What the address may ask for.
const FILTERS: [&str; 4] = ["app", "action", "object", "request"];

/// The rows that the address asks for, as `/v1/audit` takes it.
fn asked(form: &Form, extent: Extent) -> ListRequest {
    ListRequest { action: text(form, "action"), object: text(form, "object"), ..listed(form, extent) }
}

/// `GET`.
pub(super) async fn page(State(api): State<Arc<Api>>, visit: Visit) -> Result<Response, Failure> {
    let form = visit.query();
    let found = find_audit(&api, &visit.caller, asked(&form, Extent::Page)).await?.into_page();
    let apps = api.broker.list_apps(&visit.caller, PageRequest::first()).await?.items;
    let admins = api.broker.list_admins(&visit.caller).await?;
    let query = FILTERS.map(|name| (name, form.text(name)));
    let body = html! {
        h1 { "Audit log" }
        p { "Who did what, newest first." }
        form.filter method="get" action=(PATH) {
            (app_choice(&apps, form.text("app")))
            (field("action", "Action", "", &html! {
                select id="action" name="action" {
                    option value="" { "Every action" }
                    @for word in Action::ALL.iter().map(|action| action.word()) {
                        option value=(word) selected[word == form.text("action")] { (word) }
                    }
                }
            }))
            (input("object", "Object", form.text("object"), ""))
            (input("request", "Request id", form.text("request"), ""))
            (search_and_export("/console/audit.jsonl", &query))
        }
        @if found.items.is_empty() {
            (empty("Nothing is written here.", &html! {
                // A search that has looked at many rows goes on with the next page.
                @if found.next.is_some() { "Not among the rows looked at so far; there are more." }
                @else { "Whatever is made, changed, minted, redeemed or ended leaves a row. Loosen the filters." }
            }))
        } @else {
            (table("Rows of the audit log", &["When", "Action", "Object", "Who", "App", "Address", "Request"], &html! {
                @for row in &found.items { (show(&visit, row, &admins, &apps)) }
            }))
        }
        (more(PATH, &query, found.next.as_deref()))
        p.quiet { "An export holds the newest 10,000 rows that match, one JSON object a line." }
    };
    Ok(console_page(&visit, Section::Audit, "Audit log", &body))
}

fn show(visit: &Visit, row: &AuditView, admins: &[Admin], apps: &[respoke_core::app::App]) -> Markup {
    let request_id = row.request_id.to_string();
    html! {
        tr {
            td { (when(row.at, visit.now())) }
            td { a href=(link(PATH, &[("action", row.action)], None)) { (row.action) } }
            td.long {
                @if !row.object.is_empty() {
                    a href=(link(PATH, &[("object", &row.object)], None)) { (object_text(&row.object)) }
                }
                @if let Some(fingerprint) = &row.fingerprint {
                    " " span.quiet title="The first bytes of the token's hash" { "#" (fingerprint) }
                }
            }
            td.whole { (actor(&row.actor, admins)) }
            td {
                @if let Some(id) = row.app_id {
                    @match apps.iter().find(|app| app.id == id) {
                        Some(app) => a href={ "/console/apps/" (id) } { (app.settings.name) },
                        None => (short(&id.to_string())),
                    }
                }
            }
            td { (row.address) }
            td { a href=(link("/console/requests", &[("request", &request_id)], None)) { (short(&request_id)) } }
        }
    }
}

/// An object's id or name; of an id, the beginning.
fn object_text(object: &str) -> Markup {
    let is_id = object.len() == 36 && object.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    html! { @if is_id { (short(object)) } @else { (object) } }
}

/// Who acted, in a word or two.
pub(super) fn actor(actor: &ActorView, admins: &[Admin]) -> Markup {
    let id = actor.id.as_deref().unwrap_or_default();
    html! {
        @match actor.kind {
            "anonymous" => "nobody known",
            "system" => "the server",
            "endpoint" => "the endpoint",
            "admin" => @match admins.iter().find(|admin| admin.id.to_string() == id) {
                Some(admin) => (admin.username),
                None => { "admin " (short(id)) }
            },
            kind => { (if kind == "secret" { "App-Secret" } else { kind }) " " (short(id)) }
        }
    }
}

/// `GET /console/audit.jsonl`: the newest rows that match, as `/v1/audit` gives them.
pub(super) async fn export(State(api): State<Arc<Api>>, visit: Visit) -> Result<Response, Failure> {
    let lines = find_audit(&api, &visit.caller, asked(&visit.query(), Extent::Lines)).await?;
    Ok(file("audit.jsonl", lines))
}
