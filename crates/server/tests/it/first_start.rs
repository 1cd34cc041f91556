//! The first start shows once what nobody could find out afterwards. So it keeps nothing that it could not show.

use std::fs::{self, File};
use std::io::{PipeReader, Read, Write, pipe};
use std::path::Path;
use std::process::{Command, Stdio};

use respoke_core::clock::SystemClock;
use respoked::config::Config;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::harness::{PASSWORD, Process, Said, data_folder, eventually, respoked, run};

/// A shell that starts the server after `redirection`, such as `>&-`.
fn started_with(redirection: &str, data: &Path) -> Said {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\" {redirection}")]);
    run(shell.arg(env!("CARGO_BIN_EXE_respoked")).arg(data))
}

fn admins(data: &Path) -> Value {
    let said = run(respoked().args(["admin", "list", "--json", "--data"]).arg(data));
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err))
}

/// Whether the next start greets, and what it greets with holds.
fn greets(data: &Path) {
    let process = Process::spawn(data, &[]);
    let secret = process.greeting.lines().find_map(|line| line.trim().strip_prefix("App-Secret")).unwrap().trim();
    crate::harness::note_secret(secret);
    let role = process.greeting.lines().find_map(|line| line.trim().strip_prefix("Role id")).unwrap().trim();
    let body = json!({"endpointId": "alice", "roleId": role});
    process.post("/v1/tokens").header("App-Secret", secret).send(body).ok();
    process.admin_token("owner");
    assert_eq!(admins(data).as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_shown_is_not_kept_and_shown_by_the_next_start() {
    for (redirection, why) in [
        (">/dev/full", "No space left"),
        (">&-", "closed"),
        ("1</dev/null", "reading only"),
        ("1</dev/zero", "reading only"),
    ] {
        let (data, _folder) = data_folder();
        let said = started_with(redirection, &data);
        assert_eq!(said.code, Some(1), "{redirection}");
        assert!(said.err.contains("standard output") && said.err.contains(why), "{redirection}: {}", said.err);
        assert_eq!(admins(&data), json!([]), "{redirection}");
        greets(&data);
    }
}

/// What a closed output becomes and what a program leaves that detached is the same to us: nobody reads either.
#[test]
fn an_output_that_nobody_reads_keeps_nothing_unless_the_password_is_set() {
    let null = || fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    let spawn = |data: &Path, redirection: &str, stdout: File, stderr: File| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\" {redirection}")]);
        shell.arg(env!("CARGO_BIN_EXE_respoked")).arg(data).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Running(shell.spawn().unwrap())
    };
    // Closed, whatever the others are.
    for redirection in ["", ">&-", ">&- <&-", ">&- 2>&-", "<&- >&- 2>&-", "<&- 2>&-"] {
        let both = null();
        for (stdout, stderr) in [(null(), null()), (both.try_clone().unwrap(), both)] {
            let (data, _folder) = data_folder();
            let mut running = spawn(&data, redirection, stdout, stderr);
            let status = eventually(|| running.0.try_wait().unwrap());
            assert_eq!(status.code(), Some(1), "{redirection}");
            assert_eq!(admins(&data), json!([]), "{redirection}");
        }
    }
    let serves = |data: &Path| {
        eventually(|| (data.exists() && data.join("lock").exists() && holds_an_admin(data)).then_some(()));
    };
    // Who set the password gets in whatever is shown.
    let secrets = tempfile::tempdir().unwrap();
    let password = secrets.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    for redirection in ["", "<&- >&- 2>&-"] {
        let (data, _folder) = data_folder();
        let log = File::create(data.with_extension("err")).unwrap();
        let with = format!("--admin-password-file '{}' {redirection}", password.display());
        let _running = spawn(&data, &with, null(), log);
        serves(&data);
    }
}

fn holds_an_admin(data: &Path) -> bool {
    let said = run(respoked().args(["admin", "list", "--json", "--data"]).arg(data));
    serde_json::from_str::<Value>(&said.out).is_ok_and(|admins| admins != json!([]))
}

#[test]
fn a_pipe_that_nobody_reads_is_not_told_either() {
    let (data, _folder) = data_folder();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut child = respoked()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .stdout(writer)
        .stderr(File::create(data.with_extension("err")).unwrap())
        .spawn()
        .unwrap();
    let status = eventually(|| child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert!(fs::read_to_string(data.with_extension("err")).unwrap().contains("standard output"));
    assert_eq!(admins(&data), json!([]));
    greets(&data);
}

/// A pipe in which there is no room for a single byte.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'\n'; 4_096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer.into())
}

#[test]
fn a_start_that_is_killed_while_it_greets_has_kept_nothing() {
    let (data, _folder) = data_folder();
    let (_reader, writer) = full_pipe();
    let mut child = respoked()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Until it waits in its first write: a call whose first argument is standard output.
    let call = format!("/proc/{}/syscall", child.id());
    eventually(|| (fs::read_to_string(&call).unwrap().split(' ').nth(1) == Some("0x1")).then_some(()));
    assert_eq!(admins(&data), json!([]));
    child.kill().unwrap();
    child.wait().unwrap();
    greets(&data);
}

#[test]
fn a_start_whose_output_nobody_wants_serves() {
    // As a service manager or a program that detaches gives it; and what begins later needs no reader at all.
    let (data, _folder) = data_folder();
    let serve = |redirection: &str, port: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" serve --listen {port} --data \"$1\" {redirection}")]);
        let child = shell.arg(env!("CARGO_BIN_EXE_respoked")).arg(&data).stderr(Stdio::null()).spawn().unwrap();
        let client = Running(child);
        eventually(|| {
            let (mut stream, mut answer) = (std::net::TcpStream::connect(port).ok()?, String::new());
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
            stream.read_to_string(&mut answer).ok()?;
            answer.starts_with("HTTP/1.1 200").then_some(())
        });
        drop(client);
    };
    for redirection in [">/dev/null", ">/dev/full", ">&-"] {
        // A port that was free a moment ago. At an address of its own, so that no other test takes it meanwhile.
        let host = if cfg!(target_os = "linux") { "127.0.2.1:0" } else { "127.0.0.1:0" };
        let free = std::net::TcpListener::bind(host).unwrap();
        let port = free.local_addr().unwrap().to_string();
        drop(free);
        serve(redirection, &port);
    }
    assert_eq!(admins(&data).as_array().unwrap().len(), 1);
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_was_shown_and_could_not_be_kept_is_said_not_to_hold() {
    let (data, _folder) = data_folder();
    let secrets = tempfile::tempdir().unwrap();
    let password = secrets.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config { listen: "127.0.0.1:0".parse().unwrap(), data: data.clone(), ..Config::default() };
        // One left by an earlier release: an account, and nobody in it.
        let prepared =
            respoked::run::prepare(config.clone(), Arc::new(SystemClock), respoke_core::chance::of_this_test())
                .await
                .unwrap();
        assert!(prepared.first_run().is_some());
        let other = respoke_store::SqliteStore::open(
            &data.join(respoked::data_folder::DATABASE),
            respoke_store::Options::default(),
        )
        .unwrap();
        let bus = Arc::new(respoke_bus::LocalBus::default());
        let other = respoke_core::ops::Broker::new(
            Arc::new(other),
            bus,
            Arc::new(SystemClock),
            respoke_core::chance::of_this_test(),
            0,
        );
        other.first_run(Some("other".to_owned()), None).await.unwrap().unwrap();
        let said = format!("{:#}", prepared.keep().await.expect_err("it is refused"));
        assert!(said.contains("does not hold") && said.contains("meanwhile"), "{said}");
        other.store().close().await;
    });
    let admins = admins(&data);
    assert_eq!((admins.as_array().unwrap().len(), &admins[0]["username"]), (1, &json!("other")));
}

#[test]
fn of_two_first_starts_at_once_one_serves() {
    let (data, _folder) = data_folder();
    for _ in 0..3 {
        let start = || {
            let mut command = respoked();
            command
                .args(["serve", "--listen", "127.0.0.1:0", "--data"])
                .arg(&data)
                .env("RESPOKED_ADMIN_PASSWORD", PASSWORD);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            Running(command.spawn().unwrap())
        };
        let mut both = [start(), start()];
        // One ends by itself, the other serves on.
        let (loser, code) = eventually(|| {
            both.iter_mut().enumerate().find_map(|(number, one)| one.0.try_wait().unwrap().map(|ended| (number, ended)))
        });
        assert_eq!(code.code(), Some(1));
        let mut said = String::new();
        both[loser].0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("in use"), "{said}");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(both[1 - loser].0.stdout.take().unwrap()));
        assert!(lines.any(|line| line.unwrap().starts_with("respoked listening on")));
        drop(both);
        fs::remove_dir_all(&data).unwrap();
    }
}

#[test]
fn a_first_start_that_must_fail_keeps_nothing() {
    let (data, folder) = data_folder();
    let missing = data.with_extension("pem");
    let missing = missing.to_str().unwrap();
    let tls = ["--tls-cert", missing, "--tls-key", missing];
    for (flags, environment) in [
        (&tls[..], None),
        (&[][..], Some(("RESPOKED_ADMIN_PASSWORD", "short"))),
        (&["--admin-username", " x "][..], None),
        (&["--turn-uris", "nonsense"][..], None),
    ] {
        let mut command = respoked();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data).args(flags).envs(environment);
        let said = run(&mut command);
        assert!(said.code.is_some_and(|code| code != 0), "{flags:?}");
        assert_eq!(said.out, "", "{flags:?}");
        if data.exists() {
            assert_eq!(admins(&data), json!([]), "{flags:?}");
        }
    }
    greets(&data);
    drop(folder);
}
