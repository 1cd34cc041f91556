//! Figures for Prometheus. Labels come from fixed lists, never from a request.

mod gauge;
mod nodes;

use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::MatchedPath;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _, LabelValueEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use respoke_core::code::Code;
use respoke_core::ops::ConfirmFigures;
use respoke_hub::HubView;
use respoke_store::WriterFigures;
use respoke_wire::close::Close;

use self::gauge::encode_gauge;
use self::nodes::NodesCollector;
pub(crate) use self::nodes::{CarriageView, NodesView};
use crate::deed::Deed;

/// Latency buckets: 100 microseconds to 3.3 seconds, doubling.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 16))
}

/// A route's template, as a label too. To copy it allocates nothing.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// Of a page.
    Matched(MatchedPath),
    /// Of an operation.
    Fixed(&'static str),
}

impl Route {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Matched(route) => route.as_str(),
            Self::Fixed(route) => route,
        }
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.as_str().encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: Route,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// All figures.
pub struct Metrics {
    registry: Registry,
    /// tokenIds minted.
    pub tokens_minted: Counter,
    /// tokenIds traded for a session.
    pub tokens_redeemed: Counter,
    /// TURN credentials handed out.
    pub turn_credentials: Counter,
    requests: Family<Request, Counter>,
    refusals: Family<Reason, Counter>,
    mint_seconds: Histogram,
    redeem_seconds: Histogram,
    other_seconds: Histogram,
    /// Live sessions, as counted by the last pass of upkeep and kept up to date since.
    pub sessions_live: Gauge,
    /// Bytes kept of what clients say, at the last step of upkeep.
    pub kept_bytes: Gauge,
    /// Dead rows removed.
    pub rows_removed: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// What the store's writer did; it counts itself, on a thread that knows no metrics.
    writer: Arc<WriterCollector>,
    /// What the hub holds and did; it counts itself too.
    hub: Arc<HubCollector>,
    /// What this node knows of others, if there may be some.
    nodes: Arc<NodesCollector>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("respoked");
        let metrics = Self {
            tokens_minted: Counter::default(),
            tokens_redeemed: Counter::default(),
            turn_credentials: Counter::default(),
            requests: Family::default(),
            refusals: Family::default(),
            mint_seconds: latency(),
            redeem_seconds: latency(),
            other_seconds: latency(),
            sessions_live: Gauge::default(),
            kept_bytes: Gauge::default(),
            rows_removed: Counter::default(),
            connections: Gauge::default(),
            writer: Arc::default(),
            hub: Arc::default(),
            nodes: Arc::default(),
            registry: Registry::default(),
        };
        // Each name gets `respoked_` before it, and a counter's `_total` behind it.
        registry.register("tokens_minted", "tokenIds minted", metrics.tokens_minted.clone());
        registry.register("tokens_redeemed", "tokenIds traded for a session", metrics.tokens_redeemed.clone());
        registry.register("turn_credentials", "TURN credentials handed out", metrics.turn_credentials.clone());
        registry.register("http_requests", "Requests by route and status", metrics.requests.clone());
        registry.register("refusals", "Refused requests by reason", metrics.refusals.clone());
        registry.register("mint_seconds", "Time to mint, in seconds", metrics.mint_seconds.clone());
        registry.register("redeem_seconds", "Time to redeem, in seconds", metrics.redeem_seconds.clone());
        registry.register("request_seconds", "Time of other requests, in seconds", metrics.other_seconds.clone());
        registry.register("sessions_live", "Live sessions at the last pass of upkeep", metrics.sessions_live.clone());
        registry.register("kept_bytes", "Bytes kept of what clients say, in all apps", metrics.kept_bytes.clone());
        registry.register("rows_removed", "Dead rows removed", metrics.rows_removed.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register_collector(Box::new(metrics.writer.clone()));
        registry.register_collector(Box::new(metrics.hub.clone()));
        registry.register_collector(Box::new(metrics.nodes.clone()));
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// One request was answered, which was to do `attempted`. `refused` is a refusal's code.
    pub(crate) fn answered(
        &self,
        route: Route,
        method: &'static str,
        status: u16,
        took: Duration,
        attempted: Option<Deed>,
        refused: Option<Code>,
    ) {
        let seconds = match attempted {
            Some(Deed::Minted) => &self.mint_seconds,
            Some(Deed::Redeemed) => &self.redeem_seconds,
            Some(Deed::Message | Deed::Publication | Deed::Signal | Deed::TurnCredentials) | None => {
                &self.other_seconds
            }
        };
        seconds.observe(took.as_secs_f64());
        if let Some(deed) = attempted.filter(|_| status == 200) {
            self.happened(deed);
        }
        self.counted(route, method, status);
        if let Some(code) = refused {
            self.refused(code);
        }
    }

    /// Something was done. What the hub does, it counts itself.
    pub(crate) fn happened(&self, deed: Deed) {
        let counter = match deed {
            Deed::Minted => &self.tokens_minted,
            Deed::Redeemed => &self.tokens_redeemed,
            Deed::TurnCredentials => &self.turn_credentials,
            Deed::Message | Deed::Publication | Deed::Signal => return,
        };
        counter.inc();
    }

    /// Something was refused.
    pub fn refused(&self, code: Code) {
        self.refusals.get_or_create(&Reason { reason: code.word() }).inc();
    }

    /// One request was answered whose time says nothing, such as a long poll.
    pub(crate) fn counted(&self, route: Route, method: &'static str, status: u16) {
        self.requests.get_or_create(&Request { route, method, status }).inc();
    }

    /// Reads with `figures` from now on what the store's writer does; of the first that is named.
    pub fn read_writer(&self, figures: impl Fn() -> WriterFigures + Send + Sync + 'static) {
        // A server names one; a second would be a defect that its tests show at once.
        let _ = self.writer.figures.set(Box::new(figures));
    }

    /// Has the hub shown by `view` from now on; by the first that is named.
    pub fn read_hub(&self, view: impl Fn(&mut dyn FnMut(HubView<'_>)) + Send + Sync + 'static) {
        let _ = self.hub.view.set(Box::new(view));
    }

    /// Reads with `view` from now on what this node knows of others.
    pub(crate) fn read_nodes(&self, view: impl Fn() -> Option<NodesView> + Send + Sync + 'static) {
        let _ = self.nodes.view.set(Box::new(view));
    }

    /// The figures as Prometheus text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// Reads what the store's writer did when figures are asked for.
#[derive(Default)]
struct WriterCollector {
    figures: OnceLock<Box<dyn Fn() -> WriterFigures + Send + Sync>>,
}

impl std::fmt::Debug for WriterCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriterCollector").finish_non_exhaustive()
    }
}

impl Collector for WriterCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        encode_writer(encoder, self.figures.get().map_or_else(WriterFigures::default, |figures| figures()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums are exact up to 2^53 operations, and near it beyond")]
fn encode_writer(mut encoder: DescriptorEncoder<'_>, writer: WriterFigures) -> std::fmt::Result {
    let committed = "Operations committed together.";
    let mut histogram = encoder.encode_descriptor("commit_operations", committed, None, MetricType::Histogram)?;
    let sizes = writer.commit_sizes;
    let last = sizes.len() - 1;
    let bound = |class: usize| if class < last { f64::from(1_u32 << class) } else { f64::INFINITY };
    let buckets: Vec<_> = sizes.iter().enumerate().map(|(class, batches)| (bound(class), *batches)).collect();
    let batches = sizes.iter().sum();
    histogram.encode_histogram::<NoLabelSet>(writer.operations as f64, batches, &buckets, None)?;
    encode_gauge(&mut encoder, "commit_micros", "Microseconds spent committing them.", writer.commit_micros)?;
    let help = "Operations tried again in PostgreSQL, by reason.";
    let mut family = encoder.encode_descriptor("database_retries", help, None, MetricType::Counter)?;
    for (reason, count) in [("conflict", writer.again.conflicts), ("loss", writer.again.losses)] {
        ConstCounter::new(count).encode(family.encode_family(&Reason { reason })?)?;
    }
    match writer.bytes {
        Some(bytes) => encode_gauge(&mut encoder, "database_bytes", "Size of the database's files.", bytes),
        None => Ok(()),
    }
}

type View = Box<dyn Fn(&mut dyn FnMut(HubView<'_>)) + Send + Sync>;

/// Reads what the hub holds and did when figures are asked for.
#[derive(Default)]
struct HubCollector {
    view: OnceLock<View>,
}

impl std::fmt::Debug for HubCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubCollector").finish_non_exhaustive()
    }
}

impl Collector for HubCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut written = Ok(());
        if let Some(view) = self.view.get() {
            view(&mut |hub| written = encode_hub(&mut encoder, hub));
        }
        written
    }
}

fn encode_hub(encoder: &mut DescriptorEncoder<'_>, hub: HubView<'_>) -> std::fmt::Result {
    let counts = hub.counts;
    for (name, help, count) in [
        ("sockets", "Open sockets.", hub.sockets),
        ("hub_connections", "Registered connections.", counts.connections),
        ("hub_endpoints", "Endpoints with a connection.", counts.endpoints),
        ("hub_groups", "Groups with a member.", counts.groups),
        ("hub_members", "Memberships of groups.", counts.members),
        ("hub_observers", "Observations of presence.", counts.observers),
    ] {
        encode_gauge(encoder, name, help, count as u64)?;
    }
    let figures = hub.figures;
    for (name, help, count) in [
        ("sockets_opened", "Sockets opened.", &figures.opened),
        ("messages", "Messages to endpoints.", &figures.messages),
        ("publications", "Messages to groups.", &figures.published),
        ("signals", "Signals relayed.", &figures.signals),
        ("deliveries", "Frames handed to outboxes.", &figures.delivered),
        ("stray_packets", "Packets of clients that could not be read.", &figures.strays),
    ] {
        let counter = ConstCounter::new(count.load(Ordering::Relaxed));
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    let help = "Milliseconds since all changes had been followed.";
    let age = u64::try_from(hub.feed_age.as_millis()).unwrap_or(u64::MAX);
    encode_gauge(encoder, "feed_age_milliseconds", help, age)?;
    encode_confirming(encoder, hub.confirming)?;
    let help = "Sockets closed, by reason.";
    let mut family = encoder.encode_descriptor("sockets_closed", help, None, MetricType::Counter)?;
    for (why, count) in Close::ALL.iter().zip(&figures.closed) {
        let counter = ConstCounter::new(count.load(Ordering::Relaxed));
        counter.encode(family.encode_family(&Reason { reason: why.word() })?)?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a sum of microseconds is exact up to 2^53")]
fn encode_confirming(encoder: &mut DescriptorEncoder<'_>, confirming: &ConfirmFigures) -> std::fmt::Result {
    let help =
        "Time from the end or change of something until the other nodes had followed it or were waited for no more.";
    let mut histogram = encoder.encode_descriptor("confirm_seconds", help, None, MetricType::Histogram)?;
    let last = confirming.waits.len() - 1;
    let bound = |class: usize| if class < last { f64::from(1_u32 << class) / 1_000.0 } else { f64::INFINITY };
    let waits = confirming.waits.iter().map(|waits| waits.load(Ordering::Relaxed));
    let buckets: Vec<_> = waits.enumerate().map(|(class, waits)| (bound(class), waits)).collect();
    let seconds = confirming.micros.load(Ordering::Relaxed) as f64 / 1e6;
    let count = buckets.iter().map(|(_, waits)| waits).sum();
    histogram.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
    let help = "Ends and changes that were answered though not every node had followed them.";
    let counter = ConstCounter::new(confirming.unconfirmed.load(Ordering::Relaxed));
    counter.encode(encoder.encode_descriptor("unconfirmed", help, None, MetricType::Counter)?)
}

#[cfg(test)]
mod tests {
    use respoke_hub::{Counts, HubFigures};
    use respoke_store::Again;

    use super::*;

    #[test]
    fn what_happened_is_shown() {
        let metrics = Metrics::default();
        let took = Duration::from_millis(1);
        metrics.answered(Route::Fixed("/v1/tokens"), "POST", 200, took, Some(Deed::Minted), None);
        let refused = Some(Code::TokenRefused);
        metrics.answered(Route::Fixed("/v1/session-tokens"), "POST", 401, took, Some(Deed::Redeemed), refused);
        let sizes = [1, 0, 2, 0, 0, 0, 1];
        let figures = HubFigures::default();
        figures.closed[1].fetch_add(3, Ordering::Relaxed);
        let confirming = ConfirmFigures::default();
        confirming.waits[2].fetch_add(4, Ordering::Relaxed);
        confirming.waits[9].fetch_add(1, Ordering::Relaxed);
        confirming.micros.fetch_add(264_000, Ordering::Relaxed);
        confirming.unconfirmed.fetch_add(1, Ordering::Relaxed);
        metrics.read_hub(move |show| {
            let feed_age = Duration::from_millis(800);
            show(HubView {
                sockets: 5,
                counts: Counts::default(),
                figures: &figures,
                confirming: &confirming,
                feed_age,
            });
        });
        let again = Again { conflicts: 3, losses: 2 };
        metrics.read_writer(move || WriterFigures { operations: 77, commit_sizes: sizes, again, ..Default::default() });
        let text = metrics.text();
        for line in [
            "respoked_tokens_minted_total 1",
            "respoked_tokens_redeemed_total 0",
            "respoked_http_requests_total{route=\"/v1/tokens\",method=\"POST\",status=\"200\"} 1",
            "respoked_mint_seconds_count 1",
            "respoked_redeem_seconds_count 1",
            "respoked_request_seconds_count 0",
            "respoked_refusals_total{reason=\"token_refused\"} 1",
            "respoked_commit_operations_bucket{le=\"4.0\"} 3",
            "respoked_commit_operations_bucket{le=\"+Inf\"} 4",
            "respoked_commit_operations_sum 77.0",
            "respoked_commit_operations_count 4",
            "respoked_database_retries_total{reason=\"conflict\"} 3",
            "respoked_database_retries_total{reason=\"loss\"} 2",
            "respoked_sockets 5",
            "respoked_feed_age_milliseconds 800",
            "respoked_confirm_seconds_bucket{le=\"0.002\"} 0",
            "respoked_confirm_seconds_bucket{le=\"0.004\"} 4",
            "respoked_confirm_seconds_bucket{le=\"+Inf\"} 5",
            "respoked_confirm_seconds_sum 0.264",
            "respoked_unconfirmed_total 1",
            "respoked_sockets_closed_total{reason=\"session_ended\"} 3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
