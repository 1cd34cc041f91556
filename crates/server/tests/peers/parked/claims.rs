//! Who gets a connection that is parked, and who is let in beside it.

use respoke_core::app::LimitsPatch;
use respoke_core::refusal::Refusal;

use super::scene::Scene;

#[tokio::test(start_paused = true)]
async fn who_comes_back_takes_its_own_place() {
    let scene = Scene::new().await;
    scene.world.limit(LimitsPatch { endpoint_connections: Some(Some(1)), ..LimitsPatch::default() }).await;
    for node in &scene.world.nodes {
        node.broker.follow().await.unwrap();
    }
    scene.drain().await;
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    let another = scene.world.try_connect(2, "alice").await;
    assert!(matches!(another, Err(Refusal::ConnectionLimit)));
}
