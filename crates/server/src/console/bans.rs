//! `/console/apps/{id}/bans`: lists an app's banned endpoints. An endpoint's own page bans it and lifts the ban.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::html;
use respoke_core::ports::BanRecord;

use super::apps::rows;
use super::general::app_of_path;
use super::layout::{Tab, app_page, app_path, empty, more, table};
use super::sessions::endpoint_link;
use super::visit::{Failure, Visit};
use super::words::when;
use crate::call::Id;
use crate::state::Api;

/// `GET`.
pub(super) async fn page(State(api): State<Arc<Api>>, Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let found = api.broker.list_bans(&visit.caller, Some(app.id), rows(&visit)?).await?;
    let now = visit.now();
    let body = html! {
        @if found.items.is_empty() {
            (empty("Nobody is banned.", &html! {
                "A banned endpoint gets no token and no session. An endpoint is banned on its own page, which "
                a href={ (app_path(&app)) "/sessions" } { "the list of sessions" } " leads to."
            }))
        } @else {
            (table("Bans", &["Endpoint", "Reason", "Since", "Until"], &html! {
                @for ban in &found.items {
                    tr {
                        td { (endpoint_link(&app, ban.endpoint_id.as_str())) }
                        td { (ban.reason) }
                        td { (when(ban.banned_at, now)) }
                        td { @if ban.until == BanRecord::FOREVER { "it is lifted" } @else { (when(ban.until, now)) } }
                    }
                }
            }))
            (more(&format!("{}/bans", app_path(&app)), &[], found.cursor().as_deref()))
        }
    };
    Ok(app_page(&visit, &app, Tab::Bans, StatusCode::OK, &body))
}
