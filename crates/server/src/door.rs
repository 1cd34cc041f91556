//! What every request passes through, outermost: its id, its address, its body, CORS, the headers of every answer.
//!
//! It stands around the router as plain code and not as layers, so that what is the same for all requests costs no
//! boxed future of its own and is read in one place.
//!
//! Invariant: no answer leaves without a `Request-Id`, and no problem without a body.
//! Invariant: neither path nor query is ever logged; the route's template is.

mod address;
mod body;
mod change;
#[cfg(test)]
mod hang_up;
mod headers;
mod host;
mod nobody;
mod request_ids;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, EXPECT, ORIGIN, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use ipnet::IpNet;
use respoke_core::id::RequestId;
use respoke_hub::Socket;
use respoke_wire::form::{self, NotText};
use respoke_wire::input::{BODY_LEN_MAX, DecodeError};
use respoke_wire::tunnel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tower::Service;
use uuid::Uuid;

use address::{client_address, proxy_says_https};
use body::{BODY_TIMEOUT, read_body};
use change::{Change, answered};
use headers::{add_headers, is_preflight, preflight};
use host::is_host_sound;
use nobody::Access;
use request_ids::RequestIds;

use crate::call::Facts;
use crate::limits::{Accounts, Errand, LIMITED_PAUSE, Limits, Standing};
use crate::problem::{Problem, Shape};
use crate::router::router;
use crate::socket::{self, Client, Knock, Sockets};
use crate::state::Api;
use crate::transport::{CallerKey, Place, Places, Reader, RequestBody, head_len};
use crate::watch::{Answered, Watch};

pub(crate) use headers::HEADERS_USUAL;

/// The longest form of the console: a large role, once as switches and once as JSON, each form-encoded.
const CONSOLE_BODY_LEN_MAX: usize = 256 * 1024;
/// Long answers that are made whole at once, for sockets. A history may have some megabytes.
const WHOLE_ANSWERS: usize = 4;
/// The longest head of a request. HTTP/1.1 reads no more than that.
pub(crate) const HEAD_LEN_MAX: usize = 64 * 1024;
/// The route of a request that reached no handler, in logs and metrics.
pub(crate) const UNMATCHED: &str = "unmatched";

/// The way in.
#[derive(Debug)]
pub struct Door {
    router: Router,
    watch: Arc<Watch>,
    /// Whom long answers are charged to.
    accounts: Arc<Accounts>,
    /// What is asked by nobody in particular draws from these.
    limits: Arc<Limits>,
    trusted_proxies: Vec<IpNet>,
    /// Whether connections are encrypted here.
    tls: bool,
    places: Arc<Places>,
    request_ids: RequestIds,
    changes: TaskTracker,
    /// Turns at making a long answer whole.
    whole_answers: Arc<Semaphore>,
    /// The door beside this one; a router under test stands without it.
    sockets: Option<Arc<Sockets>>,
}

impl Door {
    /// A door to all operations of `api`, over HTTP and over sockets; forwarded addresses are believed of
    /// `trusted_proxies` alone.
    #[must_use]
    pub(crate) fn new(api: Arc<Api>, sockets: Arc<Sockets>, trusted_proxies: Vec<IpNet>, tls: bool) -> Self {
        let (watch, places, accounts) = (api.watch.clone(), api.places.clone(), api.accounts.clone());
        let limits = api.limits.clone();
        let request_ids = RequestIds::new(api.broker.chance());
        let door = Self::around(router(api), request_ids, watch, places, accounts, limits, trusted_proxies);
        Self { sockets: Some(sockets), tls, ..door }
    }

    fn around(
        router: Router,
        request_ids: RequestIds,
        watch: Arc<Watch>,
        places: Arc<Places>,
        accounts: Arc<Accounts>,
        limits: Arc<Limits>,
        trusted_proxies: Vec<IpNet>,
    ) -> Self {
        let changes = TaskTracker::new();
        let whole_answers = Arc::new(Semaphore::new(WHOLE_ANSWERS));
        Self {
            router,
            watch,
            accounts,
            limits,
            trusted_proxies,
            tls: false,
            places,
            request_ids,
            changes,
            whole_answers,
            sockets: None,
        }
    }

    /// Whom a request comes from that `peer` brings.
    pub(crate) fn address_of(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        client_address(peer.ip(), headers, &self.trusted_proxies)
    }

    /// Answers a request of `address` that `peer` brought on the connection that holds `place`.
    pub(crate) async fn serve<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        peer: SocketAddr,
        address: IpAddr,
        place: &Arc<Place>,
    ) -> (Response, Asker)
    where
        B: RequestBody,
    {
        let refusal = if !is_host_sound(&request) {
            Some(Problem::malformed_host())
        } else if request.version() == Version::HTTP_2 && head_len(request.uri(), request.headers()) > HEAD_LEN_MAX {
            Some(Problem::head_too_large())
        } else if place.is_crowded() {
            Some(Problem::answers_unread())
        } else {
            None
        };
        let is_for_sockets = refusal.is_none() && socket::is_socket_path(request.uri().path());
        let (response, asker) = if let Some(sockets) = self.sockets.as_ref().filter(|_| is_for_sockets) {
            let (response, socket) = sockets.serve(self, Knock { request, address, place: place.clone() }).await;
            let who = socket.map_or(Who::Anybody, Who::Socket);
            (response, Asker { places: self.places.clone(), who, address })
        } else {
            self.serve_http(request, peer, address, refusal).await
        };
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            tokio::time::sleep(LIMITED_PAUSE).await;
        }
        (response, asker)
    }

    /// Answers a request for an operation or a page, or says why not.
    async fn serve_http<B>(
        &self,
        request: http::Request<B>,
        peer: SocketAddr,
        address: IpAddr,
        refusal: Option<Problem>,
    ) -> (Response, Asker)
    where
        B: RequestBody,
    {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let request_id = self.request_ids.next();
        let mut id_buffer = Uuid::encode_buffer();
        let id_text: &str = request_id.uuid().hyphenated().encode_lower(&mut id_buffer);
        let origin = parts.headers.get(ORIGIN).filter(|origin| !origin.is_empty()).cloned();
        let method = method_name(&parts.method);
        strip_slashes(&mut parts.uri);
        let place = Family::of(parts.uri.path());
        let access = place.access(&parts.method, parts.uri.path());
        let encrypted = self.tls || proxy_says_https(peer.ip(), &parts.headers, &self.trusted_proxies);
        let (mut facts, mut is_counted) = (None, false);

        let mut response = if refusal.is_none() && is_preflight(&parts.method, &parts.headers) {
            is_counted = true;
            let drawn = self.limits.check_errand(Errand::Preflight, address);
            drawn.map_or_else(|limited| Problem::from(limited).into_response(), |()| preflight())
        } else {
            let read = match refusal {
                Some(refusal) => Err(refusal),
                None => {
                    let asks_first = parts.headers.contains_key(EXPECT);
                    read_body(body, place.body_len_max(), asks_first, BODY_TIMEOUT).await
                }
            };
            match read {
                Ok(body) => {
                    let known = Arc::new(Facts::new(request_id, address, body).encrypted(encrypted));
                    parts.extensions.insert(known.clone());
                    facts = Some(known);
                    let request = Request::from_parts(parts, Body::empty());
                    is_counted = access.is_probe();
                    let admitted = self.admit_anybody(access, address);
                    if let Err(problem) = admitted.and_then(|()| check_query(request.uri())) {
                        problem.into_response()
                    } else if place == Family::Elsewhere || request.method() == Method::GET {
                        self.route(request).await
                    } else {
                        self.change(request).await
                    }
                }
                Err(problem) => {
                    let mut response = problem.into_response();
                    // What was not read of the body must not be taken for the next request. HTTP/2 needs no word for it.
                    if parts.version < Version::HTTP_2 {
                        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    response
                }
            }
        };

        if !is_counted && facts.as_ref().is_none_or(|facts| facts.names_nobody()) {
            let limited = self.draw_for_nobody(&mut response, matches!(method, "GET" | "HEAD"), address);
            if let (Some(limited), Some(facts)) = (limited, &facts) {
                let _ = facts.standing.set(limited.standing);
            }
        }
        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = &problem {
            problem.render(&mut response, id_text, place.shape());
        }
        let len = response.body().size_hint().lower();
        match (access, &facts) {
            (_, None) | (Access::Health, _) => {}
            (Access::Documents, Some(_)) => self.accounts.read_by_anybody(address, len),
            (Access::Figures, Some(_)) => self.limits.read_figures(address, len),
            (Access::Callers, Some(facts)) => self.charge(facts, len),
        }
        let standing = facts.as_ref().and_then(|facts| facts.standing.get());
        add_headers(response.headers_mut(), id_text, place, standing, origin);
        self.note(&Answered {
            request_id,
            method,
            facts: facts.as_deref(),
            address,
            status: response.status().as_u16(),
            problem: problem.as_ref(),
            took: started.elapsed(),
        });
        (response, Asker { places: self.places.clone(), who: facts.map_or(Who::Anybody, Who::Caller), address })
    }

    /// Answers a request that came over a client's socket.
    pub(crate) async fn tunnel(
        &self,
        client: &Client,
        method: tunnel::Method,
        request: &tunnel::Request<'_>,
    ) -> Tunnelled {
        let started = Instant::now();
        let request_id = self.request_ids.next();
        let mut id_buffer = Uuid::encode_buffer();
        let id_text: &str = request_id.uuid().hyphenated().encode_lower(&mut id_buffer);
        let body = request.data.map(|data| Bytes::copy_from_slice(data.as_bytes())).unwrap_or_default();
        let facts = Facts::new(request_id, client.socket.opening.address, body).over(client.socket.clone());
        let facts = Arc::new(facts);
        let mut response = match tunnelled_request(method, request) {
            Ok(mut inner) => {
                inner.extensions_mut().insert(facts.clone());
                self.route(inner).await
            }
            Err(problem) => problem.into_response(),
        };
        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = &problem {
            problem.render(&mut response, id_text, Shape::Recorded);
        }
        self.note(&Answered {
            request_id,
            method: method.as_str(),
            facts: Some(&facts),
            address: facts.address,
            status: response.status().as_u16(),
            problem: problem.as_ref(),
            took: started.elapsed(),
        });
        let standing = facts.standing.get().copied().unwrap_or(Standing::UNLIMITED);
        let retry_after_secs = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        // Nearly every answer is in memory already. One that is made as it is taken is made at once here, and counted once it
        // waits for the socket; until then it has a turn.
        let is_made = response.body().size_hint().exact().is_some();
        let turn = if is_made { None } else { self.whole_answers.clone().acquire_owned().await.ok() };
        let (status, body) = match response.into_body().collect().await {
            Ok(body) => (status, body.to_bytes()),
            Err(error) => Box::pin(broken_off(error, id_text)).await,
        };
        self.charge(&facts, body.len() as u64);
        let route = facts.route.get().cloned();
        Tunnelled {
            id: request_id,
            request_id: id_text.to_owned(),
            route,
            status,
            standing,
            retry_after_secs,
            body,
            turn,
        }
    }

    /// Answers a request over a client's socket that could not be read.
    pub(crate) async fn refuse_tunnelled(&self, client: &Client, problem: Problem) -> Tunnelled {
        let started = Instant::now();
        let id = self.request_ids.next();
        let request_id = id.to_string();
        let mut response = problem.clone().into_response();
        problem.render(&mut response, &request_id, Shape::Recorded);
        let facts = Facts::new(id, client.socket.opening.address, Bytes::new()).over(client.socket.clone());
        self.note(&Answered {
            request_id: id,
            method: "OTHER",
            facts: Some(&facts),
            address: facts.address,
            status: response.status().as_u16(),
            problem: Some(&problem),
            took: started.elapsed(),
        });
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Tunnelled {
            id,
            request_id,
            route: None,
            status,
            standing: Standing::UNLIMITED,
            retry_after_secs: None,
            body,
            turn: None,
        }
    }

    /// The answer to what `peer` sent that is no request, as the HTTP library found it, which says `status` and the date.
    pub(crate) fn refuse_head(&self, status: u16, date: &str, peer: SocketAddr) -> Vec<u8> {
        let started = Instant::now();
        let request_id = self.request_ids.next();
        let id_text = request_id.to_string();
        let problem = if status == 400 { Problem::malformed_head() } else { Problem::head_too_large() };
        let mut response = problem.clone().into_response();
        problem.render(&mut response, &id_text, Shape::Recorded);
        add_headers(response.headers_mut(), &id_text, Family::Elsewhere, None, None);
        self.note(&Answered {
            request_id,
            method: "OTHER",
            facts: None,
            address: peer.ip().to_canonical(),
            status: problem.status().as_u16(),
            problem: Some(&problem),
            took: started.elapsed(),
        });
        let (parts, body) = response.into_parts();
        let body = body.collect().now_or_never().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
        let body = body.unwrap_or_default();
        let mut answer = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
        for (name, value) in &parts.headers {
            answer.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let len = body.len();
        answer.extend_from_slice(
            format!("content-length: {len}\r\nconnection: close\r\ndate: {date}\r\n\r\n").as_bytes(),
        );
        answer.extend_from_slice(&body);
        answer
    }

    /// Charges an answer to who asked for it.
    fn charge(&self, facts: &Facts, len: u64) {
        if let Some(payer) = facts.payer.get() {
            self.accounts.answered(payer, facts.address, len);
        }
    }

    /// Counts and logs an answer.
    fn note(&self, answered: &Answered<'_>) {
        let route = answered.facts.and_then(|facts| facts.route.get()).map_or(UNMATCHED, |route| route.as_str());
        self.watch.note(answered, route);
        let Answered { request_id, method, status, problem, took, .. } = *answered;
        tracing::debug!(
            request.id = %request_id,
            method,
            route,
            status,
            code = problem.map(Problem::code),
            lapse = problem.and_then(Problem::lapse),
            took_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
    }

    /// Calls the router for a request that may change something.
    ///
    /// It runs to its end even if the client goes away: a revocation that is committed must also reach what is
    /// remembered of the database, and a request dropped halfway would leave that behind.
    async fn change(&self, request: Request) -> Response {
        answered(Change::begin(self.router.clone().call(request), &self.changes)).await
    }

    /// Waits for the changes under way.
    pub async fn finish(&self) {
        self.changes.close();
        self.changes.wait().await;
    }

    /// Calls the router; a panic of a handler becomes a problem, not a broken connection.
    async fn route(&self, request: Request) -> Response {
        answered(self.router.clone().call(request)).await
    }
}

/// Who asked, for whom an answer counts as long as it is not read.
pub(crate) struct Asker {
    places: Arc<Places>,
    who: Who,
    address: IpAddr,
}

/// What is known of who asked.
enum Who {
    Anybody,
    /// A request's caller, as far as that was proved.
    Caller(Arc<Facts>),
    /// A client that polls its socket.
    Socket(Arc<Socket>),
}

impl Asker {
    pub(crate) fn key(&self) -> CallerKey {
        let unread = &self.places.unread;
        match &self.who {
            Who::Anybody => unread.key(Reader::Anybody, self.address),
            Who::Caller(facts) => facts.unread_by(unread),
            Who::Socket(socket) => unread.key(Reader::of(&socket.opening.caller), socket.opening.address),
        }
    }
}

/// The answer to a request over a socket.
pub(crate) struct Tunnelled {
    pub(crate) id: RequestId,
    pub(crate) request_id: String,
    /// None: no handler was reached.
    pub(crate) route: Option<MatchedPath>,
    pub(crate) status: u16,
    pub(crate) standing: Standing,
    pub(crate) retry_after_secs: Option<u64>,
    /// A JSON object or array.
    pub(crate) body: Bytes,
    /// The turn at making it, kept until it waits for the socket.
    #[expect(dead_code, reason = "it ends by being dropped")]
    turn: Option<OwnedSemaphorePermit>,
}

/// What is answered over a socket when the answer could not be made to its end.
async fn broken_off(error: axum::Error, request_id: &str) -> (u16, Bytes) {
    let problem = Problem::internal(error);
    let mut refused = problem.clone().into_response();
    problem.render(&mut refused, request_id, Shape::Recorded);
    let body = refused.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (problem.status().as_u16(), body)
}

/// A request over a socket as the router takes it. Only the API is there: its answers are JSON.
fn tunnelled_request(method: tunnel::Method, request: &tunnel::Request<'_>) -> Result<Request, Problem> {
    let path = match request.path.trim_end_matches('/') {
        path if Family::of(path) == Family::Api => path,
        _ => return Err(Problem::no_such_route()),
    };
    let target = match &request.query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Problem::malformed_path())?;
    let mut inner = Request::new(Body::empty());
    *inner.uri_mut() = Uri::from(target);
    check_query(inner.uri())?;
    *inner.method_mut() = match method {
        tunnel::Method::Get => Method::GET,
        tunnel::Method::Post => Method::POST,
        tunnel::Method::Put => Method::PUT,
        tunnel::Method::Delete => Method::DELETE,
        tunnel::Method::Patch => Method::PATCH,
    };
    for (name, value) in &request.headers {
        // What is no header over HTTP is none here.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            inner.headers_mut().append(name, value);
        }
    }
    Ok(inner)
}

/// Refuses a query that is not UTF-8 text, so that whoever reads it need not guess.
fn check_query(uri: &Uri) -> Result<(), Problem> {
    match uri.query().map(form::query_pairs) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(NotText)) => Err(DecodeError::NotText.into()),
    }
}

/// Which family of routes a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Api,
    OAuth,
    Console,
    Elsewhere,
}

impl Family {
    fn of(path: &str) -> Self {
        let within = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if within("/v1") {
            Self::Api
        } else if within("/oauth") {
            Self::OAuth
        } else if within("/console") {
            Self::Console
        } else {
            Self::Elsewhere
        }
    }

    fn shape(self) -> Shape {
        match self {
            Self::OAuth => Shape::OAuth,
            Self::Console => Shape::Page,
            Self::Api | Self::Elsewhere => Shape::Recorded,
        }
    }

    fn body_len_max(self) -> usize {
        match self {
            Self::Console => CONSOLE_BODY_LEN_MAX,
            Self::Api | Self::OAuth | Self::Elsewhere => BODY_LEN_MAX,
        }
    }
}

/// A method as a metric's label, of which there must be few.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// Removes slashes from the end of the path, of which existing clients send some or none.
fn strip_slashes(uri: &mut Uri) {
    let path = uri.path();
    let kept = path.trim_end_matches('/');
    if kept.len() == path.len() || kept.is_empty() {
        return;
    }
    let text = match uri.query() {
        Some(query) => format!("{kept}?{query}"),
        None => kept.to_owned(),
    };
    // A part of a valid path is a valid path; were it not, the slashes would stay and the route not be found.
    if let Ok(stripped) = PathAndQuery::from_maybe_shared(Bytes::from(text)) {
        *uri = Uri::from(stripped);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::routing::{get, post};
    use http_body_util::Full;
    use respoke_core::chance::of_this_test;
    use respoke_core::refusal::Refusal;
    use tokio::sync::Notify;

    use super::headers::BY_ORIGIN;
    use super::*;
    use crate::call::Call;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5);

    fn door() -> Door {
        let router = Router::new()
            .route("/v1/len", get(|call: Call| async move { call.body_len().to_string() }).post(length))
            .route("/v1/panic", get(broken).post(broken))
            .route("/v1/refused", get(|_: Call| async { Problem::from(Refusal::NotFound("Roles")) }))
            .route("/metrics", get(async || "x".repeat(5 << 20)))
            .route("/healthz", get(async || "ok"))
            .route("/oauth/refused", get(|_: Call| async { Problem::from(Refusal::Unauthenticated) }))
            .fallback(async || Problem::no_such_route())
            .method_not_allowed_fallback(async || Problem::method_not_allowed());
        {
            let clock = Arc::new(respoke_core::clock::SystemClock);
            let accounts = Arc::new(Accounts::new(clock.clone()));
            let limits = Limits::new(respoke_core::app::Rate { per_second: 1_000, burst: 1_000 }, clock.clone());
            let watch = Watch::new(Arc::new(crate::metrics::Metrics::default()), 0, clock);
            let places = Places::for_tests(watch.metrics.clone());
            let request_ids = RequestIds::new(&*of_this_test());
            Door::around(router, request_ids, Arc::new(watch), places, accounts, Arc::new(limits), Vec::new())
        }
    }

    async fn broken(call: Call) -> String {
        assert!(call.body_len() > 0, "canary");
        String::new()
    }

    async fn length(call: Call) -> String {
        call.body_len().to_string()
    }

    async fn ask(
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> (StatusCode, HeaderMap, String) {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(door().serve_http(request.body(Full::from(body)).unwrap(), PEER, PEER.ip(), None).await.0).await
    }

    async fn answer(response: Response) -> (StatusCode, HeaderMap, String) {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if let Some(length) = parts.headers.get("content-length") {
            assert_eq!(length, &body.len().to_string(), "hyper panics over a wrong length");
        }
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_answer_has_its_headers() {
        let (status, headers, body) = ask("GET", "/v1/len//", &[], "").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "0"));
        assert_eq!(headers["ratelimit-limit"], "1000");
        assert_eq!(headers["ratelimit-time-units"], "seconds");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let id = headers["request-id"].to_str().unwrap();
        assert_eq!(RequestId::parse(id).unwrap().to_string(), id);
        assert!(!headers.contains_key("access-control-allow-origin"));
    }

    #[tokio::test]
    async fn a_problem_gets_its_body_with_the_requests_id() {
        let (status, headers, body) = ask("GET", "/v1/refused", &[], "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(headers["content-type"], "application/json; charset=utf-8");
        assert!(body.contains(headers["request-id"].to_str().unwrap()), "{body}");
        let (_, _, body) = ask("GET", "/oauth/refused", &[], "").await;
        assert!(body.contains("invalid_client"), "{body}");
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_problems() {
        let (status, _, body) = ask("GET", "/v1", &[], "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body.starts_with('{') && body.contains("no_such_route"), "{body}");
        let (status, headers, body) = ask("DELETE", "/v1/len", &[], "").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(headers["allow"].to_str().unwrap().contains("POST"));
        assert!(body.contains("method_not_allowed"));
    }

    #[tokio::test]
    async fn figures_are_charged_by_what_is_sent_of_them() {
        let door = door();
        let ask = async |path: &str| {
            let request = http::Request::get(path).body(Full::from("")).unwrap();
            answer(door.serve_http(request, PEER, PEER.ip(), None).await.0).await
        };
        assert_eq!(ask("/metrics").await.0, StatusCode::OK);
        let (status, headers, body) = ask("/metrics").await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "it owes a megabyte");
        assert!(headers.contains_key("retry-after") && body.contains("rate_limited"), "{body}");
        for path in ["/healthz", "/v1/len"] {
            assert_eq!(ask(path).await.0, StatusCode::OK, "{path}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_says_nothing() {
        for method in ["GET", "POST"] {
            let (status, _, body) = ask(method, "/v1/panic", &[], "").await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
            assert!(body.contains("internal error") && !body.contains("canary"), "{body}");
        }
    }

    #[tokio::test]
    async fn a_change_that_panics_does_not_go_on() {
        let door = door();
        let request = http::Request::post("/v1/panic").body(Full::from("")).unwrap();
        assert_eq!(door.serve_http(request, PEER, PEER.ip(), None).await.0.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(door.changes.is_empty(), "no task goes on with it");
    }

    #[tokio::test]
    async fn the_end_waits_for_changes_whoever_runs_them() {
        let (gate, changed) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let change = {
            let (gate, changed) = (gate.clone(), changed.clone());
            async move || {
                gate.notified().await;
                changed.store(true, Ordering::Relaxed);
            }
        };
        let door = Door { router: Router::new().route("/v1/change", post(change)), ..door() };
        let request = http::Request::post("/v1/change").body(Full::from("")).unwrap();
        let mut asking = Box::pin(door.serve_http(request, PEER, PEER.ip(), None));
        assert!(futures_util::poll!(asking.as_mut()).is_pending());
        let mut finishing = pin!(door.finish());
        assert!(futures_util::poll!(finishing.as_mut()).is_pending(), "it is run where its request waits");
        drop(asking);
        tokio::task::yield_now().await;
        assert!(futures_util::poll!(finishing.as_mut()).is_pending(), "it is run by a task");
        gate.notify_one();
        finishing.await;
        assert!(changed.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn pages_are_answered_by_their_origin() {
        let origin = ("origin", "https://page.test");
        let (status, headers, body) =
            ask("OPTIONS", "/v1/anything", &[origin, ("access-control-request-method", "DELETE")], "").await;
        assert_eq!((status, body.as_str()), (StatusCode::NO_CONTENT, ""));
        assert_eq!(headers["access-control-allow-origin"], "https://page.test");
        assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("App-Token"));
        let (_, headers, _) = ask("GET", "/v1/refused", &[origin], "").await;
        assert_eq!(
            (&headers["vary"], &headers["access-control-allow-origin"]),
            (&BY_ORIGIN, &"https://page.test".parse().unwrap())
        );
        assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("Request-Id"));
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused() {
        let request = http::Request::post("/v1/len").body(Full::from("x".repeat(BODY_LEN_MAX + 1))).unwrap();
        let (status, headers, body) = answer(door().serve_http(request, PEER, PEER.ip(), None).await.0).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(headers["connection"], "close");
        assert!(body.contains("body_too_large") && body.contains("requestId"), "{body}");
    }

    #[test]
    fn slashes_at_the_end_are_stripped_and_no_others() {
        for (given, expected) in [
            ("/v1/tokens/", "/v1/tokens"),
            ("/v1/tokens//", "/v1/tokens"),
            ("/v1/tokens/?a=/", "/v1/tokens?a=/"),
            ("/v1//tokens", "/v1//tokens"),
            ("/", "/"),
            ("/v1/a%2F/", "/v1/a%2F"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            strip_slashes(&mut uri);
            assert_eq!(uri.to_string(), expected);
        }
    }

    #[test]
    fn places_are_whole_segments() {
        assert_eq!(Family::of("/v1"), Family::Api);
        assert_eq!(Family::of("/v1/tokens"), Family::Api);
        assert_eq!(Family::of("/v10"), Family::Elsewhere);
        assert_eq!(Family::of("/oauth/revoke"), Family::OAuth);
    }
}
