//! Refusals as answers. Which code and status a reason has stands in `core/src/code.rs`; here it becomes an answer.
//!
//! A handler returns a [`Problem`]; the door renders it, because only there the request's id is at hand,
//! and logs it once if it is the server's own fault.
//!
//! Invariant: no client reads the cause of a fault of ours.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use respoke_core::code::Code;
use respoke_core::ports::StoreError;
use respoke_core::refusal::{FieldErrors, Refusal};
use respoke_wire::body::problem::{Details, OAuthProblemBody, ProblemBody};
use respoke_wire::input::DecodeError;
use respoke_wire::tunnel::TunnelError;

use crate::limits::Limited;

/// Seconds after which a failed store, or one that is busy, is worth another try.
const STORE_RETRY_SECS: u64 = 1;
/// What people are told of a change that may have been made.
const IN_DOUBT: &str = "the database failed while writing: it is not known whether this was done";
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A refusal on its way out.
#[derive(Clone, Debug)]
pub struct Problem(Arc<Reason>);

#[derive(Debug)]
struct Reason {
    code: Code,
    error: Cow<'static, str>,
    /// With a ban: the whole sentence, and the reason given.
    suspension: Option<(String, String)>,
    fields: Option<FieldErrors>,
    retry_after_secs: Option<u64>,
    /// Why a tokenId was refused; for metrics and logs, never for the client.
    lapse: Option<&'static str>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    fn new(code: Code, error: impl Into<Cow<'static, str>>) -> Self {
        Self::of(Reason::new(code, error.into()))
    }

    fn of(reason: Reason) -> Self {
        Self(Arc::new(reason))
    }

    /// There is nothing at the path.
    pub(crate) fn no_such_route() -> Self {
        Self::new(Code::NoSuchRoute, "there is nothing at this path")
    }

    /// The path, decoded, is no text.
    pub(crate) fn malformed_path() -> Self {
        Self::new(Code::Malformed, "the path is not UTF-8 text")
    }

    /// The path does not take the method.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(Code::MethodNotAllowed, "this path does not take this method")
    }

    /// The body did not arrive in time.
    pub(crate) fn request_timeout() -> Self {
        Self::new(Code::RequestTimeout, "the body did not arrive in time")
    }

    /// A bucket is empty.
    pub(crate) fn rate_limited(retry_after: std::time::Duration) -> Self {
        let reason = Reason::new(Code::RateLimited, "Too Many Requests".into());
        // Rounded up, so that who waits as told is not refused again.
        let secs = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Self::of(Reason { retry_after_secs: Some(secs.max(1)), ..reason })
    }

    /// The request does not say in one way for which host it is.
    pub(crate) fn malformed_host() -> Self {
        Self::new(Code::Malformed, "the request must have one Host header")
    }

    /// The HTTP library could make nothing of the request's head.
    pub(crate) fn malformed_head() -> Self {
        Self::new(Code::Malformed, "this is no HTTP request")
    }

    /// The head is longer than is read.
    pub(crate) fn head_too_large() -> Self {
        let error = "the request's head is too large";
        Self::new(Code::HeadTooLarge, error)
    }

    /// Earlier answers wait to be read.
    pub(crate) fn answers_unread() -> Self {
        let error = "earlier answers were not read yet";
        let reason = Reason::new(Code::AnswersUnread, error.into());
        Self::of(Reason { retry_after_secs: Some(1), ..reason })
    }

    /// As many requests of a socket are under way as may be.
    pub(crate) fn requests_under_way() -> Self {
        let reason = Reason::new(Code::RateLimited, "too many requests are under way on this socket".into());
        Self::of(Reason { retry_after_secs: Some(1), ..reason })
    }

    /// The server failed in a way that is no refusal.
    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let reason = Reason::new(Code::Internal, "internal error".into());
        Self::of(Reason { cause: Some(cause.into()), ..reason })
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// What it is about: its entry in the table of codes.
    #[must_use]
    pub fn kind(&self) -> Code {
        self.0.code
    }

    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code.word()
    }

    /// How long to wait before the next try.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.0.retry_after_secs
    }

    /// What is wrong, in one text for people.
    pub(crate) fn said(&self) -> String {
        self.0.said()
    }

    /// Why a tokenId was refused, in a stable word, for metrics and logs.
    #[must_use]
    pub fn lapse(&self) -> Option<&'static str> {
        self.0.lapse
    }

    /// Whether the server is at fault.
    pub(crate) fn is_fault(&self) -> bool {
        self.status().is_server_error()
    }

    /// Logs it, within the span of the request.
    pub(crate) fn log(&self) {
        let (error, code) = (self.0.cause.as_ref().map(|cause| Chain(&**cause)), self.code());
        let error = error.map(tracing::field::display);
        if self.is_news() {
            tracing::error!(error, code, "request failed");
        } else {
            tracing::debug!(code, "request refused");
        }
    }

    /// False: the server is in no state to serve. It logged that when it came to be so, and is asked for it once a second.
    fn is_news(&self) -> bool {
        self.kind() != Code::Unavailable || self.0.cause.is_some()
    }

    /// Puts headers and body into `response`, as the answer to the request `request_id`.
    pub(crate) fn render(&self, response: &mut Response, request_id: &str, shape: Shape) {
        self.render_as(response, JSON, self.0.body(request_id, shape));
        if shape == Shape::OAuth && self.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"respoked\""));
        }
    }

    /// The same with a body of another kind, made by who knows how a refusal looks there.
    pub(crate) fn render_as(&self, response: &mut Response, kind: HeaderValue, body: Vec<u8>) {
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        // The router wrote down the length of the empty body that stood here.
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, kind);
        if let Some(secs) = self.0.retry_after_secs {
            headers.insert(RETRY_AFTER, secs.into());
        }
    }
}

/// What a refusal looks like at a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As the original service had it.
    Recorded,
    /// As OAuth has it.
    OAuth,
}

impl Reason {
    /// The table's status; a test reads all of them.
    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn new(code: Code, error: Cow<'static, str>) -> Self {
        Self { code, error, suspension: None, fields: None, retry_after_secs: None, lapse: None, cause: None }
    }

    fn body(&self, request_id: &str, shape: Shape) -> Vec<u8> {
        match (shape, self.status()) {
            (Shape::OAuth, StatusCode::UNAUTHORIZED) => self.oauth("invalid_client", request_id),
            (Shape::OAuth, StatusCode::BAD_REQUEST) => self.oauth("invalid_request", request_id),
            (Shape::OAuth | Shape::Recorded, _) => self.recorded(request_id),
        }
    }

    fn recorded(&self, request_id: &str) -> Vec<u8> {
        let details = self.suspension.as_ref().map(|(message, reason)| Details { message, reason });
        encode(&ProblemBody {
            error: &self.error,
            code: self.code.word(),
            request_id,
            details,
            validation_errors: self.fields.as_ref(),
        })
    }

    /// What is wrong, in one text.
    fn said(&self) -> String {
        let fields: Vec<_> = self.fields.iter().flat_map(BTreeMap::values).flatten().map(String::as_str).collect();
        if fields.is_empty() { self.error.clone().into_owned() } else { fields.join(" ") }
    }

    fn oauth(&self, error: &'static str, request_id: &str) -> Vec<u8> {
        // OAuth has no place for errors by field; the first of them says enough.
        let first = self.fields.as_ref().and_then(|fields| fields.values().flatten().next());
        let error_description = first.map_or(&*self.error, String::as_str);
        encode(&OAuthProblemBody { error, error_description, code: self.code.word(), request_id })
    }
}

fn encode(body: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    // Text and maps of text always serialize; were it otherwise, the status alone would have to do.
    if serde_json::to_writer(&mut bytes, body).is_err() {
        bytes.clear();
    }
    bytes
}

/// An error with everything beneath it.
struct Chain<'a>(&'a dyn Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl IntoResponse for Problem {
    /// An answer without a body: the door takes the problem from its extensions and renders it.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::RateLimited { retry_after } = refusal {
            return Self::rate_limited(retry_after);
        }
        let code = refusal.kind();
        let error = match &refusal {
            Refusal::Store(StoreError::Corrupt(_)) => Cow::Borrowed("internal error"),
            Refusal::Store(StoreError::InDoubt(_)) => Cow::Borrowed(IN_DOUBT),
            Refusal::Store(StoreError::BadText(_)) => Cow::Borrowed("a text holds a character that cannot be kept"),
            Refusal::Store(StoreError::Overloaded | StoreError::Unavailable(_)) => {
                Cow::Borrowed("temporarily unavailable")
            }
            other => Cow::Owned(other.to_string()),
        };
        let mut reason = Reason::new(code, error);
        match refusal {
            Refusal::TokenRefused(lapse) => reason.lapse = lapse.map(respoke_core::grant::Lapse::word),
            Refusal::Banned { reason: given } => {
                // respoke.js looks for the word "suspended" in `details.message`.
                let message = if given.is_empty() {
                    "This endpoint is suspended".to_owned()
                } else {
                    format!("This endpoint is suspended: {given}")
                };
                reason.suspension = Some((message, given));
            }
            Refusal::Invalid(fields) => reason.fields = Some(fields),
            Refusal::Throttled { retry_after_secs } => reason.retry_after_secs = Some(retry_after_secs.max(1)),
            Refusal::Overloaded | Refusal::Isolated | Refusal::NodeSilent | Refusal::NodeInDoubt => {
                reason.retry_after_secs = Some(STORE_RETRY_SECS);
            }
            Refusal::Store(error) => {
                if reason.status() == StatusCode::SERVICE_UNAVAILABLE {
                    reason.retry_after_secs = Some(STORE_RETRY_SECS);
                }
                reason.cause = Some(Box::new(error));
            }
            Refusal::Unauthenticated
            | Refusal::BadLogin
            | Refusal::WrongCode
            | Refusal::SecondFactorRequired
            | Refusal::Forbidden(_)
            | Refusal::EndpointReserved
            | Refusal::OriginRefused
            | Refusal::NotFound(_)
            | Refusal::Conflict(_)
            | Refusal::ConnectionLimit
            | Refusal::LimitReached(_)
            | Refusal::QuotaExceeded
            | Refusal::NotConnected
            | Refusal::NoGateway
            | Refusal::RateLimited { .. }
            | Refusal::IdempotencyKeyReused => {}
        }
        Self::of(reason)
    }
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        Self::rate_limited(limited.retry_after)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Refusal::Store(error).into()
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        let code = match error {
            DecodeError::TooLarge => Code::BodyTooLarge,
            DecodeError::TooDeep => Code::TooDeep,
            DecodeError::Malformed | DecodeError::NotText => Code::Malformed,
            DecodeError::Fields(fields) => return Refusal::Invalid(fields).into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<TunnelError> for Problem {
    fn from(error: TunnelError) -> Self {
        let code = match error {
            TunnelError::Malformed | TunnelError::TooManyHeaders => Code::Malformed,
            TunnelError::UnknownMethod => return Self::method_not_allowed(),
            TunnelError::DataTooLarge => return DecodeError::TooLarge.into(),
            TunnelError::DataTooDeep => return DecodeError::TooDeep.into(),
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests;
