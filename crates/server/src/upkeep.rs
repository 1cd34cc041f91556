//! The janitor: removes what is dead, in small batches, for as long as the server runs.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::idempotency::REMEMBERED_SECS;
use respoke_core::ops::Broker;
use respoke_core::ports::Upkeep;
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
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = rest(&broker, pause) => {}
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
                tracing::error!(error = &error as &dyn std::error::Error, "upkeep failed");
                REST
            }
        };
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
