//! Answers that are not refusals: always 200, always JSON.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use respoke_core::page::{Page, PageKey};
use respoke_core::ports::Node;
use serde::Serialize;

use crate::problem::Problem;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson; charset=utf-8");
const SILENT_NODES: HeaderName = HeaderName::from_static("silent-nodes");
const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");
/// What it says where nodes are not named.
const SOME: &str = "some";
/// Headers that an answer of the API has at most, unless a page asked: room for them is made once.
pub(crate) const HEADERS_USUAL: usize = 12;
/// Most answers fit, so that writing one allocates once.
const ANSWER_LEN_USUAL: usize = 512;

/// A JSON body. Existing clients take 200 for success and nothing else.
pub(crate) struct JsonAnswer<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for JsonAnswer<T> {
    fn into_response(self) -> Response {
        let mut bytes = Vec::with_capacity(ANSWER_LEN_USUAL);
        if let Err(error) = serde_json::to_writer(&mut bytes, &self.0) {
            return Problem::internal(error).into_response();
        }
        json(Body::from(bytes))
    }
}

/// An answer of this JSON.
pub(super) fn json(body: Body) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS_USUAL);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// One thing as JSON, of which the part of some nodes may be missing.
pub(crate) struct ViewAnswer<T> {
    /// The thing.
    pub(crate) view: T,
    /// Whose part is missing.
    pub(crate) silent: Vec<Node>,
}

impl<T: Serialize> IntoResponse for ViewAnswer<T> {
    fn into_response(self) -> Response {
        with_headers(JsonAnswer(self.view).into_response(), None, ids(&self.silent))
    }
}

/// A list: a plain array, as existing clients expect, with the next page's cursor in a header.
pub(crate) struct ListAnswer<T> {
    page: Page<T, String>,
    /// Nodes whose part is missing.
    silent: String,
}

impl<T> ListAnswer<T> {
    /// A page of records, shown as `T`s.
    pub(crate) fn of<R, K: PageKey>(page: Page<R, K>, show: impl FnMut(R) -> T) -> Self {
        Self { page: with_text(page.map(show)), silent: String::new() }
    }

    /// The same, in which the part of these nodes is missing.
    pub(crate) fn without(self, silent: &[Node]) -> Self {
        Self { silent: ids(silent), ..self }
    }
}

impl<T: Serialize> IntoResponse for ListAnswer<T> {
    fn into_response(self) -> Response {
        with_headers(JsonAnswer(self.page.items).into_response(), self.page.next, self.silent)
    }
}

/// The same page with its cursor as it is told.
fn with_text<T, K: PageKey>(page: Page<T, K>) -> Page<T, String> {
    let next = page.cursor();
    Page { items: page.items, next }
}

/// A list as an array, or as one object a line for programs that read logs.
pub(crate) struct Listed<T> {
    list: ListAnswer<T>,
    lines: bool,
}

impl<T> Listed<T> {
    /// A page, as lines or as an array.
    pub(crate) fn of<K: PageKey>(page: Page<T, K>, lines: bool) -> Self {
        Self { list: ListAnswer::of(page, |item| item), lines }
    }

    /// The same, in which the part of these nodes is missing.
    pub(crate) fn without(self, silent: &[Node]) -> Self {
        Self { list: self.list.without(silent), ..self }
    }

    /// The same, for those who may not know which nodes there are: the part of some is missing.
    pub(crate) fn without_some(self) -> Self {
        Self { list: ListAnswer { silent: SOME.to_owned(), ..self.list }, ..self }
    }

    /// The page itself.
    pub(crate) fn into_page(self) -> Page<T, String> {
        self.list.page
    }
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        if !self.lines {
            return self.list.into_response();
        }
        let ListAnswer { page, silent } = self.list;
        let mut text = Vec::with_capacity(page.items.len() * ANSWER_LEN_USUAL / 2);
        for item in &page.items {
            if let Err(error) = serde_json::to_writer(&mut text, item) {
                return Problem::internal(error).into_response();
            }
            text.push(b'\n');
        }
        let mut response = Response::new(Body::from(text));
        response.headers_mut().insert(CONTENT_TYPE, LINES);
        with_headers(response, page.next, silent)
    }
}

/// Nodes as a header names them.
fn ids(nodes: &[Node]) -> String {
    let mut ids: Vec<_> = nodes.iter().map(|node| node.id.0).collect();
    ids.sort_unstable();
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn with_headers(mut response: Response, next: Option<String>, silent: String) -> Response {
    let silent = Some(silent).filter(|silent| !silent.is_empty());
    for (name, text) in [(NEXT_CURSOR, next), (SILENT_NODES, silent)] {
        let Some(text) = text else { continue };
        match HeaderValue::from_maybe_shared(bytes::Bytes::from(text)) {
            Ok(text) => drop(response.headers_mut().insert(name, text)),
            Err(error) => return Problem::internal(error).into_response(),
        }
    }
    response
}
