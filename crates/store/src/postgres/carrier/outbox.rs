//! What waits to be written.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::ports::NodeId;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bytes that may wait, each frame counted with what it takes beside its own: as much as a bus keeps for one receiver.
const BYTES_MAX: usize = 16 << 20;
/// What a frame takes beside its bytes.
const FRAME_COST: usize = 64;
/// What waits for longer is as good as lost.
const AGE_MAX: Duration = Duration::from_secs(5);
/// What is written together: at most so many frames, and no more once so many bytes are there.
const BATCH_FRAMES_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<(NodeId, Bytes, Instant)>,
    bytes: usize,
}

/// What is written together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) receivers: Vec<i64>,
    pub(super) frames: Vec<Bytes>,
    /// Those that had waited for too long, and are not among them.
    pub(super) late: Lost,
}

/// Frames that are not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl Lost {
    fn note(&mut self, frame: &Bytes) {
        self.frames += 1;
        self.bytes += frame.len();
    }
}

impl Waiting {
    /// Whether the next one has waited for too long.
    fn has_late(&self, now: Instant) -> bool {
        self.frames.front().is_some_and(|(.., since)| now.saturating_duration_since(*since) > AGE_MAX)
    }

    /// Whether a batch of them would be as large as one may be.
    fn has_batch(&self) -> bool {
        self.frames.len() >= BATCH_FRAMES_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    fn pop(&mut self) -> Option<(NodeId, Bytes, Instant)> {
        let next = self.frames.pop_front()?;
        self.bytes -= next.1.len() + FRAME_COST;
        Some(next)
    }
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum()
    }
}

impl Outbox {
    /// Adds a frame, if there is room without those that have waited for too long. Says what is lost.
    pub(super) fn add(&self, to: NodeId, frame: Bytes) -> Lost {
        let now = Instant::now();
        let mut lost = Lost::default();
        let mut waiting = self.waiting.lock();
        let room = BYTES_MAX.saturating_sub(frame.len() + FRAME_COST);
        while waiting.bytes > room && waiting.has_late(now) {
            waiting.pop().iter().for_each(|(_, late, _)| lost.note(late));
        }
        if waiting.bytes > room {
            lost.note(&frame);
            return lost;
        }
        let (was_empty, had_batch) = (waiting.frames.is_empty(), waiting.has_batch());
        waiting.bytes += frame.len() + FRAME_COST;
        waiting.frames.push_back((to, frame, now));
        let is_told = was_empty || (!had_batch && waiting.has_batch());
        drop(waiting);
        if is_told {
            self.filled.notify_one();
        }
        lost
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().frames.is_empty()
    }

    /// Whether so much is there that it is written at once.
    pub(super) fn has_batch(&self) -> bool {
        self.waiting.lock().has_batch()
    }

    /// Waits until one was added to none, or there is enough for a batch, or somebody [asks](Self::rouse) for whoever waits here.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    pub(super) fn rouse(&self) {
        self.filled.notify_one();
    }

    /// The next ones.
    pub(super) fn take(&self, now: Instant) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut waiting = self.waiting.lock();
        while waiting.has_late(now) {
            waiting.pop().iter().for_each(|(_, late, _)| batch.late.note(late));
        }
        while batch.frames.len() < BATCH_FRAMES_MAX && bytes < BATCH_BYTES_MAX {
            let Some((to, frame, _)) = waiting.pop() else { break };
            bytes += frame.len();
            batch.receivers.push(i64::from(to.0));
            batch.frames.push(frame);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Bytes {
        Bytes::from(vec![7; len])
    }

    const NONE: Lost = Lost { frames: 0, bytes: 0 };

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_is_not_kept_and_what_is_old_gives_way() {
        const LEN: usize = 256 << 10;
        let outbox = Outbox::default();
        let kept = (0..1_000).filter(|_| outbox.add(NodeId(2), frame(LEN)) == NONE).count();
        assert_eq!(kept, 63, "16 MiB, but for what frames take besides");
        assert_eq!(outbox.add(NodeId(2), frame(LEN)), Lost { frames: 1, bytes: LEN });
        tokio::time::sleep(AGE_MAX).await;
        let batch = outbox.take(Instant::now());
        assert_eq!((batch.frames.len(), batch.late), (4, NONE), "a batch is a MiB");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let kept = (0..5).map(|_| outbox.add(NodeId(3), frame(LEN)));
        let lost = kept.fold(0, |lost, of| lost + of.frames);
        assert_eq!(lost, 1, "there was room for four; the fifth takes the place of one that is late");
        let batch = outbox.take(Instant::now());
        assert_eq!((batch.receivers, batch.late), (vec![3; 4], Lost { frames: 58, bytes: 58 * LEN }));
        assert_eq!(outbox.take(Instant::now()).receivers, [3]);
        assert!(outbox.is_empty() && outbox.waiting.lock().bytes == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_roused_by_the_first() {
        let outbox = Outbox::default();
        assert_eq!([outbox.add(NodeId(2), frame(0)), outbox.add(NodeId(2), frame(0))], [NONE; 2]);
        outbox.filled().await;
        assert_eq!(outbox.take(Instant::now()).frames.len(), 2);
        assert!(tokio::time::timeout(Duration::from_secs(1), outbox.filled()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_roused_by_a_whole_batch() {
        let outbox = Outbox::default();
        outbox.add(NodeId(2), frame(0));
        outbox.filled().await;
        for _ in 2..BATCH_FRAMES_MAX {
            outbox.add(NodeId(2), frame(0));
        }
        assert!(!outbox.has_batch());
        let is_roused = || async { tokio::time::timeout(Duration::from_secs(1), outbox.filled()).await.is_ok() };
        assert!(!is_roused().await);
        outbox.add(NodeId(2), frame(0));
        assert!(outbox.has_batch() && is_roused().await);
    }
}
