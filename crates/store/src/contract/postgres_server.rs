//! Servers of a test's own, for what cannot be done to one that others use: certificates, settings, promotions.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::TaskTracker;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Who the server runs as where a test is run by root, whom it refuses.
const USER: &str = "postgres";

/// A server, which runs or not, until it is dropped.
pub(crate) struct Server {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    running: Option<Child>,
}

impl Server {
    /// Makes one that trusts those who come in the way that `auth` says; its user has the password `canary`. None, if its
    /// programs are not installed.
    pub(crate) fn make(auth: &str) -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let programs: PathBuf = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).max()?;
        if !programs.join("postgres").exists() {
            return None;
        }
        let server = Self::in_a_new_folder(programs);
        server.write("password", "canary");
        let mut initdb = server.program("initdb");
        initdb.args([
            "--username=respoked",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--pwfile=password",
            "-D",
            "data",
        ]);
        let made = initdb.arg(format!("--auth={auth}")).stderr(Stdio::piped()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(server)
    }

    fn in_a_new_folder(programs: PathBuf) -> Self {
        let folder = tempfile::Builder::new().prefix("respoked-server-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(folder.path().join("own")).unwrap();
        // Another program may take the port in between; then the server does not start.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { programs, folder, port, running: None };
        server.give_away();
        server
    }

    pub(crate) fn start(&mut self, settings: &[&str]) {
        let mut server = self.program("postgres");
        server.args(["-D", "data", "-p", &self.port.to_string()]);
        let sockets = format!("unix_socket_directories={}", self.own().display());
        for setting in ["listen_addresses=127.0.0.1", "max_connections=50", &sockets].iter().chain(settings) {
            server.args(["-c", setting]);
        }
        let mut child = server.spawn().unwrap();
        let since = Instant::now();
        loop {
            let mut ask = Command::new(self.programs.join("pg_isready"));
            if ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]).status().unwrap().success() {
                break;
            }
            assert!(since.elapsed() < START, "the server did not start in time");
            std::thread::sleep(Duration::from_millis(50));
            // It does not start while processes of one that was killed still have its memory.
            if child.try_wait().unwrap().is_some() {
                child = server.spawn().unwrap();
            }
        }
        self.running = Some(child);
    }

    /// A server that stands by for this one, and is sent what this one writes.
    pub(crate) fn standby(&self) -> Self {
        let mut standby = Self::in_a_new_folder(self.programs.clone());
        let mut copy = standby.program("pg_basebackup");
        copy.args(["-D", "data", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-U", "respoked", "-h", "127.0.0.1"]);
        let made = copy.args(["-p", &self.port.to_string()]).stderr(Stdio::piped()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        standby.start(&[]);
        standby
    }

    /// Makes one that stands by the one that is written to.
    pub(crate) fn promote(&self) {
        let promoted = self.program("pg_ctl").args(["promote", "-w", "-D", "data"]).status().unwrap();
        assert!(promoted.success(), "the standby was not promoted");
    }

    pub(crate) fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Ends it as if its machine had failed.
    pub(crate) fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.running.take() else { return };
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal);
        let _ = child.wait();
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("respoked").password("canary").dbname("postgres");
        config
    }

    /// A connection that is no store's.
    pub(crate) async fn console(&self) -> Client {
        let (client, connection) = self.config().connect(NoTls).await.unwrap();
        // It ends with the client.
        TaskTracker::new().spawn(connection);
        client
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// A folder that the server does not see into.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn own(&self) -> PathBuf {
        self.folder.path().join("own")
    }

    /// Writes a file that is the server's alone.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.own().join(name), text).unwrap();
        std::fs::set_permissions(self.own().join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        self.give_away();
    }

    fn give_away(&self) {
        if rustix::process::geteuid().is_root() {
            assert!(Command::new("chown").args(["-R", USER]).arg(self.own()).status().unwrap().success());
        }
    }

    /// A program of the server, which the system ends when this process ends.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups");
        }
        command.args(["--pdeathsig", "INT"]).arg(self.programs.join(name)).current_dir(self.own());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
