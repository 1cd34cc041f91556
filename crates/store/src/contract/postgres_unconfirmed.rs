//! Commits that no standby confirms. They run where the contract runs on PostgreSQL, if the programs of a server are installed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use respoke_core::audit::Action;
use respoke_core::ports::{EndRequest, EndScope, MaintenanceStore as _, StoreError};
use respoke_core::token::Replaces;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::fixture::{NOW, World, endpoint, entry};
use super::hub_cases::message;
use super::postgres::there_is_a_server;
use super::postgres_server::Server;
use crate::postgres::Patience;
use crate::{PostgresOptions, PostgresStore};

/// Within which everything is done on the busiest machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long the store waits for what does not come.
const SHORT: Duration = Duration::from_millis(200);
/// The connections of a store that commit: three of its writers, and those places in its pool that look-ups, and what hears of
/// changes, do not have.
const COMMITTING_MAX: usize = 3 + 3;
const CONNECTIONS_MAX: i64 = 8;

/// A server of its own, a store on it, and a way past that.
struct Alone {
    console: Client,
    world: World,
    /// Another app, in which is ended: whoever ends something keeps others from the app until its commit is over.
    ends_in: World,
    store: Arc<PostgresStore>,
    before: u64,
    _server: Server,
}

impl Alone {
    /// One that soon gives up. None: the programs are not installed.
    async fn start() -> Option<Self> {
        Self::start_with(Patience { answer: DEADLINE, commit: SHORT, turn: SHORT, again: SHORT, ..Patience::default() })
            .await
    }

    async fn start_with(patience: Patience) -> Option<Self> {
        let mut server = Server::make("trust")?;
        server.start(&[]);
        // What there is before is made in its own time.
        let first = Arc::new(PostgresStore::open(PostgresOptions::of(server.config())).await.unwrap());
        let world = World::new(first.clone()).await;
        let ends_in = World::with_app(first.clone(), world.account).await;
        let before = world.mint("before").await.number;
        first.close().await;
        let mut options = PostgresOptions::of(server.config());
        options.patience = patience;
        let store = Arc::new(PostgresStore::open(options).await.unwrap());
        let (world, ends_in) = (world.on(store.clone()), ends_in.on(store.clone()));
        Some(Self { console: server.console().await, world, ends_in, store, before, _server: server })
    }

    async fn set_standby(&self, sql: &str) {
        self.console.batch_execute(sql).await.unwrap();
        self.console.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    }

    async fn mint(world: World, name: String) -> Result<(), StoreError> {
        world.issue(world.token_for(&name, NOW), Replaces::Nothing, None).await.map(drop)
    }

    async fn say(world: World, name: String) -> Result<(), StoreError> {
        world.store.append_message(message(&world, &name, "alice", NOW), u64::MAX).await.map(drop)
    }

    async fn end(world: World, name: String) -> Result<(), StoreError> {
        let scope = EndScope::Endpoint(endpoint(&name));
        let request = EndRequest { app_id: world.app, scope, issued_before: None, tokens_too: true };
        world.store.end_sessions(request, entry(Action::SessionsEnded)).await.map(drop)
    }

    async fn note(world: World) -> Result<(), StoreError> {
        world.store.audit(entry(Action::AppUpdated)).await
    }

    /// Writes in all ways, several times at once. Returns what was said.
    async fn write(&self, name: &str) -> Vec<Result<(), StoreError>> {
        let mut all = JoinSet::new();
        for nth in 0..4 {
            let name = format!("{name} {nth}");
            all.spawn(Self::mint(self.world.clone(), name.clone()));
            all.spawn(Self::say(self.world.clone(), name.clone()));
            all.spawn(Self::end(self.ends_in.clone(), name));
            all.spawn(Self::note(self.world.clone()));
        }
        all.join_all().await
    }

    /// The server's processes whose commit waits for a standby.
    async fn unconfirmed(&self) -> BTreeSet<i32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'respoked' AND wait_event = 'SyncRep'";
        self.console.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// The same of those that wait for longer than that.
    async fn unconfirmed_for(&self, time: Duration) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'respoked' AND wait_event = 'SyncRep'
                   AND clock_timestamp() - query_start > $1 * interval '1 millisecond'";
        let millis = i32::try_from(time.as_millis()).unwrap();
        self.console.query_one(sql, &[&f64::from(millis)]).await.unwrap().get(0)
    }

    async fn connections(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'respoked'";
        self.console.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Has all that may commit wait for a standby that there is not.
    async fn hang(&self) -> BTreeSet<i32> {
        self.set_standby("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
        // One ends something at a time; there are two places for other transactions, two writers of tokens, and one of messages.
        self.until_in_doubt(1, async || Self::end(self.ends_in.clone(), "ended".into()).await).await;
        self.until_in_doubt(2, async || Self::note(self.world.clone()).await).await;
        self.until_in_doubt(1, async || Self::say(self.world.clone(), "said".into()).await).await;
        self.until_in_doubt(2, async || Self::mint(self.world.clone(), "minted".into()).await).await;
        self.unconfirmed().await
    }

    /// Does it until so many more commits wait.
    async fn until_in_doubt(&self, more: usize, mut done: impl AsyncFnMut() -> Result<(), StoreError>) {
        let (since, mut in_doubt) = (Instant::now(), 0);
        while in_doubt < more {
            assert!(since.elapsed() < DEADLINE, "{in_doubt} wait");
            // The server may not have read its settings yet, and a writer that waits may be asked again.
            in_doubt += usize::from(matches!(done().await, Err(StoreError::InDoubt(_))));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_that_no_standby_confirms_leave_no_processes_of_the_server_behind() {
    if !there_is_a_server() {
        return;
    }
    let Some(alone) = Alone::start().await else { return };
    let hung = alone.hang().await;
    assert_eq!(hung.len(), COMMITTING_MAX);
    for round in 0..4 {
        for said in alone.write(&format!("round {round}")).await {
            assert!(matches!(said, Err(StoreError::Unavailable(_) | StoreError::Overloaded)), "{said:?}");
        }
        assert_eq!(alone.unconfirmed().await, hung, "the same ones wait");
        // What reads goes on.
        assert!(alone.world.store.token(alone.before).await.unwrap().is_some());
        alone.world.store.changes(0).await.unwrap();
        assert!(alone.connections().await <= CONNECTIONS_MAX);
    }

    alone.set_standby("ALTER SYSTEM RESET synchronous_standby_names").await;
    let since = Instant::now();
    while !alone.write("again").await.iter().all(Result::is_ok) {
        assert!(since.elapsed() < DEADLINE, "nothing is written any more");
    }
    assert_eq!(alone.unconfirmed().await, BTreeSet::new());
    assert!(alone.connections().await <= CONNECTIONS_MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_is_closed_though_no_standby_confirms_its_commits() {
    if !there_is_a_server() {
        return;
    }
    let Some(alone) = Alone::start().await else { return };
    alone.hang().await;
    tokio::time::timeout(DEADLINE, alone.store.close()).await.expect("closing ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_timeout_of_the_server_ends_a_commit() {
    if !there_is_a_server() {
        return;
    }
    let answer = Duration::from_secs(2);
    let Some(alone) = Alone::start_with(Patience { answer, commit: DEADLINE, ..Patience::default() }).await else {
        return;
    };
    alone.set_standby("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    let since = Instant::now();
    let mut written = JoinSet::new();
    // Each of them would be answered at once before the server has read its settings.
    while alone.unconfirmed().await.is_empty() {
        assert!(since.elapsed() < DEADLINE, "none waits");
        let world = alone.world.clone();
        written.spawn(async move { Alone::note(world).await });
        tokio::task::yield_now().await;
    }
    while alone.unconfirmed_for(2 * answer).await == 0 {
        assert!(since.elapsed() < DEADLINE, "a commit was ended");
        tokio::task::yield_now().await;
    }
    alone.set_standby("ALTER SYSTEM RESET synchronous_standby_names").await;
    for written in written.join_all().await {
        assert!(matches!(written, Ok(()) | Err(StoreError::Overloaded)), "{written:?}");
    }
}
