//! A NATS server for the tests: a real one, of the machine's own packages.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// Debian's package, and the service in it.
pub(crate) const PACKAGE: &str = "nats-server";
/// Where Debian puts the program.
pub(crate) const PROGRAM: &str = "/usr/sbin/nats-server";
/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A server that runs until this is dropped, or until this process ends in whatever way.
pub(crate) struct Nats {
    child: Child,
    port: u16,
}

impl Nats {
    /// Starts a server on a free port. What it logs is in the folder `left`.
    pub(crate) fn start(left: &Path) -> anyhow::Result<Self> {
        // Another program may take the port in between; then the server ends at once, and this fails.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = std::fs::File::create(left.join("nats.log")).context("a log cannot be made")?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT", PROGRAM, "--addr", "127.0.0.1", "--port", &port.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().context("the server could not be started")?;
        let mut started = Self { child, port };
        started.wait_until_ready()?;
        println!("NATS listens on port {port}");
        Ok(started)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let since = Instant::now();
        loop {
            let greeted = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                let mut greeting = [0; 4];
                stream.read_exact(&mut greeting)?;
                Ok(greeting == *b"INFO")
            });
            if greeted.unwrap_or(false) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the NATS server ended: {status}; its log says why");
            }
            ensure!(since.elapsed() < START, "the NATS server did not start in time");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What tests are told: where it is, and the program, for those who start servers of their own.
    pub(super) fn variables(&self) -> [(&'static str, String); 2] {
        [("TEST_NATS", self.url()), ("TEST_NATS_SERVER", PROGRAM.to_owned())]
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
