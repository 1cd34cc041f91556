//! How a node says that it lives: one statement, which is its own transaction.
//!
//! It has a connection of its own (`pool.rs`): so it waits behind nobody who writes, searches or holds a lock, and those that are dead
//! of the others are not its concern. It asks in
//! the same packet where the server stands, and writes nothing where the database does not go on. It is flushed to that
//! server's disk, and no standby is waited for: a beat that one lacks is made up for when it is promoted (`settle.rs`), and one
//! that is gone would otherwise stop all nodes.

use respoke_core::clock::Timestamp;
use respoke_core::ports::{Load, Node, NodeRecord, NodeState, StoreError};
use tokio_postgres::Row;

use super::UNDO_MOVED;
use super::connect::{Connection, params};
use super::failure::Failure;
use super::lineage::{Line, PROMOTED, Settled, Told};
use super::node_lives::{BREAK, millis};
use super::node_rows::{now, record, record_columns};
use super::pool::Errand;
use super::rows::{Columns, stored};
use super::store::PostgresStore;
use super::tries::{Tries, Undone};
use crate::marks::{Mark, Marks};

/// The statement, where `$place` says what is asked of the server. A clock that was set back or ahead is a break as well.
macro_rules! beat {
    ($place:literal) => {
        concat!(
            "WITH asked AS MATERIALIZED (
                 SELECT set_config('synchronous_commit', 'local', true) AS flushed, ",
            $place,
            ", (SELECT value FROM respoked.meta WHERE key = 'moved') AS moved
             ), here AS MATERIALIZED (
                 SELECT *, moved IS NULL AND ($8::bytea IS NULL OR coalesce(
                     system = $9 AND timeline = $10 AND settled = $8, false)) AS goes_on FROM asked
             ), own AS (
                 UPDATE respoked.nodes o SET
                     unbroken_since = CASE WHEN ",
            now!(),
            " - o.beat_at BETWEEN 0 AND $11 THEN o.unbroken_since ELSE ",
            now!(),
            " END, beat_at = ",
            now!(),
            ", sockets = $3, connections = $4, lag_millis = $5, skew_millis = $6, feed_age_millis = $7
                 FROM here WHERE here.goes_on AND o.id = $1 AND o.incarnation = $2 AND o.gone_at IS NULL
                 RETURNING o.*
             )
             SELECT here.goes_on, here.system, here.timeline, here.settled, here.moved, ",
            now!(),
            ", n.id IS NOT NULL, n.gone_at IS NOT NULL, ",
            record_columns!(),
            " FROM here LEFT JOIN (
                 SELECT * FROM own UNION ALL SELECT * FROM respoked.nodes WHERE gone_at IS NULL AND id <> $1
                 UNION ALL (SELECT * FROM respoked.nodes WHERE gone_at IS NOT NULL AND incarnation > $2
                            ORDER BY gone_at DESC LIMIT $12)
             ) n ON true ORDER BY n.id"
        )
    };
}
const BEAT: &str = beat!("NULL::bigint AS system, NULL::text AS timeline, NULL::bytea AS settled");
const BEAT_IN_LINE: &str = beat!(
    "(SELECT system_identifier FROM pg_control_system()) AS system,
     substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline,
     (SELECT value FROM respoked.meta WHERE key = 'lineage') AS settled"
);

/// What a beat is answered with.
pub(super) struct Beat {
    /// The present of the database.
    pub(super) now: Timestamp,
    /// All who live, by their ids; the one that beat among them, if it does.
    pub(super) nodes: Vec<NodeRecord>,
    /// Those who began to serve after it began, and are gone.
    pub(super) over: Vec<Node>,
}

/// How many lives that are over are told with a beat, at most. Between two beats no more end.
const OVER_MAX: i64 = 64;

/// What came of one try.
enum Tried {
    Beaten(Beat),
    /// The installation left.
    Marked(String),
}

impl PostgresStore {
    /// Renews a node's row and tells who lives. One that a lost connection kept from it is run again on another; one that was
    /// not answered in time is not.
    pub(super) async fn beat_once(&self, node: Node, load: Load) -> Result<Beat, StoreError> {
        let mut tries = Tries::within(self.patience);
        loop {
            let failure = match self.try_to_beat(node, load).await {
                Ok(Tried::Beaten(beat)) => return Ok(beat),
                Ok(Tried::Marked(why)) => return Err(self.stop_where_marked(why)),
                Err(failure) => failure,
            };
            let undone = Undone::NothingWritten(failure);
            tries.once_more(undone, &*self.chance, &self.figures).await.map_err(Undone::told)?;
        }
    }

    async fn try_to_beat(&self, node: Node, load: Load) -> Result<Tried, Failure> {
        let lent = self.pool.lend(&Errand::Beat).await?;
        let rows = ask(&lent, self.line.as_deref().map(Line::beats_at), node, load).await?;
        let mut beat = Beat { now: Timestamp::from_millis(0), nodes: Vec::new(), over: Vec::new() };
        for row in &rows {
            let mut columns = Columns::of(row);
            let goes_on: bool = columns.next()?;
            let (system, timeline, settled) = (columns.next()?, columns.next()?, columns.next()?);
            if let Some(moved) = columns.next::<Option<&[u8]>>()? {
                let marks = Marks { moved: Some(Mark::read(moved)), unfinished: None, arrived: None };
                return Ok(Tried::Marked(marks.refusal(UNDO_MOVED).unwrap_or_default()));
            }
            if let Some(line) = &self.line {
                // The next connection is made where nodes say that they live.
                let place = Told::read(system, timeline, settled).and_then(|told| told.goes_on(line.beats_at()));
                let elsewhere = if goes_on { place } else { place.and(Err(Failure::lost(PROMOTED))) };
                if let Err(failure) = elsewhere {
                    lent.give_up();
                    return Err(failure.into_loss());
                }
            }
            beat.now = columns.time()?;
            let (is_any, is_gone) = (columns.next()?, columns.next()?);
            if is_any {
                let record = record(&mut columns)?;
                match (is_gone, record.state) {
                    (false, _) => beat.nodes.push(record),
                    (true, NodeState::Serving | NodeState::Draining) => beat.over.push(record.node),
                    (true, NodeState::Starting) => {}
                }
            }
        }
        Ok(Tried::Beaten(beat))
    }
}

async fn ask(connection: &Connection, place: Option<Settled>, node: Node, load: Load) -> Result<Vec<Row>, Failure> {
    let sql = if place.is_some() { BEAT_IN_LINE } else { BEAT };
    let (id, incarnation) = (i64::from(node.id.0), stored(node.incarnation.0));
    let (sockets, connections) = (stored(load.sockets), stored(load.connections));
    let (lag, skew, feed_age) = (stored(load.lag_millis), load.skew_millis, stored(load.feed_age_millis));
    let (system, timeline) = (place.map(|place| place.lineage.system), place.map(|place| place.lineage.timeline));
    let (timeline, settled) = (timeline.map(|number| format!("{number:08X}")), place.map(Settled::to_bytes));
    let (settled, longest_gap) = (settled.as_deref(), millis(BREAK));
    let values = params![
        id,
        incarnation,
        sockets,
        connections,
        lag,
        skew,
        feed_age,
        settled,
        system,
        timeline,
        longest_gap,
        OVER_MAX
    ];
    connection.query(sql, values).await
}
