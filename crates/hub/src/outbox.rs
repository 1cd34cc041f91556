//! What waits to be written to one socket.
//!
//! Invariant: offering never waits. A full outbox closes its slow reader and nobody else's.

mod notes;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_wire::close::Close;
use respoke_wire::dialect::Dialect;
use tokio::sync::Notify;

pub(crate) use self::notes::Notes;

/// How much may wait in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Frames: the setting `outbox_frames_max`.
    pub frames_max: usize,
    /// Bytes of all of them: the setting `outbox_bytes_max`.
    pub bytes_max: usize,
}

/// The frames one socket has yet to write, in order.
pub struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    emptied: Notify,
    ended: Notify,
    limits: OutboxLimits,
    dialect: Dialect,
    /// Where its end, and that much waits in it, is noted, under which number.
    noted: Option<(Arc<Notes>, u64)>,
}

/// So much may wait in an outbox before that is noted: as a rule its reader has it before more comes, and nobody looks.
const LADEN_FROM: usize = 4_096;

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
    /// What of those bytes counts for this outbox, with each frame shared out among those it waits for.
    share: u32,
    /// The same of what was taken last, and may be being written.
    taken: u32,
    /// What there is of a message of its reader that is not whole.
    part: u32,
    closed: Option<Close>,
    /// Whether it is noted that much waits.
    laden: bool,
    /// Whether the taker is to look up though nothing waits.
    woken: bool,
    /// Whether what was taken is not to be written either.
    abandoned: bool,
}

impl Queue {
    /// How much waits, or is being written or read.
    fn waits(&self) -> usize {
        self.share.saturating_add(self.taken).saturating_add(self.part) as usize
    }

    /// Whether much waits, whoever else it waits for.
    fn is_laden(&self) -> bool {
        self.bytes.max(self.waits()) > LADEN_FROM
    }

    /// Whether much waits of which that is not noted; it is then.
    fn becomes_laden(&mut self) -> bool {
        let becomes = !self.laden && self.is_laden();
        self.laden |= becomes;
        becomes
    }
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
        Self { queue: Mutex::default(), filled, emptied, ended, limits, dialect: Dialect::default(), noted: None }
    }

    /// The same for frames of a protocol.
    #[must_use]
    pub(crate) fn speaking(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    /// In which protocol its frames are.
    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The same that notes its end, under a number.
    #[must_use]
    pub(crate) fn noted(self, notes: &Arc<Notes>, number: u64) -> Self {
        Self { noted: Some((notes.clone(), number)), ..self }
    }

    /// Tells whoever waits that it is closed. `first`: it was not before.
    fn tell_ended(&self, first: bool) {
        if let Some((notes, number)) = self.noted.as_ref().filter(|_| first) {
            notes.ended(*number);
        }
        self.ended.notify_one();
    }

    /// Puts a frame at the end. False: the socket is closed, or is now because it reads too slowly.
    pub fn offer(&self, frame: Bytes) -> bool {
        let share = frame.len();
        self.offer_share(frame, share)
    }

    /// The same of a frame of which only `share` bytes count among what waits for its reader: others get it too, or it is
    /// counted elsewhere.
    pub fn offer_share(&self, frame: Bytes, share: usize) -> bool {
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
            queue.share = queue.share.saturating_add(u32::try_from(share).unwrap_or(u32::MAX));
            queue.frames.push_back(frame);
        }
        let wake = full || queue.frames.len() == 1;
        let laden = queue.becomes_laden();
        drop(queue);
        self.tell_laden(laden);
        if wake {
            self.filled.notify_one();
        }
        if full {
            self.emptied.notify_one();
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

    /// How much waits, or is being written, if that is much. None: it is not noted any more.
    pub(crate) fn still_laden(&self) -> Option<usize> {
        let mut queue = self.queue.lock();
        queue.laden = queue.is_laden() && !queue.abandoned;
        queue.laden.then(|| queue.waits())
    }

    /// Notes how much there is of a message of its reader that is not whole. True: there was none before.
    pub fn holds_part(&self, len: u32) -> bool {
        let mut queue = self.queue.lock();
        let before = std::mem::replace(&mut queue.part, len);
        let laden = queue.becomes_laden();
        drop(queue);
        self.tell_laden(laden);
        before == 0 && len > 0
    }

    fn tell_laden(&self, becomes: bool) {
        if let Some((notes, number)) = self.noted.as_ref().filter(|_| becomes) {
            notes.laden([*number]);
        }
    }

    /// How much of that is being written.
    pub(crate) fn being_written(&self) -> usize {
        self.queue.lock().taken as usize
    }

    /// What was taken is held no more: it is written, or waits elsewhere to be.
    pub fn let_go(&self) {
        self.queue.lock().taken = 0;
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
        // Whoever asks for more has done with what was taken before.
        queue.taken = 0;
        if queue.frames.is_empty() && queue.closed.is_none() && !woken {
            return None;
        }
        std::mem::swap(&mut queue.frames, frames);
        queue.bytes = 0;
        queue.taken = std::mem::take(&mut queue.share);
        self.emptied.notify_one();
        Some(queue.closed.map_or(Taken::Frames, Taken::Closed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

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
    fn whoever_waits_for_room_is_told_of_every_end_as_well() {
        struct Woken(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        for end in [
            |outbox: &Outbox| outbox.close(Close::Left),
            |outbox: &Outbox| while outbox.offer("a".into()) {},
            |outbox: &Outbox| outbox.abandon(),
        ] {
            let outbox = Outbox::new(SMALL);
            assert!(outbox.offer("a".into()) && outbox.offer("b".into()));
            let woken = Arc::new(Woken(false.into()));
            let waker = woken.clone().into();
            let mut room = std::pin::pin!(outbox.room());
            assert!(room.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
            end(&outbox);
            assert!(woken.0.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn its_end_is_noted_once_whichever_way_it_comes() {
        for end in [
            |outbox: &Outbox| outbox.close(Close::Left),
            |outbox: &Outbox| while outbox.offer("a".into()) {},
            |outbox: &Outbox| outbox.abandon(),
        ] {
            let notes = Arc::new(Notes::default());
            let outbox = Outbox::new(SMALL).noted(&notes, 7);
            assert!(outbox.offer("a".into()) && notes.next_ended().is_none());
            end(&outbox);
            outbox.close(Close::GoingAway);
            outbox.abandon();
            assert_eq!((notes.next_ended(), notes.next_ended()), (Some(7), None));
        }
    }

    #[test]
    fn that_much_waits_is_noted_once_until_it_was_written() {
        let notes = Arc::new(Notes::default());
        let outbox = Outbox::new(OutboxLimits { frames_max: 10, bytes_max: 100_000 }).noted(&notes, 7);
        let long = notes.counted(vec![0; LADEN_FROM].into());
        assert!(outbox.offer(long.clone()) && notes.take_laden().is_empty());
        assert!(outbox.offer_share(long.clone(), 1) && outbox.offer_share(long, 1));
        assert_eq!((notes.take_laden(), outbox.still_laden()), (vec![7], Some(LADEN_FROM + 2)));
        assert_eq!(notes.events(), LADEN_FROM, "one frame, however often it waits");
        // What is being written is held as well.
        let mut frames = VecDeque::new();
        outbox.take_now(&mut frames);
        assert_eq!((outbox.still_laden(), notes.events()), (Some(LADEN_FROM + 2), LADEN_FROM));
        frames.clear();
        assert_eq!((outbox.take_now(&mut frames), outbox.still_laden(), notes.events()), (None, None, 0));
        outbox.offer(vec![0; 2 * LADEN_FROM].into());
        assert_eq!(notes.take_laden(), [7], "again");
        outbox.take_now(&mut frames);
        outbox.let_go();
        assert_eq!(outbox.still_laden(), None);
        // So is what its reader began to say.
        let part = u32::try_from(LADEN_FROM).unwrap() + 1;
        assert!(outbox.holds_part(1) && !outbox.holds_part(part));
        assert_eq!((notes.take_laden(), outbox.still_laden()), (vec![7], Some(LADEN_FROM + 1)));
        assert!(!outbox.holds_part(0) && outbox.still_laden().is_none());
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
