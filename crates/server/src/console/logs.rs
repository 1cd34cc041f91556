//! What the pages of the two logs, `audit` and `requests`, have in common: the list that an address asks for, and the same as
//! lines to take along.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_DISPOSITION;
use maud::{Markup, html};
use respoke_wire::body::lists::ListRequest;

use super::apps::ROWS;
use super::form::Form;
use super::layout::link;

/// How much of a log is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// A page of it.
    Page,
    /// As much as there may be of it, one object a line.
    Lines,
}

/// What the address `asked` says of a list, as the API takes it: how much of it, in which app, of which request.
pub(super) fn listed(asked: &Form, extent: Extent) -> ListRequest {
    let part = ListRequest { app_id: text(asked, "app"), request_id: text(asked, "request"), ..ListRequest::default() };
    match extent {
        Extent::Page => ListRequest { limit: Some(ROWS as u64), cursor: text(asked, "cursor"), ..part },
        Extent::Lines => ListRequest { format: Some("jsonl".to_owned()), ..part },
    }
}

/// A field that is not empty.
pub(super) fn text(asked: &Form, name: &str) -> Option<String> {
    asked.given(name).map(str::to_owned)
}

/// The buttons that search a log, and take what `query` finds along from `lines`.
pub(super) fn search_and_export(lines: &str, query: &[(&str, &str)]) -> Markup {
    html! {
        button { "Search" }
        a.button href=(link(lines, query, None)) download { "Export" }
    }
}

/// Lines as a file of that name.
pub(super) fn file(name: &str, lines: impl IntoResponse) -> Response {
    ([(CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))], lines).into_response()
}
