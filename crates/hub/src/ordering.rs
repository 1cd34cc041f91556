//! What the hub says to sockets here, in the order that `in_order.rs` keeps; and what it asks the store for.

use std::sync::Arc;

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
            Behind::TooMuch(sender, group) => {
                self.hand_out(|hand_out| others.in_order.give_up(&sender, group, &mut freed, hand_out));
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
    fn go_on(&self, others: &Others, freed: Freed<'_>) {
        freed.go_on(|push, freed| self.take_its_turn(others, push, freed));
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

    /// Gives up waiting for what does not come, and asks the store for it; and hands out what is left to be. Never ends.
    pub(crate) async fn keep_order(&self, others: &Others) {
        let asking = others.in_order.keep_asking(|| self.ask_for_missing(others));
        tokio::join!(asking, self.go_on_later(others));
    }

    /// Goes on with what was too much to be handed out at once. Never ends.
    async fn go_on_later(&self, others: &Others) {
        loop {
            let freed = others.in_order.next_freed().await;
            self.go_on(others, freed);
            tokio::task::yield_now().await;
        }
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
