//! What two threads do with one connection, one after the other, and tell.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::event::Content;
use respoke_core::id::RequestId;
use respoke_core::ports::{Bus as _, Deed, Delivery, Interest, Question, Whom};
use respoke_hub::Socket;
use respoke_wire::close::Close;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::world::{Client, World, endpoint, events, group, received};

/// Longer than it takes to tell what nothing holds up.
const PATIENCE: Duration = Duration::from_millis(300);
/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

/// Does one thing with a connection of node 0. When it is about to be told, another thread does the second, and if that is
/// told without waiting for the first, it overtakes it.
fn two_at_once(
    world: &World,
    is_first: fn(&Delivery) -> bool,
    first: impl Future<Output = ()> + Send,
    second: impl Future<Output = ()>,
) {
    one_behind(world, is_first, first, Until::Told, second);
}

/// What is waited for before the first is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Something else is told, or nothing is for some time.
    Told,
    /// The second is done.
    Done,
}

fn one_behind(
    world: &World,
    is_first: fn(&Delivery) -> bool,
    first: impl Future<Output = ()> + Send,
    until: Until,
    second: impl Future<Output = ()>,
) {
    let (begins, begun) = sync_channel(1);
    let (tells, told) = sync_channel(1);
    let (told, is_begun, done) = (Mutex::new(told), AtomicBool::new(false), tells.clone());
    *world.nodes[0].bus.when_publishing.lock() = Some(Arc::new(move |delivery, publish| {
        let waits = is_first(delivery) && !is_begun.swap(true, Ordering::Relaxed);
        if waits {
            begins.send(()).unwrap();
            let patience = if until == Until::Told { PATIENCE } else { LONG };
            let _ = told.lock().recv_timeout(patience);
        }
        publish();
        if !waits && until == Until::Told {
            let _ = tells.try_send(());
        }
    }));
    let runtime = Handle::current();
    block_in_place(|| {
        std::thread::scope(|scope| {
            let doing = runtime.clone();
            scope.spawn(move || doing.block_on(first));
            begun.recv().unwrap();
            runtime.block_on(second);
            let _ = done.try_send(());
        });
    });
    *world.nodes[0].bus.when_publishing.lock() = None;
}

/// Bob on node 0, and one on each of two nodes who hears of him.
async fn bob_and_others(world: &World) -> (Client, [Client; 2]) {
    let others = [world.connect(0, "ann").await, world.connect(1, "cat").await];
    let bob = world.connect(0, "bob").await;
    for other in &others {
        world.join(other, "room").await;
        world.observe(other, "bob").await;
    }
    (bob, others)
}

/// Whether bob is a member, and is one for node 1.
fn is_member(world: &World, bob: &Client) -> [bool; 2] {
    let id = bob.connection.id;
    let room = Interest::Group(bob.connection.app_id, group("room"));
    let own = &world.nodes[0].hub.inspected().own[&id];
    [own.groups.contains(&group("room")), world.nodes[1].hub.inspected().kept[&room].there.contains_key(&id)]
}

fn content(delivery: &Delivery) -> Option<&Content> {
    match delivery {
        Delivery::Push { event, .. } => Some(&event.content),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_joins_a_group_that_just_ended_is_told_behind_that() {
    let world = World::near().await;
    let (bob, others) = bob_and_others(&world).await;
    world.join(&bob, "room").await;
    let _ = others.each_ref().map(received);
    // Only on node 0: node 1 goes on hearing of the group.
    let (app_id, request_id) = (bob.connection.app_id, RequestId::random());
    let question = Question::Do { app_id, request_id, deed: Deed::EndGroup { group: group("room") } };
    let ending = async {
        world.nodes[1].bus.ask(Whom::One(world.nodes[0].node()), question, PATIENCE).await;
    };
    let is_end = |delivery: &Delivery| matches!(delivery, Delivery::GroupEnded { .. });
    two_at_once(&world, is_end, ending, world.join(&bob, "room"));
    assert_eq!(is_member(&world, &bob), [true; 2]);
    assert_eq!(received(&others[1]).last(), events(&[("join", "bob")]).last());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_joins_a_group_that_it_just_left_is_told_behind_that() {
    let world = World::near().await;
    let (bob, others) = bob_and_others(&world).await;
    world.join(&bob, "room").await;
    let _ = others.each_ref().map(received);
    let is_left = |delivery: &Delivery| matches!(content(delivery), Some(Content::Left { .. }));
    two_at_once(&world, is_left, world.leave(&bob, "room"), world.join(&bob, "room"));
    assert_eq!(is_member(&world, &bob), [true; 2]);
    for other in &others {
        assert_eq!(received(other), events(&[("leave", "bob"), ("join", "bob")]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_leaves_a_group_that_it_just_joined_is_told_behind_that() {
    let world = World::near().await;
    let (bob, others) = bob_and_others(&world).await;
    let _ = others.each_ref().map(received);
    let is_joined = |delivery: &Delivery| matches!(content(delivery), Some(Content::Joined { .. }));
    two_at_once(&world, is_joined, world.join(&bob, "room"), world.leave(&bob, "room"));
    assert_eq!(is_member(&world, &bob), [false; 2]);
    for other in &others {
        assert_eq!(received(other), events(&[("join", "bob"), ("leave", "bob")]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_is_said_last_is_told_last() {
    let world = World::near().await;
    let (bob, others) = bob_and_others(&world).await;
    let _ = others.each_ref().map(received);
    let is_away = |delivery: &Delivery| match content(delivery) {
        Some(Content::Presence(presence)) => presence.kind.get() == "\"away\"",
        _ => false,
    };
    two_at_once(&world, is_away, world.say(&bob, "away"), world.say(&bob, "chat"));
    let (id, app) = (bob.connection.id, bob.connection.app_id);
    let of_bob = Interest::Observers(app, bob.connection.endpoint.clone());
    let said = |presence: &Option<respoke_core::event::Presence>| {
        presence.as_ref().map(|presence| serde_json::from_str::<Value>(presence.kind.get()).unwrap())
    };
    assert_eq!(said(&world.nodes[0].hub.inspected().own[&id].presence), Some(Value::from("chat")));
    assert_eq!(said(&world.nodes[1].hub.inspected().kept[&of_bob].there[&id].1), Some(Value::from("chat")));
}

/// What comes to a client until it has heard so many events.
async fn received_in_all(client: &Client, count: usize) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let hearing = async {
        while all.len() < count {
            all.extend(received(client));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(LONG, hearing).await;
    all
}

/// Ends a connection of node 0, and waits until that is told to whoever it concerns by then.
async fn end(world: &World, endpoint: &str) {
    let hub = &world.nodes[0].hub;
    let is_meant = |socket: &Arc<Socket>| socket.connection().is_some_and(|one| one.endpoint.as_str() == endpoint);
    let socket = hub.sockets().into_iter().find(is_meant).unwrap();
    hub.close(&socket, Close::Left);
    while hub.inspected().untold > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whom node 1 knows because of that.
fn known(world: &World, interest: &Interest) -> usize {
    world.nodes[1].hub.inspected().kept[interest].there.len()
}

/// Who begins to hear of the group after it ended and before that it joined is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_ends_while_it_joins_is_a_member_nowhere() {
    let world = World::near().await;
    let (bob, cat, dan) = (world.connect(0, "bob").await, world.connect(1, "cat").await, world.connect(2, "dan").await);
    world.join(&dan, "room").await;
    world.observe(&dan, "bob").await;
    let is_joined = |delivery: &Delivery| matches!(content(delivery), Some(Content::Joined { .. }));
    let second = async {
        end(&world, "bob").await;
        world.join(&cat, "room").await;
    };
    one_behind(&world, is_joined, world.join(&bob, "room"), Until::Done, second);
    assert_eq!(known(&world, &Interest::Group(world.app, group("room"))), 1, "dan is");
    assert_eq!(received_in_all(&cat, 2).await, events(&[("join", "bob"), ("leave", "bob")]));
    // Who heard of the end at once is told it once, and nothing behind it.
    let mut told = received_in_all(&dan, 2).await;
    told.extend(received(&dan));
    told.sort_unstable();
    assert_eq!(told, events(&[("join", "cat"), ("presence", "bob")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_ends_while_it_says_something_is_seen_by_nobody() {
    let world = World::near().await;
    let (bob, cat) = (world.connect(0, "bob").await, world.connect(1, "cat").await);
    let is_said = |delivery: &Delivery| matches!(content(delivery), Some(Content::Presence(_)));
    let second = async {
        end(&world, "bob").await;
        world.observe(&cat, "bob").await;
    };
    one_behind(&world, is_said, world.say(&bob, "chat"), Until::Done, second);
    assert_eq!(known(&world, &Interest::Observers(world.app, endpoint("bob"))), 0);
    assert_eq!(received_in_all(&cat, 2).await, events(&[("presence", "bob"); 2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_ends_while_it_comes_is_seen_by_nobody() {
    let world = World::near().await;
    let cat = world.connect(1, "cat").await;
    let is_arrived = |delivery: &Delivery| matches!(delivery, Delivery::Arrived(_));
    let second = async {
        end(&world, "bob").await;
        world.observe(&cat, "bob").await;
    };
    one_behind(&world, is_arrived, async { drop(world.connect(0, "bob").await) }, Until::Done, second);
    assert_eq!(known(&world, &Interest::Observers(world.app, endpoint("bob"))), 0);
}
