//! What of the contract stands on locks, on several transactions and on several handles, through `PgBouncer` in transaction mode:
//! each transaction may get another connection there. It runs where the contract runs on PostgreSQL.

use std::sync::{Arc, LazyLock, mpsc};

use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio_postgres::Config;

use super::postgres::{Postgres, server, there_is_a_server};
use super::postgres_pooler::Pooler;
use super::{Fixture, Opened};
use crate::crash::{Crash, CrashPoint};
use crate::{PostgresOptions, PostgresStore};

/// The way through the pooler, if there is one.
static POOLER: LazyLock<Option<Config>> = LazyLock::new(|| {
    let (told, tells) = mpsc::sync_channel(1);
    let server = there_is_a_server().then(server)?;
    // The pooler ends with the thread that started it, and so with the process.
    std::thread::spawn(move || {
        let pooler = Pooler::to(&server);
        told.send(pooler.as_ref().map(Pooler::config)).unwrap();
        loop {
            std::thread::park();
        }
    });
    tells.recv().unwrap()
});

fn there_is_a_pooler() -> bool {
    POOLER.is_some()
}

/// A database of a case's own, to which the way leads through the pooler.
struct Pooled {
    database: Postgres,
    /// The case's, which threads of its own use as well.
    runtime: Handle,
}

impl Default for Pooled {
    fn default() -> Self {
        Self { database: Postgres::default(), runtime: Handle::current() }
    }
}

impl Fixture for Pooled {
    fn open(&self, crash_at: Option<CrashPoint>) -> Opened {
        let mut config = POOLER.clone().expect("there is a pooler");
        config.dbname(self.database.config().get_dbname().expect("it has a name"));
        let opening = PostgresStore::open_crashing(PostgresOptions::of(config), Crash { at: crash_at });
        Arc::new(block_in_place(|| self.runtime.block_on(opening)).unwrap())
    }
}

contract! { Pooled, if there_is_a_pooler:
    token_cases {
        a_minted_token_is_redeemed_once
        of_many_simultaneous_redemptions_one_wins
        redeeming_races_revoking_without_a_survivor
        minting_races_deletion
        replacing_leaves_exactly_one_live
        replacing_races_redeeming
        a_crash_before_the_commit_leaves_nothing
        a_crash_after_the_commit_keeps_everything
        one_failing_operation_spares_its_batch
        an_idempotency_key_makes_one_object
    }
    end_cases {
        a_deleted_app_ends_everything_in_it
        ending_many_spares_what_comes_after
        a_ban_ends_and_refuses_until_lifted
        a_session_is_superseded_by_the_next
    }
    two_handle_cases {
        one_of_two_handles_redeems
        two_handles_give_no_number_twice
        the_last_owner_stays_whoever_takes_the_others_away
        two_handles_give_a_name_once
        one_of_several_apps_takes_a_secret_over
        two_handles_go_beyond_no_bound
        two_handles_keep_no_more_than_an_app_may
        two_handles_say_one_thing_after_the_other
        a_key_says_one_thing_on_two_handles
        one_of_two_handles_takes_a_proof
        a_key_makes_one_object_on_two_handles
        one_of_two_handles_does_the_upkeep
        what_was_there_before_an_end_is_over_on_both_handles
        five_cold_starts_make_one_account
    }
}
