//! `/v1/groups` and `/v1/channels`: who is a member, who hears what, who may.

use serde_json::{Value, json};

use crate::harness::{Ack, End, Server, Socket, eventually, note_secret, text};

const NOTHING: Vec<String> = Vec::new();

/// Sets what the role of all endpoints permits.
fn permit(server: &Server, groups: Value) {
    server.put(&format!("/v1/roles/{}", server.role)).secret().send(json!({"groups": groups})).ok();
}

#[test]
fn members_hear_each_other_and_nobody_else_does() {
    let server = Server::start();
    let (mut alice, mut bob, mut carol) = (server.connect("alice"), server.connect("bob"), server.connect("carol"));
    let mut second = server.connect("alice");
    alice.join("room");
    bob.join("room");
    second.join("room");
    bob.join("room");
    assert_eq!(alice.pushed(), ["join room bob", "join room alice"], "joining twice is no event");
    assert_eq!(bob.pushed(), ["join room alice"]);
    assert_eq!(second.pushed(), NOTHING, "who joins knows it");
    assert_eq!(server.members("room"), ["alice", "alice", "bob"]);

    alice.publish("room", "hi");
    carol.publish("room", json!({"of": "no member"}));
    assert_eq!(alice.pushed(), ["pubsub room carol {\"of\":\"no member\"}"], "no echo");
    let both = ["pubsub room alice hi", "pubsub room carol {\"of\":\"no member\"}"];
    assert_eq!((bob.pushed(), second.pushed()), (both.map(str::to_owned).to_vec(), both.map(str::to_owned).to_vec()));

    bob.delete("/v1/groups/", json!({"groups": ["room", "unknown"]})).ok();
    assert_eq!(alice.pushed(), ["leave room bob"]);
    bob.delete("/v1/groups/", json!({"groups": ["room"]})).ok();
    alice.publish("room", "bob is gone");
    assert_eq!((bob.pushed(), carol.pushed()), (NOTHING, NOTHING));
    assert_eq!(second.pushed(), ["leave room bob", "pubsub room alice bob is gone"], "leaving twice is no event");
}

#[test]
fn names_of_groups_are_any_text() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    for (name, raw, encoded) in [
        ("a b/c", "a b%2Fc", "a%20b%2Fc"),
        ("grün?", "grün%3F", "gr%C3%BCn%3F"),
        ("\u{2028}x", "\u{2028}x", "%E2%80%A8x"),
    ] {
        alice.post(&format!("/v1/groups/{encoded}"), Value::Null).ok();
        bob.post(&format!("/v1/groups/{raw}/"), Value::Null).ok();
        assert_eq!(alice.pushed(), [format!("join {name} bob")]);
        bob.post(&format!("/v1/groups/{raw}/publish"), json!({"endpointId": name, "message": name})).ok();
        assert_eq!(alice.pushed(), [format!("pubsub {name} bob {name}")]);
        let members = alice.get(&format!("/v1/channels/{encoded}/subscribers")).ok();
        assert_eq!(members.as_array().unwrap().len(), 2);
    }
    assert_eq!(alice.post("/v1/channels", json!({"name": "room"})).ok()["id"], "room");
    alice.post("/v1/groups", json!({})).refused(400, "invalid");
    alice.post("/v1/groups", json!({"groups": [""]})).refused(400, "invalid");
    alice.post("/v1/groups", json!({"groups": ["x".repeat(10_000)]})).refused(400, "invalid");
    alice.post("/v1/groups/room/publish", json!({})).refused(400, "invalid");
    for falsy in [json!(0), json!(""), json!(false), json!([])] {
        alice.publish("a%20b%2Fc", falsy);
    }
    let falsy = ["0", "", "false", "[]"].map(|falsy| format!("pubsub a b/c alice {falsy}"));
    assert_eq!(bob.pushed(), falsy);
}

#[test]
fn groups_are_listed_in_pages_and_ended() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    alice.post("/v1/groups", json!({"groups": ["c", "a", "e", "b", "d"]})).ok();
    bob.join("c");
    let mut seen = Vec::new();
    let mut path = "/v1/groups?limit=2".to_owned();
    loop {
        let page = server.get(&path).secret().call();
        let next = page.header("next-cursor").map(|cursor| format!("/v1/groups?limit=2&cursor={cursor}"));
        seen.extend(page.ok().as_array().unwrap().iter().map(|group| text(&group["id"])));
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    assert_eq!(alice.pushed(), ["join c bob"]);
    bob.delete("/v1/groups/c", Value::Null).ok();
    assert_eq!(alice.pushed(), ["leave c alice"], "each member hears that it left");
    assert_eq!(bob.pushed(), NOTHING);
    assert_eq!(server.members("c"), NOTHING);
    bob.delete("/v1/groups/c", Value::Null).refused(404, "not_found");
    assert_eq!(server.figure("respoked_hub_groups"), 4);
    alice.delete("/v1/groups", json!({"groups": ["a", "b", "d", "e"]})).ok();
    assert_eq!((server.figure("respoked_hub_groups"), server.figure("respoked_hub_members")), (0, 0));
}

/// The names of what is kept of a group.
fn kept(server: &Server, group: &str) -> Vec<Value> {
    let history = server.get(&format!("/v1/groups/{group}/history")).secret().call().ok();
    history.as_array().unwrap().iter().map(|event| event["message"].clone()).collect()
}

#[test]
fn a_group_that_is_ended_takes_its_history_along_and_one_that_empties_keeps_it() {
    let server = Server::start();
    let mut alice = server.connect("alice");
    let publish = |message: &str| {
        let body = json!({"endpointId": "alice", "message": message, "persist": true});
        server.post("/v1/groups/room/publish").secret().send(body).ok();
    };
    for (family, over_http) in [("groups", true), ("groups", false), ("channels", true), ("channels", false)] {
        alice.join("room");
        publish("old");
        publish("older");
        alice.delete("/v1/groups", json!({"groups": ["room"]})).ok();
        assert_eq!(kept(&server, "room"), ["older", "old"], "a group that merely empties keeps it");
        let path = format!("/v1/{family}/room");
        if over_http {
            // Without a member, too.
            server.delete(&path).token(&alice.app_token).call().ok();
        } else {
            alice.join("room");
            alice.delete(&path, Value::Null).ok();
        }
        let mut bob = server.connect("bob");
        bob.join("room");
        assert!(kept(&server, "room").is_empty());
        let list = |of: &str| server.get(&format!("/v1/endpoints/{of}/conversations")).secret().call().ok();
        assert_eq!((list("alice"), list("bob")), (json!([]), json!([])));
        publish("new");
        assert_eq!(kept(&server, "room"), ["new"]);
        assert_eq!((&list("alice")[0]["unreadCount"], &list("bob")[0]["unreadCount"]), (&json!(0), &json!(1)));
        server.delete(&path).secret().call().ok();
        server.delete(&path).secret().call().refused(404, "not_found");
    }
    permit(&server, json!({"*": {"subscribe": true, "create": true, "publish": true}}));
    publish("kept");
    server.delete("/v1/groups/room").token(&alice.app_token).call().refused(403, "forbidden");
    assert_eq!(kept(&server, "room"), ["kept"]);
}

#[test]
fn members_and_connections_are_listed_whole_unless_a_part_is_asked_for() {
    let server = Server::start();
    let mut sockets: Vec<_> = (0..5).map(|n| server.connect(&format!("endpoint {n}"))).collect();
    for socket in &mut sockets {
        socket.join("room");
    }
    let mut connections: Vec<_> = sockets.iter().map(|socket| socket.connection.clone()).collect();
    connections.sort();
    for (list, id) in [
        ("/v1/groups/room", "connectionId"),
        ("/v1/channels/room/subscribers", "connectionId"),
        ("/v1/connections", "id"),
    ] {
        let ids = |body: Value| body.as_array().unwrap().iter().map(|one| text(&one[id])).collect::<Vec<_>>();
        let whole = server.get(list).secret().call();
        assert!(whole.header("next-cursor").is_none());
        assert_eq!(whole.ok().as_array().unwrap().len(), 5, "{list}");
        let (mut seen, mut query, mut lengths) = (Vec::new(), "?limit=2".to_owned(), Vec::new());
        loop {
            let page = server.get(&format!("{list}{query}")).secret().call();
            let next = page.header("next-cursor").map(|cursor| format!("?limit=2&cursor={cursor}"));
            let found = ids(page.ok());
            lengths.push(found.len());
            seen.extend(found);
            match next {
                Some(next) => query = next,
                None => break,
            }
        }
        assert_eq!((&seen, lengths), (&connections, vec![2, 2, 1]), "{list}");
        server.get(&format!("{list}?limit=201")).secret().call().refused(400, "invalid");
    }
}

type Try = fn(&mut Socket, &str) -> Ack;

#[test]
fn each_permission_is_asked_for_by_what_it_governs() {
    let server = Server::start();
    let all = ["subscribe", "unsubscribe", "create", "destroy", "publish", "getsubscribers"];
    let join: Try = |socket, group| socket.post("/v1/groups", json!({"groups": [group]}));
    let leave: Try = |socket, group| socket.delete("/v1/groups", json!({"groups": [group]}));
    let publish: Try = |socket, group| socket.post(&format!("/v1/channels/{group}/publish"), json!({"message": 1}));
    let members: Try = |socket, group| socket.get(&format!("/v1/channels/{group}/subscribers"));
    let end: Try = |socket, group| socket.delete(&format!("/v1/groups/{group}"), Value::Null);
    for (permission, act) in [
        ("subscribe", join),
        ("create", join),
        ("publish", publish),
        ("unsubscribe", leave),
        ("getsubscribers", members),
        ("destroy", end),
    ] {
        let allowing = |but: &str| Value::from_iter(all.map(|name| (name, name != but)));
        permit(&server, json!({"*": allowing("none")}));
        let mut alice = server.connect("alice");
        // With `create` off a group that is there can still be joined.
        let mut bob = (permission != "create").then(|| server.connect_backend("bob"));
        for group in ["room", "room2", "other"] {
            if let Some(bob) = &mut bob {
                bob.join(group);
            }
        }
        // The longest rule decides alone: it forbids what the shorter allows, and the other way round.
        permit(&server, json!({"*": allowing(permission), "room*": allowing("none"), "room": allowing(permission)}));
        let refusal = act(&mut alice, "room").refused(403, "forbidden");
        assert!(text(&refusal["error"]).contains(permission), "{permission}: {refusal}");
        act(&mut alice, "other").refused(403, "forbidden");
        act(&mut alice, "room2").ok();
        // A change of the role counts at once, on sockets that are open.
        permit(&server, json!({"*": allowing("none")}));
        act(&mut alice, "room").ok();
        permit(&server, json!({}));
        act(&mut alice, "room").refused(403, "forbidden");
    }
    permit(&server, json!({"list": true}));
    let mut alice = server.connect("alice");
    alice.get("/v1/groups").ok();
    permit(&server, json!({"list": false, "*": {"subscribe": true}}));
    alice.get("/v1/groups").refused(403, "forbidden");
}

#[test]
fn none_of_several_groups_is_joined_if_one_is_forbidden() {
    let server = Server::start();
    permit(&server, json!({"*": {"subscribe": true, "create": true}, "secret": {}}));
    let mut alice = server.connect("alice");
    alice.post("/v1/groups", json!({"groups": ["open", "secret"]})).refused(403, "forbidden");
    assert_eq!(server.members("open"), NOTHING);
}

#[test]
fn without_permission_to_create_a_group_that_is_there_can_be_joined() {
    let server = Server::start();
    permit(&server, json!({"*": {"subscribe": true}}));
    let (mut alice, mut backend) = (server.connect("alice"), server.connect_backend("backend"));
    alice.post("/v1/groups", json!({"groups": ["room"]})).refused(403, "forbidden");
    backend.join("room");
    alice.join("room");
    assert_eq!(server.members("room"), ["alice", "backend"]);
}

#[test]
fn development_mode_permits_all_of_groups() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(json!({"developmentMode": true})).ok();
    permit(&server, json!({}));
    let token = server.post("/v1/tokens").send(json!({"appId": server.app, "endpointId": "dev"})).ok();
    let app_token = text(&server.redeem(token["tokenId"].as_str().unwrap()).ok()["token"]);
    let mut developer = server.open_as("dev", &app_token);
    developer.register(json!({}));
    developer.join("room");
    developer.publish("room", "hi");
    developer.get("/v1/channels/room/subscribers").ok();
    assert_eq!(developer.get("/v1/groups").ok(), json!([{"id": "room", "name": "room"}]));
    developer.delete("/v1/groups", json!({"groups": ["room"]})).ok();
    developer.join("room");
    developer.delete("/v1/groups/room", Value::Null).ok();
}

#[test]
fn a_backend_lets_others_join_and_leave_and_they_are_told() {
    let server = Server::start();
    permit(&server, json!({}));
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    let mut second = server.connect("alice");
    let mut backend = server.connect_backend("backend");
    let path = "/v1/channels/room/subscribers";
    backend.post(path, json!({"endpointId": "alice"})).ok();
    assert_eq!(server.members("room"), ["alice", "alice"]);
    assert!(alice.pushed().contains(&"join room alice".to_owned()), "it did not ask for it, so it is told");
    second.pushed();
    backend.post(path, json!({"endpointId": "bob", "connectionId": bob.connection})).ok();
    assert_eq!(bob.pushed(), ["join room bob"]);
    backend.delete(path, json!({"endpointId": "alice", "connectionId": second.connection})).ok();
    assert_eq!(second.pushed(), ["join room bob", "leave room alice"]);
    assert_eq!(alice.pushed(), ["join room bob", "leave room alice"]);
    assert_eq!(server.members("room"), ["alice", "bob"]);
    // Over HTTP there is no own connection, and over either no unknown one.
    server.post(path).secret().send(json!({})).refused(409, "not_connected");
    server.post(path).secret().send(json!({"endpointId": "nobody"})).refused(404, "not_found");
    server.post(path).secret().send(json!({"endpointId": "bob"})).ok();
    // An endpoint joins nobody but itself.
    bob.post(path, json!({"connectionId": alice.connection})).refused(404, "not_found");
}

#[test]
fn a_leaving_client_is_announced_to_who_is_still_there() {
    let server = Server::start();
    let (mut alice, mut bob, mut carol) = (server.connect("alice"), server.connect("bob"), server.connect("carol"));
    for socket in [&mut alice, &mut bob, &mut carol] {
        socket.post("/v1/groups", json!({"groups": ["one", "two"]})).ok();
        socket.post("/v1/presenceobservers", json!({"endpointList": ["alice", "bob", "carol"]})).ok();
    }
    let _ = (bob.pushed(), carol.pushed());
    alice.send("0::");
    bob.delete("/v1/connections/bob", Value::Null).ok();
    assert_eq!(alice.end(), End { goodbye: false, code: Some(1000) });
    let mut heard: Vec<String> = (0..6).map(|_| crate::harness::summary(&carol.push(""))).collect();
    heard.sort_unstable();
    let expected = ["leave one alice", "leave one bob", "leave two alice", "leave two bob"];
    assert_eq!(heard[..4], expected);
    assert_eq!(heard[4..], ["presence alice unavailable", "presence bob unavailable"]);
    assert_eq!((carol.pushed(), server.members("one")), (NOTHING, vec!["carol".to_owned()]));
    // Bob's socket is open and hears of nothing any more, not even of who left just before.
    bob.register(json!({}));
    assert_eq!(bob.pushed(), NOTHING);
}

#[test]
fn a_connection_that_is_replaced_leaves_its_groups() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    alice.join("room");
    bob.join("room");
    bob.post("/v1/presenceobservers", json!({"endpointList": ["alice"]})).ok();
    assert_eq!(alice.pushed(), ["join room bob"]);
    let first = alice.connection.clone();
    alice.register(json!({}));
    assert_ne!(first, alice.connection);
    assert_eq!(server.connected(), ["alice", "bob"]);
    assert_eq!(server.members("room"), ["bob"]);
    assert_eq!(bob.push("leave room alice")["args"][0]["connectionId"], json!(first));
    assert_eq!(bob.push("presence alice unavailable")["args"][0]["header"]["fromConnection"], json!(first));
    bob.publish("room", "x");
    assert_eq!(alice.pushed(), NOTHING);
    assert_eq!(server.figure("respoked_sockets"), 2);
}

#[test]
fn nothing_crosses_the_border_of_an_app() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    note_secret(other["secret"].as_str().unwrap());
    let mut foreign = server.open(&format!("app-secret={}", text(&other["secret"])));
    foreign.post("/v1/connections", json!({"endpointId": "alice"})).ok();
    let mut alice = server.connect("alice");
    alice.join("room");
    foreign.join("room");
    foreign.post("/v1/presenceobservers", json!({"endpointList": ["alice"]})).ok();
    foreign.post("/v1/presence", json!({"presence": {"type": "away"}})).ok();
    foreign.publish("room", "from outside");
    foreign.post("/v1/messages", json!({"to": "alice", "message": "from outside"})).ok();
    foreign.post("/v1/messages", json!({"to": "alice", "toConnection": alice.connection, "message": "x"})).ok();
    foreign.post("/v1/channels/room/subscribers", json!({"connectionId": alice.connection})).refused(404, "not_found");
    foreign.delete(&format!("/v1/connections/{}", alice.connection), Value::Null).refused(404, "not_found");
    foreign.delete("/v1/groups/room", Value::Null).ok();
    assert_eq!(alice.pushed(), NOTHING);
    assert_eq!(server.members("room"), ["alice"]);
    assert_eq!(foreign.pushes_len(), 0);
    eventually(|| (server.figure("respoked_hub_groups") == 1).then_some(()));
}
