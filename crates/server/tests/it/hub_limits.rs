//! Limits over sockets: how often, and how many at once.

use serde_json::{Value, json};

use crate::harness::{Server, eventually, text};

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

/// Sets limits of the server's app.
fn limit(server: &Server, limits: Value) {
    let admin = server.admin_token("admin");
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(json!({"limits": limits})).ok();
}

/// How many of `count` handshakes are served before one is refused with 429.
fn served(server: &Server, query: &str, count: usize) -> usize {
    for nth in 0..count {
        let answer = server.handshake(query);
        if answer.status == 429 {
            assert_eq!(answer.text, "handshake error");
            let wait = answer.header("retry-after").and_then(|secs| secs.parse::<u64>().ok());
            assert!(wait.is_some_and(|secs| (1..=6).contains(&secs)), "{wait:?}");
            return nth;
        }
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    count
}

#[test]
fn who_connects_too_often_is_refused_and_served_again_later() {
    let server = Server::start();
    let (mut alice, bob) = (server.connect("alice"), server.connect("bob"));
    limit(&server, json!({"endpointConnects": {"perSecond": 1, "burst": 3}}));
    let query = format!("app-token={}", alice.app_token);
    assert_eq!(served(&server, &query, 10), 3);
    assert_eq!(server.figure("respoked_refusals_total{reason=\"rate_limited\"}"), 1);
    let admin = server.admin_token("admin");
    let stats = server.get(&format!("/v1/stats?appId={}", server.app)).admin(&admin).call().ok();
    assert!(stats.to_string().contains(r#""rate_limited":1"#), "{stats}");
    // Of the others nothing is taken, nor what the limited one asks on the socket it has.
    assert_eq!(served(&server, &format!("app-token={}", bob.app_token), 3), 3);
    alice.post("/v1/messages", json!({"to": "bob", "message": "x"})).ok();
    server.clock.advance_secs(1);
    assert_eq!(served(&server, &query, 10), 1);
    limit(&server, json!({"endpointConnects": null}));
    assert_eq!(served(&server, &query, 10), 10);
}

#[test]
fn connects_of_an_app_and_of_an_address_have_a_rate() {
    let server = Server::start();
    let (alice, bob) = (server.session("alice"), server.session("bob"));
    let as_endpoint = |app_token: &str| format!("app-token={app_token}");
    let backend = format!("app-secret={}", server.secret);
    limit(&server, json!({"addressConnects": {"perSecond": 1, "burst": 2}}));
    assert_eq!(served(&server, &as_endpoint(&alice), 10), 2);
    assert_eq!(served(&server, &as_endpoint(&bob), 10), 0);
    assert_eq!(served(&server, &backend, 10), 10, "backends are at one address, all of them");
    limit(&server, json!({"addressConnects": null, "connects": {"perSecond": 1, "burst": 2}}));
    assert_eq!(served(&server, &backend, 10), 2);
    assert_eq!(served(&server, &as_endpoint(&bob), 10), 0);
    let answer = server.post("/v1/apps").admin(&server.admin_token("admin")).send(json!({"name": "other"})).ok();
    assert_eq!(served(&server, &format!("app-secret={}", text(&answer["secret"])), 10), 10, "another app has its own");
    limit(&server, json!({"connects": null}));
    assert_eq!(served(&server, &backend, 10), 10);
}

#[test]
fn who_says_too_much_is_refused_while_other_requests_pass() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    for member in [&mut alice, &mut bob] {
        member.join("room");
    }
    limit(&server, json!({"endpointMessages": {"perSecond": 1, "burst": 5}}));
    let offer = json!({"signalType": "info", "sessionId": "1", "target": "call"});
    let said = [
        ("/v1/messages", json!({"to": "bob", "message": "x"})),
        ("/v1/groups/room/publish", json!({"message": "x"})),
        ("/v1/channels/room/publish", json!({"message": "x"})),
        ("/v1/signaling", json!({"to": "bob", "signal": offer})),
        ("/v1/presence", json!({"presence": {"type": "away"}})),
    ];
    for (path, body) in &said {
        alice.post(path, body.clone()).ok();
    }
    for (path, body) in &said {
        let refused = alice.post(path, body.clone());
        assert_eq!(refused.headers["RateLimit-Limit"], 1);
        assert!(refused.headers["Retry-After"].as_u64().is_some_and(|secs| (1..=5).contains(&secs)), "{path}");
        assert_eq!(refused.refused(429, "rate_limited")["error"], "Too Many Requests");
    }
    alice.get("/v1/groups").ok();
    alice.join("another");
    bob.publish("room", "y");
    let over_http = || server.post("/v1/messages").token(&alice.app_token).send(json!({"to": "bob", "message": "x"}));
    let refused = over_http();
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit-policy").is_some());
    refused.refused(429, "rate_limited");
    server.clock.advance_secs(1);
    over_http().ok();
    limit(&server, json!({"endpointMessages": null}));
    for _ in 0..20 {
        over_http().ok();
    }
}

#[test]
fn messages_of_an_app_and_of_an_address_have_a_rate() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    let say = json!({"to": "carol", "message": "x"});
    let by_backend = || server.post("/v1/messages").secret().send(say.clone()).status;
    limit(&server, json!({"addressMessages": {"perSecond": 1, "burst": 2}}));
    let statuses: Vec<_> = (0..6).map(|_| alice.post("/v1/messages", say.clone()).status).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 429, 429]);
    bob.post("/v1/messages", say.clone()).refused(429, "rate_limited");
    assert!((0..10).all(|_| by_backend() == 200));
    limit(&server, json!({"addressMessages": null, "messages": {"perSecond": 1, "burst": 2}}));
    assert_eq!([by_backend(), by_backend(), by_backend()], [200, 200, 429]);
    bob.post("/v1/messages", say.clone()).refused(429, "rate_limited");
    bob.get("/v1/groups").ok();
    limit(&server, json!({"messages": null}));
    assert!((0..10).all(|_| by_backend() == 200 && alice.post("/v1/messages", say.clone()).status == 200));
}

#[test]
fn an_address_has_its_most_sockets() {
    let proxy = "127.0.0.0/8".parse().unwrap();
    let server = Server::start_with(|config| {
        config.sockets_per_address_max = 3;
        config.trusted_proxies = vec![proxy];
    });
    let query = format!("app-secret={}", server.secret);
    let handshake = |from: &str| server.get(&format!("/socket.io/1/?{query}")).header("X-Forwarded-For", from).call();
    let full = |from: &str| {
        let answer = handshake(from);
        assert_eq!((answer.status, answer.text.as_str()), (503, "handshake error"), "{from}");
    };
    let sid = |from: &str| {
        let answer = handshake(from);
        assert_eq!(answer.status, 200, "{from}: {}", answer.text);
        answer.text.split(':').next().unwrap().to_owned()
    };
    let sids: Vec<String> = (0..3).map(|_| sid("192.0.2.1")).collect();
    full("192.0.2.1");
    assert_eq!(server.figure("respoked_refusals_total{reason=\"connection_limit\"}"), 1);
    sid("192.0.2.2");
    for subscriber in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
        sid(subscriber);
    }
    full("2001:db8::4");
    sid("2001:db8:0:1::1");
    // Who comes through a proxy that does not say from where may be anybody.
    let proxied: Vec<_> = (0..9).map(|_| server.sid(&query)).collect();
    server.get(&format!("/socket.io/1/xhr-polling/{}?disconnect", sids[0])).call();
    sid("192.0.2.1");
    full("192.0.2.1");
    // An open websocket is counted until it ends.
    let socket = server.websocket(&sids[1]);
    full("192.0.2.1");
    drop(socket);
    eventually(|| (handshake("192.0.2.1").status == 200).then_some(()));
    drop(proxied);
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
        if batch == 9 {
            let too_many: Vec<&str> = names.iter().map(String::as_str).chain(["one more"]).collect();
            alice.post("/v1/presenceobservers", json!({"endpointList": too_many})).refused(403, "limit_reached");
            assert_eq!(server.figure("respoked_hub_observers"), 9_000, "none of them is observed");
        }
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
    assert_eq!(server.figure("respoked_hub_members"), 0, "none is joined");
    alice.post("/v1/groups", json!({"groups": ["one", "two", "one"]})).ok();
    alice.post("/v1/groups", json!({"groups": ["two", "one"]})).ok();
    // As many as there is room for, but not in that group.
    bob.post("/v1/groups", json!({"groups": ["one", "four"]})).ok();
    carol.post("/v1/groups", json!({"groups": ["five", "one"]})).refused(403, "limit_reached");
    assert!(server.members("five").is_empty());
    bob.delete("/v1/groups", json!({"groups": ["one", "four"]})).ok();
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
