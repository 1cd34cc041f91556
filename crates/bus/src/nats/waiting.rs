//! What waits to be sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use respoke_core::ports::NodeId;
use tokio::time::Instant;

use super::packet::{FRAME_HEAD_LEN, PACKET_HEAD_LEN, add_frame};

/// How much may wait, in bytes: what a sender keeps for one node. More than that is sent again anyway.
pub(super) const WAITING_BYTES_MAX: usize = 16 << 20;
/// What a frame takes besides its bytes, about.
const FRAME_LEN: usize = 64;
/// For what waited longer the sender keeps nothing any more, and what came after it is of more use.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(5);

/// Frames for some nodes. Each gets its turn.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    of: BTreeMap<NodeId, VecDeque<(Instant, Bytes)>>,
    turns: VecDeque<NodeId>,
    bytes: usize,
    /// Some were taken to be sent, and nobody asked for more since.
    taken: bool,
}

/// How long a message is.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketLens {
    /// A second frame goes along up to here.
    pub(super) enough: usize,
    /// One alone up to here.
    pub(super) max: usize,
}

/// What is sent next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) to: NodeId,
    pub(super) packet: Vec<u8>,
    /// How many frames it holds.
    pub(super) frames: u64,
}

impl Waiting {
    /// Lets a frame wait, if there is room. How many did not find any, or found it in place of some that are too old.
    pub(super) fn add(&mut self, to: NodeId, frame: Bytes, now: Instant) -> u64 {
        let len = FRAME_LEN + frame.len();
        let mut dropped = 0;
        if self.bytes + len > WAITING_BYTES_MAX {
            dropped += self.forget(now);
        }
        if self.bytes + len > WAITING_BYTES_MAX {
            return dropped + 1;
        }
        let of = self.of.entry(to).or_default();
        if of.is_empty() {
            self.turns.push_back(to);
        }
        of.push_back((now, frame));
        self.bytes += len;
        dropped
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Whether all was sent.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.is_empty() && !self.taken
    }

    /// Drops what is too old. How many that were.
    pub(super) fn forget(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        for of in self.of.values_mut() {
            while let Some((_, old)) = of.pop_front_if(|(since, _)| now.duration_since(*since) > KEPT_FOR) {
                self.bytes -= FRAME_LEN + old.len();
                dropped += 1;
            }
        }
        let of = &mut self.of;
        of.retain(|_, of| !of.is_empty());
        self.turns.retain(|node| of.contains_key(node));
        dropped
    }

    /// As many of the frames for the node whose turn it is as one message takes, and how many were dropped because they are
    /// too old or fit into none.
    pub(super) fn next(&mut self, lens: PacketLens, now: Instant) -> (Option<Batch>, u64) {
        let mut dropped = 0;
        while let Some(to) = self.turns.pop_front() {
            let Some(of) = self.of.get_mut(&to) else { continue };
            let (mut packet, mut frames) = (Vec::new(), 0);
            while let Some((since, frame)) = of.front() {
                let len = FRAME_HEAD_LEN + frame.len();
                let sent = PACKET_HEAD_LEN + len <= lens.max && now.duration_since(*since) <= KEPT_FOR;
                if sent && frames > 0 && packet.len() + len > lens.enough.min(lens.max) {
                    break;
                }
                self.bytes -= FRAME_LEN + frame.len();
                if sent {
                    add_frame(&mut packet, frame);
                    frames += 1;
                } else {
                    dropped += 1;
                }
                of.pop_front();
            }
            if of.is_empty() {
                self.of.remove(&to);
            } else {
                self.turns.push_back(to);
            }
            if frames > 0 {
                self.taken = true;
                return (Some(Batch { to, packet, frames }), dropped);
            }
        }
        self.taken = false;
        (None, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::Packet;
    use super::*;

    fn frame(len: usize, of: u8) -> Bytes {
        vec![of; len].into()
    }

    fn next(waiting: &mut Waiting, enough: usize) -> Option<(u32, Vec<Bytes>)> {
        let (batch, dropped) = waiting.next(PacketLens { enough, max: 1 << 20 }, Instant::now());
        assert_eq!(dropped, 0);
        let batch = batch?;
        assert!(batch.packet.len() <= enough || batch.frames == 1);
        let Some(Packet::Frames(frames)) = Packet::read(batch.packet.into()) else { panic!() };
        let frames: Vec<_> = frames.collect();
        assert_eq!(batch.frames, frames.len() as u64);
        Some((batch.to.0, frames))
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_takes_what_fits_and_each_node_gets_its_turn() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for of in 1..=5 {
            assert_eq!(waiting.add(NodeId(1), frame(10, of), now), 0);
        }
        waiting.add(NodeId(2), frame(10, 9), now);
        assert_eq!(next(&mut waiting, 43), Some((1, vec![frame(10, 1), frame(10, 2), frame(10, 3)])));
        assert_eq!(next(&mut waiting, 43), Some((2, vec![frame(10, 9)])));
        assert_eq!(next(&mut waiting, 42), Some((1, vec![frame(10, 4), frame(10, 5)])));
        assert_eq!((next(&mut waiting, 42), waiting.bytes, waiting.of.len()), (None, 0, 0));
        // A long one goes alone.
        for len in [10, 100, 10] {
            waiting.add(NodeId(1), frame(len, 1), now);
        }
        let lens = [(); 3].map(|()| next(&mut waiting, 42).unwrap().1.iter().map(Bytes::len).collect::<Vec<_>>());
        assert_eq!(lens, [[10], [100], [10]]);
    }

    #[tokio::test(start_paused = true)]
    async fn so_much_waits_and_no_more() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let added = (0..1_000).filter(|nth| waiting.add(NodeId(nth % 3), frame(100_000, 0), now) == 0).count();
        assert_eq!(added, WAITING_BYTES_MAX / (100_000 + FRAME_LEN));
        // Another small one may find room; when all that waits is too old, each does.
        tokio::time::advance(KEPT_FOR + Duration::from_millis(1)).await;
        assert_eq!(waiting.add(NodeId(9), frame(100_000, 1), Instant::now()), added as u64);
        assert_eq!(next(&mut waiting, 1 << 20), Some((9, vec![frame(100_000, 1)])));
        assert!(waiting.is_empty() && waiting.bytes == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_message_takes_is_dropped_and_holds_up_nothing() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for len in [10, 96, 95, 1_000] {
            waiting.add(NodeId(1), frame(len, 0), now);
        }
        waiting.add(NodeId(2), frame(97, 0), now);
        waiting.add(NodeId(3), frame(1, 0), now);
        let (mut sent, mut dropped) = (Vec::new(), 0);
        loop {
            let (batch, not_sent) = waiting.next(PacketLens { enough: 100, max: 100 }, now);
            dropped += not_sent;
            let Some(batch) = batch else { break };
            sent.push((batch.to.0, batch.packet.len()));
        }
        assert_eq!((sent, dropped, waiting.bytes), (vec![(1, 15), (3, 6), (1, 100)], 3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_too_long_is_not_sent() {
        let mut waiting = Waiting::default();
        waiting.add(NodeId(1), frame(1, 1), Instant::now());
        tokio::time::advance(KEPT_FOR).await;
        waiting.add(NodeId(1), frame(2, 2), Instant::now());
        tokio::time::advance(Duration::from_millis(1)).await;
        let (batch, dropped) = waiting.next(PacketLens { enough: 100, max: 100 }, Instant::now());
        assert_eq!((batch.map(|batch| batch.packet), dropped), (Some(vec![1, 0, 0, 0, 2, 2, 2]), 1));
    }
}
