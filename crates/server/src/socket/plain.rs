//! Answers that are text, and not JSON.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

pub(super) fn text(status: StatusCode, text: &'static str) -> Response {
    plain(status, Bytes::from_static(text.as_bytes()))
}

/// Plain text in one piece, with its length.
pub(super) fn plain(status: StatusCode, text: Bytes) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    response
}

/// A script for a page.
pub(super) fn script(script: Bytes) -> Response {
    let mut response = plain(StatusCode::OK, script);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/javascript; charset=UTF-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
