//! Clients of today and the original ones, in one group.

use serde_json::json;

use crate::harness::{Server, summary};

#[test]
fn old_and_new_clients_say_the_same_to_each_other() {
    let server = Server::start();
    let (mut old, mut new) = (server.connect("old"), server.live("new"));
    old.join("room");
    new.ok("join", json!({"groups": ["room"]}));
    assert_eq!(old.pushed(), ["join room new"]);
    new.ok("observe", json!({"endpointList": ["old"]}));
    old.post("/v1/presenceobservers", json!({"endpointList": ["new"]})).ok();
    old.publish("room", "hello");
    new.ok("publish", json!({"group": "room", "message": {"a": 1}}));
    old.post("/v1/messages", json!({"to": "new", "message": "psst"})).ok();
    new.ok("send", json!({"to": "old", "message": "what"}));
    old.post("/v1/presence", json!({"presence": {"type": "away"}})).ok();
    new.ok("presence", json!({"presence": {"type": "busy"}}));
    assert_eq!(old.pushed(), ["pubsub room new {\"a\":1}", "message new what", "presence new busy"]);
    assert_eq!(new.events(), ["message room old hello", "message old psst", "presence old away"]);
    assert_eq!(server.members("room"), ["new", "old"]);
    drop(old);
    new.event("leave room old");
    new.event("presence old unavailable");
}

#[test]
fn old_and_new_clients_call_each_other() {
    let server = Server::start();
    let (mut old, mut new) = (server.connect("old"), server.live("new"));
    let signal = |kind: &str| json!({"signalType": kind, "sessionId": "s", "target": "call"});
    new.ok("signal", json!({"to": "old", "toType": "web", "signal": signal("offer")}));
    let offer = old.push("signal new offer");
    assert_eq!(offer["args"][0]["header"]["fromConnection"], json!(new.connection()));
    let answer = json!({"to": "new", "toType": "web", "toConnection": new.connection(), "signal": signal("answer")});
    old.post("/v1/signaling", answer).ok();
    let answer = new.event("signal old answer");
    assert_eq!((&answer["connection"], &answer["toConnection"]), (&json!(old.connection), &json!(new.connection())));
    new.ok("signal", json!({"to": "old", "toType": "web", "signal": signal("bye")}));
    old.push("signal new bye");
    // What the original JavaScript client would throw at is not for this one either.
    let error = json!({"signalType": "error", "detail": "busy"});
    let pbx = json!({"to": "new", "toType": "web", "from": "pbx", "fromType": "sip", "signal": error});
    server.post("/v1/signaling").secret().send(pbx).ok();
    assert_eq!(new.event("signal pbx bye")["data"], json!({"signalType": "bye", "reason": "busy"}));
}

#[test]
fn copies_of_what_was_sent_reach_the_senders_other_connections_by_either_door() {
    let server = Server::start();
    let (mut old, mut new, mut other) = (server.connect("alice"), server.live("alice"), server.live("alice"));
    server.live("bob");
    new.ok("send", json!({"to": "bob", "message": "hi", "ccSelf": true}));
    let copy = other.event("message alice hi");
    assert_eq!((&copy["from"], &copy["to"]), (&json!("alice"), &json!("bob")));
    let push = old.push("message alice hi");
    assert_eq!((summary(&push), &push["args"][0]["header"]["toOriginal"]), ("message alice hi".into(), &json!("bob")));
    assert_eq!(new.events(), Vec::<String>::new(), "no echo");
}

#[test]
fn an_event_is_encoded_once_for_each_protocol_whoever_hears_it() {
    let server = Server::start();
    let mut old: Vec<_> = (0..3).map(|number| server.connect(&format!("old-{number}"))).collect();
    let mut new: Vec<_> = (0..3).map(|number| server.live(&format!("new-{number}"))).collect();
    for client in &mut old {
        client.join("room");
    }
    for client in &mut new {
        client.ok("join", json!({"groups": ["room"]}));
    }
    server.post("/v1/groups/room/publish").secret().send(json!({"message": "all"})).ok();
    for client in &mut old {
        client.push("pubsub room __SYSTEM__ all");
    }
    let events: Vec<_> = new.iter_mut().map(|client| client.event("message room __SYSTEM__ all")).collect();
    assert!(events.iter().all(|event| *event == events[0] && event.get("connection").is_none()));
}
