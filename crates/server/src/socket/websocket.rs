//! The websocket: two loops of one task, one reading and one writing, that end together.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::body::HttpBody;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderValue;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use respoke_wire::close::Close;
use respoke_wire::frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::dispatch::Came;
use super::{Client, Sockets};
use crate::transport::Place;
use crate::websocket::{
    CLOSE_TIMEOUT, Carrier, Carrying, Knock, Stream, Taking, Writer, Written, accept_key, close_frame, offered, refuse,
    switch, until_closed, upgraded, write_frames,
};

/// The sub-protocol that Asterisk offers and wants to see again.
const PROTOCOL: &str = "socket.io";
/// Asterisk masks nothing.
const TAKING: Taking = Taking { message_len_max: frame::FRAME_LEN_MAX, unmasked: true };

/// Whether a request can become a websocket.
pub(super) fn is_upgrade<B: HttpBody>(request: &http::Request<B>) -> bool {
    accept_key(request).is_some()
}

impl Sockets {
    /// Turns the request into a websocket.
    pub(super) fn upgrade<B: HttpBody>(self: &Arc<Self>, sid: &str, mut knock: Knock<B>) -> Response {
        let Some(accept) = accept_key(&knock.request) else {
            // The client is not touched: it keeps its session id, and turns to polling with it.
            return refuse();
        };
        let is_offered = offered(knock.request.headers()).any(|protocol| protocol == PROTOCOL);
        let response = switch(accept, is_offered.then_some(HeaderValue::from_static(PROTOCOL)));
        let upgrading = hyper::upgrade::on(&mut knock.request);
        let client = self.clients.find(sid).filter(|client| client.socket.outbox.closed().is_none());
        let transport = client.and_then(|client| {
            let replaced = client.attach_websocket(&self.carriers.hard)?;
            self.hub.is_written_to(&client.socket);
            self.clients.plan(&client);
            Some(Transport { sockets: self.clone(), client, replaced })
        });
        knock.place.becomes_socket();
        let (sockets, place) = (self.clone(), knock.place);
        self.carriers.tasks.spawn(async move { sockets.run_websocket(transport, upgrading, place).await });
        response
    }

    async fn run_websocket(self: Arc<Self>, transport: Option<Transport>, upgrading: OnUpgrade, place: Arc<Place>) {
        let (hard, timeout) = (self.carriers.hard.clone(), self.settings.write_timeout);
        // Without it the guard of the transport takes leave.
        let carried = Carried { sockets: self, transport };
        if let Some(carrying) = Box::pin(upgraded(carried, upgrading, &hard, timeout, TAKING)).await {
            carrying.await;
        }
        drop(place);
    }

    async fn carry<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &self,
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
                    write_frames(&mut io, Some(close(Close::GoingAway)), &mut told, || {}).await
                };
                tokio::time::timeout(CLOSE_TIMEOUT, Box::pin(telling)).await.is_err()
            }
        };
        if !over {
            let is_unread = transport.as_ref().is_some_and(Transport::is_unread);
            until_closed(&mut stream, is_unread, &self.carriers.hard).await;
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

    /// Writes what waits until the outbox closes, and then takes leave.
    async fn write<W: AsyncWrite + Unpin>(&self, client: &Client, io: &mut W, ping: &Mutex<Option<Bytes>>) {
        let (socket, timeout) = (&client.socket, self.settings.write_timeout);
        let mut packets = VecDeque::new();
        let writer = Writer { api: &self.api, socket, timeout, ping, is_told, busy: &AtomicBool::new(false) };
        let why = match writer.write(io, &mut packets, |_| {}).await {
            Written::Until(why) => why,
            Written::Failed(why) => return self.hub.close(socket, why),
            Written::Over => return,
        };
        if socket.outbox.is_abandoned() {
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
            write_frames(io, Some(close(why)), &mut packets, || {}).await
        });
        // Whether it arrives or not, it is over.
        let _ = tokio::time::timeout(timeout, farewell).await;
    }
}

/// The frame that says why a socket is closed.
fn close(why: Close) -> Frame {
    close_frame(why.code(), why.word())
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

/// A websocket that carries a client's packets; without one it tells whoever is there that nobody is known here.
struct Carried {
    sockets: Arc<Sockets>,
    transport: Option<Transport>,
}

impl Carrier for Carried {
    fn carry<R, W>(self, stream: Stream<R>, io: W) -> Carrying
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        Box::pin(async move { self.sockets.carry(self.transport, stream, io).await })
    }
}
