//! `/v1/signaling`: the routing rules of calls.

use serde_json::{Value, json};

use crate::harness::{Ack, Server, Socket};

const NOTHING: Vec<String> = Vec::new();

/// Sends a signal as the JavaScript client does, as text.
fn signal(socket: &mut Socket, kind: &str, more: Value) -> Ack {
    let signal = json!({"signalType": kind, "sessionId": "call-1", "target": "call", "signalId": "s", "extra": [1]});
    let mut data = json!({"signal": signal.to_string(), "toType": "web"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    socket.post("/v1/signaling", data)
}

#[test]
fn a_signal_reaches_all_devices_but_the_senders_own() {
    let server = Server::start();
    let (mut alice, mut other) = (server.connect("alice"), server.connect("alice"));
    let (mut bob, mut tablet) = (server.connect("bob"), server.connect("bob"));
    signal(&mut alice, "offer", json!({"to": "bob"})).ok();
    for device in [&mut bob, &mut tablet] {
        let push = device.push("signal alice offer");
        let argument = &push["args"][0];
        assert_eq!(argument["body"]["extra"], json!([1]), "an object, with all that was in it");
        let header = &argument["header"];
        assert_eq!(
            (&header["fromType"], &header["toType"], &header["to"]),
            (&json!("web"), &json!("web"), &json!("bob"))
        );
        assert_eq!(header["fromConnection"], json!(alice.connection));
    }
    signal(&mut alice, "offer", json!({"to": "bob", "toConnection": tablet.connection})).ok();
    signal(&mut alice, "iceCandidates", json!({"to": "alice"})).ok();
    assert_eq!((bob.pushed(), tablet.pushed()), (NOTHING, vec!["signal alice offer".to_owned()]));
    assert_eq!((alice.pushed(), other.pushed()), (NOTHING, vec!["signal alice iceCandidates".to_owned()]));
}

#[test]
fn everybody_who_rang_hears_who_won() {
    let server = Server::start();
    let (mut alice, mut bob, mut tablet) = (server.connect("alice"), server.connect("bob"), server.connect("bob"));
    signal(&mut alice, "connected", json!({"to": "bob", "toConnection": tablet.connection})).ok();
    assert_eq!(
        (bob.pushed(), tablet.pushed()),
        (vec!["signal alice connected".to_owned()], vec!["signal alice connected".to_owned()])
    );
    signal(&mut alice, "modify", json!({"to": "bob", "toConnection": tablet.connection})).ok();
    assert_eq!((bob.pushed(), tablet.pushed()), (NOTHING, vec!["signal alice modify".to_owned()]));
}

#[test]
fn a_copy_to_oneself_names_the_other_party_and_spares_who_answered() {
    let server = Server::start();
    let mut alice = server.connect("alice");
    let (mut bob, mut tablet, mut phone) = (server.connect("bob"), server.connect("bob"), server.connect("bob"));
    signal(&mut bob, "answer", json!({"to": "alice", "toConnection": alice.connection})).ok();
    // Rejected late on the tablet: the phone stops ringing, the call that bob answered goes on.
    signal(&mut tablet, "bye", json!({"to": "alice", "ccSelf": true})).ok();
    assert_eq!(phone.push("signal bob bye")["args"][0]["header"]["toOriginal"], "alice");
    assert_eq!((bob.pushed(), tablet.pushed(), phone.pushed()), (NOTHING, NOTHING, NOTHING));
    assert_eq!(alice.pushed(), ["signal bob answer", "signal bob bye"]);
    // Of another call it hears, and of anything but the end.
    let other = json!({"signalType": "bye", "sessionId": "call-2"});
    tablet.post("/v1/signaling", json!({"to": "alice", "ccSelf": true, "signal": other})).ok();
    signal(&mut tablet, "iceCandidates", json!({"to": "alice", "ccSelf": "true"})).ok();
    assert_eq!(bob.pushed(), ["signal bob bye", "signal bob iceCandidates"]);
}

#[test]
fn what_cannot_be_routed_is_refused() {
    let server = Server::start();
    let mut alice = server.connect("alice");
    signal(&mut alice, "offer", json!({"to": "nobody"})).refused(404, "not_found");
    signal(&mut alice, "bye", json!({"to": "nobody"})).ok();
    let bob = server.connect("bob");
    let elsewhere = json!({"to": "bob", "toConnection": alice.connection});
    signal(&mut alice, "offer", elsewhere).refused(404, "not_found");
    for gateway in ["did", "sip", "conference"] {
        signal(&mut alice, "offer", json!({"to": "bob", "toType": gateway})).refused(404, "no_gateway");
    }
    for wrong in [json!("text"), json!("[]"), json!("{"), json!(7), json!([]), json!("\"{}\"")] {
        alice.post("/v1/signaling", json!({"to": "bob", "signal": wrong})).refused(400, "invalid");
    }
    let deep = format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40));
    alice.post("/v1/signaling", json!({"to": "bob", "signal": deep})).refused(400, "invalid");
    alice.post("/v1/signaling", json!({"to": "bob"})).refused(400, "invalid");
    alice.post("/v1/signaling", json!({"signal": {}})).refused(400, "invalid");
    drop(bob);
}

#[test]
fn who_speaks_is_believed_of_backends_alone() {
    let server = Server::start();
    let (mut alice, mut bob, mut pbx) = (server.connect("alice"), server.connect("bob"), server.connect_backend("pbx"));
    let offer = json!({"signalType": "offer", "sessionId": "c"});
    pbx.post("/v1/signaling", json!({"to": "bob", "from": "+1555", "fromType": "did", "signal": offer})).ok();
    let push = bob.push("signal +1555 offer");
    let header = &push["args"][0]["header"];
    assert_eq!((&header["fromType"], &header["fromConnection"]), (&json!("did"), &json!(pbx.connection)));
    alice.post("/v1/signaling", json!({"to": "bob", "from": "+1555", "fromType": "did", "signal": offer})).ok();
    assert_eq!(bob.push("signal alice offer")["args"][0]["header"]["fromType"], "web");
}
