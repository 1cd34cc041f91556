//! `cargo xtask bench cluster`: several nodes on one PostgreSQL, by each carrier of what they tell each other.
//!
//! A run starts a PostgreSQL, a NATS and the nodes as child processes ([`fleet`]), lets clients in that are spread over the nodes
//! ([`crowd`]) and lets them talk ([`talks`]). What is measured, and how, is in [`rounds`]; [`report`] judges the targets. What the
//! nodes tell each other goes through a way that can be cut ([`relay`]) where that is the subject.

mod crowd;
mod fleet;
mod interests;
mod relay;
mod report;
mod rounds;
mod talks;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use self::fleet::{Carrier, Fleet, Ground};
use self::report::{Findings, Heading};
use self::rounds::Site;
use super::hub::raise_file_limit;
use super::machine::{Machine, load_average};
use super::report::{command, today};
use super::workplace::Workplace;

/// `bench cluster`.
#[derive(Args)]
pub(crate) struct ClusterArgs {
    /// Rounds; figures are their medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of a timed window.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// One round of windows of three seconds.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Kept-alive connections that mint, spread over the nodes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Only these carriers, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Carrier>,
    /// Measure mints alone, and print a line for each window.
    #[arg(long)]
    mints: bool,
    /// Leave out the memory of a million interests, which is measured by a program that has to be built.
    #[arg(long)]
    skip_interests: bool,
    /// Write the report to this file as well.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure this server binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Measures and prints.
pub(super) fn run(args: &ClusterArgs) -> anyhow::Result<()> {
    let workplace = Workplace::prepare(args.binary.as_deref())?;
    raise_file_limit()?;
    let (rounds, seconds) = if args.quick { (1, 3) } else { (args.rounds, args.seconds) };
    let window = Duration::from_secs(seconds);
    let chosen = |carrier: &Carrier| args.only.is_empty() || args.only.contains(carrier);
    let carriers: Vec<Carrier> = [Carrier::Postgres, Carrier::Nats].into_iter().filter(chosen).collect();
    let interests = (!args.skip_interests && !args.mints).then(interests::measure).transpose()?;
    let load_before = load_average()?;
    let ground = Ground::start(&workplace, &carriers)?;
    let alone = Fleet::start(&workplace, &ground, Carrier::Postgres, 1, false)?;
    if args.mints {
        return carriers.iter().try_for_each(|carrier| {
            let site = Site::start(&workplace, (&ground, &alone), *carrier, args.connections)?;
            (0..rounds).try_for_each(|number| site.mints(number, window).map(drop))
        });
    }
    let mut findings = Findings { interests, minting: args.connections, ..Findings::default() };
    for carrier in carriers {
        let found = rounds::measure(&workplace, (&ground, &alone), carrier, (rounds, window), args.connections);
        findings.carriers.insert(carrier, found.with_context(|| format!("over {}", carrier.name()))?);
    }
    let machine = Machine::read(workplace.folder())?;
    let heading = Heading { date: today(), machine, command: command(), rounds, window, load_before };
    let report = report::render(&heading, &findings);
    println!("{report}");
    if let Some(out) = &args.out {
        fs::write(out, report).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(())
}
