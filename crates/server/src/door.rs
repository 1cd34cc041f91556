//! What every request passes through, outermost: its id, its address, its body, CORS, the headers of every answer.
//!
//! It stands around the router as plain code and not as layers, so that what is the same for all requests costs no
//! boxed future of its own and is read in one place.
//!
//! Invariant: no answer leaves without a `Request-Id`, and no problem without a body.
//! Invariant: neither path nor query is ever logged; the route's template is.

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use bytes::{Bytes, BytesMut};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, CONNECTION,
    EXPECT, ORIGIN, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use ipnet::IpNet;
use respoke_core::id::RequestId;
use respoke_core::secret::random_uuid;
use respoke_wire::input::{BODY_LEN_MAX, DecodeError};
use respoke_wire::tunnel;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::Service;
use uuid::Uuid;

use crate::api::{self, Api};
use crate::call::Facts;
use crate::console;
use crate::limits::Standing;
use crate::problem::{Problem, Shape};
use crate::run::Place;
use crate::socket::{self, Client, Knock, Sockets};
use crate::watch::{Answered, Watch};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a body that is too large is read and thrown away: a client that is still sending when the connection
/// closes may never see the answer.
const DISCARDED_LEN_MAX: usize = 1 << 20;
/// The longest form of the console: a large role, once as switches and once as JSON, each form-encoded.
const CONSOLE_BODY_LEN_MAX: usize = 256 * 1024;
/// Headers that an answer has at most, unless a page asked: room for them is made once.
pub(crate) const HEADERS_USUAL: usize = 12;
/// The route of a request that reached no handler, in logs and metrics.
pub(crate) const UNMATCHED: &str = "unmatched";

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATELIMIT_TIME_UNITS: HeaderName = HeaderName::from_static("ratelimit-time-units");
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const SECONDS: HeaderValue = HeaderValue::from_static("seconds");
/// What a limit reads where there is none.
///
/// # Source
///
/// Existing clients divide 1,000 by `RateLimit-Limit` (section 3.2 of docs/protocol.md).
const UNLIMITED: HeaderValue = HeaderValue::from_static("1000");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const BY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "App-Token, App-Secret, Admin-Token, Respoke-SDK, Content-Type, Authorization, Idempotency-Key",
);
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Request-Id, RateLimit-Limit, RateLimit-Time-Units, RateLimit-Remaining, RateLimit, RateLimit-Policy, \
     Retry-After, Next-Cursor",
);
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("86400");

/// The way in.
#[derive(Debug)]
pub struct Door {
    router: Router,
    watch: Arc<Watch>,
    trusted_proxies: Vec<IpNet>,
    /// Whether connections are encrypted here.
    tls: bool,
    request_ids: RequestIds,
    changes: TaskTracker,
    /// The door beside this one; a router under test stands without it.
    sockets: Option<Arc<Sockets>>,
}

impl Door {
    /// A door to all operations of `api`, over HTTP and over sockets; forwarded addresses are believed of
    /// `trusted_proxies` alone.
    #[must_use]
    pub(crate) fn new(api: Arc<Api>, sockets: Arc<Sockets>, trusted_proxies: Vec<IpNet>, tls: bool) -> Self {
        let watch = api.watch.clone();
        Self { sockets: Some(sockets), tls, ..Self::around(api::router(api), watch, trusted_proxies) }
    }

    fn around(router: Router, watch: Arc<Watch>, trusted_proxies: Vec<IpNet>) -> Self {
        let (request_ids, changes) = (RequestIds::default(), TaskTracker::new());
        Self { router, watch, trusted_proxies, tls: false, request_ids, changes, sockets: None }
    }

    /// Answers a request that came from `peer` on the connection that holds `place`.
    pub(crate) async fn serve<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        peer: SocketAddr,
        place: &Arc<Place>,
    ) -> Response
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        if let Some(sockets) = self.sockets.as_ref().filter(|_| socket::is_socket_path(request.uri().path())) {
            let address = client_address(peer.ip(), request.headers(), &self.trusted_proxies);
            return sockets.serve(self, Knock { request, address, place: place.clone() }).await;
        }
        self.serve_http(request, peer).await
    }

    /// Answers a request for an operation or a page.
    async fn serve_http<B>(&self, request: http::Request<B>, peer: SocketAddr) -> Response
    where
        B: HttpBody<Data = Bytes> + Unpin,
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
        let address = client_address(peer.ip(), &parts.headers, &self.trusted_proxies);
        let encrypted = self.tls || proxy_says_https(peer.ip(), &parts.headers, &self.trusted_proxies);
        let mut facts = None;

        let mut response = if is_preflight(&parts.method, &parts.headers) {
            preflight()
        } else {
            match read_body(body, place.body_len_max(), parts.headers.contains_key(EXPECT), BODY_TIMEOUT).await {
                Ok(body) => {
                    let known = Arc::new(Facts::new(request_id, address, body).encrypted(encrypted));
                    parts.extensions.insert(known.clone());
                    facts = Some(known);
                    let request = Request::from_parts(parts, Body::empty());
                    if place == Family::Elsewhere || request.method() == Method::GET {
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

        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = &problem {
            problem.render(&mut response, id_text, place.shape());
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
        response
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
        // What handlers answer is in memory already.
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let route = facts.route.get().cloned();
        Tunnelled { id: request_id, request_id: id_text.to_owned(), route, status, standing, retry_after_secs, body }
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
        Tunnelled { id, request_id, route: None, status, standing: Standing::UNLIMITED, retry_after_secs: None, body }
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
        let mut change = Change {
            answering: Some(self.router.clone().call(request)),
            changes: &self.changes,
            _under_way: self.changes.token(),
        };
        answered(poll_fn(|context| change.poll(context))).await
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

/// The answer of a handler; its panic becomes a problem.
async fn answered(answering: impl Future<Output = Result<Response, Infallible>>) -> Response {
    let mut answering = pin!(answering);
    poll_fn(|context| {
        // What a handler shares with others is behind locks that a panic leaves sound, or atomic.
        match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => Poll::Ready(response),
            Ok(Poll::Ready(Err(never))) => match never {},
            Err(panic) => Poll::Ready(Problem::internal(panic_text(&*panic)).into_response()),
        }
    })
    .await
}

/// A change that goes on in a task of its own if whoever waits for it goes away.
struct Change<'a> {
    /// None: it has come to its end.
    answering: Option<RouteFuture<Infallible>>,
    changes: &'a TaskTracker,
    _under_way: TaskTrackerToken,
}

impl Change<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Response, Infallible>> {
        // One that panics has come to its end, too: it is not there to go on while it is polled.
        let Some(mut answering) = self.answering.take() else { return Poll::Pending };
        let polled = Pin::new(&mut answering).poll(context);
        if polled.is_pending() {
            self.answering = Some(answering);
        }
        polled
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if let (Some(answering), Ok(runtime)) = (self.answering.take(), Handle::try_current()) {
            self.changes.spawn_on(answering, &runtime);
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

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("no message"))
}

/// Makes request ids: unique, in no way secret, and without asking the system's generator each time.
#[derive(Debug)]
struct RequestIds {
    start: (u64, u64),
    count: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { start: random_uuid().as_u64_pair(), count: AtomicU64::new(0) }
    }
}

impl RequestIds {
    fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let high = scramble(self.start.0.wrapping_add(count));
        let low = scramble(self.start.1 ^ high);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        RequestId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// Spreads a number over 64 bits, one to one.
///
/// # Source
///
/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014).
fn scramble(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
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

/// Who asks: the peer, or behind our own proxies the nearest address that is none of them.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut nearest = peer.to_canonical();
    if !is_trusted(nearest) {
        return nearest;
    }
    // Each proxy appends whom it heard from, so the list is read from its end, and no further than it can be believed.
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        let Ok(line) = line.to_str() else { return nearest };
        for entry in line.rsplit(',') {
            let Some(address) = parse_forwarded(entry.trim()) else { return nearest };
            nearest = address;
            if !is_trusted(nearest) {
                return nearest;
            }
        }
    }
    nearest
}

/// An address, with or without a port.
fn parse_forwarded(entry: &str) -> Option<IpAddr> {
    let address = entry.parse::<IpAddr>().ok();
    let address = address.or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(bracketed).map(|address| address.to_canonical())
}

/// Whether a trusted proxy says that its client's connection is encrypted.
fn proxy_says_https(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|network| network.contains(&peer))
        && headers.get(FORWARDED_PROTO).is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// The whole body, within `len_max` and `timeout`. `asks_first`: the client waits for a word before it sends.
async fn read_body<B>(mut body: B, len_max: usize, asks_first: bool, timeout: Duration) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let reading = async {
        if body.size_hint().lower() > len_max as u64 {
            // A client that asks before it sends is told in time.
            if !asks_first {
                discard(&mut body).await;
            }
            return Err(DecodeError::TooLarge.into());
        }
        let mut whole = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // The connection broke, or its framing: nobody will read this answer.
            let Ok(frame) = frame else { return Err(DecodeError::Malformed.into()) };
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + joined.len() + data.len() > len_max {
                discard(&mut body).await;
                return Err(DecodeError::TooLarge.into());
            }
            // Nearly every body is one frame, which is then not copied.
            if joined.is_empty() && whole.is_empty() {
                whole = data;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut whole));
                joined.extend_from_slice(&data);
            }
        }
        Ok(if joined.is_empty() { whole } else { joined.freeze() })
    };
    tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| Err(Problem::request_timeout()))
}

async fn discard<B: HttpBody<Data = Bytes> + Unpin>(body: &mut B) {
    let mut discarded = 0;
    while discarded < DISCARDED_LEN_MAX {
        let Some(Ok(frame)) = body.frame().await else { return };
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// Whether a browser asks if it may ask.
fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    response
}

fn add_headers(
    headers: &mut HeaderMap,
    request_id: &str,
    place: Family,
    standing: Option<&Standing>,
    origin: Option<HeaderValue>,
) {
    headers.reserve(HEADERS_USUAL.saturating_sub(headers.len()));
    let mut texts = Texts(BytesMut::with_capacity(128));
    headers.insert(REQUEST_ID, texts.text(request_id).value());
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if let Some(origin) = origin.filter(|_| place != Family::Console) {
        // Every page may ask; `permittedDomains` decides whose tokens work where.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        headers.append(VARY, BY_ORIGIN);
    }
    match place {
        Family::Elsewhere => {}
        Family::Console => console::add_headers(headers),
        Family::OAuth => drop(headers.insert(CACHE_CONTROL, NO_STORE)),
        Family::Api => {
            headers.insert(CACHE_CONTROL, NO_STORE);
            add_rate_limit(headers, &mut texts, standing.filter(|standing| **standing != Standing::UNLIMITED));
        }
    }
}

/// The recorded headers always, and the IETF's where there is a limit.
///
/// # Source
///
/// Section 3.1 of docs/protocol.md; draft-ietf-httpapi-ratelimit-headers-10.
fn add_rate_limit(headers: &mut HeaderMap, texts: &mut Texts, standing: Option<&Standing>) {
    headers.insert(RATELIMIT_TIME_UNITS, SECONDS);
    let Some(standing) = standing else {
        headers.insert(RATELIMIT_LIMIT, UNLIMITED);
        headers.insert(RATELIMIT_REMAINING, UNLIMITED);
        return;
    };
    let (rate, remaining) = (standing.rate, standing.remaining);
    let per_second = rate.per_second.max(1);
    let window_secs = rate.burst.div_ceil(per_second).max(1);
    let full_in_secs = rate.burst.saturating_sub(remaining).div_ceil(per_second);
    headers.insert(RATELIMIT_LIMIT, texts.number(standing.legacy_limit()).value());
    headers.insert(RATELIMIT_REMAINING, texts.number(remaining).value());
    texts.text("\"default\";r=").number(remaining).text(";t=").number(full_in_secs);
    headers.insert(RATELIMIT, texts.value());
    texts.text("\"default\";q=").number(rate.burst).text(";w=").number(window_secs);
    headers.insert(RATELIMIT_POLICY, texts.value());
}

/// Header values that share one buffer.
struct Texts(BytesMut);

impl Texts {
    fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn number(&mut self, number: u32) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    /// What was written since the last one.
    fn value(&mut self) -> HeaderValue {
        // Digits, quotes and hex make a header value.
        HeaderValue::from_maybe_shared(self.0.split().freeze()).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod hang_up;
#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use http_body_util::Full;
    use respoke_core::app::Rate;
    use respoke_core::refusal::Refusal;

    use super::*;
    use crate::call::Call;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5);

    fn door() -> Door {
        let router = Router::new()
            .route("/v1/len", get(|call: Call| async move { call.body_len().to_string() }).post(length))
            .route("/v1/panic", get(broken))
            .route("/v1/refused", get(|_: Call| async { Problem::from(Refusal::NotFound("Roles")) }))
            .route("/oauth/refused", get(|_: Call| async { Problem::from(Refusal::Unauthenticated) }))
            .fallback(async || Problem::no_such_route())
            .method_not_allowed_fallback(async || Problem::method_not_allowed());
        {
            let clock = Arc::new(respoke_core::clock::SystemClock);
            let watch = Watch::new(Arc::new(crate::metrics::Metrics::default()), 0, clock);
            Door::around(router, Arc::new(watch), Vec::new())
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
        answer(door().serve_http(request.body(Full::from(body)).unwrap(), PEER).await).await
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
    async fn a_panic_is_a_problem_that_says_nothing() {
        let (status, _, body) = ask("GET", "/v1/panic", &[], "").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("internal error") && !body.contains("canary"), "{body}");
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

    /// A body of frames of these sizes.
    struct InFrames(std::collections::VecDeque<usize>);

    impl HttpBody for InFrames {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            let frame = |size| Ok(hyper::body::Frame::data(Bytes::from(vec![b'x'; size])));
            Poll::Ready(self.0.pop_front().map(frame))
        }
    }

    #[tokio::test]
    async fn a_body_is_whole_and_bounded() {
        for (sizes, expected) in [
            (vec![], Ok(0)),
            (vec![BODY_LEN_MAX], Ok(BODY_LEN_MAX)),
            (vec![1, 2, 3], Ok(6)),
            (vec![BODY_LEN_MAX, 1], Err("body_too_large")),
            (vec![10_000, 10_000, 1, 5_000_000], Err("body_too_large")),
        ] {
            let read = read_body(InFrames(sizes.into()), BODY_LEN_MAX, false, BODY_TIMEOUT).await;
            assert_eq!(read.map(|body| body.len()).map_err(|problem| problem.code()), expected);
        }
        let request = http::Request::post("/v1/len").body(Full::from("x".repeat(BODY_LEN_MAX + 1))).unwrap();
        let (status, headers, body) = answer(door().serve_http(request, PEER).await).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(headers["connection"], "close");
        assert!(body.contains("body_too_large") && body.contains("requestId"), "{body}");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        struct Silent;
        impl HttpBody for Silent {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
                Poll::Pending
            }
        }
        let read = read_body(Silent, BODY_LEN_MAX, false, Duration::from_millis(1)).await;
        assert_eq!(read.unwrap_err().code(), "request_timeout");
    }

    #[test]
    fn a_forwarded_address_is_believed_of_trusted_proxies_alone() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let resolve = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(resolve("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(resolve("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(resolve("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(resolve("::ffff:10.0.0.1", &["198.51.100.7:443"]), "198.51.100.7");
        // The client's own claim stands to the left of what our proxy saw.
        assert_eq!(resolve("10.0.0.1", &["1.1.1.1, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(resolve("10.0.0.1", &["1.1.1.1", "198.51.100.7, 10.2.3.4"]), "198.51.100.7");
        assert_eq!(resolve("10.0.0.1", &["nonsense, 10.2.3.4"]), "10.2.3.4");
        assert_eq!(resolve("10.0.0.1", &["10.9.9.9"]), "10.9.9.9");
        assert_eq!(resolve("2001:db8::1", &["[2001:db9::2]:80, [2001:db8::3]"]), "2001:db9::2");
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
    fn request_ids_do_not_repeat() {
        let ids = RequestIds::default();
        let made: std::collections::HashSet<_> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|id| id.uuid().get_version_num() == 4));
    }

    #[test]
    fn limits_are_told_in_both_dialects() {
        let mut headers = HeaderMap::new();
        let standing = Standing { rate: Rate { per_second: 2_000, burst: 10_000 }, remaining: 7_999 };
        add_rate_limit(&mut headers, &mut Texts(BytesMut::new()), Some(&standing));
        assert_eq!(headers[RATELIMIT_LIMIT], "1000");
        assert_eq!(headers[RATELIMIT_REMAINING], "7999");
        assert_eq!(headers[RATELIMIT], "\"default\";r=7999;t=2");
        assert_eq!(headers[RATELIMIT_POLICY], "\"default\";q=10000;w=5");
    }

    #[test]
    fn places_are_whole_segments() {
        assert_eq!(Family::of("/v1"), Family::Api);
        assert_eq!(Family::of("/v1/tokens"), Family::Api);
        assert_eq!(Family::of("/v10"), Family::Elsewhere);
        assert_eq!(Family::of("/oauth/revoke"), Family::OAuth);
    }
}
