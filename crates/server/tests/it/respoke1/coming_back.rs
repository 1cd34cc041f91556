//! Clients that lose their link and come back.

use serde_json::{Value, json};

use crate::harness::{Farewell, Live, Server, eventually, text};

/// Alice in a room with bob, who observes her.
fn in_a_room(server: &Server) -> (Live, Live) {
    let (mut alice, mut bob) = (server.live("alice"), server.live("bob"));
    bob.ok("join", json!({"groups": ["room"]}));
    bob.ok("observe", json!({"endpointList": ["alice"]}));
    alice.ok("join", json!({"groups": ["room"]}));
    assert_eq!(bob.events(), ["join room alice"]);
    (alice, bob)
}

fn publish(by: &mut Live, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        by.ok("publish", json!({"group": "room", "message": number}));
    }
}

fn messages(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("message room bob {number}")).collect()
}

#[test]
fn who_comes_back_is_given_what_it_missed_and_nobody_heard_that_it_was_away() {
    let server = Server::start();
    let (mut alice, mut bob) = in_a_room(&server);
    publish(&mut bob, 0..3);
    assert_eq!(alice.events(), messages(0..3));
    let (connection, lost) = (alice.connection(), alice.cut());
    publish(&mut bob, 3..40);
    let mut alice = lost.back();
    assert_eq!((&alice.welcome["resumed"], alice.connection()), (&json!(true), connection));
    assert_eq!((alice.welcome.get("groups"), &alice.welcome["keep"]), (None, &json!(15)));
    assert_eq!(alice.events(), messages(3..40));
    publish(&mut bob, 40..42);
    assert_eq!(alice.events(), messages(40..42));
    alice.ok("publish", json!({"group": "room", "message": "back"}));
    assert_eq!(bob.events(), ["message room alice back"]);
    assert_eq!(server.figure("respoked_sockets"), 2);
}

#[test]
fn it_works_without_an_event_and_a_hundred_times_in_a_row_and_at_once() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let (mut alice, mut bob) = in_a_room(&server);
    let connection = alice.connection();
    for round in 0..100 {
        let lost = alice.cut();
        if round % 3 == 1 {
            publish(&mut bob, [round]);
        }
        alice = lost.back();
        assert_eq!((&alice.welcome["resumed"], alice.connection()), (&json!(true), connection.clone()), "{round}");
        // Every other time nothing is read of what was missed.
        if round % 2 == 0 {
            alice.events();
        }
    }
    alice.events();
    assert_eq!(alice.got, 33, "each event once");
    assert_eq!(bob.events(), Vec::<String>::new());
}

#[test]
fn what_was_sent_and_not_read_is_sent_again_and_nothing_twice() {
    let server = Server::start();
    let (alice, mut bob) = in_a_room(&server);
    // The server has written these, and the client has read none.
    publish(&mut bob, 0..20);
    let mut alice = alice.cut().back();
    assert_eq!(alice.events(), messages(0..20));
    // Told by a count, or by the answer to a question, that all has come: nothing of that is kept.
    let got = alice.got;
    alice.send(&json!({"got": got}).to_string());
    alice.ok("ping", json!({}));
    let mut lost = alice.cut();
    lost.got = 5;
    let late = lost.back();
    assert_eq!(late.welcome["resumed"], json!(false), "what it counted it cannot have again");
    bob.event("leave room alice");
}

#[test]
fn who_missed_too_much_is_told_so_and_is_there_all_the_same() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let (alice, mut bob) = in_a_room(&server);
    let (connection, lost) = (alice.connection(), alice.cut());
    publish(&mut bob, 0..257);
    let mut alice = lost.back();
    assert_eq!(alice.welcome["resumed"], json!(false));
    assert_ne!(alice.connection(), connection);
    bob.event("leave room alice");
    bob.event("presence alice unavailable");
    assert_eq!(alice.events(), Vec::<String>::new());
    assert_eq!(server.figure("respoked_sockets"), 2);
}

#[test]
fn two_keys_never_make_two_sockets() {
    let server = Server::start();
    let (mut first, mut bob) = in_a_room(&server);
    let connection = first.connection();
    let credential =
        |live: &Live| json!({"appToken": live.welcome["appToken"], "resume": live.welcome["resume"], "got": 0});
    let (of_first, token) = (credential(&first), first.welcome["appToken"].clone());
    // The link still stands for the server.
    let mut second = server.visit();
    second.connect(of_first.clone());
    assert_eq!((&second.welcome["resumed"], second.connection()), (&json!(true), connection.clone()));
    assert_eq!(first.end(), Farewell::told("4015 replaced resume"));
    assert_ne!(second.welcome["resume"], of_first["resume"]);
    // Its welcome may have been lost, so the former key holds.
    let mut third = server.visit();
    third.connect(of_first.clone());
    assert_eq!((&third.welcome["resumed"], third.connection()), (&json!(true), connection));
    assert_eq!(second.end(), Farewell::told("4015 replaced resume"));
    third.send(r#"{"got":0}"#);
    third.ok("ping", json!({}));
    let mut fourth = server.visit();
    fourth.connect(of_first);
    assert_eq!(fourth.welcome["resumed"], json!(false), "since a count came the key is spent");
    third.welcome["appToken"] = token;
    assert_eq!(third.cut().back().welcome["resumed"], json!(true));
    assert_eq!(bob.events(), Vec::<String>::new());
}

#[test]
fn nobody_else_comes_back_as_somebody() {
    let server = Server::start();
    let (mut alice, mut bob) = in_a_room(&server);
    let mut eve = server.visit();
    eve.connect(json!({"appToken": server.session("eve"), "resume": alice.welcome["resume"], "got": 0}));
    assert_eq!((&eve.welcome["resumed"], &eve.welcome["endpoint"]), (&json!(false), &json!("eve")));
    for key in ["", "CANARY", &"0".repeat(32)] {
        let mut eve = server.visit();
        eve.connect(json!({"appToken": server.session("eve"), "resume": key}));
        assert_eq!(eve.welcome["resumed"], json!(false));
    }
    alice.ok("publish", json!({"group": "room", "message": "still here"}));
    assert_eq!(bob.events(), ["message room alice still here"]);
}

#[test]
fn what_was_ended_meanwhile_does_not_come_back() {
    let server = Server::start();
    let (alice, mut bob) = in_a_room(&server);
    let lost = alice.cut();
    server.delete("/v1/sessions?endpointId=alice").secret().call().ok();
    bob.event("leave room alice");
    let mut alice = server.visit();
    alice.refused_to_connect(json!({"appToken": lost.app_token, "resume": lost.resume, "got": 0}), "unauthenticated");
    assert_eq!(alice.end(), Farewell::told("4100 refused token"));
    assert_eq!(server.members("room"), ["bob"]);
}

#[test]
fn who_took_leave_does_not_come_back() {
    let server = Server::start();
    let (mut alice, mut bob) = in_a_room(&server);
    let (token, resume) = (alice.welcome["appToken"].clone(), alice.welcome["resume"].clone());
    alice.send(r#"{"bye":{}}"#);
    bob.event("leave room alice");
    let mut again = server.visit();
    again.connect(json!({"appToken": token, "resume": resume, "got": 0}));
    assert_eq!(again.welcome["resumed"], json!(false));
}

#[test]
fn who_comes_back_takes_its_own_seat() {
    let server = Server::start();
    let limits = json!({"limits": {"endpointConnections": 1}});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&server.admin_token("admin")).send(limits).ok();
    let mut alice = server.live("alice");
    for _ in 0..3 {
        alice = alice.cut().back();
        assert_eq!(alice.welcome["resumed"], json!(true));
    }
}

#[test]
fn a_request_whose_answer_was_lost_is_not_done_twice() {
    let server = Server::start();
    let (mut alice, mut bob) = in_a_room(&server);
    let id = alice.request("publish", json!({"group": "room", "message": "once"}));
    let sent = bob.event("message room alice once");
    // It is done, and the answer is not read.
    let mut alice = alice.cut().back();
    let again = json!({"id": id, "op": {"publish": {"group": "room", "message": "once"}}}).to_string();
    alice.send(&again);
    let answer = alice.answer(id);
    assert_eq!(answer["ok"]["messageId"], sent["m"]);
    assert_eq!(bob.events(), Vec::<String>::new());
    // One that never came is done.
    alice.ok("publish", json!({"group": "room", "message": "twice"}));
    assert_eq!(bob.events(), ["message room alice twice"]);
}

/// What a client was answered meanwhile may come as well: the same is said twice then, and done once.
#[test]
fn a_request_that_is_still_under_way_is_not_done_twice() {
    let mut data = None;
    let server = Server::start_with(|config| data = config.database.is_none().then(|| config.data.clone()));
    let Some(data) = data else { return };
    let (mut alice, mut bob) = in_a_room(&server);
    let connect = json!({"appToken": alice.welcome["appToken"], "resume": alice.welcome["resume"], "got": 0});
    let publish = json!({"publish": {"group": "room", "message": "once", "persist": true}});
    let store = rusqlite::Connection::open(data.join("respoked.db")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    alice.send(&json!({"id": 900, "op": publish}).to_string());
    drop(alice.cut());
    let mut back = server.visit();
    let connecting = back.begin(connect);
    store.execute_batch("ROLLBACK").unwrap();
    assert_eq!(back.answer(connecting)["ok"]["resumed"], json!(true));
    back.send(&json!({"id": 900, "op": publish}).to_string());
    back.send(&json!({"id": 901, "op": {"publish": {"group": "room", "message": "after"}}}).to_string());
    assert_eq!(back.answer(900)["ok"]["messageId"], bob.event("message room alice once")["m"]);
    assert!(back.answer(901)["error"].is_null());
    assert_eq!(bob.events(), ["message room alice after"]);
}

#[test]
fn who_does_not_come_back_has_left() {
    let server = Server::start();
    let (alice, mut bob) = in_a_room(&server);
    let lost = alice.cut();
    bob.event("leave room alice");
    eventually(|| (server.members("room") == ["bob"]).then_some(()));
    let back = lost.back();
    assert_eq!((&back.welcome["resumed"], text(&back.welcome["endpoint"])), (&json!(false), "alice".to_owned()));
    assert_ne!(back.welcome["resume"], Value::Null);
}
