//! A whole server on port 0, and a client for it.
//!
//! [`Server::start`] runs it in the test with a clock that stands still, its rates and waits too; [`Process::spawn`] runs the built binary.
//!
//! With `TEST_CANARY_DIR` set, every secret that is used or handed out is written to a file there, and data
//! folders and logs are left there too; the test command then looks for the one in the other.

mod databases;
#[cfg(target_os = "linux")]
mod faults;
// The store's and the bus's tests start the same programs in the same way.
#[path = "../../../bus/src/nats/tests/server.rs"]
#[expect(dead_code, reason = "the bus's tests use more of it")]
mod nats_server;
mod poller;
#[path = "../../../store/src/contract/postgres_pooler.rs"]
mod pooler;
mod postgres;
#[path = "../../../store/src/contract/postgres_server.rs"]
#[expect(dead_code, reason = "the store's tests use more of it")]
mod postgres_server;
mod processes;
mod respoke1;
mod socket;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use respoke_core::chance::{SeededChance, of_this_test};
use respoke_core::clock::{ManualClock, Timestamp};
use respoke_core::ops::Broker;
use respoke_core::secret::Secret;
use respoked::config::{Config, Hidden};
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

pub(crate) use databases::{Folder, are_nodes_asked, data_folder, database_of, is_postgres_asked, place};
#[cfg(target_os = "linux")]
pub(crate) use faults::Faults;
pub(crate) use nats_server::NatsServer;
pub(crate) use poller::Poller;
pub(crate) use pooler::Pooler;
pub(crate) use postgres::Postgres;
pub(crate) use postgres_server::Server as PostgresServer;
pub(crate) use processes::{Process, Said, respoked, run};
pub(crate) use respoke1::{Farewell, Live};
pub(crate) use socket::{Ack, End, Socket, request_packet, summary, text_frame};

/// The time of every in-process server.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// What every secret that a test makes up contains.
pub(crate) const PASSWORD: &str = "CANARY-pass-word-1";
/// How long a condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether it has: who looks without a pause takes a core from what it waits for.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long an answer may take. What waits for a disk is answered after half a minute.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);

#[expect(clippy::disallowed_methods, reason = "tests take their folder from the test command")]
fn canary_dir() -> Option<PathBuf> {
    std::env::var("TEST_CANARY_DIR").ok().map(PathBuf::from)
}

/// The chance of the test that runs. On PostgreSQL it is another one than on SQLite: what is drawn in another order from one and the
/// same chance would be a secret in the one run and an id in the other, and the search for secrets would find that.
fn chance() -> Arc<SeededChance> {
    let usual = of_this_test();
    if is_postgres_asked() { Arc::new(SeededChance::of(usual.below(u64::MAX))) } else { usual }
}

/// Notes a secret for the search.
pub(crate) fn note_secret(text: &str) {
    if let Some(dir) = canary_dir() {
        let mut file = OpenOptions::new().create(true).append(true).open(dir.join("canaries.txt")).unwrap();
        writeln!(file, "{text}").unwrap();
    }
}

/// A server in this process.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) clock: ManualClock,
    pub(crate) broker: Arc<Broker>,
    pub(crate) hub: Arc<respoke_hub::Hub>,
    /// Of the first start's setup link.
    pub(crate) setup_token: String,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    folder: Arc<Folder>,
    config: Config,
}

impl Server {
    /// Its database, where that is PostgreSQL.
    pub(crate) fn database(&self) -> Option<&Postgres> {
        self.folder.database()
    }

    /// A server with the account's first app.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(Builder::new_current_thread(), change)
    }

    /// A server on a runtime of its own.
    pub(crate) fn start_on(runtime: Builder, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_by(runtime, chance(), change)
    }

    /// The same by a chance of its own.
    pub(crate) fn start_by(runtime: Builder, chance: Arc<SeededChance>, change: impl FnOnce(&mut Config)) -> Self {
        let (data, folder) = data_folder();
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            database: database_of(&data),
            data,
            admin_password: Some(Hidden(Secret::new(PASSWORD.to_owned()))),
            // A client that was left polling by a test which is over is not waited for.
            drain_secs: 1,
            ..Config::default()
        };
        change(&mut config);
        note_secret(PASSWORD);
        let clock = ManualClock::at(NOW);
        let running = Running::begin(runtime, config, &clock, chance);
        let (app, secret, role, setup_token) = running.first_run.expect("the database is new");
        note_secret(&secret);
        note_secret(&setup_token);
        let client = Client { agent: agent(), url: running.url, app, secret, role };
        let (broker, hub) = running.rooms;
        let (stop, thread) = (running.stop, Some(running.thread));
        Self { client, clock, broker, hub, setup_token, stop, thread, folder: Arc::new(folder), config: running.config }
    }

    /// Another node on the same database, which is a PostgreSQL one.
    pub(crate) fn beside(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        let chance: Arc<SeededChance> = Arc::new(SeededChance::of(chance().below(u64::MAX) ^ u64::from(self.port())));
        let running = Running::begin(Builder::new_current_thread(), config, &self.clock, chance);
        assert!(running.first_run.is_none(), "the database is not new");
        let client = Client { url: running.url, ..self.client.clone() };
        let (broker, hub) = running.rooms;
        Self {
            client,
            clock: self.clock.clone(),
            broker,
            hub,
            setup_token: String::new(),
            stop: running.stop,
            thread: Some(running.thread),
            folder: self.folder.clone(),
            config: running.config,
        }
    }

    fn port(&self) -> u16 {
        self.client.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a URL ends with a port")
    }
}

/// A server that was begun.
struct Running {
    url: String,
    rooms: (Arc<Broker>, Arc<respoke_hub::Hub>),
    first_run: Option<(String, String, String, String)>,
    config: Config,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Running {
    fn begin(mut runtime: Builder, config: Config, clock: &ManualClock, chance: Arc<SeededChance>) -> Self {
        let stop = CancellationToken::new();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let (server_clock, server_stop, kept) = (clock.clone(), stop.clone(), config.clone());
        let thread = std::thread::spawn(move || {
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async move {
                let started = respoked::run::start(config, Arc::new(server_clock), chance).await.unwrap();
                let first_run = started.first_run.as_ref().map(|first| {
                    let secret = first.app_secret.secret().expose().to_owned();
                    let setup_token = first.setup_token.expose().to_owned();
                    (first.app_id.to_string(), secret, first.role_id.to_string(), setup_token)
                });
                let rooms = (started.broker().clone(), started.hub().clone());
                sender.send((started.url.clone(), rooms, first_run)).unwrap();
                let _ = started.serve_until(server_stop.cancelled_owned()).await.unwrap();
            });
        });
        let (url, rooms, first_run) = receiver.recv().expect("the server starts");
        Self { url, rooms, first_run, config: kept, stop, thread }
    }
}

impl std::ops::Deref for Server {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

/// Polls until something is there.
pub(crate) fn eventually<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "the condition did not come true in time");
        std::thread::sleep(LOOK_EVERY);
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(ANSWER_PATIENCE))
        .max_idle_connections(300)
        .max_idle_connections_per_host(300)
        .build()
        .into()
}

/// A client of one app.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    pub(crate) url: String,
    pub(crate) app: String,
    pub(crate) secret: String,
    pub(crate) role: String,
}

impl Client {
    /// One that has nobody to ask yet.
    pub(crate) fn nowhere() -> Self {
        let nothing = String::new;
        Self { agent: agent(), url: nothing(), app: nothing(), secret: nothing(), role: nothing() }
    }

    pub(crate) fn get(&self, path: &str) -> Request<'_> {
        self.request("GET", path)
    }

    pub(crate) fn post(&self, path: &str) -> Request<'_> {
        self.request("POST", path)
    }

    pub(crate) fn put(&self, path: &str) -> Request<'_> {
        self.request("PUT", path)
    }

    pub(crate) fn delete(&self, path: &str) -> Request<'_> {
        self.request("DELETE", path)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request<'_> {
        let builder = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        Request { client: self, builder }
    }

    /// Mints a tokenId for `endpoint`.
    pub(crate) fn mint(&self, endpoint: &str) -> String {
        let body = json!({"endpointId": endpoint, "roleId": self.role});
        let token = text(&self.post("/v1/tokens").secret().send(body).ok()["tokenId"]);
        note_secret(&token);
        token
    }

    pub(crate) fn redeem(&self, token: &str) -> Answer {
        let answer = self.post("/v1/session-tokens").send(json!({"tokenId": token}));
        if let Some(token) = answer.body["token"].as_str() {
            note_secret(token);
        }
        answer
    }

    /// A role of these permissions: its id.
    pub(crate) fn create_role(&self, name: &str, permissions: Value) -> String {
        let mut body = permissions;
        body["name"] = json!(name);
        text(&self.post("/v1/roles").secret().send(body).ok()["id"])
    }

    /// A session as `endpoint` in that role: its App-Token.
    pub(crate) fn session_in(&self, endpoint: &str, role: &str) -> String {
        Self { role: role.to_owned(), ..self.clone() }.session(endpoint)
    }

    /// The same, if the server can open one now.
    pub(crate) fn try_session(&self, endpoint: &str) -> Option<String> {
        let post = |path: &str, body: Value| {
            let request = self.post(path).secret().header("Content-Type", "application/json");
            request.try_raw(body.to_string().as_bytes()).filter(|answer| answer.status == 200)
        };
        let minted = post("/v1/tokens", json!({"endpointId": endpoint, "roleId": self.role}))?;
        note_secret(minted.body["tokenId"].as_str()?);
        let opened = post("/v1/session-tokens", json!({"tokenId": minted.body["tokenId"]}))?;
        let token = opened.body["token"].as_str()?.to_owned();
        note_secret(&token);
        Some(token)
    }

    /// A session as `endpoint`: its App-Token.
    pub(crate) fn session(&self, endpoint: &str) -> String {
        text(&self.redeem(&self.mint(endpoint)).ok()["token"])
    }

    /// Whether an App-Token is in session.
    pub(crate) fn alive(&self, app_token: &str) -> bool {
        match self.get("/v1/session-tokens").token(app_token).call() {
            Answer { status: 200, .. } => true,
            Answer { status: 401, .. } => false,
            other => panic!("{other:?}"),
        }
    }

    /// Takes the app's limits of rate away.
    pub(crate) fn unlimited(&self, admin_token: &str) {
        let rates = ["app", "endpoint", "address", "connects", "endpointConnects", "addressConnects", "messages"];
        let said = ["endpointMessages", "addressMessages", "deliveries", "endpointDeliveries", "addressDeliveries"];
        let sent = ["kilobytes", "endpointKilobytes", "addressKilobytes"];
        let rates = rates.into_iter().chain(said).chain(sent);
        let limits = json!({"limits": rates.map(|rate| (rate, None)).collect::<HashMap<_, Option<()>>>()});
        self.put(&format!("/v1/apps/{}", self.app)).admin(admin_token).send(limits).ok();
    }

    pub(crate) fn admin_token(&self, username: &str) -> String {
        let body = json!({"username": username, "password": PASSWORD});
        let token = text(&self.post("/v1/admin-sessions").send(body).ok()["token"]);
        note_secret(&token);
        token
    }
}

/// A request in the making.
pub(crate) struct Request<'a> {
    client: &'a Client,
    builder: http::request::Builder,
}

impl Request<'_> {
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value), ..self }
    }

    /// With the app's App-Secret.
    pub(crate) fn secret(self) -> Self {
        let secret = self.client.secret.clone();
        self.header("App-Secret", &secret)
    }

    pub(crate) fn token(self, app_token: &str) -> Self {
        self.header("App-Token", app_token)
    }

    pub(crate) fn admin(self, admin_token: &str) -> Self {
        self.header("Admin-Token", admin_token)
    }

    pub(crate) fn send(self, body: Value) -> Answer {
        self.header("Content-Type", "application/json").raw(body.to_string().as_bytes())
    }

    /// The answer, if the server took the request and gave one.
    pub(crate) fn try_call(self) -> Option<Answer> {
        let request = self.builder.body(()).unwrap();
        self.client.agent.run(request).ok().and_then(Answer::try_read)
    }

    pub(crate) fn call(self) -> Answer {
        let request = self.builder.body(()).unwrap();
        Answer::read(self.client.agent.run(request).unwrap())
    }

    pub(crate) fn raw(self, body: &[u8]) -> Answer {
        self.try_raw(body).expect("the server takes the request, and answers")
    }

    /// The answer, if the server took the request and gave one.
    pub(crate) fn try_raw(self, body: &[u8]) -> Option<Answer> {
        let agent = &self.client.agent;
        let request = self.builder.body(body).unwrap();
        // Existing clients send bodies with these too, which the library has to be told.
        let bodiless = match request.method().as_str() {
            "GET" => agent.get(request.uri()),
            "DELETE" => agent.delete(request.uri()),
            _ => return agent.run(request).ok().and_then(Answer::try_read),
        };
        let with_headers =
            request.headers().iter().fold(bodiless, |builder, (name, value)| builder.header(name, value));
        with_headers.force_send_body().send(body).ok().and_then(Answer::try_read)
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    fn read(response: http::Response<ureq::Body>) -> Self {
        Self::try_read(response).expect("the answer comes whole")
    }

    fn try_read(mut response: http::Response<ureq::Body>) -> Option<Self> {
        let text = response.body_mut().read_to_string().ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some(Self { status: response.status().as_u16(), headers: response.headers().clone(), text, body })
    }

    /// The body of a success.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.body
    }

    /// Holds a refusal against its status and code, and against the shape of all refusals.
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert!(self.body["error"].is_string());
        assert_eq!(self.body["requestId"].as_str(), self.header("request-id"));
        self.body
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A field that has to be text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Everything a file holds.
pub(crate) fn contents(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}
