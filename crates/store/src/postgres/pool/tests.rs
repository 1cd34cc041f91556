use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use respoke_core::audit::Action;
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    AuditStore as _, Beating, ChangeStore as _, EndRequest, EndScope, ListFilter, Load, NodeState, NodeStore as _,
    ScopeEnding, SessionStore as _, Store, StoreError, TokenStore as _,
};
use respoke_core::token::Replaces;
use tokio_postgres::{Client, NoTls};

use super::*;
use crate::contract::fixture::{NOW, World, endpoint, entry};
use crate::contract::postgres::{Postgres, there_is_a_server};
use crate::contract::postgres_nodes::{join, newcomer};
use crate::postgres::connect::Patience;
use crate::postgres::options::Options;
use crate::postgres::store::PostgresStore;

/// Within which everything is done on the busiest machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Those of the store that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                       WHERE NOT l.granted AND a.datname = current_database() AND a.application_name = 'respoked'";

async fn opened(fixture: &Postgres, turn: Duration) -> (Arc<PostgresStore>, World) {
    // What there is before is made in its own time.
    let world = World::new(fixture.store().await as Arc<dyn Store>).await;
    world.mint("before").await;
    let mut options = Options::of(fixture.config());
    options.patience = Patience { answer: DEADLINE, turn, ..Patience::default() };
    let store = Arc::new(PostgresStore::open(options).await.unwrap());
    let world = world.on(store.clone() as Arc<dyn Store>);
    (store, world)
}

async fn console(fixture: &Postgres) -> Client {
    let (client, connection) = fixture.config().connect(NoTls).await.unwrap();
    TaskTracker::new().spawn(connection);
    client
}

fn end(world: &World) -> EndRequest {
    let scope = EndScope::Endpoint(endpoint("alice"));
    EndRequest { app_id: world.app, scope, issued_before: None, tokens_too: true }
}

/// What comes of it within so many polls.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        if polls < times {
            polls += 1;
            if let Poll::Ready(done) = future.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
        }
        // Behind the last one it is not waited for.
        if polls == times { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// Has all places at once.
async fn all_places(store: &PostgresStore) -> Vec<Lent> {
    let mut lent = lent_for(store, &Errand::LookUp, USUAL).await;
    lent.extend(lent_for(store, &Errand::Ending, 1).await);
    lent.extend(lent_for(store, &Errand::Hearing, 1).await);
    assert_eq!(lent.len(), MOST + PULSE);
    lent
}

async fn lent_for(store: &PostgresStore, errand: &Errand, times: usize) -> Vec<Lent> {
    let mut lent = Vec::new();
    for _ in 0..times {
        lent.push(store.pool.lend(errand).await.unwrap());
    }
    lent
}

async fn big(store: &PostgresStore) -> Errand {
    Errand::OfTurn(store.pool.turn_to_search().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_others_do_each_kind_of_errand_finds_a_place() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, world) = opened(&fixture, Duration::from_millis(100)).await;
    let ended = || store.end_sessions(end(&world), entry(Action::SessionsEnded));
    let written = || store.audit(entry(Action::AppUpdated));
    let listed = || store.tokens(world.app, ListFilter::default(), NOW, PageRequest::first());
    let refused = |done: Result<(), StoreError>| assert!(matches!(done, Err(StoreError::Overloaded)), "{done:?}");
    let of_turn = big(&store).await;
    let all = all_places(&store).await;
    refused(store.token(1).await.map(drop));
    refused(ended().await.map(drop));
    refused(written().await);
    refused(listed().await.map(drop));
    refused(store.changes(0).await.map(drop));
    drop(all);

    // Look-ups leave a place to what ends something.
    let all = lent_for(&store, &Errand::LookUp, USUAL).await;
    refused(store.token(1).await.map(drop));
    assert_eq!(ended().await.unwrap(), ScopeEnding::Ended);
    store.changes(0).await.unwrap();
    drop(all);

    // Endings leave one to each of the others.
    let all = lent_for(&store, &Errand::Ending, ENDINGS).await;
    refused(ended().await.map(drop));
    written().await.unwrap();
    listed().await.unwrap();
    store.token(1).await.unwrap();
    store.changes(0).await.unwrap();
    drop(all);

    // So do transactions, but for searches, which are the last that matter.
    let all = lent_for(&store, &Errand::Transaction, COMMON).await;
    refused(written().await);
    refused(listed().await.map(drop));
    assert_eq!(ended().await.unwrap(), ScopeEnding::Ended);
    store.token(1).await.unwrap();
    store.changes(0).await.unwrap();
    drop(all);

    // A search or a gathering leaves one to all others.
    let all = lent_for(&store, &of_turn, BIG).await;
    refused(listed().await.map(drop));
    written().await.unwrap();
    assert_eq!(ended().await.unwrap(), ScopeEnding::Ended);
    store.token(1).await.unwrap();
    store.changes(0).await.unwrap();
    drop(all);

    // Whatever is slow, of all kinds together, leaves one to look-ups.
    let _all = (
        lent_for(&store, &of_turn, BIG).await,
        lent_for(&store, &Errand::Transaction, 1).await,
        lent_for(&store, &Errand::Ending, 1).await,
    );
    refused(written().await);
    refused(ended().await.map(drop));
    store.token(1).await.unwrap();
    store.changes(0).await.unwrap();
}

/// The process that works for it in the server.
async fn process(lent: &Lent) -> i64 {
    let rows = lent.query("SELECT pg_backend_pid()::bigint", &[]).await.unwrap();
    rows[0].get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_has_a_connection_that_nobody_else_uses_or_waits_with() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, _) = opened(&fixture, Duration::from_millis(100)).await;
    let node = join(&store, newcomer("one")).await;
    let beat = || store.beat(node, NodeState::Serving, Load::default());
    // What it does is another transaction if it says something new.
    assert!(matches!(beat().await.unwrap(), Beating::Lives { .. }));
    let own = process(&store.pool.lend(&Errand::Beat).await.unwrap()).await;
    // Who hears of ends has another one, however long that takes, while there is one.
    let hearing = store.pool.lend(&Errand::Hearing).await.unwrap();
    assert_ne!(process(&hearing).await, own);
    // Nor does anybody else have it, though all are there at once.
    let mut others = lent_for(&store, &Errand::LookUp, USUAL - 1).await;
    others.extend(lent_for(&store, &Errand::Ending, 1).await);
    for other in &others {
        assert_ne!(process(other).await, own);
    }
    assert!(matches!(store.token(1).await, Err(StoreError::Overloaded)));
    for _ in 0..3 {
        assert!(matches!(beat().await.unwrap(), Beating::Lives { .. }));
        store.changes(0).await.unwrap();
    }
    assert_eq!(process(&store.pool.lend(&Errand::Beat).await.unwrap()).await, own);
    drop((hearing, others));
    // Those that nobody has may all be dead: it does not try one after the other.
    for _ in 0..USUAL {
        assert_ne!(process(&store.pool.lend(&Errand::LookUp).await.unwrap()).await, own);
    }
    assert_eq!(process(&store.pool.lend(&Errand::Beat).await.unwrap()).await, own);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_that_is_given_up_keeps_the_next_one_from_nothing() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, _) = opened(&fixture, DEADLINE).await;
    let node = join(&store, newcomer("one")).await;
    let (looking, mut console) = (console(&fixture).await, console(&fixture).await);
    let held = console.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE respoked.nodes IN ACCESS EXCLUSIVE MODE").await.unwrap();
    for _ in 0..2 {
        let mut beat = Box::pin(store.beat(node, NodeState::Serving, Load::default()));
        while looking.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(polled(1, beat.as_mut()).await.is_none());
        }
        drop(beat);
        let lent = tokio::time::timeout(DEADLINE / 2, store.pool.lend(&Errand::Beat)).await;
        assert!(lent.expect("nothing is before it").is_ok());
        // Once the server has noticed that nobody waits.
        while looking.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0) != 0 {
            tokio::task::yield_now().await;
        }
    }
    held.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_is_answered_while_others_wait_for_locks() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, world) = opened(&fixture, DEADLINE).await;
    let session = world.session_of("alice").await.1;
    let (looking, mut console) = (console(&fixture).await, console(&fixture).await);
    let held = console.transaction().await.unwrap();
    // Transactions of the audit log, and lists of the log, wait for its table.
    held.batch_execute("LOCK TABLE respoked.log, respoked.app_owners IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..COMMON + SEARCHES {
        let (writing, listing, app) = (store.clone(), store.clone(), world.app);
        all.spawn(async move { writing.audit(entry(Action::AppUpdated)).await });
        all.spawn(async move {
            let page = listing.tokens(app, ListFilter::default(), NOW, PageRequest::first()).await;
            page.map(drop)
        });
    }
    let slow = i64::try_from(COMMON).unwrap();
    while looking.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0) < slow {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 * USUAL {
        let found = tokio::time::timeout(DEADLINE / 2, store.session(session.number)).await;
        assert!(found.expect("nothing is before it").unwrap().is_some());
    }
    assert_eq!(looking.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0), slow, "they still wait");
    held.rollback().await.unwrap();
    for done in all.join_all().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_search_waits_its_turn_and_not_for_ever() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, world) = opened(&fixture, Duration::from_millis(100)).await;
    let list = || store.tokens(world.app, ListFilter::default(), NOW, PageRequest::first());
    let (first, second) = (store.search().await.unwrap(), store.search().await.unwrap());
    assert!(matches!(list().await, Err(StoreError::Overloaded)));
    store.gather().await.unwrap().read("SELECT 1", &[]).await.unwrap();
    first.read("SELECT 1", &[]).await.unwrap();
    drop(second);
    list().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_went_away_from_keeps_nobody_waiting_behind_it() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, world) = opened(&fixture, DEADLINE).await;
    let session = world.session_of("alice").await.1;
    let (looking, mut console) = (console(&fixture).await, console(&fixture).await);
    let held = console.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE respoked.log IN ACCESS EXCLUSIVE MODE").await.unwrap();
    for waiting in 1..USUAL {
        let mut looked = pin!(store.token(1));
        // Polled until the server has it and it waits.
        while looking.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0) < i64::try_from(waiting).unwrap() {
            assert!(polled(1, looked.as_mut()).await.is_none());
        }
    }
    for _ in 0..2 * USUAL {
        let found = tokio::time::timeout(DEADLINE / 2, store.session(session.number)).await;
        assert!(found.expect("nothing is before it").unwrap().is_some());
    }
    assert_eq!(looking.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0), 2, "they still wait");
    held.rollback().await.unwrap();
    all_places(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_future_leaves_nothing_held() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, world) = opened(&fixture, DEADLINE).await;
    world.mint("alice").await;
    let list = || store.tokens(world.app, ListFilter::default(), NOW, PageRequest::first());
    for polls in 0.. {
        let ended = polled(polls, store.end_sessions(end(&world), entry(Action::SessionsEnded))).await;
        let listed = polled(polls, list()).await;
        let minted = polled(polls, world.issue(world.token_for("bob", NOW), Replaces::Nothing, None)).await;
        // All places, and the locks of all.
        all_places(&store).await;
        let (one, other) = (store.search().await.unwrap(), store.search().await.unwrap());
        drop((one, other));
        assert_eq!(store.end_sessions(end(&world), entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::Ended);
        world.mint("carol").await;
        if ended.is_some() && listed.is_some() && minted.is_some() {
            break;
        }
    }
    let lent = all_places(&store).await;
    assert!(polled(1, store.pool.lend(&Errand::LookUp)).await.is_none());
    assert_eq!(store.pool.0.usual.waiting.load(Ordering::Relaxed), 0, "who went away does not wait");
    drop(lent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_a_transaction_is_not_told_as_done() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let store = fixture.store().await;
    let write = store.begin().await.unwrap();
    write.execute("INSERT INTO respoked.meta (key, value) VALUES ('some', '')", &[]).await.unwrap();
    write.query("SELECT 1 / 0", &[]).await.unwrap_err();
    let undone = store.commit(&write).await.unwrap_err();
    assert!(matches!(undone.told(), StoreError::Unavailable(_)));
    drop(write);
    // The connection is good again, and another transaction is taken back as a whole.
    let write = store.begin().await.unwrap();
    write.execute("INSERT INTO respoked.meta (key, value) VALUES ('some', '')", &[]).await.unwrap();
    write.take_back().await.unwrap();
    store.commit(&write).await.unwrap();
    assert!(store.read("SELECT 1 FROM respoked.meta WHERE key = 'some'", &[]).await.unwrap().is_empty());
}
