//! How much is kept of what an app's clients say, and whether more may be.
//!
//! A row counts with what it takes in the file, in its table and in the indexes. How much that is was measured on pages of
//! 1 KiB, as the growth of a database with thousands of rows alike, in bytes a row (and what it counts with):
//!
//! - message of 4 bytes, its sender's name included: 48 (60); of 232: 365 (373); of 502: 1,053 (1,056); of 1,402: 1,559
//!   (1,568); of 2,052: 2,196 (2,208); of 5,002: 5,148 (5,152); of 19,002: 19,484 (19,496)
//! - group with a name of 32 bytes: 149 (160); of 256: 1,502 (1,536)
//! - conversation of an endpoint with a name of 32 bytes: 86 (96); of 256: 1,157 (1,184)
//! - push token of 160 bytes for an endpoint with a name of 36: 562 (575); of 2,050: 2,414 (2,428)
//! - call report of 4 bytes, its endpoint's name included: 66 (87); of 2,052: 2,204 (2,224)
//!
//! Invariants: `kept_bytes` is the sum of `kept_rows` for each app; triggers see to it (`schema/0015_pages.sql`). The
//! column `cost_bytes` of a row says what is computed here before the row is written.

use respoke_core::id::{AppId, EndpointId, GroupName};
use rusqlite::{Connection, params};

use super::rows::one;

/// The pages that were measured, and how much of one is for rows.
const PAGE: usize = super::schema::PAGE_BYTES as usize;
const FOR_ROWS: usize = PAGE - 8;
/// A row that is longer leaves its page for pages of its own, of which each takes so much, but for what is left over: that
/// stays, as far as there is room, and at least the row's beginning.
///
/// # Source
///
/// SQLite's file format, section 1.6: B-tree pages, for tables with row numbers.
const ROW_MAX: usize = PAGE - 35;
const OWN_PAGE: usize = PAGE - 4;
const BEGINNING: usize = 104;
/// What a page keeps of each row besides it.
const BESIDES: usize = 6;
/// A key that is longer leaves an index for a page of its own, and a row a table that is ordered by one.
const KEY_MAX: usize = 231;

/// The share of a page of a row of which so much is on it.
const fn share(bytes: usize) -> usize {
    PAGE / (FOR_ROWS / (bytes + BESIDES))
}

/// What a row takes in its table.
const fn in_pages(row: usize) -> usize {
    if row <= ROW_MAX {
        return share(row);
    }
    let (own, rest) = ((row - BEGINNING) / OWN_PAGE, (row - BEGINNING) % OWN_PAGE);
    if BEGINNING + rest <= ROW_MAX {
        own * PAGE + share(BEGINNING + rest + 4)
    } else {
        (own + 1) * PAGE + share(BEGINNING + 4)
    }
}

/// A message's cost, in bytes.
pub(super) fn message(event_len: usize, sender: &EndpointId) -> usize {
    32 + in_pages(event_len + sender.as_str().len() + 24)
}

/// A group's, whose name is in the table and in an index.
pub(super) fn group(name: &GroupName) -> usize {
    let len = name.as_str().len();
    if len + 26 <= KEY_MAX { 64 + 3 * len } else { PAGE + 512 }
}

/// That of an endpoint's mark in a group.
pub(super) fn conversation(endpoint: &EndpointId) -> usize {
    let len = endpoint.as_str().len();
    if len + 41 <= KEY_MAX { 48 + 3 * len / 2 } else { PAGE + 160 }
}

/// A push token's. It stands in four indexes, where chance has it, so that their pages are half to two thirds full.
pub(super) fn push_token(text_len: usize, endpoint: &EndpointId) -> usize {
    let len = endpoint.as_str().len();
    let in_indexes = if len + 36 <= KEY_MAX { 180 + 3 * len / 2 } else { PAGE + 308 };
    in_pages(text_len + len + 80) + in_indexes
}

/// A call report's.
pub(super) fn call_report(report_len: usize, endpoint: Option<&EndpointId>) -> usize {
    48 + in_pages(report_len + endpoint.map_or(0, |endpoint| endpoint.as_str().len()) + 30)
}

/// What an app keeps.
pub(super) fn bytes(connection: &Connection, app: AppId) -> rusqlite::Result<u64> {
    let kept: Option<i64> =
        one(connection, "SELECT bytes FROM kept_bytes WHERE app_id = ?1", params![app.uuid()], |row| row.get(0))?;
    Ok(kept.map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0)))
}

/// What an app keeps, counted anew.
pub(super) fn recounted(connection: &Connection, app: AppId) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(sum(bytes), 0) FROM kept_rows WHERE app_id = ?1";
    one(connection, sql, params![app.uuid()], |row| row.get(0)).map(Option::unwrap_or_default)
}

/// What all apps keep.
pub(super) fn of_all(connection: &Connection) -> rusqlite::Result<u64> {
    let kept: Option<i64> =
        connection.prepare_cached("SELECT sum(bytes) FROM kept_bytes")?.query_row([], |row| row.get(0))?;
    Ok(kept.map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0)))
}

/// Whether rows that cost so much still fit within `bytes_max`.
pub(super) fn fits(connection: &Connection, app: AppId, cost: usize, bytes_max: u64) -> rusqlite::Result<bool> {
    Ok(bytes(connection, app)?.saturating_add(cost as u64) <= bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    /// Rows of one kind and size that are written and measured.
    struct Rows {
        table: &'static str,
        number: u32,
        cost: usize,
    }

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        connection
    }

    fn used(connection: &Connection) -> i64 {
        let sql = "SELECT (page_count - freelist_count) * page_size
                   FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Writes rows, and compares what they cost with what is counted and with what the database grew by.
    fn measure(rows: &Rows, insert: impl Fn(&Connection, u32)) {
        let connection = database();
        connection.execute_batch("BEGIN").unwrap();
        let empty = used(&connection);
        (0..rows.number).for_each(|nth| insert(&connection, nth));
        let (table, number, cost) = (rows.table, i64::from(rows.number), i64::try_from(rows.cost).unwrap());
        let sql = format!("SELECT count(*), min(cost_bytes), max(cost_bytes) FROM {table}");
        let counted: (i64, i64, i64) =
            connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        assert_eq!(counted, (number, cost, cost), "{table}");
        let grown = (used(&connection) - empty) / number;
        // A row may take a hundredth more than it counts with, and counts with half as much again at most, or two dozen bytes.
        assert!(grown * 99 / 100 <= cost, "a row of {table} takes {grown} and counts with {cost}");
        assert!(cost <= (grown * 3 / 2).max(grown + 24), "a row of {table} takes {grown} and counts with {cost}");
    }

    /// Ids of many rows, in no order.
    fn scattered_id(nth: u32) -> [u8; 16] {
        let half = |seed: u64| {
            let mut bits = (u64::from(nth) + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for multiplier in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
                bits = (bits ^ (bits >> 29)).wrapping_mul(multiplier);
            }
            bits ^ (bits >> 31)
        };
        (u128::from(half(1)) << 64 | u128::from(half(1 << 40))).to_be_bytes()
    }

    /// Texts, likewise.
    fn scattered(nth: u32, len: usize) -> String {
        let id = u128::from_be_bytes(scattered_id(nth));
        format!("{id:032x}").repeat(len.div_ceil(32))[..len].to_owned()
    }

    /// So many that what the first pages have to spare does not count.
    fn number_of(len: usize) -> u32 {
        u32::try_from(4_000_000 / (len + 100)).unwrap().clamp(1_000, 10_000)
    }

    #[test]
    fn a_row_counts_with_what_it_takes_in_the_file() {
        let jo = EndpointId::parse("jo").unwrap();
        for len in [
            2, 100, 230, 300, 500, 700, 970, 1_000, 1_300, 1_400, 1_950, 2_050, 3_000, 3_998, 4_010, 5_000, 9_000,
            19_000,
        ] {
            let rows = Rows { table: "messages", number: number_of(len), cost: message(len, &jo) };
            measure(&rows, |connection, nth| {
                let sql =
                    "INSERT INTO messages (group_number, at, sender, event, offset) VALUES (?1, ?2, 'jo', ?3, ?4)";
                let at = 1_800_000_000_000_i64 + i64::from(nth);
                connection.execute(sql, params![10_000 + nth % 97, at, "x".repeat(len), 70_000 + nth]).unwrap();
            });
            let rows = Rows { table: "call_reports", number: number_of(len), cost: call_report(len, Some(&jo)) };
            measure(&rows, |connection, nth| {
                let sql = "INSERT INTO call_reports (app_id, at, endpoint, report) VALUES (?1, ?2, 'jo', ?3)";
                let at = 1_800_000_000_000_i64 + i64::from(nth);
                connection.execute(sql, params![scattered_id(nth % 50), at, "x".repeat(len)]).unwrap();
            });
        }
        for len in [32, 100, EndpointId::LEN_MAX] {
            let rows = Rows {
                table: "message_groups",
                number: 3_000,
                cost: group(&GroupName::parse(&scattered(1, len)).unwrap()),
            };
            measure(&rows, |connection, nth| {
                let sql = "INSERT INTO message_groups (app_id, name, messages, last_at, epoch, head)
                           VALUES (?1, ?2, 1, 1800000000000, random(), 1)";
                connection.execute(sql, params![scattered_id(0), scattered(nth, len)]).unwrap();
            });
            let endpoint = EndpointId::parse(&scattered(1, len)).unwrap();
            let rows = Rows { table: "conversations", number: 3_000, cost: conversation(&endpoint) };
            measure(&rows, |connection, nth| {
                let sql = "INSERT INTO conversations (app_id, endpoint, group_number, read_at, touched_at)
                           VALUES (?1, ?2, ?3, 1800000000000, 1800000000000)";
                connection.execute(sql, params![scattered_id(0), scattered(nth, len), 70_000 + nth]).unwrap();
            });
            for text_len in [30, 160, 500, 760, 2_050, 4_096] {
                let rows = Rows { table: "push_tokens", number: 2_000, cost: push_token(text_len, &endpoint) };
                measure(&rows, |connection, nth| {
                    let sql = "INSERT INTO push_tokens (app_id, id, endpoint, service, hash, text, seen_at)
                               VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6)";
                    let (id, hash) = (scattered_id(nth), scattered_id(nth + 1_000_000).repeat(2));
                    let seen_at = 1_800_000_000_000_i64 + i64::from(nth % 50) * 86_400_000;
                    let text = "x".repeat(text_len);
                    let values = params![scattered_id(0), id, scattered(nth, len), hash, text, seen_at];
                    connection.execute(sql, values).unwrap();
                });
            }
        }
    }
}
