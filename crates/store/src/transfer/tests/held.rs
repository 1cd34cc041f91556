//! What keeps others away from both sides until a move or a restore is over, and what is believed of an earlier try.

use std::time::Duration;

use respoke_core::id::AccountId;
use respoke_core::ports::{AdminStore as _, Incarnation, Lease, Node, NodeId};

use super::super::server::Claimed;
use super::*;
use crate::contract::admin_cases::first_rows;
use crate::marks::{MOVED, UNFINISHED};

/// Does something when something begins.
pub(super) struct When<'a>(pub(super) &'static str, pub(super) &'a (dyn Fn() + Sync));

impl Watch for When<'_> {
    fn begins(&self, what: &'static str, _: &Arc<Tally>) {
        if what == self.0 {
            (self.1)();
        }
    }
}

/// Waits for it, in the middle of another.
pub(super) fn meanwhile<T>(run: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(run))
}

impl Sides {
    pub(super) async fn watched(&self, watch: &dyn Watch, id: u128) -> Result<(), StoreError> {
        let (path, options) = (self.path(), self.options());
        let moving = move_to_server((&path, "sqlite:here"), (&options, "postgres://there"), occasion(id), watch);
        moving.await.map(drop).map_err(|stopped| stopped.why)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beside_a_database_that_is_gone_is_not_taken_for_the_new_ones() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    sides.move_to_server(1).await.unwrap();
    for suffix in ["-wal", "-shm", "-journal"] {
        let left = sides.folder.path().join(format!("back.db{suffix}"));
        std::fs::write(&left, "what was written last").unwrap();
        let refused = why(&sides.move_to_file("back.db", 2).await.unwrap_err());
        assert!(refused.contains(suffix), "{refused}");
        assert_eq!(std::fs::read_to_string(&left).unwrap(), "what was written last");
        std::fs::remove_file(left).unwrap();
        sides.serve_from_server().await.unwrap();
    }
    sides.move_to_file("back.db", 3).await.unwrap();
    sides.serve_from_file("back.db").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_source_has_left_is_compared_again_before_it_is_one() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let before = sides.in_file("respoked.db");
    sides.move_to_server(1).await.unwrap();
    // As a standby has it that lagged behind, and was promoted.
    let server = sides.server().await;
    server
        .batch("DELETE FROM respoked.log WHERE number > 9; SELECT setval('respoked.log_number', 9); TRUNCATE respoked.messages")
        .await
        .unwrap();
    server.set_meta(UNFINISHED, &occasion(1).mark("sqlite:here", &sides.key()).bytes()).await.unwrap();
    sides.move_to_server(2).await.unwrap();
    assert_eq!(sides.on_server().await, before);
    assert_eq!(server.number("SELECT nextval('respoked.log_number')").await.unwrap(), i64::from(ROWS) + 1);
    sides.serve_from_server().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_cannot_be_read_are_never_the_same() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    sides.move_to_server(1).await.unwrap();
    sides.server().await.set_meta(UNFINISHED, b"of another version").await.unwrap();
    let connection = Connection::open(sides.path()).unwrap();
    connection.execute("DROP TRIGGER moved_meta_UPDATE", []).unwrap();
    connection.execute("UPDATE meta SET value = x'01' WHERE key = ?1", [MOVED]).unwrap();
    drop(connection);
    let refused = why(&sides.move_to_server(2).await.unwrap_err());
    assert!(refused.contains("was moved to an unknown place"), "{refused}");
    sides.serve_from_server().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_copy_was_taken_over_does_nothing_more_to_it() {
    if !there_is_a_server() {
        return;
    }
    for phase in ["Copying", "Comparing the copy"] {
        let sides = Sides::new();
        sides.filled().await;
        let taken = occasion(2).mark("sqlite:elsewhere", &sides.key());
        let take_over = || {
            let claimed = meanwhile(async { sides.server().await.claim(&taken, Task::Fill).await.unwrap() });
            assert_eq!(claimed, Claimed::Unfinished);
        };
        let refused = why(&sides.watched(&When(phase, &take_over), 1).await.unwrap_err());
        assert!(refused.contains("another"), "{refused}");
        match sides.server().await.standing().await.unwrap() {
            Standing::Unfinished(mark) => assert_eq!(mark, taken, "{phase}"),
            _ => panic!("the other's copy is not marked any more: {phase}"),
        }
        sides.serve_from_file("respoked.db").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_to_a_file_that_leaves() {
    if !there_is_a_server() {
        return;
    }
    for phase in ["Reading what there is", "Copying", "Comparing the copy"] {
        let sides = Sides::new();
        sides.filled().await;
        let wrote = parking_lot::Mutex::new(None);
        let write = || {
            let other = Connection::open(sides.path()).unwrap();
            other.busy_timeout(Duration::ZERO).unwrap();
            let refused =
                other.execute("UPDATE feed SET head = head + 1", []).map_err(|error| error.sqlite_error_code());
            *wrote.lock() = Some(refused);
        };
        sides.watched(&When(phase, &write), 1).await.unwrap();
        assert_eq!(wrote.lock().take(), Some(Err(Some(rusqlite::ErrorCode::DatabaseBusy))), "{phase}");
        sides.serve_from_file("respoked.db").await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_take_what_is_marked_for_its_own() {
    if !there_is_a_server() {
        return;
    }
    for key in [UNFINISHED, MOVED] {
        let sides = Sides::new();
        let store = sides.postgres.open(None);
        let node = Node { id: NodeId(7), incarnation: Incarnation(8) };
        assert_eq!(store.lease_upkeep(node, Duration::from_secs(60)).await.unwrap(), Lease::Held);
        let mark = occasion(1).mark("sqlite:here", b"a key");
        sides.server().await.set_meta(key, &mark.bytes()).await.unwrap();
        let refused = store.lease_upkeep(node, Duration::from_secs(60)).await.unwrap_err();
        assert!(why(&refused).contains("sqlite:here"), "{refused:?}");
        // From then on it serves nothing.
        store.kept_bytes_of_all().await.unwrap_err();
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_found_nothing_begins_nothing_in_what_is_a_copy_by_now() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let node = sides.postgres.store().await;
    sides.server().await.set_meta(UNFINISHED, &occasion(1).mark("sqlite:here", &sides.key()).bytes()).await.unwrap();
    let refused = node.begin(first_rows(AccountId::from_uuid(Uuid::from_u128(5)))).await.unwrap_err();
    assert!(why(&refused).contains("unfinished copy of sqlite:here"), "{refused:?}");
    assert!(!sides.server().await.has_rows(&TABLES[0]).await.unwrap());
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_to_or_from_where_a_node_has_connections() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    // As one that waits for the lease, or has just given it back.
    let without_lease = async || {
        let store = sides.postgres.store().await;
        let node = Node { id: NodeId(7), incarnation: Incarnation(8) };
        assert_eq!(store.lease_upkeep(node, Duration::from_secs(60)).await.unwrap(), Lease::Held);
        store.give_upkeep_back(node).await.unwrap();
        store
    };
    let node = without_lease().await;
    let refused = why(&sides.move_to_server(1).await.unwrap_err());
    assert!(refused.contains("stop all of them first"), "{refused}");
    assert!(matches!(sides.server().await.standing().await.unwrap(), Standing::Empty));
    node.close().await;
    sides.move_to_server(2).await.unwrap();
    let node = without_lease().await;
    let refused = why(&sides.move_to_file("back.db", 3).await.unwrap_err());
    assert!(refused.contains("stop all of them first"), "{refused}");
    node.close().await;
    sides.move_to_file("back.db", 4).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_claims_waits_for_a_transaction_on_the_copy_and_nobody_ends_anothers() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    sides.filled().await;
    let [mine, others] = [1, 2].map(|id| occasion(id).mark("sqlite:here", &sides.key()));
    let (one, other) = (sides.server().await, sides.server().await);
    assert_eq!(one.claim(&mine, Task::Fill).await.unwrap(), Claimed::Nothing);
    PostgresStore::migrate(&sides.options(), None).await.unwrap();
    one.set_key(&mine, &sides.key()).await.unwrap();
    one.begin_comparing(&mine).await.unwrap();
    let refused = why(&other.claim(&others, Task::Fill).await.unwrap_err());
    assert!(refused.contains("another move, restore or migration is at work"), "{refused}");
    one.end_reading().await.unwrap();
    let other = sides.server().await;
    assert_eq!(other.claim(&others, Task::Fill).await.unwrap(), Claimed::Unfinished);
    let refused = why(&one.set_key(&mine, b"a key").await.unwrap_err());
    assert!(refused.contains("another move or restore took"), "{refused}");
    let refused = why(&one.finish(&mine).await.unwrap_err());
    assert!(refused.contains("another move or restore took"), "{refused}");
    assert!(matches!(other.standing().await.unwrap(), Standing::Unfinished(mark) if mark == others));
    other.begin_comparing(&others).await.unwrap();
    other.finish(&others).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_back_where_a_node_has_connections() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let store = sides.postgres.store().await;
    let node = Node { id: NodeId(7), incarnation: Incarnation(8) };
    assert_eq!(store.lease_upkeep(node, Duration::from_secs(60)).await.unwrap(), Lease::Held);
    store.give_upkeep_back(node).await.unwrap();
    let server = sides.server().await;
    server.batch("BEGIN").await.unwrap();
    server.leave(&occasion(1).mark("sqlite:here", b"a key")).await.unwrap();
    let refused = why(&take_back_to_server(&sides.options()).await.unwrap_err());
    assert!(refused.contains("stop all of them first"), "{refused}");
    store.close().await;
    assert_eq!(take_back_to_server(&sides.options()).await.unwrap(), "sqlite:here");
}
