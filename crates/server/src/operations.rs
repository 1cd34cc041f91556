//! Every operation there is: who does it, on which terms it is done, what it counts as in figures, and which methods and
//! paths lead to it.
//!
//! From this table come the routes over HTTP (`router.rs`) and over sockets ([`Directory`]), the description of the API
//! (`description.rs`), and what is asked of a caller (`call/admission.rs` says what each of the terms means). What an operation
//! takes and answers stands above its handler, in the file of `api/` that the row names: a new operation is a row here, and
//! a handler there, which is given who asks.
//!
//! There is no column for what an operation changes. A `GET` changes nothing, and what a read-only admin may send besides is
//! a list in `tests/it/answers/who_may.rs`, which asks every operation of the table.

use std::pin::Pin;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use respoke_wire::tunnel::Method;
use tracing::Instrument;
use utoipa::OpenApi;

use crate::api;
use crate::call::{Call, Terms};
use crate::deed::Deed;
use crate::state::Api;

/// A row of the table.
pub(crate) struct Operation {
    /// The resource's and the handler's: in log lines, and where to look in `api/`.
    name: &'static str,
    pub(crate) ways: &'static [Way],
    /// What it counts as in figures when it is answered with 200.
    deed: Option<Deed>,
    /// Asks what its terms say, and gives its handler what came of it.
    run: fn(Arc<Api>, Call) -> PendingAnswer,
    /// A document of this operation alone, under the way that its handler names.
    pub(crate) description: fn() -> utoipa::openapi::OpenApi,
}

/// A method and a path.
pub(crate) struct Way {
    pub(crate) method: Method,
    /// With its parameters in braces, and without a slash at its end.
    pub(crate) path: &'static str,
    /// What is added to the operation's id where it is described under this way. None: it is not described.
    pub(crate) told_as: Option<&'static str>,
}

/// An answer that is being made.
pub(crate) type PendingAnswer = Pin<Box<dyn Future<Output = Response> + Send>>;

impl Operation {
    pub(crate) fn run(&self, api: Arc<Api>, call: Call) -> PendingAnswer {
        if let Some(deed) = self.deed {
            call.counts_as(deed);
        }
        let span = call.begin(self.name);
        let answer = (self.run)(api, call);
        // At the usual level there is none, and nothing is put around the answer.
        if span.is_disabled() { answer } else { Box::pin(answer.instrument(span)) }
    }
}

macro_rules! told_as {
    () => {
        Some("")
    };
    (_) => {
        None
    };
    ($suffix:literal) => {
        Some($suffix)
    };
}

macro_rules! deed {
    () => {
        None
    };
    ($deed:ident) => {
        Some(Deed::$deed)
    };
}

macro_rules! operations {
    ($(
        $resource:ident::$handler:ident($terms:ident $(, $deed:ident)?):
        $($method:ident $path:literal $(as $suffix:tt)?),+;
    )+) => {
        /// The table. Where two rows have a path, its methods are told in their order.
        pub(crate) static OPERATIONS: &[Operation] = &[$(Operation {
            name: concat!(stringify!($resource), "::", stringify!($handler)),
            ways: &[$(Way { method: Method::$method, path: $path, told_as: told_as!($($suffix)?) }),+],
            deed: deed!($($deed)?),
            run: |api, call| {
                Box::pin(async move {
                    match Terms::$terms.admit(&api, &call).await {
                        Ok(given) => api::$resource::$handler(api, call, given).await.into_response(),
                        Err(problem) => problem.into_response(),
                    }
                })
            },
            description: || {
                #[derive(OpenApi)]
                #[openapi(paths(api::$resource::$handler))]
                struct Described;
                Described::openapi()
            },
        }),+];
    };
}

// The name behind `as` tells the operation's other ways apart where they are described; `_` leaves one out.
operations! {
    // Tokens, and the sessions that they open.
    tokens::list(READING): Get "/v1/tokens";
    tokens::create(MINTING, Minted): Post "/v1/tokens";
    tokens::replace(MINTING, Minted): Put "/v1/tokens";
    tokens::inspect(USUAL): Get "/v1/tokens/{id}";
    tokens::revoke(USUAL): Delete "/v1/tokens/{id}";
    session_tokens::describe(USUAL): Get "/v1/session-tokens", Get "/v1/appauthsessions" as "Alias";
    session_tokens::create(OPENING, Redeemed): Post "/v1/session-tokens", Post "/v1/appauthsessions" as "Alias";
    session_tokens::extend(USUAL): Put "/v1/session-tokens", Put "/v1/appauthsessions" as "Alias";
    session_tokens::end(LEAVING): Delete "/v1/session-tokens", Delete "/v1/appauthsessions" as "Alias";
    sessions::list(READING): Get "/v1/sessions";
    sessions::end_many(USUAL): Delete "/v1/sessions";
    sessions::read(USUAL): Get "/v1/sessions/{id}";
    sessions::end(USUAL): Delete "/v1/sessions/{id}";

    // Admins, and their sessions.
    admin_sessions::create(ANONYMOUS): Post "/v1/admin-sessions", Post "/v1/adminsessions" as "Alias";
    admin_sessions::end(SIGNING_OUT): Delete "/v1/admin-sessions", Delete "/v1/adminsessions" as "Alias";
    admins::list(USUAL): Get "/v1/admins";
    admins::create(USUAL): Post "/v1/admins";
    admins::read_own(USUAL): Get "/v1/admins/me";
    admins::change_password(USUAL): Put "/v1/admins/me/password";
    admins::enrol(USUAL): Post "/v1/admins/me/totp";
    admins::confirm(USUAL): Put "/v1/admins/me/totp";
    admins::give_up(USUAL): Delete "/v1/admins/me/totp";
    admins::update(USUAL): Put "/v1/admins/{id}", Patch "/v1/admins/{id}" as "Patch";
    admins::remove(USUAL): Delete "/v1/admins/{id}";

    // Apps, and what belongs to each.
    apps::list(READING): Get "/v1/apps";
    apps::create(USUAL): Post "/v1/apps";
    apps::read(USUAL): Get "/v1/apps/{id}";
    apps::update(USUAL): Put "/v1/apps/{id}", Patch "/v1/apps/{id}" as "Patch";
    apps::remove(USUAL): Delete "/v1/apps/{id}";
    secrets::list(READING): Get "/v1/apps/{id}/secrets";
    secrets::create(USUAL): Post "/v1/apps/{id}/secrets";
    secrets::read(USUAL): Get "/v1/apps/{id}/secrets/{sid}";
    secrets::revoke(USUAL): Delete "/v1/apps/{id}/secrets/{sid}";
    secrets::roll(USUAL): Post "/v1/apps/{id}/secrets/{sid}/roll";
    roles::list(READING): Get "/v1/roles";
    roles::create(USUAL): Post "/v1/roles";
    roles::read(USUAL): Get "/v1/roles/{id}";
    roles::update(USUAL): Put "/v1/roles/{id}";
    roles::remove(USUAL): Delete "/v1/roles/{id}";

    // Endpoints.
    endpoints::read(READING): Get "/v1/endpoints/{id}";
    endpoints::tail(READING): Get "/v1/endpoints/{id}/tail";
    bans::read(USUAL): Get "/v1/endpoints/{id}/ban";
    bans::ban(USUAL): Post "/v1/endpoints/{id}/ban" as "Post", Put "/v1/endpoints/{id}/ban";
    bans::lift(USUAL): Delete "/v1/endpoints/{id}/ban";
    bans::list(READING): Get "/v1/bans";
    conversations::list(READING): Get "/v1/endpoints/{id}/conversations";
    conversations::mark_read(USUAL):
        Put "/v1/endpoints/{id}/conversations",
        Post "/v1/endpoints/{id}/conversations" as "Post";

    // Groups, which older clients call channels, and what was said in them.
    groups::list(READING): Get "/v1/groups", Get "/v1/channels" as "Alias";
    groups::join_many(USUAL): Post "/v1/groups", Post "/v1/channels" as "Alias";
    groups::leave_many(USUAL): Delete "/v1/groups", Delete "/v1/channels" as "Alias";
    groups::members(READING):
        Get "/v1/groups/{id}",
        Get "/v1/groups/{id}/subscribers" as "Subscribers",
        Get "/v1/channels/{id}" as "Alias",
        Get "/v1/channels/{id}/subscribers" as "SubscribersAlias";
    groups::join(USUAL):
        Post "/v1/groups/{id}",
        Post "/v1/groups/{id}/subscribers" as "Subscribers",
        Post "/v1/channels/{id}" as "Alias",
        Post "/v1/channels/{id}/subscribers" as "SubscribersAlias";
    groups::end(USUAL): Delete "/v1/groups/{id}", Delete "/v1/channels/{id}" as "Alias";
    groups::leave(USUAL): Delete "/v1/groups/{id}/subscribers", Delete "/v1/channels/{id}/subscribers" as "Alias";
    groups::publish(SPEAKING, Publication): Post "/v1/groups/{id}/publish", Post "/v1/channels/{id}/publish" as "Alias";
    history::read(READING): Get "/v1/groups/{id}/history", Get "/v1/channels/{id}/history" as "Alias";
    history::search(READING): Post "/v1/group-history-search";
    history::search_by_query(READING): Get "/v1/group-histories";

    // Connections, and what is said between them.
    connections::list(READING): Get "/v1/connections";
    connections::create(USUAL): Post "/v1/connections", Post "/v1/endpointconnections" as _;
    connections::create_for(USUAL): Post "/v1/endpoints/{id}/connections";
    connections::end(USUAL): Delete "/v1/connections/{id}", Delete "/v1/endpointconnections/{id}" as _;
    push_tokens::create(USUAL):
        Post "/v1/connections/{id}/push-token",
        Post "/v1/endpointconnections/{id}/push-token" as "Alias";
    push_tokens::replace(USUAL):
        Put "/v1/connections/{id}/push-token/{push_token_id}",
        Put "/v1/endpointconnections/{id}/push-token/{push_token_id}" as "Alias";
    push_tokens::remove(USUAL):
        Delete "/v1/connections/{id}/push-token/{push_token_id}",
        Delete "/v1/endpointconnections/{id}/push-token/{push_token_id}" as "Alias";
    messages::create(SPEAKING, Message): Post "/v1/messages";
    presence::set(SPEAKING): Post "/v1/presence";
    presence::observe(READING): Post "/v1/presenceobservers", Post "/v1/presence-observers" as _;
    signaling::create(SPEAKING, Signal): Post "/v1/signaling";
    // Nothing is there but a refusal, for clients that ask all the same.
    signaling::conference(USUAL):
        Delete "/v1/conferences/{id}" as _,
        Get "/v1/conferences/{id}/participants" as _,
        Delete "/v1/conferences/{id}/participants/{endpoint}" as _;
    turn::read(USUAL): Get "/v1/turn", Post "/v1/turn" as "Post";
    call_debugs::list(READING): Get "/v1/call-debugs";
    call_debugs::create(USUAL): Post "/v1/call-debugs";

    // What happened.
    audit::list(READING): Get "/v1/audit";
    request_log::list(READING): Get "/v1/request-log";
    stats::read(READING): Get "/v1/stats";

    // The nodes that serve.
    nodes::list(USUAL): Get "/v1/nodes";
    nodes::drain(USUAL): Post "/v1/nodes/{id}/drain";

    // OAuth, and who runs the server.
    oauth::introspect(OAUTH): Post "/oauth/introspect";
    oauth::revoke(OAUTH): Post "/oauth/revoke";
    health::live(UNASKED): Get "/healthz";
    health::ready(UNASKED): Get "/readyz";
    health::metrics(UNASKED): Get "/metrics";
}

/// Finds operations by their ways, for those whose requests do not come over HTTP.
pub(crate) struct Directory(matchit::Router<Vec<(&'static Way, &'static Operation)>>);

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

/// What is at a path.
pub(crate) enum Found {
    Operation(&'static Way, &'static Operation),
    /// Nothing for this method.
    OtherMethods,
    Nothing,
}

impl Directory {
    /// Of the whole table.
    ///
    /// # Panics
    ///
    /// When two rows contradict each other, which a test would find: the table does not change while the server runs.
    pub(crate) fn new() -> Self {
        let mut by_path = std::collections::BTreeMap::<&str, Vec<_>>::new();
        for operation in OPERATIONS {
            for way in operation.ways {
                by_path.entry(way.path).or_default().push((way, operation));
            }
        }
        let mut directory = matchit::Router::new();
        for (path, ways) in by_path {
            directory.insert(path, ways).expect("no two paths of the table contradict each other");
        }
        Self(directory)
    }

    pub(crate) fn find(&self, method: Method, path: &str) -> Found {
        let Ok(found) = self.0.at(path) else { return Found::Nothing };
        match found.value.iter().find(|(way, _)| way.method == method) {
            Some((way, operation)) => Found::Operation(way, operation),
            None => Found::OtherMethods,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_leads_to_one_operation_and_is_described_as_its_handler_says() {
        let mut ways = std::collections::BTreeSet::new();
        let directory = Directory::new();
        for operation in OPERATIONS {
            let own: Vec<_> = operation.ways.iter().filter(|way| way.told_as == Some("")).collect();
            let is_told = operation.ways.iter().any(|way| way.told_as.is_some());
            assert_eq!(own.len(), usize::from(is_told), "one way is its own: {}", operation.ways[0].path);
            let described = (operation.description)();
            let (path, item) = described.paths.paths.first_key_value().expect("its handler is described");
            for own in own {
                assert_eq!((path.as_str(), described.paths.paths.len()), (own.path, 1));
                let item = serde_json::to_value(item).unwrap();
                assert!(item[own.method.as_str().to_lowercase()].is_object(), "{} {path}: {item}", own.method.as_str());
            }
            for way in operation.ways {
                assert!(ways.insert((way.path, way.method.as_str())), "{} is there twice", way.path);
                let found = directory.find(way.method, way.path);
                assert!(matches!(found, Found::Operation(found, _) if std::ptr::eq(found, way)), "{}", way.path);
            }
        }
    }
}
