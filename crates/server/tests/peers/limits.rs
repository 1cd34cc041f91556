//! Limits that a node may have reached with others, of which one does not answer.

use std::time::Duration;

use respoke_core::app::LimitsPatch;
use respoke_core::refusal::Refusal;
use respoke_hub::inspected::Noting;
use respoke_hub::ops::{Asker, Message, Unlimited};
use respoke_wire::close::Close;
use serde_json::value::RawValue;

use crate::world::{Client, World, endpoint, group, id};

/// A backend lets all connections of an endpoint join, asking node 0.
async fn let_all_join(world: &World, name: &str) -> Result<(), Refusal> {
    let asking = world.asking(0).await;
    let asker = Asker { endpoint_id: Some(endpoint(name)), ..asking.asker() };
    world.nodes[0].hub.join(&asker, &[group("room")]).await
}

#[tokio::test(start_paused = true)]
async fn many_join_together_or_none_of_them_while_a_node_is_silent_that_may_have_the_last_places() {
    let world = World::apart(Duration::ZERO).await;
    world.limit(LimitsPatch { members_per_group: Some(Some(100)), ..LimitsPatch::default() }).await;
    let mut all = Vec::new();
    for _ in 0..51 {
        all.push(world.connect(0, "ann").await);
    }
    for _ in 0..50 {
        all.push(world.connect(0, "bob").await);
    }
    // It answers who there is of an endpoint, and from then on nothing: who is in the group it has never said.
    let falls_silent = || {
        let between = world.between.clone();
        *world.nodes[0].bus.when_answered.lock() = Some(Box::new(move || between.cut_one_way(id(0), id(2))));
    };
    falls_silent();
    let joined = let_all_join(&world, "ann").await;
    assert!(matches!(joined, Err(Refusal::NodeSilent)), "{joined:?}");
    assert_eq!(world.members(0), 0, "and then none has joined");
    world.mend(0, 2);
    tokio::time::sleep(Duration::from_secs(5)).await;
    falls_silent();
    let_all_join(&world, "bob").await.unwrap();
    assert_eq!(world.members(0), 50);
}

#[tokio::test(start_paused = true)]
async fn who_is_far_away_is_not_taken_for_silent() {
    let world = World::far(Duration::from_millis(60)).await;
    world.limit(LimitsPatch { connections: Some(Some(5)), ..LimitsPatch::default() }).await;
    let _others = (world.connect(1, "bob").await, world.connect(2, "bob").await);
    let asking = world.asking(0).await;
    let (to, body) = (endpoint("bob"), RawValue::from_string("1".to_owned()).unwrap());
    let (message, noting) = (Message { to, to_connection: None, body, cc_self: false, once: None }, Noting::default());
    world.nodes[0].hub.send(&Asker { purse: &noting, ..asking.asker() }, message).await.unwrap();
    assert_eq!(noting.take_frames(), 2);
    for _ in 0..3 {
        world.connect(0, "ann").await;
    }
    let full = world.try_connect(0, "ann").await;
    assert!(matches!(full, Err(Refusal::ConnectionLimit)), "{:?}", full.map(|_| ()));
}

/// As it stands in the decision on parking (docs/adr/0020): no node answers for one that is on its way, which keeps its place.
#[tokio::test(start_paused = true)]
async fn who_is_on_the_way_between_two_nodes_may_come_to_a_group_that_is_full_by_then() {
    let world = World::apart(Duration::ZERO).await;
    world.limit(LimitsPatch { members_per_group: Some(Some(2)), ..LimitsPatch::default() }).await;
    let (alice, bob) = (world.connect(0, "alice").await, world.connect(1, "bob").await);
    world.join(&alice, "room").await;
    world.join(&bob, "room").await;
    let (dan, eve) = (world.connect(2, "dan").await, world.connect(2, "eve").await);
    let join = async |client: &Client| {
        let asking = world.asking(2).await;
        world.nodes[2].hub.join(&asking.over(client, &Unlimited), &[group("room")]).await
    };
    assert!(matches!(join(&dan).await, Err(Refusal::LimitReached(_))), "it is full");

    assert!(world.nodes[0].hub.begin_to_park(Duration::from_secs(1)).await);
    world.nodes[0].hub.send_away(&alice.socket);
    world.nodes[0].hub.close(&alice.socket, Close::Left);
    assert!(matches!(join(&dan).await, Err(Refusal::LimitReached(_))), "who is parked is a member");
    world.between.delay(id(0), id(1), Duration::from_millis(200));
    let comes_between = async {
        // Until then node 0 is waited for to say how many it has.
        tokio::time::sleep(Duration::from_millis(200)).await;
        join(&dan).await
    };
    let (back, joined) = tokio::join!(world.connect(1, "alice"), comes_between);
    joined.expect("it has a place by what each node answers");
    assert_eq!(back.connection.id, alice.connection.id);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!([0, 1, 2].map(|node| world.members(node)), [0, 2, 1], "one more than there may be");
    assert!(matches!(join(&eve).await, Err(Refusal::LimitReached(_))), "and no other");
}
