//! Builds the rooms, listens, and takes everything down again in order.
//!
//! Stopping has two steps: first nothing new is accepted and running requests may finish; after `drain_secs` what is
//! left is dropped. Either way the store is closed last, with everything that was answered on disk.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use respoke_bus::LocalBus;
use respoke_core::app::Rate;
use respoke_core::chance::Chance;
use respoke_core::clock::Clock;
use respoke_core::code::Code;
use respoke_core::ops::{Broker, FirstRun, FirstRunDraft};
use respoke_core::ports::{Concerned, Receiver};
use respoke_hub::Hub;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answering::Answering;
use crate::config::{Config, PublicUrl, local_url};
use crate::data_folder::Lock;
use crate::database::{Database, Taken};
use crate::door::Door;
use crate::first_start::{self, Turn};
use crate::greeting::Links;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::socket::Sockets;
use crate::state::Api;
use crate::sweep;
use crate::throttle::Throttle;
use crate::tls::Certificate;
use crate::transport::{
    AnswerBody, Encrypted, Exchange, HEAD_LEN_MAX, Heard, Impatient, Patient, Place, Places, Plain, Shares, UnderWay,
    WRITE_TIMEOUT, serve_http2,
};
use crate::tunnel::Tunnel;
use crate::watch::Watch;
use crate::{enduring, minutes, upkeep};

/// Connections that wait to be accepted; the kernel grants no more than its own limit. One for which there is no room when
/// thousands come back at once tries again only after one, three, seven seconds.
const BACKLOG: u32 = 65_535;
/// How long a kept-alive connection may stay silent. A head that has begun to come has less time (`transport/http1.rs`).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a connection may take to its first request's head, a TLS handshake included.
const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What TLS holds of what is written to it while the client reads nothing: as much as sockets write at once.
const TLS_BUFFER_LEN: usize = 32_768;

/// How long the end of what writes to the database may take, and the closing of the database itself. As a rule it is a
/// fraction of a second; on a disk that stands still, or with a database that does not answer, it would be for ever.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that listens and does not accept yet.
#[derive(Debug)]
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// The same as a URL, as this machine reaches it.
    pub url: String,
    /// What was made, if this was the first start on an empty database.
    pub first_run: Option<FirstRun>,
    config: Config,
    broker: Arc<Broker>,
    metrics: Arc<Metrics>,
    watch: Arc<Watch>,
    api: Arc<Api>,
    sockets: Arc<Sockets>,
    door: Arc<Door>,
    places: Arc<Places>,
    listener: TcpListener,
    tls: Option<(Arc<ServerConfig>, Certificate)>,
    _lock: Option<Lock>,
}

/// A server that listens and has not kept yet what is to be shown first.
#[derive(Debug)]
pub struct Prepared {
    first_run: Option<FirstRunDraft>,
    turn: Option<Turn>,
    started: Started,
}

impl Prepared {
    /// By which URLs it is reached.
    #[must_use]
    pub fn links(&self) -> Links {
        let Started { url, config, address, .. } = &self.started;
        let public_url = config.public_url.as_ref();
        Links {
            listening: url.clone(),
            public: public_url.map_or(url.as_str(), PublicUrl::as_str).to_owned(),
            others_unknown: public_url.is_none() && address.ip().to_canonical().is_unspecified(),
        }
    }

    /// What is to be shown, if this is the first start on an empty database.
    #[must_use]
    pub fn first_run(&self) -> Option<&FirstRun> {
        self.first_run.as_ref().map(|draft| &draft.shown)
    }

    /// Whether the settings say the password, so that who starts this gets in without being shown anything.
    #[must_use]
    pub fn password_was_set(&self) -> bool {
        self.started.config.admin_password.is_some()
    }

    /// Keeps what was shown. What comes back may be told to serve.
    ///
    /// # Errors
    ///
    /// When it could not be kept: then what was shown does not hold.
    pub async fn keep(self) -> anyhow::Result<Started> {
        let Self { first_run, turn, mut started } = self;
        let kept = match first_run {
            Some(draft) => started.broker.keep_first_run(draft).await.map(Some),
            None => Ok(None),
        };
        first_start::give_back(&started.broker, turn).await;
        match kept {
            Ok(None) => {}
            Ok(Some(first_run)) => {
                // What somebody has read on a screen must not go with a lost log.
                if let Err(error) = started.broker.store().fold().await {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "what the first start made is in the database's log alone for now");
                }
                started.first_run = Some(first_run);
            }
            Err(refusal) => {
                started.broker.store().close().await;
                return Err(refusal).context("the database could not be begun, and what was shown does not hold");
            }
        }
        Ok(started)
    }

    /// Ends what was begun, with nothing kept.
    pub async fn abandon(self) {
        first_start::give_back(&self.started.broker, self.turn).await;
        self.started.broker.store().close().await;
    }
}

/// Makes or opens the database and starts to listen, for whoever shows [`Started::first_run`] without fail.
///
/// # Errors
///
/// Says what could not be opened or bound, and why.
pub async fn start(config: Config, clock: Arc<dyn Clock>, chance: Arc<dyn Chance>) -> anyhow::Result<Started> {
    prepare(config, clock, chance).await?.keep().await
}

/// Makes or opens the database and starts to listen. Whatever can fail has been tried when this returns, but for showing
/// and keeping what the first start makes.
///
/// # Errors
///
/// Says what could not be opened or bound, and why.
pub async fn prepare(config: Config, clock: Arc<dyn Clock>, chance: Arc<dyn Chance>) -> anyhow::Result<Prepared> {
    let tls = match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => {
            let certificate = Certificate::load(cert, key)?;
            Some((certificate.server_config()?, certificate))
        }
        _ => None,
    };
    // Before anything is made: a start that cannot serve leaves nothing behind.
    let socket = bind(config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = socket.local_addr()?;
    let Taken { store, figures, lock } = Database::of(&config).take(&config, chance.clone()).await?;
    // Not before: opening a database of an earlier release may take minutes, in which nobody is to wait for an answer.
    let listener = socket.listen(BACKLOG).with_context(|| format!("cannot listen on {}", config.listen))?;
    let bus = Arc::new(LocalBus::default());
    let broker = Broker::new(store, bus.clone(), clock.clone(), chance, config.session_cache_max)
        .keeping_at_most(config.kept_bytes_per_app_max);
    let broker = Arc::new(broker);
    let drafted = match lock {
        Some(_) => first_start::draft(&broker, &config).await.map(|draft| (draft, None)),
        None => first_start::draft_in_turn(&broker, &config).await,
    };
    let (first_run, turn) = match drafted {
        Ok(drafted) => drafted,
        Err(error) => {
            broker.store().close().await;
            return Err(error);
        }
    };

    let url = local_url(tls.is_some(), address);

    let metrics = Arc::new(Metrics::default());
    metrics.read_writer(figures);
    let hub = Arc::new(Hub::new(broker.clone(), bus.clone(), config.hub()));
    let viewed = Arc::downgrade(&hub);
    metrics.read_hub(move |show| {
        if let Some(hub) = viewed.upgrade() {
            show(hub.view());
        }
    });
    bus.attach(&(hub.clone() as Arc<dyn Receiver>));
    broker.attach(&(hub.clone() as Arc<dyn Concerned>));
    let anonymous = Rate { per_second: config.address_requests_per_second, burst: config.address_requests_burst };
    let watch = Arc::new(Watch::new(metrics.clone(), config.request_log_max, clock.clone()));
    let places = Places::new(config.connections_max, config.unread(), metrics.clone());
    let api = Api::new(
        broker.clone(),
        hub.clone(),
        watch.clone(),
        places.clone(),
        Limits::new(anonymous, clock),
        Throttle::new(config.failed_credentials_free),
        config.relays(),
    );
    let api = Arc::new(api.reached_by(config.public_url.clone()));
    api.take_up_known_addresses().await?;
    let shares = Shares::new(config.sockets_per_address_max, config.trusted_proxies.clone());
    let answering = Arc::new(Answering::new(api.clone()));
    let tunnel = Tunnel::new(answering.clone(), api.clone());
    let sockets = Arc::new(Sockets::new(hub, api.clone(), tunnel, config.sockets(), shares));
    let trusted_proxies = config.trusted_proxies.clone();
    let door = Arc::new(Door::new(&api, answering, sockets.clone(), trusted_proxies, tls.is_some()));
    let started = Started {
        address,
        url,
        first_run: None,
        config,
        broker,
        metrics,
        watch,
        api,
        sockets,
        door,
        places,
        listener,
        tls,
        _lock: lock,
    };
    Ok(Prepared { first_run, turn, started })
}

impl Started {
    /// What the server does, for whoever runs it within a program of their own.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// The certificate it shows, if it speaks TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.tls.as_ref().map(|(_, certificate)| certificate.clone())
    }

    /// Its open sockets, likewise.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.sockets.hub
    }

    /// Serves until `stop`, then drains and closes.
    ///
    /// # Errors
    ///
    /// When the database could not be closed in the end. What else can fail is tried by [`prepare`].
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let hard = CancellationToken::new();
        let soft = hard.child_token();
        let tasks = TaskTracker::new();

        let (broker, config, metrics) = (self.broker.clone(), self.config.clone(), self.metrics.clone());
        let ended = soft.clone();
        tasks.spawn(enduring::run("janitor", move || {
            upkeep::keep(broker.clone(), config.clone(), metrics.clone(), ended.clone())
        }));
        let (api, ended) = (self.api.clone(), soft.clone());
        tasks.spawn(enduring::run("sweeper", move || sweep::keep(api.clone(), ended.clone())));
        let (watch, broker, hub) = (self.watch.clone(), self.broker.clone(), self.sockets.hub.clone());
        // Figures end last, so that what is answered while draining is counted.
        let (counting, counted) = (TaskTracker::new(), CancellationToken::new());
        let ended = counted.clone();
        counting.spawn(enduring::run("figures", move || {
            minutes::keep(watch.clone(), broker.clone(), hub.clone(), ended.clone())
        }));
        // Until the last socket is gone: one that waits for its turn to be sent away is still served.
        let serving = hard.child_token();
        self.sockets.keep(&tasks, &serving);
        let (broker, stopped) = (self.broker.clone(), serving.clone());
        tasks.spawn(enduring::run("follower", move || {
            let (broker, stopped) = (broker.clone(), stopped.clone());
            async move {
                let _ = stopped.run_until_cancelled(broker.keep_following()).await;
            }
        }));
        let mut acceptor = None;
        if let Some((settings, certificate)) = self.tls {
            acceptor = Some(TlsAcceptor::from(settings));
            tasks.spawn(certificate.keep_fresh(soft.clone()));
        }

        let shares = Shares::new(self.config.connections_per_address_max, self.config.trusted_proxies.clone());
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = accept_placed(&self.listener, &self.places, &shares, &self.watch) => accepted,
            };
            let (stream, peer, place) = accepted;
            let connection =
                TcpConnection { door: self.door.clone(), acceptor: acceptor.clone(), peer, place: place.clone() };
            let (soft, hard) = (soft.clone(), hard.clone());
            let served = tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = hard.cancelled() => {}
                    () = connection.serve(stream, soft) => {}
                }
            });
            place.served_by(served.abort_handle());
        }

        drop(self.listener);
        soft.cancel();
        let drain = Duration::from_secs(self.config.drain_secs);
        tasks.close();
        let finished = tokio::time::timeout(drain, tasks.wait());
        let drained = async {
            self.sockets.drain(drain).await;
            serving.cancel();
        };
        let (finished, ()) = tokio::join!(finished, drained);
        if finished.is_err() {
            tracing::warn!("connections that did not finish within drain_secs are dropped");
        }
        hard.cancel();
        let closing = async {
            tasks.wait().await;
            self.door.finish().await;
            counted.cancel();
            counting.close();
            counting.wait().await;
            self.broker.store().close().await;
        };
        // All of these may wait for the disk.
        let closed = tokio::time::timeout(CLOSING_TIMEOUT, closing).await;
        if closed.is_err() {
            // To drop it would be to wait for the disk once more.
            std::mem::forget(self.broker);
        }
        closed.context(
            "the disk or the database does not answer, so that it was not closed: what was not answered may have been carried out",
        )
    }
}

/// Takes the address.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
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
                let (response, asker) = door.serve(request, peer, address, under_way.place()).await;
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
