//! What something on this node is there for, with what is known because of each.
//!
//! If a node told past this one, all that is known of it becomes doubtful. If a node is lost, all loses what that node had.
//! That may concern a million things. So it is noted once for all, and of each when that is looked at next.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use respoke_core::id::ConnectionId;
use respoke_core::ports::{Confirmation, Incarnation, Interest, Node, NodeId};

/// All that something here is there for.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// In order, so that they can be looked through in portions.
    of: BTreeMap<Interest, Held>,
    generations: u64,
    news: News,
}

/// What happened that concerns all of it.
#[derive(Debug, Default)]
struct News {
    /// Counts how often it became doubtful who is there where that was known, and how often a node was lost.
    turns: u64,
    /// The turn at which something last concerned all of it, and that of the last loss.
    last: u64,
    last_lost: u64,
    /// Of each node that lives, what was last missed.
    missed: BTreeMap<Node, Missed>,
    /// The last life of each node that is over.
    over: HashMap<NodeId, Incarnation>,
}

/// What was missed of a node.
#[derive(Clone, Copy, Debug)]
struct Missed {
    turn: u64,
    /// The number of the last of it.
    number: u64,
}

/// A group or an observed endpoint that something here is there for.
#[derive(Debug)]
pub(super) struct Held {
    /// How often.
    pub(super) count: usize,
    /// Another each time when it begins, so that what was asked before that is not taken for an answer.
    pub(super) generation: u64,
    /// The turn up to which it is noted here of whom that became doubtful, and who was lost.
    pub(super) noted: u64,
    /// Who does not know of it yet, and may tell past it.
    pub(super) told: Confirmation,
    /// Whether all nodes were asked once who is there.
    pub(super) surveyed: bool,
    /// Whether somebody is to ask them.
    pub(super) wanted: bool,
    /// Of which nodes it is not known who is there.
    pub(super) doubted: BTreeMap<Node, Doubt>,
    pub(super) entries: HashMap<ConnectionId, Entry>,
    /// Entries that are there.
    pub(super) present: usize,
}

/// Why it is not known who of a node is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// The turn at which it came up where it was known who is there; nought if that was never known. While it is known
    /// nothing is kept of who left, so what was asked for before that turn would bring those back, and is worth nothing.
    pub(super) turn: u64,
    /// The number of what was missed last.
    pub(super) missed: u64,
    /// Who is there may have come unheard. Otherwise the node has not answered yet, and told of whoever came since.
    pub(super) unheard: bool,
    /// It was asked and has never said who is there.
    pub(super) never_answered: bool,
    /// It answered, and did not know yet that something here is there for this: it may have told past it since.
    pub(super) early: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) node: Node,
    /// The number of what told of it last.
    pub(super) number: u64,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It was there before those here, or those were told.
    There {
        /// Which of the two.
        told: bool,
    },
    /// It went, while it is not known who is there.
    Left,
    /// An answer had it no more, and those here are told. What its node told of that may come yet.
    Missing,
}

impl State {
    pub(super) const fn is_there(self) -> bool {
        matches!(self, Self::There { .. })
    }
}

/// A thing that is asked about.
#[derive(Clone, Debug)]
pub(in crate::others) struct Asked {
    pub(in crate::others) interest: Interest,
    pub(super) generation: u64,
    /// Who does not know of it when that is asked: what those answer is true, and may be true no more before they do.
    pub(super) unaware: Vec<Node>,
}

impl Holds {
    /// One more is there for this.
    pub(super) fn hold(&mut self, interest: &Interest) {
        if let Some(held) = self.of.get_mut(interest) {
            held.count += 1;
            return;
        }
        self.generations += 1;
        let held = Held {
            count: 1,
            generation: self.generations,
            noted: self.news.last,
            told: Confirmation::DONE,
            surveyed: false,
            wanted: false,
            doubted: BTreeMap::new(),
            entries: HashMap::new(),
            present: 0,
        };
        self.of.insert(interest.clone(), held);
    }

    /// One less is. With the last, what was known because of it.
    pub(super) fn release(&mut self, interest: &Interest) -> Option<Held> {
        let held = self.of.get_mut(interest)?;
        held.count -= 1;
        if held.count == 0 { self.of.remove(interest) } else { None }
    }

    /// For who does not ask who is there.
    pub(super) fn get(&self, interest: &Interest) -> Option<&Held> {
        self.of.get(interest)
    }

    pub(super) fn get_mut(&mut self, interest: &Interest) -> Option<&mut Held> {
        let held = self.of.get_mut(interest)?;
        held.note(&self.news);
        Some(held)
    }

    /// Those behind one, in order, and how many entries of each had to be looked at for that.
    pub(super) fn behind(&mut self, behind: Option<&Interest>) -> impl Iterator<Item = (&Interest, &mut Held, usize)> {
        let (from, news) = (behind.map_or(Bound::Unbounded, Bound::Excluded), &self.news);
        let all = self.of.range_mut::<Interest, _>((from, Bound::Unbounded));
        all.map(|(interest, held)| {
            let looked_at = held.note(news);
            (interest, held, looked_at)
        })
    }

    /// Takes a connection that is there out of one thing. Nothing is noted for that: who takes leave of a node's connections
    /// does so of many at once, and the other entries of what they were in need not be looked at.
    pub(super) fn strike(&mut self, interest: &Interest, connection: ConnectionId) {
        if let Some(held) = self.of.get_mut(interest)
            && held.entries.remove(&connection).is_some_and(|entry| entry.state.is_there())
        {
            held.present -= 1;
        }
    }

    /// Something of what a node said is lost for good, up to this number.
    pub(super) fn missed(&mut self, node: Node, number: u64) {
        self.news.turns += 1;
        self.news.last = self.news.turns;
        self.news.missed.insert(node, Missed { turn: self.news.turns, number });
    }

    /// A node is gone.
    pub(super) fn lost(&mut self, node: Node) {
        self.news.turns += 1;
        (self.news.last, self.news.last_lost) = (self.news.turns, self.news.turns);
        self.news.missed.remove(&node);
        self.news.over.insert(node.id, node.incarnation);
    }

    pub(super) fn is_over(&self, node: Node) -> bool {
        self.news.is_over(node)
    }

    /// Whether a loss was known at that turn of something that the node said after `number`. Then an answer that has
    /// everything up to `number`, and no more, does not make that good.
    pub(super) fn lacks_what_was_missed(&self, node: Node, asked_at: u64, number: u64) -> bool {
        self.news.missed.get(&node).is_some_and(|missed| missed.turn <= asked_at && missed.number > number)
    }

    /// These nodes may have told past one thing. Whether that is held.
    pub(super) fn late(&mut self, interest: &Interest, nodes: &[Node]) -> bool {
        if self.get_mut(interest).is_none() {
            return false;
        }
        self.news.turns += 1;
        let turn = self.news.turns;
        if let Some(held) = self.get_mut(interest) {
            for node in nodes {
                held.doubt(*node, turn).unheard = true;
            }
        }
        true
    }

    /// Now, for whoever is about to ask.
    pub(super) const fn turn(&self) -> u64 {
        self.news.turns
    }
}

impl News {
    fn is_over(&self, node: Node) -> bool {
        self.over.get(&node.id).is_some_and(|over| node.incarnation <= *over)
    }
}

impl Held {
    pub(super) fn asked(&self, interest: &Interest) -> Asked {
        Asked { interest: interest.clone(), generation: self.generation, unaware: self.told.missing() }
    }

    /// Whether it is known who of a node is there.
    pub(super) fn is_whole(&self, node: Node) -> bool {
        self.surveyed && !self.doubted.contains_key(&node)
    }

    /// Whether a node knows that something here is there for it.
    pub(super) fn knows(&self, node: Node) -> bool {
        !self.told.missing().contains(&node)
    }

    /// It is doubtful at this turn who of a node is there.
    pub(super) fn doubt(&mut self, node: Node, turn: u64) -> &mut Doubt {
        let turn = if self.surveyed { turn } else { 0 };
        self.doubted.entry(node).or_insert(Doubt { turn, ..Doubt::default() })
    }

    /// Whether what a node answers to who asked at that turn is worth nothing.
    pub(super) fn is_stale(&self, node: Node, asked_at: u64) -> bool {
        self.doubted.get(&node).is_some_and(|doubt| doubt.turn > asked_at)
    }

    /// Notes what became doubtful since this was last looked at, and forgets who was lost. How many entries it looked at.
    fn note(&mut self, news: &News) -> usize {
        if self.noted >= news.last {
            return 0;
        }
        for (node, missed) in &news.missed {
            if missed.turn > self.noted {
                let doubt = self.doubt(*node, missed.turn);
                (doubt.missed, doubt.unheard, doubt.early) = (missed.number, true, false);
            }
        }
        let mut looked_at = 0;
        if self.noted < news.last_lost {
            looked_at = self.entries.len();
            self.doubted.retain(|node, _| !news.is_over(*node));
            let present = &mut self.present;
            self.entries.retain(|_, entry| {
                let stays = !news.is_over(entry.node);
                *present -= usize::from(!stays && entry.state.is_there());
                stays
            });
        }
        self.noted = news.last;
        looked_at
    }

    pub(super) fn is_there(&self, connection: ConnectionId) -> bool {
        self.entries.get(&connection).is_some_and(|entry| entry.state.is_there())
    }
}
