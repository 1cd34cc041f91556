//! The body of an answer as hyper takes it, counted until it is taken.
//!
//! A short answer on HTTP/1.1 goes in one piece, which carries its count along. All others go piece by piece, the next
//! one when the last was taken: so that what hyper and its HTTP/2 hold is one piece, and who does not read it is found.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};

use super::exchange::{Exchange, PIECE_LEN_MAX_HTTP2};
use super::under_way::UnderWay;
use super::unread::{CallerKey, SMALL_LEN};

/// What goes at once on HTTP/1.1: more saves few calls, and each unread connection holds it.
const PIECE_LEN_MAX_HTTP1: usize = 65_536;

/// The body of an answer.
pub(crate) struct AnswerBody {
    inner: Body,
    how: How,
}

enum How {
    /// At once.
    Whole(Option<UnderWay>),
    /// Piece by piece.
    Paced(Paced),
}

struct Paced {
    exchange: Arc<Exchange>,
    /// What is left of the frame that was made last.
    rest: Bytes,
    /// How long that frame was, which is in memory until all of it was taken.
    frame_len: usize,
    piece_len_max: usize,
}

/// What an answer that is made as it is taken holds beside the bytes that it has made: it is put into the response's
/// extensions, and counted with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside(pub(crate) usize);

fn beside(response: &mut Response) -> usize {
    response.extensions_mut().remove::<Beside>().map_or(0, |Beside(bytes)| bytes)
}

impl AnswerBody {
    /// The answer to a request on HTTP/1.1 of whom `caller` tells.
    pub(crate) fn on_http1(
        mut response: Response,
        mut under_way: UnderWay,
        caller: impl FnOnce() -> CallerKey,
    ) -> http::Response<Self> {
        let beside = beside(&mut response);
        if beside > 0 && under_way.add(beside) {
            under_way.place().places.end_stalled();
        }
        response.map(|body| Self::paced_on_http1(body, under_way, caller))
    }

    fn paced_on_http1(inner: Body, mut under_way: UnderWay, caller: impl FnOnce() -> CallerKey) -> Self {
        let len = inner.size_hint().exact().and_then(|len| usize::try_from(len).ok());
        let how = match len.filter(|len| *len <= PIECE_LEN_MAX_HTTP1) {
            Some(len) => {
                if len > SMALL_LEN {
                    under_way.is_of(caller());
                }
                if under_way.add(len) {
                    under_way.place().places.end_stalled();
                }
                How::Whole(Some(under_way))
            }
            None => {
                under_way.is_of(caller());
                How::Paced(Paced::new(Exchange::of(under_way), PIECE_LEN_MAX_HTTP1))
            }
        };
        Self { inner, how }
    }

    /// The same on HTTP/2.
    pub(crate) fn on_http2(mut response: Response, exchange: Arc<Exchange>, caller: CallerKey) -> http::Response<Self> {
        let beside = beside(&mut response);
        if beside > 0 {
            exchange.add(beside);
        }
        exchange.is_of(caller);
        response.map(|inner| Self { inner, how: How::Paced(Paced::new(exchange, PIECE_LEN_MAX_HTTP2)) })
    }
}

impl Paced {
    fn new(exchange: Arc<Exchange>, piece_len_max: usize) -> Self {
        Self { exchange, rest: Bytes::new(), frame_len: 0, piece_len_max }
    }

    fn poll_piece(&mut self, inner: &mut Body, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, Error>>> {
        loop {
            if let Err(ended) = ready!(self.exchange.poll_taken(context)) {
                return Poll::Ready(Some(Err(ended.into())));
            }
            if !self.rest.is_empty() {
                let bytes = if self.rest.len() > self.piece_len_max {
                    self.rest.split_to(self.piece_len_max)
                } else {
                    std::mem::take(&mut self.rest)
                };
                self.exchange.hands_out();
                let taking = Taking::Piece(Handed(self.exchange.clone()));
                return Poll::Ready(Some(Ok(Frame::data(Piece { bytes, taking }))));
            }
            self.exchange.remove(std::mem::take(&mut self.frame_len));
            match ready!(Pin::new(&mut *inner).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        self.exchange.add(bytes.len());
                        self.frame_len = bytes.len();
                        self.rest = bytes;
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                        }
                    }
                },
            }
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl HttpBody for AnswerBody {
    type Data = Piece;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Self::Error>>> {
        let Self { inner, how } = &mut *self;
        match how {
            How::Whole(under_way) => {
                let frame = ready!(Pin::new(inner).poll_frame(context));
                let taking = under_way.take().map_or(Taking::Nothing, Taking::Whole);
                Poll::Ready(frame.map(|frame| Ok(frame?.map_data(|bytes| Piece { bytes, taking }))))
            }
            How::Paced(paced) => paced.poll_piece(inner, context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.how {
            How::Whole(_) => self.inner.is_end_stream(),
            // Not before the last piece was taken: hyper would let go of the answer.
            How::Paced(paced) => paced.frame_len == 0 && self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Bytes on their way to a client, counted until they are gone.
pub(crate) struct Piece {
    bytes: Bytes,
    taking: Taking,
}

/// What bytes carry along.
enum Taking {
    Nothing,
    /// They are the whole answer.
    Whole(UnderWay),
    Piece(Handed),
}

/// A piece that was handed out.
struct Handed(Arc<Exchange>);

impl Drop for Handed {
    fn drop(&mut self) {
        self.0.is_taken();
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        match &self.taking {
            // Of the last of a whole answer it tells that it is dropped.
            Taking::Whole(under_way) if !self.bytes.is_empty() => under_way.changes(),
            Taking::Nothing | Taking::Whole(_) => {}
            Taking::Piece(Handed(exchange)) => exchange.progresses(count),
        }
    }
}
