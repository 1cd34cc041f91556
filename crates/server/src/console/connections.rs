//! `/console/apps/{id}/connections`: lists the app's connections, and closes one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use respoke_core::app::App;
use respoke_core::id::{ConnectionId, EndpointId};
use respoke_core::page::{Page, PageRequest};
use respoke_hub::Connection;
use respoke_hub::ops::{At, ConnectionCount};

use super::general::app_of_path;
use super::layout::{
    Tab, answer, app_page, app_path, csrf, empty, follow, guarded, input, link, live, more, table as list_table,
};
use super::nodes::{node_choice, node_label};
use super::sessions::endpoint_link;
use super::visit::{Failure, Posted, Visit, see};
use super::words::{count, number};
use crate::api::asked::cursor as read_cursor;
use crate::api::nodes::{NodeNames, at as find_at};
use crate::call::{Id, Ids};
use crate::state::Api;

/// `GET`: the connections that the address asks for; for htmx the list alone.
pub(super) async fn page(Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let query = visit.query();
    let path = format!("{}/connections", app_path(&app));
    let endpoint = query.given("endpoint").map(EndpointId::parse);
    let context = visit.context();
    let cursor = query.given("cursor");
    let part = PageRequest { after: read_cursor(cursor)?, ..PageRequest::first() };
    let names = NodeNames::told(&visit.api, &visit.caller);
    let at = find_at(&visit.api, &visit.caller, query.given("node"))?;
    let asked = [("endpoint", query.text("endpoint")), ("node", query.text("node"))];
    let total = match (&endpoint, at) {
        (None, Some(At::Anywhere)) => Some(visit.api.hub.connection_count(app.id).await),
        _ => None,
    };
    let found = match (endpoint.transpose(), at) {
        (Ok(endpoint), Some(at)) => {
            visit.api.hub.connections_page_at(&visit.asker(&context, app.id, endpoint), &part, at).await?
        }
        // What is no endpoint's name has no connections, nor has a node that does not live.
        (Err(_), _) | (_, None) => Page { items: Vec::new(), next: None },
    };
    let shown = found.items.len();
    let list = html! {
        @if shown == 0 && query.given("node").is_some() {
            (empty("No connection is there.", &html! { "Another node may have some." }))
        } @else if shown == 0 && cursor.is_none() {
            (empty("No connection.", &html! {
                "A connection is a socket that a client opened with its App-Token. "
                a href={ (app_path(&app)) "/try" } { "Try it" } " with two of them."
            }))
        } @else {
            p {
                (how_many(total, shown))
            }
            (table(&visit, &app, names.as_ref(), &found.items))
            (more(&path, &asked, found.cursor().as_deref()))
        }
    };
    let list = live(&link(&path, &asked, cursor), &list);
    if visit.is_partial() {
        return Ok(answer(StatusCode::OK, list));
    }
    let body = html! {
        p { "Open sockets of this app." }
        form.filter method="get" action=(path) {
            (input("endpoint", "Endpoint", query.text("endpoint"), ""))
            (node_choice(names.as_ref(), query.text("node")))
            button { "Search" }
            (follow())
        }
        (list)
    };
    Ok(app_page(&visit, &app, Tab::Connections, StatusCode::OK, &body))
}

/// How many there are, and are shown. Other servers may have more than they said so far.
fn how_many(total: Option<ConnectionCount>, shown: usize) -> String {
    let ConnectionCount { known, is_all } = total.unwrap_or(ConnectionCount { known: shown, is_all: true });
    let many = count(known.max(shown) as u64, "connection");
    let many = if is_all { many } else { format!("At least {many}") };
    if shown < known {
        format!("{many}, by their ids; {} of them shown.", number(shown as u64))
    } else {
        format!("{many}.")
    }
}

/// `POST …/{cid}/end`.
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    Ids(id, connection): Ids,
    posted: Posted,
) -> Result<Response, Failure> {
    let visit = posted.visit;
    let app = app_of_path(&visit, &id).await?;
    let context = visit.context();
    api.hub.disconnect(&visit.asker(&context, app.id, None), &connection).await?;
    Ok(see(&format!("{}/connections?done=connection-ended", app_path(&app))))
}

/// Connections in a table, with their nodes if there may be several.
fn table(visit: &Visit, app: &App, names: Option<&NodeNames>, found: &[Arc<Connection>]) -> Markup {
    let node = names.map(|_| "Node");
    let columns: Vec<_> =
        ["Endpoint", "Client", "Address"].into_iter().chain(node).chain(["Connection id", "Actions"]).collect();
    html! {
        (list_table("Connections", &columns, &html! {
            @for connection in found {
                tr {
                    td { (endpoint_link(app, connection.endpoint.as_str())) }
                    td { (connection.client_type) }
                    td { (connection.address) }
                    @if let Some(names) = names { td { (node_label(&names.home(connection))) } }
                    td { code { (connection.id) } }
                    td.actions { (closing(visit, app, &connection.id)) }
                }
            }
        }))
    }
}

/// How a connection is closed from its row.
pub(super) fn closing(visit: &Visit, app: &App, id: &ConnectionId) -> Markup {
    guarded(
        "Close…",
        &html! {
            p { "The socket is closed. The session lives on, so the client may connect again." }
            form method="post" action={ (app_path(app)) "/connections/" (id) "/end" } {
                (csrf(visit)) button.danger { "Close the connection" }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_said_of_how_many_there_are_than_is_known() {
        let counted = |known, is_all| Some(ConnectionCount { known, is_all });
        for (total, shown, said) in [
            (None, 2, "2 connections."),
            (counted(1, true), 1, "1 connection."),
            (counted(2_000, true), 100, "2,000 connections, by their ids; 100 of them shown."),
            (counted(2_000, false), 100, "At least 2,000 connections, by their ids; 100 of them shown."),
            (counted(3, false), 3, "At least 3 connections."),
            // It was counted before some came, or without a node that answered then.
            (counted(0, false), 5, "At least 5 connections."),
            (counted(4, true), 5, "5 connections."),
        ] {
            assert_eq!(how_many(total, shown), said);
        }
    }
}
