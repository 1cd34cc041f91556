//! The websocket: two loops of one task, one reading and one writing, that end together.
//!
//! The library reads, and puts what is to be written into frames; writing itself is ours, so that a socket needs no buffer
//! for it while it is silent, and the two loops share no lock.

mod reading;
mod upgrade;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::body::HttpBody;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use respoke_hub::outbox::Taken;
use respoke_wire::close::Close;
use respoke_wire::frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use self::reading::{PASSED_OVER_MAX, Stream, pass_over, stream};
use self::writing::{close_frame, write_frames};
use super::dispatch::Came;
use super::{CLOSE_TIMEOUT, Client, Knock, Sockets};
use crate::transport::{Encrypted, Impatient, Patient, Place, Plain};

/// A queue that once held more than this gives its memory back.
const PACKETS_KEPT: usize = 8;
/// Whether a request can become a websocket.
pub(super) fn is_upgrade<B: HttpBody>(request: &http::Request<B>) -> bool {
    upgrade::accept_key(request).is_some()
}

impl Sockets {
    /// Turns the request into a websocket.
    pub(super) fn upgrade<B: HttpBody>(self: &Arc<Self>, sid: &str, mut knock: Knock<B>) -> Response {
        let Some(accept) = upgrade::accept_key(&knock.request) else {
            // The client is not touched: it keeps its session id, and turns to polling with it.
            return upgrade::refuse();
        };
        let response = upgrade::switch(knock.request.headers(), accept);
        let upgrading = hyper::upgrade::on(&mut knock.request);
        let client = self.clients.find(sid).filter(|client| client.socket.outbox.closed().is_none());
        let transport = client.and_then(|client| {
            let replaced = client.attach_websocket(&self.hard)?;
            self.hub.is_written_to(&client.socket);
            self.clients.plan(&client);
            Some(Transport { sockets: self.clone(), client, replaced })
        });
        knock.place.becomes_socket();
        let (sockets, place) = (self.clone(), knock.place);
        self.tasks.spawn(async move { sockets.run_websocket(transport, upgrading, place).await });
        response
    }

    /// The parts are in boxes of their own: this task is there for as long as the socket is, and is then no longer than
    /// what is left of it, without what the upgrade and TLS take.
    async fn run_websocket(self: Arc<Self>, transport: Option<Transport>, upgrading: OnUpgrade, place: Arc<Place>) {
        if let Some(carrying) = Box::pin(self.upgraded(transport, upgrading)).await {
            carrying.await;
        }
        drop(place);
    }

    /// What is left to do once the connection is no HTTP connection any more. None: it broke.
    async fn upgraded(
        self: Arc<Self>,
        transport: Option<Transport>,
        upgrading: OnUpgrade,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let upgraded = tokio::select! {
            biased;
            () = self.hard.cancelled() => None,
            upgraded = upgrading => upgraded.ok(),
        };
        let write_timeout = self.settings.write_timeout;
        // Without it the guard of the transport takes leave.
        let carrying: Pin<Box<dyn Future<Output = ()> + Send>> = match upgraded?.downcast::<TokioIo<Patient<Plain>>>() {
            Ok(parts) => {
                let (read, write) = parts.io.into_inner().into_inner().into_inner().into_split();
                let stream = stream(read, parts.read_buf).await;
                Box::pin(self.carry(transport, stream, Impatient::new(write, write_timeout)))
            }
            Err(upgraded) => {
                let parts = upgraded
                    .downcast::<TokioIo<Patient<Encrypted>>>()
                    .expect("`run` serves HTTP/1.1 on these two kinds of connection");
                let mut io = parts.io.into_inner().into_inner();
                io.get_mut().0.wait_at_most(write_timeout);
                let (read, write) = tokio::io::split(io);
                let stream = stream(read, parts.read_buf).await;
                Box::pin(self.carry(transport, stream, write))
            }
        };
        Some(carrying)
    }

    async fn carry<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        self: Arc<Self>,
        transport: Option<Transport>,
        mut stream: Stream<R>,
        mut io: W,
    ) {
        let over = match &transport {
            Some(transport) => {
                self.exchange(transport, &mut stream, &mut io).await;
                transport.replaced.is_cancelled()
            }
            None => {
                // The client's session id is from before a restart, too old, or another node's that did not hand it over: it
                // is told to shake hands again.
                let telling = async {
                    let mut told = VecDeque::from([Bytes::from_static(frame::NOT_HANDSHAKEN.as_bytes())]);
                    write_frames(&mut io, None, &mut told, || {}).await?;
                    write_frames(&mut io, Some(close_frame(Close::GoingAway)), &mut told, || {}).await
                };
                tokio::time::timeout(CLOSE_TIMEOUT, Box::pin(telling)).await.is_err()
            }
        };
        if !over {
            // The client is told to go; what it still says is not heard, and its own close is waited for.
            stream.get_mut().rest = PASSED_OVER_MAX;
            let closing = Box::pin(async {
                while let Some(Ok(_)) = stream.next().await {}
                if transport.as_ref().is_some_and(Transport::is_unread) {
                    pass_over(&mut stream.get_mut().io).await;
                }
            });
            let _ = self.hard.run_until_cancelled(tokio::time::timeout(CLOSE_TIMEOUT, closing)).await;
        }
    }

    /// Carries a client's packets until it or another transport of it ends this.
    async fn exchange<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &self,
        transport: &Transport,
        stream: &mut Stream<R>,
        io: &mut W,
    ) {
        let client = &*transport.client;
        client.socket.outbox.offer(Bytes::from_static(frame::CONNECT.as_bytes()));
        let ping = Mutex::new(None);
        // Ends the reading once the writing has ended, or another transport took its place.
        let over = transport.replaced.child_token();
        let reading = self.read(client, stream, &ping, &over);
        let writing = async {
            // A write is broken off anywhere; a request that is under way is not.
            tokio::select! {
                biased;
                () = transport.replaced.cancelled() => {}
                () = self.write(client, io, &ping) => {}
            }
            over.cancel();
        };
        tokio::join!(reading, writing);
    }

    /// Takes packets until the client goes, or is to go.
    async fn read<R: AsyncRead + Unpin>(
        &self,
        client: &Client,
        stream: &mut Stream<R>,
        ping: &Mutex<Option<Bytes>>,
        over: &CancellationToken,
    ) {
        let mut over = pin!(over.cancelled());
        loop {
            let message = tokio::select! {
                biased;
                () = over.as_mut() => return,
                message = std::future::poll_fn(|context| {
                    let message = stream.poll_next_unpin(context);
                    if message.is_pending() && let Some(part) = stream.get_mut().pieces.wait() {
                        self.waits_for_the_rest(client, part);
                    }
                    message
                }) => message,
            };
            let taken = match message {
                // In a box, for a request takes far more room than its socket, which is silent most of its life.
                Some(Ok(Message::Text(text))) => Box::pin(self.take(client, &text, Came::Now)).await,
                Some(Ok(Message::Ping(payload))) => {
                    *ping.lock() = Some(payload);
                    client.socket.outbox.wake();
                    self.beats(client, stream.get_ref().pieces.stood())
                }
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => self.beats(client, stream.get_ref().pieces.stood()),
                Some(Ok(Message::Binary(_))) => {
                    self.hub.heard(&client.socket);
                    self.stray(client)
                }
                // What most clients do that go.
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Err(Close::Left),
                Some(Err(Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_))) => Err(Close::BadFrame),
                Some(Err(Error::Io(_))) if stream.get_ref().is_flooded() => Err(Close::BadFrame),
                Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Close::Left),
            };
            let taken = taken.and_then(|()| match stream.get_mut().pieces.take() {
                0 => Ok(()),
                pieces => self.idle(client, pieces),
            });
            if let Err(why) = taken {
                return self.hub.close(&client.socket, why);
            }
        }
    }

    /// Counts what there is of a message that is not whole: it counts among what waits for its client. Its beginning is a
    /// sign of life.
    fn waits_for_the_rest(&self, client: &Client, part: u32) {
        if client.socket.outbox.holds_part(part) {
            self.hub.heard(&client.socket);
        }
    }

    /// Takes a ping or a pong for a sign of life, unless a message stands that does not become whole.
    fn beats(&self, client: &Client, message_stands: bool) -> Result<(), Close> {
        if !message_stands {
            self.hub.heard(&client.socket);
        } else if self.hub.silent_for(&client.socket) > self.settings.heartbeat_timeout / 2 {
            return Err(Close::Silent);
        }
        self.idle(client, 1)
    }

    /// Writes what waits, as much as there is at a time, until the outbox closes.
    ///
    /// A write that makes no progress for the write timeout fails (`transport/impatient.rs`). However slowly the client reads, once
    /// its socket is closed what is under way, and then what waits, take one write timeout each at most.
    async fn write<W: AsyncWrite + Unpin>(&self, client: &Client, io: &mut W, ping: &Mutex<Option<Bytes>>) {
        let (outbox, timeout) = (&client.socket.outbox, self.settings.write_timeout);
        let mut packets = VecDeque::new();
        let why = loop {
            if let Taken::Closed(why) = outbox.take(&mut packets).await {
                break why;
            }
            if let Some(why) = self.asleep(outbox).await {
                packets.clear();
                break why;
            }
            let pong = ping.lock().take().map(Frame::pong);
            let written = {
                let progresses = || self.api.places.progresses(&client.socket);
                let mut writing = pin!(write_frames(io, pong, &mut packets, progresses));
                tokio::select! {
                    biased;
                    written = writing.as_mut() => written,
                    why = outbox.ended() => {
                        if !is_told(why) || outbox.is_abandoned() {
                            return;
                        }
                        let Ok(written) = tokio::time::timeout(timeout, writing).await else { return };
                        written
                    }
                }
            };
            if let Err(error) = written {
                let slow = error.kind() == io::ErrorKind::TimedOut;
                return self.hub.close(&client.socket, if slow { Close::SlowConsumer } else { Close::Left });
            }
            if packets.capacity() > PACKETS_KEPT {
                packets = VecDeque::new();
            }
        };
        if outbox.is_abandoned() {
            return;
        }
        if !is_told(why) {
            packets.clear();
        }
        if why == Close::SessionEnded {
            packets.push_back(Bytes::from_static(frame::DISCONNECT.as_bytes()));
        }
        let farewell = Box::pin(async {
            write_frames(io, None, &mut packets, || {}).await?;
            write_frames(io, Some(close_frame(why)), &mut packets, || {}).await
        });
        // Whether it arrives or not, it is over.
        let _ = tokio::time::timeout(timeout, farewell).await;
    }
}

/// Whether a client that is closed for this still gets what waits for it. For a slow one nothing waits any more: it is told
/// why it is closed.
const fn is_told(why: Close) -> bool {
    match why {
        Close::SessionEnded | Close::BadFrame | Close::GoingAway | Close::SlowConsumer => true,
        // What waits for one whose node was lost was made before others were told so.
        Close::Left | Close::Silent | Close::NodeLost => false,
    }
}

/// A websocket on its way to carry a client's packets. Its end, however it comes, is the client's, unless another
/// transport took its place.
struct Transport {
    sockets: Arc<Sockets>,
    client: Arc<Client>,
    replaced: CancellationToken,
}

impl Transport {
    /// Whether the client was closed for what it sent, of which there may be more.
    fn is_unread(&self) -> bool {
        self.client.socket.outbox.closed() == Some(Close::BadFrame)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        if !self.replaced.is_cancelled() {
            self.sockets.leave(&self.client, Close::Left);
        }
    }
}
