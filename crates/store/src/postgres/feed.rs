//! The feed of changes (docs/adr/0006).
//!
//! Invariant: `feed.head` is the number of the newest change; the rows of `changes` end with it and have no gap.

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::ports::{
    CHANGES_KEPT_MAX, CHANGES_KEPT_SECS, CHANGES_TOLD_MAX, Change, ChangeStore, Changes, NumberedChange, StoreError,
};

use super::connect::params;
use super::failure::Failure;
use super::pool::Errand;
use super::rows::{Columns, stored};
use super::store::PostgresStore;
use super::write::{in_ending_transaction, in_transaction};
use crate::codes;

/// Changes removed in one operation: a range of small rows, in a few milliseconds.
const REMOVED_AT_ONCE: i64 = 1_000;
/// Operations in one step of upkeep.
const ROUNDS: usize = 20;

impl PostgresStore {
    /// Removes changes that are old, or too many; what is left has no gap. They do not count as rows removed: nobody kept
    /// anything in them.
    pub(super) async fn remove_old_changes(&self, now: Timestamp) -> Result<(), StoreError> {
        const SQL: &str = "
            DELETE FROM respoked.changes WHERE number <= (
                SELECT max(number) FROM (SELECT number, at FROM respoked.changes ORDER BY number LIMIT $3) o
                WHERE at < $1 OR at > $2 OR number <= (SELECT head FROM respoked.feed) - $4)";
        let before = now.plus_secs(-CHANGES_KEPT_SECS).millis();
        // Those of a clock that stood ahead would stay for as long as that was.
        let ahead = now.plus_secs(CHANGES_KEPT_SECS).millis();
        for _ in 0..ROUNDS {
            let removed = in_transaction!(self, write => {
                write.execute(SQL, params![before, ahead, REMOVED_AT_ONCE, stored(CHANGES_KEPT_MAX)]).await
            })?;
            if removed < REMOVED_AT_ONCE.cast_unsigned() {
                break;
            }
        }
        Ok(())
    }
}

/// The feed's row, with each of its changes or none beside it: one statement sees one moment.
const CHANGES: &str = "SELECT f.epoch, f.head, c.number, c.what FROM respoked.feed f
     LEFT JOIN LATERAL (SELECT number, what FROM respoked.changes WHERE number > $1 ORDER BY number LIMIT $2) c ON true
     ORDER BY c.number";

#[async_trait]
impl ChangeStore for PostgresStore {
    async fn changes(&self, after: u64) -> Result<Changes, StoreError> {
        let most = i64::try_from(CHANGES_TOLD_MAX).unwrap_or(i64::MAX);
        let rows = self.read_on(&Errand::Hearing, CHANGES, params![stored(after), most]).await?;
        let mut changes = Changes { epoch: 0, head: 0, told: Vec::new() };
        for row in &rows {
            let mut columns = Columns::of(row);
            let read = (|| {
                (changes.epoch, changes.head) = (columns.number()?, columns.number()?);
                Ok((columns.number_if_any()?, columns.next::<Option<&str>>()?))
            })();
            let (Some(number), kept) = read.map_err(Failure::nothing_written)? else { break };
            let what = match kept {
                None => None,
                Some(kept) => match codes::change_of(kept) {
                    Some(what) => Some(what),
                    // Another version wrote it. Whoever is told less than there is, forgets all and goes on from the head.
                    None => break,
                },
            };
            changes.told.push(NumberedChange { number, what });
        }
        Ok(changes)
    }

    async fn write_change(&self, change: Change, at: Timestamp) -> Result<(), StoreError> {
        in_ending_transaction!(self, write => { write.change(Some(&change), at).await.map(drop) })
    }
}
