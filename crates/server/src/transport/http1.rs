//! What HTTP/1.1 and HTTP/2 are spoken over: a connection whose client may say that it will say no more and still listen.
//!
//! hyper takes the end of what a client says for its going away, and drops what it is working on. So the end is kept from
//! it until the answers are taken. A client that really is gone is found when it is written to; a poll, which might wait
//! long for that, is told (`Place::hung_up`) and answers at once with nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::places::Place;
use crate::door::Door;

/// A connection whose end is not told while answers are under way.
///
/// What hyper writes when none is, is its own answer to what it cannot read as a request, a head without anything to go
/// by. Ours takes its place.
pub(crate) struct Patient<S> {
    io: S,
    place: Arc<Place>,
    /// Who says what is answered to what is no request, and from whom that is. None: HTTP/2 answers such with a word of
    /// its own.
    door: Option<(Arc<Door>, SocketAddr)>,
    refusing: Option<Refusing>,
}

/// The answer to what is no request.
#[derive(Default)]
struct Refusing {
    answer: Bytes,
    /// What still comes is read for a while: a connection that is closed over it is reset, and the answer lost.
    lingering: Option<Pin<Box<Sleep>>>,
    discarded: usize,
}

/// How long, and how much, is read of what comes after what was no request.
const LINGER: Duration = Duration::from_secs(2);
const DISCARDED_LEN_MAX: usize = 1 << 20;

impl<S> Patient<S> {
    pub(crate) fn new(io: S, place: Arc<Place>) -> Self {
        Self { io, place, door: None, refusing: None }
    }

    /// The same, with the answers of `door` to what `peer` sends that is no request.
    pub(crate) fn refusing_by(self, door: Arc<Door>, peer: SocketAddr) -> Self {
        Self { door: Some((door, peer)), ..self }
    }

    /// The connection itself.
    pub(crate) fn into_inner(self) -> S {
        self.io
    }

    /// Begins to refuse, if `written` is hyper's own refusal.
    fn is_refusing(&mut self, written: &[u8]) -> bool {
        if self.refusing.is_none()
            && self.place.is_silent()
            && let Some((door, peer)) = &self.door
            && let Some((status, date)) = bare_refusal(written)
        {
            let answer = door.refuse_head(status, date, *peer).into();
            self.refusing = Some(Refusing { answer, ..Refusing::default() });
        }
        self.refusing.is_some()
    }
}

/// The status of a head that hyper made alone, and its date. Ours bear an id.
fn bare_refusal(head: &[u8]) -> Option<(u16, &str)> {
    let head = std::str::from_utf8(head).ok()?.strip_prefix("HTTP/1.")?;
    let status = head.get(2..5)?.parse().ok().filter(|status| matches!(status, 400 | 414 | 431))?;
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    let date = lines.clone().find(|(name, _)| name.eq_ignore_ascii_case("date")).map_or("", |(_, date)| date);
    (!lines.any(|(name, _)| name.eq_ignore_ascii_case("request-id"))).then_some((status, date))
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    /// Writes our refusal, and says of hyper's, which is `len` bytes long, that it was.
    fn poll_refuse(&mut self, context: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        while let Some(refusing) = self.refusing.as_mut().filter(|refusing| !refusing.answer.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(context, &refusing.answer))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => refusing.answer.advance(written),
            }
        }
        Poll::Ready(Ok(len))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        let ended = match &read {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.remaining() > 0,
            // What TLS calls it when the other side did not say goodbye.
            Poll::Ready(Err(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
        };
        if ended && self.place.hang_up(context) { Poll::Pending } else { read }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_refusing(bytes) {
            return self.poll_refuse(context, bytes.len());
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_refusing(slices.first().map_or(&[], |slice| slice)) {
            return self.poll_refuse(context, slices.iter().map(|slice| slice.len()).sum());
        }
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, refusing, .. } = &mut *self;
        let Some(refusing) = refusing else { return Pin::new(io).poll_shutdown(context) };
        if refusing.lingering.is_none() {
            ready!(Pin::new(&mut *io).poll_shutdown(context))?;
        }
        let lingering = refusing.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut space = [0; 4_096];
        while lingering.as_mut().poll(context).is_pending() && refusing.discarded < DISCARDED_LEN_MAX {
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut *io).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => refusing.discarded += buffer.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The body of a request, which breaks off when its client hangs up before its end.
pub(crate) struct Heard<B> {
    body: B,
    place: Arc<Place>,
}

impl<B> Heard<B> {
    pub(crate) fn new(body: B, place: Arc<Place>) -> Self {
        Self { body, place }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Heard<B>
where
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // hyper reads, and finds the end, before it lets the request be worked on: nothing is on its way to here.
        if polled.is_pending() && self.place.has_hung_up() {
            return Poll::Ready(Some(Err("the client hung up within the body".into())));
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
