//! Kept messages of a group in the order of their offsets, where several nodes say them.
//!
//! The store gives the offsets, and each node sends what was said at it: so a message may come before another that was kept
//! before it. It waits for that one. What its sender says behind it waits behind it, to whomever he says that, but for signals.
//! If what is missing does not come within [`PATIENCE`](bounds::PATIENCE), the store is asked for it. It comes from there, and is
//! passed over when it comes after all. What the store has not is waited for no longer. If too much waits, what is missing is not
//! waited for until then: it comes late, or the store is asked for it all the same.
//!
//! Of a group in which nobody here was before, it is not known which was delivered last: the order begins with the first message
//! that comes. Of one in which somebody was a moment ago it is known, for as long as something may come late.
//!
//! Whoever brings a message hands it out, and what has its turn by that, with that group's order locked. So when nothing waits,
//! it is handed out when [`Hub::push_in_order`](crate::Hub) returns. Nothing is published meanwhile: a bus may come back here.
//!
//! Invariant: what is said behind a message that waits has a line of its sender's, until it is handed out. A line is gone on
//! with by whoever handed out the message, and by nobody else, unless it is left for later: then by whoever takes it from there.

mod bounds;
mod freed;
mod group;
mod lines;
mod push;
mod skipped;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use parking_lot::{Mutex, RwLock};
use respoke_core::id::{AppId, GroupName};
use respoke_core::message::Place;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub(crate) use bounds::READ_WITHIN;
use bounds::{ASKED_AT_ONCE, HANDED_OUT_WITHIN, LATE, LEFT_MAX};
pub(crate) use freed::Freed;
use freed::Waiting;
pub(crate) use group::Missing;
use group::{Order, Taken};
pub(crate) use lines::Behind;
pub(crate) use push::{Push, Sender};

/// A group that somebody here is in, or was a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// How often somebody came to it, and everybody left. Odd: somebody is there.
    stays: AtomicU64,
    /// Locked while something is handed out: 128 messages at most. Were it not, another thread could hand out the next before the one
    /// that had its turn. Only those wait for it who bring something kept of this group, or ask for something of it.
    order: Mutex<Order>,
}

/// What waits, of all groups.
#[derive(Debug, Default)]
pub(crate) struct InOrder {
    waiting: Waiting,
    groups: RwLock<HashMap<AppId, HashMap<GroupName, Arc<Group>>>>,
    /// Groups that everybody left, since when, and after how many stays.
    left: Mutex<VecDeque<(Instant, AppId, GroupName, u64)>>,
    /// Groups of which something waits, by when it is waited for no longer, and since when each is here.
    due: Mutex<BTreeMap<(Instant, AppId, GroupName), Instant>>,
    /// Something is due that was not.
    waits: Notify,
}

impl InOrder {
    /// Whether anything waits. While this is not so, nothing else has to be looked at but who is kept.
    pub(crate) fn anything_waits(&self) -> bool {
        self.waiting.load.count.load(Ordering::Acquire) > 0
    }

    /// Whose lines are gone on with: nobody's yet.
    pub(crate) const fn freed(&self) -> Freed<'_> {
        self.waiting.freed()
    }

    /// Waits until something is left to be gone on with.
    pub(crate) async fn next_freed(&self) -> Freed<'_> {
        self.waiting.next_freed().await
    }

    /// A group that somebody here is in, or was a moment ago, if anything was kept of it meanwhile.
    pub(crate) fn group(&self, app: AppId, group: &GroupName) -> Option<Arc<Group>> {
        self.groups.read().get(&app)?.get(group).cloned()
    }

    /// The order of a group begins, in which somebody is. Under the same lock as [`Self::come`] and [`Self::leave`].
    pub(crate) fn begin(&self, app: AppId, group: &GroupName) -> Arc<Group> {
        let begun = Group { stays: AtomicU64::new(1), order: Mutex::default() };
        self.groups.write().entry(app).or_default().entry(group.clone()).or_insert_with(|| Arc::new(begun)).clone()
    }

    /// Somebody here is in the group, where nobody was.
    pub(crate) fn come(&self, app: AppId, group: &GroupName) {
        if let Some(group) = self.group(app, group) {
            group.stays.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Nobody here is in the group any more.
    pub(crate) fn leave(&self, app: AppId, group: &GroupName) {
        let Some(known) = self.group(app, group) else { return };
        let stays = known.stays.fetch_add(1, Ordering::AcqRel) + 1;
        let now = Instant::now();
        // Not waited for: whoever has it locked may wait for who calls this.
        if let Some(mut order) = known.order.try_lock() {
            order.forget_given(now);
        }
        let mut left = self.left.lock();
        left.push_back((now, app, group.clone(), stays));
        // Each once: what cannot be forgotten yet is looked at again when it has been left for as long once more.
        for _ in 0..left.len() {
            let is_due = |(since, ..): &(Instant, _, _, _)| now.duration_since(*since) > LATE;
            if !(left.len() > LEFT_MAX || left.front().is_some_and(is_due)) {
                break;
            }
            let Some((_, app, group, stays)) = left.pop_front() else { break };
            if !self.forget(app, &group, stays) {
                left.push_back((now, app, group, stays));
            }
        }
    }

    /// Forgets a group, if everybody left it after so many stays and nobody came again. False: it is busy, and cannot be forgotten yet.
    fn forget(&self, app: AppId, group: &GroupName, stays: u64) -> bool {
        let mut groups = self.groups.write();
        let Some(of_app) = groups.get_mut(&app) else { return true };
        if let Some(known) = of_app.get(group).filter(|known| known.stays.load(Ordering::Acquire) == stays) {
            if !known.order.try_lock().is_some_and(|order| order.is_idle()) {
                return false;
            }
            of_app.remove(group);
        }
        if of_app.is_empty() {
            groups.remove(&app);
        }
        true
    }

    /// Puts something behind what its sender said, if that waits.
    pub(crate) fn behind_its_sender(&self, push: Push) -> Behind {
        match push.sender().filter(|_| self.anything_waits()) {
            Some(sender) => self.waiting.lines.lock().add(&sender, push, &self.waiting.load),
            None => Behind::No(push),
        }
    }

    /// Takes a message that is kept, and hands out what has its turn by that. True: it waits, or did, and whoever goes on with its
    /// sender is somebody else, or stands in `freed` once more.
    pub(crate) fn take(
        &self,
        known: &Group,
        push: Push,
        freed: &mut Freed<'_>,
        hand_out: &mut dyn FnMut(&Push),
    ) -> bool {
        let Some((group, id, place)) = push.kept() else {
            hand_out(&push);
            return false;
        };
        let (app, group) = (push.app, group.clone());
        let mut order = known.order.lock();
        let stay = known.stays.load(Ordering::Acquire);
        let mut out = freed.out(hand_out);
        let Taken::Waits { is_first, sender } = order.take(push, (place, id), stay, &mut out) else { return false };
        if let Some(sender) = sender
            && self.waiting.lines.lock().open(sender.clone(), (group.clone(), place), &self.waiting.load)
        {
            order.frees(place, sender);
        }
        if order.is_too_much() || self.waiting.load.is_too_much() {
            order.skip_missing(&mut out);
            self.ask_for(&order, app, group);
        } else if is_first {
            self.ask_for(&order, app, group);
        }
        true
    }

    /// Too much waits behind a sender, or in all. What is missing in the group for which he waits is waited for no longer, and the store is
    /// asked for it all the same.
    pub(crate) fn give_up(
        &self,
        sender: &Sender,
        group: GroupName,
        freed: &mut Freed<'_>,
        hand_out: &mut dyn FnMut(&Push),
    ) {
        freed.with_what_was_left(sender);
        let Some(known) = self.group(sender.app, &group) else { return };
        let mut order = known.order.lock();
        order.skip_missing(&mut freed.out(hand_out));
        self.ask_for(&order, sender.app, group);
    }

    /// Waits until a message was handed out here, for no longer than it takes as a rule.
    pub(crate) async fn until_handed_out(&self, app: AppId, group: &GroupName, place: Place) {
        if let Some(told) = self.told_of(app, group, place) {
            // Nothing is said: it was handed out when that is dropped.
            let _ = tokio::time::timeout(HANDED_OUT_WITHIN, told).await;
        }
    }

    /// What is told when a message was handed out here. None: it does not wait.
    fn told_of(&self, app: AppId, group: &GroupName, place: Place) -> Option<oneshot::Receiver<()>> {
        if !self.anything_waits() {
            return None;
        }
        self.group(app, group)?.order.lock().told_of(place)
    }

    /// Lets so many at a time ask for one group after the other, each by `ask`. Never ends. It may be started anew after a panic, in
    /// the middle of what was asked.
    pub(crate) async fn keep_asking<F: Future<Output = ()>>(&self, ask: impl Fn() -> F) {
        self.nobody_asks();
        join_all((0..ASKED_AT_ONCE).map(|_| ask())).await;
    }

    /// Nobody asks the store any more, whatever was asked: all that is missing is to be asked for.
    fn nobody_asks(&self) {
        let all: Vec<_> = {
            let groups = self.groups.read();
            let of_app = |(app, groups): (&AppId, &HashMap<GroupName, Arc<Group>>)| {
                groups.iter().map(|(name, known)| (*app, name.clone(), known.clone())).collect::<Vec<_>>()
            };
            groups.iter().flat_map(of_app).collect()
        };
        for (app, name, known) in all {
            let mut order = known.order.lock();
            order.is_not_asked_for();
            self.ask_for(&order, app, name);
        }
    }

    fn ask_for(&self, order: &Order, app: AppId, group: GroupName) {
        if let Some(due) = order.due() {
            self.due.lock().entry((due, app, group)).or_insert_with(Instant::now);
            self.waits.notify_one();
        }
    }

    /// Waits until something was waited for long enough, and says what is missing.
    pub(crate) async fn next_missing(&self) -> Missing {
        loop {
            let waits = self.waits.notified();
            let due = self.due.lock().first_key_value().map(|((due, ..), _)| *due);
            let Some(due) = due else {
                waits.await;
                continue;
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => {}
                // Another may be due before, for which another waits then.
                () = waits => continue,
            }
            let (first, more) = {
                let mut all = self.due.lock();
                (all.pop_first(), !all.is_empty())
            };
            if more {
                self.waits.notify_one();
            }
            let Some(((due, app, group), since)) = first else { continue };
            // What stood in a line, or behind what was read, may have been due before anybody could ask for it.
            if let Some(missing) = self.missing(due.max(since), app, group) {
                return missing;
            }
        }
    }

    fn missing(&self, due: Instant, app: AppId, group: GroupName) -> Option<Missing> {
        let known = self.group(app, &group)?;
        let mut order = known.order.lock();
        if order.due()? > Instant::now() {
            // What was waited for has come, and something else is by now.
            self.ask_for(&order, app, group);
            return None;
        }
        let (epoch, next, until) = order.ask(Instant::now())?;
        Some(Missing { app, group, epoch, next, until, due })
    }

    /// This is what was missing, as far as it is still there. The rest is waited for no longer.
    pub(crate) fn found(
        &self,
        missing: &Missing,
        found: Vec<Push>,
        freed: &mut Freed<'_>,
        hand_out: &mut dyn FnMut(&Push),
    ) {
        let Some(known) = self.group(missing.app, &missing.group) else { return };
        let mut order = known.order.lock();
        order.found(missing, found, &mut freed.out(hand_out));
        self.ask_for(&order, missing.app, missing.group.clone());
    }
}

#[cfg(test)]
mod tests;
