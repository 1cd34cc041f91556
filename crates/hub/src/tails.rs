//! Tails: who looks on while frames go to and from an endpoint's connections, on whatever node they are.
//!
//! Whoever looks on has the other nodes show theirs for a while ([`Deed::Show`](respoke_core::ports::Deed::Show)), and has
//! that renewed. They stop within a second when no node is there for it any more ([`Interest::Tails`]). What they show
//! comes over the bus ([`Delivery::Tailed`]). It is only so much a second, so that looking on never takes the bus from what
//! is said.
//!
//! Invariant: looking on never holds anything up. If a queue is full, or a second's share of the bus is used up, frames are
//! lost. The next one that finds room says how many. While nobody looks on, a frame costs one relaxed load more.

mod looking;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::ports::{Bus, Delivery, Done, Interest};
use respoke_core::refusal::Refusal;
use respoke_core::tail::{Payloads, TailedFrame};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::registry::Connection;

/// Tails open at once on this node, and endpoints that it shows to other nodes. They are for people, and each costs every
/// frame of its endpoint a copy.
const TAILS_MAX: usize = 64;
/// As many of these may be one app's, so that no app takes the others' places.
const TAILS_PER_APP_MAX: usize = 16;
/// Frames that wait for one tail: a second or two of a busy endpoint.
const QUEUE_LEN_MAX: usize = 128;
/// The longest payload that is shown, in bytes; so much of a full queue is two megabytes.
pub const PAYLOAD_LEN_MAX: usize = 16_384;
/// How long frames are shown to another node that does not ask again.
const SHOWN_FOR: Duration = Duration::from_secs(15);
/// What the frames of one endpoint may take on the bus in a second, in bytes: more than anybody reads. One frame more goes
/// through, so that the longest does.
const SHARE_MAX: usize = 128 << 10;
/// What those of all may take: in five seconds a sixth of what is kept for a node that is slow. Each app has an equal share of
/// it, and in that each of its endpoints.
const SHARES: usize = 512 << 10;
/// What a frame takes besides its texts, about.
const FRAME_LEN: usize = 128;

/// The open tails.
#[derive(Debug, Default)]
pub struct Tails {
    count: AtomicUsize,
    open: RwLock<Open>,
    /// Tells whoever looks on that the server stops.
    ending: Notify,
    numbers: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    tails: Vec<Tail>,
    /// What is shown to other nodes: to all that look on at the endpoint, at once.
    shown: Vec<Shown>,
    /// The server stops. Known under the same lock, so that no tail slips in behind the end of all.
    ended: bool,
}

/// Somebody here who looks on.
#[derive(Debug)]
struct Tail {
    number: u64,
    app_id: AppId,
    endpoint: EndpointId,
    payloads: Payloads,
    queue: mpsc::Sender<TailedFrame>,
    lost: AtomicU64,
}

/// Somebody elsewhere who looks on.
#[derive(Debug)]
struct Shown {
    app_id: AppId,
    endpoint: EndpointId,
    until: Instant,
    /// Until when with what they say.
    payloads_until: Instant,
    /// Bytes that may be shown in a second.
    share: usize,
    /// Bytes that were shown in this second.
    spent: AtomicUsize,
    lost: AtomicU64,
}

impl Shown {
    fn interest(&self) -> Interest {
        Interest::Tails(self.app_id, self.endpoint.clone())
    }

    fn payloads(&self, now: Instant) -> Payloads {
        if self.payloads_until > now { Payloads::Shown } else { Payloads::Redacted }
    }
}

/// An open tail; it ends when this is dropped.
#[derive(Debug)]
pub struct OpenTail {
    tails: Arc<Tails>,
    number: u64,
    frames: mpsc::Receiver<TailedFrame>,
    /// What is held of the others for it.
    _held: Option<Held>,
}

/// Holds an interest until it is dropped.
struct Held {
    bus: Arc<dyn Bus>,
    interest: Interest,
}

impl Held {
    fn new(bus: Arc<dyn Bus>, interest: Interest) -> Self {
        // What is shown is lost for whoever did not hear of it yet. That is a frame of the first moments.
        let _ = bus.hold(&interest);
        Self { bus, interest }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Held").field(&self.interest).finish()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bus.release(&self.interest);
    }
}

impl OpenTail {
    /// The next frame. None: the server stops, or another node shows no more.
    pub async fn next(&mut self) -> Option<TailedFrame> {
        self.frames.recv().await
    }

    /// Waits until the server stops, whatever frames wait.
    pub async fn ended(&self) {
        let mut ending = std::pin::pin!(self.tails.ending.notified());
        ending.as_mut().enable();
        let ended = self.tails.open.read().ended;
        if !ended {
            ending.await;
        }
    }
}

impl Drop for OpenTail {
    fn drop(&mut self) {
        let mut open = self.tails.open.write();
        open.tails.retain(|tail| tail.number != self.number);
        self.tails.count(&open);
    }
}

impl Tails {
    /// Opens a tail of an endpoint. Once the server stops, it has ended before it began.
    ///
    /// # Errors
    ///
    /// [`Refusal::LimitReached`] when there are as many as there may be.
    fn open(
        self: &Arc<Self>,
        app_id: AppId,
        endpoint: EndpointId,
        payloads: Payloads,
        others: Option<Arc<dyn Bus>>,
    ) -> Result<OpenTail, Refusal> {
        let (queue, frames) = mpsc::channel(QUEUE_LEN_MAX);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.write();
        if open.tails.len() >= TAILS_MAX
            || of_app(open.tails.iter().map(|tail| tail.app_id), app_id) >= TAILS_PER_APP_MAX
        {
            return Err(Refusal::LimitReached("as many tails are open as may be"));
        }
        let interest = Interest::Tails(app_id, endpoint.clone());
        if !open.ended {
            open.tails.push(Tail { number, app_id, endpoint, payloads, queue, lost: AtomicU64::new(0) });
            self.count(&open);
        }
        drop(open);
        let held = others.map(|bus| Held::new(bus, interest));
        Ok(OpenTail { tails: self.clone(), number, frames, _held: held })
    }

    /// Ends all tails, because the server stops.
    pub fn end(&self) {
        let mut open = self.open.write();
        open.tails.clear();
        open.shown.clear();
        open.ended = true;
        self.count(&open);
        drop(open);
        self.ending.notify_waiters();
    }

    /// Whether anybody looks on at anything.
    #[must_use]
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    fn count(&self, open: &Open) {
        self.count.store(open.tails.len() + open.shown.len(), Ordering::Relaxed);
    }

    /// What is looked at from here, and how much of it.
    fn looked_at(&self) -> Vec<(AppId, EndpointId, Payloads)> {
        let open = self.open.read();
        let mut of: Vec<_> =
            open.tails.iter().map(|tail| (tail.app_id, tail.endpoint.clone(), tail.payloads)).collect();
        // Who sees all of an endpoint comes behind who does not.
        of.sort_unstable();
        of.dedup_by(|next, first| {
            let same = (next.0, &next.1) == (first.0, &first.1);
            if same {
                first.2 = next.2;
            }
            same
        });
        of
    }

    /// Shows an endpoint's frames to the nodes that look on, for a while, unless as many endpoints are shown as may be.
    pub(crate) fn show_others(&self, bus: &dyn Bus, app_id: AppId, endpoint: EndpointId, payloads: Payloads) -> Done {
        let (mut open, now) = (self.open.write(), Instant::now());
        if open.ended {
            // All connections of this node end.
            return Done::Before { settled: true };
        }
        open.forget_who_is_gone(bus, now);
        let until = now + SHOWN_FOR;
        let payloads_until = if payloads == Payloads::Shown { until } else { now };
        if let Some(shown) = open.shown.iter_mut().find(|shown| shown.app_id == app_id && shown.endpoint == endpoint) {
            shown.until = until;
            // Another node may want to see what they say.
            shown.payloads_until = shown.payloads_until.max(payloads_until);
        } else if open.shown.len() < TAILS_MAX
            && of_app(open.shown.iter().map(|shown| shown.app_id), app_id) < TAILS_PER_APP_MAX
        {
            let (spent, lost) = (AtomicUsize::new(0), AtomicU64::new(0));
            open.shown.push(Shown { app_id, endpoint, until, payloads_until, share: 0, spent, lost });
            open.share_out();
        } else {
            return Done::Overloaded;
        }
        self.count(&open);
        Done::Now { told: 0, settled: true }
    }

    /// Once a second: forgets whom nothing is shown to any more, and begins with new shares.
    pub(crate) fn sweep(&self, bus: &dyn Bus) {
        if !self.any() {
            return;
        }
        let mut open = self.open.write();
        open.forget_who_is_gone(bus, Instant::now());
        for shown in &mut open.shown {
            *shown.spent.get_mut() = 0;
        }
        self.count(&open);
    }

    /// Ends those of an endpoint of which another node shows nothing.
    fn end_of(&self, app_id: AppId, endpoint: &EndpointId) {
        let mut open = self.open.write();
        open.tails.retain(|tail| tail.app_id != app_id || tail.endpoint != *endpoint);
        self.count(&open);
    }

    /// Shows a frame of a connection of this node to whoever looks on at its endpoint. With what is to be published for those
    /// who do at other nodes.
    #[must_use]
    pub(crate) fn show(&self, connection: &Connection, frame: impl Fn(Payloads) -> TailedFrame) -> Option<Delivery> {
        let Connection { app_id, endpoint, .. } = connection;
        let open = self.open.read();
        open.show_here(*app_id, endpoint, &frame);
        let now = Instant::now();
        let is_it = |shown: &&Shown| shown.app_id == *app_id && shown.endpoint == *endpoint && shown.until > now;
        let shown = open.shown.iter().find(is_it)?;
        if shown.spent.load(Ordering::Relaxed) >= shown.share {
            shown.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let payloads = shown.payloads(now);
        let mut told = redacted(frame(payloads), payloads);
        let len = FRAME_LEN + told.name.len() + told.payload.as_ref().map_or(0, String::len);
        shown.spent.fetch_add(len, Ordering::Relaxed);
        told.lost = shown.lost.swap(0, Ordering::Relaxed);
        Some(Delivery::Tailed { app_id: *app_id, endpoint: endpoint.clone(), frame: Box::new(told) })
    }

    /// Shows a frame of another node to whoever looks on at its endpoint here.
    pub(crate) fn show_theirs(&self, app_id: AppId, endpoint: &EndpointId, frame: &TailedFrame) {
        self.open.read().show_here(app_id, endpoint, &|_| frame.clone());
    }
}

/// How many are this app's.
fn of_app(apps: impl Iterator<Item = AppId>, app_id: AppId) -> usize {
    apps.filter(|app| *app == app_id).count()
}

impl Open {
    /// Forgets what no other node looks at any more.
    fn forget_who_is_gone(&mut self, bus: &dyn Bus, now: Instant) {
        self.shown.retain(|shown| shown.until > now && bus.wanted_elsewhere(&shown.interest()));
        self.share_out();
    }

    /// Gives each its share.
    fn share_out(&mut self) {
        let mut of: HashMap<AppId, usize> = HashMap::new();
        for shown in &self.shown {
            *of.entry(shown.app_id).or_default() += 1;
        }
        let apps = of.len();
        for shown in &mut self.shown {
            shown.share = SHARE_MAX.min(SHARES / apps / of[&shown.app_id]);
        }
    }

    fn show_here(&self, app_id: AppId, endpoint: &EndpointId, frame: &impl Fn(Payloads) -> TailedFrame) {
        for tail in &self.tails {
            if tail.app_id != app_id || tail.endpoint != *endpoint {
                continue;
            }
            let mut shown = redacted(frame(tail.payloads), tail.payloads);
            shown.lost += tail.lost.swap(0, Ordering::Relaxed);
            let lost = shown.lost;
            if tail.queue.try_send(shown).is_err() {
                tail.lost.fetch_add(lost + 1, Ordering::Relaxed);
            }
        }
    }
}

fn redacted(frame: TailedFrame, payloads: Payloads) -> TailedFrame {
    match payloads {
        Payloads::Shown => frame,
        Payloads::Redacted => TailedFrame { payload: None, ..frame },
    }
}

/// As much of a payload as is shown.
#[must_use]
pub fn shown_payload(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(PAYLOAD_LEN_MAX)];
    String::from_utf8_lossy(cut).into_owned()
}

#[cfg(test)]
mod tests;
