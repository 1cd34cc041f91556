//! What a node said last, and nobody else heard: it is told as `missed` if the node dies, and nothing is if it ends in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use respoke_core::ports::{Beating, Load, NodeState, NodeStore as _};
use respoke_wire::bus::VERSIONS;
use serde_json::json;

use super::storm::links::{Link, Way};
use super::{in_a_room, joined};
use crate::harness::{
    Client, NatsServer, PASSWORD, Postgres, Process, Socket, are_nodes_asked, eventually, respoked, run, summary,
};
use crate::postgres::serve;

/// How long a node goes on for certain without its database: it serves for eight seconds after a beat, which are three apart.
const SERVES_ON: Duration = Duration::from_secs(3);
/// How long it may take on a busy machine until a node is declared dead.
const DECLARED_WITHIN: Duration = Duration::from_secs(30);

/// What comes to a client until it hears that.
fn heard_until(client: &mut Socket, last: &str) -> Vec<String> {
    let until = Instant::now() + DECLARED_WITHIN;
    let mut heard = Vec::new();
    while Instant::now() < until && !heard.iter().any(|heard| heard == last) {
        client.read_within(Duration::from_millis(100));
        heard.extend(client.taken().iter().map(summary));
    }
    heard
}

/// Says something to bob, as a backend does.
fn say(node: &Client, what: &str) {
    node.post("/v1/messages").secret().send(json!({"to": "bob", "message": what})).ok();
}

/// Two nodes, one of them by a link to its database, and a client at the other, which goes on.
struct Apart {
    _database: Postgres,
    _folder: tempfile::TempDir,
    link: Link,
    one: Process,
    at_other: Client,
    _other: Process,
}

impl Apart {
    /// None: not on PostgreSQL.
    fn new() -> Option<Self> {
        let database = are_nodes_asked().then(Postgres::new).flatten()?;
        let folder = tempfile::tempdir().unwrap();
        let link = Link::to(database.server().get_ports()[0]);
        let flags = ["--database", &database.url_by(link.port)];
        let one = Process::spawn_listening("127.0.0.1:0", &folder.path().join("one"), &flags).with_app();
        let other = serve(folder.path(), &database.url());
        let mut at_other = one.client.clone();
        at_other.url.clone_from(&other.client.url);
        Some(Self { _database: database, _folder: folder, link, one, at_other, _other: other })
    }
}

#[test]
fn what_a_node_answered_for_and_took_with_it_is_told_as_missed() {
    let Some(Apart { link, one, at_other, .. }) = &Apart::new() else { return };
    let mut bob = at_other.connect("bob");
    say(one, "before");
    assert_eq!(heard_until(&mut bob, "message __SYSTEM__ before"), ["message __SYSTEM__ before"]);

    link.set(Way::Held);
    let held = Instant::now();
    say(one, "lost");
    assert!(held.elapsed() < SERVES_ON, "it was answered so late that it may say something else");
    assert_eq!(heard_until(&mut bob, "missed"), ["missed"]);
    assert!(held.elapsed() > SERVES_ON, "the other node knows that this one is dead, and not that it is slow");
    // Once, and whatever else is said comes as before.
    say(at_other, "after");
    assert_eq!(heard_until(&mut bob, "message __SYSTEM__ after"), ["message __SYSTEM__ after"]);
}

/// A process that was stopped goes on in the middle of what it did. What is said then would not be told as missed: that was before.
/// So it is not said.
#[test]
fn nothing_is_said_when_a_node_goes_on_that_is_dead_to_others() {
    const ASKERS: usize = 4;
    /// How long somebody waits for certain for another node that is silent: a second, less what it takes a process to stop.
    const WAITS: Duration = Duration::from_millis(900);
    let Some(Apart { link, one, at_other, .. }) = &Apart::new() else { return };
    let mut bob = at_other.connect("bob");
    let goes_on = AtomicBool::new(false);
    // Somebody is called, and the other node is asked for them: for as long as it is silent that takes a second.
    let offer = || {
        let signal = json!({"signalType": "offer", "sessionId": "call"});
        one.post("/v1/signaling").secret().send(json!({"to": "bob", "signal": signal}))
    };
    offer().ok();
    assert_eq!(heard_until(&mut bob, "signal __SYSTEM__ offer"), ["signal __SYSTEM__ offer"]);

    link.set(Way::Held);
    // Each goes on until it is refused, so all of them ask something when it stops. What each is answered when it goes on.
    let until_refused = || {
        let mut answers = Vec::new();
        loop {
            let began = Instant::now();
            let answer = offer();
            let is_refused = answer.status != 200;
            if is_refused || goes_on.load(Ordering::SeqCst) {
                answers.push((began, answer));
            }
            if is_refused {
                return answers;
            }
        }
    };
    let (stopped, answers) = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..ASKERS).map(|_| scope.spawn(until_refused)).collect();
        let asked = one.figure("respoked_bus_items_sent_total");
        eventually(|| (one.figure("respoked_bus_items_sent_total") > asked).then_some(()));
        one.signal("STOP");
        let stopped = Instant::now();
        assert_eq!(heard_until(&mut bob, "missed"), ["missed"]);
        goes_on.store(true, Ordering::SeqCst);
        one.signal("CONT");
        (stopped, asking.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<_>>())
    });
    // Whoever did not ask for so long before had heard nothing yet: that one is to be refused. Another may have been about to be
    // told, of what was said before.
    let is_judged = |began: Instant| stopped < began + WAITS;
    assert!(answers.iter().any(|answers| is_judged(answers[0].0)), "none stood still while it waited");
    for (began, answer) in answers.into_iter().flatten() {
        if answer.status == 200 {
            assert!(!is_judged(began), "it was told that somebody heard it");
            continue;
        }
        // One may have stood still right behind what it said.
        let code = if answer.body["code"] == "in_doubt" { "in_doubt" } else { "unavailable" };
        answer.refused(503, code);
    }
    say(at_other, "after");
    assert_eq!(heard_until(&mut bob, "message __SYSTEM__ after"), ["message __SYSTEM__ after"]);
}

/// It was not told of that node while it lived, and took nothing from a stranger.
#[test]
fn what_a_node_said_that_came_and_went_unknown_is_told_as_missed() {
    let Some(database) = are_nodes_asked().then(Postgres::new).flatten() else { return };
    let folder = tempfile::tempdir().unwrap();
    let link = Link::to(database.server().get_ports()[0]);
    let one = serve(folder.path(), &database.url_by(link.port)).with_app();
    let mut bob = one.connect("bob");
    link.set(Way::Held);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, node) = joined(&database, VERSIONS).await;
        let beating = store.beat(node, NodeState::Serving, Load::default()).await.unwrap();
        assert!(matches!(beating, Beating::Lives { .. }), "{beating:?}");
        store.leave(node).await.unwrap();
    });
    link.set(Way::Open);
    assert_eq!(heard_until(&mut bob, "missed"), ["missed"]);
    say(&one, "after");
    assert_eq!(heard_until(&mut bob, "message __SYSTEM__ after"), ["message __SYSTEM__ after"]);
}

/// Two nodes of which the second ends in order, over NATS servers if there are some. Nobody at the first is told of a gap.
fn one_ends_in_order(nats: Option<&NatsServer>) {
    let Some(database) = Postgres::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (url, nats) = (database.url(), nats.map(|nats| format!("nats://127.0.0.1:{}", nats.port)));
    let mut flags = vec!["--database", &url, "--drain-secs", "1"];
    if let Some(nats) = &nats {
        flags.extend(["--nats", nats]);
    }
    let start = |name| Process::spawn_listening("127.0.0.1:0", &folder.path().join(name), &flags);
    let mut one = start("one").with_app();
    let rights = json!({"groups": {"*": {"create": true, "publish": true, "subscribe": true}}});
    one.client.role = one.create_role("all", rights);
    let other = start("other");
    let mut at_other = one.client.clone();
    at_other.url.clone_from(&other.client.url);
    let (mut alice, mut bob) = in_a_room(&at_other, &one);
    alice.publish("room", "last");
    other.signal("TERM");
    assert_eq!(other.wait(), 0);
    // The other node has heard of that by then, and gaps are told before the end.
    eventually(|| (one.figure("respoked_nodes") == 1).then_some(()));
    assert_eq!(one.figure("respoked_bus_gaps_total"), 0);
    say(&one, "behind");
    let heard = heard_until(&mut bob, "message __SYSTEM__ behind");
    assert_eq!(heard, ["pubsub room alice last", "leave room alice", "message __SYSTEM__ behind"]);
}

#[test]
fn a_node_that_ends_in_order_takes_nothing_with_it() {
    if are_nodes_asked() {
        one_ends_in_order(None);
    }
}

#[test]
fn a_node_that_ends_in_order_takes_nothing_with_it_over_nats() {
    if let Some(nats) = are_nodes_asked().then(|| NatsServer::start("")).flatten() {
        one_ends_in_order(Some(&nats));
    }
}

/// One that is started again and again with a wrong setting would have all clients look for what they missed, each time.
#[test]
fn a_node_that_never_said_anything_takes_nothing_with_it() {
    let Some(nats) = are_nodes_asked().then(|| NatsServer::start("")).flatten() else { return };
    let Some(database) = Postgres::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (url, way) = (database.url(), Link::to(nats.port));
    let [by, by_no_way] = [nats.port, way.port].map(|port| format!("nats://127.0.0.1:{port}"));
    let one = folder.path().join("one");
    let one = Process::spawn_listening("127.0.0.1:0", &one, &["--database", &url, "--nats", &by]);
    way.set(Way::Held);
    std::thread::scope(|scope| {
        let mut other = respoked();
        other.args(["serve", "--listen", "127.0.0.1:0", "--database", &url, "--nats", &by_no_way]).current_dir(&folder);
        other.env("RESPOKED_ADMIN_USERNAME", "owner").env("RESPOKED_ADMIN_PASSWORD", PASSWORD);
        let other = scope.spawn(move || run(&mut other));
        eventually(|| (one.figure("respoked_nodes") == 2).then_some(()));
        let said = other.join().unwrap();
        assert_eq!(said.code, Some(1), "{} {}", said.out, said.err);
    });
    eventually(|| (one.figure("respoked_nodes") == 1).then_some(()));
    assert_eq!(one.figure("respoked_bus_gaps_total"), 0);
}
