//! Kept messages by where they are, and by their places in their group's history.

use std::ops::Range;

use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, GroupName};
use respoke_core::message::{KEPT_BETWEEN_MAX, MessageRef, StoredMessage};
use rusqlite::{Connection, Row, params};

use super::rows::{Columns, all, one};

fn read(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    let mut columns = Columns::of(row);
    Ok(StoredMessage { at: columns.time()?, event: columns.json()? })
}

pub(super) fn messages(connection: &Connection, which: &[MessageRef]) -> rusqlite::Result<Vec<Option<StoredMessage>>> {
    // Another message of the group may have the number by now.
    let sql = "SELECT at, event FROM messages WHERE number = ?1 AND group_number = ?2 AND at = ?3";
    let read = |place: &MessageRef| one(connection, sql, params![place.number, place.group, place.at.millis()], read);
    which.iter().map(read).collect()
}

pub(super) fn kept_between(
    connection: &Connection,
    app: AppId,
    group: &GroupName,
    epoch: u64,
    offsets: &Range<u64>,
    before: Timestamp,
) -> rusqlite::Result<Vec<(u64, StoredMessage)>> {
    // By their instants, of which there is an index: what has no gap goes as far back as there are offsets.
    let sql = "SELECT * FROM (
                   SELECT offset, at, event FROM messages
                   WHERE group_number = (SELECT number FROM message_groups WHERE app_id = ?1 AND name = ?2 AND epoch = ?3)
                     AND at < ?4 ORDER BY at DESC, number DESC LIMIT ?5)
               WHERE offset >= ?6 AND offset < ?7 ORDER BY offset";
    let most = offsets.end.saturating_sub(offsets.start).min(KEPT_BETWEEN_MAX);
    let what = params![app.uuid(), group.as_str(), epoch, before.millis(), most, offsets.start, offsets.end];
    all(connection, sql, what, |row| {
        let mut columns = Columns::of(row);
        Ok((columns.next()?, StoredMessage { at: columns.time()?, event: columns.json()? }))
    })
}
