//! What is shown of other nodes, and of this one's standing among them.

use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use respoke_bus::carried::BusFigures;

use super::gauge::encode_gauge;

/// What a node among others knows of them and of its standing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodesView {
    /// Those that live, this one among them.
    pub(crate) live: u64,
    /// Those that this one declared dead.
    pub(crate) declared_dead: u64,
    /// How long ago its own life was confirmed, in milliseconds.
    pub(crate) beat_age_millis: u64,
    /// How far its clock is ahead of the database's, in milliseconds.
    pub(crate) skew_millis: i64,
    /// What its bus did.
    pub(crate) bus: BusFigures,
    /// What carried it.
    pub(crate) carriage: CarriageView,
}

/// What a carrier did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CarriageView {
    /// Frames sent.
    pub(crate) sent: u64,
    /// Frames that came.
    pub(crate) received: u64,
    /// Frames that it had no room for, or gave up.
    pub(crate) lost: u64,
    /// How often it made a connection.
    pub(crate) connections: u64,
    /// How long what came was under way lately, at most, in microseconds.
    pub(crate) lag_micros: u64,
    /// The size of its tables; 0: it has none.
    pub(crate) table_bytes: u64,
}

type ReadNodes = Box<dyn Fn() -> Option<NodesView> + Send + Sync>;

/// Reads what is known of other nodes when figures are asked for.
#[derive(Default)]
pub(super) struct NodesCollector {
    pub(super) view: OnceLock<ReadNodes>,
}

impl std::fmt::Debug for NodesCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodesCollector").finish_non_exhaustive()
    }
}

impl Collector for NodesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        // A server that is alone has no others.
        let alone = || NodesView { live: 1, ..NodesView::default() };
        let nodes = self.view.get().and_then(|view| view()).unwrap_or_else(alone);
        encode_gauge(&mut encoder, "nodes", "Nodes that live.", nodes.live)?;
        let age = "Milliseconds since this node's life was confirmed.";
        encode_gauge(&mut encoder, "node_beat_age_milliseconds", age, nodes.beat_age_millis)?;
        let lag = "Microseconds that frames were under way lately, at most.";
        encode_gauge(&mut encoder, "carrier_lag_micros", lag, nodes.carriage.lag_micros)?;
        let size = "Size of the tables that carry frames.";
        encode_gauge(&mut encoder, "carrier_table_bytes", size, nodes.carriage.table_bytes)?;
        let skew = "Milliseconds that this node's clock is ahead of the database's.";
        ConstGauge::new(nodes.skew_millis).encode(encoder.encode_descriptor(
            "node_clock_skew_milliseconds",
            skew,
            None,
            MetricType::Gauge,
        )?)?;
        for (name, help, count) in [
            ("nodes_declared_dead", "Nodes that this one declared dead.", nodes.declared_dead),
            ("bus_items_sent", "What was sent to other nodes.", nodes.bus.sent),
            ("bus_frames_sent_again", "What was sent to other nodes again.", nodes.bus.sent_again),
            ("bus_items_received", "What other nodes sent.", nodes.bus.received),
            ("bus_gaps", "What other nodes sent and was lost for good.", nodes.bus.missed),
            ("bus_items_unknown", "What other nodes sent that only another release understands.", nodes.bus.unknown),
            ("carrier_frames_sent", "Frames given to what carries them.", nodes.carriage.sent),
            ("carrier_frames_received", "Frames that were brought.", nodes.carriage.received),
            ("carrier_frames_lost", "Frames for which there was no room.", nodes.carriage.lost),
            ("carrier_connections", "Connections made to what carries frames.", nodes.carriage.connections),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}
