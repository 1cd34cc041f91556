//! What senders of other nodes say behind a message of theirs that waits.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use respoke_core::id::GroupName;
use respoke_core::message::Place;

use super::bounds::{Load, WAITING_MAX};
use super::push::{Push, Sender};

/// Whether something stands behind what its sender said before.
pub(crate) enum Behind {
    /// It does not, and may go.
    No(Push),
    /// It does, and waits.
    Yes,
    /// It does, and waits, and too much waits: for this sender this group is to be waited for no longer.
    TooMuch(Sender, GroupName),
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    of: HashMap<Sender, Line>,
}

#[derive(Debug)]
struct Line {
    /// In which group the message waits that is at its head, and where that stands.
    head: (GroupName, Place),
    said: VecDeque<Push>,
}

impl Line {
    /// Whether its head stands behind this place of this group.
    fn is_behind(&self, group: &GroupName, place: Place) -> bool {
        let (of, head) = &self.head;
        of == group && head.epoch == place.epoch && head.offset > place.offset
    }
}

impl Lines {
    /// A sender's message waits in a group. False: his line stands behind a later one of his there.
    pub(super) fn open(&mut self, sender: Sender, head: (GroupName, Place), load: &Load) -> bool {
        match self.of.entry(sender) {
            Entry::Occupied(line) if line.get().is_behind(&head.0, head.1) => return false,
            Entry::Occupied(line) => line.into_mut().head = head,
            Entry::Vacant(none) => {
                none.insert(Line { head, said: VecDeque::new() });
                load.add(0);
            }
        }
        true
    }

    /// Puts something behind what its sender said, if that waits.
    pub(super) fn add(&mut self, sender: &Sender, push: Push, load: &Load) -> Behind {
        let Some(line) = self.of.get_mut(sender) else { return Behind::No(push) };
        // Who says several things at a time may send what was kept first behind the other, which waits for it.
        if push.kept().is_some_and(|(group, _, place)| line.is_behind(group, place)) {
            return Behind::No(push);
        }
        load.add(push.bytes());
        line.said.push_back(push);
        if line.said.len() > WAITING_MAX || load.is_too_much() {
            Behind::TooMuch(sender.clone(), line.head.0.clone())
        } else {
            Behind::Yes
        }
    }

    /// The next in a sender's line. It is in the load until it is handed out. None: the line is no more.
    pub(super) fn next(&mut self, sender: &Sender, load: &Load) -> Option<Push> {
        let next = self.of.get_mut(sender)?.said.pop_front();
        if next.is_none() {
            self.of.remove(sender);
            load.take(0);
        }
        next
    }

    /// Forgets a line that nobody goes on with.
    pub(super) fn give_up(&mut self, sender: &Sender, load: &Load) {
        while let Some(push) = self.next(sender, load) {
            load.take(push.bytes());
        }
    }
}
