//! What a node said last, and nobody else heard: it is told as `missed` if the node dies, and nothing is if it ends in order.

use std::time::{Duration, Instant};

use serde_json::json;

use super::storm::links::{Link, Way};
use super::{in_a_room, live_at};
use crate::harness::{Client, NatsServer, Postgres, Process, Socket, eventually, is_postgres_asked, summary};
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

#[test]
fn what_a_node_answered_for_and_took_with_it_is_told_as_missed() {
    if !is_postgres_asked() {
        return;
    }
    let Some(database) = Postgres::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let link = Link::to(database.server().get_ports()[0]);
    let one = Process::spawn_listening(
        "127.0.0.1:0",
        &folder.path().join("one"),
        &["--database", &database.url_by(link.port)],
    );
    let one = one.with_app();
    let other = serve(folder.path(), &database.url());
    let mut at_other = one.client.clone();
    at_other.url.clone_from(&other.client.url);
    let mut bob = at_other.connect("bob");
    say(&one, "before");
    assert_eq!(heard_until(&mut bob, "message __SYSTEM__ before"), ["message __SYSTEM__ before"]);

    link.set(Way::Held);
    let held = Instant::now();
    say(&one, "lost");
    assert!(held.elapsed() < SERVES_ON, "it was answered so late that it may say something else");
    assert_eq!(heard_until(&mut bob, "missed"), ["missed"]);
    assert!(held.elapsed() > SERVES_ON, "the other node knows that this one is dead, and not that it is slow");
    // Once, and whatever else is said comes as before.
    say(&at_other, "after");
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
    let (other, admin) = (start("other"), one.admin_token("owner"));
    let mut at_other = one.client.clone();
    at_other.url.clone_from(&other.client.url);
    let (mut alice, mut bob) = in_a_room(&at_other, &one);
    alice.publish("room", "last");
    other.signal("TERM");
    assert_eq!(other.wait(), 0);
    eventually(|| (live_at(&one, &admin) == 1).then_some(()));
    assert_eq!(one.figure("respoked_bus_gaps_total"), 0);
    // Alice did not come back, so there is something that comes behind the end.
    assert_eq!(heard_until(&mut bob, "leave room alice"), ["pubsub room alice last", "leave room alice"]);
}

#[test]
fn a_node_that_ends_in_order_takes_nothing_with_it() {
    if is_postgres_asked() {
        one_ends_in_order(None);
    }
}

#[test]
fn a_node_that_ends_in_order_takes_nothing_with_it_over_nats() {
    if let Some(nats) = is_postgres_asked().then(|| NatsServer::start("")).flatten() {
        one_ends_in_order(Some(&nats));
    }
}
