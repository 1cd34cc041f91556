//! The built binary: as a server, and as a command that ends.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::json;

#[cfg(target_os = "linux")]
use super::Faults;
use super::{ANSWER_PATIENCE, Client, PASSWORD, contents, eventually, note_secret, place, text};

/// The built binary, running.
pub(crate) struct Process {
    pub(crate) client: Client,
    pub(crate) greeting: String,
    child: Child,
}

impl Process {
    /// Runs the binary on `data`, which may hold a database already; `flags` come after `serve`, and may name another database.
    pub(crate) fn spawn(data: &Path, flags: &[&str]) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_respoked")), data, flags)
    }

    /// The same on another address.
    pub(crate) fn spawn_listening(listen: &str, data: &Path, flags: &[&str]) -> Self {
        Self::spawn_on(Command::new(env!("CARGO_BIN_EXE_respoked")), listen, data, flags)
    }

    /// The same on a disk that may fail.
    #[cfg(target_os = "linux")]
    pub(crate) fn spawn_over(faults: &Faults, data: &Path, flags: &[&str]) -> Self {
        Self::spawn_by(faults.binary(), data, flags)
    }

    /// The same under what `setup` does in a shell.
    pub(crate) fn spawn_after(setup: &str, data: &Path, flags: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{setup} && exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_respoked"));
        Self::spawn_by(shell, data, flags)
    }

    /// The same by a command that runs the binary, once it is told the arguments.
    pub(crate) fn spawn_by(command: Command, data: &Path, flags: &[&str]) -> Self {
        Self::spawn_on(command, "127.0.0.1:0", data, flags)
    }

    fn spawn_on(mut command: Command, listen: &str, data: &Path, flags: &[&str]) -> Self {
        let log = data.with_extension("log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.args(["serve", "--listen", listen]).args(flags);
        if !flags.contains(&"--database") {
            command.args(place(data));
        }
        command.env("RESPOKED_ADMIN_USERNAME", "owner").env("RESPOKED_ADMIN_PASSWORD", PASSWORD);
        command.env("RESPOKED_LOG", "trace").stdout(Stdio::piped()).stderr(log);
        note_secret(PASSWORD);
        Self::announced(&mut command)
    }

    /// A command whose standard output is piped, once it has announced itself.
    pub(crate) fn announced(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut greeting = String::new();
        let url = loop {
            let line = lines.next().expect("the server announces itself").unwrap();
            if let Some(url) = line.strip_prefix("respoked listening on ") {
                break url.to_owned();
            }
            greeting.push_str(&line);
            greeting.push('\n');
        };
        let client = Client { url, ..Client::nowhere() };
        Self { client, greeting, child }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// With a client that trusts the certificate in this file.
    pub(crate) fn trusting(mut self, pem: &str) -> Self {
        let root = ureq::tls::Certificate::from_pem(&contents(Path::new(pem))).unwrap();
        let tls =
            ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::Specific(Arc::new(vec![root]))).build();
        self.client.agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_PATIENCE))
            .tls_config(tls)
            .build()
            .into();
        self
    }

    /// An app and a role of its own, made with the admin's password.
    pub(crate) fn with_app(mut self) -> Self {
        let admin = self.client.admin_token("owner");
        let app = self.client.post("/v1/apps").admin(&admin).send(json!({"name": "test"})).ok();
        self.client.app = text(&app["id"]);
        self.client.secret = text(&app["secret"]);
        note_secret(&self.client.secret);
        let groups = json!({"*": {"publish": true, "subscribe": true}});
        let role = self.client.post("/v1/roles").secret().send(json!({"name": "member", "groups": groups})).ok();
        self.client.role = text(&role["id"]);
        self
    }

    /// Stops it at once, as a power cut would.
    pub(crate) fn kill(mut self) -> Client {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.client.clone()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end and returns the exit code.
    pub(crate) fn wait(mut self) -> i32 {
        eventually(|| self.child.try_wait().unwrap()).code().expect("it ended by itself")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::ops::Deref for Process {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

/// What a command that ended said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end, which must come in time: a server that was to be refused would serve for ever.
pub(crate) fn run(command: &mut Command) -> Said {
    struct Running(Child);
    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let mut running = Running(command.spawn().unwrap());
    let status = eventually(|| running.0.try_wait().unwrap());
    let text = |file: &mut File| {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    Said { code: status.code(), out: text(&mut out), err: text(&mut err) }
}

/// The built binary.
pub(crate) fn respoked() -> Command {
    Command::new(env!("CARGO_BIN_EXE_respoked"))
}
