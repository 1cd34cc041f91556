//! Other programs, run.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Runs a command to its end and fails if it does.
pub(crate) fn run_command(command: &mut Command) -> anyhow::Result<()> {
    let shown: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_owned).collect();
    let shown = shown.join(OsStr::new(" "));
    let mut shown = shown.to_string_lossy().into_owned();
    // A header on a command line can hold a secret of the test server.
    if shown.contains("App-Secret") {
        shown = command.get_program().to_string_lossy().into_owned();
    }
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("{shown} could not be started"))?;
    ensure!(status.success(), "{shown} failed: {status}");
    Ok(())
}

/// A program that the system sends `signal` when this process ends, even if that is killed. A Ctrl-C on the terminal does not
/// reach it: what runs is ended in its order.
pub(crate) fn bound_to_this_process(program: impl AsRef<OsStr>, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]).arg(program).process_group(0);
    command
}
