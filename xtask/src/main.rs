//! `cargo xtask`: what cargo alone cannot do for this workspace.
//!
//! Each subcommand lives in a module of its own; this file only lists them.
#![expect(clippy::print_stdout, reason = "a command line tool answers on standard output")]

mod bench;
mod check;
mod child;
mod cluster;
mod command;
mod programs;
mod rooms;
mod test;

use clap::{Parser, Subcommand};

/// Tasks of the respoked workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs every test there is, installing what they need.
    Test(test::TestArgs),
    /// Formatting, lints, documentation, the crate graph, the rooms inside the crates.
    Check,
    /// The rooms inside the crates alone: prints them, and fails on a circle or an arrow that is not planned.
    Rooms,
    /// Several nodes on this machine, as plain processes.
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Measures the server beside a bare ceiling.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Serves answers without storage, as the ceiling that `bench` compares with.
    #[command(hide = true)]
    Ceiling(bench::CeilingArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Check => check::run(rooms::root()?),
        Task::Rooms => rooms::run(rooms::root()?),
        Task::Cluster(cluster) => cluster.run(),
        Task::Bench(bench) => bench.run(),
        Task::Ceiling(args) => bench::serve_ceiling(&args),
    }
}
