//! The contract on PostgreSQL: on the server that `TEST_POSTGRES` names, as a role that may create databases. (A variable that
//! begins with `RESPOKED_` would be refused by servers that tests start: it is no setting.)
//!
//! Each case has a database of its own, which goes with it. Without the variable no case runs; `cargo xtask test` starts a
//! server and sets it.

use std::io::Write as _;
use std::str::FromStr as _;
use std::sync::{Arc, LazyLock, OnceLock};

use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use super::{Fixture, Opened, admin_cases, end_cases, list_cases, token_cases, upkeep_cases};
use crate::crash::{Crash, CrashPoint};
use crate::postgres::plans;
use crate::{PostgresOptions, PostgresStore};

/// The server that cases run on, if there is one.
static SERVER: LazyLock<Option<Config>> = LazyLock::new(|| {
    let Some(address) = std::env::var_os("TEST_POSTGRES") else {
        // Not by a macro for printing: what a test prints that passes, nobody sees.
        let said = "\nTEST_POSTGRES is not set: the cases below contract::postgres are not run\n";
        let _ = std::io::stderr().write_all(said.as_bytes());
        return None;
    };
    Some(Config::from_str(address.to_str().expect("it is text")).expect("it names a server"))
});

pub(crate) fn there_is_a_server() -> bool {
    SERVER.is_some()
}

/// A database of a case's own.
pub(crate) struct Postgres {
    name: OnceLock<String>,
    /// The case's, which threads of its own use as well.
    runtime: Handle,
}

impl Default for Postgres {
    fn default() -> Self {
        Self { name: OnceLock::new(), runtime: Handle::current() }
    }
}

impl Postgres {
    pub(crate) fn config(&self) -> Config {
        let server = SERVER.as_ref().expect("there is a server");
        let name = self.name.get_or_init(|| {
            // By the system's chance: a test's own begins alike in each run, and a run that was killed left its databases.
            let name = format!("respoked_test_{}", Uuid::from_bytes(system_chance()).simple());
            self.on_the_server(&format!("CREATE DATABASE {name}"));
            name
        });
        let mut config = server.clone();
        config.dbname(name);
        config
    }

    /// The store of this database, for tests of its parts.
    pub(crate) async fn store(&self) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::open(PostgresOptions::of(self.config())).await.unwrap())
    }

    fn on_the_server(&self, sql: &str) {
        let run = async {
            let (client, connection): (Client, _) =
                SERVER.as_ref().expect("there is a server").connect(NoTls).await.unwrap();
            let (done, _) = tokio::join!(
                async {
                    let done = client.batch_execute(sql).await;
                    drop(client);
                    done
                },
                connection
            );
            done.unwrap();
        };
        block_in_place(|| self.runtime.block_on(run));
    }
}

fn system_chance() -> [u8; 16] {
    use respoke_core::chance::{Chance, SystemChance};
    let chance: &dyn Chance = &SystemChance;
    chance.bytes()
}

impl Fixture for Postgres {
    fn open(&self, crash_at: Option<CrashPoint>) -> Opened {
        let options = PostgresOptions::of(self.config());
        let opening = PostgresStore::open_crashing(options, Crash { at: crash_at });
        Arc::new(block_in_place(|| self.runtime.block_on(opening)).unwrap())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(name) = self.name.get() {
            self.on_the_server(&format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

/// The same, by connections whose statements are looked at (`postgres/plans.rs`).
#[derive(Default)]
struct LookedAt(Postgres);

impl Fixture for LookedAt {
    fn open(&self, _: Option<CrashPoint>) -> Opened {
        let mut config = self.0.config();
        config.options(plans::OPTIONS);
        let opening = PostgresStore::open(PostgresOptions::of(config));
        Arc::new(block_in_place(|| self.0.runtime.block_on(opening)).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn statements_find_their_rows_by_an_index() {
    if !there_is_a_server() {
        return;
    }
    token_cases::a_minted_token_is_redeemed_once(LookedAt::default()).await;
    token_cases::an_idempotency_key_makes_one_object(LookedAt::default()).await;
    token_cases::replacing_leaves_exactly_one_live(LookedAt::default()).await;
    end_cases::a_deleted_app_ends_everything_in_it(LookedAt::default()).await;
    end_cases::a_session_is_superseded_by_the_next(LookedAt::default()).await;
    list_cases::the_audit_log_tells_what_happened(LookedAt::default()).await;
    admin_cases::a_setup_token_signs_in_once_and_not_for_long(LookedAt::default()).await;
    admin_cases::a_removed_admin_leaves_nothing(LookedAt::default()).await;
    upkeep_cases::upkeep_removes_marks_that_end_nothing_any_more(LookedAt::default()).await;
    upkeep_cases::upkeep_removes_the_dead_and_only_them(LookedAt::default()).await;
}

every_case!(contract! { Postgres, if there_is_a_server });
