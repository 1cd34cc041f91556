//! `/console/apps/{id}/sessions`: lists an app's sessions, filtered, and ends one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use respoke_core::app::App;
use respoke_core::clock::Timestamp;
use respoke_core::id::{EndpointId, RoleId};
use respoke_core::page::{Page, PageRequest};
use respoke_core::ports::{ListFilter, SessionFilter};
use respoke_core::refusal::Refusal;
use respoke_wire::body::nodes::NodeRef;
use respoke_wire::body::sessions::SessionView;

use super::apps::rows;
use super::form::Form;
use super::general::app_of_path;
use super::layout::{
    Tab, answer, app_page, app_path, csrf, empty, field, follow, guarded, input, link, live, more, segment,
    table as list_table,
};
use super::nodes::{node_choice, node_label, silent_notice};
use super::visit::{Failure, Posted, Visit, see};
use super::words::when;
use crate::api::nodes::{NodeNames, at as find_at};
use crate::api::sessions::{find, placed};
use crate::call::{Id, Ids};
use crate::state::Api;

/// `GET`: the sessions that the address asks for; for htmx the list alone.
pub(super) async fn page(Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let query = visit.query();
    let roles = roles(&visit, &app).await?;
    let path = format!("{}/sessions", app_path(&app));
    let asked = ["endpoint", "role", "address", "since", "node"].map(|name| (name, query.text(name)));
    let names = NodeNames::told(&visit.api, &visit.caller);
    let mut silent = Vec::new();
    let found = match filter(&query) {
        Ok(filter) => {
            let at = find_at(&visit.api, &visit.caller, query.given("node"))?;
            let found = find(&visit.api, &visit.caller, Some(app.id), filter, rows(&visit)?, at).await?;
            let (next, placed) = (found.next, placed(&visit.api, names.as_ref(), found.items).await);
            silent = names.iter().flat_map(|names| placed.silent.iter().map(|node| names.of(*node))).collect();
            Ok(Page { items: placed.items, next })
        }
        Err(problem) => Err(problem),
    };
    let list = html! {
        @match &found {
            Err((what, problem)) => p.notice.bad role="alert" { "The " (what) " " (problem) "." },
            Ok(found) => {
                (silent_notice(&silent, "Sessions may be connected there that are shown without it."))
                @if found.items.is_empty() && query.given("node").is_some() {
                    (empty("No session is connected there.", &html! {
                        @if found.next.is_some() { "There are more to look at." } @else { "Another node may have some." }
                    }))
                } @else if found.items.is_empty() { (nobody(&app, asked.iter().all(|(_, text)| text.is_empty()))) }
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
            (input("address", "Address", query.text("address"), ""))
            (field("since", "Since (UTC)", "", &html! {
                input id="since" name="since" type="datetime-local" value=(query.text("since"));
            }))
            (node_choice(names.as_ref(), query.text("node")))
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

/// What the form asks for, or which of its fields is wrong, and how.
fn filter(query: &Form) -> Result<SessionFilter, (&'static str, &'static str)> {
    let endpoint_id = query.given("endpoint").map(EndpointId::parse).transpose();
    let endpoint_id = endpoint_id.map_err(|problem| ("endpoint", problem))?;
    let address = query.given("address").map(str::parse).transpose();
    let address: Option<IpAddr> = address.map_err(|_| ("address", "must be an IP address"))?;
    let since = match query.given("since") {
        None => None,
        Some(text) => Some(minute(text).ok_or(("time", "must be a date and a time"))?),
    };
    Ok(SessionFilter {
        of: ListFilter { endpoint_id, role_id: query.given("role").and_then(RoleId::parse), secret_id: None },
        address: address.map(|address| address.to_canonical()),
        since,
    })
}

/// Reads what browsers make of a date and a time: `2026-11-25T14:05`, with seconds if they are not 0.
fn minute(text: &str) -> Option<Timestamp> {
    let seconds = if text.len() == "2026-11-25T14:05".len() { ":00" } else { "" };
    // Nothing but a date reads so; a number, which would be an instant too, does not.
    Timestamp::parse(&format!("{text}{seconds}Z"))
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
        empty("No session matches.", &html! { "The endpoint's id and the address have to be given whole." })
    }
}

/// Sessions in a table.
pub(super) fn table(visit: &Visit, app: &App, roles: &RoleNames, found: &[SessionView]) -> Markup {
    let now = visit.now();
    let node = found.iter().find_map(|session| session.nodes.as_ref()).map(|_| "Connected at");
    let columns: Vec<_> = ["Endpoint", "Role", "Address"]
        .into_iter()
        .chain(node)
        .chain(["Began", "Last seen", "Ends", "Actions"])
        .collect();
    let names: HashMap<_, _> = roles.iter().map(|(id, name)| (*id, name.as_str())).collect();
    html! {
        (list_table("Sessions", &columns, &html! {
            @for session in found {
                tr {
                    td { (endpoint_link(app, session.endpoint_id.as_str())) }
                    td { (role_name(&names, session.role_id)) }
                    td { (session.address) }
                    @if let Some(nodes) = &session.nodes { td { (connected_at(nodes)) } }
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

fn connected_at(nodes: &[NodeRef]) -> Markup {
    html! {
        @if nodes.is_empty() { span.quiet { "nowhere" } }
        @else { (nodes.iter().map(node_label).collect::<Vec<_>>().join(", ")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_asks_for_what_it_says() {
        let asked = |query: &str| filter(&Form::parse(query.as_bytes()));
        let found = asked("endpoint=jo&role=&address=+192.0.2.1+&since=2027-01-15T08%3A01").unwrap();
        assert_eq!(found.of.endpoint_id, EndpointId::parse("jo").ok());
        assert_eq!(found.address, "192.0.2.1".parse().ok());
        assert_eq!(found.since, Timestamp::parse("2027-01-15T08:01:00Z"));
        assert_eq!(asked("since=2027-01-15T08:01:30").unwrap().since, Timestamp::parse("2027-01-15T08:01:30Z"));
        let nothing = asked("endpoint=&address=&since=").unwrap();
        assert!(nothing.of.endpoint_id.is_none() && nothing.address.is_none() && nothing.since.is_none());
        for (query, what) in
            [("address=home", "address"), ("since=7", "time"), ("since=noon", "time"), ("endpoint=%00", "endpoint")]
        {
            assert_eq!(asked(query).unwrap_err().0, what, "{query}");
        }
    }
}
