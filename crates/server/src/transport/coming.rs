//! The body of a request, on its way.
//!
//! Nearly every body is there when it is asked for, and then nothing of this costs anything. One that has to be waited for is
//! counted as far as it is held, like an answer that is not read: for its connection, for its address as long as nobody knows
//! who asks, and in all. And as long as it is waited for nothing is under way: its connection is silent.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::exchange::Exchange;
use super::partial::Partial;
use super::places::Place;
use super::unread::{CallerKey, Reader, Unread};
use super::windows::STREAM_WINDOW;

/// The body of a request, for whoever reads it.
pub(crate) trait RequestBody: HttpBody<Data = Bytes> + Unpin {
    /// Whoever reads it still holds so much of what came. What comes after that counts as held too, until this is said again.
    fn is_held(&mut self, bytes: usize);

    /// Whose it is: it counts for them from now on, and not for their address.
    fn is_of(&mut self, caller: CallerKey);

    /// It is not read on before something else happens. Meanwhile so much of it is held, until [`Self::is_held`] says how much
    /// is. On HTTP/2 more of it may come without being read, and that counts as held too. False: so many bodies stand on its
    /// connection that those of others could not come.
    fn stands(&mut self, bytes: usize) -> bool;
}

/// The body of a request, which breaks off when its client hangs up before its end.
pub(crate) struct Heard<B> {
    body: B,
    coming: Coming,
}

/// How far a body came.
#[expect(clippy::struct_excessive_bools, reason = "each is true or not whatever the others are")]
struct Coming {
    on: On,
    of: Whose,
    /// How much of what came is held.
    held: usize,
    /// How much of that is counted.
    counted: usize,
    is_awaited: bool,
    /// Whether it was ever.
    was_awaited: bool,
    /// Set of one on a stream that is not read on.
    stands: bool,
    /// All of it was read.
    is_whole: bool,
}

/// Whom it counts for.
#[derive(Clone, Copy)]
enum Whose {
    /// Anybody at that address.
    Address(IpAddr),
    Caller(CallerKey),
}

impl Whose {
    fn key(self, unread: &Unread) -> CallerKey {
        match self {
            Self::Address(address) => unread.key(Reader::Anybody, address),
            Self::Caller(caller) => caller,
        }
    }
}

/// What it comes on.
enum On {
    /// A connection of HTTP/1.1, with what is counted for it.
    Connection(Arc<Place>, Option<Partial>),
    /// A stream of HTTP/2.
    Stream(Arc<Exchange>),
}

impl<B: HttpBody> Heard<B> {
    /// One on HTTP/1.1, from that address.
    pub(crate) fn on_http1(body: B, place: Arc<Place>, from: IpAddr) -> Self {
        Self::on(body, On::Connection(place, None), from)
    }

    /// The same on HTTP/2.
    pub(crate) fn on_http2(body: B, exchange: Arc<Exchange>, from: IpAddr) -> Self {
        Self::on(body, On::Stream(exchange), from)
    }

    fn on(body: B, on: On, from: IpAddr) -> Self {
        let (of, is_whole) = (Whose::Address(from), body.is_end_stream());
        let (is_awaited, was_awaited) = (false, false);
        let coming = Coming { on, of, held: 0, counted: 0, is_awaited, was_awaited, stands: false, is_whole };
        Self { body, coming }
    }
}

impl Coming {
    /// It has to be waited for.
    fn is_not_here(&mut self) {
        let more = self.held - self.counted;
        if self.is_awaited && more == 0 {
            return;
        }
        (self.is_awaited, self.counted) = (true, self.held);
        let (of, before) = (self.of, std::mem::replace(&mut self.was_awaited, true));
        match &mut self.on {
            On::Connection(place, partial) => {
                // First of all, so that it is not what stood still longest.
                place.awaits_body(before);
                count(place, partial, more, of);
            }
            On::Stream(exchange) => exchange.awaits_body(before, more, |unread| of.key(unread)),
        }
    }

    fn stands(&mut self, bytes: usize) -> bool {
        let on_its_way = match &self.on {
            On::Connection(..) => 0,
            On::Stream(exchange) => {
                if !self.stands && !exchange.stands() {
                    return false;
                }
                self.stands = true;
                STREAM_WINDOW as usize
            }
        };
        self.held = self.held.max(bytes + on_its_way);
        let (more, of) = (self.held - self.counted, self.of);
        self.counted = self.held;
        match &mut self.on {
            On::Connection(place, partial) => count(place, partial, more, of),
            On::Stream(exchange) if more > 0 => exchange.holds(more, |unread| of.key(unread)),
            On::Stream(_) => {}
        }
        true
    }

    fn stands_no_more(&mut self) {
        if let On::Stream(exchange) = &self.on
            && std::mem::take(&mut self.stands)
        {
            exchange.stands_no_more();
        }
    }

    /// Counts no more than what is held by now.
    fn is_held(&mut self, bytes: usize) {
        self.stands_no_more();
        self.held = bytes.min(self.held);
        let less = self.counted.saturating_sub(self.held);
        if less == 0 {
            return;
        }
        self.counted = self.held;
        match &mut self.on {
            On::Connection(_, Some(partial)) => partial.remove(less),
            On::Connection(_, None) => {}
            On::Stream(exchange) => exchange.took_body(less),
        }
    }

    fn is_of(&mut self, caller: CallerKey) {
        self.of = Whose::Caller(caller);
        match &mut self.on {
            On::Connection(_, Some(partial)) => partial.is_of(caller),
            On::Connection(_, None) => {}
            On::Stream(exchange) => exchange.is_of(caller),
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

/// Counts more of a body on HTTP/1.1.
fn count(place: &Arc<Place>, partial: &mut Option<Partial>, more: usize, of: Whose) {
    if more > 0 {
        partial.get_or_insert_with(|| Partial::new(place.clone(), Some(of.key(&place.places.unread)))).add(more);
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.is_here();
        self.stands_no_more();
        match &self.on {
            On::Connection(place, _) if !self.is_whole => place.leaves_body(),
            On::Stream(exchange) if self.counted > 0 => exchange.took_body(self.counted),
            On::Connection(..) | On::Stream(_) => {}
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
        let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) else {
            // hyper reads, and finds the end, before it lets the request be worked on: nothing is on its way to here.
            if coming.has_hung_up() {
                return Poll::Ready(Some(Err("the client hung up within the body".into())));
            }
            coming.is_not_here();
            return Poll::Pending;
        };
        coming.is_whole = frame.is_none() || body.is_end_stream();
        if let Some(Ok(frame)) = &frame {
            coming.held += frame.data_ref().map_or(0, Bytes::len);
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

impl<B: HttpBody<Data = Bytes> + Unpin> RequestBody for Heard<B>
where
    B::Error: std::error::Error + Send + Sync + 'static,
{
    fn is_held(&mut self, bytes: usize) {
        self.coming.is_held(bytes);
    }

    fn is_of(&mut self, caller: CallerKey) {
        self.coming.is_of(caller);
    }

    fn stands(&mut self, bytes: usize) -> bool {
        self.coming.stands(bytes)
    }
}

/// One that is there.
#[cfg(test)]
impl RequestBody for http_body_util::Full<Bytes> {
    fn is_held(&mut self, _: usize) {}

    fn is_of(&mut self, _: CallerKey) {}

    fn stands(&mut self, _: usize) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::task::Waker;

    use tokio::sync::mpsc;

    use super::super::places::{NEWCOMER_FOR, Places};
    use super::super::under_way::UnderWay;
    use super::super::windows::{STANDING_MAX, STANDING_OF_ONE_MAX};
    use super::super::{Share, UnreadLimits};
    use super::*;
    use crate::metrics::Metrics;

    /// A body that comes in parts of these sizes.
    struct InParts(mpsc::Receiver<usize>);

    impl HttpBody for InParts {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0.poll_recv(context).map(|len| len.map(|len| Ok(Frame::data(vec![b'x'; len].into()))))
        }
    }

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Reads what is there.
    fn read(body: &mut Heard<InParts>) {
        let context = &mut Context::from_waker(Waker::noop());
        while let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
            frame.unwrap().unwrap();
        }
    }

    const LIMITS: UnreadLimits = UnreadLimits { all: 1 << 20, caller: 1 << 20, connection: 1 << 20 };

    /// A body on a connection or on one of its streams, by what sends its parts, and with what it is under way in.
    fn awaited(place: &Arc<Place>, is_stream: bool) -> (mpsc::Sender<usize>, Heard<InParts>, impl Sized) {
        let (send, parts) = mpsc::channel(9);
        let (mut under_way, mut on_stream) = (UnderWay::begin(place), None);
        let body = if is_stream {
            on_stream = under_way.take().map(|under_way| Exchange::on_stream(under_way, 0));
            Heard::on_http2(InParts(parts), on_stream.clone().unwrap(), HOME)
        } else {
            Heard::on_http1(InParts(parts), place.clone(), HOME)
        };
        (send, body, (under_way, on_stream))
    }

    #[tokio::test]
    async fn of_a_body_that_is_waited_for_what_is_held_is_counted_and_for_whom_it_is() {
        for is_stream in [false, true] {
            let places = Places::new(2, LIMITS, Arc::new(Metrics::default()));
            let place = places.take(Share::unbounded()).await;
            let (send, mut body, under_way) = awaited(&place, is_stream);
            // What a stream takes beside its body.
            let besides = place.unread();
            let nobody = places.unread.key(Reader::Anybody, HOME);
            let caller = CallerKey(7);
            let counted = || (places.unread.all() - besides, place.unread() - besides);
            let of = |caller| usize::saturating_sub(places.unread.of(caller), besides);
            read(&mut body);
            for part in [10_000, 20_000] {
                send.try_send(part).unwrap();
            }
            read(&mut body);
            assert_eq!((counted(), of(nobody)), ((30_000, 30_000), 30_000));
            // What is thrown away, or held elsewhere, counts no more, and neither does what comes after it in its turn.
            body.is_held(1_000);
            assert_eq!((counted(), of(nobody)), ((1_000, 1_000), 1_000));
            body.is_held(500_000);
            send.try_send(4_000).unwrap();
            read(&mut body);
            assert_eq!((counted(), of(nobody)), ((5_000, 5_000), 5_000), "no more than came is held");
            body.is_of(caller);
            assert_eq!((counted(), of(nobody), of(caller)), ((5_000, 5_000), 0, 5_000));
            body.is_held(0);
            send.try_send(3_000).unwrap();
            read(&mut body);
            assert_eq!((counted(), of(nobody), of(caller)), ((3_000, 3_000), 0, 3_000));
            // With what may come of it on a stream while it is not read.
            let stands = 9_000 + if is_stream { STREAM_WINDOW as usize } else { 0 };
            assert!(body.stands(9_000) && body.stands(5_000));
            assert_eq!((counted(), of(nobody), of(caller)), ((stands, stands), 0, stands));
            body.is_held(2_000);
            assert_eq!(counted(), (2_000, 2_000));
            assert!(body.stands(9_000));
            drop(body);
            assert_eq!((counted(), of(caller)), ((0, 0), 0));
            drop(under_way);
            assert_eq!((places.unread.all(), places.unread.of(caller)), (0, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_which_a_little_comes_now_and_then_is_silence_soon() {
        for is_stream in [false, true] {
            let places = Places::new(1, LIMITS, Arc::new(Metrics::default()));
            let place = places.take(Share::unbounded()).await;
            let (send, mut body, under_way) = awaited(&place, is_stream);
            let comes = async || tokio::time::timeout(NEWCOMER_FOR / 100, places.take(Share::unbounded())).await;
            let makes_room = || place.doomed.load(Ordering::Relaxed);
            read(&mut body);
            for _ in 0..2 {
                assert!(comes().await.is_err() && !makes_room(), "the rest may come at once");
                tokio::time::advance(NEWCOMER_FOR * 3 / 4).await;
                send.try_send(1).unwrap();
                read(&mut body);
            }
            assert!(comes().await.is_err() && makes_room());
            drop((body, under_way));
        }
    }

    #[tokio::test]
    async fn a_few_bodies_of_a_connection_stand_and_leave_the_others_room() {
        let place = Places::for_tests(Arc::new(Metrics::default())).take(Share::unbounded()).await;
        let stream = || {
            let exchange = Exchange::on_stream(UnderWay::begin(&place).unwrap(), 0);
            Heard::on_http2(InParts(mpsc::channel(1).1), exchange, HOME)
        };
        let mut bodies: Vec<_> = (0..STANDING_MAX).map(|_| stream()).collect();
        for body in &mut bodies {
            assert!(body.stands(1) && body.stands(2), "it stands once");
        }
        assert!(!stream().stands(1));
        drop(bodies.pop());
        let (mut one, mut other) = (stream(), stream());
        assert!(one.stands(1) && !other.stands(1));
        one.is_held(0);
        assert!(other.stands(1) && !one.stands(1));
    }

    #[tokio::test]
    async fn of_those_who_share_a_connection_nobody_takes_what_there_is_for_standing() {
        let places = Places::for_tests(Arc::new(Metrics::default()));
        let shares = super::super::Shares::new(2, vec!["192.0.2.1/32".parse().unwrap()]);
        for (last, most) in [(1, STANDING_OF_ONE_MAX), (2, STANDING_MAX as usize)] {
            let place = places.take(shares.take([192, 0, 2, last].into()).unwrap()).await;
            let stream = |caller| {
                let exchange = Exchange::on_stream(UnderWay::begin(&place).unwrap(), 0);
                let mut body = Heard::on_http2(InParts(mpsc::channel(1).1), exchange, HOME);
                body.is_of(CallerKey(caller));
                body
            };
            let mut standing: Vec<_> = (0..most).map(|_| stream(1)).collect();
            for body in &mut standing {
                assert!(body.stands(1) && body.stands(2));
            }
            assert!(!stream(1).stands(1));
            let mut others = stream(2);
            assert_eq!(others.stands(1), most < STANDING_MAX as usize);
            // One that is read on, or over, leaves its place to the same.
            standing[0].is_held(0);
            let mut again = stream(1);
            assert!(again.stands(1) && !standing[0].stands(1));
            drop(again);
            assert!(standing[0].stands(1));
        }
    }
}
