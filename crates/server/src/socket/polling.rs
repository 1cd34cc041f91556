//! Long polling, for clients whose network lets no websocket through: GETs that wait for packets, POSTs that bring some.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use respoke_hub::outbox::Taken;
use respoke_wire::close::Close;
use respoke_wire::frame::{self, FrameError};
use respoke_wire::payload::{self, Splitter};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::dispatch::Came;
use super::plain::{plain, script, text};
use super::{Client, Sockets};
use crate::transport::{KeptBytes, Place, RequestBody};
use crate::websocket::{Knock, asleep};

/// How long a poll waits for something to say.
///
/// # Source
///
/// The original's default.
const POLL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a part of a POST may take to arrive, and to be held behind what came before. Whoever takes longer for all of
/// them than a client may be silent is not waited for.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// What the packets of one client may take that wait to be taken: those of the longest `POST`, if they are requests. A client
/// that has one connection polls only when its `POST` is answered, so that is not to wait for room for the answers. What
/// is behind them waits in the `POST` that brings it, and counts as what is held of that.
const INBOX_BYTES_MAX: usize = 2 * payload::PAYLOAD_LEN_MAX;
/// What a packet takes beside its text, and what a batch of them takes.
const PACKET_COST: usize = 48;
const BATCH_COST: usize = 128;
/// Packets that come together are held together, up to so much: so far an inbox is given back at a time.
const BATCH_BYTES_MAX: usize = 65_536;

/// POSTs of one client at a time. Clients send one after the other; one more may be there after a broken connection.
const POSTS_MAX: usize = 4;

/// How payloads are wrapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// Not at all.
    Bare,
    /// As a script for a page.
    Script,
}

/// What a polling client has beside its socket.
pub(super) struct Polling {
    inbox: mpsc::Sender<Held>,
    /// What the inbox takes.
    held: AtomicUsize,
    /// Tells that it takes less.
    released: Notify,
    /// One poll waits at a time; a newer one ends the older.
    turn: Mutex<()>,
    newer: Notify,
    greeted: AtomicBool,
    posts: Semaphore,
    /// Ends it once another transport takes its place.
    pub(super) replaced: CancellationToken,
}

impl Polling {
    pub(super) fn new(replaced: CancellationToken) -> (Self, mpsc::Receiver<Held>) {
        // Never full: the smallest batch costs that much.
        let (inbox, packets) = mpsc::channel(INBOX_BYTES_MAX / BATCH_COST);
        let (held, released) = (AtomicUsize::new(0), Notify::new());
        let (turn, newer, greeted) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        let posts = Semaphore::new(POSTS_MAX);
        (Self { inbox, held, released, turn, newer, greeted, posts, replaced }, packets)
    }

    /// Takes room for `cost`, if there is or nothing else is there.
    fn takes(&self, cost: usize, has_room: impl Fn() -> bool) -> bool {
        let fits = |held: usize| held == 0 || (held + cost <= INBOX_BYTES_MAX && has_room());
        let more = |held| fits(held).then_some(held + cost);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Waits until it does. False: nothing is taken in any more.
    async fn reserve(&self, cost: usize, has_room: impl Fn() -> bool) -> bool {
        loop {
            let mut released = pin!(self.released.notified());
            released.as_mut().enable();
            if self.takes(cost, &has_room) {
                return true;
            }
            tokio::select! {
                () = released => {}
                () = self.inbox.closed() => return false,
            }
        }
    }

    fn release(&self, cost: usize) {
        self.held.fetch_sub(cost, Ordering::Relaxed);
        self.released.notify_waiters();
    }
}

/// Packets on their way into the inbox.
#[derive(Default)]
struct Batch {
    packets: Vec<String>,
    bytes: usize,
}

/// Packets in the inbox.
pub(super) struct Held {
    packets: Vec<String>,
    cost: usize,
    /// They count as what waits for their client does.
    _kept: KeptBytes,
}

impl Sockets {
    pub(super) async fn poll<B>(self: &Arc<Self>, sid: &str, knock: Knock<B>, wrapping: Wrapping) -> Response
    where
        B: RequestBody,
    {
        let index = match wrapping {
            Wrapping::Bare => None,
            Wrapping::Script => {
                let query = knock.request.uri().query().unwrap_or_default();
                let index = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "i");
                Some(index.and_then(|(_, index)| payload::jsonp_index(&index)).unwrap_or(0))
            }
        };
        let answer = |payload: Bytes| match index {
            None => plain(StatusCode::OK, payload),
            Some(index) => script(payload::jsonp(index, &payload)),
        };
        let Some(client) = self.clients.find(sid) else {
            return answer(Bytes::from_static(frame::NOT_HANDSHAKEN.as_bytes()));
        };
        let attached = self.attach(&client);
        let Some(polling) = attached.filter(|_| self.clients.find(sid).is_some()) else {
            // It left meanwhile, and nobody else ends what was attached since.
            client.detach();
            return answer(Bytes::from_static(frame::NOT_HANDSHAKEN.as_bytes()));
        };
        self.hub.heard(&client.socket);
        let mut visit = Visit { sockets: self, client: &client, is_idle: true };
        match *knock.request.method() {
            Method::GET => {
                client.polls(|socket| self.hub.fetched(socket));
                let Knock { request, place, .. } = knock;
                // What a client sends with it is read by nobody, and must not wait as long as the poll does.
                drop(request);
                let payload = self.next_payload(&client, &polling, &place).await;
                visit.is_idle = payload.is_none();
                let payload = payload.unwrap_or(Bytes::from_static(frame::NOOP.as_bytes()));
                self.hub.heard(&client.socket);
                client.polls(|socket| self.hub.fetched(socket));
                answer(payload)
            }
            Method::POST => {
                let answer = self.take_payload(&client, &polling, knock, wrapping, &mut visit).await;
                self.hub.heard(&client.socket);
                answer
            }
            _ => {
                // It counts for its address.
                visit.is_idle = false;
                text(StatusCode::METHOD_NOT_ALLOWED, "")
            }
        }
    }

    /// The client's polling; the first poll starts the task that takes its packets. None: the client was given up.
    fn attach(self: &Arc<Self>, client: &Arc<Client>) -> Option<Arc<Polling>> {
        let (polling, first) = client.attach_polling(&self.carriers.hard)?;
        if let Some(mut inbox) = first {
            client.polls(|socket| self.hub.fetched(socket));
            self.clients.plan(client);
            let (sockets, client) = (self.clone(), client.clone());
            // Not the polling itself: when that is gone, so is this.
            let (replaced, its) = (polling.replaced.clone(), Arc::downgrade(&polling));
            self.carriers.tasks.spawn(async move {
                loop {
                    let held = tokio::select! {
                        biased;
                        held = inbox.recv() => held,
                        // What was taken in is answered, by the other transport; nothing more is taken in.
                        () = replaced.cancelled(), if !inbox.is_closed() => {
                            inbox.close();
                            continue;
                        }
                    };
                    let Some(Held { packets, cost, _kept }) = held else { return };
                    for packet in packets {
                        if let Err(why) = sockets.take(&client, &packet, Came::Before).await {
                            return sockets.hub.close(&client.socket, why);
                        }
                    }
                    if let Some(polling) = its.upgrade() {
                        polling.release(cost);
                    }
                }
            });
        }
        Some(polling)
    }

    /// What there is for a client that polls. None: nothing came in time, or it is another poll's.
    async fn next_payload(&self, client: &Client, polling: &Polling, place: &Place) -> Option<Bytes> {
        if !polling.greeted.swap(true, Ordering::AcqRel) {
            return Some(Bytes::from_static(frame::CONNECT.as_bytes()));
        }
        polling.newer.notify_waiters();
        let newer = polling.newer.notified();
        let _turn = polling.turn.lock().await;
        let mut frames = VecDeque::new();
        // Whoever polls is not silent, so it is answered before it would be found so.
        let wait = POLL_TIMEOUT.min(self.settings.heartbeat_interval);
        let taken = tokio::select! {
            biased;
            // What comes now is the other transport's to bring.
            () = polling.replaced.cancelled() => None,
            // The client may have given this poll up, so what there is, is the newer one's.
            () = newer => None,
            // So it may if its connection came half to an end. If it still listens, it polls again.
            () = place.hung_up() => None,
            taken = client.socket.outbox.take(&mut frames) => Some(taken),
            () = tokio::time::sleep(wait) => None,
        };
        let mut taken = taken?;
        if let Some(why) = asleep(&self.api, &client.socket.outbox).await {
            frames.clear();
            taken = Taken::Closed(why);
        }
        match taken {
            Taken::Frames => {}
            Taken::Closed(why) => {
                let last = if why.come_back() { frame::NOT_HANDSHAKEN } else { frame::DISCONNECT };
                frames.push_back(Bytes::from_static(last.as_bytes()));
                self.leave(client, why);
            }
        }
        let payload = payload::encode(frames.make_contiguous());
        client.socket.outbox.let_go();
        Some(payload)
    }

    async fn take_payload<B>(
        &self,
        client: &Arc<Client>,
        polling: &Polling,
        knock: Knock<B>,
        wrapping: Wrapping,
        visit: &mut Visit<'_>,
    ) -> Response
    where
        B: RequestBody,
    {
        let Ok(_turn) = polling.posts.try_acquire() else { return text(StatusCode::SERVICE_UNAVAILABLE, "") };
        let mut body = knock.request.into_body();
        // Whoever else is at its address is not to blame for it.
        body.is_of(self.api.places.caller_of(&client.socket));
        let within = self.settings.heartbeat_timeout;
        let taken = match wrapping {
            Wrapping::Bare => timeout(within, self.take_packets(client, polling, body)).await,
            Wrapping::Script => timeout(within, self.take_form(client, polling, body)).await,
        };
        match taken.unwrap_or(Err(Untaken::Late)) {
            Ok(()) => {
                visit.is_idle = false;
                text(StatusCode::OK, payload::RECEIVED)
            }
            Err(Untaken::TooLong) => text(StatusCode::PAYLOAD_TOO_LARGE, ""),
            Err(Untaken::Late) => text(StatusCode::SERVICE_UNAVAILABLE, ""),
            Err(Untaken::Closes(why)) => {
                self.hub.close(&client.socket, why);
                text(StatusCode::BAD_REQUEST, "")
            }
        }
    }

    /// Takes packets in as the body brings them; each waits for room behind those before.
    async fn take_packets<B>(&self, client: &Arc<Client>, polling: &Polling, mut body: B) -> Result<(), Untaken>
    where
        B: RequestBody,
    {
        let (mut splitter, mut len) = (Splitter::default(), 0);
        while let Some(data) = timeout(POST_TIMEOUT, body.frame()).await.map_err(|_| Untaken::TooLong)? {
            let data = data.map_err(|_| Untaken::TooLong)?.into_data().unwrap_or_default();
            len += data.len();
            if len > payload::PAYLOAD_LEN_MAX {
                return Err(Untaken::TooLong);
            }
            self.take_part(client, polling, &mut splitter, &data, &mut body).await?;
            drop(data);
            // What is in the inbox counts there.
            body.is_held(splitter.held());
        }
        self.take_end(client, polling, splitter, &mut body).await
    }

    async fn take_form<B>(&self, client: &Arc<Client>, polling: &Polling, mut body: B) -> Result<(), Untaken>
    where
        B: RequestBody,
    {
        let form = timeout(POST_TIMEOUT, read_whole(&mut body, payload::FORM_LEN_MAX)).await.ok().flatten();
        let mut splitter = Splitter::default();
        match payload::decode_form(&form.ok_or(Untaken::TooLong)?) {
            Ok(text) => self.take_part(client, polling, &mut splitter, text.as_bytes(), &mut body).await?,
            Err(error) => return self.take_in(client, &mut Batch::default(), Err(error)),
        }
        self.take_end(client, polling, splitter, &mut body).await
    }

    async fn take_part(
        &self,
        client: &Arc<Client>,
        polling: &Polling,
        splitter: &mut Splitter,
        mut part: &[u8],
        body: &mut impl RequestBody,
    ) -> Result<(), Untaken> {
        let (mut batch, mut whole) = (Batch::default(), Ok(()));
        while let Some(packet) = splitter.next(&mut part) {
            whole = self.take_in(client, &mut batch, packet);
            if whole.is_err() {
                break;
            }
            if batch.bytes >= BATCH_BYTES_MAX {
                self.hold(client, polling, std::mem::take(&mut batch), body).await?;
            }
        }
        // What came before one that closes is carried out, if that can be; it closes either way.
        let held = self.hold(client, polling, batch, body).await;
        whole.and(held)
    }

    async fn take_end(
        &self,
        client: &Arc<Client>,
        polling: &Polling,
        splitter: Splitter,
        body: &mut impl RequestBody,
    ) -> Result<(), Untaken> {
        let Some(packet) = splitter.end() else { return Ok(()) };
        let mut batch = Batch::default();
        self.take_in(client, &mut batch, packet)?;
        self.hold(client, polling, batch, body).await
    }

    fn take_in(&self, client: &Client, batch: &mut Batch, packet: Result<String, FrameError>) -> Result<(), Untaken> {
        match packet {
            Ok(packet) => {
                batch.bytes += packet.len() + PACKET_COST;
                batch.packets.push(packet);
                Ok(())
            }
            Err(FrameError::Malformed) => self.stray(client).map_err(Untaken::Closes),
            Err(FrameError::TooLong) => Err(Untaken::Closes(Close::BadFrame)),
        }
    }

    /// Puts packets into the inbox, once there is room. The rest of the body that brings them is not read before.
    async fn hold(
        &self,
        client: &Arc<Client>,
        polling: &Polling,
        batch: Batch,
        body: &mut impl RequestBody,
    ) -> Result<(), Untaken> {
        if batch.packets.is_empty() {
            return Ok(());
        }
        let (cost, places) = (batch.bytes + BATCH_COST, &self.api.places);
        let has_room = || places.has_room(cost, &client.socket);
        if !polling.takes(cost, has_room) {
            // The packets, and what they were read from.
            if !body.stands(2 * cost) || timeout(POST_TIMEOUT, polling.reserve(cost, has_room)).await != Ok(true) {
                return Err(Untaken::Late);
            }
        }
        let held = Held { packets: batch.packets, cost, _kept: places.count(cost, &client.socket) };
        polling.inbox.try_send(held).map_err(|_| Untaken::Late)
    }
}

/// A request of a polling client. One that brings nothing and fetches nothing, or is given up, is counted with what is no
/// request of its: no rate of an app's is drawn from for it.
struct Visit<'a> {
    sockets: &'a Sockets,
    client: &'a Client,
    is_idle: bool,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if self.is_idle
            && let Err(why) = self.sockets.idle(self.client, 1)
        {
            self.sockets.hub.close(&self.client.socket, why);
        }
    }
}

/// Why a `POST` was not taken in, or not to its end.
enum Untaken {
    /// It is too long, broke off, or took too long to come.
    TooLong,
    /// What came before it was not taken in time, or the client is gone.
    Late,
    /// The client has to go.
    Closes(Close),
}

/// The whole body. None: it is longer than `len_max`, or broke off.
async fn read_whole(body: &mut impl RequestBody, len_max: usize) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().unwrap_or_default();
        if whole.len() + data.len() > len_max {
            return None;
        }
        whole.extend_from_slice(&data);
    }
    Some(whole)
}
