//! Builds the rooms, listens, and takes everything down again in order.
//!
//! Stopping has two steps: first nothing new is accepted and running requests may finish; after `drain_secs` what is
//! left is dropped. Either way the store is closed last, with everything that was answered on disk.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use respoke_core::app::Rate;
use respoke_core::clock::Clock;
use respoke_core::ops::{Broker, FirstRun};
use respoke_store::{Options, SqliteStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::door::Door;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::throttle::Throttle;
use crate::tls::Certificate;
use crate::transport::{Impatient, Share, Shares, serve_http2};
use crate::upkeep;

/// The database's file in the data folder.
pub const DATABASE: &str = "respoked.db";
/// How long a kept-alive connection may stay silent, and a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that listens and does not accept yet.
#[derive(Debug)]
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// The same as a URL.
    pub url: String,
    /// What was made, if this was the first start on an empty database.
    pub first_run: Option<FirstRun>,
    config: Config,
    broker: Arc<Broker>,
    metrics: Arc<Metrics>,
    door: Arc<Door>,
    listener: TcpListener,
    certificate: Option<Certificate>,
    _lock: File,
}

/// Makes or opens the database and starts to listen.
///
/// # Errors
///
/// Says what could not be opened or bound, and why.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Started> {
    let certificate = match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => Some(Certificate::load(cert, key)?),
        _ => None,
    };
    make_data_folder(&config.data)?;
    let lock = lock_data_folder(&config.data)?;
    let database = config.data.join(DATABASE);
    let options = Options { commit_batch_max: config.commit_batch_max, ..Options::default() };
    let store = SqliteStore::open(&database, options)
        .with_context(|| format!("the database {} cannot be opened", database.display()))?;
    let broker = Arc::new(Broker::new(Arc::new(store), clock, config.session_cache_max));
    let password = config.admin_password.clone().map(|hidden| hidden.0);
    let first_run = broker.first_run(config.admin_username.clone(), password).await?;

    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}");

    let metrics = Arc::new(Metrics::default());
    let anonymous = Rate { per_second: config.address_requests_per_second, burst: config.address_requests_burst };
    let door = Arc::new(Door::new(
        broker.clone(),
        metrics.clone(),
        Limits::new(anonymous),
        Throttle::new(config.failed_credentials_free),
        config.trusted_proxies.clone(),
    ));
    Ok(Started { address, url, first_run, config, broker, metrics, door, listener, certificate, _lock: lock })
}

impl Started {
    /// Serves until `stop`, then drains and closes.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let hard = CancellationToken::new();
        let soft = hard.child_token();
        let tasks = TaskTracker::new();
        let graceful = GracefulShutdown::new();

        let kept = upkeep::keep(self.broker.clone(), self.config.clone(), self.metrics.clone(), soft.clone());
        tasks.spawn(kept);
        let mut acceptor = None;
        if let Some(certificate) = self.certificate {
            acceptor = Some(certificate.acceptor()?);
            tasks.spawn(certificate.keep_fresh(soft.clone()));
        }

        let places = Arc::new(Semaphore::new(self.config.connections_max));
        let shares = Shares::new(self.config.connections_per_address_max, self.config.trusted_proxies.clone());
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = accept(&self.listener, &places) => accepted,
            };
            let (stream, peer, place) = accepted;
            let Some(share) = shares.take(peer.ip()) else {
                tracing::debug!("an address has connections_per_address_max connections; one more is closed");
                continue;
            };
            let connection = Connection {
                door: self.door.clone(),
                metrics: self.metrics.clone(),
                acceptor: acceptor.clone(),
                peer,
                stopping: soft.clone(),
                _place: place,
                _share: share,
            };
            let watcher = graceful.watcher();
            let hard = hard.clone();
            tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = hard.cancelled() => {}
                    () = connection.serve(stream, watcher) => {}
                }
            });
        }

        drop(self.listener);
        soft.cancel();
        let drain = Duration::from_secs(self.config.drain_secs);
        if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("connections that did not finish within drain_secs are dropped");
        }
        hard.cancel();
        tasks.close();
        tasks.wait().await;
        self.door.finish().await;
        self.broker.store().close().await;
        Ok(())
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) => {
                // Out of file descriptors, most likely. Others will finish and free some.
                tracing::error!(error = &error as &dyn std::error::Error, "a connection could not be accepted");
                let backoff = Duration::from_millis(100);
                tokio::time::sleep(backoff).await;
            }
        }
    }
}

/// Counts an open connection for as long as it lives, however it ends.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(metrics)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

struct Connection {
    door: Arc<Door>,
    metrics: Arc<Metrics>,
    acceptor: Option<TlsAcceptor>,
    peer: SocketAddr,
    stopping: CancellationToken,
    _place: OwnedSemaphorePermit,
    _share: Share,
}

impl Connection {
    async fn serve(self, stream: TcpStream, watcher: hyper_util::server::graceful::Watcher) {
        let _ = stream.set_nodelay(true);
        let stream = Impatient::new(stream);
        let _counted = Counted::new(self.metrics.clone());
        let served = match self.acceptor.clone() {
            None => self.serve_http1(stream, watcher).await,
            Some(acceptor) => self.serve_tls(acceptor, stream, watcher).await,
        };
        if let Err(error) = served {
            // Clients that vanish are no news.
            tracing::debug!(error = %error, "a connection ended early");
        }
    }

    async fn serve_http1(
        self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        watcher: hyper_util::server::graceful::Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let service = service_fn(|request| {
            let door = self.door.clone();
            let peer = self.peer;
            async move { Ok::<_, std::convert::Infallible>(door.serve(request, peer).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(io), service);
        watcher.watch(connection).await.map_err(Into::into)
    }

    async fn serve_tls(
        self,
        acceptor: TlsAcceptor,
        stream: Impatient<TcpStream>,
        watcher: hyper_util::server::graceful::Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return self.serve_http1(stream, watcher).await;
        }
        let answer = |request| {
            let door = self.door.clone();
            let peer = self.peer;
            async move { door.serve(request, peer).await }
        };
        let served = serve_http2(stream, answer, self.stopping.clone()).await;
        // Stopping waits for it.
        drop(watcher);
        served
    }
}

/// Makes the data folder, readable by its owner alone.
///
/// # Errors
///
/// Names the folder.
pub fn make_data_folder(folder: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("the data folder {} cannot be made", folder.display()))
}

/// Takes the data folder for this process; a second server, or a restore beside a running one, is refused.
///
/// # Errors
///
/// Says that the folder is in use.
pub fn lock_data_folder(folder: &Path) -> anyhow::Result<File> {
    let path: PathBuf = folder.join("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("{} cannot be made", path.display()))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("the data folder {} is in use by another respoked", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} cannot be locked", path.display())),
    }
}
