//! What is asked by nobody in particular and costs no requests: what browsers ask before a page's requests, and what those ask
//! who look after the server. Each address has buckets of its own for these.
//!
//! They are measured by the machine's own time: whoever looks after a server does so in that, whichever clock it was given.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use quick_cache::sync::Cache;
use respoke_core::address::network;
use respoke_core::app::Rate;

use super::accounts::ANSWER_LEN_FREE;
use super::bucket::{Bucket, bucket_of};
use super::rate_status::Limited;

/// Addresses that are remembered. Those whose buckets are full are forgotten by themselves.
const ADDRESSES_MAX: usize = 100_000;
/// What one of the kilobytes is.
const KILOBYTE: u32 = 1_024;
/// Preflights of an address: twice what the endpoints of an app at one address may ask by default. Each of their requests may
/// need one, and many browsers share an address.
const PREFLIGHTS: Rate = Rate { per_second: 1_000, burst: 4_000 };
/// Probes of an address, far more than orchestrators, balancers and those who collect figures ask.
const PROBES: Rate = Rate { per_second: 500, burst: 2_000 };
/// Kilobytes of figures, which are made anew for each who asks. Whoever collects them does so every few seconds.
const FIGURES: Rate = Rate { per_second: 512, burst: 4_096 };

/// The kinds of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Errand {
    /// A browser asks whether a page may ask.
    Preflight,
    /// Health, readiness and figures, which must be told whatever else comes from the same address.
    Probe,
}

/// The buckets of all addresses.
pub(super) struct Errands {
    asked: Cache<(Errand, IpAddr), Arc<Bucket>>,
    figures: Cache<IpAddr, Arc<Bucket>>,
    start: Instant,
}

impl Errands {
    pub(super) fn new() -> Self {
        Self { asked: Cache::new(ADDRESSES_MAX), figures: Cache::new(ADDRESSES_MAX), start: Instant::now() }
    }

    /// Draws one request.
    pub(super) fn check(&self, errand: Errand, address: IpAddr) -> Result<(), Limited> {
        let rate = match errand {
            Errand::Preflight => PREFLIGHTS,
            Errand::Probe => PROBES,
        };
        let bucket = bucket_of(&self.asked, &(errand, network(address)), || Bucket::new(rate, 1));
        bucket.draw_one(self.now()).map(drop).map_err(|wait| Limited::by(rate, wait))
    }

    /// Whether figures that were read at an address are paid off.
    pub(super) fn check_figures(&self, address: IpAddr) -> Result<(), Limited> {
        let wait = self.figures.get(&network(address)).map_or(0, |bucket| bucket.wait_for(0, self.now()));
        if wait == 0 { Ok(()) } else { Err(Limited::by(FIGURES, wait)) }
    }

    /// Charges figures of that length.
    pub(super) fn read_figures(&self, address: IpAddr, len: u64) {
        let bytes = len.saturating_sub(ANSWER_LEN_FREE as u64);
        let bucket = bucket_of(&self.figures, &network(address), || Bucket::new(FIGURES, KILOBYTE));
        bucket.draw(bytes, self.now());
    }

    /// Forgets buckets that are full.
    pub(super) fn sweep(&self) {
        let now = self.now();
        self.asked.retain(|_, bucket| !bucket.is_full(now));
        self.figures.retain(|_, bucket| !bucket.is_full(now));
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use respoke_core::app::Limits;

    use super::*;

    #[test]
    fn docs_operating_md_says_how_many_there_may_be() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
        let page = std::fs::read_to_string(page).unwrap().replace(',', "");
        for row in [
            format!("before a page's requests | {} | {} |", PREFLIGHTS.per_second, PREFLIGHTS.burst),
            format!(
                "`/metrics` | {} and {} KiB of figures | {} and {} MiB |",
                PROBES.per_second,
                FIGURES.per_second,
                PROBES.burst,
                FIGURES.burst / 1_024
            ),
        ] {
            assert!(page.contains(&row), "docs/operating.md lacks: {row}");
        }
        let endpoints = Limits::default().address.unwrap();
        assert_eq!((PREFLIGHTS.per_second, PREFLIGHTS.burst), (endpoints.per_second * 2, endpoints.burst * 2));
    }

    #[test]
    fn preflights_and_probes_have_an_end_and_are_many() {
        let errands = Errands::new();
        let (here, there) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for errand in [Errand::Preflight, Errand::Probe] {
            let met = (0..100_000).filter(|_| errands.check(errand, here).is_ok()).count();
            assert!((2_000..50_000).contains(&met), "{errand:?}: {met}");
            assert!(errands.check(errand, there).is_ok());
        }
    }

    #[test]
    fn figures_are_owed_by_the_address_that_read_them() {
        let errands = Errands::new();
        let (here, there) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        errands.read_figures(here, 4 << 20);
        assert!(errands.check_figures(here).is_ok());
        errands.read_figures(here, 4 << 20);
        let wait = errands.check_figures(here).unwrap_err().retry_after;
        assert!((Duration::from_secs(6)..=Duration::from_secs(8)).contains(&wait), "{wait:?}");
        assert!(errands.check_figures(there).is_ok() && errands.check(Errand::Probe, here).is_ok());
    }
}
