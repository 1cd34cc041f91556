//! The task that reads what others sent to a node, when it is woken and now and then.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::super::connect::{Connection, params};
use super::super::failure::Failure;
use super::super::rows::Columns;
use super::figures::add;
use super::link::{Link, Refused};
use super::peers::Cursor;
use super::probe::{Found, InARow, Probe};
use super::repeated::Repeated;
use super::shared::{Bring, POLL, Shared};

/// How often a node looks that is woken: what wakes it may be lost.
const POLL_WOKEN: Duration = Duration::from_millis(250);
/// After which it is found out again whether the node can be woken, if nobody could tell.
const PROBE_AGAIN: Duration = Duration::from_secs(5);
/// The same, if nothing came: a machine that is very busy may have been too slow. It doubles each time, because nothing is read
/// meanwhile.
const PROBE_AGAIN_SILENT: Duration = Duration::from_secs(60);
const PROBE_AGAIN_MAX: Duration = Duration::from_secs(3_600);
const READ: &str = "SELECT nth, seq, ago, frame FROM respoked.carried($1, $2, $3, $4, $5, $6)";
/// Frames of one sender that are read at once.
const FRAMES_MAX: i64 = 500;
/// Bytes that are read at once, of all senders. It may be one frame of each more.
const BYTES_MAX: i64 = 4 << 20;

/// Reads until the carrier is over.
pub(super) async fn run(shared: Arc<Shared>, mut link: Link) {
    let over = shared.over.clone();
    let going_on = async {
        let (bring, mut is_told) = (shared.attached().await, false);
        loop {
            let connection = link.connect().await;
            add(&shared.figures.connections, 1);
            let mut reading = Reading {
                shared: &shared,
                bring: &bring,
                connection: &connection,
                probe_due: Some(Instant::now()),
                again: PROBE_AGAIN_SILENT,
                is_told: &mut is_told,
                read: Repeated::new(READ),
            };
            let failure = reading.go_on(&link).await;
            shared.is_woken.store(false, Ordering::Relaxed);
            Link::note_lost("hears of others", &failure);
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

struct Reading<'a> {
    shared: &'a Shared,
    bring: &'a Bring,
    connection: &'a Connection,
    /// When it is to be found out whether the node can be woken. None: it is known.
    probe_due: Option<Instant>,
    /// After which it is found out again, if nothing comes.
    again: Duration,
    /// Whether the log was told that the node cannot be woken.
    is_told: &'a mut bool,
    read: Repeated,
}

impl Reading<'_> {
    /// Reads on a connection until it is lost.
    async fn go_on(&mut self, link: &Link) -> Failure {
        let mut refused = Refused::default();
        loop {
            let done = self.look(link).await;
            let is_refused = done.is_err();
            match done {
                Ok(()) => {}
                Err(failure) if failure.is_a_loss() => return failure,
                Err(failure) => refused.note("tell what other nodes sent", &failure),
            }
            self.wait(is_refused).await;
        }
    }

    /// Reads all that is there.
    async fn look(&mut self, link: &Link) -> Result<(), Failure> {
        link.stays()?;
        if self.probe_due.is_some_and(|due| Instant::now() >= due) {
            self.probe(link).await?;
        }
        while self.read().await? {}
        Ok(())
    }

    /// Waits until there may be something to read.
    async fn wait(&self, is_refused: bool) {
        let is_woken = self.shared.is_woken.load(Ordering::Relaxed);
        let due = Instant::now() + if is_woken { POLL_WOKEN } else { POLL };
        if is_refused {
            // Whoever wakes it would have it ask over and over.
            sleep_until(due).await;
        }
        let woken = timeout_at(due, self.shared.woken.notified()).await.is_ok();
        let figures = &self.shared.figures;
        add(if woken { &figures.wakes } else { &figures.polls }, 1);
    }

    /// Finds out whether this node can be woken, and has it woken.
    async fn probe(&mut self, link: &Link) -> Result<(), Failure> {
        let mut row = InARow::default();
        let found = loop {
            let channel = Probe::channel(link.chance());
            self.connection.batch(&format!("LISTEN {channel}")).await?;
            let found = self.shared.probe.find(channel.clone(), || self.shared.outbox.rouse()).await;
            self.connection.batch(&format!("UNLISTEN {channel}")).await?;
            if let Some(found) = row.add(found) {
                break found;
            }
        };
        self.probe_due = None;
        match found {
            Found::Comes => {
                self.connection.batch(&format!("LISTEN respoked_carrier_{}", self.shared.node.id.0)).await?;
                self.shared.is_woken.store(true, Ordering::Relaxed);
            }
            Found::Silence => {
                if !std::mem::replace(self.is_told, true) {
                    tracing::warn!(
                        "the database cannot wake this node, as is so behind a pooler in transaction mode: it looks every 50 ms for \
                         what other nodes tell it; give it a way past the pooler"
                    );
                }
                self.probe_due = Some(Instant::now() + self.again);
                self.again = (self.again * 2).min(PROBE_AGAIN_MAX);
            }
            Found::Nothing => self.probe_due = Some(Instant::now() + PROBE_AGAIN),
        }
        Ok(())
    }

    /// Reads what is there and hands it on. Whether there may be more.
    async fn read(&mut self) -> Result<bool, Failure> {
        let cursors = self.shared.peers.cursors();
        if cursors.is_empty() {
            return Ok(false);
        }
        let bytes_each = BYTES_MAX / i64::try_from(cursors.len()).unwrap_or(i64::MAX);
        let of = |value: fn(&Cursor) -> i64| cursors.iter().map(value).collect::<Vec<_>>();
        let node = i64::from(self.shared.node.id.0);
        let nodes = of(|cursor| i64::from(cursor.node.id.0));
        let lives = of(|cursor| cursor.node.incarnation.0.cast_signed());
        let seqs = of(|cursor| cursor.seq);
        let values = params![node, nodes, lives, seqs, FRAMES_MAX, bytes_each];
        let rows = self.read.query(self.connection, self.shared.is_woken.load(Ordering::Relaxed), values).await?;
        let (mut bytes, mut longest, mut read) = (0, 0, vec![(0_i64, 0_usize); cursors.len()]);
        for row in &rows {
            let mut columns = Columns::of(row);
            let (nth, seq, ago): (i64, i64, i64) = (columns.next()?, columns.next()?, columns.next()?);
            let frame: &[u8] = columns.next()?;
            let of_whom = usize::try_from(nth - 1).ok().and_then(|nth| Some((cursors.get(nth)?, read.get_mut(nth)?)));
            let (cursor, (frames_of, bytes_of)) = of_whom.ok_or(Failure::Row("a frame is of nobody"))?;
            *frames_of += 1;
            *bytes_of += frame.len();
            bytes += frame.len();
            longest = longest.max(ago);
            self.shared.peers.note(Cursor { node: cursor.node, seq });
            (self.bring)(frame);
        }
        let figures = &self.shared.figures;
        add(&figures.frames_received, rows.len());
        add(&figures.bytes_received, bytes);
        figures.note_lag(Duration::from_micros(longest.max(0).unsigned_abs()), Instant::now());
        let room = usize::try_from(bytes_each).unwrap_or(usize::MAX);
        let is_full = |(frames, bytes): &(i64, usize)| *frames >= FRAMES_MAX || *bytes >= room;
        Ok(read.iter().any(is_full))
    }
}
