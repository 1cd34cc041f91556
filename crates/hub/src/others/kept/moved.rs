//! Connections that were one node's and are another's, because the one parked them and the other's clients came back to them.

use std::collections::HashSet;

use respoke_core::id::ConnectionId;
use respoke_core::ports::{Departed, Interest, Moved, Node};
use tokio::time::Instant;

use super::held::{Entry, State};
use super::laying::same;
use super::{Going, Gone, Kept, News, group_of};

impl Kept {
    /// Nobody comes to that node any more: it parks what it has.
    pub(in crate::others) fn parks(&mut self, node: Node) {
        self.parking.insert(node);
    }

    /// Whether what a node says of a connection is so. If that is known as another's, it has moved unheard: to who says
    /// something of it, and never to who parks, or where it went from.
    pub(super) fn is_of(&mut self, connection: ConnectionId, (node, number): (Node, u64)) -> bool {
        let Some(there) = self.there.get_mut(&connection).filter(|there| there.node != node) else { return true };
        if self.parking.contains(&node) || self.gone.contains_key(&(connection, node)) {
            return false;
        }
        let before = std::mem::replace(&mut there.node, node);
        let of: Vec<_> = there.of.iter().cloned().collect();
        self.forget(before, connection);
        self.of_nodes.entry(node).or_default().insert(connection);
        for interest in &of {
            self.put(interest, connection, (node, number));
        }
        true
    }

    /// A connection is another node's from here on, or this one's, and what it is in is as before. What those here are to be
    /// told, who knew it otherwise.
    pub(in crate::others) fn moved(&mut self, to: Option<(Node, u64)>, moved: &Moved, now: Instant) -> Vec<News> {
        let Moved { app_id, endpoint, connection, from, groups, presence } = moved;
        let (app_id, connection) = (*app_id, *connection);
        // What it said there was said before.
        self.note_gone((connection, *from), Gone::Told, now);
        if to.is_some_and(|(node, _)| self.gone.contains_key(&(connection, node))) {
            // It moved on from there, which came first, or went.
            return Vec::new();
        }
        let before = self.there.remove(&connection);
        if let Some(before) = &before {
            self.forget(before.node, connection);
        }
        let (was_of, said) = before.map(|before| (before.of, before.presence)).unwrap_or_default();
        let observers = Interest::Observers(app_id, endpoint.clone());
        let of: HashSet<_> =
            groups.iter().map(|group| Interest::Group(app_id, group.clone())).chain([observers.clone()]).collect();
        let mut news = Vec::new();
        for interest in was_of.difference(&of) {
            self.held.strike(interest, connection);
            let groups: Vec<_> = group_of(interest).cloned().into_iter().collect();
            let departed = Departed { app_id, endpoint: endpoint.clone(), connection, groups };
            news.push(News::Gone(Going { departed, observed: false }));
        }
        for interest in &of {
            let Some(held) = self.held.get_mut(interest) else { continue };
            // Where it was not known who is there, those here can ask.
            let is_news = !was_of.contains(interest) && held.is_whole(*from);
            if let (true, Interest::Group(app_id, group)) = (is_news, interest) {
                let (group, endpoint) = (group.clone(), endpoint.clone());
                news.push(News::Joined { app_id: *app_id, group, endpoint, connection });
            }
            let Some((node, number)) = to else {
                self.held.strike(interest, connection);
                continue;
            };
            self.put(interest, connection, (node, number));
            let there = self.seat(node, interest.clone(), endpoint, connection);
            if *interest == observers {
                there.presence.clone_from(presence);
            }
        }
        let is_observed = self.held.get_mut(&observers).is_some();
        if let Some(presence) = presence.clone().filter(|now| is_observed && !same(said.as_ref(), Some(now))) {
            news.push(News::Said { app_id, endpoint: endpoint.clone(), connection, presence });
        }
        news
    }

    /// A connection of a node is there because of this, and those here know.
    fn put(&mut self, interest: &Interest, connection: ConnectionId, (node, number): (Node, u64)) {
        let Some(held) = self.held.get_mut(interest) else { return };
        let entry = Entry { node, number, state: State::There { told: true } };
        let before = held.entries.insert(connection, entry);
        held.present += usize::from(!before.is_some_and(|before| before.state.is_there()));
    }
}
