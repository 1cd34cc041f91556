//! What was asked for in a storm, what came of it, and what clients heard.
//!
//! Many things go on at once, so of most it is not known which was first. What is known is what ended before something else
//! began. From that follows what there may be at the end ([`Ledger::possible`]), and what may not be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use respoke_core::id::{ConnectionId, GroupName};
use serde_json::Value;
use tokio::time::Instant;

/// How long it is waited for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How much later it is told that a connection ended.
const TOLD_AFTER: Duration = Duration::from_millis(150);

/// All that is noted, each with a moment of its own.
#[derive(Default)]
pub(super) struct Ledger {
    /// When each moment was, in time.
    moments: Vec<Instant>,
    pub(super) connections: BTreeMap<ConnectionId, Noted>,
    pub(super) sockets: Vec<SocketNotes>,
    wishes: Vec<Wish>,
    pub(super) said: Vec<Said>,
}

/// A connection.
pub(super) struct Noted {
    pub(super) socket: usize,
    pub(super) endpoint: &'static str,
    /// From when on it may be there, and from when on it is.
    pub(super) came: (u64, u64),
}

/// A socket.
#[derive(Default)]
pub(super) struct SocketNotes {
    pub(super) node: usize,
    pub(super) opened: u64,
    /// When its client went, or its node was killed.
    pub(super) gone: Option<u64>,
    pub(super) killed: bool,
    /// Its client registers, or broke that off.
    pub(super) is_left_unnamed: bool,
    pub(super) connections: Vec<ConnectionId>,
    pub(super) heard: Vec<Heard>,
}

/// About whom something is wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    One(ConnectionId),
    /// Whoever of an endpoint was there then, so it may have been anybody.
    Endpoint(&'static str),
    Everybody,
}

/// What of a connection is wished to be something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// Whether it is there.
    There,
    /// Whether it is a member.
    In(&'static str),
    /// Whether it observes an endpoint.
    Observes(&'static str),
    /// What it says.
    Says,
}

/// What that is to be.
pub(super) type Worth = Option<&'static str>;
/// Yes, it is. No is `None`.
pub(super) const YES: Worth = Some("yes");

#[derive(Clone, Debug)]
struct Wish {
    /// Over which socket.
    by: usize,
    about: About,
    thing: Thing,
    worth: Worth,
    from: u64,
    /// When it was done, if that is known.
    to: Option<u64>,
    /// Whether it is certain that it was done.
    sure: bool,
    /// It is certain that it was not.
    void: bool,
    /// The nodes of which it is not certain that they knew of it when it was done.
    unaware: BTreeSet<usize>,
}

impl Wish {
    fn end(&self) -> u64 {
        self.to.unwrap_or(u64::MAX)
    }
}

/// What came of what was wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Done,
    /// It may be done, now or later.
    Perhaps,
    NotDone,
}

/// Something that was to be said to others.
pub(super) struct Said {
    pub(super) text: String,
    /// Over which socket; none for a probe.
    pub(super) socket: Option<usize>,
    pub(super) node: usize,
    pub(super) to: To,
    /// When it was published, if it was.
    pub(super) at: Option<u64>,
    /// The nodes of which it is not certain that this one knew then what they are there for.
    pub(super) past: BTreeSet<usize>,
}

impl Said {
    pub(super) fn new(text: String, socket: usize, node: usize, to: To) -> Self {
        Self { text, socket: Some(socket), node, to, at: None, past: BTreeSet::new() }
    }

    pub(super) fn probe(text: String) -> Self {
        Self { socket: None, ..Self::new(text, 0, 0, To::Group("probe")) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Group(&'static str),
    Endpoint(&'static str, Option<ConnectionId>),
}

/// Something that a client heard.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) at: u64,
    pub(super) what: Tale,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tale {
    /// The text, and whether it is a copy of what was said to another endpoint.
    Words(String, bool),
    Joined(GroupName, ConnectionId),
    Left(GroupName, ConnectionId),
    Said(ConnectionId, String),
    Missed,
}

impl Tale {
    fn read(frame: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(frame)?;
        let event: Value = serde_json::from_str(text.strip_prefix("5:::").context("no event")?)?;
        let argument = &event["args"][0];
        let header = &argument["header"];
        let field = |of: &Value, name: &str| of[name].as_str().map(str::to_owned).with_context(|| event.to_string());
        let id = |of: &Value, name: &str| ConnectionId::parse(&field(of, name)?).with_context(|| event.to_string());
        let group = || Ok::<_, anyhow::Error>(GroupName::parse(&field(header, "channel")?).unwrap());
        Ok(match event["name"].as_str().unwrap_or_default() {
            "pubsub" => Self::Words(field(argument, "message")?, false),
            "message" => Self::Words(field(argument, "body")?, header["toOriginal"].is_string()),
            "join" => Self::Joined(group()?, id(argument, "connectionId")?),
            "leave" => Self::Left(group()?, id(argument, "connectionId")?),
            "presence" => Self::Said(id(header, "fromConnection")?, field(argument, "type")?),
            "missed" => Self::Missed,
            other => anyhow::bail!("{other} is nothing that is said here"),
        })
    }
}

impl Ledger {
    /// A moment after all before.
    pub(super) fn moment(&mut self) -> u64 {
        self.moments.push(Instant::now());
        self.moments.len() as u64
    }

    /// The time of a moment; of one that is yet to come there is none.
    fn time(&self, moment: u64) -> Option<Instant> {
        self.moments.get(usize::try_from(moment).ok()?.checked_sub(1)?).copied()
    }

    pub(super) fn opened(&mut self, node: usize) -> usize {
        let opened = self.moment();
        self.sockets.push(SocketNotes { node, opened, ..SocketNotes::default() });
        self.sockets.len() - 1
    }

    /// A socket begins to get a connection.
    pub(super) fn registers(&mut self, socket: usize) -> u64 {
        self.sockets[socket].is_left_unnamed = true;
        self.moment()
    }

    /// A socket has a connection, which it began to get at `from`.
    pub(super) fn registered(&mut self, socket: usize, id: ConnectionId, endpoint: &'static str, from: u64) {
        let now = self.moment();
        self.sockets[socket].is_left_unnamed = false;
        self.connections.insert(id, Noted { socket, endpoint, came: (from, now) });
        self.sockets[socket].connections.push(id);
        if let Some(gone) = self.sockets[socket].gone {
            self.wishes.push(Wish {
                by: socket,
                about: About::One(id),
                thing: Thing::There,
                worth: None,
                from: gone,
                to: Some(now),
                sure: true,
                void: false,
                unaware: BTreeSet::new(),
            });
        }
    }

    /// A socket's client is gone, with whatever connection it had.
    pub(super) fn gone(&mut self, socket: usize) {
        let now = self.moment();
        if self.sockets[socket].gone.replace(now).is_none()
            && let Some(id) = self.sockets[socket].connections.last().copied()
        {
            let wished = self.wish(socket, About::One(id), Thing::There, None);
            self.came(wished, Came::Done);
        }
    }

    /// A node was killed.
    pub(super) fn killed(&mut self, node: usize) {
        let now = self.moment();
        for socket in self.sockets.iter_mut().filter(|socket| socket.node == node && !socket.killed) {
            socket.killed = true;
            socket.gone.get_or_insert(now);
        }
    }

    pub(super) fn is_killed(&self, id: ConnectionId) -> bool {
        self.sockets[self.connections[&id].socket].killed
    }

    /// Somebody begins to make something so. What comes of it is told by its number.
    pub(super) fn wish(&mut self, by: usize, about: About, thing: Thing, worth: Worth) -> usize {
        let from = self.moment();
        let unaware = BTreeSet::new();
        self.wishes.push(Wish { by, about, thing, worth, from, to: None, sure: false, void: false, unaware });
        self.wishes.len() - 1
    }

    pub(super) fn came(&mut self, wish: usize, came: Came) {
        let now = self.moment();
        let wish = &mut self.wishes[wish];
        match came {
            Came::Done => (wish.to, wish.sure) = (Some(now), !matches!(wish.about, About::Endpoint(_))),
            Came::Perhaps => {}
            Came::NotDone => wish.void = true,
        }
    }

    /// What was wished was done while these nodes did not know of it yet, perhaps.
    pub(super) fn is_unknown_to(&mut self, wish: usize, unaware: BTreeSet<usize>) {
        self.wishes[wish].unaware = unaware;
    }

    /// Something is published, past these nodes perhaps.
    pub(super) fn spoken(&mut self, text: &str, past: BTreeSet<usize>) {
        let now = self.moment();
        if let Some(said) = self.said.iter_mut().find(|said| said.text == text) {
            (said.at, said.past) = (Some(now), past);
        }
    }

    pub(super) fn hear(&mut self, socket: usize, frame: &[u8]) -> Result<Tale> {
        let (at, what) = (self.moment(), Tale::read(frame)?);
        self.sockets[socket].heard.push(Heard { at, what: what.clone() });
        Ok(what)
    }

    fn about(&self, id: ConnectionId, thing: Thing) -> impl Iterator<Item = &Wish> {
        let endpoint = self.connections[&id].endpoint;
        self.wishes.iter().filter(move |wish| {
            let is_meant = match wish.about {
                About::One(one) => one == id,
                About::Endpoint(of) => of == endpoint,
                About::Everybody => true,
            };
            is_meant && wish.thing == thing && !wish.void
        })
    }

    /// What may be so of a connection at the end, if it was `first` in the beginning.
    pub(super) fn possible(&self, id: ConnectionId, thing: Thing, first: Worth) -> BTreeSet<Worth> {
        let sure: Vec<_> = self.about(id, thing).filter(|wish| wish.sure).collect();
        let may_be_last = |worth: Worth, end: Option<u64>| {
            !sure.iter().any(|wish| wish.worth != worth && end.is_none_or(|end| wish.from > end))
        };
        let mut possible: BTreeSet<_> = self
            .about(id, thing)
            .filter(|wish| may_be_last(wish.worth, Some(wish.end())))
            .map(|wish| wish.worth)
            .collect();
        if may_be_last(first, None) {
            possible.insert(first);
        }
        possible
    }

    /// Since when it is certain that a connection is a member, observes, or is there, without a break to the end: from when
    /// on it may be, and from when on it is.
    pub(super) fn stays(&self, id: ConnectionId, thing: Thing) -> Option<(u64, u64)> {
        let begins = self.about(id, thing).filter(|wish| wish.sure && wish.worth == YES);
        let begins = begins
            .map(|wish| (wish.from, wish.end()))
            .chain((thing == Thing::There).then(|| self.connections[&id].came));
        let unbroken = |(from, _): &(u64, u64)| {
            self.about(id, thing).all(|wish| wish.worth == YES || wish.to.is_some_and(|to| to < *from))
        };
        begins.filter(unbroken).min()
    }

    /// Whether a connection may have been a member, or there, at some time from `since` on and before `until`.
    pub(super) fn may_be(&self, id: ConnectionId, thing: Thing, since: u64, until: u64) -> bool {
        let ends: Vec<_> = self.about(id, thing).filter(|wish| wish.worth.is_none() && wish.sure).collect();
        let begins = self.about(id, thing).filter(|wish| wish.worth == YES).map(|wish| (wish.from, wish.end()));
        let mut begins = begins.chain((thing == Thing::There).then(|| self.connections[&id].came));
        begins.any(|(from, end)| from < until && !ends.iter().any(|ends| ends.from > end && ends.end() < since))
    }

    /// When somebody began first to make something so of a connection.
    pub(super) fn first_wished(&self, id: ConnectionId, thing: Thing) -> Option<u64> {
        self.about(id, thing).filter(|wish| wish.worth == YES).map(|wish| wish.from).min()
    }

    /// Whether somebody wished something to be so of a connection before then.
    pub(super) fn was_wished(
        &self,
        id: ConnectionId,
        thing: Thing,
        is_meant: impl Fn(Worth) -> bool,
        before: u64,
    ) -> bool {
        self.about(id, thing).any(|wish| is_meant(wish.worth) && wish.from < before)
    }

    /// Whether a connection was a member, or there, all the time between two moments, if it was at both.
    pub(super) fn is_unbroken(&self, id: ConnectionId, thing: Thing, from: u64, to: u64) -> bool {
        self.about(id, thing).all(|wish| wish.worth.is_some() || wish.end() < from || wish.from > to)
    }

    /// Whether a connection that observes an endpoint has to hear that one of that is gone: it observed that before, or began
    /// so little later that those who observe it were not told yet, and first of its node, so that it asked.
    pub(super) fn hears_of_end(&self, observer: ConnectionId, gone: ConnectionId) -> bool {
        let noted = &self.connections[&gone];
        let (thing, on) = (Thing::Observes(noted.endpoint), self.sockets[noted.socket].node);
        let of_node = |id: &ConnectionId| self.sockets[self.connections[id].socket].node;
        let ends = || self.about(gone, Thing::There).filter(|wish| wish.worth.is_none());
        let Some(end) = ends().map(|wish| wish.from).min().and_then(|from| self.time(from)) else { return false };
        let siblings = self.connections.keys().filter(|id| of_node(id) == of_node(&observer));
        let first = siblings.flat_map(|id| self.about(*id, thing)).map(|wish| wish.from).min();
        ends().any(|wish| wish.sure)
            && self.about(observer, thing).filter(|wish| wish.sure && !wish.unaware.contains(&on)).any(|wish| {
                let (Some(from), Some(to)) = (self.time(wish.from), self.time(wish.end())) else { return false };
                let asked = first == Some(wish.from) && to - from < ANSWER_WITHIN;
                to <= end || asked && to < end + TOLD_AFTER
            })
    }

    /// Whether a client has to take its connection for a member of a group, by what it was answered and what it was `told`
    /// of itself, in order. None: both came at once, or it does not know what came of something that it asked for.
    pub(super) fn takes_itself_for_member(
        &self,
        id: ConnectionId,
        name: &'static str,
        told: &[(u64, bool)],
    ) -> Option<bool> {
        let socket = self.connections[&id].socket;
        let asked: Vec<_> = self.about(id, Thing::In(name)).filter(|wish| wish.by == socket).collect();
        if asked.iter().any(|wish| !wish.sure) {
            return None;
        }
        let (from, to, answered) =
            asked.last().map_or((0, 0, false), |last| (last.from, last.end(), last.worth == YES));
        match told.last() {
            Some((at, is_member)) if *at > to => Some(*is_member),
            Some((at, _)) if *at > from => None,
            Some(_) | None => Some(answered),
        }
    }
}
