//! A node that drains, and clients that come back to another.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, End, NatsServer, Server, Socket, are_nodes_asked, eventually};

/// How a client ends that is sent away.
const SENT_AWAY: End = End { goodbye: false, code: Some(1001) };

/// How long the drain is, in seconds.
const DRAIN_SECS: u64 = 3;
/// The quarter of that for which nobody is sent away.
const UNNOTICED: Duration = Duration::from_millis(750);

/// Three nodes that serve as one. None: not on PostgreSQL.
fn three() -> Option<[Server; 3]> {
    are_nodes_asked().then(|| three_over(Vec::new()))
}

/// The same that talk over NATS servers, if there are any.
fn three_over(nats: Vec<String>) -> [Server; 3] {
    let one = Server::start_with(|config| {
        config.node_name = Some("one".into());
        config.drain_secs = DRAIN_SECS;
        config.nats = nats;
    });
    let other = one.beside(|config| config.node_name = Some("other".into()));
    let third = one.beside(|config| config.node_name = Some("third".into()));
    [one, other, third]
}

/// Wants a node to drain, as an operator does.
fn drain(by: &Client, admin: &str, name: &str) {
    let id = eventually(|| nodes(by, admin).iter().find(|node| node["name"] == name).map(|node| node["id"].clone()));
    by.post(&format!("/v1/nodes/{id}/drain")).admin(admin).send(json!({})).ok();
}

fn nodes(at: &Client, admin: &str) -> Vec<Value> {
    at.get("/v1/nodes").admin(admin).call().ok().as_array().unwrap().clone()
}

/// Waits until a node is no more.
fn until_gone(at: &Client, admin: &str, name: &str) {
    eventually(|| nodes(at, admin).iter().all(|node| node["name"] != name).then_some(()));
}

/// Alice at the node that is to drain, bob and carol at the others. All are in the room, and these two observe her.
fn gathered([one, other, third]: &[Server; 3]) -> [Socket; 3] {
    let (mut alice, mut bob, mut carol) = (other.connect("alice"), one.connect("bob"), third.connect("carol"));
    for client in [&mut bob, &mut carol] {
        client.post("/v1/presence-observers", json!({"endpointList": ["alice"]})).ok();
        client.join("room");
    }
    settle(&mut alice);
    alice.publish("room", "first");
    for client in [&mut bob, &mut carol] {
        heard_until(client, "first");
    }
    [alice, bob, carol]
}

/// Alice at the node that is to drain and bob at another, in the room.
fn two_gathered([one, other, _]: &[Server; 3]) -> [Socket; 2] {
    let (mut alice, mut bob) = (other.connect("alice"), one.connect("bob"));
    bob.join("room");
    alice.join("room");
    bob.push("join room alice");
    [alice, bob]
}

/// Says where it is, as clients do when they have connected.
fn settle(client: &mut Socket) {
    client.post("/v1/presence", json!({"presence": {"type": "available"}})).ok();
    client.join("room");
}

/// Comes back to another node, as existing clients do: by a new handshake, with nothing but its token.
fn come_back(to: &Client, mut client: Socket) -> Socket {
    assert_eq!(client.end(), SENT_AWAY);
    let mut back = to.open_as(&client.endpoint, &client.app_token);
    back.register(json!({}));
    back
}

/// What a client hears until somebody says that to the room.
fn heard_until(client: &mut Socket, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    client.until(|client| {
        heard.extend(client.pushed());
        heard.iter().any(|pushed| pushed.ends_with(last)).then_some(())
    });
    heard
}

/// Alice is gone, and the client hears nothing else.
fn is_told_as_gone(client: &mut Socket) {
    let mut heard = Vec::new();
    client.until(|client| {
        heard.extend(client.pushed());
        (heard.len() >= 2).then_some(())
    });
    heard.sort();
    assert_eq!(heard, ["leave room alice", "presence alice unavailable"]);
}

/// Who is in the room, once the node knows that another is no more, and asks it no more.
fn members(at: &Client) -> Vec<String> {
    eventually(|| (at.get("/v1/channels/room/subscribers").secret().call().status == 200).then_some(()));
    let mut members = at.members("room");
    members.sort();
    members
}

#[test]
fn nobody_hears_of_a_client_that_comes_back_from_a_node_that_drains() {
    let Some(three) = three() else { return };
    nobody_hears_of_a_client_that_comes_back(&three);
}

#[test]
fn nobody_hears_of_a_client_that_comes_back_over_nats() {
    if !are_nodes_asked() {
        return;
    }
    let Some(nats) = NatsServer::start("") else { return };
    nobody_hears_of_a_client_that_comes_back(&three_over(vec![nats.address()]));
}

fn nobody_hears_of_a_client_that_comes_back(three: &[Server; 3]) {
    let [one, _, third] = three;
    let admin = one.admin_token("admin");
    let [alice, mut bob, mut carol] = gathered(three);
    let id = alice.connection.clone();
    drain(one, &admin, "other");
    let mut alice = come_back(third, alice);
    assert_eq!(alice.connection, id);
    settle(&mut alice);
    alice.publish("room", "back");
    for client in [&mut bob, &mut carol] {
        assert_eq!(heard_until(client, "back"), ["pubsub room alice back"]);
    }
    assert_eq!(members(one), ["alice", "bob", "carol"]);
    bob.publish("room", "welcome");
    alice.push("pubsub room bob welcome");
    until_gone(one, &admin, "other");
    // What comes behind shows that nothing is told when the node is no more.
    alice.publish("room", "last");
    for client in [&mut bob, &mut carol] {
        let heard = heard_until(client, "last");
        assert_eq!(
            heard.iter().filter(|heard| !heard.starts_with("pubsub room bob")).collect::<Vec<_>>(),
            ["pubsub room alice last"]
        );
    }
    for node in [one, third] {
        assert_eq!(members(node), ["alice", "bob", "carol"]);
    }
    drop(alice);
    for client in [&mut bob, &mut carol] {
        is_told_as_gone(client);
    }
}

/// It has ten seconds to ask for it.
#[test]
fn what_a_client_that_came_back_does_not_ask_for_again_is_told_as_left() {
    let Some(three) = three() else { return };
    let [alice, mut bob] = two_gathered(&three);
    let [one, _other, third] = three;
    let admin = one.admin_token("admin");
    let id = alice.connection.clone();
    drain(&one, &admin, "other");
    let mut back = come_back(&third, alice);
    assert_eq!(back.connection, id);
    bob.push("leave room alice");
    assert_eq!(members(&one), ["bob"]);
    back.post("/v1/messages", json!({"to": "bob", "message": "still here"})).ok();
    bob.push("message alice still here");
}

/// As respoke.js does in development mode: it has a token minted each time.
#[test]
fn a_client_comes_back_with_another_session_from_where_it_was() {
    let Some(three) = three() else { return };
    let [mut alice, mut bob] = two_gathered(&three);
    let [one, _other, third] = three;
    let admin = one.admin_token("admin");
    let id = alice.connection.clone();
    drain(&one, &admin, "other");
    assert_eq!(alice.end(), SENT_AWAY);
    // Another kind of client is another one.
    let mut phone = one.open_as("alice", &one.session("alice"));
    phone.register(json!({"clientType": "phone"}));
    assert_ne!(phone.connection, id);
    let mut back = third.connect("alice");
    assert_eq!(back.connection, id);
    back.join("room");
    assert_ne!(third.connect("alice").connection, id, "it is given up once");
    until_gone(&one, &admin, "other");
    back.publish("room", "back");
    assert_eq!(heard_until(&mut bob, "back"), ["pubsub room alice back"]);
}

#[test]
fn a_client_whose_session_ends_before_it_is_back_is_told_as_gone_at_once() {
    let Some(three) = three() else { return };
    let [mut alice, mut bob] = two_gathered(&three);
    let [one, _other, _third] = three;
    let admin = one.admin_token("admin");
    let token = alice.app_token.clone();
    drain(&one, &admin, "other");
    assert_eq!(alice.end(), SENT_AWAY);
    one.request("DELETE", "/v1/session-tokens").token(&token).call().ok();
    bob.push("leave room alice");
    assert!(nodes(&one, &admin).iter().any(|node| node["name"] == "other"), "it is told before the node ends");
    assert_eq!(one.handshake(&format!("app-token={token}")).status, 403);
    // Who comes with another session is another.
    let back = one.connect("alice");
    assert_ne!(back.connection, alice.connection);
    until_gone(&one, &admin, "other");
    drop(back);
    bob.publish("room", "last");
    assert_eq!(bob.pushed(), Vec::<String>::new(), "nobody is told twice");
}

#[test]
fn a_client_that_does_not_come_back_is_told_as_gone_once() {
    let Some(three) = three() else { return };
    let [mut alice, mut bob, mut carol] = gathered(&three);
    let [one, _other, _third] = three;
    let admin = one.admin_token("admin");
    let start = Instant::now();
    drain(&one, &admin, "other");
    assert_eq!(alice.end(), SENT_AWAY);
    assert!(start.elapsed() >= UNNOTICED, "a proxy would have led her to that node again");
    until_gone(&one, &admin, "other");
    for client in [&mut bob, &mut carol] {
        is_told_as_gone(client);
    }
    bob.publish("room", "last");
    assert_eq!(heard_until(&mut carol, "last"), ["pubsub room bob last"]);
}
