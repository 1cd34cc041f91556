//! `POST /v1/signaling`: the steps of calls and direct connections. They are relayed, and looked into only as far as that
//! needs.
//!
//! # Source
//!
//! The routing rules of section 6.2 of docs/protocol.md.

use std::sync::atomic::Ordering;

use respoke_core::event::{Content, Signal};
use respoke_core::id::{ConnectionId, EndpointId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::ops::Caller;
use respoke_core::ports::Audience;
use respoke_core::refusal::Refusal;
use serde_json::value::RawValue;

use super::Asker;
use crate::Hub;
use crate::reach::{Reach, frame_len};
use crate::roster::At;
use crate::signal_shape::SignalHead;

/// A signal as it is asked for.
#[derive(Debug)]
pub struct SignalRequest {
    /// To whom: an endpoint.
    pub to: EndpointId,
    /// What kind of party that is; `web` unless said.
    pub to_type: Option<String>,
    /// What kind of party speaks; believed of backends alone.
    pub from_type: Option<String>,
    /// Only to this connection.
    pub to_connection: Option<ConnectionId>,
    /// Whether the sender's other connections get a copy.
    pub cc_self: bool,
    /// A JSON object.
    pub signal: Box<RawValue>,
    /// The request's key, if its repetition is to relay nothing.
    pub once: Option<IdempotencyKey>,
}

/// The party that endpoints are.
const WEB: &str = "web";

impl Hub {
    /// Relays a signal.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for a signal that is no object, [`Refusal::NoGateway`] for a target that is no endpoint,
    /// [`Refusal::NotFound`] for an offer that nobody can take, [`Refusal::RateLimited`].
    pub async fn signal(&self, asker: &Asker<'_>, request: SignalRequest) -> Result<(), Refusal> {
        let speaker = self.speaker(asker).await?;
        let head = SignalHead::of(&request.signal).ok_or_else(|| Refusal::field("signal", "must be a JSON object"))?;
        let to_type = request.to_type.unwrap_or_else(|| WEB.to_owned());
        if to_type != WEB {
            return Err(Refusal::NoGateway);
        }
        let from_type = match asker.caller {
            Caller::App { .. } | Caller::Admin { .. } => request.from_type.unwrap_or_else(|| WEB.to_owned()),
            Caller::Anonymous | Caller::Endpoint { .. } => WEB.to_owned(),
        };
        let kind = head.kind.as_deref().unwrap_or_default();
        if kind == "offer" && !self.reachable(speaker.app.id, &request.to, request.to_connection).await? {
            return Err(Refusal::NotFound("Endpoints"));
        }
        // Whoever lost the race for a call must hear who won it.
        let only = request.to_connection.filter(|_| kind != "connected");
        let copied = request.cc_self && request.to != speaker.endpoint;
        let connections = self.told(&speaker, &request.to, only, copied).await;
        let len = frame_len(&speaker.endpoint, request.to.as_str(), request.signal.get().len() + from_type.len());
        asker.pay(&speaker.app, Reach::of(connections, len))?;
        if self.said_before(speaker.app.id, request.once, speaker.message_id()).await?.is_some() {
            return Ok(());
        }
        if let ("answer", Some(session), Some(own)) = (kind, &head.session, &speaker.own) {
            self.local.registry.note_answer(own, session);
        }
        let signal = |to: &EndpointId, to_connection, to_original, spares_answerers_of| {
            let content = Content::Signal(Signal {
                to: to.clone(),
                to_connection,
                to_original,
                from_type: from_type.clone(),
                to_type: to_type.clone(),
                body: request.signal.clone(),
                spares_answerers_of,
            });
            // Mobile clients drop a signal that names no connection.
            self.event(&speaker.endpoint, speaker.own_id(), speaker.request_id, content)
        };
        let except = speaker.own_id();
        if copied {
            // A reject on one device ends the ringing on the others, but no call that another of them answered.
            let spared = head.session.as_deref().filter(|_| kind == "bye").map(str::to_owned);
            let copy = signal(&speaker.endpoint, None, Some(request.to.clone()), spared);
            let to = Audience::Endpoint { endpoint: speaker.endpoint.clone(), only: None, except };
            self.push(speaker.app.id, to, copy);
        }
        let original = signal(&request.to, request.to_connection, None, None);
        self.push(speaker.app.id, Audience::Endpoint { endpoint: request.to.clone(), only, except }, original);
        self.check_said()?;
        self.figures.signals.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether anybody can take an offer.
    async fn reachable(
        &self,
        app: respoke_core::id::AppId,
        to: &EndpointId,
        connection: Option<ConnectionId>,
    ) -> Result<bool, Refusal> {
        match self.roster().connections_of(app, to, At::Anywhere).await {
            Ok(found) if found.iter().any(|found| connection.is_none_or(|id| found.id == id)) => return Ok(true),
            // Whoever does not answer may have it.
            Err(Refusal::NodeSilent) => return Ok(true),
            found => drop(found?),
        }
        // A device that can be woken may still come.
        Ok(connection.is_none() && !self.broker.store().push_tokens(app, to).await?.is_empty())
    }
}
