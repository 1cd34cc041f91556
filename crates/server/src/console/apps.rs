//! `/console/apps`: lists the account's apps, and makes a new one, whose App-Secret it shows once.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use respoke_core::app::{App, AppPatch};
use respoke_core::ops::CreatedSecret;
use respoke_core::page::{PageKey, PageRequest};
use respoke_core::refusal::Refusal;

use super::layout::{
    Errors, Section, app_path, copyable, csrf_once, empty, input, maker, more, page, page_of, table, textarea,
};
use super::secrets::{MADE_BEFORE, shown_once};
use super::visit::{Failure, Posted, Visit};
use super::words::when;
use crate::api::asked::cursor;
use crate::state::Api;

/// Rows of one page of a list.
pub(super) const ROWS: usize = 50;

/// The part of a list that the address asks for.
pub(super) fn rows<K: PageKey>(visit: &Visit) -> Result<PageRequest<K>, Refusal> {
    Ok(PageRequest { limit: ROWS, after: cursor(visit.query().given("cursor"))? })
}

/// `GET /console/apps`.
pub(super) async fn list(State(api): State<Arc<Api>>, visit: Visit) -> Result<Response, Failure> {
    let found = api.broker.list_apps(&visit.caller, rows(&visit)?).await?;
    let now = visit.now();
    let body = html! {
        div.title { h1 { "Apps" } (maker(&visit, "/console/apps/new", "New app")) }
        @if found.items.is_empty() {
            (empty("There is no app yet.", &html! {
                "An app is one product of yours: its endpoints can reach each other and nobody else. "
                a href="/console/apps/new" { "Make the first one" } "; you get an App id and an App-Secret for your backend."
            }))
        } @else {
            (table("Apps", &["Name", "App id", "Created"], &html! {
                @for app in &found.items {
                    tr {
                        td {
                            a href=(app_path(app)) { strong { (app.settings.name) } }
                            @if app.settings.development_mode { " " span.tag.warn { "development" } }
                            @if !app.settings.description.is_empty() { p.quiet { (app.settings.description) } }
                        }
                        td { (copyable("the App id", &app.id.to_string())) }
                        td { (when(app.created_at, now)) }
                    }
                }
            }))
            (more("/console/apps", &[], found.cursor().as_deref()))
        }
    };
    Ok(page(&visit, Section::Apps, "Apps", &body))
}

/// `GET /console/apps/new`.
pub(super) async fn new(visit: Visit) -> Response {
    page(&visit, Section::Apps, "New app", &new_form(&visit, "", "", &Errors::default()))
}

/// `POST /console/apps`: makes an app and shows its first secret, this once.
pub(super) async fn create(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Failure> {
    let once = posted.once();
    let Posted { visit, form } = posted;
    let (name, description) = (form.text("name"), form.text("description"));
    let patch = AppPatch { description: Some(description.to_owned()), ..AppPatch::default() };
    match api.broker.create_app(&visit.caller, Some(name.to_owned()), patch, once, &visit.context()).await {
        Ok((app, CreatedSecret { repeated: true, .. })) => {
            Ok(page(&visit, Section::Apps, "New app", &created_before(&app)))
        }
        Ok((app, secret)) => Ok(page(&visit, Section::Apps, "New app", &created(&app, secret.text.secret().expose()))),
        Err(refusal) => {
            let errors = Errors::of(refusal)?;
            let body = new_form(&visit, name, description, &errors);
            Ok(page_of(&visit, errors.status(), Section::Apps, "New app", &body))
        }
    }
}

fn new_form(visit: &Visit, name: &str, description: &str, errors: &Errors) -> Markup {
    html! {
        p.crumbs { a href="/console/apps" { "Apps" } " / " }
        h1 { "New app" }
        (errors.summary())
        // The answer holds a secret: it takes this page's place, so that loading the page again does not make another app.
        form.card method="post" action="/console/apps" hx-post="/console/apps" hx-target="#main" hx-select="#main"
        hx-swap="outerHTML show:window:top" {
            (csrf_once(visit))
            (input("name", "Name", name, "What you call it, such as “Support chat”. It can be changed later."))
            (textarea("description", "Description", description, "For your colleagues. May be left empty."))
            button.primary { "Create app" }
        }
    }
}

/// The answer that is loaded again.
fn created_before(app: &App) -> Markup {
    html! {
        p.crumbs { a href="/console/apps" { "Apps" } " / " }
        h1 { (app.settings.name) }
        p.notice role="status" { "The app is made already. " (MADE_BEFORE) " If it is lost, make another one." }
        p { a.button.primary href={ (app_path(app)) "/secrets" } { "To the secrets" } }
    }
}

fn created(app: &App, secret: &str) -> Markup {
    html! {
        p.crumbs { a href="/console/apps" { "Apps" } " / " }
        h1 { (app.settings.name) }
        p.notice.good role="status" { "The app is made." }
        section.card {
            h2 { "App id" }
            p { "Names the app; it may be known to everybody." }
            p { (copyable("the App id", &app.id.to_string())) }
        }
        (shown_once(secret, &html! {
            a.button.primary href={ (app_path(app)) "/roles/new" } { "I have stored it: make a role" } " "
            a.button href={ (app_path(app)) "/try" } { "Try it" }
        }))
    }
}
