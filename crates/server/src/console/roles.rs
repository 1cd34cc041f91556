//! `/console/apps/{id}/roles`: lists an app's roles, and edits one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use respoke_core::app::App;
use respoke_core::role::{GroupRule, Permissions};

use super::apps::rows;
use super::form::Form;
use super::general::app_of_path;
use super::layout::{
    Errors, Tab, answer, app_page, app_path, copyable, csrf, empty, guarded, input, maker, more, table,
};
use super::role_draft::Draft;
use super::visit::{Failure, Posted, Visit, see};
use super::words::{count, when};
use crate::call::{Id, Ids};
use crate::state::Api;

/// `GET`.
pub(super) async fn list(State(api): State<Arc<Api>>, Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let (found, _) = api.broker.list_roles(&visit.caller, Some(app.id), rows(&visit)?).await?;
    let root = format!("{}/roles", app_path(&app));
    let now = visit.now();
    let body = html! {
        div.title { p { "A role says what an endpoint may do. Your backend names one when it mints a token." } (maker(&visit, &format!("{root}/new"), "New role")) }
        @if found.items.is_empty() {
            (empty("There is no role yet.", &html! {
                "Tokens are minted as a role. " a href={ (root) "/new" } { "Make one" }
                ": what it begins with lets its endpoints use every group."
            }))
        } @else {
            (table("Roles", &["Name", "Role id", "Permits", "Changed"], &html! {
                @for role in &found.items {
                    tr {
                        td { a href={ (root) "/" (role.id) } { strong { (role.name) } } }
                        td { (copyable("the role's id", &role.id.to_string())) }
                        td { (digest(&role.permissions)) }
                        td { (when(role.updated_at, now)) }
                    }
                }
            }))
            (more(&root, &[], found.cursor().as_deref()))
        }
    };
    Ok(app_page(&visit, &app, Tab::Roles, StatusCode::OK, &body))
}

/// What a role permits, in a few words.
fn digest(permissions: &Permissions) -> String {
    let mut parts = vec![match permissions.groups.rules.len() {
        0 => "no group".to_owned(),
        rules => count(rules as u64, "group rule"),
    }];
    if permissions.groups.list == Some(true) {
        parts.push("listing".to_owned());
    }
    if permissions.media_relay {
        parts.push("media relay".to_owned());
    }
    parts.join(", ")
}

/// `GET …/new`.
pub(super) async fn new(Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let mut permissions = Permissions::default();
    permissions.groups.list = Some(true);
    permissions.groups.rules.insert("*".to_owned(), GroupRule::ALL);
    Ok(editor(&visit, &app, None, &Draft::of(String::new(), permissions)))
}

/// `GET …/{rid}`.
pub(super) async fn edit(State(api): State<Arc<Api>>, Ids(id, role): Ids, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let (role, _) = api.broker.get_role(&visit.caller, Some(app.id), &role).await?;
    Ok(editor(&visit, &app, Some(&role.id.to_string()), &Draft::of(role.name, role.permissions)))
}

/// `POST …/draft`: the editor after a change that is not saved, or the part of it that follows the change.
pub(super) async fn draft(Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let (query, path) = (visit.query(), draft_path(&app));
    let draft = if query.text("part") == "switches" { Draft::of_json(&form) } else { Draft::of_switches(&form) };
    let part = match query.text("part") {
        _ if !visit.is_partial() => return Ok(editor(&visit, &app, form.given("role"), &draft)),
        "switches" => html! { (draft.switches(&path)) (problems(&draft.errors, true)) (draft_verdict(&draft)) },
        "json" => html! { (draft.json_area(&path)) (problems(&draft.errors, true)) (draft_verdict(&draft)) },
        _ => draft.verdict(),
    };
    Ok(answer(StatusCode::OK, part))
}

/// `POST`: makes a role.
pub(super) async fn create(State(api): State<Arc<Api>>, Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let mut draft = read(&form);
    if draft.errors.is_empty() {
        let (name, permissions) = (Some(draft.name.clone()), draft.permissions.clone());
        let context = visit.context();
        let made = api.broker.create_role(&visit.caller, Some(app.id), None, name, permissions, None, &context);
        match made.await {
            Ok((role, _)) => return Ok(saved(&app, &role.id.to_string())),
            Err(refusal) => draft.errors = Errors::of(refusal)?,
        }
    }
    Ok(editor(&visit, &app, None, &draft))
}

/// `POST …/{rid}`: saves a role.
pub(super) async fn save(State(api): State<Arc<Api>>, Ids(id, role): Ids, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let mut draft = read(&form);
    if draft.errors.is_empty() {
        let (name, permissions) = (Some(draft.name.clone()), Some(draft.permissions.clone()));
        let changed =
            api.broker.update_role(&visit.caller, Some(app.id), &role, name, permissions, &visit.context()).await;
        match changed {
            Ok(_) => return Ok(saved(&app, &role)),
            Err(refusal) => draft.errors = Errors::of(refusal)?,
        }
    }
    Ok(editor(&visit, &app, Some(&role), &draft))
}

/// `POST …/{rid}/delete`.
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Ids(id, role): Ids,
    posted: Posted,
) -> Result<Response, Failure> {
    let visit = posted.visit;
    let app = app_of_path(&visit, &id).await?;
    api.broker.delete_role(&visit.caller, Some(app.id), &role, &visit.context()).await?;
    Ok(see(&format!("{}/roles?done=role-deleted", app_path(&app))))
}

/// What is to be saved: whichever side's button was pressed.
fn read(form: &Form) -> Draft {
    if form.text("save") == "json" { Draft::of_json(form) } else { Draft::of_switches(form).refuse_blank_rows() }
}

fn saved(app: &App, role: &str) -> Response {
    see(&format!("{}/roles/{role}?done=role-saved", app_path(app)))
}

fn draft_path(app: &App) -> String {
    format!("{}/roles/draft", app_path(app))
}

fn editor(visit: &Visit, app: &App, role: Option<&str>, draft: &Draft) -> Response {
    let (root, draft_path) = (format!("{}/roles", app_path(app)), draft_path(app));
    let action = role.map_or_else(|| root.clone(), |role| format!("{root}/{role}"));
    let body = html! {
        p.crumbs { a href=(root) { "Roles" } " / " }
        h2 { @if role.is_some() { (draft.name) } @else { "New role" } }
        (problems(&draft.errors, false))
        @if let Some(role) = role { p.quiet { "Role id " (copyable("the role's id", role)) } }
        form.editor method="post" action=(action) {
            (csrf(visit))
            input type="hidden" name="role" value=(role.unwrap_or_default());
            // The button that Enter presses.
            button.default name="save" value="switches" tabindex="-1" aria-hidden="true" {}
            (input("name", "Name", &draft.name, "Unique within the app; backends may name the role by it."))
            div.sides {
                section.card aria-label="Permissions as switches" hx-post={ (draft_path) "?part=json" } hx-trigger="change"
                hx-target="#json-area" hx-swap="outerHTML" hx-include="closest form" {
                    (draft.switches(&draft_path))
                    p { button.primary name="save" value="switches" { "Save role" } }
                }
                section.card aria-label="Permissions as JSON" {
                    (draft.json_area(&draft_path))
                    p {
                        button name="save" value="json" { "Save the JSON" } " "
                        button.small formaction={ (draft_path) "?part=switches" } formnovalidate { "Set the switches by it" }
                    }
                }
            }
            section.card aria-label="Preview" { h2 { "What would it permit?" } (draft.question(&draft_path)) (draft.verdict()) }
        }
        @if let Some(role) = role {
            section.card {
                h2 { "Delete this role" }
                p { "The tokens and sessions that use it are over at once, and their clients are cut off." }
                (guarded("Delete…", &html! {
                    form method="post" action={ (root) "/" (role) "/delete" } { (csrf(visit)) button.danger { "Delete the role for good" } }
                }))
            }
        }
    };
    app_page(visit, app, Tab::Roles, draft.errors.status(), &body)
}

/// What is wrong with the draft; `follows`: sent along with a part of the page, to stand where it stood.
fn problems(errors: &Errors, follows: bool) -> Markup {
    html! { div id="problems" hx-swap-oob=[follows.then_some("true")] { (errors.summary()) } }
}

/// The answer of the preview, as it is after the change.
fn draft_verdict(draft: &Draft) -> Markup {
    html! { div id="verdict" hx-swap-oob="innerHTML" { (draft.verdict_text()) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_says_what_is_permitted() {
        assert_eq!(digest(&Permissions::default()), "no group");
        assert_eq!(digest(&Permissions::development()), "1 group rule, listing");
        let relay = Permissions { media_relay: true, ..Permissions::default() };
        assert_eq!(digest(&relay), "no group, media relay");
    }
}
