//! Requests that come over sockets: the table says which operations they ask for, and their answers are made whole.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_body_util::BodyExt;
use respoke_core::id::RequestId;
use respoke_core::ops::Confirmed;
use respoke_core::tail::{FrameKind, Payloads, TailedFrame};
use respoke_hub::Socket;
use respoke_hub::tails::shown_payload;
use respoke_wire::tunnel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::answering::{Answering, answered, check_query};
use crate::call::Call;
use crate::facts::Facts;
use crate::family::Family;
use crate::limits::RateStatus;
use crate::metrics::Route;
use crate::operations::{Directory, Found, Operation};
use crate::problem::{Problem, Shape};
use crate::request_log::UNMATCHED;
use crate::state::Api;
use crate::watch::Answered;

/// Where an answer has the cursor of the next page.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");
/// Long answers that are made whole at once, for sockets. A history may have some megabytes.
const WHOLE_ANSWERS: usize = 4;

/// The way from sockets to operations.
#[derive(Debug)]
pub(crate) struct Tunnel {
    answering: Arc<Answering>,
    api: Arc<Api>,
    directory: Directory,
    /// Turns at making a long answer whole.
    whole_answers: Arc<Semaphore>,
}

impl Tunnel {
    pub(crate) fn new(answering: Arc<Answering>, api: Arc<Api>) -> Self {
        Self { answering, api, directory: Directory::new(), whole_answers: Arc::new(Semaphore::new(WHOLE_ANSWERS)) }
    }

    /// Answers a request that came over a client's socket.
    pub(crate) async fn answer(
        &self,
        socket: &Arc<Socket>,
        method: tunnel::Method,
        request: &tunnel::Request<'_>,
    ) -> Tunnelled {
        let facts = self.facts(socket.opening.address, request);
        self.answered(facts.over(socket.clone()), method, request).await
    }

    /// Answers a request of a client at `address` that has no socket yet.
    pub(crate) async fn answer_stranger(
        &self,
        address: IpAddr,
        method: tunnel::Method,
        request: &tunnel::Request<'_>,
    ) -> Tunnelled {
        self.answered(self.facts(address, request), method, request).await
    }

    fn facts(&self, address: IpAddr, request: &tunnel::Request<'_>) -> Facts {
        let body = request.data.map(|data| Bytes::copy_from_slice(data.as_bytes())).unwrap_or_default();
        Facts::new(self.answering.next_id(), address, body)
    }

    async fn answered(&self, facts: Facts, method: tunnel::Method, request: &tunnel::Request<'_>) -> Tunnelled {
        let (started, request_id) = (Instant::now(), facts.request_id);
        let mut id_buffer = Uuid::encode_buffer();
        let id_text: &str = request_id.uuid().hyphenated().encode_lower(&mut id_buffer);
        let facts = Arc::new(facts);
        let mut response = match self.call(&facts, method, request) {
            Ok((call, operation)) => answered(operation.run(self.api.clone(), call)).await,
            Err(problem) => problem.into_response(),
        };
        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = &problem {
            problem.render(&mut response, id_text, Shape::Recorded);
        }
        self.answering.note(&Answered {
            request_id,
            method: method.as_str(),
            facts: Some(&facts),
            address: facts.address,
            status: response.status().as_u16(),
            problem: problem.as_ref(),
            took: started.elapsed(),
        });
        let rate_status = facts.rate_status.get().copied().unwrap_or(RateStatus::UNLIMITED);
        let confirmed = facts.confirmed().filter(|_| response.status().is_success());
        let retry_after_secs = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        let next = response.headers().get(NEXT_CURSOR).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // Nearly every answer is in memory already. One that is made as it is taken is made at once here, and counted once it
        // waits for the socket; until then it has a turn.
        let is_made = response.body().size_hint().exact().is_some();
        let turn = if is_made { None } else { self.whole_answers.clone().acquire_owned().await.ok() };
        let (status, body) = match response.into_body().collect().await {
            Ok(body) => (status, body.to_bytes()),
            Err(error) => Box::pin(broken_off(error, &facts, id_text)).await,
        };
        self.answering.charge(&facts, body.len() as u64);
        let route = facts.route.get().cloned();
        Tunnelled {
            id: request_id,
            request_id: id_text.to_owned(),
            route,
            status,
            rate_status,
            retry_after_secs,
            confirmed,
            next,
            body,
            turn,
        }
    }

    /// What a request asks for. Only the API is there: its answers are JSON.
    fn call(
        &self,
        facts: &Arc<Facts>,
        method: tunnel::Method,
        request: &tunnel::Request<'_>,
    ) -> Result<(Call, &'static Operation), Problem> {
        let path = match request.path.trim_end_matches('/') {
            path if Family::of(path) == Family::Api => path,
            _ => return Err(Problem::no_such_route()),
        };
        let target = match &request.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let target = PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Problem::malformed_path())?;
        let uri = Uri::from(target);
        check_query(&uri)?;
        let (way, operation) = match self.directory.find(method, uri.path()) {
            Found::Operation(way, operation) => (way, operation),
            Found::OtherMethods => return Err(Problem::method_not_allowed()),
            Found::Nothing => return Err(Problem::no_such_route()),
        };
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            // What is no header over HTTP is none here.
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                headers.append(name, value);
            }
        }
        let call = Call::new(facts.clone(), (http_method(method), uri, headers), way.path)?;
        Ok((call, operation))
    }

    /// Answers a request over a client's socket that could not be read.
    pub(crate) async fn refuse(&self, socket: &Arc<Socket>, problem: Problem) -> Tunnelled {
        let facts = Facts::new(self.answering.next_id(), socket.opening.address, Bytes::new());
        self.refused(facts.over(socket.clone()), problem).await
    }

    /// The same for a client at `address` that has no socket yet.
    pub(crate) async fn refuse_stranger(&self, address: IpAddr, problem: Problem) -> Tunnelled {
        self.refused(Facts::new(self.answering.next_id(), address, Bytes::new()), problem).await
    }

    async fn refused(&self, facts: Facts, problem: Problem) -> Tunnelled {
        let (started, id) = (Instant::now(), facts.request_id);
        let request_id = id.to_string();
        let mut response = problem.clone().into_response();
        problem.render(&mut response, &request_id, Shape::Recorded);
        self.answering.note(&Answered {
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
            rate_status: RateStatus::UNLIMITED,
            retry_after_secs: problem.retry_after_secs(),
            confirmed: None,
            next: None,
            body,
            turn: None,
        }
    }
}

/// Routes whose bodies are words between clients. All others may hold credentials, and so may all answers.
const SPEAKING: &[&str] =
    &["/v1/messages", "/v1/groups/{id}/publish", "/v1/channels/{id}/publish", "/v1/presence", "/v1/signaling"];

impl Tunnel {
    /// Shows a request, of which method and body are told, and its answer to whoever looks on at the endpoint of a socket.
    pub(crate) fn show(
        &self,
        socket: &Socket,
        (method, body): (&str, &str),
        tunnelled: &Tunnelled,
        answer_len: Option<usize>,
    ) {
        let Some(connection) = socket.connection() else { return };
        let route = tunnelled.route.as_ref().map_or(UNMATCHED, |route| route.as_str());
        let name = format!("{method} {route}");
        let frame = |kind, bytes| TailedFrame {
            at: self.api.broker.now(),
            connection_id: connection.id,
            kind,
            name: name.clone(),
            request_id: tunnelled.id,
            from: None,
            status: None,
            bytes,
            payload: None,
            lost: 0,
        };
        self.api.hub.show(&connection, |payloads| {
            let shown = payloads == Payloads::Shown && SPEAKING.contains(&route);
            let payload = shown.then(|| shown_payload(body.as_bytes()));
            TailedFrame { payload, ..frame(FrameKind::Request, body.len() as u64) }
        });
        if let Some(len) = answer_len {
            self.api.hub.show(&connection, |_| TailedFrame {
                status: Some(tunnelled.status),
                ..frame(FrameKind::Answer, len as u64)
            });
        }
    }
}

/// The answer to a request over a socket.
pub(crate) struct Tunnelled {
    pub(crate) id: RequestId,
    pub(crate) request_id: String,
    /// None: no handler was reached.
    pub(crate) route: Option<Route>,
    pub(crate) status: u16,
    pub(crate) rate_status: RateStatus,
    pub(crate) retry_after_secs: Option<u64>,
    /// How many nodes have followed what it changed, if others had to.
    pub(crate) confirmed: Option<Confirmed>,
    /// The cursor of the next page, if a list goes on.
    pub(crate) next: Option<String>,
    /// A JSON object or array.
    pub(crate) body: Bytes,
    /// The turn at making it, kept until it waits for the socket.
    #[expect(dead_code, reason = "it ends by being dropped")]
    turn: Option<OwnedSemaphorePermit>,
}

/// What is answered over a socket when the answer could not be made to its end.
async fn broken_off(error: axum::Error, facts: &Facts, request_id: &str) -> (u16, Bytes) {
    let problem = Problem::internal(error);
    facts.span().in_scope(|| problem.log());
    let mut refused = problem.clone().into_response();
    problem.render(&mut refused, request_id, Shape::Recorded);
    let body = refused.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (problem.status().as_u16(), body)
}

fn http_method(method: tunnel::Method) -> Method {
    match method {
        tunnel::Method::Get => Method::GET,
        tunnel::Method::Post => Method::POST,
        tunnel::Method::Put => Method::PUT,
        tunnel::Method::Delete => Method::DELETE,
        tunnel::Method::Patch => Method::PATCH,
    }
}
