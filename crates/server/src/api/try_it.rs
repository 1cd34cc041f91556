//! `/try`: a page on which a tokenId becomes a connected client that exchanges messages, to see that a server works.
//!
//! It holds no credential and needs none: whoever opens it brings a tokenId, as any client does.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use maud::{Markup, html};

use crate::call::Call;
use crate::markup::{self, HTML};

/// Nothing but our own script and style sheets, and connections to this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn page(_: Call) -> Response {
    let headers = [(CONTENT_TYPE, HTML), (CONTENT_SECURITY_POLICY, POLICY)];
    (headers, render().into_string()).into_response()
}

pub(crate) async fn script(_: Call) -> Response {
    let headers = [(CONTENT_TYPE, "text/javascript; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, include_str!("try.js")).into_response()
}

pub(crate) async fn style(_: Call) -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("try.css")).into_response()
}

fn render() -> Markup {
    let head = html! {
        title { "Try a client" }
        link rel="stylesheet" href="/docs/style.css";
        link rel="stylesheet" href="/try/style.css";
        script type="module" src="/try/script.js" {}
    };
    let body = html! {
        body {
            h1 { "Try a client" }
            p {
                "Paste a tokenId that your backend minted. Open this page in a second tab with a tokenId of another \
                 endpoint, and the two can talk."
            }
            (client())
        }
    };
    markup::document(&head, &body)
}

/// One client's form; `try.js` brings it to life.
pub(crate) fn client() -> Markup {
    html! {
        section data-try-client {
            form data-part="login" {
                label { "tokenId" input name="tokenId" required autocomplete="off" spellcheck="false"; }
                button { "Connect" }
            }
            p { "You are " strong data-part="who" { "nobody yet" } }
            form data-part="message" {
                label { "To endpoint" input name="to" required; }
                label { "Message" input name="message" required; }
                button { "Send" }
            }
            form data-part="group" {
                label { "Group" input name="group" required; }
                label { "Message to the group" input name="message"; }
                button { "Join and publish" }
            }
            ul data-part="log" aria-live="polite" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_part_that_the_script_looks_for() {
        let page = render().into_string();
        let script = include_str!("try.js");
        for (at, _) in script.match_indices("part('") {
            let name = script[at + 6..].split('\'').next().unwrap();
            assert!(page.contains(&format!("data-part=\"{name}\"")), "{name}");
        }
        assert!(!page.contains("<style") && !page.contains("onclick"), "the policy allows nothing inline");
    }
}
