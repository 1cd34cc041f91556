//! How the feed is written (docs/adr/0006).

use respoke_core::clock::Timestamp;
use respoke_core::ports::Change;

use super::connect::{Connection, params};
use super::failure::Failure;
use super::rows::{all, read_number, stored};
use crate::codes;

/// Writes the next change and returns its number. The feed's row is locked from then on until the transaction's end, which is
/// why numbers have no gap and follow each other as commits do.
///
/// `what` is none where nobody remembers what was taken away.
pub(super) async fn write(connection: &Connection, what: Option<&Change>, at: Timestamp) -> Result<i64, Failure> {
    write_all(connection, &[(what.cloned(), at)]).await
}

/// The same of several changes, one behind the other; returns the number of the last.
pub(super) async fn write_all(
    connection: &Connection,
    changes: &[(Option<Change>, Timestamp)],
) -> Result<i64, Failure> {
    const SQL: &str = "
        WITH head AS (UPDATE respoked.feed SET head = head + $3 RETURNING head)
        INSERT INTO respoked.changes (number, what, at)
        SELECT h.head - $3 + n.nth, n.what, n.at
        FROM head h, unnest($1::text[], $2::bigint[]) WITH ORDINALITY n (what, at, nth) RETURNING number";
    let what: Vec<_> = changes.iter().map(|(what, _)| what.as_ref().map(codes::change)).collect();
    let times: Vec<_> = changes.iter().map(|(_, at)| at.millis()).collect();
    let count = i64::try_from(changes.len()).unwrap_or(i64::MAX);
    let numbers = all(connection, SQL, params![what, times, count], read_number).await?;
    let newest = numbers.into_iter().max().map(stored).ok_or(Failure::Row("the feed has no row"))?;
    connection.note_change(newest);
    Ok(newest)
}
