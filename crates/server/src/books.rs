//! What this node counts and all nodes count together: it tells the others, takes what they tell, and answers them.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::figures::Figures;
use respoke_core::id::AppId;
use respoke_core::ports::{Bookkeeper, Counted, Node};
use respoke_core::request_log::{RequestsAsked, RequestsPiece};
use tokio_util::sync::CancellationToken;

use crate::minutes;
use crate::state::Api;

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
                for tried in &tried {
                    self.throttle.tried_elsewhere(tried, now);
                }
            }
            // That is the broker's.
            Counted::Enrols(_) => {}
        }
    }

    fn figures(&self, app_id: Option<AppId>) -> Figures {
        minutes::present(&self.watch, &self.hub, app_id).1
    }

    fn requests(&self, asked: &RequestsAsked) -> RequestsPiece {
        self.watch.requests.piece(asked)
    }

    fn stands(&self) -> bool {
        self.check_standing().is_ok()
    }
}

#[cfg(test)]
mod tests;
