//! HAProxy before servers of this machine, as `deploy/haproxy.cfg` has it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::waiting::{START, answers, runs, until};
use crate::command::{bound_to_this_process, run_command};

/// Debian's package puts it where not everybody's path leads.
pub(crate) const PROGRAM: &str = "/usr/sbin/haproxy";
/// Debian's package of it, and the service in it.
pub(crate) const PACKAGE: &str = "haproxy";

/// What operators are given. What runs here differs in addresses alone.
const GIVEN: &str = include_str!("../../../deploy/haproxy.cfg");

/// One that runs until this is dropped, or until this process ends in whatever way.
pub(crate) struct Haproxy {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Haproxy {
    /// Starts one on a free port, and waits until a server behind it is ready. What it says is written to the file `log`.
    pub(crate) fn start(servers: &[SocketAddr], log: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("respoked-haproxy-").tempdir()?;
        let address = free_address()?;
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, configuration(address, servers)?)?;
        let said = std::fs::File::create(log).context("a log cannot be made")?;
        let mut command = bound_to_this_process(PROGRAM, "TERM");
        command.args(["-db", "-f"]).arg(&file).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let child = command.spawn().context("HAProxy could not be started")?;
        let mut started = Self { child, address, _folder: folder };
        until(START, "HAProxy finds no server that is ready", || {
            runs(&mut started.child, "HAProxy", log)?;
            Ok(answers(address, "/readyz"))
        })?;
        Ok(started)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fails unless HAProxy takes the file that operators are given.
pub(crate) fn check_given() -> anyhow::Result<()> {
    let at = |last: u8| SocketAddr::from(([127, 0, 0, last], 8080));
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), configuration(at(1), &[at(2), at(3)])?)?;
    run_command(Command::new(PROGRAM).args(["-c", "-q", "-f"]).arg(file.path()))
}

/// The lines of a file of HAProxy that hold no addresses.
pub(crate) fn apart_from_addresses(text: &str) -> Vec<&str> {
    let has_none = |line: &&str| !matches!(line.split_whitespace().next(), Some("bind" | "server"));
    text.lines().map(str::trim_end).filter(has_none).collect()
}

/// An address that is free now. Another program may take it in between; then what was to listen there ends at once.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// What operators are given, to listen at `address` before `servers`.
fn configuration(address: SocketAddr, servers: &[SocketAddr]) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    let (mut binds, mut listed) = (0, 0);
    for line in GIVEN.lines() {
        match line.split_whitespace().next() {
            Some("bind") => {
                binds += 1;
                lines.push(format!("    bind {address}"));
            }
            // The first of a list stands for all.
            Some("server") if line.contains(" node-1 ") => {
                listed += 1;
                lines.extend((1..).zip(servers).map(|(at, server)| {
                    line.replace("node-1:8080", &server.to_string()).replace("node-1", &format!("node-{at}"))
                }));
            }
            Some("server") => {}
            _ => lines.push(line.to_owned()),
        }
    }
    ensure!((binds, listed) == (1, 2), "deploy/haproxy.cfg has another form than is known here");
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_are_given_differs_in_addresses_alone() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let text = configuration(at(1), &[at(2), at(3)]).unwrap();
        let is_told = |line: &&str| line.starts_with("bind ") || line.starts_with("server ");
        let told: Vec<&str> = text.lines().map(str::trim).filter(is_told).collect();
        assert_eq!(
            told,
            [
                "bind 127.0.0.1:1",
                "server node-1 127.0.0.1:2",
                "server node-2 127.0.0.1:3",
                "server node-1 127.0.0.1:2 track any/node-1",
                "server node-2 127.0.0.1:3 track any/node-2",
            ]
        );
        assert_eq!(apart_from_addresses(&text), apart_from_addresses(GIVEN));
    }
}
