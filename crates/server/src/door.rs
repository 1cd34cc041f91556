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
#[cfg(test)]
pub(crate) mod house;
mod manners;
mod nobody;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, EXPECT, ORIGIN};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use ipnet::IpNet;
use respoke_hub::Socket;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use address::{client_address, proxy_says_https};
use body::{BODY_TIMEOUT, read_body};
use change::DetachOnDrop;
use headers::{add_confirmed, add_headers, is_preflight, preflight};
use host::is_host_sound;
use nobody::{Access, Strangers};

use crate::answering::{Answering, answered, check_query};
use crate::facts::Facts;
use crate::family::Family;
use crate::limits::{Errand, LIMITED_PAUSE};
use crate::problem::{Problem, Shape};
use crate::respoke1::{self, Respoke1};
use crate::socket::{self, Sockets};
use crate::state::Api;
use crate::transport::{CallerKey, HEAD_LEN_MAX, Place, Places, Reader, RefusesHeads, RequestBody, head_len};
use crate::watch::{Answered, method_name};
use crate::websocket::Knock;

/// The way in.
#[derive(Debug)]
pub struct Door {
    answering: Arc<Answering>,
    strangers: Strangers,
    trusted_proxies: Vec<IpNet>,
    /// Whether connections are encrypted here.
    tls: bool,
    places: Arc<Places>,
    changes: TaskTracker,
    /// The doors beside this one; a router under test stands without them.
    sockets: Option<(Arc<Sockets>, Respoke1)>,
}

impl Door {
    /// A door to what `answering` answers, over HTTP and over sockets; forwarded addresses are believed of
    /// `trusted_proxies` alone.
    #[must_use]
    pub(crate) fn new(
        api: &Api,
        answering: Arc<Answering>,
        sockets: (Arc<Sockets>, Respoke1),
        trusted_proxies: Vec<IpNet>,
        tls: bool,
    ) -> Self {
        let strangers =
            Strangers { accounts: api.accounts.clone(), limits: api.limits.clone(), places: api.places.clone() };
        Self { sockets: Some(sockets), tls, ..Self::around(answering, strangers, trusted_proxies) }
    }

    fn around(answering: Arc<Answering>, strangers: Strangers, trusted_proxies: Vec<IpNet>) -> Self {
        let (places, changes) = (strangers.places.clone(), TaskTracker::new());
        Self { answering, strangers, trusted_proxies, tls: false, places, changes, sockets: None }
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
        let path = request.uri().path();
        let is_for = (socket::is_socket_path(path), respoke1::is_path(path));
        let (response, asker) = match (&self.sockets, is_for) {
            (Some((sockets, _)), (true, _)) if refusal.is_none() => {
                let (response, socket) = sockets.serve(Knock { request, address, place: place.clone() }).await;
                let who = socket.map_or(Who::Anybody, Who::Socket);
                (response, Asker { places: self.places.clone(), who, address })
            }
            (Some((_, respoke1)), (_, true)) if refusal.is_none() => {
                let response = respoke1.serve(Knock { request, address, place: place.clone() });
                (response, Asker { places: self.places.clone(), who: Who::Anybody, address })
            }
            _ => self.serve_http(request, peer, address, refusal).await,
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
        let request_id = self.answering.next_id();
        let mut id_buffer = Uuid::encode_buffer();
        let id_text: &str = request_id.uuid().hyphenated().encode_lower(&mut id_buffer);
        let origin = parts.headers.get(ORIGIN).filter(|origin| !origin.is_empty()).cloned();
        let method = method_name(&parts.method);
        strip_slashes(&mut parts.uri);
        let family = Family::of(parts.uri.path());
        let access = family.access(&parts.method, parts.uri.path());
        let encrypted = self.tls || proxy_says_https(peer.ip(), &parts.headers, &self.trusted_proxies);
        let (mut facts, mut is_counted) = (None, false);

        let mut response = if refusal.is_none() && is_preflight(&parts.method, &parts.headers) {
            is_counted = true;
            let drawn = self.strangers.limits.check_errand(Errand::Preflight, address);
            drawn.map_or_else(|limited| Problem::from(limited).into_response(), |()| preflight())
        } else {
            let read = match refusal {
                Some(refusal) => Err(refusal),
                None => {
                    let asks_first = parts.headers.contains_key(EXPECT);
                    read_body(body, family.body_len_max(), asks_first, BODY_TIMEOUT).await
                }
            };
            match read {
                Ok(body) => {
                    let known = Facts::new(request_id, address, body).within(family).encrypted(encrypted);
                    let known = Arc::new(known);
                    parts.extensions.insert(known.clone());
                    facts = Some(known);
                    let request = Request::from_parts(parts, Body::empty());
                    is_counted = access.is_probe();
                    let admitted = self.strangers.admit(access, address);
                    if let Err(problem) = admitted.and_then(|()| check_query(request.uri())) {
                        problem.into_response()
                    } else if family == Family::Elsewhere || request.method() == Method::GET {
                        self.answering.route(request).await
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
            let limited = self.strangers.draw(&mut response, matches!(method, "GET" | "HEAD"), address);
            if let (Some(limited), Some(facts)) = (limited, &facts) {
                let _ = facts.rate_status.set(limited.rate_status);
            }
        }
        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = &problem {
            family.render(problem, &mut response, id_text);
        }
        let len = response.body().size_hint().lower();
        match (access, &facts) {
            (_, None) | (Access::Health, _) => {}
            (Access::Documents, Some(_)) => self.strangers.accounts.read_by_anybody(address, len),
            (Access::Figures, Some(_)) => self.strangers.limits.read_figures(address, len),
            (Access::Callers, Some(facts)) => self.answering.charge(facts, len),
        }
        let rate_status = facts.as_ref().and_then(|facts| facts.rate_status.get());
        add_headers(response.headers_mut(), id_text, family, rate_status, origin);
        add_confirmed(&mut response, family, facts.as_ref().and_then(|facts| facts.confirmed()));
        self.answering.note(&Answered {
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

    /// Calls the router for a request that may change something.
    ///
    /// It runs to its end even if the client goes away: a revocation that is committed must also reach what is
    /// remembered of the database, and a request dropped halfway would leave that behind.
    async fn change(&self, request: Request) -> Response {
        answered(DetachOnDrop::begin(self.answering.call(request), &self.changes)).await
    }

    /// Waits for the changes under way.
    pub async fn finish(&self) {
        self.changes.close();
        self.changes.wait().await;
    }
}

impl RefusesHeads for Door {
    fn refuse_head(&self, status: u16, date: &str, peer: SocketAddr) -> Vec<u8> {
        let started = Instant::now();
        let request_id = self.answering.next_id();
        let id_text = request_id.to_string();
        let problem = if status == 400 { Problem::malformed_head() } else { Problem::head_too_large() };
        let mut response = problem.clone().into_response();
        problem.render(&mut response, &id_text, Shape::Recorded);
        add_headers(response.headers_mut(), &id_text, Family::Elsewhere, None, None);
        self.answering.note(&Answered {
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
mod tests;
