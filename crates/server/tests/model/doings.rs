//! What clients, backends and nodes do in a step, and what the reference says of it.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::time::Duration;

use respoke_core::event::Presence;
use respoke_core::id::{ConnectionId, GroupName, RoleId};
use respoke_core::ops::{Caller, Context, Credential, EndSessions, IssueToken};
use respoke_core::ports::EndScope;
use respoke_core::refusal::Refusal;
use respoke_core::role::Permissions;
use respoke_hub::ops::{Connect, Message, Publish, SignalRequest};
use respoke_wire::close::Close;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::home::{endpoint, group, open};
use super::reference::{Named, Outcome, Rule};
use super::{
    ANSWER_WITHIN, CLIENTS_MAX, Client, ENDPOINTS, GROUPS, KINDS, LATER, MISSED_EVERY, ROLES, SETTLED_WITHIN, SWITCHES,
    TOLD_AFTER, World,
};

impl World {
    pub(super) async fn open(&mut self) {
        let app = self.chance.below(2);
        if self.model.open_clients(app).count() >= CLIENTS_MAX / 2 {
            return;
        }
        let (name, role, node) = (self.chance.of(&ENDPOINTS), self.chance.below(ROLES), self.somewhere());
        let session = self.chance.percent(75).then(|| (name.to_owned(), role));
        self.note(format!("open in app {app} on {node} {session:?}"));
        let credential = if session.is_some() {
            match self.session(app, name, role).await {
                Some(credential) => credential,
                None => return,
            }
        } else {
            self.tenants[app].backend.clone()
        };
        let caller = self.prove_to(node, &credential).await;
        let socket = open(&self.nodes[node].hub, &credential, &caller).unwrap();
        self.clients.push(Client { node, socket, credential, read: Vec::new(), came_to_a_late_node: false });
        self.model.open(app, node, session);
        if self.chance.percent(90) {
            let named = Named { endpoint: Some(name.to_owned()), connection: None };
            self.register(self.clients.len() - 1, &named).await;
        }
    }

    /// A session of an endpoint; none if it is banned.
    async fn session(&mut self, app: usize, name: &str, role: usize) -> Option<Credential> {
        // Any node may mint it, and any other may open it.
        let (minting, opening) = (self.somewhere(), self.somewhere());
        let backend = self.prove_to(minting, &self.tenants[app].backend).await;
        let request = IssueToken {
            endpoint_id: Some(name.to_owned()),
            role_id: Some(self.tenants[app].roles[role].to_string()),
            ..IssueToken::default()
        };
        let issued = self.nodes[minting].broker.issue_token(&backend, request, None, &Context::internal()).await;
        let banned = self.model.apps[app].banned.contains(name);
        assert_eq!(issued.as_ref().err().map(Refusal::code), banned.then_some("endpoint_banned"));
        let token = issued.ok()?.text;
        let (broker, context) = (&self.nodes[opening].broker, Context::internal());
        let opened = broker.open_session(&Caller::Anonymous, Some(&token), None, None, &context).await;
        Some(Credential::AppToken(opened.unwrap().text))
    }

    async fn register(&mut self, client: usize, named: &Named) {
        let expected = self.model.may_register(client, named);
        let asking = self.asking(client, named).await;
        let asked_at = Instant::now();
        match self.hub_of(client).connect(&asking.asker(), Connect::default()).await {
            Ok(connection) => {
                self.clients[client].came_to_a_late_node |= asked_at.elapsed() >= SETTLED_WITHIN;
                self.note(format!("register {client} as {} {}", connection.endpoint, connection.id));
                assert_eq!(expected, Ok(connection.endpoint.to_string()));
                self.model.registered(client, connection.endpoint.to_string(), &connection.id.to_string());
            }
            Err(refusal) => {
                self.note(format!("register {client}: {}", refusal.code()));
                assert_eq!(expected, Err(refusal.code()));
            }
        }
    }

    pub(super) async fn register_anew(&mut self) {
        let Some(client) = self.anyone() else { return };
        let endpoint = self.chance.percent(90).then(|| self.chance.of(&ENDPOINTS).to_owned());
        self.register(client, &Named { endpoint, connection: None }).await;
    }

    pub(super) async fn join(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, names) = (self.named(client), self.chance.some(&GROUPS));
        self.note(format!("join {client} {names:?} for {:?} {:?}", named.endpoint, named.connection));
        let asking = self.asking(client, &named).await;
        let hub = self.hub_of(client);
        let joined = async || hub.join(&asking.asker(), &groups(&names)).await;
        let joined = self.unless_silent(SETTLED_WITHIN, joined).await;
        same(joined, self.model.join(client, &named, &names));
    }

    /// What comes of something that is refused where a node is silent that would have to be asked, which takes so long.
    /// Nothing is done then, and it is worth another try.
    async fn unless_silent(
        &mut self,
        silent_after: Duration,
        deed: impl AsyncFn() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        loop {
            let asked_at = Instant::now();
            let done = deed().await;
            if !matches!(done, Err(Refusal::NodeSilent)) {
                return done;
            }
            self.note("a node was silent".to_owned());
            assert!(self.cluster.tells_in_time() && asked_at.elapsed() >= silent_after, "nobody was silent");
            self.settle().await;
        }
    }

    /// Whether something took so long that who ended by it is told to whoever is still there.
    pub(super) fn is_late(&self, asked_at: Instant) -> bool {
        self.cluster.tells_in_time() && asked_at.elapsed() >= TOLD_AFTER
    }

    pub(super) async fn leave(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, names) = (self.named(client), self.chance.some(&GROUPS));
        self.note(format!("leave {client} {names:?} for {:?} {:?}", named.endpoint, named.connection));
        let asking = self.asking(client, &named).await;
        let hub = self.hub_of(client);
        let left = self.unless_silent(ANSWER_WITHIN, async || hub.leave(&asking.asker(), &groups(&names)).await).await;
        same(left, self.model.leave(client, &named, &names));
    }

    pub(super) async fn end_group(&mut self) {
        let Some(client) = self.anyone() else { return };
        let name = self.chance.of(&GROUPS);
        self.note(format!("end {name} by {client}"));
        let asking = self.asking(client, &Named::default()).await;
        let asked_at = Instant::now();
        let ended = self.hub_of(client).end_group(&asking.asker(), &group(name)).await;
        same(ended, self.model.end_group(client, name, self.is_late(asked_at)));
    }

    pub(super) async fn publish(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, name) = (self.named(client), self.chance.of(&GROUPS));
        let named = Named { connection: None, ..named };
        let text = format!("published {}", self.chance.below(1_000));
        self.note(format!("publish to {name} by {client} for {:?}", named.endpoint));
        let asking = self.asking(client, &named).await;
        let persist = self.chance.percent(10);
        let request = Publish { message: raw(&json!(text)), persist, once: None };
        let published = self.hub_of(client).publish(&asking.asker(), &group(name), request).await;
        same(published, self.model.publish(client, &named, name, &text, persist));
    }

    pub(super) async fn send(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, to) = (self.named(client), self.chance.of(&ENDPOINTS));
        let named = Named { connection: None, ..named };
        let only = self.one_of(self.model.clients[client].app, to);
        let (cc, text) = (self.chance.percent(40), format!("sent {}", self.chance.below(1_000)));
        self.note(format!("send to {to} {only:?} by {client} for {:?} cc {cc}", named.endpoint));
        let asking = self.asking(client, &named).await;
        let to_connection = only.as_deref().map(|id| ConnectionId::parse(id).unwrap());
        let message = Message { to: endpoint(to), to_connection, body: raw(&json!(text)), cc_self: cc, once: None };
        self.hub_of(client).send(&asking.asker(), message).await.unwrap();
        self.model.send(client, &named, to, only.as_deref(), cc, &text);
    }

    pub(super) async fn signal(&mut self) {
        let Some(client) = self.anyone() else { return };
        let kind = self.chance.of(&["offer", "answer", "answer", "connected", "bye", "bye", "iceCandidates"]);
        let body = json!({"signalType": kind, "sessionId": format!("call {}", self.chance.below(2))});
        let to = self.chance.of(&ENDPOINTS);
        let only = self.one_of(self.model.clients[client].app, to);
        let cc = self.chance.percent(50);
        self.note(format!("signal {body} to {to} {only:?} by {client} cc {cc}"));
        let asking = self.asking(client, &Named::default()).await;
        let request = SignalRequest {
            to: endpoint(to),
            to_type: None,
            from_type: None,
            to_connection: only.as_deref().map(|id| ConnectionId::parse(id).unwrap()),
            cc_self: cc,
            signal: raw(&body),
            once: None,
        };
        let relayed = self.hub_of(client).signal(&asking.asker(), request).await;
        same(relayed, self.model.signal(client, to, only.as_deref(), cc, &body));
    }

    pub(super) async fn set_presence(&mut self) {
        let Some(client) = self.anyone() else { return };
        let (named, kind) = (self.named(client), self.chance.of(&KINDS));
        self.note(format!("presence {kind} by {client} for {:?} {:?}", named.endpoint, named.connection));
        let asking = self.asking(client, &named).await;
        let presence = Presence { kind: raw(&json!(kind)), show: None, status: None };
        let hub = self.hub_of(client);
        let set = async || hub.set_presence(&asking.asker(), presence.clone()).await;
        let set = self.unless_silent(ANSWER_WITHIN, set).await;
        same(set, self.model.set_presence(client, &named, kind));
    }

    pub(super) async fn observe(&mut self) {
        // Who does not read is not told either, until it does.
        let Some(client) = self.anyone().filter(|client| !self.model.clients[*client].stalled) else { return };
        let names = self.chance.some(&ENDPOINTS);
        self.note(format!("observe {names:?} by {client}"));
        let asking = self.asking(client, &Named::default()).await;
        let asker = asking.asker();
        let hub = self.hub_of(client);
        let mut observing = pin!(hub.observe(&asker, names.iter().map(|name| endpoint(name)).collect()));
        let mut frames = VecDeque::new();
        let found = loop {
            tokio::select! {
                biased;
                found = &mut observing => break found,
                _ = self.clients[client].socket.outbox.take(&mut frames) => {
                    self.clients[client].read.extend(frames.drain(..));
                }
            }
        };
        let answer = found.map_err(|refusal| refusal.code()).map(|found| {
            let kind = |presence: Presence| serde_json::from_str::<Value>(presence.kind.get()).unwrap();
            let states = |states: Vec<(ConnectionId, Option<Presence>)>| {
                let state =
                    |(id, presence): (ConnectionId, Option<Presence>)| json!([id.to_string(), presence.map(kind)]);
                states.into_iter().map(state).collect::<Value>()
            };
            found.into_iter().map(|(endpoint, found)| json!([endpoint.to_string(), states(found)])).collect::<Value>()
        });
        let expected = self.model.observe(client, &names);
        if self.nodes.len() > 1 {
            // Each node's connections are in the order in which they came.
            assert_eq!(answer.map(in_any_order), expected.map(in_any_order));
        } else {
            assert_eq!(answer, expected);
        }
    }

    /// A client hangs up.
    pub(super) fn go(&mut self) {
        let Some(client) = self.anyone() else { return };
        self.note(format!("go {client}"));
        self.hub_of(client).close(&self.clients[client].socket, Close::Left);
        self.model.close(client);
    }

    /// A client ends its connection, or a backend somebody's.
    pub(super) async fn end_connection(&mut self) {
        let Some(client) = self.anyone() else { return };
        let connections = &self.model.apps[self.chance.below(2)].connections;
        if connections.is_empty() {
            return;
        }
        let id = connections[self.chance.below(connections.len())].id.clone();
        self.note(format!("end connection {id} by {client}"));
        let asking = self.asking(client, &Named::default()).await;
        let hub = self.hub_of(client);
        let ended = self.unless_silent(ANSWER_WITHIN, async || hub.disconnect(&asking.asker(), &id).await).await;
        if self.model.clients[client].session.is_some() {
            self.model.unregister(client);
            ended.unwrap();
        } else {
            same(ended, self.model.cut(client, &id));
        }
    }

    /// A client stops reading, or reads again.
    pub(super) fn stall(&mut self) {
        let Some(client) = self.anyone() else { return };
        let stalled = !self.model.clients[client].stalled;
        self.note(format!("{client} is stalled: {stalled}"));
        self.model.clients[client].stalled = stalled;
    }

    pub(super) async fn later(&mut self) {
        self.note("later".to_owned());
        if self.cluster.tells_in_time() {
            return;
        }
        tokio::time::advance(LATER).await;
        // Everything that is due is announced at once.
        for node in &self.nodes {
            let _ = tokio::time::timeout(Duration::from_millis(1), node.hub.announce_departures()).await;
        }
        self.model.tick();
    }

    /// A node is killed with all its sockets, and comes back with none.
    pub(super) async fn lose_a_node(&mut self) {
        let node = self.somewhere();
        self.note(format!("node {node} is lost"));
        // So that this loss is told at once, whatever was told before it.
        tokio::time::advance(MISSED_EVERY).await;
        self.model.lose(node);
        self.cluster.lose(&mut self.nodes[node]);
        self.settle().await;
        self.nodes[node] = self.cluster.start(u32::try_from(node + 1).unwrap()).await;
    }

    pub(super) async fn revoke(&mut self) {
        let (app, name, role) = (self.chance.below(2), self.chance.of(&ENDPOINTS), self.chance.below(ROLES));
        let node = self.somewhere();
        let (broker, backend) =
            (self.nodes[node].broker.clone(), self.prove_to(node, &self.tenants[app].backend).await);
        let context = Context::internal();
        let which = self.chance.below(8);
        self.note(format!("revoke {which} in app {app}: {name}, role {role}"));
        let asked_at = Instant::now();
        let ended = match which {
            0..=2 => {
                let banned = self.model.apps[app].banned.remove(name);
                if banned {
                    broker.lift_ban(&backend, None, name, &context).await.unwrap();
                    return;
                }
                self.model.apps[app].banned.insert(name.to_owned());
                broker.ban(&backend, None, name, None, None, &context).await.unwrap();
                self.model.standing_on(app, name)
            }
            3 => {
                let id = self.tenants[app].roles[role];
                broker.delete_role(&backend, None, &id.to_string(), &context).await.unwrap();
                let ended = self.model.in_session(app, Some(role));
                self.create_role(app, role, Some(id)).await;
                ended
            }
            _ => {
                let (scope, ended) = match which {
                    4 => (EndScope::Role(self.tenants[app].roles[role]), self.model.in_session(app, Some(role))),
                    5 => (EndScope::App, self.model.in_session(app, None)),
                    _ => {
                        let mut ended = self.model.in_session(app, None);
                        ended.retain(|client| {
                            self.model.clients[*client].session.as_ref().is_some_and(|(of, _)| of == name)
                        });
                        (EndScope::Endpoint(endpoint(name)), ended)
                    }
                };
                let request = EndSessions { app_id: None, scope, issued_before: None, tokens_too: true };
                broker.end_sessions(&backend, request, &context).await.unwrap();
                ended
            }
        };
        self.model.end(&ended, node, self.is_late(asked_at));
    }

    /// Random rules, of which most permit.
    fn rules(&mut self) -> BTreeMap<String, Rule> {
        let mut rule = || SWITCHES.map(|switch| (switch, self.chance.percent(85))).into_iter().collect::<Rule>();
        let (all, one) = (rule(), rule());
        let mut rules = BTreeMap::from([("*".to_owned(), all)]);
        if self.chance.percent(50) {
            rules.insert(GROUPS[0].to_owned(), one);
        }
        rules
    }

    pub(super) async fn create_role(&mut self, app: usize, role: usize, id: Option<RoleId>) {
        let (rules, node) = (self.rules(), self.somewhere());
        let backend = self.prove_to(node, &self.tenants[app].backend).await;
        let (name, permissions) = (Some(format!("role {role}")), permissions(&rules));
        let made = self.nodes[node]
            .broker
            .create_role(&backend, None, id, name, permissions, None, &Context::internal())
            .await;
        let made = made.unwrap().0.id;
        if id.is_none() {
            self.tenants[app].roles.push(made);
        }
        self.model.apps[app].roles[role] = rules;
    }

    pub(super) async fn change_role(&mut self) {
        let (app, role, rules) = (self.chance.below(2), self.chance.below(ROLES), self.rules());
        self.note(format!("role {role} of app {app} is {rules:?}"));
        let node = self.somewhere();
        let backend = self.prove_to(node, &self.tenants[app].backend).await;
        let id = self.tenants[app].roles[role].to_string();
        let permissions = Some(permissions(&rules));
        self.nodes[node]
            .broker
            .update_role(&backend, None, &id, None, permissions, &Context::internal())
            .await
            .unwrap();
        self.model.apps[app].roles[role] = rules;
    }
}

/// A snapshot with the connections of each endpoint in the order of their ids.
fn in_any_order(mut snapshot: Value) -> Value {
    for of in snapshot.as_array_mut().unwrap() {
        of[1].as_array_mut().unwrap().sort_unstable_by_key(|state| state[0].as_str().unwrap().to_owned());
    }
    snapshot
}

fn groups(names: &[String]) -> Vec<GroupName> {
    names.iter().map(|name| group(name)).collect()
}

pub(super) fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

fn permissions(rules: &BTreeMap<String, Rule>) -> Permissions {
    serde_json::from_value(json!({"groups": rules})).unwrap()
}

fn same<T>(outcome: Result<T, Refusal>, expected: Outcome) {
    assert_eq!(outcome.map(drop).map_err(|refusal| refusal.code()), expected);
}
