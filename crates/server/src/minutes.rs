//! The figures as they stand, and the task that puts those of a minute together and has the store keep them.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::clock::Timestamp;
use respoke_core::figures::{Figures, MINUTE_SECS, start_of};
use respoke_core::id::AppId;
use respoke_core::ops::Broker;
use respoke_core::ports::Node;
use respoke_hub::Hub;
use tokio_util::sync::CancellationToken;

use crate::watch::Watch;

/// How often is looked whether the minute is over.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is live at present: connections, and sessions, which are counted of the whole server only.
fn gauges(watch: &Watch, hub: &Hub, app: Option<AppId>) -> Figures {
    let (connections, sessions) = match app {
        None => (hub.view().counts.connections, u64::try_from(watch.metrics.sessions_live.get()).unwrap_or(0)),
        Some(app) => (hub.connection_count_here(app), 0),
    };
    Figures { connections: connections as u64, sessions, ..Figures::default() }
}

/// What was counted here since the present minute began, and when that was. What is live is looked at once a minute; of the
/// present one now.
pub(crate) fn present(watch: &Watch, hub: &Hub, app: Option<AppId>) -> (Timestamp, Figures) {
    let (since, mut present) = watch.tally.present(app);
    present.add(&gauges(watch, hub, app));
    (since, present)
}

/// Puts figures together minute by minute until `stop`, and what is left then.
pub(crate) async fn keep(watch: Arc<Watch>, broker: Arc<Broker>, hub: Arc<Hub>, stop: CancellationToken) {
    loop {
        let stopped = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            () = tokio::time::sleep(LOOK_AGAIN) => false,
        };
        let now = broker.now();
        let (since, _) = watch.tally.present(None);
        if !stopped && start_of(now, MINUTE_SECS) == since {
            continue;
        }
        let sessions = gauges(&watch, &hub, None).sessions;
        watch.tally.turn_minute(now, sessions, |app| gauges(&watch, &hub, app).connections);
        save(&watch, &broker).await;
        if stopped {
            return;
        }
    }
}

/// Has the store keep the minutes that it does not have yet.
pub(crate) async fn save(watch: &Watch, broker: &Broker) {
    let node = (broker.node() != Node::ALONE).then(|| broker.node().id);
    while let Some((at, counted)) = watch.tally.oldest_unsaved() {
        if let Err(error) = broker.store().add_figures(node, at, counted).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the figures of a minute could not be kept yet");
            break;
        }
        watch.tally.oldest_is_saved();
    }
}
