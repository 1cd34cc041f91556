//! `/console/admins`: lists the account's admins. Owners make others, give them other roles or passwords, and remove them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use respoke_core::admin::{Admin, AdminRole};
use respoke_core::id::AdminId;
use respoke_core::ops::{AdminPatch, NewAdmin};
use respoke_core::refusal::Refusal;
use respoke_core::secret::Secret;

use super::account::{self, role_said};
use super::form::Form;
use super::layout::{Errors, Section, csrf_owner, field, guarded, input, page_of, table};
use super::visit::{Failure, Posted, Visit, see};
use super::words::when;
use crate::api::admins::guessing;
use crate::call::Id;
use crate::problem::Problem;
use crate::state::Api;
use crate::throttle::Shown;

const PATH: &str = "/console/admins";

/// `GET`.
pub(super) async fn page(visit: Visit) -> Result<Response, Failure> {
    render(&visit, "", &Errors::default()).await
}

/// `POST`: makes an admin.
pub(super) async fn create(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let request = NewAdmin {
        username: Some(form.text("username").to_owned()),
        password: password(&form),
        role: AdminRole::parse(form.text("role")),
        current_password: Some(own_password(&form)),
    };
    let context = visit.context();
    let adding = api.broker.add_admin(&visit.caller, request, &context);
    match guessing(&api, &visit.call, &visit.caller, Shown::Password, adding).await {
        Ok(_) => Ok(see(&format!("{PATH}?done=admin-created"))),
        Err(problem) => render(&visit, form.text("username"), &refused(problem)?).await,
    }
}

/// `POST …/{id}`: another role, or a password in place of a lost one.
pub(super) async fn update(State(api): State<Arc<Api>>, Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let patch = AdminPatch {
        role: AdminRole::parse(form.text("role")),
        password: password(&form),
        current_password: Some(own_password(&form)),
    };
    let context = visit.context();
    let updating = api.broker.update_admin(&visit.caller, admin_of_path(&id)?, patch, &context);
    match guessing(&api, &visit.call, &visit.caller, Shown::Password, updating).await {
        Ok(_) => Ok(see(&format!("{PATH}?done=saved"))),
        Err(problem) => render(&visit, "", &refused(problem)?).await,
    }
}

/// `POST …/{id}/remove`.
pub(super) async fn remove(State(api): State<Arc<Api>>, Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let visit = posted.visit;
    match api.broker.remove_admin(&visit.caller, admin_of_path(&id)?, &visit.context()).await {
        Ok(()) => Ok(see(&format!("{PATH}?done=admin-removed"))),
        Err(refusal) => render(&visit, "", &Errors::of(refusal)?).await,
    }
}

fn password(form: &Form) -> Option<Secret> {
    Some(form.raw("password")).filter(|text| !text.is_empty()).map(|text| Secret::new(text.to_owned()))
}

fn own_password(form: &Form) -> Secret {
    Secret::new(form.raw("currentPassword").to_owned())
}

fn refused(problem: Problem) -> Result<Errors, Failure> {
    match problem.code() {
        "bad_login" => Ok(Errors::one("currentPassword", "Your own password is not the one that was typed.")),
        _ => account::refused(problem),
    }
}

fn admin_of_path(id: &str) -> Result<AdminId, Refusal> {
    AdminId::parse(id).ok_or(Refusal::NotFound("Admins"))
}

async fn render(visit: &Visit, username: &str, errors: &Errors) -> Result<Response, Failure> {
    let admins = visit.api.broker.list_admins(&visit.caller).await?;
    let own = visit.api.broker.own_admin(&visit.caller).await?.id;
    let body = html! {
        p.crumbs { a href="/console/account" { "Account" } " / " }
        h1 { "Admins" }
        (errors.summary())
        (table("Admins", &["User name", "Role", "Second factor", "Since", "Actions"], &html! {
            @for admin in &admins { (row(visit, admin, admin.id == own)) }
        }))
        form.card.narrow.make method="post" action=(PATH) {
            h2 { "New admin" }
            (csrf_owner(visit))
            (input("username", "User name", username, ""))
            (new_password("password"))
            (role_choice("role", AdminRole::Developer))
            (type_own_password("own"))
            button.primary { "Make the admin" }
        }
    };
    Ok(page_of(visit, errors.status(), Section::Account, "Admins", &body))
}

fn new_password(id: &str) -> Markup {
    field(
        id,
        "Password",
        "At least 8 characters; it is yours to hand over.",
        &html! {
            input id=(id) name="password" type="password" required minlength="8" autocomplete="new-password"
                aria-describedby={ (id) "-hint" };
        },
    )
}

/// Who found a screen unlocked must not make an owner of themselves.
fn type_own_password(id: &str) -> Markup {
    field(
        id,
        "Your own password",
        "",
        &html! {
            input id=(id) name="currentPassword" type="password" required autocomplete="current-password";
        },
    )
}

fn role_choice(id: &str, chosen: AdminRole) -> Markup {
    field(
        id,
        "Role",
        "",
        &html! {
            select id=(id) name="role" {
                @for role in AdminRole::ALL { option value=(role.word()) selected[*role == chosen] { (role_said(*role)) } }
            }
        },
    )
}

fn row(visit: &Visit, admin: &Admin, own: bool) -> Markup {
    let path = format!("{PATH}/{}", admin.id);
    html! {
        tr {
            td { strong { (admin.username) } @if own { " " span.tag { "you" } } }
            td { (admin.role.word()) }
            td { @if admin.second_factor.is_some() { "on" } @else { span.quiet { "off" } } }
            td { (when(admin.created_at, visit.now())) }
            td.actions {
                (guarded("Role…", &html! {
                    form method="post" action=(path) {
                        (csrf_owner(visit)) (role_choice(&format!("role-{}", admin.id), admin.role))
                        (type_own_password(&format!("own-role-{}", admin.id)))
                        button.primary { "Save" }
                    }
                }))
                @if !own {
                    (guarded("New password…", &html! {
                        p { "For one who has lost it. The second factor goes too, and every sign-in ends." }
                        form method="post" action=(path) {
                            (csrf_owner(visit)) (new_password(&format!("password-{}", admin.id)))
                            (type_own_password(&format!("own-password-{}", admin.id)))
                            button.danger { "Set the password" }
                        }
                    }))
                }
                (guarded("Remove…", &html! {
                    p { "The admin's sign-ins end at once. What was done stays in the audit log." }
                    form method="post" action={ (path) "/remove" } { (csrf_owner(visit)) button.danger { "Remove " (admin.username) } }
                }))
            }
        }
    }
}
