//! Why sockets are closed, and what their clients are told to do.

use serde_json::json;

use crate::harness::{Farewell, Live, Process, Server, data_folder, eventually, text};

/// Alice in a room with bob.
fn in_a_room(server: &Server) -> (Live, Live) {
    let (mut alice, mut bob) = (server.live("alice"), server.live("bob"));
    bob.ok("join", json!({"groups": ["room"]}));
    alice.ok("join", json!({"groups": ["room"]}));
    (alice, bob)
}

#[test]
fn a_session_that_is_ended_is_told_why() {
    for (end, bye) in [
        ("revoke", "4102 revoked token"),
        ("sign out", "4102 revoked token"),
        ("ban", "4201 banned never"),
        ("expire", "4101 expired token"),
    ] {
        let server = Server::start();
        let (mut alice, mut bob) = in_a_room(&server);
        let token = text(&alice.welcome["appToken"]);
        match end {
            "revoke" => {
                server.delete("/v1/sessions?endpointId=alice").secret().call().ok();
            }
            "sign out" => {
                server.delete("/v1/session-tokens").token(&token).call().ok();
            }
            "ban" => {
                server.post("/v1/endpoints/alice/ban").secret().send(json!({"reason": "spam"})).ok();
            }
            _ => server.clock.advance_secs(86_401),
        }
        assert_eq!(alice.end(), Farewell::told(bye), "{end}");
        if end == "expire" {
            assert_eq!(bob.end(), Farewell::told(bye));
            continue;
        }
        bob.event("leave room alice");
        assert_eq!(server.members("room"), ["bob"]);
        // What it was told is so.
        let code = if end == "ban" { "endpoint_banned" } else { "unauthenticated" };
        let mut again = server.visit();
        let id = again.begin(json!({"appToken": token}));
        let answer = again.answer(id);
        assert!(answer["error"]["code"] == json!(code) || answer["error"]["code"] == "unauthenticated", "{answer}");
    }
}

#[test]
fn a_connection_that_a_backend_ends_is_told_to_get_a_new_token() {
    let server = Server::start();
    let (mut alice, mut bob) = in_a_room(&server);
    server.delete(&format!("/v1/connections/{}", alice.connection())).secret().call().ok();
    assert_eq!(alice.end(), Farewell::told("4102 revoked token"));
    bob.event("leave room alice");
}

#[test]
fn one_that_leaves_is_gone_at_once() {
    let server = Server::start();
    let (mut alice, mut bob) = in_a_room(&server);
    alice.send(r#"{"bye":{}}"#);
    assert_eq!(alice.end(), Farewell { bye: None, code: Some(1000) });
    bob.event("leave room alice");
    assert_eq!(server.figure("respoked_sockets_closed_total{reason=\"left\"}"), 1);
}

#[test]
fn a_link_that_breaks_is_a_departure() {
    let server = Server::start();
    let (alice, mut bob) = in_a_room(&server);
    drop(alice);
    bob.event("leave room alice");
    eventually(|| (server.figure("respoked_sockets") == 1).then_some(()));
}

#[test]
fn the_silent_are_closed_and_those_who_answer_stay() {
    let server = Server::start_with(|config| {
        config.heartbeat_interval_secs = 1;
        config.heartbeat_timeout_secs = 3;
    });
    let (mut alice, mut bob) = in_a_room(&server);
    alice.mute = true;
    let silence = std::thread::spawn(move || (alice.end(), alice.asked));
    // It answers while it waits for her to go.
    bob.event("leave room alice");
    let (farewell, asked) = silence.join().unwrap();
    assert_eq!(farewell, Farewell::told("4010 silent resume"));
    assert!(asked >= 2 && bob.asked >= 2, "{asked} and {}", bob.asked);
    bob.ok("ping", json!({}));
}

#[test]
fn a_slow_reader_is_told_so_and_others_get_everything() {
    let server = Server::start_with(|config| {
        config.outbox_frames_max = 100;
        config.outbox_bytes_max = 200_000;
    });
    server.unlimited(&server.admin_token("admin"));
    let (mut slow, mut reader, mut publisher) = (server.live("slow"), server.live("reader"), server.live("publisher"));
    slow.ok("join", json!({"groups": ["room"]}));
    reader.ok("join", json!({"groups": ["room"]}));
    let mut published = 0;
    while server.members("room").contains(&"slow".to_owned()) {
        let expected: Vec<_> =
            (published..published + 20).map(|number| format!("message room publisher {number} ")).collect();
        for number in published..published + 20 {
            publisher.ok("publish", json!({"group": "room", "message": format!("{number} {}", "x".repeat(8_000))}));
        }
        published += 20;
        assert!(published < 5_000, "the links take more than they can");
        let mut events = reader.events();
        events.retain(|event| event.starts_with("message"));
        assert!(events.iter().zip(&expected).all(|(event, start)| event.starts_with(start)) && events.len() == 20);
    }
    reader.event("leave room slow");
    assert_eq!(slow.end(), Farewell::told("4008 slow resume"));
}

#[test]
fn a_server_that_stops_sends_its_clients_away() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]).with_app();
    let mut clients: Vec<_> = (0..5).map(|number| process.live(&format!("e{number}"))).collect();
    let mut guest = process.visit();
    process.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.end(), Farewell::told("4011 drain resume"));
    }
    assert_eq!(guest.end(), Farewell::told("4011 drain resume"));
    assert_eq!(process.wait(), 0);
}

#[test]
fn a_request_that_was_begun_is_done_though_its_client_goes() {
    let server = Server::start();
    let (mut alice, mut bob) = in_a_room(&server);
    alice.request("publish", json!({"group": "room", "message": "last words", "persist": true}));
    alice.send(r#"{"bye":{}}"#);
    bob.event("message room alice last words");
    bob.event("leave room alice");
    assert_eq!(alice.client().members("room"), ["bob"]);
}
