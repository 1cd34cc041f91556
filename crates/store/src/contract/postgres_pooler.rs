//! `PgBouncer` before a server: it gives each transaction another connection, and may lead elsewhere from one to the next.

#![expect(
    dead_code,
    reason = "the store's tests and the server's, which take this file too, use different parts of it"
)]

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";
/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Who it runs as where a test is run by root, whom it refuses.
const USER: &str = "postgres";

/// One that runs until it is dropped.
pub(crate) struct Pooler {
    folder: TempDir,
    port: u16,
    child: Child,
    /// Who is let in, and to which database, as at the server that it led to first.
    config: Config,
    /// Settings beside the usual ones.
    more: &'static str,
}

impl Pooler {
    /// Starts one that leads to a server. None, if it is not installed. It ends with the thread that starts it.
    pub(crate) fn to(server: &Config) -> Option<Self> {
        Self::with("", server)
    }

    /// The same with more settings, which win over the usual ones.
    pub(crate) fn with(more: &'static str, server: &Config) -> Option<Self> {
        if !std::path::Path::new(PROGRAM).exists() {
            // Not by a macro for printing: what a test prints that passes, nobody sees.
            let _ = std::io::stderr().write_all(b"\nPgBouncer is not installed: nothing is run through it\n");
            assert!(std::env::var_os("CI").is_none(), "it is needed");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("respoked-pooler-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another program may take the port in between; then it does not start.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        write(&folder, port, server, more);
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user(server.get_user().unwrap()).dbname(server.get_dbname().unwrap());
        let child = start(&folder, port);
        Some(Self { folder, port, child, config, more })
    }

    /// Ends it, and starts it anew.
    pub(crate) fn restart(&mut self) {
        self.end();
        self.child = start(&self.folder, self.port);
    }

    /// Has it lead to another server. Those who are connected stay so.
    pub(crate) fn lead_to(&self, server: &Config) {
        write(&self.folder, self.port, server, self.more);
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    fn end(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn start(folder: &TempDir, port: u16) -> Child {
    let mut program = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        program.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups");
    }
    program.args(["--pdeathsig", "TERM", PROGRAM, "-q"]).arg(folder.path().join("pooler.ini"));
    let mut child = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "the pooler ended");
        assert!(since.elapsed() < START, "the pooler did not start in time");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn write(folder: &TempDir, port: u16, server: &Config, more: &str) {
    let (user, password) = (server.get_user().unwrap(), server.get_password().unwrap_or_default());
    let users = folder.path().join("users.txt");
    std::fs::write(&users, format!("\"{user}\" \"{}\"\n", std::str::from_utf8(password).unwrap())).unwrap();
    let Some(Host::Tcp(host)) = server.get_hosts().first() else { panic!("the server is reached by no network") };
    let settings = format!(
        "[databases]\n\
         * = host={host} port={}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {}\n\
         pool_mode = transaction\n\
         max_client_conn = 200\n\
         server_login_retry = 1\n\
         {more}\n",
        server.get_ports().first().copied().unwrap_or(5432),
        users.display()
    );
    std::fs::write(folder.path().join("pooler.ini"), settings).unwrap();
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.end();
    }
}
