//! The way in: a request that becomes a websocket.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use http::header::{CACHE_CONTROL, ORIGIN, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use respoke_hub::Hub;
use respoke_wire::respoke1::{FAMILY, FRAME_LEN_MAX, PROTOCOL};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guest::Guest;
use super::inside::Inside;
use super::live::Live;
use super::ring::AllRings;
use super::sessions::Sessions;
use crate::call::host_of;
use crate::config::SocketSettings;
use crate::enduring;
use crate::limits::LIMITED_PAUSE;
use crate::metrics::Route;
use crate::state::Api;
use crate::transport::{Place, Shares};
use crate::tunnel::Tunnel;
use crate::watch::method_name;
use crate::websocket::{Carriers, Knock, Taking, accept_key, offered, refuse, switch, upgraded};

/// Where the door is.
const PATH: &str = "/v1/socket";
/// Websockets of an address that did not say yet who they are. A page opens one, and an office's pages may all come back at
/// once; each is here for a round trip. Whoever opens them for nothing has so many for ten seconds each.
const GUESTS_PER_ADDRESS: usize = 64;
/// How often it is looked whether too much is kept.
const SHED_EVERY: Duration = Duration::from_secs(1);
/// Browsers and whatever else is written today mask what they send.
const TAKING: Taking = Taking { message_len_max: FRAME_LEN_MAX, unmasked: false };

/// The door.
#[derive(Clone)]
pub(crate) struct Respoke1 {
    inside: Arc<Inside>,
    sessions: Arc<Sessions<Live>>,
}

impl std::fmt::Debug for Respoke1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Respoke1").finish_non_exhaustive()
    }
}

/// Whether a path is this door's.
pub(crate) fn is_path(path: &str) -> bool {
    path.trim_end_matches('/') == PATH
}

impl Respoke1 {
    /// `shares` bound the sockets of each address, `guests` those of them that did not say yet who they are.
    pub(crate) fn new(
        (hub, api, tunnel): (Arc<Hub>, Arc<Api>, Arc<Tunnel>),
        settings: SocketSettings,
        (shares, carriers): (Arc<Shares>, Carriers),
    ) -> Self {
        let guests = shares.others(GUESTS_PER_ADDRESS);
        let rings = AllRings::default();
        let inside = Inside { hub, api, tunnel, settings, shares, guests, carriers, rings };
        Self { inside: Arc::new(inside), sessions: Arc::default() }
    }

    /// Starts what runs beside the sockets, on `tasks` and until `stop`: once a second what is kept for clients that may come back is
    /// given up, if it leaves too little room for what waits. It counts among that, and others would be closed for it.
    pub(crate) fn keep(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let (inside, sessions, stopped) = (self.inside.clone(), self.sessions.clone(), stop.clone());
        tasks.spawn(enduring::run("rings", move || {
            let (inside, sessions, stopped) = (inside.clone(), sessions.clone(), stopped.clone());
            async move {
                let shedding = async {
                    loop {
                        tokio::time::sleep(SHED_EVERY).await;
                        if inside.hub.events_held() > inside.api.places.waiting_limits().all / 2 {
                            sessions.all().iter().for_each(|live| live.ring.lock().give_up());
                        }
                    }
                };
                let _ = stopped.run_until_cancelled(shedding).await;
            }
        }));
    }

    /// Answers a request at [`PATH`].
    pub(crate) fn serve<B: HttpBody>(&self, knock: Knock<B>) -> Response {
        let (method, address) = (method_name(knock.request.method()), knock.address);
        let mut response = self.upgrade(knock);
        if response.status() == StatusCode::UPGRADE_REQUIRED && self.inside.api.limits.check_nobody(address).is_err() {
            response = too_many();
        }
        self.inside.api.metrics.counted(Route::Fixed(PATH), method, response.status().as_u16());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Turns the request into a websocket.
    fn upgrade<B: HttpBody>(&self, mut knock: Knock<B>) -> Response {
        let Some(accept) = accept_key(&knock.request) else { return refuse() };
        let Some(share) = self.inside.guests.take(knock.address) else { return too_many() };
        let headers = knock.request.headers();
        let (speaks, protocol) = agreed(headers);
        let guest = Guest {
            inside: self.inside.clone(),
            sessions: self.sessions.clone(),
            address: knock.address,
            origin: headers.get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned()),
            host: host_of(headers, knock.request.uri()).map(str::to_owned),
            speaks,
            _share: share,
        };
        let upgrading = hyper::upgrade::on(&mut knock.request);
        knock.place.becomes_socket();
        self.inside.carriers.tasks.spawn(run(guest, upgrading, knock.place));
        switch(accept, protocol)
    }
}

/// Whether a client offers what is spoken here, and which subprotocol it is answered.
///
/// One that speaks another version alone is told so, and for that has to be shown that one: a browser takes nothing else.
fn agreed(headers: &HeaderMap) -> (bool, Option<HeaderValue>) {
    let versions: Vec<_> = offered(headers).filter(|protocol| protocol.starts_with(FAMILY)).collect();
    let speaks = versions.contains(&PROTOCOL);
    let protocol = if speaks { Some(PROTOCOL) } else { versions.first().copied() };
    (speaks, protocol.and_then(|protocol| HeaderValue::from_str(protocol).ok()))
}

/// Carries a guest's websocket to its end.
async fn run(guest: Guest, upgrading: OnUpgrade, place: Arc<Place>) {
    let (hard, timeout) = (guest.inside.carriers.hard.clone(), guest.inside.settings.write_timeout);
    if let Some(carrying) = Box::pin(upgraded(guest, upgrading, &hard, timeout, TAKING)).await {
        carrying.await;
    }
    drop(place);
}

fn too_many() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(RETRY_AFTER, (LIMITED_PAUSE.as_secs() + 1).into());
    response
}
