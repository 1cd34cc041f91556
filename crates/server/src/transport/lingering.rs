//! The end of a connection whose client may still be saying something.
//!
//! A connection that is closed over bytes that nobody has read is reset, and with it goes the answer that was written before: a
//! proxy tells its client 502 instead. hyper reads what is there of a body that was not wanted, once, and then closes. So first
//! only our side is closed, which tells the client that the answer is whole, and what it still says is read and thrown away.
//!
//! Nothing is held meanwhile but the connection's place, among all and among those of its address. No request is under way on
//! it, so it is among the first to go when others need the room. A server that ends waits for it as for any connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long is read in all.
const LINGER_MAX: Duration = Duration::from_secs(10);
/// How long is waited for something to come.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How much is read: more than is on its way when the client hears of the answer.
const DISCARDED_LEN_MAX: usize = 16 << 20;
/// So much is read at once.
const READ_LEN: usize = 16_384;

/// Closes a connection once what its client says is read, as far as that goes.
#[derive(Default)]
pub(super) struct Lingering {
    /// Since when our side is closed.
    since: Option<Instant>,
    discarded: usize,
    /// Set while something is waited for.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    /// Closes `io`. What is there is read in any case; `more_comes`: what is not there yet is waited for.
    pub(super) fn poll_close(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        context: &mut Context<'_>,
        more_comes: bool,
    ) -> Poll<io::Result<()>> {
        if self.since.is_none() {
            ready!(Pin::new(&mut *io).poll_shutdown(context))?;
        }
        let end = *self.since.get_or_insert_with(Instant::now) + LINGER_MAX;
        let mut space = [0; READ_LEN];
        while self.discarded < DISCARDED_LEN_MAX && Instant::now() < end {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut *io).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.discarded += buffer.filled().len();
                    self.pause = None;
                }
                Poll::Ready(_) => break,
                // Who says something where nothing was asked for is not done with it.
                Poll::Pending if !more_comes && self.discarded == 0 => break,
                Poll::Pending => {
                    let until = || Box::pin(tokio::time::sleep_until(end.min(Instant::now() + PAUSE_MAX)));
                    ready!(self.pause.get_or_insert_with(until).as_mut().poll(context));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// How long it takes to close, beside a client that does this, and how much was read.
    async fn closed_beside<F>(more_comes: bool, client: impl FnOnce(DuplexStream) -> F) -> (Duration, usize)
    where
        F: Future<Output = ()>,
    {
        let (mut server, other) = tokio::io::duplex(1 << 20);
        let (mut lingering, start) = (Lingering::default(), Instant::now());
        let closing = async {
            poll_fn(|context| lingering.poll_close(&mut server, context, more_comes)).await.unwrap();
            start.elapsed()
        };
        tokio::pin! { let client = client(other); }
        let took = tokio::select! {
            biased;
            took = closing => took,
            () = async { client.await; std::future::pending().await } => unreachable!(),
        };
        (took, lingering.discarded)
    }

    #[tokio::test(start_paused = true)]
    async fn what_still_comes_is_read_until_the_client_is_done() {
        let (took, read) = closed_beside(true, |mut client| async move {
            for _ in 0..3 {
                tokio::time::sleep(PAUSE_MAX / 2).await;
                client.write_all(&vec![0; 300_000]).await.unwrap();
            }
            let (mut said, mut client) = (Vec::new(), client);
            client.read_to_end(&mut said).await.unwrap();
        })
        .await;
        assert_eq!((took, read), (PAUSE_MAX * 3 / 2, 900_000));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_read_for_ever() {
        let silent = closed_beside(true, |client| async move {
            std::future::pending::<()>().await;
            drop(client);
        });
        assert_eq!(silent.await, (PAUSE_MAX, 0));
        let slow = closed_beside(true, |mut client| async move {
            loop {
                client.write_all(&[0]).await.unwrap();
                tokio::time::sleep(PAUSE_MAX / 4).await;
            }
        });
        let (took, read) = slow.await;
        assert_eq!(took, LINGER_MAX);
        assert!((19..=21).contains(&read), "{read}");
        let fast =
            closed_beside(true, |mut client| async move { while client.write_all(&vec![0; 65_536]).await.is_ok() {} });
        let (took, read) = fast.await;
        assert!(
            took < PAUSE_MAX && (DISCARDED_LEN_MAX..DISCARDED_LEN_MAX + READ_LEN).contains(&read),
            "{took:?} {read}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_client_that_is_asked_for_nothing_only_what_is_there_is_read() {
        let silent = closed_beside(false, |client| async move {
            std::future::pending::<()>().await;
            drop(client);
        });
        assert_eq!(silent.await, (Duration::ZERO, 0));
        let (mut server, mut client) = tokio::io::duplex(1 << 20);
        client.write_all(&vec![0; 100_000]).await.unwrap();
        drop(client);
        let mut lingering = Lingering::default();
        poll_fn(|context| lingering.poll_close(&mut server, context, false)).await.unwrap();
        assert_eq!(lingering.discarded, 100_000);
    }
}
