//! The feed of changes (docs/adr/0006).
//!
//! Invariant: `feed.head` is the number of the newest change; the rows of `changes` end with it and have no gap.

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::ports::{
    CHANGES_KEPT_MAX, CHANGES_KEPT_SECS, CHANGES_TOLD_MAX, Change, ChangeStore, Changes, NumberedChange, StoreError,
};
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::rows::{Columns, execute};
use super::writer::Write;
use crate::codes;

/// Writes the transaction's next change and returns its number, which is what [`Write::next_change`] was.
///
/// `what` is none where nobody remembers what was taken away.
pub(super) fn write(write: &Write<'_>, what: Option<&Change>, at: Timestamp) -> rusqlite::Result<u64> {
    let number = write.next_change();
    let sql = "INSERT INTO changes (number, what, at) VALUES (?1, ?2, ?3)";
    execute(write.connection, sql, params![number, what.map(codes::change), at.millis()])?;
    execute(write.connection, "UPDATE feed SET head = ?1", [number])?;
    write.changed();
    Ok(number)
}

/// Changes removed in one operation: a range of small rows, in a fraction of a millisecond.
const REMOVED_AT_ONCE: usize = 1_000;
/// Operations in one step of upkeep. Who always replaces tokens makes a change with each, and as many dead tokens, for
/// which there are as many steps.
const ROUNDS: usize = 20;

impl SqliteStore {
    /// Removes changes that are old, or too many. They do not count as rows removed: nobody kept anything in them.
    pub(super) async fn remove_old_changes(&self, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..ROUNDS {
            if self.writer.write(move |write| remove_old(write.connection, now)).await? < REMOVED_AT_ONCE {
                break;
            }
        }
        Ok(())
    }
}

/// What is left has no gap.
fn remove_old(connection: &Connection, now: Timestamp) -> rusqlite::Result<usize> {
    let before = now.plus_secs(-CHANGES_KEPT_SECS).millis();
    // Those of a clock that stood ahead would stay for as long as that was.
    let ahead = now.plus_secs(CHANGES_KEPT_SECS).millis();
    execute(
        connection,
        "DELETE FROM changes WHERE number <= (
             SELECT max(number) FROM (SELECT number, at FROM changes ORDER BY number LIMIT ?3)
             WHERE at < ?1 OR at > ?2 OR number <= (SELECT head FROM feed) - ?4)",
        params![before, ahead, REMOVED_AT_ONCE, CHANGES_KEPT_MAX],
    )
}

/// The feed's row, with each of its changes or none beside it: one statement sees one moment.
const CHANGES: &str = "SELECT f.epoch, f.head, c.number, c.what FROM feed f
     LEFT JOIN changes c ON c.number > ?1 WHERE f.one = 1 ORDER BY c.number LIMIT ?2";

fn read(connection: &Connection, after: u64) -> rusqlite::Result<Changes> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(CHANGES)?;
    let mut rows = statement.query(params![after, CHANGES_TOLD_MAX])?;
    let mut changes = Changes { epoch: 0, head: 0, told: Vec::new() };
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        (changes.epoch, changes.head) = (columns.next()?, columns.next()?);
        let Some(number) = columns.next()? else { break };
        let what = match columns.next::<Option<String>>()? {
            None => None,
            Some(words) => match codes::change_of(&words) {
                Some(what) => Some(what),
                // Another version wrote it. Whoever is told less than there is, forgets all and goes on from the head.
                None => break,
            },
        };
        changes.told.push(NumberedChange { number, what });
    }
    Ok(changes)
}

#[async_trait]
impl ChangeStore for SqliteStore {
    async fn changes(&self, after: u64) -> Result<Changes, StoreError> {
        self.readers.read(move |connection| read(connection, after)).await
    }

    async fn write_change(&self, change: Change, at: Timestamp) -> Result<(), StoreError> {
        self.writer.write_sparing_grounds(move |write| self::write(write, Some(&change), at).map(drop)).await
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::ports::Cursor;

    use super::*;

    #[test]
    fn what_another_version_wrote_is_not_told_and_nothing_behind_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection).unwrap();
        let start = read(&connection, 0).unwrap().head;
        for (number, what) in [(start + 1, "session 7"), (start + 2, "tenant 7"), (start + 3, "session 8")] {
            let number = i64::try_from(number).unwrap();
            connection
                .execute("INSERT INTO changes (number, what, at) VALUES (?1, ?2, 0)", params![number, what])
                .unwrap();
            connection.execute("UPDATE feed SET head = ?1", [number]).unwrap();
        }
        let changes = read(&connection, start).unwrap();
        assert_eq!((changes.head, changes.told.len()), (start + 3, 1));
        assert!(!changes.follow(Cursor { epoch: changes.epoch, number: start }), "all is to be forgotten");
    }

    #[test]
    fn the_feed_is_read_by_its_numbers() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection).unwrap();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {CHANGES}")).unwrap();
        let steps = plan.query_map(params![0, 1], |row| row.get::<_, String>("detail")).unwrap();
        let steps: Vec<_> = steps.map(Result::unwrap).collect();
        assert_eq!(
            steps,
            ["SEARCH f USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH c USING INTEGER PRIMARY KEY (rowid>?) LEFT-JOIN"],
            "no sorting, and no change that was told before"
        );
    }
}
