//! `/console/apps/{id}/connections`: which sockets are open.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use respoke_core::app::App;
use respoke_core::id::{ConnectionId, EndpointId};
use respoke_core::page::{Page, PageRequest};
use respoke_hub::Connection;

use super::general::app_of_path;
use super::layout::{
    Tab, answer, app_page, app_path, csrf, empty, follow, guarded, input, link, live, more, table as list_table,
};
use super::sessions::endpoint_link;
use super::visit::{Failure, Posted, Visit, see};
use super::words::{count, number};
use crate::api::asked::cursor as read_cursor;
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
    let asked = [("endpoint", query.text("endpoint"))];
    let total = match endpoint {
        None => Some(visit.api.hub.connection_count(app.id).await),
        Some(_) => None,
    };
    let found = match endpoint.transpose() {
        Ok(endpoint) => visit.api.hub.connections_page(&visit.asker(&context, app.id, endpoint), &part).await?,
        // What is no endpoint's name has no connections.
        Err(_) => Page { items: Vec::new(), next: None },
    };
    let shown = found.items.len();
    let list = html! {
        @if shown == 0 && cursor.is_none() {
            (empty("No connection.", &html! {
                "A connection is a socket that a client opened with its App-Token. "
                a href={ (app_path(&app)) "/try" } { "Try it" } " with two of them."
            }))
        } @else {
            p {
                (count(total.unwrap_or(shown) as u64, "connection"))
                @if total.is_some_and(|total| shown < total) { ", by their ids; " (number(shown as u64)) " of them shown" } "."
            }
            (table(&visit, &app, &found.items))
            (more(&path, &asked, found.cursor().as_deref()))
        }
    };
    let list = live(&link(&path, &asked, cursor), &list);
    if visit.is_partial() {
        return Ok(answer(StatusCode::OK, list));
    }
    let body = html! {
        p { "Open sockets of this server." }
        form.filter method="get" action=(path) {
            (input("endpoint", "Endpoint", query.text("endpoint"), ""))
            button { "Search" }
            (follow())
        }
        (list)
    };
    Ok(app_page(&visit, &app, Tab::Connections, StatusCode::OK, &body))
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

/// Connections in a table.
pub(super) fn table(visit: &Visit, app: &App, found: &[Arc<Connection>]) -> Markup {
    html! {
        (list_table("Connections", &["Endpoint", "Client", "Address", "Connection id", "Actions"], &html! {
            @for connection in found {
                tr {
                    td { (endpoint_link(app, connection.endpoint.as_str())) }
                    td { (connection.client_type) }
                    td { (connection.address) }
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
