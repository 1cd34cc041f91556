//! What keeps connections from being held for nothing: a writer that does not wait for ever, HTTP/2 connections that
//! end when nothing is asked on them, and a share of connections for each address.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::limits::network;

/// How a connection is served without TLS, and with it.
pub(crate) type Plain = Impatient<TcpStream>;
pub(crate) type Encrypted = TlsStream<Plain>;

/// How long a client may take nothing of what is written to it, unless it is a socket.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an HTTP/2 connection lives without a request being asked or answered on it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long such a connection then gets to take what it has not read yet.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(30);
/// After how long a silence a client that waits for an answer is asked whether it is still there, and how long that may
/// take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests under way at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;

/// A connection whose writes fail once the other side has taken nothing for a while.
#[derive(Debug)]
pub(crate) struct Impatient<S> {
    io: S,
    timeout: Duration,
    /// Set while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(crate) fn new(io: S, timeout: Duration) -> Self {
        Self { io, timeout, deadline: None }
    }

    /// The connection itself, for who halves it.
    pub(crate) fn into_inner(self) -> S {
        self.io
    }

    /// Sets how long a write may make no progress.
    pub(crate) fn wait_at_most(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    fn judge(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
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

/// Serves HTTP/2 until the client leaves, `stopping` is cancelled, or nothing is asked any more.
///
/// A client that asks and then does not take the answers comes to its end too: its answers fill the streams it may
/// open, so that it can ask no more.
pub(crate) async fn serve_http2<A>(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answer: impl Fn(Request<Incoming>) -> A,
    stopping: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    A: Future<Output = Response> + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let service = service_fn(|request| {
        let asked = Asked::now(&activity);
        let answering = answer(request);
        async move {
            let response = answering.await;
            drop(asked);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_TIMEOUT)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            return connection.await.map_err(Into::into);
        }
        served = connection.as_mut() => return served.map_err(Into::into),
        () = activity.ended() => connection.as_mut().graceful_shutdown(),
    }
    tokio::time::timeout(GOODBYE_TIMEOUT, connection).await?.map_err(Into::into)
}

/// Requests under way on a connection, and when there was last a change.
#[derive(Debug)]
struct Activity(Mutex<(usize, Instant)>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }
}

impl Activity {
    /// Returns when nothing has been under way for [`IDLE_TIMEOUT`].
    async fn ended(&self) {
        loop {
            let (under_way, since) = *self.0.lock();
            let now = Instant::now();
            match under_way {
                0 if now >= since + IDLE_TIMEOUT => return,
                0 => tokio::time::sleep_until(since + IDLE_TIMEOUT).await,
                _ => tokio::time::sleep_until(now + IDLE_TIMEOUT).await,
            }
        }
    }
}

/// One request under way.
struct Asked(Arc<Activity>);

impl Asked {
    fn now(activity: &Arc<Activity>) -> Self {
        activity.0.lock().0 += 1;
        Self(activity.clone())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut activity = self.0.0.lock();
        *activity = (activity.0 - 1, Instant::now());
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
    use axum::response::IntoResponse;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

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

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// SETTINGS without any; PING; and a request `GET http://a/` on stream 1, of static header table entries.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const REQUEST: &[u8] = &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x84, 0x86, 0x41, 1, b'a'];
    const ASKED: u8 = 6;
    const GOAWAY: u8 = 7;

    /// Where a client writes its requests, and meanwhile the answers to pings.
    type Sender = tokio::sync::Mutex<WriteHalf<DuplexStream>>;

    async fn connection(first: &[&[u8]]) -> (DuplexStream, ReadHalf<DuplexStream>, Sender) {
        let (server, mut client) = tokio::io::duplex(4_096);
        client.write_all(&first.concat()).await.unwrap();
        let (receive, send) = tokio::io::split(client);
        (server, receive, Sender::new(send))
    }

    /// The types of the frames that come until the connection ends, and when that was. Pings are answered.
    async fn frames(mut receive: ReadHalf<DuplexStream>, send: &Sender, started: Instant) -> (Vec<u8>, Duration) {
        let mut types = Vec::new();
        let mut head = [0; 9];
        while receive.read_exact(&mut head).await.is_ok() {
            let [a, b, c, kind, flags, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            receive.read_exact(&mut payload).await.unwrap();
            types.push(kind);
            if (kind, flags) == (ASKED, 0) {
                let answer = [&[0, 0, 8, ASKED, 1, 0, 0, 0, 0], &payload[..]].concat();
                let _ = send.lock().await.write_all(&answer).await;
            }
        }
        (types, started.elapsed())
    }

    async fn serve(io: DuplexStream, stopping: CancellationToken) {
        let slowly = |_| async {
            tokio::time::sleep(IDLE_TIMEOUT * 2).await;
            "answer".into_response()
        };
        let _ = serve_http2(io, slowly, stopping).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_ends_when_nothing_is_asked() {
        let (server, receive, send) = connection(&[PREFACE, SETTINGS]).await;
        let started = Instant::now();
        let asking = async {
            // Pings are no requests.
            while send.lock().await.write_all(PING).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        };
        let ((), (types, ended), ()) =
            tokio::join!(serve(server, CancellationToken::new()), frames(receive, &send, started), asking);
        assert!(types.contains(&GOAWAY), "{types:?}");
        assert!(ended >= IDLE_TIMEOUT && ended <= IDLE_TIMEOUT + GOODBYE_TIMEOUT, "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_lives_while_a_request_does() {
        let (server, receive, send) = connection(&[PREFACE, SETTINGS, REQUEST]).await;
        let started = Instant::now();
        let ((), (types, ended)) =
            tokio::join!(serve(server, CancellationToken::new()), frames(receive, &send, started));
        let (headers, data) = (1, 0);
        assert!(types.contains(&headers) && types.contains(&data) && types.contains(&GOAWAY), "{types:?}");
        assert!(ended >= IDLE_TIMEOUT * 3, "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_ends_when_who_waits_for_an_answer_is_gone() {
        let (server, receive, send) = connection(&[PREFACE, SETTINGS, REQUEST]).await;
        let started = Instant::now();
        // Kept open, and never read or written again.
        serve(server, CancellationToken::new()).await;
        assert!(started.elapsed() <= PING_TIMEOUT * 3, "{:?}", started.elapsed());
        drop((receive, send));
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_that_is_to_stop_answers_what_was_asked() {
        let (server, receive, send) = connection(&[PREFACE, SETTINGS, REQUEST]).await;
        let started = Instant::now();
        let stopping = CancellationToken::new();
        stopping.cancel();
        let ((), (types, _)) = tokio::join!(serve(server, stopping), frames(receive, &send, started));
        assert!(types.contains(&GOAWAY) && types.contains(&0), "{types:?}");
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
