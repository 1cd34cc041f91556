//! Minting on and on, with tokens that are soon over: what the janitor leaves of the files, and of the rate.

use std::fs;
use std::time::Duration;

use super::load::{self, Extent};
use super::report::Table;
use super::script;
use super::server::{Respoked, Setting};
use super::targets::Unit;
use super::workplace::Workplace;

/// Tokens that are over after ten seconds and removed a second later.
const SHORT_LIVED: Setting = Setting { environment: &[("RESPOKED_RETENTION_SECS", "1")], activation_secs: Some(10) };
/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_mins(5);

/// Mints `mints` tokens in steps of `every`, and says after each how fast it was and how long the files are.
pub(crate) fn measure(workplace: &Workplace, mints: u64, every: u64, connections: u32) -> anyhow::Result<String> {
    let server = Respoked::start(workplace, SHORT_LIVED)?;
    let mut table = Table::new(&["mints", "a second", "p99 ms", "database", "log"]);
    for step in 1..=mints.div_ceil(every) {
        let each = every.div_ceil(u64::from(connections));
        let scripts = script::minting(&server.site, connections, step << 32, each, None);
        let (minted, (), ()) = load::run(server.child.address(), scripts, Extent::Scripts(STEP_TIMEOUT), || Ok(()))?;
        let len = |name: &str| -> anyhow::Result<String> {
            Ok(Unit::Megabytes.write(fs::metadata(server.data().join(name))?.len() as f64))
        };
        table.row([
            (step * every).to_string(),
            format!("{:.0}", minted.rate()),
            format!("{:.2}", minted.latency_millis(0.99)),
            len("respoked.db")?,
            len("respoked.db-wal")?,
        ]);
        eprintln!("{} minted", step * every);
    }
    Ok(table.render())
}
