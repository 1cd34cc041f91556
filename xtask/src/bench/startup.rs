//! From start to ready, memory at rest, and the binary's size.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::client::{Body, Client, Request};
use super::procfs::Usage;
use super::server::{USUAL, serve};
use super::stats::median;
use super::workplace::Workplace;
use crate::child::Child;

/// Starts on each kind of folder.
const STARTS: usize = 7;
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server is left alone before it counts as idle: the allocator gives back over ten seconds what the first
/// start took to hash a password.
const REST: Duration = Duration::from_secs(20);
/// Servers that are left alone.
const RESTING: usize = 3;

/// What was found; medians.
#[derive(Clone, Debug)]
pub(crate) struct Startup {
    /// On a folder that is not there yet: the database and the first account are made.
    pub(crate) first: Start,
    /// On the folder of an earlier start.
    pub(crate) again: Start,
    /// Resident memory of a server on a folder of its own that was left alone for [`REST`].
    pub(crate) idle_bytes: f64,
    /// The binary as it was built, and without its symbols where `strip` is installed.
    pub(crate) binary_bytes: f64,
    pub(crate) stripped_bytes: Option<f64>,
}

/// One kind of start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// From the start of the process to its announcement, in milliseconds.
    pub(crate) ready_millis: f64,
    /// Resident memory once it has answered one request.
    pub(crate) resident_bytes: f64,
}

/// Starts the server several times on fresh folders and on one that exists.
pub(crate) fn measure(workplace: &Workplace) -> anyhow::Result<Startup> {
    let kept = workplace.fresh_folder()?;
    start(workplace, kept.path())?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for number in 1..=STARTS {
        let fresh = workplace.fresh_folder()?;
        first.push(start(workplace, fresh.path())?);
        again.push(start(workplace, kept.path())?);
        eprintln!(
            "start {number}/{STARTS}: ready in {:.0} ms, again {:.0} ms",
            first[number - 1].ready_millis,
            again[number - 1].ready_millis
        );
    }
    Ok(Startup {
        first: Start::median(&first),
        again: Start::median(&again),
        idle_bytes: idle(workplace)?,
        binary_bytes: fs::metadata(&workplace.respoked)?.len() as f64,
        stripped_bytes: stripped_len(workplace)?,
    })
}

impl Start {
    fn median(starts: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(starts.iter().map(figure)).unwrap_or(f64::NAN);
        Self { ready_millis: of(|start| start.ready_millis), resident_bytes: of(|start| start.resident_bytes) }
    }
}

fn start(workplace: &Workplace, folder: &Path) -> anyhow::Result<Start> {
    let child = started(workplace, folder)?;
    let start = Start {
        ready_millis: child.ready_after().as_secs_f64() * 1e3,
        resident_bytes: Usage::of(child.id())?.resident_bytes as f64,
    };
    child.stop()?;
    Ok(start)
}

/// Resident memory of servers that rest side by side.
fn idle(workplace: &Workplace) -> anyhow::Result<f64> {
    let folders = (0..RESTING).map(|_| workplace.fresh_folder()).collect::<anyhow::Result<Vec<_>>>()?;
    let servers = folders.iter().map(|folder| started(workplace, folder.path())).collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::sleep(REST);
    let mut resident = Vec::new();
    for server in servers {
        resident.push(Usage::of(server.id())?.resident_bytes as f64);
        server.stop()?;
    }
    Ok(median(resident).unwrap_or(f64::NAN))
}

/// A server that has answered one request.
fn started(workplace: &Workplace, folder: &Path) -> anyhow::Result<Child> {
    let command = serve(Command::new(&workplace.respoked), folder, USUAL);
    let child = Child::start(command, &folder.join("server.log"), READY_TIMEOUT)?;
    let mut client = Client::connect(child.address())?;
    client.call(&Request { method: "GET", path: "/healthz", credential: None, body: Body::None })?;
    Ok(child)
}

/// The binary's size without symbols; `None` without `strip`.
fn stripped_len(workplace: &Workplace) -> anyhow::Result<Option<f64>> {
    let folder = workplace.fresh_folder()?;
    let to = folder.path().join("stripped");
    let ran = Command::new("strip").arg("-o").arg(&to).arg(&workplace.respoked).status();
    if !ran.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    Ok(Some(fs::metadata(to)?.len() as f64))
}
