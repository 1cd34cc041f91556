//! The built binary on PostgreSQL, where `TEST_POSTGRES` names a server.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::harness::{PASSWORD, Postgres, Process, contents, note_secret, respoked, run};

/// What is in an address as its password, and must be nowhere else.
const CANARY: &str = "CANARY-database-password";

/// `respoked serve`, in a folder in which nothing may appear, and with an address that nobody sees.
pub(crate) fn serve(folder: &Path, address: &str) -> Process {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let here = folder.join("here");
    fs::create_dir_all(&here).unwrap();
    let mut command = respoked();
    command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(here);
    command.env("RESPOKED_DATABASE", address).env("RESPOKED_LOG", "trace");
    command.env("RESPOKED_ADMIN_USERNAME", "owner").env("RESPOKED_ADMIN_PASSWORD", PASSWORD);
    Process::announced(command.stdout(Stdio::piped()).stderr(log))
}

fn admin(address: &str, words: &[&str]) -> crate::harness::Said {
    run(respoked().arg("admin").args(words).arg("--json").env("RESPOKED_DATABASE", address))
}

#[test]
fn a_server_needs_no_folder_and_shows_no_password() {
    let Some(database) = Postgres::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = database.url();
    let who = url.strip_prefix("postgres://").unwrap().split('@').next().unwrap();
    let address = database.url_of(&format!("{who}:{CANARY}"));
    note_secret(CANARY);

    let process = serve(folder.path(), &address).with_app();
    let session = process.session("alice");
    let line = contents(Path::new(&format!("/proc/{}/cmdline", process.id())));
    assert!(!String::from_utf8_lossy(&line).contains(CANARY));
    assert_eq!(admin(&address, &["list"]).out.matches("\"username\"").count(), 1);
    let refused = admin(&address, &["delete-account", "--yes"]);
    assert!(refused.err.contains("a server uses the database"), "{}", refused.err);

    // A power cut, and an end in order.
    process.kill();
    let process = serve(folder.path(), &address);
    assert!(process.alive(&session), "what was answered survives");
    assert!(!process.greeting.contains("App-Secret"), "{}", process.greeting);
    process.signal("TERM");
    assert_eq!(process.wait(), 0);

    let check = run(respoked().args(["config", "check"]).env("RESPOKED_DATABASE", &address));
    assert!(check.out.contains("# database is set") && !check.out.contains(CANARY), "{}", check.out);
    let log = contents(&folder.path().join("log"));
    assert!(!String::from_utf8_lossy(&log).contains(CANARY));
    assert_eq!(fs::read_dir(folder.path().join("here")).unwrap().count(), 0, "a file was made");
}

#[test]
fn five_servers_that_start_at_once_greet_once() {
    let Some(database) = Postgres::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (url, folder) = (database.url(), folder.path());
    let processes = std::thread::scope(|scope| {
        let starts = (0..5).map(|_| scope.spawn(|| serve(folder, &url))).collect::<Vec<_>>();
        starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
    });
    let greeted = processes.iter().filter(|process| process.greeting.contains("App-Secret")).count();
    assert_eq!(greeted, 1);
    for process in &processes {
        process.admin_token("owner");
    }
    assert_eq!(admin(&url, &["list"]).out.matches("\"username\"").count(), 1);
    // What one of them made is there for all.
    let admin = processes[0].admin_token("owner");
    let app = processes[0].post("/v1/apps").admin(&admin).send(json!({"name": "test"})).ok();
    processes[4].get(&format!("/v1/apps/{}", app["id"].as_str().unwrap())).admin(&admin).call().ok();
}

#[test]
fn who_serves_need_not_own_the_schema() {
    let Some(database) = Postgres::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let role = format!("{}_server", database.name());
    database.run(&format!("CREATE ROLE {role} LOGIN"));
    let server = database.url_of(&role);
    let refused = run(respoked().args(["serve", "--listen", "127.0.0.1:0", "--database", &server]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains(&format!("`respoked migrate --grant-to {role}`")), "{}", refused.err);

    let migrate = |words: &[&str]| run(respoked().args(["migrate", "--database", &database.url()]).args(words));
    let said = migrate(&["--grant-to", &role]);
    assert!(said.code == Some(0) && said.out.contains(&role), "{} {}", said.out, said.err);
    let process = serve(folder.path(), &server).with_app();
    process.session("alice");
    assert!(migrate(&[]).out.contains("as it was"), "beside a server that runs");
    drop(process);
    database.run_inside(&format!("DROP OWNED BY {role}"));
    database.run(&format!("DROP ROLE {role}"));
}

#[test]
fn a_password_on_the_command_line_is_refused_and_not_said_again() {
    for address in
        [format!("postgres://jo:{CANARY}@127.0.0.1/d"), format!("postgres://jo@127.0.0.1/d?password={CANARY}")]
    {
        for words in [&["serve"][..], &["config", "check"], &["admin", "list"], &["migrate"], &["doctor"]] {
            let said = run(respoked().args(words).args(["--database", &address]));
            assert_eq!(said.code, Some(2), "{words:?}: {}", said.err);
            assert!(said.err.contains("RESPOKED_DATABASE") && said.err.contains("PGPASSFILE"), "{}", said.err);
            assert!(!said.err.contains(CANARY) && !said.out.contains(CANARY), "{}", said.err);
        }
    }
}

#[test]
fn a_password_is_found_in_a_file_of_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords");
    fs::write(&file, format!("*:*:*:*:{CANARY}\n")).unwrap();
    let check = |(variable, value): (&str, &Path)| {
        let mut command = respoked();
        command.args(["config", "check", "--database", "postgres://jo@127.0.0.1/d"]).env_remove("PGPASSFILE");
        command.args(["--database-direct", "postgres://jo@127.0.0.1:7/d"]);
        run(command.env(variable, value))
    };
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let said = check(("PGPASSFILE", &file));
    assert!(said.code == Some(1) && said.err.contains("others than its owner may read it"), "{}", said.err);
    mode(0o600);
    let said = check(("PGPASSFILE", &file));
    assert!(said.out.contains("# database is set"), "{} {}", said.out, said.err);
    assert!(said.out.contains("# database_direct is set"), "{} {}", said.out, said.err);
    fs::rename(&file, folder.path().join(".pgpass")).unwrap();
    let said = check(("HOME", folder.path()));
    assert!(said.out.contains("# database is set"), "{} {}", said.out, said.err);
    let said = check(("HOME", Path::new("/nowhere")));
    assert!(said.out.contains("jo@") && said.code == Some(0), "{} {}", said.out, said.err);
}

#[test]
fn what_is_wrong_with_a_database_is_said_plainly() {
    let Some(database) = Postgres::new() else { return };
    let absent = database.url().replace(database.name(), "respoked_absent");
    let said = run(respoked().args(["serve", "--listen", "127.0.0.1:0", "--database", &absent]));
    assert_eq!(said.code, Some(1));
    for part in ["respoked_absent", "127.0.0.1", "SQLSTATE 3D000"] {
        assert!(said.err.contains(part), "{}", said.err);
    }
    let said = run(respoked().args(["backup", "file", "--database", &database.url()]));
    assert!(said.code == Some(1) && !said.err.is_empty());
}

#[test]
fn what_rows_hold_is_left_for_the_search_as_it_is() {
    let Some(database) = Postgres::new() else { return };
    database.run_inside(
        "CREATE SCHEMA other; CREATE TABLE other.texts (text TEXT, bytes BYTEA);
         INSERT INTO other.texts VALUES ('kept as text', 'kept as bytes')",
    );
    let folder = tempfile::tempdir().unwrap();
    database.leave_rows(folder.path());
    let rows = contents(&folder.path().join(format!("{}.rows", database.name())));
    for kept in ["kept as text", "kept as bytes"] {
        assert!(rows.windows(kept.len()).any(|window| window == kept.as_bytes()), "{kept}");
    }
}
