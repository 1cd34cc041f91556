//! The connections for reads and for transactions of their own.
//!
//! Invariant: there are never more of them than places. A place is given back when its connection waits for the next one, or
//! when its socket is closed. While a commit is not answered, it is not closed (`driver.rs`).
//! Invariant: no kind of errand takes them all, nor do several together. Whatever waits for locks or looks through big tables, a
//! look-up by keys finds a place, what ends something finds one, and so do other transactions where there are searches.
//! Invariant: whoever says that a node lives has a connection that nobody else uses, but for one who hears of what was ended when all
//! others are taken. So neither many who ask nor connections that are dead can make a node look so.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::connect::Connection;
use super::connector::Connector;
use super::failure::Failure;
use super::settling::Comer;

/// Places for everything but saying that a node lives. With the connection for that, the two that write tokens and the one that
/// writes messages a store has eight.
const MOST: usize = 4;
/// The place for saying that a node lives. Who hears of what was ended has it too, where there is no other: without that for some
/// seconds, nothing may be remembered.
const PULSE: usize = 1;
/// Of these at most, for all but what ends something: one is left to that.
const USUAL: usize = 3;
/// Of [`MOST`] at most, for all but look-ups, which take milliseconds: one is left to these. Who may do what it asks for is found
/// by a look-up.
const SLOW: usize = 3;
/// Of these at most, for what ends something: it waits for its like anyway, since all of it writes the feed.
const ENDINGS: usize = 2;
/// Of [`SLOW`] at most, for all but what ends something: one is left to that here too.
const COMMON: usize = 2;
/// Of these at most, for searches and gatherings: one is left to transactions, which may hold both while they wait for a lock.
const BIG: usize = 1;
/// Searches at once: they look at millions of rows. On two cores more would only take the time of each other.
const SEARCHES: usize = 2;
/// Gatherings at once: each is bounded by the keys that are asked for.
const GATHERINGS: usize = 1;
/// Those who may wait for each of these. At two milliseconds a statement they all have a place within the time they wait.
const WAITING_MAX: usize = 4_096;

/// What a connection is borrowed for.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// A look-up, or a list that an index finds.
    LookUp,
    /// A transaction.
    Transaction,
    /// Ending something: it waits behind none but its like.
    Ending,
    /// Hearing of what was ended.
    Hearing,
    /// Saying that a node lives.
    Beat,
    /// A part of what has a turn.
    OfTurn(Turn),
}

/// A turn of those of whom only a few are let in at once. It ends with its last clone.
#[derive(Clone, Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "it is had")] Arc<OwnedSemaphorePermit>);

/// Connections that are lent out. Clones lend the same ones.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    connector: Arc<Connector>,
    /// For one's turn.
    patience: Duration,
    /// These are taken in this order.
    big: Turns,
    endings: Turns,
    common: Turns,
    usual: Turns,
    slow: Turns,
    most: Turns,
    pulse: Turns,
    searches: Turns,
    gatherings: Turns,
    /// Those that nobody has. None: the pool is closed.
    idle: Mutex<Option<Idle>>,
    tasks: TaskTracker,
    runtime: Handle,
}

/// Connections that nobody has.
#[derive(Default)]
struct Idle {
    /// The last used on top.
    usual: Vec<Connection>,
    /// The one of [`PULSE`].
    pulse: Option<Connection>,
}

impl Pool {
    /// One whose tasks are on `tasks`.
    pub(super) fn new(connector: Arc<Connector>, patience: Duration, tasks: TaskTracker) -> Self {
        Self(Arc::new(Inner {
            connector,
            patience,
            big: Turns::of(BIG),
            endings: Turns::of(ENDINGS),
            common: Turns::of(COMMON),
            usual: Turns::of(USUAL),
            slow: Turns::of(SLOW),
            most: Turns::of(MOST),
            pulse: Turns::of(PULSE),
            searches: Turns::of(SEARCHES),
            gatherings: Turns::of(GATHERINGS),
            idle: Mutex::new(Some(Idle::default())),
            tasks,
            runtime: Handle::current(),
        }))
    }

    /// Lends a connection.
    pub(super) async fn lend(&self, errand: &Errand) -> Result<Lent, Failure> {
        let place = self.0.place(errand).await?;
        let take = |idle: &mut Idle| if place.is_pulse { idle.pulse.take() } else { idle.usual.pop() };
        let idle = self.0.idle.lock().as_mut().and_then(take);
        let connection = match idle {
            Some(connection) if !connection.is_broken() => connection,
            broken => {
                if let Some(connection) = broken {
                    connection.close().await;
                }
                let comer = match errand {
                    Errand::Beat => Comer::Beat,
                    // A beat may come that wants its place.
                    Errand::Hearing if place.is_pulse => Comer::InHaste,
                    _ => Comer::Usual,
                };
                self.0.connector.connect_for(comer).await?
            }
        };
        Ok(Lent { connection: Some(connection), place: Some(place), pool: self.0.clone() })
    }

    /// A turn to look through a big table.
    pub(super) async fn turn_to_search(&self) -> Result<Turn, Failure> {
        self.0.turn(&self.0.searches).await
    }

    /// A turn to read what many keys find.
    pub(super) async fn turn_to_gather(&self) -> Result<Turn, Failure> {
        self.0.turn(&self.0.gatherings).await
    }

    /// Lends none any more; ends those that nobody has, and the others when they come back.
    pub(super) fn close(&self) {
        let Inner { big, endings, common, usual, slow, most, pulse, searches, gatherings, .. } = &*self.0;
        for turns in [big, endings, common, usual, slow, most, pulse, searches, gatherings] {
            turns.free.close();
        }
        self.0.idle.lock().take();
    }

    /// Has nobody wait any more for commits that are not answered.
    pub(super) fn let_go(&self) {
        self.0.connector.let_go_for_good();
    }

    /// Waits until all that were lent came back.
    pub(super) async fn drain(&self) {
        // What is lent ends by its own time-outs, but for commits that are not answered: those were let go.
        for (turns, all) in [(&self.0.most, MOST), (&self.0.pulse, PULSE)] {
            let all = u32::try_from(all).unwrap_or(u32::MAX);
            if let Ok(all) = turns.free.acquire_many(all).await {
                all.forget();
            }
        }
    }
}

impl Inner {
    async fn place(&self, errand: &Errand) -> Result<Place, Failure> {
        let until = Instant::now() + self.patience;
        let Self { big, endings, common, usual, slow, most, pulse, .. } = self;
        let (parts, turn): (&[&Turns], _) = match errand {
            Errand::LookUp => (&[usual, most], None),
            Errand::Transaction => (&[common, usual, slow, most], None),
            Errand::OfTurn(turn) => (&[big, common, usual, slow, most], Some(turn.clone())),
            Errand::Ending => (&[endings, slow, most], None),
            Errand::Hearing => match (usual.at_once(), most.at_once()) {
                // As a look-up, which leaves to others what they have to find.
                (Some(usual), Some(most)) => {
                    return Ok(Place { parts: vec![usual, most], is_pulse: false, _turn: None });
                }
                _ => (&[pulse], None),
            },
            Errand::Beat => (&[pulse], None),
        };
        let is_pulse = matches!(errand, Errand::Hearing | Errand::Beat);
        let mut place = Place { parts: Vec::with_capacity(parts.len()), is_pulse, _turn: turn };
        for part in parts {
            place.parts.push(part.take(until).await?);
        }
        Ok(place)
    }

    async fn turn(&self, turns: &Turns) -> Result<Turn, Failure> {
        turns.take(Instant::now() + self.patience).await.map(|turn| Turn(Arc::new(turn)))
    }

    /// Takes a connection back on which something is under way, or that is of no use any more. Its place goes along until that
    /// is over or the socket closed.
    async fn take_back(self: Arc<Self>, connection: Connection, place: Place) {
        // The next beat waits for no answer to the one before. It holds no lock but while the server is at it.
        let is_good = !connection.is_broken() && !place.is_pulse;
        if is_good && connection.finish().await.is_ok() {
            self.keep(connection, &place);
        } else {
            connection.close().await;
        }
        drop(place);
    }

    /// Keeps it for the next one who has such a place, or ends it if there will be none.
    fn keep(&self, connection: Connection, place: &Place) {
        match &mut *self.idle.lock() {
            Some(idle) if place.is_pulse => idle.pulse = Some(connection),
            Some(idle) => idle.usual.push(connection),
            None => {}
        }
    }
}

/// So many at once. Others wait, and not for ever.
struct Turns {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Turns {
    fn of(number: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(number)), waiting: AtomicUsize::new(0) }
    }

    /// One that nobody waits for.
    fn at_once(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }

    async fn take(&self, until: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        match self.free.clone().try_acquire_owned() {
            Ok(turn) => return Ok(turn),
            Err(TryAcquireError::Closed) => return Err(Failure::Closed),
            Err(TryAcquireError::NoPermits) => {}
        }
        let waiter = Waiter::among(&self.waiting).ok_or(Failure::Overloaded)?;
        let turn = timeout_at(until, self.free.clone().acquire_owned()).await;
        drop(waiter);
        turn.map_err(|_| Failure::Overloaded)?.map_err(|_| Failure::Closed)
    }
}

/// One of those who wait.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn among(waiting: &'a AtomicUsize) -> Option<Self> {
        let waiter = Self(waiting);
        // Counted first, so that it is taken back in any case.
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is had with a connection, until it is back.
struct Place {
    parts: Vec<OwnedSemaphorePermit>,
    /// Whether it is that of [`PULSE`], which has its own connection.
    is_pulse: bool,
    _turn: Option<Turn>,
}

/// A connection that somebody has.
pub(super) struct Lent {
    /// There until it is dropped, as its place is.
    connection: Option<Connection>,
    place: Option<Place>,
    pool: Arc<Inner>,
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until this is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(connection), Some(place)) = (self.connection.take(), self.place.take()) else { return };
        if connection.is_broken() || connection.is_unfinished() {
            let back = self.pool.clone().take_back(connection, place);
            self.pool.tasks.spawn_on(back, &self.pool.runtime);
        } else {
            self.pool.keep(connection, &place);
        }
    }
}

#[cfg(test)]
mod tests;
