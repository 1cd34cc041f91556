//! Clients that read slowly or not at all, and those beside them.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::harness::{End, Server, Socket, eventually, request_packet, text_frame};

const SLOW: &str = "respoked_sockets_closed_total{reason=\"slow_consumer\"}";
/// A message that is long enough to fill what the system buffers for a link in some thousands.
const LONG: usize = 8_000;

/// Publishes until the group's slow member was closed, and returns how many messages that took.
fn publish_until_closed(server: &Server, publisher: &mut Socket, reader: &mut Socket) -> usize {
    // Fewer than may wait for the one that reads, so that it need not read in between.
    const ROUND: usize = 20;
    let mut published = 0;
    while server.members("room").contains(&"slow".to_owned()) {
        for _ in 0..ROUND {
            publisher.publish("room", format!("{published} {}", "x".repeat(LONG)));
            published += 1;
        }
        assert!(published < 5_000, "the links take more than they can");
        // This one reads, and has everything by now, in order.
        assert_eq!(numbers(&reader.pushed()), (published - ROUND..published).collect::<Vec<_>>());
    }
    published
}

/// The numbers that messages to the group begin with.
fn numbers(pushed: &[String]) -> Vec<usize> {
    let of = |push: &String| push.strip_prefix("pubsub room publisher ")?.split(' ').next()?.parse().ok();
    pushed.iter().filter_map(of).collect()
}

#[test]
fn a_slow_reader_is_closed_and_costs_the_others_nothing() {
    let server = Server::start_with(|config| {
        config.outbox_frames_max = 100;
        config.outbox_bytes_max = 200_000;
    });
    server.unlimited(&server.admin_token("admin"));
    let (mut publisher, mut reader, mut slow) =
        (server.connect("publisher"), server.connect("reader"), server.connect("slow"));
    slow.join("room");
    reader.join("room");
    let published = publish_until_closed(&server, &mut publisher, &mut reader);
    assert_eq!(server.figure(SLOW), 1);
    reader.push("leave room slow");
    // It reads on in time to learn why. What it got is the beginning, without a hole.
    assert_eq!(slow.end(), End { goodbye: false, code: Some(4008) });
    let got = numbers(&slow.kept());
    assert_eq!(got, (0..got.len()).collect::<Vec<_>>());
    assert!(!got.is_empty() && got.len() < published);
    assert_eq!(server.figure("respoked_sockets"), 2);
}

#[test]
fn who_is_in_many_rooms_reads_along_while_another_joins_and_leaves_all_of_them() {
    // Each room tells of two connections: far more than may wait, if nothing were written in between.
    const ROOMS: usize = 200;
    let server = Server::start_with(|config| config.outbox_frames_max = 150);
    server.unlimited(&server.admin_token("admin"));
    let rooms: Vec<String> = (0..ROOMS).map(|number| format!("room {number}")).collect();
    let groups = json!({"groups": rooms});
    let (mut bot, mut backend) = (server.connect("bot"), server.connect_backend("backend"));
    let _guests = [server.connect("guest"), server.connect("guest")];
    bot.post("/v1/groups", groups.clone()).ok();
    let reading = std::thread::spawn(move || {
        bot.until(|bot| (bot.pushes_len() >= 4 * ROOMS).then_some(()));
        bot.pushed()
    });
    let guest = json!({"groups": rooms, "endpointId": "guest"});
    backend.post("/v1/groups", guest.clone()).ok();
    backend.delete("/v1/groups", guest).ok();
    let told = reading.join().unwrap();
    for event in ["join", "leave"] {
        assert_eq!(told.iter().filter(|push| push.starts_with(event)).count(), 2 * ROOMS);
    }
    assert_eq!(server.figure(SLOW), 0);
}

#[test]
fn one_that_never_reads_again_is_dropped_when_a_write_takes_too_long() {
    let server = Server::start_with(|config| {
        config.outbox_frames_max = 100;
        config.outbox_bytes_max = 200_000;
        config.write_timeout_secs = 1;
    });
    server.unlimited(&server.admin_token("admin"));
    let (mut publisher, mut reader, mut slow) =
        (server.connect("publisher"), server.connect("reader"), server.connect("slow"));
    slow.join("room");
    reader.join("room");
    publish_until_closed(&server, &mut publisher, &mut reader);
    // The link itself is gone, and its place with it: the two others', and those of the tests' requests, are left.
    eventually(|| (server.figure("respoked_connections") <= 3).then_some(()));
    assert_eq!((server.figure(SLOW), server.figure("respoked_sockets")), (1, 2));
    assert_eq!(slow.end().code, None);
}

#[test]
fn who_asks_much_and_reads_late_is_waited_for_and_loses_nothing() {
    const REQUESTS: u64 = 5_000;
    let server = Server::start_with(|config| {
        config.outbox_frames_max = 100;
        // It reads as late as it likes; and a heartbeat would be answered in the middle of what is asked.
        config.write_timeout_secs = 120;
        (config.heartbeat_interval_secs, config.heartbeat_timeout_secs) = (3_600, 7_200);
    });
    server.unlimited(&server.admin_token("admin"));
    // Each answer names the members, so that no link takes all of them at once.
    let mut crowd: Vec<Socket> = (0..20).map(|_| server.connect(&"long name ".repeat(20))).collect();
    for member in &mut crowd {
        member.join("room");
    }
    let mut eager = server.connect("eager");
    let mut link = eager.link();
    let asking = std::thread::spawn(move || {
        for id in 1_000..1_000 + REQUESTS {
            let packet = request_packet(id, "get", "/v1/channels/room/subscribers", &Value::Null);
            link.write_all(&text_frame(&packet)).unwrap();
        }
    });
    // Its answers stand still, and nothing more of it is taken.
    let count = || server.figure("respoked_deliveries_total");
    let asked = || {
        let text = server.figures();
        let line = text.lines().find(|line| line.contains("subscribers") && line.contains("http_requests_total"));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    };
    eventually(|| (asked() > 500).then_some(()));
    let mut before = asked();
    eventually(|| {
        // Two looks with other work in between that find the same.
        for _ in 0..20 {
            count();
        }
        let now = asked();
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
    assert!(before < REQUESTS, "all were answered at once, so nothing was waited for");
    for id in 1_000..1_000 + REQUESTS {
        let ack = eager.ack(id).ok();
        assert_eq!(ack.as_array().unwrap().len(), 20);
    }
    asking.join().unwrap();
    assert_eq!(server.figure(SLOW), 0);
    eager.post("/v1/presence", json!({"presence": {"type": "here"}})).ok();
}
