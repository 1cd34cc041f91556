//! What a server does with what nodes write: they have one of their own.

use respoke_core::ports::Cluster;

use super::super::postgres_server::Server;
use super::*;
use crate::Promotions;

async fn opened(server: &Server) -> PostgresStore {
    PostgresStore::open(PostgresOptions::of(server.config())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_beat_that_was_confirmed_outlives_a_crash_of_the_server() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut server) = Server::make("trust") else { return };
    // What is not flushed for its own sake is not flushed.
    let lazy = ["wal_writer_delay=10s", "wal_writer_flush_after=1GB"];
    server.start(&lazy);
    let store = opened(&server).await;
    let node = join(&store, newcomer("node")).await;
    beat(&store, node).await.unwrap();
    let before = beat(&store, node).await.unwrap();
    server.crash();
    server.start(&lazy);
    let after = store.nodes().await.unwrap();
    assert_eq!(after[0].beat_at, before[0].beat_at);
    assert!(beat(&store, node).await.is_some());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_beat_waits_for_no_standby() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut server) = Server::make("trust") else { return };
    server.start(&[]);
    let store = opened(&server).await;
    let node = join(&store, newcomer("node")).await;
    beat(&store, node).await.unwrap();
    server.stop();
    server.start(&["synchronous_standby_names=nobody"]);
    assert!(beat(&store, node).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_that_takes_the_place_of_another_system_is_another_cluster() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut server) = Server::make("trust") else { return };
    server.start(&[]);
    let cluster = async |store: &PostgresStore| -> (Node, Cluster) {
        match store.join(newcomer("node")).await.unwrap() {
            Joining::Joined { node, cluster, .. } => (node, cluster),
            refused @ Joining::Refused(_) => panic!("{refused:?}"),
        }
    };
    let (node, before) = cluster(&opened(&server).await).await;
    // As after a dump was restored, or the server was upgraded.
    let other = "UPDATE respoked.meta SET value = set_byte(value, 7, get_byte(value, 7) # 1) WHERE key = 'lineage'";
    server.console().await.execute(other, &[]).await.unwrap();
    let promotions = Promotions::NoticedAndCopyTaken;
    let options = PostgresOptions { promotions, ..PostgresOptions::of(server.config()) };
    let store = PostgresStore::open(options).await.unwrap();
    assert!(store.nodes().await.unwrap().is_empty(), "they serve elsewhere");
    let (another, after) = cluster(&store).await;
    assert!(before.id != after.id && before.key.expose() != after.key.expose());
    assert!(another.id > node.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_of_before_nodes_is_brought_to_have_them() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    let schema = [
        "CREATE SCHEMA respoked; CREATE TABLE respoked.meta (key TEXT PRIMARY KEY, value BYTEA NOT NULL);",
        include_str!("../../postgres/schema/0001_token_service.sql"),
        include_str!("../../postgres/schema/0002_hub.sql"),
        "INSERT INTO respoked.feed (one, epoch, head) VALUES (1, 7, 1);
         INSERT INTO respoked.meta (key, value) VALUES ('seal_key', decode(repeat('07', 16), 'hex')),
             ('schema', decode('0000000000000002', 'hex')), ('min_reader', decode('0000000000000002', 'hex'))",
    ];
    database.run_inside(&schema.concat());
    let store = database.store().await;
    join(&store, newcomer("node")).await;
    let oldest = "SELECT 1 FROM respoked.meta WHERE key = 'min_reader' AND value >= decode('0000000000000003', 'hex')";
    assert_eq!(database.run_inside(oldest), 1, "who knows no nodes does not serve beside them");
    store.close().await;
}
