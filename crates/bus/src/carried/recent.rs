//! What this node published to groups just now, for nodes that hear too late that it is for them.
//!
//! Whoever joins does not wait for a node that cannot be reached. That node publishes past it until it hears of the join.
//! Then it sends again what it published meanwhile. That holds for messages only: who joined and left since is the past.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use respoke_core::event::Content;
use respoke_core::id::AppId;
use respoke_core::ports::{Audience, Delivery, Node};
use respoke_wire::bus::InterestHash;
use tokio::time::Instant;

use super::CarriedLimits;

/// What one takes besides its payload, about.
const ONE_LEN: usize = 512;

#[derive(Debug)]
pub(super) struct Recent {
    limits: CarriedLimits,
    kept: VecDeque<One>,
    /// The number of the first that is kept. Each next has the next.
    first: u64,
    /// The numbers of what is kept, by what it is for, so that nobody looks through all of it.
    numbers: HashMap<AppId, HashMap<InterestHash, VecDeque<u64>>>,
    bytes: usize,
    /// When the last was published of what is kept no more.
    forgotten: Option<Instant>,
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

/// What is kept of it.
#[derive(Debug)]
pub(super) enum Kept {
    /// It was not sent to that node; from here on it was.
    Unsent(Delivery),
    /// It was sent to it.
    Sent,
    /// Nothing any more.
    Nothing,
}

impl Recent {
    pub(super) fn new(limits: CarriedLimits) -> Self {
        Self { limits, kept: VecDeque::new(), first: 0, numbers: HashMap::new(), bytes: 0, forgotten: None }
    }

    /// Whether a delivery is one of those that are kept.
    pub(super) fn keeps(delivery: &Delivery) -> bool {
        payload_len(delivery).is_some()
    }

    /// Keeps what was published to a group, and sent to these nodes.
    pub(super) fn keep(
        &mut self,
        delivery: &Delivery,
        (app_id, hash): (AppId, InterestHash),
        sent_to: Vec<Node>,
        now: Instant,
    ) {
        let Some(payload_len) = payload_len(delivery) else { return };
        let len = ONE_LEN + payload_len;
        let number = self.first + self.kept.len() as u64;
        self.bytes += len;
        self.kept.push_back(One { at: now, app_id, hash, delivery: delivery.clone(), len, sent_to });
        self.numbers.entry(app_id).or_default().entry(hash).or_default().push_back(number);
        self.forget(now);
    }

    /// Gives up what is kept for too long, or is too much.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.kept.front()
            && (self.bytes > self.limits.recent_bytes_max || now.duration_since(oldest.at) > self.kept_for())
        {
            self.forget_oldest();
        }
    }

    /// For longer than it is sent again, so that it is known of each whether something of it is lost.
    fn kept_for(&self) -> Duration {
        self.limits.recent_for + self.limits.kept_for
    }

    fn forget_oldest(&mut self) {
        let Some(One { at, app_id, hash, len, .. }) = self.kept.pop_front() else { return };
        self.first += 1;
        self.bytes -= len;
        self.forgotten = Some(at);
        if let Entry::Occupied(mut app) = self.numbers.entry(app_id) {
            if let Entry::Occupied(mut numbers) = app.get_mut().entry(hash) {
                numbers.get_mut().pop_front();
                if numbers.get().is_empty() {
                    numbers.remove();
                }
            }
            if app.get().is_empty() {
                app.remove();
            }
        }
    }

    /// The numbers of what was published since then, in order: in an app, or in all; for these, or for all that it
    /// `concerns` whoever asks.
    pub(super) fn since(
        &self,
        then: Option<Instant>,
        app_id: Option<AppId>,
        of: &[InterestHash],
        concerns: impl Fn(AppId, InterestHash) -> bool,
    ) -> Vec<u64> {
        let first = then.map_or(0, |then| self.kept.partition_point(|one| one.at < then)) as u64 + self.first;
        let mut numbers = Vec::new();
        let mut look = |app_id: AppId, by_hash: &HashMap<InterestHash, VecDeque<u64>>| {
            let mut add = |hash: InterestHash, of: &VecDeque<u64>| {
                if concerns(app_id, hash) {
                    numbers.extend(of.iter().copied().filter(|number| *number >= first));
                }
            };
            for hash in of {
                if let Some(of) = by_hash.get(hash) {
                    add(*hash, of);
                }
            }
            for (hash, of) in by_hash.iter().filter(|_| of.is_empty()) {
                add(*hash, of);
            }
        };
        match app_id {
            Some(app_id) => self.numbers.get(&app_id).into_iter().for_each(|by_hash| look(app_id, by_hash)),
            None => self.numbers.iter().for_each(|(app_id, by_hash)| look(*app_id, by_hash)),
        }
        numbers.sort_unstable();
        numbers
    }

    /// Whether something that was published since then is kept no more.
    pub(super) fn forgot_since(&self, then: Option<Instant>) -> bool {
        self.forgotten.is_some_and(|forgotten| then.is_none_or(|then| forgotten >= then))
    }

    /// What is kept of that number, for a node.
    pub(super) fn take(&mut self, number: u64, to: Node) -> Kept {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| self.kept.get_mut(at)) {
            None => Kept::Nothing,
            Some(one) if one.sent_to.contains(&to) => Kept::Sent,
            Some(one) => {
                one.sent_to.push(to);
                Kept::Unsent(one.delivery.clone())
            }
        }
    }
}

fn payload_len(delivery: &Delivery) -> Option<usize> {
    let Delivery::Push { to: Audience::Group { .. }, event, .. } = delivery else { return None };
    let Content::Published { message, .. } = &event.content else { return None };
    Some(message.get().len())
}
