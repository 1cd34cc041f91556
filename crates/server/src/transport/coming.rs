//! The body of a request, on its way.
//!
//! Nearly every body is there when it is asked for, and then nothing of this costs anything. One that has to be waited for is
//! counted as far as it came, like an answer that is not read: for its connection, for its address as long as nobody knows who
//! asks, and in all. And as long as it is waited for nothing is under way: its connection is silent.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::exchange::Exchange;
use super::places::{Partial, Place};

/// The body of a request, which breaks off when its client hangs up before its end.
pub(crate) struct Heard<B> {
    body: B,
    coming: Coming,
}

/// How far a body came.
struct Coming {
    on: On,
    from: IpAddr,
    came: usize,
    /// How much of that is counted.
    counted: usize,
    is_awaited: bool,
}

/// What it comes on.
enum On {
    /// A connection of HTTP/1.1, with what is counted for it.
    Connection(Arc<Place>, Option<Partial>),
    /// A stream of HTTP/2.
    Stream(Arc<Exchange>),
}

impl<B> Heard<B> {
    /// One on HTTP/1.1, from that address.
    pub(crate) fn on_http1(body: B, place: Arc<Place>, from: IpAddr) -> Self {
        Self::on(body, On::Connection(place, None), from)
    }

    /// The same on HTTP/2.
    pub(crate) fn on_http2(body: B, exchange: Arc<Exchange>, from: IpAddr) -> Self {
        Self::on(body, On::Stream(exchange), from)
    }

    fn on(body: B, on: On, from: IpAddr) -> Self {
        Self { body, coming: Coming { on, from, came: 0, counted: 0, is_awaited: false } }
    }
}

impl Coming {
    /// It has to be waited for.
    fn is_not_here(&mut self) {
        let more = self.came - self.counted;
        if self.is_awaited && more == 0 {
            return;
        }
        (self.is_awaited, self.counted) = (true, self.came);
        match &mut self.on {
            On::Connection(place, partial) => {
                // First of all, so that it is not what stood still longest.
                place.awaits_body();
                if more > 0 {
                    partial.get_or_insert_with(|| Partial::new(place.clone(), self.from)).add(more);
                }
            }
            On::Stream(exchange) => exchange.awaits_body(more, self.from),
        }
    }

    /// It is not waited for any more. False: its connection was told to go meanwhile.
    fn is_here(&mut self) -> bool {
        if !std::mem::take(&mut self.is_awaited) {
            return true;
        }
        match &self.on {
            On::Connection(place, _) => place.got_body(),
            On::Stream(exchange) => exchange.got_body(),
        }
    }

    fn has_hung_up(&self) -> bool {
        match &self.on {
            On::Connection(place, _) => place.has_hung_up(),
            On::Stream(_) => false,
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.is_here();
        if let On::Stream(exchange) = &self.on
            && self.counted > 0
        {
            exchange.took_body(self.counted);
        }
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
        let Self { body, coming } = &mut *self;
        let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
            // hyper reads, and finds the end, before it lets the request be worked on: nothing is on its way to here.
            if coming.has_hung_up() {
                return Poll::Ready(Some(Err("the client hung up within the body".into())));
            }
            coming.is_not_here();
            return Poll::Pending;
        };
        if let Some(Ok(frame)) = &frame {
            coming.came += frame.data_ref().map_or(0, Bytes::len);
        }
        if !coming.is_here() {
            return Poll::Ready(Some(Err("the connection makes room for another".into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
