//! What one node sends to one other: numbered, and kept for a while to be sent again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use respoke_core::id::AppId;
use respoke_core::ports::Node;
use respoke_wire::bus::{InterestHash, frame_item};
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
    confirming: VecDeque<Confirming>,
}

/// A first in that the other has not confirmed yet.
#[derive(Debug)]
struct Confirming {
    /// The number that confirms it.
    due: u64,
    since: Instant,
    of: Wanted,
    waited_for: WaitedFor,
}

/// An interest, or all of an app.
pub(super) type Wanted = (AppId, Option<InterestHash>);

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
    pub(super) fn confirm(&mut self, of: Wanted, waited_for: &WaitedFor, now: Instant) {
        if self.confirming.len() >= CONFIRMING_MAX {
            self.confirming.pop_front();
        }
        self.confirming.push_back(Confirming { due: self.last, since: now, of, waited_for: waited_for.clone() });
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

    /// The other has everything up to `number`, or knows that it is lost. Tells what it confirmed too late with it.
    pub(super) fn seen(&mut self, number: u64, now: Instant) -> Vec<Wanted> {
        let mut late = Vec::new();
        if number > self.last || number <= self.seen {
            return late;
        }
        self.seen = number;
        while self.kept.front().is_some_and(|oldest| oldest.number <= number) {
            self.drop_oldest();
        }
        // What was lost with news confirms nothing; the news will be told anew.
        while !self.news_lost
            && let Some(confirming) = self.confirming.front()
            && confirming.due <= number
        {
            if now.duration_since(confirming.since) > self.limits.late_after {
                late.push(confirming.of);
            }
            confirmed(&confirming.waited_for, self.to);
            self.confirming.pop_front();
        }
        late
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
        for confirming in &mut self.confirming {
            confirming.due = self.last;
        }
    }

    /// The other is gone, and confirms nothing more.
    pub(super) fn end(&mut self) {
        for confirming in self.confirming.drain(..) {
            confirmed(&confirming.waited_for, self.to);
        }
        self.kept.clear();
        self.kept_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use respoke_core::ports::{Incarnation, NodeId};

    use super::*;

    const A: Node = Node { id: NodeId(1), incarnation: Incarnation(1) };
    const B: Node = Node { id: NodeId(2), incarnation: Incarnation(1) };

    fn outgoing() -> Outgoing {
        Outgoing::new(A, B, CarriedLimits { kept_bytes_max: 1_000, again_bytes_max: 300, ..CarriedLimits::DEFAULT })
    }

    fn waited_for() -> WaitedFor {
        Arc::new(watch::channel(vec![B]).0)
    }

    fn add(outgoing: &mut Outgoing, len: usize, kind: Kind) {
        outgoing.add(&vec![0; len], kind, Instant::now());
    }

    fn confirm(outgoing: &mut Outgoing, waited_for: &WaitedFor) {
        outgoing.confirm((AppId::from_uuid(uuid::Uuid::nil()), None), waited_for, Instant::now());
    }

    /// How much the other confirmed too late.
    fn seen(outgoing: &mut Outgoing, number: u64) -> usize {
        outgoing.seen(number, Instant::now()).len()
    }

    /// What would be sent again, by length, and up to where it is gone.
    fn again(outgoing: &mut Outgoing, missing: &[(u64, u64)]) -> (usize, Option<u64>) {
        let again = outgoing.again(missing, Instant::now());
        (again.frames.len(), again.gone)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_is_confirmed_and_kept_no_longer() {
        let (mut outgoing, waited_for) = (outgoing(), waited_for());
        add(&mut outgoing, 10, Kind::News);
        confirm(&mut outgoing, &waited_for);
        add(&mut outgoing, 10, Kind::Other);
        seen(&mut outgoing, 0);
        // Nobody can have seen what was not sent.
        seen(&mut outgoing, 3);
        assert_eq!((waited_for.borrow().len(), outgoing.unseen()), (1, Some(2)));
        assert_eq!(seen(&mut outgoing, 1), 0, "in time");
        assert_eq!((waited_for.borrow().len(), outgoing.kept.len()), (0, 1));
        seen(&mut outgoing, 2);
        assert_eq!((outgoing.unseen(), outgoing.kept_bytes, outgoing.kept.len()), (None, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn news_that_was_given_up_is_confirmed_when_it_was_told_anew_and_not_before() {
        let (mut outgoing, waited_for) = (outgoing(), waited_for());
        add(&mut outgoing, 10, Kind::News);
        confirm(&mut outgoing, &waited_for);
        tokio::time::advance(CarriedLimits::DEFAULT.kept_for + Duration::from_millis(1)).await;
        add(&mut outgoing, 10, Kind::Other);
        assert_eq!(again(&mut outgoing, &[(1, 2)]), (1, Some(1)));
        // The other knows that the first is lost, which is not to know what it said.
        seen(&mut outgoing, 2);
        assert!(outgoing.news_lost() && waited_for.borrow().len() == 1);
        outgoing.tell_anew();
        add(&mut outgoing, 10, Kind::News);
        add(&mut outgoing, 10, Kind::News);
        outgoing.told_anew();
        seen(&mut outgoing, 3);
        assert_eq!(waited_for.borrow().len(), 1);
        assert_eq!(seen(&mut outgoing, 4), 1, "too late");
        assert!(waited_for.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_much_is_kept_and_only_so_much_sent_at_once() {
        let mut outgoing = outgoing();
        for _ in 0..10 {
            add(&mut outgoing, 100, Kind::Other);
        }
        assert!(outgoing.kept_bytes <= 1_000);
        let kept = outgoing.kept.len();
        assert_eq!((kept, outgoing.kept[0].number), (7, 4));
        assert_eq!(again(&mut outgoing, &[(1, 10)]), (3, Some(3)));
        assert_eq!(again(&mut outgoing, &[(1, 2), (5, 5), (9, 10)]), (3, Some(2)));
        assert_eq!(again(&mut outgoing, &[(4, 4)]), (1, None));
        assert_eq!(again(&mut outgoing, &[(0, 0), (11, u64::MAX), (9, 2)]), (0, None));
        assert!(!outgoing.news_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_gone_is_waited_for_no_longer() {
        let (mut outgoing, waited_for) = (outgoing(), waited_for());
        add(&mut outgoing, 10, Kind::News);
        confirm(&mut outgoing, &waited_for);
        outgoing.end();
        assert!(waited_for.borrow().is_empty() && outgoing.kept_bytes == 0);
    }
}
