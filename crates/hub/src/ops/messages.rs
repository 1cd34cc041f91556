//! `POST /v1/messages`: from one endpoint to another.

use std::sync::atomic::Ordering;

use respoke_core::event::Content;
use respoke_core::id::{ConnectionId, EndpointId, MessageId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::ports::Audience;
use respoke_core::refusal::Refusal;
use serde_json::value::RawValue;

use super::Asker;
use crate::Hub;
use crate::reach::{Reach, frame_len};

/// A message to an endpoint.
#[derive(Debug)]
pub struct Message {
    /// To whom.
    pub to: EndpointId,
    /// Only to this connection.
    pub to_connection: Option<ConnectionId>,
    /// Any JSON.
    pub body: Box<RawValue>,
    /// Whether the sender's other connections get a copy.
    pub cc_self: bool,
    /// The request's key, if its repetition is to say nothing.
    pub once: Option<IdempotencyKey>,
}

impl Hub {
    /// Sends a message to all connections of an endpoint. One that has none gets nothing, which is no error.
    ///
    /// When this returns, the message is in the outbox of every connection of the receiver on this node.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`], or as [`respoke_core::ops::Broker::app_of`] for backends; [`Refusal::RateLimited`];
    /// [`Refusal::IdempotencyKeyReused`]; [`Refusal::Isolated`], and [`Refusal::NodeInDoubt`] if it may have been said too late.
    pub async fn send(&self, asker: &Asker<'_>, message: Message) -> Result<MessageId, Refusal> {
        let speaker = self.speaker(asker).await?;
        let copied = message.cc_self && message.to != speaker.endpoint;
        let connections = self.told(&speaker, &message.to, message.to_connection, copied).await;
        let len = frame_len(&speaker.endpoint, message.to.as_str(), message.body.get().len());
        asker.pay(&speaker.app, Reach::of(connections, len))?;
        let message_id = speaker.message_id();
        if let Some(before) = self.said_before(speaker.app.id, message.once, message_id).await? {
            return Ok(before);
        }
        let event = |to: &EndpointId, to_original, body| {
            let content = Content::Message { message_id, to: to.clone(), to_original, body };
            self.event(&speaker.endpoint, speaker.connection_id(), speaker.request_id, content)
        };
        let except = speaker.own_id();
        // To oneself the message itself reaches the other connections.
        if copied {
            let copy = event(&speaker.endpoint, Some(message.to.clone()), message.body.clone());
            let to = Audience::Endpoint { endpoint: speaker.endpoint.clone(), only: None, except };
            self.push(speaker.app.id, to, copy);
        }
        let original = event(&message.to, None, message.body);
        let to = Audience::Endpoint { endpoint: message.to, only: message.to_connection, except };
        self.push(speaker.app.id, to, original);
        self.check_said()?;
        self.figures.messages.fetch_add(1, Ordering::Relaxed);
        Ok(message_id)
    }
}
