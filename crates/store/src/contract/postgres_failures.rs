//! What a store on PostgreSQL says and does when its server goes away in the middle of things, hangs, or lets it wait. A proxy
//! between them makes it so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use respoke_core::audit::Action;
use respoke_core::id::EndpointId;
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    AdminAddition, AuditQuery, Change, EndRequest, EndScope, ListFilter, MaintenanceStore as _, Redemption, StoreError,
};
use respoke_core::seal::Entropy;
use respoke_core::token::{MintedToken, Replaces};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::TaskTracker;

use super::fixture::{NOW, World, created, endpoint, entry, new_admin};
use super::hub_cases::message;
use super::postgres::{Postgres, there_is_a_server};
use super::postgres_proxy::{Proxy, Side, Way};
use crate::postgres::Patience;
use crate::{PostgresOptions, PostgresStore};

/// Within which everything is done on the busiest machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// As many connections as a store has at most.
const CONNECTIONS_MAX: usize = 8;

/// A store that reaches its server through a proxy, and a way past it.
struct Between {
    proxy: Proxy,
    world: World,
    /// A token that is there.
    before: u64,
    store: Arc<PostgresStore>,
    direct: Client,
    database: Postgres,
}

async fn direct(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    TaskTracker::new().spawn(connection);
    client
}

impl Between {
    async fn new(patience: Patience) -> Self {
        let database = Postgres::default();
        let config = database.config();
        let proxy = Proxy::to(&config).await;
        // What there is before is made in its own time.
        let first = Arc::new(PostgresStore::open(PostgresOptions::of(config.clone())).await.unwrap());
        let world = World::new(first.clone()).await;
        let mut options = PostgresOptions::of(proxy.config(&config));
        options.patience = patience;
        let store = Arc::new(PostgresStore::open(options).await.unwrap());
        let before = world.mint("before").await.number;
        first.close().await;
        Self { proxy, world: world.on(store.clone()), before, store, direct: direct(&config).await, database }
    }

    async fn mint(&self, name: &str) -> Result<MintedToken, StoreError> {
        self.world.issue(self.world.token_for(name, NOW), Replaces::Nothing, None).await
    }

    async fn end(&self, name: &str) -> Result<(), StoreError> {
        let scope = EndScope::Endpoint(endpoint(name));
        let request = EndRequest { app_id: self.world.app, scope, issued_before: None, tokens_too: true };
        self.world.store.end_sessions(request, entry(Action::SessionsEnded)).await.map(drop)
    }

    async fn say(&self, name: &str) -> Result<(), StoreError> {
        self.world.store.append_message(message(&self.world, name, "alice", NOW), u64::MAX).await.map(drop)
    }

    /// How many rows there are, past the proxy.
    async fn count(&self, sql: &str, name: &str) -> i64 {
        self.direct.query_one(sql, &[&name]).await.unwrap().get(0)
    }

    /// Waits until so many rows are there.
    async fn until(&self, sql: &str, there_are: impl Fn(i64) -> bool, what: &str) {
        let since = Instant::now();
        let mut found = self.count(sql, "").await;
        while !there_are(found) {
            assert!(since.elapsed() < DEADLINE, "{what}: {found}");
            tokio::task::yield_now().await;
            found = self.count(sql, "").await;
        }
    }

    /// Does all kinds of things, so that their connections are there again.
    async fn write_again(&self, name: &str) {
        let since = Instant::now();
        // The first one may be told that there was no connection.
        while self.mint(name).await.is_err() || self.end(name).await.is_err() || self.say(name).await.is_err() {
            assert!(since.elapsed() < DEADLINE, "nothing is written any more");
            tokio::task::yield_now().await;
        }
    }

    async fn there(&self, done: Done, name: &str) -> i64 {
        match done {
            Done::Mint => {
                let sql = "SELECT count(*) FROM respoked.log WHERE endpoint = $1 AND expires_at IS NOT NULL";
                self.count(sql, name).await
            }
            Done::End => self.count("SELECT count(*) FROM respoked.endpoints WHERE endpoint = $1", name).await,
            Done::Say => {
                let sql = "SELECT count(*) FROM respoked.messages m JOIN respoked.message_groups g
                           ON g.number = m.group_number WHERE g.name = convert_to($1, 'UTF8')";
                self.count(sql, name).await
            }
            Done::Redeem => {
                let both = "SELECT count(s.number) + 10 * count(t.ended_at) FROM respoked.log t
                            LEFT JOIN respoked.sessions s ON s.token_number = t.number
                            WHERE t.endpoint = $1 AND t.expires_at IS NOT NULL";
                match self.count(both, name).await {
                    0 => 0,
                    11 => 1,
                    half => panic!("{name}: half of it is there: {half}"),
                }
            }
        }
    }
}

/// The store's own connections that wait for a lock, past the proxy.
const WAITING: &str = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                       WHERE NOT l.granted AND a.datname = current_database() AND a.application_name = 'respoked' AND $1 = ''";
/// Those that there are.
const OPEN: &str = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'respoked' AND $1 = ''";

#[derive(Clone, Copy, Debug)]
enum Done {
    Mint,
    Redeem,
    End,
    Say,
}

/// How often it is begun anew at most until an operation was seen to be in doubt.
const ROUNDS_MAX: usize = 6;

/// Cuts an operation's connection at every message in turn, and holds what is said against what is there.
async fn is_told_truly_wherever_it_is_cut(done: Done) {
    if !there_is_a_server() {
        return;
    }
    for (then, again) in [(Way::Open, DEADLINE), (Way::Refused, Duration::from_millis(100))] {
        let between = Between::new(Patience { again, ..Patience::default() }).await;
        is_told_truly(done, &between, Side::Asked, then).await;
        is_told_truly(done, &between, Side::Answered, then).await;
    }
}

async fn is_told_truly(done: Done, between: &Between, side: Side, then: Way) {
    let (mut successes, mut nothings, mut doubts) = (0, 0, 0);
    let (mut after, mut rounds) = (0, 0);
    while rounds == 0 || (doubts == 0 && rounds < ROUNDS_MAX) {
        let name = format!("{done:?} {side:?} {then:?} {after} {rounds}");
        between.write_again(&format!("before {name}")).await;
        let token = match done {
            Done::Redeem => Some(between.world.mint(&name).await),
            Done::Mint | Done::End | Done::Say => None,
        };
        between.proxy.cut(side, after, then);
        let said = match (done, &token) {
            (Done::Mint, _) => between.mint(&name).await.map(drop),
            (Done::End, _) => between.end(&name).await,
            (Done::Say, _) => between.say(&name).await,
            (Done::Redeem, token) => {
                let redeemed = between.world.try_redeem(token.as_ref().unwrap(), NOW).await;
                redeemed.map(|redemption| assert!(matches!(redemption, Redemption::Opened { .. }), "{redemption:?}"))
            }
        };
        let cut = between.proxy.mend();
        let there = between.there(done, &name).await;
        match said {
            Ok(()) => {
                assert_eq!(there, 1, "{name} was told to be done");
                successes += 1;
            }
            Err(StoreError::InDoubt(_)) => {
                assert!((0..=1).contains(&there), "{name}");
                doubts += 1;
            }
            Err(StoreError::Unavailable(_)) => {
                assert_eq!(there, 0, "{name} was told not to be done");
                nothings += 1;
            }
            Err(other) => panic!("{name}: {other:?}"),
        }
        // How many messages it takes depends on which task takes it, and on what its connection keeps by then: its commit may have been
        // another one each time.
        (after, rounds) = if cut { (after + 1, rounds) } else { (0, rounds + 1) };
    }
    let what = format!("{done:?} {side:?} {then:?}: {successes} done, {nothings} not, {doubts} in doubt");
    assert!(doubts > 0, "{what}");
    match then {
        Way::Open => assert!(successes > 2 && nothings == 0, "it was tried again: {what}"),
        Way::Refused | Way::Hanging => assert!(nothings > 2, "{what}"),
    }
    let gaps = "SELECT count(*) - max(number) + min(number) - 1 FROM respoked.changes WHERE $1 <> ''";
    assert_eq!(between.count(gaps, "any").await, 0, "the feed has gaps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mint_is_told_truly_wherever_it_is_cut() {
    is_told_truly_wherever_it_is_cut(Done::Mint).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redemption_is_told_truly_wherever_it_is_cut() {
    is_told_truly_wherever_it_is_cut(Done::Redeem).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_end_is_told_truly_wherever_it_is_cut() {
    is_told_truly_wherever_it_is_cut(Done::End).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_say_is_told_truly_wherever_it_is_cut() {
    is_told_truly_wherever_it_is_cut(Done::Say).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_hangs_keeps_nobody_waiting_and_is_written_to_again() {
    if !there_is_a_server() {
        return;
    }
    // Long enough for a busy machine, and far from the deadline.
    let patience = Duration::from_secs(2);
    let between =
        Between::new(Patience { connect: patience, answer: patience, commit: patience, ..Patience::default() }).await;
    // So that there are connections.
    between.write_again("at first").await;
    for round in 0..2 {
        between.proxy.set(Way::Hanging);
        // The second ones find no connection, and none that can be made.
        for again in 0..2 {
            let name = format!("hung {round} {again}");
            let made = between.proxy.made();
            let read = tokio::time::timeout(DEADLINE, between.world.store.changes(0)).await;
            assert!(matches!(read, Ok(Err(StoreError::Unavailable(_)))), "{read:?}");
            if again == 0 {
                assert_eq!(between.proxy.made(), made, "what was not answered in time was asked again");
            }
            let all = async { tokio::join!(between.mint(&name), between.end(&name), between.say(&name)) };
            let answered = tokio::time::timeout(DEADLINE, all).await;
            let (minted, ended, said) = answered.expect("everybody is answered");
            assert!(matches!(minted, Err(StoreError::Unavailable(_))), "{minted:?}");
            assert!(matches!(ended, Err(StoreError::Unavailable(_))), "{ended:?}");
            assert!(matches!(said, Err(StoreError::Unavailable(_))), "{said:?}");
            assert_eq!(between.there(Done::Mint, &name).await + between.there(Done::End, &name).await, 0);
            assert_eq!(between.there(Done::Say, &name).await, 0);
        }
        between.proxy.mend();
        between.write_again(&format!("again {round}")).await;
    }
    assert!(between.proxy.most() <= CONNECTIONS_MAX, "{}", between.proxy.most());
    between.proxy.set(Way::Hanging);
    tokio::time::timeout(DEADLINE, between.store.close()).await.expect("closing ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_refuses_is_not_asked_thousands_of_times() {
    if !there_is_a_server() {
        return;
    }
    let between = Between::new(Patience::default()).await;
    between.proxy.refuse();
    let made = between.proxy.made();
    // Each tries several times.
    let since = Instant::now();
    let ends = (0..64).map(|nth| {
        let world = between.world.clone();
        async move {
            let scope = EndScope::Endpoint(endpoint(&format!("user {nth}")));
            let request = EndRequest { app_id: world.app, scope, issued_before: None, tokens_too: true };
            world.store.end_sessions(request, entry(Action::SessionsEnded)).await
        }
    });
    for ended in ends.collect::<JoinSet<_>>().join_all().await {
        assert!(matches!(ended, Err(StoreError::Unavailable(_) | StoreError::Overloaded)), "{ended:?}");
    }
    let (made, took) = (between.proxy.made() - made, since.elapsed());
    // Five at once, forty times a second at first and then twice.
    assert!(made <= 5 * (5 + 2 * usize::try_from(took.as_secs() + 1).unwrap()), "{made} in {took:?}");
    between.proxy.mend();
    between.write_again("again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_that_is_held_for_long_makes_no_more_connections_than_eight() {
    if !there_is_a_server() {
        return;
    }
    let patience = Patience {
        answer: Duration::from_millis(300),
        turn: Duration::from_millis(600),
        notice: Duration::from_millis(100),
        ..Patience::default()
    };
    let between = Between::new(patience).await;
    let mut other = direct(&between.database.config()).await;
    let held = other.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE respoked.log, respoked.messages IN ACCESS EXCLUSIVE MODE").await.unwrap();
    for round in 0..4 {
        let mut all = JoinSet::new();
        for nth in 0..16 {
            let (world, name) = (between.world.clone(), format!("held {round} {nth}"));
            let token = between.before;
            all.spawn(async move {
                let new = world.token_for(&name, NOW);
                let scope = EndScope::Endpoint(endpoint(&name));
                let request = EndRequest { app_id: world.app, scope, issued_before: None, tokens_too: true };
                let (minted, ended, said, found, listed) = tokio::join!(
                    world.issue(new, Replaces::Nothing, None),
                    world.store.end_sessions(request, entry(Action::SessionsEnded)),
                    world.store.append_message(message(&world, &name, "alice", NOW), u64::MAX),
                    world.store.token(token),
                    world.store.tokens(world.app, ListFilter::default(), NOW, PageRequest::first()),
                );
                [
                    minted.map(drop).unwrap_err(),
                    ended.map(drop).unwrap_err(),
                    said.map(drop).unwrap_err(),
                    found.map(drop).unwrap_err(),
                    listed.map(drop).unwrap_err(),
                ]
            });
        }
        for refused in all.join_all().await.into_iter().flatten() {
            assert!(matches!(refused, StoreError::Unavailable(_) | StoreError::Overloaded), "{refused:?}");
        }
    }
    assert!(between.proxy.made() > 2 * CONNECTIONS_MAX, "some were given up: {}", between.proxy.made());
    assert!(between.proxy.most() <= CONNECTIONS_MAX, "{} at once", between.proxy.most());
    // The server notices it, while the table is still held.
    between.until(OPEN, |open| open <= 8, "connections that the server has").await;
    held.rollback().await.unwrap();
    between.write_again("again").await;
    tokio::time::timeout(DEADLINE, between.store.close()).await.expect("closing ends");
    between.until(OPEN, |open| open == 0, "connections that the server has").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_waits_for_locks_longer_than_for_an_answer_keeps_the_connection() {
    if !there_is_a_server() {
        return;
    }
    // For one lock alone it would wait for three seconds, which stand for those of several here.
    let patience = Patience { answer: Duration::from_millis(2_500), ..Patience::default() };
    let between = Between::new(patience).await;
    between.write_again("before").await;
    let made = between.proxy.made();
    let mut other = direct(&between.database.config()).await;
    let held = other.transaction().await.unwrap();
    held.batch_execute("SELECT 1 FROM respoked.feed FOR UPDATE").await.unwrap();
    let ended = between.end("held").await;
    assert!(matches!(ended, Err(StoreError::Unavailable(_))), "{ended:?}");
    assert_eq!(between.there(Done::End, "held").await, 0);
    held.rollback().await.unwrap();
    between.end("again").await.unwrap();
    assert_eq!(between.proxy.made(), made, "no connection was given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lists_that_find_nothing_keep_nobody_from_ending_signing_in_and_hearing_of_it() {
    if !there_is_a_server() {
        return;
    }
    let patience = Patience { answer: DEADLINE, turn: DEADLINE, ..Patience::default() };
    let between = Between::new(patience).await;
    let world = &between.world;
    let admin = new_admin(world.account, "alice");
    let added = world.store.create_admin(admin.clone(), entry(Action::AdminCreated)).await.unwrap();
    assert_eq!(added, AdminAddition::Added);
    let session = world.session_of("before").await.1;
    // The lists of the audit log wait for this table, and nothing else does that follows.
    let mut other = direct(&between.database.config()).await;
    let held = other.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE respoked.app_owners IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut lists = JoinSet::new();
    for _ in 0..8 {
        let (store, account) = (world.store.clone(), world.account);
        let nothing = AuditQuery {
            account_id: account,
            app_id: None,
            action: None,
            object: Some("nothing".into()),
            request_id: None,
        };
        lists.spawn(async move { store.audit_log(nothing, PageRequest::first()).await });
    }
    between.until(WAITING, |waiting| waiting == 1, "lists under way").await;
    let proof = respoke_core::ports::Factor::None;
    let all =
        async {
            between.end("alice").await.unwrap();
            let until = NOW.plus_secs(60);
            let signed_in = entry(Action::AdminSignedIn);
            let (entropy, once) = (Entropy::random(), None);
            created(world.store.open_admin_session(&admin, proof, entropy, until, once, signed_in).await.unwrap());
            assert!(world.store.changes(0).await.unwrap().told.iter().any(|change| {
                change.what == Some(Change::Endpoint(world.app, EndpointId::parse("alice").unwrap()))
            }));
            assert!(world.store.session(session.number).await.unwrap().is_some());
        };
    tokio::time::timeout(DEADLINE / 2, all).await.expect("they do not wait for the lists");
    between.until(WAITING, |waiting| waiting == 1, "lists under way").await;
    held.rollback().await.unwrap();
    for page in lists.join_all().await {
        assert!(page.unwrap().items.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_in_a_deadlock_tries_again_and_is_counted() {
    if !there_is_a_server() {
        return;
    }
    let between = Between::new(Patience::default()).await;
    let mut other = direct(&between.database.config()).await;
    let app = between.world.app.uuid();
    // Which of two the server lets go on, is its own affair.
    for attempt in 0..10 {
        let name = format!("deadlock {attempt}");
        let held = other.transaction().await.unwrap();
        held.batch_execute("SELECT 1 FROM respoked.feed FOR UPDATE").await.unwrap();
        let crossed = async {
            // Until the end has the app's row and waits for the feed.
            between.until(WAITING, |waiting| waiting > 0, "those who wait").await;
            let _ = held.execute("SELECT 1 FROM respoked.apps WHERE id = $1 FOR UPDATE", &[&app]).await;
            held.rollback().await.unwrap();
        };
        let (ended, ()) = tokio::join!(between.end(&name), crossed);
        ended.unwrap();
        assert_eq!(between.there(Done::End, &name).await, 1);
        if between.store.figures().again.conflicts > 0 {
            return;
        }
    }
    panic!("the end was never the one that the server gave up");
}

/// The names of endpoints may be as long as those here.
#[test]
fn the_names_here_are_names() {
    assert!(EndpointId::parse("before Redeem Answered Refused 1000").is_ok());
}
