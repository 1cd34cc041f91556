//! Another node, as this one knows it.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use respoke_core::ports::{Confirmation, Node};
use respoke_wire::bus::{ITEM_LEN_MAX, Item, Piece};
use tokio::sync::watch;
use tokio::time::Instant;

use super::CarriedLimits;
use super::book::Holds;
use super::incoming::Incoming;
use super::outgoing::Outgoing;

/// Another node.
pub(super) struct Peer {
    pub(super) node: Node,
    /// Since when it is known.
    pub(super) since: Instant,
    pub(super) over: AtomicBool,
    /// When it said that it ends in order, first: everything that it said until then was handed on, or told to be lost. Nobody is
    /// connected there any more.
    pub(super) left: OnceLock<Instant>,
    /// Then it had not heard in time of all that this node is there for. What it published past that is lost with it, unless it
    /// made up for it since, and said so.
    pub(super) was_late: AtomicBool,
    pub(super) outgoing: Mutex<Outgoing>,
    pub(super) incoming: Mutex<Incoming>,
    /// Everything up to this number was handed on, or told to be lost.
    pub(super) seen: AtomicU64,
    /// What came of an item that is not whole yet.
    pub(super) parts: Mutex<Parts>,
    pub(super) holds: RwLock<Holds>,
    /// Up to which version of what this node is there for it has heard of everything.
    confirmed: watch::Sender<u64>,
    /// One, once it has told what it is there for.
    introduced: watch::Sender<u64>,
}

impl Peer {
    /// `version`: of what `here` is there for, which is told to it first of all.
    pub(super) fn new(here: Node, node: Node, limits: CarriedLimits, version: u64) -> Self {
        Self {
            node,
            since: Instant::now(),
            over: AtomicBool::new(false),
            left: OnceLock::new(),
            was_late: AtomicBool::new(false),
            outgoing: Mutex::new(Outgoing::new(here, node, limits, version)),
            incoming: Mutex::default(),
            seen: AtomicU64::new(0),
            parts: Mutex::default(),
            holds: RwLock::default(),
            confirmed: watch::Sender::new(0),
            introduced: watch::Sender::new(0),
        }
    }

    /// It has heard of everything up to a version.
    pub(super) fn confirm(&self, version: u64) {
        rise(&self.confirmed, version);
    }

    /// Whoever waits for a version waits for it too, unless it is known to have it.
    pub(super) fn waits_for(&self, version: u64, confirmation: &mut Confirmation) {
        if *self.confirmed.borrow() < version {
            confirmation.wait_for(self.node, version, self.confirmed.subscribe());
        }
    }

    /// It has told what it is there for. False: it had before.
    pub(super) fn introduce(&self) -> bool {
        rise(&self.introduced, 1)
    }

    /// Who waits until it has told what it is there for.
    pub(super) fn introduction(&self) -> Confirmation {
        let mut introduction = Confirmation::DONE;
        introduction.wait_for(self.node, 1, self.introduced.subscribe());
        introduction
    }

    /// It ends in order, and says so, perhaps once more. What it published past this node until it said so first, and has not made
    /// up for, is lost with it as it stands.
    pub(super) fn leave(&self) {
        let left = *self.left.get_or_init(Instant::now);
        let is_late = self.outgoing.lock().is_late(self.since, left);
        self.was_late.store(is_late, Ordering::SeqCst);
    }

    /// Whether it said farewell.
    pub(super) fn has_left(&self) -> bool {
        self.left.get().is_some()
    }

    /// What it may have said that was not handed on whole. None: it said farewell behind all that it said, or never got so far as
    /// to speak. Before a node serves it tells all others what it is there for.
    pub(super) fn unheard(&self) -> Option<RangeInclusive<u64>> {
        let incoming = self.incoming.lock();
        // What it made up for goes out behind its first farewell.
        let took_leave = self.has_left() && !self.was_late.load(Ordering::SeqCst) && !incoming.is_anything_missing();
        if took_leave || !incoming.is_anything_sent() {
            return None;
        }
        drop(incoming);
        let torn = self.parts.lock().cut().map(|numbers| *numbers.start());
        let first = torn.or_else(|| self.seen.load(Ordering::Acquire).checked_add(1))?;
        Some(first..=u64::MAX)
    }

    /// It is gone, and nobody waits for it any more.
    pub(super) fn end(&self) {
        self.outgoing.lock().end();
        rise(&self.confirmed, Confirmation::GONE);
        rise(&self.introduced, Confirmation::GONE);
    }
}

fn rise(watched: &watch::Sender<u64>, to: u64) -> bool {
    watched.send_if_modified(|now| {
        let rises = *now < to;
        *now = to.max(*now);
        rises
    })
}

/// The parts of one item, as they come one after the other.
#[derive(Debug, Default)]
pub(super) struct Parts {
    bytes: Vec<u8>,
    /// Their numbers.
    numbers: Option<RangeInclusive<u64>>,
    /// How many came.
    came: u32,
}

/// What becomes of a part.
#[derive(Debug)]
pub(super) enum Part {
    /// Others are to come.
    Kept,
    /// It was the last, and the item takes so many bytes.
    Whole(Item, usize),
    /// These belong to nothing that can be made whole any more.
    Torn(RangeInclusive<u64>),
}

impl Parts {
    /// Takes the part that has this number.
    pub(super) fn take(&mut self, number: u64, index: u32, count: u32, Piece(bytes): Piece) -> Part {
        if index != self.came || self.bytes.len() + bytes.len() > ITEM_LEN_MAX {
            // One before it is lost, and so is the item.
            let first = self.cut().map_or(number, |numbers| *numbers.start());
            return Part::Torn(first..=number);
        }
        let first = self.numbers.take().map_or(number, |numbers| *numbers.start());
        self.keep(first..=number, &bytes);
        if self.came < count {
            return Part::Kept;
        }
        let (item, len) = (Item::decode(&self.bytes), self.bytes.len());
        *self = Self::default();
        match item {
            // No node makes parts of parts.
            Ok(Item::Part { .. }) | Err(_) => Part::Torn(first..=number),
            Ok(item) => Part::Whole(item, len),
        }
    }

    fn keep(&mut self, numbers: RangeInclusive<u64>, bytes: &Bytes) {
        self.bytes.extend_from_slice(bytes);
        self.numbers = Some(numbers);
        self.came += 1;
    }

    /// Something else comes: what is not whole will never be. These were its parts.
    pub(super) fn cut(&mut self) -> Option<RangeInclusive<u64>> {
        std::mem::take(self).numbers
    }
}

#[cfg(test)]
mod tests {
    use respoke_wire::bus::pieces;

    use super::*;

    fn long() -> Vec<(u32, u32, Piece)> {
        let bytes = Piece(vec![7; 600_000].into());
        let pieces = pieces(&Item::Part { index: 0, count: 1, bytes }.encode().unwrap()).collect::<Vec<_>>();
        let part = |piece: &Bytes| match Item::decode(piece).unwrap() {
            Item::Part { index, count, bytes } => (index, count, bytes),
            other => panic!("{other:?}"),
        };
        pieces.iter().map(part).collect()
    }

    #[test]
    fn parts_that_do_not_follow_one_another_are_torn_and_their_numbers_told() {
        let mut parts = Parts::default();
        let [one, two, three] = &long()[..] else { panic!() };
        let mut take =
            |number, (index, count, piece): &(u32, u32, Piece)| match parts.take(number, *index, *count, piece.clone())
            {
                Part::Kept => String::new(),
                Part::Whole(item, _) => format!("{item:?}"),
                Part::Torn(numbers) => format!("{numbers:?}"),
            };
        assert_eq!((take(1, two), take(2, three)), ("1..=1".into(), "2..=2".into()));
        assert_eq!((take(3, one), take(4, three)), (String::new(), "3..=4".into()));
        assert_eq!((take(5, one), take(6, one)), (String::new(), "5..=6".into()));
        // What they make is none, because it is a part again.
        assert_eq!((take(7, one), take(8, two), take(9, three)), (String::new(), String::new(), "7..=9".into()));
        assert_eq!(parts.cut(), None);
    }

    #[test]
    fn parts_are_kept_only_as_long_as_an_item_may_be() {
        let mut parts = Parts::default();
        let piece = || Piece(vec![0; 200_000].into());
        let torn = (0..100_u32).find(|index| {
            let part = parts.take(u64::from(*index) + 1, *index, 100, piece());
            matches!(part, Part::Torn(_))
        });
        assert_eq!((torn, parts.bytes.len()), (Some(20), 0));
    }
}
