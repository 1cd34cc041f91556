//! A request as handlers see it: who asks, from where, with what input, and how often they may.
//!
//! Handlers take a [`Call`] and nothing else of the request. The door puts [`Facts`] into the request's extensions and
//! reads back what the call found out.
//!
//! Invariant: of several credentials exactly one is looked at, and if that one is wrong the request is refused; the only
//! routes that ignore a wrong one are those that need none.

mod admission;
mod admit;
mod shown;

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, OriginalUri, Path};
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Uri};
use percent_encoding::{PercentDecode, percent_decode_str};
use respoke_core::id::{AppId, EndpointId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::ops::{Answerer, Caller, Context, Credential};
use respoke_core::refusal::Refusal;
use respoke_core::secret::Secret;
use respoke_hub::Socket;
use respoke_wire::input::{self, Input};
use serde::de::DeserializeOwned;
use tracing::Span;

pub(crate) use admission::{Client, Minting, Terms, Unasked};
use shown::{Kind, credential_text, find_credential};

use crate::deed::Deed;
use crate::facts::{Facts, Subject};
use crate::metrics::Route;
use crate::problem::Problem;
use crate::state::Api;

pub(crate) use shown::handshake_credential;

/// The longest `Idempotency-Key`, in bytes.
const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// To whom an `Idempotency-Key` belongs.
#[derive(Clone, Copy)]
pub(crate) enum KeyOwner<'a> {
    /// To whoever holds the credential the request carries.
    Caller,
    /// To whoever holds an App-Secret or Admin-Token; without one, to all who mint in this app.
    Minter(&'a str),
    /// To whoever knows this.
    Knower(&'a [&'a str]),
    /// To this endpoint, whichever session it speaks in: it may have had to sign in anew before it repeats a request. To who
    /// speaks with another credential, as [`Self::Caller`].
    Speaker(&'a Caller),
}

/// One request.
pub(crate) struct Call {
    facts: Arc<Facts>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
    /// The path's template, if an operation is asked for.
    template: &'static str,
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Infallible;

    /// Takes the headers and the URI out of the request, so it has to be a handler's last argument.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let facts = parts.extensions.get::<Arc<Facts>>().cloned().unwrap_or_else(Facts::of_nobody);
        if let Some(route) = parts.extensions.remove::<MatchedPath>() {
            let _ = facts.route.set(Route::Matched(route));
        }
        // A router within another sees the rest of the path alone.
        let uri = parts.extensions.remove::<OriginalUri>().map(|OriginalUri(uri)| uri);
        Ok(Self {
            facts,
            method: parts.method.clone(),
            headers: std::mem::take(&mut parts.headers),
            uri: uri.unwrap_or_else(|| std::mem::take(&mut parts.uri)),
            template: "",
        })
    }
}

impl Call {
    /// A request for the operation at `template`.
    ///
    /// # Errors
    ///
    /// 400 for a path whose parameters are no text.
    pub(crate) fn new(
        facts: Arc<Facts>,
        (method, uri, headers): (Method, Uri, HeaderMap),
        template: &'static str,
    ) -> Result<Self, Problem> {
        if parameters(template, uri.path()).any(|parameter| parameter.decode_utf8().is_err()) {
            return Err(Problem::malformed_path());
        }
        let _ = facts.route.set(Route::Fixed(template));
        Ok(Self { facts, method, headers, uri, template })
    }

    /// The one parameter of the path, decoded.
    pub(crate) fn id(&self) -> String {
        let mut found = parameters(self.template, self.uri.path());
        found.next().map(|parameter| parameter.decode_utf8_lossy().into_owned()).unwrap_or_default()
    }

    /// The two parameters of the path, decoded.
    pub(crate) fn ids(&self) -> (String, String) {
        let mut found = parameters(self.template, self.uri.path());
        let mut next = || found.next().map(|parameter| parameter.decode_utf8_lossy().into_owned()).unwrap_or_default();
        (next(), next())
    }

    /// Query and body as a `T`.
    ///
    /// # Errors
    ///
    /// 400 for input that cannot be read.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        Ok(input::read(self.input())?)
    }

    /// The same for what ends or deletes something: see [`input::read_strictly`].
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub(crate) fn read_strictly<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        Ok(input::read_strictly(self.input())?)
    }

    fn input(&self) -> Input<'_> {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Input { query: self.uri.query(), content_type, body: &self.facts.body }
    }

    /// The host it was sent to, or the socket was opened at, as the client says.
    pub(crate) fn host(&self) -> Option<&str> {
        match self.socket() {
            Some(socket) => socket.opening.host.as_deref(),
            None => host_of(&self.headers, &self.uri),
        }
    }

    /// For the audit log, and to hear how many nodes have followed what it changes.
    pub(crate) fn context(&self) -> Context {
        let answerer = Some(self.facts.clone() as Arc<dyn Answerer>);
        Context { address: Some(self.facts.address), request_id: self.facts.request_id, answerer }
    }

    /// The headers, for what is no operation's business: cookies and what browsers say of a page.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.facts.body
    }

    /// Whether nobody on the way could read it.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.facts.encrypted
    }

    #[cfg(test)]
    pub(crate) fn body_len(&self) -> usize {
        self.facts.body.len()
    }

    /// From where it came.
    pub(crate) fn address(&self) -> IpAddr {
        self.facts.address
    }

    /// The `Idempotency-Key`, if there is one.
    ///
    /// # Errors
    ///
    /// 400 for a key that is empty, too long or not visible ASCII.
    pub(crate) fn once(&self, api: &Api, owner: KeyOwner<'_>) -> Result<Option<IdempotencyKey>, Problem> {
        self.idempotency_key(&api.idempotency_salt, owner)
    }

    fn idempotency_key(&self, salt: &[u8; 32], owner: KeyOwner<'_>) -> Result<Option<IdempotencyKey>, Problem> {
        let Some(key) = self.headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
        let key = key.as_bytes();
        if !(1..=IDEMPOTENCY_KEY_LEN_MAX).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
            return Err(Refusal::field("Idempotency-Key", "must be 1 to 255 visible ASCII characters").into());
        }
        let mut credential = Vec::with_capacity(128);
        let mut add = |part: &str| {
            // Lengths keep two parts from being read as two others.
            credential.extend_from_slice(&part.len().to_be_bytes());
            credential.extend_from_slice(part.as_bytes());
        };
        match owner {
            KeyOwner::Minter(app) => match self.credential(&[Kind::AppSecret, Kind::AdminToken]) {
                Credential::None => add(app),
                credential => add(credential_text(&credential)),
            },
            KeyOwner::Knower(parts) => parts.iter().copied().for_each(&mut add),
            KeyOwner::Speaker(Caller::Endpoint { session, app }) => {
                add(&app.id.to_string());
                add(session.record.grant.endpoint_id.as_str());
            }
            KeyOwner::Caller | KeyOwner::Speaker(Caller::Anonymous | Caller::App { .. } | Caller::Admin { .. }) => {
                add(credential_text(&self.credential(Kind::ALL)));
            }
        }
        credential.extend_from_slice(salt);
        // The path and not its template: the same key for another app's secret is another request.
        let route = format!("{} {}", self.method, self.uri.path());
        // The query may hold what otherwise the body does.
        let body = match self.uri.query() {
            None => Cow::Borrowed(&self.facts.body[..]),
            Some(query) => {
                let mut whole = self.facts.body.to_vec();
                for (name, value) in input::query_fields(query) {
                    whole.extend_from_slice(format!("\0{name}\0{value}").as_bytes());
                }
                Cow::Owned(whole)
            }
        };
        let made = IdempotencyKey::new(&credential, &route, key, &body);
        // `Secret` wipes what it holds.
        drop(String::from_utf8(credential).map(Secret::new));
        Ok(Some(made))
    }

    /// The credential that [`Terms::admit`] proves, for what goes on after the answer began.
    pub(crate) fn shown_credential(&self) -> Credential {
        self.credential(Kind::ALL)
    }

    /// The app and endpoint it is about, as far as they are known.
    pub(crate) fn subject(&self) -> Subject {
        self.facts.subject()
    }

    /// Notes which app and endpoint it is about, where the credential does not say it.
    pub(crate) fn concerns(&self, app_id: AppId, endpoint_id: Option<&EndpointId>) {
        self.facts.concerns(app_id, endpoint_id);
    }

    /// Begins the operation of this name: what is logged while it is done stands in this span.
    pub(crate) fn begin(&self, operation: &'static str) -> Span {
        self.facts.begin(operation)
    }

    /// The span for what is logged afterwards.
    pub(crate) fn span(&self) -> Span {
        self.facts.span()
    }

    /// Says what was done if this is answered with 200: figures count it.
    pub(crate) fn counts_as(&self, deed: Deed) {
        let _ = self.facts.deed.set(deed);
    }

    /// The socket it came over, if not by HTTP.
    pub(crate) fn socket(&self) -> Option<&Arc<Socket>> {
        self.facts.socket.as_ref()
    }

    /// The page that asks, if a browser says one.
    pub(crate) fn origin(&self) -> Option<Cow<'_, str>> {
        if let Some(socket) = self.socket() {
            return socket.opening.origin.as_deref().map(Cow::Borrowed);
        }
        let origin = self.headers.get(ORIGIN)?;
        (!origin.is_empty()).then(|| String::from_utf8_lossy(origin.as_bytes()))
    }

    /// The first of `kinds` in the headers, else the first of them in the query, else the socket's own if it is of one.
    fn credential(&self, kinds: &[Kind]) -> Credential {
        let found = find_credential(&self.headers, self.uri.query(), kinds);
        match (found, self.socket()) {
            (Credential::None, Some(socket)) if kinds.iter().any(|kind| kind.is_of(&socket.opening.credential)) => {
                socket.opening.credential.clone()
            }
            (found, _) => found,
        }
    }
}

/// What stands in `path` where `template` has parameters.
fn parameters<'a>(template: &'static str, path: &'a str) -> impl Iterator<Item = PercentDecode<'a>> {
    let pairs = template.split('/').zip(path.split('/'));
    pairs.filter(|(name, _)| name.starts_with('{')).map(|(_, text)| percent_decode_str(text))
}

/// The host that a request names. HTTP/2 has it in the URI.
pub(crate) fn host_of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    // HTTP/2 has it in the URI. With its port, as the header has it.
    headers.get(HOST).and_then(|value| value.to_str().ok()).or_else(|| Some(uri.authority()?.as_str()))
}

/// The refusal of one who has to wait `wait`.
pub(crate) fn throttled(wait: Duration) -> Problem {
    let retry_after_secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Refusal::Throttled { retry_after_secs }.into()
}

/// The one parameter of a path, decoded.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Problem::malformed_path()),
        }
    }
}

/// The two parameters of a path, decoded.
pub(crate) struct Ids(pub(crate) String, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((first, second))) => Ok(Self(first, second)),
            Err(_) => Err(Problem::malformed_path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;
    use respoke_core::id::RequestId;
    use respoke_wire::body::tokens::IssueToken;

    use super::*;

    async fn call(method: &str, uri: &str, headers: &[(&str, &str)], body: &'static str) -> Call {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let facts = Facts::new(RequestId::random(), IpAddr::V4(Ipv4Addr::LOCALHOST), Bytes::from(body));
        let (mut parts, ()) = request.extension(Arc::new(facts)).body(()).unwrap().into_parts();
        match Call::from_request_parts(&mut parts, &()).await {
            Ok(call) => call,
            Err(never) => match never {},
        }
    }

    async fn found(uri: &str, headers: &[(&str, &str)], kinds: &[Kind]) -> String {
        match call("GET", uri, headers, "").await.credential(kinds) {
            Credential::None => "none".to_owned(),
            Credential::AppToken(text) => format!("token {}", text.expose()),
            Credential::AppSecret(text) => format!("secret {}", text.expose()),
            Credential::AdminToken(text) => format!("admin {}", text.expose()),
        }
    }

    #[tokio::test]
    async fn one_credential_is_chosen_as_existing_clients_expect() {
        let all = [("Admin-Token", "a"), ("app-secret", "s"), ("APP-TOKEN", "t")];
        assert_eq!(found("/", &all, Kind::ALL).await, "token t");
        assert_eq!(found("/", &all, &[Kind::AppSecret, Kind::AdminToken]).await, "secret s");
        let unset = [("Admin-Token", "a"), ("App-Secret", "null"), ("App-Token", "undefined")];
        assert_eq!(found("/", &unset, Kind::ALL).await, "admin a");
        assert_eq!(found("/", &[("App-Token", " ")], Kind::ALL).await, "none");
        assert_eq!(found("/?App-Secret=q%2B", &[], Kind::ALL).await, "secret q+");
        assert_eq!(found("/?x=1&&ADMIN-TOKEN=q&app-token=null", &[], Kind::ALL).await, "admin q");
        // A header is closer than the query, whatever its kind.
        assert_eq!(found("/?app-token=q", &[("Admin-Token", "a")], Kind::ALL).await, "admin a");
        assert_eq!(found("/?app-token=q", &[], &[Kind::AppSecret]).await, "none");
    }

    async fn key(uri: &str, headers: &[(&str, &str)], body: &'static str, owner: KeyOwner<'_>) -> ([u8; 32], [u8; 32]) {
        let mut all = vec![("Idempotency-Key", "k")];
        all.extend(headers);
        let key = call("POST", uri, &all, body).await.idempotency_key(&[7; 32], owner).unwrap().unwrap();
        (key.key, key.request)
    }

    #[tokio::test]
    async fn a_key_is_its_callers_its_routes_and_its_requests_own() {
        let secret = [("App-Secret", "s")];
        let first = key("/v1/roles", &secret, "{}", KeyOwner::Caller).await;
        assert_eq!(first, key("/v1/roles", &secret, "{}", KeyOwner::Caller).await);
        assert_eq!(first, key("/v1/roles?app-secret=s", &[], "{}", KeyOwner::Caller).await, "the carrier is no matter");
        assert_ne!(first.0, key("/v1/apps", &secret, "{}", KeyOwner::Caller).await.0);
        assert_ne!(first.0, key("/v1/roles", &[("App-Secret", "other")], "{}", KeyOwner::Caller).await.0);
        let other = key("/v1/roles", &secret, r#"{"name":"x"}"#, KeyOwner::Caller).await;
        assert_eq!(first.0, other.0);
        assert_ne!(first.1, other.1);
        let query = key("/v1/roles?name=x", &secret, "{}", KeyOwner::Caller).await;
        assert_ne!(first.1, query.1, "a field of the query is part of the request");
        let split = key("/", &[], "", KeyOwner::Knower(&["ab", "c"])).await;
        assert_ne!(split.0, key("/", &[], "", KeyOwner::Knower(&["a", "bc"])).await.0);
        let minter = key("/v1/tokens", &secret, "{}", KeyOwner::Minter("app")).await;
        assert_eq!(minter, key("/v1/tokens", &secret, "{}", KeyOwner::Minter("x")).await);
        assert_ne!(minter, key("/v1/tokens", &[], "{}", KeyOwner::Minter("app")).await);
    }

    #[tokio::test]
    async fn a_key_is_short_visible_text_or_absent() {
        let once = |key: String| async move {
            let call = call("POST", "/", &[("Idempotency-Key", key.as_str())], "").await;
            call.idempotency_key(&[0; 32], KeyOwner::Caller).map(|key| key.is_some()).map_err(|problem| problem.code())
        };
        assert_eq!(once("x".repeat(255)).await, Ok(true));
        for wrong in [String::new(), "x".repeat(256), "a b".to_owned(), "é".to_owned()] {
            assert_eq!(once(wrong).await, Err("invalid"));
        }
        let none = call("POST", "/", &[], "").await.idempotency_key(&[0; 32], KeyOwner::Caller);
        assert!(none.unwrap().is_none());
    }

    #[tokio::test]
    async fn input_is_read_from_query_and_body() {
        let call = call(
            "PUT",
            "/v1/tokens?App-Secret=s&ttl=60",
            &[("content-type", "application/json")],
            r#"{"endpointId":"jo"}"#,
        )
        .await;
        let body: IssueToken = call.read().unwrap();
        assert_eq!((body.endpoint_id.as_deref(), body.ttl), (Some("jo"), Some(60)));
        assert_eq!(call.context().address, Some(Ipv4Addr::LOCALHOST.into()));
    }
}
