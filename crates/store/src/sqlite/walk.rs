//! How far upkeep has walked through the tables, of each of which it looks at some rows in one step.

use uuid::Uuid;

use super::failure::is_of_a_row;
use crate::age::Ahead;
use crate::upkeep::{Leftovers, LeftoversBegin};

/// Rows of each table looked at in one step of upkeep.
pub(super) const STEP_ROWS: i64 = 2_000;
/// Rows removed in one operation, so that a mint behind it waits a millisecond and not ten.
pub(super) const REMOVE_ROWS: usize = 250;

/// How far upkeep has walked through the tables.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) token: Reached,
    pub(super) session: Reached,
    pub(super) sessions_live: u64,
    /// What goes at the end of this pass, as far as the pass found nothing that needs it.
    pub(super) leftovers: Option<Leftovers>,
    /// Where the next pass begins to look for them.
    pub(super) leftovers_begin: LeftoversBegin,
    /// Up to which number the audit log holds no everyday rows.
    pub(super) audit: i64,
    /// Up to which number it holds no rows at all.
    pub(super) audit_begin: i64,
    pub(super) audit_ages: Ahead,
    pub(super) hub: HubWalk,
}

/// How far a pass has walked through a table that grows by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reached {
    /// Not at all.
    #[default]
    Nothing,
    /// To the row of this number.
    Row(u64),
    /// To its end, where the pass waits until the other table is walked too.
    End,
}

impl Reached {
    /// Behind which number the next step looks; none: nowhere.
    pub(super) const fn after(self) -> Option<u64> {
        match self {
            Self::Nothing => Some(0),
            Self::Row(number) => Some(number),
            Self::End => None,
        }
    }
}

/// How far upkeep has walked through the groups, the conversations and the apps with call reports; none: to the end.
#[derive(Clone)]
pub(super) struct HubWalk {
    pub(super) group: Option<i64>,
    pub(super) conversation: Option<ConversationKey>,
    pub(super) reports: Option<Uuid>,
    pub(super) ages: HubAges,
}

/// Where the next looks at what is old begin.
#[derive(Clone, Copy, Default)]
pub(super) struct HubAges {
    pub(super) messages: Ahead,
    pub(super) reports: Ahead,
    /// Up to this number of a row there cannot be too much that was said with keys.
    pub(super) said: i64,
}

impl Default for HubWalk {
    fn default() -> Self {
        Self::from(HubAges::default())
    }
}

impl From<HubAges> for HubWalk {
    /// A walk from the beginning.
    fn from(ages: HubAges) -> Self {
        Self { group: Some(0), conversation: Some((Uuid::nil(), String::new(), 0)), reports: Some(Uuid::nil()), ages }
    }
}

impl HubWalk {
    pub(super) fn complete(&self) -> bool {
        self.group.is_none() && self.conversation.is_none() && self.reports.is_none()
    }
}

/// A conversation's key.
pub(super) type ConversationKey = (Uuid, String, i64);

/// A row of which a column holds what it never should is passed over: the others are to be kept in order all the same.
pub(super) fn readable<T>(read: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match read {
        Err(error) if is_of_a_row(&error) => Ok(None),
        read => read.map(Some),
    }
}
