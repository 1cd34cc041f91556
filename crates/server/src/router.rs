//! The routes: which path and method lead to which handler.

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post, put};

use crate::problem::Problem;
use crate::state::Api;
use crate::{api, console, docs};

/// All routes: of the API, of the documents and of the console. Paths have lost their trailing slashes at the door.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let own_session = get(api::session_tokens::describe)
        .post(api::session_tokens::create)
        .put(api::session_tokens::extend)
        .delete(api::session_tokens::end);
    let admin_session = post(api::admin_sessions::create).delete(api::admin_sessions::end);
    let push_token = put(api::push_tokens::replace).delete(api::push_tokens::remove);
    Router::new()
        .route("/v1/tokens", get(api::tokens::list).post(api::tokens::create).put(api::tokens::replace))
        .route("/v1/tokens/{id}", get(api::tokens::inspect).delete(api::tokens::revoke))
        .route("/v1/session-tokens", own_session.clone())
        .route("/v1/appauthsessions", own_session)
        .route("/v1/sessions", get(api::sessions::list).delete(api::sessions::end_many))
        .route("/v1/sessions/{id}", get(api::sessions::read).delete(api::sessions::end))
        .route("/v1/admin-sessions", admin_session.clone())
        .route("/v1/adminsessions", admin_session)
        .route("/v1/admins", get(api::admins::list).post(api::admins::create))
        .route("/v1/admins/me", get(api::admins::read_own))
        .route("/v1/admins/me/password", put(api::admins::change_password))
        .route("/v1/admins/me/totp", post(api::admins::enrol).put(api::admins::confirm).delete(api::admins::give_up))
        .route("/v1/admins/{id}", put(api::admins::update).patch(api::admins::update).delete(api::admins::remove))
        .route("/v1/apps", get(api::apps::list).post(api::apps::create))
        .route(
            "/v1/apps/{id}",
            get(api::apps::read).put(api::apps::update).patch(api::apps::update).delete(api::apps::remove),
        )
        .route("/v1/apps/{id}/secrets", get(api::secrets::list).post(api::secrets::create))
        .route("/v1/apps/{id}/secrets/{sid}", get(api::secrets::read).delete(api::secrets::revoke))
        .route("/v1/apps/{id}/secrets/{sid}/roll", post(api::secrets::roll))
        .route("/v1/roles", get(api::roles::list).post(api::roles::create))
        .route("/v1/roles/{id}", get(api::roles::read).put(api::roles::update).delete(api::roles::remove))
        .route("/v1/endpoints/{id}", get(api::endpoints::read))
        .route("/v1/endpoints/{id}/tail", get(api::endpoints::tail))
        .route(
            "/v1/endpoints/{id}/ban",
            get(api::bans::read).post(api::bans::ban).put(api::bans::ban).delete(api::bans::lift),
        )
        .route(
            "/v1/endpoints/{id}/conversations",
            get(api::conversations::list).put(api::conversations::mark_read).post(api::conversations::mark_read),
        )
        .route("/v1/bans", get(api::bans::list))
        .merge(group_routes("/v1/groups"))
        .merge(group_routes("/v1/channels"))
        .route("/v1/group-history-search", post(api::history::search))
        .route("/v1/group-histories", get(api::history::search_by_query))
        .route("/v1/connections/{id}/push-token", post(api::push_tokens::create))
        .route("/v1/connections/{id}/push-token/{push_token_id}", push_token.clone())
        .route("/v1/endpointconnections/{id}/push-token", post(api::push_tokens::create))
        .route("/v1/endpointconnections/{id}/push-token/{push_token_id}", push_token)
        .route("/v1/turn", get(api::turn::read).post(api::turn::read))
        .route("/v1/call-debugs", get(api::call_debugs::list).post(api::call_debugs::create))
        .route("/v1/connections", get(api::connections::list).post(api::connections::create))
        .route("/v1/connections/{id}", delete(api::connections::end))
        .route("/v1/endpointconnections", post(api::connections::create))
        .route("/v1/endpointconnections/{id}", delete(api::connections::end))
        .route("/v1/endpoints/{id}/connections", post(api::connections::create_for))
        .route("/v1/messages", post(api::messages::create))
        .route("/v1/presence", post(api::presence::set))
        .route("/v1/presenceobservers", post(api::presence::observe))
        .route("/v1/presence-observers", post(api::presence::observe))
        .route("/v1/signaling", post(api::signaling::create))
        .route("/v1/conferences/{id}", delete(api::signaling::conference))
        .route("/v1/conferences/{id}/participants", get(api::signaling::conference))
        .route("/v1/conferences/{id}/participants/{endpoint}", delete(api::signaling::conference))
        .route("/v1/audit", get(api::audit::list))
        .route("/v1/request-log", get(api::request_log::list))
        .route("/v1/stats", get(api::stats::read))
        .route("/oauth/introspect", post(api::oauth::introspect))
        .route("/oauth/revoke", post(api::oauth::revoke))
        .route("/healthz", get(api::health::live))
        .route("/readyz", get(api::health::ready))
        .route("/metrics", get(api::health::metrics))
        .route("/openapi.json", get(docs::json))
        .route("/docs", get(docs::page))
        .route("/docs/style.css", get(docs::style))
        .route("/try", get(api::try_it::page))
        .route("/try/script.js", get(api::try_it::script))
        .route("/try/style.css", get(api::try_it::style))
        .merge(console::router())
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(api)
}

/// What there is to do with groups, under one of their two names.
fn group_routes(family: &str) -> Router<Arc<Api>> {
    Router::new()
        .route(family, get(api::groups::list).post(api::groups::join_many).delete(api::groups::leave_many))
        .route(&format!("{family}/{{id}}"), get(api::groups::members).post(api::groups::join).delete(api::groups::end))
        .route(
            &format!("{family}/{{id}}/subscribers"),
            get(api::groups::members).post(api::groups::join).delete(api::groups::leave),
        )
        .route(&format!("{family}/{{id}}/publish"), post(api::groups::publish))
        .route(&format!("{family}/{{id}}/history"), get(api::history::read))
}
