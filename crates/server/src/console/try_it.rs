//! `/console/apps/{id}/try`: mints a token on the page, and opens two clients there that talk to each other.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use maud::{Markup, html};
use respoke_core::app::App;
use respoke_core::ops::{IssueToken, IssuedToken};

use super::form::Form;
use super::general::app_of_path;
use super::layout::{Errors, Tab, app_page, app_path, copyable, csrf, empty, field, input};
use super::samples::Mint;
use super::sessions::{RoleNames, role_choice, roles};
use super::visit::{Failure, Posted, Visit};
use super::words::{length, when};
use crate::api::try_it::client as try_client;
use crate::call::Id;
use crate::deed::Deed;
use crate::state::Api;

/// Life of the sessions that the two clients get, in seconds.
const CLIENT_TTL_SECS: u64 = 3_600;

/// `GET`.
pub(super) async fn page(Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let roles = roles(&visit, &app).await?;
    Ok(render(&visit, &app, &roles, &Form::default(), None, &Errors::default()))
}

/// `POST`: mints a token and shows it.
pub(super) async fn mint(State(api): State<Arc<Api>>, Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    // Before the token is made, which is shown only once.
    let roles = roles(&visit, &app).await?;
    match api.broker.issue_token(&visit.caller, request(&app, &form, None), None, &visit.context()).await {
        Ok(issued) => {
            api.watch.tally.happened(Some(app.id), Deed::Minted);
            Ok(render(&visit, &app, &roles, &form, Some(&issued), &Errors::default()))
        }
        Err(refusal) => Ok(render(&visit, &app, &roles, &form, None, &Errors::of(refusal)?)),
    }
}

/// `POST …/token`: mints a token for one of the page's clients, as JSON for its script.
pub(super) async fn mint_for_client(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    posted: Posted,
) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let request = request(&app, &form, Some(CLIENT_TTL_SECS));
    let issued = api.broker.issue_token(&visit.caller, request, None, &visit.context()).await?;
    api.watch.tally.happened(Some(app.id), Deed::Minted);
    let body = serde_json::json!({ "tokenId": issued.text.expose() });
    Ok(([(CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}

fn request(app: &App, form: &Form, ttl_secs: Option<u64>) -> IssueToken {
    IssueToken {
        app_id: Some(app.id),
        endpoint_id: Some(form.text("endpoint").to_owned()),
        role_id: form.given("role").map(str::to_owned),
        ttl_secs,
        ..IssueToken::default()
    }
}

fn render(
    visit: &Visit,
    app: &App,
    roles: &RoleNames,
    form: &Form,
    issued: Option<&IssuedToken>,
    errors: &Errors,
) -> Response {
    if roles.is_empty() && !app.settings.development_mode {
        let body = empty(
            "There is no role to mint a token for.",
            &html! {
                a href={ (app_path(app)) "/roles/new" } { "Make a role" } " first: it says what the endpoint may do."
            },
        );
        return app_page(visit, app, Tab::TryIt, StatusCode::OK, &body);
    }
    let action = format!("{}/try", app_path(app));
    let endpoint = form.given("endpoint").unwrap_or("alice");
    let body = html! {
        (errors.summary())
        section.card {
            h2 { "1. Mint a tokenId" }
            p { "Your backend does this for a user who has signed in with you. Here the console does it, as you." }
            form.filter method="post" action=(action) {
                (csrf(visit))
                (input("endpoint", "Endpoint", endpoint, ""))
                (role_choice(roles, form.text("role"), no_role(app)))
                button.primary { "Mint" }
            }
            @if let Some(issued) = issued { (minted(visit, app, issued)) }
        }
        section.card {
            h2 { "The same from your backend" }
            (samples(visit, app, roles, endpoint, form))
        }
        section.card {
            h2 { "2. Two clients" }
            p { "Each gets a token of its own and connects. Let them send each other a message, or join the same group." }
            noscript { p.notice.bad { "The clients are scripts, which this browser does not run." } }
            div.clients {
                @for (at, name) in ["alice", "bob"].into_iter().enumerate() { (client(visit, roles, &action, no_role(app), at, name)) }
            }
        }
        script type="module" src="/try/script.js" {}
    };
    app_page(visit, app, Tab::TryIt, errors.status(), &body)
}

/// What stands for no role: only development mode has it.
fn no_role(app: &App) -> &'static str {
    if app.settings.development_mode { "No role (development mode)" } else { "" }
}

fn minted(visit: &Visit, app: &App, issued: &IssuedToken) -> Markup {
    let token = issued.text.expose();
    html! {
        div.result role="status" data-redeem {
            p { "A tokenId for " strong { (issued.grant.endpoint_id) } ". It can be redeemed once, within " (length(app.settings.activation_secs)) "; its session ends " (when(issued.expires_at, visit.now())) "." }
            p { (copyable("the tokenId", token)) }
            p { button type="button" data-token=(token) hidden { "Redeem it" } }
            p data-answer aria-live="polite" {}
            details {
                summary { "How a client redeems it" }
                pre tabindex="0" { code { (redeem_sample(visit, token)) } }
            }
        }
    }
}

fn redeem_sample(visit: &Visit, token: &str) -> String {
    let url = visit.base_url();
    format!("curl {url}/v1/session-tokens -H 'Content-Type: application/json' -d '{{\"tokenId\":\"{token}\"}}'")
}

fn samples(visit: &Visit, app: &App, roles: &RoleNames, endpoint: &str, form: &Form) -> Markup {
    let chosen = form.given("role").map(str::to_owned);
    // As the form above is filled in: its first choice is no role in development mode.
    let first = roles.first().filter(|_| !app.settings.development_mode).map(|(id, _)| id.to_string());
    let role = chosen.or(first);
    let mint = Mint { url: &visit.base_url(), endpoint, role: role.as_deref() };
    html! {
        p { code { "APP_SECRET" } " stands for the App-Secret that your backend keeps." }
        @for (at, (name, text)) in mint.samples().iter().enumerate() {
            details name="sample" open[at == 0] {
                summary { (name) }
                div.sample { pre tabindex="0" { code { (text) } } button.small type="button" data-copy=(text) aria-label={ "Copy the " (name) " sample" } { "Copy" } }
            }
        }
    }
}

/// One client: a form that mints its token, and the form of `/try` that it then fills.
fn client(visit: &Visit, roles: &RoleNames, action: &str, no_role: &str, at: usize, name: &str) -> Markup {
    let ids = [format!("client-{at}-endpoint"), format!("client-{at}-role")];
    html! {
        div.client data-client {
            h3 { "Client " (at + 1) }
            form data-mint method="post" action={ (action) "/token" } {
                (csrf(visit))
                (field(&ids[0], "Endpoint", "", &html! { input id=(ids[0]) name="endpoint" value=(name) required autocomplete="off"; }))
                (field(&ids[1], "Role", "", &html! {
                    select id=(ids[1]) name="role" {
                        @if !no_role.is_empty() { option value="" { (no_role) } }
                        @for (id, name) in roles { option value=(id) { (name) } }
                    }
                }))
                button.primary { "Mint and connect" }
                p.bad data-problem role="alert" {}
            }
            (try_client())
        }
    }
}
