//! A server under test, running.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::super::scenario::Site;
use super::super::server::{Respoked, Setting};
use super::super::workplace::Workplace;
use super::subject::Subject;
use crate::child::Child;

/// How long a peer may take until it listens.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Room for every socket that the machine lets the generator open; all else is as it is by default.
pub(in crate::bench) const ROOMY: Setting = Setting {
    environment: &[
        ("RESPOKED_CONNECTIONS_MAX", "1000000"),
        ("RESPOKED_CONNECTIONS_PER_ADDRESS_MAX", "1000000"),
        ("RESPOKED_SOCKETS_PER_ADDRESS_MAX", "1000000"),
    ],
    activation_secs: None,
};

/// A running server.
pub(super) enum Host {
    Respoked(Respoked),
    Peer { child: Child, _folder: TempDir },
}

impl Host {
    /// Starts `subject`.
    pub(super) fn start(workplace: &Workplace, subject: Subject) -> anyhow::Result<Self> {
        let script = match subject {
            Subject::Respoked => return Ok(Self::Respoked(Respoked::start(workplace, ROOMY)?)),
            Subject::SocketIo09 => "socket.io-0.9.mjs",
            Subject::SocketIo4 => "socket.io-4.mjs",
        };
        let folder = workplace.fresh_folder()?;
        let mut command = Command::new("node");
        command.arg(peers().join(script)).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let child = Child::start(command, &folder.path().join("peer.log"), READY_TIMEOUT)?;
        Ok(Self::Peer { child, _folder: folder })
    }

    pub(super) fn child(&self) -> &Child {
        match self {
            Self::Respoked(respoked) => &respoked.child,
            Self::Peer { child, .. } => child,
        }
    }

    /// What its clients mint their tokens with; peers have no tokens.
    pub(super) fn site(&self) -> Option<&Site> {
        match self {
            Self::Respoked(respoked) => Some(&respoked.site),
            Self::Peer { .. } => None,
        }
    }
}

/// The folder of the peers.
fn peers() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/bench-peers"))
}

/// Installs the peers' packages, and returns the version of the Node that runs them.
pub(super) fn install_peers() -> anyhow::Result<String> {
    let node = Command::new("node").arg("--version").output().context("the peers need node")?;
    ensure!(node.status.success(), "node --version ended with {}", node.status);
    eprintln!("installing the peers' packages into tests/bench-peers/node_modules");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(peers());
    let status = npm.stdout(std::process::Stdio::null()).status().context("the peers need npm")?;
    ensure!(status.success(), "npm ci ended with {status}");
    Ok(String::from_utf8_lossy(&node.stdout).trim().to_owned())
}
