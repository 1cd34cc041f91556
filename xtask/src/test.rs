//! `cargo xtask test`: every proof, one after the other, with a closing line for each.
//!
//! What the suites need beside Rust is installed into the checkout: npm packages under `tests/clients` and
//! `clients/typescript`, a Python environment under `build`. Programs that are missing are installed from Debian. Every secret the suites use is noted
//! in `build/left`, where logs, databases, rows of databases and a backup are kept too; the last suite looks for the one in the
//! other.

use std::cell::OnceCell;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::Value;

mod canary;
pub(crate) mod nats;
pub(crate) mod postgres;

use nats::Nats;
use postgres::Postgres;

use crate::cluster;
use crate::command::run_command;
use crate::programs::Programs;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Only this suite; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Suite>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    /// Formatting, lints, documentation, the crate graph.
    Check,
    /// Unit tests, the store's contract, the server's tests.
    Rust,
    /// The published Node client, the other clients' requests and conversations, a real TURN server; what is kept also on
    /// PostgreSQL.
    Clients,
    /// The published JavaScript client in Chromium.
    Browser,
    /// The client for applications written today: its types, its built file, under a fake clock, with a real server and in Chromium.
    Sdk,
    /// The Dev Console in Chromium.
    Console,
    /// Three nodes behind HAProxy, over PostgreSQL alone and over NATS.
    Cluster,
    /// schemathesis against the served description of the API.
    Schema,
    /// No secret in any log, database or backup, nor in rows in PostgreSQL.
    Canary,
}

const SUITES: [Suite; 9] = [
    Suite::Check,
    Suite::Rust,
    Suite::Clients,
    Suite::Browser,
    Suite::Sdk,
    Suite::Console,
    Suite::Cluster,
    Suite::Schema,
    Suite::Canary,
];

/// Runs the suites; fails at the end if one of them did.
pub(crate) fn run(args: &TestArgs) -> anyhow::Result<()> {
    let place = Place::prepare()?;
    let mut failed = Vec::new();
    for suite in SUITES {
        if !args.only.is_empty() && !args.only.contains(&suite) {
            continue;
        }
        println!("\n=== {suite:?} ===");
        let result = match suite {
            Suite::Check => crate::check::run(&place.root),
            Suite::Rust => place.rust(),
            Suite::Clients => place.clients(),
            Suite::Browser => place.browser(),
            Suite::Sdk => place.sdk(),
            Suite::Console => place.console(),
            Suite::Cluster => place.cluster(),
            Suite::Schema => place.schema(),
            Suite::Canary => canary::search(&place.canary),
        };
        match result {
            Ok(()) => println!("{suite:?}: 1 passed, 0 failed"),
            Err(error) => {
                println!("{suite:?}: 0 passed, 1 failed");
                eprintln!("{suite:?}: {error:#}");
                failed.push(suite);
            }
        }
    }
    ensure!(failed.is_empty(), "suites that failed: {failed:?}");
    Ok(())
}

/// Runs commands one after the other, and shows of each what it said when it is over.
fn in_turn(commands: Vec<Command>, said: &Path) -> anyhow::Result<()> {
    let done = commands.into_iter().map(|mut command| {
        let log = std::fs::File::create(said).context("a log cannot be made")?;
        let done = run_command(command.stdout(log.try_clone()?).stderr(log));
        println!("{}", std::fs::read_to_string(said)?);
        done
    });
    done.collect::<Vec<_>>().into_iter().collect()
}

/// Runs a command, and beside it in turn those that wait most of the time and leave the processor to it. What these say is in a
/// file meanwhile.
fn beside(waiting: Vec<Command>, said: &Path, command: &mut Command) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| in_turn(waiting, said));
        let done = run_command(command);
        let waiting = waiting.join().map_err(|_| anyhow!("what ran beside it panicked"))?;
        done.and(waiting)
    })
}

/// The suite that the published Node client brings along.
const FUNCTIONAL: &str = "admin-functional.test.mjs";

/// What asks the clients' suites for more than they do in ten minutes.
const MORE: [&str; 3] = ["RESPOKED_JOINS", "RESPOKED_ROUNDS", "RESPOKED_RUNS"];

/// The suite of the console that needs several nodes, so a PostgreSQL server.
const OF_NODES: &str = "nodes.test.mjs";

struct Place {
    root: PathBuf,
    build: PathBuf,
    canary: PathBuf,
    programs: Programs,
    /// The PostgreSQL server that suites run on, once one asked for it. None: there is none, and nobody must have it.
    postgres: OnceCell<Option<Postgres>>,
    /// The same of NATS.
    nats: OnceCell<Option<Nats>>,
}

impl Place {
    fn prepare() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?.to_owned();
        let build = root.join("build");
        // Not called by the word that is looked for: logs name the files of a database.
        let canary = build.join("left");
        if canary.exists() {
            std::fs::remove_dir_all(&canary)?;
        }
        std::fs::create_dir_all(&canary)?;
        Ok(Self {
            root,
            build,
            canary,
            programs: Programs::default(),
            postgres: OnceCell::new(),
            nats: OnceCell::new(),
        })
    }

    fn rust(&self) -> anyhow::Result<()> {
        self.nats()?;
        let Some(postgres) = self.postgres()? else { return run_command(&mut self.tests(&[])) };
        let mut others = self.tests(&["--", "--skip", postgres::CONTRACT]);
        others.env("TEST_POSTGRES", postgres.address()).env("TEST_STORE", "folder");
        beside(self.on_postgres(postgres)?, &self.build.join("on-postgres.log"), &mut others)
    }

    /// What the store means, on PostgreSQL: its contract, and to the server. The contract begins while the other tests are compiled.
    fn on_postgres(&self, postgres: &Postgres) -> anyhow::Result<Vec<Command>> {
        let mut of_store = self.unit_tests("respoke_store", "crates/store")?;
        of_store.arg(postgres::CONTRACT);
        let mut of_server = self.tests(&["--test", "it", "--"]);
        of_server.args(postgres::SUITES).env("TEST_STORE", "postgres");
        let mut commands = vec![of_store, of_server];
        for command in &mut commands {
            command.env("TEST_POSTGRES", postgres.address());
        }
        Ok(commands)
    }

    /// Builds all unit tests, and returns what runs those of a library without cargo, which lets nobody else run any until it has
    /// compiled.
    fn unit_tests(&self, library: &str, folder: &str) -> anyhow::Result<Command> {
        let mut building = self.tests(&["--lib", "--no-run", "--message-format=json-render-diagnostics"]);
        let said = building.stderr(Stdio::inherit()).output().context("cargo could not be started")?;
        ensure!(said.status.success(), "the unit tests could not be built");
        let said = String::from_utf8_lossy(&said.stdout);
        let is_built = |said: &Value| said["target"]["name"] == library && said["profile"]["test"] == true;
        let built = said.lines().filter_map(|line| serde_json::from_str(line).ok()).find(is_built);
        let built = built.with_context(|| format!("cargo does not say where the tests of {library} are"))?;
        let mut command = Command::new(built["executable"].as_str().context("they can be run")?);
        self.equip(command.current_dir(self.root.join(folder)));
        Ok(command)
    }

    /// Runs tests of the whole workspace, so that whatever is chosen of them the same was built.
    fn tests(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(["test", "--workspace", "--no-fail-fast"]).args(arguments).current_dir(&self.root);
        self.equip(&mut command);
        command
    }

    /// Names to tests what they may use.
    fn equip(&self, command: &mut Command) {
        command.env("TEST_CANARY_DIR", &self.canary);
        if let Some(Some(nats)) = self.nats.get() {
            command.envs(nats.variables());
        }
    }

    /// The server for suites on PostgreSQL, which runs until the last suite is done.
    fn postgres(&self) -> anyhow::Result<Option<&Postgres>> {
        if self.postgres.get().is_none() {
            let _ = self.postgres.set(optional("PostgreSQL", self.start_postgres())?);
        }
        Ok(self.postgres.get().and_then(Option::as_ref))
    }

    fn start_postgres(&self) -> anyhow::Result<Postgres> {
        let programs = self.programs.postgres()?;
        // The tests start it themselves, before servers of their own as well.
        self.programs.have_without_service("/usr/sbin/pgbouncer", "pgbouncer")?;
        Postgres::start(&programs, &self.canary)
    }

    /// The same of NATS.
    fn nats(&self) -> anyhow::Result<Option<&Nats>> {
        if self.nats.get().is_none() {
            let _ = self.nats.set(optional("NATS", self.start_nats())?);
        }
        Ok(self.nats.get().and_then(Option::as_ref))
    }

    fn start_nats(&self) -> anyhow::Result<Nats> {
        self.programs.have_without_service(nats::PROGRAM, nats::PACKAGE)?;
        Nats::start(&self.canary)
    }

    fn binary(&self) -> anyhow::Result<PathBuf> {
        run_command(Command::new("cargo").args(["build", "-p", "respoked"]).current_dir(&self.root))?;
        Ok(self.built())
    }

    fn built(&self) -> PathBuf {
        self.root.join("target/debug/respoked")
    }

    fn clients(&self) -> anyhow::Result<()> {
        self.programs.have_without_service("turnserver", "coturn")?;
        // What parser.test.mjs holds against the published parser. Of the whole workspace it is there after the tests of Rust;
        // alone, its dependencies would be built anew with other features.
        let mut frames = Command::new("cargo");
        frames.args(["build", "--workspace", "--example", "frames"]).current_dir(&self.root);
        run_command(&mut frames)?;
        self.have_node()?;
        let every = self.tests_of("tests/clients")?;
        let mut on_folders = self.node("tests/clients", "clients", &every);
        let Some(postgres) = self.postgres()? else { return run_command(&mut on_folders) };
        let kept = every.into_iter().filter(|test| postgres::CLIENTS.iter().any(|name| test.ends_with(name)));
        let mut on_postgres = self.node("tests/clients", "clients-on-postgres", &kept.collect::<Vec<_>>());
        on_postgres.env("RESPOKED_POSTGRES", postgres.address()).env("RESPOKED_PSQL", postgres.psql());
        beside(vec![on_postgres], &self.build.join("clients-on-postgres.log"), &mut on_folders)?;
        postgres.leave_rows(&self.canary)
    }

    /// What three nodes are to their clients, and what happens when one goes; then the published Node client's own suite, and the
    /// published client in Chromium. One carrier after the other: a node that gets no turn on the processor is declared dead.
    ///
    /// In Chromium messaging is tried over each carrier, and over the first also calls, which are signaled alike, and coming back.
    fn cluster(&self) -> anyhow::Result<()> {
        let Some(postgres) = self.postgres()? else { return Ok(()) };
        self.programs.have_without_service(cluster::HAPROXY, cluster::HAPROXY_PACKAGE)?;
        self.programs.have("chromium", &["chromium"])?;
        self.have_node()?;
        let tests = self.tests_of("tests/clients/cluster")?;
        let in_browsers = self.root.join("tests/clients/browser");
        let in_browsers = ["messaging", "calls", "reconnect"].map(|name| in_browsers.join(format!("{name}.test.mjs")));
        let functional = self.root.join("tests/clients").join(FUNCTIONAL);
        let over_nats = self.nats()?.map(|nats| ("cluster-nats", Some(nats.url())));
        for (suite, carrier) in [Some(("cluster", None)), over_nats].into_iter().flatten() {
            let mut commands = [
                self.node("tests/clients/cluster", suite, &tests),
                self.node("tests/clients", suite, std::slice::from_ref(&functional)),
                self.node("tests/clients/browser", suite, &in_browsers[..if carrier.is_none() { 3 } else { 1 }]),
            ];
            for command in &mut commands {
                command.env("RESPOKED_POSTGRES", postgres.address()).env("RESPOKED_PSQL", postgres.psql());
                command.env("RESPOKED_PROXY", std::env::current_exe()?).env("RESPOKED_RUNS", "2");
                command.envs(carrier.iter().map(|url| ("RESPOKED_NATS", url)));
            }
            for command in &mut commands[1..] {
                command.env("RESPOKED_NODES", "3");
            }
            commands.iter_mut().try_for_each(run_command)?;
        }
        postgres.leave_rows(&self.canary)
    }

    fn browser(&self) -> anyhow::Result<()> {
        self.programs.have_without_service("turnserver", "coturn")?;
        self.programs.have("chromium", &["chromium"])?;
        self.have_node()?;
        let tests = self.tests_of("tests/clients/browser")?;
        run_command(&mut self.node("tests/clients/browser", "browser", &tests))
    }

    /// The built file is in the tree, so that nobody needs Node to serve it; the check builds it anew and compares.
    fn sdk(&self) -> anyhow::Result<()> {
        let folder = "clients/typescript";
        self.programs.have("chromium", &["chromium"])?;
        self.have_node()?;
        self.have_packages(folder)?;
        run_command(Command::new("npm").args(["run", "--silent", "check"]).current_dir(self.root.join(folder)))?;
        let mut tests = self.tests_of(&format!("{folder}/test"))?;
        tests.extend(self.tests_of(&format!("{folder}/test/real"))?);
        run_command(&mut self.node(folder, "sdk", &tests))
    }

    fn console(&self) -> anyhow::Result<()> {
        self.programs.have("chromium", &["chromium"])?;
        self.have_node()?;
        let folder = "tests/clients/console";
        let (of_nodes, others): (Vec<_>, Vec<_>) =
            self.tests_of(folder)?.into_iter().partition(|test| test.ends_with(OF_NODES));
        run_command(&mut self.node(folder, "console", &others))?;
        let Some(postgres) = self.postgres()? else { return Ok(()) };
        let mut command = self.node(folder, "console-of-nodes", &of_nodes);
        command.env("RESPOKED_POSTGRES", postgres.address()).env("RESPOKED_PSQL", postgres.psql());
        run_command(&mut command)?;
        postgres.leave_rows(&self.canary)
    }

    /// Makes sure that the server is built, and that Node and its packages are there.
    fn have_node(&self) -> anyhow::Result<()> {
        self.binary()?;
        self.programs.have("node", &["nodejs", "npm"])?;
        self.programs.have("npm", &["npm"])?;
        self.have_packages("tests/clients")
    }

    /// Installs the npm packages of a folder as its lock file names them.
    fn have_packages(&self, folder: &str) -> anyhow::Result<()> {
        println!("installing npm packages into {folder}/node_modules");
        let mut install = Command::new("npm");
        run_command(install.args(["ci", "--no-audit", "--no-fund"]).current_dir(self.root.join(folder)))
    }

    /// The test files of a folder.
    fn tests_of(&self, folder: &str) -> anyhow::Result<Vec<PathBuf>> {
        let folder = self.root.join(folder);
        let mut tests: Vec<PathBuf> = std::fs::read_dir(&folder)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.to_string_lossy().ends_with(".test.mjs"))
            .collect();
        tests.sort();
        ensure!(!tests.is_empty(), "there are no tests in {}", folder.display());
        Ok(tests)
    }

    /// Runs test files of `folder`, one at a time: next to a server and a browser there is no core to spare.
    fn node(&self, folder: &str, suite: &str, tests: &[PathBuf]) -> Command {
        let mut command = Command::new("node");
        let asks_for_more = MORE.iter().any(|name| std::env::var_os(name).is_some());
        let minutes = if asks_for_more { 24 * 60 } else { 10 };
        command
            .args(["--test", "--test-concurrency=1"])
            .arg(format!("--test-timeout={}", minutes * 60_000))
            .args(tests);
        command.current_dir(self.root.join(folder));
        command.env("RESPOKED_BIN", self.built()).env("RESPOKED_LOG_DIR", self.canary.join(suite));
        command.env("RESPOKED_FRAMES_BIN", self.root.join("target/debug/examples/frames"));
        command.env("RESPOKED_CANARY_FILE", self.canary.join("canaries.txt"));
        // Where the console's suite leaves a picture of every page.
        command.env("RESPOKED_SHOTS_DIR", self.build.join("console"));
        command
    }

    fn schema(&self) -> anyhow::Result<()> {
        let binary = self.binary()?;
        self.programs.have("python3", &["python3", "python3-venv"])?;
        let python = self.build.join("python");
        let schemathesis = python.join("bin/schemathesis");
        if !schemathesis.exists() {
            println!("installing schemathesis into build/python");
            run_command(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
            let mut pip = Command::new(python.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"]);
            run_command(pip.arg(self.root.join("tests/schema/requirements.txt")))?;
        }
        let server = Server::start(&binary, &self.canary.join("schema"))?;
        let mut command = Command::new(&schemathesis);
        command.current_dir(&self.build);
        command.arg("run").arg(format!("{}/openapi.json", server.url));
        command.args(["--header", &format!("App-Secret: {}", server.secret)]);
        // 429 and the like are answers the description knows; what it does not know, and any 5xx, fails.
        command.args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ]);
        command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--seed", "1"]);
        // A stream that never ends by itself: each try would last until its timeout. The server's own tests read it.
        command.args(["--exclude-path", "/v1/endpoints/{id}/tail"]);
        command.args(["--generation-deterministic", "--no-color", "--request-timeout", "30"]);
        run_command(&mut command)
    }
}

/// What is there, or nothing if nobody says that it must be: whoever has no such server, and cannot have it, still gets all other
/// proofs.
fn optional<T>(name: &str, started: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match started {
        Ok(started) => Ok(Some(started)),
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("there is no {name}, so nothing is proved on it: {error:#}");
            Ok(None)
        }
        Err(error) => Err(error.context(format!("{name} is needed"))),
    }
}

/// The built server with one app, for the schema suite.
struct Server {
    child: Child,
    url: String,
    secret: String,
}

impl Server {
    fn start(binary: &Path, home: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(home)?;
        let log = std::fs::File::create(home.join("server.log"))?;
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(home.join("data"));
        command.env("RESPOKED_LOG", "trace").env("RESPOKED_ADMIN_PASSWORD", "CANARY-schema-password");
        command.env("RESPOKED_ADDRESS_REQUESTS_PER_SECOND", "100000");
        command.env("RESPOKED_ADDRESS_REQUESTS_BURST", "100000");
        // The fuzzer shows wrong credentials all the time; it is to reach what lies behind the right ones.
        command.env("RESPOKED_FAILED_CREDENTIALS_FREE", "1000000");
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let output = child.stdout.take().context("the output is piped")?;
        let mut server = Self { child, url: String::new(), secret: String::new() };
        for line in BufReader::new(output).lines() {
            let line = line?;
            if let Some(secret) = line.trim().strip_prefix("App-Secret ") {
                secret.trim().clone_into(&mut server.secret);
            }
            if let Some(url) = line.strip_prefix("respoked listening on ") {
                url.clone_into(&mut server.url);
                canary::note(home, &[&server.secret, "CANARY-schema-password"])?;
                return Ok(server);
            }
        }
        bail!("the server ended before it listened")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // TERM first, so that its database is closed as in real use; a server that does not end is killed.
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
