//! Who gets a connection that is parked, and who is let in beside it.

use respoke_core::app::LimitsPatch;
use respoke_core::refusal::Refusal;
use respoke_core::role::Permissions;
use respoke_wire::close::Close;

use super::scene::{LATER, Scene};
use crate::prices::Empty;
use crate::world::Coming;

/// So many connections of an endpoint, or of the whole app.
#[derive(Clone, Copy)]
enum Most {
    OfEndpoint(u32),
    OfApp(u32),
}

/// Alice's node drains, and has sent her away. There may be so many connections.
async fn draining_within(most: Most) -> Scene {
    let scene = Scene::new().await;
    let limits = match most {
        Most::OfEndpoint(most) => LimitsPatch { endpoint_connections: Some(Some(most)), ..LimitsPatch::default() },
        Most::OfApp(most) => LimitsPatch { connections: Some(Some(most)), ..LimitsPatch::default() },
    };
    scene.world.limit(limits).await;
    for node in &scene.world.nodes {
        node.broker.follow().await.unwrap();
    }
    scene.drain().await;
    scene
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_takes_its_own_place() {
    for most in [Most::OfEndpoint(1), Most::OfApp(3)] {
        let scene = draining_within(most).await;
        let back = scene.world.connect(1, "alice").await;
        assert_eq!(back.connection.id, scene.alice.connection.id);
        for node in 0..3 {
            let another = scene.world.try_connect(node, "alice").await;
            assert!(matches!(another, Err(Refusal::ConnectionLimit)));
        }
    }
}

/// It may be the same client, with another session and from another place.
#[tokio::test(start_paused = true)]
async fn who_comes_back_as_another_finds_room_and_nobody_takes_more_than_there_is() {
    for most in [Most::OfEndpoint(1), Most::OfApp(3)] {
        for node in 0..3 {
            let scene = draining_within(most).await;
            let role = scene.world.role(Permissions::default()).await;
            let session = scene.world.session("alice", role).await;
            let another = scene.world.come(node, "alice", Coming::by(&session).from_elsewhere()).await.unwrap();
            assert_ne!(another.connection.id, scene.alice.connection.id);
            // Who would take up what is parked is one too many by now, on whatever node.
            for node in 0..3 {
                let back = scene.world.try_connect(node, "alice").await;
                assert!(matches!(back, Err(Refusal::ConnectionLimit)));
            }
            tokio::time::sleep(LATER).await;
            scene.told();
            scene.drained(0).await;
            let [bob, carol] = scene.told();
            for told in [bob, carol] {
                assert_eq!(told.len(), 2, "the one that is parked is told as gone: {told:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_takes_nothing_that_is_parked() {
    let scene = Scene::draining().await;
    let refused = scene.world.come(1, "alice", Coming { purse: &Empty, ..Coming::by(&scene.world.backend) }).await;
    assert!(matches!(refused, Err(Refusal::RateLimited { .. })));
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    scene.drained(0).await;
    scene.nothing_is_told();
    scene.is_consistent(&[0, 1, 2]);
}

/// Or because there is no room: when there is, it may come back.
#[tokio::test(start_paused = true)]
async fn who_finds_no_room_takes_nothing_that_is_parked() {
    let scene = draining_within(Most::OfEndpoint(1)).await;
    let role = scene.world.role(Permissions::default()).await;
    let session = scene.world.session("alice", role).await;
    let another = scene.world.come(2, "alice", Coming::by(&session).from_elsewhere()).await.unwrap();
    assert!(matches!(scene.world.try_connect(1, "alice").await, Err(Refusal::ConnectionLimit)));
    scene.world.nodes[2].hub.close(&another.socket, Close::Left);
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
}
