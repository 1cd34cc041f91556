//! The Dev Console: pages for people, over the operations that `/v1` has for programs. One file a page.
//!
//! Pages are made on the server and work without a script wherever a form can; htmx and a small script of our own make
//! them livelier. A page asks an operation of the broker or the hub as the signed-in admin, and decides nothing itself.
//!
//! ```text
//! setup         /console/setup                   the link that the first start prints
//! sign_in       /console/sign-in, /console/sign-out
//! account       /console/account                 the own password and second factor
//! admins        /console/admins                  who else there is
//! dashboard     /console/dashboard               figures over time (chart)
//! apps          /console/apps                    the list, and a new app
//! general       /console/apps/{id}               name, settings, development mode, the end of it
//! secrets       /console/apps/{id}/secrets
//! roles         /console/apps/{id}/roles         permissions as switches and as JSON, in step (role_draft)
//! try_it        /console/apps/{id}/try           from a tokenId to two clients that talk (samples)
//! sessions      /console/apps/{id}/sessions
//! endpoints     /console/apps/{id}/endpoints     one endpoint: what it has, its frames, banning it
//! connections   /console/apps/{id}/connections
//! calls         /console/apps/{id}/calls         what clients report after a call
//! bans          /console/apps/{id}/bans
//! requests      /console/requests
//! audit         /console/audit                   (logs: what both have in common)
//! ```
//!
//! Beneath them: `visit` (who looks, and whether a form is ours), `layout` (what pages have in common), `form` and
//! `words` (text in and out), `assets` (the style sheet and the scripts).

mod account;
mod admins;
mod apps;
mod assets;
mod audit;
mod bans;
mod calls;
mod chart;
mod connections;
mod dashboard;
mod endpoints;
mod form;
mod general;
mod layout;
mod logs;
mod nodes;
mod qr;
mod refused;
mod requests;
mod role_draft;
mod roles;
mod samples;
mod secrets;
mod sessions;
mod setup;
mod sign_in;
mod try_it;
mod visit;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue};

use crate::call::Call;
use crate::problem::Problem;
use crate::state::Api;

pub(crate) use refused::render as render_refusal;
pub(crate) use visit::say_unconfirmed;

/// Our own scripts and style sheet, sockets to this server, nothing inline, and nobody frames a page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
/// Browsers leave `Origin` out of forms where no referrer is to be told, so our own pages are told.
const OWN_REFERRER: HeaderValue = HeaderValue::from_static("same-origin");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The pages.
pub(crate) fn router() -> Router<Arc<Api>> {
    let app = Router::new()
        .route("/", get(general::page).post(general::save))
        .route("/development", post(general::development))
        .route("/delete", post(general::delete))
        .route("/secrets", get(secrets::page).post(secrets::create))
        .route("/secrets/{sid}/roll", post(secrets::roll))
        .route("/secrets/{sid}/reach", get(secrets::reach))
        .route("/secrets/{sid}/revoke", post(secrets::revoke))
        .route("/roles", get(roles::list).post(roles::create))
        .route("/roles/new", get(roles::new))
        .route("/roles/draft", post(roles::draft))
        .route("/roles/{rid}", get(roles::edit).post(roles::save))
        .route("/roles/{rid}/delete", post(roles::delete))
        .route("/try", get(try_it::page).post(try_it::mint))
        .route("/try/token", post(try_it::mint_for_client))
        .route("/sessions", get(sessions::page))
        .route("/sessions/{sid}/end", post(sessions::end))
        .route("/endpoints/{eid}", get(endpoints::page))
        .route("/endpoints/{eid}/tail", get(endpoints::tail))
        .route("/endpoints/{eid}/end", post(endpoints::end_sessions))
        .route("/endpoints/{eid}/ban", post(endpoints::ban))
        .route("/endpoints/{eid}/lift", post(endpoints::lift))
        .route("/connections", get(connections::page))
        .route("/connections/{cid}/end", post(connections::end))
        .route("/calls", get(calls::page))
        .route("/bans", get(bans::page));
    Router::new()
        .route("/console", get(async |_: Call| Redirect::to("/console/apps")))
        .route("/console/sign-in", get(sign_in::page).post(sign_in::sign_in))
        .route("/console/sign-out", post(sign_in::sign_out))
        .route("/console/setup", get(setup::page).post(setup::begin))
        .route("/console/account", get(account::page))
        .route("/console/account/password", post(account::change_password))
        .route("/console/account/totp", post(account::enrol))
        .route("/console/account/totp/confirm", post(account::confirm))
        .route("/console/account/totp/remove", post(account::give_up))
        .route("/console/account/sign-out-everywhere", post(account::sign_out_everywhere))
        .route("/console/admins", get(admins::page).post(admins::create))
        .route("/console/admins/{id}", post(admins::update))
        .route("/console/admins/{id}/remove", post(admins::remove))
        .route("/console/apps", get(apps::list).post(apps::create))
        .route("/console/apps/new", get(apps::new))
        .nest("/console/apps/{id}", app)
        .route("/console/audit", get(audit::page))
        .route("/console/audit.jsonl", get(audit::export))
        .route("/console/dashboard", get(dashboard::page))
        .route("/console/requests", get(requests::page))
        .route("/console/requests.jsonl", get(requests::export))
        .route("/console/nodes", get(nodes::page))
        .route("/console/nodes/{id}/drain", post(nodes::drain))
        .route("/console/assets/{name}", get(assets::read))
        .route("/console/{*rest}", get(async |_: Call| Problem::no_such_route()))
}

/// Whether a path leads to what anybody may read, signed in or not.
pub(crate) fn is_public(path: &str) -> bool {
    path.strip_prefix("/console/").is_some_and(|rest| {
        ["sign-in", "setup"].contains(&rest) || rest.strip_prefix("assets").is_some_and(|name| name.starts_with('/'))
    })
}

/// The headers of every page.
pub(crate) fn add_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, OWN_REFERRER);
    // Pages show what only the signed-in admin may see; assets say otherwise themselves.
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
}
