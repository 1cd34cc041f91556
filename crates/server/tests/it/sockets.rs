//! `/socket.io/1`: the handshake, opening, order, what is answered how.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::harness::{Ack, End, Server, Socket, request_packet, summary};

#[test]
fn a_handshake_is_answered_in_four_parts() {
    let server = Server::start();
    let app_token = server.session("alice");
    for method in ["GET", "POST"] {
        for path in ["/socket.io/1/", "/socket.io/1"] {
            let query = format!("{path}?t=1&&app-token={app_token}&Respoke-SDK=a%2fb");
            let answer = server.request(method, &query).call();
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
            assert_eq!(answer.header("content-length").unwrap(), answer.text.len().to_string());
            let parts: Vec<_> = answer.text.split(':').collect();
            assert_eq!(parts[1..], ["60", "60", "websocket,xhr-polling"], "{}", answer.text);
            assert!(parts[0].len() == 32 && parts[0].bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
    assert_eq!(server.request("PUT", &format!("/socket.io/1/?app-token={app_token}")).call().status, 405);
}

#[test]
fn nobody_is_let_in_without_a_credential() {
    let server = Server::start();
    let refused = |query: &str| {
        let answer = server.handshake(query);
        assert_eq!((answer.status, answer.text.as_str()), (403, "handshake unauthorized"), "{query}");
    };
    let spent = server.session("alice");
    server.delete("/v1/session-tokens").token(&spent).call().ok();
    for query in ["", "app-token=", "app-token=null&app-secret=undefined", "app-secret=hunter2"] {
        refused(query);
    }
    refused(&format!("app-token={spent}"));
    // The first that is there is looked at, and no other.
    refused(&format!("app-token={spent}&app-secret={}", server.secret));
    assert_eq!(server.handshake(&format!("app-token=null&app-secret={}", server.secret)).status, 200);
    assert_eq!(server.get("/socket.io/1/").header("App-Secret", &server.secret).call().status, 200);
    assert_eq!(server.figure("respoked_sockets"), 2);
}

#[test]
fn pages_shake_hands_with_credentials_and_only_where_they_may() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let app_token = server.session("alice");
    let path = format!("/socket.io/1/?__sails_io_sdk_version=0.10.0&app-token={app_token}");
    let from = |origin: &str| server.get(&path).header("Origin", origin).call();
    let answer = from("https://page.test");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://page.test"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    let preflight = server.request("OPTIONS", "/socket.io/1/").header("Origin", "https://page.test").call();
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-credentials"), Some("true"));
    let unknown = server.get("/socket.io/1/xhr-polling/0").header("Origin", "https://page.test").call();
    assert_eq!(unknown.header("access-control-allow-origin"), Some("https://page.test"));

    let before = from("https://evil.test").text;
    let domains = json!({"permittedDomains": ["page.test"]});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(domains).ok();
    assert_eq!(from("https://evil.test").status, 403);
    assert_eq!(from("https://evil.test").header("access-control-allow-origin"), Some("https://evil.test"));
    assert_eq!(from("https://page.test:8443").status, 200);
    // A page that shook hands before is bound by it with each request.
    let mut socket = server.websocket(before.split(':').next().unwrap());
    socket.post("/v1/connections", json!({})).refused(403, "origin_refused");
    let mut no_page = server.open_as("alice", &app_token);
    no_page.register(json!({}));
}

#[test]
fn a_client_of_another_sdk_gets_the_body_alone_as_text() {
    let server = Server::start();
    let answer = server.get(&format!("/socket.io/1/?app-secret={}", server.secret)).call();
    let mut socket = server.websocket(answer.text.split(':').next().unwrap());
    let mut texts = Vec::new();
    for (id, path) in [(1, "http://host:3000/v1/groups"), (u64::MAX, "/v1/nothing/")] {
        socket.send(&request_packet(id, "get", path, &Value::Null));
        let ack = socket.until_ack(id);
        let [text]: [String; 1] = serde_json::from_value(ack).unwrap();
        texts.push(serde_json::from_str::<Value>(&text).unwrap());
    }
    assert_eq!((&texts[0], &texts[1]["code"]), (&json!([]), &json!("no_such_route")));
}

#[test]
fn every_request_with_an_id_is_answered_and_none_without() {
    let server = Server::start();
    let mut socket = server.open(&format!("app-secret={}", server.secret));
    let status = |socket: &mut Socket, id: u64, packet: &str| {
        socket.send(packet);
        let ack = socket.until_ack(id);
        let ack = &ack[0];
        assert!(ack["body"].is_object() || ack["body"].is_array(), "{ack}");
        assert!(ack["headers"]["Request-Id"].is_string() && ack["headers"]["RateLimit-Limit"].is_number(), "{ack}");
        ack["statusCode"].as_u64().unwrap()
    };
    for (packet, expected) in [
        (r#"{"name":"get","args":["{\"url\":\"/v1/groups\"}"]}"#, 200),
        (r#"{"name":"get","args":[{"url":"/v1/groups/","data":null,"headers":null}]}"#, 200),
        (r#"{"name":"get","args":[{"url":"/v1/groups?limit=1","params":{"limit":2}}]}"#, 200),
        (r#"{"name":"patch","args":[{"url":"/v1/groups"}]}"#, 405),
        (r#"{"name":"trace","args":[{"url":"/v1/groups"}]}"#, 405),
        (r#"{"name":"get","args":[]}"#, 400),
        (r#"{"name":"get"}"#, 400),
        (r#"{"name":"get","args":["{\"url\":"]}"#, 400),
        (r#"{"name":"get","args":[{"data":{}}]}"#, 400),
        (r#"{"name":"get","args":[{"url":"/v1/unknown"}]}"#, 404),
        (r#"{"name":"get","args":[{"url":"/metrics"}]}"#, 404),
        (r#"{"name":"get","args":[{"url":"/oauth/introspect"}]}"#, 404),
        (r#"{"name":"get","args":[{"url":"/socket.io/1/"}]}"#, 404),
        ("{", 400),
        ("", 400),
    ] {
        assert_eq!(status(&mut socket, 0, &format!("5:0+::{packet}")), expected, "{packet}");
        // Without `+` as well, and without an id not at all.
        assert_eq!(status(&mut socket, 7, &format!("5:7::{packet}")), expected, "{packet}");
        socket.send(&format!("5:::{packet}"));
    }
    let last = u64::MAX;
    assert_eq!(status(&mut socket, last, &format!("5:{last}+::{{}}")), 400);
    assert_eq!(socket.acks_len(), 0);
}

#[test]
fn credentials_of_a_request_come_before_the_sockets_own() {
    let server = Server::start();
    let (alice, bob) = (server.session("alice"), server.session("bob"));
    let mut socket = server.open_as("alice", &alice);
    let mut whose = |headers: Value| -> Ack { socket.ask_with(&headers, "get", "/v1/session-tokens", Value::Null) };
    assert_eq!(whose(json!({})).ok()["endpointId"], "alice");
    assert_eq!(whose(json!({"App-Token": null, "App-Secret": "null"})).ok()["endpointId"], "alice");
    assert_eq!(whose(json!({"app-token": bob})).ok()["endpointId"], "bob");
    whose(json!({"App-Token": "11111111-2222-4333-8444-555555555555"})).refused(401, "unauthenticated");
    // It speaks for bob without a connection of his, though the socket has one.
    socket.register(json!({}));
    socket.ask_with(&json!({"App-Token": bob}), "post", "/v1/groups/room", json!({})).refused(409, "not_connected");
    let mut carol = server.connect("carol");
    let hello = json!({"to": "carol", "message": "hi"});
    socket.ask_with(&json!({"App-Token": bob}), "post", "/v1/messages", hello).ok();
    assert!(carol.push("message bob hi")["args"][0]["header"].get("fromConnection").is_none());
}

#[test]
fn what_a_request_causes_is_pushed_before_its_ack() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2);
    let server = Server::start_on(runtime, |_| {});
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    for number in 0..50 {
        alice.post("/v1/messages", json!({"to": "bob", "message": number})).ok();
        // Alice was answered, so what is asked for from now on comes after it.
        assert_eq!(bob.pushed(), [format!("message alice {number}")]);
    }
}

#[test]
fn each_senders_messages_stay_in_order() {
    stay_in_order(300, false);
}

#[test]
fn each_senders_messages_stay_in_order_if_those_to_the_group_are_kept() {
    stay_in_order(100, true);
}

/// Senders say so many messages each, to a group and to an endpoint in turn, on a server with two threads.
fn stay_in_order(messages: usize, persist: bool) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2);
    let server = Server::start_on(runtime, |_| {});
    server.unlimited(&server.admin_token("admin"));
    let mut receivers: Vec<Socket> = (0..2).map(|_| server.connect("receiver")).collect();
    for receiver in &mut receivers {
        receiver.join("room");
    }
    let senders: Vec<_> = (0..4)
        .map(|number| {
            let mut sender = server.connect(&format!("sender-{number}"));
            std::thread::spawn(move || {
                let kept = |message| json!({"message": message, "persist": persist});
                let ids: Vec<u64> = (0..messages)
                    .map(|message| match message % 2 {
                        0 => sender.request("post", "/v1/groups/room/publish", kept(message)),
                        _ => sender.request("post", "/v1/messages", json!({"to": "receiver", "message": message})),
                    })
                    .collect();
                for id in ids {
                    sender.ack(id).ok();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    for receiver in &mut receivers {
        let pushed = receiver.pushed();
        for number in 0..4 {
            let from = format!("sender-{number}");
            let of_it: Vec<usize> =
                pushed.iter().filter_map(|push| push.split_once(&format!("{from} "))?.1.parse().ok()).collect();
            assert_eq!(of_it, (0..messages).collect::<Vec<_>>(), "{from}");
        }
    }
}

#[test]
fn a_session_id_that_is_not_known_is_told_to_shake_hands_again() {
    let server = Server::start();
    for sid in ["0", "00000000000000000000000000000000", "%2e%2e", &"a".repeat(64)] {
        let mut socket = server.websocket(sid);
        assert_eq!(socket.packet().as_deref(), Some("7:::1+0"));
        assert_eq!(socket.end().code, Some(1001));
    }
    assert_eq!(server.get("/socket.io/1/xhr-polling/0").call().text, "7:::1+0");
    assert_eq!(server.get("/socket.io/1/flashsocket/0").call().status, 404);
    assert_eq!(server.get("/socket.io/1/jsonp-polling/0?i=0").call().status, 404);
    assert_eq!(server.get("/socket.io/1/websocket/0").call().status, 426);
    assert_eq!(server.get("/socket.io/2/").call().status, 404);
}

#[test]
fn a_newer_transport_takes_the_place_of_an_older_one() {
    let server = Server::start();
    let app_token = server.session("alice");
    let sid = server.sid(&format!("app-token={app_token}"));
    let mut first = server.websocket(&sid);
    first.endpoint = "alice".to_owned();
    first.register(json!({}));
    let mut second = server.websocket(&sid);
    second.endpoint = "alice".to_owned();
    second.connection.clone_from(&first.connection);
    assert_eq!(first.end(), End { goodbye: false, code: None });
    // The connection goes on where it was.
    second.join("room");
    assert_eq!(second.pushed(), Vec::<String>::new());
    assert_eq!((server.connected(), server.figure("respoked_sockets")), (vec!["alice".to_owned()], 1));

    // Back to polling and up again, as a browser does whose websocket took too long.
    let poller = server.poller_at(&sid);
    assert_eq!(second.end(), End { goodbye: false, code: None });
    let poll = || {
        let (poller, (sender, answer)) = (poller.clone(), std::sync::mpsc::sync_channel(1));
        std::thread::spawn(move || sender.send(poller.poll()).unwrap());
        answer
    };
    let polls = [poll(), poll()];
    // The newer poll ends the older, so once one was answered the other waits.
    let waiting = crate::harness::eventually(|| {
        let ended = polls.iter().position(|poll| poll.try_recv().is_ok_and(|packets| packets == ["8::"]))?;
        Some(&polls[1 - ended])
    });
    let mut third = server.websocket(&sid);
    third.endpoint = "alice".to_owned();
    third.connection.clone_from(&second.connection);
    third.get("/v1/groups").ok();
    server.post("/v1/messages").secret().send(json!({"to": "alice", "message": "which way"})).ok();
    assert_eq!(summary(&third.push("message")), "message __SYSTEM__ which way");
    // The poll that waited ends with nothing.
    assert_eq!(waiting.recv().unwrap(), ["8::"]);
    assert_eq!(server.members("room"), ["alice"]);
}

#[test]
fn leaving_is_heard_in_every_way_it_is_said() {
    let server = Server::start();
    let gone = |socket: Option<&mut Socket>| {
        crate::harness::eventually(|| server.connected().is_empty().then_some(()));
        if let Some(socket) = socket {
            assert!(!socket.end().goodbye);
        }
        assert_eq!(server.figure("respoked_sockets"), 0);
    };
    let mut alice = server.connect("alice");
    alice.send("0::");
    gone(Some(&mut alice));
    let mut alice = server.connect("alice");
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    alice.send_message(Message::Close(Some(frame)));
    gone(None);
    assert_eq!(alice.end(), End { goodbye: false, code: Some(1000) }, "its own close is answered");
    drop(server.connect("alice"));
    gone(None);
    let sid = server.sid(&format!("app-token={}", server.session("alice")));
    let mut alice = server.websocket(&sid);
    alice.post("/v1/connections", json!({})).ok();
    assert_eq!(server.get(&format!("/socket.io/1//{sid}/?disconnect=1")).call().status, 200);
    gone(Some(&mut alice));
    assert_eq!(server.get(&format!("/socket.io/1/xhr-polling/{sid}?disconnect")).call().status, 200);
    let closed = server.figure("respoked_sockets_closed_total{reason=\"left\"}");
    assert_eq!((closed, server.figure("respoked_sockets_opened_total")), (4, 4));
}

#[test]
fn what_cannot_become_a_websocket_leaves_the_client_its_session_id() {
    use std::io::{Read as _, Write as _};
    const UPGRADE: &str = "Upgrade: websocket\r\n";
    const CONNECTION: &str = "Connection: Upgrade\r\n";
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    let server = Server::start();
    let asked = |sid: &str, method: &str, version: &str, headers: &[&str]| {
        let mut link = std::net::TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
        let request =
            format!("{method} /socket.io/1/websocket/{sid} HTTP/1.{version}\r\nHost: a\r\n{}\r\n", headers.concat());
        link.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        link.read_exact(&mut status).unwrap();
        (String::from_utf8(status.to_vec()).unwrap().split_once(' ').unwrap().1.to_owned(), link)
    };
    // What proxies make of it: the version of their own, or without what was for the hop before them.
    for (method, version, headers) in [
        ("GET", "0", &[UPGRADE, CONNECTION, KEY, VERSION][..]),
        ("GET", "0", &[UPGRADE, "Connection: Upgrade, keep-alive\r\n", KEY, VERSION]),
        ("GET", "1", &[KEY, VERSION]),
        ("GET", "1", &[UPGRADE, KEY, VERSION]),
        ("GET", "1", &[UPGRADE, "Connection: close\r\n", KEY, VERSION]),
        ("GET", "1", &[UPGRADE, "Connection: keep-alive\r\n", KEY, VERSION]),
        ("GET", "1", &["Upgrade: h2c\r\n", CONNECTION, KEY, VERSION]),
        ("GET", "1", &[CONNECTION, KEY, VERSION]),
        ("GET", "1", &[UPGRADE, CONNECTION, VERSION]),
        ("GET", "1", &[UPGRADE, CONNECTION, "Sec-WebSocket-Key: \r\n", VERSION]),
        ("GET", "1", &[UPGRADE, CONNECTION, KEY, KEY, VERSION]),
        ("GET", "1", &[UPGRADE, CONNECTION, KEY]),
        ("GET", "1", &[UPGRADE, CONNECTION, KEY, "Sec-WebSocket-Version: 8\r\n"]),
        ("POST", "1", &[UPGRADE, CONNECTION, KEY, VERSION, "Content-Length: 0\r\n"]),
        ("GET", "1", &[UPGRADE, CONNECTION, KEY, VERSION, "Content-Length: 2\r\n"]),
    ] {
        let sid = server.sid(&format!("app-token={}", server.session("alice")));
        let (status, _) = asked(&sid, method, version, headers);
        assert!(status.starts_with('4'), "{status} for {method} 1.{version} {headers:?}");
        let poller = server.poller_at(&sid);
        poller.ask(1, "post", "/v1/connections", &json!({})).1.ok();
    }
    // What can, however it is spelt.
    for headers in [
        ["upgrade: WebSocket\r\n", "connection: keep-alive, upgrade\r\n", KEY, VERSION],
        ["Upgrade: h2c, websocket\r\n", "Connection: keep-alive\r\nConnection: UPGRADE\r\n", KEY, VERSION],
    ] {
        let sid = server.sid(&format!("app-token={}", server.session("alice")));
        assert_eq!(asked(&sid, "GET", "1", &headers).0, "101");
    }
}

#[test]
fn asterisk_sends_unmasked_frames_and_wants_its_protocol_back() {
    use std::io::{Read as _, Write as _};
    let server = Server::start();
    let sid = server.sid(&format!("app-secret={}", server.secret));
    let mut link = std::net::TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let request = format!(
        "GET /socket.io/1/websocket/{sid} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: echo, socket.io\r\n\r\n"
    );
    link.write_all(request.as_bytes()).unwrap();
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        link.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    let head = String::from_utf8(read).unwrap().to_lowercase();
    for line in [
        "connection: upgrade",
        "sec-websocket-protocol: socket.io",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
    ] {
        assert!(head.lines().any(|found| found == line), "{line} is not in {head}");
    }
    assert!(!head.contains("sec-websocket-extensions"));
    let mut greeting = [0; 5];
    link.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting, *b"\x81\x031::");
    let packet = request_packet(1, "get", "/v1/groups", &Value::Null);
    let mut unmasked = vec![0x81, 126, 0, u8::try_from(packet.len()).unwrap()];
    unmasked.extend_from_slice(packet.as_bytes());
    link.write_all(&unmasked).unwrap();
    let mut head = [0; 4];
    link.read_exact(&mut head).unwrap();
    assert_eq!(head[..2], [0x81, 126]);
    let mut ack = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    link.read_exact(&mut ack).unwrap();
    assert!(ack.starts_with(b"6:::1+["));
    // Pings and closes of the websocket itself are answered.
    link.write_all(b"\x89\x02hi").unwrap();
    let mut pong = [0; 4];
    link.read_exact(&mut pong).unwrap();
    assert_eq!(pong, *b"\x8a\x02hi");
    link.write_all(b"\x88\x02\x03\xe8").unwrap();
    let mut rest = Vec::new();
    link.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\x88\x06\x03\xe8left");
}
