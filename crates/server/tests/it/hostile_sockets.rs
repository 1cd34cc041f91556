//! Packets nobody should send.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{End, Server, Socket, eventually};

const BAD_FRAME: End = End { goodbye: false, code: Some(4000) };

/// Lets a connection of alice do something bad, and holds the server to what follows: she is sent away, and bob is not.
fn sent_away(bad: impl Fn(&mut Socket)) {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    bob.join("room");
    alice.join("room");
    bad(&mut alice);
    assert_eq!(alice.end(), BAD_FRAME);
    bob.push("leave room alice");
    assert_eq!((server.members("room"), server.connected()), (vec!["bob".to_owned()], vec!["bob".to_owned()]));
    assert_eq!(server.figure("respoked_sockets_closed_total{reason=\"bad_frame\"}"), 1);
}

/// What no client should send and the original server passed over.
const STRAYS: [&str; 24] = [
    "",
    " ",
    "\n",
    "x",
    "5",
    ":",
    "::",
    "9::",
    "99999999999999999999::",
    "-1::",
    "05::",
    "5:1",
    "5:-1+::{}",
    "5:x+::{}",
    "5:++::{}",
    "5:18446744073709551616+::{}",
    "2probe",
    "\u{feff}",
    "\u{feff}2::",
    "\u{fffd}",
    "\u{fffd}3\u{fffd}2::",
    "\u{0}",
    "{\"name\":\"post\"}",
    "GET / HTTP/1.1",
];

#[test]
fn what_is_no_packet_is_passed_over_and_counted() {
    let server = Server::start();
    let mut alice = server.connect("alice");
    alice.join("room");
    for stray in STRAYS {
        alice.send(stray);
    }
    for binary in [&b""[..], b"2::", &[0xff; 1_000]] {
        alice.send_message(Message::binary(binary.to_vec()));
    }
    alice.get("/v1/groups").ok();
    let strays = || server.figure("respoked_stray_packets_total");
    assert_eq!(strays(), u64::try_from(STRAYS.len()).unwrap() + 3);
    // And by polling, each alone, and behind each other.
    let before = strays();
    let poller = server.poller(&format!("app-token={}", server.session("bob")));
    poller.ask(1, "post", "/v1/connections", &json!({})).1.ok();
    for (id, stray) in (2..).zip(STRAYS) {
        assert_eq!(poller.bring(stray.as_bytes()).text, "1", "{stray:?}");
        poller.ask(id, "get", "/v1/groups", &Value::Null).1.ok();
    }
    assert_eq!(
        strays() - before,
        u64::try_from(STRAYS.len()).unwrap() - 1,
        "one of them is a payload of one heartbeat"
    );
    let framed = STRAYS.map(|stray| format!("\u{fffd}{}\u{fffd}{stray}", stray.encode_utf16().count())).concat();
    // What follows a part that cannot be read is lost with it.
    for payload in
        [framed.as_bytes(), "\u{fffd}4\u{fffd}2::".as_bytes(), &[0xff, 0xfe], "\u{fffd}3\u{fffd}2::x".as_bytes()]
    {
        assert_eq!(poller.bring(payload).text, "1", "{}", payload.escape_ascii());
        poller.ask(99, "get", "/v1/groups", &Value::Null).1.ok();
    }
    assert_eq!(server.connected(), ["alice", "bob"]);
    assert_eq!(server.members("room"), ["alice"]);
}

/// Frames that a client may send now and then: more of them than may come at once.
const FLOOD: usize = 2_000;

#[test]
fn a_flood_of_what_is_no_request_ends_the_socket() {
    for packet in [
        "x",
        "",
        "2::",
        "6:::1",
        "1::",
        "5:1+:/room:{}",
        "5:::{bad",
        "5:::{\"name\":\"get\",\"args\":[{\"url\":\"/v1/no\"}]}",
    ] {
        sent_away(|alice| (0..FLOOD).for_each(|_| alice.send(packet)));
    }
    sent_away(|alice| (0..FLOOD).for_each(|_| alice.send_message(Message::binary(Vec::new()))));
    sent_away(|alice| (0..FLOOD).for_each(|_| alice.send_message(Message::Ping(Vec::new().into()))));
    sent_away(|alice| (0..FLOOD).for_each(|_| alice.send_message(Message::Pong(Vec::new().into()))));
}

#[test]
fn endless_pieces_of_nothing_end_the_socket() {
    const BEGINNING: [u8; 6] = [0x01, 0x80, 0, 0, 0, 0];
    const NOTHING: [u8; 6] = [0x00, 0x80, 0, 0, 0, 0];
    // The last piece of a heartbeat.
    const END: [u8; 9] = [0x80, 0x83, 0, 0, 0, 0, b'2', b':', b':'];
    sent_away(|alice| {
        alice.send_raw(&BEGINNING);
        alice.send_raw(&NOTHING.repeat(FLOOD));
    });
    sent_away(|alice| {
        for _ in 0..20 {
            alice.send_raw(&[&BEGINNING[..], &NOTHING.repeat(100), &END].concat());
        }
    });
    // What long messages come in is no flood, nor is a piece now and then.
    let server = Server::start();
    let mut alice = server.connect("alice");
    for _ in 0..20 {
        let request = format!("5:::{{\"name\":\"get\",\"args\":[{{\"url\":\"/v1/groups\"}}]}}{}", " ".repeat(60_000));
        let pieces = request.as_bytes().chunks(500).map(|piece| {
            let len = u16::try_from(piece.len()).unwrap().to_be_bytes();
            [&[0x00, 0x80 | 0x7e, len[0], len[1], 0, 0, 0, 0], piece].concat()
        });
        let bytes = [BEGINNING.to_vec(), pieces.collect::<Vec<_>>().concat(), vec![0x80, 0x80, 0, 0, 0, 0]].concat();
        alice.send_raw(&bytes);
    }
    alice.get("/v1/groups").ok();
}

/// The beginning of a message of which more is to come.
fn beginning(len: u16) -> Vec<u8> {
    let len_bytes = len.to_be_bytes();
    [&[0x01, 0x80 | 0x7e, len_bytes[0], len_bytes[1], 0, 0, 0, 0][..], &vec![b'x'; len.into()]].concat()
}

#[test]
fn a_message_that_does_not_become_whole_ends_the_socket_whatever_is_sent_in_between() {
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    let server = Server::start_with(|config| {
        config.heartbeat_interval_secs = 1;
        config.heartbeat_timeout_secs = 2;
        config.idle_frames_per_sec = 1_000;
    });
    let mut alice = server.connect("alice");
    alice.send_raw(&beginning(1_000));
    eventually(|| {
        alice.send_raw(&PING);
        (server.figure("respoked_sockets_closed_total{reason=\"silent\"}") == 1).then_some(())
    });
    assert_eq!(alice.end().code, Some(4010));
}

#[test]
fn what_there_is_of_messages_that_are_not_whole_is_bounded_for_all_sockets_of_an_endpoint() {
    let server = Server::start_with(|config| config.unread_bytes_per_caller_max = 100_000);
    let slow = || server.figure("respoked_sockets_closed_total{reason=\"slow_consumer\"}");
    let (mut one, mut other, mut bob) = (server.connect("alice"), server.connect("alice"), server.connect("bob"));
    for (socket, len) in [(&mut one, 40_000), (&mut other, 65_000), (&mut bob, 65_000)] {
        socket.send_raw(&beginning(len));
    }
    eventually(|| (slow() == 1).then_some(()));
    // The others can say the rest.
    for socket in [&mut one, &mut bob] {
        socket.send_raw(&[0x80, 0x80, 0, 0, 0, 0]);
        socket.get("/v1/groups").ok();
    }
    assert_eq!(slow(), 1);
}

#[test]
fn frames_that_are_too_long_end_the_socket() {
    sent_away(|alice| alice.send(&format!("5:1+::{}", "x".repeat(100 * 1024))));
    sent_away(|alice| alice.send(&"x".repeat(4 << 20)));
    // A head that promises more than there will ever be: a frame of 2^62 bytes, and one in endless pieces.
    sent_away(|alice| alice.send_raw(&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]));
    sent_away(|alice| {
        alice.send_raw(&[0x01, 0x80, 0, 0, 0, 0]);
        let piece = [vec![0x00, 0xfe, 0x80, 0, 0, 0, 0, 0], vec![b'x'; 0x8000]].concat();
        for _ in 0..5 {
            alice.send_raw(&piece);
        }
    });
}

#[test]
fn what_breaks_the_websocket_ends_the_socket() {
    // A reserved bit, a reserved kind, text that is no UTF-8, a piece of nothing, a ping of 126 bytes.
    let ping = [vec![0x89, 0xfe, 0, 126], vec![0; 130]].concat();
    for bytes in [
        &[0xc1_u8, 0x80, 0, 0, 0, 0][..],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe],
        &[0x80, 0x80, 0, 0, 0, 0],
        &ping,
    ] {
        sent_away(|alice| alice.send_raw(bytes));
    }
}

#[test]
fn what_is_understood_and_not_used_is_passed_over() {
    let server = Server::start();
    let mut alice = server.connect("alice");
    for packet in
        ["1::", "2::", "2:::", "3:::text", "4:::{}", "6:::1+[]", "7:::1+0", "8::", "5:1+:/room:{}", "0::/room"]
    {
        alice.send(packet);
    }
    alice.send_message(Message::Ping(b"x".to_vec().into()));
    alice.get("/v1/groups").ok();
    assert_eq!(server.connected(), ["alice"]);
}

#[test]
fn requests_that_cannot_be_read_are_refused_and_the_socket_stays() {
    let server = Server::start();
    let mut alice = server.connect("alice");
    let mut bob = server.connect("bob");
    let deep = |depth: usize| serde_json::from_str::<Value>(&format!("{}1{}", "[".repeat(depth), "]".repeat(depth)));
    alice.post("/v1/messages", json!({"to": "bob", "message": deep(20).unwrap()})).ok();
    assert_eq!(bob.pushed().len(), 1);
    for (name, data) in [
        ("too deep", json!({"to": "bob", "message": deep(60).unwrap()})),
        ("a list", json!(["to", "bob"])),
        ("text", json!("to=bob")),
        ("a number", json!(7)),
        ("control characters", json!({"to": "b\u{0}b", "message": "x"})),
        ("long", json!({"to": "b".repeat(257), "message": "x"})),
    ] {
        assert_eq!(alice.post("/v1/messages", data).status, 400, "{name}");
    }
    // Nested so deeply that it must not even be skipped with a call for each level.
    for argument in [format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)), "{\"a\":".repeat(20_000)] {
        alice.send(&format!("5:77+::{{\"name\":\"post\",\"args\":[{argument}]}}"));
        assert_eq!(alice.until_ack(77)[0]["statusCode"], 400);
    }
    let just = |len: usize| json!({"to": "bob", "message": "x".repeat(len - json!({"to": "bob", "message": ""}).to_string().len())});
    alice.post("/v1/messages", just(20_000)).ok();
    alice.post("/v1/messages", just(20_001)).refused(413, "body_too_large");
    assert_eq!(bob.pushed().len(), 1);
    for path in ["/v1/groups/%ff", "/v1/%2e%2e/metrics", "//v1/groups", "/v1//groups", "v1", "", "?", "#"] {
        let status = alice.get(path).status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    let headers: Value = (0..40).map(|number| (format!("x-{number}"), "y")).collect();
    assert_eq!(alice.ask_with(&headers, "get", "/v1/groups", Value::Null).status, 400);
    alice.ask_with(&json!({"App-Token\r\nx": "y", "x": "a\r\nb"}), "get", "/v1/groups", Value::Null).ok();
}

#[test]
fn ids_are_answered_as_they_were_given_even_twice() {
    let server = Server::start();
    let mut alice = server.connect("alice");
    for id in [0, 1, 1, u64::MAX, u64::MAX] {
        alice.send(&crate::harness::request_packet(id, "get", "/v1/groups", &Value::Null));
        assert_eq!(alice.until_ack(id)[0]["statusCode"], 200);
    }
    assert_eq!(alice.acks_len(), 0);
}
