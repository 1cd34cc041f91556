//! A PostgreSQL server for the tests: a real one, of the machine's own packages, in a folder that goes with it.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::canary;
use crate::command::run_command;

/// What the names of the store's tests on PostgreSQL begin with.
pub(super) const CONTRACT: &str = "contract::postgres";

/// The server's suites whose subject is what is kept: they run on PostgreSQL too.
pub(super) const SUITES: &[&str] = &[
    "admin_sessions::",
    "admins::",
    "apps::",
    "call_reports::",
    "crash::",
    "endpoints::",
    "following::",
    "groups::",
    "handing_over::",
    "history::",
    "lists::",
    "messages::",
    "nodes::",
    "oauth::",
    "push_tokens::",
    "quota::",
    "remembered::",
    "revocation::",
    "roles::",
    "secrets::",
    "session_tokens::",
    "sessions::",
    "stats::",
    "tokens::",
    "totp::",
];

/// The clients' suites that mean what is kept: they run on PostgreSQL too. `respoke-admin`'s own is `admin-functional`.
pub(super) const CLIENTS: &[&str] = &[
    "admin-functional.test.mjs",
    "admin-socket.test.mjs",
    "common-answers.test.mjs",
    "devices-socket.test.mjs",
    "replays-devices.test.mjs",
    "replays.test.mjs",
    "respoke-admin.test.mjs",
    "socket-pushes.test.mjs",
];

/// Where Debian puts the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The oldest version that respoked works with.
const VERSION_MIN: u32 = 15;
/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Who the server runs as where this is run by root, whom it refuses. Debian's package makes this user.
const USER: &str = "postgres";

/// A server that runs until this is dropped, or until this process ends in whatever way.
pub(crate) struct Postgres {
    child: Child,
    programs: PathBuf,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Where the programs of the newest version are, if one is installed.
    pub(crate) fn programs() -> Option<PathBuf> {
        let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
        let installed = std::fs::read_dir(VERSIONS).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let usable = installed.filter(|path| path.join("bin/initdb").exists() && path.join("bin/postgres").exists());
        let newest = usable.filter_map(|path| Some((version(&path)?, path))).max()?;
        (newest.0 >= VERSION_MIN).then(|| newest.1.join("bin"))
    }

    /// Starts a server on a free port. What it logs is in the folder `left`.
    pub(crate) fn start(programs: &Path, left: &Path) -> anyhow::Result<Self> {
        Self::start_in(programs, left, &std::env::temp_dir())
    }

    /// The same, with its data in a folder of its own in `parent`.
    pub(crate) fn start_in(programs: &Path, left: &Path, parent: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("respoked-postgres-").tempdir_in(parent)?;
        let as_root = rustix::process::geteuid().is_root();
        if as_root {
            run_command(Command::new("chown").arg(USER).arg(folder.path()))?;
        }
        let data = folder.path().join("data");
        let log = |name: &str| std::fs::File::create(left.join(name)).context("a log cannot be made");
        let mut initdb = as_server(as_root, &programs.join("initdb"));
        initdb.args(["--auth=trust", "--username=respoked", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        let made = initdb.arg(&data).current_dir(folder.path()).stdout(log("initdb.log")?).status();
        ensure!(made.context("initdb could not be started")?.success(), "initdb failed");

        // Another program may take the port in between; then the server ends at once, and this fails.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = as_server(as_root, &programs.join("postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "max_connections=400", "log_min_messages=warning"] {
            server.args(["-c", setting]);
        }
        server.arg("-c").arg(format!("unix_socket_directories={}", folder.path().display()));
        let child = server.current_dir(folder.path()).stdout(Stdio::null()).stderr(log(canary::SERVER_LOG)?).spawn();
        let child = child.context("the server could not be started")?;
        let mut started = Self { child, programs: programs.to_owned(), port, _folder: folder };
        started.wait_until_ready()?;
        println!("PostgreSQL listens on port {port}");
        Ok(started)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let since = Instant::now();
        loop {
            let mut ask = Command::new(self.programs.join("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ask.status().context("pg_isready could not be started")?.success() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the PostgreSQL server ended: {status}; its log says why");
            }
            ensure!(since.elapsed() < START, "the PostgreSQL server did not start in time");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The address of the server, for one who may do everything there.
    pub(crate) fn address(&self) -> String {
        self.address_of("postgres")
    }

    /// The same of a database in it.
    pub(crate) fn address_of(&self, database: &str) -> String {
        format!("postgres://respoked@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a database.
    pub(crate) fn create_database(&self, name: &str) -> anyhow::Result<()> {
        self.ask("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).map(drop)
    }

    /// The program by which suites speak to it.
    pub(super) fn psql(&self) -> PathBuf {
        self.programs.join("psql")
    }

    /// Leaves all rows of all databases that suites left there in `folder`, each value as it is, so that they are searched for
    /// secrets. The suites of Rust do that for their own, which they remove.
    pub(super) fn leave_rows(&self, folder: &Path) -> anyhow::Result<()> {
        const DATABASES: &str = "SELECT datname FROM pg_catalog.pg_database WHERE datname LIKE 'respoked%'";
        const TABLES: &str = r"SELECT format('COPY %I.%I TO STDOUT (FORMAT binary)', schemaname, tablename)
                               FROM pg_catalog.pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') \gexec
                               ";
        let databases = self.ask("postgres", DATABASES)?;
        let databases: Vec<&str> = std::str::from_utf8(&databases)?.lines().collect();
        ensure!(!databases.is_empty(), "no suite left a database");
        for database in databases {
            let rows = self.ask(database, TABLES)?;
            ensure!(!rows.is_empty(), "the database {database} has no table");
            std::fs::write(folder.join(format!("{database}.rows")), rows)?;
        }
        Ok(())
    }

    /// What `psql` says to what is written to it.
    fn ask(&self, database: &str, sql: &str) -> anyhow::Result<Vec<u8>> {
        let mut psql = Command::new(self.psql());
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--dbname"]);
        psql.arg(self.address_of(database)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = psql.spawn().context("psql could not be started")?;
        running.stdin.take().context("its input is piped")?.write_all(sql.as_bytes())?;
        let said = running.wait_with_output()?;
        ensure!(said.status.success(), "psql failed: {}", said.status);
        Ok(said.stdout)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // INT ends all connections and shuts down in order.
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        let _ = self.child.wait();
    }
}

/// A program of the server, which the system ends when this process ends, even if that is killed.
fn as_server(as_root: bool, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if as_root {
        command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups");
    }
    command.args(["--pdeathsig", "INT"]).arg(program);
    command
}
