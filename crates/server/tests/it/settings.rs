//! The settings and the command line as the binary takes them, and what it prints where nobody can read it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Process, contents, data_folder, eventually, text};

const CANARY: &str = "CANARY-setting";

fn respoked(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_respoked"));
    command.args(words).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn log(data: &Path) -> String {
    String::from_utf8_lossy(&contents(&data.with_extension("log"))).into_owned()
}

#[test]
fn an_admin_gets_in_with_what_was_set_to_the_letter() {
    for (username, password) in [
        ("1001", "0123456789"),
        ("+4912", "+491234567890"),
        ("1e5", "\"quoted\""),
        ("true", "[1, 2, 3]"),
        ("{a=1}", "3.1415926535"),
        ("'jo'", "  spaces  "),
    ] {
        let (data, _folder) = data_folder();
        let setup = format!(
            "RESPOKED_ADMIN_USERNAME=$(printf %s {}) && RESPOKED_ADMIN_PASSWORD=$(printf %s {}) && export \
             RESPOKED_ADMIN_USERNAME RESPOKED_ADMIN_PASSWORD",
            quoted(username),
            quoted(password)
        );
        let process = Process::spawn_after(&setup, &data, &[]);
        let body = json!({"username": username, "password": password});
        process.post("/v1/admin-sessions").send(body).ok();
    }
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn without_a_command_it_is_the_same_as_serve() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("broken.toml"), "drain_secs = 'x'").unwrap();
    // What ends by itself ends alike.
    let flags: [&[&str]; 6] = [
        &["--drain-secs", "x"],
        &["--listen", "nowhere"],
        &["--nonsense"],
        &["--config", "/nowhere/respoked.toml"],
        &["--json", "--io-threads", "-1"],
        &["--tls-cert", "half"],
    ];
    let variables = [("RESPOKED_CONFIG", path("broken.toml")), ("RESPOKED_DRAIN_SECS", "x".into())];
    let ended = |words: &[&str], variables: &[(&str, std::path::PathBuf)]| {
        let output = respoked(words).current_dir(folder.path()).envs(variables.iter().cloned()).output().unwrap();
        (output.status.code(), said(&output).replace("respoked serve", "respoked").replace("[COMMAND]", ""))
    };
    for flags in flags {
        let ((code, bare), (served_code, served)) = (ended(flags, &[]), ended(&[&["serve"], flags].concat(), &[]));
        assert_eq!(code, served_code, "{flags:?}");
        assert_eq!(bare.lines().next(), served.lines().next(), "{flags:?}");
        assert_ne!(code, Some(0));
    }
    for variable in variables {
        assert_eq!(ended(&[], std::slice::from_ref(&variable)), ended(&["serve"], &[variable]));
    }

    // And what serves, serves by the same settings.
    let data = path("named");
    let file = format!("listen = '127.0.0.1:0'\ndata = '{}'\n", data.display());
    std::fs::write(path("respoked.toml"), file).unwrap();
    let bare = || {
        let mut command = respoked(&[]);
        command.current_dir(folder.path()).env("RESPOKED_CONFIG", path("respoked.toml"));
        command
    };
    let flagged = || {
        let mut command = respoked(&["--config"]);
        command.current_dir(folder.path()).arg(path("respoked.toml")).args(["--drain-secs", "1"]);
        command
    };
    for mut command in [bare(), flagged()] {
        let process = Process::announced(command.stdout(Stdio::piped()).stderr(Stdio::null()));
        process.get("/healthz").call().ok();
        process.signal("TERM");
        assert_eq!(process.wait(), 0);
        assert!(data.join("respoked.db").is_file() && !path("respoked-data").exists());
    }
    let stray = respoked(&["--data", "d", "doctor"]).output().unwrap();
    assert_eq!(stray.status.code(), Some(2), "{}", said(&stray));
}

#[test]
fn service_links_of_kubernetes_are_passed_over_with_one_line() {
    let links = "export RESPOKED_PORT=tcp://10.0.0.11:8080 RESPOKED_SERVICE_HOST=10.0.0.11 RESPOKED_SERVICE_PORT=8080 \
                 RESPOKED_SERVICE_PORT_HTTP=8080 RESPOKED_PORT_8080_TCP=tcp://10.0.0.11:8080 \
                 RESPOKED_PORT_8080_TCP_PROTO=tcp RESPOKED_PORT_8080_TCP_PORT=8080 RESPOKED_PORT_8080_TCP_ADDR=10.0.0.11";
    let (data, _folder) = data_folder();
    let process = Process::spawn_after(links, &data, &[]);
    process.get("/healthz").call().ok();
    let log = log(&data);
    let lines: Vec<_> = log.lines().filter(|line| line.contains("Kubernetes")).collect();
    assert!(lines.len() == 1 && lines[0].contains("RESPOKED_PORT_8080_TCP_ADDR"), "{lines:?}");
    for (name, value) in [("RESPOKED_PORT", "8080"), ("RESPOKED_WEB_SERVICE_HOST", "10.0.0.1")] {
        let refused = respoked(&["config", "check"]).env(name, value).output().unwrap();
        assert!(refused.status.code() == Some(1) && said(&refused).contains(name), "{}", said(&refused));
    }
}

#[test]
fn a_path_may_have_any_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let name = OsString::from_vec(b"caf\xe9".to_vec());
    let data = folder.path().join(&name);
    let mut command = respoked(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("RESPOKED_DATA", &data).current_dir(folder.path());
    let process = Process::announced(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(entries.collect::<Vec<_>>(), [name], "that folder and no other");
    for beside in
        [respoked(&["admin", "list"]).env("RESPOKED_DATA", &data), respoked(&["admin", "list", "--data"]).arg(&data)]
    {
        let listed = beside.output().unwrap();
        assert!(listed.status.success() && said(&listed).contains("owner"), "{}", said(&listed));
    }
    let backup = folder.path().join(OsString::from_vec(b"backup\xff".to_vec()));
    assert!(respoked(&["backup"]).arg(&backup).env("RESPOKED_DATA", &data).output().unwrap().status.success());
    assert!(backup.is_file());

    let mut checked = respoked(&["config", "check"]);
    let checked = checked.env("RESPOKED_DATA", &data).output().unwrap();
    let file = folder.path().join("printed.toml");
    std::fs::write(&file, &checked.stdout).unwrap();
    let again = respoked(&["config", "check", "--json", "--config"]).arg(&file).output().unwrap();
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["data"], json!(data.as_os_str().as_bytes()), "what was printed names the same folder");
    drop(process);
}

#[test]
fn what_is_said_of_wrong_settings_and_flags_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, held: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, held).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let held = |command: &mut Command, code: Option<i32>| {
        for json in [false, true] {
            if json {
                command.arg("--json");
            }
            let output = command.current_dir(folder.path()).output().unwrap();
            let said = said(&output);
            assert!(!said.contains(CANARY) && !said.contains("panicked"), "{command:?}: {said}");
            assert!(code.is_none() || output.status.code() == code, "{command:?}: {said}");
        }
    };
    let mut toml = 0;
    for key in ["admin_password", "turn_secret"] {
        let variable = format!("RESPOKED_{}", key.to_ascii_uppercase());
        let not_text = OsString::from_vec([CANARY.as_bytes(), b"\xff"].concat());
        held(respoked(&["config", "check"]).env(&variable, &not_text), Some(1));
        held(respoked(&["config", "check"]).env(&variable, CANARY), None);
        held(respoked(&["serve"]).env(&variable, CANARY).env("RESPOKED_LISTEN", CANARY), Some(1));
        held(respoked(&["serve"]).env(&variable, CANARY).env(format!("{variable}_FILE"), "/nowhere"), Some(1));
        for broken in ["not-utf8\u{fffd}", ""] {
            let path = file("secret", &[CANARY.as_bytes(), broken.as_bytes(), b"\xff"].concat());
            held(respoked(&["serve"]).env(format!("{variable}_FILE"), path), Some(1));
        }
        for line in [
            "{key} = \"{canary}",
            "{key} = {canary}",
            "{key} = '{canary}' '",
            "{key}: '{canary}'",
            "{key} = ['{canary}']",
        ] {
            toml += 1;
            let line = line.replace("{key}", key).replace("{canary}", CANARY);
            let path = file(&format!("{toml}.toml"), format!("# settings\n{line}\n").as_bytes());
            for command in ["serve", "doctor"] {
                held(&mut respoked(&[command, "--config", &path]), Some(1));
            }
            held(&mut respoked(&["config", "check", "--config", &path]), Some(1));
        }
    }
    // A secret in another setting's place.
    for name in ["LISTEN", "PUBLIC_URL", "TRUSTED_PROXIES", "LOG_FORMAT", "DRAIN_SECS", "JSONP_POLLING", "STUN_URIS"] {
        held(respoked(&["serve"]).env(format!("RESPOKED_{name}"), CANARY), Some(1));
    }
    held(respoked(&["serve"]).env("RESPOKED_LOG", format!("{CANARY}=loud=")), Some(1));
    // The client's side, where nobody listens.
    let server = "http://127.0.0.1:9";
    held(respoked(&["logout", "--server", server]).env("RESPOKED_ADMIN_TOKEN", format!("{CANARY}\u{7}x")), Some(2));
    held(respoked(&["app", "list", "--server", server]).env("RESPOKED_ADMIN_TOKEN", CANARY), Some(3));
    held(&mut respoked(&["app", "list", "--server", &format!("http://jo:{CANARY}@127.0.0.1:9")]), Some(2));
    held(respoked(&["app", "list"]).env("RESPOKED_SERVER", format!("http://jo:{CANARY}@127.0.0.1:9")), Some(2));
    for words in [
        &["app", "list", "--admin-token", CANARY, "--admin-token", CANARY][..],
        &["app", "list", CANARY],
        &["--admin-token", "=", CANARY],
        &["--admin-tokn", CANARY, "app", "list"],
        &[&format!("--admin-tokn={CANARY}"), "app", "list"],
        &["login", "--password", CANARY],
        &["login", &format!("--password={CANARY}")],
        &["login", "--code", "123", CANARY],
        &["login", &format!("--json={CANARY}")],
        &["token", "revoke", "X", CANARY],
        &["token", "inspect", CANARY, "--replace"],
        &["serve", "--admin-password", CANARY],
        &["serve", &format!("--admin-password={CANARY}")],
        &["serve", &format!("--turn-secret={CANARY}")],
        &["serve", CANARY],
        &["serve", "--drain-secs", CANARY],
    ] {
        held(&mut respoked(words), Some(2));
    }
    let secret = file("password", &[CANARY.as_bytes(), b"\xff"].concat());
    held(&mut respoked(&["login", "--server", server, "--password-file", &secret]), Some(1));
    let typed = || Stdio::from(File::open(folder.path().join("password")).unwrap());
    held(respoked(&["login", "--server", server]).stdin(typed()), Some(1));
}

#[test]
fn secret_files_of_the_command_line_may_come_from_any_editor() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, format!("\u{feff}{PASSWORD}\r\n")).unwrap();
    let home = folder.path().to_str().unwrap();
    let login = ["login", "--username", "owner", "--server", &process.url];
    let client = |words: &[&str]| {
        let mut command = respoked(words);
        command.env("XDG_CONFIG_HOME", home);
        command
    };
    let by_file = client(&login).arg("--password-file").arg(&file).output().unwrap();
    assert!(by_file.status.success(), "{}", said(&by_file));
    let by_pipe = client(&login).stdin(File::open(&file).unwrap()).output().unwrap();
    assert!(by_pipe.status.success(), "{}", said(&by_pipe));
    let token = process.admin_token("owner");
    for around in [format!("{token}\n"), format!(" {token}\r\n"), format!("\u{feff}{token}"), token.clone()] {
        let listed = respoked(&["app", "list", "--server", &process.url]).env("RESPOKED_ADMIN_TOKEN", &around).output();
        let listed = listed.unwrap();
        assert!(listed.status.success(), "{around:?}: {}", said(&listed));
    }
    // Empty is as none: the login that was saved is used, and the server that is the default.
    let saved = client(&["app", "list", "--server", &process.url]).env("RESPOKED_ADMIN_TOKEN", "").output().unwrap();
    assert!(saved.status.success(), "{}", said(&saved));
    let empty = respoked(&["config", "check"])
        .envs(["RESPOKED_CONFIG", "RESPOKED_SERVER", "RESPOKED_TLS_CERT", "RESPOKED_DRAIN_SECS"].map(|name| (name, "")))
        .output()
        .unwrap();
    assert!(empty.status.success(), "{}", said(&empty));
}

#[test]
fn a_command_line_that_is_not_understood_is_answered_in_json_if_asked() {
    for words in [
        &["--json", "serve", "--nonsense"][..],
        &["token", "create", "--json"],
        &["session", "end-all", "--json"],
        &["frobnicate", "--json"],
        &["admin", "role", "jo", "--role", "root", "--json"],
        &["serve", "--json", "--drain-secs", "x"],
        &["--json", "completions", "tcsh"],
        &["restore", "--json"],
        &["--json", "admin"],
    ] {
        let output = respoked(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty());
        let error: Value =
            serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("{words:?}: {}", said(&output)));
        assert_eq!((&error["code"], &error["exitCode"]), (&json!("usage"), &json!(2)), "{words:?}");
        let sentence = text(&error["error"]);
        assert!(!sentence.is_empty() && !sentence.contains('\n') && !sentence.starts_with("error"), "{sentence}");
    }
    let plain = respoked(&["serve", "--nonsense", "--", "--json"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&plain.stderr).starts_with("error: "),
        "it was not asked for before the end of flags"
    );
}

/// Every number at an end of its range, as docs/configuration.md tells it.
#[test]
fn a_server_runs_at_the_ends_of_every_range() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, min, max, _, _] = cells[..] else { return None };
        min.parse::<u64>().ok()?;
        Some((format!("--{}", name.trim_matches('`').replace('_', "-")), min.to_owned(), max.to_owned()))
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() > 20);
    for at_most in [false, true] {
        let flags = rows.iter().flat_map(|(flag, min, max)| [flag.as_str(), if at_most { max } else { min }]);
        let (data, _folder) = data_folder();
        let mut process = Process::spawn(&data, &flags.collect::<Vec<_>>());
        let greeted = |label: &str| {
            let line = process.greeting.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap();
            line.trim().to_owned()
        };
        let (secret, role) = (greeted("App-Secret"), greeted("Role id"));
        crate::harness::note_secret(&secret);
        let body = json!({"endpointId": "alice", "roleId": role});
        let minted = process.post("/v1/tokens").header("App-Secret", &secret).send(body).ok();
        crate::harness::note_secret(&text(&minted["tokenId"]));
        if at_most {
            (process.client.secret, process.client.role) = (secret.clone(), role);
            process.connect("bob").post("/v1/messages", json!({"to": "alice", "message": "hello"})).ok();
        }
        eventually(|| (process.get("/readyz").header("App-Secret", &secret).call().status == 200).then_some(()));
        process.signal("TERM");
        assert_eq!(process.wait(), 0);
        let log = log(&data);
        for bad in ["panicked", "upkeep failed"] {
            assert!(!log.contains(bad), "{bad} at {}", if at_most { "the most" } else { "the least" });
        }
    }
}

/// A standard output or error whose reader is gone.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn output_that_nobody_can_take_is_no_panic() {
    let (data, _folder) = data_folder();
    drop(Process::spawn(&data, &[]));
    let data_text = data.to_str().unwrap();
    let backup = data.with_extension("backup");
    let _ = respoked(&["backup", backup.to_str().unwrap(), "--data", data_text]).output().unwrap();
    for words in [
        &["--help"][..],
        &["--version"],
        &["help"],
        &["help", "token", "create"],
        &["serve", "--help"],
        &["token", "--help"],
        &["completions", "bash"],
        &["completions", "elvish"],
        &["completions", "fish"],
        &["completions", "powershell"],
        &["completions", "zsh"],
        &["openapi"],
        &["config", "check"],
        &["config", "check", "--json"],
        &["admin", "list", "--data", data_text],
        &["admin", "list", "--data", data_text, "--json"],
        &["admin", "role", "owner", "--role", "owner", "--data", data_text],
        &["restore", backup.to_str().unwrap(), "--verify", "--data", data_text],
        &["doctor", "--data", data_text],
    ] {
        let unheard = respoked(words).stdout(closed_pipe()).output().unwrap();
        assert_eq!((unheard.status.code(), said(&unheard).as_str()), (Some(0), ""), "{words:?}");
        let lost = respoked(words).stdout(full_disk()).output().unwrap();
        let complaint = said(&lost);
        assert!(lost.status.code() == Some(1) && complaint.contains("No space left"), "{words:?}: {complaint}");
        assert!(!complaint.contains("panicked"), "{words:?}: {complaint}");
    }
    for (words, code) in [
        (&["--nonsense"][..], 2),
        (&["--nonsense", "--json"], 2),
        (&["token", "create"], 2),
        (&["config", "check", "--drain-secs", "x"], 2),
        (&["admin", "list", "--data", "/nowhere"], 1),
        (&["app", "list", "--server", "http://127.0.0.1:9"], 3),
    ] {
        for stderr in [closed_pipe(), full_disk()] {
            let ended = respoked(words).stderr(stderr).stdout(full_disk()).status().unwrap();
            assert_eq!(ended.code(), Some(code), "{words:?}");
        }
    }
}

#[test]
fn a_server_goes_on_when_its_log_cannot_be_written() {
    for stderr in [closed_pipe(), full_disk()] {
        let (data, _folder) = data_folder();
        let mut command = respoked(&["serve", "--listen", "127.0.0.1:0", "--log", "trace", "--data"]);
        let process = Process::announced(command.arg(&data).stdout(Stdio::piped()).stderr(stderr));
        for _ in 0..20 {
            process.get("/readyz").call().ok();
        }
        process.signal("HUP");
        process.get("/healthz").call().ok();
        process.signal("TERM");
        assert_eq!(process.wait(), 0);
    }
}

#[test]
fn a_hang_up_ends_nothing_and_reads_again() {
    let (data, _folder) = data_folder();
    std::fs::create_dir_all(data.parent().unwrap()).unwrap();
    let file = data.with_extension("toml");
    std::fs::write(&file, "log = 'warn'\n").unwrap();
    let process = Process::spawn_after("unset RESPOKED_LOG", &data, &["--config", file.to_str().unwrap()]);
    let host = process.url.strip_prefix("http://").unwrap().to_owned();
    process.get("/healthz").call().ok();
    assert!(!log(&data).contains("INFO"), "{}", log(&data));

    std::fs::write(&file, "log = 'info'\ndrain_secs = 7\n").unwrap();
    process.signal("HUP");
    eventually(|| log(&data).contains("the log level has changed").then_some(()));
    eventually(|| log(&data).contains("drain_secs").then_some(()));

    // A file that does not do changes nothing.
    std::fs::write(&file, format!("log = '{CANARY}\n")).unwrap();
    process.signal("HUP");
    eventually(|| log(&data).contains("cannot be read again").then_some(()));
    std::fs::write(&file, "log = 'debug'\n").unwrap();
    process.signal("HUP");
    eventually(|| log(&data).contains("log=\"debug\"").then_some(()));
    assert!(!log(&data).contains(CANARY));

    // Neither is a running request cut short, nor the orderly end.
    let _idle = std::net::TcpStream::connect(&host).unwrap();
    process.get("/healthz").call().ok();
    process.signal("HUP");
    process.signal("TERM");
    process.signal("HUP");
    assert_eq!(process.wait(), 0);
}
