//! Whether somebody did otherwise since, on the server that goes on, what a process is about to do there again.
//!
//! The rows themselves do not say when what they hold was set. The audit log does: whoever sets it writes that there, in the same
//! transaction, and whoever does it again does so too.

use std::sync::atomic::Ordering;

use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::ports::Change;

use crate::codes;
use crate::postgres::connect::{Connection, params};
use crate::postgres::failure::Failure;
use crate::postgres::lineage::{Given, Settled};
use crate::postgres::rows::stored;

/// From where on a server's history has what the one before it had not.
#[derive(Clone, Copy)]
pub(in crate::postgres) struct Since {
    /// Rows of the log have higher numbers.
    log: i64,
    /// So have changes. None: they are not all there any more.
    changes: Option<i64>,
}

impl Since {
    /// Since the server was promoted on which `settled` was settled, as far as a process is concerned that knew `known` before.
    pub(in crate::postgres) fn promoted(known: Settled, settled: Settled, given: &Given) -> Self {
        if known == settled || settled.lineage.timeline == known.lineage.timeline + 1 {
            Self { log: settled.gap.1, changes: Some(settled.head) }
        } else {
            // It missed a promotion. Numbers jumped past what it was given.
            Self { log: stored(given.log.load(Ordering::Relaxed)), changes: None }
        }
    }

    /// Whether one of these was done to that object after an instant.
    pub(super) async fn is_done(
        self,
        connection: &Connection,
        change: &Change,
        actions: &[Action],
        object: &str,
        after: Timestamp,
    ) -> Result<bool, Failure> {
        const CHANGED: &str = "SELECT 1 FROM respoked.changes WHERE number > $1 AND what = $2 AND at > $3 LIMIT 1";
        const DONE: &str = "SELECT 1 FROM respoked.log
                            WHERE number > $1 AND action = ANY($2) AND app_id IS NOT DISTINCT FROM $3 AND object = $4
                              AND at > $5 LIMIT 1";
        let after = after.millis();
        // Seldom: so the log, which may have grown by millions, is seldom looked through.
        if let Some(newest) = self.changes
            && connection.query(CHANGED, params![newest, codes::change(change), after]).await?.is_empty()
        {
            return Ok(false);
        }
        let actions: Vec<_> = actions.iter().map(|action| action.code()).collect();
        let app = if let Change::Endpoint(app, _) = change { Some(app.uuid()) } else { None };
        let values = params![self.log, actions, app, object, after];
        Ok(connection.execute_patiently(DONE, values).await? > 0)
    }
}
