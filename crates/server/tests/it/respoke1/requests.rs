//! Requests and answers.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::harness::{Farewell, Live, Server, text};

#[test]
fn each_op_does_what_the_operation_of_the_api_does() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.live("alice"), server.live("bob"));
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.ok("join", json!({"groups": ["a/b ?ä"]})), json!({"message": "Success"}));
    }
    let sent = alice.ok("publish", json!({"group": "a/b ?ä", "message": {"n": [1, null]}, "persist": true}));
    let event = bob.event("message a/b ?ä alice");
    assert_eq!((&event["m"], &event["data"]), (&sent["messageId"], &json!({"n": [1, null]})));
    assert_eq!(event["connection"], json!(alice.connection()));
    let sent = alice.ok("send", json!({"to": "bob", "message": "psst"}));
    let event = bob.event("message alice psst");
    assert_eq!((&event["m"], &event["to"], event.get("g")), (&sent["messageId"], &json!("bob"), None));
    assert_eq!(bob.ok("observe", json!({"endpointList": ["alice"]}))[0]["endpointId"], "alice");
    alice.ok("presence", json!({"presence": {"type": "away", "show": "tea", "status": 7}}));
    assert_eq!(bob.event("presence alice")["data"], json!({"type": "away", "show": "tea", "status": 7}));
    let offer = json!({"signalType": "offer", "sessionId": "s", "sdp": {"sdp": "v=0"}});
    alice.ok("signal", json!({"to": "bob", "toType": "web", "signal": offer}));
    let event = bob.event("signal alice offer");
    assert_eq!((&event["data"], &event["to"], &event["toType"]), (&offer, &json!("bob"), &json!("web")));
    let members = alice.ok("members", json!({"group": "a/b ?ä"}));
    assert_eq!(members.as_array().unwrap().len(), 2);
    let page = alice.ask("members", json!({"group": "a/b ?ä", "limit": 1}));
    let rest = alice.ask("members", json!({"group": "a/b ?ä", "limit": 1, "cursor": page["next"]}));
    assert_eq!(json!([page["ok"][0], rest["ok"][0]]), members);
    assert_eq!(rest.get("next"), None);
    assert_eq!(alice.events(), ["join a/b ?ä bob"], "nobody gets an echo");
    alice.ok("leave", json!({"groups": ["a/b ?ä"]}));
    bob.event("leave a/b ?ä alice");
    assert_eq!(bob.events(), Vec::<String>::new());
    assert_eq!(alice.events(), Vec::<String>::new());
}

#[test]
fn call_reaches_every_operation() {
    let server = Server::start();
    let mut alice = server.live("alice");
    let own = alice.ok("call", json!({"method": "GET", "path": "/v1/session-tokens"}));
    assert_eq!(own["endpointId"], "alice");
    alice.ok("call", json!({"method": "post", "path": "/v1/groups/room", "body": {}}));
    let history = alice.ok("call", json!({"method": "GET", "path": "/v1/groups/room/history?limit=1"}));
    assert_eq!(history, json!([]));
    alice.refused("call", json!({"method": "GET", "path": "/v1/nothing"}), "no_such_route");
    alice.refused("call", json!({"method": "PATCH", "path": "/v1/groups"}), "method_not_allowed");
    alice.refused("call", json!({"method": "GET", "path": "/v1/apps"}), "forbidden");
    for out in ["/metrics", "/console", "/socket.io/1/", "/v1/socket", "/oauth/introspect"] {
        alice.refused("call", json!({"method": "GET", "path": out}), "no_such_route");
    }
}

#[test]
fn what_is_no_request_is_refused_and_the_socket_stays() {
    let server = Server::start();
    let mut alice = server.live("alice");
    let mut refused = |op: &str, code: &str| -> Value {
        alice.send(&format!(r#"{{"id":900,"op":{op}}}"#));
        let answer = alice.answer(900);
        assert_eq!(answer["error"]["code"], json!(code), "{op}: {answer}");
        answer["error"].clone()
    };
    for op in
        ["null", "7", "{}", r#"{"ping":{},"join":{}}"#, r#"{"join":[]}"#, r#"{"fly":{}}"#, r#"{"publish":{"group":7}}"#]
    {
        assert_eq!(refused(op, "invalid")["fields"]["op"].as_array().unwrap().len(), 1);
    }
    assert!(refused(r#"{"publish":{"message":1}}"#, "invalid")["fields"]["group"].is_array());
    assert!(refused(r#"{"publish":{"group":"room"}}"#, "invalid")["fields"]["message"].is_array());
    assert!(refused(r#"{"call":{"method":"GET"}}"#, "invalid")["fields"]["path"].is_array());
    refused(r#"{"call":{"method":"TRACE","path":"/v1/groups"}}"#, "method_not_allowed");
    assert!(refused(r#"{"send":{"to":"bob","message":1,"key":"a b"}}"#, "invalid")["fields"]["key"].is_array());
    refused(&format!(r#"{{"send":{{"to":"bob","message":"{}"}}}}"#, "x".repeat(20_000)), "body_too_large");
    refused(&format!(r#"{{"send":{{"to":"bob","message":{}{}}}}}"#, "[".repeat(40), "]".repeat(40)), "too_deep");
    alice.ok("ping", json!({}));
}

#[test]
fn who_lacks_a_right_is_told_so_and_by_name_of_the_code() {
    let server = Server::start();
    let role = server.create_role("one room", json!({"groups": {"room": {"create": true, "subscribe": true}}}));
    let app_token = server.session_in("alice", &role);
    let mut alice = server.visit();
    alice.connect(json!({"appToken": app_token}));
    alice.ok("join", json!({"groups": ["room"]}));
    for (op, args) in [
        ("join", json!({"groups": ["staff"]})),
        ("publish", json!({"group": "room", "message": 1})),
        ("call", json!({"method": "GET", "path": "/v1/groups/staff/history"})),
    ] {
        assert_eq!(alice.refused(op, args, "forbidden")["retry"], "no");
    }
}

#[test]
fn answers_come_in_the_order_of_the_requests_however_many_are_in_a_frame() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.live("alice"), server.live("bob"));
    bob.ok("join", json!({"groups": ["room"]}));
    let mut frame = String::new();
    let publish =
        |id: u64| json!({"id": id, "op": {"publish": {"group": "room", "message": id}}, "got": 3}).to_string();
    for id in 100..160 {
        frame.push_str(&publish(id));
        frame.push_str("\n{}\r\n\n");
    }
    alice.send(&frame);
    for id in 100..160 {
        assert!(alice.answer(id).get("ok").is_some());
    }
    assert_eq!(alice.answered[1..], (100..160).collect::<Vec<_>>());
    let expected: Vec<_> = (100..160).map(|id| format!("message room alice {id}")).collect();
    assert_eq!(bob.events(), expected);
}

#[test]
fn more_than_a_window_of_requests_is_refused_and_nothing_is_lost() {
    let server = Server::start();
    let mut alice = server.live("alice");
    let ids = 100..300_u64;
    let requests: Vec<_> = ids
        .clone()
        .map(|id| json!({"id": id, "op": {"call": {"method": "GET", "path": "/v1/session-tokens"}}}).to_string())
        .collect();
    alice.send(&requests.join("\n"));
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for id in ids {
        let answer = alice.answer(id);
        match answer.get("error") {
            None => done.push(id),
            Some(error) => {
                assert_eq!((&error["code"], &error["retry"]), (&json!("rate_limited"), &json!("later")));
                refused.push(id);
            }
        }
    }
    assert_eq!(done, (100..164).collect::<Vec<_>>(), "the first are done");
    assert_eq!(refused.len(), 136);
    alice.ok("ping", json!({}));
}

/// Whose rate is used up is answered before the pause that follows, and may send its next request by then.
#[test]
fn who_keeps_to_the_window_is_not_told_of_it_though_its_rate_is_used_up() {
    let server = Server::start();
    let mut alice = server.live("alice");
    let ask = |alice: &mut Live| alice.request("presence", json!({"presence": {"type": "available"}}));
    let mut under_way: VecDeque<u64> = (0..64).map(|_| ask(&mut alice)).collect();
    let mut limited = 0;
    while limited < 10 {
        let answer = alice.answer(under_way.pop_front().unwrap());
        let text = answer["error"]["text"].as_str().unwrap_or_default();
        assert!(!text.contains("under way"), "{answer}");
        limited += u32::from(!text.is_empty());
        under_way.push_back(ask(&mut alice));
    }
    for id in under_way {
        alice.answer(id);
    }
}

#[test]
fn who_is_told_of_each_that_is_beyond_the_window_is_not_slow_and_whose_are_far_too_many_floods() {
    let server = Server::start_with(|config| config.outbox_frames_max = 100);
    let mut alice = server.live("alice");
    let frame =
        |ids: std::ops::Range<u64>| ids.map(|id| format!(r#"{{"id":{id},"op":0}}"#)).collect::<Vec<_>>().join("\n");
    alice.send(&frame(1_000..1_900));
    let codes: Vec<_> = (1_000..1_900).map(|id| text(&alice.answer(id)["error"]["code"])).collect();
    assert_eq!(codes.iter().filter(|code| *code == "invalid").count(), 64);
    assert_eq!(codes.iter().filter(|code| *code == "rate_limited").count(), 836);
    alice.send(&frame(2_000..3_100));
    assert_eq!(alice.end(), Farewell::told("4200 bad_frame never"));
}

#[test]
fn a_ping_is_answered_ahead_of_what_is_under_way() {
    let server = Server::start();
    let mut alice = server.live("alice");
    let requests = (100..150).map(|id| format!(r#"{{"id":{id},"op":{{"members":{{"group":"room"}}}}}}"#));
    let ping = r#"{"id":999,"op":{"ping":{}}}"#.to_owned();
    alice.send(&requests.chain([ping]).collect::<Vec<_>>().join("\n"));
    alice.answer(149);
    assert_eq!(alice.answered[1], 999, "{:?}", alice.answered);
}

#[test]
fn with_a_key_a_request_is_done_once() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.live("alice"), server.live("bob"));
    bob.ok("join", json!({"groups": ["room"]}));
    for (op, args) in [
        ("publish", json!({"group": "room", "message": "once", "persist": true, "key": "k1"})),
        ("send", json!({"to": "bob", "message": "once", "key": "k2"})),
        ("call", json!({"method": "POST", "path": "/v1/messages", "body": {"to": "bob", "message": "x"}, "key": "k3"})),
    ] {
        let sent = [alice.ok(op, args.clone()), alice.ok(op, args.clone())];
        assert_eq!(sent[0], sent[1], "{op}");
        assert_eq!(bob.events().len(), 1, "{op}");
    }
    let other = json!({"group": "room", "message": "other", "persist": true, "key": "k1"});
    alice.refused("publish", other, "idempotency_key_reused");
}

#[test]
fn a_payload_passes_to_the_letter_on_one_line() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.live("alice"), server.live("bob"));
    // Line ends between tokens, which a raw client may send with a carriage return only: a line feed ends the object.
    alice.send("{\"id\":70,\"op\":{\"send\":{\"to\":\"bob\",\"message\":{\"a\":\r1e400,\r\"b\":\"\\ud83d\\u2028\"}}}}");
    assert!(alice.answer(70).get("ok").is_some());
    // 1e400 is no number that a test could read: the frame is looked at as text.
    let frame = bob.raw();
    assert!(frame.ends_with("\"data\":{\"a\": 1e400, \"b\":\"\\ud83d\\u2028\"}}"), "{frame}");
}

#[test]
fn a_socket_on_which_something_else_is_said_is_closed() {
    let server = Server::start();
    for frame in ["x", "[]", "{} {}", r#"{"id":1}"#, r#"{"op":{}}"#, r#"{"id":5,"connect":{}}"#] {
        let mut alice = server.live("alice");
        alice.send(frame);
        assert_eq!(alice.end(), Farewell::told("4200 bad_frame never"), "{frame}");
    }
    let mut long = server.live("alice");
    long.send(&format!("{{\"id\":1,\"op\":\"{}\"}}", "x".repeat(64 * 1024)));
    assert_eq!(long.end(), Farewell::told("4200 bad_frame never"));
    let mut flooding = server.live("alice");
    for _ in 0..200 {
        flooding.send(&"{}\n".repeat(100));
    }
    assert_eq!(flooding.end(), Farewell::told("4200 bad_frame never"));
    assert_eq!(server.figure("respoked_sockets_closed_total{reason=\"bad_frame\"}"), 8);
}
