//! Looking on at an endpoint whose connections are on another node.

use std::time::Duration;

use respoke_bus::faulty::Faults;
use respoke_core::tail::{FrameKind, Payloads, TailedFrame};
use respoke_hub::ops::Asker;
use respoke_hub::tails::OpenTail;
use serde_json::Value;

use crate::world::{World, endpoint};

/// More than another node may show in a second.
const MORE_THAN_SHOWN: usize = 200;
/// Longer than a node shows frames that nobody asks for again.
const FORGOTTEN: Duration = Duration::from_secs(20);
/// Longer than from one renewal to the next, and what that takes.
const RENEWED: Duration = Duration::from_secs(6);

impl World {
    async fn tail(&self, node: usize, name: &str, payloads: Payloads) -> OpenTail {
        let asking = self.asking(node).await;
        let asker = Asker { endpoint_id: Some(endpoint(name)), ..asking.asker() };
        self.nodes[node].hub.tail(&asker, payloads).await.unwrap()
    }
}

/// What came by now.
async fn seen(tail: &mut OpenTail) -> Vec<TailedFrame> {
    let mut seen = Vec::new();
    while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(300), tail.next()).await {
        seen.push(frame);
    }
    seen
}

fn payloads(seen: &[TailedFrame]) -> Vec<Option<&str>> {
    seen.iter().map(|frame| frame.payload.as_deref()).collect()
}

#[tokio::test(start_paused = true)]
async fn frames_of_connections_on_another_node_are_shown_to_each_as_it_may_see_them() {
    let world = World::near().await;
    let (ann, bob, carl) =
        (world.connect(0, "ann").await, world.connect(1, "bob").await, world.connect(1, "carl").await);
    let mut all = world.tail(0, "bob", Payloads::Shown).await;
    let mut outlines = world.tail(0, "bob", Payloads::Redacted).await;
    let mut beside = world.tail(1, "bob", Payloads::Redacted).await;
    world.send(&ann, &bob).await;
    world.send(&ann, &carl).await;

    let shown = seen(&mut all).await;
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!((shown[0].kind, shown[0].connection_id), (FrameKind::Event, bob.connection.id));
    assert_eq!(shown[0].from, Some(endpoint("ann")));
    assert!(shown[0].payload.is_some());
    assert_eq!(payloads(&seen(&mut outlines).await), [None]);
    assert_eq!(payloads(&seen(&mut beside).await), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_tail_goes_on_for_as_long_as_it_is_open_and_costs_nothing_afterwards() {
    let world = World::near().await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
    let mut tail = world.tail(0, "bob", Payloads::Redacted).await;
    tokio::time::sleep(3 * FORGOTTEN).await;
    world.send(&ann, &bob).await;
    assert_eq!(seen(&mut tail).await.len(), 1);
    drop(tail);
    tokio::time::sleep(FORGOTTEN).await;
    world.nodes[1].hub.sweep();
    assert!(!world.nodes[1].hub.tails().any());
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_is_closed_gives_its_place_on_other_nodes_back() {
    let world = World::near().await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
    for nth in 0..100 {
        drop(world.tail(0, &format!("made up {nth}"), Payloads::Redacted).await);
    }
    let mut tail = world.tail(0, "bob", Payloads::Redacted).await;
    world.send(&ann, &bob).await;
    assert_eq!(seen(&mut tail).await.len(), 1);
    drop(tail);
    world.nodes[1].hub.sweep();
    assert!(!world.nodes[1].hub.tails().any());
}

/// It has nothing to show: all of its connections end.
#[tokio::test(start_paused = true)]
async fn a_node_that_stops_keeps_nobody_from_looking_on() {
    let world = World::near().await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(0, "bob").await);
    world.nodes[1].hub.tails().end();
    let mut tail = world.tail(0, "bob", Payloads::Redacted).await;
    world.send(&ann, &bob).await;
    assert_eq!(seen(&mut tail).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn too_many_frames_for_the_bus_are_lost_and_told_how_many() {
    let world = World::near().await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
    let mut tail = world.tail(0, "bob", Payloads::Shown).await;
    world.join(&bob, "room").await;
    seen(&mut tail).await;
    let long = Value::from("x".repeat(15_000)).to_string();
    for _ in 0..MORE_THAN_SHOWN {
        world.publish_text(&ann, "room", &long).await;
    }
    let shown = seen(&mut tail).await.len();
    assert!((1..MORE_THAN_SHOWN).contains(&shown), "{shown}");
    // A second later.
    world.nodes[1].hub.sweep();
    world.publish_text(&ann, "room", &long).await;
    let next = seen(&mut tail).await;
    assert_eq!(next.iter().map(|frame| frame.lost).collect::<Vec<_>>(), [(MORE_THAN_SHOWN - shown) as u64]);
}

#[tokio::test(start_paused = true)]
async fn tails_of_quiet_endpoints_take_nothing_from_those_of_others() {
    let world = World::near().await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
    let mut quiet = Vec::new();
    for nth in 0..15 {
        quiet.push(world.tail(0, &format!("quiet {nth}"), Payloads::Shown).await);
    }
    let mut tail = world.tail(0, "bob", Payloads::Shown).await;
    world.send(&ann, &bob).await;
    assert_eq!(seen(&mut tail).await.len(), 1);
}

/// One that comes later is asked too, and what is lost on the way is asked again.
#[tokio::test(start_paused = true)]
async fn a_tail_sees_through_a_bus_that_loses() {
    let world = World::with_between(2, 7, Faults::MANY).await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
    let mut tail = world.tail(0, "bob", Payloads::Redacted).await;
    tokio::time::sleep(RENEWED).await;
    for _ in 0..20 {
        world.send(&ann, &bob).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(seen(&mut tail).await.len(), 20);
}
