//! What keeps connections and memory from being held for nothing.
//!
//! Here are a writer that does not wait for ever and a share of connections for each address; beside it the places of open
//! connections (`places.rs`), what of their answers is not read (`unread.rs`) and which of them go to make room (`room.rs`),
//! how an answer is taken (`exchange.rs`, `body.rs`) and a request's body comes (`coming.rs`, `partial.rs`), and what HTTP is
//! spoken over (`http1.rs`, `http2.rs`, `frames.rs`).

mod body;
mod coming;
mod exchange;
mod frames;
mod http1;
mod http2;
mod kept;
mod partial;
mod places;
mod room;
mod unread;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

pub(crate) use body::{AnswerBody, Beside};
pub(crate) use coming::{Heard, RequestBody};
pub(crate) use exchange::Exchange;
use exchange::{PATIENCE, PATIENCE_MAX, earned};
pub(crate) use http1::{HEAD_LEN_MAX, Patient, RefusesHeads};
pub(crate) use http2::{head_len, serve_http2};
pub(crate) use kept::KeptBytes;
pub(crate) use places::{Place, Places, UnderWay};
pub(crate) use unread::{CallerKey, Reader, SMALL_LEN, Unread, UnreadLimits};

use crate::limits::network;

/// How a connection is served without TLS, and with it.
pub(crate) type Plain = Impatient<TcpStream>;
pub(crate) type Encrypted = TlsStream<Plain>;

/// How long a client may take nothing of what is written to it, unless it is a socket.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection whose writes fail once the other side has taken nothing for a while; one that has a pace to keep, also once
/// it has taken less than that for long.
#[derive(Debug)]
pub(crate) struct Impatient<S> {
    io: S,
    timeout: Duration,
    /// How long writes may yet wait in all. None: it has no pace to keep.
    patience: Option<Duration>,
    /// Set while a write waits.
    waiting: Option<Waiting>,
}

/// A write that waits.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Impatient<S> {
    pub(crate) fn new(io: S, timeout: Duration) -> Self {
        Self { io, timeout, patience: None, waiting: None }
    }

    /// The same, with a pace to keep.
    pub(crate) fn paced(self) -> Self {
        Self { patience: Some(PATIENCE), ..self }
    }

    /// The connection itself, for who halves it.
    pub(crate) fn into_inner(self) -> S {
        self.io
    }

    /// Sets how long a write may make no progress. It has no pace to keep any more.
    pub(crate) fn wait_at_most(&mut self, timeout: Duration) {
        (self.timeout, self.patience) = (timeout, None);
    }

    fn judge(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            let waited = self.waiting.take().map_or(Duration::ZERO, |waiting| waiting.since.elapsed());
            if let (Some(patience), Ok(bytes)) = (&mut self.patience, &written) {
                *patience = (patience.saturating_sub(waited) + earned(*bytes)).min(PATIENCE_MAX);
            }
            return Poll::Ready(written);
        }
        let timeout = self.patience.map_or(self.timeout, |patience| patience.min(self.timeout));
        let begin = || Waiting { since: Instant::now(), deadline: Box::pin(tokio::time::sleep(timeout)) };
        let waiting = self.waiting.get_or_insert_with(begin);
        ready!(waiting.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing, or hardly anything")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Open connections by address.
type Counts = HashMap<IpAddr, usize>;

/// How many connections each address has, so that one cannot take the places of all.
#[derive(Debug)]
pub(crate) struct Shares {
    open: Arc<Mutex<Counts>>,
    each_max: usize,
    /// Many clients come through one of these.
    trusted_proxies: Vec<IpNet>,
}

impl Shares {
    pub(crate) fn new(each_max: usize, trusted_proxies: Vec<IpNet>) -> Self {
        Self { open: Arc::default(), each_max, trusted_proxies }
    }

    /// A place among those of `address`, if one is free.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Share> {
        // Of a proxy the whole address counts: those of its network may be anybody's.
        let exact = address.to_canonical();
        if self.trusted_proxies.iter().any(|proxies| proxies.contains(&exact)) {
            return Some(Share(None));
        }
        let address = network(address);
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Share(Some((self.open.clone(), address))))
    }
}

/// A place among those of an address, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Share(Option<(Arc<Mutex<Counts>>, IpAddr)>);

impl Share {
    /// Of which address. None: of one that is not counted, behind which there are many.
    fn address(&self) -> Option<IpAddr> {
        self.0.as_ref().map(|(_, address)| *address)
    }

    /// One that counts nowhere.
    #[cfg(test)]
    pub(crate) fn unbounded() -> Self {
        Self(None)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((open, address)) = &self.0 else { return };
        let mut open = open.lock();
        if let Some(count) = open.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                open.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_as_long_as_something_is_taken() {
        let (server, mut client) = tokio::io::duplex(16);
        let mut server = Impatient::new(server, WRITE_TIMEOUT);
        let started = Instant::now();
        let writing = async { server.write_all(&[0; 64]).await };
        let reading = async {
            let mut bytes = [0; 16];
            for _ in 0..2 {
                tokio::time::sleep(WRITE_TIMEOUT / 2).await;
                client.read_exact(&mut bytes).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let written = tokio::select! { written = writing => written, () = reading => unreachable!() };
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), (WRITE_TIMEOUT * 2).as_secs());
    }

    /// How long it is written to one who takes so many bytes in so much time, a while at most.
    async fn written_for(
        mut server: Impatient<tokio::io::DuplexStream>,
        mut client: tokio::io::DuplexStream,
        bytes: usize,
        pause: Duration,
    ) -> Duration {
        const A_WHILE: Duration = Duration::from_secs(3_600);
        let started = Instant::now();
        let writing = async { while server.write_all(&[0; 4_096]).await.is_ok() {} };
        let reading = async {
            let mut taken = vec![0; bytes];
            while client.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! { () = writing => {}, () = reading => {}, () = tokio::time::sleep(A_WHILE) => {} }
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_byte_now_and_then_is_not_waited_for_for_ever() {
        let hours = Duration::from_secs(3_600);
        for (bytes, pause, is_paced, expected) in [
            (1, 20, true, PATIENCE..=PATIENCE_MAX),
            (4_000, 20, true, PATIENCE..=PATIENCE_MAX * 4),
            (6_000, 20, true, hours..=hours),
            (1, 20, false, hours..=hours),
        ] {
            let (server, client) = tokio::io::duplex(4_096);
            let server = Impatient::new(server, WRITE_TIMEOUT);
            let server = if is_paced { server.paced() } else { server };
            let lasted = written_for(server, client, bytes, Duration::from_secs(pause)).await;
            assert!(expected.contains(&lasted), "{bytes} bytes: {lasted:?}");
        }
    }

    #[test]
    fn an_address_has_its_share() {
        let proxies = ["10.0.0.0/8", "2001:db8:1::5/128"].map(|network| network.parse().unwrap());
        let shares = Shares::new(2, proxies.to_vec());
        let take = |address: &str| shares.take(address.parse().unwrap());
        let (one, two) = (take("192.0.2.1"), take("192.0.2.1"));
        assert!(one.is_some() && two.is_some());
        assert!(take("192.0.2.1").is_none() && take("::ffff:192.0.2.1").is_none());
        assert!(take("192.0.2.2").is_some());
        drop(one);
        let again = take("192.0.2.1");
        assert!(again.is_some() && take("192.0.2.1").is_none());
        for proxy in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1::5"] {
            let proxied: Vec<_> = (0..9).map(|_| take(proxy)).collect();
            assert!(proxied.iter().all(Option::is_some), "{proxy}");
        }
        let neighbours = [6, 7, 8].map(|last| take(&format!("2001:db8:1::{last}")));
        assert!(neighbours[2].is_none(), "who shares a proxy's network shares no trust");
        drop((two, again, neighbours));
        assert!(shares.open.lock().is_empty());
    }
}
