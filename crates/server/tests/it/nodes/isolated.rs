//! A node that cannot reach its database.
//!
//! `ISOLATION_SECS` asks for other seconds than the test command has time for: 60 is the default, and takes a minute and a half;
//! with 0 nothing is closed in ten minutes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::storm::links::{Link, Way};
use crate::harness::{Client, End, Postgres, Process, eventually, is_postgres_asked};

/// In the test command. It is longer than a node serves without its database, so that both can be told apart.
const SECS: u64 = 12;
/// How long sockets are closed, at random.
const SPREAD: Duration = Duration::from_secs(8);
/// A node counts from the last beat that was confirmed, which is this old at most.
const BEAT: Duration = Duration::from_secs(4);
/// More than a busy machine is late.
const LATE: Duration = Duration::from_secs(30);
const FOR_EVER: Duration = Duration::from_secs(600);

#[expect(clippy::disallowed_methods, reason = "whoever runs it says how")]
fn secs() -> u64 {
    std::env::var("ISOLATION_SECS").map_or(SECS, |secs| secs.parse().expect("it is a number"))
}

fn status(node: &Client, path: &str) -> Option<u16> {
    node.get(path).secret().try_call().map(|answer| answer.status)
}

#[test]
fn a_node_without_its_database_keeps_its_sockets_for_a_while() {
    if !is_postgres_asked() {
        return;
    }
    let Some(database) = Postgres::new() else { return };
    let (folder, isolation) = (tempfile::tempdir().unwrap(), secs());
    let link = Link::to(database.server().get_ports()[0]);
    let (url, secs) = (database.url_by(link.port), isolation.to_string());
    let flags = ["--database", &url, "--isolation-secs", &secs, "--log", "info"];
    let node = Process::spawn_listening("127.0.0.1:0", &folder.path().join("node"), &flags).with_app();
    let mut sockets: Vec<_> = (0..8).map(|_| node.connect("alice")).collect();

    link.set(Way::Cut);
    let cut = Instant::now();
    eventually(|| (status(&node, "/v1/groups/room/history") == Some(503)).then_some(()));
    eventually(|| (status(&node, "/readyz") == Some(503)).then_some(()));
    assert_eq!(status(&node, "/healthz"), Some(200), "nothing is to restart it");
    let message = json!({"to": "alice", "message": "hello"});
    eventually(|| (sockets[0].post("/v1/messages", message.clone()).status == 503).then_some(()));
    if isolation == 0 {
        while cut.elapsed() < FOR_EVER {
            for socket in &mut sockets {
                socket.read_within(Duration::from_millis(100));
                assert!(!socket.is_over(), "it was closed after {:?}", cut.elapsed());
            }
        }
    } else {
        let isolation = Duration::from_secs(isolation);
        for socket in &mut sockets {
            while !socket.is_over() && cut.elapsed() < isolation + SPREAD + LATE {
                socket.read_within(Duration::from_millis(100));
                let is_early = cut.elapsed() + BEAT < isolation;
                assert!(!(socket.is_over() && is_early), "it was closed after {:?}", cut.elapsed());
            }
            assert_eq!(socket.end(), End { goodbye: false, code: Some(1001) });
        }
    }
    assert_eq!(status(&node, "/healthz"), Some(200));

    link.set(Way::Open);
    eventually(|| (status(&node, "/readyz") == Some(200)).then_some(()));
    let mut again = node.connect("alice");
    again.post("/v1/messages", message).ok();
}
