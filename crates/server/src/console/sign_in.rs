//! `/console/sign-in` and `/console/sign-out`: signs an admin in by password and second factor, and out again.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::SET_COOKIE;
use maud::{Markup, html};
use respoke_core::ops::SignIn;
use respoke_core::secret::Secret;

use super::form::Form;
use super::layout::{field, outside};
use super::visit::{Failure, Posted, check_own_page, see, see_from, set_cookie};
use crate::api::admin_sessions::sign_in as open_session;
use crate::call::Call;
use crate::problem::Problem;
use crate::state::Api;

/// Where everybody begins.
const HOME: &str = "/console/apps";

/// `GET`: the form.
pub(super) async fn page(State(api): State<Arc<Api>>, call: Call) -> Result<Response, Failure> {
    call.admit_anonymous(&api)?;
    let query = Form::parse(call.uri().query().unwrap_or_default().as_bytes());
    Ok(render(StatusCode::OK, "", next(&query), &Outcome::default()))
}

/// `POST`: signs in, by the same throttle as the API.
pub(super) async fn sign_in(State(api): State<Arc<Api>>, call: Call) -> Result<Response, Failure> {
    check_own_page(&call)?;
    let form = Form::sent(&call)?;
    let username = form.text("username").to_owned();
    let refused = |problem: Problem| match Outcome::of(&problem, form.given("code").is_some()) {
        Some(outcome) => Ok(render(problem.status(), &username, next(&form), &outcome)),
        None => Err(problem.into()),
    };
    if let Err(problem) = call.admit_anonymous(&api) {
        return refused(problem);
    }
    let secret = |text: &str| Secret::new(text.to_owned());
    let request = SignIn {
        username: Some(username.clone()),
        password: Some(secret(form.raw("password"))),
        code: form.given("code").map(secret),
        ..SignIn::default()
    };
    match open_session(&api, &call, request, None).await {
        Ok(token) => {
            let cookie = set_cookie(Some(&token), call.is_encrypted())?;
            Ok(([(SET_COOKIE, cookie)], see_from(call.headers(), next(&form))).into_response())
        }
        Err(problem) => refused(problem),
    }
}

/// `POST /console/sign-out`.
pub(super) async fn sign_out(posted: Posted) -> Result<Response, Failure> {
    let visit = posted.visit;
    visit.api.broker.sign_out(&visit.caller, &visit.context()).await?;
    let cookie = set_cookie(None, visit.call.is_encrypted())?;
    Ok(([(SET_COOKIE, cookie)], see("/console/sign-in")).into_response())
}

/// What came of an attempt.
#[derive(Default)]
struct Outcome {
    said: Option<String>,
    /// Whether the second factor's code is asked for.
    asks_code: bool,
}

impl Outcome {
    /// What the form says of a refusal; none for what is no matter of the form.
    fn of(problem: &Problem, code_given: bool) -> Option<Self> {
        let said = match problem.code() {
            "bad_login" if code_given => "The user name, the password or the code is wrong.".to_owned(),
            "bad_login" => "The user name or the password is wrong.".to_owned(),
            "second_factor_required" => "Now the code from your device as well.".to_owned(),
            "throttled" | "rate_limited" => {
                let secs = problem.retry_after_secs().unwrap_or(1);
                format!("Too many attempts. Try again in {}.", super::words::count(secs, "second"))
            }
            _ => return None,
        };
        Some(Self { said: Some(said), asks_code: code_given || problem.code() == "second_factor_required" })
    }
}

/// Where to go afterwards: a page of the console and nothing else.
fn next(form: &Form) -> &str {
    let path = form.text("next");
    let inside = path.strip_prefix("/console").is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    if inside && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') { path } else { HOME }
}

fn render(status: StatusCode, username: &str, next: &str, outcome: &Outcome) -> Response {
    outside(status, "Sign in", &body(username, next, outcome))
}

fn body(username: &str, next: &str, outcome: &Outcome) -> Markup {
    let first = outcome.said.is_none();
    html! {
        section.card {
            h1 { "Sign in" }
            // What was typed stays in the page: only the outcome is exchanged, and with it the code asked for.
            form method="post" action="/console/sign-in" hx-post="/console/sign-in" hx-target="#outcome"
                hx-select="#outcome" hx-swap="outerHTML" {
                input type="hidden" name="next" value=(next);
                (field("username", "User name", "", &html! {
                    input id="username" name="username" value=(username) required autocomplete="username"
                        autocapitalize="none" spellcheck="false" autofocus[first];
                }))
                (field("password", "Password", "", &html! {
                    input id="password" name="password" type="password" required autocomplete="current-password"
                        autofocus[!first && !outcome.asks_code];
                }))
                div id="outcome" {
                    @if let Some(said) = &outcome.said { p.notice.bad role="alert" { (said) } }
                    @if outcome.asks_code {
                        (field("code", "Code", "Six digits, or a recovery code.", &html! {
                            input id="code" name="code" required autocomplete="one-time-code" spellcheck="false" autofocus
                                aria-describedby="code-hint";
                        }))
                    }
                }
                button.primary.wide { "Sign in" }
            }
            p.quiet {
                "The server printed a user name and a password when it was first started. On its machine "
                code { "respoked admin password" } " sets a new one."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_signing_in_one_stays_in_the_console() {
        let to = |text: &str| {
            let text = form_urlencoded::Serializer::new(String::new()).append_pair("next", text).finish();
            next(&Form::parse(text.as_bytes())).to_owned()
        };
        for inside in ["/console", "/console/apps/1?x=y", "/console?x"] {
            assert_eq!(to(inside), inside);
        }
        for outside in
            ["", "/", "//evil.test/console", "https://evil.test", "/consolex", "/console/\\x", "/console/\r\nX: y"]
        {
            assert_eq!(to(outside), HOME, "{outside}");
        }
    }

    #[test]
    fn what_was_typed_is_escaped() {
        let outcome = Outcome { said: Some("<no>".into()), asks_code: true };
        let shown = body("\"><script>", "/console", &outcome).into_string();
        assert!(shown.contains("&quot;&gt;&lt;script&gt;") && shown.contains("&lt;no&gt;"), "{shown}");
    }
}
