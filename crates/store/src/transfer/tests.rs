//! On the server that `TEST_POSTGRES` names, as the contract's cases are.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use respoke_core::audit::Action;
use respoke_core::idempotency::Creation;
use respoke_core::ports::{Redemption, Removal, Store};
use respoke_core::token::Replaces;
use rusqlite::params_from_iter;
use rusqlite::types::Value;

use respoke_core::ports::{MaintenanceStore as _, StoreError};
use rusqlite::Connection;
use tokio_postgres::config::TargetSessionAttrs;
use uuid::Uuid;

use super::contents::Contents;
use super::server::{Server, Standing, Task};
use super::tables::{Column, Kind, SEQUENCES, TABLES, Table, left as not_carried};
use super::*;
use crate::contract::Fixture as _;
use crate::contract::fixture::{NOW, World, entry, key, opened};
use crate::contract::postgres::{Postgres, there_is_a_server};
use crate::postgres::{Options, PostgresStore};
use crate::sqlite::Source;
use crate::sqlite::{Options as FileOptions, SqliteStore, copy_database, migrate, tables};

mod held;
mod left;
mod promoted;
mod restoring;
mod stopped;

struct Nobody;

impl Watch for Nobody {
    fn begins(&self, _: &'static str, _: &Arc<Tally>) {}
}

fn occasion(number: u128) -> Occasion {
    Occasion { at: NOW, id: Uuid::from_u128(number) }
}

fn why(error: &StoreError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// An installation in a file, and a server without one.
struct Sides {
    folder: tempfile::TempDir,
    postgres: Postgres,
}

impl Sides {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), postgres: Postgres::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("respoked.db")
    }

    fn options(&self) -> Options {
        Options::of(self.postgres.config())
    }

    async fn move_to_server(&self, id: u128) -> Result<Option<Transferred>, StoreError> {
        let (path, options) = (self.path(), self.options());
        let moving = move_to_server((&path, "sqlite:here"), (&options, "postgres://there"), occasion(id), &Nobody);
        moving.await.map_err(|stopped| stopped.why)
    }

    async fn move_to_file(&self, name: &str, id: u128) -> Result<(), StoreError> {
        let (path, options) = (self.folder.path().join(name), self.options());
        let (from, to) = ((&options, "postgres://there"), (path.as_path(), "sqlite:here"));
        if let Some(departure) = Departure::begin(from, to, occasion(id)).await? {
            let fresh = self.folder.path().join(format!("{name}-{id}"));
            departure.copy_to(&fresh, &Nobody).await?;
            std::fs::rename(&fresh, &path).unwrap();
            departure.leave().await.map_err(|stopped| stopped.why)?;
        }
        arrive(&path)
    }

    /// What the server holds, whatever its marks.
    async fn on_server(&self) -> Contents {
        self.server().await.contents(&Tally::of(0)).await.unwrap()
    }

    async fn server(&self) -> Server {
        Server::connect(&self.options(), TargetSessionAttrs::Any).await.unwrap()
    }

    fn in_file(&self, name: &str) -> Contents {
        let source = Source::open_live(&self.folder.path().join(name)).unwrap();
        file::contents(source.connection(), &Tally::of(0)).unwrap().0
    }

    fn key(&self) -> Vec<u8> {
        file::standing(Source::open_live(&self.path()).unwrap().connection()).unwrap().0
    }

    async fn serve_from_file(&self, name: &str) -> Result<(), String> {
        match SqliteStore::open(&self.folder.path().join(name), FileOptions::default()) {
            Ok(store) => {
                store.close().await;
                Ok(())
            }
            Err(error) => Err(why(&error)),
        }
    }

    async fn serve_from_server(&self) -> Result<(), String> {
        match PostgresStore::open(self.options()).await {
            Ok(store) => {
                store.close().await;
                Ok(())
            }
            Err(error) => Err(why(&error)),
        }
    }

    /// A database with rows in every table.
    async fn filled(&self) {
        SqliteStore::open(&self.path(), FileOptions::default()).unwrap().close().await;
        let connection = Connection::open(self.path()).unwrap();
        connection.execute_batch("DELETE FROM feed").unwrap();
        for table in TABLES {
            fill_table(&connection, table);
        }
        // As if a group had been there and gone.
        connection.execute("UPDATE sqlite_sequence SET seq = seq + 7", []).unwrap();
        // As upkeep keeps it: also what is left of ended groups.
        let counted = "DELETE FROM kept_bytes; INSERT INTO kept_bytes SELECT app_id, sum(bytes) FROM kept_rows
                       WHERE app_id IS NOT NULL GROUP BY app_id";
        connection.execute_batch(counted).unwrap();
    }
}

const ROWS: u8 = 40;

fn fill_table(connection: &Connection, table: &Table) {
    let sql = format!("SELECT name, \"notnull\", pk FROM pragma_table_info('{}')", table.name);
    let mut statement = connection.prepare(&sql).unwrap();
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)? || row.get::<_, bool>(2)?)));
    let needed: BTreeSet<String> =
        rows.unwrap().map(Result::unwrap).filter(|(_, needed)| *needed).map(|(name, _)| name).collect();
    let names: Vec<_> = table.columns.iter().map(|column| column.file).collect();
    let places: Vec<_> = (1..=names.len()).map(|at| format!("?{at}")).collect();
    let insert = format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), places.join(", "));
    for row in 0..if table.name == "feed" { 1 } else { ROWS } {
        let values = table.columns.iter().enumerate().map(|(at, column)| {
            let is_none = !needed.contains(column.file) && (usize::from(row) + at).is_multiple_of(3);
            if is_none { Value::Null } else { value(table, column, row) }
        });
        connection.execute(&insert, params_from_iter(values)).unwrap();
    }
}

fn value(table: &Table, column: &Column, row: u8) -> Value {
    let name = column.file;
    let is_found_by = table.order.contains(&name);
    match column.kind {
        Kind::Number => Value::Integer(match (table.name, name) {
            ("feed", "one") => 1,
            ("messages", "group_number") => i64::from(row + 1 + if row.is_multiple_of(2) { ROWS } else { 0 }),
            ("ended_groups", "number") => i64::from(row + 1 + ROWS),
            _ if name == "number" => i64::from(row + 1),
            _ if is_found_by => i64::from(row / 3),
            _ => i64::MAX - i64::from(row),
        }),
        Kind::Flag => Value::Integer(i64::from(row % 2)),
        Kind::Id if name == "app_id" && table.order.len() != 1 => Value::Blob(vec![row % 3; 16]),
        Kind::Id => Value::Blob(vec![255 - row; 16]),
        Kind::Bytes => Value::Blob(vec![row; 32]),
        Kind::Text => Value::Text(format!("text-{row}-\u{e4}\u{1f600}")),
        Kind::Told => Value::Text(format!("told\0{row}")),
        Kind::TextAsBytes => Value::Text(format!("any\0{row}").repeat(if row == 7 { 900 } else { 1 })),
    }
}

#[test]
fn every_table_and_column_of_sqlite_is_named() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection).unwrap();
    let mut named: BTreeSet<&str> = TABLES.iter().map(|table| table.name).collect();
    named.extend(not_carried::TABLES);
    let there = tables(&connection).unwrap();
    assert_eq!(named, there.iter().map(String::as_str).collect());
    for table in TABLES {
        // What is computed is not among them.
        let sql = format!("SELECT name, type FROM pragma_table_info('{}')", table.name);
        let mut statement = connection.prepare(&sql).unwrap();
        let columns = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
        let there: BTreeSet<(String, String)> = columns
            .map(Result::unwrap)
            .filter(|(name, _)| !not_carried::COLUMNS.contains(&(table.name, name)))
            .collect();
        let named = table.columns.iter().map(|column| {
            let kind = match column.kind {
                Kind::Number | Kind::Flag => "INTEGER",
                Kind::Id | Kind::Bytes => "BLOB",
                Kind::Text | Kind::Told | Kind::TextAsBytes => "TEXT",
            };
            (column.file.to_owned(), kind.to_owned())
        });
        assert_eq!(named.collect::<BTreeSet<_>>(), there, "{}", table.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_column_and_sequence_of_postgresql_is_named() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.postgres.store().await.close().await;
    let server = sides.server().await;
    let texts = async |sql: &str| -> BTreeSet<String> {
        server.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let there = texts("SELECT tablename::text FROM pg_tables WHERE schemaname = 'respoked'").await;
    let mut named: BTreeSet<String> = TABLES.iter().map(|table| table.name.to_owned()).collect();
    named.extend(not_carried::TABLES.iter().chain(not_carried::OF_NODES).map(|name| (*name).to_owned()));
    assert_eq!(named, there);
    for table in TABLES {
        let sql = format!(
            "SELECT column_name || ' ' || data_type FROM information_schema.columns
             WHERE table_schema = 'respoked' AND table_name = '{}'",
            table.name
        );
        let named = table.columns.iter().map(|column| {
            let kind = match column.kind {
                Kind::Number => "bigint",
                Kind::Flag => "boolean",
                Kind::Id => "uuid",
                Kind::Bytes | Kind::TextAsBytes => "bytea",
                Kind::Text | Kind::Told => "text",
            };
            format!("{} {kind}", column.server)
        });
        assert_eq!(named.collect::<BTreeSet<_>>(), texts(&sql).await, "{}", table.name);
        // Texts that rows are read by are ordered by their bytes, as SQLite orders them.
        for name in
            table.order.iter().filter(|name| table.columns.iter().any(|c| c.server == **name && c.kind == Kind::Text))
        {
            let sql = format!(
                "SELECT collation_name::text FROM information_schema.columns
                 WHERE table_schema = 'respoked' AND table_name = '{}' AND column_name = '{name}'",
                table.name
            );
            assert_eq!(texts(&sql).await, BTreeSet::from(["C".to_owned()]), "{} {name}", table.name);
        }
    }
    let there = texts("SELECT sequencename::text FROM pg_sequences WHERE schemaname = 'respoked'").await;
    let named = SEQUENCES.iter().map(|sequence| sequence.name).chain(not_carried::SEQUENCES_OF_NODES.iter().copied());
    assert_eq!(named.map(str::to_owned).collect::<BTreeSet<_>>(), there);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_goes_there_and_back_whole() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let before = sides.in_file("respoked.db");
    let moved = sides.move_to_server(1).await.unwrap().expect("it is moved");
    assert_eq!(moved.tables, before.counts());
    assert!(moved.tables.iter().all(|(_, rows)| *rows > 0), "{:?}", moved.tables);
    assert!(moved.replaced >= 100, "{}", moved.replaced);
    assert_eq!(sides.on_server().await, before);
    let server = sides.server().await;
    // What is kept is counted as triggers would have counted it.
    let kept = server.query("SELECT app_id, bytes FROM respoked.kept_bytes", &[]).await.unwrap();
    assert!(kept.len() > 3);
    for row in kept {
        let app: Uuid = row.get(0);
        let sql = crate::postgres::RECOUNTED;
        let recounted = server.query(sql, &[(&app, tokio_postgres::types::Type::UUID)]).await.unwrap();
        assert_eq!(row.get::<_, i64>(1), recounted[0].get::<_, i64>(0), "{app}");
    }
    let off = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'O'";
    assert_eq!(server.number(off).await.unwrap(), 0, "what was turned off is on again");
    assert_eq!(server.number("SELECT nextval('respoked.log_number')").await.unwrap(), i64::from(ROWS) + 1);
    assert_eq!(server.number("SELECT nextval('respoked.group_number')").await.unwrap(), i64::from(ROWS) + 8);
    server
        .batch("SELECT setval('respoked.session_number', 1000), setval('respoked.group_number', 2000)")
        .await
        .unwrap();
    drop(server);
    sides.serve_from_server().await.unwrap();
    let refused = sides.serve_from_file("respoked.db").await.unwrap_err();
    assert!(
        refused.contains("moved to postgres://there at 2027-01-15") && refused.contains("--take-back"),
        "{refused}"
    );

    sides.move_to_file("back.db", 2).await.unwrap();
    let back = sides.in_file("back.db");
    let differ: Vec<_> = TABLES
        .iter()
        .zip(before.sums.iter().zip(&back.sums))
        .filter(|(_, (a, b))| a != b)
        .map(|(t, _)| t.name)
        .collect();
    assert_eq!(differ, ["log", "sessions"], "beside rows that keep a number that was given");
    sides.serve_from_file("back.db").await.unwrap();
    let connection = Connection::open(sides.folder.path().join("back.db")).unwrap();
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT max(number) FROM sessions"), 1_000);
    assert_eq!(number("SELECT max(number) FROM log"), i64::from(ROWS) + 1);
    assert_eq!(number("SELECT seq FROM sqlite_sequence"), 2_000);
    let differ =
        "SELECT count(*) FROM (SELECT app_id, sum(bytes) FROM kept_rows WHERE app_id IS NOT NULL GROUP BY app_id
                  EXCEPT SELECT app_id, bytes FROM kept_bytes)";
    assert_eq!(number(differ), 0);
    assert_eq!(number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    let refused = sides.serve_from_server().await.unwrap_err();
    assert!(refused.contains("moved to sqlite:here") && refused.contains("--take-back"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_out_goes_on_to_be_good() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let store = Arc::new(SqliteStore::open(&sides.path(), FileOptions::default()).unwrap());
    let world = World::new(store.clone() as Arc<dyn Store>).await;
    let (_, session) = world.session_of("alice").await;
    let (waiting, spent) = (world.mint("bob").await, world.mint("carol").await);
    opened(world.redeem(&spent).await);
    let once = || Some(key("once", "body"));
    let minted = world.issue(world.token_for("dan", NOW), Replaces::Nothing, once()).await.unwrap();
    store.close().await;
    drop((world.store.clone(), store));

    sides.move_to_server(1).await.unwrap();
    let world = world.on(sides.postgres.open(None));
    assert!(matches!(world.redeem(&spent).await, Redemption::Refused(_)));
    opened(world.redeem(&waiting).await);
    assert_eq!(world.lapse_of(&session).await, None);
    let again = world.issue(world.token_for("dan", NOW), Replaces::Nothing, once()).await.unwrap();
    assert_eq!(again.number, minted.number);
    let next = world.mint("eve").await;
    assert!(next.number > minted.number);
    world.store.close().await;

    sides.move_to_file("back.db", 2).await.unwrap();
    let store = SqliteStore::open(&sides.folder.path().join("back.db"), FileOptions::default()).unwrap();
    let world = world.on(Arc::new(store));
    assert!(matches!(world.redeem(&waiting).await, Redemption::Refused(_)));
    opened(world.redeem(&next).await);
    opened(world.redeem(&minted).await);
    assert_eq!(world.lapse_of(&session).await, None);
    match world
        .store
        .issue_token(world.token_for("dan", NOW), Replaces::Nothing, once(), entry(Action::TokenIssued))
        .await
        .unwrap()
    {
        Creation::Repeated(again) => assert_eq!(again.number, minted.number),
        other => panic!("{other:?}"),
    }
    assert!(world.mint("frank").await.number > next.number);
    world.store.close().await;
}

/// Runs it until it has been waited for so many times, and drops it then, as if it were killed there.
async fn killed_after<T>(polls: u32, run: impl Future<Output = T>) -> Option<T> {
    let (mut run, mut left) = (pin!(run), polls);
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        run.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_anywhere_is_finished_by_the_next_and_at_no_time_do_both_serve() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let before = sides.in_file("respoked.db");
    let mut kills = 0;
    for polls in std::iter::successors(Some(5_u32), |polls| Some(polls + polls.div_ceil(6))) {
        match Box::pin(killed_after(polls, sides.move_to_server(polls.into()))).await {
            Some(moved) => {
                moved.unwrap();
                break;
            }
            None => kills += 1,
        }
        let server = sides.server().await;
        let on_server = matches!(server.standing().await.unwrap(), Standing::Whole { .. });
        drop(server);
        assert!(!on_server || sides.serve_from_file("respoked.db").await.is_err(), "killed after {polls}");
    }
    assert!(kills > 10, "{kills}");
    assert_eq!(sides.on_server().await, before);
    sides.serve_from_server().await.unwrap();

    kills = 0;
    for polls in std::iter::successors(Some(5_u32), |polls| Some(polls + polls.div_ceil(6))) {
        match killed_after(polls, sides.move_to_file("back.db", polls.into())).await {
            Some(moved) => {
                moved.unwrap();
                break;
            }
            None => kills += 1,
        }
        let in_file = sides.folder.path().join("back.db").exists() && sides.serve_from_file("back.db").await.is_ok();
        assert!(!in_file || sides.serve_from_server().await.is_err(), "killed after {polls}");
    }
    assert!(kills > 3, "{kills}");
    sides.serve_from_file("back.db").await.unwrap();
    sides.serve_from_server().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_marks_neither_serves_and_the_last_step_is_done_by_the_next_try() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    // All but the last step.
    sides.move_to_server(1).await.unwrap();
    sides
        .server()
        .await
        .set_meta(crate::marks::UNFINISHED, &occasion(1).mark("sqlite:here", &sides.key()).bytes())
        .await
        .unwrap();
    sides.serve_from_file("respoked.db").await.unwrap_err();
    let refused = sides.serve_from_server().await.unwrap_err();
    assert!(refused.contains("unfinished copy of sqlite:here"), "{refused}");
    let moved = sides.move_to_server(2).await.unwrap().expect("it is compared again");
    assert!(moved.tables.iter().all(|(_, rows)| *rows > 0));
    sides.serve_from_server().await.unwrap();
    // Once more there is nothing to do.
    for id in 3..5 {
        assert!(sides.move_to_server(id).await.unwrap().is_none());
    }
    sides.serve_from_server().await.unwrap();

    let (path, options) = (sides.folder.path().join("back.db"), sides.options());
    let places = || ((&options, "postgres://there"), (path.as_path(), "sqlite:here"));
    let (from, to) = places();
    let departure = Departure::begin(from, to, occasion(4)).await.unwrap().expect("it begins");
    departure.copy_to(&path, &Nobody).await.unwrap();
    assert_eq!(arrival_at(&path).unwrap(), Arrival::Unfinished);
    let refused = sides.serve_from_file("back.db").await.unwrap_err();
    assert!(refused.contains("unfinished copy of postgres://there"), "{refused}");
    departure.leave().await.unwrap();
    sides.serve_from_file("back.db").await.unwrap_err();
    sides.serve_from_server().await.unwrap_err();
    let (from, to) = places();
    let departure = Departure::begin(from, to, occasion(5)).await.unwrap().expect("it is copied again");
    assert_eq!(departure.stage(), Stage::Left);
    drop(departure);
    sides.move_to_file("back.db", 6).await.unwrap();
    sides.serve_from_file("back.db").await.unwrap();
    let (from, to) = places();
    assert!(Departure::begin(from, to, occasion(7)).await.unwrap().is_none(), "there is nothing left to do");
    arrive(&path).unwrap();
    sides.serve_from_file("back.db").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_for_one_that_left_finds_that_it_left() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    sides.move_to_server(1).await.unwrap();
    let (path, options) = (sides.folder.path().join("back.db"), sides.options());
    let begin = async |id: u128| {
        let (from, to) = ((&options, "postgres://there"), (path.as_path(), "sqlite:here"));
        Departure::begin(from, to, occasion(id)).await.unwrap()
    };
    let first = begin(2).await.expect("it begins");
    first.copy_to(&path, &Nobody).await.unwrap();
    let leaving = async {
        let watcher = sides.server().await;
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while watcher.number(waiting).await.unwrap() == 0 {}
        first.leave().await.unwrap();
    };
    let (second, ()) = tokio::join!(begin(3), leaving);
    assert_eq!(second.expect("the copy is not finished").stage(), Stage::Left);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_of_another_stays() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let other = Sides::new();
    // A server that was started and has no account yet holds nothing.
    sides.postgres.store().await.close().await;
    // A node serves from it.
    let lease = [&[0; 12][..], &i64::MAX.to_be_bytes()].concat();
    sides.server().await.set_meta("upkeep", &lease).await.unwrap();
    assert!(why(&sides.move_to_server(1).await.unwrap_err()).contains("a respoked serves from it"));
    sides.server().await.set_meta("upkeep", b"").await.unwrap();

    World::new(sides.postgres.open(None)).await.store.close().await;
    let held = sides.on_server().await;
    assert!(why(&sides.move_to_server(1).await.unwrap_err()).contains("holds another installation"));
    assert_eq!(sides.on_server().await, held);
    sides.serve_from_file("respoked.db").await.unwrap();
    sides.serve_from_server().await.unwrap();
    assert!(why(&sides.move_to_file("respoked.db", 2).await.unwrap_err()).contains("there is a database already"));
    sides.serve_from_server().await.unwrap();

    // An unfinished copy of another.
    other.filled().await;
    let server = other.server().await;
    other.postgres.store().await.close().await;
    server.claim(&occasion(3).mark("sqlite:elsewhere", b"another key"), Task::Fill).await.unwrap();
    assert!(why(&other.move_to_server(4).await.unwrap_err()).contains("from sqlite:elsewhere"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_carried_over_is_named_before_anything_is_written() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let connection = Connection::open(sides.path()).unwrap();
    for (damage, mend, said) in [
        (
            "UPDATE sessions SET endpoint = 'a' || char(0) WHERE number = 7",
            "UPDATE sessions SET endpoint = 'a'",
            "number=7",
        ),
        (
            "UPDATE sessions SET app_id = x'01' WHERE number = 8",
            "UPDATE sessions SET app_id = zeroblob(16)",
            "16 bytes",
        ),
        ("UPDATE apps SET session_expiry = 2", "UPDATE apps SET session_expiry = 1", "neither 0 nor 1"),
        ("UPDATE roles SET name = CAST(x'ff' || id AS TEXT)", "UPDATE roles SET name = hex(id)", "not UTF-8"),
    ] {
        connection.execute(damage, []).unwrap();
        let refused = why(&sides.move_to_server(1).await.unwrap_err());
        assert!(refused.contains(said) && refused.contains("the table"), "{refused}");
        assert!(matches!(sides.server().await.standing().await.unwrap(), Standing::Nothing));
        connection.execute(mend, []).unwrap();
    }
    drop(connection);
    sides.move_to_server(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_try_copied_stays_unless_it_changed() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let copy = sides.folder.path().join("copy.db");
    copy_database(&sides.path(), &copy).unwrap();
    restore_to_server((&copy, "copy.db"), &sides.options(), (occasion(1), "aside"), &Nobody).await.unwrap();
    let server = sides.server().await;
    server.set_meta(crate::marks::UNFINISHED, &occasion(1).mark("sqlite:here", &sides.key()).bytes()).await.unwrap();
    server
        .batch("DELETE FROM respoked.messages WHERE number = 1; UPDATE respoked.apps SET description = 'other'")
        .await
        .unwrap();
    let at = async |table: &str| -> String {
        let sql = format!("SELECT pg_relation_filenode('respoked.{table}')::text");
        server.query(&sql, &[]).await.unwrap()[0].get(0)
    };
    let (log, messages, apps) = (at("log").await, at("messages").await, at("apps").await);
    sides.move_to_server(2).await.unwrap();
    assert_eq!(sides.on_server().await, sides.in_file("respoked.db"));
    assert_eq!(log, at("log").await, "it was not filled again");
    assert!(messages != at("messages").await && apps != at("apps").await);
}
