//! A writer that does not wait for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::exchange::{PATIENCE, PATIENCE_MAX, earned};

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
}
