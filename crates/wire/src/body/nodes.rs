//! `/v1/nodes`.

use respoke_core::clock::Timestamp;
use respoke_core::ports::{Node, NodeRecord, NodeState};
use serde::Serialize;
use utoipa::ToSchema;

use super::iso;

/// A node that serves.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Its number.
    pub id: u32,
    /// What operators call it; two may have one name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Which program it is.
    pub version: String,
    /// Since when it lives.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it last said so.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub beat_at: Timestamp,
    /// `starting`, `serving` or `draining`.
    pub state: &'static str,
    /// Its open sockets, as it last said.
    pub sockets: u64,
    /// The connections of endpoints to it, likewise.
    pub connections: u64,
    /// How long what other nodes told it was under way lately, at most, in milliseconds.
    pub lag_millis: u64,
    /// How long before that it had last followed all changes (what was ended, banned or changed by any node), in milliseconds: a
    /// second at most as a rule. Past 5,000 it reads past what it remembers.
    pub feed_age_millis: u64,
    /// How far its clock is ahead of the database's, in milliseconds; negative: behind.
    pub skew_millis: i64,
    /// Whether it is the node that was asked, and answers this request.
    pub asked: bool,
}

/// The node by which something is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRef {
    /// Its number.
    pub id: u32,
    /// What operators call it; `null` where the node that answers has not heard that yet.
    #[schema(required = true)]
    pub name: Option<String>,
}

impl NodeView {
    /// What `here` tells of a node.
    #[must_use]
    pub fn of(record: NodeRecord, here: Node) -> Self {
        let state = match (record.state, record.is_to_drain) {
            (NodeState::Draining, _) | (NodeState::Serving, true) => "draining",
            (NodeState::Starting, _) => "starting",
            (NodeState::Serving, false) => "serving",
        };
        Self {
            id: record.node.id.0,
            name: record.name,
            address: record.address,
            version: record.version,
            since: record.since,
            beat_at: record.beat_at,
            state,
            sockets: record.load.sockets,
            connections: record.load.connections,
            lag_millis: record.load.lag_millis,
            feed_age_millis: record.load.feed_age_millis,
            skew_millis: record.load.skew_millis,
            asked: record.node == here,
        }
    }
}
