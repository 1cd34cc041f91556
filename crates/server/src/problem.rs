//! Refusals as answers: the one place where a reason becomes a status, a code and a body.
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
use respoke_core::ports::StoreError;
use respoke_core::refusal::{FieldErrors, Refusal};
use respoke_wire::body::problem::{Details, OAuthProblemBody, ProblemBody};
use respoke_wire::input::DecodeError;
use respoke_wire::tunnel::TunnelError;

use crate::limits::Limited;

/// A stable word for a refusal.
#[derive(Clone, Copy, Debug)]
pub struct ErrorCode {
    /// The word.
    pub code: &'static str,
    /// The status it comes with.
    pub status: u16,
    /// What it means.
    pub meaning: &'static str,
}

impl ErrorCode {
    const fn new(code: &'static str, status: u16, meaning: &'static str) -> Self {
        Self { code, status, meaning }
    }
}

/// Every code there is. docs/errors.md says the same; a test holds the two together.
pub const CODES: &[ErrorCode] = &[
    ErrorCode::new(
        "malformed",
        400,
        "The body is not a well-formed JSON object or form, path, query or form are not UTF-8 text, there is not one `Host`, or it is no HTTP.",
    ),
    ErrorCode::new("too_deep", 400, "The JSON of the body is nested more than 32 levels deep."),
    ErrorCode::new("invalid", 400, "Fields are missing or wrong; `validationErrors` says which and why."),
    ErrorCode::new(
        "endpoint_reserved",
        400,
        "The endpoint id is `__SYSTEM__`, under which backends speak, or one that may be taken for it.",
    ),
    ErrorCode::new(
        "unauthenticated",
        401,
        "No credential was given, or one that is malformed, unknown, revoked or expired; which, is not told.",
    ),
    ErrorCode::new(
        "token_refused",
        401,
        "The tokenId is unknown, already used, revoked or expired; which, is not told.",
    ),
    ErrorCode::new(
        "bad_login",
        401,
        "The user name, the password, the second factor's code or the setup token is wrong; which, is not told.",
    ),
    ErrorCode::new(
        "second_factor_required",
        401,
        "The password is right and the admin has a second factor: the same request with its `code` signs in.",
    ),
    ErrorCode::new(
        "endpoint_banned",
        401,
        "The endpoint is banned; `details.reason` holds the reason given with the ban.",
    ),
    ErrorCode::new("connection_limit", 401, "The app, the endpoint or the address has its most connections."),
    ErrorCode::new("forbidden", 403, "The credential is genuine and does not permit this."),
    ErrorCode::new("origin_refused", 403, "The page's origin is not among the app's `permittedDomains`."),
    ErrorCode::new(
        "quota_exceeded",
        403,
        "The app keeps as much as it may (`keptMegabytes`, `kept_bytes_per_app_max`). Nothing was kept, and nobody got it: end groups whose history can go, wait for old rows to go, or give the app more.",
    ),
    ErrorCode::new("limit_reached", 403, "There are as many groups, members or the like as there may be."),
    ErrorCode::new("not_found", 404, "There is no such object, or none that the caller may know of."),
    ErrorCode::new("no_such_route", 404, "There is nothing at this path."),
    ErrorCode::new("no_gateway", 404, "Telephones, SIP addresses and conferences cannot be reached from here."),
    ErrorCode::new(
        "method_not_allowed",
        405,
        "The path does not take this method; the header `Allow` names those it takes.",
    ),
    ErrorCode::new("request_timeout", 408, "The body did not arrive within 10 seconds."),
    ErrorCode::new("conflict", 409, "The object is not in the state the request needs."),
    ErrorCode::new("not_connected", 409, "The request needs a socket on which a connection was registered before."),
    ErrorCode::new("body_too_large", 413, "The body is larger than 20,000 bytes."),
    ErrorCode::new(
        "idempotency_key_reused",
        422,
        "The `Idempotency-Key` was used before for a different request, or what it made is gone.",
    ),
    ErrorCode::new(
        "rate_limited",
        429,
        "The app, endpoint or address asked, connected, said, read or made others receive too much; the header `Retry-After` says how long to wait.",
    ),
    ErrorCode::new(
        "answers_unread",
        429,
        "Too much of earlier answers was not read yet, on this connection or by this caller; read them, then ask again.",
    ),
    ErrorCode::new(
        "throttled",
        429,
        "Too many failed attempts to prove who one is; the header `Retry-After` says how long to wait.",
    ),
    ErrorCode::new("head_too_large", 431, "The request line and headers are larger than 64 KiB, or more than 100."),
    ErrorCode::new("internal", 500, "The server failed. The log holds the cause under the `requestId`."),
    ErrorCode::new(
        "overloaded",
        503,
        "Too many writes, searches or sign-ins are waiting. Nothing was written; try again.",
    ),
    ErrorCode::new(
        "unavailable",
        503,
        "The database, or another node that had to be asked, could not be used. Nothing was written; try again.",
    ),
    ErrorCode::new(
        "in_doubt",
        503,
        "The database failed while it was writing, or another node did not say that it is done. Whether this was done is not \
         known; below is what to do.",
    ),
];

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
    status: StatusCode,
    code: &'static str,
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
    fn new(status: StatusCode, code: &'static str, error: impl Into<Cow<'static, str>>) -> Self {
        Self::of(Reason::new(status, code, error.into()))
    }

    fn of(reason: Reason) -> Self {
        Self(Arc::new(reason))
    }

    /// There is nothing at the path.
    pub(crate) fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path")
    }

    /// The path, decoded, is no text.
    pub(crate) fn malformed_path() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "the path is not UTF-8 text")
    }

    /// The path does not take the method.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
    }

    /// The body did not arrive in time.
    pub(crate) fn request_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not arrive in time")
    }

    /// A bucket is empty.
    pub(crate) fn rate_limited(retry_after: std::time::Duration) -> Self {
        let reason = Reason::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too Many Requests".into());
        // Rounded up, so that who waits as told is not refused again.
        let secs = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Self::of(Reason { retry_after_secs: Some(secs.max(1)), ..reason })
    }

    /// The request does not say in one way for which host it is.
    pub(crate) fn malformed_host() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "the request must have one Host header")
    }

    /// The HTTP library could make nothing of the request's head.
    pub(crate) fn malformed_head() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "this is no HTTP request")
    }

    /// The head is longer than is read.
    pub(crate) fn head_too_large() -> Self {
        let error = "the request's head is too large";
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", error)
    }

    /// Earlier answers wait to be read.
    pub(crate) fn answers_unread() -> Self {
        let error = "earlier answers were not read yet";
        let reason = Reason::new(StatusCode::TOO_MANY_REQUESTS, "answers_unread", error.into());
        Self::of(Reason { retry_after_secs: Some(1), ..reason })
    }

    /// The server failed in a way that is no refusal.
    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let reason = Reason::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error".into());
        Self::of(Reason { cause: Some(cause.into()), ..reason })
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
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

    /// Puts headers and body into `response`, as the answer to the request `request_id`; logs faults of ours.
    pub(crate) fn render(&self, response: &mut Response, request_id: &str, shape: Shape) {
        self.render_as(response, request_id, JSON, self.0.body(request_id, shape));
        if shape == Shape::OAuth && self.0.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"respoked\""));
        }
    }

    /// The same with a body of another kind, made by who knows how a refusal looks there.
    pub(crate) fn render_as(&self, response: &mut Response, request_id: &str, kind: HeaderValue, body: Vec<u8>) {
        let reason = &*self.0;
        if reason.status.is_server_error() {
            let error = reason.cause.as_ref().map(|cause| Chain(&**cause)).map(tracing::field::display);
            tracing::error!(error, code = reason.code, request.id = request_id, "request failed");
        }
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        // The router wrote down the length of the empty body that stood here.
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, kind);
        if let Some(secs) = reason.retry_after_secs {
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
    fn new(status: StatusCode, code: &'static str, error: Cow<'static, str>) -> Self {
        Self { status, code, error, suspension: None, fields: None, retry_after_secs: None, lapse: None, cause: None }
    }

    fn body(&self, request_id: &str, shape: Shape) -> Vec<u8> {
        match (shape, self.status) {
            (Shape::OAuth, StatusCode::UNAUTHORIZED) => self.oauth("invalid_client", request_id),
            (Shape::OAuth, StatusCode::BAD_REQUEST) => self.oauth("invalid_request", request_id),
            (Shape::OAuth | Shape::Recorded, _) => self.recorded(request_id),
        }
    }

    fn recorded(&self, request_id: &str) -> Vec<u8> {
        let details = self.suspension.as_ref().map(|(message, reason)| Details { message, reason });
        encode(&ProblemBody {
            error: &self.error,
            code: self.code,
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
        encode(&OAuthProblemBody { error, error_description, code: self.code, request_id })
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
        *response.status_mut() = self.0.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Unauthenticated
            | Refusal::TokenRefused(_)
            | Refusal::BadLogin
            | Refusal::WrongCode
            | Refusal::SecondFactorRequired
            | Refusal::Banned { .. }
            | Refusal::ConnectionLimit => StatusCode::UNAUTHORIZED,
            Refusal::Forbidden(_) | Refusal::OriginRefused | Refusal::LimitReached(_) | Refusal::QuotaExceeded => {
                StatusCode::FORBIDDEN
            }
            Refusal::NotFound(_) | Refusal::NoGateway => StatusCode::NOT_FOUND,
            Refusal::Invalid(_) | Refusal::EndpointReserved => StatusCode::BAD_REQUEST,
            Refusal::Conflict(_) | Refusal::NotConnected => StatusCode::CONFLICT,
            Refusal::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::RateLimited { .. } | Refusal::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Overloaded
            | Refusal::NodeSilent
            | Refusal::NodeInDoubt
            | Refusal::Store(StoreError::Overloaded | StoreError::Unavailable(_) | StoreError::InDoubt(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Store(StoreError::Corrupt(_)) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if let Refusal::RateLimited { retry_after } = refusal {
            return Self::rate_limited(retry_after);
        }
        let code = refusal.code();
        let error = match &refusal {
            Refusal::Store(StoreError::Corrupt(_)) => Cow::Borrowed("internal error"),
            Refusal::Store(StoreError::InDoubt(_)) => Cow::Borrowed(IN_DOUBT),
            Refusal::Store(StoreError::Overloaded | StoreError::Unavailable(_)) => {
                Cow::Borrowed("temporarily unavailable")
            }
            other => Cow::Owned(other.to_string()),
        };
        let mut reason = Reason::new(status, code, error);
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
            Refusal::Overloaded | Refusal::NodeSilent | Refusal::NodeInDoubt => {
                reason.retry_after_secs = Some(STORE_RETRY_SECS);
            }
            Refusal::Store(error) => {
                if status == StatusCode::SERVICE_UNAVAILABLE {
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
        let (status, code) = match error {
            DecodeError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            DecodeError::TooDeep => (StatusCode::BAD_REQUEST, "too_deep"),
            DecodeError::Malformed | DecodeError::NotText => (StatusCode::BAD_REQUEST, "malformed"),
            DecodeError::Fields(fields) => return Refusal::Invalid(fields).into(),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<TunnelError> for Problem {
    fn from(error: TunnelError) -> Self {
        let (status, code) = match error {
            TunnelError::Malformed | TunnelError::TooManyHeaders => (StatusCode::BAD_REQUEST, "malformed"),
            TunnelError::UnknownMethod => return Self::method_not_allowed(),
            TunnelError::DataTooLarge => return DecodeError::TooLarge.into(),
            TunnelError::DataTooDeep => return DecodeError::TooDeep.into(),
        };
        Self::new(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::grant::Lapse;

    use super::*;

    const ID: &str = "00000000-0000-4000-8000-000000000000";

    /// The status and body that a client sees of `problem`.
    fn shown(problem: impl Into<Problem>, shape: Shape) -> (u16, String, http::HeaderMap) {
        let problem = problem.into();
        let mut response = problem.clone().into_response();
        problem.render(&mut response, ID, shape);
        let status = response.status().as_u16();
        let (parts, _) = response.into_parts();
        (status, String::from_utf8(problem.0.body(ID, shape)).unwrap(), parts.headers)
    }

    fn all() -> Vec<Problem> {
        let refusals = [
            Refusal::Unauthenticated,
            Refusal::TokenRefused(Some(Lapse::Redeemed)),
            Refusal::BadLogin,
            Refusal::SecondFactorRequired,
            Refusal::Banned { reason: "spam".into() },
            Refusal::Forbidden("no"),
            Refusal::EndpointReserved,
            Refusal::OriginRefused,
            Refusal::NotFound("Roles"),
            Refusal::missing("to"),
            Refusal::Conflict("taken"),
            Refusal::ConnectionLimit,
            Refusal::LimitReached("no"),
            Refusal::QuotaExceeded,
            Refusal::NotConnected,
            Refusal::NoGateway,
            Refusal::IdempotencyKeyReused,
            Refusal::RateLimited { retry_after: std::time::Duration::from_millis(3_500) },
            Refusal::Throttled { retry_after_secs: 4 },
            Refusal::Overloaded,
            Refusal::NodeSilent,
            Refusal::NodeInDoubt,
            Refusal::Store(StoreError::Overloaded),
            Refusal::Store(StoreError::Unavailable("canary".into())),
            Refusal::Store(StoreError::InDoubt("canary".into())),
            Refusal::Store(StoreError::Corrupt("canary")),
        ];
        let decode = [DecodeError::TooLarge, DecodeError::TooDeep, DecodeError::Malformed, DecodeError::NotText];
        refusals
            .into_iter()
            .map(Problem::from)
            .chain(decode.into_iter().map(Problem::from))
            .chain([
                Problem::no_such_route(),
                Problem::method_not_allowed(),
                Problem::request_timeout(),
                Problem::answers_unread(),
                Problem::head_too_large(),
                Problem::rate_limited(std::time::Duration::from_millis(1)),
            ])
            .collect()
    }

    #[test]
    fn every_code_is_listed_with_its_status_and_every_listed_one_exists() {
        let made: std::collections::BTreeSet<_> =
            all().iter().map(|problem| (problem.code(), problem.status().as_u16())).collect();
        let listed: std::collections::BTreeSet<_> = CODES.iter().map(|entry| (entry.code, entry.status)).collect();
        assert_eq!(made, listed);
    }

    #[test]
    fn every_code_is_documented_and_nothing_else() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let text = std::fs::read_to_string(path).unwrap();
        for ErrorCode { code, status, meaning } in CODES {
            let row = format!("| `{code}` | {status} | {meaning} |");
            assert!(text.contains(&row), "docs/errors.md lacks\n{row}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("| `")).count(), CODES.len());
    }

    #[test]
    fn refusals_look_as_recorded() {
        let (status, body, _) = shown(Refusal::NotFound("Roles"), Shape::Recorded);
        assert_eq!(status, 404);
        assert_eq!(body, format!(r#"{{"error":"Object 'Roles' not found.","code":"not_found","requestId":"{ID}"}}"#));
        let (status, body, _) = shown(Refusal::missing("to"), Shape::Recorded);
        assert_eq!(status, 400);
        assert_eq!(
            body,
            format!(
                r#"{{"error":"Validation Error.","code":"invalid","requestId":"{ID}","validationErrors":{{"to":["to is a missing required parameter."]}}}}"#
            )
        );
        let (status, body, _) = shown(Refusal::Banned { reason: "spam".into() }, Shape::Recorded);
        assert_eq!(status, 401);
        assert!(body.contains(r#""details":{"message":"This endpoint is suspended: spam","reason":"spam"}"#), "{body}");
        let (status, body, headers) = shown(Refusal::Throttled { retry_after_secs: 4 }, Shape::Recorded);
        assert_eq!((status, &headers[RETRY_AFTER]), (429, &HeaderValue::from_static("4")));
        assert!(body.starts_with(r#"{"error":"Too Many Requests","#), "{body}");
    }

    #[test]
    fn oauth_gets_its_own_words() {
        let (status, body, headers) = shown(Refusal::Unauthenticated, Shape::OAuth);
        assert_eq!(status, 401);
        assert!(body.starts_with(r#"{"error":"invalid_client","error_description":"#), "{body}");
        assert!(body.contains(r#""code":"unauthenticated""#));
        assert!(headers.contains_key(WWW_AUTHENTICATE));
        let (_, body, _) = shown(Refusal::missing("token"), Shape::OAuth);
        assert!(body.contains("invalid_request") && body.contains("token is a missing"), "{body}");
    }

    #[test]
    fn no_client_reads_a_cause_or_a_lapse() {
        for problem in all() {
            let (_, body, _) = shown(problem.clone(), Shape::Recorded);
            assert!(!body.contains("canary") && !body.contains("redeemed"), "{body}");
        }
        assert_eq!(Problem::from(Refusal::TokenRefused(Some(Lapse::Redeemed))).lapse(), Some("redeemed"));
    }

    #[test]
    fn an_empty_bucket_asks_for_a_whole_second_at_least() {
        let (_, _, headers) = shown(Problem::rate_limited(std::time::Duration::from_millis(1_001)), Shape::Recorded);
        assert_eq!(headers[RETRY_AFTER], "2");
    }
}
