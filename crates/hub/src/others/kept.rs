//! What this node keeps of other nodes' connections: the members of groups that its own sockets are in, and the connections
//! of endpoints that they observe.
//!
//! It is what this node's sockets were told. Whoever comes into it is told as come, and whoever goes out of it as gone.
//! Each is told once, whatever it is known by: a delivery, a snapshot after a gap, the loss of the node. What a list needs
//! is not taken from here, but asked for anew.
//!
//! Invariant: `there` has a connection with a thing exactly if that thing's entries have the connection. Of a node that is
//! gone some may be in `there` alone, until leave is taken of them.

mod asking;
mod held;
mod laying;
mod moved;

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque, hash_set};
use std::time::Duration;

use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};
use respoke_core::ports::{Confirmation, Departed, Interest, Node, Whom};
use tokio::time::Instant;

pub(super) use self::asking::Portion;
pub(super) use self::held::Asked;
use self::held::{Entry, Held, Holds, State};
pub(super) use self::laying::Answered;
use super::Count;

/// How long it is known of a connection that it went: what one of its node's threads said of it before may come behind
/// that.
const GONE_FOR: Duration = Duration::from_secs(10);
/// Of how many, at most.
const GONE_MAX: usize = 65_536;

/// What is kept of others.
#[derive(Debug, Default)]
pub(super) struct Kept {
    held: Holds,
    there: HashMap<ConnectionId, There>,
    /// Whose connections are there, by their nodes.
    of_nodes: HashMap<Node, HashSet<ConnectionId>>,
    /// Those of nodes that are gone, until they are taken leave of.
    lost: VecDeque<Lost>,
    /// Of whom it is known that they went from a node. They may have come to another.
    gone: HashMap<(ConnectionId, Node), Gone>,
    gone_since: VecDeque<(Instant, (ConnectionId, Node))>,
    /// Nodes to which nobody comes any more, for they park what they have.
    parking: HashSet<Node>,
    /// Of whom something is to be asked, with a number that is greater each time when there may be more of it.
    due: BTreeMap<Whom, u64>,
    marks: u64,
}

/// What is known of a connection that went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// Its endpoint has it no more, and those who observe that are told. Of its groups its node is yet to tell.
    Missing,
    /// All of it.
    Told,
}

/// A connection of another node.
#[derive(Debug)]
struct There {
    node: Node,
    app_id: AppId,
    endpoint: EndpointId,
    /// What it said last, if its endpoint is observed here.
    presence: Option<Presence>,
    /// Because of what it is known.
    of: HashSet<Interest>,
}

/// A node that is gone.
#[derive(Debug)]
struct Lost {
    node: Node,
    /// When, on the registry's own count.
    at: u64,
    /// Those of its connections that are not taken leave of.
    connections: hash_set::IntoIter<ConnectionId>,
}

/// What those here are to be told.
#[derive(Debug)]
pub(super) enum News {
    /// A connection is a member of a group.
    Joined { app_id: AppId, group: GroupName, endpoint: EndpointId, connection: ConnectionId },
    /// A connection is gone, or no member any more of these groups.
    Gone(Going),
    /// A connection says this.
    Said { app_id: AppId, endpoint: EndpointId, connection: ConnectionId, presence: Presence },
}

/// A connection that went, and who is to be told.
#[derive(Debug)]
pub(super) struct Going {
    /// With the groups whose members are told.
    pub(super) departed: Departed,
    /// Whether those are who observe its endpoint.
    pub(super) observed: bool,
}

impl Kept {
    /// One more is there for this.
    pub(super) fn hold(&mut self, interest: &Interest) -> bool {
        let is_first = !self.is_held(interest);
        self.held.hold(interest);
        is_first
    }

    /// Whether something here is there for this.
    pub(super) fn is_held(&self, interest: &Interest) -> bool {
        self.held.get(interest).is_some()
    }

    /// Who is told that something here is there for this, if that is the first.
    pub(super) fn tell(&mut self, interest: &Interest, told: &Confirmation) {
        if let Some(held) = self.held.get_mut(interest).filter(|held| held.count == 1) {
            held.told.clone_from(told);
        }
    }

    /// One less is. With the last all is forgotten that was known because of it. Whether it was the last.
    pub(super) fn release(&mut self, interest: &Interest) -> bool {
        let held = self.held.release(interest);
        let is_last = held.is_some();
        for (connection, entry) in held.map(|held| held.entries).into_iter().flatten() {
            if entry.state.is_there() {
                self.unseat(connection, interest);
            }
        }
        is_last
    }

    /// How many connections are there because of this. None: that is not known, for nothing here is there for it, or the
    /// others were not asked yet.
    pub(super) fn count(&mut self, interest: &Interest) -> Option<Count> {
        let held = self.held.get_mut(interest).filter(|held| held.surveyed)?;
        let unheard = held.doubted.values().filter(|doubt| doubt.never_answered).count();
        Some(Count { known: held.present, unheard })
    }

    /// Whether it is known of every node who is there because of these.
    pub(super) fn is_whole(&mut self, interests: &[Interest]) -> bool {
        let is_whole = |held: &mut Held| held.surveyed && held.doubted.is_empty();
        interests.iter().all(|interest| self.held.get_mut(interest).is_some_and(is_whole))
    }

    /// Whether somebody is there. None: that is not known of every node.
    pub(super) fn is_anybody(&mut self, interest: &Interest) -> Option<bool> {
        let held = self.held.get_mut(interest)?;
        match held.present {
            0 if !held.surveyed || !held.doubted.is_empty() => None,
            count => Some(count > 0),
        }
    }

    /// Whether this connection is.
    pub(super) fn is_there(&mut self, interest: &Interest, connection: ConnectionId) -> bool {
        self.held.get_mut(interest).is_some_and(|held| held.is_there(connection))
    }

    /// The connections of an observed endpoint, and what each says.
    pub(super) fn presences(&mut self, app_id: AppId, endpoint: &EndpointId) -> Vec<(ConnectionId, Option<Presence>)> {
        let Some(held) = self.held.get_mut(&Interest::Observers(app_id, endpoint.clone())) else { return Vec::new() };
        let there = held.entries.iter().filter(|(_, entry)| entry.state.is_there());
        let said = |id: &ConnectionId| self.there.get(id).and_then(|there| there.presence.clone());
        let mut found: Vec<_> = there.map(|(id, _)| (*id, said(id))).collect();
        found.sort_unstable_by_key(|(id, _)| *id);
        found
    }

    /// What a connection of an observed endpoint says.
    pub(super) fn presence(&self, connection: ConnectionId) -> Option<Presence> {
        self.there.get(&connection)?.presence.clone()
    }

    /// A node says that a connection joined a group. True: those here are to be told.
    pub(super) fn joined(
        &mut self,
        (node, number): (Node, u64),
        interest: Interest,
        endpoint: &EndpointId,
        connection: ConnectionId,
    ) -> bool {
        if self.gone.contains_key(&(connection, node)) || !self.is_of(connection, (node, number)) {
            return false;
        }
        let Some(held) = self.held.get_mut(&interest) else { return true };
        let entry = Entry { node, number, state: State::There { told: true } };
        let before = held.entries.insert(connection, entry).map(|entry| entry.state);
        held.present += usize::from(!before.is_some_and(State::is_there));
        self.seat(node, interest, endpoint, connection);
        before != Some(State::There { told: true })
    }

    /// A node says that a connection left a group. True: those here are to be told.
    pub(super) fn left(&mut self, from: (Node, u64), interest: &Interest, connection: ConnectionId) -> bool {
        if self.gone.get(&(connection, from.0)) == Some(&Gone::Told) || !self.is_of(connection, from) {
            return false;
        }
        let Some(held) = self.held.get_mut(interest) else { return true };
        let known = held.entries.get(&connection).map(|entry| entry.state);
        let told = match known {
            Some(State::There { .. }) => true,
            Some(State::Left | State::Missing) => false,
            None => !held.is_whole(from.0),
        };
        self.take_out(interest, connection, from);
        told
    }

    /// A node says that a connection of an observed endpoint came, or what it says. True: those here may be told.
    pub(super) fn observed(
        &mut self,
        (node, number): (Node, u64),
        app_id: AppId,
        endpoint: &EndpointId,
        connection: ConnectionId,
        presence: Option<&Presence>,
    ) -> bool {
        if self.gone.contains_key(&(connection, node)) || !self.is_of(connection, (node, number)) {
            return false;
        }
        let interest = Interest::Observers(app_id, endpoint.clone());
        let Some(held) = self.held.get_mut(&interest) else { return true };
        let entry = Entry { node, number, state: State::There { told: true } };
        let before = held.entries.insert(connection, entry).map(|entry| entry.state);
        held.present += usize::from(!before.is_some_and(State::is_there));
        let there = self.seat(node, interest, endpoint, connection);
        if let Some(said) = presence {
            there.presence = Some(said.clone());
        }
        true
    }

    /// A node says that a connection ended.
    pub(super) fn departed(&mut self, from: (Node, u64), departed: Departed, now: Instant) -> Option<Going> {
        let Departed { app_id, endpoint, connection, groups } = departed;
        let is_of = self.is_of(connection, from);
        let before = self.note_gone((connection, from.0), Gone::Told, now);
        if before == Some(Gone::Told) || !is_of {
            return None;
        }
        let mut told: Vec<GroupName> = Vec::new();
        for group in groups {
            let interest = Interest::Group(app_id, group);
            if self.take_out(&interest, connection, from)
                && let Interest::Group(_, group) = interest
            {
                told.push(group);
            }
        }
        self.take_out(&Interest::Observers(app_id, endpoint.clone()), connection, from);
        // What was told of it in another order than it was done.
        if let Some(there) = self.there.remove(&connection) {
            self.forget(there.node, connection);
            for interest in &there.of {
                self.held.strike(interest, connection);
                told.extend(group_of(interest).cloned());
            }
        }
        // Whoever observes it when that is told may not do so yet. Who begins after it was missing never saw it.
        let observed = before.is_none();
        let going = Going { departed: Departed { app_id, endpoint, connection, groups: told }, observed };
        (observed || !going.departed.groups.is_empty()).then_some(going)
    }

    /// A node says that a group ended: these are no members any more.
    pub(super) fn group_ended(
        &mut self,
        from: (Node, u64),
        interest: &Interest,
        connections: &[ConnectionId],
    ) -> Vec<Going> {
        let mut going = Vec::new();
        for connection in connections {
            if !self.is_of(*connection, from) {
                continue;
            }
            if self.is_there(interest, *connection) {
                going.extend(self.going_from(interest, *connection, from));
            } else if self.gone.get(&(*connection, from.0)) != Some(&Gone::Told) {
                // An answer may be on its way that has it.
                self.take_out(interest, *connection, from);
            }
        }
        going
    }

    /// A node is gone, and with it all that it had: that is taken leave of in portions. When that is, on the registry's count.
    pub(super) fn lost(&mut self, node: Node, at: u64) {
        self.held.lost(node);
        self.due.remove(&Whom::One(node));
        self.parking.remove(&node);
        if let Some(connections) = self.of_nodes.remove(&node) {
            self.lost.push_back(Lost { node, at, connections: connections.into_iter() });
        }
    }

    /// Takes leave of connections of a node that is gone, one after the other, until they were there because of `most` things
    /// or more together. None: of all that was done.
    pub(super) fn take_leave(&mut self, most: usize, now: Instant) -> Option<(u64, Vec<Going>)> {
        let Lost { node, at, mut connections } = self.lost.pop_front()?;
        let (mut going, mut things) = (Vec::new(), 0);
        for connection in connections.by_ref() {
            // What was there because of things that are held no more is not there either, and some are another's by now.
            let is_its = self.there.get(&connection).is_some_and(|there| there.node == node);
            let there = if is_its { self.there.remove(&connection) } else { None };
            things += there.as_ref().map_or(1, |there| there.of.len());
            going.extend(there.map(|there| self.take_leave_of(connection, there, now)));
            if things >= most {
                break;
            }
        }
        if connections.len() > 0 {
            self.lost.push_front(Lost { node, at, connections });
        }
        Some((at, going))
    }

    fn take_leave_of(&mut self, connection: ConnectionId, there: There, now: Instant) -> Going {
        self.note_gone((connection, there.node), Gone::Told, now);
        for interest in &there.of {
            self.held.strike(interest, connection);
        }
        let observed = there.of.iter().any(|interest| matches!(interest, Interest::Observers(..)));
        let groups = there.of.iter().filter_map(group_of).cloned().collect();
        let There { app_id, endpoint, .. } = there;
        Going { departed: Departed { app_id, endpoint, connection, groups }, observed }
    }

    /// Notes that a connection went from a node, and returns what was known of that before.
    fn note_gone(&mut self, who: (ConnectionId, Node), what: Gone, now: Instant) -> Option<Gone> {
        while let Some((since, oldest)) = self.gone_since.front()
            && (now.duration_since(*since) > GONE_FOR || self.gone_since.len() >= GONE_MAX)
        {
            self.gone.remove(oldest);
            self.gone_since.pop_front();
        }
        let before = self.gone.get(&who).copied();
        if before.is_none() {
            self.gone_since.push_back((now, who));
        }
        if before != Some(Gone::Told) {
            self.gone.insert(who, what);
        }
        before
    }

    fn going_from(&mut self, interest: &Interest, connection: ConnectionId, from: (Node, u64)) -> Option<Going> {
        let there = self.there.get(&connection)?;
        let (app_id, endpoint) = (there.app_id, there.endpoint.clone());
        self.take_out(interest, connection, from);
        let groups: Vec<_> = group_of(interest).cloned().into_iter().collect();
        let observed = groups.is_empty();
        Some(Going { departed: Departed { app_id, endpoint, connection, groups }, observed })
    }

    /// Takes a connection out of one thing. True: those here are to be told.
    fn take_out(&mut self, interest: &Interest, connection: ConnectionId, (node, number): (Node, u64)) -> bool {
        let Some(held) = self.held.get_mut(interest) else { return false };
        let is_whole = held.is_whole(node);
        let before = if is_whole {
            held.entries.remove(&connection)
        } else {
            held.entries.insert(connection, Entry { node, number, state: State::Left })
        };
        let was_there = before.is_some_and(|before| before.state.is_there());
        held.present -= usize::from(was_there);
        // Who was told once is not told again.
        let told = before.map_or(!is_whole, |before| before.state.is_there());
        if was_there {
            self.unseat(connection, interest);
        }
        told
    }

    fn seat(&mut self, node: Node, interest: Interest, endpoint: &EndpointId, connection: ConnectionId) -> &mut There {
        let there = self.there.entry(connection).or_insert_with(|| {
            self.of_nodes.entry(node).or_default().insert(connection);
            There { node, app_id: interest.app_id(), endpoint: endpoint.clone(), presence: None, of: HashSet::new() }
        });
        there.of.insert(interest);
        there
    }

    fn unseat(&mut self, connection: ConnectionId, interest: &Interest) {
        if let MapEntry::Occupied(mut there) = self.there.entry(connection) {
            there.get_mut().of.remove(interest);
            if matches!(interest, Interest::Observers(..)) {
                there.get_mut().presence = None;
            }
            if there.get().of.is_empty() {
                let there = there.remove();
                self.forget(there.node, connection);
            }
        }
    }

    /// A connection of a node is there no more.
    fn forget(&mut self, node: Node, connection: ConnectionId) {
        if let Some(connections) = self.of_nodes.get_mut(&node) {
            connections.remove(&connection);
            if connections.is_empty() {
                self.of_nodes.remove(&node);
            }
        }
    }
}

const fn group_of(interest: &Interest) -> Option<&GroupName> {
    match interest {
        Interest::Group(_, group) => Some(group),
        Interest::Endpoint(..) | Interest::Observers(..) | Interest::Tails(..) => None,
    }
}

#[cfg(feature = "inspected")]
mod inspected;
#[cfg(test)]
mod tests;
