//! What is said to sockets here.

use std::sync::Arc;

use respoke_core::event::{Content, Event};
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName, MessageId};
use respoke_core::message::Place;
use respoke_core::ports::{Audience, Node, Source};
use tokio::time::Instant;

/// What one takes besides its text, about.
const PUSH_LEN: usize = 512;

/// Who says something at another node: a connection, or whoever speaks for an endpoint. What an endpoint says by two connections,
/// or without one at two nodes, has no order. A connection may come from one node to another, and goes on there as the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sender {
    /// Of who has no connection.
    node: Option<Node>,
    pub(super) app: AppId,
    endpoint: EndpointId,
    connection: Option<ConnectionId>,
}

/// A message to a group or an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) from: Source,
    pub(crate) app: AppId,
    pub(crate) to: Audience,
    pub(crate) event: Arc<Event>,
    /// When it came here.
    pub(crate) came: Instant,
}

impl Push {
    /// Whether this is something that is said, and has an order with what else its sender says. That somebody joins, leaves or
    /// changes his presence is known when it comes, and told at once. So are signals: a call does not wait for what is written.
    pub(crate) fn has_order(event: &Event) -> bool {
        match event.content {
            Content::Message { .. } | Content::Published { .. } => true,
            Content::Joined { .. }
            | Content::Left { .. }
            | Content::Presence(_)
            | Content::Signal(_)
            | Content::Missed => false,
        }
    }

    /// Whether it is kept, and stands in the order of its group.
    pub(crate) fn is_kept(event: &Event) -> bool {
        matches!(event.content, Content::Published { place: Some(_), .. })
    }

    /// Which group's order it stands in.
    pub(crate) fn group(&self) -> Option<&GroupName> {
        self.kept().map(|(group, ..)| group)
    }

    /// Where it stands in which group, and what it is called, if it is kept.
    pub(super) fn kept(&self) -> Option<(&GroupName, MessageId, Place)> {
        match (&self.to, &self.event.content) {
            (Audience::Group { group, .. }, Content::Published { message_id, place: Some(place), .. }) => {
                Some((group, *message_id, *place))
            }
            (Audience::Group { .. } | Audience::Endpoint { .. } | Audience::Observers { .. }, _) => None,
        }
    }

    /// Who sent it from another node.
    pub(super) fn sender(&self) -> Option<Sender> {
        match self.from {
            Source::Here => None,
            Source::There { node, .. } => Some(Sender {
                node: self.event.from_connection.is_none().then_some(node),
                app: self.app,
                endpoint: self.event.from.clone(),
                connection: self.event.from_connection,
            }),
        }
    }

    /// What it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        let said = match &self.event.content {
            Content::Published { message: said, .. } | Content::Message { body: said, .. } => said.get().len(),
            Content::Joined { .. }
            | Content::Left { .. }
            | Content::Presence(_)
            | Content::Signal(_)
            | Content::Missed => 0,
        };
        PUSH_LEN + said
    }
}
