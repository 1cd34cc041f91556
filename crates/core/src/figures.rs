//! What is counted of an app or of the whole server in a stretch of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ports::NodeId;

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
    /// The most live connections seen at once.
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

/// Minutes of which is kept who had how many connections: a node writes a minute down within seconds of its end.
const MINUTES_KNOWN: usize = 3;

/// The length of the stretches that a node counts, in seconds.
pub const MINUTE_SECS: i64 = 60;

/// What is kept of a stretch, to which nodes add what they counted in each minute of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KeptFigures {
    /// What all counted so far; of connections the most that all had in one minute.
    #[serde(flatten)]
    pub figures: Figures,
    /// The connections of each node at the end of each of the last minutes, so that those of one minute are summed up. Of
    /// earlier minutes only their sum counts.
    #[serde(rename = "connectionsLately", skip_serializing_if = "BTreeMap::is_empty")]
    lately: BTreeMap<i64, BTreeMap<u32, u64>>,
}

impl KeptFigures {
    /// Adds what a node counted in the minute that began at `at`. None: a server that is alone.
    ///
    /// A minute that is written down late, when later ones were, is compared by itself, and so are a node's connections there.
    pub fn add(&mut self, node: Option<NodeId>, at: Timestamp, counted: &Figures) {
        let Some(node) = node else { return self.figures.add(counted) };
        let minute = start_of(at, MINUTE_SECS).secs();
        let oldest = self.lately.keys().next().copied().filter(|_| self.lately.len() >= MINUTES_KNOWN);
        let mut connections = counted.connections;
        if oldest.is_none_or(|oldest| minute >= oldest) {
            let nodes = self.lately.entry(minute).or_default();
            nodes.insert(node.0, counted.connections);
            connections = nodes.values().fold(0, |sum, of_node| sum.saturating_add(*of_node));
            while self.lately.len() > MINUTES_KNOWN {
                self.lately.pop_first();
            }
        }
        self.figures.add(&Figures { connections, ..counted.clone() });
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
    /// A minute, for an hour; only where several nodes write to one database. A server that is alone keeps those in memory.
    Minute,
    /// Ten minutes, for a day.
    TenMinutes,
    /// Six hours, for thirty days.
    SixHours,
}

impl Span {
    /// Those that are kept of what a node counts, or a server that is alone.
    #[must_use]
    pub const fn kept(node: Option<NodeId>) -> &'static [Self] {
        match node {
            None => &[Self::TenMinutes, Self::SixHours],
            Some(_) => &[Self::Minute, Self::TenMinutes, Self::SixHours],
        }
    }

    /// Its length in seconds.
    #[must_use]
    pub const fn secs(self) -> i64 {
        match self {
            Self::Minute => MINUTE_SECS,
            Self::TenMinutes => 600,
            Self::SixHours => 6 * 3_600,
        }
    }

    /// For how many seconds it is kept.
    #[must_use]
    pub const fn kept_secs(self) -> i64 {
        match self {
            Self::Minute => 3_600,
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
    fn connections_of_nodes_are_summed_by_the_minute() {
        let mut kept =
            KeptFigures { figures: Figures { connections: 3, ..Figures::default() }, ..KeptFigures::default() };
        let mut add = |node, minute: i64, connections| {
            let counted = Figures { connections, minted: 1, ..Figures::default() };
            kept.add(Some(NodeId(node)), Timestamp::from_secs(minute * 60), &counted);
            kept.figures.connections
        };
        assert_eq!([add(1, 0, 2), add(2, 0, 2), add(1, 1, 4), add(2, 1, 1), add(3, 1, 1)], [3, 4, 4, 5, 6]);
        assert_eq!(add(3, 1, 1), 6, "what is written twice has its connections once");
        assert_eq!([add(1, 2, 3), add(1, 3, 3), add(1, 9, 3)], [6, 6, 6]);
        assert_eq!([add(2, 0, 6), add(2, 0, 7)], [6, 7], "a minute that comes late is compared by itself");
        assert_eq!(add(2, 9, 5), 8);
        assert_eq!((kept.figures.minted, kept.lately.len()), (12, MINUTES_KNOWN));
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<KeptFigures>(&text).unwrap(), kept);
        assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), kept.figures, "an earlier program reads it");
        let text = serde_json::to_string(&kept.figures).unwrap();
        assert_eq!(serde_json::from_str::<KeptFigures>(&text).unwrap().figures, kept.figures, "and wrote it so");
        let mut alone = KeptFigures::default();
        alone.add(None, Timestamp::from_secs(0), &kept.figures);
        assert_eq!(serde_json::to_string(&alone).unwrap(), text);
    }

    #[test]
    fn a_stretch_begins_at_its_multiple() {
        assert_eq!(start_of(Timestamp::from_secs(1_199), 600), Timestamp::from_secs(600));
        assert_eq!(start_of(Timestamp::from_secs(-1), 600), Timestamp::from_secs(-600));
    }
}
