//! From what a client says of itself to a socket of the hub, in one frame: a token is redeemed, a socket opened, a connection
//! registered, and what the client was in before is made again (`welcome.rs`). Each of these is the operation of the API, with
//! its rights, its limits and its charges.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use respoke_core::code::Code;
use respoke_core::ops::{Caller, Credential};
use respoke_core::refusal::Refusal;
use respoke_core::secret::Secret;
use respoke_hub::{Connection, Opening};
use respoke_wire::dialect::Dialect;
use respoke_wire::respoke1::bye::Bye;
use respoke_wire::respoke1::{Connect, STATE_LEN_MAX, State, is_key};
use respoke_wire::tunnel::{Method, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::answering::{NO_KEY, error_object};
use super::exchange::Sending;
use super::guest::Guest;
use super::live::{Live, Transport};
use super::welcome::Welcome;
use crate::call::throttled;
use crate::facts::asker;
use crate::limits::Demand;
use crate::problem::Problem;
use crate::tunnel::Tunnelled;

/// What a client is told that is not let in.
pub(super) struct Unwelcome {
    /// The answer to its `connect`, if there was one.
    pub(super) answer: Option<Bytes>,
    /// None: it left by itself.
    pub(super) bye: Option<Bye>,
    /// How long there is nothing to come back for.
    pub(super) wait_secs: Option<u64>,
}

impl From<Option<Bye>> for Unwelcome {
    fn from(bye: Option<Bye>) -> Self {
        Self { answer: None, bye, wait_secs: None }
    }
}

impl Unwelcome {
    /// One whose `connect` was answered like this.
    fn answered(id: u64, tunnelled: &Tunnelled) -> Self {
        let code = error_code(&tunnelled.body);
        let bye = code.map_or(Bye::Overloaded, bye_of);
        Self { answer: Some(error_object(id, tunnelled)), bye: Some(bye), wait_secs: tunnelled.retry_after_secs }
    }
}

fn error_code(body: &[u8]) -> Option<Code> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        code: Cow<'a, str>,
    }
    serde_json::from_slice::<Body<'_>>(body).ok().and_then(|body| Code::of(&body.code))
}

/// What a client does whose `connect` was refused for this.
const fn bye_of(code: Code) -> Bye {
    match code {
        Code::EndpointBanned => Bye::Banned,
        Code::OriginRefused => Bye::Origin,
        Code::ConnectionLimit => Bye::Limit,
        Code::Malformed
        | Code::TooDeep
        | Code::Invalid
        | Code::EndpointReserved
        | Code::NoSuchRoute
        | Code::MethodNotAllowed
        | Code::BodyTooLarge
        | Code::HeadTooLarge => Bye::BadFrame,
        Code::Unauthenticated
        | Code::TokenRefused
        | Code::BadLogin
        | Code::SecondFactorRequired
        | Code::Forbidden
        | Code::NotFound
        | Code::NoGateway
        | Code::Conflict
        | Code::NotConnected
        | Code::IdempotencyKeyReused => Bye::Refused,
        Code::QuotaExceeded
        | Code::LimitReached
        | Code::RequestTimeout
        | Code::RateLimited
        | Code::AnswersUnread
        | Code::Throttled
        | Code::Internal
        | Code::Overloaded
        | Code::Unavailable
        | Code::InDoubt => Bye::Overloaded,
    }
}

impl Guest {
    /// Lets a client in, and makes its welcome. The welcome is what is written first.
    pub(super) async fn connect(&self, id: u64, connect: Connect) -> Result<(Transport, Sending), Unwelcome> {
        if let Err(refusal) = check(&connect) {
            return Err(self.refused(id, refusal.into()).await);
        }
        let redeemed = match &connect.token_id {
            Some(token_id) => Some(self.redeem(id, token_id, connect.once.as_deref()).await?),
            None => None,
        };
        let Some(token) = redeemed.as_ref().or(connect.app_token.as_ref()) else {
            return Err(self.refused(id, Refusal::missing("tokenId").into()).await);
        };
        let credential = Credential::AppToken(token.clone());
        let caller = match self.admit(&credential).await {
            Ok(caller) => caller,
            Err(problem) => return Err(self.refused(id, problem).await),
        };
        if let Some(resumed) = self.resume(id, &connect, &caller).await? {
            return Ok(resumed);
        }
        let Some(transport) = self.open(credential, caller) else {
            // The node, the address or the endpoint has its most. Some of these may be of links that broke, and be closed soon.
            let refused = self.refused(id, Refusal::ConnectionLimit.into()).await;
            return Err(Unwelcome { bye: Some(Bye::Overloaded), ..refused });
        };
        let live = &transport.live;
        let connection = self.register(id, live, &connect).await?;
        let welcome = Welcome::begin(live, redeemed, &connection, self.new_key(live));
        let welcome = welcome.restore(live, connect.state.unwrap_or_default()).await;
        let taking = live.taking.clone().lock_owned().await;
        let packets = [live.inside.api.places.keep(welcome.object(id), &live.socket)].into();
        Ok((transport, Sending { packets, taking }))
    }

    /// Has a client that lost its connection go on with it, if it knows the key, is who it was, and can be given all that it missed. The
    /// error says that another websocket of the client's was quicker.
    async fn resume(
        &self,
        id: u64,
        connect: &Connect,
        caller: &Caller,
    ) -> Result<Option<(Transport, Sending)>, Unwelcome> {
        let Some(found) = connect.resume.as_ref().and_then(|key| self.sessions.find(key.expose())) else {
            return Ok(None);
        };
        if !caller.is_same(&found.socket.opening.caller) || found.socket.outbox.closed().is_some() {
            return Ok(None);
        }
        // From here on that websocket carries it, or this one; where it cannot go on, it ends with this one.
        let transport = found.attach();
        let live = transport.live.clone();
        let taking = live.taking.clone().lock_owned().await;
        // What the websocket before had begun is answered first, so that it is not done again for the same id.
        let turn = live.turn.lock().await;
        if transport.replaced.is_cancelled() {
            return Err(Some(Bye::Replaced).into());
        }
        let missed = live.ring.lock().since(connect.got.unwrap_or(0));
        let (Some(connection), Some(missed), None) = (live.socket.connection(), missed, live.socket.outbox.closed())
        else {
            return Ok(None);
        };
        drop(turn);
        live.inside.hub.heard(&live.socket);
        let welcome = Welcome::begin(&live, None, &connection, self.new_key(&live)).resumed();
        let mut packets = missed;
        packets.push_front(welcome.object(id));
        Ok(Some((transport, Sending { packets, taking })))
    }

    fn new_key(&self, live: &Arc<Live>) -> Secret {
        self.sessions.rotate(live, &live.keys, self.inside.api.broker.chance()).text()
    }

    /// Registers the socket as the endpoint's connection.
    async fn register(&self, id: u64, live: &Live, connect: &Connect) -> Result<Arc<Connection>, Unwelcome> {
        let (client_type, capabilities) = (connect.sdk.as_deref(), connect.capabilities.as_deref());
        let body = serde_json::to_string(&Registering { client_type, capabilities });
        let body = body.expect("text and JSON always serialize");
        let request = Request { path: "/v1/connections".into(), query: None, headers: Vec::new(), data: Some(&body) };
        let registered = self.inside.tunnel.answer(&live.socket, Method::Post, &request).await;
        match live.socket.connection().filter(|_| registered.status == 200) {
            Some(connection) => Ok(connection),
            None if registered.status == 200 => Err(Some(Bye::Revoked).into()),
            None => Err(Unwelcome::answered(id, &registered)),
        }
    }

    async fn refused(&self, id: u64, problem: Problem) -> Unwelcome {
        Unwelcome::answered(id, &self.inside.tunnel.refuse_stranger(self.address, problem).await)
    }

    /// Redeems a token for the token of a session.
    async fn redeem(&self, id: u64, token_id: &Secret, once: Option<&str>) -> Result<Secret, Unwelcome> {
        #[derive(Deserialize)]
        struct Opened {
            token: String,
        }
        let body = json!({"tokenId": token_id.expose()}).to_string();
        let of_page = self.origin.as_deref().map(|origin| ("Origin", origin));
        let headers = of_page.into_iter().chain(once.map(|once| ("Idempotency-Key", once)));
        let headers = headers.map(|(name, value)| (name.into(), value.into())).collect();
        let request = Request { path: "/v1/session-tokens".into(), query: None, headers, data: Some(&body) };
        let answer = self.inside.tunnel.answer_stranger(self.address, Method::Post, &request).await;
        drop(Secret::new(body));
        match serde_json::from_slice::<Opened>(&answer.body) {
            Ok(opened) if answer.status == 200 => Ok(Secret::new(opened.token)),
            Ok(_) | Err(_) => Err(Unwelcome::answered(id, &answer)),
        }
    }

    /// Whether who shows the token of a session may come in, as the handshake of the original clients asks it.
    async fn admit(&self, credential: &Credential) -> Result<Caller, Problem> {
        let api = &self.inside.api;
        api.check_standing()?;
        let caller = match api.broker.authenticate(credential, Some(self.address)).await {
            Err(Refusal::Unauthenticated) => {
                let wait = api.throttle.credential_failed(self.address, api.monotonic());
                return Err(wait.map_or_else(|| Refusal::Unauthenticated.into(), throttled));
            }
            proved => proved?,
        };
        if let Caller::Endpoint { app, .. } = &caller
            && !app.settings.permits_origin(self.origin.as_deref())
        {
            return Err(Refusal::OriginRefused.into());
        }
        if let Err(limited) = api.limits.check(Demand::Connect, &caller, None, self.address) {
            api.watch.refused(asker(&caller).1.app_id, Code::RateLimited);
            return Err(limited.into());
        }
        Ok(caller)
    }

    /// Opens a socket. None: there is no room, which is noted.
    fn open(&self, credential: Credential, caller: Caller) -> Option<Transport> {
        let app_id = asker(&caller).1.app_id;
        let opening = Opening {
            credential,
            caller,
            address: self.address,
            origin: self.origin.clone(),
            host: self.host.clone(),
            dialect: Dialect::Respoke1,
        };
        let share = self.inside.shares.take(self.address);
        let Some((socket, share)) = share.and_then(|share| Some((self.inside.hub.open(opening)?, share))) else {
            self.inside.api.watch.refused(app_id, Code::ConnectionLimit);
            return None;
        };
        Some(Live::begin(self.inside.clone(), self.sessions.clone(), socket, share))
    }
}

/// The body of `POST /v1/connections`. What a client can do is handed on to the letter: it may be what no value holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Registering<'a> {
    client_type: Option<&'a str>,
    capabilities: Option<&'a RawValue>,
}

/// Whether what a client says of itself can be understood in one way.
fn check(connect: &Connect) -> Result<(), Refusal> {
    if connect.token_id.is_some() == connect.app_token.is_some() {
        return Err(Refusal::field("connect", "must hold either a tokenId or an appToken"));
    }
    if connect.once.as_deref().is_some_and(|once| !is_key(once)) {
        return Err(Refusal::field("once", NO_KEY));
    }
    let Some(State { groups, observe, .. }) = &connect.state else { return Ok(()) };
    for (name, len) in
        [("state.groups", groups.as_ref().map(Vec::len)), ("state.observe", observe.as_ref().map(Vec::len))]
    {
        if len.unwrap_or(0) > STATE_LEN_MAX {
            return Err(Refusal::field(name, "must hold at most 200"));
        }
    }
    Ok(())
}
