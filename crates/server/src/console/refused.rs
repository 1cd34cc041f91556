//! Shows a refusal as a page. The door puts it in the place of an answer that was refused under `/console`.

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use maud::html;

use super::layout::{brand, document, sentence};
use crate::markup::HTML;
use crate::problem::Problem;

/// Puts the page of `problem` into `response`, as the answer to the request `request_id`.
pub(crate) fn render(problem: &Problem, response: &mut Response, request_id: &str) {
    let page = refusal_page(problem.status(), &problem.said(), request_id);
    problem.render_as(response, HeaderValue::from_static(HTML), page.into_bytes());
}

fn refusal_page(status: StatusCode, error: &str, request_id: &str) -> String {
    let (title, advice) = match status {
        StatusCode::NOT_FOUND => ("Not found", "It may have been deleted, or the address is mistyped."),
        StatusCode::FORBIDDEN => ("Not permitted", "Nothing was changed."),
        StatusCode::TOO_MANY_REQUESTS => ("Too many requests", "Wait a little and try again."),
        _ if status.is_server_error() => ("Something failed", "The server's log holds the cause under the request id."),
        _ => ("That did not work", "Nothing was changed."),
    };
    let body = html! {
        body.outside {
            main id="main" {
                (brand())
                // By this id forms that show an outcome in place find it.
                section.card id="outcome" {
                    h1 { (title) }
                    p { (sentence(error)) " " (advice) }
                    p.quiet { "Request id " code { (request_id) } }
                    p { a.button href="/console" { "Back to the console" } }
                }
            }
        }
    };
    document(title, &body).into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_escaped() {
        let shown = refusal_page(StatusCode::BAD_REQUEST, "<script>", "<id>");
        assert!(shown.contains("&lt;script&gt;.") && shown.contains("&lt;id&gt;"));
    }

    #[test]
    fn pages_have_nothing_inline() {
        let shown = refusal_page(StatusCode::NOT_FOUND, "there is nothing at this path", "1");
        for forbidden in ["<style", " style=", " onclick=", "javascript:", "http://", "https://"] {
            assert!(!shown.contains(forbidden), "{forbidden}");
        }
        assert!(shown.contains("There is nothing at this path.") && shown.contains("id=\"outcome\""), "{shown}");
    }
}
