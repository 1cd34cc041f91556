//! What clients say to each other comes out as it went in, by whichever way, and no two names become one.

use serde_json::{Value, json};

use crate::harness::{Answer, Poller, Server};

/// What no Rust value holds, and what a reader of such values would change: it is compared as text.
const LETTER: &str =
    r#"{ "z":18446744073709551617,"a":[1e400 ,-0.0, 1.10],"z":"\ud83d", "\udc00":null,"\u0061":"caf\u00e9"}"#;
const UUID: &str = "7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001";

/// A polling client as `endpoint`, registered: what it polls is read as text.
fn poller(server: &Server, endpoint: &str) -> Poller {
    let poller = server.poller(&format!("app-token={}", server.session(endpoint)));
    poller.ask(1, "post", "/v1/connections", &json!({})).1.ok();
    poller
}

/// The one packet that comes next.
fn next(poller: &Poller) -> String {
    let [packet]: [String; 1] = poller.poll().try_into().unwrap();
    packet
}

fn post(server: &Server, path: &str, token: &str, body: &str) -> Answer {
    server.post(path).token(token).header("Content-Type", "application/json").raw(body.as_bytes())
}

/// Posts over a socket, the argument an object or its text; returns all that comes up to the ack.
fn tunnelled(poller: &Poller, path: &str, data: &str, as_text: bool) -> String {
    let argument = format!(r#"{{"url":"{path}","data":{data}}}"#);
    let argument = if as_text { serde_json::to_string(&argument).unwrap() } else { argument };
    let packet = format!(r#"5:7+::{{"name":"post","args":[{argument}]}}"#);
    assert_eq!(poller.bring(packet.as_bytes()).text, "1");
    let mut told = String::new();
    while !told.contains("6:::7+") {
        told.push_str(&poller.poll().concat());
    }
    told
}

#[test]
fn what_is_said_arrives_to_the_letter_with_and_without_a_query() {
    let server = Server::start();
    let bob = poller(&server, "bob");
    bob.ask(2, "post", "/v1/groups", &json!({"groups": ["room"]})).1.ok();
    let (alice, own) = (poller(&server, "alice"), server.session("carol"));
    let message = format!(r#"{{"to":"bob","message":{LETTER},"x":{LETTER}}}"#);
    let publication = format!(r#"{{"persist":true,"message":{LETTER}}}"#);
    for query in ["", "?t=1", "?message=other&ccSelf=false"] {
        let paths = [format!("/v1/messages{query}"), format!("/v1/groups/room/publish{query}")];
        let channel = format!("/v1/channels/room/publish{query}");
        for (path, body, key) in
            [(&paths[0], &message, "body"), (&paths[1], &publication, "message"), (&channel, &publication, "message")]
        {
            let expected = format!(r#""{key}":{LETTER}}}"#);
            post(&server, path, &own, body).ok();
            let pushed = next(&bob);
            assert!(pushed.contains(&expected), "{pushed}");
            for as_text in [false, true] {
                let ack = tunnelled(&alice, path, body, as_text);
                assert!(ack.contains(r#""statusCode":200"#), "{ack}");
                let pushed = next(&bob);
                assert!(pushed.contains(&expected), "{pushed}");
            }
        }
    }
    // A byte order mark before the body is no part of it.
    post(&server, "/v1/messages", &own, &format!("\u{feff}{message}")).ok();
    assert!(next(&bob).contains(&format!(r#""body":{LETTER}}}"#)));

    // And so it is kept.
    let kept = format!(r#""message":{LETTER}}}"#);
    for answer in [
        server.get("/v1/groups/room/history?limit=1").secret().call(),
        server.get("/v1/group-histories?groupIds=room&groupIds=other").secret().call(),
        server.post("/v1/group-history-search?t=1").secret().send(json!({"groupIds": ["room"]})),
        server.get("/v1/endpoints/alice/conversations").secret().call(),
    ] {
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.text.contains(&kept), "{}", answer.text);
    }
}

#[test]
fn reports_and_presence_pass_to_the_letter_too() {
    let server = Server::start();
    let (bob, alice) = (poller(&server, "bob"), poller(&server, "alice"));
    bob.ask(2, "post", "/v1/presenceobservers", &json!({"endpointList": ["alice"]})).1.ok();
    for query in ["", "?t=1"] {
        let report = format!(r#"{{"debugData":{LETTER}}}"#);
        post(&server, &format!("/v1/call-debugs{query}"), &server.session("carol"), &report).ok();
        let listed = server.get("/v1/call-debugs?limit=1").secret().call();
        assert!(listed.text.contains(&format!(r#""debugData":{LETTER}"#)), "{}", listed.text);

        let said = format!(r#"{{"presence":{{"type":{LETTER},"show":{LETTER},"status":1e400}}}}"#);
        let ack = tunnelled(&alice, &format!("/v1/presence{query}"), &said, true);
        assert!(ack.contains(r#""statusCode":200"#), "{ack}");
        let expected = format!(r#""type":{LETTER},"show":{LETTER},"status":1e400"#);
        let pushed = next(&bob);
        assert!(pushed.contains(&expected), "{pushed}");
        // To a new observer it is pushed and told.
        let told = tunnelled(&bob, "/v1/presenceobservers", r#"{"endpointList":["alice"]}"#, false);
        assert_eq!(told.matches(&expected).count(), 2, "{told}");
    }
}

#[test]
fn equal_keys_at_the_top_are_refused_alike() {
    let server = Server::start();
    let own = server.session("alice");
    for body in [r#"{"to":"bob","message":1,"message":2}"#, r#"{"to":"bob","t\u006f":null,"message":1}"#] {
        for path in ["/v1/messages", "/v1/messages?t=1", "/v1/messages?to=bob&message=x"] {
            post(&server, path, &own, body).refused(400, "malformed");
        }
        let alice = poller(&server, "alice");
        for path in ["/v1/messages", "/v1/messages?t=1"] {
            assert!(tunnelled(&alice, path, body, true).contains(r#""code":"malformed""#));
        }
    }
    post(&server, "/v1/messages", &own, r#"{"to":"bob","message":1,"x":1,"x":2}"#).ok();
    // Nor is one field said twice by a form or a query.
    let form = |path: &str, body: &str| {
        let request = server.post(path).token(&own).header("Content-Type", "application/x-www-form-urlencoded");
        request.raw(body.as_bytes())
    };
    form("/v1/messages", "to=bob&message=a&message=b").refused(400, "invalid");
    form("/v1/messages?to=a&to=b", "message=a").refused(400, "invalid");
    form("/v1/messages?to=a&to=b", "message=a&to=bob").ok();
}

#[test]
fn a_signal_passes_whatever_it_holds_and_an_error_always_ends_the_call() {
    let server = Server::start();
    let (bob, alice) = (poller(&server, "bob"), poller(&server, "alice"));
    let signals = [
        format!(r#"{{"signalType":"modify","sessionId":7,"x":{LETTER}}}"#),
        r#"{"signalType":5,"sessionId":"a"}"#.to_owned(),
        r#"{"signalType":null,"sessionId":{"a":1}}"#.to_owned(),
        r#"{"signalType":"modify","sessionId":"\ud83d"}"#.to_owned(),
        r#"{"signalType":"modify","signalType":"bye","sessionId":1,"sessionId":2,"\ud83d":3}"#.to_owned(),
        r#"{"signalType":"offer","sessionId":1e400}"#.to_owned(),
    ];
    for signal in &signals {
        let text = serde_json::to_string(signal).unwrap();
        for (path, signal) in [
            ("/v1/signaling", signal),
            ("/v1/signaling", &text),
            ("/v1/signaling?t=1", signal),
            ("/v1/signaling?t=1", &text),
        ] {
            let ack = tunnelled(&alice, path, &format!(r#"{{"to":"bob","signal":{signal}}}"#), true);
            assert!(ack.contains(r#""statusCode":200"#), "{ack}");
            let pushed = next(&bob);
            let body = signals.iter().find(|body| pushed.contains(&format!(r#""body":{body}}}"#)));
            assert!(body.is_some(), "{pushed}");
        }
    }

    // The exchange speaks of errors, which a browser hears as an end.
    let pbx = server.poller(&format!("app-secret={}", server.secret));
    pbx.ask(1, "post", "/v1/endpoints/pbx/connections", &json!({"clientType": "asterisk"})).1.ok();
    for (error, bye) in [
        (r#"{"signalType":"error","detail":"\ud83d"}"#, r#"{"signalType":"bye","reason":"\ud83d"}"#),
        (
            r#"{"signalType":"error","sessionId":5,"n":18446744073709551617,"detail":1e400}"#,
            r#"{"signalType":"bye","sessionId":5,"n":18446744073709551617,"reason":1e400}"#,
        ),
        (r#"{"x":1,"x":2,"signalType":"error"}"#, r#"{"x":1,"x":2,"signalType":"bye"}"#),
    ] {
        for signal in [error.to_owned(), serde_json::to_string(error).unwrap()] {
            let ack = tunnelled(&pbx, "/v1/signaling", &format!(r#"{{"to":"bob","signal":{signal}}}"#), true);
            assert!(ack.contains(r#""statusCode":200"#), "{ack}");
            let pushed = next(&bob);
            assert!(pushed.contains(&format!(r#""body":{bye}}}"#)), "{pushed}");
        }
    }
}

#[test]
fn an_answer_is_told_by_its_session_whatever_names_that() {
    let server = Server::start();
    let (mut alice, mut phone, mut tablet) = (server.connect("alice"), server.connect("bob"), server.connect("bob"));
    let signal = |kind: &str| json!({"to": "alice", "ccSelf": true, "signal": {"signalType": kind, "sessionId": 7}});
    phone.post("/v1/signaling", signal("answer")).ok();
    tablet.push("signal bob answer");
    tablet.post("/v1/signaling", signal("bye")).ok();
    assert_eq!(alice.pushed(), ["signal bob answer", "signal bob bye"]);
    assert_eq!(phone.pushed(), Vec::<String>::new(), "the call that it answered goes on");
}

#[test]
fn what_is_no_text_is_refused_and_never_another_name() {
    let server = Server::start();
    let own = server.session("alice");
    let form = |path: &str, body: &[u8]| {
        server.post(path).secret().header("Content-Type", "application/x-www-form-urlencoded").raw(body)
    };
    let role = &server.role;
    for endpoint in ["caf%E9", "caf%E8", "%ED%A0%BD", "%C0%AF"] {
        form("/v1/tokens", format!("endpointId={endpoint}&roleId={role}").as_bytes()).refused(400, "malformed");
        let query = format!("endpointId={endpoint}");
        server.post(&format!("/v1/tokens?{query}")).secret().send(json!({"roleId": role})).refused(400, "malformed");
        for path in ["/v1/sessions", "/v1/tokens", "/v1/turn", "/v1/connections", "/v1/audit", "/v1/request-log"] {
            server.get(&format!("{path}?{query}")).secret().call().refused(400, "malformed");
        }
        server.delete(&format!("/v1/sessions?{query}")).secret().call().refused(400, "malformed");
        server.get(&format!("/v1/endpoints/{endpoint}")).secret().call().refused(400, "malformed");
        server.post(&format!("/v1/endpoints/{endpoint}/ban")).secret().send(json!({})).refused(400, "malformed");
        server.get(&format!("/v1/groups/{endpoint}/history")).secret().call().refused(400, "malformed");
        // Parameters that nobody reads, and credentials.
        server.get(&format!("/v1/sessions?x={endpoint}")).secret().call().refused(400, "malformed");
        server.get(&format!("/v1/sessions?app-secret={endpoint}")).call().refused(400, "malformed");
        assert_eq!(server.handshake(&format!("app-token={endpoint}")).status, 400);
        assert_eq!(server.get(&format!("/console/sign-in?next={endpoint}")).call().status, 400);
        let mut alice = server.connect("alice");
        alice.post(&format!("/v1/messages?to={endpoint}"), json!({"message": 1})).refused(400, "malformed");
        alice.post(&format!("/v1/groups/{endpoint}"), Value::Null).refused(400, "malformed");
    }
    form("/v1/tokens", b"endpointId=caf\xE9").refused(400, "malformed");
    let sign_in = server.post("/console/sign-in").header("Origin", &server.url);
    let sign_in = sign_in.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(sign_in.raw(b"username=caf%E9&password=x").status, 400);
    let oauth = form("/oauth/introspect", b"token=%FF");
    assert_eq!((oauth.status, &oauth.body["error"]), (400, &json!("invalid_request")));

    // What is text is taken, whether it is encoded or not.
    for endpoint in ["caf%C3%A9", "caf\u{e9}"] {
        let minted = form("/v1/tokens", format!("endpointId={endpoint}&roleId={role}").as_bytes()).ok();
        assert_eq!(minted["endpointId"], "caf\u{e9}");
    }
    // Halves of pairs in what has a rule.
    for (path, body) in [
        ("/v1/messages", r#"{"to":"\ud83d","message":1}"#),
        ("/v1/messages?t=1", r#"{"to":"\ud83d","message":1}"#),
        ("/v1/presenceobservers", r#"{"endpointList":["\udc00"]}"#),
    ] {
        post(&server, path, &own, body).refused(400, "malformed");
    }
    // How an existing client describes itself is nobody's name.
    assert_eq!(server.handshake(&format!("app-token={own}&Respoke-SDK=caf%E9")).status, 200);
    server.get(&format!("/v1/session-tokens?app-token={own}&Respoke-SDK=caf%E9&x={UUID}")).call().ok();
}
