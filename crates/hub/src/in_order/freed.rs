//! Who goes on with what senders said behind a message that was handed out, and with how much of it at a time.

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::bounds::{AT_ONCE, Load, UntilDropped};
use super::group::Handing;
use super::lines::Lines;
use super::push::{Push, Sender};

/// What waits, and the lines of who said it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) load: Load,
    pub(super) lines: Mutex<Lines>,
    /// Senders whose lines are to be gone on with when others had their turn.
    later: Mutex<Vec<Sender>>,
    comes_later: Notify,
}

/// Senders whose lines are to be gone on with, by whoever has this.
pub(crate) struct Freed<'a> {
    waiting: &'a Waiting,
    senders: Vec<Sender>,
    /// What is being gone on with, which is in the load.
    under_way: Option<UntilDropped<'a>>,
    /// How much of what waited was handed out.
    handed_out: usize,
}

impl<'a> Freed<'a> {
    const fn of(waiting: &'a Waiting, senders: Vec<Sender>) -> Self {
        Self { waiting, senders, under_way: None, handed_out: 0 }
    }

    pub(super) fn out<'b>(&'b mut self, hand_out: &'b mut dyn FnMut(&Push)) -> Handing<'b> {
        let Self { waiting, senders, handed_out, .. } = self;
        Handing { hand_out, freed: senders, handed_out, load: &waiting.load }
    }

    /// Goes on with as much as goes at once, by `take`, which says whether a message waits again. What is left is for
    /// [`Waiting::next_freed`].
    pub(crate) fn go_on(mut self, mut take: impl FnMut(Push, &mut Self) -> bool) {
        while self.handed_out < AT_ONCE {
            let Some((sender, push)) = self.next() else { return };
            let waits = take(push, &mut self);
            self.done(&sender, waits);
        }
        let left = std::mem::take(&mut self.senders);
        if !left.is_empty() {
            self.waiting.later.lock().extend(left);
            self.waiting.comes_later.notify_one();
        }
    }

    /// Goes on with what was left for later as well, and first of all with this sender.
    pub(crate) fn with_what_was_left(&mut self, first: &Sender) {
        self.senders.append(&mut self.waiting.later.lock());
        if let Some(at) = self.senders.iter().position(|sender| sender == first) {
            let last = self.senders.len() - 1;
            self.senders.swap(at, last);
        }
    }

    /// What is to be gone on with, and whose it is.
    pub(super) fn next(&mut self) -> Option<(Sender, Push)> {
        while let Some(sender) = self.senders.last().cloned() {
            if let Some(push) = self.waiting.lines.lock().next(&sender, &self.waiting.load) {
                self.under_way = Some(self.waiting.load.until_dropped(push.bytes()));
                self.handed_out += 1;
                return Some((sender, push));
            }
            self.senders.pop();
        }
        None
    }

    /// This is done with, which was the next; if it waits again, another goes on with its sender.
    fn done(&mut self, sender: &Sender, waits: bool) {
        self.under_way = None;
        if waits && let Some(at) = self.senders.iter().position(|freed| freed == sender) {
            self.senders.remove(at);
        }
    }
}

impl Drop for Freed<'_> {
    /// Who panics goes on with nobody. So that they do not wait forever, what they said is given up.
    fn drop(&mut self) {
        for sender in self.senders.drain(..) {
            self.waiting.lines.lock().give_up(&sender, &self.waiting.load);
        }
    }
}

impl Waiting {
    /// Whose lines are gone on with: nobody's yet.
    pub(super) const fn freed(&self) -> Freed<'_> {
        Freed::of(self, Vec::new())
    }

    /// Waits until something is left to be gone on with.
    pub(super) async fn next_freed(&self) -> Freed<'_> {
        loop {
            let comes = self.comes_later.notified();
            let senders = std::mem::take(&mut *self.later.lock());
            if !senders.is_empty() {
                return Freed::of(self, senders);
            }
            comes.await;
        }
    }
}
