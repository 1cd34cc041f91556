//! What this node keeps of other nodes' connections: the members of groups that its own sockets are in, and the connections
//! of endpoints that they observe.
//!
//! It is what its sockets were told. Whoever comes into it is told as come, whoever goes out of it as gone, once, whatever
//! it is known by: a delivery, a snapshot after a gap, the loss of the node. What is needed for a list is asked for anew.
//!
//! Invariant: a connection is in `there` with every thing among whose entries it is, and in no other way.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque, btree_map};
use std::ops::Bound;
use std::time::Duration;

use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};
use respoke_core::ports::{Confirmation, Departed, Incarnation, Interest, Node, NodeId, Present, Whom};
use tokio::time::Instant;

use super::Count;

/// How long it is known of a connection that it went: what one of its node's threads said of it before may come behind
/// that.
const GONE_FOR: Duration = Duration::from_secs(10);
/// Of how many, at most.
const GONE_MAX: usize = 65_536;

/// What is kept of others.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// In order, so that they can be looked through in portions.
    held: BTreeMap<Interest, Held>,
    there: HashMap<ConnectionId, There>,
    gone: HashMap<ConnectionId, Gone>,
    gone_since: VecDeque<(Instant, ConnectionId)>,
    /// The last life of each node that is over.
    over: HashMap<NodeId, Incarnation>,
    generations: u64,
    /// Counts how often it became doubtful who is there where that was known.
    turns: u64,
    /// Of whom something is to be asked, with a number that is greater each time when there may be more of it.
    due: BTreeMap<Whom, u64>,
    marks: u64,
}

/// A group or an observed endpoint that something here is there for.
#[derive(Debug)]
struct Held {
    /// How often.
    count: usize,
    /// Another each time when it begins, so that what was asked before that is not taken for an answer.
    generation: u64,
    /// Who does not know of it yet, and may tell past it.
    told: Confirmation,
    /// Whether all nodes were asked once who is there.
    surveyed: bool,
    /// Whether somebody is to ask them.
    wanted: bool,
    /// Of which nodes it is not known who is there.
    doubted: BTreeMap<Node, Doubt>,
    entries: HashMap<ConnectionId, Entry>,
    /// Entries that are there.
    present: usize,
}

/// Why it is not known who of a node is there.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    /// The turn at which it came up where it was known who is there; nought if that was never known. While it is known
    /// nothing is kept of who left, so what was asked for before that turn would bring those back, and is worth nothing.
    turn: u64,
    /// The number of what was missed last.
    missed: u64,
    /// Who is there may have come unheard. Otherwise the node has not answered yet, and told of whoever came since.
    unheard: bool,
    /// It was asked and has never said who is there.
    never_answered: bool,
    /// It answered, and did not know yet that something here is there for this: it may have told past it since.
    early: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    node: Node,
    /// The number of what told of it last.
    number: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
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
    const fn is_there(self) -> bool {
        matches!(self, Self::There { .. })
    }
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

/// A thing that is asked about.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) interest: Interest,
    generation: u64,
    /// Who does not know of it when that is asked: what those answer is true, and may be true no more before they do.
    unaware: Vec<Node>,
}

/// Some of what is to be asked of somebody.
#[derive(Debug, Default)]
pub(super) struct Portion {
    pub(super) asked: Vec<Asked>,
    /// Behind which there may be more. None: that was all.
    pub(super) behind: Option<Interest>,
    /// Something is to be asked of one who does not know yet what for.
    pub(super) early: bool,
}

/// A part of a snapshot: everything up to this number is in it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) number: u64,
    pub(super) found: Vec<Present>,
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

impl Held {
    fn asked(&self, interest: &Interest) -> Asked {
        Asked { interest: interest.clone(), generation: self.generation, unaware: self.told.missing() }
    }

    /// Whether it is known who of a node is there.
    fn is_whole(&self, node: Node) -> bool {
        self.surveyed && !self.doubted.contains_key(&node)
    }

    /// Whether a node knows that something here is there for it.
    fn knows(&self, node: Node) -> bool {
        !self.told.missing().contains(&node)
    }

    /// It is doubtful at this turn who of a node is there.
    fn doubt(&mut self, node: Node, turn: u64) -> &mut Doubt {
        let turn = if self.surveyed { turn } else { 0 };
        self.doubted.entry(node).or_insert(Doubt { turn, ..Doubt::default() })
    }

    /// Whether what a node answers to who asked at that turn is worth nothing.
    fn is_stale(&self, node: Node, asked_at: u64) -> bool {
        self.doubted.get(&node).is_some_and(|doubt| doubt.turn > asked_at)
    }

    fn is_there(&self, connection: ConnectionId) -> bool {
        self.entries.get(&connection).is_some_and(|entry| entry.state.is_there())
    }
}

impl Kept {
    /// One more is there for this.
    pub(super) fn hold(&mut self, interest: &Interest) {
        if let Some(held) = self.held.get_mut(interest) {
            held.count += 1;
            return;
        }
        self.generations += 1;
        let held = Held {
            count: 1,
            generation: self.generations,
            told: Confirmation::DONE,
            surveyed: false,
            wanted: false,
            doubted: BTreeMap::new(),
            entries: HashMap::new(),
            present: 0,
        };
        self.held.insert(interest.clone(), held);
    }

    /// Who is told that something here is there for this, if that is the first.
    pub(super) fn tell(&mut self, interest: &Interest, told: &Confirmation) {
        if let Some(held) = self.held.get_mut(interest).filter(|held| held.count == 1) {
            held.told.clone_from(told);
        }
    }

    /// One less is. With the last all is forgotten that was known because of it.
    pub(super) fn release(&mut self, interest: &Interest) {
        let btree_map::Entry::Occupied(mut held) = self.held.entry(interest.clone()) else { return };
        held.get_mut().count -= 1;
        if held.get().count == 0 {
            for (connection, entry) in held.remove().entries {
                if entry.state.is_there() {
                    self.unseat(connection, interest);
                }
            }
        }
    }

    /// Those of these about which nobody was asked yet.
    pub(super) fn unsurveyed(&self, interests: &[Interest]) -> Vec<Asked> {
        let unsurveyed = |interest: &Interest| {
            let held = self.held.get(interest).filter(|held| !held.surveyed)?;
            Some(held.asked(interest))
        };
        interests.iter().filter_map(unsurveyed).collect()
    }

    /// These are to be asked about by whoever asks for what is left.
    pub(super) fn want(&mut self, asked: &[Asked]) {
        for Asked { interest, generation, .. } in asked {
            if let Some(held) = self.held.get_mut(interest).filter(|held| held.generation == *generation)
                && !held.surveyed
            {
                held.wanted = true;
                mark(&mut self.due, &mut self.marks, Whom::Others);
            }
        }
    }

    /// Whether something is to be asked of anybody.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Of whom something is to be asked.
    pub(super) fn due(&self) -> Vec<Whom> {
        self.due.keys().copied().collect()
    }

    /// Up to which mark something is to be asked of somebody. None: nothing is.
    pub(super) fn due_of(&self, whom: Whom) -> Option<u64> {
        self.due.get(&whom).copied()
    }

    /// All was asked that was to be when that was its mark. True: nothing is left.
    pub(super) fn was_asked(&mut self, whom: Whom, mark: u64) -> bool {
        if self.due.get(&whom) == Some(&mark) {
            self.due.remove(&whom);
        }
        !self.due.contains_key(&whom)
    }

    /// What is to be asked of somebody, behind one thing: about so many at most, of so many that are looked at. Who has
    /// answered too early is asked again once it knows what for.
    pub(super) fn wanted(&self, whom: Whom, behind: Option<&Interest>, most: usize, looked_at_most: usize) -> Portion {
        let mut portion = Portion::default();
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        for (nth, (interest, held)) in self.held.range::<Interest, _>((from, Bound::Unbounded)).enumerate() {
            let is_wanted = match whom {
                Whom::Others => held.wanted && !held.surveyed,
                Whom::One(node) => match held.doubted.get(&node).filter(|_| held.surveyed) {
                    Some(doubt) if doubt.early && !held.knows(node) => {
                        portion.early = true;
                        false
                    }
                    doubt => doubt.is_some(),
                },
            };
            if is_wanted {
                portion.asked.push(held.asked(interest));
            }
            if portion.asked.len() == most || nth + 1 == looked_at_most {
                portion.behind = Some(interest.clone());
                break;
            }
        }
        portion
    }

    /// How many connections are there because of this. None: that is not known, for nothing here is there for it, or the
    /// others were not asked yet.
    pub(super) fn count(&self, interest: &Interest) -> Option<Count> {
        let held = self.held.get(interest).filter(|held| held.surveyed)?;
        let unheard = held.doubted.values().filter(|doubt| doubt.never_answered).count();
        Some(Count { known: held.present, unheard })
    }

    /// Whether it is known of every node who is there because of these.
    pub(super) fn is_whole(&self, interests: &[Interest]) -> bool {
        let is_whole = |held: &Held| held.surveyed && held.doubted.is_empty();
        interests.iter().all(|interest| self.held.get(interest).is_some_and(is_whole))
    }

    /// Whether somebody is there. None: that is not known of every node.
    pub(super) fn is_anybody(&self, interest: &Interest) -> Option<bool> {
        let held = self.held.get(interest)?;
        match held.present {
            0 if !held.surveyed || !held.doubted.is_empty() => None,
            count => Some(count > 0),
        }
    }

    /// Whether this connection is.
    pub(super) fn is_there(&self, interest: &Interest, connection: ConnectionId) -> bool {
        self.held.get(interest).is_some_and(|held| held.is_there(connection))
    }

    /// The connections of an observed endpoint, and what each says.
    pub(super) fn presences(&self, app_id: AppId, endpoint: &EndpointId) -> Vec<(ConnectionId, Option<Presence>)> {
        let Some(held) = self.held.get(&Interest::Observers(app_id, endpoint.clone())) else { return Vec::new() };
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
        if self.gone.contains_key(&connection) {
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
        if self.gone.get(&connection) == Some(&Gone::Told) {
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
        if self.gone.contains_key(&connection) {
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
        let before = self.note_gone(connection, Gone::Told, now);
        if before == Some(Gone::Told) {
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
            for interest in &there.of {
                self.strike(interest, connection);
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
            if self.is_there(interest, *connection) {
                going.extend(self.going_from(interest, *connection, from));
            } else if self.gone.get(connection) != Some(&Gone::Told) {
                // An answer may be on its way that has it.
                self.take_out(interest, *connection, from);
            }
        }
        going
    }

    /// A node is gone, and with it all that it had.
    pub(super) fn lost(&mut self, node: Node, now: Instant) -> Vec<Going> {
        self.over.insert(node.id, node.incarnation);
        self.due.remove(&Whom::One(node));
        for held in self.held.values_mut() {
            held.doubted.remove(&node);
        }
        let gone: Vec<_> = self.there.iter().filter(|(_, there)| there.node == node).map(|(id, _)| *id).collect();
        let mut going = Vec::with_capacity(gone.len());
        for connection in gone {
            self.note_gone(connection, Gone::Told, now);
            let Some(there) = self.there.remove(&connection) else { continue };
            for interest in &there.of {
                self.strike(interest, connection);
            }
            let observed = there.of.iter().any(|interest| matches!(interest, Interest::Observers(..)));
            let groups = there.of.iter().filter_map(group_of).cloned().collect();
            let There { app_id, endpoint, .. } = there;
            going.push(Going { departed: Departed { app_id, endpoint, connection, groups }, observed });
        }
        for held in self.held.values_mut() {
            held.entries.retain(|_, entry| entry.node != node);
        }
        going
    }

    /// Something is lost for good of what a node said, up to this number.
    pub(super) fn missed(&mut self, node: Node, number: u64) {
        self.turns += 1;
        for held in self.held.values_mut() {
            let doubt = held.doubt(node, self.turns);
            (doubt.missed, doubt.unheard, doubt.early) = (number, true, false);
        }
        mark(&mut self.due, &mut self.marks, Whom::One(node));
    }

    /// These nodes heard too late that something here is there for this: they may have told past it.
    pub(super) fn late(&mut self, interest: &Interest, nodes: &[Node]) {
        let nodes: Vec<_> = nodes.iter().copied().filter(|node| !self.is_over(*node)).collect();
        let Some(held) = self.held.get_mut(interest) else { return };
        self.turns += 1;
        for node in nodes {
            held.doubt(node, self.turns).unheard = true;
            mark(&mut self.due, &mut self.marks, Whom::One(node));
        }
    }

    /// Now, for whoever is about to ask.
    pub(super) const fn turn(&self) -> u64 {
        self.turns
    }

    /// Lays what a node answered, who was asked at that turn, beneath what it said since.
    pub(super) fn lay(
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
        if self.is_over(node) {
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
            if self.held.get(interest).is_some_and(|held| held.is_stale(node, asked_at)) {
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

    /// Everybody was asked about these; who did not answer is to be asked again.
    pub(super) fn surveyed(&mut self, asked: &[Asked], silent: &[Node]) {
        let silent: Vec<_> = silent.iter().copied().filter(|node| !self.is_over(*node)).collect();
        for Asked { interest, generation, .. } in asked {
            let Some(held) = self.held.get_mut(interest).filter(|held| held.generation == *generation) else {
                continue;
            };
            if held.surveyed {
                continue;
            }
            held.surveyed = true;
            held.wanted = false;
            for node in &silent {
                held.doubted.entry(*node).or_default().never_answered = true;
            }
            // Also of whom it was to be asked before, when that was not its turn yet.
            for node in held.doubted.keys() {
                mark(&mut self.due, &mut self.marks, Whom::One(*node));
            }
            let doubted = &held.doubted;
            held.entries.retain(|_, entry| entry.state != State::Left || doubted.contains_key(&entry.node));
        }
    }

    pub(super) fn is_over(&self, node: Node) -> bool {
        self.over.get(&node.id).is_some_and(|over| node.incarnation <= *over)
    }

    /// Notes that a connection went, and returns what was known of that before.
    fn note_gone(&mut self, connection: ConnectionId, what: Gone, now: Instant) -> Option<Gone> {
        while let Some((since, oldest)) = self.gone_since.front()
            && (now.duration_since(*since) > GONE_FOR || self.gone_since.len() >= GONE_MAX)
        {
            self.gone.remove(oldest);
            self.gone_since.pop_front();
        }
        let before = self.gone.get(&connection).copied();
        if before.is_none() {
            self.gone_since.push_back((now, connection));
        }
        if before != Some(Gone::Told) {
            self.gone.insert(connection, what);
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

    /// Takes a connection that is there out of one thing.
    fn strike(&mut self, interest: &Interest, connection: ConnectionId) {
        if let Some(held) = self.held.get_mut(interest)
            && held.entries.remove(&connection).is_some_and(|entry| entry.state.is_there())
        {
            held.present -= 1;
        }
    }

    fn seat(&mut self, node: Node, interest: Interest, endpoint: &EndpointId, connection: ConnectionId) -> &mut There {
        let there = self.there.entry(connection).or_insert_with(|| There {
            node,
            app_id: interest.app_id(),
            endpoint: endpoint.clone(),
            presence: None,
            of: HashSet::new(),
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
                there.remove();
            }
        }
    }
}

/// There may be more to ask of somebody.
fn mark(due: &mut BTreeMap<Whom, u64>, marks: &mut u64, whom: Whom) {
    *marks += 1;
    due.insert(whom, *marks);
}

const fn group_of(interest: &Interest) -> Option<&GroupName> {
    match interest {
        Interest::Group(_, group) => Some(group),
        Interest::Endpoint(..) | Interest::Observers(..) | Interest::Tails(..) => None,
    }
}

fn same(one: Option<&Presence>, other: Option<&Presence>) -> bool {
    one.map(Presence::texts) == other.map(Presence::texts)
}

#[cfg(feature = "inspected")]
mod inspected;
#[cfg(test)]
mod tests;
