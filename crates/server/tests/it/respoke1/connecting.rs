//! Who is let in, and what it is told first.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{Farewell, Server, eventually, text};

const OFFERED: (&str, &str) = ("Sec-WebSocket-Protocol", "respoke.1");

#[test]
fn one_frame_redeems_a_token_and_makes_the_state_again() {
    let server = Server::start();
    let mut bob = server.live("bob");
    bob.ok("join", json!({"groups": ["room"]}));
    bob.ok("observe", json!({"endpointList": ["alice"]}));
    bob.ok("presence", json!({"presence": {"type": "busy", "status": "here"}}));
    let state = json!({
        "groups": [{"g": "room"}, {"g": "other", "epoch": "1", "offset": 7}],
        "observe": ["bob", "carol"],
        "presence": {"type": "available"},
    });
    let alice = server.live_in("alice", state);
    let welcome = &alice.welcome;
    assert_eq!(welcome["groups"], json!([{"g": "room"}, {"g": "other"}]));
    let said = json!({"type": "busy", "status": "here"});
    assert_eq!(
        welcome["observe"],
        json!([
            {"endpointId": "bob", "connectionStates": {bob.connection(): said}},
            {"endpointId": "carol", "connectionStates": {}},
        ])
    );
    assert_eq!((&welcome["resumed"], &welcome["ping"], &welcome["window"]), (&json!(false), &json!(25), &json!(64)));
    assert_eq!((&welcome["app"], welcome.get("presence")), (&json!(server.app), None));
    assert_eq!(welcome["expiresIn"], json!(86_400));
    assert_eq!(bob.events(), ["join room alice", "presence alice available"]);
    assert_eq!(
        (server.members("room"), server.members("other")),
        (vec!["alice".into(), "bob".into()], vec!["alice".into()])
    );
    assert!(server.alive(alice.welcome["appToken"].as_str().unwrap()));
    assert_eq!(server.figure("respoked_sockets"), 2);
}

#[test]
fn the_token_of_a_session_connects_again_and_again() {
    let server = Server::start();
    let first = server.live("alice");
    let token = text(&first.welcome["appToken"]);
    let mut connections = vec![first.connection()];
    drop(first);
    for _ in 0..3 {
        let mut again = server.visit();
        again.connect(json!({"appToken": token}));
        assert_eq!((&again.welcome["endpoint"], again.welcome.get("appToken")), (&json!("alice"), None));
        connections.push(again.connection());
    }
    connections.dedup();
    assert_eq!(connections.len(), 4);
    eventually(|| server.connected().is_empty().then_some(()));
}

#[test]
fn a_welcome_that_was_lost_costs_no_token() {
    let server = Server::start();
    let token = server.mint("alice");
    let mut sessions = Vec::new();
    // With another state each time: it is not what the key is for.
    for state in [json!({}), json!({"groups": [{"g": "room"}]})] {
        let mut alice = server.visit();
        alice.connect(json!({"tokenId": token, "once": "key", "state": state}));
        sessions.push(text(&alice.welcome["appToken"]));
    }
    assert_eq!(sessions[0], sessions[1]);
    let mut thief = server.visit();
    thief.refused_to_connect(json!({"tokenId": token, "once": "other"}), "token_refused");
    assert_eq!(thief.end(), Farewell::told("4100 refused token"));
    let mut late = server.visit();
    late.refused_to_connect(json!({"tokenId": token}), "token_refused");
    let mut odd = server.visit();
    let error = odd.refused_to_connect(json!({"tokenId": server.mint("alice"), "once": "no\nkey"}), "invalid");
    assert!(error["fields"]["once"].is_array(), "{error}");
    assert_eq!(odd.end(), Farewell::told("4200 bad_frame never"));
}

#[test]
fn nobody_is_let_in_without_a_credential_that_holds() {
    let server = Server::start();
    let spent = server.session("alice");
    server.delete("/v1/session-tokens").token(&spent).call().ok();
    for (connect, code, bye) in [
        (json!({"appToken": spent}), "unauthenticated", "4100 refused token"),
        (json!({"appToken": "hunter2"}), "unauthenticated", "4100 refused token"),
        (json!({"tokenId": spent}), "token_refused", "4100 refused token"),
        // No backend is let in here.
        (json!({"appToken": server.secret}), "unauthenticated", "4100 refused token"),
        (json!({}), "invalid", "4200 bad_frame never"),
        (json!({"appToken": spent, "tokenId": spent}), "invalid", "4200 bad_frame never"),
    ] {
        let mut nobody = server.visit();
        let error = nobody.refused_to_connect(connect.clone(), code);
        assert!(error["requestId"].is_string() && error["text"].is_string(), "{error}");
        assert_eq!((&error["retry"], nobody.end()), (&json!("no"), Farewell::told(bye)), "{connect}");
    }
    // A credential in the address is not looked at.
    let alive = server.session("alice");
    let mut by_header = server.try_visit(&[OFFERED, ("App-Token", &alive)]).unwrap();
    by_header.refused_to_connect(json!({}), "invalid");
    assert_eq!(server.figure("respoked_sockets"), 0);
}

#[test]
fn a_page_connects_where_it_may_and_is_told_where_not() {
    let server = Server::start();
    let domains = json!({"permittedDomains": ["page.test"]});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&server.admin_token("admin")).send(domains).ok();
    let app_token = server.session("alice");
    let from = |origin: &str| server.try_visit(&[OFFERED, ("Origin", origin)]).unwrap();
    for credential in [json!({"appToken": app_token}), json!({"tokenId": server.mint("alice")})] {
        let mut page = from("https://evil.test");
        page.refused_to_connect(credential.clone(), "origin_refused");
        assert_eq!(page.end(), Farewell::told("4202 origin never"));
        // A token that was refused for its page is not spent.
        from("https://page.test:8443").connect(credential);
    }
}

#[test]
fn a_banned_endpoint_is_told_so() {
    let server = Server::start();
    let token = server.mint("alice");
    server.post("/v1/endpoints/alice/ban").secret().send(json!({"reason": "spam"})).ok();
    let mut alice = server.visit();
    let error = alice.refused_to_connect(json!({"tokenId": token}), "endpoint_banned");
    assert_eq!((&error["reason"], alice.end()), (&json!("spam"), Farewell::told("4201 banned never")));
}

#[test]
fn what_cannot_be_made_again_is_refused_by_itself() {
    let server = Server::start();
    let permissions = json!({"groups": {"room": {"create": true, "subscribe": true, "publish": true}}});
    let role = server.create_role("one room", permissions);
    let app_token = server.session_in("alice", &role);
    let mut alice = server.visit();
    let state = json!({"groups": [{"g": "staff"}, {"g": "room"}], "observe": [""], "presence": {"show": "x"}});
    alice.connect(json!({"appToken": app_token, "state": state}));
    let refused = |entry: &Value| text(&entry["error"]["code"]);
    let groups = &alice.welcome["groups"];
    assert_eq!(
        (refused(&groups[0]), &groups[0]["g"], &groups[1]),
        ("forbidden".into(), &json!("staff"), &json!({"g": "room"}))
    );
    assert_eq!(
        (refused(&alice.welcome["observe"][0]), refused(&alice.welcome["presence"])),
        ("invalid".into(), "invalid".into())
    );
    assert_eq!(server.members("room"), ["alice"]);
}

#[test]
fn a_name_that_is_no_text_is_refused_by_itself() {
    let server = Server::start();
    let token = server.mint("alice");
    let mut alice = server.visit();
    let state = r#"{"groups":[{"g":"\ud83d"},{"g":null},7,{"g":"room"}],"observe":["\ud83d",null,"bob"],"presence":7}"#;
    alice.send(&format!(r#"{{"id":0,"connect":{{"tokenId":"{token}","state":{state}}}}}"#));
    let frame = alice.raw();
    // Half a pair is spelt as it came, which is no value to a test.
    let welcome: Value = serde_json::from_str(&frame.replace("\\ud83d", "half")).unwrap();
    let code = |entry: &Value| text(&entry["error"]["code"]);
    let (groups, observe) = (&welcome["ok"]["groups"], &welcome["ok"]["observe"]);
    assert_eq!((&groups[0]["g"], &observe[0]["endpointId"]), (&json!("half"), &json!("half")), "{frame}");
    // Half a pair is no text, and for the operation no JSON that it can read.
    assert_eq!([0, 1, 2].map(|nth| code(&groups[nth])), ["malformed", "invalid", "invalid"]);
    assert_eq!([0, 1].map(|nth| code(&observe[nth])), ["malformed", "invalid"]);
    assert_eq!((&groups[3], &observe[2]["endpointId"]), (&json!({"g": "room"}), &json!("bob")));
    assert_eq!(code(&welcome["ok"]["presence"]), "invalid");
    assert_eq!(server.members("room"), ["alice"]);
}

#[test]
fn capabilities_that_are_no_value_are_refused_in_words() {
    let server = Server::start();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (capabilities, code) in
        [(deep.as_str(), "too_deep"), (r#"{"trickleIce":1e400}"#, "malformed"), ("7", "invalid")]
    {
        let mut alice = server.visit();
        let token = server.mint("alice");
        alice.send(&format!(r#"{{"id":0,"connect":{{"tokenId":"{token}","capabilities":{capabilities}}}}}"#));
        assert_eq!(alice.answer(0)["error"]["code"], json!(code), "{capabilities}");
        assert_eq!(alice.end(), Farewell::told("4200 bad_frame never"));
    }
    let (mut alice, token) = (server.visit(), server.mint("alice"));
    alice.send(&format!(r#"{{"id":0,"connect":{{"tokenId":"{token}","capabilities":{{"x":"\ud800"}}}}}}"#));
    assert!(alice.answer(0)["ok"].is_object());
}

#[test]
fn a_first_frame_that_is_none_is_told_so() {
    let server = Server::start();
    // Not masked, and with a bit that stands for nothing.
    for frame in [&[0x81, 2, b'{', b'}'][..], &[0xC1, 0x82, 0, 0, 0, 0, b'{', b'}']] {
        let mut nobody = server.visit();
        nobody.send_raw(frame);
        assert_eq!(nobody.end(), Farewell::told("4200 bad_frame never"));
    }
}

#[test]
fn a_state_has_a_most_and_each_part_of_it_is_charged() {
    let server = Server::start();
    let groups = |count: usize| (0..count).map(|number| json!({"g": format!("g{number}")})).collect::<Vec<_>>();
    let mut greedy = server.visit();
    let token = server.mint("alice");
    greedy.refused_to_connect(json!({"tokenId": token, "state": {"groups": groups(201)}}), "invalid");
    assert_eq!(greedy.end(), Farewell::told("4200 bad_frame never"));
    let mut many = server.visit();
    let names: Vec<_> = (0..201).map(|number| format!("e{number}")).collect();
    many.refused_to_connect(json!({"tokenId": token, "state": {"observe": names}}), "invalid");
    // The token was not touched. As many as may be asked for are, up to what the app may do in a moment.
    let limits = json!({"limits": {"endpoint": {"perSecond": 10, "burst": 50}}});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&server.admin_token("admin")).send(limits).ok();
    let mut alice = server.visit();
    alice.connect(json!({"tokenId": token, "state": {"groups": groups(200)}}));
    let entries = alice.welcome["groups"].as_array().unwrap().clone();
    let (refused, joined): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.get("error").is_some());
    assert_eq!(joined.len() + refused.len(), 200);
    assert!((1..=50).contains(&joined.len()), "{}", joined.len());
    assert!(refused.iter().all(|entry| entry["error"]["code"] == "rate_limited" && entry["error"]["retry"] == "later"));
}

#[test]
fn who_comes_too_often_is_told_when_to_come_back() {
    let server = Server::start();
    let limits = json!({"limits": {"endpointConnects": {"perSecond": 1, "burst": 1}}});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&server.admin_token("admin")).send(limits).ok();
    let token = server.session("alice");
    let mut last = None;
    for _ in 0..4 {
        let mut alice = server.visit();
        let id = alice.begin(json!({"appToken": token}));
        if alice.answer(id).get("error").is_some() {
            last = Some(alice);
            break;
        }
    }
    let mut last = last.expect("one comes too often");
    assert_eq!(last.end(), Farewell::told("4013 overloaded resume"));
    assert!(last.told_to_wait() >= 1);
}

#[test]
fn where_there_is_no_room_it_says_whether_to_come_back() {
    let server = Server::start_with(|config| config.sockets_per_address_max = 2);
    let limits = json!({"limits": {"endpointConnections": 1}});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&server.admin_token("admin")).send(limits).ok();
    let (token, _there) = (server.session("alice"), server.live("alice"));
    let mut second = server.visit();
    second.refused_to_connect(json!({"appToken": token}), "connection_limit");
    assert_eq!(second.end(), Farewell::told("4014 limit resume"));
    let _old = eventually(|| server.try_open_as("bob", &server.session("bob")));
    let mut third = server.visit();
    third.refused_to_connect(json!({"tokenId": server.mint("carol")}), "connection_limit");
    assert_eq!(third.end(), Farewell::told("4013 overloaded resume"));
}

#[test]
fn a_client_of_another_version_is_told_so() {
    let server = Server::start();
    let mut newer = server.try_visit(&[("Sec-WebSocket-Protocol", "other, respoke.2")]).unwrap();
    assert_eq!(newer.end(), Farewell::told("4205 version never"));
    // Where the client offers nothing, nothing is answered, and it is told all the same.
    let mut none = server.try_visit(&[]).unwrap();
    assert_eq!(none.end(), Farewell::told("4205 version never"));
    let mut both = server.try_visit(&[("Sec-WebSocket-Protocol", "respoke.2, respoke.1")]).unwrap();
    both.connect(json!({"tokenId": server.mint("alice")}));
}

#[test]
fn what_is_no_upgrade_is_told_what_is_expected() {
    let server = Server::start();
    for method in ["GET", "POST", "PUT"] {
        let answer = server.request(method, "/v1/socket").call();
        assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")), "{method}");
    }
    assert_eq!(server.figure("respoked_http_requests_total{route=\"/v1/socket\",method=\"GET\",status=\"426\"}"), 1);
}

#[test]
fn what_comes_before_connect_ends_a_socket() {
    let server = Server::start();
    let bad = Farewell::told("4200 bad_frame never");
    for frame in ["{}", "x", "", "\n", r#"{"id":1,"op":{"ping":{}}}"#, r#"{"id":1,"connect":7}"#, r#"{"connect":{}}"#] {
        let mut nobody = server.visit();
        nobody.send(frame);
        assert_eq!(nobody.end(), bad, "{frame}");
    }
    let mut binary = server.visit();
    binary.send_message(Message::binary(b"{}".to_vec()));
    assert_eq!(binary.end(), bad);
    let mut long = server.visit();
    long.send(&"x".repeat(64 * 1024 + 1));
    assert_eq!(long.end(), bad);
    let mut pinging = server.visit();
    for _ in 0..100 {
        pinging.send_message(Message::Ping(Vec::new().into()));
    }
    assert_eq!(pinging.end(), bad);
    let mut leaving = server.visit();
    leaving.send(r#"{"bye":{}}"#);
    assert_eq!(leaving.end(), Farewell { bye: None, code: Some(1000) });
    assert_eq!(server.figure("respoked_sockets"), 0);
}

#[test]
fn an_address_has_so_many_sockets_without_a_welcome_and_each_for_so_long() {
    let server = Server::start();
    let mut waiting: Vec<_> = (0..64).map(|_| server.visit()).collect();
    let refused = server.try_visit(&[OFFERED]).err().expect("one more is refused");
    let Error::Http(answer) = refused else { panic!("{refused}") };
    assert_eq!(answer.status(), 429);
    // One that is let in makes room, and so does one that goes.
    waiting.pop().unwrap().connect(json!({"tokenId": server.mint("alice")}));
    waiting.push(eventually(|| server.try_visit(&[OFFERED]).ok()));
    for mut silent in waiting {
        assert_eq!(silent.end(), Farewell::told("4010 silent resume"));
    }
    // What the address may ask as nobody was charged for them.
    let mut again = server.visit();
    again.send("{}");
    assert!(again.read_within(Duration::from_secs(20)).is_some());
}
