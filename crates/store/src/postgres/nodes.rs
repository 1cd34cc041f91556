//! Which nodes serve together (docs/adr/0012).
//!
//! Invariant: a row that was renewed less than [`LATE`] ago by the database's clock is ended by nobody but its own node. So are all,
//! for as long after a promotion: what was renewed last may be missing there.
//! Invariant: what a beat confirms is on the disk of the server that confirms it, so that no crash makes a row older than its
//! node takes it for.
//! Invariant: nodes that live have one carrier, and each reads something that each other reads.
//!
//! Who locks several rows of nodes locks the cluster's before, and whoever writes the feed does so last.

use std::time::Duration;

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::ports::{
    Beating, Change, Draining, JoinRefusal, Joining, LATE, Load, Newcomer, Node, NodeId, NodeRecord, NodeState,
    NodeStore, SKEW_MAX, StoreError,
};
use tokio::time::Instant;

use super::beat::Beat;
use super::connect::{Connection, params};
use super::deeds::Deed;
use super::facts::apart;
use super::failure::Failure;
use super::node_lives::{BREAK, end, lock_cluster, millis};
use super::node_rows::{Other, in_the_way, node, now, read_time, record, record_columns, refused};
use super::pool::Errand;
use super::rows::{Columns, all, one, stored};
use super::store::PostgresStore;
use super::write::{Write, in_ending_transaction};
use super::{feed_rows, migrations};
use crate::codes;

/// How long a row is kept whose node is gone: so long operators may want to see it, and a node that was declared dead keeps its id.
const GONE_KEPT: Duration = Duration::from_secs(3_600);
/// What is written of nodes waits for no standby: until such a commit ends it keeps the node's row, for which the next beat would wait.
const LOCALLY: &str = "SET LOCAL synchronous_commit = 'local'";
/// How long a new state may take to be written: a beat that waits for it would come too late.
const STATE_WITHIN: Duration = Duration::from_secs(1);
/// How long a doubt stands. A newcomer that begins later begins with another.
const DOUBT_KEPT: Duration = Duration::from_secs(600);

/// The present of the database.
async fn present(connection: &Connection) -> Result<Timestamp, Failure> {
    let now = one(connection, concat!("SELECT ", now!()), &[], read_time).await?;
    now.ok_or(Failure::Row("the clock has no row"))
}

/// Tells of which nodes there are.
async fn tell(write: &Write) -> Result<(), Failure> {
    feed_rows::write(write, Some(&Change::Nodes), present(write).await?).await.map(drop)
}

/// Tells of nodes that are gone, and notes that they are, for a server that may be promoted without having heard of it.
async fn tell_gone(write: &Write, gone: &[Node]) -> Result<(), Failure> {
    if gone.is_empty() {
        return Ok(());
    }
    let at = present(write).await?;
    for node in gone {
        write.takes_away(Deed::NodeGone { node: *node, at });
    }
    feed_rows::write(write, Some(&Change::Nodes), at).await.map(drop)
}

/// Lets a newcomer in, or says why not.
async fn join(write: &Write, newcomer: &Newcomer) -> Result<Joining, Failure> {
    let cluster = lock_cluster(write).await?;
    if let Some(place) = &newcomer.place {
        take_place(write, place).await?;
    }
    // Of its own former life nobody has to be told: its end is known by what begins.
    let sql = format!(
        "SELECT {} FROM respoked.nodes WHERE gone_at IS NULL AND id IS DISTINCT FROM $1 ORDER BY id",
        Other::COLUMNS
    );
    let was = newcomer.was.map(|id| i64::from(id.0));
    let mut others = all(write, &sql, params![was], Other::read).await?;
    if refused(newcomer, &others).is_some() {
        let gone = make_way(write, in_the_way(newcomer, &others)).await?;
        tell_gone(write, &gone).await?;
        others.retain(|other| !gone.iter().any(|node| i64::from(node.id.0) == other.id));
    }
    if let Some(refusal) = refused(newcomer, &others) {
        return Ok(Joining::Refused(refusal));
    }
    let (node, now) = begin_life(write, newcomer, was).await?;
    tell(write).await?;
    Ok(Joining::Joined { node, cluster, now })
}

/// Ends the life of whoever had a place before. One that drains has given it up, and goes on.
async fn take_place(write: &Write, place: &str) -> Result<(), Failure> {
    const SQL: &str = concat!(
        "UPDATE respoked.nodes SET gone_at = ",
        now!(),
        " WHERE place = $1 AND gone_at IS NULL AND state <> $2 RETURNING id, incarnation"
    );
    let gone = all(write, SQL, params![place, codes::node_state(NodeState::Draining)], node).await?;
    tell_gone(write, &gone).await
}

/// Ends those in a newcomer's way who were late when another stood there before it, so long ago that they could have beaten
/// since, and did not. Of the others who are late it is noted that they are: if all who could declare them dead are gone as
/// well, nobody would ever begin.
async fn make_way(write: &Write, in_the_way: Vec<i64>) -> Result<Vec<Node>, Failure> {
    const END: &str = concat!(
        "UPDATE respoked.nodes SET gone_at = ",
        now!(),
        " WHERE id = ANY($1) AND gone_at IS NULL AND beat_at <= ",
        now!(),
        " - $2 AND doubted_at > beat_at AND doubted_at BETWEEN ",
        now!(),
        " - $3 AND ",
        now!(),
        " - $2 RETURNING id, incarnation"
    );
    const DOUBT: &str = concat!(
        "UPDATE respoked.nodes SET doubted_at = ",
        now!(),
        " WHERE id = ANY($1) AND gone_at IS NULL AND beat_at <= ",
        now!(),
        " - $2 AND NOT coalesce(doubted_at > beat_at AND doubted_at BETWEEN ",
        now!(),
        " - $3 AND ",
        now!(),
        ", false)"
    );
    let gone = all(write, END, params![in_the_way, millis(LATE), millis(DOUBT_KEPT)], node).await?;
    write.execute(DOUBT, params![in_the_way, millis(LATE), millis(DOUBT_KEPT)]).await?;
    Ok(gone)
}

/// Begins a life, under the id that the node had. Whether it is to drain stays: that was said of the node.
async fn begin_life(write: &Write, newcomer: &Newcomer, was: Option<i64>) -> Result<(Node, Timestamp), Failure> {
    const SQL: &str = concat!(
        "WITH l AS MATERIALIZED (SELECT nextval('respoked.node_life') AS life, ",
        now!(),
        " AS now)
         INSERT INTO respoked.nodes (id, incarnation, name, address, version, carrier, codec_min, codec_max, state,
                                     place, since, beat_at, unbroken_since)
         SELECT CASE WHEN $1 < l.life THEN $1 ELSE l.life END, l.life, $2, $3, $4, $5, $6, $7, $8, $9, l.now, l.now, l.now
         FROM l
         ON CONFLICT (id) DO UPDATE SET
             incarnation = excluded.incarnation, name = excluded.name, address = excluded.address,
             version = excluded.version, carrier = excluded.carrier, codec_min = excluded.codec_min,
             codec_max = excluded.codec_max, state = excluded.state, place = excluded.place, since = excluded.since,
             beat_at = excluded.beat_at, unbroken_since = excluded.unbroken_since, doubted_at = NULL, gone_at = NULL,
             sockets = 0, connections = 0, lag_millis = 0, skew_millis = 0, feed_age_millis = 0
         RETURNING id, incarnation, since"
    );
    let Newcomer { name, address, version, carrier, codec, place, was: _, now: _ } = newcomer;
    let (from, to) = (i64::from(*codec.start()), i64::from(*codec.end()));
    let (carrier, state) = (codes::carrier(*carrier), codes::node_state(NodeState::Starting));
    let read = |columns: &mut Columns<'_>| Ok((node(columns)?, columns.time()?));
    let values = (&name[..], &address[..], &version[..]);
    one(write, SQL, params![was, values.0, values.1, values.2, carrier, from, to, state, place.as_deref()], read)
        .await?
        .ok_or(Failure::Row("a node that begins has no row"))
}

/// Declares a node dead, if all that it takes is so. That `by` lives is looked at without a lock, which its own beats would have to
/// wait for: who is ended at the same moment was late, and its word is as good as it was.
async fn declare_dead(write: &Write, by: Node, late: Node) -> Result<bool, Failure> {
    const SQL: &str = concat!(
        "UPDATE respoked.nodes n SET gone_at = ",
        now!(),
        " WHERE n.id = $1 AND n.incarnation = $2 AND n.gone_at IS NULL AND n.beat_at <= ",
        now!(),
        " - $5 AND EXISTS (
              SELECT FROM respoked.nodes b
              WHERE b.id = $3 AND b.incarnation = $4 AND b.gone_at IS NULL AND b.unbroken_since <= ",
        now!(),
        " - $5 AND b.beat_at >= ",
        now!(),
        " - $6)"
    );
    write.batch(LOCALLY).await?;
    let (id, incarnation) = (i64::from(late.id.0), stored(late.incarnation.0));
    let (by_id, by_incarnation) = (i64::from(by.id.0), stored(by.incarnation.0));
    let (late_millis, break_millis) = (millis(LATE), millis(BREAK));
    let values = params![id, incarnation, by_id, by_incarnation, late_millis, break_millis];
    let is_done = write.execute(SQL, values).await? > 0;
    if is_done {
        tell_gone(write, &[late]).await?;
    }
    Ok(is_done)
}

/// All nodes are locked: two that are asked at once do not both count on the other.
async fn have_drain(write: &Write, id: NodeId) -> Result<Draining, Failure> {
    const SQL: &str = concat!(
        "SELECT id, is_to_drain, NOT is_to_drain AND state = $1 AND beat_at >= ",
        now!(),
        " - $2 FROM respoked.nodes WHERE gone_at IS NULL ORDER BY id FOR NO KEY UPDATE"
    );
    write.batch(LOCALLY).await?;
    let (serving, late) = (codes::node_state(NodeState::Serving), millis(LATE));
    let read =
        |columns: &mut Columns<'_>| Ok((columns.next::<i64>()?, columns.next::<bool>()?, columns.next::<bool>()?));
    let (asked, others): (Vec<_>, Vec<_>) = all(write, SQL, params![serving, late], read)
        .await?
        .into_iter()
        .partition(|(node, ..)| *node == i64::from(id.0));
    let Some((node, is_to_drain, _)) = asked.first().copied() else { return Ok(Draining::Gone) };
    if is_to_drain {
        return Ok(Draining::Told);
    }
    if !others.iter().any(|(.., goes_on)| *goes_on) {
        return Ok(Draining::Alone);
    }
    write.execute("UPDATE respoked.nodes SET is_to_drain = true WHERE id = $1", params![node]).await?;
    tell(write).await?;
    Ok(Draining::Told)
}

/// Whether the node lives.
async fn set_state(write: &Write, node: Node, state: NodeState) -> Result<bool, Failure> {
    write.batch(LOCALLY).await?;
    let sql = "UPDATE respoked.nodes SET state = $3 WHERE id = $1 AND incarnation = $2 AND gone_at IS NULL";
    let (id, incarnation, state) = (i64::from(node.id.0), stored(node.incarnation.0), codes::node_state(state));
    let values = params![id, incarnation, state];
    let lives = write.execute(sql, values).await? > 0;
    if lives {
        tell(write).await?;
    }
    Ok(lives)
}

impl PostgresStore {
    /// How far the newcomer's clock is ahead of the database's, in milliseconds. It was looked at before the question was
    /// on its way.
    async fn clock_ahead(&self, newcomer: &Newcomer) -> Result<i64, StoreError> {
        let asked = Instant::now();
        let now = self.read_one(concat!("SELECT ", now!()), &[], read_time).await?;
        let now = now.ok_or(StoreError::Corrupt("the clock has no row"))?;
        let before = newcomer.now.millis();
        Ok(apart(now.millis(), before, before.saturating_add(millis(asked.elapsed()))))
    }

    /// Removes the rows of nodes that have been gone for long, and has no row be of a time that is to come: it would be late
    /// when that has passed. They do not count as rows removed: nobody kept anything in them.
    pub(super) async fn keep_nodes_in_order(&self) -> Result<(), StoreError> {
        const FIND: &str = concat!(
            "SELECT 1 FROM respoked.nodes WHERE abs(",
            now!(),
            " - gone_at) > $1 OR (gone_at IS NULL AND beat_at > ",
            now!(),
            " + $2) LIMIT 1"
        );
        const LOCK: &str = "SELECT 1 FROM respoked.cluster WHERE $1 > 0 AND $2 > 0 FOR NO KEY UPDATE";
        const REMOVE: &str = concat!("DELETE FROM respoked.nodes WHERE abs(", now!(), " - gone_at) > $1 AND $2 > 0");
        const AHEAD: &str = concat!(
            "UPDATE respoked.nodes SET beat_at = ",
            now!(),
            ", unbroken_since = ",
            now!(),
            " WHERE gone_at IS NULL AND $1 > 0 AND beat_at > ",
            now!(),
            " + $2"
        );
        let (kept, ahead) = (millis(GONE_KEPT), millis(SKEW_MAX));
        if !self.read(FIND, params![kept, ahead]).await?.is_empty() {
            self.remove(&[LOCK, REMOVE, AHEAD], params![kept, ahead]).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl NodeStore for PostgresStore {
    async fn join(&self, newcomer: Newcomer) -> Result<Joining, StoreError> {
        let ahead = self.clock_ahead(&newcomer).await?;
        if ahead.abs() > millis(SKEW_MAX) {
            return Ok(Joining::Refused(JoinRefusal::Clock { millis: ahead }));
        }
        let joined = in_ending_transaction!(self, write => {
            // Who notices no promotions is told nowhere else.
            match migrations::marked(write).await? {
                Some(why) => Ok(Err(why)),
                None => join(write, &newcomer).await.map(Ok),
            }
        })?;
        let joined = joined.map_err(|why| self.stop_where_marked(why))?;
        // The connection for beats is there before anything depends on it. What keeps it away, the first beat says.
        drop(self.pool.lend(&Errand::Beat).await);
        Ok(joined)
    }

    async fn beat(&self, node: Node, state: NodeState, load: Load) -> Result<Beating, StoreError> {
        let Beat { now, mut nodes, over } = self.beat_once(node, load).await?;
        let Some(own) = nodes.iter_mut().find(|one| one.node == node) else { return Ok(Beating::Dead) };
        if own.state != state {
            let set = async { in_ending_transaction!(self, write => { set_state(write, node, state).await }) };
            match tokio::time::timeout(STATE_WITHIN, set).await {
                Ok(Ok(true)) => own.state = state,
                Ok(Ok(false)) => return Ok(Beating::Dead),
                // The node lives, whether or not that could be told of it; the next beat tells it again.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        Ok(Beating::Lives { now, nodes, over })
    }

    async fn declare_dead(&self, by: Node, late: Node) -> Result<bool, StoreError> {
        in_ending_transaction!(self, write => { declare_dead(write, by, late).await })
    }

    async fn leave(&self, node: Node) -> Result<(), StoreError> {
        in_ending_transaction!(self, write => {
            let gone = end(write, node).await?;
            if gone > 0 { tell_gone(write, &[node]).await } else { Ok(()) }
        })
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        const SQL: &str =
            concat!("SELECT ", record_columns!(), " FROM respoked.nodes n WHERE n.gone_at IS NULL ORDER BY n.id");
        self.read_all(SQL, &[], record).await
    }

    async fn have_drain(&self, node: NodeId) -> Result<Draining, StoreError> {
        in_ending_transaction!(self, write => { have_drain(write, node).await })
    }
}
