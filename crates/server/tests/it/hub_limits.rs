//! Limits over sockets: how often, and how many at once.

use serde_json::{Value, json};

use crate::harness::{Server, text};

#[test]
fn a_limited_request_is_answered_as_clients_expect() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let limits = json!({"limits": {"endpoint": {"perSecond": 1, "burst": 5}}});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(limits).ok();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    let mut statuses = Vec::new();
    let limited = loop {
        let ack = alice.get("/v1/groups");
        statuses.push(ack.status);
        if ack.status != 200 {
            break ack;
        }
    };
    assert!(statuses.len() <= 6, "{statuses:?}");
    let headers = limited.headers.clone();
    assert_eq!((&headers["RateLimit-Limit"], &headers["RateLimit-Remaining"]), (&json!(1), &json!(0)));
    assert_eq!(headers["RateLimit-Time-Units"], "seconds");
    assert!(headers["Retry-After"].as_u64().is_some_and(|secs| (1..=5).contains(&secs)), "{headers}");
    let body = limited.refused(429, "rate_limited");
    assert_eq!((&body["error"], body.get("rateLimit")), (&json!("Too Many Requests"), None));
    // Of others nothing is taken, and what is for the limited one still comes.
    bob.post("/v1/messages", json!({"to": "alice", "message": "x"})).ok();
    alice.push("message bob x");
    assert_eq!(server.handshake(&format!("app-token={}", alice.app_token)).status, 429);
}

#[test]
fn wrong_credentials_over_a_socket_are_slowed_down_too() {
    let server = Server::start_with(|config| config.failed_credentials_free = 10);
    let mut alice = server.connect("alice");
    let wrong = json!({"App-Token": "11111111-2222-4333-8444-555555555555"});
    let mut statuses = (0..30).map(|_| alice.ask_with(&wrong, "get", "/v1/groups", Value::Null).status);
    assert_eq!(statuses.next(), Some(401));
    assert_eq!(statuses.last(), Some(429));
    alice.get("/v1/groups").ok();
}

#[test]
fn a_node_has_its_most_sockets() {
    let server = Server::start_with(|config| config.connections_max = 20);
    let query = format!("app-secret={}", server.secret);
    let sids: Vec<String> = (0..19).map(|_| server.sid(&query)).collect();
    let full = server.handshake(&query);
    assert_eq!((full.status, full.text.as_str()), (503, "handshake error"));
    server.get("/v1/connections").secret().call().ok();
    server.get(&format!("/socket.io/1/xhr-polling/{}?disconnect", sids[0])).call();
    server.sid(&query);
}

#[test]
fn an_endpoint_has_only_so_many_sockets_whether_it_registers_them_or_not() {
    let server = Server::start();
    let limits = json!({"limits": {"endpointConnections": 1}});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&server.admin_token("admin")).send(limits).ok();
    let alice = format!("app-token={}", server.session("alice"));
    let sids: Vec<String> = (0..18).map(|_| server.sid(&alice)).collect();
    assert_eq!(server.handshake(&alice).status, 503);
    server.connect("bob");
    server.get(&format!("/socket.io/1/xhr-polling/{}?disconnect", sids[0])).call();
    server.sid(&alice);
}

#[test]
fn who_observes_many_is_told_of_each_once_and_not_closed_for_it() {
    let server = Server::start_with(|config| config.outbox_frames_max = 20);
    server.unlimited(&server.admin_token("admin"));
    let names: Vec<String> = (0..60).map(|number| format!("friend {number}")).collect();
    let mut friends: Vec<_> = names.iter().map(|name| server.connect_backend(name)).collect();
    for friend in &mut friends {
        friend.post("/v1/presence", json!({"presence": {"type": "here"}})).ok();
    }
    let mut alice = server.connect("alice");
    let twice: Vec<&String> = names.iter().chain(&names).collect();
    let snapshot = alice.post("/v1/presenceobservers", json!({"endpointList": twice})).ok();
    assert_eq!(snapshot.as_array().unwrap().len(), names.len());
    assert_eq!(alice.pushes_len(), names.len());
    alice.get("/v1/groups").ok();
}

#[test]
fn what_one_connection_observes_has_a_limit() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let mut alice = server.connect("alice");
    for batch in 0..10 {
        let names: Vec<String> = (0..1_000).map(|number| format!("e{batch}-{number}")).collect();
        alice.post("/v1/presenceobservers", json!({"endpointList": names})).ok();
    }
    let refusal = alice.post("/v1/presenceobservers", json!({"endpointList": ["more"]})).refused(403, "limit_reached");
    assert!(text(&refusal["error"]).contains("limit"));
    alice.post("/v1/presenceobservers", json!({"endpointList": ["e0-0"]})).ok();
    assert_eq!(server.figure("respoked_hub_observers"), 10_000);
    drop(alice);
    crate::harness::eventually(|| (server.figure("respoked_hub_observers") == 0).then_some(()));
}

#[test]
fn connections_of_an_endpoint_and_of_an_app_have_a_limit() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let limit = |limits: Value| {
        server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(json!({"limits": limits})).ok();
    };
    limit(json!({"endpointConnections": 1}));
    let mut alice = server.connect("alice");
    let mut second = server.open_as("alice", &server.session("alice"));
    let refusal = second.post("/v1/connections", json!({})).refused(401, "connection_limit");
    assert!(text(&refusal["error"]).contains("Connection limit exceeded"), "existing clients look for these words");
    let bob = server.connect("bob");
    // Who registers anew takes its own place.
    let first = alice.connection.clone();
    alice.register(json!({}));
    assert_ne!(first, alice.connection);
    assert_eq!(server.connected(), ["alice", "bob"]);
    limit(json!({"endpointConnections": null, "connections": 2}));
    second.post("/v1/connections", json!({})).refused(401, "connection_limit");
    alice.register(json!({}));
    // A backend that takes another endpoint's name frees its own.
    limit(json!({"endpointConnections": 1, "connections": 3}));
    let mut backend = server.connect_backend("pbx");
    backend.post("/v1/connections", json!({"endpointId": "alice"})).refused(401, "connection_limit");
    assert_eq!(server.connected(), ["alice", "bob", "pbx"], "what is refused leaves the old one in place");
    drop(bob);
    crate::harness::eventually(|| (server.connected() == ["alice", "pbx"]).then_some(()));
    second.post("/v1/connections", json!({})).refused(401, "connection_limit");
    limit(json!({"endpointConnections": 2}));
    second.register(json!({}));
    assert_eq!(server.connected(), ["alice", "alice", "pbx"]);
}

#[test]
fn groups_of_a_connection_and_members_of_a_group_have_a_limit() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let limits = json!({"limits": {"groupsPerConnection": 2, "membersPerGroup": 2}});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(limits).ok();
    let (mut alice, mut bob, mut carol) = (server.connect("alice"), server.connect("bob"), server.connect("carol"));
    let three = json!({"groups": ["one", "two", "three"]});
    alice.post("/v1/groups", three).refused(403, "limit_reached");
    assert_eq!(server.members("two"), ["alice"], "what was joined stays");
    assert!(server.members("three").is_empty());
    alice.join("one");
    bob.join("one");
    carol.post("/v1/groups", json!({"groups": ["one"]})).refused(403, "limit_reached");
    let path = "/v1/channels/one/subscribers";
    server.post(path).secret().send(json!({"endpointId": "carol"})).refused(403, "limit_reached");
    bob.delete("/v1/groups", json!({"groups": ["one"]})).ok();
    carol.join("one");
    assert_eq!(server.members("one"), ["alice", "carol"]);
    alice.delete("/v1/groups", json!({"groups": ["two"]})).ok();
    alice.join("three");
    assert_eq!(server.figure("respoked_hub_members"), 3);
}
