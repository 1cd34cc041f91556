//! What a node answered, laid beneath what it said since.

use std::collections::HashSet;

use respoke_core::event::Presence;
use respoke_core::id::ConnectionId;
use respoke_core::ports::{Interest, Node, Present, Whom};
use tokio::time::Instant;

use super::asking::mark;
use super::held::{Asked, Entry, Held, State};
use super::{Gone, Kept, News};

/// A part of a snapshot: everything up to this number is in it.
#[derive(Debug)]
pub(in crate::others) struct Piece {
    pub(in crate::others) number: u64,
    pub(in crate::others) found: Vec<Present>,
}

impl Kept {
    /// Lays what a node answered, who was asked at that turn, beneath what it said since.
    pub(in crate::others) fn lay(
        &mut self,
        asked: &[Asked],
        asked_at: u64,
        node: Node,
        pieces: &[Piece],
        now: Instant,
    ) -> Vec<News> {
        let mut news = Vec::new();
        let Some(oldest) = pieces.iter().map(|piece| piece.number).min() else { return news };
        // It answered before it was lost, and all of it has been told as gone.
        if self.held.is_over(node) {
            return news;
        }
        let is_asked = |held: &Held, generation| {
            held.generation == generation && !held.is_whole(node) && !held.is_stale(node, asked_at)
        };
        let mut listed = HashSet::new();
        for Piece { number, found } in pieces {
            for Present { of, endpoint, connection, presence } in found {
                let Some(Asked { interest, generation, .. }) = asked.get(*of as usize) else { continue };
                listed.insert((*of, *connection));
                let Some(held) = self.held.get_mut(interest).filter(|held| is_asked(held, *generation)) else {
                    continue;
                };
                let before = held.entries.get(connection);
                if self.gone.contains_key(connection) || before.is_some_and(|before| before.number > *number) {
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
        }
        for (of, Asked { interest, generation, unaware }) in asked.iter().enumerate() {
            let of = u32::try_from(of).unwrap_or(u32::MAX);
            if self.held.get_mut(interest).is_some_and(|held| held.is_stale(node, asked_at)) {
                mark(&mut self.due, &mut self.marks, Whom::One(node));
            }
            let Some(held) = self.held.get_mut(interest).filter(|held| is_asked(held, *generation)) else { continue };
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
                entry.node == node && entry.number <= oldest && entry.state.is_there() && !listed.contains(&(of, **id))
            };
            let absent: Vec<_> = held.entries.iter().filter(is_absent).map(|(id, _)| *id).collect();
            if held.is_whole(node) {
                held.entries.retain(|_, entry| entry.node != node || entry.state.is_there());
            }
            for connection in absent {
                if let Interest::Observers(..) = interest {
                    self.note_gone(connection, Gone::Missing, now);
                }
                news.extend(self.going_from(interest, connection, (node, oldest)).map(News::Gone));
                if let Some(held) = self.held.get_mut(interest) {
                    held.entries.insert(connection, Entry { node, number: oldest, state: State::Missing });
                }
            }
        }
        news
    }
}

fn same(one: Option<&Presence>, other: Option<&Presence>) -> bool {
    one.map(Presence::texts) == other.map(Presence::texts)
}
