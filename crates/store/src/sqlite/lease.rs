//! The lease of upkeep: which of several processes does it.
//!
//! It is a row of `meta`: who holds it, and until when by this machine's clock, which is the clock of a database that is a
//! file.

use std::time::Duration;

use respoke_core::ports::{Incarnation, Lease, Node, NodeId};
use rusqlite::{Connection, params};

use super::rows::{execute, one};

const KEY: &str = "upkeep";

/// Takes the lease for `node` or makes it longer, unless another holds it.
pub(super) fn take(connection: &Connection, node: Node, length: Duration) -> rusqlite::Result<Lease> {
    let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let now = now(connection)?;
    let latest = now.saturating_add(length);
    if let Some((by, until)) = find(connection)?
        && (by.id != node.id || by.incarnation > node.incarnation)
        // One that ends later than any would was taken by a clock that stood ahead.
        && now < until
        && until <= latest
    {
        return Ok(Lease::OfAnother);
    }
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
    let value = [&node.id.0.to_be_bytes()[..], &node.incarnation.0.to_be_bytes(), &latest.to_be_bytes()].concat();
    execute(connection, sql, params![KEY, value])?;
    Ok(Lease::Held)
}

/// Gives it back, if `node` has it.
pub(super) fn give_back(connection: &Connection, node: Node) -> rusqlite::Result<()> {
    if find(connection)?.is_some_and(|(by, _)| by == node) {
        execute(connection, "DELETE FROM meta WHERE key = ?1", [KEY])?;
    }
    Ok(())
}

/// Who holds it, and until when. What cannot be read is nobody's.
fn find(connection: &Connection) -> rusqlite::Result<Option<(Node, i64)>> {
    let value: Option<Vec<u8>> = one(connection, "SELECT value FROM meta WHERE key = ?1", [KEY], |row| row.get(0))?;
    Ok(value.and_then(|value| {
        let (id, value) = value.split_first_chunk()?;
        let (incarnation, until) = value.split_first_chunk()?;
        let (id, incarnation) = (NodeId(u32::from_be_bytes(*id)), Incarnation(u64::from_be_bytes(*incarnation)));
        Some((Node { id, incarnation }, i64::from_be_bytes(until.try_into().ok()?)))
    }))
}

fn now(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(60);

    #[test]
    fn a_lease_that_a_clock_took_that_stood_ahead_is_over() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection).unwrap();
        let [one, other] = [1, 2].map(|id| Node { id: NodeId(id), incarnation: Incarnation(7) });
        assert_eq!(take(&connection, one, 100 * LENGTH).unwrap(), Lease::Held);
        assert_eq!(take(&connection, other, 200 * LENGTH).unwrap(), Lease::OfAnother);
        assert_eq!(take(&connection, other, LENGTH).unwrap(), Lease::Held);
        assert_eq!(take(&connection, one, LENGTH).unwrap(), Lease::OfAnother);
        connection.execute("UPDATE meta SET value = x'00' WHERE key = 'upkeep'", []).unwrap();
        assert_eq!(take(&connection, one, LENGTH).unwrap(), Lease::Held);
    }
}
