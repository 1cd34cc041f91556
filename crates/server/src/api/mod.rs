//! The routes. One file a resource, named as its path; handlers decode, call one operation and show what came of it.

mod admin_sessions;
mod admins;
mod answer;
mod apps;
mod audit;
mod bans;
mod call_debugs;
mod connections;
mod conversations;
mod docs;
mod endpoints;
mod groups;
mod health;
mod history;
mod messages;
mod oauth;
mod presence;
mod push_tokens;
mod request_log;
mod roles;
mod secrets;
mod session_tokens;
mod sessions;
mod signaling;
mod stats;
mod telling;
mod tokens;
mod try_it;
mod turn;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{delete, get, post, put};
use respoke_core::admin::KnownAddress;
use respoke_core::id::{AppId, ConnectionId, RequestId, RoleId, SecretId};
use respoke_core::ops::{Broker, Caller, Context, Relays};
use respoke_core::page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, PageKey, PageRequest, parse_cursor};
use respoke_core::ports::{ListFilter, StoreError};
use respoke_core::refusal::Refusal;
use respoke_core::seal::{NUMBER_END, SealKind, Sealer};
use respoke_hub::Hub;
use respoke_hub::ops::Asker;
use respoke_wire::body::lists::ListRequest;
use utoipa::OpenApi;

use crate::call::Call;
use crate::config::PublicUrl;
use crate::console;
use crate::limits::{Accounts, Limits};
use crate::metrics::Metrics;
use crate::openapi::Common;
use crate::problem::Problem;
use crate::throttle::Throttle;
use crate::transport::Places;
use crate::turns::{Party, Turn, Turns};
use crate::watch::Watch;

pub(crate) use admin_sessions::{sign_in, sign_in_by_link};
pub(crate) use admins::guessing;
pub(crate) use audit::find as find_audit;
pub(crate) use docs::document;
pub(crate) use endpoints::{Include, find as find_endpoint, look_on};
pub(crate) use health::is_ready;
pub(crate) use request_log::find as find_requests;
pub(crate) use sessions::show as show_session;
pub(crate) use stats::find as find_stats;
pub(crate) use try_it::client as try_client;

/// What handlers have at hand.
pub(crate) struct Api {
    pub(crate) broker: Arc<Broker>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) places: Arc<Places>,
    pub(crate) limits: Arc<Limits>,
    /// What requests make others receive, and long answers.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) throttle: Throttle,
    /// What `/v1/turn` tells of.
    pub(crate) relays: Relays,
    /// By which URL others reach the server, if it was said.
    pub(crate) public_url: Option<PublicUrl>,
    described: docs::Described,
    readiness: health::Readiness,
    /// Turns at making an answer that may be long.
    long_answers: Arc<Turns>,
    /// Mixed into what is derived from an `Idempotency-Key`, so that a database with another key derives otherwise.
    pub(crate) idempotency_salt: [u8; 32],
}

impl Api {
    pub(crate) fn new(
        broker: Arc<Broker>,
        hub: Arc<Hub>,
        watch: Arc<Watch>,
        places: Arc<Places>,
        limits: Limits,
        throttle: Throttle,
        relays: Relays,
    ) -> Self {
        let idempotency_salt = salt(&broker.store().sealer());
        let metrics = watch.metrics.clone();
        let accounts = Accounts::new(broker.clock().clone());
        Self {
            broker,
            hub,
            metrics,
            watch,
            places,
            limits: Arc::new(limits),
            accounts: Arc::new(accounts),
            throttle,
            relays,
            public_url: None,
            described: docs::Described::default(),
            readiness: health::Readiness::default(),
            long_answers: Turns::new(LONG_ANSWERS, LONG_ANSWERS_OF_APP),
            idempotency_salt,
        }
    }

    /// The same, said to be reached by `public_url`.
    pub(crate) fn reached_by(self, public_url: Option<PublicUrl>) -> Self {
        Self { public_url, ..self }
    }
}

/// Long answers that are made at once. Until one is handed out it is counted nowhere, rows of the store and all.
const LONG_ANSWERS: usize = 4;
/// Of them, those of one app: the others' do not wait for it, and have processors left.
const LONG_ANSWERS_OF_APP: usize = 2;

impl Api {
    /// Takes up from which addresses admins signed in lately: there strangers make them wait for nothing.
    pub(crate) async fn take_up_known_addresses(&self) -> Result<(), StoreError> {
        let (now, instant) = (self.broker.now(), self.monotonic());
        let known = self.broker.store().known_addresses(now.plus_secs(-KnownAddress::KNOWN_SECS)).await?;
        for KnownAddress { username, address, at } in known {
            let ago = u64::try_from(now.millis() - at.millis()).unwrap_or(0);
            self.throttle.came_in(address, &username, Duration::from_millis(ago), instant);
        }
        Ok(())
    }

    /// The present instant, by which the throttle measures.
    pub(crate) fn monotonic(&self) -> Instant {
        self.broker.clock().monotonic()
    }

    /// Forgets of those who came and went what a newcomer would have as well.
    pub(crate) fn forget(&self) {
        self.limits.sweep();
        self.accounts.sweep();
        self.throttle.sweep(self.monotonic());
        self.broker.sweep();
    }

    /// A turn at making an answer that may be long, to be kept until it is made.
    ///
    /// # Errors
    ///
    /// As [`Turns::take`].
    pub(crate) async fn long_answer(&self, caller: &Caller) -> Result<Turn, Refusal> {
        self.long_answers.take(Party::of(caller)).await
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Key material that the database's key decides: the public names of numbers that no token or session will ever have.
fn salt(sealer: &Sealer) -> [u8; 32] {
    let mut salt = [0; 32];
    salt[..16].copy_from_slice(sealer.name(SealKind::TokenName, NUMBER_END - 1).as_bytes());
    salt[16..].copy_from_slice(sealer.name(SealKind::SessionName, NUMBER_END - 1).as_bytes());
    salt
}

/// The routes that the document describes, and the document. Paths have lost their trailing slashes at the door.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let own_session = get(session_tokens::describe)
        .post(session_tokens::create)
        .put(session_tokens::extend)
        .delete(session_tokens::end);
    let admin_session = post(admin_sessions::create).delete(admin_sessions::end);
    let push_token = put(push_tokens::replace).delete(push_tokens::remove);
    Router::new()
        .route("/v1/tokens", get(tokens::list).post(tokens::create).put(tokens::replace))
        .route("/v1/tokens/{id}", get(tokens::inspect).delete(tokens::revoke))
        .route("/v1/session-tokens", own_session.clone())
        .route("/v1/appauthsessions", own_session)
        .route("/v1/sessions", get(sessions::list).delete(sessions::end_many))
        .route("/v1/sessions/{id}", get(sessions::read).delete(sessions::end))
        .route("/v1/admin-sessions", admin_session.clone())
        .route("/v1/adminsessions", admin_session)
        .route("/v1/admins", get(admins::list).post(admins::create))
        .route("/v1/admins/me", get(admins::read_own))
        .route("/v1/admins/me/password", put(admins::change_password))
        .route("/v1/admins/me/totp", post(admins::enrol).put(admins::confirm).delete(admins::give_up))
        .route("/v1/admins/{id}", put(admins::update).patch(admins::update).delete(admins::remove))
        .route("/v1/apps", get(apps::list).post(apps::create))
        .route("/v1/apps/{id}", get(apps::read).put(apps::update).patch(apps::update).delete(apps::remove))
        .route("/v1/apps/{id}/secrets", get(secrets::list).post(secrets::create))
        .route("/v1/apps/{id}/secrets/{sid}", get(secrets::read).delete(secrets::revoke))
        .route("/v1/apps/{id}/secrets/{sid}/roll", post(secrets::roll))
        .route("/v1/roles", get(roles::list).post(roles::create))
        .route("/v1/roles/{id}", get(roles::read).put(roles::update).delete(roles::remove))
        .route("/v1/endpoints/{id}", get(endpoints::read))
        .route("/v1/endpoints/{id}/tail", get(endpoints::tail))
        .route("/v1/endpoints/{id}/ban", get(bans::read).post(bans::ban).put(bans::ban).delete(bans::lift))
        .route(
            "/v1/endpoints/{id}/conversations",
            get(conversations::list).put(conversations::mark_read).post(conversations::mark_read),
        )
        .route("/v1/bans", get(bans::list))
        .merge(group_routes("/v1/groups"))
        .merge(group_routes("/v1/channels"))
        .route("/v1/group-history-search", post(history::search))
        .route("/v1/group-histories", get(history::search_by_query))
        .route("/v1/connections/{id}/push-token", post(push_tokens::create))
        .route("/v1/connections/{id}/push-token/{push_token_id}", push_token.clone())
        .route("/v1/endpointconnections/{id}/push-token", post(push_tokens::create))
        .route("/v1/endpointconnections/{id}/push-token/{push_token_id}", push_token)
        .route("/v1/turn", get(turn::read).post(turn::read))
        .route("/v1/call-debugs", get(call_debugs::list).post(call_debugs::create))
        .route("/v1/connections", get(connections::list).post(connections::create))
        .route("/v1/connections/{id}", delete(connections::end))
        .route("/v1/endpointconnections", post(connections::create))
        .route("/v1/endpointconnections/{id}", delete(connections::end))
        .route("/v1/endpoints/{id}/connections", post(connections::create_for))
        .route("/v1/messages", post(messages::create))
        .route("/v1/presence", post(presence::set))
        .route("/v1/presenceobservers", post(presence::observe))
        .route("/v1/presence-observers", post(presence::observe))
        .route("/v1/signaling", post(signaling::create))
        .route("/v1/conferences/{id}", delete(signaling::conference))
        .route("/v1/conferences/{id}/participants", get(signaling::conference))
        .route("/v1/conferences/{id}/participants/{endpoint}", delete(signaling::conference))
        .route("/v1/audit", get(audit::list))
        .route("/v1/request-log", get(request_log::list))
        .route("/v1/stats", get(stats::read))
        .route("/oauth/introspect", post(oauth::introspect))
        .route("/oauth/revoke", post(oauth::revoke))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(docs::json))
        .route("/docs", get(docs::page))
        .route("/docs/style.css", get(docs::style))
        .route("/try", get(try_it::page))
        .route("/try/script.js", get(try_it::script))
        .route("/try/style.css", get(try_it::style))
        .merge(console::router())
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(api)
}

/// What there is to do with groups, under one of their two names.
fn group_routes(family: &str) -> Router<Arc<Api>> {
    Router::new()
        .route(family, get(groups::list).post(groups::join_many).delete(groups::leave_many))
        .route(&format!("{family}/{{id}}"), get(groups::members).post(groups::join).delete(groups::end))
        .route(&format!("{family}/{{id}}/subscribers"), get(groups::members).post(groups::join).delete(groups::leave))
        .route(&format!("{family}/{{id}}/publish"), post(groups::publish))
        .route(&format!("{family}/{{id}}/history"), get(history::read))
}

/// Every operation; `openapi.rs` adds what they have in common.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "respoked",
        description = "The Respoke API, self-hosted. Every path is served with and without a trailing slash; bodies are \
                       JSON or forms; success is always 200.",
        license(name = "Apache-2.0 OR MIT"),
    ),
    paths(
        tokens::create,
        tokens::replace,
        tokens::list,
        tokens::inspect,
        tokens::revoke,
        session_tokens::create,
        session_tokens::describe,
        session_tokens::extend,
        session_tokens::end,
        sessions::list,
        sessions::end_many,
        sessions::read,
        sessions::end,
        admin_sessions::create,
        admin_sessions::end,
        admins::list,
        admins::create,
        admins::update,
        admins::remove,
        admins::read_own,
        admins::change_password,
        admins::enrol,
        admins::confirm,
        admins::give_up,
        apps::list,
        apps::create,
        apps::read,
        apps::update,
        apps::remove,
        secrets::list,
        secrets::create,
        secrets::read,
        secrets::revoke,
        secrets::roll,
        roles::list,
        roles::create,
        roles::read,
        roles::update,
        roles::remove,
        endpoints::read,
        endpoints::tail,
        bans::read,
        bans::ban,
        bans::lift,
        bans::list,
        history::read,
        history::search,
        history::search_by_query,
        conversations::list,
        conversations::mark_read,
        push_tokens::create,
        push_tokens::replace,
        push_tokens::remove,
        turn::read,
        call_debugs::create,
        call_debugs::list,
        connections::list,
        connections::create,
        connections::create_for,
        connections::end,
        groups::list,
        groups::join_many,
        groups::leave_many,
        groups::members,
        groups::join,
        groups::end,
        groups::publish,
        groups::leave,
        messages::create,
        presence::set,
        presence::observe,
        signaling::create,
        audit::list,
        request_log::list,
        stats::read,
        oauth::introspect,
        oauth::revoke,
        health::live,
        health::ready,
        health::metrics,
    ),
    modifiers(&Common)
)]
pub(crate) struct Document;

/// Items of a list that is asked for as lines; 10,000 rows of a log are two megabytes.
const LINES_MAX: usize = 10_000;

/// Whether a list is asked for as lines and not as an array.
fn lines_wanted(request: &ListRequest) -> Result<bool, Refusal> {
    match given(request.format.as_deref()) {
        None | Some("json") => Ok(false),
        Some("jsonl") => Ok(true),
        Some(_) => Err(Refusal::field("format", "must be json or jsonl")),
    }
}

/// The page that is asked for.
fn page<K: PageKey>(request: &ListRequest) -> Result<PageRequest<K>, Refusal> {
    list_page(request, false)
}

/// The page that is asked for, which may be longer as lines.
fn list_page<K: PageKey>(request: &ListRequest, lines: bool) -> Result<PageRequest<K>, Refusal> {
    let (max, default, problem) = if lines {
        (LINES_MAX, LINES_MAX, "must be from 1 to 10000")
    } else {
        (PAGE_LIMIT_MAX, PAGE_LIMIT_DEFAULT, "must be from 1 to 200")
    };
    let limit = match request.limit {
        None => default,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=max).contains(limit))
            .ok_or_else(|| Refusal::field("limit", problem))?,
    };
    Ok(PageRequest { limit, after: cursor(request.cursor.as_deref())? })
}

/// Reads `cursor`, as [`app_id`] does: text that this kind of list did not give is refused, and not taken for its
/// beginning.
pub(crate) fn cursor<K: PageKey>(text: Option<&str>) -> Result<Option<K>, Refusal> {
    match given(text) {
        None => Ok(None),
        Some(text) => match parse_cursor(text) {
            Some(key) => Ok(Some(key)),
            None => Err(Refusal::field("cursor", "is not one that this list gave")),
        },
    }
}

/// The endpoint, role and App-Secret that are asked for.
fn filter(request: &ListRequest) -> Result<ListFilter, Refusal> {
    let endpoint_id = match given(request.endpoint_id.as_deref()) {
        None => None,
        Some(text) => Some(endpoint_id(text)?),
    };
    let secret_id = match given(request.secret_id.as_deref()) {
        None => None,
        Some(text) => Some(SecretId::parse(text).ok_or_else(|| Refusal::field("secretId", "must be a UUID"))?),
    };
    Ok(ListFilter { endpoint_id, role_id: role_id(request.role_id.as_deref())?, secret_id })
}

fn endpoint_id(text: &str) -> Result<respoke_core::id::EndpointId, Refusal> {
    respoke_core::id::EndpointId::parse(text).map_err(|problem| Refusal::field("endpointId", problem))
}

/// Reads `appId`. Empty text, as forms send it, names none.
fn app_id(text: Option<&str>) -> Result<Option<AppId>, Refusal> {
    match given(text) {
        None => Ok(None),
        Some(text) => AppId::parse(text).map(Some).ok_or_else(|| Refusal::field("appId", "must be a UUID")),
    }
}

/// Reads `roleId`, as [`app_id`] does.
fn role_id(text: Option<&str>) -> Result<Option<RoleId>, Refusal> {
    match given(text) {
        None => Ok(None),
        Some(text) => RoleId::parse(text).map(Some).ok_or_else(|| Refusal::field("roleId", "must be a UUID")),
    }
}

/// Reads `requestId`, as [`app_id`] does.
fn request_id(text: Option<&str>) -> Result<Option<RequestId>, Refusal> {
    match given(text) {
        None => Ok(None),
        Some(text) => RequestId::parse(text).map(Some).ok_or_else(|| Refusal::field("requestId", "must be a UUID")),
    }
}

fn connection_id(text: &str) -> Result<ConnectionId, Refusal> {
    ConnectionId::parse(text).ok_or_else(|| Refusal::field("connectionId", "must be a UUID"))
}

/// Whom and what a request to the hub names, as it came.
#[derive(Clone, Copy, Default)]
struct Named<'a> {
    app: Option<&'a str>,
    endpoint: Option<&'a str>,
    connection: Option<&'a str>,
}

impl Named<'_> {
    async fn asker<'a>(
        self,
        api: &'a Api,
        call: &'a Call,
        caller: &'a Caller,
        context: &'a Context,
    ) -> Result<Asker<'a>, Refusal> {
        let app_id = app_id(self.app)?;
        let endpoint_id = given(self.endpoint).map(endpoint_id).transpose()?;
        let connection_id = given(self.connection).map(connection_id).transpose()?;
        note_app(api, call, caller, app_id, endpoint_id.as_ref()).await;
        let purse = &*api.accounts;
        Ok(Asker { caller, socket: call.socket(), context, app_id, endpoint_id, connection_id, purse })
    }
}

/// Reads the `appId` of a request, and notes that the request is about that app.
async fn named_app(api: &Api, call: &Call, caller: &Caller, text: Option<&str>) -> Result<Option<AppId>, Refusal> {
    let app = app_id(text)?;
    note_app(api, call, caller, app, None).await;
    Ok(app)
}

/// Notes that an admin's request is about `app`, if that is one of the admin's; of other callers the credential says it.
async fn note_app(
    api: &Api,
    call: &Call,
    caller: &Caller,
    app: Option<AppId>,
    endpoint: Option<&respoke_core::id::EndpointId>,
) {
    // A failure is no news here: the operation meets it as well.
    if let (Caller::Admin { .. }, Some(app)) = (caller, app)
        && api.broker.get_app(caller, app).await.is_ok()
    {
        call.concerns(app, endpoint);
    }
}

fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use respoke_core::page::RowNumber;

    use super::*;

    #[test]
    fn a_page_is_bounded() {
        let asked =
            |limit| page::<RowNumber>(&ListRequest { limit, cursor: Some(String::new()), ..ListRequest::default() });
        assert_eq!(asked(None).unwrap().limit, 200);
        assert_eq!(asked(Some(1)).unwrap().limit, 1);
        assert!(asked(Some(200)).unwrap().after.is_none());
        for limit in [0, 201, u64::MAX] {
            assert_eq!(asked(Some(limit)).unwrap_err().code(), "invalid");
        }
    }

    #[test]
    fn the_salt_is_the_databases_own() {
        assert_eq!(salt(&Sealer::new([1; 16])), salt(&Sealer::new([1; 16])));
        assert_ne!(salt(&Sealer::new([1; 16])), salt(&Sealer::new([2; 16])));
    }

    #[test]
    fn an_id_is_a_uuid_or_absent() {
        assert!(app_id(None).unwrap().is_none());
        assert!(app_id(Some("")).unwrap().is_none());
        assert!(app_id(Some("7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001")).unwrap().is_some());
        assert_eq!(role_id(Some("7")).unwrap_err().code(), "invalid");
    }
}
