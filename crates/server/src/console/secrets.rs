//! `/console/apps/{id}/secrets`: lists an app's App-Secrets, makes and rolls them, and revokes one after it has said what
//! would end with it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use respoke_core::app::{App, Revocation, SecretRecord};
use respoke_core::clock::Timestamp;
use respoke_core::id::SecretId;
use respoke_core::ops::{Counted, CreatedSecret, Overlap};
use respoke_core::refusal::Refusal;

use super::general::app_of_path;
use super::layout::{
    Errors, Tab, answer, app_page, app_path, copyable, csrf, csrf_once, empty, field, guarded, input, table,
};
use super::visit::{Failure, Posted, Visit, see};
use super::words::{count, when, when_or};
use crate::call::{Id, Ids};
use crate::state::Api;

/// How long a rolled secret is still taken, as the form offers it.
const OVERLAPS: [(&str, &str); 4] =
    [("24h", "24 hours"), ("1h", "1 hour"), ("7d", "7 days"), ("now", "not at all: it stops now")];

/// What is said in place of a secret when the page that showed it is loaded again.
pub(super) const MADE_BEFORE: &str = "The secret was made already, and is shown only once.";

/// `GET`.
pub(super) async fn page(Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    render(&visit, &app, &Errors::default()).await
}

/// `POST`: makes a secret and shows it, this once.
pub(super) async fn create(State(api): State<Arc<Api>>, Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let once = posted.once();
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let name = form.given("name").map(str::to_owned);
    let made = api.broker.create_secret(&visit.caller, app.id, name, None, None, once, &visit.context()).await;
    match made {
        Ok(CreatedSecret { repeated: true, .. }) | Err(Refusal::IdempotencyKeyReused) => Ok(made_before(&visit, &app)),
        Ok(made) => Ok(show_new(&visit, &app, "The secret is made.", made.text.secret().expose())),
        Err(refusal) => render(&visit, &app, &Errors::of(refusal)?).await,
    }
}

/// `POST …/{sid}/roll`: makes a secret's successor and shows it, this once.
pub(super) async fn roll(
    State(api): State<Arc<Api>>,
    Ids(id, secret): Ids,
    posted: Posted,
) -> Result<Response, Failure> {
    let once = posted.once();
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let overlap = Overlap::parse(form.text("overlap"));
    let overlap = overlap.ok_or_else(|| Refusal::field("overlap", "must be now, 1h, 24h or 7d"))?;
    let secret = secret_of_path(&secret)?;
    match api.broker.roll_secret(&visit.caller, app.id, secret, overlap, once, &visit.context()).await {
        Ok(CreatedSecret { repeated: true, .. }) | Err(Refusal::IdempotencyKeyReused) => Ok(made_before(&visit, &app)),
        Ok(made) => {
            let said = match overlap {
                Overlap::Now => "The secret is rolled. The old one is no longer taken.",
                Overlap::Hour => "The secret is rolled. The old one is taken for another hour.",
                Overlap::Day => "The secret is rolled. The old one is taken for another 24 hours.",
                Overlap::Week => "The secret is rolled. The old one is taken for another 7 days.",
            };
            Ok(show_new(&visit, &app, said, made.text.secret().expose()))
        }
        Err(refusal) => render(&visit, &app, &Errors::of(refusal)?).await,
    }
}

/// `POST …/{sid}/revoke`.
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Ids(id, secret): Ids,
    posted: Posted,
) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let secret = secret_of_path(&secret)?;
    let revocation = if form.has("keepSessions") { Revocation::SparesMinted } else { Revocation::EndsMinted };
    api.broker.revoke_secret(&visit.caller, app.id, secret, revocation, &visit.context()).await?;
    Ok(see(&format!("{}/secrets?done=revoked", app_path(&app))))
}

fn secret_of_path(id: &str) -> Result<SecretId, Refusal> {
    SecretId::parse(id).ok_or(Refusal::NotFound("Secrets"))
}

/// `GET …/{sid}/reach`: what revoking a secret would cut off; for htmx that sentence alone. It is counted only here: the
/// list of secrets would search for every one of them.
pub(super) async fn reach(Ids(id, secret): Ids, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let found = visit.api.broker.secret_reach(&visit.caller, app.id, secret_of_path(&secret)?).await?;
    let counted = |counted: Counted, one| {
        let more = if counted.more { "more than " } else { "" };
        format!("{more}{}", count(counted.count as u64, one))
    };
    let said = html! {
        p.reach {
            strong {
                "It would cut off " (counted(found.sessions, "live session")) " and "
                (counted(found.tokens, "outstanding token")) "."
            }
            " The secret was last used: " (when_or(found.record.last_used_at, visit.now(), "never")) "."
        }
    };
    if visit.is_partial() {
        return Ok(answer(StatusCode::OK, said));
    }
    let body = html! {
        h2 { "Revoking " (found.record.name) }
        (said)
        p { a.button href={ (app_path(&app)) "/secrets" } { "Back to the secrets" } }
    };
    Ok(app_page(&visit, &app, Tab::Secrets, StatusCode::OK, &body))
}

/// A secret's text, which no page shows again.
pub(super) fn shown_once(secret: &str, next: &Markup) -> Markup {
    html! {
        section.card.once {
            h2 { "App-Secret" }
            p {
                strong { "This is shown once." } " Store it where your backend reads its secrets. Whoever has it can act for \
                this app; it never belongs into a page or an app that users get."
            }
            p { (copyable("the App-Secret", secret)) }
            p { (next) }
        }
    }
}

fn show_new(visit: &Visit, app: &App, said: &str, secret: &str) -> Response {
    let body = html! {
        p.notice.good role="status" { (said) }
        (shown_once(secret, &html! {
            a.button.primary href={ (app_path(app)) "/secrets" } { "I have stored it" }
        }))
    };
    app_page(visit, app, Tab::Secrets, StatusCode::OK, &body)
}

/// The answer that is loaded again.
fn made_before(visit: &Visit, app: &App) -> Response {
    let body = html! {
        p.notice role="status" { (MADE_BEFORE) " If it is lost, roll it or make another one." }
        p { a.button.primary href={ (app_path(app)) "/secrets" } { "To the secrets" } }
    };
    app_page(visit, app, Tab::Secrets, StatusCode::OK, &body)
}

async fn render(visit: &Visit, app: &App, errors: &Errors) -> Result<Response, Failure> {
    let secrets = visit.api.broker.list_secrets(&visit.caller, app.id).await?;
    let now = visit.now();
    let (usable, over): (Vec<_>, Vec<_>) = secrets.iter().partition(|secret| secret.usable(now));
    let action = format!("{}/secrets", app_path(app));
    let body = html! {
        (errors.summary())
        p { "Your backend shows an App-Secret in the header " code { "App-Secret" } " when it mints tokens. Texts are kept as hashes only and cannot be shown again." }
        @if usable.is_empty() {
            (empty("No secret of this app is taken now.", &html! { "Your backend needs one to mint tokens. Make one below." }))
        } @else {
            (table("Secrets", &["Name", "Ends in", "Created", "Last used", "Taken until", "Actions"], &html! {
                @for secret in &usable { (row(visit, &action, secret, now)) }
            }))
        }
        // The answer holds a secret: it takes this page's place, so that loading the page again does not make another.
        form.card method="post" action=(action) hx-post=(action) hx-target="#main" hx-select="#main"
        hx-swap="outerHTML show:window:top" {
            h2 { "New secret" }
            (csrf_once(visit))
            (input("name", "Name", "", "Where it will be used, such as “web backend”."))
            button.primary { "Create secret" }
        }
        @if !over.is_empty() {
            details {
                summary { "Secrets that are no longer taken (" (over.len()) ")" }
                (table("Secrets that are no longer taken", &["Name", "Ends in", "Created", "Over since"], &html! {
                    @for secret in &over {
                        tr {
                            td { (secret.name) }
                            td { code { (secret.hint) } }
                            td { (when(secret.created_at, now)) }
                            td { (when_or(secret.revoked_at.or(secret.expires_at), now, "")) @if secret.revoked_at.is_some() { ", revoked" } }
                        }
                    }
                }))
            }
        }
    };
    Ok(app_page(visit, app, Tab::Secrets, errors.status(), &body))
}

fn row(visit: &Visit, action: &str, secret: &SecretRecord, now: Timestamp) -> Markup {
    let roll = format!("{action}/{}/roll", secret.id);
    let overlap = format!("overlap-{}", secret.id);
    html! {
        tr {
            td { strong { (secret.name) } }
            td { code { (secret.hint) } }
            td { (when(secret.created_at, now)) }
            td { (when_or(secret.last_used_at, now, "never")) }
            td { (when_or(secret.expires_at, now, "you revoke it")) }
            td.actions {
                (guarded("Roll…", &html! {
                    p { "Makes a successor. Both are taken until your backends have the new one; what the old one minted lives on." }
                    form method="post" action=(roll) hx-post=(roll) hx-target="#main" hx-select="#main" hx-swap="outerHTML show:window:top" {
                        (csrf_once(visit))
                        (field(&overlap, "The old one is taken for", "", &html! {
                            select id=(overlap) name="overlap" {
                                @for (value, label) in OVERLAPS { option value=(value) { (label) } }
                            }
                        }))
                        button.primary { "Roll" }
                    }
                }))
                (guarded("Revoke…", &html! {
                    p {
                        "Backends that use " (secret.hint) " are refused at once. The tokens and sessions that it minted \
                        end too, and their clients are cut off, unless you keep them."
                    }
                    @let reach = format!("{action}/{}/reach", secret.id);
                    p { a href=(reach) hx-get=(reach) hx-target="closest p" hx-swap="outerHTML" { "How many would that be?" } }
                    form method="post" action={ (action) "/" (secret.id) "/revoke" } {
                        (csrf(visit))
                        label.check { input type="checkbox" name="keepSessions"; " Keep the tokens and sessions it minted" }
                        button.danger { "Revoke" }
                    }
                }))
            }
        }
    }
}
