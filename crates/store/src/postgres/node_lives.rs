//! What is done with lives of nodes and their cluster by whoever opens a database, settles on a promoted one, or ends a life.

use std::time::Duration;

use respoke_core::chance::Chance;
use respoke_core::ports::{BEAT, Cluster, LATE, Node};
use respoke_core::secret::Secret;

use super::connect::{Connection, params};
use super::failure::Failure;
use super::node_rows::now;
use super::rows::{Columns, one, stored};

/// A gap between two beats that is longer begins them anew: who was cut off so long knows nothing of the others. When the database
/// is away no longer than that, nobody is late when it is back, whatever was missed.
pub(super) const BREAK: Duration = Duration::from_secs(2 * BEAT.as_secs());
const _: () = assert!(BREAK.as_secs() + BEAT.as_secs() < LATE.as_secs(), "else somebody would be");

pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Locks the cluster's row, and tells what it holds.
pub(super) async fn lock_cluster(connection: &Connection) -> Result<Cluster, Failure> {
    let sql = "SELECT id, encode(key, 'hex') FROM respoked.cluster FOR NO KEY UPDATE";
    let read = |columns: &mut Columns<'_>| Ok(Cluster { id: columns.bytes()?, key: Secret::new(columns.next()?) });
    one(connection, sql, &[], read).await?.ok_or(Failure::Row("the cluster has no row"))
}

/// Makes the cluster's row, if there is none.
pub(super) async fn make_cluster(connection: &Connection, chance: &dyn Chance) -> Result<(), Failure> {
    let sql = "INSERT INTO respoked.cluster (one, id, key) VALUES (1, $1, $2) ON CONFLICT (one) DO NOTHING";
    let (id, key) = (chance.bytes::<16>(), chance.bytes::<32>());
    connection.execute(sql, params![&id[..], &key[..]]).await.map(drop)
}

/// After a promotion, before anybody beats again: nobody is declared dead until all had the time to.
pub(super) async fn begin_anew(connection: &Connection) -> Result<(), Failure> {
    const SQL: &str = concat!(
        "UPDATE respoked.nodes SET beat_at = ",
        now!(),
        ", unbroken_since = ",
        now!(),
        " WHERE gone_at IS NULL"
    );
    lock_cluster(connection).await?;
    connection.execute(SQL, &[]).await.map(drop)
}

/// In a copy that takes the place of another system: it is another cluster, and nobody's nodes are there.
pub(super) async fn begin_another(connection: &Connection, chance: &dyn Chance) -> Result<(), Failure> {
    lock_cluster(connection).await?;
    connection.execute("DELETE FROM respoked.nodes", &[]).await?;
    connection.execute("DELETE FROM respoked.cluster", &[]).await?;
    make_cluster(connection, chance).await
}

/// Ends a life. Says how many there were of it: one or none.
pub(super) async fn end(connection: &Connection, node: Node) -> Result<u64, Failure> {
    const SQL: &str = concat!(
        "UPDATE respoked.nodes SET gone_at = ",
        now!(),
        " WHERE id = $1 AND incarnation = $2 AND gone_at IS NULL"
    );
    connection.execute(SQL, params![i64::from(node.id.0), stored(node.incarnation.0)]).await
}
