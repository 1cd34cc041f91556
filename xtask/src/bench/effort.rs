//! How long and how often to measure, as it is given on the command line.

use std::time::Duration;

use clap::Args;

use super::rounds::Effort;
use super::scenario::Scenario;

/// How long and how often.
#[derive(Args)]
pub(crate) struct EffortArgs {
    /// Interleaved rounds; figures are their medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of a timed window.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Kept-alive connections, each with one request under way.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Only these scenarios, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
}

impl EffortArgs {
    pub(super) fn effort(&self) -> Effort {
        Effort { rounds: self.rounds, window: Duration::from_secs(self.seconds), connections: self.connections }
    }

    pub(super) fn scenarios(&self) -> Vec<Scenario> {
        let chosen = |scenario: &Scenario| self.only.is_empty() || self.only.contains(scenario);
        Scenario::ALL.into_iter().filter(chosen).collect()
    }
}
