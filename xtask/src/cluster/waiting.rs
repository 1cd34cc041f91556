//! Waiting for what was started.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

/// How long a program may take to start on a busy machine.
pub(super) const START: Duration = Duration::from_secs(60);
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many characters of a log are shown.
const SHOWN: usize = 2_000;
/// Between two.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `is_so`. Fails with what it fails with, or after `limit` with `otherwise`.
pub(super) fn until(
    limit: Duration,
    otherwise: &str,
    mut is_so: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let since = Instant::now();
    while !is_so()? {
        ensure!(since.elapsed() < limit, "{otherwise}, {limit:?} after its start");
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Fails, with the end of its log, if a program has ended that is to run.
pub(super) fn runs(child: &mut Child, name: &str, log: &Path) -> anyhow::Result<()> {
    if let Some(status) = child.try_wait()? {
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let start = log.char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
        bail!("{name} ended ({status}); the end of its log:\n{}", log.get(start..).unwrap_or_default());
    }
    Ok(())
}

/// Whether a server there answers 200.
pub(super) fn answers(address: SocketAddr, path: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

/// Whether a server there takes connections.
pub(super) fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, PATIENCE).is_ok()
}
