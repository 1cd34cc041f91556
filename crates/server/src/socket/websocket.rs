//! The websocket: two loops of one task, one reading and one writing, that end together.
//!
//! The library reads, and puts what is to be written into frames; writing itself is ours, so that a socket needs no buffer
//! for it while it is silent, and the two loops share no lock.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use respoke_hub::outbox::Taken;
use respoke_wire::close::Close;
use respoke_wire::frame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::dispatch::Came;
use super::idle::Pieces;
use super::{CLOSE_TIMEOUT, Client, Knock, Sockets, plain};
use crate::transport::{Encrypted, Impatient, Patient, Place, Plain};

/// What a socket reads at once. Most packets are shorter, and an idle socket keeps it.
const READ_BUFFER_LEN: usize = 512;
/// Bytes that are passed over of a client that was closed for what it sent: what was on its way when it was told. Who sends
/// on and on is cut off.
const PASSED_OVER_MAX: usize = 64 * 1024;
/// What is gathered before it is written, about; more saves few calls.
const PORTION_LEN: usize = 32_768;
/// The longest header of a frame that is not masked.
///
/// # Source
///
/// RFC 6455 section 5.2.
const HEADER_LEN_MAX: usize = 10;
/// A queue that once held more than this gives its memory back.
const PACKETS_KEPT: usize = 8;
/// The sub-protocol that Asterisk offers and wants to see again.
const PROTOCOL: &str = "socket.io";

impl Sockets {
    /// Turns the request into a websocket.
    pub(super) fn upgrade<B: HttpBody>(self: &Arc<Self>, sid: &str, mut knock: Knock<B>) -> Response {
        let Some(accept) = accept_key(&knock.request) else {
            // The client is not touched: it keeps its session id, and turns to polling with it.
            return refuse_upgrade();
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = knock.request.headers();
        let offers_protocol = headers
            .get_all(SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .any(|line| line.to_str().is_ok_and(|line| line.split(',').any(|protocol| protocol.trim() == PROTOCOL)));
        let answered = response.headers_mut();
        answered.insert(UPGRADE, HeaderValue::from_static("websocket"));
        // Asterisk compares this word.
        answered.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        answered.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if offers_protocol {
            answered.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        }

        let upgrading = hyper::upgrade::on(&mut knock.request);
        let client = self.clients.find(sid).filter(|client| client.socket.outbox.closed().is_none());
        let transport = client.map(|client| {
            let replaced = client.attach_websocket(&self.hard);
            self.hub.is_written_to(&client.socket);
            self.clients.plan(&client);
            Transport { sockets: self.clone(), client, replaced }
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
                // The client's session id is from before a restart, or too old: it is told to shake hands again.
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
    /// A write that makes no progress for the write timeout fails (`transport.rs`). However slowly the client reads, once
    /// its socket is closed what is under way, and then what waits, take one write timeout each at most.
    async fn write<W: AsyncWrite + Unpin>(&self, client: &Client, io: &mut W, ping: &Mutex<Option<Bytes>>) {
        let (outbox, timeout) = (&client.socket.outbox, self.settings.write_timeout);
        let mut packets = VecDeque::new();
        let why = loop {
            if let Taken::Closed(why) = outbox.take(&mut packets).await {
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

/// What a request for a websocket is answered with as a sign of having been understood. None: it cannot become one,
/// whatever its path says. A proxy may have made it what it is, which cannot carry a websocket then.
///
/// # Source
///
/// RFC 6455 section 4.2.1.
fn accept_key<B: HttpBody>(request: &http::Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    let names = |name: HeaderName, wanted: &str| {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    let one = |name: HeaderName| {
        let mut lines = headers.get_all(name).iter();
        lines.next().filter(|_| lines.next().is_none())
    };
    // hyper makes a connection over into something else on HTTP/1.1 alone.
    let can_change = request.version() == Version::HTTP_11 && request.extensions().get::<OnUpgrade>().is_some();
    let is_asked = request.method() == Method::GET && names(UPGRADE, "websocket") && names(CONNECTION, "upgrade");
    let is_known_version = one(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    if !can_change || !is_asked || !is_known_version || !request.body().is_end_stream() {
        return None;
    }
    // That it is base64 of sixteen bytes is not insisted on: it works with others.
    let key = one(SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty())?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

fn refuse_upgrade() -> Response {
    let mut refused = plain(StatusCode::UPGRADE_REQUIRED, Bytes::from_static(b"a websocket is expected here"));
    let headers = refused.headers_mut();
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    // Not so on HTTP/2, where hyper takes both away.
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    refused
}

/// Whether a client that is closed for this still gets what waits for it; of a slow one nothing does any more.
const fn is_told(why: Close) -> bool {
    match why {
        Close::SessionEnded | Close::BadFrame | Close::GoingAway | Close::SlowConsumer => true,
        Close::Left | Close::Silent => false,
    }
}

/// Writes a control frame, if there is one, and packets, many at once.
///
/// Of a long one it is told whenever a part of it was written.
async fn write_frames<W: AsyncWrite + Unpin>(
    io: &mut W,
    control: Option<Frame>,
    packets: &mut VecDeque<Bytes>,
    progresses: impl Fn(),
) -> io::Result<()> {
    let lens = packets.iter().map(|packet| if is_long(packet) { 0 } else { packet.len() } + HEADER_LEN_MAX);
    let mut bytes = Vec::with_capacity(lens.sum::<usize>().min(PORTION_LEN));
    if let Some(control) = control {
        put(&mut bytes, control);
    }
    loop {
        let mut long = None;
        while bytes.len() < PORTION_LEN
            && long.is_none()
            && let Some(packet) = packets.pop_front()
        {
            if is_long(&packet) {
                let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
                // Writing into memory cannot fail.
                let _ = header.format(packet.len() as u64, &mut bytes);
                long = Some(packet);
            } else {
                put(&mut bytes, Frame::message(packet, OpCode::Data(Data::Text), true));
            }
        }
        if bytes.is_empty() {
            // Which TLS needs.
            return io.flush().await;
        }
        io.write_all(&bytes).await?;
        bytes.clear();
        if let Some(packet) = long {
            let mut rest = &packet[..];
            while !rest.is_empty() {
                match io.write(rest).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    written => rest = &rest[written..],
                }
                progresses();
            }
        }
    }
}

/// Whether a packet is written from where it is: it is not copied, and is counted until it is written.
fn is_long(packet: &Bytes) -> bool {
    packet.len() >= PORTION_LEN
}

fn put(bytes: &mut Vec<u8>, frame: Frame) {
    // Writing into memory cannot fail.
    let _ = frame.format(bytes);
}

/// Reads what nothing is made of, within a bound: a connection that is closed with something unread is reset, and the close
/// may be lost with that.
async fn pass_over<R: AsyncRead + Unpin>(io: &mut R) {
    let (mut bytes, mut left) = (vec![0; READ_BUFFER_LEN], PASSED_OVER_MAX);
    while let Ok(len @ 1..) = io.read(&mut bytes).await
        && len < left
    {
        left -= len;
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

/// Frames as they are read.
type Stream<R> = WebSocketStream<ReadOnly<R>>;

/// The reading side of a connection, for a library that would answer pings and closes on its own: the writing loop does,
/// between its frames.
struct ReadOnly<R> {
    io: R,
    pieces: Pieces,
    /// Bytes that are read yet.
    rest: usize,
}

/// Short pieces of one message after which it is not read further. No client has reason to send so many, and while they
/// come nothing else is heard of them.
const PIECES_MAX: u32 = 1_000;

impl<R> ReadOnly<R> {
    /// Whether it reads no further for the many pieces of nothing.
    const fn is_flooded(&self) -> bool {
        self.pieces.counted() > PIECES_MAX
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for ReadOnly<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let this = &mut *self;
        std::task::ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        let read = &buffer.filled()[filled..];
        this.pieces.look(read);
        this.rest = this.rest.saturating_sub(read.len());
        Poll::Ready(if this.is_flooded() || this.rest == 0 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) })
    }
}

impl<R: Unpin> AsyncWrite for ReadOnly<R> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn stream<R: AsyncRead + Unpin>(io: R, read: Bytes) -> Stream<R> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_LEN)
        .max_message_size(Some(frame::FRAME_LEN_MAX))
        .max_frame_size(Some(frame::FRAME_LEN_MAX))
        // Asterisk masks nothing.
        .accept_unmasked_frames(true);
    // Copied, for it lies in the 8 KiB that the head of the request was read into, which the socket would keep for life.
    let mut pieces = Pieces::default();
    pieces.look(&read);
    WebSocketStream::from_partially_read(
        ReadOnly { io, pieces, rest: usize::MAX },
        read.to_vec(),
        Role::Server,
        Some(config),
    )
    .await
}

fn close_frame(why: Close) -> Frame {
    Frame::close(Some(CloseFrame { code: why.code().into(), reason: why.word().into() }))
}
