//! What waits to be written to one socket.
//!
//! Invariant: offering never waits. A full outbox closes its slow reader and nobody else's.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_wire::close::Close;
use tokio::sync::Notify;

/// How much may wait in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Frames.
    pub frames_max: usize,
    /// Bytes of all of them.
    pub bytes_max: usize,
}

/// The frames one socket has yet to write, in order.
pub struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    emptied: Notify,
    ended: Notify,
    limits: OutboxLimits,
    /// Where its end is noted, under which number.
    noted: Option<(Arc<Endings>, u64)>,
}

/// The numbers of sockets that were closed, each once, until somebody looks. There are never more than were open at once,
/// and have been opened since somebody looked.
#[derive(Debug, Default)]
pub(crate) struct Endings(Mutex<VecDeque<u64>>);

impl Endings {
    /// One at a time: should a look at one panic, the others are still there.
    pub(crate) fn next(&self) -> Option<u64> {
        self.0.lock().pop_front()
    }
}

impl std::fmt::Debug for Outbox {
    /// Without the frames, which may hold tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    closed: Option<Close>,
    /// Whether the taker is to look up though nothing waits.
    woken: bool,
    /// Whether what was taken is not to be written either.
    abandoned: bool,
}

/// What a writer finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Frames to write.
    Frames,
    /// Nothing will come any more; what was taken along is still to be written.
    Closed(Close),
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Self {
        let (filled, emptied, ended) = (Notify::new(), Notify::new(), Notify::new());
        Self { queue: Mutex::default(), filled, emptied, ended, limits, noted: None }
    }

    /// The same that notes its end, under a number.
    #[must_use]
    pub(crate) fn noted(self, endings: &Arc<Endings>, number: u64) -> Self {
        Self { noted: Some((endings.clone(), number)), ..self }
    }

    /// Tells whoever waits that it is closed. `first`: it was not before.
    fn tell_ended(&self, first: bool) {
        if let Some((endings, number)) = self.noted.as_ref().filter(|_| first) {
            endings.0.lock().push_back(*number);
        }
        self.ended.notify_one();
    }

    /// Puts a frame at the end. False: the socket is closed, or is now because it reads too slowly.
    pub fn offer(&self, frame: Bytes) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed.is_some() {
            return false;
        }
        // A long answer to who reads well, such as a history, is one frame and goes through whatever its length. It is
        // counted so that no other is asked for while it waits, and that there is room for what is short.
        let len = frame.len().min(self.limits.bytes_max / 2 + 1);
        let full = queue.frames.len() >= self.limits.frames_max || queue.bytes + len > self.limits.bytes_max;
        if full {
            // What waits is dropped: it would hold the memory that the limit is there to free.
            *queue = Queue { closed: Some(Close::SlowConsumer), ..Queue::default() };
        } else {
            queue.bytes += len;
            queue.frames.push_back(frame);
        }
        let wake = full || queue.frames.len() == 1;
        drop(queue);
        if wake {
            self.filled.notify_one();
        }
        if full {
            self.tell_ended(true);
        }
        !full
    }

    /// Lets the taker look up: it has something else to say.
    pub fn wake(&self) {
        self.queue.lock().woken = true;
        self.filled.notify_one();
    }

    /// Closes the outbox; the first reason stands. What waits is still written.
    pub fn close(&self, why: Close) {
        let mut queue = self.queue.lock();
        let first = queue.closed.is_none();
        queue.closed.get_or_insert(why);
        drop(queue);
        self.filled.notify_one();
        self.emptied.notify_one();
        self.tell_ended(first);
    }

    /// Closes it because its reader holds memory that others need: nothing of what waits or is under way is written.
    pub fn abandon(&self) {
        let mut queue = self.queue.lock();
        let first = queue.closed.is_none();
        let closed = Some(queue.closed.unwrap_or(Close::SlowConsumer));
        *queue = Queue { closed, abandoned: true, ..Queue::default() };
        drop(queue);
        self.filled.notify_one();
        self.emptied.notify_one();
        self.tell_ended(first);
    }

    /// Whether nothing is to be written any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.queue.lock().abandoned
    }

    /// Why it is closed, if it is.
    #[must_use]
    pub fn closed(&self) -> Option<Close> {
        self.queue.lock().closed
    }

    /// Waits until it is closed. There is one such waiter at a time.
    pub async fn ended(&self) -> Close {
        loop {
            let ended = self.ended.notified();
            if let Some(why) = self.closed() {
                return why;
            }
            ended.await;
        }
    }

    /// Waits until the outbox is at most half full, or closed. There is one such waiter at a time.
    pub async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.has_room() {
                return;
            }
            emptied.await;
        }
    }

    /// Whether [`Self::room`] would not wait.
    pub(crate) fn has_room(&self) -> bool {
        let queue = self.queue.lock();
        let half_full = queue.frames.len() > self.limits.frames_max / 2 || queue.bytes > self.limits.bytes_max / 2;
        !half_full || queue.closed.is_some()
    }

    /// Moves all that waits into `frames`, which is empty; waits until there is something, or it is woken.
    ///
    /// Cancelling loses nothing. There is one taker at a time.
    pub async fn take(&self, frames: &mut VecDeque<Bytes>) -> Taken {
        loop {
            let filled = self.filled.notified();
            if let Some(taken) = self.take_now(frames) {
                return taken;
            }
            filled.await;
        }
    }

    /// [`Self::take`] without waiting. None: nothing waits.
    pub fn take_now(&self, frames: &mut VecDeque<Bytes>) -> Option<Taken> {
        let mut queue = self.queue.lock();
        let woken = std::mem::take(&mut queue.woken);
        if queue.frames.is_empty() && queue.closed.is_none() && !woken {
            return None;
        }
        std::mem::swap(&mut queue.frames, frames);
        queue.bytes = 0;
        self.emptied.notify_one();
        Some(queue.closed.map_or(Taken::Frames, Taken::Closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: OutboxLimits = OutboxLimits { frames_max: 3, bytes_max: 10 };

    fn taken(outbox: &Outbox) -> (Option<Taken>, Vec<Bytes>) {
        let mut frames = VecDeque::new();
        (outbox.take_now(&mut frames), frames.into())
    }

    #[test]
    fn what_is_offered_is_taken_in_order() {
        let outbox = Outbox::new(SMALL);
        assert_eq!(taken(&outbox), (None, vec![]));
        assert!(outbox.offer("a".into()) && outbox.offer("b".into()));
        assert_eq!(taken(&outbox), (Some(Taken::Frames), vec!["a".into(), "b".into()]));
        assert_eq!(taken(&outbox).0, None);
    }

    #[test]
    fn a_full_outbox_closes_and_frees_what_waits() {
        for frames in [vec!["a"; 4], vec!["abcdef"; 2]] {
            let outbox = Outbox::new(SMALL);
            let offered: Vec<bool> = frames.iter().map(|frame| outbox.offer((*frame).into())).collect();
            assert!(offered[..offered.len() - 1].iter().all(|taken| *taken) && !offered[offered.len() - 1]);
            assert_eq!(taken(&outbox), (Some(Taken::Closed(Close::SlowConsumer)), vec![]));
            assert!(!outbox.offer("x".into()));
        }
    }

    #[test]
    fn an_abandoned_outbox_writes_nothing_more() {
        let outbox = Outbox::new(SMALL);
        outbox.offer("a".into());
        outbox.abandon();
        assert!(outbox.is_abandoned() && !outbox.offer("b".into()));
        assert_eq!(taken(&outbox), (Some(Taken::Closed(Close::SlowConsumer)), vec![]));
        let outbox = Outbox::new(SMALL);
        outbox.close(Close::SessionEnded);
        assert!(!outbox.is_abandoned());
        outbox.abandon();
        assert_eq!(outbox.closed(), Some(Close::SessionEnded), "the first reason stands");
    }

    #[test]
    fn one_long_frame_goes_into_an_empty_outbox_and_prints_nothing() {
        let outbox = Outbox::new(SMALL);
        assert!(outbox.offer("longer than ten bytes".into()));
        assert!(!format!("{outbox:?}").contains("longer"));
        // It takes more than half of the room, so that its reader is asked for no other, and no more than that.
        assert!(!outbox.has_room());
        assert!(outbox.offer("four".into()) && !outbox.offer("x".into()));
        assert_eq!(taken(&outbox).0, Some(Taken::Closed(Close::SlowConsumer)));
    }

    #[tokio::test]
    async fn whoever_waits_for_its_end_is_told_of_every_way_it_can_come() {
        for (end, why) in [
            (Box::new(|outbox: &Outbox| outbox.close(Close::Left)) as Box<dyn Fn(&Outbox)>, Close::Left),
            (Box::new(|outbox: &Outbox| while outbox.offer("a".into()) {}), Close::SlowConsumer),
        ] {
            let outbox = Outbox::new(SMALL);
            let ending = async {
                tokio::task::yield_now().await;
                end(&outbox);
            };
            assert_eq!(tokio::join!(outbox.ended(), ending).0, why);
            assert_eq!(outbox.ended().await, why, "and who asks later");
        }
    }

    #[test]
    fn its_end_is_noted_once_whichever_way_it_comes() {
        for end in [
            |outbox: &Outbox| outbox.close(Close::Left),
            |outbox: &Outbox| while outbox.offer("a".into()) {},
            |outbox: &Outbox| outbox.abandon(),
        ] {
            let endings = Arc::new(Endings::default());
            let outbox = Outbox::new(SMALL).noted(&endings, 7);
            assert!(outbox.offer("a".into()) && endings.next().is_none());
            end(&outbox);
            outbox.close(Close::GoingAway);
            outbox.abandon();
            assert_eq!((endings.next(), endings.next()), (Some(7), None));
        }
    }

    #[test]
    fn what_waits_when_it_closes_is_still_written() {
        let outbox = Outbox::new(SMALL);
        outbox.offer("last".into());
        outbox.close(Close::SessionEnded);
        outbox.close(Close::Left);
        assert!(!outbox.offer("late".into()));
        assert_eq!(taken(&outbox), (Some(Taken::Closed(Close::SessionEnded)), vec!["last".into()]));
    }

    #[tokio::test]
    async fn a_taker_is_woken() {
        let outbox = Arc::new(Outbox::new(SMALL));
        let offering = outbox.clone();
        let mut frames = VecDeque::new();
        let (taken, ()) = tokio::join!(outbox.take(&mut frames), async move {
            tokio::task::yield_now().await;
            offering.offer("a".into());
        });
        assert_eq!((taken, frames.len()), (Taken::Frames, 1));
    }
}
