//! `cargo xtask bench hub`: the sockets of the server beside other socket servers.
//!
//! A run starts the servers as child processes ([`host`]), lets clients in ([`entry`], [`swarm`]) and lets them talk
//! ([`talk`]) in interleaved [`rounds`]. How each server is spoken to is in [`subject`]; all sockets are on one thread
//! ([`net`], [`frame`]). The report ([`report`]) judges the targets of the hub.

pub(super) mod entry;
pub(super) mod frame;
pub(super) mod host;
pub(super) mod net;
mod report;
mod rounds;
pub(super) mod subject;
pub(super) mod swarm;
pub(super) mod talk;
pub(super) mod tally;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::machine::Machine;
use super::report::{command, today};
use super::workplace::Workplace;
use report::Heading;
use rounds::{Effort, Scenario};
use subject::Subject;

/// Idle sockets of the first lot.
const IDLE_FIRST: usize = 10_000;
/// Idle sockets of both lots, where there are file descriptors enough.
const IDLE_ALL: usize = 20_000;
/// File descriptors that a server and the generator need beside their sockets.
const FILES_KEPT: u64 = 100;
/// Exactly one heartbeat of every socket falls into it.
const IDLE_WINDOW: Duration = Duration::from_secs(25);

/// `bench hub`.
#[derive(Args)]
pub(crate) struct HubArgs {
    /// Interleaved rounds; figures are their medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Rounds of the idle scenario.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    idle_rounds: u32,
    /// Length of a timed window.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Only these scenarios, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Leave the peers out.
    #[arg(long)]
    skip_peers: bool,
    /// Write the report to this file as well.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure this server binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) fn run(args: &HubArgs) -> anyhow::Result<()> {
    let workplace = Workplace::prepare(args.binary.as_deref())?;
    let node = (!args.skip_peers).then(host::install_peers).transpose()?;
    let all = usize::try_from(raise_file_limit()?.saturating_sub(FILES_KEPT))?.min(IDLE_ALL);
    let effort = Effort {
        rounds: args.rounds,
        idle_rounds: args.idle_rounds,
        window: Duration::from_secs(args.seconds),
        idle: [IDLE_FIRST.min(all), all],
        idle_window: IDLE_WINDOW,
    };
    let chosen = |scenario: &Scenario| args.only.is_empty() || args.only.contains(scenario);
    let scenarios: Vec<Scenario> = Scenario::ALL.into_iter().filter(chosen).collect();
    let subjects = if args.skip_peers { &[Subject::Respoked][..] } else { &Subject::ALL };
    let samples = rounds::run(&workplace, &scenarios, subjects, effort)?;
    let machine = Machine::read(workplace.folder())?;
    let report = report::render(&Heading { date: today(), machine, command: command(), effort, node }, &samples);
    println!("{report}");
    if let Some(out) = &args.out {
        let text = format!(
            "# Performance of the hub: the latest run\n\n<!-- Written by `cargo xtask bench hub`; do not edit. -->\n\n{report}"
        );
        fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(())
}

/// Raises the limit of open files to what the system allows, for the generator and the servers it starts.
pub(super) fn raise_file_limit() -> anyhow::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("cannot raise the limit of open files")?;
    Ok(maximum.unwrap_or(u64::MAX))
}
