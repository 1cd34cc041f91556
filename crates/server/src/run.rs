//! Builds the rooms, listens, and takes everything down again in order.
//!
//! Stopping has two steps: first nothing new is accepted and running requests may finish; after `drain_secs` what is
//! left is dropped. Either way the store is closed last, with everything that was answered on disk.

mod accepting;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use respoke_core::app::Rate;
use respoke_core::chance::Chance;
use respoke_core::clock::Clock;
use respoke_core::ops::{Broker, FirstRun, FirstRunDraft};
use respoke_core::ports::{Bookkeeper, Concerned, Receiver};
use respoke_hub::Hub;
use respoke_store::EndedLately;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::accepting::Accepting;
use crate::answering::Answering;
use crate::books;
use crate::cluster::{Among, Way};
use crate::config::{Config, PublicUrl, local_url};
use crate::data_folder::Lock;
use crate::database::{Database, Taken};
use crate::door::Door;
use crate::first_start::{self, Turn};
use crate::greeting::Links;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::respoke1::Respoke1;
use crate::socket::Sockets;
use crate::state::{Api, load};
use crate::sweep;
use crate::throttle::Throttle;
use crate::tls::Certificate;
use crate::transport::{Places, Shares};
use crate::tunnel::Tunnel;
use crate::watch::Watch;
use crate::websocket::Carriers;
use crate::{enduring, minutes, upkeep};

/// Connections that wait to be accepted; the kernel grants no more than its own limit. One for which there is no room when
/// thousands come back at once tries again only after one, three, seven seconds.
const BACKLOG: u32 = 65_535;
/// How long requests may take to end on a node that was declared dead: their clients are to come to others.
const DEAD_DRAIN: Duration = Duration::from_secs(1);
/// What requests under way have at least to end, once clients were sent away.
const LEFT_FOR_REQUESTS: Duration = Duration::from_millis(500);
/// How long the end of what writes to the database may take, and the closing of the database itself. As a rule it is a
/// fraction of a second; on a disk that stands still, or with a database that does not answer, it would be for ever.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(10);
/// What is said when they took longer.
const UNCLOSED: &str = "the disk or the database does not answer, so that it was not closed: what was not answered may have been \
                        carried out";

/// How a server's serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// The others declared it dead. It may begin another life.
    DeclaredDead,
}

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
    respoke1: Respoke1,
    door: Arc<Door>,
    places: Arc<Places>,
    listener: TcpListener,
    tls: Option<(Arc<ServerConfig>, Certificate)>,
    way: Way,
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
                started.give_up().await;
                return Err(refusal).context("the database could not be begun, and what was shown does not hold");
            }
        }
        if let Some(among) = started.way.among()
            && let Err(error) = among.introduce(&started.broker).await
        {
            started.give_up().await;
            return Err(error);
        }
        Ok(started)
    }

    /// Ends what was begun, with nothing kept.
    pub async fn abandon(self) {
        first_start::give_back(&self.started.broker, self.turn).await;
        self.started.give_up().await;
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
    prepare_life(config, clock, chance, EndedLately::default()).await
}

/// The same for one life of a node of several: what the one before had `ended` is not forgotten.
///
/// # Errors
///
/// As of [`prepare`].
pub async fn prepare_life(
    config: Config,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    ended: EndedLately,
) -> anyhow::Result<Prepared> {
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
    let Taken { store, figures, lock, shared } = Database::of(&config).take(&config, chance.clone(), ended).await?;
    // Not before: opening a database of an earlier release may take minutes, in which nobody is to wait for an answer.
    let listener = socket.listen(BACKLOG).with_context(|| format!("cannot listen on {}", config.listen))?;
    let way = match shared {
        None => Way::Alone(Arc::default()),
        Some(shared) => match Box::pin(shared.join(&config, address, &*clock)).await {
            Ok(among) => Way::Among(among),
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        },
    };
    let bus = way.bus();
    let broker = Broker::new(store, bus.clone(), clock.clone(), chance, config.session_cache_max)
        .keeping_at_most(config.kept_bytes_per_app_max);
    let broker = Arc::new(broker);
    let hub = Arc::new(Hub::new(broker.clone(), bus, config.hub()));
    // Before others hear of this node: what they tell is not to be lost.
    way.attach(&(hub.clone() as Arc<dyn Receiver>));
    broker.attach(&(hub.clone() as Arc<dyn Concerned>));
    if let Some(among) = way.among() {
        let viewed = Arc::downgrade(&hub);
        among.tell_of(move || viewed.upgrade().map(|hub| load(&hub)).unwrap_or_default());
        among.keep(broker.clone());
    }
    let drafted = match lock {
        Some(_) => first_start::draft(&broker, &config).await.map(|draft| (draft, None)),
        None => first_start::draft_in_turn(&broker, &config).await,
    };
    let (first_run, turn) = match drafted {
        Ok(drafted) => drafted,
        Err(error) => {
            way.leave().await;
            broker.store().close().await;
            return Err(error);
        }
    };

    let url = local_url(tls.is_some(), address);

    let metrics = Arc::new(Metrics::default());
    metrics.read_writer(figures);
    show(&metrics, &hub, &way);
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
    let api = Arc::new(
        api.reached_by(config.public_url.clone()).among(way.among().cloned()).called(config.node_name(), address),
    );
    hub.attach_books(&(api.clone() as Arc<dyn Bookkeeper>));
    if let Err(error) = api.take_up_known_addresses().await {
        way.leave().await;
        broker.store().close().await;
        return Err(error.into());
    }
    let shares = Shares::new(config.sockets_per_address_max, config.trusted_proxies.clone());
    let beside = (Arc::new(shares), Carriers::default());
    let answering = Arc::new(Answering::new(api.clone()));
    let tunnel = Arc::new(Tunnel::new(answering.clone(), api.clone()));
    let respoke1 = Respoke1::new((hub.clone(), api.clone(), tunnel.clone()), config.sockets(), beside.clone());
    let sockets = Sockets::new(hub, api.clone(), tunnel, config.sockets(), beside);
    let trusted_proxies = config.trusted_proxies.clone();
    let door =
        Arc::new(Door::new(&api, answering, (sockets.clone(), respoke1.clone()), trusted_proxies, tls.is_some()));
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
        respoke1,
        door,
        places,
        listener,
        tls,
        way,
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

    /// Starts what keeps things in order beside requests, on `tasks` and until `stop`.
    fn keep_house(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let (broker, config, metrics) = (self.broker.clone(), self.config.clone(), self.metrics.clone());
        let ended = stop.clone();
        tasks.spawn(enduring::run("janitor", move || {
            upkeep::keep(broker.clone(), config.clone(), metrics.clone(), ended.clone())
        }));
        let (api, ended) = (self.api.clone(), stop.clone());
        tasks.spawn(enduring::run("sweeper", move || sweep::keep(api.clone(), ended.clone())));
        if self.sockets.hub.is_among_others() {
            let (api, ended) = (self.api.clone(), stop.clone());
            tasks.spawn(enduring::run("books", move || books::keep(api.clone(), ended.clone())));
        }
    }

    /// Ends without having served.
    async fn give_up(&self) {
        self.way.leave().await;
        self.broker.store().close().await;
    }

    /// Serves until `stop`, or until the other nodes declare this one dead, then drains and closes.
    ///
    /// # Errors
    ///
    /// When the database could not be closed in the end. What else can fail is tried by [`prepare`].
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> anyhow::Result<Ended> {
        let hard = CancellationToken::new();
        let soft = hard.child_token();
        let tasks = TaskTracker::new();

        self.keep_house(&tasks, &soft);
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
        self.respoke1.keep(&tasks, &serving);
        let (broker, stopped) = (self.broker.clone(), serving.clone());
        tasks.spawn(enduring::run("follower", move || {
            let (broker, stopped) = (broker.clone(), stopped.clone());
            async move {
                let _ = stopped.run_until_cancelled(broker.keep_following()).await;
            }
        }));
        let mut acceptor = None;
        if let Some((settings, certificate)) = &self.tls {
            acceptor = Some(TlsAcceptor::from(settings.clone()));
            tasks.spawn(certificate.clone().keep_fresh(soft.clone()));
        }

        let among = self.way.among().cloned();
        let accepting = Accepting {
            listener: &self.listener,
            places: &self.places,
            watch: &self.watch,
            door: &self.door,
            shares: Shares::new(self.config.connections_per_address_max, self.config.trusted_proxies.clone()),
            acceptor,
            tasks: &tasks,
            soft: &soft,
            hard: &hard,
        };
        let ends = pin!(ends(among.as_deref()));
        let ended = accepting
            .until(async {
                tokio::select! {
                    biased;
                    () = stop => Ended::Stopped,
                    ended = ends => ended,
                }
            })
            .await;
        let within = Duration::from_secs(self.config.drain_secs);
        let mut drain = match ended {
            Ended::Stopped => within,
            Ended::DeclaredDead => {
                // Before what follows sends them away as a node does that ends.
                self.sockets.lose();
                DEAD_DRAIN
            }
        };
        if let Some(among) = &among {
            among.drain().await;
            if ended == Ended::Stopped && among.has_successors() {
                // A proxy goes on leading requests here until it has noticed; those are still served.
                let since = Instant::now();
                accepting.until(self.sockets.send_away_for(within)).await;
                drain = drain.saturating_sub(since.elapsed()).max(LEFT_FOR_REQUESTS);
            }
        }

        drop(self.listener);
        soft.cancel();
        tasks.close();
        let finished = tokio::time::timeout(drain, tasks.wait());
        let drained = async {
            self.sockets.drain(drain).await;
            serving.cancel();
        };
        let (finished, ()) = tokio::join!(finished, drained);
        if finished.is_err() {
            tracing::warn!("connections that did not finish in time are dropped");
        }
        hard.cancel();
        let closing = async {
            tasks.wait().await;
            self.door.finish().await;
            counted.cancel();
            counting.close();
            counting.wait().await;
            self.way.leave().await;
            self.broker.store().close().await;
        };
        // All of these may wait for the disk.
        let closed = tokio::time::timeout(CLOSING_TIMEOUT, closing).await;
        if closed.is_err() {
            // To drop it would be to wait for the disk once more.
            std::mem::forget(self.broker);
        }
        match closed {
            Ok(()) => Ok(ended),
            // Its next life opens the database anew.
            Err(_) if ended == Ended::DeclaredDead => {
                tracing::error!("{UNCLOSED}");
                Ok(ended)
            }
            Err(late) => Err(late).context(UNCLOSED),
        }
    }
}

/// When serving ends though nobody told this process to stop.
async fn ends(among: Option<&Among>) -> Ended {
    let Some(among) = among else { return std::future::pending().await };
    tokio::select! {
        () = among.died() => Ended::DeclaredDead,
        () = among.is_to_drain() => {
            tracing::info!("an operator wants this node to drain");
            Ended::Stopped
        }
    }
}

/// Has metrics show what the hub holds, and what is known of other nodes.
fn show(metrics: &Metrics, hub: &Arc<Hub>, way: &Way) {
    let viewed = Arc::downgrade(hub);
    metrics.read_hub(move |show| {
        if let Some(hub) = viewed.upgrade() {
            show(hub.view());
        }
    });
    if let Some(among) = way.among() {
        let viewed = Arc::downgrade(among);
        metrics.read_nodes(move || viewed.upgrade().map(|among| among.view()));
    }
}

/// Takes the address.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
