//! Who comes to a promoted server while it is made fit, which is held up here as long as a test wants.

use respoke_core::audit::Action;
use respoke_core::ports::{
    Beating, Ending, Load, MaintenanceStore as _, Node, NodeState, NodeStore as _, SessionStore as _, StoreError,
};
use respoke_core::session::{SessionEndCause, SessionRecord};
use respoke_core::token::{MintedToken, Replaces};
use tokio_postgres::Client;

use super::*;
use crate::contract::fixture::{NOW, World, entry};
use crate::contract::postgres::there_is_a_server;
use crate::contract::postgres_nodes::{join, newcomer};
use crate::contract::postgres_promotion::{Servers, until};
use crate::postgres::options::Options;
use crate::postgres::patience::Patience;
use crate::postgres::store::PostgresStore;

/// Longer than anybody waits here, on a busy machine.
const FOR_EVER: Duration = Duration::from_secs(30);
const SHORT: Patience = Patience { answer: Duration::from_secs(1), again: Duration::from_secs(1), ..Patience::DEFAULT };

/// Statements that wait on a server as long as somebody has a lock there. They wait in no lock, which they would not for long.
const GATE: &str = "
    CREATE FUNCTION wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        WHILE EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4242) LOOP
            PERFORM pg_sleep(0.02);
        END LOOP;
        RETURN NULL;
    END $$;";

/// A store whose server was promoted, where a statement waits that makes it fit.
struct Held {
    servers: Servers,
    store: Arc<PostgresStore>,
    world: World,
    ended: SessionRecord,
    nodes: [Node; 2],
    console: Client,
}

impl Held {
    /// Held at what is done to this table: `changes` before it is settled what is there, `sessions` when what had been ended is ended
    /// again. None: there are no servers.
    async fn at(table: &str, done: &str, patience: Patience) -> Option<Self> {
        let mut held = Self::promoted(table, done, patience).await?;
        held.servers.old.crash();
        Some(held)
    }

    /// The same while the server before lives.
    async fn promoted(table: &str, done: &str, patience: Patience) -> Option<Self> {
        if !there_is_a_server() {
            return None;
        }
        let servers = Servers::start(false)?;
        let options = Options { patience, ..Options::of(servers.both()) };
        let store = Arc::new(PostgresStore::open(options).await.unwrap());
        let world = World::new(store.clone()).await;
        let (_, ended) = world.session_of("ended").await;
        let nodes = [join(&store, newcomer("one")).await, join(&store, newcomer("two")).await];
        let gate =
            format!("{GATE} CREATE TRIGGER gate BEFORE {done} ON respoked.{table} EXECUTE FUNCTION wait_at_the_gate()");
        servers.old.console().await.batch_execute(&gate).await.unwrap();
        servers.part().await;
        let end = store.end_session(world.app, ended.number, SessionEndCause::Revoked, entry(Action::SessionEnded));
        assert_eq!(end.await.unwrap(), Ending::Ended);
        store.leave(nodes[1]).await.unwrap();
        let console = servers.new.console().await;
        console.query("SELECT pg_advisory_lock(4242)", &[]).await.unwrap();
        servers.new.promote();
        Some(Self { servers, store, world, ended, nodes, console })
    }

    async fn before_it_is_settled(patience: Patience) -> Option<Self> {
        Self::at("changes", "DELETE", patience).await
    }

    async fn while_ends_are_written_again() -> Option<Self> {
        Self::at("sessions", "UPDATE", Patience::default()).await
    }

    /// The processes of the server that wait at the gate.
    async fn waiting(&self) -> Vec<i32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'respoked' AND wait_event = 'PgSleep'";
        self.console.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Has somebody come who waits until it is held, and then goes away.
    async fn meet(&self) {
        let read = async { while self.read().await.is_err() {} };
        tokio::select! {
            () = read => panic!("it was read from"),
            () = until(async || !self.waiting().await.is_empty()) => {}
        }
    }

    async fn read(&self) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self.store.session(self.ended.number).await?.map(|(session, _)| session))
    }

    async fn mint(&self) -> Result<MintedToken, StoreError> {
        self.world.issue(self.world.token_for("minted", NOW), Replaces::Nothing, None).await
    }

    async fn beat(&self) -> Result<Beating, StoreError> {
        self.store.beat(self.nodes[0], NodeState::Starting, Load::default()).await
    }

    async fn open(&self) {
        self.console.query("SELECT pg_advisory_unlock(4242)", &[]).await.unwrap();
    }

    /// Whether what had been ended is ended on the server, by whomever.
    async fn is_fit(&self) -> bool {
        let sql = "SELECT ended_at IS NOT NULL FROM respoked.sessions WHERE number = $1";
        self.console.query_one(sql, &[&i64::try_from(self.ended.number).unwrap()]).await.unwrap().get(0)
    }

    async fn until_fit(&self) {
        until(async || self.is_fit().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_made_fit_though_whoever_came_there_went_away() {
    let Some(held) = Held::before_it_is_settled(Patience::default()).await else { return };
    held.meet().await;
    let before = held.waiting().await;
    // Others come and go.
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_millis(100), held.read()).await.is_err(), "nobody reads there yet");
    }
    assert_eq!(held.waiting().await, before, "it was begun anew");
    held.open().await;
    held.until_fit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_writes_meanwhile_is_refused_in_time_and_nothing_was_written() {
    let Some(held) = Held::before_it_is_settled(SHORT).await else { return };
    held.meet().await;
    for _ in 0..3 {
        let minted = tokio::time::timeout(FOR_EVER, held.mint()).await.expect("it waits on");
        let Err(StoreError::Unavailable(why)) = minted else { panic!("{minted:?}") };
        let why = format!("{why:?}");
        assert!(why.contains("was promoted, and is being made fit"), "{why}");
    }
    let ended = entry(Action::SessionEnded);
    let end = held.store.end_session(held.world.app, held.ended.number, SessionEndCause::Revoked, ended);
    let refused = tokio::time::timeout(FOR_EVER, end).await.expect("it waits on");
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    held.open().await;
    until(async || held.mint().await.is_ok()).await;
    let sql = "SELECT count(*) FROM respoked.log WHERE endpoint = 'minted'";
    assert_eq!(held.console.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 1, "a refused one was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_is_closed_meanwhile_ends() {
    for table in [Held::before_it_is_settled(SHORT).await, Held::while_ends_are_written_again().await] {
        let Some(held) = table else { return };
        let (world, minting) = (held.world.clone(), TaskTracker::new());
        minting
            .spawn(async move { world.issue(world.token_for("minted", NOW), Replaces::Nothing, None).await.is_ok() });
        until(async || !held.waiting().await.is_empty()).await;
        tokio::time::timeout(FOR_EVER, held.store.close()).await.expect("it does not end");
        // The server notices that nobody is there.
        until(async || held.waiting().await.is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_say_that_they_live_while_what_had_been_ended_is_ended_again() {
    let Some(held) = Held::while_ends_are_written_again().await else { return };
    held.meet().await;
    let mut nodes = Vec::new();
    until(async || match held.beat().await {
        Ok(Beating::Lives { nodes: living, .. }) => {
            nodes = living;
            true
        }
        Ok(Beating::Dead) => panic!("it lives"),
        Err(_) => false,
    })
    .await;
    assert!(!held.is_fit().await, "it is held");
    let nodes: Vec<_> = nodes.iter().map(|record| record.node).collect();
    assert_eq!(nodes, [held.nodes[0]], "who had gone is gone");
    assert!(tokio::time::timeout(Duration::from_millis(100), held.read()).await.is_err(), "nobody reads there yet");
    assert!(held.beat().await.is_ok());
    held.open().await;
    held.until_fit().await;
    until(async || held.read().await.is_ok()).await;
    assert!(held.beat().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_say_it_there_though_the_server_before_lives() {
    let patience = Patience { others: Duration::from_millis(100), ..Patience::default() };
    let Some(held) = Held::promoted("sessions", "UPDATE", patience).await else { return };
    until(async || !held.waiting().await.is_empty()).await;
    let sql = "SELECT sockets FROM respoked.nodes WHERE id = $1";
    let id = i64::from(held.nodes[0].id.0);
    until(async || {
        let load = Load { sockets: 77, ..Load::default() };
        let _ = held.store.beat(held.nodes[0], NodeState::Starting, load).await;
        held.console.query_one(sql, &[&id]).await.unwrap().get::<_, i64>(0) == 77
    })
    .await;
    assert!(!held.is_fit().await, "it is held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_node_says_that_it_lives_before_it_is_settled_what_is_there() {
    let Some(held) = Held::before_it_is_settled(SHORT).await else { return };
    held.meet().await;
    let beat = tokio::time::timeout(FOR_EVER, held.beat()).await.expect("it waits on");
    let Err(StoreError::Unavailable(why)) = beat else { panic!("{beat:?}") };
    let why = format!("{why:?}");
    assert!(why.contains("was promoted, and is being made fit"), "{why}");
    held.open().await;
    until(async || held.beat().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_fails_is_tried_again() {
    let Some(held) = Held::before_it_is_settled(SHORT).await else { return };
    held.meet().await;
    let before = held.waiting().await;
    held.console.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid", &[&before]).await.unwrap();
    let again = async || {
        let waiting = held.waiting().await;
        !waiting.is_empty() && waiting != before
    };
    tokio::select! {
        () = async { while held.read().await.is_err() {} } => panic!("it was read from"),
        () = until(again) => {}
    }
    held.open().await;
    held.until_fit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_was_promoted_later_takes_the_place_of_one_that_is_made_fit() {
    let Some(mut held) = Held::before_it_is_settled(SHORT).await else { return };
    held.meet().await;
    let next = held.servers.new.standby();
    next.promote();
    let line = held.store.line.clone().unwrap();
    let mut connector = Connector::new(next.config(), None, SHORT, TaskTracker::new());
    connector.keep_to(line);
    until(async || connector.connect().await.is_ok()).await;
    held.console = next.console().await;
    held.until_fit().await;
}
