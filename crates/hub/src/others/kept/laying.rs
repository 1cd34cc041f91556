//! What a node answered is laid beneath what it said since.

use std::collections::{BTreeMap, HashSet};

use respoke_core::event::Presence;
use respoke_core::id::ConnectionId;
use respoke_core::ports::{Interest, Node, Present, Whom};
use tokio::time::Instant;

use super::asking::mark;
use super::held::{Asked, Entry, Held, State};
use super::{Gone, Kept, News};

/// All that a node answered.
#[derive(Debug)]
pub(in crate::others) struct Answered {
    node: Node,
    /// Everything up to this number is in all of it.
    oldest: u64,
    /// By the things that it was asked about.
    there: BTreeMap<u32, Vec<Line>>,
}

/// One that is there, with the number up to which everything is in what said so.
#[derive(Debug)]
struct Line {
    number: u64,
    present: Present,
}

impl Answered {
    /// What a node begins to answer.
    pub(in crate::others) const fn by(node: Node) -> Self {
        Self { node, oldest: u64::MAX, there: BTreeMap::new() }
    }

    pub(in crate::others) const fn node(&self) -> Node {
        self.node
    }

    /// The next part of it: everything up to this number is in that.
    pub(in crate::others) fn add(&mut self, number: u64, found: Vec<Present>) {
        self.oldest = self.oldest.min(number);
        for present in found {
            self.there.entry(present.of).or_default().push(Line { number, present });
        }
    }
}

impl Kept {
    /// How many connections have to be looked at to lay what is answered about one thing, the `of`th that was asked about.
    pub(in crate::others) fn to_be_laid(&self, of: u32, asked: &Asked, answered: &Answered) -> usize {
        let known = self.held.get(&asked.interest).map_or(0, |held| held.entries.len());
        known + answered.there.get(&of).map_or(0, Vec::len)
    }

    /// Whether what a node answered to who asked at that turn is older than a loss that was known by then: it is to be asked
    /// again. No bus should bring such an answer.
    pub(in crate::others) fn is_too_old(&self, answered: &Answered, asked_at: u64) -> bool {
        self.held.lacks_what_was_missed(answered.node, asked_at, answered.oldest)
    }

    /// Lays what a node answered about one thing, the `of`th of those that it was asked about at that turn, beneath what it
    /// said since. What that is compared with is known of this thing alone: others may be laid at another moment.
    pub(in crate::others) fn lay_one(
        &mut self,
        of: u32,
        Asked { interest, generation, unaware }: &Asked,
        asked_at: u64,
        answered: &Answered,
        now: Instant,
    ) -> Vec<News> {
        let (mut news, Answered { node, oldest, there }) = (Vec::new(), answered);
        let (node, oldest, there) = (*node, *oldest, there.get(&of).map_or(&[][..], Vec::as_slice));
        // It answered before it was lost, and all of it has been told as gone.
        if self.held.is_over(node) {
            return news;
        }
        let is_asked =
            |held: &Held| held.generation == *generation && !held.is_whole(node) && !held.is_stale(node, asked_at);
        let mut listed = HashSet::with_capacity(there.len());
        for Line { number, present: Present { of: _, endpoint, connection, presence } } in there {
            listed.insert(*connection);
            if !self.held.get_mut(interest).is_some_and(|held| is_asked(held)) {
                break;
            }
            if self.gone.contains_key(&(*connection, node)) || !self.is_of(*connection, (node, *number)) {
                continue;
            }
            let Some(held) = self.held.get_mut(interest) else { break };
            let before = held.entries.get(connection);
            if before.is_some_and(|before| before.node == node && before.number > *number) {
                continue;
            }
            // Those here can ask who was there before them, and are told of whoever came since.
            let was_told_to_go = before.is_some_and(|before| !before.state.is_there());
            let is_news = was_told_to_go || held.doubted.get(&node).is_some_and(|doubt| doubt.unheard);
            let surveyed = held.surveyed;
            let was_there = before.is_some_and(|before| before.state.is_there());
            let state = before.map_or(State::There { told: is_news }, |before| match before.state {
                State::There { .. } => before.state,
                State::Left | State::Missing => State::There { told: is_news },
            });
            held.entries.insert(*connection, Entry { node, number: *number, state });
            held.present += usize::from(!was_there);
            let there = self.seat(node, interest.clone(), endpoint, *connection);
            match interest {
                Interest::Group(app_id, group) if is_news && !was_there => {
                    let (group, endpoint) = (group.clone(), endpoint.clone());
                    news.push(News::Joined { app_id: *app_id, group, endpoint, connection: *connection });
                }
                Interest::Observers(app_id, _) => {
                    let is_other = !same(there.presence.as_ref(), presence.as_ref());
                    there.presence.clone_from(presence);
                    if let Some(presence) = presence.clone().filter(|_| surveyed && is_other) {
                        let endpoint = endpoint.clone();
                        news.push(News::Said { app_id: *app_id, endpoint, connection: *connection, presence });
                    }
                }
                Interest::Group(..) | Interest::Endpoint(..) | Interest::Tails(..) => {}
            }
        }
        if self.held.get_mut(interest).is_some_and(|held| held.is_stale(node, asked_at)) {
            mark(&mut self.due, &mut self.marks, Whom::One(node));
        }
        let Some(held) = self.held.get_mut(interest).filter(|held| is_asked(held)) else { return news };
        if let Some(doubt) = held.doubted.get_mut(&node) {
            doubt.never_answered = false;
            if unaware.contains(&node) {
                // Whoever comes from here on may come unheard.
                (doubt.unheard, doubt.early) = (true, true);
                mark(&mut self.due, &mut self.marks, Whom::One(node));
            } else if doubt.missed <= oldest {
                held.doubted.remove(&node);
            } else {
                mark(&mut self.due, &mut self.marks, Whom::One(node));
            }
        }
        let is_absent = |(id, entry): &(&ConnectionId, &Entry)| {
            entry.node == node && entry.number <= oldest && entry.state.is_there() && !listed.contains(*id)
        };
        let absent: Vec<_> = held.entries.iter().filter(is_absent).map(|(id, _)| *id).collect();
        if held.is_whole(node) {
            held.entries.retain(|_, entry| entry.node != node || entry.state.is_there());
        }
        for connection in absent {
            if let Interest::Observers(..) = interest {
                self.note_gone((connection, node), Gone::Missing, now);
            }
            news.extend(self.going_from(interest, connection, (node, oldest)).map(News::Gone));
            if let Some(held) = self.held.get_mut(interest) {
                held.entries.insert(connection, Entry { node, number: oldest, state: State::Missing });
            }
        }
        news
    }
}

pub(super) fn same(one: Option<&Presence>, other: Option<&Presence>) -> bool {
    one.map(Presence::texts) == other.map(Presence::texts)
}
