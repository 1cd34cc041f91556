//! A request and its answer, as it is taken piece by piece.
//!
//! One piece is on its way at a time. It has to make some progress within [`STALL_TIMEOUT`], and all of them together a
//! little more than none: whoever takes a byte now and then would otherwise hold an answer for ever. A piece of HTTP/2 may
//! have to wait for those of other streams, which are written in turn; the time until its turn comes is not held against
//! it, as long as the connection as a whole takes what is asked for of all of its streams.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::places::Place;
use super::under_way::UnderWay;
use super::unread::{CallerKey, Unread};
use super::windows::{STANDING_MAX, STANDING_OF_ONE_MAX};

/// What goes at once on HTTP/2: a frame of the size that clients take by default.
pub(super) const PIECE_LEN_MAX_HTTP2: usize = 16_384;
/// How long an answer may stand still.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer may be behind [`PACE_BYTES`] a second, at the beginning and at most. The slowest network of mobile
/// telephones that is still about carries ten times as many.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const PATIENCE_MAX: Duration = Duration::from_secs(60);
const PACE_BYTES: u32 = 256;
/// How soon it is looked again whether the turn of a piece has come.
const TURN_PAUSE: Duration = Duration::from_secs(2);
/// A piece whose turn has come after so many rounds of all pieces that are on their way did not want it. One round is what
/// the library takes; another one is what may lie before it when the piece comes.
const ROUNDS_MAX: u64 = 2;
/// What a request on an HTTP/2 connection takes beside the bytes of its answer: its task, its stream, its headers.
pub(crate) const STREAM_COST: usize = 8_192;

/// By how much longer an answer may be on its way for bytes that were taken.
pub(super) fn earned(bytes: usize) -> Duration {
    Duration::from_secs(bytes as u64) / PACE_BYTES
}

/// A request and its answer.
pub(crate) struct Exchange {
    state: Mutex<State>,
    /// Tells whoever drives it that it is ended.
    ended: Notify,
}

struct State {
    under_way: UnderWay,
    /// The number of its last progress.
    changed: u64,
    /// The piece that is being taken.
    piece: Option<Taking>,
    /// How much longer than its bytes need it may be on its way.
    patience: Duration,
    /// Who makes the next piece.
    maker: Option<Waker>,
    /// Its body does not come.
    awaits_body: bool,
    /// Set while its body is not read on.
    stands: Option<Stander>,
    is_ended: bool,
}

/// Whose a body is that is not read on, as far as that was known when it came to stand.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stander(Option<CallerKey>);

/// What an exchange holds, and how it stands.
pub(super) struct Held {
    /// Bytes that it counts for.
    pub(super) bytes: usize,
    /// Whom for, if that is known.
    pub(super) caller: Option<CallerKey>,
    /// The number of its last progress.
    pub(super) since: u64,
    /// Whether it is not the client that it waits for.
    pub(super) waits_for_us: bool,
    pub(super) is_ended: bool,
}

/// A piece on its way.
#[derive(Clone, Copy)]
struct Taking {
    progressed: Instant,
    /// Bytes that its connection had taken then.
    taken_before: u64,
    /// Where its patience ends.
    until: Instant,
    /// It waits for its turn at least until then.
    turn_at: Instant,
}

impl Exchange {
    /// One that cannot be ended by itself; its connection can.
    pub(super) fn of(under_way: UnderWay) -> Arc<Self> {
        let changed = under_way.place().places.moment();
        let state = State {
            under_way,
            changed,
            piece: None,
            patience: PATIENCE,
            maker: None,
            awaits_body: false,
            stands: None,
            is_ended: false,
        };
        Arc::new(Self { state: Mutex::new(state), ended: Notify::new() })
    }

    /// One on an HTTP/2 connection, which counts for what its stream takes and for its head.
    pub(super) fn on_stream(mut under_way: UnderWay, head_len: usize) -> Arc<Self> {
        let place = under_way.place().clone();
        let too_many = under_way.add(STREAM_COST + head_len);
        let exchange = Self::of(under_way);
        place.exchanges.lock().begin(&exchange);
        if too_many {
            place.places.end_stalled();
        }
        exchange
    }

    /// Whose it turned out to be.
    pub(super) fn is_of(&self, caller: CallerKey) {
        self.state.lock().under_way.is_of(caller);
    }

    /// Counts bytes that were made for it.
    pub(super) fn add(&self, bytes: usize) {
        let mut state = self.state.lock();
        let too_many = state.under_way.add(bytes);
        let places = state.under_way.place().places.clone();
        drop(state);
        if too_many {
            places.end_stalled();
        }
    }

    /// Counts bytes that are gone.
    pub(super) fn remove(&self, bytes: usize) {
        self.state.lock().under_way.remove(bytes);
    }

    /// Its body does not come so far, as it may not have come before; `bytes` more are held than when it was waited for last,
    /// of whom `of` tells.
    pub(super) fn awaits_body(&self, before: bool, bytes: usize, of: impl FnOnce(&Unread) -> CallerKey) {
        let mut state = self.state.lock();
        let place = state.under_way.place().clone();
        state.awaits_body = true;
        state.changed = place.places.moment();
        let too_many = bytes > 0 && {
            let caller = of(&place.places.unread);
            state.under_way.add_coming(bytes, caller)
        };
        drop(state);
        place.awaits_body(before);
        if too_many {
            place.places.end_stalled();
        }
    }

    /// Its body is not read on. False: there are others enough on its connection, or of its caller on one of many.
    pub(super) fn stands(&self) -> bool {
        let mut state = self.state.lock();
        let stander = Stander(state.under_way.caller());
        let place = state.under_way.place().clone();
        let standing = &mut place.exchanges.lock().standing;
        let of_same = || standing.iter().filter(|other| **other == stander).count();
        let is_one_of_many = stander.0.is_some() && place.is_of_many();
        if standing.len() >= STANDING_MAX as usize || (is_one_of_many && of_same() >= STANDING_OF_ONE_MAX) {
            return false;
        }
        standing.push(stander);
        state.stands = Some(stander);
        true
    }

    /// It is read on.
    pub(super) fn stands_no_more(&self) {
        let mut state = self.state.lock();
        let stood = state.stands.take();
        let standing = &mut state.under_way.place().exchanges.lock().standing;
        if let Some(at) = standing.iter().position(|stander| Some(*stander) == stood) {
            standing.swap_remove(at);
        }
    }

    /// So much of a body more is held, of whom `of` tells.
    pub(super) fn holds(&self, bytes: usize, of: impl FnOnce(&Unread) -> CallerKey) {
        let mut state = self.state.lock();
        let places = state.under_way.place().places.clone();
        let too_many = state.under_way.add_coming(bytes, of(&places.unread));
        drop(state);
        if too_many {
            places.end_stalled();
        }
    }

    /// It came, or is waited for no more. False: the connection was told to go meanwhile.
    pub(super) fn got_body(&self) -> bool {
        let mut state = self.state.lock();
        state.awaits_body = false;
        state.under_way.place().got_body()
    }

    /// So much of the body that came was taken, or dropped.
    pub(super) fn took_body(&self, bytes: usize) {
        self.state.lock().under_way.remove_coming(bytes);
    }

    /// What it holds, and how it stands.
    pub(super) fn held(&self) -> Held {
        let state = self.state.lock();
        Held {
            bytes: state.under_way.bytes(),
            caller: state.under_way.caller(),
            since: state.changed,
            waits_for_us: state.piece.is_none() && !state.awaits_body && state.stands.is_none(),
            is_ended: state.is_ended,
        }
    }

    /// Ends it: what is left of its answer is dropped.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.is_ended = true;
        let maker = state.maker.take();
        drop(state);
        self.ended.notify_one();
        if let Some(maker) = maker {
            maker.wake();
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.lock().is_ended
    }

    /// Waits until it is ended. There is one such waiter.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Waits until no piece is on its way. An error: it is ended.
    pub(super) fn poll_taken(&self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let mut state = self.state.lock();
        if state.is_ended {
            return Poll::Ready(Err(Ended));
        }
        if state.piece.is_none() {
            return Poll::Ready(Ok(()));
        }
        if !state.maker.as_ref().is_some_and(|maker| maker.will_wake(context.waker())) {
            state.maker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// A piece is handed out.
    pub(super) fn hands_out(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.changed = state.under_way.place().places.moment();
        state.under_way.place().pieces.fetch_add(1, Ordering::Relaxed);
        let taken_before = state.under_way.place().taken.load(Ordering::Relaxed);
        state.piece = Some(Taking { progressed: now, taken_before, until: now + state.patience, turn_at: now });
    }

    /// So many bytes of it were taken.
    pub(super) fn progresses(&self, bytes: usize) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.changed = state.under_way.place().places.moment();
        state.under_way.changes();
        let taken_before = state.under_way.place().taken.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if let Some(piece) = &mut state.piece {
            let until = (piece.until + earned(bytes)).min(now + PATIENCE_MAX);
            *piece = Taking { progressed: now, taken_before, until, turn_at: now };
        }
        state.under_way.place().exchanges.lock().taken = Some(now);
    }

    /// The piece was taken, or dropped.
    pub(super) fn is_taken(&self) {
        let mut state = self.state.lock();
        if let Some(piece) = state.piece.take() {
            state.patience = piece.until.saturating_duration_since(Instant::now());
            state.is_ended |= state.patience.is_zero();
        }
        let maker = state.maker.take();
        drop(state);
        if let Some(maker) = maker {
            maker.wake();
        }
    }

    /// When it has stood still too long. None: it waits for us.
    fn deadline(&self) -> Option<Instant> {
        let piece = self.state.lock().piece?;
        Some(piece.until.min(piece.progressed + STALL_TIMEOUT).max(piece.turn_at))
    }

    /// Lets a piece that has stood still too long wait on for its turn behind those of other streams, `pieces` with its own.
    /// False: it was its turn, or the connection takes too little for all of them.
    fn waits_its_turn(&self, now: Instant, pieces: usize) -> bool {
        let mut state = self.state.lock();
        let taken = state.under_way.place().taken.load(Ordering::Relaxed);
        let Some(piece) = &mut state.piece else { return true };
        let (taken, pieces) = (taken - piece.taken_before, pieces as u64);
        let keeps_pace = taken >= now.duration_since(piece.progressed).as_secs() * u64::from(PACE_BYTES) * pieces;
        if !keeps_pace || taken > ROUNDS_MAX * pieces * PIECE_LEN_MAX_HTTP2 as u64 {
            return false;
        }
        piece.turn_at = now + TURN_PAUSE;
        piece.until = piece.until.max(piece.turn_at);
        true
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let place = self.state.get_mut().under_way.place().clone();
        place.exchanges.lock().over();
    }
}

/// An answer is dropped because it was not taken.
#[derive(Debug)]
pub(super) struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client does not take the answer")
    }
}

impl std::error::Error for Ended {}

/// The exchanges of an HTTP/2 connection.
#[derive(Default)]
pub(crate) struct Exchanges {
    under_way: Vec<Weak<Exchange>>,
    /// When one began or was over.
    changed: Option<Instant>,
    /// When bytes of one were taken.
    taken: Option<Instant>,
    /// Whose those are that have bodies which are not read on: a few.
    standing: Vec<Stander>,
}

/// What is to become of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is looked at again then.
    Later(Instant),
    /// It has to go.
    Over,
}

impl Exchanges {
    fn begin(&mut self, exchange: &Arc<Exchange>) {
        self.under_way.push(Arc::downgrade(exchange));
        self.changed = Some(Instant::now());
    }

    fn over(&mut self) {
        // The one that is over cannot be upgraded any more.
        self.under_way.retain(|exchange| exchange.strong_count() > 0);
        self.changed = Some(Instant::now());
    }

    /// Those that are under way. They must be dropped only once this is not locked any more.
    pub(super) fn all(&self) -> Vec<Arc<Exchange>> {
        self.under_way.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Ends the exchanges of a connection that stood still too long. The connection goes if it did as a whole, or if nothing
/// was asked on it for `idle_timeout` since it began at `start`.
pub(super) fn judge(place: &Place, start: Instant, idle_timeout: Duration) -> Verdict {
    let now = Instant::now();
    let exchanges = place.exchanges.lock();
    let (all, taken) = (exchanges.all(), exchanges.taken.unwrap_or(start));
    let idle_at = exchanges.changed.unwrap_or(start) + idle_timeout;
    drop(exchanges);
    if all.is_empty() {
        // Whatever begins meanwhile is to be looked at before it may have stood still too long.
        return if idle_at <= now { Verdict::Over } else { Verdict::Later(idle_at.min(now + STALL_TIMEOUT)) };
    }
    let (mut stood_still, mut next) = (false, now + STALL_TIMEOUT);
    let deadlines = all.iter().filter(|exchange| !exchange.is_ended());
    let deadlines: Vec<_> = deadlines.filter_map(|exchange| Some((exchange, exchange.deadline()?))).collect();
    for (exchange, deadline) in &deadlines {
        if *deadline > now {
            next = next.min(*deadline);
        } else if exchange.waits_its_turn(now, deadlines.len()) {
            next = next.min(now + TURN_PAUSE);
        } else {
            stood_still = true;
            exchange.end();
        }
    }
    if stood_still && taken + STALL_TIMEOUT <= now { Verdict::Over } else { Verdict::Later(next) }
}
