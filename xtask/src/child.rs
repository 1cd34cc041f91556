//! Servers as child processes that never outlive their task.
//!
//! Invariant: a child is killed when its [`Child`] is dropped, and when a benchmark is interrupted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// How long a server may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// A server that announced its address.
pub(crate) struct Child {
    process: process::Child,
    pid: Pid,
    address: SocketAddr,
    ready_after: Duration,
    said: Vec<String>,
    /// Closes when the process closes its standard output.
    output: Receiver<Announcement>,
}

/// Where a server listens, since when, and what it said before.
type Announcement = (SocketAddr, Instant, Vec<String>);

impl Child {
    /// Starts `command` and waits until it prints `... listening on http://ADDR:PORT`.
    ///
    /// Its standard error goes to the file `log`, whose end is shown when it does not get that far.
    pub(crate) fn start(mut command: Command, log: &Path, timeout: Duration) -> anyhow::Result<Self> {
        let name = PathBuf::from(command.get_program());
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(log)?);
        let started = Instant::now();
        let mut process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pid = Pid::from_child(&process);
        running().insert(pid.as_raw_nonzero().get());
        let stdout = process.stdout.take().context("standard output was piped")?;
        let (announce, output) = sync_channel(1);
        // Reads on after the announcement, so that the child never waits for a full pipe.
        thread::spawn(move || {
            let mut said = Vec::new();
            let mut listens = false;
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if listens {
                    continue;
                }
                if let Some(address) = announced(&line) {
                    listens = true;
                    let _ = announce.try_send((address, Instant::now(), std::mem::take(&mut said)));
                }
                said.push(line);
            }
        });
        // From here on dropping the guard kills the process.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut child = Self { process, pid, address: nowhere, ready_after: Duration::ZERO, said: Vec::new(), output };
        let failed = match child.output.recv_timeout(timeout) {
            Ok((address, ready, said)) => {
                (child.address, child.said) = (address, said);
                child.ready_after = ready - started;
                return Ok(child);
            }
            Err(RecvTimeoutError::Timeout) => format!("did not announce its address within {timeout:?}"),
            Err(RecvTimeoutError::Disconnected) => format!("ended ({}) instead of listening", child.process.wait()?),
        };
        let log = fs::read_to_string(log).unwrap_or_default();
        let last: Vec<_> = log.lines().rev().take(20).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        bail!("{name} {failed}; the end of its log:\n{last}")
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// From the start of the process to its announcement.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// What it printed before its announcement.
    pub(crate) fn said(&self) -> &[String] {
        &self.said
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Asks the server to end.
    pub(crate) fn ask_to_stop(&self) {
        // Fails only when it has ended already.
        let _ = kill_process(self.pid, Signal::TERM);
    }

    /// Asks the server to end, and waits for it.
    ///
    /// # Errors
    ///
    /// When it has not ended after a minute; then it is killed.
    pub(crate) fn stop(mut self) -> anyhow::Result<ExitStatus> {
        kill_process(self.pid, Signal::TERM)?;
        match self.output.recv_timeout(STOP_TIMEOUT) {
            Err(RecvTimeoutError::Disconnected) => Ok(self.process.wait()?),
            _ => bail!("a server was asked to end and did not within {STOP_TIMEOUT:?}"),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        running().remove(&self.pid.as_raw_nonzero().get());
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address in a line such as `respoked listening on http://127.0.0.1:8080`.
fn announced(line: &str) -> Option<SocketAddr> {
    line.split_once(" listening on http://")?.1.trim().parse().ok()
}

static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn running() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all children and ends the benchmark when it is interrupted or asked to end.
pub(crate) fn kill_all_when_interrupted() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        });
        // Held until the end of the process, so that no child is started meanwhile.
        let running = running();
        for pid in running.iter().filter_map(|&pid| Pid::from_raw(pid)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        process::exit(130);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_announcement_alone() {
        let address = "127.0.0.1:41234".parse().ok();
        assert_eq!(announced("respoked listening on http://127.0.0.1:41234"), address);
        assert_eq!(announced("  console   http://127.0.0.1:41234/console"), None);
        assert_eq!(announced("respoked listening on http://localhost"), None);
    }

    #[test]
    fn a_child_that_says_nothing_is_an_error_with_its_log() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such folder >&2"]);
        let error = Child::start(command, log.path(), Duration::from_secs(10)).err().unwrap();
        assert!(error.to_string().contains("no such folder"), "{error}");
    }

    #[test]
    fn a_child_is_gone_once_it_was_stopped() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo test listening on http://127.0.0.1:9; exec sleep 60"]);
        let child = Child::start(command, log.path(), Duration::from_secs(10)).unwrap();
        let proc = format!("/proc/{}", child.id());
        assert!(Path::new(&proc).exists());
        child.stop().unwrap();
        assert!(!Path::new(&proc).exists());
    }
}
