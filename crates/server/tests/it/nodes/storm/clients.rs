//! Clients that do something all the time, and what they know: where they are, what they are in, what was said and heard.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use respoke_core::chance::SeededChance;
use serde_json::{Value, json};

use super::places::NODES;
use crate::harness::{Ack, Client, Socket, text};

pub(super) const GROUPS: [&str; 3] = ["red", "green", "blue"];
const ENDPOINTS: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// Longer than any answer takes: a node that goes on answers at once, and one that is cut off after its own deadlines.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);
/// Between two things that a client does.
const PACE: Duration = Duration::from_millis(60);

/// A connection as its client knows it.
pub(super) struct Live {
    pub(super) node: usize,
    pub(super) connection: String,
    since: Instant,
    /// With when the join was answered.
    pub(super) groups: BTreeMap<&'static str, Instant>,
    pub(super) presence: Option<String>,
    missed: Option<Instant>,
    heard: HashMap<(usize, u64), u32>,
    /// The same of the page before: what came then may come once more.
    heard_before: HashMap<(usize, u64), u32>,
}

/// What somebody said, and was told that it was.
struct Said {
    by: usize,
    nth: u64,
    connection: String,
    /// Where.
    node: usize,
    began: Instant,
    to: To,
}

#[derive(Clone, Copy, Debug)]
enum To {
    Group(&'static str),
    Endpoint(&'static str),
}

impl Said {
    /// Whether a client was there to hear it.
    fn is_for(&self, client: usize, live: &Live) -> bool {
        let since = match self.to {
            To::Group(group) => live.groups.get(group).copied(),
            To::Endpoint(endpoint) => (endpoint == endpoint_of(client)).then_some(live.since),
        };
        since.is_some_and(|since| since < self.began) && live.connection != self.connection
    }
}

impl Live {
    /// Whether it was told that it may have missed that.
    fn is_excused(&self, said: &Said) -> bool {
        self.missed.is_some_and(|missed| missed > said.began)
    }
}

/// What all clients know.
#[derive(Default)]
pub(super) struct Book {
    pub(super) live: Vec<Option<Live>>,
    said: Vec<Said>,
    /// How many requests were answered, and how many were not, or refused.
    pub(super) answered: usize,
    pub(super) refused: usize,
    /// How often somebody was told that something was lost.
    pub(super) gaps: usize,
    /// How many times somebody had to hear what was said.
    pub(super) judged: usize,
    /// How many times somebody was told that it may have missed that.
    pub(super) excused: usize,
    /// What must not be.
    pub(super) wrong: Vec<String>,
}

pub(super) const fn endpoint_of(client: usize) -> &'static str {
    ENDPOINTS[client % ENDPOINTS.len()]
}

impl Book {
    /// What somebody should have heard and has not.
    pub(super) fn unheard(&self) -> Option<String> {
        for said in &self.said {
            for (client, live) in self.live.iter().enumerate() {
                let Some(live) = live else { continue };
                if said.is_for(client, live) && !live.is_excused(said) && !live.heard.contains_key(&(said.by, said.nth))
                {
                    let (Said { by, nth, node, to, began, .. }, here) = (said, live.node);
                    let (ago, missed) = (began.elapsed(), live.missed.map(|missed| missed.elapsed()));
                    return Some(format!(
                        "client {client} at node {here} did not hear what client {by} said at node {node} to {to:?} {ago:?} ago, \
                         its {nth}th; it was told that it missed something {missed:?} ago"
                    ));
                }
            }
        }
        None
    }

    /// All that was said was heard.
    pub(super) fn turn_page(&mut self) {
        for said in std::mem::take(&mut self.said) {
            for (client, live) in self.live.iter().enumerate() {
                let Some(live) = live.as_ref().filter(|live| said.is_for(client, live)) else { continue };
                *if live.is_excused(&said) { &mut self.excused } else { &mut self.judged } += 1;
            }
        }
        for live in self.live.iter_mut().flatten() {
            live.heard_before = std::mem::take(&mut live.heard);
        }
    }
}

/// What all clients share.
pub(super) struct Shared {
    pub(super) book: Mutex<Book>,
    pub(super) pause: AtomicBool,
    pub(super) parked: AtomicUsize,
    pub(super) stop: AtomicBool,
    /// A node to keep away from; [`NODES`] stands for none.
    pub(super) avoid: AtomicUsize,
    /// At each node.
    pub(super) at: Vec<Client>,
}

/// One client.
pub(super) struct Actor<'a> {
    number: usize,
    shared: &'a Shared,
    chance: SeededChance,
    token: Option<String>,
    socket: Option<Socket>,
    said: u64,
}

impl<'a> Actor<'a> {
    pub(super) fn new(number: usize, seed: u64, shared: &'a Shared) -> Self {
        let chance = SeededChance::of(seed.wrapping_mul(1_000) + number as u64);
        Self { number, shared, chance, token: None, socket: None, said: 0 }
    }

    /// Does something until it is told to stop.
    pub(super) fn act(mut self) {
        let mut is_parked = false;
        while !self.shared.stop.load(Ordering::SeqCst) {
            self.listen(PACE);
            let pause = self.shared.pause.load(Ordering::SeqCst);
            if pause != is_parked {
                is_parked = pause;
                self.shared.parked.fetch_add(if pause { 1 } else { usize::MAX }, Ordering::SeqCst);
            }
            if !is_parked {
                self.step();
            }
        }
    }

    fn below(&self, end: usize) -> usize {
        usize::try_from(self.chance.below(end as u64)).unwrap()
    }

    /// What it does is drawn before it is seen whether it can.
    fn step(&mut self) {
        let (what, node, one) = (self.below(100), self.below(NODES), self.below(12));
        let group = GROUPS[one % GROUPS.len()];
        if self.socket.is_none() {
            return self.connect(node);
        }
        let is_in = self.with_live(|live| live.groups.contains_key(group)).unwrap_or(false);
        match what {
            0..25 if !is_in => {
                let joined = self.ask("post", "/v1/groups", json!({"groups": [group]}));
                joined.map(|_| self.with_live(|live| live.groups.insert(group, Instant::now())));
            }
            25..35 if is_in => {
                self.with_live(|live| live.groups.remove(group));
                self.ask("delete", &format!("/v1/channels/{group}/subscribers"), json!({}));
            }
            35..70 => {
                let path = format!("/v1/channels/{group}/publish");
                self.say(To::Group(group), &path, json!({"persist": one < 4}));
            }
            70..85 => {
                let to = ENDPOINTS[one % ENDPOINTS.len()];
                self.say(To::Endpoint(to), "/v1/messages", json!({"to": to}));
            }
            85..93 => {
                let kind = format!("kind {one}");
                if self.ask("post", "/v1/presence", json!({"presence": {"type": kind}})).is_some() {
                    self.with_live(|live| live.presence = Some(kind));
                }
            }
            93..96 => {
                let of = ENDPOINTS[one % ENDPOINTS.len()];
                self.ask("post", "/v1/presence-observers", json!({"endpointList": [of]}));
            }
            96 | 97 => self.hang_up(),
            98 => self.end(node),
            _ => {}
        }
    }

    fn with_live<T>(&self, work: impl FnOnce(&mut Live) -> T) -> Option<T> {
        self.shared.book.lock().live[self.number].as_mut().map(work)
    }

    fn hang_up(&mut self) {
        self.shared.book.lock().live[self.number] = None;
        self.socket = None;
    }

    /// Ends its session, and with it the socket.
    fn end(&mut self, node: usize) {
        let Some(token) = self.token.take() else { return };
        self.hang_up();
        if self.shared.avoid.load(Ordering::SeqCst) != node {
            self.shared.at[node].request("DELETE", "/v1/session-tokens").token(&token).try_call();
        }
    }

    fn connect(&mut self, node: usize) {
        if self.shared.avoid.load(Ordering::SeqCst) == node {
            return;
        }
        let client = &self.shared.at[node];
        let endpoint = endpoint_of(self.number);
        if self.token.is_none() {
            self.token = client.try_session(endpoint);
        }
        let Some(token) = &self.token else { return };
        let Some(mut socket) = client.try_open_as(endpoint, token) else {
            self.token = None;
            return;
        };
        let since = Instant::now();
        let id = socket.request("post", "/v1/connections", json!({}));
        let Some(Ack { status: 200, body, .. }) = socket.ack_within(id, ANSWERED_WITHIN) else { return };
        let connection = text(&body["id"]);
        socket.connection.clone_from(&connection);
        self.socket = Some(socket);
        let live = Live {
            node,
            connection,
            since: Instant::now().max(since),
            groups: BTreeMap::new(),
            presence: None,
            missed: None,
            heard: HashMap::new(),
            heard_before: HashMap::new(),
        };
        self.shared.book.lock().live[self.number] = Some(live);
    }

    /// Asks for something. None: it may be done or not, and the client hangs up, so that it is as if nothing was.
    fn ask(&mut self, method: &str, path: &str, data: Value) -> Option<Value> {
        let socket = self.socket.as_mut()?;
        let id = socket.request(method, path, data);
        let ack = socket.ack_within(id, ANSWERED_WITHIN);
        self.take_in();
        let mut book = self.shared.book.lock();
        match ack {
            Some(Ack { status: 200, body, .. }) => {
                book.answered += 1;
                return Some(body);
            }
            // It cannot be done now, or the socket ended.
            Some(Ack { status: 503, .. }) | None => book.refused += 1,
            // Its session was ended, which may have been in doubt.
            Some(Ack { status: 401, .. }) => self.token = None,
            Some(other) => book.wrong.push(format!("{method} {path} was answered {other:?}")),
        }
        drop(book);
        self.hang_up();
        None
    }

    fn say(&mut self, to: To, path: &str, mut data: Value) {
        self.said += 1;
        let (nth, began, by) = (self.said, Instant::now(), self.number);
        data["message"] = json!({"by": by, "nth": nth, "kept": data["persist"]});
        let Some((connection, node)) = self.with_live(|live| (live.connection.clone(), live.node)) else { return };
        if self.ask("post", path, data).is_some() {
            self.shared.book.lock().said.push(Said { by, nth, connection, node, began, to });
        }
    }

    /// Reads what comes for a while.
    fn listen(&mut self, within: Duration) {
        let Some(socket) = &mut self.socket else {
            std::thread::sleep(within);
            return;
        };
        let until = Instant::now() + within;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if !socket.read_within(left) {
                break;
            }
        }
        let is_over = socket.is_over();
        self.take_in();
        if is_over {
            self.hang_up();
        }
    }

    fn take_in(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        let pushes = socket.taken();
        let mut book = self.shared.book.lock();
        let Some(live) = book.live[self.number].as_mut() else { return };
        let (mut wrong, mut gaps) = (None, 0);
        for push in pushes {
            let argument = &push["args"][0];
            let said = match push["name"].as_str() {
                Some("pubsub") => &argument["message"],
                Some("message") => &argument["body"],
                Some("missed") => {
                    live.missed = Some(Instant::now());
                    gaps += 1;
                    continue;
                }
                _ => continue,
            };
            let (Some(by), Some(nth)) = (said["by"].as_u64(), said["nth"].as_u64()) else { continue };
            let which = (usize::try_from(by).unwrap(), nth);
            let before = live.heard_before.get(&which).copied().unwrap_or(0);
            let times = live.heard.entry(which).or_insert(before);
            *times += 1;
            if *times > 1 {
                let groups = live.groups.iter().map(|(group, joined)| (group, joined.elapsed())).collect::<Vec<_>>();
                wrong = Some(format!("client {} heard {push} {times} times, in {groups:?}", self.number));
            }
        }
        book.wrong.extend(wrong);
        book.gaps += gaps;
    }
}
