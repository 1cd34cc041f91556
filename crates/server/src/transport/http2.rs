//! HTTP/2: its streams end one by one when their answers are not taken, and a connection when nothing goes on in it.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::{HeaderMap, Request, Uri};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::AnswerBody;
use super::exchange::{Exchange, Verdict, judge};
use super::places::Place;
use super::under_way::UnderWay;
use super::unread::CallerKey;
use super::windows::{CONNECTION_WINDOW, STREAM_WINDOW};

/// How long an HTTP/2 connection lives without a request being under way on it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long such a connection then gets to take what it has not read yet.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(30);
/// After how long a silence a client that waits for an answer is asked whether it is still there, and how long that may
/// take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests under way at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// The longest head that is read, as HTTP/2 counts it: more than we take, so that ours is the answer to what is a little
/// too long. What is longer yet the library refuses without a body.
const HEAD_LEN_MAX: u32 = 128 * 1024;

/// Serves HTTP/2 until the client leaves, `stopping` is cancelled, nothing is asked any more, or nothing of the answers
/// is taken.
pub(crate) async fn serve_http2<A>(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    place: &Arc<Place>,
    answer: impl Fn(Request<Incoming>, Arc<Exchange>) -> A,
    stopping: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    A: Future<Output = (Response, CallerKey)> + Send + 'static,
{
    let streams = Streams::default();
    let service = service_fn(|request: Request<Incoming>| {
        let head_len = head_len(request.uri(), request.headers());
        let exchange = UnderWay::begin(place).map(|under_way| Exchange::on_stream(under_way, head_len));
        // The stream's task is made with what this returns, and takes it from there.
        streams.begun.lock().clone_from(&exchange);
        let begun = exchange.map(|exchange| (answer(request, exchange.clone()), exchange));
        async move {
            let Some((answering, exchange)) = begun else { return std::future::pending().await };
            // In a box of its own, which is gone while the answer is taken.
            let (response, caller) = Box::pin(answering).await;
            Ok::<_, Infallible>(AnswerBody::on_http2(response, exchange, caller))
        }
    });
    let start = Instant::now();
    let connection = hyper::server::conn::http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_LEN_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_TIMEOUT)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let over = watch(place, start);
            return tokio::select! {
                biased;
                served = connection => served.map_err(Into::into),
                () = over => Ok(()),
            };
        }
        served = connection.as_mut() => return served.map_err(Into::into),
        () = watch(place, start) => connection.as_mut().graceful_shutdown(),
    }
    tokio::time::timeout(GOODBYE_TIMEOUT, connection).await?.map_err(Into::into)
}

/// How long a head is, as HTTP/2 counts it, about.
///
/// # Source
///
/// RFC 9113 section 6.5.2.
pub(crate) fn head_len(uri: &Uri, headers: &HeaderMap) -> usize {
    let path = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let host = uri.authority().map_or(0, |authority| authority.as_str().len());
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>() + path + host
}

/// Ends the streams whose answers stand still, and returns when the connection has to go.
async fn watch(place: &Place, start: Instant) {
    loop {
        match judge(place, start, IDLE_TIMEOUT) {
            Verdict::Later(then) => tokio::time::sleep_until(then).await,
            Verdict::Over => return,
        }
    }
}

/// Runs the tasks of streams, each until its exchange is ended: dropping the task is how a stream is reset.
#[derive(Clone, Default)]
struct Streams {
    /// The exchange of the request that hyper has just handed in, for the task that it makes next.
    begun: Arc<Mutex<Option<Arc<Exchange>>>>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Some(exchange) = self.begun.lock().take() else { return TokioExecutor::new().execute(stream) };
        TokioExecutor::new().execute(async move {
            tokio::select! {
                biased;
                () = exchange.ended() => {}
                () = stream => {}
            }
        });
    }
}

#[cfg(test)]
mod tests;
