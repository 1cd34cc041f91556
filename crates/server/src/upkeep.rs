//! The janitor: removes what is dead, in small batches, for as long as the server runs. Of several servers on one database
//! one does it: whoever holds the lease.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::idempotency::REMEMBERED_SECS;
use respoke_core::ops::Broker;
use respoke_core::ports::{Lease, Node, StoreError, Upkeep};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::metrics::Metrics;

/// Between two passes over the tables.
const REST: Duration = Duration::from_secs(30);
/// Between two passes at least, though something was ended meanwhile whose room somebody may wait for.
const SHORT_REST: Duration = Duration::from_secs(1);
/// Between two steps that found something to remove: half the time at most goes into removing.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// Between two steps that found nothing: ten million live rows are walked in minutes, at a few per cent of a core.
const IDLE_PAUSE: Duration = Duration::from_millis(50);

/// For how long the lease is taken. Who is killed is stood in for by another after that, or goes on when it is started
/// again; nothing is lost by waiting: dead rows take room, and nobody uses them.
pub(crate) const LEASE: Duration = Duration::from_secs(120);
/// When it is taken for as long again: a small write a minute, which is all that a server pays that is alone.
const RENEWED: Duration = Duration::from_secs(60);
/// How long giving it back may take at the end; the next holder can wait for its end as well.
const GIVING_BACK: Duration = Duration::from_secs(1);

/// Call reports kept of one app at most: 200 megabytes if each were as long as it may be.
const CALL_REPORTS_PER_APP_MAX: u64 = 10_000;
/// Days after which a push token that was neither registered nor connected with goes.
///
/// # Source
///
/// Firebase Cloud Messaging takes a token of 270 idle days for expired.
const PUSH_TOKEN_DAYS: i64 = 270;

/// Runs until `stop`.
pub(crate) async fn keep(broker: Arc<Broker>, config: Config, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut pause = Duration::ZERO;
    let mut lease = Leased { node: broker.node(), until: None };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return lease.give_back(&broker).await,
            () = rest(&broker, pause) => {}
        }
        match lease.take(&broker).await {
            Ok(Lease::Held) => {}
            Ok(Lease::OfAnother) => {
                // They are counted there now.
                metrics.sessions_live.set(0);
                note_kept(&broker, &metrics).await;
                pause = REST;
                continue;
            }
            Err(error) => {
                failed(&error);
                pause = REST;
                continue;
            }
        }
        let now = broker.now();
        let upkeep = Upkeep {
            dead_before: now.plus_secs(-i64::from(config.retention_secs)),
            audit_before: now.plus_secs(-i64::from(config.audit_days) * 86_400),
            audit_rows_max: config.audit_rows_max,
            keys_before: now.plus_secs(-REMEMBERED_SECS),
            messages_before: now.plus_secs(-i64::from(config.history_days) * 86_400),
            messages_per_group_max: config.history_rows_per_group_max,
            call_reports_before: now.plus_secs(-i64::from(config.call_report_days) * 86_400),
            call_reports_per_app_max: CALL_REPORTS_PER_APP_MAX,
            push_tokens_before: now.plus_secs(-PUSH_TOKEN_DAYS * 86_400),
            now,
        };
        pause = match broker.store().upkeep(upkeep).await {
            Ok(step) => {
                if step.pass_complete {
                    note_kept(&broker, &metrics).await;
                }
                metrics.rows_removed.inc_by(step.removed);
                if step.pass_complete {
                    metrics.sessions_live.set(i64::try_from(step.sessions_live).unwrap_or(i64::MAX));
                }
                match (step.removed > 0, step.pass_complete) {
                    (true, _) => BUSY_PAUSE,
                    (false, true) => REST,
                    (false, false) => IDLE_PAUSE,
                }
            }
            Err(error) => {
                failed(&error);
                REST
            }
        };
    }
}

fn failed(error: &StoreError) {
    tracing::error!(error = error as &dyn std::error::Error, "upkeep failed");
}

/// The lease of upkeep, as far as this server has it.
struct Leased {
    node: Node,
    /// When it is to be taken again. None: it is not held.
    until: Option<Instant>,
}

impl Leased {
    async fn take(&mut self, broker: &Broker) -> Result<Lease, StoreError> {
        if self.until.is_some_and(|until| Instant::now() < until) {
            return Ok(Lease::Held);
        }
        // From before the database counts its time.
        let until = Instant::now() + RENEWED;
        self.until = None;
        let lease = broker.store().lease_upkeep(self.node, LEASE).await?;
        self.until = (lease == Lease::Held).then_some(until);
        Ok(lease)
    }

    async fn give_back(self, broker: &Broker) {
        if self.until.is_some() {
            // Failing that, it ends by itself.
            let _ = tokio::time::timeout(GIVING_BACK, broker.store().give_upkeep_back(self.node)).await;
        }
    }
}

/// Pauses, and of a long pause no more than a little if there is something to remove.
async fn rest(broker: &Broker, pause: Duration) {
    tokio::time::sleep(pause.min(SHORT_REST)).await;
    if pause > SHORT_REST {
        let _ = tokio::time::timeout(pause.saturating_sub(SHORT_REST), broker.store().something_ended()).await;
    }
}

async fn note_kept(broker: &Broker, metrics: &Metrics) {
    match broker.store().kept_bytes_of_all().await {
        Ok(bytes) => drop(metrics.kept_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX))),
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "what is kept could not be counted"),
    }
}

#[cfg(test)]
mod tests {
    use respoke_bus::LocalBus;
    use respoke_core::chance::of_this_test;
    use respoke_core::clock::SystemClock;
    use respoke_core::ports::NodeId;
    use respoke_store::{Options, SqliteStore};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_of_two_has_the_lease_and_pays_a_write_a_minute_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let store = SqliteStore::open(&folder.path().join("respoked.db"), Options::default()).unwrap();
            let store = Arc::new(store);
            (
                store.clone(),
                Broker::new(store, Arc::new(LocalBus::default()), Arc::new(SystemClock), of_this_test(), 10),
            )
        };
        let ((store, here), (_, there)) = (open(), open());
        let leased = |id| Leased { node: Node { id: NodeId(id), ..Node::ALONE }, until: None };
        let (mut one, mut other) = (leased(1), leased(2));
        let before = store.figures().operations;
        for _ in 0..100 {
            assert_eq!(one.take(&here).await.unwrap(), Lease::Held);
        }
        assert_eq!(store.figures().operations - before, 1);
        assert_eq!(other.take(&there).await.unwrap(), Lease::OfAnother);
        tokio::time::advance(RENEWED).await;
        assert_eq!(one.take(&here).await.unwrap(), Lease::Held);
        assert_eq!(store.figures().operations - before, 2);
        // The clock that stands still goes on while this is written, so that it is not waited for.
        one.give_back(&here).await;
        let deadline = std::time::Instant::now() + LEASE / 4;
        while other.take(&there).await.unwrap() == Lease::OfAnother {
            assert!(std::time::Instant::now() < deadline, "it is not given back");
        }
        other.give_back(&there).await;
    }
}
