//! A node that cannot reach its database.
//!
//! `ISOLATION_SECS` asks for other seconds than the test command has time for: 60 is the default, and takes a minute and a half;
//! with 0 nothing is closed in ten minutes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::storm::links::{Link, Way};
use crate::harness::{Client, End, Postgres, Process, Socket, are_nodes_asked, eventually};

/// In the test command. It is far longer than a node serves without its database, so that both can be told apart.
const SECS: u64 = 20;
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

/// When each socket ended. All are looked at in turn, so that each is seen to end when it does.
fn all_ended(sockets: &mut [Socket], since: Instant, within: Duration) -> Vec<Duration> {
    let mut ended = vec![None; sockets.len()];
    while ended.iter().any(Option::is_none) {
        assert!(since.elapsed() < within, "{ended:?} had ended after {:?}", since.elapsed());
        for (socket, ended) in sockets.iter_mut().zip(&mut ended) {
            if !socket.is_over() {
                socket.read_within(Duration::from_millis(10));
            }
            if ended.is_none() && socket.is_over() {
                *ended = Some(since.elapsed());
            }
        }
    }
    ended.into_iter().flatten().collect()
}

#[test]
fn a_node_without_its_database_keeps_its_sockets_for_a_while() {
    if !are_nodes_asked() {
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
        let ended = all_ended(&mut sockets, cut, isolation + SPREAD + LATE);
        assert!(*ended.iter().min().unwrap() + BEAT >= isolation, "one was closed too early: {ended:?}");
        for socket in &mut sockets {
            assert_eq!(socket.end(), End { goodbye: false, code: Some(1001) });
        }
    }
    assert_eq!(status(&node, "/healthz"), Some(200));

    link.set(Way::Open);
    eventually(|| (status(&node, "/readyz") == Some(200)).then_some(()));
    let mut again = node.connect("alice");
    again.post("/v1/messages", message).ok();
}
