//! `respoked login` and `respoked logout`, and the file in which logins are kept.
//!
//! The file holds an Admin-Token for each server, and only its owner can read it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use respoke_core::code::Code;
use respoke_core::secret::Secret;
use respoke_wire::body::admin_sessions::CreateAdminSession;
use respoke_wire::body::session_tokens::Authorized;
use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::super::fields::{body, field};
use super::super::output::Output;
use super::super::password::{PasswordSource, Typed};
use super::Client;
use crate::config;

/// The server that is meant when none is named.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// `respoked login`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Login {
    /// The admin's user name.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    username: String,
    #[command(flatten)]
    password: PasswordSource,
    /// The second factor's six digits, or a recovery code, of an admin who has a second factor.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
}

impl Login {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        let path = file()?;
        let password =
            self.password.read(&format!("Password of {} at {}: ", self.username, client.server()), Typed::Once)?;
        let body = body!(CreateAdminSession { username: self.username, password: password.expose(), code: self.code });
        let answer = client.post("/v1/admin-sessions", &body).map_err(|failure| match failure {
            // The advice to sign in is of no use here.
            Failure::Refused(mut problem) => {
                problem.advice = (problem.code() == Code::SecondFactorRequired.word()).then_some("give it with --code");
                Failure::Refused(problem)
            }
            other => other,
        })?;
        let Some(token) = answer.body[field!(Authorized, token)].as_str() else {
            return Err(Failure::because(format!(
                "{} answered without a token; it may be no respoked",
                client.server()
            )));
        };
        let token = Secret::new(token.to_owned());
        keep(&path, client.server(), Some((&self.username, &token)))?;
        let said = json!({ "server": client.server(), "username": self.username, "file": path });
        out.say(
            &said,
            format_args!(
                "Signed in to {} as {} for 12 hours; the login is kept in {}.",
                client.server(),
                self.username,
                path.display()
            ),
        )
    }
}

/// `respoked logout`.
pub(super) fn logout(client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
    let path = file()?;
    if client.token().is_none() {
        return out.say(
            &json!({ "server": client.server(), "signedOut": false }),
            format_args!("There is no login for {}.", client.server()),
        );
    }
    let ended = client.delete("/v1/admin-sessions", &[]);
    // Whatever the server says, this machine forgets the login.
    keep(&path, client.server(), None)?;
    match ended {
        Ok(_) => {}
        // It had ended already.
        Err(Failure::Refused(problem)) if problem.status == 401 => {}
        Err(failure) => return Err(failure),
    }
    out.say(
        &json!({ "server": client.server(), "signedOut": true }),
        format_args!("Signed out of {}.", client.server()),
    )
}

/// The Admin-Token saved for `server`, if there is one.
pub(super) fn saved(server: &str) -> Result<Option<Secret>, Failure> {
    // Without a home there is no login to be found; only saving one fails.
    let Some(folder) = config::user_folder() else { return Ok(None) };
    Ok(read(&folder.join(FILE))?[server]["adminToken"].as_str().map(|token| Secret::new(token.to_owned())))
}

const FILE: &str = "respoked/login.json";

fn file() -> Result<PathBuf, Failure> {
    match config::user_folder() {
        Some(folder) => Ok(folder.join(FILE)),
        None => Err(Failure::because(
            "neither XDG_CONFIG_HOME nor HOME is set, so a login cannot be kept; use --admin-token",
        )),
    }
}

/// The logins by server; none if there is no file.
fn read(path: &Path) -> anyhow::Result<Value> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Object(Map::new())),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(logins)) => Ok(Value::Object(logins)),
        // The text is not shown with the error: it may hold a token.
        _ => anyhow::bail!("{} is damaged; remove it and sign in again", path.display()),
    }
}

/// Saves a login for `server`, or forgets it.
fn keep(path: &Path, server: &str, login: Option<(&str, &Secret)>) -> anyhow::Result<()> {
    let mut logins = read(path)?;
    if let Some(logins) = logins.as_object_mut() {
        match login {
            Some((username, token)) => {
                logins.insert(server.to_owned(), json!({ "username": username, "adminToken": token.expose() }));
            }
            None => {
                logins.remove(server);
            }
        }
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    // A new file under another name first: whoever reads meanwhile finds the old one whole, and the permissions are
    // right from the first byte on.
    let written = (|| {
        let mut file = tempfile::Builder::new().prefix(".login-").tempfile_in(folder)?;
        file.write_all(logins.to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|error| error.error)
    })();
    written.with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_login_is_kept_for_its_owner_alone_and_by_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/respoked/login.json");
        let (one, two) = (Secret::new("T1".into()), Secret::new("T2".into()));
        keep(&path, "http://a", Some(("jo", &one))).unwrap();
        keep(&path, "http://b", Some(("jo", &two))).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(read(&path).unwrap()["http://b"]["adminToken"], "T2");

        keep(&path, "http://a", None).unwrap();
        let left = read(&path).unwrap();
        assert!(left["http://a"].is_null() && !left["http://b"].is_null());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_damaged_file_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login.json");
        fs::write(&path, "canary {").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("damaged") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn no_file_is_no_login() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("absent")).unwrap(), json!({}));
    }
}
