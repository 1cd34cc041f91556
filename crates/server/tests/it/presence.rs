//! `/v1/presence` and `/v1/presenceobservers`.

use serde_json::{Value, json};

use crate::harness::{Server, Socket, eventually, request_packet, summary};

const NOTHING: Vec<String> = Vec::new();

fn say(socket: &mut Socket, kind: impl Into<Value>) {
    socket.post("/v1/presence", json!({"presence": {"type": kind.into()}})).ok();
}

fn observe(socket: &mut Socket, endpoints: &[&str]) -> Value {
    socket.post("/v1/presenceobservers/", json!({"endpointList": endpoints})).ok()
}

#[test]
fn observers_hear_of_each_connection_before_the_setter_is_answered() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    observe(&mut bob, &["alice"]);
    let presence = json!({"type": "away", "show": "lunch", "status": {"until": 13}});
    alice.post("/v1/presence", json!({"presence": presence})).ok();
    let push = bob.push("presence alice away");
    let argument = &push["args"][0];
    assert_eq!((&argument["show"], &argument["status"]), (&json!("lunch"), &json!({"until": 13})));
    assert_eq!(argument["header"]["channel"], "presence:alice");
    assert_eq!(argument["header"]["fromConnection"], json!(alice.connection));
    say(&mut alice, json!({"any": ["json"]}));
    say(&mut alice, "unavailable");
    assert_eq!(bob.pushed(), ["presence alice {\"any\":[\"json\"]}", "presence alice unavailable"]);
    assert_eq!(alice.pushed(), NOTHING);
}

#[test]
fn a_new_observer_learns_what_is_by_answer_and_by_push() {
    let server = Server::start();
    let (mut alice, mut second, mut third) =
        (server.connect("alice"), server.connect("alice"), server.connect("alice"));
    say(&mut alice, "chat");
    say(&mut second, "unavailable");
    let mut bob = server.connect("bob");
    let answer = bob.post("/v1/presence-observers", json!({"endpointList": ["alice", "nobody"]})).ok();
    // The push is there before the answer: the JavaScript client reads only the push.
    assert_eq!(bob.pushes_len(), 1);
    assert_eq!(bob.pushed(), ["presence alice chat"]);
    let states = json!({
        &alice.connection: {"type": "chat"},
        &second.connection: {"type": "unavailable"},
        &third.connection: {"type": "unavailable"},
    });
    assert_eq!(
        answer,
        json!([{"endpointId": "alice", "connectionStates": states}, {"endpointId": "nobody", "connectionStates": {}}])
    );
    say(&mut third, "dnd");
    assert_eq!(bob.pushed(), ["presence alice dnd"]);
}

#[test]
fn what_goes_while_an_observer_has_no_room_is_not_there_for_it_afterwards() {
    let server = Server::start_with(|config| config.outbox_frames_max = 16);
    let names: Vec<_> = (0..12).map(|number| format!("contact-{number:02}")).collect();
    let mut contacts: Vec<_> = names.iter().map(|name| server.connect(name)).collect();
    for contact in &mut contacts {
        say(contact, "available");
    }
    let (last, mut watcher) = (contacts.pop().unwrap(), server.connect("watcher"));
    observe(&mut watcher, &["contact-11"]);
    let poller = server.poller(&format!("app-token={}", server.session("slow")));
    poller.ask(1, "post", "/v1/connections", &json!({})).1.ok();
    let request = request_packet(2, "post", "/v1/presenceobservers", &json!({"endpointList": names}));
    poller.bring(request.as_bytes());
    // It is told of some, and of the others once it has fetched those.
    eventually(|| (server.figure("respoked_hub_observers") == 13).then_some(()));
    drop(last);
    watcher.push("presence contact-11 available");
    watcher.push("presence contact-11 unavailable");
    let mut heard = Vec::new();
    eventually(|| {
        heard.extend(poller.poll());
        heard.iter().any(|packet| packet.starts_with("6:::2+")).then_some(())
    });
    let of_last = heard.iter().filter_map(|packet| packet.strip_prefix("5:::"));
    let of_last: Vec<_> = of_last.map(|push| summary(&serde_json::from_str(push).unwrap())).collect();
    assert_eq!(of_last.len(), 12, "{heard:?}");
    let of_last = of_last.into_iter().filter(|push| push.contains("contact-11")).collect::<Vec<_>>();
    assert_eq!(of_last, ["presence contact-11 unavailable"]);
    let answer = heard.iter().find(|packet| packet.starts_with("6:::2+")).unwrap();
    assert!(answer.contains(r#"{"endpointId":"contact-11","connectionStates":{}}"#), "{answer}");
}

#[test]
fn being_in_a_group_together_gives_no_presence() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    alice.join("room");
    bob.join("room");
    say(&mut alice, "chat");
    assert_eq!(bob.pushed(), NOTHING);
    assert_eq!(server.figure("respoked_hub_observers"), 0);
}

#[test]
fn ones_other_connections_may_observe_oneself() {
    let server = Server::start();
    let (mut one, mut two) = (server.connect("alice"), server.connect("alice"));
    observe(&mut one, &["alice"]);
    observe(&mut two, &["alice"]);
    say(&mut one, "away");
    assert_eq!((one.pushed(), two.pushed()), (NOTHING, vec!["presence alice away".to_owned()]));
}

#[test]
fn each_connection_that_ends_is_unavailable_of_its_own() {
    let server = Server::start();
    let (one, mut two) = (server.connect("alice"), server.connect("alice"));
    let mut bob = server.connect("bob");
    observe(&mut bob, &["alice"]);
    let first = one.connection.clone();
    drop(one);
    assert_eq!(bob.push("presence alice unavailable")["args"][0]["header"]["fromConnection"], json!(first));
    assert_eq!(bob.pushed(), NOTHING);
    two.delete(&format!("/v1/connections/{}", two.connection.clone()), Value::Null).ok();
    assert_eq!(bob.push("presence alice unavailable")["args"][0]["header"]["fromConnection"], json!(two.connection));
    assert_eq!(observe(&mut bob, &["alice"]), json!([{"endpointId": "alice", "connectionStates": {}}]));
    // Its socket is open; it needs a connection again.
    two.post("/v1/presence", json!({"presence": {"type": "x"}})).refused(409, "not_connected");
    two.post("/v1/presenceobservers", json!({"endpointList": []})).refused(409, "not_connected");
}

/// Ends the connection of a socket, which may stay open.
type Ending = fn(&Server, Socket) -> Option<Socket>;

#[test]
fn who_observes_by_the_time_a_departure_is_told_hears_of_it() {
    let server = Server::start();
    let hang_up: Ending = |_, socket| {
        drop(socket);
        None
    };
    let say_so: Ending = |_, mut socket| {
        let path = format!("/v1/connections/{}", socket.connection);
        socket.request("delete", &path, Value::Null);
        Some(socket)
    };
    let cut: Ending = |server, socket| {
        server.delete(&format!("/v1/connections/{}", socket.connection)).secret().call().ok();
        Some(socket)
    };
    let mut witness = server.connect("witness");
    observe(&mut witness, &["alice"]);
    witness.join("room");
    for (how, end) in [("hang_up", hang_up), ("say_so", say_so), ("cut", cut)] {
        // One that a slow machine lets register too late, or before the end, shows nothing.
        let heard = (0..50).any(|_| {
            let (mut alice, mut late) = (server.connect("alice"), server.connect("late"));
            alice.join("room");
            let id = alice.connection.clone();
            let _open = end(&server, alice);
            let answer = observe(&mut late, &["nobody", "alice"]);
            late.join("room");
            // Who knew the connection is told in the same moment.
            let push = witness.push("presence alice unavailable");
            assert_eq!(push["args"][0]["header"]["fromConnection"], json!(id));
            let told = late.pushed();
            let came_after = answer[1]["connectionStates"] == json!({});
            assert!(!came_after || !told.iter().any(|push| push.starts_with("leave")), "{how}: {told:?}");
            came_after && told == ["presence alice unavailable"]
        });
        assert!(heard, "{how}");
    }
}

#[test]
fn a_backend_says_presence_for_others() {
    let server = Server::start();
    let (alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    observe(&mut bob, &["alice"]);
    server.post("/v1/presence").secret().send(json!({"endpointId": "alice", "presence": {"type": "busy"}})).ok();
    assert_eq!(bob.push("presence alice busy")["args"][0]["header"]["fromConnection"], json!(alice.connection));
    let nobody = json!({"endpointId": "nobody", "presence": {"type": "busy"}});
    server.post("/v1/presence").secret().send(nobody).refused(404, "not_found");
    // An endpoint speaks for itself whatever it names.
    bob.post("/v1/presence", json!({"endpointId": "alice", "presence": {"type": "x"}})).ok();
    assert_eq!(bob.pushed(), NOTHING);
}

#[test]
fn presence_is_bounded_and_needs_a_type() {
    let server = Server::start();
    let mut alice = server.connect("alice");
    alice.post("/v1/presence", json!({"presence": {"type": "x".repeat(4_095)}})).refused(400, "invalid");
    say(&mut alice, "x".repeat(4_094));
    alice.post("/v1/presence", json!({})).refused(400, "invalid");
    alice.post("/v1/presence", json!({"presence": {}})).refused(400, "invalid");
    alice.post("/v1/presenceobservers", json!({})).refused(400, "invalid");
    server
        .post("/v1/presence")
        .token(&alice.app_token)
        .send(json!({"presence": {"type": 1}}))
        .refused(409, "not_connected");
}

#[test]
fn what_was_said_last_is_what_a_new_observer_heard_last() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2);
    let server = Server::start_on(runtime, |_| {});
    server.unlimited(&server.admin_token("admin"));
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    // What is said of these first gives alice the time to say something else.
    let mut crowd: Vec<Socket> = (0..40).map(|_| server.connect("crowd")).collect();
    for member in &mut crowd {
        say(member, "here");
    }
    say(&mut alice, 0);
    for round in 1..=200 {
        bob.register(json!({}));
        let observing = bob.request("post", "/v1/presenceobservers", json!({"endpointList": ["crowd", "alice"]}));
        say(&mut alice, round);
        bob.ack(observing).ok();
        assert_eq!(bob.pushed().last(), Some(&format!("presence alice {round}")));
    }
}
