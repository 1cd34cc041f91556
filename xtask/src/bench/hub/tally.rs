//! What is counted while a window is open.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency the histogram tells apart, in microseconds.
const LATENCY_MICROS_MAX: u64 = 120_000_000;

/// Counts what happens while it is open.
pub(in crate::bench) struct Tally {
    pub(in crate::bench) open: bool,
    pub(in crate::bench) count: u64,
    /// In microseconds.
    pub(in crate::bench) latencies: Histogram<u64>,
}

impl Tally {
    pub(in crate::bench) fn new() -> anyhow::Result<Self> {
        Ok(Self { open: false, count: 0, latencies: histogram()? })
    }

    /// One more that took so long.
    pub(in crate::bench) fn took(&mut self, latency: Duration) {
        if self.open {
            self.count += 1;
            record(&mut self.latencies, latency);
        }
    }

    /// One more whose latency says nothing.
    pub(in crate::bench) fn came(&mut self) {
        self.count += u64::from(self.open);
    }
}

/// An empty histogram of microseconds.
pub(in crate::bench) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(LATENCY_MICROS_MAX, 3)?)
}

/// Adds a latency.
pub(in crate::bench) fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}

/// The latency that a share `quantile` did not exceed, in milliseconds.
pub(in crate::bench) fn millis(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1000.0
}

/// The beginning of something unexpected, for a message.
pub(in crate::bench) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned()
}
