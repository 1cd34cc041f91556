//! The lease of upkeep: which of several processes does it.
//!
//! It is a row of `meta`: who holds it, and until when by the clock of the database, which all of them share.

use std::time::Duration;

use respoke_core::ports::{Incarnation, Lease, Node, NodeId};

use super::connect::{Connection, params};
use super::failure::Failure;
use super::rows::one;

const KEY: &str = "upkeep";

/// Takes the lease for `node` or makes it longer, unless another holds it.
pub(super) async fn take(connection: &Connection, node: Node, length: Duration) -> Result<Lease, Failure> {
    let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let (holder, now) = find(connection).await?;
    let latest = now.saturating_add(length);
    if let Some((by, until)) = holder
        && (by.id != node.id || by.incarnation > node.incarnation)
        // One that ends later than any would was taken by a clock that stood ahead.
        && now < until
        && until <= latest
    {
        return Ok(Lease::OfAnother);
    }
    let sql = "UPDATE respoked.meta SET value = $2 WHERE key = $1";
    let value = [&node.id.0.to_be_bytes()[..], &node.incarnation.0.to_be_bytes(), &latest.to_be_bytes()].concat();
    connection.execute(sql, params![KEY, &value[..]]).await?;
    Ok(Lease::Held)
}

/// Gives it back, if `node` has it.
pub(super) async fn give_back(connection: &Connection, node: Node) -> Result<(), Failure> {
    let (holder, _) = find(connection).await?;
    if holder.is_some_and(|(by, _)| by == node) {
        let sql = "UPDATE respoked.meta SET value = '' WHERE key = $1";
        connection.execute(sql, params![KEY]).await?;
    }
    Ok(())
}

/// Who holds it, and until when; and the present. Nobody else takes it until the transaction's end. What cannot be read is
/// nobody's.
async fn find(connection: &Connection) -> Result<(Option<(Node, i64)>, i64), Failure> {
    // The row is there from the first look on, so that there is always one to lock.
    let sql = "INSERT INTO respoked.meta AS m (key, value) VALUES ($1, '')
               ON CONFLICT (key) DO UPDATE SET value = m.value
               RETURNING value, (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let read = |columns: &mut super::rows::Columns<'_>| {
        let holder = holder(columns.next()?);
        Ok((holder, columns.next()?))
    };
    one(connection, sql, params![KEY], read).await?.ok_or(Failure::Row("a lease has no row"))
}

fn holder(value: &[u8]) -> Option<(Node, i64)> {
    let (id, value) = value.split_first_chunk()?;
    let (incarnation, until) = value.split_first_chunk()?;
    let (id, incarnation) = (NodeId(u32::from_be_bytes(*id)), Incarnation(u64::from_be_bytes(*incarnation)));
    Some((Node { id, incarnation }, i64::from_be_bytes(until.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use respoke_core::ports::MaintenanceStore as _;

    use super::*;
    use crate::contract::postgres::{Postgres, there_is_a_server};

    #[test]
    fn what_cannot_be_read_is_nobodys() {
        let node = Node { id: NodeId(7), incarnation: Incarnation(8) };
        let value = [&7_u32.to_be_bytes()[..], &8_u64.to_be_bytes(), &9_i64.to_be_bytes()].concat();
        assert_eq!(holder(&value), Some((node, 9)));
        for value in [&[][..], &value[1..], &[&value[..], &[0]].concat()] {
            assert_eq!(holder(value), None);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lease_that_a_clock_took_that_stood_ahead_is_over() {
        const LENGTH: Duration = Duration::from_secs(60);
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let store = fixture.store().await;
        let [one, other] = [1, 2].map(|id| Node { id: NodeId(id), incarnation: Incarnation(7) });
        assert_eq!(store.lease_upkeep(one, 100 * LENGTH).await.unwrap(), Lease::Held);
        assert_eq!(store.lease_upkeep(other, 200 * LENGTH).await.unwrap(), Lease::OfAnother);
        assert_eq!(store.lease_upkeep(other, LENGTH).await.unwrap(), Lease::Held);
        assert_eq!(store.lease_upkeep(one, LENGTH).await.unwrap(), Lease::OfAnother);
    }
}
