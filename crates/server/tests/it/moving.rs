//! An installation moves between a data folder and a PostgreSQL database, under clients that go on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Client, Folder, Postgres, Process, Said, data_folder, eventually, note_secret, respoked, run, text,
};

const DATABASE_PASSWORD: &str = "CANARY-database-password";

fn place_of(data: &Path) -> String {
    format!("sqlite:{}", data.display())
}

fn moving(from: &str, to: &str, folder: &Path) -> Command {
    let mut command = respoked();
    command.args(["--json", "migrate-store", "--from", from, "--to", to]);
    Postgres::with_password(&mut command, DATABASE_PASSWORD, folder);
    command
}

/// Moves it, and returns what is said of that.
fn moved(from: &str, to: &str, folder: &Path) -> Value {
    note_secret(DATABASE_PASSWORD);
    let said = run(&mut moving(from, to, folder));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!said.out.contains(DATABASE_PASSWORD) && !said.err.contains(DATABASE_PASSWORD));
    serde_json::from_str(&said.out).unwrap()
}

/// Whether a database may be used: by a command that opens it as a server does.
fn used(data: Option<&Path>, url: Option<&str>) -> Said {
    let mut command = respoked();
    command.args(["admin", "list"]);
    if let Some(data) = data {
        command.arg("--data").arg(data);
    }
    if let Some(url) = url {
        command.args(["--database", url]);
    }
    run(&mut command)
}

fn stop(process: Process) {
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
}

/// What clients got from a server, with which they go on.
struct Given {
    admin: String,
    session: String,
    waiting: String,
    spent: String,
    once: String,
    history: Value,
}

impl Given {
    fn of(client: &Client) -> Self {
        let session = client.session("alice");
        let spent = client.mint("carol");
        client.redeem(&spent).ok();
        for number in 0..3 {
            let body =
                json!({"endpointId": "alice", "message": {"n": number, "odd": "\0"}, "persist": true, "push": false});
            client.post("/v1/channels/room/publish/").token(&session).send(body).ok();
        }
        let given = Self {
            admin: client.admin_token("owner"),
            waiting: client.mint("bob"),
            once: Self::once(client),
            history: Self::history(client, &session),
            session,
            spent,
        };
        assert_eq!(given.history.as_array().unwrap().len(), 3);
        given
    }

    fn once(client: &Client) -> String {
        let body = json!({"endpointId": "dan", "roleId": client.role});
        text(&client.post("/v1/tokens").secret().header("Idempotency-Key", "once").send(body).ok()["tokenId"])
    }

    fn history(client: &Client, session: &str) -> Value {
        client.get("/v1/groups/room/history").token(session).call().ok()
    }

    /// Everything is as it was.
    fn is_good(&self, client: &Client) {
        assert!(client.alive(&self.session));
        client.redeem(&self.spent).refused(401, "token_refused");
        client.redeem(&self.waiting).ok();
        assert_eq!(Self::once(client), self.once, "the same request is answered alike");
        assert_eq!(Self::history(client, &self.session), self.history);
        assert_eq!(client.get("/v1/apps").admin(&self.admin).call().ok().as_array().unwrap().len(), 2);
    }

    /// With what was said and given since.
    fn with_more(self, client: &Client) -> Self {
        let body = json!({"endpointId": "alice", "message": "more", "persist": true, "push": false});
        client.post("/v1/channels/room/publish/").token(&self.session).send(body).ok();
        let history = Self::history(client, &self.session);
        assert_eq!(history.as_array().unwrap()[1..], self.history.as_array().unwrap()[..], "it goes on where it was");
        Self { waiting: client.mint("bob"), history, ..self }
    }
}

/// An installation that is served from a folder, and a database to which it can go.
struct Served {
    postgres: Postgres,
    data: PathBuf,
    folder: Folder,
    /// What lies elsewhere.
    work: TempDir,
    process: Process,
    client: Client,
    given: Given,
}

impl Served {
    /// None: there is no server for the database.
    fn from_a_folder() -> Option<Self> {
        let postgres = Postgres::new()?;
        let (data, folder) = data_folder();
        let process = Process::spawn(&data, &[]).with_app();
        let client = process.client.clone();
        let given = Given::of(&client);
        Some(Self { postgres, data, folder, work: tempfile::tempdir().unwrap(), process, client, given })
    }
}

#[test]
fn clients_notice_nothing_but_the_pause() {
    let Some(served) = Served::from_a_folder() else { return };
    let Served { postgres, data, folder: _folder, work, process, mut client, given } = served;
    let url = postgres.url();
    let said = run(&mut moving(&place_of(&data), &url, work.path()));
    assert!(said.code == Some(1) && said.err.contains("in use"), "{}", said.err);
    stop(process);

    let told = moved(&place_of(&data), &url, work.path());
    assert!(told["rows"].as_u64().unwrap() > 10 && told["tables"]["apps"] == 2, "{told}");
    let said = used(Some(&data), None);
    assert!(
        said.code == Some(1) && said.err.contains("was moved to postgres") && said.err.contains("--take-back"),
        "{}",
        said.err
    );
    assert!(!said.err.contains("rror code"), "{}", said.err);
    // Nobody takes it for what is served by mistake.
    let backup = work.path().join("backup.db");
    let said = run(respoked().arg("backup").arg(&backup).arg("--data").arg(&data));
    assert!(said.code == Some(1) && said.err.contains("was moved to postgres") && !backup.exists(), "{}", said.err);
    let said = run(respoked().args(["doctor", "--data"]).arg(&data));
    assert!(
        said.code == Some(1) && said.out.contains("FAIL  database") && said.out.contains("was moved to postgres"),
        "{}",
        said.out
    );
    let elsewhere = work.path().join("nothing");
    let process = Process::spawn(&elsewhere, &["--database", &url]);
    client.url.clone_from(&process.client.url);
    given.is_good(&client);
    let given = given.with_more(&client);
    let said = run(&mut moving(&url, &place_of(&work.path().join("back")), work.path()));
    assert!(said.code == Some(1) && said.err.contains("a respoked serves from it"), "{}", said.err);
    stop(process);

    let back = work.path().join("back");
    moved(&url, &place_of(&back), work.path());
    let said = used(None, Some(&url));
    assert!(said.code == Some(1) && said.err.contains("was moved to sqlite:"), "{}", said.err);
    let process = Process::spawn(&back, &[]);
    client.url.clone_from(&process.client.url);
    given.is_good(&client);
    stop(process);

    // Who must goes on where it was, without what was done since.
    for (place, folder, flags) in
        [(place_of(&data), &data, Vec::new()), (url.clone(), &elsewhere, vec!["--database", &url[..]])]
    {
        let said = run(respoked().args(["migrate-store", "--take-back", &place]));
        assert!(said.code == Some(0) && said.out.contains("can be served from again"), "{}{}", said.out, said.err);
        let said = run(respoked().args(["migrate-store", "--take-back", &place]));
        assert!(said.code == Some(1) && said.err.contains("not marked as moved"), "{}", said.err);
        let process = Process::spawn(folder, &flags);
        client.url.clone_from(&process.client.url);
        assert!(client.alive(&given.session));
        client.redeem(&given.waiting).refused(401, "token_refused");
        assert!(client.alive(&client.session("frank")));
        stop(process);
    }
}

#[test]
fn a_move_that_is_killed_at_any_moment_is_finished_by_the_next() {
    let Some(served) = Served::from_a_folder() else { return };
    let Served { postgres, data, folder: _folder, work, process, mut client, given } = served;
    let url = postgres.url();
    stop(process);
    let back = work.path().join("back");
    for (from, to) in [(place_of(&data), url.clone()), (url.clone(), place_of(&back))] {
        for millis in (0..).map(|tried: u64| tried * 15) {
            let mut command = moving(&from, &to, work.path());
            let said = std::fs::File::create(work.path().join("said")).unwrap();
            let mut child = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
            let end = std::time::Instant::now() + std::time::Duration::from_millis(millis);
            let ended = eventually(|| match child.try_wait().unwrap() {
                Some(status) => Some(Some(status)),
                None => (std::time::Instant::now() >= end).then_some(None),
            });
            if let Some(status) = ended {
                let said = std::fs::read_to_string(work.path().join("said")).unwrap();
                assert!(status.success(), "{from} to {to} after {millis} ms: {said}");
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let folder = if from.starts_with("sqlite") { &data } else { &back };
            // A server whose connection was cut may take a moment to notice.
            let in_folder = folder.join("respoked.db").exists() && used(Some(folder), None).code == Some(0);
            let there = used(None, Some(&url)).code == Some(0);
            assert!(!(in_folder && there), "both are good after {millis} ms");
        }
    }
    let process = Process::spawn(&back, &[]);
    client.url.clone_from(&process.client.url);
    given.is_good(&client);
    stop(process);
}

#[test]
fn a_backup_of_either_is_restored_to_either() {
    let Some(postgres) = Postgres::new() else { return };
    let work = tempfile::tempdir().unwrap();
    let (data, _folder) = data_folder();
    let (url, elsewhere) = (postgres.url(), work.path().join("elsewhere"));
    let [of_folder, of_server] = ["of_folder", "of_server"].map(|name| work.path().join(name).display().to_string());
    let at = |words: &[&str]| {
        let said = run(respoked().arg("--json").args(words));
        assert_eq!(said.code, Some(0), "{words:?}: {}", said.err);
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    let process = Process::spawn(&data, &[]).with_app();
    let mut client = process.client.clone();
    client.session("alice");
    at(&["backup", &of_folder, "--data", data.to_str().unwrap()]);
    stop(process);

    // From the folder to a server, which holds nothing.
    let restored = at(&["restore", &of_folder, "--database", &url]);
    assert!(restored["keptAside"].is_null(), "{restored}");
    let process = Process::spawn(&elsewhere, &["--database", &url]);
    client.url.clone_from(&process.client.url);
    let session = client.session("bob");
    assert!(client.alive(&session));
    let said = at(&["backup", &of_server, "--database", &url]);
    assert!(said["bytes"].as_u64().unwrap() > 10_000, "{said}");
    let admin = client.admin_token("owner");
    client.delete(&format!("/v1/roles/{}", client.role)).admin(&admin).call().ok();
    let said = run(respoked().args(["restore", &of_server, "--database", &url]));
    assert!(said.code == Some(1) && said.err.contains("a respoked serves from it"), "{}", said.err);
    stop(process);

    // From the server to the server, which holds something.
    let restored = at(&["restore", &of_server, "--database", &url]);
    assert!(text(&restored["keptAside"]).starts_with("respoked_before_restore_20"), "{restored}");
    assert!(
        restored["undone"].as_array().unwrap().iter().any(|undone| undone["action"] == "role.deleted"),
        "{restored}"
    );
    let process = Process::spawn(&elsewhere, &["--database", &url]);
    client.url.clone_from(&process.client.url);
    assert!(!client.alive(&session), "what was issued before is ended");
    assert!(client.alive(&client.session("dan")));
    stop(process);

    // From the server to a folder.
    assert_eq!(at(&["restore", "--verify", &of_server])["sound"], true);
    at(&["restore", &of_server, "--data", data.to_str().unwrap()]);
    let process = Process::spawn(&data, &[]);
    client.url.clone_from(&process.client.url);
    assert!(client.alive(&client.session("eve")));
    stop(process);
}
