//! A request as handlers see it: who asks, from where, with what input, and how often they may.
//!
//! Handlers take a [`Call`] and nothing else of the request. The door puts [`Facts`] into the request's extensions and
//! reads back what the call found out.
//!
//! Invariant: of several credentials exactly one is looked at, and if that one is wrong the request is refused; the only
//! routes that ignore a wrong one are those that need none.

mod shown;

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, OriginalUri, Path};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Uri};
use respoke_core::id::{AppId, EndpointId, RequestId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::ops::{Caller, Context, Credential};
use respoke_core::refusal::Refusal;
use respoke_core::secret::Secret;
use respoke_hub::Socket;
use respoke_wire::body::oauth::TokenQuestion;
use respoke_wire::input::{self, Input};
use serde::de::DeserializeOwned;

use shown::{Kind, authorization, credential_text, find_credential};

use crate::deed::Deed;
use crate::facts::{Facts, Subject, asker};
use crate::limits::Demand;
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
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Infallible;

    /// Takes the headers and the URI out of the request, so it has to be a handler's last argument.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let facts = parts.extensions.get::<Arc<Facts>>().cloned().unwrap_or_else(|| {
            // Only a router without its door gets here.
            let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            Arc::new(Facts::new(RequestId::from_uuid(uuid::Uuid::nil()), nowhere, Bytes::new()))
        });
        if let Some(route) = parts.extensions.remove::<MatchedPath>() {
            let _ = facts.route.set(route);
        }
        // A router within another sees the rest of the path alone.
        let uri = parts.extensions.remove::<OriginalUri>().map(|OriginalUri(uri)| uri);
        Ok(Self {
            facts,
            method: parts.method.clone(),
            headers: std::mem::take(&mut parts.headers),
            uri: uri.unwrap_or_else(|| std::mem::take(&mut parts.uri)),
        })
    }
}

impl Call {
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

    /// For the audit log.
    pub(crate) fn context(&self) -> Context {
        Context { address: Some(self.facts.address), request_id: self.facts.request_id }
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

    /// Proves whichever credential the request carries; none is no error here.
    ///
    /// # Errors
    ///
    /// 401 for a credential that is not valid, 403 for a page that may not use the app, 429.
    pub(crate) async fn authenticate(&self, api: &Api) -> Result<Caller, Problem> {
        self.authenticate_for(api, Demand::Request).await
    }

    /// The same for saying something to others, which has rates of its own besides.
    ///
    /// # Errors
    ///
    /// As [`Self::authenticate`].
    pub(crate) async fn authenticate_speaking(&self, api: &Api) -> Result<Caller, Problem> {
        self.authenticate_for(api, Demand::Message).await
    }

    /// The same for what may have a long answer: lists, histories and the like.
    ///
    /// # Errors
    ///
    /// As [`Self::authenticate`]; 429 also as long as long answers before it are not paid off.
    pub(crate) async fn authenticate_reading(&self, api: &Api) -> Result<Caller, Problem> {
        let caller = self.authenticate(api).await?;
        match api.accounts.check(&caller, self.facts.address) {
            Ok(()) => Ok(caller),
            Err(limited) => Err(Problem::rate_limited(limited.retry_after)),
        }
    }

    async fn authenticate_for(&self, api: &Api, demand: Demand) -> Result<Caller, Problem> {
        let caller = self.prove(api, self.credential(Kind::ALL)).await?;
        self.check_origin(&caller)?;
        self.admit(api, demand, &caller, None)?;
        Ok(caller)
    }

    /// For minting a token in `app` for `endpoint`: an App-Token is not looked at. respoke-admin sends one beside its
    /// App-Secret, and respoke.js a stale one in development mode.
    ///
    /// # Errors
    ///
    /// As [`Self::authenticate`].
    pub(crate) async fn authenticate_minting(
        &self,
        api: &Api,
        app: Option<AppId>,
        endpoint: Option<&str>,
    ) -> Result<Caller, Problem> {
        let caller = self.prove(api, self.credential(&[Kind::AppSecret, Kind::AdminToken])).await?;
        // What is no endpoint id draws from no endpoint's bucket, and is refused later on.
        let endpoint = endpoint.and_then(|text| EndpointId::parse(text).ok());
        self.admit(api, Demand::Request, &caller, endpoint.as_ref())?;
        if let (Caller::Anonymous, Some(id), Some(origin)) = (&caller, app, self.origin()) {
            // Without a credential it is the app's pages that mint; an app that is unknown is refused later on.
            let app = api.broker.store().app(id).await?;
            if app.is_some_and(|app| !app.settings.permits_origin(&origin)) {
                return Err(Refusal::OriginRefused.into());
            }
        }
        Ok(caller)
    }

    /// For opening a session: only an App-Token is looked at, and one that is not valid counts as none.
    ///
    /// # Errors
    ///
    /// 403, 429, and when the store fails.
    pub(crate) async fn authenticate_leniently(&self, api: &Api) -> Result<Caller, Problem> {
        let credential = self.credential(&[Kind::AppToken]);
        let proved = api.broker.authenticate(&credential, Some(self.facts.address)).await;
        self.admit_leniently(api, proved)
    }

    /// The same for closing a session, which one that expired needs as long as it speaks on its socket.
    ///
    /// # Errors
    ///
    /// As [`Self::authenticate_leniently`].
    pub(crate) async fn authenticate_leaving(&self, api: &Api) -> Result<Caller, Problem> {
        let proved = self.proved(api, self.credential(&[Kind::AppToken])).await;
        self.admit_leniently(api, proved)
    }

    fn admit_leniently(&self, api: &Api, proved: Result<Caller, Refusal>) -> Result<Caller, Problem> {
        let caller = match proved {
            Err(Refusal::Unauthenticated) => Caller::Anonymous,
            proved => proved?,
        };
        self.check_origin(&caller)?;
        self.admit(api, Demand::Request, &caller, None)?;
        Ok(caller)
    }

    /// For signing out: only an Admin-Token is looked at.
    ///
    /// # Errors
    ///
    /// As [`Self::authenticate`].
    pub(crate) async fn authenticate_admin(&self, api: &Api) -> Result<Caller, Problem> {
        let caller = self.prove(api, self.credential(&[Kind::AdminToken])).await?;
        self.admit(api, Demand::Request, &caller, None)?;
        Ok(caller)
    }

    /// For OAuth: an App-Secret or Admin-Token in its header, or an App-Secret as OAuth clients carry it.
    ///
    /// # Errors
    ///
    /// As [`Self::authenticate`]; 401 also for a client id that is not the App-Secret's app.
    ///
    /// # Source
    ///
    /// RFC 6749 section 2.3.1, RFC 6750 section 2.1.
    pub(crate) async fn authenticate_oauth(&self, api: &Api, question: &TokenQuestion) -> Result<Caller, Problem> {
        let mut client_id = question.client_id.clone();
        let mut credential = self.credential(&[Kind::AppSecret, Kind::AdminToken]);
        if let (Credential::None, Some(value)) = (&credential, self.headers.get(AUTHORIZATION)) {
            let (id, secret) = value.to_str().ok().and_then(authorization).ok_or(Refusal::Unauthenticated)?;
            client_id = id.or(client_id);
            credential = Credential::AppSecret(secret);
        }
        if let (Credential::None, Some(secret)) = (&credential, &question.client_secret) {
            credential = Credential::AppSecret(secret.clone());
        }
        let caller = self.prove(api, credential).await?;
        if let (Caller::App { app, .. }, Some(id)) = (&caller, client_id.filter(|id| !id.is_empty()))
            && AppId::parse(&id) != Some(app.id)
        {
            return Err(self.refused(api));
        }
        self.admit(api, Demand::Request, &caller, None)?;
        Ok(caller)
    }

    /// For the console: the Admin-Token of its cookie.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] for one that is not valid.
    pub(crate) async fn authenticate_visit(&self, api: &Api, token: &Secret) -> Result<Caller, Refusal> {
        let credential = Credential::AdminToken(token.clone());
        let caller = api.broker.authenticate(&credential, Some(self.facts.address)).await?;
        let _ = self.facts.asker.set(asker(&caller));
        Ok(caller)
    }

    /// For signing in, and whatever else needs no credential at all.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn admit_anonymous(&self, api: &Api) -> Result<(), Problem> {
        self.admit(api, Demand::Request, &Caller::Anonymous, None)
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

    async fn prove(&self, api: &Api, credential: Credential) -> Result<Caller, Problem> {
        match self.proved(api, credential).await {
            Err(Refusal::Unauthenticated) => Err(self.refused(api)),
            proved => Ok(proved?),
        }
    }

    async fn proved(&self, api: &Api, credential: Credential) -> Result<Caller, Refusal> {
        let own = self.socket().filter(|socket| match (&credential, &socket.opening.credential) {
            (Credential::AppToken(shown), Credential::AppToken(own)) => shown.expose() == own.expose(),
            _ => false,
        });
        // A session that expired while its socket was allowed to stay open still speaks on it.
        let kept = own.and_then(|socket| match &socket.opening.caller {
            Caller::Endpoint { session, .. } => Some((socket, session)),
            Caller::Anonymous | Caller::App { .. } | Caller::Admin { .. } => None,
        });
        if let Some((_, session)) = kept.filter(|(socket, _)| socket.kept()) {
            return Box::pin(api.broker.kept_caller(session)).await;
        }
        let proved = api.broker.authenticate(&credential, Some(self.facts.address)).await;
        if let (Err(Refusal::Unauthenticated), Some((socket, session))) = (&proved, kept) {
            // It may have expired just now. In a box, like what is above: it is rare and long, and would make the future
            // of every handler so long that the allocator takes its slow way for each request.
            Box::pin(api.hub.judge_one(socket)).await;
            if socket.kept() {
                return Box::pin(api.broker.kept_caller(session)).await;
            }
        }
        proved
    }

    fn refused(&self, api: &Api) -> Problem {
        self.counted(api, Refusal::Unauthenticated)
    }

    /// The refusal of a credential or tokenId that is not valid; whoever presents many of them is told to wait.
    pub(crate) fn counted(&self, api: &Api, refusal: Refusal) -> Problem {
        match api.throttle.credential_failed(self.facts.address, api.monotonic()) {
            Some(wait) => throttled(wait),
            None => refusal.into(),
        }
    }

    /// Draws from the buckets that `caller` draws from, and `endpoint`'s if the request is made for one.
    fn admit(&self, api: &Api, demand: Demand, caller: &Caller, endpoint: Option<&EndpointId>) -> Result<(), Problem> {
        let _ = self.facts.asker.set(asker(caller));
        self.check_unread(api)?;
        let (standing, result) = match api.limits.check(demand, caller, endpoint, self.facts.address) {
            Ok(standing) => (standing, Ok(())),
            Err(limited) => (limited.standing, Err(Problem::rate_limited(limited.retry_after))),
        };
        let _ = self.facts.standing.set(standing);
        if result.is_ok() {
            let _ = self.facts.payer.set(caller.clone());
        }
        result
    }

    /// Refuses who has to read first what was answered before.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn check_unread(&self, api: &Api) -> Result<(), Problem> {
        let unread = &api.places.unread;
        if unread.is_crowded(|| self.facts.unread_by(unread)) { Err(Problem::answers_unread()) } else { Ok(()) }
    }

    /// Refuses an endpoint whose page may not use the app.
    fn check_origin(&self, caller: &Caller) -> Result<(), Problem> {
        let Caller::Endpoint { app, .. } = caller else { return Ok(()) };
        match self.origin() {
            Some(origin) if !app.settings.permits_origin(&origin) => Err(Refusal::OriginRefused.into()),
            Some(_) | None => Ok(()),
        }
    }

    /// The credential that [`Self::authenticate`] proves, for what goes on after the answer began.
    pub(crate) fn shown_credential(&self) -> Credential {
        self.credential(Kind::ALL)
    }

    /// The app and endpoint it is about, as far as they are known.
    pub(crate) fn subject(&self) -> Subject {
        self.facts.subject()
    }

    /// Notes which app and endpoint it is about, where the credential does not say it.
    pub(crate) fn concerns(&self, app_id: AppId, endpoint_id: Option<&EndpointId>) {
        let _ = self.facts.about_app.set(app_id);
        if let Some(endpoint) = endpoint_id {
            let _ = self.facts.about_endpoint.set(endpoint.clone());
        }
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
