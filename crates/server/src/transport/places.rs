//! Open connections: each has a place, from which is seen what is under way on it and what of it was not read.
//!
//! When all places are taken a connection goes on which nothing is asked: of the address that has most of such, the one on
//! which nothing happened for longest. That needs no clock: what happens on connections is numbered through, and the smallest
//! number is the longest ago. A request whose body does not come is nothing that is asked; but many send a head and its body
//! one after the other, so that is said only after a while.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_hub::{Socket, WaitingLimits};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::exchange::Exchanges;
use super::frames::Took;
use super::kept::{Kept, KeptBytes, KeptFrame};
use super::shares::Share;
use super::unread::{CallerKey, Reader, SMALL_LEN, Unread, UnreadLimits};
use crate::metrics::Metrics;

/// How soon it is tried again to make room for a connection, when there is none that can go.
const ROOM_PAUSE: Duration = Duration::from_millis(50);
/// How many of the longest silent connections are found at once: looking through all of them for each newcomer of a
/// flood would be what the flood is after.
const SILENT_FOUND: usize = 64;
/// How long a newcomer that has not been asked anything yet is not called silent, nor a connection on which a request's body
/// begins to be waited for: longer than a first request, or the rest of one, needs to be read on a busy machine. A flood of
/// connections would otherwise end each of those that come after it. A request has that once, however often more of it comes:
/// a byte now and then would otherwise keep its connection for as long as a body may take.
pub(super) const NEWCOMER_FOR: Duration = Duration::from_secs(1);
/// A request whose body is waited for, in the number that counts a connection's. One that is under way counts one.
const AWAITED: u64 = 1 << 32;
/// In that number, that the connection was told to go.
const GONE: u64 = 1 << 63;

/// The requests of a connection whose answers were not taken yet: those under way, and those whose bodies are waited for. One
/// number counts both. So a request that passes from the ones to the others is never missed by a thread that looks meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Requests(u64);

impl Requests {
    const NONE: Self = Self(0);

    const fn is_gone(self) -> bool {
        self.0 >= GONE
    }

    /// Whether the body of any is waited for.
    const fn is_any_awaited(self) -> bool {
        self.0 % GONE >= AWAITED
    }

    /// Whether none is under way, whose body is not waited for, and more may be.
    const fn is_silent(self) -> bool {
        self.0.is_multiple_of(AWAITED) && !self.is_gone()
    }
}

/// All places.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Weak<Place>>>,
    /// The longest silent when they were looked for, the longest last, and when that was.
    silent: Mutex<Vec<(u64, Weak<Place>)>>,
    /// Numbers whatever happens.
    moments: AtomicU64,
    pub(crate) unread: Unread,
    /// Long answers that wait for their sockets.
    pub(super) kept: Kept,
    /// Held by who ends answers to make room.
    pub(super) ending: Mutex<()>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").field("unread", &self.unread).finish_non_exhaustive()
    }
}

impl Places {
    /// So many places, and so many bytes unread.
    pub(crate) fn new(connections_max: usize, unread: UnreadLimits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(connections_max)),
            open: Mutex::default(),
            silent: Mutex::default(),
            moments: AtomicU64::new(0),
            unread: Unread::new(unread),
            kept: Kept::default(),
            ending: Mutex::default(),
            metrics,
        })
    }

    /// Some, with plenty of room.
    #[cfg(test)]
    pub(crate) fn for_tests(metrics: Arc<Metrics>) -> Arc<Self> {
        Self::new(10, UnreadLimits { all: 1 << 20, caller: 1 << 20, connection: 1 << 20 }, metrics)
    }

    /// A place for a connection that came. If all are taken, the longest silent connection goes.
    pub(crate) async fn take(self: &Arc<Self>, share: Share) -> Arc<Place> {
        let permit = loop {
            if let Ok(permit) = self.free.clone().try_acquire_owned() {
                break permit;
            }
            self.end_longest_silent();
            // The one that goes gives its place back at once, but any other will do.
            let freed = tokio::time::timeout(ROOM_PAUSE, self.free.clone().acquire_owned()).await;
            if let Ok(Ok(permit)) = freed {
                break permit;
            }
        };
        let number = self.moment();
        let place = Arc::new(Place {
            number,
            born: Instant::now(),
            places: self.clone(),
            requests: AtomicU64::new(Requests::NONE.0),
            awaited_at: AtomicU64::new(0),
            changed: AtomicU64::new(number),
            unread: AtomicUsize::new(0),
            reader: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            pieces: AtomicU64::new(0),
            was_asked: AtomicBool::new(false),
            is_socket: AtomicBool::new(false),
            doomed: AtomicBool::new(false),
            left_body: AtomicBool::new(false),
            hung_up: AtomicBool::new(false),
            hanging_up: Notify::new(),
            waiting: Mutex::new(None),
            exchanges: Mutex::default(),
            task: Mutex::new(None),
            _permit: permit,
            share,
        });
        self.open.lock().insert(number, Arc::downgrade(&place));
        self.metrics.connections.inc();
        place
    }

    /// The number of what happens now.
    pub(super) fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn open(&self) -> Vec<Arc<Place>> {
        self.open.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Ends a connection on which nothing is under way. None may be so.
    fn end_longest_silent(&self) {
        let mut silent = self.silent.lock();
        for look_again in [true, false] {
            while let Some((since, place)) = silent.pop() {
                if place.upgrade().is_some_and(|place| place.end_if_silent_since(since)) {
                    return;
                }
            }
            if look_again {
                *silent = self.find_silent();
            }
        }
    }

    /// Some of the silent connections, the one that has to go first last.
    fn find_silent(&self) -> Vec<(u64, Weak<Place>)> {
        let open = self.open();
        let mut found: Vec<_> = open.iter().filter_map(|place| Some((place.silent_since()?, place))).collect();
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (_, place) in &found {
            if let Some(address) = place.share.address() {
                *counts.entry(address).or_default() += 1;
            }
        }
        found.sort_unstable_by_key(|(since, _)| *since);
        // How many its address has when its turn comes.
        let mut turns: Vec<_> = found
            .into_iter()
            .map(|(since, place)| {
                let count = place.share.address().and_then(|address| counts.get_mut(&address));
                let has = count.map_or(1, |count| std::mem::replace(count, *count - 1));
                (Reverse(has), since, place)
            })
            .collect();
        let order = |(has, since, _): &(Reverse<usize>, u64, &Arc<Place>)| (*has, *since);
        if turns.len() > SILENT_FOUND {
            turns.select_nth_unstable_by_key(SILENT_FOUND, order);
            turns.truncate(SILENT_FOUND);
        }
        turns.sort_unstable_by_key(|turn| Reverse(order(turn)));
        turns.into_iter().map(|(_, since, place)| (since, Arc::downgrade(place))).collect()
    }

    /// An answer on its way to a socket, counted if it is long until it was written or dropped.
    pub(crate) fn keep(self: &Arc<Self>, frame: Bytes, socket: &Arc<Socket>) -> Bytes {
        if frame.len() <= SMALL_LEN {
            return frame;
        }
        let kept = self.count(frame.len(), socket);
        Bytes::from_owner(KeptFrame { frame, _kept: kept })
    }

    /// Counts what waits for a socket's client, for as long as what is returned lives.
    pub(crate) fn count(self: &Arc<Self>, len: usize, socket: &Arc<Socket>) -> KeptBytes {
        let caller = self.caller_of(socket);
        self.unread.add_of(caller, len);
        let too_many = self.unread.add(len);
        self.kept.begin(self.moment(), len, socket, caller);
        let kept = KeptBytes { socket: socket.number, len, caller, places: self.clone() };
        if too_many {
            self.end_stalled();
        }
        kept
    }

    /// Whether what waits for a socket's caller, and `more`, is within half of what may: the other half is for answers.
    pub(crate) fn has_room(&self, more: usize, socket: &Socket) -> bool {
        self.unread.of(self.caller_of(socket)) + more <= self.unread.limits.caller / 2
    }

    /// How much may wait for sockets: as much as answers may, once more.
    pub(crate) fn waiting_limits(&self) -> WaitingLimits {
        WaitingLimits { caller: self.unread.limits.caller, all: self.unread.limits.all }
    }

    /// Whose a socket is.
    pub(crate) fn caller_of(&self, socket: &Socket) -> CallerKey {
        self.unread.key(Reader::of(&socket.opening.caller), socket.opening.address)
    }

    /// A part of what is kept for a socket was written.
    pub(crate) fn progresses(&self, socket: &Socket) {
        self.kept.progresses(self.moment(), socket.number);
    }

    /// An answer to the socket of this number is not kept any more.
    pub(super) fn let_go(&self, socket: u64, len: usize, caller: CallerKey) {
        self.kept.over(self.moment(), socket, len);
        self.unread.remove_of(caller, len);
        self.unread.remove(len);
    }
}

/// The place of an open connection, among all and among those of its address, counted and held for as long as it lives,
/// however it ends. A websocket takes it over from the request that it began with.
pub(crate) struct Place {
    number: u64,
    born: Instant,
    pub(super) places: Arc<Places>,
    /// See [`Requests`].
    requests: AtomicU64,
    /// When a body was last waited for that was not waited for before: so many milliseconds from its birth on.
    awaited_at: AtomicU64,
    /// The number of what happened last.
    pub(super) changed: AtomicU64,
    pub(super) unread: AtomicUsize,
    /// Who has those bytes on HTTP/1.1, or had some last; 0: nobody.
    pub(super) reader: AtomicU64,
    /// Bytes of answers on HTTP/2 that were taken.
    pub(super) taken: AtomicU64,
    /// In how many pieces they were handed out.
    pub(super) pieces: AtomicU64,
    was_asked: AtomicBool,
    is_socket: AtomicBool,
    /// Its task is being ended.
    pub(super) doomed: AtomicBool,
    /// Whether the last request was answered before all of its body was read.
    left_body: AtomicBool,
    /// Whether the client said that it will say no more.
    hung_up: AtomicBool,
    hanging_up: Notify,
    /// The connection's task, which has not been told yet that the client says no more.
    waiting: Mutex<Option<Waker>>,
    /// Those of an HTTP/2 connection, which can be ended one by one.
    pub(super) exchanges: Mutex<Exchanges>,
    /// Whom to end with it. None of a socket: a handle keeps the room of a task that is over.
    task: Mutex<Option<AbortHandle>>,
    _permit: OwnedSemaphorePermit,
    share: Share,
}

impl Place {
    /// Tells whom to end with it.
    pub(crate) fn served_by(&self, task: AbortHandle) {
        if self.is_socket.load(Ordering::Relaxed) {
            return;
        }
        *self.task.lock() = Some(task);
        if self.doomed.load(Ordering::Relaxed) {
            self.end();
        }
    }

    /// Waits until the client asked nothing for `within` since `start`, for ever if it asked something.
    pub(crate) async fn never_asked(&self, start: Instant, within: Duration) {
        tokio::time::sleep_until(start + within).await;
        if self.was_asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// It is a socket's from now on, and never silent.
    pub(crate) fn becomes_socket(&self) {
        self.is_socket.store(true, Ordering::Relaxed);
        drop(self.task.lock().take());
    }

    /// Bytes of its answers that are not read.
    pub(crate) fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    /// Whose answers they are, if that is known.
    pub(super) fn reader(&self) -> Option<CallerKey> {
        let key = self.reader.load(Ordering::Relaxed);
        (key != 0).then_some(CallerKey(key))
    }

    /// Whether its client has to read before it asks on. One behind which there are many is asked for each by itself: what
    /// one of them leaves unread is no other's fault.
    pub(crate) fn is_crowded(&self) -> bool {
        !self.is_of_many() && self.unread() > self.places.unread.limits.connection
    }

    /// Whether there are many behind it.
    pub(super) fn is_of_many(&self) -> bool {
        self.share.address().is_none()
    }

    fn requests(&self) -> Requests {
        Requests(self.requests.load(Ordering::SeqCst))
    }

    /// Whether no request is under way, nor one whose body may just have come.
    fn waits_for_nothing(&self) -> bool {
        self.requests() == Requests::NONE
    }

    /// Whether nothing is under way.
    pub(super) fn is_silent(&self) -> bool {
        self.requests().is_silent()
    }

    /// Since when nothing is under way. None: something is.
    fn silent_since(&self) -> Option<u64> {
        let requests = self.requests();
        let silent = requests.is_silent() && !self.is_socket.load(Ordering::Relaxed);
        let is_new = || !self.was_asked.load(Ordering::Relaxed) && self.born.elapsed() < NEWCOMER_FOR;
        let awaited_at = || Duration::from_millis(self.awaited_at.load(Ordering::Relaxed));
        let is_coming = || requests.is_any_awaited() && self.born.elapsed() < awaited_at() + NEWCOMER_FOR;
        (silent && !is_new() && !is_coming()).then(|| self.changed.load(Ordering::Relaxed))
    }

    fn end_if_silent_since(&self, since: u64) -> bool {
        let Requests(before) = self.requests();
        if !Requests(before).is_silent() || self.silent_since() != Some(since) {
            return false;
        }
        let gone = self.requests.compare_exchange(before, before | GONE, Ordering::SeqCst, Ordering::SeqCst);
        let ended = gone.is_ok();
        if ended {
            self.end();
        }
        ended
    }

    pub(super) fn end(&self) {
        self.doomed.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }

    /// The client will say no more, and may still listen: `waiting` reads on once it has its answers. False: it waits for
    /// none.
    pub(super) fn hang_up(&self, waiting: &Context<'_>) -> bool {
        if self.waits_for_nothing() {
            return false;
        }
        *self.waiting.lock() = Some(waiting.waker().clone());
        self.hung_up.store(true, Ordering::SeqCst);
        self.hanging_up.notify_waiters();
        // The last answer may have been taken meanwhile, by another thread that saw none of this and wakes nobody. In the
        // one order that all threads see, either it was and is seen here, or what was stored is seen there.
        if self.waits_for_nothing() {
            drop(self.waiting.lock().take());
            return false;
        }
        true
    }

    pub(crate) fn has_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::SeqCst)
    }

    /// Waits until the client says that it will say no more: it may be gone.
    pub(crate) async fn hung_up(&self) {
        let mut hanging_up = std::pin::pin!(self.hanging_up.notified());
        hanging_up.as_mut().enable();
        if !self.has_hung_up() {
            hanging_up.await;
        }
    }

    /// The number of what happened last.
    pub(super) fn last_moment(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    /// What was taken of answers on HTTP/2.
    pub(super) fn took(&self) -> Took {
        Took { bytes: self.taken.load(Ordering::Relaxed), pieces: self.pieces.load(Ordering::Relaxed) }
    }

    /// The body of a request that is under way does not come. It may not have come before either, and then have come for a
    /// part.
    pub(super) fn awaits_body(&self, before: bool) {
        self.changes();
        if !before {
            let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.awaited_at.store(now, Ordering::Relaxed);
        }
        self.requests.fetch_add(AWAITED - 1, Ordering::SeqCst);
    }

    /// It came, or is waited for no more. False: the connection was told to go meanwhile.
    pub(super) fn got_body(&self) -> bool {
        !Requests(self.requests.fetch_sub(AWAITED - 1, Ordering::SeqCst)).is_gone()
    }

    /// The body of a request was not read to its end.
    pub(super) fn leaves_body(&self) {
        self.left_body.store(true, Ordering::Relaxed);
    }

    pub(crate) fn left_body(&self) -> bool {
        self.left_body.load(Ordering::Relaxed)
    }

    pub(super) fn changes(&self) {
        self.changed.store(self.places.moment(), Ordering::Relaxed);
    }

    /// A request begins. False: the connection was told to go, and the request must not.
    pub(super) fn begins(&self) -> bool {
        let before = Requests(self.requests.fetch_add(1, Ordering::Relaxed));
        self.was_asked.store(true, Ordering::Relaxed);
        self.left_body.store(false, Ordering::Relaxed);
        if self.unread() == 0 {
            // Whose answer the last one was says nothing of this one: a proxy's connection is of many.
            self.reader.store(0, Ordering::Relaxed);
        }
        !before.is_gone()
    }

    /// One is over: its answer was taken or dropped.
    pub(super) fn ends(&self) {
        self.changes();
        self.requests.fetch_sub(1, Ordering::SeqCst);
        if self.has_hung_up()
            && let Some(waiting) = self.waiting.lock().take()
        {
            waiting.wake();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.lock().remove(&self.number);
        self.places.metrics.connections.dec();
    }
}

#[cfg(test)]
mod tests;
