//! The feed: what was taken away or changed, in the order of commits. Whoever remembers something follows it.

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::clock::Timestamp;
use crate::id::{AdminId, AppId, EndpointId, RoleId, SecretId};

/// How long a change stays in the feed, in seconds. A node that has not looked for so long forgets everything instead.
pub const CHANGES_KEPT_SECS: i64 = 3_600;
/// Changes kept at most, however young: at thirty a second an hour's worth, and some ten megabytes.
pub const CHANGES_KEPT_MAX: u64 = 100_000;
/// Changes told at once.
pub const CHANGES_TOLD_MAX: usize = 1_000;

/// What may have ended or changed: everything that stands on it has to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One session, by its number.
    Session(u64),
    /// What an endpoint has.
    Endpoint(AppId, EndpointId),
    /// What stands on a role.
    Role(AppId, RoleId),
    /// What stands on a secret.
    Secret(AppId, SecretId),
    /// What stands on an app.
    App(AppId),
    /// What an admin has.
    Admin(AdminId),
    /// Which nodes serve. Nothing stands on it that a client has.
    Nodes,
}

/// The feed of changes.
///
/// Every method of a store that takes something away, or changes what tokens, sessions, sockets or rights stand on,
/// writes a numbered change in its own transaction. Numbers have no gap, and follow each other as their commits do:
/// whoever sees a number sees all that was done under it and before. Mints and redemptions write none.
#[async_trait]
pub trait ChangeStore: Send + Sync {
    /// The changes after number `after`, [`CHANGES_TOLD_MAX`] at most, and where the feed stands: all of one moment.
    async fn changes(&self, after: u64) -> Result<Changes, StoreError>;
    /// Writes a change of something that no row tells of any more.
    async fn write_change(&self, change: Change, at: Timestamp) -> Result<(), StoreError>;
}

/// Part of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Which history the numbers belong to. A restored database begins another.
    pub epoch: u64,
    /// The number of the newest change.
    pub head: u64,
    /// The changes asked for, by number.
    pub told: Vec<NumberedChange>,
}

/// A change as the feed has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedChange {
    /// Its number.
    pub number: u64,
    /// What changed. None: nothing that anybody remembers or a socket stands on, such as a tokenId that waited.
    pub what: Option<Change>,
}

/// How far somebody has followed the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// In which history.
    pub epoch: u64,
    /// The number of the last change that was followed.
    pub number: u64,
}

impl Changes {
    /// Where the feed stands.
    #[must_use]
    pub const fn end(&self) -> Cursor {
        Cursor { epoch: self.epoch, number: self.head }
    }

    /// Whether these are what came after `cursor`, with none missing. If not, anything may have changed.
    #[must_use]
    pub fn follow(&self, cursor: Cursor) -> bool {
        let Some(behind) = self.head.checked_sub(cursor.number) else { return false };
        let all_there = self.told.len() as u64 == behind.min(CHANGES_TOLD_MAX as u64);
        let in_order = self.told.iter().zip(cursor.number + 1..).all(|(change, number)| change.number == number);
        self.epoch == cursor.epoch && all_there && in_order
    }
}

/// Whoever holds something that may stand on what changes. Neither method waits.
pub trait Concerned: Send + Sync {
    /// This changed: what stands on it has to be looked at anew.
    fn changed(&self, change: &Change);
    /// Anything may have changed.
    fn anything_changed(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(head: u64, numbers: std::ops::Range<u64>) -> Changes {
        Changes { epoch: 7, head, told: numbers.map(|number| NumberedChange { number, what: None }).collect() }
    }

    const AT_5: Cursor = Cursor { epoch: 7, number: 5 };

    #[test]
    fn what_came_after_is_told_without_a_gap() {
        assert!(changes(5, 6..6).follow(AT_5), "nothing came");
        assert!(changes(8, 6..9).follow(AT_5));
        let many = CHANGES_TOLD_MAX as u64;
        assert!(changes(5 + 3 * many, 6..6 + many).follow(AT_5), "the rest is told next");
        assert_eq!(changes(8, 6..9).end(), Cursor { epoch: 7, number: 8 });
    }

    #[test]
    fn another_history_or_a_gap_means_anything() {
        assert!(!changes(8, 6..9).follow(Cursor { epoch: 6, ..AT_5 }), "another epoch");
        assert!(!changes(4, 6..6).follow(AT_5), "a head below");
        assert!(!changes(8, 7..9).follow(AT_5), "the first is missing");
        assert!(!changes(8, 6..8).follow(AT_5), "the last is missing");
        assert!(!changes(8, 9..9).follow(AT_5), "all are missing");
        let mut torn = changes(8, 6..9);
        torn.told[1].number = 8;
        assert!(!torn.follow(AT_5));
    }
}
