//! What is counted of an app or of the whole server in a stretch of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Classes of how long requests took; the last holds all that took longer than four seconds.
pub const LATENCY_CLASSES: usize = 18;
/// The longest time of the first class, in microseconds; each next class reaches twice as far.
const LATENCY_FIRST_MICROS: u64 = 64;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Figures {
    /// Requests answered.
    #[serde(skip_serializing_if = "is_zero")]
    pub requests: u64,
    /// tokenIds minted.
    #[serde(skip_serializing_if = "is_zero")]
    pub minted: u64,
    /// tokenIds traded for a session.
    #[serde(skip_serializing_if = "is_zero")]
    pub redeemed: u64,
    /// Messages to endpoints.
    #[serde(skip_serializing_if = "is_zero")]
    pub messages: u64,
    /// Messages to groups.
    #[serde(skip_serializing_if = "is_zero")]
    pub publications: u64,
    /// Signals relayed.
    #[serde(skip_serializing_if = "is_zero")]
    pub signals: u64,
    /// TURN credentials given.
    #[serde(skip_serializing_if = "is_zero")]
    pub turn_credentials: u64,
    /// Refused requests, by code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// Requests by how long they took; [`LATENCY_CLASSES`] of them, or none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latencies: Vec<u64>,
    /// The most live connections seen.
    #[serde(skip_serializing_if = "is_zero")]
    pub connections: u64,
    /// The most live sessions seen; of the whole server only.
    #[serde(skip_serializing_if = "is_zero")]
    pub sessions: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Figures {
    /// Adds what was counted in another stretch.
    pub fn add(&mut self, other: &Self) {
        for (sum, part) in [
            (&mut self.requests, other.requests),
            (&mut self.minted, other.minted),
            (&mut self.redeemed, other.redeemed),
            (&mut self.messages, other.messages),
            (&mut self.publications, other.publications),
            (&mut self.signals, other.signals),
            (&mut self.turn_credentials, other.turn_credentials),
        ] {
            *sum = sum.saturating_add(part);
        }
        for (code, part) in &other.refused {
            *self.refused.entry(code.clone()).or_default() += part;
        }
        self.latencies.resize(self.latencies.len().max(other.latencies.len()), 0);
        for (sum, part) in self.latencies.iter_mut().zip(&other.latencies) {
            *sum = sum.saturating_add(*part);
        }
        self.connections = self.connections.max(other.connections);
        self.sessions = self.sessions.max(other.sessions);
    }

    /// How long all but `1 - share` of the requests took at most, in microseconds, as near as the classes tell. None:
    /// there were none.
    #[must_use]
    pub fn quantile_micros(&self, share: Share) -> Option<u64> {
        let total: u64 = self.latencies.iter().sum();
        let rank = total.checked_mul(share.hundredths())?.div_ceil(100);
        let mut before = 0;
        for (class, count) in self.latencies.iter().enumerate() {
            if *count > 0 && before + count >= rank {
                let low = if class == 0 { 0 } else { LATENCY_FIRST_MICROS << (class - 1) };
                let high = LATENCY_FIRST_MICROS << class;
                // Within the class they are taken to lie evenly.
                return Some(low + (high - low) * (rank - before) / count);
            }
            before += count;
        }
        None
    }
}

/// A share of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Half of them.
    Half,
    /// 99 of a hundred.
    NinetyNine,
}

impl Share {
    const fn hundredths(self) -> u64 {
        match self {
            Self::Half => 50,
            Self::NinetyNine => 99,
        }
    }
}

/// The class of a request that took so long.
#[must_use]
pub fn latency_class(micros: u64) -> usize {
    let doublings = micros.div_ceil(LATENCY_FIRST_MICROS).max(1).next_power_of_two().trailing_zeros();
    (doublings as usize).min(LATENCY_CLASSES - 1)
}

/// The stretches in which figures are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Ten minutes, for a day.
    TenMinutes,
    /// Six hours, for thirty days.
    SixHours,
}

impl Span {
    /// Both.
    pub const ALL: &[Self] = &[Self::TenMinutes, Self::SixHours];

    /// Its length in seconds.
    #[must_use]
    pub const fn secs(self) -> i64 {
        match self {
            Self::TenMinutes => 600,
            Self::SixHours => 6 * 3_600,
        }
    }

    /// For how many seconds it is kept.
    #[must_use]
    pub const fn kept_secs(self) -> i64 {
        match self {
            Self::TenMinutes => 86_400,
            Self::SixHours => 30 * 86_400,
        }
    }
}

/// The beginning of the stretch of `secs` seconds that `at` lies in.
#[must_use]
pub fn start_of(at: Timestamp, secs: i64) -> Timestamp {
    Timestamp::from_secs(at.secs().div_euclid(secs) * secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_has_the_class_that_reaches_so_far() {
        for (micros, class) in
            [(0, 0), (1, 0), (64, 0), (65, 1), (128, 1), (129, 2), (4_194_304, 16), (9_000_000, 17), (u64::MAX / 2, 17)]
        {
            assert_eq!(latency_class(micros), class, "{micros}");
        }
    }

    #[test]
    fn quantiles_lie_within_their_class() {
        let mut figures = Figures::default();
        assert_eq!(figures.quantile_micros(Share::Half), None);
        figures.latencies = vec![0; LATENCY_CLASSES];
        figures.latencies[latency_class(100)] = 98;
        figures.latencies[latency_class(5_000)] = 2;
        let half = figures.quantile_micros(Share::Half).unwrap();
        assert!((64..=128).contains(&half), "{half}");
        let most = figures.quantile_micros(Share::NinetyNine).unwrap();
        assert!((4_096..=8_192).contains(&most), "{most}");
    }

    #[test]
    fn stretches_add_up_and_gauges_keep_their_highest() {
        let mut sum = Figures { minted: 1, connections: 9, ..Figures::default() };
        let refused = BTreeMap::from([("forbidden".to_owned(), 2)]);
        let part = Figures { minted: 2, connections: 4, latencies: vec![1, 2], refused, ..Figures::default() };
        sum.add(&part);
        sum.add(&part);
        assert_eq!((sum.minted, sum.connections, sum.refused["forbidden"]), (5, 9, 4));
        assert_eq!(sum.latencies, [2, 4]);
        let text = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), sum);
        assert!(!text.contains("redeemed"), "{text}");
    }

    #[test]
    fn a_stretch_begins_at_its_multiple() {
        assert_eq!(start_of(Timestamp::from_secs(1_199), 600), Timestamp::from_secs(600));
        assert_eq!(start_of(Timestamp::from_secs(-1), 600), Timestamp::from_secs(-600));
    }
}
