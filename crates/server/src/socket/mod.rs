//! The socket door: Socket.IO 0.9 as existing clients speak it, under `/socket.io/1`.
//!
//! A client shakes hands over HTTP, gets a session id, and opens a transport with it. Its requests then come as events
//! and take the way of every HTTP request (`door.rs`), so neither door decides anything. What is for it waits in its
//! socket's outbox, from which the transport writes.
//!
//! Invariant: a client's requests are answered in the order they came, and none is dropped halfway.
//!
//! # Source
//!
//! Section 3 of docs/protocol.md.

mod client;
mod dispatch;
mod handover;
mod handshake;
mod neighbours;
mod opening;
mod plain;
mod polling;
mod sealing;
mod sid;
mod websocket;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, ORIGIN, RETRY_AFTER, VARY,
};
use http::{HeaderValue, Method, StatusCode};
use respoke_hub::{HandsOver, Hub, Socket};
use respoke_wire::close::Close;
use respoke_wire::frame;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use client::Client;
use client::{Clients, Due, Pace};
use neighbours::Neighbours;
use plain::{plain, text};
use polling::Wrapping;

use crate::config::SocketSettings;
use crate::enduring;
use crate::limits::{Errand, Limited};
use crate::metrics::Route;
use crate::state::Api;
use crate::transport::{RequestBody, Shares};
use crate::tunnel::Tunnel;
use crate::watch::method_name;
use crate::websocket::{Carriers, Knock};

/// Where the door is.
const ROOT: &str = "/socket.io/1";

/// The sockets of this node, as Socket.IO sees them.
pub(crate) struct Sockets {
    pub(crate) hub: Arc<Hub>,
    api: Arc<Api>,
    tunnel: Arc<Tunnel>,
    clients: Clients,
    settings: SocketSettings,
    shares: Arc<Shares>,
    /// None: this node is alone.
    neighbours: Option<Neighbours>,
    carriers: Carriers,
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets").finish_non_exhaustive()
    }
}

/// Whether a path is the socket door's.
pub(crate) fn is_socket_path(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Sockets {
    /// `shares` bound the sockets of each address.
    pub(crate) fn new(
        hub: Arc<Hub>,
        api: Arc<Api>,
        tunnel: Arc<Tunnel>,
        settings: SocketSettings,
        (shares, carriers): (Arc<Shares>, Carriers),
    ) -> Arc<Self> {
        let pace = Pace { heartbeat_interval: settings.heartbeat_interval, patience: settings.heartbeat_timeout };
        let neighbours = api.among.as_ref().map(|among| Neighbours::new(among.node(), among.cluster()));
        let clients = Clients::new(pace);
        let sockets = Arc::new(Self { hub, api, tunnel, clients, settings, shares, neighbours, carriers });
        if sockets.neighbours.is_some() {
            sockets.hub.hands_over_by(&(sockets.clone() as Arc<dyn HandsOver>));
        }
        sockets
    }

    /// Answers a request under [`ROOT`]; says also whose socket it polls, if it does. What names nobody counts for its
    /// address.
    pub(crate) async fn serve<B>(self: &Arc<Self>, knock: Knock<B>) -> (Response, Option<Arc<Socket>>)
    where
        B: RequestBody,
    {
        let origin = knock.request.headers().get(ORIGIN).filter(|origin| !origin.is_empty()).cloned();
        let (route, method) = (route(knock.request.uri().path()), method_name(knock.request.method()));
        let address = knock.address;
        let (mut response, who) = if knock.request.method() == Method::OPTIONS {
            let drawn = self.api.limits.check_errand(Errand::Preflight, address);
            (drawn.map_or_else(|limited| refuse_limited(&limited), |()| preflight()), Visitor::Counted)
        } else {
            self.route(knock).await
        };
        if let Visitor::Nobody = who
            && let Err(limited) = self.api.limits.check_nobody(address)
        {
            response = refuse_limited(&limited);
        }
        let socket = match who {
            Visitor::Client(socket) => Some(socket),
            Visitor::Nobody | Visitor::Counted => None,
        };
        self.api.metrics.counted(Route::Fixed(route), method, response.status().as_u16());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(origin) = origin {
            // Browsers ask with credentials here, and then take no `*`.
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        (response, socket)
    }

    async fn route<B>(self: &Arc<Self>, knock: Knock<B>) -> (Response, Visitor)
    where
        B: RequestBody,
    {
        // Owned, because the request goes on; a transport's name and a session id are short.
        let rest = knock.request.uri().path().get(ROOT.len()..).unwrap_or_default().to_owned();
        let mut parts = rest.trim_end_matches('/').split('/').skip(1);
        let (transport, sid, more) = (parts.next(), parts.next(), parts.next());
        let wants_out = knock
            .request
            .uri()
            .query()
            .is_some_and(|query| form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "disconnect"));
        let wrapping = match (transport, sid, more) {
            (None | Some(""), None, None) => return self.handshake(&knock).await,
            (Some(_), Some(sid), None) if wants_out => {
                let mut who = Visitor::Nobody;
                if let Some(client) = self.clients.find(sid) {
                    self.leave(&client, Close::Left);
                    who = Visitor::Counted;
                }
                return (text(StatusCode::OK, ""), who);
            }
            (Some("websocket"), Some(sid), None) => {
                // Counted beforehand: what an upgrade begins cannot be taken back, nor can what another node is asked.
                let is_known = self.clients.find(sid).is_some();
                if !is_known && let Err(limited) = self.api.limits.check_nobody(knock.address) {
                    return (refuse_limited(&limited), Visitor::Counted);
                }
                if !is_known && websocket::is_upgrade(&knock.request) {
                    self.fetch(sid).await;
                }
                let response = self.upgrade(sid, knock);
                let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                return (response, if is_upgrade || !is_known { Visitor::Counted } else { Visitor::Nobody });
            }
            (Some("xhr-polling"), Some(_), None) => Wrapping::Bare,
            (Some("jsonp-polling"), Some(_), None) if self.settings.jsonp => Wrapping::Script,
            _ => return (text(StatusCode::NOT_FOUND, "transport not supported"), Visitor::Nobody),
        };
        let sid = sid.unwrap_or_default();
        // A client polls before it brings something.
        let may_be_elsewhere = *knock.request.method() == Method::GET && self.is_elsewhere(sid);
        if may_be_elsewhere {
            if let Err(limited) = self.api.limits.check_nobody(knock.address) {
                return (refuse_limited(&limited), Visitor::Counted);
            }
            self.fetch(sid).await;
        }
        // Whoever has too much unread is refused what it asks, and not that it reads.
        let socket = self.clients.find(sid).map(|client| client.socket.clone());
        let response = self.poll(sid, knock, wrapping).await;
        match socket.filter(|_| response.status() != StatusCode::METHOD_NOT_ALLOWED) {
            Some(socket) => (response, Visitor::Client(socket)),
            None if may_be_elsewhere => (response, Visitor::Counted),
            None => (response, Visitor::Nobody),
        }
    }

    /// Ends a client: its socket, its transport, its session id.
    fn leave(&self, client: &Client, why: Close) {
        self.hub.close(&client.socket, why);
        // In this order: a transport that is attached after the next line finds that its client is gone.
        self.clients.forget(client);
        client.detach();
    }

    /// Closes all sockets at once, because the others have told already that they are gone.
    pub(crate) fn lose(&self) {
        for socket in self.hub.sockets() {
            self.hub.close(&socket, Close::NodeLost);
        }
    }

    /// Starts what runs beside the sockets, on `tasks` and until `stop`.
    pub(crate) fn keep(self: &Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        let (sockets, stopped) = (self.clone(), stop.clone());
        tasks.spawn(enduring::run("heartbeats", move || sockets.clone().tick(stopped.clone())));
        let (sockets, stopped) = (self.clone(), stop.clone());
        tasks.spawn(enduring::run("isolation", move || {
            let (sockets, stopped) = (sockets.clone(), stopped.clone());
            async move {
                let _ = stopped.run_until_cancelled(sockets.keep_isolated()).await;
            }
        }));
        let (hub, stopped) = (self.hub.clone(), stop.clone());
        tasks.spawn(enduring::run("revocations", move || {
            let (hub, stopped) = (hub.clone(), stopped.clone());
            async move {
                let _ = stopped.run_until_cancelled(hub.judge()).await;
            }
        }));
        let (hub, stopped) = (self.hub.clone(), stop.clone());
        tasks.spawn(enduring::run("remains", move || {
            let (hub, stopped) = (hub.clone(), stopped.clone());
            async move {
                let _ = stopped.run_until_cancelled(hub.take_remains_away()).await;
            }
        }));
        let (hub, stopped) = (self.hub.clone(), stop.clone());
        tasks.spawn(enduring::run("departures", move || {
            let (hub, stopped) = (hub.clone(), stopped.clone());
            async move {
                let _ = stopped.run_until_cancelled(hub.announce_departures()).await;
            }
        }));
        let (hub, stopped) = (self.hub.clone(), stop.clone());
        tasks.spawn(enduring::run("inherited", move || {
            let (hub, stopped) = (hub.clone(), stopped.clone());
            async move {
                let _ = stopped.run_until_cancelled(hub.keep_giving_up()).await;
            }
        }));
        let (hub, stopped) = (self.hub.clone(), stop.clone());
        tasks.spawn(enduring::run("tails", move || {
            let (hub, stopped) = (hub.clone(), stopped.clone());
            async move {
                let _ = stopped.run_until_cancelled(hub.keep_looking()).await;
            }
        }));
        let (hub, stopped) = (self.hub.clone(), stop.clone());
        tasks.spawn(enduring::run("other nodes", move || {
            let (hub, stopped) = (hub.clone(), stopped.clone());
            async move {
                let _ = stopped.run_until_cancelled(hub.keep_up()).await;
            }
        }));
    }

    /// Once a second: heartbeats, the silent, those for whom too much waits, the expired, session ids that were never used.
    /// It costs what is due, not what is open.
    async fn tick(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.hub.sweep();
            self.hub.bound_waiting(self.api.places.waiting_limits(), |socket| self.api.places.caller_of(socket));
            let now = Instant::now();
            while let Some(number) = self.hub.next_ended() {
                self.look(number, now);
            }
            while let Some(number) = self.clients.next_due(now) {
                self.look(number, now);
            }
        }
    }

    /// Sends the client of a socket a heartbeat, or forgets it, if it is time.
    fn look(&self, number: u64, now: Instant) {
        match self.clients.look(number, now) {
            None => {}
            Some(Due::Heartbeat(client)) => {
                client.socket.outbox.offer(Bytes::from_static(frame::HEARTBEAT.as_bytes()));
            }
            Some(Due::Forgetting(client, why)) => self.leave(&client, why),
        }
    }

    /// Tells all clients, whichever protocol they speak, to come back later, spread over so much time.
    async fn send_away(&self, spread: Duration) {
        let sockets = self.hub.sockets();
        let count = u32::try_from(sockets.len()).unwrap_or(u32::MAX);
        let pause = spread.checked_div(count).unwrap_or_default().min(SPREAD_MAX);
        let start = Instant::now();
        for (socket, nth) in sockets.iter().zip(0_u32..) {
            tokio::time::sleep_until(start + pause * nth).await;
            // Who has only shaken hands comes to another node, which fetches it from here.
            if self.neighbours.is_none() || !self.clients.awaits(socket.number) {
                self.hub.send_away(socket);
            }
        }
    }

    /// Tells all clients to come back to another node, over as much of `within` as they are given for that. Nobody hears of
    /// those who do.
    pub(crate) async fn send_away_for(&self, within: Duration) {
        let start = Instant::now();
        // Until then they would be led here again.
        tokio::time::sleep(unnoticed(within)).await;
        self.hub.mute_departures();
        let parks = self.hub.begin_to_park(within.mul_f32(PARKING_KNOWN_SHARE)).await;
        let until = start + within.mul_f32(if parks { PARKING_SPREAD_SHARE } else { SPREAD_SHARE });
        let sending = async {
            self.send_away(until.saturating_duration_since(Instant::now())).await;
            tokio::time::sleep_until(start + within.mul_f32(SPREAD_SHARE)).await;
            while self.hub.has_parked() && start.elapsed() < within.mul_f32(PARKED_SHARE) {
                tokio::time::sleep(PARKED_LOOK).await;
            }
        };
        let mut sending = pin!(sending);
        tokio::select! {
            () = &mut sending => {}
            // Only looking may stop halfway. That it is over is told to the end.
            () = self.hub.keep_parking() => {
                self.hub.end_parking().await;
                sending.await;
            }
        }
        self.hub.end_parking().await;
    }

    /// Sends the clients away whenever the database has been away for long, and closes them when this node was declared dead.
    async fn keep_isolated(&self) {
        let Some(among) = &self.api.among else { return };
        let isolated = async {
            loop {
                among.isolated().await;
                self.send_away(ISOLATION_SPREAD.mul_f32(SPREAD_SHARE)).await;
            }
        };
        tokio::select! {
            () = isolated => {}
            () = among.died() => self.lose(),
        }
    }

    /// Tells all clients to come back later, spread over a share of `within`, then waits for their transports to end, and
    /// ends them when the time is over.
    ///
    /// Existing clients come back without a pause of their own, so the spreading is what spares the next server.
    pub(crate) async fn drain(&self, within: Duration) {
        self.hub.tails().end();
        self.hub.mute_departures();
        self.carriers.soft.cancel();
        let start = Instant::now();
        self.send_away(within.mul_f32(SPREAD_SHARE)).await;
        self.carriers.tasks.close();
        // Who has much to read yet has all the time there is.
        if tokio::time::timeout_at(start + within, self.carriers.tasks.wait()).await.is_err() {
            self.carriers.hard.cancel();
            self.carriers.tasks.wait().await;
        }
        // Nobody fetches these any more.
        for client in self.clients.all() {
            self.hub.close(&client.socket, Close::GoingAway);
        }
    }
}

/// How long the clients of a node without its database are told to come back for, at most.
const ISOLATION_SPREAD: Duration = Duration::from_secs(10);
/// The share of the drain time over which clients are sent away; the rest is for them to close.
const SPREAD_SHARE: f32 = 0.8;
/// The same where connections are parked: the rest is for clients to come back. Existing ones wait for 2.5 seconds before.
const PARKING_SPREAD_SHARE: f32 = 0.55;
/// The share of the drain time that proxies are given to notice by `/readyz` that this node drains, before the first client is
/// sent away. A client that a proxy led here again would be sent away twice. A proxy that looks every second and believes the
/// second failure, as in `deploy/haproxy.cfg`, needs two seconds: of ten this is more.
const UNNOTICED_SHARE: f32 = 0.25;
/// And no more than that, however long the drain is: five seconds between two looks.
const UNNOTICED_MAX: Duration = Duration::from_secs(10);
/// The share of the drain time up to which parked connections wait for their clients.
const PARKED_SHARE: f32 = 0.9;
/// The share of the drain time for which other nodes are waited for to know that connections are parked.
const PARKING_KNOWN_SHARE: f32 = 0.1;
/// How often it is looked whether any still are.
const PARKED_LOOK: Duration = Duration::from_millis(50);
/// How far apart clients are sent away at most: a few need no spreading, and a stop should not take long for them.
const SPREAD_MAX: Duration = Duration::from_millis(20);

/// How long proxies are given to notice that a node drains which has so much time.
fn unnoticed(within: Duration) -> Duration {
    within.mul_f32(UNNOTICED_SHARE).min(UNNOTICED_MAX)
}

/// A path's template, for metrics: a session id is a secret.
fn route(path: &str) -> &'static str {
    let rest = path.get(ROOT.len()..).unwrap_or_default().trim_matches('/');
    match rest.split('/').next() {
        None | Some("") => ROOT,
        Some("websocket") => "/socket.io/1/websocket/{sid}",
        Some("xhr-polling") => "/socket.io/1/xhr-polling/{sid}",
        Some("jsonp-polling") => "/socket.io/1/jsonp-polling/{sid}",
        Some(_) => "/socket.io/1/{other}",
    }
}

/// Who knocked, as far as that is known.
enum Visitor {
    /// Nobody in particular.
    Nobody,
    /// Somebody whom other limits have counted.
    Counted,
    /// The client of a socket.
    Client(Arc<Socket>),
}

fn refuse_limited(limited: &Limited) -> Response {
    let mut response = text(StatusCode::TOO_MANY_REQUESTS, "");
    response.headers_mut().insert(RETRY_AFTER, (limited.retry_after.as_secs() + 1).into());
    response
}

fn preflight() -> Response {
    let mut response = plain(StatusCode::NO_CONTENT, Bytes::new());
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
    response
}
