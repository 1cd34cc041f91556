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

    fn changes(&self) {
        self.changed.store(self.places.moment(), Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.lock().remove(&self.number);
        self.places.metrics.connections.dec();
    }
}

/// A request under way, until its answer was taken or dropped, with what it counts for.
pub(crate) struct UnderWay {
    place: Arc<Place>,
    bytes: usize,
    /// How many of them are counted for the caller.
    of_caller: usize,
    caller: Option<CallerKey>,
}

impl UnderWay {
    /// None: the connection is being ended, and the request must not begin.
    pub(crate) fn begin(place: &Arc<Place>) -> Option<Self> {
        let before = Requests(place.requests.fetch_add(1, Ordering::Relaxed));
        place.was_asked.store(true, Ordering::Relaxed);
        if place.unread() == 0 {
            // Whose answer the last one was says nothing of this one: a proxy's connection is of many.
            place.reader.store(0, Ordering::Relaxed);
        }
        (!before.is_gone()).then(|| Self { place: place.clone(), bytes: 0, of_caller: 0, caller: None })
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Bytes that it counts for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whom it counts for, if that is known.
    pub(super) fn caller(&self) -> Option<CallerKey> {
        self.caller
    }

    /// Whom it counts for as well, from now on and with all that it has. Until that is known it may count for its address.
    pub(super) fn is_of(&mut self, caller: CallerKey) {
        if self.caller == Some(caller) {
            return;
        }
        if self.of_caller > 0 {
            self.remove_of_caller(self.of_caller);
        }
        self.caller = Some(caller);
        self.of_caller = self.bytes;
        self.place.reader.store(caller.0, Ordering::Relaxed);
        if self.bytes > 0 {
            self.place.places.unread.add_of(caller, self.bytes);
        }
    }

    /// Counts bytes that came of its body, for `from` until it is known whose they are. True: all together are too many.
    pub(super) fn add_coming(&mut self, bytes: usize, from: CallerKey) -> bool {
        self.is_of(from);
        self.bytes += bytes;
        self.of_caller += bytes;
        self.place.unread.fetch_add(bytes, Ordering::Relaxed);
        let unread = &self.place.places.unread;
        unread.add_of(from, bytes);
        unread.add(bytes)
    }

    /// Counts them no more.
    pub(super) fn remove_coming(&mut self, bytes: usize) {
        self.remove_of_caller(bytes);
        self.remove_of_all(bytes);
    }

    /// Counts bytes that are made. True: all together are too many.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        // It is these that may be taken from now on: however long the connection was silent, nothing stood still.
        self.place.changes();
        self.place.unread.fetch_add(bytes, Ordering::Relaxed);
        let unread = &self.place.places.unread;
        if let Some(caller) = self.caller.filter(|_| bytes > SMALL_LEN) {
            self.of_caller += bytes;
            unread.add_of(caller, bytes);
        }
        unread.add(bytes)
    }

    /// Counts bytes that are gone, as many as were added at once.
    pub(super) fn remove(&mut self, bytes: usize) {
        if self.caller.is_some() && bytes > SMALL_LEN {
            self.remove_of_caller(bytes);
        }
        self.remove_of_all(bytes);
    }

    fn remove_of_all(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.place.unread.fetch_sub(bytes, Ordering::Relaxed);
        self.place.places.unread.remove(bytes);
    }

    fn remove_of_caller(&mut self, bytes: usize) {
        let bytes = bytes.min(self.of_caller);
        self.of_caller -= bytes;
        if let Some(caller) = self.caller {
            self.place.places.unread.remove_of(caller, bytes);
        }
    }

    /// It made progress.
    pub(super) fn changes(&self) {
        self.place.changes();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.of_caller > 0 {
            self.remove_of_caller(self.of_caller);
        }
        if self.bytes > 0 {
            self.remove_of_all(self.bytes);
        }
        self.place.changes();
        self.place.requests.fetch_sub(1, Ordering::SeqCst);
        if self.place.has_hung_up()
            && let Some(waiting) = self.place.waiting.lock().take()
        {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    async fn ended_after(asked: Option<Duration>) -> Option<Duration> {
        let place = Places::for_tests(Arc::new(Metrics::default())).take(Share::unbounded()).await;
        let start = Instant::now();
        let asking = async {
            if let Some(after) = asked {
                tokio::time::sleep(after).await;
                drop(UnderWay::begin(&place));
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = place.never_asked(start, WITHIN) => Some(start.elapsed()),
            () = asking => None,
            () = tokio::time::sleep(WITHIN * 100) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_asks_soon_or_goes() {
        assert_eq!(ended_after(None).await, Some(WITHIN));
        assert_eq!(ended_after(Some(WITHIN + Duration::from_secs(1))).await, Some(WITHIN));
        assert_eq!(ended_after(Some(WITHIN / 2)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_longest_silent_makes_room() {
        let limits = UnreadLimits { all: 1, caller: 1, connection: 1 };
        let places = Places::new(4, limits, Arc::new(Metrics::default()));
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(places.take(Share::unbounded()).await);
        }
        tokio::time::advance(NEWCOMER_FOR).await;
        let [busy, socket, later, silent] = [0, 1, 2, 3].map(|at| taken[at].clone());
        let under_way = UnderWay::begin(&busy).unwrap();
        socket.becomes_socket();
        // The one that was asked something last is silent since then.
        drop(UnderWay::begin(&later));
        drop(taken);
        let ended = |place: &Place| place.doomed.load(Ordering::Relaxed);
        assert!(tokio::time::timeout(ROOM_PAUSE / 2, places.take(Share::unbounded())).await.is_err());
        assert_eq!([&busy, &socket, &later, &silent].map(|place| ended(place)), [false, false, false, true]);
        assert!(UnderWay::begin(&silent).is_none(), "nothing begins on it any more");
        drop(silent);
        let newcomer = places.take(Share::unbounded()).await;
        assert!(!ended(&later), "there was room");
        drop((under_way, newcomer));
    }

    #[tokio::test]
    async fn of_a_shared_connection_the_last_reader_is_not_blamed_for_the_next() {
        let place = Places::for_tests(Arc::new(Metrics::default())).take(Share::unbounded()).await;
        let mut large = UnderWay::begin(&place).unwrap();
        large.add(2 * SMALL_LEN);
        large.is_of(CallerKey(7));
        assert_eq!(place.reader(), Some(CallerKey(7)));
        drop(large);
        let mut small = UnderWay::begin(&place).unwrap();
        small.add(1);
        assert_eq!(place.reader(), None);
    }

    #[tokio::test]
    async fn who_shares_a_connection_is_not_told_to_read_what_is_anothers() {
        let limits = UnreadLimits { all: 1 << 20, caller: 1 << 20, connection: 1_000 };
        let places = Places::new(2, limits, Arc::new(Metrics::default()));
        let shares = super::super::Shares::new(2, vec!["192.0.2.1/32".parse().unwrap()]);
        let [proxy, client] = [1, 2].map(|last| shares.take([192, 0, 2, last].into()).unwrap());
        for (share, is_told) in [(proxy, false), (client, true)] {
            let place = places.take(share).await;
            let mut under_way = UnderWay::begin(&place).unwrap();
            under_way.add(1_000);
            assert!(!place.is_crowded());
            under_way.add(1);
            assert_eq!(place.is_crowded(), is_told);
        }
    }

    /// Places for so many, all of them taken by these addresses.
    async fn all_taken_by(addresses: &[u8]) -> (Arc<Places>, Vec<Arc<Place>>) {
        let limits = UnreadLimits { all: 1 << 20, caller: 1 << 20, connection: 1 << 20 };
        let places = Places::new(addresses.len(), limits, Arc::new(Metrics::default()));
        let shares = super::super::Shares::new(100, Vec::new());
        let mut taken = Vec::new();
        for address in addresses {
            taken.push(places.take(shares.take([192, 0, 2, *address].into()).unwrap()).await);
        }
        (places, taken)
    }

    /// Which of them goes to make room.
    async fn goes(places: &Arc<Places>, taken: &[Arc<Place>]) -> Vec<usize> {
        let _ = tokio::time::timeout(ROOM_PAUSE / 2, places.take(Share::unbounded())).await;
        (0..taken.len()).filter(|at| taken[*at].doomed.load(Ordering::Relaxed)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_is_not_silent_before_it_can_have_been_read() {
        let (places, taken) = all_taken_by(&[1, 2]).await;
        let under_way = UnderWay::begin(&taken[0]).unwrap();
        assert!(goes(&places, &taken).await.is_empty());
        tokio::time::advance(NEWCOMER_FOR).await;
        assert_eq!(goes(&places, &taken).await, [1]);
        drop(under_way);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_body_does_not_come_is_silence() {
        let (places, taken) = all_taken_by(&[1, 2]).await;
        let begun: Vec<_> = taken.iter().map(UnderWay::begin).collect();
        assert!(goes(&places, &taken).await.is_empty());
        taken[0].awaits_body(false);
        assert!(taken[0].got_body(), "it came in time");
        assert!(goes(&places, &taken).await.is_empty());
        // It may be a packet behind its head, or behind a part of it.
        for _ in 0..3 {
            taken[0].awaits_body(true);
            tokio::time::advance(NEWCOMER_FOR / 4).await;
            assert!(goes(&places, &taken).await.is_empty());
            assert!(taken[0].got_body());
        }
        taken[0].awaits_body(true);
        tokio::time::advance(NEWCOMER_FOR / 4).await;
        assert_eq!(goes(&places, &taken).await, [0]);
        assert!(!taken[0].got_body(), "it was told to go");
        drop(begun);
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_that_has_most_of_the_silent_makes_room_first() {
        // The longest silent is of an address that has one, the others are of one that has three.
        let (places, taken) = all_taken_by(&[1, 7, 7, 7]).await;
        tokio::time::advance(NEWCOMER_FOR).await;
        drop(UnderWay::begin(&taken[1]));
        assert_eq!(goes(&places, &taken).await, [2]);
        assert_eq!(goes(&places, &taken).await, [2, 3]);
        assert_eq!(goes(&places, &taken).await, [0, 2, 3], "once all have as many the longest silent goes");
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_is_heard_of_while_it_waits_for_an_answer() {
        let place = Places::for_tests(Arc::new(Metrics::default())).take(Share::unbounded()).await;
        let context = &mut Context::from_waker(Waker::noop());
        assert!(!place.hang_up(context), "nothing is under way");
        let under_way = UnderWay::begin(&place);
        let hanging_up = async {
            tokio::task::yield_now().await;
            assert!(place.hang_up(context));
        };
        tokio::join!(place.hung_up(), hanging_up);
        place.hung_up().await;
        drop(under_way);
        assert!(!place.hang_up(context));
    }

    #[test]
    fn a_request_is_seen_at_every_moment_while_its_body_is_waited_for_and_comes() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let place = runtime.block_on(Places::for_tests(Arc::new(Metrics::default())).take(Share::unbounded()));
        let under_way = UnderWay::begin(&place);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..300_000 {
                    place.awaits_body(false);
                    assert!(place.got_body());
                }
                is_over.store(true, Ordering::Relaxed);
            });
            let mut looks = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert!(!place.waits_for_nothing(), "nothing is seen at look {looks}");
                looks += 1;
            }
        });
        drop(under_way);
        assert!(place.waits_for_nothing());
    }

    #[test]
    fn who_hangs_up_while_the_last_answer_is_taken_is_told_or_woken() {
        struct Woken(AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let places = Places::for_tests(Arc::new(Metrics::default()));
        for _ in 0..20_000 {
            let place = runtime.block_on(places.take(Share::unbounded()));
            let under_way = UnderWay::begin(&place).unwrap();
            let woken = Arc::new(Woken(AtomicBool::new(false)));
            let waker = Waker::from(woken.clone());
            let ready = std::sync::Barrier::new(2);
            let waits = std::thread::scope(|scope| {
                scope.spawn(|| {
                    ready.wait();
                    drop(under_way);
                });
                ready.wait();
                place.hang_up(&Context::from_waker(&waker))
            });
            assert!(!waits || woken.0.load(Ordering::SeqCst), "it waits for ever");
        }
    }
}
