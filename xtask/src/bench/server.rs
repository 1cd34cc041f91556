//! A respoked under test: started on a folder of its own and set up through its API.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::ceiling::Answers;
use super::client::{Body, Client, Request};
use super::metrics::Commits;
use super::scenario::Site;
use super::script::{minted, redeemed};
use super::workplace::Workplace;
use crate::child::Child;

const USERNAME: &str = "bench";
const PASSWORD: &str = "only for the benchmark";
/// Sessions that the session checks are spread over.
const SESSIONS: usize = 256;
/// How long a server may take until it listens.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// The same under valgrind, where the first start's argon2 hashes take their time.
pub(crate) const READY_TIMEOUT_VALGRIND: Duration = Duration::from_mins(3);

/// How a server differs from the usual one.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setting {
    /// Environment variables beside the usual ones.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Seconds a tokenId waits to be redeemed, where the default would let the janitor at the stored ones.
    pub(crate) activation_secs: Option<u32>,
}

/// The server as it is by default.
pub(crate) const USUAL: Setting = Setting { environment: &[], activation_secs: None };
/// One transaction a request.
pub(crate) const ONE_COMMIT_A_REQUEST: Setting =
    Setting { environment: &[("RESPOKED_COMMIT_BATCH_MAX", "1")], activation_secs: None };
/// Each session check reads the database.
pub(crate) const UNCACHED: Setting =
    Setting { environment: &[("RESPOKED_SESSION_CACHE_MAX", "0")], activation_secs: None };

/// A running server with an app, a role and sessions.
pub(crate) struct Respoked {
    pub(crate) child: Child,
    pub(crate) site: Site,
    /// What it answers, for a ceiling to answer the same.
    pub(crate) answers: Answers,
    folder: TempDir,
}

impl Respoked {
    /// Starts a server on a fresh folder and sets it up.
    pub(crate) fn start(workplace: &Workplace, setting: Setting) -> anyhow::Result<Self> {
        let folder = workplace.fresh_folder()?;
        let command = serve(Command::new(&workplace.respoked), folder.path(), setting);
        Self::start_as(command, folder, setting)
    }

    /// Starts a server on the empty PostgreSQL database at `address` and sets it up.
    pub(crate) fn start_on(workplace: &Workplace, setting: Setting, address: &str) -> anyhow::Result<Self> {
        let folder = workplace.fresh_folder()?;
        let mut command = usual(Command::new(&workplace.respoked), setting);
        command.args(["--database", address]);
        Self::start_as(command, folder, setting)
    }

    fn start_as(command: Command, folder: TempDir, setting: Setting) -> anyhow::Result<Self> {
        let child = Child::start(command, &folder.path().join("server.log"), READY_TIMEOUT)?;
        Self::set_up(child, folder, setting)
    }

    /// Sets up the running `child`, which keeps its data under `folder`.
    pub(crate) fn set_up(child: Child, folder: TempDir, setting: Setting) -> anyhow::Result<Self> {
        let mut client = Client::connect(child.address())?;
        let (site, answers) = set_up(&mut client, setting).context("cannot set the server up for the benchmark")?;
        Ok(Self { child, site, answers, folder })
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the server counts of its commits, if it does.
    pub(crate) fn commits(&self) -> anyhow::Result<Option<Commits>> {
        Commits::of(self.child.address())
    }
}

/// `command` (respoked, perhaps under something else) with the arguments and environment of a benchmark on a folder.
pub(crate) fn serve(command: Command, folder: &Path, setting: Setting) -> Command {
    let mut command = usual(command, setting);
    command.arg("--data").arg(folder.join("data"));
    command
}

/// The same without a place to keep anything.
pub(super) fn usual(mut command: Command, setting: Setting) -> Command {
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        // Not the caller's RESPOKED_* variables.
        .env_clear()
        // All load comes from one address, which is not what its limit is for.
        .env("RESPOKED_ADDRESS_REQUESTS_PER_SECOND", "1000000")
        .env("RESPOKED_ADMIN_USERNAME", USERNAME)
        .env("RESPOKED_ADMIN_PASSWORD", PASSWORD)
        .envs(setting.environment.iter().copied());
    command
}

fn set_up(client: &mut Client, setting: Setting) -> anyhow::Result<(Site, Answers)> {
    let login = json!({ "username": USERNAME, "password": PASSWORD });
    let admin = text(&client.json(&post("/v1/admin-sessions", None, &login))?, "token")?;
    let admin = Some(("Admin-Token", admin.as_str()));

    let app = client.json(&post("/v1/apps", admin, &json!({ "name": "bench" })))?;
    let (app_id, app_secret) = (text(&app, "id")?, text(&app, "secret")?);
    let path = format!("/v1/apps/{app_id}");
    let change = app_change(setting);
    client.json(&Request { method: "PUT", path: &path, credential: admin, body: Body::Json(&change) })?;

    let everything = json!({ "*": {
        "subscribe": true, "unsubscribe": true, "create": true, "destroy": true, "publish": true, "getsubscribers": true
    } });
    let role = json!({ "name": "bench", "appId": app_id, "groups": everything });
    let role_id = text(&client.json(&post("/v1/roles", admin, &role))?, "id")?;

    let secret = Some(("App-Secret", app_secret.as_str()));
    let mut sessions = Vec::with_capacity(SESSIONS);
    let mut last = (Vec::new(), Vec::new());
    for number in 0..SESSIONS {
        let mint = json!({ "appId": app_id, "endpointId": format!("user-{number}"), "roleId": role_id, "ttl": 3600 });
        let mint = client.call(&post("/v1/tokens", secret, &mint))?;
        let redeem = json!({ "tokenId": minted(200, &mint)?.to_string() });
        let redeem = client.call(&post("/v1/session-tokens", None, &redeem))?;
        sessions.push(redeemed(200, &redeem)?);
        last = (mint, redeem);
    }

    let session = sessions.last().context("there are sessions")?.to_string();
    let token = Some(("App-Token", session.as_str()));
    let describe = Request { method: "GET", path: "/v1/session-tokens", credential: token, body: Body::None };
    let form = format!("token={session}");
    let introspect = Request { method: "POST", path: "/oauth/introspect", credential: secret, body: Body::Form(&form) };
    let answers = Answers {
        mint: String::from_utf8(last.0)?,
        redeem: String::from_utf8(last.1)?,
        session_check: String::from_utf8(client.call(&describe)?)?,
        introspect: String::from_utf8(client.call(&introspect)?)?,
    };
    Ok((Site { app_id, role_id, app_secret, sessions: Arc::from(sessions) }, answers))
}

/// The limits stay on, and are the highest the server takes. Of what clients are sent more goes out than the highest rate
/// allows, so that is not limited.
fn app_change(setting: Setting) -> Value {
    let high = json!({ "perSecond": 1_000_000, "burst": 1_000_000 });
    let rates = ["app", "endpoint", "address", "connects", "endpointConnects", "addressConnects", "messages"];
    let rates = rates.into_iter().chain(["endpointMessages", "addressMessages"]);
    let mut limits: Map<String, Value> = rates.map(|rate| (rate.to_owned(), high.clone())).collect();
    for sent in ["deliveries", "endpointDeliveries", "addressDeliveries", "kilobytes", "endpointKilobytes"] {
        limits.insert(sent.to_owned(), Value::Null);
    }
    limits.insert("addressKilobytes".to_owned(), Value::Null);
    let mut change = json!({ "limits": limits });
    if let Some(secs) = setting.activation_secs {
        change["activationWindow"] = secs.into();
    }
    change
}

fn post<'a>(path: &'a str, credential: Option<(&'static str, &'a str)>, body: &'a Value) -> Request<'a> {
    Request { method: "POST", path, credential, body: Body::Json(body) }
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let text = answer.get(field).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("no text {field:?} in the answer {answer}"))
}
