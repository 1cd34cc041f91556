//! The order of one group: what was delivered last, and what waits for what.

use std::collections::BTreeMap;

use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, GroupName, MessageId};
use respoke_core::message::Place;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bounds::{LATE, Load, PATIENCE, WAITING_MAX};
use super::push::{Push, Sender};
use super::skipped::Skipped;

/// So many messages are remembered that the store gave, and that are passed over when they come.
const GIVEN_MAX: usize = 1_024;

/// What is waited for in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) app: AppId,
    pub(crate) group: GroupName,
    pub(crate) epoch: u64,
    /// The first offset that is missing.
    pub(crate) next: u64,
    /// The last that waits long enough, and its instant.
    pub(crate) until: (u64, Timestamp),
    /// Since when the store should have been asked, and could have been.
    pub(crate) due: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Order {
    /// Which history the offsets belong to; none before the first message.
    epoch: Option<u64>,
    /// The instant of the oldest message of it that came. What is of another history and older has no order with anything.
    /// Where the clocks of nodes differ it may seem newer. Then the order begins anew with it, and again with what is newer than that.
    since: Option<Timestamp>,
    /// The offset that has its turn. None: that of the next that comes, unless it is below `floor`.
    next: Option<u64>,
    /// What is below this was delivered, or was waited for no longer.
    floor: u64,
    /// Since when somebody is here ([`super::Group`]).
    stay: u64,
    /// What the store gave, by history and offset, when, and has not come yet.
    given: BTreeMap<(u64, u64), (MessageId, Instant)>,
    /// What waits, by offset. All of it is beyond `next`.
    early: BTreeMap<u64, Early>,
    /// What is below `next` and was not waited for until the store was asked.
    skipped: Skipped,
    /// The store is being asked.
    asked: bool,
}

/// A message that waits.
#[derive(Debug)]
struct Early {
    push: Push,
    /// Whose line stands behind it.
    line: Option<Sender>,
    /// Dropped when it was handed out.
    out: Option<oneshot::Sender<()>>,
}

/// What is handed out of a group, and how.
pub(super) struct Handing<'a> {
    pub(super) hand_out: &'a mut dyn FnMut(&Push),
    /// Whose lines may go on by that.
    pub(super) freed: &'a mut Vec<Sender>,
    /// How much of what waited was handed out.
    pub(super) handed_out: &'a mut usize,
    pub(super) load: &'a Load,
}

impl Handing<'_> {
    fn hand_out(&mut self, early: Early) {
        // Before it is handed out, which may panic. It is in the load until then: what comes behind it looks there.
        self.freed.extend(early.line);
        *self.handed_out += 1;
        let _in_load = self.load.until_dropped(early.push.bytes());
        (self.hand_out)(&early.push);
    }
}

impl Order {
    /// Takes a kept message, and hands out what has its turn by that.
    pub(super) fn take(
        &mut self,
        push: Push,
        (place, id): (Place, MessageId),
        stay: u64,
        out: &mut Handing<'_>,
    ) -> Taken {
        let (Place { epoch, offset }, at) = (place, push.event.at);
        if stay.is_multiple_of(2) {
            (out.hand_out)(&push);
            return Taken::Out;
        }
        if self.given.get(&(epoch, offset)).is_some_and(|(given, _)| *given == id) {
            self.given.remove(&(epoch, offset));
            return Taken::Out;
        }
        if self.epoch != Some(epoch) && self.since.is_some_and(|since| at < since) {
            (out.hand_out)(&push);
            return Taken::Out;
        }
        if self.stay != stay {
            self.stay = stay;
            self.begin_anew(out);
        }
        if self.epoch != Some(epoch) {
            self.begin_anew(out);
            (self.epoch, self.since, self.floor) = (Some(epoch), None, 0);
        }
        self.since = Some(self.since.map_or(at, |since| since.min(at)));
        match self.next {
            Some(next) if offset > next && !self.early.contains_key(&offset) => return self.wait(offset, push, out),
            Some(next) if offset == next => self.next = Some(offset.saturating_add(1)),
            // It was waited for no longer.
            Some(_) => {
                self.skipped.came(offset);
            }
            None if offset < self.floor => {}
            None => self.next = Some(offset.saturating_add(1)),
        }
        (out.hand_out)(&push);
        self.advance(out);
        Taken::Out
    }

    fn wait(&mut self, offset: u64, push: Push, out: &mut Handing<'_>) -> Taken {
        let sender = push.sender();
        out.load.add(push.bytes());
        let is_first = self.early.is_empty();
        self.early.insert(offset, Early { push, line: None, out: None });
        Taken::Waits { is_first, sender }
    }

    /// When what waits at this place is handed out, this sender's line is gone on with.
    pub(super) fn frees(&mut self, place: Place, sender: Sender) {
        if let Some(early) = self.early.get_mut(&place.offset) {
            early.line = Some(sender);
        }
    }

    /// Whether nothing waits, and nothing is asked for.
    pub(super) fn is_idle(&self) -> bool {
        self.early.is_empty() && self.skipped.is_empty()
    }

    /// Whether too much waits here.
    pub(super) fn is_too_much(&self) -> bool {
        self.early.len() > WAITING_MAX
    }

    /// What is told when the message at this place was handed out. None: it does not wait.
    pub(super) fn told_of(&mut self, place: Place) -> Option<oneshot::Receiver<()>> {
        if self.epoch != Some(place.epoch) {
            return None;
        }
        let early = self.early.get_mut(&place.offset)?;
        let (out, told) = oneshot::channel();
        early.out = Some(out);
        Some(told)
    }

    /// It is not known any more which message has its turn.
    fn begin_anew(&mut self, out: &mut Handing<'_>) {
        self.skipped.forget();
        self.let_all_out(out);
        if let Some(next) = self.next.take() {
            self.floor = next;
        }
    }

    fn advance(&mut self, out: &mut Handing<'_>) {
        while let Some(next) = self.next
            && let Some(early) = self.early.remove(&next)
        {
            self.next = Some(next.saturating_add(1));
            out.hand_out(early);
        }
    }

    /// When the store is to be asked. None: nothing waits, or it is being asked.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.early.values().map(|early| early.push.came).chain(self.skipped.since()).min();
        Some(since.filter(|_| !self.asked)? + PATIENCE)
    }

    /// Whoever asked the store does so no longer.
    pub(super) fn is_not_asked_for(&mut self) {
        self.asked = false;
    }

    /// What is missing before what waits for long enough, or was skipped.
    pub(super) fn ask(&mut self, now: Instant) -> Option<(u64, u64, (u64, Timestamp))> {
        let is_enough = |since: Instant| since + PATIENCE <= now;
        let (next, until) = if self.skipped.since().is_some_and(is_enough) {
            self.skipped.first()?
        } else {
            let (until, early) = self.early.iter().rev().find(|(_, early)| is_enough(early.push.came))?;
            (self.next?, (*until, early.push.event.at))
        };
        self.asked = true;
        Some((self.epoch?, next, until))
    }

    /// This is what the store has of what was missing. The rest is waited for no longer.
    pub(super) fn found(&mut self, missing: &Missing, found: Vec<Push>, out: &mut Handing<'_>) {
        self.asked = false;
        let (until, _) = missing.until;
        let (now, Some(next)) = (Instant::now(), self.next.filter(|_| self.epoch == Some(missing.epoch))) else {
            return;
        };
        self.forget_given(now);
        for push in found {
            let Some((_, id, place)) = push.kept() else { continue };
            if self.skipped.came(place.offset) {
                self.given.insert((place.epoch, place.offset), (id, now));
                (out.hand_out)(&push);
            } else if (next..until).contains(&place.offset) && !self.early.contains_key(&place.offset) {
                self.given.insert((place.epoch, place.offset), (id, now));
                out.load.add(push.bytes());
                self.early.insert(place.offset, Early { push, line: None, out: None });
            }
        }
        while self.given.len() > GIVEN_MAX {
            self.given.pop_first();
        }
        self.skipped.were_asked_for(missing.next..until);
        self.let_out_until(until, out);
    }

    /// Forgets what the store gave too long ago for it to come yet.
    pub(super) fn forget_given(&mut self, now: Instant) {
        self.given.retain(|_, (_, since)| now.duration_since(*since) < LATE);
    }

    /// Waits for nothing that is missing before what waits. The store is asked for that later.
    pub(super) fn skip_missing(&mut self, out: &mut Handing<'_>) {
        if let Some(mut next) = self.next {
            for (offset, early) in &self.early {
                if next < *offset {
                    self.skipped.add(next..*offset, early.push.event.at);
                }
                next = offset.saturating_add(1);
            }
        }
        self.let_all_out(out);
    }

    fn let_all_out(&mut self, out: &mut Handing<'_>) {
        if let Some(last) = self.early.last_key_value().map(|(last, _)| *last) {
            self.let_out_until(last, out);
        }
    }

    fn let_out_until(&mut self, last: u64, out: &mut Handing<'_>) {
        while let Some(offset) = self.early.first_key_value().map(|(offset, _)| *offset).filter(|first| *first <= last)
        {
            self.next = Some(offset);
            self.advance(out);
        }
    }
}

/// What came of taking a message.
pub(super) enum Taken {
    /// It was handed out, or passed over.
    Out,
    /// It waits.
    Waits { is_first: bool, sender: Option<Sender> },
}
