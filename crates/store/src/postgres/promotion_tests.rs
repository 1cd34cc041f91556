//! What becomes of what is taken away just while the database goes on elsewhere, or whose commit nobody heard the end of.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::audit::Action;
use respoke_core::grant::Lapse;
use respoke_core::id::AdminId;
use respoke_core::ports::{
    AdminChange, AdminStore as _, AppStore as _, EndRequest, EndScope, Ending, MaintenanceStore as _, Removal,
    SessionStore as _, StoreError,
};
use respoke_core::session::{SessionEndCause, SessionRecord};
use respoke_core::token::Replaces;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config};
use tokio_util::task::TaskTracker;

use super::connect::Patience;
use super::connector::Connector;
use super::options::Options;
use super::store::PostgresStore;
use crate::contract::admin_cases::made;
use crate::contract::fixture::{NOW, World, endpoint, entry};
use crate::contract::postgres::there_is_a_server;
use crate::contract::postgres_promotion::{Servers, until};
use crate::contract::postgres_server::Server;

/// How long a commit is waited for that nobody confirms.
const SHORT: Duration = Duration::from_millis(500);

pub(super) async fn opened(config: Config, patience: Patience) -> Arc<PostgresStore> {
    let options = Options { patience, ..Options::of(config) };
    Arc::new(PostgresStore::open(options).await.unwrap())
}

/// What connects a store to a server that its address does not name.
fn connector(store: &PostgresStore, server: &Server) -> Connector {
    let mut connector = Connector::new(server.config(), None, Patience::default(), TaskTracker::new());
    connector.keep_to(store.line.clone().unwrap());
    connector
}

async fn end(store: &PostgresStore, world: &World, session: &SessionRecord) -> Result<Ending, StoreError> {
    let (cause, entry) = (SessionEndCause::Revoked, entry(Action::SessionEnded));
    store.end_session(world.app, session.number, cause, entry).await
}

async fn is_ended_on(server: &Client, session: &SessionRecord) -> bool {
    let sql = "SELECT ended_at IS NOT NULL FROM respoked.sessions WHERE number = $1";
    server.query_one(sql, &[&i64::try_from(session.number).unwrap()]).await.unwrap().get(0)
}

/// Settles as soon as that is possible.
pub(super) async fn settle(store: &PostgresStore, server: &Server) {
    let connector = connector(store, server);
    until(async || connector.connect().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_ended_on_the_old_server_while_the_new_one_is_made_fit_is_not_confirmed_and_forgotten() {
    if !there_is_a_server() {
        return;
    }
    let Some(servers) = Servers::start(false) else { return };
    // Who is refused is not to try until the new server is used.
    let store = opened(servers.old.config(), Patience { again: Duration::ZERO, ..Patience::default() }).await;
    let world = World::new(store.clone()).await;
    let (lacking, meanwhile) = (world.session_of("lacking").await.1, world.session_of("meanwhile").await.1);
    servers.part().await;
    assert_eq!(end(&store, &world, &lacking).await.unwrap(), Ending::Ended);
    servers.new.promote();
    let (holding, new) = (servers.new.console().await, servers.new.console().await);
    holding.batch_execute("BEGIN; LOCK TABLE respoked.sessions IN SHARE MODE").await.unwrap();
    let connector = connector(&store, &servers.new);
    let mut settling = JoinSet::new();
    settling.spawn(async move { connector.connect().await.is_ok() });
    let waits = "SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                                WHERE c.relname = 'sessions' AND NOT l.granted)";
    until(async || new.query_one(waits, &[]).await.unwrap().get(0)).await;
    // The old server lives.
    let told = end(&store, &world, &meanwhile).await;
    holding.batch_execute("ROLLBACK").await.unwrap();
    if !settling.join_next().await.unwrap().unwrap() {
        settle(&store, &servers.new).await;
    }
    assert!(is_ended_on(&new, &lacking).await);
    assert!(told.is_err() || is_ended_on(&new, &meanwhile).await, "{told:?}, and the new server lacks it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_missed_a_promotion_forgets_nothing_at_the_next() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut servers) = Servers::start(false) else { return };
    let store = opened(servers.old.config(), Patience::default()).await;
    let world = World::new(store.clone()).await;
    let (kept, lost) = (world.session_of("kept").await.1, world.session_of("lost").await.1);
    assert_eq!(end(&store, &world, &kept).await.unwrap(), Ending::Ended);
    servers.part().await;
    assert_eq!(end(&store, &world, &lost).await.unwrap(), Ending::Ended);
    servers.fail_over();
    // Another process goes on, and writes more changes than there were.
    let another = world.on(opened(servers.new.config(), Patience::default()).await);
    for nth in 0..4 {
        another.create_role(respoke_core::id::RoleId::random(), &format!("role-{nth}")).await.unwrap();
    }
    let next = servers.new.standby();
    servers.new.crash();
    next.promote();
    settle(&store, &next).await;
    let next = next.console().await;
    assert!(is_ended_on(&next, &kept).await);
    assert!(is_ended_on(&next, &lost).await, "its change has the number of another one");
    let told = "SELECT object FROM respoked.log WHERE object LIKE 'timeline 3:%'";
    let told: String = next.query_one(told, &[]).await.unwrap().get(0);
    assert!(told.starts_with("timeline 3: 1 ends"), "the others are there: {told}");
}

/// A server whose commits hang, and a store that soon gives one up.
struct Hanging {
    console: Client,
    store: Arc<PostgresStore>,
    world: World,
}

impl Hanging {
    /// Does it while commits hang, and goes away from it if it is to be left; then again until it is answered.
    async fn in_doubt<T: std::fmt::Debug>(&self, left: bool, done: impl AsyncFn() -> Result<T, StoreError>) -> T {
        const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT'";
        let waiting = async || -> i64 { self.console.query_one(WAITING, &[]).await.unwrap().get(0) };
        self.set("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
        // Who commits may not know it yet. One after the other, so that nobody else comes to wait later.
        let probe = self.world.on(self.store.clone());
        until(async || probe.store.audit(entry(Action::AppUpdated)).await.is_err()).await;
        if left {
            let before = waiting().await;
            tokio::select! {
                said = done() => panic!("{said:?}"),
                () = until(async || waiting().await > before) => {}
            }
        } else {
            let said = done().await;
            assert!(matches!(said, Err(StoreError::InDoubt(_))), "{said:?}");
        }
        self.set("ALTER SYSTEM RESET synchronous_standby_names").await;
        until(async || waiting().await == 0).await;
        let mut said = None;
        until(async || {
            said = done().await.ok();
            said.is_some()
        })
        .await;
        said.unwrap()
    }

    async fn set(&self, sql: &str) {
        self.console.batch_execute(sql).await.unwrap();
        self.console.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_in_doubt_and_then_found_done_is_done_again_on_a_promoted_server() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut servers) = Servers::start(false) else { return };
    let first = opened(servers.old.config(), Patience::default()).await;
    let world = World::new(first.clone()).await;
    let other = World::with_app(first.clone(), world.account).await;
    let (doubted, left) = (world.session_of("doubted").await.1, world.session_of("left").await.1);
    let admin: AdminId = made(&world, "max").await.id;
    made(&world, "another owner").await;
    servers.part().await;
    let store = opened(servers.old.config(), Patience { commit: SHORT, ..Patience::default() }).await;
    let hanging = Hanging { console: servers.old.console().await, store: store.clone(), world: world.clone() };
    assert_eq!(hanging.in_doubt(false, async || end(&store, &world, &doubted).await).await, Ending::Over);
    assert_eq!(hanging.in_doubt(true, async || end(&store, &world, &left).await).await, Ending::Over);
    let app = async || store.delete_app(other.app, entry(Action::AppDeleted)).await;
    assert_eq!(hanging.in_doubt(false, app).await, Removal::Unknown);
    let deleted = async || store.delete_admin(admin, entry(Action::AdminDeleted)).await;
    assert_eq!(hanging.in_doubt(false, deleted).await, AdminChange::Unknown);

    drop(hanging);
    servers.fail_over();
    settle(&store, &servers.new).await;
    let new = servers.new.console().await;
    assert!(is_ended_on(&new, &doubted).await, "it was said to be over");
    assert!(is_ended_on(&new, &left).await, "it was said to be over, though nobody waited for its end");
    let there = "SELECT EXISTS (SELECT 1 FROM respoked.apps WHERE id = $1), EXISTS (SELECT 1 FROM respoked.admins WHERE id = $2)";
    let there = new.query_one(there, &[&other.app.uuid(), &admin.uuid()]).await.unwrap();
    assert_eq!((there.get::<_, bool>(0), there.get::<_, bool>(1)), (false, false), "the app, and the admin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_turns_out_to_be_committed_on_the_old_server_when_the_new_one_is_used_is_ended_there_too() {
    if !there_is_a_server() {
        return;
    }
    let Some(servers) = Servers::start(false) else { return };
    let store = opened(servers.old.config(), Patience::default()).await;
    let world = World::new(store.clone()).await;
    let (_, before) = world.session_of("alice").await;
    servers.part().await;
    let old = servers.old.console().await;
    let set = async |sql: &str| {
        old.batch_execute(sql).await.unwrap();
        old.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    set("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    // Not all of the server may know it yet.
    let probe = servers.old.console().await;
    let writes = "SELECT pg_logical_emit_message(true, 'probe', '')";
    let waits = async |query: &str| {
        let sql = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = $1)";
        until(async || old.query_one(sql, &[&query]).await.unwrap().get(0)).await;
    };
    tokio::select! {
        () = async { while probe.batch_execute(writes).await.is_ok() {} } => panic!("the server ended"),
        () = waits(writes) => {}
    }
    // It is committed there, and not confirmed.
    let mut ending = JoinSet::new();
    let (ends, app) = (store.clone(), world.app);
    ending.spawn(async move {
        let scope = EndScope::Endpoint(endpoint("alice"));
        let order = EndRequest { app_id: app, scope, issued_before: None, tokens_too: true };
        ends.end_sessions(order, entry(Action::SessionsEnded)).await
    });
    waits("COMMIT").await;

    servers.new.promote();
    settle(&store, &servers.new).await;
    let there = world.on(opened(servers.new.config(), Patience::default()).await);
    assert_eq!(there.lapse_of(&before).await, None, "nobody knew of it");
    let (_, since) = there.session_of("alice").await;
    set("ALTER SYSTEM RESET synchronous_standby_names").await;
    let told = ending.join_next().await.unwrap().unwrap();
    assert!(matches!(told, Err(StoreError::InDoubt(_))), "{told:?}");
    until(async || there.lapse_of(&before).await == Some(Lapse::Revoked)).await;
    assert_eq!(there.lapse_of(&since).await, None, "it began where the database goes on");
    let new = servers.new.console().await;
    let told = "SELECT count(*) FROM respoked.log WHERE object LIKE 'timeline 2: 1 ends%'";
    until(async || new.query_one(told, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_store_ended_that_is_closed_is_ended_again_by_the_next_of_its_process() {
    if !there_is_a_server() {
        return;
    }
    for promoted_before_it_is_opened in [false, true] {
        let Some(mut servers) = Servers::start(false) else { return };
        let options = Options::of(servers.both());
        let open = async || Arc::new(PostgresStore::open(options.clone()).await.unwrap());
        let store = open().await;
        let world = World::new(store.clone()).await;
        let (_, ended) = world.session_of("ended").await;
        servers.part().await;
        assert_eq!(end(&store, &world, &ended).await.unwrap(), Ending::Ended);
        store.close().await;
        let next = if promoted_before_it_is_opened {
            servers.fail_over();
            open().await
        } else {
            let next = open().await;
            servers.fail_over();
            next
        };
        until(async || next.session(ended.number).await.is_ok()).await;
        let new = servers.new.console().await;
        assert!(is_ended_on(&new, &ended).await, "{promoted_before_it_is_opened}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_promoted_while_the_one_before_lives_is_gone_to() {
    if !there_is_a_server() {
        return;
    }
    let Some(servers) = Servers::start(false) else { return };
    let others = Duration::from_millis(100);
    let store = opened(servers.both(), Patience { others, ..Patience::default() }).await;
    let world = World::new(store.clone()).await;
    let (_, session) = world.session_of("ended").await;
    servers.part().await;
    assert_eq!(end(&store, &world, &session).await.unwrap(), Ending::Ended);
    servers.new.promote();
    // The old one takes whatever comes to it.
    let new = servers.new.console().await;
    until(async || is_ended_on(&new, &session).await).await;
    let minted = async || {
        let token = world.token_for("minted", NOW);
        world.issue(token, Replaces::Nothing, None).await.is_ok()
    };
    until(minted).await;
    let count = "SELECT count(*) FROM respoked.log WHERE endpoint = 'minted'";
    let old = servers.old.console().await;
    let of = async |server: &Client| -> i64 { server.query_one(count, &[]).await.unwrap().get(0) };
    assert_eq!((of(&old).await, of(&new).await), (0, 1));
}
