//! The side of a websocket that is read: frames from the library, of which only so much is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::idle::Pieces;

/// What a socket reads at once. Most packets are shorter, and an idle socket keeps it.
const READ_BUFFER_LEN: usize = 512;
/// Bytes that are passed over of a client that was closed for what it sent: what was on its way when it was told. Who sends
/// on and on is cut off.
pub(crate) const PASSED_OVER_MAX: usize = 64 * 1024;

/// Frames as they are read.
pub(crate) type Stream<R> = WebSocketStream<ReadOnly<R>>;

/// The reading side of a connection, for a library that would answer pings and closes on its own: the writing loop does,
/// between its frames.
pub(crate) struct ReadOnly<R> {
    pub(crate) io: R,
    pub(crate) pieces: Pieces,
    /// Bytes that are read yet.
    pub(crate) rest: usize,
}

/// Short pieces of one message after which it is not read further. No client has reason to send so many, and while they
/// come nothing else is heard of them.
const PIECES_MAX: u32 = 1_000;

impl<R> ReadOnly<R> {
    /// Whether it reads no further for the many pieces of nothing.
    pub(crate) const fn is_flooded(&self) -> bool {
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

/// What is taken of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taking {
    /// Bytes of a message.
    pub(crate) message_len_max: usize,
    /// Whether frames may come unmasked, which no browser sends.
    pub(crate) unmasked: bool,
}

/// Frames of `io`, of which `read` was read before.
pub(crate) async fn stream<R: AsyncRead + Unpin>(io: R, read: Bytes, taking: Taking) -> Stream<R> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_LEN)
        .max_message_size(Some(taking.message_len_max))
        .max_frame_size(Some(taking.message_len_max))
        .accept_unmasked_frames(taking.unmasked);
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

/// Reads what nothing is made of, within a bound: a connection that is closed with something unread is reset, and the close
/// may be lost with that.
pub(crate) async fn pass_over<R: AsyncRead + Unpin>(io: &mut R) {
    let (mut bytes, mut left) = (vec![0; READ_BUFFER_LEN], PASSED_OVER_MAX);
    while let Ok(len @ 1..) = io.read(&mut bytes).await
        && len < left
    {
        left -= len;
    }
}
