//! The way in: a request that becomes a websocket.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use http::header::{CACHE_CONTROL, ORIGIN, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use respoke_hub::Hub;
use respoke_wire::respoke1::{FAMILY, FRAME_LEN_MAX, PROTOCOL};

use super::guest::Guest;
use super::inside::Inside;
use crate::call::host_of;
use crate::config::SocketSettings;
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
/// Browsers and whatever else is written today mask what they send.
const TAKING: Taking = Taking { message_len_max: FRAME_LEN_MAX, unmasked: false };

/// The door.
pub(crate) struct Respoke1(Arc<Inside>);

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
        Self(Arc::new(Inside { hub, api, tunnel, settings, shares, guests, carriers }))
    }

    /// Answers a request at [`PATH`].
    pub(crate) fn serve<B: HttpBody>(&self, knock: Knock<B>) -> Response {
        let (method, address) = (method_name(knock.request.method()), knock.address);
        let mut response = self.upgrade(knock);
        if response.status() == StatusCode::UPGRADE_REQUIRED && self.0.api.limits.check_nobody(address).is_err() {
            response = too_many();
        }
        self.0.api.metrics.counted(Route::Fixed(PATH), method, response.status().as_u16());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Turns the request into a websocket.
    fn upgrade<B: HttpBody>(&self, mut knock: Knock<B>) -> Response {
        let Some(accept) = accept_key(&knock.request) else { return refuse() };
        let Some(share) = self.0.guests.take(knock.address) else { return too_many() };
        let headers = knock.request.headers();
        let (speaks, protocol) = agreed(headers);
        let guest = Guest {
            inside: self.0.clone(),
            address: knock.address,
            origin: headers.get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned()),
            host: host_of(headers, knock.request.uri()).map(str::to_owned),
            speaks,
            _share: share,
        };
        let upgrading = hyper::upgrade::on(&mut knock.request);
        knock.place.becomes_socket();
        self.0.carriers.tasks.spawn(run(guest, upgrading, knock.place));
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
