//! Running it: the start, health, figures, TLS, the end.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::first_start::Running;
use crate::harness::{Process, Server, contents, data_folder, eventually, respoked, text};

#[test]
fn the_first_start_says_how_to_begin_and_later_ones_do_not() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]);
    for part in ["App-Secret    rspk_", "/console", "curl -s http://127.0.0.1:", "owner"] {
        assert!(process.greeting.contains(part), "{part} is not in\n{}", process.greeting);
    }
    assert!(!process.greeting.contains("CANARY"), "a password that was set is not printed");
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
    let process = Process::spawn(&data, &[]);
    assert_eq!(process.greeting, "");
    process.admin_token("owner");

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in std::fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

/// The commands of a greeting, exactly as they are printed.
fn printed_commands(greeting: &str) -> String {
    let lines = greeting.lines().skip_while(|line| !line.contains("paste this into a shell"));
    let block = lines.skip_while(|line| !line.starts_with("  ")).take_while(|line| line.starts_with("  "));
    block.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_printed_commands_work_pasted_as_they_are() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]);
    let block = printed_commands(&process.greeting);
    let ran = std::process::Command::new("sh").args(["-eu", "-c", &block]).output().unwrap();
    let (said, complained) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert!(ran.status.success() && complained.is_empty(), "{complained}\n{block}");
    let (minted, redeemed) = said.split_once('\n').unwrap();
    let answer = |line: &str| -> Value { serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap() };
    let token = text(&answer(redeemed)["token"]);
    crate::harness::note_secret(&text(&answer(minted)["tokenId"]));
    crate::harness::note_secret(&token);
    assert!(minted.contains("alice") && process.alive(&token), "{said}");
    assert!(!block.contains("TOKEN_ID\""), "nothing is left to be filled in");
}

#[test]
fn links_of_a_server_on_every_address_can_be_followed() {
    let (data, _folder) = data_folder();
    let addresses = [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "[::1]")];
    // Not every machine speaks IPv6.
    let can = |host: &str| std::net::TcpListener::bind(format!("{host}:0")).is_ok();
    for (listen, host) in addresses.into_iter().filter(|(_, host)| *host == "127.0.0.1" || can(host)) {
        let (data, _folder) = data_folder();
        let process = Process::spawn_listening(listen, &data, &[]);
        assert!(process.url.starts_with(&format!("http://{host}:")), "{}", process.url);
        process.get("/healthz").call().ok();
        assert!(process.greeting.contains(&format!("{}/console/setup#", process.url)), "{}", process.greeting);
        assert!(process.greeting.contains("--public-url"), "{}", process.greeting);
        assert!(!process.greeting.contains("0.0.0.0") && !process.greeting.contains("[::]"), "{}", process.greeting);
    }
    let process = Process::spawn_listening("0.0.0.0:0", &data, &["--public-url", "https://chat.example.com/"]);
    process.get("/healthz").call().ok();
    for link in [
        "https://chat.example.com/console/setup#",
        "https://chat.example.com/v1/tokens ",
        "https://chat.example.com/try ",
    ] {
        assert!(process.greeting.contains(link), "{link} is not in {}", process.greeting);
    }
    assert!(!process.greeting.contains("--public-url"), "{}", process.greeting);
    let document = process.get("/openapi.json").call().ok();
    assert_eq!(document["servers"], json!([{ "url": "https://chat.example.com" }]));
    assert!(process.get("/docs").call().text.contains("https://chat.example.com"));
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let (data, _folder) = data_folder();
    let _first = Process::spawn(&data, &[]);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_respoked"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"));
}

#[test]
fn as_many_files_are_opened_as_may_be_and_too_few_are_warned_of() {
    let warned = |data: &Path| String::from_utf8_lossy(&contents(&data.with_extension("log"))).contains("open files");
    let (data, _folder) = data_folder();
    let process = Process::spawn_after("ulimit -S -n 128", &data, &["--connections-max", "200"]);
    let host = process.url.strip_prefix("http://").unwrap();
    let _held: Vec<_> = (0..150).map(|_| std::net::TcpStream::connect(host).unwrap()).collect();
    process.get("/healthz").call().ok();
    assert!(!warned(&data));

    let (data, _folder) = data_folder();
    let process = Process::spawn_after("ulimit -n 128", &data, &["--connections-max", "200"]);
    process.get("/healthz").call().ok();
    eventually(|| warned(&data).then_some(()));
}

#[test]
fn health_and_figures_are_served() {
    let server = Server::start();
    server.get("/healthz").call().ok();
    server.get("/readyz").call().ok();
    server.redeem(&server.mint("alice")).ok();
    server.redeem("11111111-2222-4333-8444-555555555555").refused(401, "token_refused");
    let figures = server.get("/metrics").call();
    assert!(figures.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "respoked_tokens_minted_total 1",
        "respoked_tokens_redeemed_total 1",
        "respoked_refusals_total{reason=\"token_refused\"} 1",
    ] {
        assert!(figures.text.lines().any(|found| found == line), "{line} is not in\n{}", figures.text);
    }
}

#[test]
fn the_audit_log_names_who_and_what() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let token = server.mint("alice");
    server.redeem(&token).ok();
    server.redeem(&token).refused(401, "token_refused");
    let log = server.get("/v1/audit?object=alice").admin(&admin).call();
    assert!(!log.text.contains(&token));
    let log = log.ok();
    let actions: Vec<_> = log.as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["token.reuse", "token.redeemed", "token.issued"]);
    assert!(log.as_array().unwrap().iter().all(|row| row["fingerprint"] == log[0]["fingerprint"]));
    assert_eq!(log[2]["address"], "127.0.0.1");
    server.get("/v1/audit").call().refused(401, "unauthenticated");
    assert!(!server.get("/v1/audit").secret().call().ok().as_array().unwrap().is_empty());
}

#[test]
fn tls_is_served_and_its_certificate_replaced() {
    let (data, _folder) = data_folder();
    std::fs::create_dir_all(&data).unwrap();
    let (cert, key) = (data.join("cert.pem"), data.join("key.pem"));
    let write = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        for file in [&cert, &key] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        made.cert.pem()
    };
    let first = write();
    let flags = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let process = Process::spawn(&data, &flags);
    assert!(process.url.starts_with("https://127.0.0.1:"));
    let trusts = |pem: &str| {
        let root = ureq::tls::Certificate::from_pem(pem.as_bytes()).unwrap();
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::Specific(std::sync::Arc::new(vec![root])))
            .build();
        let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
        let url = process.url.replace("127.0.0.1", "localhost");
        agent.get(format!("{url}/healthz")).call().is_ok()
    };
    assert!(trusts(&first));
    let second = write();
    eventually(|| trusts(&second).then_some(()));
    assert!(!trusts(&first));
}

#[test]
fn running_requests_finish_before_the_end() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]).with_app();
    let client = process.client.clone();
    let minting = std::thread::spawn(move || {
        let mut minted = Vec::new();
        loop {
            let body = json!({"endpointId": "alice", "roleId": client.role});
            let agent = ureq::Agent::new_with_defaults();
            let request = agent.post(format!("{}/v1/tokens", client.url)).header("App-Secret", &client.secret);
            match request.send_json(body) {
                Ok(mut answer) => minted.push(answer.body_mut().read_json::<serde_json::Value>().unwrap()),
                // Refused connections are the end; an answer cut short would have failed the reading above.
                Err(_) => return minted,
            }
        }
    });
    let app_token = process.session("bob");
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
    let minted = minting.join().unwrap();
    let process = Process::spawn(&data, &[]);
    assert!(process.alive(&app_token));
    for token in minted {
        process.redeem(token["tokenId"].as_str().unwrap()).ok();
    }
}

#[test]
fn no_credential_stands_in_the_binary() {
    let binary = contents(Path::new(env!("CARGO_BIN_EXE_respoked")));
    let made = app_secrets_in(&binary, b"rspk_", 44);
    assert!(made.is_empty(), "{made:?}");
}

/// Texts of `length` in `bytes` that begin with `prefix` and parse as App-Secrets.
fn app_secrets_in(bytes: &[u8], prefix: &[u8], length: usize) -> Vec<String> {
    bytes
        .windows(length)
        .filter(|window| window.starts_with(prefix))
        .filter_map(|window| std::str::from_utf8(window).ok())
        .filter(|text| respoke_core::secret::AppSecret::parse(text).is_some())
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_server_that_is_still_opening_its_database_can_be_stopped() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]);
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
    // Opening takes as long as another has the file; else it takes long where it is copied.
    let database = std::fs::OpenOptions::new().read(true).write(true).open(data.join("respoked.db")).unwrap();
    rustix::fs::fcntl_lock(&database, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    std::fs::remove_file(data.join("lock")).unwrap();
    let mut serve = respoked();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running(serve.spawn().unwrap());
    // That is taken just before.
    eventually(|| data.join("lock").exists().then_some(()));
    let sent = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ended = eventually(|| running.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "as it was told to, and not because it waited in vain");
    drop(database);
}

#[test]
fn readiness_is_found_out_once_a_second() {
    let server = Server::start();
    let operations = || {
        let text = server.figures();
        let line = text.lines().find_map(|line| line.strip_prefix("respoked_commit_operations_sum "));
        line.unwrap().parse::<f64>().unwrap()
    };
    server.get("/readyz").call().ok();
    let (before, started) = (operations(), std::time::Instant::now());
    for _ in 0..200 {
        server.get("/readyz").call().ok();
    }
    // Upkeep writes now and then.
    let most = started.elapsed().as_secs_f64() + 20.0;
    let written = operations() - before;
    assert!(written < most, "{written} operations");
}
