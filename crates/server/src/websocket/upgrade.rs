//! The request that asks for a websocket, and its answer.

use axum::body::{Body, HttpBody};
use axum::response::Response;
use http::header::{
    CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What a request for a websocket is answered with as a sign of having been understood. None: it cannot become one,
/// whatever its path says. A proxy may have made it what it is, which cannot carry a websocket then.
///
/// # Source
///
/// RFC 6455 section 4.2.1.
pub(crate) fn accept_key<B: HttpBody>(request: &http::Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    let names = |name: HeaderName, wanted: &str| {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    let one = |name: HeaderName| {
        let mut lines = headers.get_all(name).iter();
        lines.next().filter(|_| lines.next().is_none())
    };
    // hyper makes a connection over into something else on HTTP/1.1 alone.
    let can_change = request.version() == Version::HTTP_11 && request.extensions().get::<OnUpgrade>().is_some();
    let is_asked = request.method() == Method::GET && names(UPGRADE, "websocket") && names(CONNECTION, "upgrade");
    let is_known_version = one(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    if !can_change || !is_asked || !is_known_version || !request.body().is_end_stream() {
        return None;
    }
    // That it is base64 of sixteen bytes is not insisted on: it works with others.
    let key = one(SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty())?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// The subprotocols that a request offers, in its order.
pub(crate) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Says that a connection is a websocket from now on, in which `protocol` is spoken if one was agreed on.
pub(crate) fn switch(accept: HeaderValue, protocol: Option<HeaderValue>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answered = response.headers_mut();
    answered.insert(UPGRADE, HeaderValue::from_static("websocket"));
    // Asterisk compares this word.
    answered.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answered.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        answered.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// Says to a request that it cannot become a websocket.
pub(crate) fn refuse() -> Response {
    let mut refused = Response::new(Body::from("a websocket is expected here"));
    *refused.status_mut() = StatusCode::UPGRADE_REQUIRED;
    let headers = refused.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    // Not so on HTTP/2, where hyper takes both away.
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    refused
}
