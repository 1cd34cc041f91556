//! How much is kept of what an app's clients say, and whether more may be.
//!
//! A row counts with what it takes in the database, in its table and in the indexes. How much that is was measured as the growth
//! of tables with thousands of rows alike, in bytes a row (and what it counts with):
//!
//! - message of 4 bytes, its sender's name included: 145 (156); of 232: 379 (383); of 502: 664 (665); of 1,302: 1,719 (1,718);
//!   of 2,052: 2,955 (3,737); of 5,002: 6,107 (6,779); of 19,002: 20,890 (21,216)
//! - group with a name of 32 bytes: 382 (388); of 256: 1,242 (1,284)
//! - conversation of an endpoint with a name of 32 bytes: 248 (256); of 256: 906 (928)
//! - push token of 160 bytes for an endpoint with a name of 32: 608 (636); of 2,050: 3,238 (4,047)
//! - call report of 4 bytes, its endpoint's name included: 154 (168); of 2,052: 2,944 (3,749)
//!
//! Invariant: `kept_bytes` is the sum of what each app's rows cost; triggers see to it (`schema/0002_hub.sql`), with functions
//! that say what is computed here before a row is written.
//!
//! Whoever counts before a row is written has locked the app's row. Only removals come between, which leave more room.

use respoke_core::id::{AppId, EndpointId, GroupName};

use super::connect::{Connection, params};
use super::failure::Failure;
use super::rows::{one, read_number};

/// A page, how much of one is for rows, and what it keeps of each besides it.
const PAGE: usize = 8_192;
const FOR_ROWS: usize = 8_168;
const BESIDES: usize = 4;
/// A row that is longer has its longest value leave it, in pieces of a quarter of a page, and keeps a pointer.
///
/// # Source
///
/// `TOAST_TUPLE_THRESHOLD` for pages of 8 KiB (PostgreSQL, section 73.2), without what is rounded.
const ROW_MAX: usize = 2_032;
const POINTER: usize = 20;
/// What the pieces take beyond their bytes: up to a piece's room that is left on a page, and their index.
const PIECES: usize = 1_450;

/// The share of a page of a row of which so much is on it.
const fn share(row: usize) -> usize {
    PAGE / (FOR_ROWS / (row.next_multiple_of(8) + BESIDES))
}

/// What a row takes in its table, of which one value may be so long that it leaves the row.
const fn row(rest: usize, long: usize) -> usize {
    if rest + long <= ROW_MAX { share(rest + long) } else { share(rest + POINTER) + long + long / 32 + PIECES }
}

/// A message's cost, in bytes.
pub(super) fn message(event_len: usize, sender: &EndpointId) -> usize {
    80 + row(64 + sender.as_str().len(), event_len)
}

/// A group's, whose name is in the table and in an index.
pub(super) fn group(name: &GroupName) -> usize {
    260 + 4 * name.as_str().len()
}

/// That of an endpoint's mark in a group.
pub(super) fn conversation(endpoint: &EndpointId) -> usize {
    160 + 3 * endpoint.as_str().len()
}

/// A push token's. It stands in four indexes.
pub(super) fn push_token(text_len: usize, endpoint: &EndpointId) -> usize {
    let len = endpoint.as_str().len();
    256 + 5 * len / 3 + row(113 + len, text_len)
}

/// A call report's.
pub(super) fn call_report(report_len: usize, endpoint: Option<&EndpointId>) -> usize {
    92 + row(64 + endpoint.map_or(0, |endpoint| endpoint.as_str().len()), report_len)
}

/// What an app keeps.
pub(super) const KEPT: &str = "SELECT bytes FROM respoked.kept_bytes WHERE app_id = $1";

/// What an app keeps, counted anew; each row is found by the app.
pub(crate) const RECOUNTED: &str = "
    SELECT coalesce(sum(bytes), 0)::bigint FROM (
        SELECT respoked.message_cost(m.sender, m.event) FROM respoked.message_groups g
        JOIN respoked.messages m ON m.group_number = g.number WHERE g.app_id = $1
        UNION ALL SELECT respoked.message_cost(m.sender, m.event) FROM respoked.ended_groups e
        JOIN respoked.messages m ON m.group_number = e.number WHERE e.app_id = $1
        UNION ALL SELECT respoked.group_cost(name) FROM respoked.message_groups WHERE app_id = $1
        UNION ALL SELECT respoked.conversation_cost(endpoint) FROM respoked.conversations WHERE app_id = $1
        UNION ALL SELECT respoked.push_token_cost(text, endpoint) FROM respoked.push_tokens WHERE app_id = $1
        UNION ALL SELECT respoked.call_report_cost(report, endpoint) FROM respoked.call_reports WHERE app_id = $1
    ) AS kept (bytes)";

/// What all apps keep.
pub(super) const OF_ALL: &str = "SELECT coalesce(sum(bytes), 0)::bigint FROM respoked.kept_bytes";

/// Whether rows that cost so much still fit within `bytes_max`. The app's row is locked.
pub(super) async fn fits(connection: &Connection, app: AppId, cost: usize, bytes_max: u64) -> Result<bool, Failure> {
    let kept = one(connection, KEPT, params![app.uuid()], read_number).await?.unwrap_or(0);
    Ok(kept.saturating_add(cost as u64) <= bytes_max)
}
