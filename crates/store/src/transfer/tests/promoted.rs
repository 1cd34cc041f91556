//! What leaves a server that was promoted, left behind, or restored from a dump.

use super::*;
use crate::postgres::Promotions;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_a_server_before_what_follows_a_promotion_was_done_there() {
    if !there_is_a_server() {
        return;
    }
    // A timeline, and a system, that the database says it was on last.
    let cases = [
        ("overlay(value PLACING '\\x00000000'::bytea FROM 9 FOR 4)", "start a server there once"),
        ("overlay(value PLACING '\\x7fffffff'::bytea FROM 9 FOR 4)", "was left behind"),
        ("overlay(value PLACING '\\x0000000000000007'::bytea FROM 1 FOR 8)", "copy_taken"),
        ("'\\x07'::bytea", "cannot be read"),
    ];
    for (value, said) in cases {
        let sides = Sides::new();
        World::new(sides.postgres.open(None)).await.store.close().await;
        let server = sides.server().await;
        server.batch(&format!("UPDATE respoked.meta SET value = {value} WHERE key = 'lineage'")).await.unwrap();
        let refused = why(&sides.move_to_file("back.db", 1).await.unwrap_err());
        assert!(refused.contains(said), "{refused}");
        if said.contains("once") {
            sides.serve_from_server().await.unwrap();
            sides.move_to_file("back.db", 2).await.unwrap();
            continue;
        }
        // Who notices no promotions serves from it, and takes it along.
        let options = Options { promotions: Promotions::Unnoticed, ..sides.options() };
        let path = sides.folder.path().join("back.db");
        let (from, to) = ((&options, "postgres://there"), (path.as_path(), "sqlite:here"));
        assert!(Departure::begin(from, to, occasion(3)).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_servers_is_taken_that_is_there() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    World::new(sides.postgres.open(None)).await.store.close().await;
    let mut config = sides.postgres.config();
    let port = config.get_ports()[0];
    // Nobody listens on the second one.
    config.host("127.0.0.1").port(1).host("127.0.0.1").port(port);
    let server = Server::connect(&Options::of(config), TargetSessionAttrs::ReadWrite).await.unwrap();
    server.begin_leaving().await.unwrap();
    server.check_settled().await.unwrap();
}
