//! Instructions per mint, counted by callgrind: the same on a busy machine as on an idle one.
//!
//! Each server answers N mints and, in another run, 2N; the difference divided by N leaves out starting, setting
//! up and ending. Threads are counted apart: the one that speaks HTTP is what compares with bare axum, because
//! storage has a thread of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::ceiling::Answers;
use super::load::{self, Extent};
use super::procfs::number_after;
use super::rounds::Ceiling;
use super::scenario::Site;
use super::script;
use super::server::{READY_TIMEOUT_VALGRIND, Respoked, USUAL, serve};
use super::workplace::Workplace;
use crate::child::Child;

/// How long one run under valgrind may take.
const RUN_TIMEOUT: Duration = Duration::from_mins(5);
/// What a thread that speaks HTTP calls.
const HTTP_MARK: &str = "hyper";

/// Instructions per mint.
#[derive(Clone, Debug)]
pub(crate) struct Instructions {
    /// Of bare axum, all threads.
    pub(crate) ceiling: f64,
    /// Of the server's threads that speak HTTP.
    pub(crate) http: Option<f64>,
    /// Of all the server's threads.
    pub(crate) total: f64,
    /// Of each thread that does any work, most first.
    pub(crate) threads: Vec<Thread>,
}

/// One thread, numbered by valgrind in the order of their start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thread {
    pub(crate) number: u32,
    pub(crate) per_request: f64,
    pub(crate) speaks_http: bool,
}

impl Instructions {
    /// Those of the HTTP threads to bare axum's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.http? / self.ceiling)
    }
}

/// Whether valgrind is installed.
pub(crate) fn installed() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Counts with N = `requests` mints on `connections`.
pub(crate) fn measure(workplace: &Workplace, requests: u64, connections: u32) -> anyhow::Result<Instructions> {
    let answers = Respoked::start(workplace, USUAL)?.answers;
    let load = Load { requests, connections };
    let ceiling =
        count_twice(load, |load| count_ceiling(workplace, &answers, load)).context("callgrind on bare axum")?;
    let threads = count_twice(load, |load| count_respoked(workplace, load)).context("callgrind on respoked")?;
    Ok(Instructions {
        ceiling: ceiling.iter().map(|thread| thread.per_request).sum(),
        http: threads
            .iter()
            .filter(|thread| thread.speaks_http)
            .map(|thread| thread.per_request)
            .reduce(|one, other| one + other),
        total: threads.iter().map(|thread| thread.per_request).sum(),
        threads,
    })
}

/// Counts on the ceiling alone.
pub(crate) fn measure_ceiling(workplace: &Workplace, requests: u64, connections: u32) -> anyhow::Result<f64> {
    let answers = Answers::default();
    let threads = count_twice(Load { requests, connections }, |load| count_ceiling(workplace, &answers, load))?;
    Ok(threads.iter().map(|thread| thread.per_request).sum())
}

#[derive(Clone, Copy)]
struct Load {
    requests: u64,
    connections: u32,
}

impl Load {
    /// Requests on each connection; every connection asks the same number.
    fn each(self) -> u64 {
        self.requests.div_ceil(u64::from(self.connections))
    }

    fn drive(self, child: &Child, site: &Site) -> anyhow::Result<()> {
        let scripts = script::minting(site, self.connections, 1, self.each(), None);
        let (outcome, (), ()) = load::run(child.address(), scripts, Extent::Scripts(RUN_TIMEOUT), || Ok(()))?;
        anyhow::ensure!(outcome.requests == self.each() * u64::from(self.connections), "a run was too slow to finish");
        Ok(())
    }
}

/// Runs `count` with N and with 2N requests, and takes the difference by thread.
fn count_twice(load: Load, count: impl Fn(Load) -> anyhow::Result<Counted>) -> anyhow::Result<Vec<Thread>> {
    let once = count(load)?;
    let twice = count(Load { requests: load.each() * u64::from(load.connections) * 2, ..load })?;
    Ok(difference(&once, &twice, load.each() * u64::from(load.connections)))
}

/// By thread number: instructions, and whether it speaks HTTP.
type Counted = BTreeMap<u32, (u64, bool)>;

fn difference(once: &Counted, twice: &Counted, requests: u64) -> Vec<Thread> {
    let mut threads: Vec<Thread> = twice
        .iter()
        .map(|(&number, &(instructions, speaks_http))| {
            let earlier = once.get(&number).map_or(0, |&(instructions, _)| instructions);
            let per_request = (instructions as f64 - earlier as f64) / requests as f64;
            Thread { number, per_request, speaks_http }
        })
        // What a thread does once in a while differs by chance between runs.
        .filter(|thread| thread.per_request.abs() >= 1.0)
        .collect();
    threads.sort_by(|one, other| other.per_request.total_cmp(&one.per_request));
    threads
}

fn count_ceiling(workplace: &Workplace, answers: &Answers, load: Load) -> anyhow::Result<Counted> {
    let folder = workplace.fresh_folder()?;
    let command = callgrind(folder.path(), &workplace.xtask);
    let ceiling = Ceiling::start_under(workplace, command, READY_TIMEOUT_VALGRIND, answers, None)?;
    load.drive(&ceiling.child, &ceiling.site)?;
    ceiling.child.stop()?;
    read_counts(folder.path())
}

fn count_respoked(workplace: &Workplace, load: Load) -> anyhow::Result<Counted> {
    let folder = workplace.fresh_folder()?;
    let data = workplace.fresh_folder()?;
    let command = serve(callgrind(folder.path(), &workplace.respoked), data.path(), USUAL);
    let child = Child::start(command, &data.path().join("server.log"), READY_TIMEOUT_VALGRIND)?;
    let server = Respoked::set_up(child, data, USUAL)?;
    load.drive(&server.child, &server.site)?;
    server.child.stop()?;
    read_counts(folder.path())
}

/// Callgrind on `binary`, writing one file per thread into `folder`.
fn callgrind(folder: &Path, binary: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--separate-threads=yes", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}/counts", folder.display()));
    command.arg(binary);
    command
}

/// Reads the files `counts-01`, `counts-02`, ...; a thread may have several.
fn read_counts(folder: &Path) -> anyhow::Result<Counted> {
    let mut counted = Counted::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(thread) = name.rsplit_once('-').and_then(|(_, number)| number.parse().ok()) else { continue };
        let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
        let count = number_after(&text, "totals:").with_context(|| format!("callgrind's file {name}"))?;
        let (instructions, speaks_http) = counted.entry(thread).or_default();
        *instructions += count;
        *speaks_http |= text.contains(HTTP_MARK);
    }
    anyhow::ensure!(!counted.is_empty(), "callgrind wrote no counts");
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_per_request_cancels_out() {
        let once = Counted::from([(1, (1_000_000, false)), (2, (1_000_000 + 20_000 * 100, true))]);
        let twice =
            Counted::from([(1, (1_000_050, false)), (2, (1_000_000 + 20_000 * 200, true)), (3, (30_000, false))]);
        let threads = difference(&once, &twice, 100);
        let http = Thread { number: 2, per_request: 20_000.0, speaks_http: true };
        let late = Thread { number: 3, per_request: 300.0, speaks_http: false };
        assert_eq!(threads, [http, late]);
    }
}
