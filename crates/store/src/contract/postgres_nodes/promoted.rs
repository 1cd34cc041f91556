//! A standby takes over that has heard of none of the last beats, joins and deaths.

use std::time::Instant;

use respoke_core::ports::StoreError;

use super::super::postgres_promotion::{DEADLINE, Servers};
use super::super::postgres_server::Server;
use super::*;

async fn set(server: &Server, what: &str, node: Node) {
    let sql = format!("UPDATE respoked.nodes SET {what} WHERE id = {}", node.id.0);
    assert_eq!(server.console().await.execute(&sql, &[]).await.unwrap(), 1);
}

async fn beat_in_time(store: &PostgresStore, node: Node) -> Option<Vec<NodeRecord>> {
    let since = Instant::now();
    loop {
        match store.beat(node, NodeState::Serving, Load::default()).await {
            Ok(Beating::Lives { nodes, .. }) => return Some(nodes),
            Ok(Beating::Dead) => return None,
            Err(error) => assert!(since.elapsed() < DEADLINE, "nobody beats any more: {error:?}"),
        }
    }
}

async fn nobody_is_dead_by_a_promotion(pooled: bool) {
    if !there_is_a_server() {
        return;
    }
    let Some(mut servers) = Servers::start(pooled) else { return };
    let (here, there) = (servers.store().await, servers.store().await);
    let (one, two) = (join(&here, newcomer("one")).await, join(&there, newcomer("two")).await);
    let late = join(&there, newcomer("late")).await;
    assert!(beat(&here, one).await.is_some() && beat(&there, two).await.is_some());
    // The standby hears nothing of the last minute.
    set(&servers.old, "unbroken_since = unbroken_since - 60000", one).await;
    for node in [two, late] {
        set(&servers.old, "beat_at = beat_at - 60000", node).await;
    }
    servers.part().await;
    assert!(beat(&here, one).await.is_some() && beat(&there, two).await.is_some());
    assert!(here.declare_dead(one, late).await.unwrap());
    // A standby hears of 32 numbers before they are given.
    let lives = "SELECT nextval('respoked.node_life') FROM generate_series(1, 100)";
    assert_eq!(servers.old.console().await.query(lives, &[]).await.unwrap().len(), 100);
    let lost = join(&there, newcomer("lost")).await;

    servers.fail_over();
    let living = beat_in_time(&here, one).await.expect("its row is older, and that is all");
    let living: Vec<_> = living.iter().map(|record| record.node).collect();
    assert_eq!(living, [one, two], "who was dead is so");
    assert!(!here.declare_dead(one, two).await.unwrap(), "it had no time to beat since");
    assert!(beat_in_time(&there, two).await.is_some());
    // Its join is lost. It begins another life, under no number that was given before.
    assert_eq!(beat_in_time(&there, lost).await, None);
    let again = join(&there, Newcomer { was: Some(lost.id), ..newcomer("again") }).await;
    assert!(again.id == lost.id && again.incarnation > lost.incarnation);
    let other = join(&here, newcomer("other")).await;
    assert!(other.id > lost.id);

    // The old one is back. Who is led there is not told that it lives.
    servers.old.start(&[]);
    if let Some(pooler) = &servers.pooler {
        set(&servers.old, "beat_at = 7", one).await;
        pooler.lead_to(&servers.old.config());
        let since = Instant::now();
        let refused = loop {
            match here.beat(one, NodeState::Serving, Load::default()).await {
                Ok(_) => assert!(since.elapsed() < DEADLINE, "it is led elsewhere"),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        pooler.lead_to(&servers.new.config());
        assert!(beat_in_time(&here, one).await.is_some());
        let sql = "SELECT beat_at FROM respoked.nodes WHERE id = $1";
        let beat_at = servers.old.console().await.query_one(sql, &[&i64::from(one.id.0)]).await.unwrap();
        assert_eq!(beat_at.get::<_, i64>(0), 7, "nothing was written there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_lived_lives_and_who_was_dead_is_dead_on_a_promoted_server() {
    nobody_is_dead_by_a_promotion(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn so_it_is_through_a_pooler() {
    nobody_is_dead_by_a_promotion(true).await;
}
