//! How a database is come to: as which role, with which schema, on which server.

use std::error::Error;
use std::time::Duration;

use respoke_core::audit::Action;
use respoke_core::ports::AuditStore as _;
use tokio_postgres::Config;
use tokio_util::task::TaskTracker;

use super::fixture::entry;
use super::postgres::{Postgres, there_is_a_server};
use super::postgres_server::Server;
use super::{Fixture, Opened, end_cases, hub_cases, list_cases, token_cases, upkeep_cases};
use crate::crash::CrashPoint;
use crate::postgres::{Patience, check_fit};
use crate::{PostgresOptions, PostgresSchema, PostgresStore};

/// A database that one role made, used by another that may not change its schema.
#[derive(Default)]
struct ByAnother(Postgres);

impl ByAnother {
    fn role(&self) -> String {
        format!("{}_server", self.0.name())
    }

    /// Makes the role. Functions that are made from now on are nobody's but their owner's.
    fn begin(&self) {
        let role = self.role();
        self.0.run(&format!("CREATE ROLE {role} LOGIN"));
        self.0.run_inside("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC");
    }

    fn config(&self) -> Config {
        let mut config = self.0.config();
        config.user(self.role());
        config
    }
}

impl Fixture for ByAnother {
    fn open(&self, _: Option<CrashPoint>) -> Opened {
        let opening = async {
            let made = PostgresOptions::of(self.0.config());
            if PostgresStore::open(PostgresOptions::of(self.config())).await.is_err() {
                self.begin();
                PostgresStore::migrate(&made, Some(&self.role())).await.unwrap();
            }
            std::sync::Arc::new(PostgresStore::open(PostgresOptions::of(self.config())).await.unwrap())
        };
        self.0.wait_for(opening)
    }
}

impl Drop for ByAnother {
    fn drop(&mut self) {
        let role = self.role();
        self.0.run_inside(&format!("DROP OWNED BY {role}"));
        self.0.run(&format!("DROP ROLE {role}"));
    }
}

fn told(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (**error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn refused(options: PostgresOptions) -> String {
    told(&PostgresStore::open(options).await.expect_err("it is refused"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_serves_need_not_be_who_makes_the_schema() {
    if !there_is_a_server() {
        return;
    }
    token_cases::a_minted_token_is_redeemed_once(ByAnother::default()).await;
    end_cases::a_deleted_account_ends_everything_in_it(ByAnother::default()).await;
    list_cases::the_audit_log_tells_what_happened(ByAnother::default()).await;
    hub_cases::a_deleted_app_leaves_nothing_behind(ByAnother::default()).await;
    upkeep_cases::upkeep_removes_the_dead_and_only_them(ByAnother::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_is_told_what_to_run() {
    if !there_is_a_server() {
        return;
    }
    let database = ByAnother::default();
    database.begin();
    let (owner, role) = (PostgresOptions::of(database.0.config()), database.role());
    let server = || PostgresOptions::of(database.config());
    let run = |said: &str, what: &str| {
        assert!(said.contains(what) && said.contains(&role), "{said}");
        assert!(said.contains("`respoked migrate"), "{said}");
    };
    run(&refused(server()).await, "has no schema respoked");
    let left_alone = PostgresOptions { schema: PostgresSchema::LeftAlone, ..owner.clone() };
    assert!(refused(left_alone).await.contains("start the server"), "who may make it and is not to");

    let migrated = PostgresStore::migrate(&owner, None).await.unwrap();
    assert!(migrated.from == 0 && migrated.to > 0 && migrated.granted.is_empty());
    run(&refused(server()).await, "may not use anything");

    let migrated = PostgresStore::migrate(&owner, Some(&role)).await.unwrap();
    assert!(migrated.from == migrated.to && migrated.granted == std::slice::from_ref(&role));
    drop(PostgresStore::open(server()).await.unwrap());

    // As a table would be that a later migration makes.
    database.0.run_inside(&format!("REVOKE UPDATE ON respoked.sessions, respoked.apps FROM {role}"));
    database.0.run_inside(&format!("REVOKE EXECUTE ON FUNCTION respoked.group_cost FROM {role}"));
    // What nodes tell each other is emptied by whoever carries it.
    database.0.run_inside(&format!("REVOKE TRUNCATE ON respoked.carrier_1 FROM {role}"));
    run(&refused(server()).await, "may not use apps, carrier_1, group_cost, sessions");
    assert_eq!(
        PostgresStore::migrate(&owner, None).await.unwrap().granted,
        std::slice::from_ref(&role),
        "who was let in stays in"
    );
    drop(PostgresStore::open(server()).await.unwrap());

    let said =
        told(&PostgresStore::migrate(&owner, Some("nobody \"at\" all")).await.expect_err("there is no such role"));
    assert!(said.contains("42704") && said.contains("nobody \"at\" all"), "{said}");

    database.0.run_inside("UPDATE respoked.meta SET value = '\\x0000000000000001' WHERE key = 'schema'");
    run(&refused(server()).await, "has schema 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_refused_only_if_it_says_so() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    let options = || PostgresOptions::of(database.config());
    drop(PostgresStore::open(options()).await.unwrap());
    database.run_inside("UPDATE respoked.meta SET value = '\\x0000000000000063' WHERE key = 'schema'");
    drop(PostgresStore::open(options()).await.unwrap());
    let migrated = PostgresStore::migrate(&options(), None).await.unwrap();
    assert_eq!((migrated.from, migrated.to), (99, 99), "it never goes back");
    database.run_inside("UPDATE respoked.meta SET value = '\\x0000000000000063' WHERE key = 'min_reader'");
    for said in
        [refused(options()).await, told(&PostgresStore::migrate(&options(), None).await.expect_err("it is newer"))]
    {
        assert!(said.contains("schema 99 was made by a newer respoked"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_lose_an_answer_is_not_opened() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    let options = || PostgresOptions::of(database.config());
    let name = database.name().to_owned();
    database.run(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    assert!(refused(options()).await.contains("synchronous_commit is off for the role"));
    database.run(&format!("ALTER DATABASE {name} SET synchronous_commit = remote_write"));
    drop(PostgresStore::open(options()).await.unwrap());

    let ascii = Postgres::of_bytes();
    assert!(refused(PostgresOptions::of(ascii.config())).await.contains("keeps text in SQL_ASCII"));

    let Some(mut server) = Server::make("trust") else { return };
    server.start(&["fsync=off"]);
    assert!(refused(PostgresOptions::of(server.config())).await.contains("fsync = off"));
    for unfit in [
        PostgresStore::migrate(&PostgresOptions::of(server.config()), None).await.map(drop),
        check_fit(&PostgresOptions::of(server.config())).await,
    ] {
        assert!(told(&unfit.expect_err("no server would start there")).contains("fsync = off"));
    }
    server.stop();
    // Some file systems need none.
    server.start(&["full_page_writes=off"]);
    check_fit(&PostgresOptions::of(server.config())).await.unwrap();
    drop(PostgresStore::open(PostgresOptions::of(server.config())).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_begins_to_lose_what_is_committed_is_used_no_more() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    let mut options = PostgresOptions::of(database.config());
    options.patience = Patience { again: Duration::ZERO, ..Patience::default() };
    let store = PostgresStore::open(options).await.unwrap();
    let write = async || store.audit(entry(Action::AppUpdated)).await;
    write().await.unwrap();
    let name = database.name();
    // As another server would be that takes its place.
    let settle = |setting: &str| {
        database.run(&format!("ALTER DATABASE {name} {setting}"));
        database
            .run(&format!("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{name}'"));
    };
    settle("SET synchronous_commit = off");
    let since = std::time::Instant::now();
    // The first ones may hear of the connections that were ended.
    loop {
        let said = told(&write().await.expect_err("it would be lost"));
        if said.contains("synchronous_commit is off for the role") {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{said}");
    }
    settle("RESET synchronous_commit");
    while let Err(error) = write().await {
        assert!(since.elapsed() < Duration::from_secs(60), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_starts_is_waited_for() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut server) = Server::make("trust") else { return };
    let mut options = PostgresOptions::of(server.config());
    let said = refused(options.clone()).await;
    assert!(said.contains("it cannot be reached") && said.contains("refused"), "{said}");

    options.reached_within = Duration::from_secs(120);
    let opening = TaskTracker::new().spawn(PostgresStore::open(options.clone()));
    tokio::task::block_in_place(|| server.start(&[]));
    drop(opening.await.unwrap().unwrap());

    // What no waiting mends is told at once.
    options.config.dbname("absent");
    let said = refused(options).await;
    assert!(said.contains("SQLSTATE 3D000") && said.contains("\"absent\""), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_no_password_hears_where_to_put_it() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut server) = Server::make("scram-sha-256") else { return };
    server.start(&[]);
    let mut config = Config::new();
    config.host("127.0.0.1").port(server.port()).user("respoked").dbname("postgres");
    let said = refused(PostgresOptions::of(config)).await;
    assert!(said.contains("asks for a password") && said.contains("PGPASSFILE"), "{said}");
}
