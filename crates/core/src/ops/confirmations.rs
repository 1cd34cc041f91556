//! Whether the other nodes have followed what this one changed. They are asked to look at the feed, and what ends
//! something is answered once they have.
//!
//! A node that is asked looks at the feed after that, to its end. What was committed before is in there, so no number of a
//! change has to be told.
//!
//! Of each node one confirmation is awaited at a time. What changes meanwhile is asked for together when that has come. So
//! however much is ended here, no other node is asked more often than it can answer.
//!
//! A server that is alone has nobody to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::node_list::{Listed, NodeList};
use crate::ports::{Bus, Confirmation, Node, Notice};

/// How long the others are waited for. Who confirms later looks at the feed by itself, or uses nothing that it remembers.
pub const CONFIRMED_WITHIN: Duration = Duration::from_millis(250);

/// How many of the nodes that serve had followed a change when it was answered. The node that answers is one of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// So many had.
    pub by: u32,
    /// Of so many.
    pub of: u32,
}

impl Confirmed {
    /// There is no other.
    pub(super) const ALONE: Self = Self { by: 1, of: 1 };

    /// Whether all had.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.by == self.of
    }
}

impl fmt::Display for Confirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.by, self.of)
    }
}

/// Whoever answers a request, and tells how many nodes have followed what it changed.
pub trait Answerer: fmt::Debug + Send + Sync {
    /// It has changed something, which so many have followed, and all that it changed before.
    fn confirmed(&self, confirmed: Confirmed);
}

/// How long changes waited to be confirmed, and how many were not in time.
#[derive(Debug, Default)]
pub struct ConfirmFigures {
    /// By how long they waited: below 1 ms, below 2 ms, below 4 ms, and so on; last all that waited longer.
    pub waits: [AtomicU64; 10],
    /// How long they waited in all, in microseconds.
    pub micros: AtomicU64,
    /// Those that were answered though not every node had confirmed.
    pub unconfirmed: AtomicU64,
}

impl ConfirmFigures {
    pub(super) fn note(&self, waited: Duration, confirmed: Confirmed) {
        let class = (0_u32..).take(self.waits.len() - 1).position(|class| waited < Duration::from_millis(1 << class));
        self.waits[class.unwrap_or(self.waits.len() - 1)].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        if !confirmed.is_full() {
            self.unconfirmed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the other nodes were asked to follow.
#[derive(Default)]
pub(super) struct Confirmations {
    /// Locked while the bus is asked who there is. So who is lost after that is taken out after that.
    asked: Mutex<Asked>,
    pub(super) figures: ConfirmFigures,
}

#[derive(Default)]
struct Asked {
    /// Numbers what others are to follow.
    number: u64,
    /// As many as there are other nodes.
    of: BTreeMap<Node, Asking>,
}

/// What one node is asked.
struct Asking {
    /// The last that it is to confirm.
    wanted: u64,
    /// The last that it was told of, and when.
    told: u64,
    told_at: Instant,
    confirmed: watch::Sender<u64>,
}

impl Asking {
    fn new(now: Instant) -> Self {
        Self { wanted: 0, told: 0, told_at: now, confirmed: watch::Sender::new(0) }
    }

    /// The number that it is to be told of now. None: there is nothing new, or what it was told last is still awaited. That is
    /// given up after a while, for it may be lost.
    fn tell(&mut self, now: Instant) -> Option<u64> {
        let is_awaited = *self.confirmed.borrow() < self.told && now < self.told_at + CONFIRMED_WITHIN;
        if is_awaited || self.told >= self.wanted {
            return None;
        }
        (self.told, self.told_at) = (self.wanted, now);
        Some(self.told)
    }
}

impl Confirmations {
    /// Asks all other nodes to follow what was committed until now. None: this one is alone, whoever joins.
    pub(super) fn ask(&self, bus: &dyn Bus, nodes: &NodeList) -> Option<Waiting> {
        if bus.node() == Node::ALONE {
            return None;
        }
        let (now, listed) = (Instant::now(), nodes.listed());
        let mut asked = self.asked.lock();
        asked.number += 1;
        let (held, nodes) = (Confirmation::DONE, BTreeSet::new());
        let mut waiting = Waiting { held, nodes, listed, number: asked.number, since: now };
        let to_tell = waiting.ask(&mut asked, bus.other_nodes(), now);
        drop(asked);
        tell(bus, to_tell);
        Some(waiting)
    }

    /// Waits for what others were asked, and for those who had joined by then and are known to the bus later. It was asked after
    /// so many changes of the nodes; none: that is not known. Returns how many have confirmed it in time.
    pub(super) async fn wait(
        &self,
        bus: &dyn Bus,
        mut waiting: Waiting,
        nodes: &NodeList,
        changes: Option<u64>,
    ) -> Confirmed {
        let until = waiting.since + CONFIRMED_WITHIN;
        let all_confirm = async {
            if !waiting.listed.has(changes) {
                nodes.reaches(changes).await;
                let listed = nodes.listed();
                self.ask_newcomers(bus, &mut waiting);
                waiting.listed = listed;
            }
            waiting.held.done().await;
        };
        let in_time = timeout_at(until, all_confirm).await;
        if in_time.is_err() {
            // Who was still to confirm something before it may not have been told of this, and nothing may come after it.
            self.tell_again(bus, &waiting.held.missing());
        }
        let (known, of) = waiting.held.count();
        // Somebody may serve who was not asked, also if it is known by now who does.
        let of = if waiting.listed.has(changes) { of } else { of.max(known + 1) };
        let with_this_one = |others: usize| u32::try_from(others + 1).unwrap_or(u32::MAX);
        Confirmed { by: with_this_one(known), of: with_this_one(of) }
    }

    /// Asks those who are known only now.
    fn ask_newcomers(&self, bus: &dyn Bus, waiting: &mut Waiting) {
        let mut asked = self.asked.lock();
        let to_tell = waiting.ask(&mut asked, bus.other_nodes(), Instant::now());
        drop(asked);
        tell(bus, to_tell);
    }

    fn tell_again(&self, bus: &dyn Bus, nodes: &[Node]) {
        let (now, mut asked) = (Instant::now(), self.asked.lock());
        let due = |node: &Node| Some((*node, asked.of.get_mut(node)?.tell(now)?));
        let to_tell = nodes.iter().filter_map(due).collect();
        drop(asked);
        tell(bus, to_tell);
    }

    /// A node has followed all that it was told of up to this number.
    pub(super) fn confirmed(&self, bus: &dyn Bus, node: Node, number: u64) {
        let mut asked = self.asked.lock();
        let Some(asking) = asked.of.get_mut(&node) else { return };
        let number = number.min(asking.told);
        asking.confirmed.send_if_modified(|confirmed| {
            let is_more = number > *confirmed;
            *confirmed = number.max(*confirmed);
            is_more
        });
        let next = asking.tell(Instant::now()).map(|number| (node, number));
        drop(asked);
        tell(bus, next.into_iter().collect());
    }

    /// A node is gone, and is not waited for.
    pub(super) fn lost(&self, node: Node) {
        if let Some(asking) = self.asked.lock().of.remove(&node) {
            asking.confirmed.send_replace(Confirmation::GONE);
        }
    }
}

/// Who was asked, when, and who is still to confirm it.
pub(super) struct Waiting {
    held: Confirmation,
    nodes: BTreeSet<Node>,
    /// What the bus knew before these were asked.
    listed: Listed,
    /// Which of what was changed.
    number: u64,
    pub(super) since: Instant,
}

impl Waiting {
    /// Waits for these as well. Whom to tell of which number now.
    fn ask(&mut self, asked: &mut Asked, nodes: Vec<Node>, now: Instant) -> Vec<(Node, u64)> {
        let mut to_tell = Vec::new();
        for node in nodes {
            if !self.nodes.insert(node) {
                continue;
            }
            let asking = asked.of.entry(node).or_insert_with(|| Asking::new(now));
            asking.wanted = asking.wanted.max(self.number);
            to_tell.extend(asking.tell(now).map(|number| (node, number)));
            self.held.wait_for(node, self.number, asking.confirmed.subscribe());
        }
        to_tell
    }
}

fn tell(bus: &dyn Bus, to_tell: Vec<(Node, u64)>) {
    for (node, number) in to_tell {
        bus.tell(node, Notice::Follow { number });
    }
}

/// For whom this node is to follow the feed, and up to which of their numbers.
#[derive(Default)]
pub(super) struct Askers(Mutex<BTreeMap<Node, u64>>);

impl Askers {
    pub(super) fn add(&self, node: Node, number: u64) {
        let mut askers = self.0.lock();
        let asked = askers.entry(node).or_default();
        *asked = number.max(*asked);
    }

    pub(super) fn take(&self) -> BTreeMap<Node, u64> {
        std::mem::take(&mut self.0.lock())
    }

    /// A node is gone, and is told nothing.
    pub(super) fn remove(&self, node: Node) {
        self.0.lock().remove(&node);
    }

    pub(super) fn put_back(&self, askers: BTreeMap<Node, u64>) {
        for (node, number) in askers {
            self.add(node, number);
        }
    }
}

#[cfg(test)]
mod tests;
