//! What is known, and said, of a move that was not brought to its end; and what is looked at before it begins.

use std::time::Duration;

use super::held::When;
use super::*;
use crate::contract::postgres_proxy::{Proxy, Side, Way};
use crate::sqlite::set_moved;

impl Sides {
    /// What the two sides say of themselves: whether the source in the file left, and whether the server is an installation.
    async fn marks(&self) -> (bool, bool) {
        let marks = file::standing(Source::open_live(&self.path()).unwrap().connection()).unwrap().1;
        let whole = matches!(self.server().await.standing().await.unwrap(), Standing::Whole { .. });
        (marks.moved.is_some(), whole)
    }
}

/// Where a conversation is cut: one of its last messages is not passed on.
const ENDS: [(Side, usize); 4] = [(Side::Asked, 0), (Side::Asked, 1), (Side::Answered, 0), (Side::Answered, 1)];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_move_to_a_server_that_is_cut_is_what_is_known() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let proxy = Proxy::to(&sides.postgres.config()).await;
    let (path, options) = (sides.path(), Options::of(proxy.config(&sides.postgres.config())));
    let move_there = async |id: u128, watch: &dyn Watch| {
        let (from, to) = ((path.as_path(), "sqlite:here"), (&options, "postgres://there"));
        move_to_server(from, to, occasion(id), watch).await
    };
    let cut = || proxy.cut(Side::Answered, 0, Way::Open);
    let stopped = move_there(1, &When("Comparing the copy", &cut)).await.unwrap_err();
    assert_eq!((stopped.at, sides.marks().await), (Stage::NotLeft, (false, false)));
    let passed = || [proxy.passed(Side::Asked), proxy.passed(Side::Answered)];
    let begun = parking_lot::Mutex::new([0, 0]);
    let count = || *begun.lock() = passed();
    move_there(2, &When("Finishing the copy", &count)).await.unwrap();
    let (begun, ended) = (*begun.lock(), passed());
    let messages = |side: Side| ended[side as usize] - begun[side as usize];

    let mut told = BTreeSet::new();
    for (id, (side, left)) in (3..).zip(ENDS.into_iter().chain([(Side::Asked, messages(Side::Asked) - 1)])) {
        // As it is before the last step.
        let mark = occasion(2).mark("sqlite:here", &sides.key());
        sides.server().await.set_meta(crate::marks::UNFINISHED, &mark.bytes()).await.unwrap();
        let cut = || proxy.cut(side, messages(side) - 1 - left, Way::Open);
        let stopped = move_there(id, &When("Finishing the copy", &cut)).await.unwrap_err();
        let marks = sides.marks().await;
        told.insert((format!("{:?}", stopped.at), marks));
        move_there(id, &Nobody).await.unwrap();
        sides.serve_from_server().await.unwrap();
    }
    let all = [("InDoubt", (true, false)), ("InDoubt", (true, true)), ("Left", (true, false))];
    assert_eq!(told, all.map(|(stage, marks)| (stage.to_owned(), marks)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_said_of_a_source_that_is_marked_that_it_was_not_moved() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let mut nowhere = sides.postgres.config();
    nowhere.dbname("there_is_no_such_database");
    let (path, nowhere) = (sides.path(), Options::of(nowhere));
    let stage = async || {
        let (from, to) = ((path.as_path(), "sqlite:here"), (&nowhere, "postgres://there"));
        move_to_server(from, to, occasion(2), &Nobody).await.unwrap_err().at
    };
    assert_eq!(stage().await, Stage::NotLeft);
    sides.move_to_server(1).await.unwrap();
    assert_eq!(stage().await, Stage::InDoubt);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_move_to_a_file_that_is_cut_is_what_is_known() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let world = World::new(sides.postgres.open(None)).await;
    world.mint("alice").await;
    world.store.close().await;
    let proxy = Proxy::to(&sides.postgres.config()).await;
    let options = Options::of(proxy.config(&sides.postgres.config()));
    let copied = async |path: &std::path::Path, id: u128| {
        let (from, to) = ((&options, "postgres://there"), (path, "sqlite:here"));
        let departure = Departure::begin(from, to, occasion(id)).await.unwrap().expect("it begins");
        departure.copy_to(path, &Nobody).await.unwrap();
        departure
    };
    let passed = || [proxy.passed(Side::Asked), proxy.passed(Side::Answered)];
    let departure = copied(&sides.folder.path().join("first.db"), 1).await;
    let begun = passed();
    departure.leave().await.unwrap();
    let ended = passed();
    let messages = |side: Side| ended[side as usize] - begun[side as usize];

    let mut told = BTreeSet::new();
    for (id, (side, left)) in (2..).zip(ENDS.into_iter().chain([(Side::Asked, messages(Side::Asked) - 1)])) {
        take_back_to_server(&sides.options()).await.unwrap();
        let name = format!("back-{id}.db");
        let departure = copied(&sides.folder.path().join(&name), id).await;
        proxy.cut(side, messages(side) - 1 - left, Way::Open);
        let stopped = departure.leave().await.unwrap_err();
        told.insert((format!("{:?}", stopped.at), sides.serve_from_server().await.is_err()));
        sides.serve_from_file(&name).await.unwrap_err();
        sides.move_to_file(&name, 100 + id).await.unwrap();
        sides.serve_from_file(&name).await.unwrap();
    }
    let all = [("InDoubt", false), ("InDoubt", true), ("NotLeft", false)];
    assert_eq!(told, all.map(|(stage, left)| (stage.to_owned(), left)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_source_has_left_is_copied_again_before_it_is_served_from() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    sides.move_to_server(1).await.unwrap();
    let before = sides.on_server().await;
    let (path, options) = (sides.folder.path().join("back.db"), sides.options());
    let (from, to) = ((&options, "postgres://there"), (path.as_path(), "sqlite:here"));
    let departure = Departure::begin(from, to, occasion(2)).await.unwrap().expect("it begins");
    departure.copy_to(&path, &Nobody).await.unwrap();
    departure.leave().await.unwrap();
    // As a disk has it that lost what was written last, or somebody who put an older copy there.
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("DELETE FROM messages; UPDATE roles SET permissions = 'all'").unwrap();
    drop(connection);
    sides.move_to_file("back.db", 3).await.unwrap();
    let after = sides.in_file("back.db");
    for (table, (before, after)) in TABLES.iter().zip(before.sums.iter().zip(&after.sums)) {
        assert_eq!(before, after, "{}", table.name);
    }
    sides.serve_from_file("back.db").await.unwrap();
    sides.serve_from_server().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_server_would_start_nothing_is_moved_to() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let set = |to: &str| {
        let name = sides.postgres.name();
        sides.postgres.run(&format!("ALTER DATABASE {name} SET synchronous_commit = {to}"));
    };
    set("off");
    let refused = why(&sides.move_to_server(1).await.unwrap_err());
    assert!(refused.contains("synchronous_commit is off"), "{refused}");
    assert!(matches!(sides.server().await.standing().await.unwrap(), Standing::Nothing));
    // It is looked at again before the source leaves.
    set("on");
    let refused = why(&sides.watched(&When("Comparing the copy", &|| set("off")), 2).await.unwrap_err());
    assert!(refused.contains("synchronous_commit is off"), "{refused}");
    sides.serve_from_file("respoked.db").await.unwrap();
    set("on");
    sides.move_to_server(3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_may_not_do_is_said_before_anything_is_read() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let role = format!("{}_role", sides.postgres.name());
    sides.postgres.run(&format!("CREATE ROLE {role} LOGIN"));
    let mut config = sides.postgres.config();
    config.user(&role);
    let (path, options) = (sides.path(), Options::of(config));
    let copy = sides.folder.path().join("copy.db");
    copy_database(&path, &copy).unwrap();
    let begun = || panic!("it began");
    let reading = When("Reading what there is", &begun);
    let move_there = async || {
        let (from, to) = ((path.as_path(), "sqlite:here"), (&options, "postgres://there"));
        why(&move_to_server(from, to, occasion(1), &reading).await.unwrap_err().why)
    };
    let refused = move_there().await;
    assert!(refused.contains("make a schema in the database"), "{refused}");
    sides.move_to_server(2).await.unwrap();
    for grant in ["USAGE, CREATE ON SCHEMA respoked", "ALL ON ALL TABLES IN SCHEMA respoked"] {
        sides.postgres.run_inside(&format!("GRANT {grant} TO {role}"));
    }
    let back = sides.folder.path().join("back.db");
    let begun = Departure::begin((&options, "postgres://there"), (&back, "sqlite:here"), occasion(3)).await;
    let refused = why(&begun.err().expect("it does not begin"));
    assert!(refused.contains("does not own"), "{refused}");
    let restoring = restore_to_server((&copy, "copy.db"), &options, (occasion(4), "aside"), &reading);
    let refused = why(&restoring.await.unwrap_err().why);
    assert!(refused.contains("does not own"), "{refused}");
    sides.postgres.run_inside(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wait_for_a_server_ends() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.postgres.store().await.close().await;
    let holder = sides.server().await;
    holder.batch("BEGIN; LOCK TABLE respoked.meta").await.unwrap();
    let mut server = sides.server().await;
    server.waits.look = Duration::from_millis(50);
    let Err(refused) = server.standing().await else { panic!("it was told") };
    assert!(why(&refused).contains("did not answer for 50ms"), "{refused:?}");
    // It is of no use any more.
    server.batch("SELECT 1").await.unwrap_err();
    holder.batch("ROLLBACK").await.unwrap();

    let proxy = Proxy::to(&sides.postgres.config()).await;
    let mut server =
        Server::connect(&Options::of(proxy.config(&sides.postgres.config())), TargetSessionAttrs::Any).await.unwrap();
    server.waits.commit = Duration::from_millis(50);
    server.batch("BEGIN").await.unwrap();
    proxy.set(Way::Hanging);
    let refused = server.commit().await.unwrap_err();
    assert!(matches!(refused, StoreError::InDoubt(_)) && why(&refused).contains("did not answer"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_from_which_its_installation_moved_on_is_no_end_of_a_move() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    sides.move_to_server(1).await.unwrap();
    sides.move_to_file("back.db", 2).await.unwrap();
    assert!(sides.move_to_file("back.db", 3).await.is_ok(), "all of it was done before");
    let file = Connection::open(sides.folder.path().join("back.db")).unwrap();
    set_moved(&file, &occasion(4).mark("postgres://elsewhere", &sides.key())).unwrap();
    let (path, options) = (sides.folder.path().join("back.db"), sides.options());
    let (from, to) = ((&options, "postgres://there"), (path.as_path(), "sqlite:here"));
    let begun = Departure::begin(from, to, occasion(5)).await.map(|departure| departure.is_some());
    let refused = why(&begun.unwrap_err());
    assert!(refused.contains("moved on to postgres://elsewhere"), "{refused}");
    drop(file);
    // Nor is one that is gone.
    std::fs::remove_file(&path).unwrap();
    let refused = why(&sides.move_to_file("back.db", 6).await.unwrap_err());
    assert!(refused.contains("there is no database any more"), "{refused}");
}
