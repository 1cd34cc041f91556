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
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::world::{Client, World, events, group, received};

/// Longer than it takes to tell what nothing holds up.
const PATIENCE: Duration = Duration::from_millis(300);

/// Does one thing with a connection of node 0. When it is about to be told, another thread does the second, and if that is
/// told without waiting for the first, it overtakes it.
fn two_at_once(
    world: &World,
    is_first: fn(&Delivery) -> bool,
    first: impl Future<Output = ()> + Send,
    second: impl Future<Output = ()>,
) {
    let (begins, begun) = sync_channel(1);
    let (tells, told) = sync_channel(1);
    let (told, is_begun) = (Mutex::new(told), AtomicBool::new(false));
    *world.nodes[0].bus.when_publishing.lock() = Some(Arc::new(move |delivery, publish| {
        let waits = is_first(delivery) && !is_begun.swap(true, Ordering::Relaxed);
        if waits {
            begins.send(()).unwrap();
            let _ = told.lock().recv_timeout(PATIENCE);
        }
        publish();
        if !waits {
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
