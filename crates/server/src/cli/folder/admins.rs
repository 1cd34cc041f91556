//! `respoked admin`: lists admins, makes and removes them, sets their passwords and roles, and deletes an account.
//!
//! It works on the database itself and asks for no login, so that who lost the last password gets in again.

use clap::{Args, Subcommand};
use respoke_core::admin::AdminRole;
use respoke_core::audit::{Action, Actor, AuditEntry};
use respoke_core::id::{AccountId, RequestId};
use respoke_core::ops::Broker;
use respoke_core::ports::{Incarnation, Lease, Node, NodeId, Removal};
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Output;
use super::super::password::{PasswordSource, Typed};
use super::which::Folder;
use crate::upkeep::LEASE;

/// Who asks whether a server does the upkeep: a node that no server is.
const NOBODY: Node = Node { id: NodeId(u32::MAX), incarnation: Incarnation(0) };

/// `respoked admin`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the admins.
    List(Folder),
    /// Make an admin.
    Create {
        #[command(flatten)]
        admin: WithPassword,
        /// What the admin may do: owner, developer or read-only.
        #[arg(long, value_name = "ROLE", default_value = "owner", value_parser = role)]
        role: AdminRole,
    },
    /// Give an admin another role. The last owner stays one.
    Role {
        /// The user name.
        username: String,
        /// What the admin may do: owner, developer or read-only.
        #[arg(long, value_name = "ROLE", value_parser = role)]
        role: AdminRole,
        #[command(flatten)]
        folder: Folder,
    },
    /// Set an admin's password, end the admin's logins and take the second factor away.
    Password(WithPassword),
    /// Remove an admin and end the admin's logins. The last owner stays.
    Remove {
        /// The user name.
        username: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Delete the account with all its admins, apps and roles. The server must be stopped; its next start makes a new
    /// account.
    DeleteAccount {
        /// Id of the account; not needed while there is only one.
        #[arg(long, value_name = "ID")]
        account: Option<String>,
        /// Confirms that all of it may go.
        #[arg(long, required = true)]
        yes: bool,
        #[command(flatten)]
        folder: Folder,
    },
}

/// An admin and a new password.
#[derive(Debug, Args)]
pub(in crate::cli) struct WithPassword {
    /// The user name.
    username: String,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    folder: Folder,
}

impl Command {
    pub(super) fn run(&self, out: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::List(folder) => list(folder, out),
            Self::Create { admin, role } => create(admin, *role, out),
            Self::Role { username, role, folder } => {
                folder.with_broker(async |broker| Ok(broker.set_admin_role(username, *role).await?))?;
                out.say(
                    &json!({ "username": username, "role": role.word() }),
                    format_args!("The admin {username} has the role {} now.", role.word()),
                )
            }
            Self::Password(admin) => password(admin, out),
            Self::Remove { username, folder } => {
                folder.with_broker(async |broker| Ok(broker.delete_admin(username).await?))?;
                out.say(&json!({ "removed": username }), format_args!("The admin {username} is removed."))
            }
            Self::DeleteAccount { account, folder, .. } => delete_account(account.as_deref(), folder, out),
        }
    }
}

fn role(word: &str) -> Result<AdminRole, &'static str> {
    AdminRole::parse(word).ok_or("it is owner, developer or read-only")
}

fn list(folder: &Folder, out: &mut Output<'_>) -> Result<(), Failure> {
    let admins = folder.with_broker(async |broker| Ok(broker.store().admins().await?))?;
    let admins: Vec<_> = admins
        .into_iter()
        .map(|admin| {
            json!({
                "id": admin.id.to_string(),
                "username": admin.username,
                "role": admin.role.word(),
                "accountId": admin.account_id.to_string(),
                "createdAt": admin.created_at.to_iso(),
            })
        })
        .collect();
    out.list(
        &admins,
        &[
            ("USER NAME", "username"),
            ("ROLE", "role"),
            ("ID", "id"),
            ("ACCOUNT", "accountId"),
            ("CREATED", "createdAt"),
        ],
    )
}

fn create(admin: &WithPassword, role: AdminRole, out: &mut Output<'_>) -> Result<(), Failure> {
    admin.folder.check()?;
    let username = &admin.username;
    let password = admin.password.read(&format!("Password of the new admin {username}: "), Typed::Twice)?;
    let id = admin.folder.with_broker(async |broker| {
        let account = account(broker, None).await?;
        Ok(broker.create_admin(account, username, password, role).await?)
    })?;
    out.say(
        &json!({ "id": id.to_string(), "username": username, "role": role.word() }),
        format_args!("The admin {username} is made; sign in with `respoked login --username {username}`."),
    )
}

fn password(admin: &WithPassword, out: &mut Output<'_>) -> Result<(), Failure> {
    admin.folder.check()?;
    let username = &admin.username;
    let password = admin.password.read(&format!("New password of {username}: "), Typed::Twice)?;
    admin.folder.with_broker(async |broker| Ok(broker.set_admin_password(username, password).await?))?;
    out.say(
        &json!({ "username": username }),
        format_args!("The password of {username} is set, and the logins made with the old one are over, and a second factor is gone."),
    )
}

fn delete_account(named: Option<&str>, folder: &Folder, out: &mut Output<'_>) -> Result<(), Failure> {
    // A running server would be left without an account: only a start makes one.
    let lock = folder.lock()?;
    let id = folder.with_broker(async |broker| {
        if lock.is_some() { delete(broker, named).await } else { beside_no_server(broker, delete(broker, named)).await }
    })?;
    out.say(
        &json!({ "deleted": id.to_string() }),
        format_args!("The account {id} is deleted with all it owned. The next start of the server makes a new one."),
    )
}

async fn delete(broker: &Broker, named: Option<&str>) -> Result<AccountId, Failure> {
    let id = account(broker, named).await?;
    let audit = AuditEntry {
        at: broker.now(),
        account_id: Some(id),
        app_id: None,
        actor: Actor::System,
        action: Action::AccountDeleted,
        object: id.to_string(),
        address: String::new(),
        request_id: RequestId::new(broker.chance()),
        fingerprint: None,
    };
    match broker.store().delete_account(id, audit).await? {
        // Somebody else may have deleted it meanwhile.
        Removal::Removed | Removal::Unknown => Ok(id),
    }
}

/// Does `work` while no server uses the database. Of one without a folder that is known by who does its upkeep; a server that
/// starts meanwhile does not get to do it.
async fn beside_no_server<T>(broker: &Broker, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let store = broker.store();
    if store.lease_upkeep(NOBODY, LEASE).await? == Lease::OfAnother {
        return Err(Failure::because(
            "a server uses the database, or was killed less than two minutes ago; stop it first, or wait",
        ));
    }
    let done = work.await;
    let given_back = store.give_upkeep_back(NOBODY).await;
    // Failing that, the lease ends by itself: what was done is done.
    if let (Ok(_), Err(error)) = (&done, given_back) {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "no server does the upkeep for the next two minutes");
    }
    done
}

/// The account that is meant: the one named, or the only one there is.
async fn account(broker: &Broker, named: Option<&str>) -> Result<AccountId, Failure> {
    let accounts = broker.store().accounts().await?;
    let meant = match named {
        Some(text) => accounts.iter().find(|account| account.id.to_string().eq_ignore_ascii_case(text)),
        None if accounts.len() > 1 => {
            return Err(Failure::Usage("there are several accounts; name one with --account".into()));
        }
        None => accounts.first(),
    };
    match meant {
        Some(account) => Ok(account.id),
        None => Err(Failure::because("there is no such account; the first start of the server makes one")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use clap::Parser;
    use respoke_core::chance::SystemChance;
    use respoke_core::clock::SystemClock;
    use respoke_store::{Options, SqliteStore};
    use serde_json::Value;

    use super::*;
    use crate::data_folder;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn admin(data: &Path, words: &[&str]) -> Result<Value, Failure> {
        let words = std::iter::once("x").chain(words.iter().copied()).chain(["--data", data.to_str().unwrap()]);
        let mut text = Vec::new();
        Line::parse_from(words).command.run(&mut Output::new(&mut text, true))?;
        Ok(serde_json::from_slice(&text).unwrap())
    }

    #[test]
    fn admins_come_and_go_beside_a_running_server() {
        let data = tempfile::tempdir().unwrap();
        let password = data.path().join("password");
        std::fs::write(&password, "correct horse\n").unwrap();
        let file = password.to_str().unwrap();
        let error = admin(data.path(), &["list"]).err().unwrap();
        assert_eq!(error.exit_code(), 1, "there is no database yet");

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = SqliteStore::open(&data.path().join(data_folder::DATABASE), Options::default()).unwrap();
        let clock = std::sync::Arc::new(respoke_core::clock::SystemClock);
        let server = Broker::new(
            std::sync::Arc::new(store),
            std::sync::Arc::new(respoke_bus::LocalBus::default()),
            clock,
            respoke_core::chance::of_this_test(),
            10,
        );
        runtime.block_on(server.first_run(None, None)).unwrap();

        admin(data.path(), &["create", "jo", "--password-file", file]).unwrap();
        assert!(admin(data.path(), &["create", "jo", "--password-file", file]).is_err(), "the name is taken");
        let names = |list: Value| {
            list.as_array().unwrap().iter().map(|a| a["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(admin(data.path(), &["list"]).unwrap()), ["admin", "jo"]);
        let sign_in = |password: &str| {
            let request = respoke_core::ops::SignIn {
                username: Some("jo".into()),
                password: Some(respoke_core::secret::Secret::new(password.into())),
                ..respoke_core::ops::SignIn::default()
            };
            runtime.block_on(server.sign_in(request, None, &respoke_core::ops::Context::internal()))
        };
        let token = sign_in("correct horse").unwrap();
        std::fs::write(&password, "battery staple").unwrap();
        admin(data.path(), &["password", "jo", "--password-file", file]).unwrap();
        let credential = respoke_core::ops::Credential::AdminToken(token);
        assert!(runtime.block_on(server.authenticate(&credential, None)).is_err(), "the old login is over");
        assert!(sign_in("correct horse").is_err());
        assert!(sign_in("battery staple").is_ok());

        assert_eq!(admin(data.path(), &["role", "jo", "--role", "read-only"]).unwrap()["role"], "read-only");
        assert_eq!(admin(data.path(), &["list"]).unwrap()[1]["role"], "read-only");
        assert!(admin(data.path(), &["role", "admin", "--role", "developer"]).is_err(), "the last owner stays one");
        assert!(admin(data.path(), &["remove", "admin"]).is_err(), "and stays");
        admin(data.path(), &["remove", "jo"]).unwrap();

        let lock = data_folder::lock(data.path()).unwrap();
        assert!(admin(data.path(), &["delete-account", "--yes"]).is_err(), "not beside a running server");
        drop(lock);
        admin(data.path(), &["delete-account", "--yes"]).unwrap();
        assert_eq!(names(admin(data.path(), &["list"]).unwrap()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn the_lease_of_upkeep_is_held_until_what_wants_no_server_is_done() {
        let data = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&data.path().join("respoked.db"), Options::default()).unwrap();
        let (store, bus) = (Arc::new(store), Arc::new(respoke_bus::LocalBus::default()));
        let broker = Broker::new(store, bus, Arc::new(SystemClock), Arc::new(SystemChance), 0);
        let server = Node { id: NodeId(1), incarnation: Incarnation(1) };
        let asks = async || broker.store().lease_upkeep(server, LEASE).await.unwrap();
        let work = async { Ok(asks().await) };
        assert_eq!(beside_no_server(&broker, work).await.unwrap(), Lease::OfAnother, "while it is done");
        let fails = async { Err::<(), _>(Failure::because("it fails")) };
        assert!(beside_no_server(&broker, fails).await.is_err());
        assert_eq!(asks().await, Lease::Held, "afterwards, whatever came of it");
        assert!(beside_no_server(&broker, async { Ok(()) }).await.is_err(), "beside a server");
    }
}
