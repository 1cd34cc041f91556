//! What is kept of the hub, beyond what the contract asks of every store: how it is numbered, found, locked and counted.

use std::sync::Arc;

use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, GroupName, MessageId, PushTokenId};
use respoke_core::message::{NewMessage, ReadMark, Said, SaidOnce};
use respoke_core::ports::{Keeping, MaintenanceStore as _, MessageStore as _, PushTokenStore as _, Removal};
use respoke_core::push_token::{PushService, PushToken};
use respoke_core::secret::Secret;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::connect::{Param, params};
use super::kept;
use super::options::Options;
use super::store::PostgresStore;
use crate::contract::fixture::{NOW, World, endpoint, key};
use crate::contract::postgres::{Postgres, there_is_a_server};

async fn opened(fixture: &Postgres) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::open(Options::of(fixture.config())).await.unwrap())
}

async fn execute(store: &PostgresStore, sql: &str, params: &[Param<'_>]) {
    store.reader().await.unwrap().execute(sql, params).await.unwrap();
}

fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

fn message(app: AppId, to: &str, at: Timestamp) -> NewMessage {
    let event = RawValue::from_string("{}".to_owned()).unwrap();
    NewMessage { app_id: app, group: group(to), sender: endpoint("alice"), at, event }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_groups_messages_are_numbered_without_a_gap_and_another_of_its_name_begins_anew() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let store = opened(&fixture).await;
    let world = World::new(store.clone()).await;
    let say = async |to: &str, secs: i64| {
        let said = store.append_message(message(world.app, to, NOW.plus_secs(secs)), u64::MAX).await.unwrap();
        said.kept().unwrap()
    };
    // Whoever says what at once, whatever the clock does.
    tokio::join!(say("room", 9), say("hall", 9), say("room", 3), say("hall", 3), say("room", 7), say("hall", 7));
    for secs in [5, 1] {
        tokio::join!(say("room", secs), say("hall", secs));
    }
    let numbered = async |name: &str| {
        let sql = "SELECT g.epoch, g.head, g.messages, string_agg(m.\"offset\"::text, ',' ORDER BY m.at, m.number),
                          string_agg(m.\"offset\"::text, ',' ORDER BY m.number)
                   FROM respoked.message_groups g JOIN respoked.messages m ON m.group_number = g.number
                   WHERE g.name = $1 GROUP BY g.number";
        let rows = store.read(sql, params![name.as_bytes()]).await.unwrap();
        let (epoch, head, messages): (i64, i64, i64) = (rows[0].get(0), rows[0].get(1), rows[0].get(2));
        assert_eq!(rows[0].get::<_, &str>(3), rows[0].get::<_, &str>(4), "whatever they are ordered by");
        (epoch, head, messages, rows[0].get::<_, String>(3))
    };
    let (room, hall) = (numbered("room").await, numbered("hall").await);
    assert_eq!((room.1, room.2, room.3.as_str()), (5, 5, "1,2,3,4,5"));
    assert_eq!((hall.1, hall.2, hall.3.as_str()), (5, 5, "1,2,3,4,5"));
    assert_ne!(room.0, hall.0);
    assert_eq!(store.end_group(world.app, &group("room")).await.unwrap(), Removal::Removed);
    say("room", 10).await;
    let again = numbered("room").await;
    assert_eq!((again.1, again.2, again.3.as_str()), (1, 1, "1"));
    assert!(again.0 != room.0 && again.0 > 0);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_app_makes_its_own_keys_forgotten_and_no_others() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let store = opened(&fixture).await;
    let world = World::new(store.clone()).await;
    let other = World::with_app(store.clone(), world.account).await;
    let say = async |of: &World, text: &str| {
        let once = SaidOnce { app_id: of.app, key: key(text, "body"), id: MessageId::random() };
        store.say_once(once, None, NOW, u64::MAX).await.unwrap()
    };
    for text in ["first", "second", "third"] {
        assert!(matches!(say(&world, text).await, Said::First(..)));
    }
    assert!(matches!(say(&other, "of another").await, Said::First(..)));
    // As if it had said as many between the second and the third.
    let sql = "UPDATE respoked.said SET nth = $2 WHERE app_id = $1 AND nth = 3";
    execute(&store, sql, params![world.app.uuid(), i64::from(SaidOnce::PER_APP_MAX)]).await;
    assert!(matches!(say(&world, "last").await, Said::First(..)));
    for text in ["second", "third", "last", "of another"] {
        let of = if text == "of another" { &other } else { &world };
        assert!(matches!(say(of, text).await, Said::Before(_)), "{text}");
    }
    assert!(matches!(say(&world, "first").await, Said::First(..)), "forgotten");
    assert!(matches!(say(&world, "second").await, Said::First(..)), "and with that the next");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_locks_apps_and_groups_waits_in_no_circle() {
    const ROUNDS: usize = 12;
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (one, two) = (opened(&fixture).await, opened(&fixture).await);
    let world = World::new(one.clone()).await;
    let other = World::with_app(one.clone(), world.account).await;
    let apps = [world.app, other.app];
    let mut acting = JoinSet::new();
    for nth in 0..16 {
        let store = [&one, &two][nth % 2].clone();
        acting.spawn(async move {
            for round in 0..ROUNDS {
                // Some go through apps and groups this way, some the other.
                let place = if nth % 4 < 2 { round } else { ROUNDS - round };
                let (app, to) = (apps[place % 2], format!("room {}", place % 5));
                match nth / 4 {
                    0 | 1 => {
                        store.append_message(message(app, &to, NOW), u64::MAX).await.unwrap().kept().unwrap();
                    }
                    2 => {
                        let rooms = (0..5)
                            .map(|room| ReadMark { group: group(&format!("room {}", (room + place) % 5)), at: NOW });
                        let marked = store.mark_read(app, &endpoint("alice"), rooms.collect(), NOW, u64::MAX).await;
                        assert_eq!(marked.unwrap(), Keeping::Kept(()));
                    }
                    _ => {
                        let id = PushTokenId::from_uuid(Uuid::from_u128(place as u128 % 3));
                        let text = Secret::new(format!("text {}", (place + nth) % 3));
                        let (service, endpoint_id) = (PushService::Google, endpoint("alice"));
                        store.touch_push_token(app, id, &endpoint_id, NOW.plus_secs(86_400 * 2));
                        let token = PushToken { id, app_id: app, endpoint_id, service, text, seen_at: NOW };
                        assert_eq!(store.put_push_token(token, u64::MAX).await.unwrap(), Keeping::Kept(()));
                        let _ = store.delete_push_token(app, id, None).await.unwrap();
                    }
                }
            }
        });
    }
    acting.join_all().await;
    for app in apps {
        assert_eq!(one.kept_bytes(app).await.unwrap(), one.recounted_bytes(app).await.unwrap());
    }
    for store in [one, two] {
        let figures = format!("{:?}", store.figures);
        assert!(figures.contains("conflicts: 0"), "{figures}");
        store.close().await;
    }
}

/// Rows of one kind that are written and measured.
struct Rows<'a> {
    table: &'a str,
    /// How it counts what it inserted, by its columns.
    counted: &'a str,
    /// Inserts so many, numbered `n`.
    insert: String,
    number: usize,
    cost: usize,
}

async fn measure(store: &PostgresStore, rows: Rows<'_>) {
    let Rows { table, counted, insert, number, cost } = rows;
    let size = async || {
        let sql = format!("SELECT pg_total_relation_size('respoked.{table}')");
        store.read(&sql, &[]).await.unwrap()[0].get::<_, i64>(0)
    };
    store.reader().await.unwrap().batch(&format!("TRUNCATE respoked.{table}")).await.unwrap();
    let empty = size().await;
    execute(store, &format!("{insert} FROM generate_series(1, {number}) n"), &[]).await;
    let sql = format!("SELECT count(*), min({counted}), max({counted}) FROM respoked.{table}");
    let counted = &store.read(&sql, &[]).await.unwrap()[0];
    let number = i64::try_from(number).unwrap();
    let cost = i64::try_from(cost).unwrap();
    assert_eq!((counted.get(0), counted.get(1), counted.get(2)), (number, cost, cost), "{table}");
    let grown = (size().await - empty) / number;
    // A row may take a fiftieth more than it counts with, and counts with two thirds more at most, or two dozen bytes.
    assert!(grown * 49 / 50 <= cost, "a row of {table} takes {grown} and counts with {cost}");
    assert!(cost <= (grown * 5 / 3).max(grown + 24), "a row of {table} takes {grown} and counts with {cost}");
}

/// A text of so many bytes, in no order.
fn scattered(len: usize) -> String {
    format!("substr(repeat(md5(n::text), 8), 1, {len})")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_row_counts_with_what_it_takes_in_the_database() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let store = opened(&fixture).await;
    let jo = EndpointId::parse("jo").unwrap();
    for len in [2, 100, 300, 1_000, 1_300, 1_950, 2_050, 3_000, 4_010, 9_000, 19_000] {
        let number = (3_000_000 / (len + 100)).clamp(1_000, 8_000);
        let insert = format!(
            "INSERT INTO respoked.messages (group_number, at, \"offset\", sender, event)
             SELECT 10000 + n % 97, 1800000000000 + n, 70000 + n, 'jo', convert_to(repeat('x', {len}), 'UTF8')"
        );
        let counted = "respoked.message_cost(sender, event)";
        measure(&store, Rows { table: "messages", counted, insert, number, cost: kept::message(len, &jo) }).await;
        let insert = format!(
            "INSERT INTO respoked.call_reports (app_id, at, endpoint, report)
             SELECT md5((n % 50)::text)::uuid, 1800000000000 + n, 'jo', convert_to(repeat('x', {len}), 'UTF8')"
        );
        let counted = "respoked.call_report_cost(report, endpoint)";
        let cost = kept::call_report(len, Some(&jo));
        measure(&store, Rows { table: "call_reports", counted, insert, number, cost }).await;
    }
    for len in [12, 32, 100, EndpointId::LEN_MAX] {
        let text = "x".repeat(len);
        let (name, id) = (group(&text), endpoint(&text));
        let insert = format!(
            "INSERT INTO respoked.message_groups (app_id, name, messages, last_at, epoch, head)
             SELECT md5('')::uuid, convert_to({}, 'UTF8'), 1, 1800000000000, 1, 1",
            scattered(len)
        );
        let counted = "respoked.group_cost(name)";
        let cost = kept::group(&name);
        measure(&store, Rows { table: "message_groups", counted, insert, number: 8_000, cost }).await;
        let insert = format!(
            "INSERT INTO respoked.conversations (app_id, endpoint, group_number, read_at, touched_at)
             SELECT md5('')::uuid, {}, 70000 + n, 1800000000000, 1800000000000",
            scattered(len)
        );
        let counted = "respoked.conversation_cost(endpoint)";
        let cost = kept::conversation(&id);
        measure(&store, Rows { table: "conversations", counted, insert, number: 8_000, cost }).await;
        for text_len in [30, 160, 1_000, 2_050, 4_096] {
            let insert = format!(
                "INSERT INTO respoked.push_tokens (app_id, id, endpoint, service, hash, text, seen_at)
                 SELECT md5('')::uuid, md5('id ' || n)::uuid, {}, 1, decode(md5('one' || n) || md5('two' || n), 'hex'),
                        repeat('x', {text_len}), 1800000000000 + (n % 50) * 86400000::bigint",
                scattered(len)
            );
            let counted = "respoked.push_token_cost(text, endpoint)";
            let cost = kept::push_token(text_len, &id);
            measure(&store, Rows { table: "push_tokens", counted, insert, number: 4_000, cost }).await;
        }
    }
    store.close().await;
}
