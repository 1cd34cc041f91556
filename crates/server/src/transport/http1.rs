//! What HTTP/1.1 and HTTP/2 are spoken over: a connection whose client may say that it will say no more and still listen, and
//! may not go on for ever with what brings nothing.
//!
//! hyper takes the end of what a client says for its going away, and drops what it is working on. So the end is kept from
//! it until the answers are taken. A client that really is gone is found when it is written to; a poll, which might wait
//! long for that, is told (`Place::hung_up`) and answers at once with nothing. Of HTTP/2 the library reads all there is
//! before it begins a request, and begins none once it was told the end: so there that is kept back until it has begun them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::frames::Frames;
use super::lingering::Lingering;
use super::partial::Partial;
use super::places::Place;
use super::unread::Reader;

/// The longest head of a request. HTTP/1.1 reads no more than that.
pub(crate) const HEAD_LEN_MAX: usize = 64 * 1024;

/// Who says what is answered to what is no request.
pub(crate) trait RefusesHeads: Send + Sync {
    /// The whole answer to what `peer` sent, as the HTTP library found it, which says `status` and the date.
    fn refuse_head(&self, status: u16, date: &str, peer: SocketAddr) -> Vec<u8>;
}

/// A connection whose end is not told while answers are under way.
///
/// What hyper writes when none is, is its own answer to what it cannot read as a request, a head without anything to go
/// by. Ours takes its place.
pub(crate) struct Patient<S> {
    io: S,
    place: Arc<Place>,
    /// Who says what is answered to what is no request, and from whom that is. None: HTTP/2 answers such with a word of
    /// its own.
    door: Option<(Arc<dyn RefusesHeads>, SocketAddr)>,
    refusing: Option<Refusing>,
    lingering: Lingering,
    reading: Reading,
    /// The number of what had happened last when the end of what the client says was read.
    ended_at: Option<u64>,
}

/// What is looked at in what is read.
enum Reading {
    /// Of HTTP/1.1, what is not a whole request.
    Parts(Parts),
    /// Of HTTP/2, frames that bring nothing.
    Frames(Frames),
}

/// What came while no request was under way, and made none so far: a part of a head, or within a body nothing of it.
#[derive(Default)]
struct Parts {
    len: usize,
    /// Whether that is more than bare line ends.
    has_begun: bool,
    /// The number of what had happened last when it began to come.
    since: u64,
    /// Set once it is looked at with more to come: nearly every head comes at once.
    waited_for: Option<WaitedFor>,
}

struct WaitedFor {
    counted: Partial,
    timeout: Pin<Box<Sleep>>,
}

/// So many bytes of bare line ends may come after a request without that a next one is said to begin with them: there are
/// clients that end a body so.
///
/// # Source
///
/// RFC 9112 section 2.2.
const LINE_ENDS_LEN_MAX: usize = 4;
/// How long a head may take to come, from its first bytes on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read at once of HTTP/1.1, as much as a silent connection's buffer takes anyhow. What came with the end of a
/// request, and is not looked at before more comes, is no longer than that.
const READ_LEN_MAX: usize = 8_192;
/// The longest part of a request that may be there without being a whole head or anything of a body. The library refuses what
/// is longer as a head; such as the zeros before the size of a chunk it would read for ever.
const PART_LEN_MAX: usize = HEAD_LEN_MAX + 2 * READ_LEN_MAX;

impl Parts {
    /// Looks at what came so far, before more is read. An error: it goes on for too long.
    fn look(&mut self, context: &mut Context<'_>, place: &Arc<Place>, from: SocketAddr) -> io::Result<()> {
        if self.len == 0 {
            return Ok(());
        }
        if !place.is_silent() || place.last_moment() != self.since {
            *self = Self::default();
            return Ok(());
        }
        if !self.has_begun {
            return Ok(());
        }
        let len = self.len;
        // Of a proxy nobody knows yet whose it is.
        let caller = || (!place.is_of_many()).then(|| place.places.unread.key(Reader::Anybody, from.ip()));
        let waited_for = self.waited_for.get_or_insert_with(|| WaitedFor {
            counted: Partial::new(place.clone(), caller()),
            timeout: Box::pin(tokio::time::sleep(HEAD_TIMEOUT)),
        });
        waited_for.counted.grow_to(len);
        if len > PART_LEN_MAX || waited_for.timeout.as_mut().poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client goes on with what is no request"));
        }
        Ok(())
    }

    fn came(&mut self, bytes: &[u8], place: &Place) {
        if !bytes.is_empty() && place.is_silent() {
            if self.len == 0 {
                self.since = place.last_moment();
            }
            self.len += bytes.len();
            self.has_begun |= self.len > LINE_ENDS_LEN_MAX || bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
        }
    }
}

/// The answer to what is no request.
struct Refusing {
    answer: Bytes,
}

impl<S> Patient<S> {
    pub(crate) fn new(io: S, place: Arc<Place>) -> Self {
        let (reading, lingering) = (Reading::Frames(Frames::new()), Lingering::default());
        Self { io, place, door: None, refusing: None, lingering, reading, ended_at: None }
    }

    /// The same, with the answers of `door` to what `peer` sends that is no request.
    pub(crate) fn refusing_by(self, door: Arc<dyn RefusesHeads>, peer: SocketAddr) -> Self {
        Self { door: Some((door, peer)), reading: Reading::Parts(Parts::default()), ..self }
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
            self.refusing = Some(Refusing { answer });
        }
        self.refusing.is_some()
    }
}

/// All that a head bears that hyper makes alone. Every one of ours bears more.
const BARE: [&str; 3] = ["connection", "content-length", "date"];

/// The status of a head that hyper made alone, and its date.
fn bare_refusal(head: &[u8]) -> Option<(u16, &str)> {
    let head = std::str::from_utf8(head).ok()?.strip_prefix("HTTP/1.")?;
    let status = head.get(2..5)?.parse().ok().filter(|status| matches!(status, 400 | 414 | 431))?;
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    let date = lines.clone().find(|(name, _)| name.eq_ignore_ascii_case("date")).map_or("", |(_, date)| date);
    lines.all(|(name, _)| BARE.iter().any(|bare| name.eq_ignore_ascii_case(bare))).then_some((status, date))
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

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Whether the end of what the client says, which was read, is kept from who reads.
    fn keeps_end(&mut self, context: &Context<'_>) -> bool {
        // Each request that has begun since may have another behind it, and be over by now.
        let now = self.place.last_moment();
        let is_news = self.ended_at.replace(now) != Some(now);
        if is_news && matches!(self.reading, Reading::Frames(_)) {
            context.waker().wake_by_ref();
            return true;
        }
        self.place.hang_up(context)
    }

    /// Reads, and looks at what is read.
    fn poll_read_some(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, place, door, reading, .. } = self;
        match (reading, door) {
            (Reading::Parts(parts), Some((_, peer))) => {
                parts.look(context, place, *peer)?;
                let before = buffer.filled().len();
                // As a rule there is no more room than that, and nothing to be initialised.
                let read = if buffer.remaining() <= READ_LEN_MAX {
                    Pin::new(io).poll_read(context, buffer)
                } else {
                    let mut some = ReadBuf::new(buffer.initialize_unfilled_to(READ_LEN_MAX));
                    let read = Pin::new(io).poll_read(context, &mut some);
                    let len = some.filled().len();
                    buffer.advance(len);
                    read
                };
                parts.came(&buffer.filled()[before..], place);
                read
            }
            (Reading::Frames(frames), _) => {
                let before = buffer.filled().len();
                ready!(Pin::new(io).poll_read(context, buffer))?;
                if frames.look(&buffer.filled()[before..], place.took()) {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(io::Error::other("the client goes on with frames that bring nothing")))
            }
            (Reading::Parts(_), None) => Pin::new(io).poll_read(context, buffer),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.poll_read_some(context, buffer);
        let ended = match &read {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.remaining() > 0,
            // What TLS calls it when the other side did not say goodbye.
            Poll::Ready(Err(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
        };
        if ended && self.keeps_end(context) { Poll::Pending } else { read }
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
        let Self { io, place, refusing, lingering, reading, .. } = &mut *self;
        match reading {
            Reading::Parts(_) => lingering.poll_close(io, context, refusing.is_some() || place.left_body()),
            Reading::Frames(_) => Pin::new(io).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::exchange::Exchange;
    use super::super::places::Places;
    use super::super::under_way::UnderWay;
    use super::super::{Share, Shares, UnreadLimits};
    use super::*;
    use crate::metrics::Metrics;

    const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5);

    async fn place() -> (Arc<Places>, Arc<Place>) {
        place_of(Share::unbounded()).await
    }

    async fn place_of(share: Share) -> (Arc<Places>, Arc<Place>) {
        let limits = UnreadLimits { all: 1 << 20, caller: 1 << 20, connection: 1 << 20 };
        let places = Places::new(2, limits, Arc::new(Metrics::default()));
        let place = places.take(share).await;
        (places, place)
    }

    /// Looks, and reads so much. False: it has gone on for too long.
    fn read(parts: &mut Parts, place: &Arc<Place>, len: usize) -> bool {
        read_bytes(parts, place, &vec![b'x'; len])
    }

    fn read_bytes(parts: &mut Parts, place: &Arc<Place>, bytes: &[u8]) -> bool {
        let is_fine = parts.look(&mut Context::from_waker(Waker::noop()), place, PEER).is_ok();
        parts.came(bytes, place);
        is_fine
    }

    #[tokio::test(start_paused = true)]
    async fn a_bare_line_end_after_a_body_is_no_beginning_and_many_are() {
        let (places, place) = place().await;
        let mut parts = Parts::default();
        for _ in 0..3 {
            drop(UnderWay::begin(&place));
            assert!(read_bytes(&mut parts, &place, b"\r\n") && read(&mut parts, &place, 0));
            tokio::time::advance(HEAD_TIMEOUT * 3).await;
            assert!(read(&mut parts, &place, 100), "it had the time that it likes");
            assert!(read(&mut parts, &place, 0));
            assert_eq!(places.unread.all(), 102);
        }
        drop(UnderWay::begin(&place));
        for _ in 0..3 {
            assert!(read_bytes(&mut parts, &place, b"\r\n"));
        }
        assert!(read(&mut parts, &place, 0));
        assert_eq!(places.unread.all(), 6);
        tokio::time::advance(HEAD_TIMEOUT * 2).await;
        assert!(!read(&mut parts, &place, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn every_head_that_has_begun_comes_soon_and_is_counted_until_it_is_there() {
        let (places, place) = place().await;
        let mut parts = Parts::default();
        for round in 0..3 {
            // Nothing of a next one is there, for however long.
            assert!(read(&mut parts, &place, 0));
            tokio::time::advance(HEAD_TIMEOUT * 3).await;
            for _ in 0..3 {
                assert!(read(&mut parts, &place, 8_000), "{round}");
                tokio::time::advance(HEAD_TIMEOUT / 4).await;
            }
            assert!(read(&mut parts, &place, 0), "{round}");
            assert_eq!((places.unread.all(), place.unread()), (24_000, 24_000));
            drop(UnderWay::begin(&place));
            assert!(read(&mut parts, &place, 0));
            assert_eq!((places.unread.all(), place.unread()), (0, 0), "it was a request");
        }
        for _ in 0..9 {
            assert!(read(&mut parts, &place, 1));
            tokio::time::advance(HEAD_TIMEOUT / 8).await;
        }
        assert!(!read(&mut parts, &place, 1), "a byte now and then is no head");
        drop(parts);
        assert_eq!(places.unread.all(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_counts_for_its_address_unless_that_is_a_proxys() {
        let proxies = vec![PEER.ip().into()];
        for (shares, of_address) in [(Shares::new(2, proxies), 0), (Shares::new(2, Vec::new()), 8_000)] {
            let (places, place) = place_of(shares.take(PEER.ip()).unwrap()).await;
            let mut parts = Parts::default();
            assert!(read(&mut parts, &place, 8_000) && read(&mut parts, &place, 0));
            let address = places.unread.key(Reader::Anybody, PEER.ip());
            assert_eq!((places.unread.all(), place.unread(), places.unread.of(address)), (8_000, 8_000, of_address));
            drop(parts);
            assert_eq!((places.unread.all(), place.unread(), places.unread.of(address)), (0, 0, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_brings_nothing_of_a_body_comes_to_an_end() {
        let (places, place) = place().await;
        let mut parts = Parts::default();
        let under_way = UnderWay::begin(&place).unwrap();
        // A part of the body with each of these.
        for _ in 0..1_000 {
            place.awaits_body(true);
            assert!(read(&mut parts, &place, 8_000));
            assert!(place.got_body());
        }
        place.awaits_body(true);
        // The digits of a size.
        let read_until_ended = (0..1_000).find(|_| !read(&mut parts, &place, 8_000)).unwrap() * 8_000;
        assert!((HEAD_LEN_MAX..2 * HEAD_LEN_MAX).contains(&read_until_ended), "{read_until_ended}");
        assert!(place.got_body());
        drop((parts, under_way));
        assert_eq!(places.unread.all(), 0);
    }

    #[tokio::test]
    async fn the_end_of_http2_is_kept_back_while_requests_before_it_begin() {
        let (_, place) = place().await;
        let mut patient = Patient::new(tokio::io::empty(), place.clone());
        let mut is_kept = || {
            let (mut space, context) = ([0; 8], &mut Context::from_waker(Waker::noop()));
            Pin::new(&mut patient).poll_read(context, &mut ReadBuf::new(&mut space)).is_pending()
        };
        assert!(is_kept(), "none has begun yet");
        for _ in 0..3 {
            // It is over before it is read again; another one may be behind it.
            drop(Exchange::on_stream(UnderWay::begin(&place).unwrap(), 0));
            assert!(is_kept());
        }
        assert!(!is_kept());
    }
}
