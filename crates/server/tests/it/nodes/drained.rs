//! A node that drains, and clients that come back to another.

use serde_json::{Value, json};

use crate::harness::{Client, End, Server, Socket, eventually, is_postgres_asked};

/// How a client ends that is sent away.
const SENT_AWAY: End = End { goodbye: false, code: Some(1001) };

/// Three nodes that serve as one. None: not on PostgreSQL.
fn three() -> Option<[Server; 3]> {
    if !is_postgres_asked() {
        return None;
    }
    let one = Server::start_with(|config| {
        config.node_name = Some("one".into());
        config.drain_secs = 3;
    });
    let other = one.beside(|config| config.node_name = Some("other".into()));
    let third = one.beside(|config| config.node_name = Some("third".into()));
    Some([one, other, third])
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

/// Who is in the room, once the node knows that another is no more, and asks it no more.
fn members(at: &Client) -> Vec<String> {
    eventually(|| (at.get("/v1/channels/room/subscribers").secret().call().status == 200).then_some(()));
    let mut members = at.members("room");
    members.sort();
    members
}

#[test]
fn nobody_hears_of_a_client_that_comes_back_from_a_node_that_drains() {
    let Some([one, other, third]) = three() else { return };
    let admin = one.admin_token("admin");
    let (mut alice, mut bob, mut carol) = (other.connect("alice"), one.connect("bob"), third.connect("carol"));
    for client in [&mut bob, &mut carol] {
        client.post("/v1/presence-observers", json!({"endpointList": ["alice"]})).ok();
        client.join("room");
    }
    settle(&mut alice);
    bob.push("join room alice");
    alice.publish("room", "first");
    for client in [&mut bob, &mut carol] {
        heard_until(client, "first");
    }
    let id = alice.connection.clone();
    drain(&one, &admin, "other");
    let mut alice = come_back(&third, alice);
    assert_eq!(alice.connection, id);
    settle(&mut alice);
    alice.publish("room", "back");
    for client in [&mut bob, &mut carol] {
        assert_eq!(heard_until(client, "back"), ["pubsub room alice back"]);
    }
    assert_eq!(members(&one), ["alice", "bob", "carol"]);
    bob.publish("room", "welcome");
    alice.push("pubsub room bob welcome");
    until_gone(&one, &admin, "other");
    // What comes behind shows that nothing is told when the node is no more.
    alice.publish("room", "last");
    for client in [&mut bob, &mut carol] {
        let heard = heard_until(client, "last");
        assert_eq!(heard.iter().filter(|heard| !heard.starts_with("pubsub room bob")).collect::<Vec<_>>(), [
            "pubsub room alice last"
        ]);
    }
    for node in [&one, &third] {
        assert_eq!(members(node), ["alice", "bob", "carol"]);
    }
    drop(alice);
    for client in [&mut bob, &mut carol] {
        let mut heard = Vec::new();
        client.until(|client| {
            heard.extend(client.pushed());
            (heard.len() >= 2).then_some(())
        });
        heard.sort();
        assert_eq!(heard, ["leave room alice", "presence alice unavailable"]);
    }
}
