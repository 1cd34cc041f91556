//! What other nodes sent is handed on here: to the receiver, to whoever asked, and to what this node knows of the other.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use respoke_core::id::AppId;
use respoke_core::ports::{Gap, Given, Node, Source};
use respoke_wire::bus::{InterestHash, InterestNews, Item, Unknown, UnknownIs};
use tokio::time::Instant;

use super::figures::Counters;
use super::incoming::Next;
use super::peer::{Part, Peer};
use super::recent::Kept;
use super::sent::Kind;
use super::{CarriedBus, Waiting, encoded, farewell};

/// What is said at once of an item that was taken.
enum Said {
    Nothing,
    /// That it is here.
    Seen,
    /// And, by a node that has said farewell, that what it made up for because of that is all.
    Made,
}

impl CarriedBus {
    pub(super) fn hand_out(&self) {
        self.inbox.hand_out(|waiting| match waiting {
            Waiting::Next(peer, _) if peer.over.load(Ordering::SeqCst) => {}
            Waiting::Next(peer, Next::Item(number, item, len)) => {
                let said = self.take_whole_or_part(&peer, number, item, len);
                // Before it is looked whether this node ends: who says farewell at this moment says so before it looks at this.
                peer.seen.store(number, Ordering::SeqCst);
                match said {
                    Said::Nothing => {}
                    Said::Seen => self.say_seen(&peer),
                    Said::Made => {
                        self.say_seen(&peer);
                        if self.ends.load(Ordering::SeqCst) {
                            self.send(&peer, &farewell(&peer), &Kind::Other);
                        }
                    }
                }
            }
            Waiting::Next(peer, Next::Missed(numbers)) => {
                self.cut_parts(&peer);
                peer.seen.store(*numbers.end(), Ordering::Release);
                self.miss(&peer, numbers);
            }
            Waiting::Lost(peer) => {
                // A node goes on answering for some seconds after its way out is cut.
                if let Some(numbers) = peer.unheard() {
                    self.miss(&peer, numbers);
                }
                if let Some(receiver) = self.receiver() {
                    receiver.lost(peer.node);
                }
            }
            Waiting::Passed(node) => {
                self.miss_of(node, 1..=u64::MAX);
                if let Some(receiver) = self.receiver() {
                    receiver.lost(node);
                }
            }
        });
    }

    /// Takes an item once it is whole. What is to be said of that at once.
    fn take_whole_or_part(&self, peer: &Arc<Peer>, number: u64, item: Item, len: usize) -> Said {
        let (item, len) = match item {
            Item::Part { index, count, bytes } => {
                let part = peer.parts.lock().take(number, index, count, bytes);
                match part {
                    Part::Kept => return Said::Nothing,
                    Part::Whole(item, len) => (item, len),
                    Part::Torn(numbers) => {
                        self.miss(peer, numbers);
                        return Said::Nothing;
                    }
                }
            }
            whole => {
                self.cut_parts(peer);
                (whole, len)
            }
        };
        let said = match &item {
            Item::News(InterestNews::Late { .. } | InterestNews::Complete) => Said::Made,
            Item::News(_) | Item::Unknown(Unknown { is: UnknownIs::News, .. }) => Said::Seen,
            _ => Said::Nothing,
        };
        Counters::count(&self.counters.received);
        self.take(peer, number, item, len);
        said
    }

    fn cut_parts(&self, peer: &Peer) {
        let torn = peer.parts.lock().cut();
        if let Some(numbers) = torn {
            self.miss(peer, numbers);
        }
    }

    fn miss(&self, peer: &Peer, numbers: RangeInclusive<u64>) {
        self.miss_of(peer.node, numbers);
    }

    fn miss_of(&self, from: Node, numbers: RangeInclusive<u64>) {
        Counters::count(&self.counters.missed);
        if let Some(receiver) = self.receiver() {
            receiver.missed(Gap { from, numbers });
        }
    }

    fn take(&self, peer: &Arc<Peer>, number: u64, item: Item, len: usize) {
        match item {
            Item::Delivery(delivery) => {
                if let Some(receiver) = self.receiver() {
                    receiver.receive(Source::There { node: peer.node, number }, delivery);
                }
            }
            Item::News(news) => self.learn(peer, news),
            Item::Question { ask, question } if question.takes_long() => self.put_aside(peer, ask, question),
            Item::Question { ask, question } => self.answer(peer, ask, question),
            Item::Answer { ask, known, answer } => {
                self.asks.take(ask, Given { node: peer.node, number: known, answer }, len);
            }
            Item::NoAnswer { ask } => self.asks.refuse(ask, peer.node),
            Item::Notice(notice) => {
                if let Some(receiver) = self.receiver() {
                    receiver.told(peer.node, notice);
                }
            }
            // A part was taken before; one within another is none.
            Item::Unsent | Item::Part { .. } => self.miss(peer, number..=number),
            Item::Unknown(Unknown { is, .. }) => self.take_unknown(peer, number, is),
        }
    }

    /// Goes on without something that only the other build knows, and says so to whoever it concerns.
    fn take_unknown(&self, peer: &Peer, number: u64, is: UnknownIs) {
        Counters::count(&self.counters.unknown);
        match is {
            UnknownIs::Question { ask } => self.send(peer, &encoded(&Item::NoAnswer { ask }), &Kind::Other),
            UnknownIs::Answer { ask } => self.asks.refuse(ask, peer.node),
            UnknownIs::News => {
                let before = peer.holds.write().set_everything();
                if !before {
                    // Something may have been published past it.
                    self.send(peer, &encoded(&Item::Unsent), &Kind::Other);
                }
            }
            UnknownIs::Counted => {}
            UnknownIs::Other => self.miss(peer, number..=number),
        }
    }

    fn learn(&self, peer: &Peer, news: InterestNews) {
        match news {
            InterestNews::Held(app_id, hash) => peer.holds.write().add(app_id, hash),
            InterestNews::Released(app_id, hash) => peer.holds.write().remove(app_id, hash),
            InterestNews::App(app_id, hashes) => {
                // Whoever publishes waits for the lock, and not for this.
                let hashes = hashes.into_iter().collect::<HashSet<_>>();
                peer.holds.write().set(app_id, hashes);
            }
            InterestNews::WholeApp(app_id) => peer.holds.write().set_whole(app_id),
            InterestNews::Complete => {
                // Until here it was published past, if somebody did not wait.
                if peer.introduce() && peer.since.elapsed() > self.limits.late_after {
                    self.make_up_for(peer, Some(peer.since), None, &[]);
                }
            }
            InterestNews::Farewell { known } => {
                self.see(peer, known, Instant::now());
                peer.leave();
            }
            InterestNews::Late { app_id, of, millis } => {
                // That it is late came as late as anything that is kept.
                let late = Duration::from_millis(millis).saturating_add(self.limits.kept_for);
                self.make_up_for(peer, Instant::now().checked_sub(late), Some(app_id), &of);
            }
        }
    }

    /// Sends what was published past a node since then, before it was known what that is there for: in an app or in all, of
    /// these or of all.
    fn make_up_for(&self, peer: &Peer, then: Option<Instant>, app_id: Option<AppId>, of: &[InterestHash]) {
        let concerns = |app_id, hash| peer.holds.read().any(&[(app_id, hash)]);
        let recent = self.recent.lock();
        let mut lost = recent.forgot_since(then);
        let numbers = recent.since(then, app_id, of, concerns);
        drop(recent);
        // One by one, because whoever publishes waits for the lock.
        for number in numbers {
            let kept = self.recent.lock().take(number, peer.node);
            match kept {
                Kept::Unsent(delivery) => {
                    if std::mem::take(&mut lost) {
                        self.send(peer, &encoded(&Item::Unsent), &Kind::Other);
                    }
                    self.send(peer, &encoded(&Item::Delivery(delivery)), &Kind::Other);
                }
                Kept::Sent => {}
                Kept::Nothing => lost = true,
            }
        }
        if lost {
            self.send(peer, &encoded(&Item::Unsent), &Kind::Other);
        }
    }
}
