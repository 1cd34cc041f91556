//! The handshake: a credential for a session id.

use std::sync::Arc;

use axum::response::Response;
use http::header::{ORIGIN, RETRY_AFTER};
use http::{Method, StatusCode};
use respoke_core::code::Code;
use respoke_core::refusal::Refusal;
use respoke_hub::Opening;
use respoke_wire::ack::AckStyle;
use respoke_wire::dialect::Dialect;
use respoke_wire::{form, payload};

use super::opening::may_open;
use super::plain::{plain, script};
use super::sid::Sid;
use super::{Client, Sockets, Visitor};
use crate::call::{handshake_credential, host_of};
use crate::facts::asker;
use crate::limits::Demand;
use crate::websocket::Knock;

impl Sockets {
    pub(super) async fn handshake<B>(&self, knock: &Knock<B>) -> (Response, Visitor) {
        let mut who = Visitor::Nobody;
        (self.shake_hands(knock, &mut who).await, who)
    }

    /// Answers `<sid>:<heartbeat timeout>:<close timeout>:<transports>`. `who`: whether limits have counted it.
    async fn shake_hands<B>(&self, knock: &Knock<B>, who: &mut Visitor) -> Response {
        let uri = knock.request.uri();
        let query = uri.query().unwrap_or_default();
        let jsonp = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "jsonp" && self.settings.jsonp)
            .and_then(|(_, index)| payload::jsonp_index(&index));
        let answer = |status, text: String| match jsonp {
            None => plain(status, text.into()),
            Some(index) if status == StatusCode::OK => script(payload::jsonp(index, text.as_bytes())),
            // A script that is answered with an error is not run.
            Some(index) => script(payload::jsonp_error(index, &text)),
        };
        let refuse = |status, text: &str| answer(status, text.to_owned());
        if !matches!(*knock.request.method(), Method::GET | Method::POST) {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "handshake error");
        }
        // A credential that is not text is no other credential.
        if form::query_pairs(query).is_err() {
            return refuse(StatusCode::BAD_REQUEST, FAULT);
        }
        if self.api.check_standing().is_err() {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, FAULT);
        }
        let headers = knock.request.headers();
        let credential = handshake_credential(headers, uri.query());
        let caller = match self.api.broker.authenticate(&credential, Some(knock.address)).await {
            Ok(caller) => caller,
            Err(Refusal::Unauthenticated) => {
                let wait = self.api.throttle.credential_failed(knock.address, self.api.monotonic());
                let mut refused = answer(StatusCode::FORBIDDEN, UNAUTHORIZED.to_owned());
                if let Some(wait) = wait {
                    refused.headers_mut().insert(RETRY_AFTER, (wait.as_secs() + 1).into());
                }
                return refused;
            }
            Err(refusal) => {
                tracing::error!(error = &refusal as &dyn std::error::Error, "a handshake failed");
                return refuse(StatusCode::INTERNAL_SERVER_ERROR, FAULT);
            }
        };
        let origin = headers.get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned());
        if !may_open(&credential, &caller, origin.as_deref()) {
            return refuse(StatusCode::FORBIDDEN, UNAUTHORIZED);
        }
        let app_id = asker(&caller).1.app_id;
        *who = Visitor::Counted;
        if let Err(limited) = self.api.limits.check(Demand::Connect, &caller, None, knock.address) {
            self.api.watch.refused(app_id, Code::RateLimited);
            let mut refused = answer(StatusCode::TOO_MANY_REQUESTS, FAULT.to_owned());
            refused.headers_mut().insert(RETRY_AFTER, (limited.retry_after.as_secs() + 1).into());
            return refused;
        }
        let host = host_of(headers, uri).map(str::to_owned);
        let opening = Opening { credential, caller, address: knock.address, origin, host, dialect: Dialect::SocketIo };
        let sid = Sid::new(self.api.broker.chance(), self.this_node());
        let Some(client) = self.open(sid, opening, AckStyle::of_handshake(query)) else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, FAULT);
        };
        let timeout = self.settings.heartbeat_timeout.as_secs();
        let transports =
            if self.settings.jsonp { "websocket,xhr-polling,jsonp-polling" } else { "websocket,xhr-polling" };
        answer(StatusCode::OK, format!("{}:{timeout}:{timeout}:{transports}", client.sid.text()))
    }

    /// Opens a socket for who may have one. None: there is no place, which is noted.
    pub(super) fn open(&self, sid: Sid, opening: Opening, style: AckStyle) -> Option<Arc<Client>> {
        let app_id = asker(&opening.caller).1.app_id;
        let opened = self.shares.take(opening.address).and_then(|share| Some((self.hub.open(opening)?, share)));
        let Some((socket, share)) = opened else {
            self.api.watch.refused(app_id, Code::ConnectionLimit);
            return None;
        };
        Some(self.clients.add(sid, socket, style, share))
    }
}

const UNAUTHORIZED: &str = "handshake unauthorized";
const FAULT: &str = "handshake error";
