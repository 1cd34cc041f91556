//! What the hub must do, said as plainly as can be: lists that are searched, nothing shared, nothing at once.
//!
//! Everything is text here, so that a mistake of the hub's types cannot be made twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

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

    /// A node is gone with its clients, of whom none hears of another.
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

    pub(crate) fn join(&mut self, client: usize, named: &Named, groups: &[String]) -> Outcome {
        let app = self.clients[client].app;
        let targets = self.targets(client, named)?;
        for group in groups {
            let exists = !self.members(app, group).is_empty();
            if !self.permits(client, group, "subscribe") || !(exists || self.permits(client, group, "create")) {
                return Err("forbidden");
            }
        }
        let before = groups.iter().map(|group| self.nodes_in(app, group)).collect::<Vec<_>>();
        for (group, nodes) in groups.iter().zip(before) {
            for target in &targets {
                if !self.seat(app, target).groups.insert(group.clone()) {
                    continue;
                }
                let except = self.own_id(client).filter(|own| own == target);
                let event = membership("join", group, &self.find(app, target).unwrap());
                for member in self.members(app, group).iter().filter(|member| Some(*member) != except.as_ref()) {
                    // Who let both join has the later join at a node that may not have heard yet of the earlier, which is at
                    // a third.
                    if nodes.contains(&self.node_of(app, member)) || !self.is_third(client, member, target) {
                        self.deliver(app, member, &event, None);
                    } else {
                        self.may_deliver(app, member, &event, self.step);
                    }
                }
            }
        }
        Ok(())
    }

    /// The nodes with members of a group.
    fn nodes_in(&self, app: usize, group: &str) -> BTreeSet<usize> {
        self.members(app, group).iter().map(|member| self.node_of(app, member)).collect()
    }

    /// Whether of a client and two connections each is at a node of its own, which hear of each other when they do.
    fn is_third(&self, client: usize, one: &str, other: &str) -> bool {
        let Client { app, node, .. } = self.clients[client];
        let (one, other) = (self.node_of(app, one), self.node_of(app, other));
        self.apart && node != one && node != other && one != other
    }

    pub(crate) fn leave(&mut self, client: usize, named: &Named, groups: &[String]) -> Outcome {
        let app = self.clients[client].app;
        let targets = self.targets(client, named)?;
        if groups.iter().any(|group| !self.permits(client, group, "unsubscribe")) {
            return Err("forbidden");
        }
        for (group, target) in groups.iter().flat_map(|group| targets.iter().map(move |target| (group, target))) {
            if self.seat(app, target).groups.remove(group) {
                self.spare(target, group);
                let event = membership("leave", group, &self.find(app, target).unwrap());
                if self.own_id(client).as_ref() != Some(target) {
                    self.deliver(app, target, &event, None);
                }
                for member in self.members(app, group) {
                    // Who is to leave by the same may have left when its node hears of it from a third.
                    if targets.contains(&member) && self.is_third(client, &member, target) {
                        self.may_deliver(app, &member, &event, self.step);
                    } else {
                        self.deliver(app, &member, &event, None);
                    }
                }
            }
        }
        Ok(())
    }

    /// With whether it took so long that who left first may have been told to those who had not left yet.
    pub(crate) fn end_group(&mut self, client: usize, group: &str, late: bool) -> Outcome {
        let app = self.clients[client].app;
        if !self.permits(client, group, "destroy") {
            return Err("forbidden");
        }
        let members = self.members(app, group);
        let was_kept = self.apps[app].kept.remove(group).is_some();
        if members.is_empty() && !was_kept {
            return Err("not_found");
        }
        // Before each is told of its own leaving.
        self.ticks += u32::from(late);
        for (member, other) in members.iter().flat_map(|member| members.iter().map(move |other| (member, other))) {
            let (node, others) = (self.node_of(app, member), self.node_of(app, other));
            if late && node != self.clients[client].node && node != others {
                let event = membership("leave", group, &self.find(app, other).unwrap());
                self.may_deliver(app, member, &event, Some(self.ticks));
            }
        }
        for member in members {
            self.seat(app, &member).groups.remove(group);
            self.spare(&member, group);
            let event = membership("leave", group, &self.find(app, &member).unwrap());
            if self.own_id(client).as_ref() != Some(&member) {
                self.deliver(app, &member, &event, None);
            }
        }
        Ok(())
    }

    pub(crate) fn publish(
        &mut self,
        client: usize,
        named: &Named,
        group: &str,
        message: &str,
        persist: bool,
    ) -> Outcome {
        if !self.permits(client, group, "publish") {
            return Err("forbidden");
        }
        if persist {
            self.apps[self.clients[client].app].kept.entry(group.to_owned()).or_default().push(message.to_owned());
        }
        let (app, speaker) = (self.clients[client].app, self.speaker(client, named));
        let by = self.spoken_by(client, &speaker);
        let event = event("pubsub", &speaker, by.as_deref(), &json!({"channel": group}), json!({"message": message}));
        self.deliver_all(app, &self.members(app, group), self.own_id(client).as_deref(), &event);
        Ok(())
    }

    pub(crate) fn send(&mut self, client: usize, named: &Named, to: &str, only: Option<&str>, cc: bool, body: &str) {
        let (app, speaker) = (self.clients[client].app, self.speaker(client, named));
        let (by, own) = (self.spoken_by(client, &speaker), self.own_id(client));
        let message = |to: &str, original: Option<&str>| {
            let header = json!({"to": to, "toOriginal": original});
            event("message", &speaker, by.as_deref(), &header, json!({"body": body}))
        };
        if cc && to != speaker {
            let copy = message(&speaker, Some(to));
            self.deliver_all(app, &self.of_endpoint(app, &speaker), own.as_deref(), &copy);
        }
        let receivers = self.of_endpoint(app, to).into_iter().filter(|id| only.is_none_or(|only| id == only));
        self.deliver_all(app, &receivers.collect::<Vec<_>>(), own.as_deref(), &message(to, None));
    }

    pub(crate) fn signal(&mut self, client: usize, to: &str, only: Option<&str>, cc: bool, body: &Value) -> Outcome {
        let (app, speaker) = (self.clients[client].app, self.speaker(client, &Named::default()));
        let own = self.own_id(client);
        let kind = body["signalType"].as_str().unwrap();
        let session = body["sessionId"].as_str().unwrap();
        let all = self.of_endpoint(app, to);
        if kind == "offer" && !all.iter().any(|id| only.is_none_or(|only| id == only)) {
            return Err("not_found");
        }
        if let (Some(own), "answer") = (&own, kind) {
            let answered = &mut self.seat(app, own).answered;
            answered.push(session.to_owned());
            if answered.len() > 32 {
                answered.remove(0);
            }
        }
        let signal = |to: &str, only: Option<&str>, original: Option<&str>| {
            let header = json!({
                "to": to, "toConnection": only, "toOriginal": original, "fromType": "web", "toType": "web",
            });
            event("signal", &speaker, own.as_deref(), &header, json!({"body": body}))
        };
        if cc && to != speaker {
            let spared = |id: &String| {
                kind == "bye" && self.find(app, id).unwrap().answered.iter().any(|answered| answered == session)
            };
            let others: Vec<_> = self.of_endpoint(app, &speaker).into_iter().filter(|id| !spared(id)).collect();
            self.deliver_all(app, &others, own.as_deref(), &signal(&speaker, None, Some(to)));
        }
        let meant = all.into_iter().filter(|id| kind == "connected" || only.is_none_or(|only| id == only));
        self.deliver_all(app, &meant.collect::<Vec<_>>(), own.as_deref(), &signal(to, only, None));
        Ok(())
    }

    pub(crate) fn set_presence(&mut self, client: usize, named: &Named, kind: &str) -> Outcome {
        let app = self.clients[client].app;
        for target in self.targets(client, named)? {
            self.seat(app, &target).presence = Some(kind.to_owned());
            let of = self.find(app, &target).unwrap();
            self.deliver_all(app, &self.observers(app, &of.endpoint), Some(&target), &presence(&of, kind));
        }
        Ok(())
    }

    /// Returns what the answer says: of each endpoint its connections and their presence.
    pub(crate) fn observe(&mut self, client: usize, endpoints: &[String]) -> Result<Value, &'static str> {
        let app = self.clients[client].app;
        let own = self.own_id(client).ok_or("not_connected")?;
        let node = self.clients[client].node;
        for departure in self.departures.iter_mut().filter(|departure| departure.app == app && departure.own.is_some())
        {
            if endpoints.contains(&departure.endpoint) {
                departure.known_on.insert(node);
            }
        }
        self.seat(app, &own).observed.extend(endpoints.iter().cloned());
        let mut answer = Vec::new();
        for endpoint in endpoints {
            let mut states = Vec::new();
            for id in self.of_endpoint(app, endpoint) {
                let of = self.find(app, &id).unwrap();
                if let Some(kind) = of.presence.as_deref().filter(|kind| *kind != "unavailable" && id != own) {
                    self.deliver(app, &own, &presence(&of, kind), None);
                }
                states.push(json!([id, of.presence]));
            }
            answer.push(json!([endpoint, states]));
        }
        Ok(json!(answer))
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
