//! What one node sends to one other: numbered, and kept for a while to be sent again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use respoke_core::ports::Node;
use respoke_wire::bus::frame_item;
use tokio::sync::watch;
use tokio::time::Instant;

use super::CarriedLimits;

/// First joins that wait for one node to confirm them. Whoever is pushed out waits until its own deadline.
const CONFIRMING_MAX: usize = 65_536;

/// Who has not confirmed something yet, for whoever waits for it.
pub(super) type WaitedFor = Arc<watch::Sender<Vec<Node>>>;

/// Takes a node off those that are waited for.
pub(super) fn confirmed(waited_for: &WaitedFor, by: Node) {
    waited_for.send_modify(|nodes| nodes.retain(|node| *node != by));
}

/// Whether an item, if it is lost, is one of what a node is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is; then all of that has to be told anew.
    News,
    /// It is not.
    Other,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    from: Node,
    to: Node,
    limits: CarriedLimits,
    last: u64,
    seen: u64,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// News was given up before it was seen.
    news_lost: bool,
    /// By the number that confirms it.
    confirming: VecDeque<(u64, WaitedFor)>,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    at: Instant,
    kind: Kind,
    frame: Bytes,
}

/// What is done about a request to send again.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// What is sent again.
    pub frames: Vec<Bytes>,
    /// Nothing up to this is kept any more, though it is asked for.
    pub gone: Option<u64>,
}

impl Outgoing {
    pub(super) fn new(from: Node, to: Node, limits: CarriedLimits) -> Self {
        Self {
            from,
            to,
            limits,
            last: 0,
            seen: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            news_lost: false,
            confirming: VecDeque::new(),
        }
    }

    /// The frame of one more item.
    pub(super) fn add(&mut self, item: &[u8], kind: Kind, now: Instant) -> Bytes {
        self.last += 1;
        let frame = frame_item(self.from, self.to, self.last, item);
        self.kept_bytes += frame.len();
        self.kept.push_back(Kept { number: self.last, at: now, kind, frame: frame.clone() });
        self.forget(now);
        frame
    }

    /// Waits for the confirmation of what was added last.
    pub(super) fn confirm(&mut self, waited_for: &WaitedFor) {
        if self.confirming.len() >= CONFIRMING_MAX {
            self.confirming.pop_front();
        }
        self.confirming.push_back((self.last, waited_for.clone()));
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The last number, if the other is not known to have it.
    pub(super) fn unseen(&self) -> Option<u64> {
        (self.last > self.seen).then_some(self.last)
    }

    /// Gives up what is kept for too long, or is too much.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.kept.front() {
            let old = now.duration_since(oldest.at) > self.limits.kept_for;
            if !old && self.kept_bytes <= self.limits.kept_bytes_max {
                return;
            }
            self.news_lost |= oldest.kind == Kind::News;
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.kept_bytes -= oldest.frame.len();
        }
    }

    /// The other has everything up to `number`, or knows that it is lost.
    pub(super) fn seen(&mut self, number: u64) {
        if number > self.last || number <= self.seen {
            return;
        }
        self.seen = number;
        while self.kept.front().is_some_and(|oldest| oldest.number <= number) {
            self.drop_oldest();
        }
        // What was lost with news confirms nothing; the news will be told anew.
        while !self.news_lost
            && let Some((due, waited_for)) = self.confirming.front()
            && *due <= number
        {
            confirmed(waited_for, self.to);
            self.confirming.pop_front();
        }
    }

    /// The other misses what lies between two numbers, both included, in each of some pieces.
    pub(super) fn again(&mut self, missing: &[(u64, u64)], now: Instant) -> Again {
        self.forget(now);
        let oldest = self.kept.front().map_or(self.last + 1, |oldest| oldest.number);
        let mut again = Again::default();
        let mut bytes_left = self.limits.again_bytes_max;
        for (first, last) in missing {
            let (first, last) = ((*first).max(self.seen + 1), (*last).min(self.last));
            if first > last {
                continue;
            }
            if first < oldest {
                again.gone = Some(last.min(oldest - 1));
            }
            let start = self.kept.partition_point(|kept| kept.number < first);
            for kept in self.kept.range(start..).take_while(|kept| kept.number <= last) {
                if bytes_left == 0 {
                    // The rest is asked for again.
                    return again;
                }
                bytes_left = bytes_left.saturating_sub(kept.frame.len());
                again.frames.push(kept.frame.clone());
            }
        }
        again
    }

    /// Whether the other may not know what this node is there for, which was given up before it was seen.
    pub(super) const fn news_lost(&self) -> bool {
        self.news_lost
    }

    /// All that this node is there for is told anew from here on.
    pub(super) fn tell_anew(&mut self) {
        self.news_lost = false;
    }

    /// All that is waited for is confirmed by what was added last, which ended the telling.
    pub(super) fn told_anew(&mut self) {
        for (due, _) in &mut self.confirming {
            *due = self.last;
        }
    }

    /// The other is gone, and confirms nothing more.
    pub(super) fn end(&mut self) {
        for (_, waited_for) in self.confirming.drain(..) {
            confirmed(&waited_for, self.to);
        }
        self.kept.clear();
        self.kept_bytes = 0;
    }
}
