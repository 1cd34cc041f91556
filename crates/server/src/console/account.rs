//! `/console/account`: the signed-in admin changes the password, sets a second factor up or gives it up, and signs out
//! everywhere.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::SET_COOKIE;
use maud::{Markup, html};
use respoke_core::admin::{Admin, AdminRole};
use respoke_core::secret::Secret;

use super::form::Form;
use super::layout::{Errors, Section, copyable, csrf_own, field, guarded, page as console_page, page_of};
use super::qr::qr;
use super::visit::{Failure, Posted, Visit, see, set_cookie};
use crate::api::admins::guessing;
use crate::problem::Problem;
use crate::state::Api;
use crate::throttle::Shown;

const PATH: &str = "/console/account";

/// `GET`.
pub(super) async fn page(visit: Visit) -> Result<Response, Failure> {
    render(&visit, &Errors::default()).await
}

/// `POST …/password`.
pub(super) async fn change_password(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    if form.raw("newPassword") != form.raw("again") {
        return render(&visit, &Errors::one("again", "The new password was not typed the same twice.")).await;
    }
    let (present, new) = (secret(&form, "password"), secret(&form, "newPassword"));
    let context = visit.context();
    let changing = api.broker.change_own_password(&visit.caller, present, new, &context);
    match guessing(&api, &visit.call, &visit.caller, Shown::Password, changing).await {
        Ok(()) => Ok(see(&format!("{PATH}?done=password-changed"))),
        Err(problem) => render(&visit, &refused(problem)?).await,
    }
}

/// `POST …/totp`: begins to take up a second factor, and shows what the device needs, this once.
pub(super) async fn enrol(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let context = visit.context();
    let enrolling = api.broker.enrol_totp(&visit.caller, secret(&form, "password"), &context);
    match guessing(&api, &visit.call, &visit.caller, Shown::Password, enrolling).await {
        Ok(enrolled) => {
            let body = enrolment(&visit, enrolled.secret.expose(), enrolled.uri.expose());
            Ok(console_page(&visit, Section::Account, "Second factor", &body))
        }
        Err(problem) => render(&visit, &refused(problem)?).await,
    }
}

/// `POST …/totp/confirm`: takes the second factor up, and shows the recovery codes, this once.
pub(super) async fn confirm(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let (context, code) = (visit.context(), secret(&form, "code"));
    let confirming = api.broker.confirm_totp(&visit.caller, &code, &context);
    match guessing(&api, &visit.call, &visit.caller, Shown::Password, confirming).await {
        Ok(codes) => {
            let body = recovery_codes(&codes);
            Ok(console_page(&visit, Section::Account, "Recovery codes", &body))
        }
        Err(problem) => {
            let errors = refused(problem)?;
            let body = html! { h1 { "Second factor" } (errors.summary()) (code_form(&visit)) };
            Ok(page_of(&visit, errors.status(), Section::Account, "Second factor", &body))
        }
    }
}

/// `POST …/totp/remove`.
pub(super) async fn give_up(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let (context, code) = (visit.context(), secret(&form, "code"));
    let removing = api.broker.remove_totp(&visit.caller, secret(&form, "password"), &code, &context);
    match guessing(&api, &visit.call, &visit.caller, Shown::PasswordAndCode, removing).await {
        Ok(()) => Ok(see(&format!("{PATH}?done=factor-removed"))),
        Err(problem) => render(&visit, &refused(problem)?).await,
    }
}

/// `POST …/sign-out-everywhere`.
pub(super) async fn sign_out_everywhere(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Failure> {
    let visit = posted.visit;
    api.broker.sign_out_everywhere(&visit.caller, &visit.context()).await?;
    let cookie = set_cookie(None, visit.call.is_encrypted())?;
    Ok(([(SET_COOKIE, cookie)], see("/console/sign-in")).into_response())
}

fn secret(form: &Form, name: &str) -> Secret {
    Secret::new(form.raw(name).to_owned())
}

/// What the page can say of a refusal.
pub(super) fn refused(problem: Problem) -> Result<Errors, Failure> {
    match problem.code() {
        "bad_login" => Ok(Errors::one("password", "The password or the code is wrong.")),
        "throttled" => {
            let wait = super::words::count(problem.retry_after_secs().unwrap_or(1), "second");
            Ok(Errors::one("password", &format!("Too many attempts. Try again in {wait}.")))
        }
        "invalid" | "conflict" => Ok(Errors::one("password", &problem.said())),
        _ => Err(problem.into()),
    }
}

/// What a role may do, for people.
pub(super) fn role_said(role: AdminRole) -> &'static str {
    match role {
        AdminRole::Owner => "Owner: may do everything",
        AdminRole::Developer => "Developer: everything with apps, except deleting one and setting its limits",
        AdminRole::ReadOnly => "Read-only: sees everything, changes nothing",
    }
}

async fn render(visit: &Visit, errors: &Errors) -> Result<Response, Failure> {
    let admin = visit.api.broker.own_admin(&visit.caller).await?;
    let body = html! {
        h1 { "Account" }
        (errors.summary())
        section.card {
            h2 { (admin.username) }
            p { (role_said(admin.role)) "." }
            p { a.button href="/console/admins" { "All admins" } }
        }
        (password_card(visit))
        (factor_card(visit, &admin))
        section.card {
            h2 { "Sign out everywhere" }
            p { "Ends every sign-in of yours, on all devices and of the command line, this one included." }
            (guarded("Sign out everywhere…", &html! {
                form method="post" action={ (PATH) "/sign-out-everywhere" } { (csrf_own(visit)) button.danger { "End all my sign-ins" } }
            }))
        }
    };
    Ok(page_of(visit, errors.status(), Section::Account, "Account", &body))
}

fn typed(id: &str, name: &str, label: &str, hint: &str, autocomplete: &str) -> Markup {
    field(
        id,
        label,
        hint,
        &html! {
            input id=(id) name=(name) type="password" required autocomplete=(autocomplete)
                aria-describedby=[(!hint.is_empty()).then(|| format!("{id}-hint"))];
        },
    )
}

fn code_field(id: &str) -> Markup {
    field(
        id,
        "Code",
        "Six digits from your device.",
        &html! {
            input id=(id) name="code" required autocomplete="one-time-code" spellcheck="false" aria-describedby={ (id) "-hint" };
        },
    )
}

fn password_card(visit: &Visit) -> Markup {
    html! {
        form.card.narrow method="post" action={ (PATH) "/password" } {
            h2 { "Password" }
            (csrf_own(visit))
            (typed("password", "password", "Present password", "", "current-password"))
            (typed("newPassword", "newPassword", "New password", "At least 8 characters.", "new-password"))
            (typed("again", "again", "New password once more", "", "new-password"))
            p.hint { "Your other sign-ins end." }
            button.primary { "Change the password" }
        }
    }
}

fn factor_card(visit: &Visit, admin: &Admin) -> Markup {
    html! {
        section.card id="totp" {
            h2 { "Second factor" }
            @if admin.second_factor.is_some() {
                p { span.tag { "on" } " Signing in asks for a code of your device besides the password." }
                (guarded("Remove it…", &html! {
                    form method="post" action={ (PATH) "/totp/remove" } {
                        (csrf_own(visit))
                        (typed("factor-password", "password", "Password", "", "current-password"))
                        (field("factor-code", "Code", "Of the device, or a recovery code.", &html! {
                            input id="factor-code" name="code" required autocomplete="one-time-code" aria-describedby="factor-code-hint";
                        }))
                        button.danger { "Remove the second factor" }
                    }
                }))
            } @else {
                p { "An authenticator app on your phone makes a code every 30 seconds, which is then asked for besides the password." }
                // The answer holds a secret: it takes this page's place, and loading the page again does not show it.
                form.narrow method="post" action={ (PATH) "/totp" } hx-post={ (PATH) "/totp" } hx-target="#main"
                    hx-select="#main" hx-swap="outerHTML show:window:top" {
                    (csrf_own(visit))
                    (typed("factor-password", "password", "Password", "", "current-password"))
                    button.primary { "Set one up" }
                }
            }
        }
    }
}

fn enrolment(visit: &Visit, secret: &str, uri: &str) -> Markup {
    html! {
        p.crumbs { a href=(PATH) { "Account" } " / " }
        h1 { "Second factor" }
        section.card.once {
            h2 { "1. Give your device this key" }
            p { strong { "It is shown once." } " Scan it with your authenticator app, type it in, or open the link on the phone that has it." }
            @if let Some(picture) = qr(uri, "The key, to be scanned with your authenticator app") { (picture) }
            p { (copyable("the key", secret)) }
            p { a href=(uri) { "Open in the authenticator app" } }
        }
        (code_form(visit))
    }
}

fn code_form(visit: &Visit) -> Markup {
    html! {
        form.card method="post" action={ (PATH) "/totp/confirm" } hx-post={ (PATH) "/totp/confirm" } hx-target="#main"
            hx-select="#main" hx-swap="outerHTML show:window:top" {
            h2 { "2. Type a code it shows" }
            (csrf_own(visit))
            div.narrow { (code_field("code")) }
            button.primary { "Take it up" }
        }
    }
}

fn recovery_codes(codes: &[Secret]) -> Markup {
    let text: Vec<_> = codes.iter().map(Secret::expose).collect();
    html! {
        p.crumbs { a href=(PATH) { "Account" } " / " }
        h1 { "Recovery codes" }
        p.notice.good role="status" { "The second factor is on." }
        section.card.once {
            p {
                strong { "They are shown once." } " Each stands in for the device once. Keep them where you find them when the \
                 phone is gone."
            }
            ul.codes { @for code in &text { li { code { (code) } } } }
            p { button.small type="button" data-copy=(text.join("\n")) { "Copy all" } }
            p { a.button.primary href=(PATH) { "I have stored them" } }
        }
    }
}
