//! The frames that one node sent to one other, kept for a while to be sent again.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use respoke_core::id::AppId;
use respoke_wire::bus::InterestHash;
use tokio::time::Instant;

use super::CarriedLimits;

/// How long the same is not sent again a second time. Where much waits to get through, it is asked for many times before it
/// can have come; so that is doubled for the third time and the next.
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often it is doubled: to 0.8 seconds, which is nine times in five seconds.
const DOUBLED_MAX: u32 = 3;

/// How long it takes until as much may be sent again as at once, if nothing is seen: all that is kept, in less time than it
/// is kept for.
const AGAIN_BYTES_WITHIN: Duration = Duration::from_millis(250);

/// What an item is for, in case it is lost. If it goes in parts, the loss of any is the loss of it, and it is seen with the
/// last.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// What the node is there for in an app. If it is lost, all of that app has to be told anew.
    News(News),
    /// That it has told everything. If it is lost, it is told again.
    Complete,
    /// That the other is late. If it is lost, it is told again.
    Late(AppId, Late),
    /// Anything else. If it is lost, the other knows.
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct News {
    pub(super) app_id: AppId,
    /// The interest, if it is about one.
    pub(super) hash: Option<InterestHash>,
    /// Since when somebody waits for it to be heard.
    pub(super) since: Option<Instant>,
    /// The version of what the node is there for, up to which the other has heard of everything with it, unless some of
    /// that was lost before.
    pub(super) version: u64,
}

/// Of what the other heard late.
#[derive(Clone, Debug)]
pub(super) struct Late {
    /// None: all of the app.
    pub(super) of: Option<BTreeSet<InterestHash>>,
    /// Since when the first of them waits.
    pub(super) since: Instant,
}

/// The frames that were sent and are kept, in order.
#[derive(Debug)]
pub(super) struct SentFrames {
    limits: CarriedLimits,
    frames: VecDeque<SentFrame>,
    bytes: usize,
    /// How much may be sent again at once, in bytes, and since when. It grows by what is seen, and with time.
    again_bytes: usize,
    again_since: Instant,
}

/// A frame that was sent.
#[derive(Debug)]
pub(super) struct SentFrame {
    number: u64,
    at: Instant,
    pub(super) kind: Kind,
    /// Whoever has this and all before it has the whole item.
    pub(super) completes: bool,
    /// How often it was sent again, and when not before it is once more.
    again: u32,
    again_from: Instant,
    frame: Bytes,
}

impl SentFrame {
    /// What it takes, about.
    fn len(&self) -> usize {
        size_of::<Self>() + self.frame.len()
    }
}

/// What is done about a request to send again.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// What is sent again.
    pub frames: Vec<Bytes>,
    /// Nothing up to this is kept any more, though it is asked for.
    pub gone: Option<u64>,
}

impl SentFrames {
    pub(super) fn new(limits: CarriedLimits) -> Self {
        let (again_bytes, again_since) = (limits.again_bytes_max, Instant::now());
        Self { limits, frames: VecDeque::new(), bytes: 0, again_bytes, again_since }
    }

    /// What all of them take, about.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What those are for that are kept.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.frames.iter().map(|sent| &sent.kind)
    }

    /// Keeps the next one.
    pub(super) fn add(&mut self, number: u64, frame: Bytes, kind: Kind, completes: bool, now: Instant) {
        let sent = SentFrame { number, at: now, kind, completes, again: 0, again_from: now, frame };
        self.bytes += sent.len();
        self.frames.push_back(sent);
    }

    /// Gives up the oldest if it is kept for too long, or all together are too much, and says what it was for.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<Kind> {
        let oldest = self.frames.front()?;
        let old = now.duration_since(oldest.at) > self.limits.kept_for;
        if !old && self.bytes <= self.limits.kept_bytes_max {
            return None;
        }
        self.take_oldest().map(|oldest| oldest.kind)
    }

    /// Takes out the oldest if the other has seen everything up to `number` and that is among it.
    pub(super) fn take_seen(&mut self, number: u64) -> Option<SentFrame> {
        self.frames.front().filter(|oldest| oldest.number <= number)?;
        let seen = self.take_oldest()?;
        self.again_bytes += seen.frame.len();
        Some(seen)
    }

    fn take_oldest(&mut self) -> Option<SentFrame> {
        let oldest = self.frames.pop_front()?;
        self.bytes -= oldest.len();
        Some(oldest)
    }

    /// The other misses what lies between two numbers, both included, in each of some pieces.
    /// What is below `unseen` it has or knows to be lost, and what is above was never sent. Neither is sent again.
    pub(super) fn again(&mut self, missing: &[(u64, u64)], unseen: RangeInclusive<u64>, now: Instant) -> Again {
        let oldest = self.frames.front().map_or(unseen.end() + 1, |oldest| oldest.number);
        let mut again = Again::default();
        self.grow_again_bytes(now);
        for (first, last) in missing {
            let (first, last) = ((*first).max(*unseen.start()), (*last).min(*unseen.end()));
            if first > last {
                continue;
            }
            if first < oldest {
                again.gone = Some(last.min(oldest - 1));
            }
            let start = self.frames.partition_point(|sent| sent.number < first);
            for sent in self.frames.range_mut(start..).take_while(|sent| sent.number <= last) {
                if now < sent.again_from {
                    continue;
                }
                if self.again_bytes == 0 {
                    // The rest is asked for again.
                    return again;
                }
                self.again_bytes = self.again_bytes.saturating_sub(sent.frame.len());
                sent.again_from = now + SENT_AGAIN_AFTER * (1 << sent.again.min(DOUBLED_MAX));
                sent.again += 1;
                again.frames.push(sent.frame.clone());
            }
        }
        again
    }

    /// Where less gets through than is sent, there is no room for more than a little besides what is seen.
    fn grow_again_bytes(&mut self, now: Instant) {
        let most = self.limits.again_bytes_max;
        let since = now.duration_since(self.again_since).min(AGAIN_BYTES_WITHIN);
        let grown = usize::try_from(since.as_millis() * most as u128 / AGAIN_BYTES_WITHIN.as_millis());
        let grown = grown.unwrap_or(most);
        if grown > 0 {
            self.again_since = now;
        }
        self.again_bytes = self.again_bytes.saturating_add(grown).min(most);
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: usize = size_of::<SentFrame>();

    /// Adds one of that length.
    fn add(sent: &mut SentFrames, number: u64, len: usize) {
        sent.add(number, vec![0; len].into(), Kind::Other, true, Instant::now());
        while sent.give_up(Instant::now()).is_some() {}
    }

    /// How many are sent again of so many, and up to where they are gone.
    fn again(sent: &mut SentFrames, missing: &[(u64, u64)], last: u64) -> (usize, Option<u64>) {
        let again = sent.again(missing, 1..=last, Instant::now());
        (again.frames.len(), again.gone)
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_much_is_kept_and_only_so_much_sent_at_once() {
        let len = 100 + KEPT / 7;
        let (kept_bytes_max, again_bytes_max) = (1_000 + 8 * KEPT, 2 * len + 80);
        let mut sent = SentFrames::new(CarriedLimits { kept_bytes_max, again_bytes_max, ..CarriedLimits::DEFAULT });
        for number in 1..=10 {
            add(&mut sent, number, len);
        }
        assert!(sent.bytes() <= kept_bytes_max);
        let (kept, first) = (sent.len(), sent.frames[0].number);
        assert!((5..9).contains(&kept) && first == 11 - kept as u64);
        assert_eq!(again(&mut sent, &[(1, 10)], 10), (3, Some(first - 1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(again(&mut sent, &[(1, 2), (7, 7), (9, 10)], 10), (3, Some(2)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(again(&mut sent, &[(first, first)], 10), (1, None));
        assert_eq!(again(&mut sent, &[(0, 0), (11, u64::MAX), (9, 2)], 10), (0, None));
    }

    /// Elsewhere a slow way was filled with the same again and again, and nothing new came through.
    #[tokio::test(start_paused = true)]
    async fn the_same_is_sent_again_less_and_less_often() {
        let mut sent = SentFrames::new(CarriedLimits::DEFAULT);
        add(&mut sent, 1, 10);
        let began = Instant::now();
        let mut at = Vec::new();
        while began.elapsed() < CarriedLimits::DEFAULT.kept_for {
            if again(&mut sent, &[(1, 1)], 1).0 > 0 {
                at.push(began.elapsed().as_millis());
            }
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert_eq!(at, [0, 100, 300, 700, 1_500, 2_300, 3_100, 3_900, 4_700]);
        // Each by itself.
        add(&mut sent, 2, 10);
        assert_eq!(again(&mut sent, &[(1, 2)], 2).0, 1);
    }
}
