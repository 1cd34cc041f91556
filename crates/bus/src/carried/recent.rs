//! What this node published to groups just now, for whoever is late in hearing that others are there for them.
//!
//! One who joins is not kept waiting for a node that cannot be reached. That node then publishes past it until it hears of
//! it, and sends again what it published meanwhile. Only messages: who joined and left since is another matter than who
//! did at the time.

use std::collections::VecDeque;
use std::time::Duration;

use respoke_core::event::Content;
use respoke_core::id::AppId;
use respoke_core::ports::{Audience, Delivery, Node};
use respoke_wire::bus::InterestHash;
use tokio::time::Instant;

/// How long it is kept. Whoever is later than that hears of a gap or is declared dead.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// How much of it is kept, in bytes: ten seconds of a few thousand short messages a second.
const BYTES_MAX: usize = 16 << 20;
/// What one takes besides its payload, about.
const ONE_LEN: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Recent {
    kept: VecDeque<One>,
    bytes: usize,
}

#[derive(Debug)]
struct One {
    at: Instant,
    app_id: AppId,
    hash: InterestHash,
    delivery: Delivery,
    len: usize,
    sent_to: Vec<Node>,
}

impl Recent {
    /// Keeps what was published to a group, and sent to these nodes.
    pub(super) fn keep(&mut self, delivery: &Delivery, hash: InterestHash, sent_to: Vec<Node>, now: Instant) {
        let Delivery::Push { app_id, to: Audience::Group { .. }, event } = delivery else { return };
        let Content::Published { message, .. } = &event.content else { return };
        let len = ONE_LEN + message.get().len();
        self.bytes += len;
        self.kept.push_back(One { at: now, app_id: *app_id, hash, delivery: delivery.clone(), len, sent_to });
        self.forget(now);
    }

    /// Gives up what is kept for too long, or is too much.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.kept.front()
            && (self.bytes > BYTES_MAX || now.duration_since(oldest.at) > KEPT_FOR)
        {
            self.bytes -= oldest.len;
            self.kept.pop_front();
        }
    }

    /// What of a group, or of all groups of an app, was not sent to a node; from here on it was.
    pub(super) fn unsent(&mut self, to: Node, app_id: AppId, hash: Option<InterestHash>) -> Vec<Delivery> {
        let concerned = |one: &&mut One| {
            one.app_id == app_id && hash.is_none_or(|hash| one.hash == hash) && !one.sent_to.contains(&to)
        };
        let unsent = self.kept.iter_mut().filter(concerned).map(|one| {
            one.sent_to.push(to);
            one.delivery.clone()
        });
        unsent.collect()
    }
}
