//! What one node gets of one other. It is put in order, and what is missing is asked for again.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use respoke_wire::bus::Item;
use tokio::time::Instant;

/// Bytes kept of items that came before others that they stand behind: as much as a sender keeps. What does not fit is
/// sent again later.
const EARLY_BYTES_MAX: usize = 16 << 20;

/// What an item takes besides the bytes that it came in, about.
pub(super) const ITEM_LEN: usize = 256;

/// Pieces asked for at once, which is a kilobyte.
const PIECES_MAX: usize = 64;

/// How soon it is asked again for what is missing: a carrier that delivers out of order may have it on its way.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What is next.
#[derive(Debug)]
pub(super) enum Next {
    /// An item, its number and what it takes.
    Item(u64, Item, usize),
    /// These will not come.
    Missed(RangeInclusive<u64>),
}

#[derive(Debug)]
pub(super) struct Incoming {
    next: u64,
    /// The greatest number that is known to have been sent.
    head: u64,
    /// With what each takes.
    early: BTreeMap<u64, (usize, Item)>,
    early_bytes: usize,
    asked: Option<Instant>,
}

impl Default for Incoming {
    fn default() -> Self {
        Self { next: 1, head: 0, early: BTreeMap::new(), early_bytes: 0, asked: None }
    }
}

impl Incoming {
    /// Takes what came in a frame of `len` bytes, and tells what can be handed on because of it.
    pub(super) fn take(&mut self, number: u64, len: usize, item: Item) -> Vec<Next> {
        let len = ITEM_LEN + len;
        self.head = self.head.max(number);
        if number < self.next {
            return Vec::new();
        }
        if number > self.next {
            if self.early_bytes + len <= EARLY_BYTES_MAX && !self.early.contains_key(&number) {
                self.early.insert(number, (len, item));
                self.early_bytes += len;
            }
            return Vec::new();
        }
        let mut ready = vec![Next::Item(number, item, len)];
        self.go_on(number, &mut ready);
        ready
    }

    /// Whether anything is known to have been sent.
    pub(super) const fn is_anything_sent(&self) -> bool {
        self.head > 0
    }

    /// Whether something is known to have been sent that did not come.
    pub(super) const fn is_anything_missing(&self) -> bool {
        self.next <= self.head
    }

    /// So many were sent.
    pub(super) fn sent(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    /// What did not come up to this number will not come.
    pub(super) fn gone(&mut self, last: u64) -> Vec<Next> {
        if last < self.next {
            return Vec::new();
        }
        self.head = self.head.max(last);
        let mut ready = Vec::new();
        let later = self.early.split_off(&last.saturating_add(1));
        for (number, (len, item)) in std::mem::replace(&mut self.early, later) {
            self.early_bytes -= len;
            if number > self.next {
                ready.push(Next::Missed(self.next..=number - 1));
            }
            ready.push(Next::Item(number, item, len));
            self.next = number.saturating_add(1);
        }
        if self.next <= last {
            ready.push(Next::Missed(self.next..=last));
        }
        self.go_on(last, &mut ready);
        ready
    }

    /// Goes on after `done` with what came early.
    fn go_on(&mut self, done: u64, ready: &mut Vec<Next>) {
        self.next = done.saturating_add(1);
        while let Some((len, item)) = self.early.remove(&self.next) {
            self.early_bytes -= len;
            ready.push(Next::Item(self.next, item, len));
            self.next = self.next.saturating_add(1);
        }
    }

    /// What is to be asked for now, if anything is missing and nothing was asked for just before.
    pub(super) fn ask_again(&mut self, now: Instant) -> Option<Vec<(u64, u64)>> {
        if !self.is_anything_missing() || self.asked.is_some_and(|asked| now.duration_since(asked) < AGAIN_AFTER) {
            return None;
        }
        self.asked = Some(now);
        let mut missing = Vec::new();
        let mut next = self.next;
        for number in self.early.keys() {
            if *number > next {
                missing.push((next, number - 1));
                if missing.len() == PIECES_MAX {
                    return Some(missing);
                }
            }
            next = number.saturating_add(1);
        }
        if next <= self.head {
            missing.push((next, self.head));
        }
        Some(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(incoming: &mut Incoming, number: u64, len: usize) -> Vec<String> {
        told(incoming.take(number, len, Item::Unsent))
    }

    fn told(ready: Vec<Next>) -> Vec<String> {
        let one = |next| match next {
            Next::Item(number, ..) => number.to_string(),
            Next::Missed(numbers) => format!("no {numbers:?}"),
        };
        ready.into_iter().map(one).collect()
    }

    async fn missing(incoming: &mut Incoming) -> Option<Vec<(u64, u64)>> {
        tokio::time::advance(AGAIN_AFTER).await;
        incoming.ask_again(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_out_of_order_is_handed_on_in_order_and_once() {
        let mut incoming = Incoming::default();
        assert!(take(&mut incoming, 3, 1).is_empty() && take(&mut incoming, 6, 1).is_empty());
        assert_eq!(missing(&mut incoming).await, Some(vec![(1, 2), (4, 5)]));
        assert_eq!(incoming.ask_again(Instant::now()), None, "it was asked for just before");
        assert_eq!(take(&mut incoming, 1, 1), ["1"]);
        assert_eq!(missing(&mut incoming).await, Some(vec![(2, 2), (4, 5)]));
        assert_eq!(take(&mut incoming, 2, 1), ["2", "3"]);
        assert!(take(&mut incoming, 2, 1).is_empty() && take(&mut incoming, 6, 1).is_empty());
        assert!(take(&mut incoming, 5, 1).is_empty());
        assert_eq!(take(&mut incoming, 4, 1), ["4", "5", "6"]);
        assert_eq!((incoming.next, missing(&mut incoming).await, incoming.early_bytes), (7, None, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_loss_of_the_last_is_noticed_when_it_is_told_how_many_there_were() {
        let mut incoming = Incoming::default();
        incoming.sent(2);
        for _ in 0..2 {
            assert_eq!(missing(&mut incoming).await, Some(vec![(1, 2)]));
        }
    }

    #[test]
    fn what_is_gone_is_told_where_it_would_have_stood() {
        let mut incoming = Incoming::default();
        for number in [3, 6, 8] {
            take(&mut incoming, number, 1);
        }
        assert_eq!(told(incoming.gone(5)), ["no 1..=2", "3", "no 4..=5", "6"]);
        assert_eq!(take(&mut incoming, 7, 1), ["7", "8"]);
        assert!(told(incoming.gone(8)).is_empty());
        assert_eq!(told(incoming.gone(u64::MAX)), [format!("no 9..={}", u64::MAX)]);
        take(&mut incoming, u64::MAX, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_much_is_kept_early() {
        let mut incoming = Incoming::default();
        for number in 2..20 {
            take(&mut incoming, number, 1 << 20);
        }
        assert_eq!(missing(&mut incoming).await, Some(vec![(1, 1), (17, 19)]));
        assert_eq!(take(&mut incoming, 1, 1).len(), 16);
        for number in 0..1_000 {
            take(&mut incoming, 20 + 2 * number, 1);
        }
        assert_eq!(missing(&mut incoming).await.unwrap().len(), PIECES_MAX);
    }
}
