//! The connections for reads and for transactions of their own.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::Connection;
use super::connector::Connector;
use super::failure::Failure;

/// Connections at most. With the two that write tokens, the one that writes messages and one that listens a store has eight.
const CONNECTIONS_MAX: usize = 4;
/// Those who may wait for one. At two milliseconds a statement they all have one within the time they wait.
const WAITING_MAX: usize = 4_096;
/// How long one is waited for.
const WAIT: Duration = Duration::from_secs(5);

/// Connections that are lent out. Clones lend the same ones.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    connector: Arc<Connector>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Those that nobody has, the last used on top.
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self(Arc::new(Inner { connector, places, waiting: AtomicUsize::new(0), idle: Mutex::default() }))
    }

    /// Lends a connection.
    pub(super) async fn lend(&self) -> Result<Lent, Failure> {
        let place = self.place().await?;
        let idle = self.0.idle.lock().pop();
        let connection = match idle {
            Some(connection) if !connection.is_broken() => connection,
            Some(_) | None => self.0.connector.connect().await?,
        };
        Ok(Lent {
            connection: Some(connection),
            unfinished: AtomicBool::new(false),
            pool: self.0.clone(),
            _place: place,
        })
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(place) = self.0.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let closed = |_| Failure::lost("the store is closed");
        if self.0.places.is_closed() {
            return Err(Failure::lost("the store is closed"));
        }
        let waiter = Waiter::among(&self.0.waiting).ok_or(Failure::Overloaded)?;
        let place = tokio::time::timeout(WAIT, self.0.places.clone().acquire_owned()).await;
        drop(waiter);
        place.map_err(|_| Failure::Overloaded)?.map_err(closed)
    }

    /// Lends none any more; ends those that nobody has, and the others when they come back.
    pub(super) fn close(&self) {
        self.0.places.close();
        self.0.idle.lock().clear();
    }

    /// Waits until all that were lent came back.
    pub(super) async fn drain(&self) {
        // What is lent ends by its own time-outs.
        if let Ok(all) = self.0.places.acquire_many(u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX)).await {
            all.forget();
        }
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

/// A connection that somebody has.
pub(super) struct Lent {
    /// There until it is dropped.
    connection: Option<Connection>,
    unfinished: AtomicBool,
    pool: Arc<Inner>,
    _place: OwnedSemaphorePermit,
}

impl Lent {
    /// Notes whether a transaction is open on it: then it is not lent again.
    pub(super) fn note_unfinished(&self, unfinished: bool) {
        self.unfinished.store(unfinished, Ordering::Relaxed);
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until this is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if !connection.is_broken() && !self.unfinished.load(Ordering::Relaxed) && !self.pool.places.is_closed() {
            self.pool.idle.lock().push(connection);
        }
    }
}
