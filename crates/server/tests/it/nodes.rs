//! Several nodes on one PostgreSQL database. On a data folder these tests have nothing to do.

mod drained;
mod ends;
mod hot;
mod isolated;
mod lost;
mod neighbours;
mod requests;
mod shown;
mod storm;

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use respoke_core::clock::{Clock as _, SystemClock};
use respoke_core::ports::{CarrierKind, Joining, Newcomer, Node, NodeStore as _};
use respoke_store::{PostgresOptions, PostgresStore};
use respoke_wire::bus::VERSIONS;
use serde_json::{Value, json};

use crate::harness::{Client, End, Postgres, Process, Server, Socket, are_nodes_asked, eventually};
use crate::postgres::serve;

/// Two nodes that serve as one. None: not on PostgreSQL.
fn two() -> Option<[Server; 2]> {
    if !are_nodes_asked() {
        return None;
    }
    let one = Server::start_with(|config| {
        config.node_name = Some("one".into());
        config.drain_secs = 1;
    });
    let other = one.beside(|config| config.node_name = Some("other".into()));
    Some([one, other])
}

/// Alice at the one and bob at the other, in one group, of which both know.
fn in_a_room(one: &Client, other: &Client) -> (Socket, Socket) {
    let (mut alice, mut bob) = (one.connect("alice"), other.connect("bob"));
    alice.join("room");
    bob.join("room");
    alice.push("join room bob");
    (alice, bob)
}

#[test]
fn each_node_tells_of_all() {
    let Some([one, other]) = two() else { return };
    let admin = one.admin_token("admin");
    for node in [&one, &other] {
        let nodes = eventually(|| {
            let nodes = node.get("/v1/nodes").admin(&admin).call().ok();
            let serving = nodes.as_array().unwrap().iter().filter(|node| node["state"] == "serving").count();
            (serving == 2).then_some(nodes)
        });
        let names: Vec<_> = nodes.as_array().unwrap().iter().map(|node| node["name"].clone()).collect();
        assert_eq!(names, ["one", "other"]);
        let answering: Vec<_> = nodes.as_array().unwrap().iter().filter(|node| node["asked"] == true).collect();
        assert_eq!(answering.len(), 1);
        let address = answering[0]["address"].as_str().unwrap();
        assert!(node.client.url.ends_with(address), "{address}");
    }
}

#[test]
fn clients_of_two_nodes_talk_as_those_of_one() {
    let Some([one, other]) = two() else { return };
    let (mut alice, mut bob) = in_a_room(&one, &other);
    assert_eq!(one.members("room"), other.members("room"));
    assert_eq!(one.members("room").len(), 2);
    for n in 0..100 {
        alice.publish("room", n);
    }
    let mut heard = Vec::new();
    bob.until(|bob| {
        heard.extend(bob.pushed());
        (heard.len() >= 100).then_some(())
    });
    let expected: Vec<_> = (0..100).map(|n| format!("pubsub room alice {n}")).collect();
    assert_eq!(heard, expected);
    bob.post("/v1/messages", json!({"to": "alice", "message": "hello"})).ok();
    alice.push("message bob hello");
    drop(bob);
    alice.push("leave room bob");
    assert_eq!(one.members("room"), ["alice"]);
}

/// By its farewell they know that nobody is there. That it is gone they may hear up to a second later, and until then it answers
/// nobody.
#[test]
fn lists_are_whole_as_soon_as_a_node_has_left_in_order() {
    let Some([one, mut other]) = two() else { return };
    let admin = one.admin_token("admin");
    let connections = || one.get("/v1/connections").secret().call();
    for round in 0..3 {
        eventually(|| {
            let nodes = one.get("/v1/nodes").admin(&admin).call().ok();
            (nodes.as_array().unwrap().len() == 2 && connections().status == 200).then_some(())
        });
        drop(other);
        connections().ok();
        other = one.beside(|config| config.node_name = Some(format!("other {round}")));
    }
}

#[test]
fn an_end_at_one_node_closes_the_socket_at_another() {
    let Some([one, other]) = two() else { return };
    let token = one.session("alice");
    let mut alice = other.open_as("alice", &token);
    assert!(other.alive(&token), "the other node remembers it from here on");
    let ended = one.request("DELETE", "/v1/session-tokens").token(&token).call();
    assert_eq!(ended.header("respoke-confirmed"), Some("2/2"), "{ended:?}");
    assert!(!other.alive(&token), "it is over everywhere once the end is answered so");
    assert_eq!(alice.end(), End::REVOKED);
}

/// Whoever has joined may remember what is ended, and whom another node knows is what that heard with its last beat.
#[test]
fn an_end_beside_a_node_that_has_just_joined_is_not_confirmed_by_all() {
    let folder = tempfile::tempdir().unwrap();
    if !are_nodes_asked() {
        return;
    }
    let Some(database) = Postgres::new() else { return };
    let one = serve(folder.path(), &database.url()).with_app();
    let token = one.session("alice");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // It never answers.
    let _joined = runtime.block_on(joined(&database, VERSIONS));
    let ended = one.request("DELETE", "/v1/session-tokens").token(&token).call();
    assert_eq!(ended.header("respoke-confirmed"), Some("1/2"), "{ended:?}");
}

/// Adds a node to those of a database, as one does that starts, and reads these versions of what nodes tell each other.
async fn joined(database: &Postgres, codec: RangeInclusive<u8>) -> (PostgresStore, Node) {
    let mut server = database.server().clone();
    server.dbname(database.name());
    let store = PostgresStore::open(PostgresOptions::of(server)).await.unwrap();
    let newcomer = Newcomer {
        was: None,
        place: None,
        name: "newcomer".into(),
        address: "127.0.0.1:1".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        carrier: CarrierKind::Postgres,
        codec,
        now: SystemClock.now(),
    };
    match store.join(newcomer).await.unwrap() {
        Joining::Joined { node, .. } => (store, node),
        refused @ Joining::Refused(_) => panic!("{refused:?}"),
    }
}

#[test]
fn a_node_that_drains_sends_its_clients_to_the_other_and_ends() {
    let Some([one, other]) = two() else { return };
    let admin = one.admin_token("admin");
    let ids = |server: &Server| -> Vec<Value> {
        server.get("/v1/nodes").admin(&admin).call().ok().as_array().unwrap().clone()
    };
    let id = eventually(|| ids(&one).iter().find(|node| node["name"] == "other").map(|node| node["id"].clone()));
    let mut alice = other.connect("alice");
    let path = format!("/v1/nodes/{id}/drain");
    one.post(&path).admin(&admin).send(json!({})).ok();
    assert_eq!(alice.end(), End { goodbye: false, code: Some(1001) });
    eventually(|| (ids(&one).len() == 1).then_some(()));
    one.post(&path).admin(&admin).send(json!({})).refused(404, "not_found");
}

/// Two nodes, each a process of its own, with an app. None: there is no server for them.
fn two_processes(folder: &std::path::Path) -> Option<(Postgres, Process, Process)> {
    if !are_nodes_asked() {
        return None;
    }
    let database = Postgres::new()?;
    let mut one = serve(folder, &database.url()).with_app();
    let rights = json!({"groups": {"*": {"create": true, "publish": true, "subscribe": true}}});
    one.client.role = one.create_role("all", rights);
    let mut other = serve(folder, &database.url());
    let url = std::mem::replace(&mut other.client, one.client.clone()).url;
    other.client.url = url;
    Some((database, one, other))
}

fn live_at(node: &Client, admin: &str) -> usize {
    node.get("/v1/nodes").admin(admin).call().ok().as_array().unwrap().len()
}

#[test]
fn a_node_that_is_killed_is_told_as_gone_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_database, one, other)) = two_processes(folder.path()) else { return };
    let admin = other.admin_token("owner");
    let (_alice, mut bob) = in_a_room(&one, &other);
    bob.post("/v1/presence-observers", json!({"endpointList": ["alice"]})).ok();
    assert_eq!(live_at(&other, &admin), 2);
    one.kill();
    let mut heard = Vec::new();
    bob.until(|bob| {
        heard.extend(bob.pushed());
        (heard.len() >= 3).then_some(())
    });
    heard.sort();
    // What the node may have said last never left it.
    assert_eq!(heard, ["leave room alice", "missed", "presence alice unavailable"]);
    assert_eq!(live_at(&other, &admin), 1);
    assert_eq!(other.members("room"), ["bob"]);
    // What comes behind shows that nothing is told twice.
    other.connect("carol").post("/v1/messages", json!({"to": "bob", "message": "last"})).ok();
    let last = bob.until(|bob| Some(bob.pushed()).filter(|pushed| !pushed.is_empty()));
    assert_eq!(last, ["message carol last"]);
}

#[test]
fn a_node_that_was_stopped_serves_nothing_of_before_and_begins_another_life() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_database, one, other)) = two_processes(folder.path()) else { return };
    let admin = other.admin_token("owner");
    let (mut alice, mut bob) = in_a_room(&one, &other);
    let token = one.session("carol");
    assert!(one.alive(&token), "it is remembered from here on");
    one.signal("STOP");
    bob.push("leave room alice");
    assert_eq!(live_at(&other, &admin), 1);
    other.request("DELETE", "/v1/session-tokens").token(&token).call().ok();
    one.signal("CONT");
    assert_eq!(alice.end(), End { goodbye: false, code: Some(4012) });
    eventually(|| (live_at(&other, &admin) == 2).then_some(()));
    // The next life listens where the one before did.
    eventually(|| (one.get("/readyz").try_call()?.status == 200).then_some(()));
    assert!(!one.alive(&token) && !other.alive(&token));
}

#[test]
fn a_node_that_starts_again_where_it_was_killed_need_not_be_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    if !are_nodes_asked() {
        return;
    }
    let Some(database) = Postgres::new() else { return };
    let one = serve(folder.path(), &database.url()).with_app();
    let address = one.url.trim_start_matches("http://").to_owned();
    let client = one.kill();
    let flags = ["--database", &database.url()];
    let again = Process::spawn_listening(&address, &folder.path().join("again"), &flags);
    // A node that might live would be asked for its part of the list, and would not answer.
    assert_eq!(client.get("/v1/groups").secret().call().status, 200);
    let admin = again.admin_token("owner");
    assert_eq!(live_at(&again, &admin), 1);
}

/// Whoever starts hears of the others a moment before these hear it.
#[test]
fn a_node_that_starts_names_nobody_as_deaf_who_hears_it_in_time() {
    /// How long it waits for that.
    const WAITS: Duration = Duration::from_secs(3);
    if !are_nodes_asked() {
        return;
    }
    let Some(database) = Postgres::new() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), database.url());
    let _one = serve(folder.path(), &url);
    for nth in 0..3 {
        let data = folder.path().join(format!("other-{nth}"));
        let began = Instant::now();
        let other = Process::spawn_listening("127.0.0.1:0", &data, &["--database", &url, "--drain-secs", "1"]);
        let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
        assert!(!log.contains("does not answer: if") || began.elapsed() >= WAITS, "{log}");
        other.signal("TERM");
        assert_eq!(other.wait(), 0);
    }
}
