//! After each step all come to rest, and what clients got and nodes answer is compared with the reference.

use std::collections::{BTreeSet, VecDeque};

use respoke_core::id::GroupName;
use respoke_core::ops::Context;
use respoke_core::page::PageRequest;
use respoke_core::refusal::Refusal;
use respoke_hub::Counts;
use respoke_hub::ops::{Asker, Unlimited};
use respoke_hub::outbox::Taken;
use respoke_wire::close::Close;
use serde_json::Value;
use tokio::time::Instant;

use super::home::{endpoint, group};
use super::reference::{Due, State, missed};
use super::{ANSWER_WITHIN, ENDPOINTS, GROUPS, World};

impl World {
    /// Lets the hubs do what is to be done, and plays the transports of clients that were told to go: so many.
    async fn rest(&mut self) -> usize {
        self.cluster.rest(&self.nodes).await;
        if self.cluster.tells_in_time() {
            self.model.tick();
        }
        let mut closed = 0;
        for number in 0..self.clients.len() {
            let (is_closed, expected) =
                (self.clients[number].socket.outbox.closed().is_some(), self.model.clients[number].state);
            if expected == State::Lost {
                continue;
            }
            assert_eq!(is_closed, expected != State::Open, "{number} is {expected:?}");
            if expected == State::Closing {
                self.hub_of(number).close(&self.clients[number].socket, Close::Left);
                self.model.close(number);
                closed += 1;
            }
        }
        closed
    }

    /// Lets the hubs come to rest, and compares everything.
    pub(super) async fn settle(&mut self) {
        while self.rest().await > 0 {}
        for (number, client) in self.clients.iter_mut().enumerate() {
            let expected = &mut self.model.clients[number];
            if expected.state == State::Lost || expected.stalled && expected.state == State::Open {
                continue;
            }
            let mut frames = VecDeque::new();
            let taken = client.socket.outbox.take_now(&mut frames);
            assert!(!matches!(taken, Some(Taken::Closed(_))) || expected.state == State::Closed);
            let mut got: Vec<String> = client.read.drain(..).chain(frames).map(|frame| read(&frame)).collect();
            let expected = std::mem::take(&mut expected.waiting);
            if self.cluster.tells_in_time() {
                // A node that heard too late of who joined tells it of members that came before.
                let is_due = |event: &String| expected.iter().any(|due| due.event == *event);
                got.retain(|event| is_due(event) || !event.contains(r#""name":"join""#));
                let (heard, due) = (|event: &&String| **event == missed(), expected.iter().map(|due| &due.event));
                if got.iter().filter(heard).count() > due.filter(heard).count()
                    && std::mem::take(&mut client.came_to_a_late_node)
                    && let Some(at) = got.iter().position(|event| heard(&event))
                {
                    got.remove(at);
                }
            }
            assert_streams(number, &expected, &got);
        }
        for (number, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.lives) {
            let is_there = |client: usize| self.clients[client].node == number;
            let view = node.hub.view();
            let Counts { connections, endpoints, groups, members, observers } = view.counts;
            let counts = [connections, endpoints, groups, members, observers];
            assert_eq!(counts, self.model.counts(is_there), "on node {number}");
            let open = (0..2).flat_map(|app| self.model.open_clients(app)).filter(|client| is_there(*client));
            assert_eq!(view.sockets, open.count(), "on node {number}");
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].lives {
                self.compare_an_app(node).await;
            }
        }
    }

    /// Compares what a backend is told of one of the apps by a node.
    async fn compare_an_app(&mut self, node: usize) {
        let app = self.chance.below(2);
        if self.tenants[app].roles.is_empty() {
            return;
        }
        let caller = self.prove_to(node, &self.tenants[app].backend).await;
        let (hub, broker) = (self.nodes[node].hub.clone(), self.nodes[node].broker.clone());
        let context = Context::internal();
        let mut asker = Asker {
            caller: &caller,
            socket: None,
            context: &context,
            app_id: Some(self.tenants[app].id),
            endpoint_id: None,
            connection_id: None,
            purse: &Unlimited,
        };
        let name = self.chance.of(&GROUPS);
        let members = told(async || hub.members(&asker, &group(name)).await).await;
        let mut members: Vec<_> = members.iter().map(|member| member.id.to_string()).collect();
        let mut expected = self.model.members(app, name);
        members.sort_unstable();
        expected.sort_unstable();
        assert_eq!(members, expected);
        let names = told(async || hub.groups(&asker, None, 10).await).await;
        let expected: Vec<_> = GROUPS.iter().filter(|name| !self.model.members(app, name).is_empty()).collect();
        assert_eq!(
            names.iter().map(GroupName::as_str).collect::<Vec<_>>(),
            expected.into_iter().copied().collect::<Vec<_>>()
        );
        let name = self.chance.of(&GROUPS);
        let kept = broker.history(&caller, None, name, None, None).await.unwrap();
        let kept = broker.messages(kept).await.unwrap();
        let kept = kept.iter().flatten().map(|kept| {
            let event: Value = serde_json::from_str(kept.event.get()).unwrap();
            event["message"].as_str().unwrap().to_owned()
        });
        assert!(kept.eq(self.model.apps[app].kept.get(name).into_iter().flatten().rev().take(50).cloned()));
        let name = self.chance.of(&ENDPOINTS);
        asker.endpoint_id = Some(endpoint(name));
        let connections = told(async || hub.connections(&asker).await).await;
        let expected = self.model.apps[app].connections.iter().filter(|connection| connection.endpoint == name);
        assert_eq!(
            sorted(connections.iter().map(|connection| connection.id.to_string())),
            sorted(expected.map(|found| found.id.clone()))
        );
        let states = told(async || hub.endpoint_state(&asker).await).await.into_iter().map(|state| {
            let groups: Vec<_> = state.groups.iter().map(GroupName::to_string).collect();
            let presence = state.presence.map(|presence| serde_json::from_str::<String>(presence.kind.get()).unwrap());
            format!("{} {groups:?} {presence:?}", state.connection.id)
        });
        let expected = self.model.apps[app].connections.iter().filter(|connection| connection.endpoint == name);
        let expected = expected.map(|found| {
            let groups: Vec<_> = found.groups.iter().collect();
            format!("{} {groups:?} {:?}", found.id, found.presence)
        });
        assert_eq!(sorted(states), sorted(expected));
        let mut page = PageRequest { limit: 3, after: None };
        let mut listed = Vec::new();
        asker.endpoint_id = None;
        loop {
            let found = told(async || hub.connections_page(&asker, &page).await).await;
            listed.extend(found.items.iter().map(|connection| connection.id.to_string()));
            page.after = found.next;
            if page.after.is_none() {
                break;
            }
        }
        assert_eq!(listed, sorted(self.model.apps[app].connections.iter().map(|found| found.id.clone())));
        let app_id = self.tenants[app].id;
        let groups = told(async || hub.groups_of(app_id, &endpoint(name)).await).await;
        let expected = self.model.apps[app].connections.iter().filter(|connection| connection.endpoint == name);
        let expected: BTreeSet<_> = expected.flat_map(|connection| connection.groups.iter().cloned()).collect();
        assert_eq!(sorted(groups.iter().map(GroupName::to_string)), expected.into_iter().collect::<Vec<_>>());
    }

    /// One app is deleted, the other's clients go one by one, and nothing is left.
    pub(super) async fn end(&mut self) {
        self.note("the end".to_owned());
        let asked_at = Instant::now();
        self.nodes[0].broker.delete_app(&self.admin, self.tenants[0].id, &Context::internal()).await.unwrap();
        self.tenants[0].roles.clear();
        let ended: Vec<_> = self.model.open_clients(0).collect();
        self.model.end(&ended, 0, self.is_late(asked_at));
        self.settle().await;
        for client in self.model.open_clients(1).collect::<Vec<_>>() {
            self.hub_of(client).close(&self.clients[client].socket, Close::Left);
            self.model.close(client);
            self.settle().await;
            self.later().await;
        }
        self.settle().await;
        for node in &self.nodes {
            let view = node.hub.view();
            assert_eq!((view.counts, view.sockets), (Counts::default(), 0));
        }
    }
}

/// What all nodes say. One that answers too late, as there are with faults between them, is asked again: that changes nothing.
async fn told<T>(ask: impl AsyncFn() -> Result<T, Refusal>) -> T {
    loop {
        let asked_at = Instant::now();
        match ask().await {
            Err(Refusal::NodeSilent) => assert!(asked_at.elapsed() >= ANSWER_WITHIN, "nobody was silent"),
            told => return told.unwrap(),
        }
    }
}

fn sorted(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all
}

/// What a frame says, without what is another each time.
fn read(frame: &[u8]) -> String {
    let text = std::str::from_utf8(frame).unwrap().strip_prefix("5:::").unwrap();
    let mut push: Value = serde_json::from_str(text).unwrap();
    let is_published = push["name"] == "pubsub";
    let header = push["args"][0]["header"].as_object_mut().unwrap();
    let late = header.remove("timestamp").unwrap().as_u64().unwrap() - 1_800_000_000_000;
    // The clock stands still, and each that is kept is a millisecond later than the one before.
    assert!(late == 0 || is_published && late < 1_000, "{late}");
    assert!(header.remove("requestId").is_some());
    header.remove("messageId");
    push.to_string()
}

/// Compares what a client got with what it was to get. What has one number may be in any order.
fn assert_streams(client: usize, expected: &[Due], got: &[String]) {
    let mut left = got;
    for run in expected.chunk_by(|one, other| one.run.is_some() && one.run == other.run) {
        let (mut certain, mut perhaps): (Vec<_>, Vec<_>) = run.iter().partition(|due| due.certain);
        while let Some((next, rest)) = left.split_first() {
            let of = [&mut certain, &mut perhaps].into_iter().find(|due| due.iter().any(|due| due.event == *next));
            let Some(of) = of else { break };
            of.swap_remove(of.iter().position(|due| due.event == *next).unwrap());
            left = rest;
        }
        assert!(certain.is_empty(), "client {client} got\n{got:#?}\nand not\n{certain:#?}\nof\n{expected:#?}");
    }
    assert!(left.is_empty(), "client {client} got\n{left:#?}\nof\n{got:#?}\nand was to get\n{expected:#?}");
}
