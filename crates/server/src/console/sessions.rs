//! `/console/apps/{id}/sessions`: who is in session.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use respoke_core::app::App;
use respoke_core::id::{EndpointId, RoleId};
use respoke_core::page::PageRequest;
use respoke_core::ports::ListFilter;
use respoke_core::refusal::Refusal;
use respoke_wire::body::sessions::SessionView;

use super::apps::rows;
use super::form::Form;
use super::general::app_of_path;
use super::layout::{
    Tab, answer, app_page, app_path, csrf, empty, follow, guarded, input, link, live, more, segment,
    table as list_table,
};
use super::visit::{Failure, Posted, Visit, see};
use super::words::when;
use crate::api::{Api, show_session};
use crate::call::{Id, Ids};

/// `GET`: the sessions that the address asks for; for htmx the list alone.
pub(super) async fn page(Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let query = visit.query();
    let roles = roles(&visit, &app).await?;
    let path = format!("{}/sessions", app_path(&app));
    let asked = [("endpoint", query.text("endpoint")), ("role", query.text("role"))];
    let found = match filter(&query) {
        Ok(filter) => {
            let found = visit.api.broker.list_sessions(&visit.caller, Some(app.id), filter, rows(&visit)?).await?;
            Ok(found.map(|record| show_session(&visit.api.broker, record)))
        }
        Err(problem) => Err(problem),
    };
    let list = html! {
        @match &found {
            Err(problem) => p.notice.bad role="alert" { "The endpoint " (problem) "." },
            Ok(found) => {
                @if found.items.is_empty() { (nobody(&app, asked.iter().all(|(_, text)| text.is_empty()))) }
                @else { (table(&visit, &app, &roles, &found.items)) }
                (more(&path, &asked, found.cursor().as_deref()))
            }
        }
    };
    let list = live(&link(&path, &asked, query.given("cursor")), &list);
    if visit.is_partial() {
        return Ok(answer(StatusCode::OK, list));
    }
    let body = html! {
        p { "Live sessions, oldest first." }
        form.filter method="get" action=(path) {
            (input("endpoint", "Endpoint", query.text("endpoint"), ""))
            (role_choice(&roles, query.text("role"), "Any role"))
            button { "Search" }
            (follow())
        }
        (list)
    };
    Ok(app_page(&visit, &app, Tab::Sessions, StatusCode::OK, &body))
}

/// `POST …/{sid}/end`.
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    Ids(id, session): Ids,
    posted: Posted,
) -> Result<Response, Failure> {
    let visit = posted.visit;
    let app = app_of_path(&visit, &id).await?;
    if api.broker.session(&visit.caller, &session).await?.grant.app_id != app.id {
        return Err(Refusal::NotFound("Sessions").into());
    }
    api.broker.end_session(&visit.caller, &session, &visit.context()).await?;
    Ok(see(&format!("{}/sessions?done=session-ended", app_path(&app))))
}

/// The names of an app's roles; of very many, of the oldest.
pub(super) type RoleNames = Vec<(RoleId, String)>;

pub(super) async fn roles(visit: &Visit, app: &App) -> Result<RoleNames, Failure> {
    let (found, _) = visit.api.broker.list_roles(&visit.caller, Some(app.id), PageRequest::first()).await?;
    Ok(found.items.into_iter().map(|role| (role.id, role.name)).collect())
}

/// A choice among an app's roles; nothing chosen is `none`.
pub(super) fn role_choice(roles: &RoleNames, chosen: &str, none: &str) -> Markup {
    super::layout::field(
        "role",
        "Role",
        "",
        &html! {
            select id="role" name="role" {
                @if !none.is_empty() { option value="" { (none) } }
                @for (id, name) in roles {
                    @let id = id.to_string();
                    option value=(id) selected[id == chosen] { (name) }
                }
            }
        },
    )
}

fn filter(query: &Form) -> Result<ListFilter, &'static str> {
    let endpoint_id = query.given("endpoint").map(EndpointId::parse).transpose()?;
    Ok(ListFilter { endpoint_id, role_id: query.given("role").and_then(RoleId::parse) })
}

fn nobody(app: &App, at_all: bool) -> Markup {
    if at_all {
        empty(
            "Nobody is in session.",
            &html! {
                "A session begins when a client redeems a token. " a href={ (app_path(app)) "/try" } { "Try it" } " from here."
            },
        )
    } else {
        empty("No session matches.", &html! { "The endpoint's id has to be given whole." })
    }
}

/// Sessions in a table.
pub(super) fn table(visit: &Visit, app: &App, roles: &RoleNames, found: &[SessionView]) -> Markup {
    let now = visit.now();
    let names: HashMap<_, _> = roles.iter().map(|(id, name)| (*id, name.as_str())).collect();
    html! {
        (list_table("Sessions", &["Endpoint", "Role", "Address", "Began", "Last seen", "Ends", "Actions"], &html! {
            @for session in found {
                tr {
                    td { (endpoint_link(app, session.endpoint_id.as_str())) }
                    td { (role_name(&names, session.role_id)) }
                    td { (session.address) }
                    td { (when(session.created_at, now)) }
                    td { (when(session.last_seen_at, now)) }
                    td { (when(session.expires_at, now)) }
                    td.actions { (guarded("End…", &html! {
                            p { "The client is cut off at once and needs a new token to come back." }
                            form method="post" action={ (app_path(app)) "/sessions/" (session.id) "/end" } {
                                (csrf(visit)) button.danger { "End the session" }
                            }
                        })) }
                }
            }
        }))
    }
}

fn role_name(names: &HashMap<RoleId, &str>, role: Option<RoleId>) -> Markup {
    html! {
        @match role {
            None => span.quiet { "development mode" },
            Some(id) => @match names.get(&id) { Some(name) => (name), None => code { (id) } }
        }
    }
}

/// An endpoint's id, leading to its page.
pub(super) fn endpoint_link(app: &App, endpoint: &str) -> Markup {
    html! { a href={ (app_path(app)) "/endpoints/" (segment(endpoint)) } { strong { (endpoint) } } }
}
