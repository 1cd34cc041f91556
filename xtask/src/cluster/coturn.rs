//! A coturn, as a site runs it beside the nodes: the shared secret, and nothing else of a configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::Context as _;

use super::haproxy::free_address;
use super::waiting::{START, listens, runs, until};
use crate::command::bound_to_this_process;

pub(crate) const PROGRAM: &str = "turnserver";
/// Debian's package of it, and the service in it.
pub(crate) const PACKAGE: &str = "coturn";

/// One that runs until this is dropped, or until this process ends in whatever way.
pub(crate) struct Coturn {
    child: Child,
    address: SocketAddr,
}

impl Coturn {
    /// Starts one on a free port, with its files in `folder`.
    pub(crate) fn start(secret: &str, folder: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        // In a file of its own: arguments can be read by others.
        let settings = folder.join("turnserver.conf");
        std::fs::write(&settings, format!("use-auth-secret\nstatic-auth-secret={secret}\nrealm=respoked.test\n"))?;
        let log = folder.join("coturn.log");
        let said = std::fs::File::create(&log).context("a log cannot be made")?;
        let mut command = bound_to_this_process(PROGRAM, "TERM");
        command.arg("-c").arg(settings).args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"]);
        command.arg(format!("--listening-port={}", address.port()));
        command.args([
            "--allow-loopback-peers",
            "--no-tls",
            "--no-dtls",
            "--no-cli",
            "--simple-log",
            "--log-file=stdout",
        ]);
        command.arg(format!("--pidfile={}", folder.join("coturn.pid").display()));
        command.arg(format!("--userdb={}", folder.join("coturn.db").display()));
        command.current_dir(folder).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let child = command.spawn().context("coturn could not be started")?;
        let mut started = Self { child, address };
        until(START, "coturn does not listen", || {
            runs(&mut started.child, "coturn", &log)?;
            Ok(listens(address))
        })?;
        Ok(started)
    }

    /// What clients are told.
    pub(crate) fn uris(&self) -> String {
        ["udp", "tcp"].map(|transport| format!("turn:{}?transport={transport}", self.address)).join(",")
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
