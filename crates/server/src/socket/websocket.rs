//! The websocket: two loops of one task, one reading and one writing, that end together.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use respoke_hub::outbox::Taken;
use respoke_wire::close::Close;
use respoke_wire::frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::{CLOSE_TIMEOUT, Client, Knock, Sockets, plain, text};
use crate::door::Door;
use crate::run::Place;
use crate::transport::{Encrypted, Plain};

/// What a socket reads at once. Most packets are shorter; memory per idle socket is mostly this.
const READ_BUFFER_LEN: usize = 2_048;
/// What is written at once and has one write deadline: enough for a full segment of any kernel's buffers.
const PORTION_LEN: usize = 65_536;
/// A queue that once held more than this gives its memory back.
const FRAMES_KEPT: usize = 32;
/// The sub-protocol that Asterisk offers and wants to see again.
const PROTOCOL: &str = "socket.io";

impl Sockets {
    /// Turns the request into a websocket.
    pub(super) fn upgrade<B>(self: &Arc<Self>, door: &Arc<Door>, sid: &str, mut knock: Knock<B>) -> Response {
        let headers = knock.request.headers();
        let is_websocket =
            headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let is_known_version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let (Some(key), true, true) = (headers.get(SEC_WEBSOCKET_KEY), is_websocket, is_known_version) else {
            let mut refused = plain(StatusCode::UPGRADE_REQUIRED, Bytes::from_static(b"a websocket is expected here"));
            refused.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            refused.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            return refused;
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) else {
            return text(StatusCode::BAD_REQUEST, "");
        };
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
            (client, replaced)
        });
        let (sockets, door, place) = (self.clone(), door.clone(), knock.place);
        self.tasks.spawn(async move { sockets.run_websocket(door, transport, upgrading, place).await });
        response
    }

    async fn run_websocket(
        self: Arc<Self>,
        door: Arc<Door>,
        transport: Option<(Arc<Client>, CancellationToken)>,
        upgrading: OnUpgrade,
        place: Arc<Place>,
    ) {
        let upgraded = tokio::select! {
            biased;
            () = self.hard.cancelled() => None,
            upgraded = upgrading => upgraded.ok(),
        };
        let Some(upgraded) = upgraded else {
            if let Some((client, replaced)) = transport
                && !replaced.is_cancelled()
            {
                self.leave(&client, Close::Left);
            }
            return;
        };
        // The box and the write deadline around it are taken off: a socket has a deadline of its own.
        match upgraded.downcast::<TokioIo<Plain>>() {
            Ok(parts) => {
                let stream = stream(parts.io.into_inner().into_inner(), parts.read_buf).await;
                self.carry(&door, transport, stream).await;
            }
            Err(upgraded) => {
                let parts = upgraded
                    .downcast::<TokioIo<Encrypted>>()
                    .expect("`run` serves HTTP/1.1 on these two kinds of connection");
                let stream = stream(parts.io.into_inner(), parts.read_buf).await;
                self.carry(&door, transport, stream).await;
            }
        }
        drop(place);
    }

    async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        door: &Arc<Door>,
        transport: Option<(Arc<Client>, CancellationToken)>,
        stream: WebSocketStream<S>,
    ) {
        let (mut sink, mut stream) = stream.split();
        let Some((client, replaced)) = transport else {
            // The client's session id is from before a restart, or too old: it is told to shake hands again.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
                let _ = sink.send(Message::text(frame::NOT_HANDSHAKEN)).await;
                let _ = sink.send(close_frame(Close::GoingAway)).await;
                while let Some(Ok(_)) = stream.next().await {}
            })
            .await;
            return;
        };
        client.socket.outbox.offer(Bytes::from_static(frame::CONNECT.as_bytes()));
        // Ends the reading once the writing has ended.
        let written = CancellationToken::new();
        let reading = self.read(door, &client, &mut stream, &replaced, &written);
        let writing = async {
            self.write(&client, &mut sink, &replaced).await;
            written.cancel();
        };
        tokio::join!(reading, writing);
        if !replaced.is_cancelled() {
            self.leave(&client, Close::Left);
        }
    }

    /// Takes packets until the client goes, or is to go, or turns to another transport.
    async fn read<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        door: &Arc<Door>,
        client: &Client,
        stream: &mut SplitStream<WebSocketStream<S>>,
        replaced: &CancellationToken,
        written: &CancellationToken,
    ) {
        loop {
            let message = tokio::select! {
                biased;
                () = replaced.cancelled() => return,
                () = written.cancelled() => break,
                message = stream.next() => message,
            };
            let taken = match message {
                // In a box, for a request takes far more room than its socket, which is silent most of its life.
                Some(Ok(Message::Text(text))) => Box::pin(self.take(door, client, &text)).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                    self.hub.heard(&client.socket);
                    Ok(())
                }
                // What most clients do that go.
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Err(Close::Left),
                Some(Ok(Message::Binary(_)) | Err(Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_))) => {
                    Err(Close::BadFrame)
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Close::Left),
            };
            if let Err(why) = taken {
                self.hub.close(&client.socket, why);
                if why == Close::Left {
                    return;
                }
                break;
            }
        }
        // The client is told to go; what it still says is not heard, and its own close is waited for.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = stream.next().await {} }).await;
    }

    /// Writes what waits, as much as there is at a time, until the outbox closes.
    async fn write<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &Client,
        sink: &mut SplitSink<WebSocketStream<S>, Message>,
        replaced: &CancellationToken,
    ) {
        let mut frames = VecDeque::new();
        loop {
            let taken = tokio::select! {
                biased;
                () = replaced.cancelled() => return,
                taken = client.socket.outbox.take(&mut frames) => taken,
            };
            let closed = match taken {
                Taken::Frames => None,
                Taken::Closed(why) => Some(why),
            };
            // It reads no more, or nothing it could be told matters.
            if let Some(Close::Left | Close::SlowConsumer | Close::Silent) = closed {
                frames.clear();
            }
            let written = tokio::select! {
                biased;
                () = replaced.cancelled() => return,
                written = self.write_all(&mut frames, closed, sink) => written,
            };
            match written {
                Ok(()) if closed.is_none() => {}
                Ok(()) => return,
                Err(why) => return self.hub.close(&client.socket, why),
            }
            if frames.capacity() > FRAMES_KEPT {
                frames = VecDeque::new();
            }
        }
    }
}

impl Sockets {
    /// Writes frames, and good-bye if it is time, in portions that are each to get through in time: a slow network is no
    /// slow reader as long as something goes on. The error says why the socket is to be closed.
    async fn write_all<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        frames: &mut VecDeque<Bytes>,
        closed: Option<Close>,
        sink: &mut SplitSink<WebSocketStream<S>, Message>,
    ) -> Result<(), Close> {
        loop {
            let (count, len) = portion(frames);
            let writing = async {
                for frame in frames.drain(..count) {
                    sink.feed(Message::Frame(Frame::message(frame, OpCode::Data(Data::Text), true))).await?;
                }
                if let (Some(why), true) = (closed, frames.is_empty()) {
                    if why == Close::SessionEnded {
                        sink.feed(Message::text(frame::DISCONNECT)).await?;
                    }
                    sink.feed(close_frame(why)).await?;
                }
                match sink.flush().await {
                    // The client closed first; what waits is the answer to that.
                    Err(Error::Protocol(ProtocolError::SendAfterClosing)) => sink.flush().await,
                    flushed => flushed,
                }
            };
            let in_time = self.settings.write_timeout.saturating_mul(portions(len));
            match tokio::time::timeout(in_time, writing).await {
                Ok(Ok(())) if frames.is_empty() => return Ok(()),
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Close::Left),
                Err(_) => return Err(Close::SlowConsumer),
            }
        }
    }
}

/// How many frames go at once, and how long they are together.
fn portion(frames: &VecDeque<Bytes>) -> (usize, usize) {
    let (mut count, mut len) = (0, 0);
    while let Some(frame) = frames.get(count)
        && len < PORTION_LEN
    {
        count += 1;
        len += frame.len();
    }
    (count, len)
}

/// How many times the deadline frames of that length have: one alone may be longer than a portion.
fn portions(len: usize) -> u32 {
    u32::try_from(len.div_ceil(PORTION_LEN)).unwrap_or(u32::MAX).max(1)
}

async fn stream<S: AsyncRead + AsyncWrite + Unpin>(io: S, read: Bytes) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_LEN)
        .max_message_size(Some(frame::FRAME_LEN_MAX))
        .max_frame_size(Some(frame::FRAME_LEN_MAX))
        // Asterisk masks nothing.
        .accept_unmasked_frames(true);
    // Copied, for it lies in the 8 KiB that the head of the request was read into, which the socket would keep for life.
    WebSocketStream::from_partially_read(io, read.to_vec(), Role::Server, Some(config)).await
}

fn close_frame(why: Close) -> Message {
    Message::Close(Some(CloseFrame { code: why.code().into(), reason: why.word().into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_in_portions_and_a_long_one_has_more_time() {
        let frames =
            |lens: &[usize]| -> VecDeque<Bytes> { lens.iter().map(|len| Bytes::from(vec![0; *len])).collect() };
        assert_eq!(portion(&frames(&[])), (0, 0));
        assert_eq!(portion(&frames(&[10, 20])), (2, 30));
        assert_eq!(portion(&frames(&[PORTION_LEN - 1, 5, 1])), (2, PORTION_LEN + 4));
        assert_eq!(portion(&frames(&[3 * PORTION_LEN, 1])), (1, 3 * PORTION_LEN));
        assert_eq!([0, 1, PORTION_LEN, PORTION_LEN + 1, 3 * PORTION_LEN].map(portions), [1, 1, 1, 2, 3]);
    }
}
