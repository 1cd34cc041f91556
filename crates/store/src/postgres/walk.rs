//! How far upkeep has walked through the tables, of each of which it looks at some rows in one step.

use uuid::Uuid;

use crate::age::Ahead;
use crate::upkeep::{Leftovers, LeftoversBegin};

/// Rows of each table looked at in one step of upkeep: some fifty milliseconds.
pub(super) const STEP_ROWS: i64 = 5_000;
/// Rows removed in one transaction: some ten milliseconds.
pub(super) const REMOVE_ROWS: usize = 1_000;

/// How far upkeep has come.
#[derive(Default)]
pub(super) struct Walk {
    /// On which server it walked: after how many promotions that this process went on from.
    pub(super) era: u64,
    /// None: the next step begins a pass.
    pub(super) pass: Option<Pass>,
    /// Up to which number there are no tokens.
    pub(super) tokens_begin: i64,
    pub(super) audit: AuditWalk,
    /// Where the next pass begins to look for what nothing stands on.
    pub(super) leftovers_begin: LeftoversBegin,
    /// Where the next looks at what is old begin.
    pub(super) hub_ages: HubAges,
}

/// How far a pass has come.
pub(super) struct Pass {
    /// Up to which number nothing comes into the log any more, as far as was known at the beginning.
    pub(super) settled: Option<i64>,
    /// The last token that was looked at. None: all were.
    pub(super) token: Option<i64>,
    /// The last session, likewise.
    pub(super) session: Option<i64>,
    pub(super) sessions_live: u64,
    /// What goes at the end, as far as nothing was found that needs it.
    pub(super) leftovers: Leftovers,
    pub(super) hub: HubWalk,
}

/// How far upkeep has come in the log, as entries of the audit go.
#[derive(Default)]
pub(super) struct AuditWalk {
    /// Up to which number there are no everyday entries.
    pub(super) everyday: i64,
    /// Up to which number there are none at all.
    pub(super) begin: i64,
    pub(super) ages: Ahead,
}

/// How far a pass has walked through the groups, the conversations and the apps with call reports; none: to the end.
pub(super) struct HubWalk {
    pub(super) group: Option<i64>,
    pub(super) conversation: Option<ConversationKey>,
    pub(super) reports: Option<Uuid>,
}

impl Default for HubWalk {
    /// From the beginning.
    fn default() -> Self {
        Self { group: Some(0), conversation: Some((Uuid::nil(), String::new(), 0)), reports: Some(Uuid::nil()) }
    }
}

impl HubWalk {
    pub(super) fn is_complete(&self) -> bool {
        self.group.is_none() && self.conversation.is_none() && self.reports.is_none()
    }
}

/// A conversation's key.
pub(super) type ConversationKey = (Uuid, String, i64);

/// Where the next looks at what is old begin.
#[derive(Default)]
pub(super) struct HubAges {
    pub(super) messages: Ahead,
    pub(super) reports: Ahead,
    /// Up to this number of a row there cannot be too much that was said with keys.
    pub(super) said: i64,
}
