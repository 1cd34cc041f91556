//! What was open when an installation left, and how it is taken back.

use std::time::Duration;

use respoke_core::ports::{
    Incarnation, Joining, Lease, Load, MessageStore as _, Node, NodeId, NodeState, NodeStore as _,
};

use super::*;
use crate::contract::postgres_nodes::newcomer;
use crate::marks::MOVED;
use crate::postgres::Promotions;
use tokio_postgres::Row;

const DEADLINE: Duration = Duration::from_secs(20);

/// The epochs of the feed and of the groups.
fn epochs_in(connection: &Connection) -> (i64, Vec<i64>) {
    let feed = connection.query_row("SELECT epoch FROM feed", [], |row| row.get(0)).unwrap();
    let mut groups = connection.prepare("SELECT epoch FROM message_groups ORDER BY number").unwrap();
    let groups = groups.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    (feed, groups)
}

async fn epochs_on(server: &Server) -> (i64, Vec<i64>) {
    let groups = server.query("SELECT epoch FROM respoked.message_groups ORDER BY number", &[]).await.unwrap();
    let feed = server.number("SELECT epoch FROM respoked.feed").await.unwrap();
    (feed, groups.iter().map(|row| row.get(0)).collect())
}

/// Statements that change something in a table, by the name of one of its columns.
fn deeds(table: &str, column: &str) -> [String; 2] {
    [format!("UPDATE {table} SET {column} = {column}"), format!("DELETE FROM {table}")]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_had_the_file_open_writes_nothing_to_it_once_it_left() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    // As a command that works beside a server has it open.
    let open = Connection::open(sides.path()).unwrap();
    let mut columns = open
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND c.cid = 0",
        )
        .unwrap();
    let columns = columns.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
    let columns: Vec<_> = columns.map(Result::unwrap).collect();
    assert_eq!(columns.len(), TABLES.len() + not_carried::TABLES.len());
    let prepared: Vec<_> = columns.iter().flat_map(|(table, column)| deeds(table, column)).collect();
    let mut prepared: Vec<_> = prepared.iter().map(|sql| (sql, open.prepare(sql).unwrap())).collect();
    let before = sides.in_file("respoked.db");
    sides.move_to_server(1).await.unwrap();

    let is_refused = |done: rusqlite::Result<usize>, sql: &str| {
        let refused = done.expect_err(sql).to_string();
        assert!(refused.contains("was moved to postgres://there"), "{sql}: {refused}");
    };
    for (sql, statement) in &mut prepared {
        is_refused(statement.execute([]), sql);
    }
    for table in TABLES {
        let names = table.columns.iter().map(|column| column.file).collect::<Vec<_>>().join(", ");
        for or in ["", "OR REPLACE ", "OR IGNORE "] {
            let sql = format!("INSERT {or}INTO {0} ({names}) SELECT {names} FROM {0} LIMIT 1", table.name);
            is_refused(open.execute(&sql, []), &sql);
        }
    }
    for sql in ["INSERT INTO meta (key, value) VALUES ('upkeep', x'')", "INSERT INTO kept_bytes VALUES (x'01', 1)"] {
        is_refused(open.execute(sql, []), sql);
    }
    assert_eq!(sides.in_file("respoked.db"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_open_says_why_it_writes_nothing() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let store = Arc::new(SqliteStore::open(&sides.path(), FileOptions::default()).unwrap());
    let world = World::new(store.clone() as Arc<dyn Store>).await;
    let waiting = world.mint("alice").await;
    sides.move_to_server(1).await.unwrap();
    for _ in 0..2 {
        let refused = world.try_redeem(&waiting, NOW).await.unwrap_err();
        assert!(why(&refused).contains("was moved to postgres://there"), "{refused:?}");
        let refused = world.issue(world.token_for("bob", NOW), Replaces::Nothing, None).await.unwrap_err();
        assert!(why(&refused).contains("was moved to postgres://there"), "{refused:?}");
    }
    store.close().await;
    let world = world.on(sides.postgres.open(None));
    opened(world.redeem(&waiting).await);
    world.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_to_a_file_is_another_history() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let store = Arc::new(SqliteStore::open(&sides.path(), FileOptions::default()).unwrap());
    let world = World::new(store.clone() as Arc<dyn Store>).await;
    let (_, session) = world.session_of("alice").await;
    let once = || Some(key("once", "body"));
    let waiting = world.issue(world.token_for("bob", NOW), Replaces::Nothing, once()).await.unwrap();
    store.close().await;
    drop((world.store.clone(), store));
    let connection = Connection::open(sides.path()).unwrap();
    connection
        .execute(
            "INSERT INTO message_groups (app_id, name, messages, last_at, epoch, head) VALUES (zeroblob(16), 'a', 0, 0, 5, 0)",
            [],
        )
        .unwrap();
    connection
        .execute_batch(
            "INSERT INTO setup_tokens (admin_id, hash, expires_at) VALUES (zeroblob(16), zeroblob(32), 9);
             INSERT INTO admin_sessions (number, admin_id, hash, created_at, expires_at) VALUES (9, zeroblob(16), zeroblob(32), 1, 9)",
        )
        .unwrap();
    let refused = take_back_to_file(&sides.path()).unwrap_err();
    assert!(why(&refused).contains("not marked as moved"), "{refused:?}");

    sides.move_to_server(1).await.unwrap();
    let elsewhere = world.on(sides.postgres.open(None));
    opened(elsewhere.redeem(&waiting).await);
    elsewhere.store.close().await;
    let before = epochs_in(&connection);
    assert_eq!(take_back_to_file(&sides.path()).unwrap(), "postgres://there");
    let after = epochs_in(&connection);
    assert!(before.0 != after.0 && before.1.iter().zip(&after.1).all(|(before, after)| before != after), "{after:?}");
    let refusing = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%RAISE%'";
    assert_eq!(connection.query_row(refusing, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    let sign_ins = "SELECT (SELECT count(*) FROM setup_tokens) + (SELECT count(*) FROM admin_sessions)";
    assert_eq!(connection.query_row(sign_ins, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    drop(connection);

    let store = SqliteStore::open(&sides.path(), FileOptions::default()).unwrap();
    let world = world.on(Arc::new(store));
    assert!(matches!(world.redeem(&waiting).await, Redemption::Refused(_)), "it was redeemed elsewhere");
    assert_eq!(world.lapse_of(&session).await, None);
    let again = world.issue(world.token_for("bob", NOW), Replaces::Nothing, once()).await.unwrap();
    opened(world.redeem(&again).await);
    world.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_idle_reads_and_writes_nothing_where_its_installation_left() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let world = World::new(sides.postgres.open(None)).await;
    let (_, session) = world.session_of("alice").await;
    let waiting = world.mint("bob").await;
    let idle = world.on(sides.postgres.open(None));
    assert_eq!(idle.lapse_of(&session).await, None);
    // Nothing shows that the nodes are there.
    let server = sides.server().await;
    server.batch("BEGIN").await.unwrap();
    server.leave(&occasion(1).mark("sqlite:here", b"a key")).await.unwrap();

    for node in [&world, &idle] {
        let of_a_mint =
            node.store.issue_token(node.token_for("carol", NOW), Replaces::Nothing, None, entry(Action::TokenIssued));
        let refused = [of_a_mint.await.unwrap_err(), node.try_redeem(&waiting, NOW).await.unwrap_err()];
        // Who comes a moment later is told that somebody was refused just now.
        assert!(format!("{refused:?}").contains("was moved elsewhere"), "{refused:?}");
        let refused = tokio::time::timeout(DEADLINE, async {
            // What was asked a moment ago counts a moment longer.
            while node.store.session(session.number).await.is_ok() {}
        });
        refused.await.expect("it is noticed");
    }
    world.store.close().await;
    idle.store.close().await;
    // Who asks nothing of that kind is refused by each table.
    let tables = "SELECT table_name::text, min(column_name)::text FROM information_schema.columns c
                  JOIN pg_tables t ON t.tablename = c.table_name AND t.schemaname = c.table_schema
                  WHERE table_schema = 'respoked' AND is_generated = 'NEVER' GROUP BY table_name";
    let tables = server.query(tables, &[]).await.unwrap();
    let of_nodes = |row: &Row| not_carried::OF_NODES.contains(&row.get::<_, &str>(0));
    assert_eq!(tables.len(), TABLES.len() + not_carried::TABLES.len() + not_carried::OF_NODES.len());
    for row in tables.into_iter().filter(|row| !of_nodes(row)) {
        let (table, column) = (format!("respoked.{}", row.get::<_, &str>(0)), format!("\"{}\"", row.get::<_, &str>(1)));
        for sql in deeds(&table, &column).into_iter().chain([format!("TRUNCATE {table}")]) {
            let refused = server.batch(&sql).await.expect_err(&sql);
            assert!(format!("{refused:?}").contains("this installation was moved"), "{sql}: {refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_notice_promotions_stops_where_its_installation_left() {
    if !there_is_a_server() {
        return;
    }
    let length = Duration::from_secs(60);
    let sides = Sides::new();
    let options = Options { promotions: Promotions::Unnoticed, ..sides.options() };
    let store = PostgresStore::open(options).await.unwrap();
    let node = Node { id: NodeId(7), incarnation: Incarnation(8) };
    assert_eq!(store.lease_upkeep(node, length).await.unwrap(), Lease::Held);
    // Nothing shows that the node is there.
    let server = sides.server().await;
    server.batch("BEGIN").await.unwrap();
    server.leave(&occasion(1).mark("sqlite:here", b"a key")).await.unwrap();
    let refused = store.lease_upkeep(node, length).await.unwrap_err();
    assert!(why(&refused).contains("was moved to sqlite:here"), "{refused:?}");
    // From then on it serves nothing.
    store.kept_bytes_of_all().await.unwrap_err();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_lives_where_its_installation_left() {
    if !there_is_a_server() {
        return;
    }
    for promotions in [Promotions::Noticed, Promotions::Unnoticed] {
        let sides = Sides::new();
        let open = async || PostgresStore::open(Options { promotions, ..sides.options() }).await.unwrap();
        let (store, other) = (open().await, open().await);
        let Joining::Joined { node, .. } = store.join(newcomer("node")).await.unwrap() else { panic!("it fits") };
        // Nothing shows that the node is there.
        let server = sides.server().await;
        server.batch("BEGIN").await.unwrap();
        server.leave(&occasion(1).mark("sqlite:here", b"a key")).await.unwrap();
        let refused = store.beat(node, NodeState::Starting, Load::default()).await.unwrap_err();
        assert!(why(&refused).contains("was moved to sqlite:here"), "{refused:?}");
        other.join(newcomer("other")).await.unwrap_err();
        // From then on it serves nothing.
        store.kept_bytes_of_all().await.unwrap_err();
        let rows = "SELECT count(*) FROM respoked.nodes WHERE beat_at = since";
        assert_eq!(server.number(rows).await.unwrap(), 1, "nobody beat or came");
        store.close().await;
        other.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_to_a_server_is_another_history() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let world = World::new(sides.postgres.open(None)).await;
    let (_, session) = world.session_of("alice").await;
    let once = || Some(key("once", "body"));
    let waiting = world.issue(world.token_for("bob", NOW), Replaces::Nothing, once()).await.unwrap();
    world.store.close().await;
    let server = sides.server().await;
    server
        .batch(
            "INSERT INTO respoked.message_groups (number, app_id, name, messages, last_at, epoch, head)
                VALUES (7, gen_random_uuid(), 'a', 0, 0, 5, 0);
             INSERT INTO respoked.setup_tokens (admin_id, hash, expires_at)
                VALUES (gen_random_uuid(), decode(repeat('00', 32), 'hex'), 9);
             INSERT INTO respoked.admin_sessions (number, admin_id, hash, created_at, expires_at)
                VALUES (9, gen_random_uuid(), decode(repeat('00', 32), 'hex'), 1, 9)",
        )
        .await
        .unwrap();
    let refused = take_back_to_server(&sides.options()).await.unwrap_err();
    assert!(why(&refused).contains("not marked as moved"), "{refused:?}");
    sides.move_to_file("back.db", 1).await.unwrap();
    let before = epochs_on(&server).await;
    assert_eq!(take_back_to_server(&sides.options()).await.unwrap(), "sqlite:here");
    let after = epochs_on(&server).await;
    assert!(before.0 != after.0 && before.1.iter().zip(&after.1).all(|(before, after)| before != after), "{after:?}");
    let left = format!(
        "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname = 'moved')
              + (SELECT count(*) FROM pg_proc WHERE proname = 'refuse_moved')
              + (SELECT count(*) FROM respoked.meta WHERE key = '{MOVED}')
              + (SELECT count(*) FROM respoked.setup_tokens) + (SELECT count(*) FROM respoked.admin_sessions)"
    );
    assert_eq!(server.number(&left).await.unwrap(), 0);

    let world = world.on(sides.postgres.open(None));
    assert!(matches!(world.redeem(&waiting).await, Redemption::Refused(_)), "it may have been redeemed elsewhere");
    assert_eq!(world.lapse_of(&session).await, None);
    let again = world.issue(world.token_for("bob", NOW), Replaces::Nothing, once()).await.unwrap();
    opened(world.redeem(&again).await);
    world.store.close().await;
}
