//! What the hub must do, said as plainly as can be: lists that are searched, nothing shared, nothing at once.
//!
//! Everything is text here, so that a mistake of the hub's types cannot be made twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

mod said;

/// What came of an operation: nothing, or the code of its refusal.
pub(crate) type Outcome = Result<(), &'static str>;

/// Switches of a group rule, by the names they have in a role.
pub(crate) type Rule = BTreeMap<&'static str, bool>;

pub(crate) struct Model {
    pub(crate) apps: Vec<App>,
    pub(crate) clients: Vec<Client>,
    departures: Vec<Departure>,
    frames_max: usize,
    /// Whether what one node does takes time to be known to another.
    apart: bool,
    ticks: u32,
    /// Where there are several nodes, what comes of one operation may come in any order, for each has its own part in it.
    step: Option<u32>,
}

#[derive(Default)]
pub(crate) struct App {
    /// In the order in which they registered.
    pub(crate) connections: Vec<Connection>,
    pub(crate) banned: BTreeSet<String>,
    /// By role: rules by pattern, which is a group's name or `*`.
    pub(crate) roles: Vec<BTreeMap<String, Rule>>,
    /// By group, what was said to be kept, the newest last.
    pub(crate) kept: BTreeMap<String, Vec<String>>,
}

#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) id: String,
    pub(crate) endpoint: String,
    pub(crate) client: usize,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) observed: BTreeSet<String>,
    pub(crate) presence: Option<String>,
    answered: Vec<String>,
}

pub(crate) struct Client {
    pub(crate) app: usize,
    node: usize,
    /// Endpoint and role of a session; none for a backend.
    pub(crate) session: Option<(String, usize)>,
    pub(crate) connection: Option<String>,
    pub(crate) state: State,
    /// What it has to read, in order.
    pub(crate) waiting: Vec<Due>,
    /// Whether it does not read for now.
    pub(crate) stalled: bool,
}

/// What a client is to get.
#[derive(Debug)]
pub(crate) struct Due {
    /// What has the same number may come in any order.
    pub(crate) run: Option<u32>,
    pub(crate) event: String,
    /// Or it is not to get it: that depends on what its node had heard by then.
    pub(crate) certain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// It was told to go and is not gone yet.
    Closing,
    Closed,
    /// Its node is gone, and nobody looks at what it may have got.
    Lost,
}

/// Who is to hear what of a connection that ended.
struct Departure {
    app: usize,
    told: Vec<Told>,
    endpoint: String,
    /// What whoever observes the endpoint by then hears.
    event: String,
    /// The node that it was on; none once that is lost.
    own: Option<usize>,
    /// The nodes that heard of it, or will when somebody there begins to observe.
    known_on: BTreeSet<usize>,
}

struct Told {
    to: String,
    /// The group that both were in.
    group: Option<String>,
    event: String,
}

/// To whom an operation on connections applies.
#[derive(Clone, Default)]
pub(crate) struct Named {
    pub(crate) endpoint: Option<String>,
    pub(crate) connection: Option<String>,
}

fn event(kind: &str, from: &str, connection: Option<&str>, header: &Value, rest: Value) -> String {
    let mut head = json!({"type": kind, "from": from});
    let (fields, mut argument) = (head.as_object_mut().unwrap(), rest);
    if let Some(connection) = connection {
        fields.insert("fromConnection".to_owned(), connection.into());
    }
    let header = header.as_object().unwrap().clone();
    fields.extend(header.into_iter().filter(|(_, value)| !value.is_null()));
    argument["header"] = head;
    json!({"name": kind, "args": [argument]}).to_string()
}

fn membership(kind: &str, group: &str, of: &Connection) -> String {
    let rest = json!({"endpointId": of.endpoint, "connectionId": of.id});
    event(kind, &of.endpoint, Some(&of.id), &json!({"channel": group}), rest)
}

/// What tells that something may have been missed.
pub(crate) fn missed() -> String {
    event("missed", "__SYSTEM__", None, &json!({}), json!({}))
}

fn presence(of: &Connection, kind: &str) -> String {
    let channel = format!("presence:{}", of.endpoint);
    event("presence", &of.endpoint, Some(&of.id), &json!({"channel": channel}), json!({"type": kind}))
}

impl Model {
    pub(crate) fn new(apps: usize, roles: usize, frames_max: usize, apart: bool) -> Self {
        let apps = (0..apps).map(|_| App { roles: vec![BTreeMap::new(); roles], ..App::default() }).collect();
        Self { apps, clients: Vec::new(), departures: Vec::new(), frames_max, apart, ticks: 0, step: None }
    }

    /// Another operation follows, on several nodes.
    pub(crate) fn next_step(&mut self) {
        self.ticks += 1;
        self.step = Some(self.ticks);
    }

    fn deliver(&mut self, app: usize, connection: &str, event: &str, tick: Option<u32>) {
        let Some(found) = self.find(app, connection) else { return };
        let client = &mut self.clients[found.client];
        if client.state != State::Open {
            return;
        }
        if client.waiting.len() == self.frames_max {
            client.waiting.clear();
            client.state = State::Closing;
            return;
        }
        client.waiting.push(Due { run: tick.or(self.step), event: event.to_owned(), certain: true });
    }

    /// What a connection may get or not. It reads at once, so that it is known how much waits for it.
    fn may_deliver(&mut self, app: usize, connection: &str, event: &str, run: Option<u32>) {
        let Some(found) = self.find(app, connection) else { return };
        let client = &mut self.clients[found.client];
        if client.state == State::Open {
            client.stalled = false;
            client.waiting.push(Due { run, event: event.to_owned(), certain: false });
        }
    }

    fn deliver_all(&mut self, app: usize, to: &[String], except: Option<&str>, event: &str) {
        for id in to.iter().filter(|id| Some(id.as_str()) != except) {
            self.deliver(app, id, event, None);
        }
    }

    fn find(&self, app: usize, id: &str) -> Option<Connection> {
        self.apps[app].connections.iter().find(|connection| connection.id == id).cloned()
    }

    fn seat(&mut self, app: usize, id: &str) -> &mut Connection {
        self.apps[app].connections.iter_mut().find(|connection| connection.id == id).unwrap()
    }

    fn ids(&self, app: usize, is_meant: impl Fn(&Connection) -> bool) -> Vec<String> {
        let meant = self.apps[app].connections.iter().filter(|connection| is_meant(connection));
        meant.map(|connection| connection.id.clone()).collect()
    }

    pub(crate) fn members(&self, app: usize, group: &str) -> Vec<String> {
        self.ids(app, |connection| connection.groups.contains(group))
    }

    fn of_endpoint(&self, app: usize, endpoint: &str) -> Vec<String> {
        self.ids(app, |connection| connection.endpoint == endpoint)
    }

    fn observers(&self, app: usize, endpoint: &str) -> Vec<String> {
        self.ids(app, |connection| connection.observed.contains(endpoint))
    }

    fn own(&self, client: usize) -> Option<Connection> {
        let Client { app, connection, .. } = &self.clients[client];
        self.find(*app, connection.as_deref()?)
    }

    /// As whom a client speaks.
    fn speaker(&self, client: usize, named: &Named) -> String {
        match &self.clients[client].session {
            Some((endpoint, _)) => endpoint.clone(),
            None => match (&named.endpoint, self.own(client)) {
                (Some(endpoint), _) => endpoint.clone(),
                (None, Some(own)) => own.endpoint,
                (None, None) => "__SYSTEM__".to_owned(),
            },
        }
    }

    fn own_id(&self, client: usize) -> Option<String> {
        self.own(client).map(|own| own.id)
    }

    /// The connection that a speaker speaks by.
    fn spoken_by(&self, client: usize, speaker: &str) -> Option<String> {
        self.own(client).filter(|own| own.endpoint == speaker).map(|own| own.id)
    }

    fn targets(&self, client: usize, named: &Named) -> Result<Vec<String>, &'static str> {
        let Client { app, session, .. } = &self.clients[client];
        let speaker = self.speaker(client, named);
        if let Some(id) = &named.connection {
            let found = self.find(*app, id).filter(|found| session.is_none() || found.endpoint == speaker);
            return found.map(|found| vec![found.id]).ok_or("not_found");
        }
        if let Some(own) = self.spoken_by(client, &speaker) {
            return Ok(vec![own]);
        }
        if session.is_none() && named.endpoint.is_some() {
            let mut found = self.of_endpoint(*app, &speaker);
            // First those of the node that is asked, then the others' by their ids: who joins first hears of the second.
            let elsewhere = |id: &String| (self.node_of(*app, id) != self.clients[client].node).then(|| id.clone());
            found.sort_by_key(elsewhere);
            return if found.is_empty() { Err("not_found") } else { Ok(found) };
        }
        Err("not_connected")
    }

    fn permits(&self, client: usize, group: &str, switch: &str) -> bool {
        let Client { app, session, .. } = &self.clients[client];
        let Some((_, role)) = session else { return true };
        let rules = &self.apps[*app].roles[*role];
        let rule = rules.get(group).or_else(|| rules.get("*"));
        rule.and_then(|rule| rule.get(switch)).copied() == Some(true)
    }

    // Operations. The ids of connections are the hub's to give.

    pub(crate) fn open(&mut self, app: usize, node: usize, session: Option<(String, usize)>) {
        let (waiting, state) = (Vec::new(), State::Open);
        self.clients.push(Client { app, node, session, connection: None, state, waiting, stalled: false });
    }

    /// Whether a client may register, and as whom.
    pub(crate) fn may_register(&self, client: usize, named: &Named) -> Result<String, &'static str> {
        let Client { app, session, .. } = &self.clients[client];
        match session {
            Some((endpoint, _)) => Ok(endpoint.clone()),
            None => {
                let endpoint = named.endpoint.clone().ok_or("invalid")?;
                if self.apps[*app].banned.contains(&endpoint) { Err("endpoint_banned") } else { Ok(endpoint) }
            }
        }
    }

    pub(crate) fn registered(&mut self, client: usize, endpoint: String, id: &str) {
        let app = self.clients[client].app;
        let connection = Connection {
            id: id.to_owned(),
            endpoint,
            client,
            groups: BTreeSet::new(),
            observed: BTreeSet::new(),
            presence: None,
            answered: Vec::new(),
        };
        self.apps[app].connections.push(connection);
        if let Some(old) = self.clients[client].connection.replace(id.to_owned()) {
            self.depart(app, &old);
        }
    }

    pub(crate) fn unregister(&mut self, client: usize) {
        if let Some(old) = self.clients[client].connection.take() {
            self.depart(self.clients[client].app, &old);
        }
    }

    /// A backend ends a connection by its id.
    pub(crate) fn cut(&mut self, client: usize, id: &str) -> Outcome {
        let app = self.clients[client].app;
        if self.own_id(client).as_deref() == Some(id) {
            self.unregister(client);
            return Ok(());
        }
        let found = self.find(app, id).ok_or("not_found")?;
        self.clients[found.client].state = State::Closing;
        self.unregister(found.client);
        Ok(())
    }

    /// A client is gone for good.
    pub(crate) fn close(&mut self, client: usize) {
        self.unregister(client);
        self.clients[client].state = State::Closed;
    }

    /// Clients are ended together, by something that is done on a node, and with whether it took so long that those who were
    /// ended first may have been told to others.
    pub(crate) fn end(&mut self, ended: &[usize], node: usize, late: bool) {
        let pairs = ended.iter().flat_map(|hears| ended.iter().map(move |ends| (*hears, *ends)));
        for (hears, ends) in pairs.filter(|_| late) {
            let Client { app, node: on, .. } = self.clients[hears];
            let (Some(own), Some(gone)) = (self.own(hears), self.own(ends)) else { continue };
            if on == node || on == self.clients[ends].node {
                continue;
            }
            let left = gone.groups.intersection(&own.groups).map(|group| membership("leave", group, &gone));
            let unavailable = own.observed.contains(&gone.endpoint).then(|| presence(&gone, "unavailable"));
            for event in left.chain(unavailable) {
                self.may_deliver(app, &own.id, &event, self.step);
            }
        }
        for client in ended {
            self.close(*client);
        }
    }

    /// A node is gone with its clients, of whom none hears of another. All others hear that they may have missed something.
    pub(crate) fn lose(&mut self, node: usize) {
        let lost = |client: &usize| self.clients[*client].node == node && self.clients[*client].state == State::Open;
        let clients: Vec<_> = (0..self.clients.len()).filter(lost).collect();
        for client in &clients {
            self.clients[*client].state = State::Lost;
        }
        for departure in &mut self.departures {
            departure.known_on.remove(&node);
            departure.own = departure.own.filter(|own| *own != node);
        }
        let before = self.departures.len();
        for client in clients {
            self.unregister(client);
        }
        for at in before..self.departures.len() {
            let Departure { app, ref endpoint, .. } = self.departures[at];
            let known_on = self.observers(app, endpoint).iter().map(|id| self.node_of(app, id)).collect();
            self.departures[at].known_on = known_on;
            self.departures[at].own = None;
        }
        for app in 0..self.apps.len() {
            let all: Vec<_> = self.apps[app].connections.iter().map(|connection| connection.id.clone()).collect();
            self.deliver_all(app, &all, None, &missed());
        }
    }

    fn node_of(&self, app: usize, id: &str) -> usize {
        self.clients[self.find(app, id).unwrap().client].node
    }

    fn depart(&mut self, app: usize, id: &str) {
        let Some(at) = self.apps[app].connections.iter().position(|connection| connection.id == id) else { return };
        let gone = self.apps[app].connections.remove(at);
        let mut told = Vec::new();
        for group in &gone.groups {
            let event = membership("leave", group, &gone);
            let left = self.members(app, group).into_iter();
            told.extend(left.map(|to| Told { to, group: Some(group.clone()), event: event.clone() }));
        }
        let observers = self.observers(app, &gone.endpoint);
        let own = self.clients[gone.client].node;
        let members = gone.groups.iter().flat_map(|group| self.members(app, group));
        let known_on = members.chain(observers.iter().cloned()).map(|id| self.node_of(app, &id)).chain([own]).collect();
        let event = presence(&gone, "unavailable");
        told.extend(observers.into_iter().map(|to| Told { to, group: None, event: event.clone() }));
        self.departures.push(Departure { app, told, endpoint: gone.endpoint, event, own: Some(own), known_on });
    }

    /// Who is no member any more, though it may be again soon, does not hear who left before.
    fn spare(&mut self, id: &str, group: &str) {
        for departure in &mut self.departures {
            departure.told.retain(|told| told.to != id || told.group.as_deref() != Some(group));
        }
    }

    /// Time passes, and who is there hears of who is not.
    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        for mut departure in std::mem::take(&mut self.departures) {
            for to in self.observers(departure.app, &departure.endpoint) {
                let hears = departure.own.is_some() || departure.known_on.contains(&self.node_of(departure.app, &to));
                if hears && !departure.told.iter().any(|told| told.to == to && told.group.is_none()) {
                    departure.told.push(Told { to, group: None, event: departure.event.clone() });
                }
            }
            for told in departure.told {
                self.deliver(departure.app, &told.to, &told.event, Some(self.ticks));
            }
        }
    }

    /// The open clients whose session or, if it is a backend, connection is of an endpoint.
    pub(crate) fn standing_on(&self, app: usize, endpoint: &str) -> Vec<usize> {
        let is = |client: usize| match &self.clients[client].session {
            Some((of, _)) => of == endpoint,
            None => self.own(client).is_some_and(|own| own.endpoint == endpoint),
        };
        self.open_clients(app).filter(|client| is(*client)).collect()
    }

    /// The open clients of an app whose session is of a role, or of any.
    pub(crate) fn in_session(&self, app: usize, role: Option<usize>) -> Vec<usize> {
        let is = |client: &usize| {
            let session = &self.clients[*client].session;
            session.as_ref().is_some_and(|(_, of)| role.is_none_or(|role| role == *of))
        };
        self.open_clients(app).filter(is).collect()
    }

    pub(crate) fn open_clients(&self, app: usize) -> impl Iterator<Item = usize> {
        let open = move |client: &usize| self.clients[*client].app == app && self.clients[*client].state == State::Open;
        (0..self.clients.len()).filter(open)
    }

    /// Connections, endpoints, groups, memberships, observations of some clients.
    pub(crate) fn counts(&self, is_meant: impl Fn(usize) -> bool) -> [usize; 5] {
        let mut counts = [0; 5];
        for app in &self.apps {
            let meant = || app.connections.iter().filter(|connection| is_meant(connection.client));
            let endpoints: BTreeSet<_> = meant().map(|connection| &connection.endpoint).collect();
            let groups: BTreeSet<_> = meant().flat_map(|connection| &connection.groups).collect();
            counts[0] += meant().count();
            counts[1] += endpoints.len();
            counts[2] += groups.len();
            counts[3] += meant().map(|connection| connection.groups.len()).sum::<usize>();
            counts[4] += meant().map(|connection| connection.observed.len()).sum::<usize>();
        }
        counts
    }
}
