//! What this node counts and all nodes count together: it tells the others, takes what they tell, and answers them.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::figures::Figures;
use respoke_core::id::AppId;
use respoke_core::ports::{Bookkeeper, Counted, Node};
use respoke_hub::Hub;
use tokio_util::sync::CancellationToken;

use crate::api::stats;
use crate::limits::{Accounts, Limits};
use crate::state::Api;
use crate::throttle::Throttle;

/// Between two times at which the others are told, for each eight of them: so many nodes as there may be send no more frames
/// each than some.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// At the latest.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// When a node among so many others tells them again.
fn tell_after(others: usize) -> Duration {
    let steps = u32::try_from(others.div_ceil(8)).unwrap_or(u32::MAX).max(1);
    TELL_EVERY.saturating_mul(steps).min(TELL_WITHIN)
}

/// Makes what is counted known to the other nodes, if there may be some. `key` is theirs in common.
pub(crate) fn shared(
    hub: &Arc<Hub>,
    key: [u8; 32],
    (limits, accounts, throttle): (Limits, Accounts, Throttle),
) -> (Limits, Accounts, Throttle) {
    if !hub.is_among_others() {
        return (limits, accounts, throttle);
    }
    let telling = hub.clone();
    let throttle = throttle.among_others(key, move |tried| telling.tell_counted(Counted::Tried(tried)));
    (limits.among_others(), accounts.among_others(), throttle)
}

/// Tells the others a few times a second, until `stop`, and what is left then.
pub(crate) async fn keep(api: Arc<Api>, stop: CancellationToken) {
    loop {
        let rest = tokio::time::sleep(tell_after(api.hub.other_nodes_count()));
        let stopped = stop.run_until_cancelled(rest).await.is_none();
        api.tell_others();
        if stopped {
            return;
        }
    }
}

impl Api {
    /// Tells the other nodes what was counted here since they were told last.
    pub(crate) fn tell_others(&self) {
        let drawn = self.limits.untold();
        if !drawn.is_empty() {
            self.hub.tell_counted(Counted::Drawn(drawn));
        }
        let caused = self.accounts.untold();
        if !caused.is_empty() {
            self.hub.tell_counted(Counted::Caused(caused));
        }
        self.throttle.tell_the_rest();
    }
}

impl Bookkeeper for Api {
    fn counted(&self, _: Node, counted: Counted) {
        match counted {
            Counted::Drawn(drawn) => drawn.iter().for_each(|drawn| self.limits.drawn_elsewhere(drawn)),
            Counted::Caused(caused) => caused.iter().for_each(|caused| self.accounts.caused_elsewhere(caused)),
            Counted::Tried(tried) => {
                let now = self.monotonic();
                tried.iter().for_each(|tried| self.throttle.tried_elsewhere(tried, now));
            }
            // That is the broker's.
            Counted::Enrols(_) => {}
        }
    }

    fn figures(&self, app_id: Option<AppId>) -> Figures {
        stats::present(self, app_id).1
    }
}

#[cfg(test)]
mod tests;
