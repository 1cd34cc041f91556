//! What the hub says to sockets here, in the order that `in_order.rs` keeps; and what it asks the store for.

use std::sync::Arc;

use futures_util::future::join_all;
use respoke_core::event::Event;
use respoke_core::id::{AppId, GroupName};
use respoke_core::message::Place;
use respoke_core::ports::{Audience, Source, StoreError};
use respoke_wire::event::stored;
use tokio::time::Instant;

use crate::fanout;
use crate::hub::Hub;
use crate::in_order::{Behind, Freed, Missing, Push, READ_WITHIN};
use crate::others::Others;

/// Groups of which the store is asked at a time.
const ASKED_AT_ONCE: usize = 4;

impl Hub {
    /// Hands something to whoever of its audience is connected here, behind what it has to come after.
    pub(crate) fn push_in_order(&self, from: Source, app: AppId, to: Audience, event: Arc<Event>) {
        let Some(others) = &self.others else { return fanout::push(self, app, &to, &event) };
        if !Push::has_order(&event) || !(Push::is_kept(&event) || others.in_order.anything_waits()) {
            return fanout::push(self, app, &to, &event);
        }
        let mut freed = others.in_order.freed();
        match others.in_order.behind_its_sender(Push { from, app, to, event, came: Instant::now() }) {
            Behind::No(push) => {
                self.take_its_turn(others, push, &mut freed);
            }
            Behind::Yes => return,
            Behind::TooMuch(app, group) => {
                self.hand_out(|hand_out| others.in_order.give_up(app, group, &mut freed, hand_out));
            }
        }
        self.go_on(others, freed);
    }

    /// Waits until a kept message of this node was handed out here, for no longer than it takes as a rule.
    pub(crate) async fn until_handed_out(&self, app: AppId, group: &GroupName, place: Place) {
        if let Some(others) = &self.others {
            others.in_order.until_handed_out(app, group, place).await;
        }
    }

    /// Hands out something that nothing is before but what is missing. True: it waits for that.
    fn take_its_turn(&self, others: &Others, push: Push, freed: &mut Freed<'_>) -> bool {
        match push.group().and_then(|group| others.in_order(push.app, group)) {
            Some(known) => self.hand_out(|hand_out| others.in_order.take(&known, push, freed, hand_out)),
            None => {
                fanout::push(self, push.app, &push.to, &push.event);
                false
            }
        }
    }

    /// Goes on with what senders said behind what was handed out.
    fn go_on(&self, others: &Others, mut freed: Freed<'_>) {
        while let Some((sender, push)) = freed.next() {
            let waits = self.take_its_turn(others, push, &mut freed);
            freed.done(&sender, waits);
        }
    }

    /// Lets a group's order hand out. What is shown of that to other nodes is published when the order is not locked any more.
    fn hand_out<R>(&self, order: impl FnOnce(&mut dyn FnMut(&Push)) -> R) -> R {
        let mut shown = Vec::new();
        let result = order(&mut |push| {
            if let Audience::Group { group, except } = &push.to {
                shown.extend(fanout::push_quietly(self, push.app, group, *except, &push.event));
            }
        });
        for delivery in shown {
            self.bus.publish(delivery);
        }
        result
    }

    /// Gives up waiting for what does not come, and asks the store for it. Never ends.
    pub(crate) async fn keep_order(&self, others: &Others) {
        // This may be started anew after a panic, in the middle of what was asked.
        others.in_order.nobody_asks();
        join_all((0..ASKED_AT_ONCE).map(|_| self.ask_for_missing(others))).await;
    }

    async fn ask_for_missing(&self, others: &Others) {
        loop {
            let missing = others.in_order.next_missing().await;
            let found = if missing.due + READ_WITHIN < Instant::now() {
                // The store is too slow for all that is missing.
                Vec::new()
            } else {
                match tokio::time::timeout(READ_WITHIN, self.kept_before(&missing)).await {
                    Ok(Ok(found)) => found,
                    Ok(Err(_)) | Err(_) => {
                        tracing::warn!("kept messages that did not come in time could not be read");
                        Vec::new()
                    }
                }
            };
            let mut freed = others.in_order.freed();
            self.hand_out(|hand_out| others.in_order.found(&missing, found, &mut freed, hand_out));
            self.go_on(others, freed);
            tokio::task::yield_now().await;
        }
    }

    /// What is kept of a group from an offset on, before one that is there: the newest of it.
    async fn kept_before(&self, missing: &Missing) -> Result<Vec<Push>, StoreError> {
        let Missing { app, group, epoch, next, until: (until, at), due: _ } = missing;
        let kept = self.broker.store().kept_between(*app, group, *epoch, *next..*until, *at).await?;
        let events =
            kept.into_iter().filter_map(|(offset, message)| stored(&message.event, Place { epoch: *epoch, offset }));
        let push = |event: Event| {
            let to = Audience::Group { group: group.clone(), except: event.from_connection };
            Push { from: Source::Here, app: *app, to, event: Arc::new(event), came: Instant::now() }
        };
        Ok(events.map(push).collect())
    }
}
