//! Databases that are another system than before, or do not tell which one they are.

use std::sync::Arc;

use respoke_core::grant::Lapse;
use respoke_core::ports::{Store, StoreError};

use super::fixture::{World, opened, refused};
use super::postgres::there_is_a_server;
use super::postgres_promotion::mint;
use super::postgres_server::Server;
use crate::{PostgresOptions, PostgresStore, Promotions};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_system_is_taken_when_that_is_said() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut server) = Server::make("trust") else { return };
    server.start(&[]);
    let open = async |promotions| {
        let options = PostgresOptions { promotions, ..PostgresOptions::of(server.config()) };
        PostgresStore::open(options).await.map(|store| Arc::new(store) as Arc<dyn Store>)
    };
    let world = World::new(open(Promotions::Noticed).await.unwrap()).await;
    let (waiting, (_, stays)) = (world.mint("waiting").await, world.session_of("stays").await);
    // As after a dump was restored, or the server was upgraded.
    let other = "UPDATE respoked.meta SET value = set_byte(value, 7, get_byte(value, 7) # 1) WHERE key = 'lineage'";
    server.console().await.execute(other, &[]).await.unwrap();
    assert!(matches!(mint(&world, "now").await, Err(StoreError::Unavailable(_))));
    let Err(refusal) = open(Promotions::Noticed).await else { panic!("it was opened") };
    let why = format!("{refusal:?}");
    assert!(why.contains("is another system"), "{why}");

    let taken = world.on(open(Promotions::NoticedAndCopyTaken).await.unwrap());
    assert_eq!(refused(&taken.redeem(&waiting).await), Lapse::Revoked, "it may have been redeemed");
    assert_eq!(taken.lapse_of(&stays).await, None);
    taken.mint("written").await;
    // From then on it is the one that there is.
    world.on(open(Promotions::Noticed).await.unwrap()).mint("usual").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_does_not_tell_where_it_stands_is_opened_only_when_that_is_said() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut server) = Server::make("trust") else { return };
    server.start(&[]);
    let console = server.console().await;
    console.batch_execute("CREATE ROLE plain LOGIN").await.unwrap();
    console.batch_execute("CREATE DATABASE plain OWNER plain").await.unwrap();
    let mut config = server.config();
    config.user("plain").dbname("plain");
    let mut of_server = server.config();
    of_server.dbname("plain");
    let (owner, connection) = of_server.connect(tokio_postgres::NoTls).await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(connection);
    owner.batch_execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC").await.unwrap();

    let open = async |promotions| {
        PostgresStore::open(PostgresOptions { promotions, ..PostgresOptions::of(config.clone()) }).await
    };
    let Err(refusal) = open(Promotions::Noticed).await else { panic!("it was opened") };
    let StoreError::Unavailable(why) = refusal else { panic!("{refusal:?}") };
    assert!(why.to_string().contains("does not tell on which timeline it is"), "{why}");
    let world = World::new(Arc::new(open(Promotions::Unnoticed).await.unwrap())).await;
    opened(world.redeem(&world.mint("alice").await).await);
}
