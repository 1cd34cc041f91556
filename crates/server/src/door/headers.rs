//! The headers of every answer, and answers to browsers that ask whether they may ask.

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, ORIGIN, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use respoke_core::ops::Confirmed;

use crate::api::answer::HEADERS_USUAL;
use crate::console;
use crate::family::Family;
use crate::limits::RateStatus;

/// How many of how many nodes have followed what was changed.
const RESPOKE_CONFIRMED: HeaderName = HeaderName::from_static("respoke-confirmed");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATELIMIT_TIME_UNITS: HeaderName = HeaderName::from_static("ratelimit-time-units");
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

const SECONDS: HeaderValue = HeaderValue::from_static("seconds");
/// What a limit reads where there is none.
///
/// # Source
///
/// Existing clients divide 1,000 by `RateLimit-Limit` (section 1.3 of docs/protocol.md).
const UNLIMITED: HeaderValue = HeaderValue::from_static("1000");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
pub(super) const BY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "App-Token, App-Secret, Admin-Token, Respoke-SDK, Content-Type, Authorization, Idempotency-Key",
);
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Request-Id, RateLimit-Limit, RateLimit-Time-Units, RateLimit-Remaining, RateLimit, RateLimit-Policy, \
     Retry-After, Next-Cursor, Silent-Nodes, Respoke-Confirmed",
);
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Whether a browser asks if it may ask.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

pub(super) fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    response
}

pub(super) fn add_headers(
    headers: &mut HeaderMap,
    request_id: &str,
    family: Family,
    rate_status: Option<&RateStatus>,
    origin: Option<HeaderValue>,
) {
    headers.reserve(HEADERS_USUAL.saturating_sub(headers.len()));
    let mut texts = Texts(BytesMut::with_capacity(128));
    headers.insert(REQUEST_ID, texts.text(request_id).value());
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if let Some(origin) = origin.filter(|_| family != Family::Console) {
        // Every page may ask; `permittedDomains` decides whose tokens work where.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        headers.append(VARY, BY_ORIGIN);
    }
    match family {
        Family::Elsewhere => {}
        Family::Console => console::add_headers(headers),
        Family::OAuth => drop(headers.insert(CACHE_CONTROL, NO_STORE)),
        Family::Api => {
            headers.insert(CACHE_CONTROL, NO_STORE);
            add_rate_limit(
                headers,
                &mut texts,
                rate_status.filter(|rate_status| **rate_status != RateStatus::UNLIMITED),
            );
        }
    }
}

/// Says how many nodes have followed what was changed, if others had to. A page for people says it only if some have not.
pub(super) fn add_confirmed(response: &mut Response, family: Family, confirmed: Option<Confirmed>) {
    let Some(confirmed) = confirmed else { return };
    if family == Family::Console {
        if !confirmed.is_full() {
            console::say_unconfirmed(response.headers_mut());
        }
    } else if response.status().is_success()
        && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(confirmed.to_string()))
    {
        response.headers_mut().insert(RESPOKE_CONFIRMED, value);
    }
}

/// The recorded headers always, and the IETF's where there is a limit.
///
/// # Source
///
/// Section 1.3 of docs/protocol.md; draft-ietf-httpapi-ratelimit-headers-10.
fn add_rate_limit(headers: &mut HeaderMap, texts: &mut Texts, rate_status: Option<&RateStatus>) {
    headers.insert(RATELIMIT_TIME_UNITS, SECONDS);
    let Some(rate_status) = rate_status else {
        headers.insert(RATELIMIT_LIMIT, UNLIMITED);
        headers.insert(RATELIMIT_REMAINING, UNLIMITED);
        return;
    };
    let (rate, remaining) = (rate_status.rate, rate_status.remaining);
    let per_second = rate.per_second.max(1);
    let window_secs = rate.burst.div_ceil(per_second).max(1);
    let full_in_secs = rate.burst.saturating_sub(remaining).div_ceil(per_second);
    headers.insert(RATELIMIT_LIMIT, texts.number(rate_status.legacy_limit()).value());
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
mod tests {
    use http::header::LOCATION;
    use respoke_core::app::Rate;

    use super::*;

    #[test]
    fn that_not_all_have_confirmed_is_told_to_programs_and_to_people() {
        let confirmed = |by| Some(Confirmed { by, of: 2 });
        let told = |status, family, confirmed| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("/console/apps?done=app-deleted"));
            add_confirmed(&mut response, family, confirmed);
            let text = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (text(RESPOKE_CONFIRMED), text(LOCATION).unwrap())
        };
        let there = "/console/apps?done=app-deleted".to_owned();
        let (ok, other) = (StatusCode::OK, StatusCode::SEE_OTHER);
        assert_eq!(told(ok, Family::Api, None), (None, there.clone()));
        assert_eq!(told(ok, Family::Api, confirmed(2)), (Some("2/2".to_owned()), there.clone()));
        assert_eq!(told(ok, Family::OAuth, confirmed(1)), (Some("1/2".to_owned()), there.clone()));
        assert_eq!(told(StatusCode::NOT_FOUND, Family::Api, confirmed(1)), (None, there.clone()), "nothing was ended");
        assert_eq!(told(other, Family::Console, confirmed(2)), (None, there.clone()));
        assert_eq!(told(other, Family::Console, confirmed(1)), (None, format!("{there}&unconfirmed=1")));
    }

    #[test]
    fn limits_are_told_in_both_dialects() {
        let mut headers = HeaderMap::new();
        let rate_status = RateStatus { rate: Rate { per_second: 2_000, burst: 10_000 }, remaining: 7_999 };
        add_rate_limit(&mut headers, &mut Texts(BytesMut::new()), Some(&rate_status));
        assert_eq!(headers[RATELIMIT_LIMIT], "1000");
        assert_eq!(headers[RATELIMIT_REMAINING], "7999");
        assert_eq!(headers[RATELIMIT], "\"default\";r=7999;t=2");
        assert_eq!(headers[RATELIMIT_POLICY], "\"default\";q=10000;w=5");
    }
}
