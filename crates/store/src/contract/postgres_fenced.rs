//! A server that was left behind by a promotion and lives on: it lets nobody in any more, but connections to it stay. So it is where a
//! balancer keeps connections that there are, or where a primary was taken for dead and was not.

use bytes::Bytes;
use respoke_core::ports::{Carrier as _, Incarnation, Node, NodeId, SessionStore as _};
use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls};

use super::fixture::World;
use super::postgres::there_is_a_server;
use super::postgres_promotion::{Servers, mint_in_time, until};
use super::postgres_server::Server;
use crate::{CarrierOptions, PostgresCarrier, PostgresOptions};

/// Lets nobody in any more who is not in yet.
async fn fence(server: &Server, console: &Client) {
    lets_in(server, console, false).await;
}

async fn lets_in(server: &Server, console: &Client, lets: bool) {
    let how = if lets { "trust" } else { "reject" };
    server.write("data/pg_hba.conf", &format!("host all all 127.0.0.1/32 {how}\n"));
    console.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    until(async || server.config().connect(NoTls).await.is_ok() == lets).await;
}

/// The one that stands by takes the place of the other, which lives on and lets nobody in any more. Returns a connection to that.
async fn promoted_beside(servers: &Servers) -> Client {
    servers.part().await;
    let console = servers.old.console().await;
    fence(&servers.old, &console).await;
    servers.new.promote();
    console
}

/// Ends connections of a store there, of which the last statement began with this.
async fn end_those_that_said(console: &Client, statement: &str) -> u64 {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'respoked' AND query LIKE $1 || '%'";
    console.execute(sql, &[&statement]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_was_left_behind_is_not_read_from_while_connections_to_it_stay() {
    if !there_is_a_server() {
        return;
    }
    let Some(servers) = Servers::start(false) else { return };
    let store = servers.store().await;
    let world = World::new(store.clone()).await;
    let (_, before) = world.session_of("before").await;
    let console = promoted_beside(&servers).await;
    // Somebody goes on on the new one.
    let elsewhere = world.on(servers.store().await);
    let (_, there) = elsewhere.session_of("there").await;
    // This one still has a connection to the old one by which it reads, and loses those by which it writes.
    assert!(store.session(before.number).await.unwrap().is_some());
    assert!(end_those_that_said(&console, "COMMIT").await > 0);
    mint_in_time(&world, "found").await;
    let found = store.session(there.number).await.unwrap();
    assert!(found.is_some(), "it was read where the database does not go on");
}

fn carrier(options: CarrierOptions, id: u32) -> (PostgresCarrier, mpsc::Receiver<Vec<u8>>) {
    let carrier = PostgresCarrier::open(options, Node { id: NodeId(id), incarnation: Incarnation(1) }).unwrap();
    let (bring, came) = mpsc::channel(1);
    // The first is enough.
    carrier.attach(move |frame| drop(bring.try_send(frame.to_vec())));
    carrier.nodes_are(&[1, 2].map(|id| Node { id: NodeId(id), incarnation: Incarnation(1) }));
    (carrier, came)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_nodes_tell_each_other_is_carried_where_the_database_goes_on() {
    if !there_is_a_server() {
        return;
    }
    let Some(servers) = Servers::start(false) else { return };
    let store = servers.store().await;
    let world = World::new(store.clone()).await;
    let by = |config, moves| CarrierOptions { database: PostgresOptions::of(config), direct: None, moves };
    let options = |moves| by(servers.both(), moves);
    let (one, mut came_to_one) = carrier(options(store.moves()), 1);
    until(async || one.figures().connections >= 2).await;
    let console = promoted_beside(&servers).await;
    end_those_that_said(&console, "COMMIT").await;
    mint_in_time(&world, "found").await;

    let (other, mut came_to_other) = carrier(options(None), 2);
    until(async || {
        one.send(NodeId(2), Bytes::from_static(b"to the other"));
        other.send(NodeId(1), Bytes::from_static(b"to the one"));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        !came_to_one.is_empty() && !came_to_other.is_empty()
    })
    .await;
    assert_eq!(came_to_one.recv().await.unwrap(), b"to the one");
    assert_eq!(came_to_other.recv().await.unwrap(), b"to the other");

    // Nobody carries on the old one either where that alone lets people in again. Who comes later and does not know it comes in.
    lets_in(&servers.old, &console, true).await;
    let (behind, _) = carrier(by(servers.old.config(), store.moves()), 3);
    for id in 4..8 {
        let (unknowing, _) = carrier(by(servers.old.config(), None), id);
        until(async || unknowing.figures().connections >= 2).await;
        unknowing.close().await;
    }
    assert_eq!(behind.figures().connections, 0);
}
