//! How connections are accepted and served.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use respoke_core::code::Code;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::door::Door;
use crate::transport::{
    AnswerBody, Encrypted, Exchange, HEAD_LEN_MAX, Heard, Impatient, Patient, Place, Places, Plain, Shares, UnderWay,
    WRITE_TIMEOUT, serve_http2,
};
use crate::watch::Watch;

/// How long a kept-alive connection may stay silent. A head that has begun to come has less time (`transport/http1.rs`).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a connection may take to its first request's head, a TLS handshake included.
const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What TLS holds of what is written to it while the client reads nothing: as much as sockets write at once.
const TLS_BUFFER_LEN: usize = 32_768;

/// What accepting connections needs besides the server.
pub(super) struct Accepting<'a> {
    pub(super) listener: &'a TcpListener,
    pub(super) places: &'a Arc<Places>,
    pub(super) watch: &'a Watch,
    pub(super) door: &'a Arc<Door>,
    pub(super) shares: Shares,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) tasks: &'a TaskTracker,
    /// Asks connections to end.
    pub(super) soft: &'a CancellationToken,
    /// Ends them.
    pub(super) hard: &'a CancellationToken,
}

impl Accepting<'_> {
    /// Accepts connections until that comes.
    pub(super) async fn until<T>(&self, until: impl Future<Output = T>) -> T {
        let mut until = pin!(until);
        loop {
            let accepted = tokio::select! {
                biased;
                came = &mut until => return came,
                accepted = accept_placed(self.listener, self.places, &self.shares, self.watch) => accepted,
            };
            let (stream, peer, place) = accepted;
            let (door, acceptor) = (self.door.clone(), self.acceptor.clone());
            let connection = TcpConnection { door, acceptor, peer, place: place.clone() };
            let (soft, hard) = (self.soft.clone(), self.hard.clone());
            let served = self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = hard.cancelled() => {}
                    () = connection.serve(stream, soft) => {}
                }
            });
            place.served_by(served.abort_handle());
        }
    }
}

/// The next connection, with its place.
async fn accept_placed(
    listener: &TcpListener,
    places: &Arc<Places>,
    shares: &Shares,
    watch: &Watch,
) -> (TcpStream, SocketAddr, Arc<Place>) {
    loop {
        let (stream, peer) = accept(listener).await;
        // First of all its address's share: whoever has used that up must not make anybody else go.
        let Some(share) = shares.take(peer.ip()) else {
            watch.refused(None, Code::ConnectionLimit);
            tracing::debug!("an address has connections_per_address_max connections; one more is closed");
            continue;
        };
        return (stream, peer, places.take(share).await);
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Out of file descriptors, most likely. Others will finish and free some.
                tracing::error!(error = &error as &dyn std::error::Error, "a connection could not be accepted");
                let backoff = Duration::from_millis(100);
                tokio::time::sleep(backoff).await;
            }
        }
    }
}

struct TcpConnection {
    door: Arc<Door>,
    acceptor: Option<TlsAcceptor>,
    peer: SocketAddr,
    place: Arc<Place>,
}

impl TcpConnection {
    async fn serve(self, stream: TcpStream, soft: CancellationToken) {
        let _ = stream.set_nodelay(true);
        let (stream, start) = (Impatient::new(stream, WRITE_TIMEOUT).paced(), Instant::now());
        let place = self.place.clone();
        let serving = async {
            match self.acceptor.clone() {
                None => self.serve_http1(stream, soft).await,
                Some(acceptor) => self.serve_tls(acceptor, stream, soft).await,
            }
        };
        let served = tokio::select! {
            biased;
            served = serving => served,
            () = place.never_asked(start, FIRST_HEAD_TIMEOUT) => Err("nothing was asked".into()),
        };
        if let Err(error) = served {
            // Clients that vanish are no news.
            tracing::debug!(error = %error, "a connection ended early");
        }
    }

    async fn serve_http1(
        self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        soft: CancellationToken,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
            let (door, peer, under_way) = (self.door.clone(), self.peer, UnderWay::begin(&self.place));
            async move {
                let Some(under_way) = under_way else { return std::future::pending().await };
                let address = door.address_of(peer, request.headers());
                let request = request.map(|body| Heard::on_http1(body, under_way.place().clone(), address));
                let (mut response, asker) = door.serve(request, peer, address, under_way.place()).await;
                if under_way.place().left_body() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    // Else a client could ask on, on a connection that is about to be closed.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(AnswerBody::on_http1(response, under_way, || asker.key()))
            }
        });
        let io = Patient::new(io, self.place.clone()).refusing_by(self.door.clone(), self.peer);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(SILENCE_TIMEOUT)
            .max_buf_size(HEAD_LEN_MAX)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return served.map_err(Into::into),
            () = soft.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await.map_err(Into::into)
    }

    async fn serve_tls(
        self,
        acceptor: TlsAcceptor,
        stream: Plain,
        soft: CancellationToken,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let bounded = |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(TLS_BUFFER_LEN));
        let stream: Encrypted = acceptor.accept_with(stream, bounded).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return self.serve_http1(stream, soft).await;
        }
        let answer = |request: http::Request<hyper::body::Incoming>, exchange: Arc<Exchange>| {
            let (door, peer, place) = (self.door.clone(), self.peer, self.place.clone());
            async move {
                let address = door.address_of(peer, request.headers());
                let request = request.map(|body| Heard::on_http2(body, exchange, address));
                let (response, asker) = door.serve(request, peer, address, &place).await;
                (response, asker.key())
            }
        };
        serve_http2(Patient::new(stream, self.place.clone()), &self.place, answer, soft).await
    }
}
