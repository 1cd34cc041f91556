//! A node: a respoked that can be killed, and started again on its port.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::waiting::{START, answers, until};
use crate::child::Child;
use crate::command::bound_to_this_process;

/// What a node is started with.
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) binary: PathBuf,
    /// Where its log and its list of settings are.
    pub(super) folder: PathBuf,
    /// Its settings, by their names in the environment.
    pub(super) environment: Vec<(&'static str, String)>,
}

/// One that runs, or ran.
pub(super) struct Node {
    setting: Setting,
    child: Child,
    address: SocketAddr,
    /// Whether its end was noticed.
    ended: bool,
}

impl Node {
    /// Starts one on a free port, and waits until it is ready.
    pub(super) fn start(setting: Setting) -> anyhow::Result<Self> {
        let child = run(&setting, "127.0.0.1:0")?;
        let address = child.address();
        Ok(Self { setting, child, address, ended: false })
    }

    /// Starts it again on its port, if it has ended. Whether it had.
    pub(super) fn start_again(&mut self) -> anyhow::Result<bool> {
        if !self.ended {
            return Ok(false);
        }
        self.child = run(&self.setting, &self.address.to_string())?;
        self.ended = false;
        Ok(true)
    }

    /// How it ended, if it has and nobody was told so.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended {
            return Ok(None);
        }
        let ended = self.child.ended()?;
        self.ended = ended.is_some();
        Ok(ended)
    }

    pub(super) fn name(&self) -> &str {
        &self.setting.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn log(&self) -> PathBuf {
        log_of(&self.setting)
    }

    /// What it printed before it served.
    pub(super) fn said(&self) -> &[String] {
        self.child.said()
    }

    /// Asks it to end. It is waited for by [`Node::stop`].
    pub(super) fn ask_to_stop(&self) {
        self.child.ask_to_stop();
    }

    /// Waits for its end.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.child.stop().map(drop)
    }
}

fn log_of(setting: &Setting) -> PathBuf {
    setting.folder.join(format!("{}.log", setting.name))
}

fn run(setting: &Setting, listen: &str) -> anyhow::Result<Child> {
    let mut command = bound_to_this_process(&setting.binary, "TERM");
    // No configuration file of the checkout is near.
    command.args(["serve", "--listen", listen]).current_dir(&setting.folder);
    // Not the caller's settings.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RESPOKED_")) {
        command.env_remove(name);
    }
    command.envs(setting.environment.iter().map(|(name, value)| (name, value)));
    let child = Child::start(command, &log_of(setting), START)?;
    until(START, &format!("{} is not ready", setting.name), || Ok(answers(child.address(), "/readyz")))?;
    Ok(child)
}
