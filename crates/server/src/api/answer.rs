//! Answers that are not refusals: always 200, always JSON.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use respoke_core::page::Page;
use serde::Serialize;

use crate::problem::Problem;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");
/// Most answers fit, so that writing one allocates once.
const ANSWER_LEN_USUAL: usize = 512;

/// A JSON body. Existing clients take 200 for success and nothing else.
pub(crate) struct Answer<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut bytes = Vec::with_capacity(ANSWER_LEN_USUAL);
        if let Err(error) = serde_json::to_writer(&mut bytes, &self.0) {
            return Problem::internal(error).into_response();
        }
        let mut response = Response::new(Body::from(bytes));
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    }
}

/// A list: a plain array, as existing clients expect, with the next page's cursor in a header.
pub(crate) struct ListAnswer<T>(Page<T>);

impl<T> ListAnswer<T> {
    /// A page of records, shown as `T`s.
    pub(crate) fn of<R>(page: Page<R>, show: impl FnMut(R) -> T) -> Self {
        Self(page.map(show))
    }
}

impl<T: Serialize> IntoResponse for ListAnswer<T> {
    fn into_response(self) -> Response {
        let mut response = Answer(self.0.items).into_response();
        if let Some(next) = self.0.next {
            match HeaderValue::from_maybe_shared(bytes::Bytes::from(next)) {
                Ok(next) => drop(response.headers_mut().insert(NEXT_CURSOR, next)),
                Err(error) => return Problem::internal(error).into_response(),
            }
        }
        response
    }
}
