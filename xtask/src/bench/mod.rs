//! `cargo xtask bench`: the server beside a bare ceiling, in interleaved rounds.
//!
//! A run starts the servers as child processes ([`crate::child`], [`server`], [`ceiling`]), drives one at a time
//! ([`load`], [`scenario`], [`script`]), reads what the kernel counts for it ([`procfs`]) and writes down medians and paired
//! ratios ([`rounds`], [`stats`]) beside the targets ([`targets`], [`report`]).

#![expect(clippy::cast_precision_loss, reason = "counts become ratios and rates; 52 bits are more than they need")]

mod callgrind;
mod ceiling;
mod client;
mod cluster;
mod effort;
mod hub;
mod load;
mod machine;
mod metrics;
mod plateau;
mod postgres;
mod procfs;
mod report;
mod response;
mod rounds;
mod scenario;
mod script;
mod server;
mod startup;
mod stats;
mod stored;
mod targets;
mod token;
mod workplace;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

pub(crate) use ceiling::{CeilingArgs, serve_ceiling};
use effort::EffortArgs;
use report::Heading;
use targets::Findings;
use workplace::{Workplace, cargo};

/// What there is to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Minting, redeeming and checking tokens, beside a bare axum server and a commit for each request.
    Tokens(TokensArgs),
    /// Sockets: requests, fan-out, storms and idle memory, beside other socket servers; needs node and npm.
    Hub(hub::HubArgs),
    /// The server on PostgreSQL, beside PostgreSQL alone and beside itself on SQLite; needs PostgreSQL.
    Postgres(postgres::PostgresArgs),
    /// Several nodes on one PostgreSQL, by each carrier of what they tell each other; needs PostgreSQL and NATS.
    Cluster(cluster::ClusterArgs),
    /// Minting on and on with short-lived tokens: what becomes of the rate and of the files.
    Plateau(PlateauArgs),
    /// Instructions per mint, beside a bare axum server; needs valgrind.
    Callgrind(CallgrindArgs),
    /// The bare axum server alone: what this machine and the load generator can do.
    Ceiling(EffortArgs),
}

/// `bench tokens`.
#[derive(Args)]
pub(crate) struct TokensArgs {
    #[command(flatten)]
    effort: EffortArgs,
    /// Tokens to store before minting beside them.
    #[arg(long, default_value_t = 10_000_000)]
    stored: u64,
    /// Longest time to spend on storing them, in seconds.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=7200))]
    stored_seconds_max: u64,
    /// Leave out the rounds with stored tokens.
    #[arg(long)]
    skip_stored: bool,
    /// Leave out counting instructions, as happens without valgrind.
    #[arg(long)]
    skip_callgrind: bool,
    /// Write the report to this file as well.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure this server binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// `bench plateau`.
#[derive(Args)]
pub(crate) struct PlateauArgs {
    /// Tokens to mint.
    #[arg(long, default_value_t = 12_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    mints: u64,
    /// Tokens after which the rate and the files are looked at.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    every: u64,
    /// Kept-alive connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Measure this server binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// `bench callgrind`.
#[derive(Args)]
pub(crate) struct CallgrindArgs {
    /// N: each server answers N and 2N mints.
    #[arg(long, default_value_t = CALLGRIND_REQUESTS, value_parser = clap::value_parser!(u64).range(64..=1_000_000))]
    requests: u64,
    /// Kept-alive connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Count only the bare axum server.
    #[arg(long)]
    ceiling_only: bool,
    /// Measure this server binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Mints of the shorter of two runs under callgrind.
const CALLGRIND_REQUESTS: u64 = 4096;

impl Bench {
    /// Measures and prints.
    ///
    /// # Errors
    ///
    /// When a server cannot be built, started or set up, or answers what it should not.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if cfg!(debug_assertions) {
            // An unoptimised load generator would measure itself.
            let arguments: Vec<String> = std::env::args().skip(1).collect();
            let mut cargo_arguments = vec!["run", "--quiet", "--profile", "dist", "--package", "xtask", "--"];
            cargo_arguments.extend(arguments.iter().map(String::as_str));
            return cargo(&cargo_arguments);
        }
        crate::child::kill_all_when_interrupted()?;
        match self {
            Self::Tokens(args) => tokens(args),
            Self::Hub(args) => hub::run(args),
            Self::Postgres(args) => postgres::run(args),
            Self::Cluster(args) => cluster::run(args),
            Self::Plateau(args) => {
                let workplace = Workplace::prepare(args.binary.as_deref())?;
                println!("{}", plateau::measure(&workplace, args.mints, args.every, args.connections)?);
                Ok(())
            }
            Self::Callgrind(args) => callgrind(args),
            Self::Ceiling(args) => ceiling_alone(args),
        }
    }
}

fn tokens(args: &TokensArgs) -> anyhow::Result<()> {
    let workplace = Workplace::prepare(args.binary.as_deref())?;
    let effort = args.effort.effort();
    let startup = startup::measure(&workplace)?;
    let samples = rounds::run(&workplace, &args.effort.scenarios(), effort)?;
    let count = !args.skip_callgrind && callgrind::installed();
    let instructions =
        count.then(|| callgrind::measure(&workplace, CALLGRIND_REQUESTS, effort.connections)).transpose()?;
    let limit = Duration::from_secs(args.stored_seconds_max);
    let stored = (!args.skip_stored).then(|| stored::measure(&workplace, args.stored, limit, effort)).transpose()?;
    let findings = Findings { samples, startup: Some(startup), stored, instructions };
    let report = report::render(&Heading::of(&workplace, effort)?, &findings);
    println!("{report}");
    if let Some(out) = &args.out {
        let text = format!(
            "# Performance: the latest run\n\n<!-- Written by `cargo xtask bench tokens`; do not edit. -->\n\n{report}"
        );
        fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(())
}

fn callgrind(args: &CallgrindArgs) -> anyhow::Result<()> {
    anyhow::ensure!(callgrind::installed(), "valgrind is not installed");
    if args.ceiling_only {
        let workplace = Workplace::without_server()?;
        let instructions = callgrind::measure_ceiling(&workplace, args.requests, args.connections)?;
        println!("bare axum: {instructions:.0} instructions per mint");
        return Ok(());
    }
    let workplace = Workplace::prepare(args.binary.as_deref())?;
    let instructions = callgrind::measure(&workplace, args.requests, args.connections)?;
    println!("{}", report::instruction_counts(&instructions));
    if let Some(ratio) = instructions.ratio() {
        println!("The server's HTTP thread to bare axum: {ratio:.2}");
    }
    Ok(())
}

fn ceiling_alone(args: &EffortArgs) -> anyhow::Result<()> {
    let workplace = Workplace::without_server()?;
    let samples = rounds::run_ceiling(&workplace, &args.scenarios(), args.effort())?;
    println!("{}", report::scenarios(&samples));
    Ok(())
}
