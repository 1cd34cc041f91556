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
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use super::{
    Fixture, Opened, admin_cases, change_cases, device_cases, end_cases, figure_cases, hub_cases, list_cases,
    place_cases, token_cases, upkeep_cases,
};
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

/// How a database is made in which text is ordered and compared as people do, where a column does not say otherwise: so what should
/// say otherwise and does not is seen.
const SORTED_AS_PEOPLE_DO: &str =
    "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C' LC_CTYPE 'C'";
/// Whether the server can make one: before version 15 none can.
const SORTS_AS_PEOPLE_DO: &str = "SELECT 1 FROM pg_collation WHERE collprovider = 'i'
                                  AND current_setting('server_version_num')::bigint >= 150000 LIMIT 1";
static SORTED: OnceLock<&'static str> = OnceLock::new();

pub(crate) fn there_is_a_server() -> bool {
    SERVER.is_some()
}

/// The server that cases run on, where there is one.
pub(super) fn server() -> Config {
    SERVER.clone().expect("there is a server")
}

/// A database of a case's own.
pub(crate) struct Postgres {
    name: OnceLock<String>,
    /// How text is kept, if not as usual.
    kept_as: Option<&'static str>,
    /// The case's, which threads of its own use as well.
    runtime: Handle,
}

impl Default for Postgres {
    fn default() -> Self {
        Self { name: OnceLock::new(), kept_as: None, runtime: Handle::current() }
    }
}

impl Postgres {
    /// One that keeps text as it comes.
    pub(crate) fn of_bytes() -> Self {
        let kept_as = Some("ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
        Self { name: OnceLock::new(), kept_as, runtime: Handle::current() }
    }

    pub(crate) fn name(&self) -> &str {
        self.name.get_or_init(|| {
            // By the system's chance: a test's own begins alike in each run, and a run that was killed left its databases.
            let name = format!("respoked_test_{}", Uuid::from_bytes(system_chance()).simple());
            let sorted =
                *SORTED.get_or_init(|| if self.run(SORTS_AS_PEOPLE_DO) > 0 { SORTED_AS_PEOPLE_DO } else { "" });
            self.run(&format!("CREATE DATABASE {name} {}", self.kept_as.unwrap_or(sorted)));
            name
        })
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = SERVER.clone().expect("there is a server");
        config.dbname(self.name());
        config
    }

    /// The store of this database, for tests of its parts.
    pub(crate) async fn store(&self) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::open(PostgresOptions::of(self.config())).await.unwrap())
    }

    /// Runs a statement on the server. Returns how many rows it found.
    pub(crate) fn run(&self, sql: &str) -> usize {
        self.run_at(&SERVER.clone().expect("there is a server"), sql)
    }

    /// Runs a statement in this database.
    pub(crate) fn run_inside(&self, sql: &str) -> usize {
        self.run_at(&self.config(), sql)
    }

    /// Waits in place.
    pub(crate) fn wait_for<T>(&self, what: impl Future<Output = T>) -> T {
        block_in_place(|| self.runtime.block_on(what))
    }

    fn run_at(&self, server: &Config, sql: &str) -> usize {
        let run = async {
            let (client, connection): (Client, _) = server.connect(NoTls).await.unwrap();
            let (done, _) = tokio::join!(
                async {
                    let done = client.simple_query(sql).await;
                    drop(client);
                    done
                },
                connection
            );
            let done = done.unwrap();
            done.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count()
        };
        self.wait_for(run)
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
        Arc::new(self.wait_for(opening).unwrap())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(name) = self.name.get() {
            self.run(&format!("DROP DATABASE {name} WITH (FORCE)"));
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
        Arc::new(self.0.wait_for(opening).unwrap())
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
    upkeep_cases::everyday_rows_do_not_wash_administrative_ones_out(LookedAt::default()).await;
    upkeep_cases::upkeep_removes_secrets_that_nothing_stands_on(LookedAt::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn statements_of_lists_and_the_hub_find_their_rows_by_an_index() {
    if !there_is_a_server() {
        return;
    }
    list_cases::lists_are_paged_without_gaps(LookedAt::default()).await;
    list_cases::lists_are_in_the_order_of_bytes(LookedAt::default()).await;
    list_cases::sessions_are_found_by_address_and_age(LookedAt::default()).await;
    change_cases::old_changes_go_and_what_is_left_has_no_gap(LookedAt::default()).await;
    figure_cases::figures_add_up_by_span_and_app(LookedAt::default()).await;
    figure_cases::figures_are_forgotten_by_age(LookedAt::default()).await;
    hub_cases::history_is_told_newest_first_and_in_pages(LookedAt::default()).await;
    place_cases::what_is_kept_between_two_messages_is_found_by_its_places(LookedAt::default()).await;
    hub_cases::what_one_said_oneself_is_not_unread(LookedAt::default()).await;
    hub_cases::an_ended_group_is_gone_and_another_of_its_name_is_new(LookedAt::default()).await;
    hub_cases::a_message_with_a_key_is_said_once(LookedAt::default()).await;
    hub_cases::conversations_are_those_written_to_marked_or_joined(LookedAt::default()).await;
    hub_cases::old_messages_go_and_their_groups_with_the_last(LookedAt::default()).await;
    hub_cases::a_group_keeps_only_so_many_messages(LookedAt::default()).await;
    hub_cases::a_deleted_app_leaves_nothing_behind(LookedAt::default()).await;
    device_cases::a_push_token_is_one_devices_and_one_endpoints(LookedAt::default()).await;
    device_cases::an_endpoint_has_only_so_many_push_tokens(LookedAt::default()).await;
    device_cases::a_ban_takes_push_tokens_along(LookedAt::default()).await;
    device_cases::push_tokens_unseen_for_long_go(LookedAt::default()).await;
    device_cases::call_reports_are_listed_newest_first_and_go_with_age(LookedAt::default()).await;
    device_cases::an_app_washes_out_no_other_apps_call_reports(LookedAt::default()).await;
}

every_case!(contract! { Postgres, if there_is_a_server });
