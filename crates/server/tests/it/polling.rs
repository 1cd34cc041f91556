//! Long polling, and sockets that fall silent.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use respoked::config::Config;
use serde_json::{Value, json};

use crate::harness::{End, Poller, Server, eventually, request_packet, summary};

const SILENT: &str = "respoked_sockets_closed_total{reason=\"silent\"}";
const SLOW: &str = "respoked_sockets_closed_total{reason=\"slow_consumer\"}";

/// Heartbeats after which one who left all of them unanswered was silent for too long. Several: a busy machine may let
/// somebody answer late.
const HEARTBEATS: u64 = 8;

/// A server that hears soon of who is silent.
fn impatient() -> Server {
    Server::start_with(impatience)
}

fn impatience(config: &mut Config) {
    config.heartbeat_interval_secs = 1;
    config.heartbeat_timeout_secs = HEARTBEATS;
}

fn poller(server: &Server, endpoint: &str) -> Poller {
    let poller = server.poller(&format!("app-token={}", server.session(endpoint)));
    poller.ask(1, "post", "/v1/connections", &json!({})).1.ok();
    poller
}

/// The packets as one body.
fn body(packets: &[String]) -> String {
    let framed = packets.iter().map(|packet| format!("\u{fffd}{}\u{fffd}{packet}", packet.encode_utf16().count()));
    framed.collect::<Vec<_>>().concat()
}

#[test]
fn a_client_that_polls_does_all_that_others_do() {
    let server = Server::start();
    let (poller, mut bob) = (poller(&server, "alice"), server.connect("bob"));
    bob.join("room");
    let observe = request_packet(3, "post", "/v1/presenceobservers", &json!({"endpointList": ["bob"]}));
    let join = request_packet(2, "post", "/v1/groups", &json!({"groups": ["room"]}));
    assert_eq!(poller.bring(body(&[join, observe]).as_bytes()).text, "1");
    bob.push("join room alice");
    // Beyond the basic plane, and more than one packet in an answer.
    bob.publish("room", "\u{1f600}\u{fffd}");
    bob.post("/v1/presence", json!({"presence": {"type": "away"}})).ok();
    let mut packets = Vec::new();
    eventually(|| {
        packets.extend(poller.poll());
        (packets.len() == 4).then_some(())
    });
    assert!(packets[0].starts_with("6:::2+[{") && packets[1].starts_with("6:::3+[{"), "{packets:?}");
    let pushed =
        |packet: &String| summary(&serde_json::from_str::<Value>(packet.strip_prefix("5:::").unwrap()).unwrap());
    assert_eq!(pushed(&packets[2]), "pubsub room bob \u{1f600}\u{fffd}");
    assert_eq!(pushed(&packets[3]), "presence bob away");
    assert_eq!(poller.bring(b"0::").text, "1");
    bob.push("leave room alice");
    assert_eq!(server.connected(), ["bob"]);
}

#[test]
fn a_client_has_a_few_posts_at_a_time() {
    let server = Server::start();
    let poller = poller(&server, "alice");
    let address = server.url.strip_prefix("http://").unwrap();
    // None of them comes to its end.
    let head = format!(
        "POST /socket.io/1/xhr-polling/{} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n2",
        poller.sid
    );
    let mut posts: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    for post in &mut posts {
        post.write_all(head.as_bytes()).unwrap();
        post.set_nonblocking(true).unwrap();
    }
    let begun = Instant::now();
    let mut answer = [0; 64];
    let len = eventually(|| posts.iter_mut().find_map(|post| post.read(&mut answer).ok()));
    assert!(answer[..len].starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&answer[..len]));
    assert!(begun.elapsed() < Duration::from_secs(9), "the others are waited for");
    drop(posts);
    eventually(|| (poller.bring(b"2::").text == "1").then_some(()));
}

#[test]
fn a_newer_poll_ends_the_older() {
    let server = Server::start();
    let poller = poller(&server, "alice");
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let poller = poller.clone();
            std::thread::spawn(move || poller.poll())
        })
        .collect();
    let (ended, last): (Vec<_>, Vec<_>) = {
        eventually(|| (waiting.iter().filter(|poll| poll.is_finished()).count() == 2).then_some(()));
        waiting.into_iter().partition(std::thread::JoinHandle::is_finished)
    };
    assert!(ended.into_iter().all(|poll| poll.join().unwrap() == ["8::"]));
    server.post("/v1/messages").secret().send(json!({"to": "alice", "message": "x"})).ok();
    for poll in last {
        assert!(poll.join().unwrap()[0].starts_with("5:::{\"name\":\"message\""));
    }
}

/// Brings packets in one `POST` while it polls, and returns the status of each ack, by its id.
fn statuses(server: &Server, poller: &Poller, packets: &[String]) -> BTreeMap<u64, u64> {
    let (brings, payload) = (poller.clone(), body(packets));
    let bringing = std::thread::spawn(move || brings.bring(payload.as_bytes()).text);
    let mut statuses = BTreeMap::new();
    while statuses.len() < packets.len() {
        // Each that is refused is held for a while, and there would be hundreds.
        server.clock.advance_secs(1);
        for packet in poller.poll() {
            let Some(ack) = packet.strip_prefix("6:::") else { continue };
            let (id, ack) = ack.split_once('+').unwrap();
            let ack: Value = serde_json::from_str(ack).unwrap();
            assert_eq!(statuses.insert(id.parse().unwrap(), ack[0]["statusCode"].as_u64().unwrap()), None);
        }
    }
    assert_eq!(bringing.join().unwrap(), "1");
    statuses
}

#[test]
fn however_many_packets_one_post_brings_each_is_carried_out() {
    let server = Server::start();
    let poller = poller(&server, "alice");
    let ask = |id| request_packet(id, "get", "/v1/groups", &Value::Null);
    // As many as the original client queues behind one that is on its way, and far more: what is too much is refused.
    for count in [150, 1_500] {
        let found = statuses(&server, &poller, &(0..count).map(ask).collect::<Vec<_>>());
        assert!(found.keys().copied().eq(0..count), "{found:?}");
        assert!(found.values().all(|status| [200, 429].contains(status)), "{found:?}");
        // Behind hundreds of others the rate may be used up.
        assert!(found[&0] == 200 || count > 150, "{found:?}");
    }
    server.unlimited(&server.admin_token("admin"));
    // A body that is long as well, with characters of all lengths.
    let text = "é€😀\u{fffd}".repeat(1_000);
    let say = |id| request_packet(id, "post", "/v1/messages", &json!({"to": "bob", "message": text}));
    let found = statuses(&server, &poller, &(0..120).map(say).collect::<Vec<_>>());
    assert!(found.values().all(|status| *status == 200), "{found:?}");
    assert_eq!(server.connected(), ["alice"]);
}

/// Requests as one body, numbered from 0.
fn requests(count: u64, data: &Value) -> String {
    let path = if data.is_null() { "/v1/groups" } else { "/v1/messages" };
    let method = if data.is_null() { "get" } else { "post" };
    body(&(0..count).map(|id| request_packet(id, method, path, data)).collect::<Vec<_>>())
}

/// As a client does that has one connection, or waits for its network: several times what may wait for it of answers.
#[test]
fn what_is_brought_before_it_is_polled_for_waits() {
    const COUNT: u64 = 3_000;
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let poller = poller(&server, "alice");
    assert_eq!(poller.bring(requests(COUNT, &Value::Null).as_bytes()).text, "1");
    assert_eq!(poller.bring(request_packet(COUNT, "get", "/v1/groups", &Value::Null).as_bytes()).text, "1");
    let mut answered = Vec::new();
    while answered.len() <= usize::try_from(COUNT).unwrap() {
        for packet in poller.poll() {
            let (id, ack) = packet.strip_prefix("6:::").unwrap().split_once('+').unwrap();
            assert!(ack.contains("\"statusCode\":200"), "{packet}");
            answered.push(id.parse::<u64>().unwrap());
        }
    }
    assert!(answered.into_iter().eq(0..=COUNT), "each once, in order");
}

#[test]
fn what_was_brought_goes_with_a_client_that_does_not_poll() {
    let server = impatient();
    server.unlimited(&server.admin_token("admin"));
    let poller = poller(&server, "alice");
    assert_eq!(poller.bring(requests(3_000, &Value::Null).as_bytes()).text, "1");
    eventually(|| server.connected().is_empty().then_some(()));
    assert_eq!(server.figure(SILENT), 1);
}

#[test]
fn what_waits_is_bounded_for_all_clients_of_an_endpoint() {
    let server = Server::start_with(|config| config.unread_bytes_per_caller_max = 400_000);
    server.unlimited(&server.admin_token("admin"));
    let session = server.session("alice");
    let clients: Vec<_> = (0..2).map(|_| server.poller(&format!("app-token={session}"))).collect();
    for client in &clients {
        client.ask(1, "post", "/v1/connections", &json!({})).1.ok();
    }
    let long = requests(2_000, &json!({"to": "nobody", "message": "x".repeat(500)}));
    let bring = |client: &Poller| {
        let (client, long) = (client.clone(), long.clone());
        std::thread::spawn(move || client.bring(long.as_bytes()).status)
    };
    let bringing = bring(&clients[0]);
    // What waits of the one leaves the other room for answers.
    clients[1].ask(2, "get", "/v1/groups", &Value::Null).1.ok();
    assert_eq!(bringing.join().unwrap(), 503);
    clients[1].ask(3, "get", "/v1/groups", &Value::Null).1.ok();
    // Once the one is gone, so is what it brought: the other may bring as much as may wait.
    assert_eq!(server.get(&format!("{}?disconnect=1", clients[0].path())).call().status, 200);
    let most = requests(700, &json!({"to": "nobody", "message": "x".repeat(500)}));
    assert_eq!(clients[1].bring(most.as_bytes()).text, "1");
}

#[test]
fn a_payload_is_bounded_and_so_is_what_it_brings() {
    let server = Server::start();
    let patient = poller(&server, "patient");
    for (payload, status) in [
        // A few bytes too many.
        (body(&vec!["3:::".to_owned() + &"x".repeat(99_888); 41]).into_bytes(), 413),
        (vec![b'x'; 100 * 1024 + 1], 400),
    ] {
        let poller = poller(&server, "alice");
        assert_eq!(poller.bring(&payload).status, status);
        if status == 400 {
            assert_eq!(poller.poll(), ["0::"]);
        } else {
            poller.bring(b"0::");
        }
        eventually(|| (server.connected() == ["patient"]).then_some(()));
    }
    patient.ask(9, "get", "/v1/groups", &Value::Null).1.ok();
}

#[test]
fn a_flood_of_heartbeats_or_of_polls_ends_the_client() {
    let server = Server::start_with(|config| config.idle_frames_per_sec = 1);
    let heartbeats = poller(&server, "alice");
    heartbeats.bring(body(&vec!["2::".to_owned(); 200]).as_bytes());
    eventually(|| server.connected().is_empty().then_some(()));
    assert_eq!(heartbeats.poll(), ["0::"]);
    // Each ends the one before.
    let polls = poller(&server, "bob");
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let poller = polls.clone();
            std::thread::spawn(move || poller.poll())
        })
        .collect();
    for poll in waiting {
        drop(poll.join());
    }
    assert!(server.connected().is_empty());
    assert_eq!(server.figure("respoked_sockets_closed_total{reason=\"bad_frame\"}"), 2);
}

#[test]
fn a_flood_of_polls_that_are_given_up_or_of_posts_that_are_not_taken_ends_the_client() {
    let server = Server::start_with(|config| config.idle_frames_per_sec = 1);
    let address = server.url.strip_prefix("http://").unwrap();
    let (polls, posts) = (poller(&server, "alice"), poller(&server, "bob"));
    // One after the other, so that none is ended by a newer one.
    let give_up = || {
        let mut link = TcpStream::connect(address).unwrap();
        write!(link, "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", polls.path()).unwrap();
        link.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        link.read_to_string(&mut answer).unwrap();
    };
    // One more than there may be.
    let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", posts.path());
    let begun = [(); 4].map(|()| {
        let mut link = TcpStream::connect(address).unwrap();
        link.write_all(head.as_bytes()).unwrap();
        link
    });
    let packet = request_packet(2, "get", "/v1/groups", &Value::Null);
    let bring_too_much = || drop(posts.bring(packet.as_bytes()));
    for (flood, endpoint) in [(&bring_too_much as &dyn Fn(), "bob"), (&give_up, "alice")] {
        // Some come back while it lasts.
        eventually(|| {
            (0..60).for_each(|_| flood());
            (!server.connected().contains(&endpoint.to_owned())).then_some(())
        });
    }
    drop(begun);
    assert_eq!(server.figure("respoked_sockets_closed_total{reason=\"bad_frame\"}"), 2);
}

#[test]
fn a_poll_that_waits_is_not_silent_and_one_that_stops_is() {
    let server = impatient();
    let poller = poller(&server, "alice");
    poller.ask(2, "post", "/v1/groups", &json!({"groups": ["room"]})).1.ok();
    for _ in 0..HEARTBEATS + 2 {
        assert_eq!(poller.poll(), ["8::"]);
    }
    assert_eq!(server.members("room"), ["alice"]);
    eventually(|| (server.figure(SILENT) == 1).then_some(()));
    assert!(server.members("room").is_empty() && server.connected().is_empty());
    assert_eq!(poller.poll(), ["7:::1+0"]);
}

#[test]
fn a_silent_peer_is_closed_and_one_that_answers_is_not() {
    let server = impatient();
    let (mut alice, mut mute) = (server.connect("alice"), server.connect("mute"));
    mute.mute = true;
    let never_opened = server.sid(&format!("app-token={}", server.session("alice")));
    alice.until(|alice| (alice.heartbeats == HEARTBEATS + 2).then_some(()));
    assert_eq!(mute.end(), End { goodbye: false, code: Some(4010) });
    assert!(mute.heartbeats > 0);
    assert_eq!(server.connected(), ["alice"]);
    assert_eq!((server.figure(SILENT), server.figure("respoked_sockets")), (2, 1));
    let mut late = server.websocket(&never_opened);
    assert_eq!(late.packet().as_deref(), Some("7:::1+0"));
    alice.get("/v1/groups").ok();
}

#[test]
fn what_is_kept_of_a_polling_client_that_was_closed_is_forgotten() {
    let server = impatient();
    let (soon, late) = (poller(&server, "alice"), poller(&server, "bob"));
    server.delete("/v1/sessions?all=true").secret().call().ok();
    eventually(|| server.connected().is_empty().then_some(()));
    assert_eq!(soon.poll(), ["0::"]);
    // Each of these takes longer to be found silent than the last packets wait.
    for count in 1..=2 {
        server.sid(&format!("app-secret={}", server.secret));
        eventually(|| (server.figure(SILENT) == count).then_some(()));
    }
    assert_eq!(late.poll(), ["7:::1+0"]);
}

#[test]
fn scripts_poll_where_that_is_switched_on() {
    let server = Server::start_with(|config| config.jsonp_polling = true);
    let credential = format!("app-token={}", server.session("alice"));
    let answer = server.get(&format!("/socket.io/1/?{credential}&jsonp=7")).call();
    assert_eq!(answer.header("content-type"), Some("application/javascript; charset=UTF-8"));
    let sid = answer.text.strip_prefix("io.j[7](\"").unwrap().split(':').next().unwrap().to_owned();
    assert!(answer.text.ends_with(":60:60:websocket,xhr-polling,jsonp-polling\");"));
    let refused = server.get("/socket.io/1/?jsonp=7").call();
    assert_eq!(refused.text, "io.j[7](new Error(\"handshake unauthorized\"));");
    let path = format!("/socket.io/1/jsonp-polling/{sid}");
    assert_eq!(server.get(&format!("{path}?i=3")).call().text, "io.j[3](\"1::\");");
    let packet = json!(request_packet(1, "post", "/v1/connections", &json!({}))).to_string();
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("d", &packet).finish();
    let request = server.post(&format!("{path}?i=4")).header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(request.raw(form.as_bytes()).text, "1");
    let ack = server.get(&format!("{path}?i=5%22")).call().text;
    assert!(ack.starts_with("io.j[0](\"6:::1+["), "what is no number becomes no part of a script: {ack}");
    assert_eq!(server.connected(), ["alice"]);
    // A payload that is three times as long in a form.
    let long = json!({"to": "alice", "message": "%".repeat(15_000)});
    let packets: Vec<_> = (2..12).map(|id| request_packet(id, "post", "/v1/messages", &long)).collect();
    let payload = json!(body(&packets)).to_string();
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("d", &payload).finish();
    assert!(form.len() > 450_000);
    let request = server.post(&format!("{path}?i=6")).header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(request.raw(form.as_bytes()).text, "1");
    eventually(|| server.get(&format!("{path}?i=7")).call().text.contains("6:::11+[").then_some(()));
}

#[test]
fn a_client_that_asks_on_and_never_polls_is_closed() {
    let server = Server::start_with(|config| {
        impatience(config);
        // It is closed after three times as long as one may be silent.
        config.heartbeat_timeout_secs = HEARTBEATS / 2;
        config.outbox_frames_max = 20;
    });
    let poller = poller(&server, "alice");
    let ask = |id| request_packet(id, "get", "/v1/groups", &Value::Null);
    let packets = body(&(10..60).map(ask).collect::<Vec<_>>());
    // However often it is heard of.
    eventually(|| {
        poller.bring(if server.connected().is_empty() { b"2::" } else { packets.as_bytes() });
        (server.figure(SLOW) == 1).then_some(())
    });
    assert!(server.connected().is_empty());
}

#[test]
fn a_client_that_says_that_it_lives_and_never_polls_is_closed() {
    let server = Server::start_with(|config| {
        impatience(config);
        config.heartbeat_timeout_secs = HEARTBEATS / 2;
        config.idle_frames_per_sec = 1_000;
    });
    let (says, polls) = (poller(&server, "alice"), poller(&server, "bob"));
    let polling = std::thread::spawn(move || {
        // As one does that has nothing to say.
        while polls.poll() == ["8::"] {}
    });
    eventually(|| {
        says.bring(b"2::");
        (server.figure(SLOW) == 1).then_some(())
    });
    assert_eq!((server.connected(), server.figure(SILENT)), (vec!["bob".to_owned()], 0));
    server.post("/v1/messages").secret().send(json!({"to": "bob", "message": "x"})).ok();
    polling.join().unwrap();
}

#[test]
fn what_is_said_to_clients_that_do_not_poll_is_bounded_for_all_of_an_endpoint() {
    let server = Server::start_with(|config| config.unread_bytes_per_caller_max = 300_000);
    server.unlimited(&server.admin_token("admin"));
    let clients = ["alice", "alice", "bob"].map(|endpoint| poller(&server, endpoint));
    for (client, room) in clients.iter().zip(["few", "many", "others"]) {
        client.ask(2, "post", "/v1/groups", &json!({"groups": [room]})).1.ok();
    }
    let say = |room: &str| {
        let message = json!({"message": "x".repeat(19_500)});
        server.post(&format!("/v1/groups/{room}/publish")).secret().send(message).ok();
    };
    for (room, count) in [("few", 6), ("others", 14), ("many", 10)] {
        (0..count).for_each(|_| say(room));
    }
    eventually(|| (server.figure(SLOW) == 1).then_some(()));
    // The one for which most waits went, and that made room for the other.
    assert!(server.members("many").is_empty());
    for (client, count) in [(&clients[0], 6), (&clients[2], 14)] {
        assert_eq!(client.poll().len(), count);
    }
    assert_eq!(clients[1].poll(), ["7:::1+0"]);
    assert_eq!(server.figure(SLOW), 1);
}
