//! What is exchanged on the socket of a client that was let in: two loops of one task, one reading and one writing, that end
//! together.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt};
use parking_lot::Mutex;
use respoke_core::grant::Lapse;
use respoke_hub::outbox::Taken;
use respoke_wire::close::Close;
use respoke_wire::respoke1::bye::Bye;
use respoke_wire::respoke1::{ALIVE, Asked, Object, lines};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::inside::KEEP;
use super::live::{Live, Transport, WINDOW};
use crate::websocket::{CLOSE_TIMEOUT, Stream, Writer, Written, close_frame, write_frames};

/// Bytes of requests of a client that wait behind the one that is being answered. Nothing more is read before they are fewer.
const WAITING_LEN_MAX: usize = 64 * 1024;

/// Requests of one frame that are refused before the writing side gets its turn.
const REFUSED_AT_ONCE: usize = 32;

/// What is written and read first on the socket of a client that was let in.
pub(super) struct First {
    pub(super) sending: Sending,
    /// The frame that held `connect`, which may hold requests behind it.
    pub(super) frame: Utf8Bytes,
}

/// What is written before all else, by who alone takes from the outbox.
pub(super) struct Sending {
    pub(super) packets: VecDeque<Bytes>,
    pub(super) taking: OwnedMutexGuard<()>,
}

/// How a websocket ended.
pub(super) enum Ended {
    /// The link broke, and nobody took leave.
    Lost,
    /// The client left, or was told to.
    Told {
        /// It was closed for what it sent, of which there may be more.
        is_unread: bool,
    },
}

/// Why nothing more is read of a client.
enum Gone {
    /// It is to be closed for this.
    Closed(Close),
    /// The link broke.
    Lost,
}

impl From<Close> for Gone {
    fn from(why: Close) -> Self {
        Self::Closed(why)
    }
}

/// Requests that wait for the one before them.
#[derive(Default)]
struct Waiting {
    requests: VecDeque<(u64, Box<str>)>,
    len: usize,
    /// Whether one is being answered.
    begun: bool,
}

impl Waiting {
    fn push(&mut self, id: u64, op: &str) {
        self.len += op.len();
        self.requests.push_back((id, op.into()));
    }

    fn is_full(&self) -> bool {
        self.requests.len() + usize::from(self.begun) >= WINDOW
    }

    fn pop(&mut self) -> Option<(u64, Box<str>)> {
        let (id, op) = self.requests.pop_front()?;
        self.len -= op.len();
        self.begun = true;
        if self.requests.is_empty() {
            // A socket is silent most of its life.
            self.requests = VecDeque::new();
        }
        Some((id, op))
    }
}

/// What is known of the side that is read, beside what came.
#[derive(Clone, Copy)]
struct Seen {
    /// Whether a message is there in part.
    stands: bool,
    /// Whether nothing more is read for the many pieces of nothing.
    flooded: bool,
}

/// A request that is being answered, or the pause behind one.
type UnderWay<'a> = Pin<Box<dyn Future<Output = Result<Duration, Close>> + Send + 'a>>;

impl Transport {
    /// Exchanges objects with the client until one of both ends that.
    pub(super) async fn exchange<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &self,
        First { sending, frame }: First,
        stream: &mut Stream<R>,
        io: &mut W,
    ) -> Ended {
        let (live, hard) = (&*self.live, &self.live.inside.carriers.hard);
        let over = self.replaced.child_token();
        let (ping, busy, is_lost) = (Mutex::new(None), AtomicBool::new(false), AtomicBool::new(false));
        let mut waiting = Waiting::default();
        if let Err(why) = live.take(lines(&frame).skip(1), &mut waiting).await {
            live.inside.hub.close(&live.socket, why);
        }
        drop(frame);
        let reading = async {
            match live.read(stream, waiting, &ping, &over).await {
                Some(Gone::Closed(why)) => live.inside.hub.close(&live.socket, why),
                Some(Gone::Lost) => {
                    is_lost.store(true, Ordering::Relaxed);
                    over.cancel();
                }
                None => {}
            }
        };
        let writing = async {
            let Sending { packets, taking } = sending;
            // A write is broken off anywhere; a request that is under way is not.
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                () = hard.cancelled() => {}
                lost = live.write(packets, io, (&ping, &busy)) => is_lost.store(lost, Ordering::Relaxed),
            }
            drop(taking);
            over.cancel();
        };
        tokio::join!(reading, writing);
        if self.replaced.is_cancelled() {
            if !busy.load(Ordering::Relaxed) {
                let telling = async {
                    let bye = Bye::Replaced;
                    let mut told = VecDeque::from([bye.object(None)]);
                    write_frames(io, None, &mut told, || {}).await?;
                    write_frames(io, Some(close_frame(bye.code(), bye.word())), &mut told, || {}).await
                };
                let _ = timeout(CLOSE_TIMEOUT, Box::pin(telling)).await;
            }
            return Ended::Told { is_unread: false };
        }
        match live.socket.outbox.closed() {
            None if is_lost.load(Ordering::Relaxed) => Ended::Lost,
            why => Ended::Told { is_unread: why == Some(Close::BadFrame) },
        }
    }

    /// Waits for the client to come back, and keeps what is for it meanwhile.
    pub(super) async fn linger(self) {
        let (live, soft) = (&*self.live, &self.live.inside.carriers.soft);
        live.inside.hub.not_listening(&live.socket);
        let collecting = async {
            let _taking = live.taking.lock().await;
            let mut objects = VecDeque::new();
            loop {
                let taken = live.socket.outbox.take(&mut objects).await;
                live.sends(&objects);
                objects.clear();
                if let Taken::Closed(_) = taken {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.replaced.cancelled() => {}
            () = soft.cancelled() => {}
            () = collecting => {}
            () = tokio::time::sleep(KEEP) => {}
        }
    }
}

impl Live {
    /// Takes frames and answers requests, one after the other, until the client goes or is to go.
    async fn read<R: AsyncRead + Unpin>(
        &self,
        stream: &mut Stream<R>,
        mut waiting: Waiting,
        ping: &Mutex<Option<Bytes>>,
        over: &CancellationToken,
    ) -> Option<Gone> {
        let mut cancelled = pin!(over.cancelled());
        let interval = self.inside.settings.heartbeat_interval;
        let mut alive = pin!(tokio::time::sleep(interval));
        let mut under_way: Option<UnderWay<'_>> = None;
        let gone = loop {
            if under_way.is_none()
                && let Some((id, op)) = waiting.pop()
            {
                under_way = Some(Box::pin(async move { self.answer(id, &op).await }));
            }
            let done: Result<(), Gone> = tokio::select! {
                biased;
                () = cancelled.as_mut() => break None,
                done = answered(&mut under_way) => {
                    under_way = None;
                    // What was answered takes no place any more, and its client may know that before the pause is over.
                    waiting.begun = false;
                    self.inside.hub.heard(&self.socket);
                    done.map_err(Gone::from).map(|pause| {
                        if !pause.is_zero() {
                            under_way = Some(Box::pin(tokio::time::sleep(pause).map(|()| Ok(Duration::ZERO))));
                        }
                    })
                }
                () = alive.as_mut() => {
                    alive.as_mut().reset(Instant::now() + interval);
                    self.socket.outbox.offer(Bytes::from_static(ALIVE.as_bytes()));
                    Ok(())
                }
                message = next(stream, |part| self.holds(part, &waiting)), if waiting.len <= WAITING_LEN_MAX => {
                    let reading = stream.get_ref();
                    let seen = Seen { stands: reading.pieces.stood(), flooded: reading.is_flooded() };
                    let taken = self.message(message, seen, ping, &mut waiting).await;
                    taken.and_then(|()| match stream.get_mut().pieces.take() {
                        0 => Ok(()),
                        pieces => Ok(self.idle(pieces)?),
                    })
                }
            };
            if let Err(gone) = done {
                break Some(gone);
            }
        };
        if let Some(under_way) = under_way {
            let _ = under_way.await;
        }
        gone
    }

    /// Takes what came.
    async fn message(
        &self,
        message: Option<Result<Message, Error>>,
        seen: Seen,
        ping: &Mutex<Option<Bytes>>,
        waiting: &mut Waiting,
    ) -> Result<(), Gone> {
        match message {
            Some(Ok(Message::Text(text))) => {
                self.inside.hub.heard(&self.socket);
                Ok(self.take(lines(&text), waiting).await?)
            }
            Some(Ok(Message::Ping(payload))) => {
                *ping.lock() = Some(payload);
                self.socket.outbox.wake();
                Ok(self.beats(seen.stands)?)
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => Ok(self.beats(seen.stands)?),
            // A browser whose page is left says that it goes away. Who says nothing, or anything else, may come back.
            Some(Ok(Message::Close(Some(frame)))) if matches!(frame.code, CloseCode::Normal | CloseCode::Away) => {
                Err(Close::Left.into())
            }
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Err(Gone::Lost),
            Some(Ok(Message::Binary(_)) | Err(Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_))) => {
                Err(Close::BadFrame.into())
            }
            Some(Err(Error::Io(_))) if seen.flooded => Err(Close::BadFrame.into()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Gone::Lost),
        }
    }

    /// Takes the objects of a frame.
    async fn take<'a>(&self, lines: impl Iterator<Item = &'a str>, waiting: &mut Waiting) -> Result<(), Close> {
        let mut refused = 0;
        for line in lines {
            match Object::read(line) {
                Ok(Object::Request { id, op, got }) => {
                    if let Some(got) = got {
                        self.got(got);
                    }
                    if op.is_ping() && matches!(Asked::read(op), Ok(Asked::Ping)) {
                        // Ahead of what is under way: whoever asks wants to know whether the link lives.
                        self.ping(id)?;
                    } else if waiting.is_full() {
                        self.refuse_one_more(id).await?;
                        refused += 1;
                        if refused % REFUSED_AT_ONCE == 0 {
                            // What was refused is written in between: who reads is not slow.
                            tokio::task::yield_now().await;
                        }
                    } else {
                        waiting.push(id, op.text());
                    }
                }
                Ok(Object::Got(got)) => {
                    self.got(got);
                    self.idle(1)?;
                }
                Ok(Object::Alive) => {
                    let was_asked = self.ring.lock().lives();
                    if was_asked {
                        self.settle();
                    }
                    self.idle(1)?;
                }
                Ok(Object::Leave) => return Err(Close::Left),
                Ok(Object::Connect { .. }) | Err(_) => return Err(Close::BadFrame),
            }
        }
        Ok(())
    }

    /// Counts what there is of a message that is not whole, and what waits: both count among what waits for the client.
    fn holds(&self, part: u32, waiting: &Waiting) {
        let waits = u32::try_from(waiting.len).unwrap_or(u32::MAX);
        if self.socket.outbox.holds_part(part.saturating_add(waits)) && part > 0 {
            // Its beginning is a sign of life.
            self.inside.hub.heard(&self.socket);
        }
    }

    /// Takes a ping or a pong for a sign of life, unless a message stands that does not become whole.
    fn beats(&self, message_stands: bool) -> Result<(), Close> {
        if !message_stands {
            self.inside.hub.heard(&self.socket);
        } else if self.inside.hub.silent_for(&self.socket) > self.inside.settings.heartbeat_timeout / 2 {
            return Err(Close::Silent);
        }
        self.idle(1)
    }

    /// Notes that so many events have come, and with them the welcome.
    fn got(&self, events: u64) {
        self.ring.lock().got(events);
        self.settle();
    }

    /// Writes `packets` and what waits until the outbox closes, and then takes leave. True: the link broke.
    async fn write<W: AsyncWrite + Unpin>(
        &self,
        mut packets: VecDeque<Bytes>,
        io: &mut W,
        (ping, busy): (&Mutex<Option<Bytes>>, &AtomicBool),
    ) -> bool {
        let (socket, api, timeout) = (&self.socket, &*self.inside.api, self.inside.settings.write_timeout);
        let writer = Writer { api, socket, timeout, ping, is_told, busy };
        let why = match writer.write(io, &mut packets, |taken| self.sends(taken)).await {
            Written::Until(why) => why,
            Written::Failed(Close::Left) => return true,
            Written::Failed(why) => {
                self.inside.hub.close(socket, why);
                return false;
            }
            Written::Over => return false,
        };
        if socket.outbox.is_abandoned() {
            return false;
        }
        if !is_told(why) {
            packets.clear();
        }
        let bye = bye_of(why, socket.lapse());
        packets.extend(bye.map(|bye| bye.object(None)));
        let farewell = Box::pin(async {
            write_frames(io, None, &mut packets, || {}).await?;
            let (code, word) = bye.map_or((why.code(), why.word()), |bye| (bye.code(), bye.word()));
            write_frames(io, Some(close_frame(code, word)), &mut packets, || {}).await
        });
        // Whether it arrives or not, it is over.
        let _ = tokio::time::timeout(timeout, farewell).await;
        false
    }
}

/// Waits for a request that is under way, if one is.
async fn answered(under_way: &mut Option<UnderWay<'_>>) -> Result<Duration, Close> {
    match under_way {
        Some(under_way) => under_way.await,
        None => std::future::pending().await,
    }
}

/// The next message. `holds` is told how much there is of one that is not whole, when more of it has to be waited for.
async fn next<R: AsyncRead + Unpin>(stream: &mut Stream<R>, holds: impl Fn(u32)) -> Option<Result<Message, Error>> {
    std::future::poll_fn(|context| {
        let message = stream.poll_next_unpin(context);
        if message.is_pending()
            && let Some(part) = stream.get_mut().pieces.wait()
        {
            holds(part);
        }
        message
    })
    .await
}

/// Whether a client that is closed for this still gets what waits for it.
const fn is_told(why: Close) -> bool {
    match why {
        Close::SessionEnded | Close::BadFrame | Close::GoingAway | Close::SlowConsumer | Close::Silent => true,
        // What waits for one whose node was lost was made before others were told so.
        Close::Left | Close::NodeLost => false,
    }
}

/// What a client is told that is closed for this. None: it left.
const fn bye_of(why: Close, lapse: Option<Lapse>) -> Option<Bye> {
    Some(match why {
        Close::Left => return None,
        Close::SessionEnded => match lapse {
            Some(Lapse::Banned) => Bye::Banned,
            Some(Lapse::Expired) => Bye::Expired,
            Some(
                Lapse::Redeemed
                | Lapse::Revoked
                | Lapse::Superseded
                | Lapse::SignedOut
                | Lapse::NotActivated
                | Lapse::AppDeleted
                | Lapse::RoleDeleted
                | Lapse::SecretRevoked
                | Lapse::DevelopmentModeOff,
            )
            | None => Bye::Revoked,
        },
        Close::SlowConsumer => Bye::Slow,
        Close::Silent => Bye::Silent,
        Close::BadFrame => Bye::BadFrame,
        Close::GoingAway => Bye::Drain,
        Close::NodeLost => Bye::NodeLost,
    })
}
