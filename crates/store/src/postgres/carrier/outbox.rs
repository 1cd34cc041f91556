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
    /// How many frames had waited for too long, and are not among them.
    pub(super) late: usize,
    /// Their bytes.
    pub(super) late_bytes: usize,
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum()
    }
}

impl Outbox {
    /// Adds a frame, unless there is no room.
    pub(super) fn add(&self, to: NodeId, frame: Bytes) -> bool {
        let mut waiting = self.waiting.lock();
        let bytes = waiting.bytes + frame.len() + FRAME_COST;
        if bytes > BYTES_MAX {
            return false;
        }
        waiting.bytes = bytes;
        let was_empty = waiting.frames.is_empty();
        waiting.frames.push_back((to, frame, Instant::now()));
        drop(waiting);
        if was_empty {
            self.filled.notify_one();
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().frames.is_empty()
    }

    /// Waits until one was added to none, or somebody [asks](Self::rouse) for whoever waits here.
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
        while batch.frames.len() < BATCH_FRAMES_MAX && bytes < BATCH_BYTES_MAX {
            let Some((to, frame, since)) = waiting.frames.pop_front() else { break };
            waiting.bytes -= frame.len() + FRAME_COST;
            if now.saturating_duration_since(since) > AGE_MAX {
                batch.late += 1;
                batch.late_bytes += frame.len();
                continue;
            }
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

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_is_not_kept_and_what_is_old_is_not_written() {
        let outbox = Outbox::default();
        let kept = (0..1_000).filter(|_| outbox.add(NodeId(2), frame(256 << 10))).count();
        assert_eq!(kept, 63, "16 MiB, but for what frames take besides");
        tokio::time::sleep(AGE_MAX).await;
        let batch = outbox.take(Instant::now());
        assert_eq!((batch.frames.len(), batch.late), (4, 0), "a batch is a MiB");
        assert!(outbox.add(NodeId(3), frame(1)), "there is room again");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let batch = outbox.take(Instant::now());
        assert_eq!((batch.receivers, batch.late, batch.late_bytes), (vec![3], 59, 59 * (256 << 10)));
        assert!(outbox.is_empty() && outbox.waiting.lock().bytes == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_roused_by_the_first() {
        let outbox = Outbox::default();
        assert!(outbox.add(NodeId(2), frame(0)) && outbox.add(NodeId(2), frame(0)));
        outbox.filled().await;
        assert_eq!(outbox.take(Instant::now()).frames.len(), 2);
        assert!(tokio::time::timeout(Duration::from_secs(1), outbox.filled()).await.is_err());
    }
}
