//! The task that writes what a node sends, wakes those whom it is for, and empties tables.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::super::connect::{Connection, params};
use super::super::failure::Failure;
use super::super::rows::{Columns, one};
use super::figures::add;
use super::link::{Link, Refused};
use super::repeated::Repeated;
use super::shared::{Limits, Shared};

/// At least so long between two times that others are woken: each time takes a lock that all have in common. What is to be sent
/// meanwhile waits, unless it is a whole batch. It would be read no sooner, and each statement costs more than a few rows.
const WAKE_EACH: Duration = Duration::from_millis(2);
const WRITE: &str = "SELECT respoked.carry($1, $2, $3, $4, $5, $6)";

/// Writes until the carrier is over.
pub(super) async fn run(shared: Arc<Shared>, mut link: Link, limits: Limits) {
    let mut writing = Writing {
        shared,
        limits,
        next_seq: 1,
        unwoken: BTreeSet::new(),
        is_full: false,
        refused: Refused::default(),
        write: Repeated::new(WRITE),
    };
    let over = writing.shared.over.clone();
    let going_on = async {
        loop {
            let connection = link.connect().await;
            add(&writing.shared.figures.connections, 1);
            writing.write = Repeated::new(WRITE);
            let failure = writing.go_on(&connection, &link).await;
            Link::note_lost("sends to others", &failure);
            connection.give_up();
            connection.close().await;
        }
    };
    tokio::select! {
        biased;
        () = over.cancelled() => {}
        () = going_on => {}
    }
}

struct Writing {
    shared: Arc<Shared>,
    limits: Limits,
    /// The number of the next frame.
    next_seq: i64,
    /// For whom something was written without waking them.
    unwoken: BTreeSet<i64>,
    /// Whether the tables take so much that nothing more is written.
    is_full: bool,
    refused: Refused,
    write: Repeated,
}

impl Writing {
    /// Writes on a connection until it is lost.
    async fn go_on(&mut self, connection: &Connection, link: &Link) -> Failure {
        let (mut turn_due, mut wake_due) = (Instant::now(), Instant::now());
        loop {
            if let Err(failure) = link.stays() {
                return failure;
            }
            let now = Instant::now();
            let done = if now >= turn_due {
                turn_due = now + self.limits.turn_each;
                self.turn(connection).await
            } else if let Some(channel) = self.shared.probe.asked() {
                self.notify(connection, channel).await
            } else if now >= wake_due && !(self.shared.outbox.is_empty() && self.unwoken.is_empty()) {
                wake_due = now + WAKE_EACH;
                self.write(connection, true).await
            } else if self.shared.outbox.has_batch() {
                self.write(connection, false).await
            } else {
                let is_to_wake = !(self.shared.outbox.is_empty() && self.unwoken.is_empty());
                let next = if is_to_wake { turn_due.min(wake_due) } else { turn_due };
                tokio::select! {
                    () = self.shared.outbox.filled() => {}
                    () = sleep_until(next) => {}
                }
                continue;
            };
            match done {
                Ok(()) => {}
                Err(failure) if failure.is_a_loss() => return failure,
                Err(failure) => self.refused.note("carry what this node tells others", &failure),
            }
        }
    }

    /// Writes what waits, and wakes others if it is time.
    async fn write(&mut self, connection: &Connection, wakes: bool) -> Result<(), Failure> {
        let batch = self.shared.outbox.take(Instant::now());
        let shared = self.shared.clone();
        let (frames, bytes, figures) = (batch.frames.len(), batch.bytes(), &shared.figures);
        figures.note_lost(batch.late.frames, batch.late.bytes);
        if self.is_full {
            figures.note_lost(frames, bytes);
            // Whoever was not woken for what is there already is not woken either: it looks by itself.
            self.unwoken.clear();
            return Ok(());
        }
        self.unwoken.extend(&batch.receivers);
        let woken: Vec<i64> = if wakes { std::mem::take(&mut self.unwoken).into_iter().collect() } else { Vec::new() };
        let first_seq = self.next_seq;
        self.next_seq += i64::try_from(frames).unwrap_or(i64::MAX);
        let (node, life) = (i64::from(self.shared.node.id.0), self.shared.node.incarnation.0.cast_signed());
        let slices: Vec<&[u8]> = batch.frames.iter().map(Bytes::as_ref).collect();
        let values = params![node, life, first_seq, batch.receivers, slices, woken];
        let may_keep = self.shared.has_one_way && self.shared.is_woken.load(Ordering::Relaxed);
        let written = self.write.query(connection, may_keep, values).await;
        if written.is_err() {
            figures.note_lost(frames, bytes);
            // They may have been written all the same.
            self.unwoken.extend(batch.receivers);
        } else {
            add(&figures.frames_sent, frames);
            add(&figures.bytes_sent, bytes);
            add(&figures.batches, usize::from(frames > 0));
        }
        written.map(drop)
    }

    async fn notify(&self, connection: &Connection, channel: String) -> Result<(), Failure> {
        connection.query("SELECT pg_notify($1, '')", params![channel]).await?;
        self.shared.probe.note_done(channel);
        Ok(())
    }

    /// Has the oldest table emptied, and looks how much the tables take.
    async fn turn(&mut self, connection: &Connection) -> Result<(), Failure> {
        let sql = "SELECT emptied, bytes FROM respoked.turn_carrier()";
        let read = |columns: &mut Columns<'_>| Ok((columns.next()?, columns.number()?));
        let turned = one(connection, sql, &[], read).await?;
        let (emptied, bytes) = turned.ok_or(Failure::Row("a function returned no row"))?;
        let figures = &self.shared.figures;
        match emptied {
            Some(true) => add(&figures.turns, 1),
            Some(false) => add(&figures.turns_skipped, 1),
            None => {}
        }
        figures.table_bytes.store(bytes, Ordering::Relaxed);
        let is_full = bytes > self.limits.table_bytes_max;
        if is_full && !self.is_full {
            tracing::warn!(
                bytes,
                "what nodes tell each other is not carried: somebody keeps its tables from being emptied, as a dump of the whole \
                 database does"
            );
        } else if self.is_full && !is_full {
            tracing::info!("what nodes tell each other is carried again: its tables were emptied");
        }
        self.is_full = is_full;
        Ok(())
    }
}
