//! Minting with many tokens stored, beside minting into an empty folder.

use std::time::Duration;

use super::load::{self, Extent};
use super::rounds::{Effort, Sample, measure_commits, tell};
use super::scenario::Scenario;
use super::script;
use super::server::{Respoked, Setting, USUAL};
use super::stats::PairedRatio;
use super::token::TokenPool;
use super::workplace::Workplace;

/// Keeps the stored tokens redeemable, so that the janitor leaves them where they are.
pub(super) const LASTING: Setting = Setting { environment: USUAL.environment, activation_secs: Some(86_400) };

/// What was found.
pub(crate) struct Stored {
    /// Tokens wanted in the file, and really there when the rounds began.
    pub(crate) wanted: u64,
    pub(crate) reached: u64,
    /// How long filling took, in seconds.
    pub(crate) fill_secs: f64,
    /// Mints with the tokens stored, and into a fresh folder, round by round.
    pub(crate) full: Vec<Sample>,
    pub(crate) empty: Vec<Sample>,
}

impl Stored {
    /// Rate with the tokens stored to rate without.
    pub(crate) fn rates(&self) -> Option<PairedRatio> {
        let rates = |samples: &[Sample]| samples.iter().map(|sample| sample.rate).collect::<Vec<_>>();
        PairedRatio::of(rates(&self.full), rates(&self.empty))
    }

    /// The 99th percentile without the tokens to that with them: also at most 1 when they slow it down.
    pub(crate) fn p99s(&self) -> Option<PairedRatio> {
        let p99s = |samples: &[Sample]| samples.iter().map(|sample| sample.p99_millis).collect::<Vec<_>>();
        PairedRatio::of(p99s(&self.empty), p99s(&self.full))
    }
}

/// Fills a server with `wanted` tokens, or as many as `limit` allows, and measures it beside fresh ones.
pub(crate) fn measure(workplace: &Workplace, wanted: u64, limit: Duration, effort: Effort) -> anyhow::Result<Stored> {
    let full = Respoked::start(workplace, LASTING)?;
    let each = wanted.div_ceil(u64::from(effort.connections));
    eprintln!("minting {wanted} tokens to store, for at most {limit:?}");
    let scripts = script::minting(&full.site, effort.connections, 1 << 32, each, None);
    let (filled, (), ()) = load::run(full.child.address(), scripts, Extent::Scripts(limit), || Ok(()))?;
    let mut stored = Stored {
        wanted,
        reached: filled.requests,
        fill_secs: filled.elapsed.as_secs_f64(),
        full: Vec::new(),
        empty: Vec::new(),
    };
    eprintln!("stored {} tokens in {:.0} s", stored.reached, stored.fill_secs);
    for round in 0..effort.rounds {
        let mint = |respoked: &Respoked| {
            let seed = 1 << 33 | u64::from(round);
            let scripts = script::of(Scenario::Mint, &respoked.site, effort.connections, seed, &TokenPool::default());
            measure_commits(respoked, scripts, effort.window)
        };
        let empty = Respoked::start(workplace, LASTING)?;
        // In turned order every other round, as everywhere.
        let (of_full, of_empty) = if round % 2 == 0 {
            let of_empty = mint(&empty)?;
            (mint(&full)?, of_empty)
        } else {
            (mint(&full)?, mint(&empty)?)
        };
        tell(round, effort, "mint into an empty folder", &of_empty);
        tell(round, effort, &format!("mint beside {} tokens", stored.reached), &of_full);
        stored.full.push(of_full);
        stored.empty.push(of_empty);
    }
    Ok(stored)
}
