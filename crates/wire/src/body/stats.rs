//! `/v1/stats`.

use std::collections::BTreeMap;

use respoke_core::clock::Timestamp;
use respoke_core::figures::{Figures, Share};
use respoke_core::id::AppId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::iso;

/// What `GET /v1/stats` takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskStats {
    /// Of which app.
    pub app_id: Option<String>,
    /// How far back.
    pub range: Option<String>,
}

/// Figures over time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatsView {
    /// The app; `null`: the whole server.
    #[schema(value_type = Option<String>, format = Uuid, required = true)]
    pub app_id: Option<AppId>,
    /// `1h`, `24h` or `30d`.
    pub range: &'static str,
    /// The length of each stretch, in seconds.
    pub span_secs: i64,
    /// How many nodes did not answer: what they counted since their last minute is missing in the last stretch.
    pub silent_nodes: u64,
    /// Every stretch of the range, oldest first; the last one is not over yet.
    pub points: Vec<PointView>,
}

/// What was counted in one stretch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointView {
    /// When it began.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Requests answered, over HTTP and sockets.
    pub requests: u64,
    /// tokenIds minted.
    pub minted: u64,
    /// tokenIds traded for a session.
    pub redeemed: u64,
    /// Refused requests by `code`; of an app as far as the request proved to be of it.
    pub refused: BTreeMap<String, u64>,
    /// Messages to endpoints.
    pub messages: u64,
    /// Messages to groups.
    pub publications: u64,
    /// Signals relayed.
    pub signals: u64,
    /// TURN credentials given.
    pub turn_credentials: u64,
    /// The most live connections, as counted once a minute.
    pub connections: u64,
    /// The most live sessions, likewise; of the whole server only.
    pub sessions: u64,
    /// What half of the requests took at most, about; `null` if there were none.
    #[schema(required = true)]
    pub p50_micros: Option<u64>,
    /// What 99 of a hundred requests took at most, about; `null` if there were none.
    #[schema(required = true)]
    pub p99_micros: Option<u64>,
}

impl PointView {
    /// A stretch that began at `at`.
    #[must_use]
    pub fn of(at: Timestamp, figures: Figures) -> Self {
        Self {
            at,
            requests: figures.requests,
            minted: figures.minted,
            redeemed: figures.redeemed,
            messages: figures.messages,
            publications: figures.publications,
            signals: figures.signals,
            turn_credentials: figures.turn_credentials,
            connections: figures.connections,
            sessions: figures.sessions,
            p50_micros: figures.quantile_micros(Share::Half),
            p99_micros: figures.quantile_micros(Share::NinetyNine),
            refused: figures.refused,
        }
    }
}
