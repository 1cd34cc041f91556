//! `respoked role`: makes, lists, shows, changes and deletes roles.

use std::path::PathBuf;

use clap::Subcommand;
use respoke_core::role::Permissions;
use respoke_wire::body::ends::InApp;
use respoke_wire::body::lists::ListRequest;
use respoke_wire::body::roles::{RoleView, WriteRole};
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::fields::{field, shown};
use super::super::output::Output;
use super::client::{Client, query, segment};
use super::given::{AppFlag, json_object};

/// `respoked role`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Make a role.
    Create {
        #[command(flatten)]
        app: AppFlag,
        /// What to call it; the file may say it instead.
        #[arg(long, value_name = "NAME", required_unless_present = "json_file")]
        name: Option<String>,
        /// JSON file with the permissions, or - for standard input. Without it the role permits nothing.
        #[arg(long, value_name = "FILE")]
        json_file: Option<PathBuf>,
    },
    /// List the roles.
    List {
        #[command(flatten)]
        app: AppFlag,
    },
    /// Show a role.
    Show {
        /// Id of the role.
        role: String,
        #[command(flatten)]
        app: AppFlag,
    },
    /// Change a role; what is not named stays. It takes effect at once.
    Update {
        /// Id of the role.
        role: String,
        #[command(flatten)]
        app: AppFlag,
        /// What to call it.
        #[arg(long, value_name = "NAME", required_unless_present = "json_file")]
        name: Option<String>,
        /// JSON file with the permissions to change, or - for standard input.
        #[arg(long, value_name = "FILE")]
        json_file: Option<PathBuf>,
    },
    /// Delete a role. Its tokens and sessions are over.
    Delete {
        /// Id of the role.
        role: String,
        #[command(flatten)]
        app: AppFlag,
    },
}

impl Command {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::Create { app, name, json_file } => {
                let body = body(app, name.as_ref(), json_file.as_ref())?;
                show(&client.post("/v1/roles", &body)?.body, out)
            }
            Self::List { app } => out.list(
                &client.list("/v1/roles", &query([(field!(ListRequest, app_id), app.app.as_ref())]), None)?,
                shown!(RoleView {
                    "ID": id,
                    "NAME": name,
                    "APP": app_id,
                    "CREATED": created_at,
                    "UPDATED": updated_at,
                }),
            ),
            Self::Show { role, app } => {
                show(&client.get(&path(role), &query([(field!(InApp, app_id), app.app.as_ref())]))?.body, out)
            }
            Self::Update { role, app, name, json_file } => {
                let body = body(app, name.as_ref(), json_file.as_ref())?;
                show(&client.put(&path(role), &body)?.body, out)
            }
            Self::Delete { role, app } => {
                let answer = client.delete(&path(role), &query([(field!(InApp, app_id), app.app.as_ref())]))?;
                out.say(&answer.body, "The role is deleted, and its tokens and sessions are over.")
            }
        }
    }
}

fn body(app: &AppFlag, name: Option<&String>, file: Option<&PathBuf>) -> Result<Value, Failure> {
    let mut body = file.map_or_else(|| Ok(json!({})), json_object)?;
    if let Some(name) = name {
        body[field!(WriteRole, name)] = json!(name);
    }
    if let Some(app) = &app.app {
        body[field!(WriteRole, app_id)] = json!(app);
    }
    Ok(body)
}

fn show(role: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    if out.wants_json() {
        return out.json(role);
    }
    out.object(
        role,
        shown!(RoleView { "Id": id, "Name": name, "App": app_id, "Created": created_at, "Updated": updated_at }),
    )?;
    let permissions: serde_json::Map<String, Value> = [
        field!(Permissions, groups),
        field!(Permissions, events),
        field!(Permissions, media_relay),
        field!(Permissions, pstn_out),
        field!(Permissions, caller_ids),
        field!(Permissions, conferences),
    ]
    .into_iter()
    .filter_map(|field| Some((field.to_owned(), role.get(field)?.clone())))
    .collect();
    out.line("\nPermissions, as --json-file takes them:")?;
    out.json(&permissions)
}

fn path(role: &str) -> String {
    format!("/v1/roles/{}", segment(role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_its_file_with_name_and_app() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("role.json");
        std::fs::write(&path, r#"{"name": "old", "mediaRelay": true}"#).unwrap();
        let app = AppFlag { app: Some("a".into()) };
        assert_eq!(
            body(&app, Some(&"new".to_owned()), Some(&path)).unwrap(),
            json!({"name": "new", "mediaRelay": true, "appId": "a"})
        );
        std::fs::write(&path, "[]").unwrap();
        assert!(body(&app, None, Some(&path)).is_err());
    }

    #[test]
    fn what_show_prints_can_be_given_to_update() {
        let role =
            json!({"id": "r", "name": "n", "groups": {"*": {"publish": true}}, "mediaRelay": false, "createdAt": "x"});
        let mut text = Vec::new();
        show(&role, &mut Output::new(&mut text, false)).unwrap();
        let text = String::from_utf8(text).unwrap();
        let permissions: Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
        assert_eq!(permissions, json!({"groups": {"*": {"publish": true}}, "mediaRelay": false}));
    }
}
