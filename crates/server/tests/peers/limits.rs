//! Limits that a node may have reached with others, of which one does not answer.

use std::time::Duration;

use respoke_core::refusal::Refusal;
use respoke_hub::ops::Asker;

use crate::world::{World, endpoint, group, id};

/// A backend lets all connections of an endpoint join, asking node 0.
async fn let_all_join(world: &World, name: &str) -> Result<(), Refusal> {
    let asking = world.asking(0).await;
    let asker = Asker { endpoint_id: Some(endpoint(name)), ..asking.asker() };
    world.nodes[0].hub.join(&asker, &[group("room")]).await
}

#[tokio::test(start_paused = true)]
async fn many_join_together_or_none_of_them_while_a_node_is_silent_that_may_have_the_last_places() {
    let world = World::apart(Duration::ZERO).await;
    world.limit_members(100).await;
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
