//! Clients at three real nodes, while nodes are killed, stopped and cut off, and what they stand on is restarted.
//!
//! After each such thing everybody stands still. Then each node tells the same of who is there as the clients know, and every
//! client has heard what it was to hear, or was told that it missed something, or was closed.
//!
//! What is done is drawn from a seed, each client's from its own; what comes of it is not. `STORM_SEED` and `STORM_FAULTS` ask for
//! another seed, and for more (`README.md` has all such variables). NATS has a storm of its own, in which `NATS_RESTARTS` says how often it is started anew.

mod clients;
pub(super) mod links;
mod places;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use respoke_core::chance::SeededChance;
use serde_json::{Value, json};

use crate::harness::{Client, are_nodes_asked, text};
use clients::{Actor, Book, GROUPS, Shared, endpoint_of};
use places::{Carrier, Fault, NODES, Places};

const CLIENTS: usize = 9;
/// What befalls nodes in the test command.
const FAULTS: u64 = 5;
/// How many times somebody has to hear what was said, at least, however busy the machine is.
const JUDGED_MIN: usize = 50;
/// How often NATS is started anew there.
const RESTARTS: u64 = 3;
/// How long clients go on between two faults.
const BETWEEN: Duration = Duration::from_secs(2);
/// How long it may take until everything is as it should be: whoever is dead is declared so and told, on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn what_befalls_nodes_is_made_good_over_postgres() {
    any_faults(Carrier::Tables, 3);
}

#[test]
fn what_befalls_nodes_is_made_good_over_nats() {
    any_faults(Carrier::Nats, 4);
}

/// What NATS had taken ends with it, and each node has to find it again by itself.
#[test]
fn nats_is_started_anew_again_and_again() {
    let restarts = set("NATS_RESTARTS").unwrap_or(RESTARTS);
    // Of three it is away for a while once, and for all of them nobody is declared dead.
    run(Carrier::Nats, 5, |_| (0..restarts).map(|nth| Fault::NatsRestarted { away: nth % 3 == 2 }).collect());
}

#[expect(clippy::disallowed_methods, reason = "whoever runs it says how")]
fn set(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("it is a number"))
}

fn any_faults(carrier: Carrier, seed: u64) {
    let many = set("STORM_FAULTS").unwrap_or(FAULTS);
    run(carrier, seed, |chance| (0..many).map(|_| Fault::draw(chance, carrier)).collect());
}

fn run(carrier: Carrier, seed: u64, faults: impl FnOnce(&SeededChance) -> Vec<Fault>) {
    if !are_nodes_asked() {
        return;
    }
    let seed = set("STORM_SEED").unwrap_or(seed);
    let Some(mut places) = Places::start(carrier) else { return };
    let mut book = Book::default();
    book.live.resize_with(CLIENTS, || None);
    let shared = Shared {
        book: Mutex::new(book),
        pause: AtomicBool::new(false),
        parked: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        avoid: AtomicUsize::new(NODES),
        at: (0..NODES).map(|node| places.at(node)).collect(),
    };
    std::thread::scope(|scope| {
        let _stop = Stop(&shared);
        for number in 0..CLIENTS {
            let actor = Actor::new(number, seed, &shared);
            scope.spawn(|| actor.act());
        }
        for (nth, fault) in faults(&SeededChance::of(seed)).into_iter().enumerate() {
            std::thread::sleep(BETWEEN);
            eprintln!("STORM_SEED={seed}, over {carrier:?}, {nth}: {fault:?}");
            shared.avoid.store(fault.silent().unwrap_or(NODES), Ordering::SeqCst);
            places.suffer(fault);
            shared.avoid.store(NODES, Ordering::SeqCst);
            places.all_serve();
            std::thread::sleep(BETWEEN);
            settle(&places, &shared);
        }
    });
    let book = shared.book.lock();
    eprintln!(
        "{} requests were answered, {} were not or refused, {} times somebody was told of a gap",
        book.answered, book.refused, book.gaps
    );
    eprintln!(
        "{} times somebody had to hear what was said, {} times not, for it was told of a gap",
        book.judged, book.excused
    );
    assert!(book.wrong.is_empty(), "{:?}", book.wrong);
    assert!(book.answered > 100, "clients could do something");
    assert!(book.judged > JUDGED_MIN && book.judged > book.excused, "so seldom somebody had to hear what was said");
}

/// Ends clients, in whatever way the test ends.
struct Stop<'a>(&'a Shared);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

/// Has everybody stand still, and holds nodes and clients against what is known.
fn settle(places: &Places, shared: &Shared) {
    shared.pause.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + SETTLED_WITHIN;
    until(deadline, || {
        let parked = shared.parked.load(Ordering::SeqCst);
        if parked == CLIENTS { Ok(()) } else { Err(format!("{parked} clients stand still")) }
    });
    let deadline = Instant::now() + SETTLED_WITHIN;
    until(deadline, || {
        let book = shared.book.lock();
        assert!(book.wrong.is_empty(), "{:?}", book.wrong);
        book.unheard().map_or(Ok(()), Err)
    });
    for node in 0..NODES {
        // A client may still be closed, so what is known is looked at each time.
        until(deadline, || {
            compare(&places.at(node), &places.admin, &shared.book.lock())
                .map_err(|what| format!("at node {node} {what}"))
        });
    }
    shared.book.lock().turn_page();
    shared.pause.store(false, Ordering::SeqCst);
}

fn until(deadline: Instant, mut probe: impl FnMut() -> Result<(), String>) {
    loop {
        let Err(what) = probe() else { return };
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Holds what a node tells against what clients know.
fn compare(node: &Client, admin: &str, book: &Book) -> Result<(), String> {
    let nodes = ask(node.get("/v1/nodes").admin(admin).try_call())?;
    let serving = nodes.as_array().unwrap().iter().filter(|node| node["state"] == "serving").count();
    same("nodes that serve", serving, NODES)?;
    for group in GROUPS {
        let members = ask(node.get(&format!("/v1/channels/{group}/subscribers")).secret().try_call())?;
        let known = book.live.iter().flatten().filter(|live| live.groups.contains_key(group));
        same(
            &format!("members of {group}"),
            connections(&members, "connectionId"),
            sorted(known.map(|live| live.connection.clone())),
        )?;
    }
    let there = ask(node.get("/v1/connections").secret().try_call())?;
    let known = sorted(book.live.iter().flatten().map(|live| live.connection.clone()));
    same("connections", connections(&there, "id"), known)?;
    let mut looker = node
        .try_session("looker")
        .and_then(|token| node.try_open_as("looker", &token))
        .ok_or("a client cannot connect")?;
    let id = looker.request("post", "/v1/connections", json!({}));
    looker.ack_within(id, SETTLED_WITHIN).filter(|ack| ack.status == 200).ok_or("a client cannot register")?;
    let endpoints: Vec<_> = (0..4).map(endpoint_of).collect();
    let id = looker.request("post", "/v1/presence-observers", json!({"endpointList": endpoints}));
    let states =
        looker.ack_within(id, SETTLED_WITHIN).filter(|ack| ack.status == 200).ok_or("a client cannot observe")?.body;
    let mut told = Vec::new();
    for endpoint in states.as_array().unwrap() {
        let states = endpoint["connectionStates"].as_object().unwrap();
        told.extend(states.iter().map(|(connection, state)| format!("{connection} {}", text(&state["type"]))));
    }
    let known = book
        .live
        .iter()
        .flatten()
        .map(|live| format!("{} {}", live.connection, live.presence.as_deref().unwrap_or("unavailable")));
    same("presences", sorted(told.into_iter()), sorted(known))
}

fn ask(answer: Option<crate::harness::Answer>) -> Result<Value, String> {
    let answer = answer.ok_or("it did not answer")?;
    if answer.status == 200 { Ok(answer.body) } else { Err(format!("it answered {answer:?}")) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, told: T, known: T) -> Result<(), String> {
    if told == known { Ok(()) } else { Err(format!("{what} are {told:?}, not {known:?}")) }
}

fn connections(list: &Value, key: &str) -> Vec<String> {
    sorted(list.as_array().unwrap().iter().map(|one| text(&one[key])))
}

fn sorted(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}
