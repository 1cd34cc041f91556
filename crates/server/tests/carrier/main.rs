//! What every carrier must do, on the one that is made of tables, where `TEST_POSTGRES` names a server.
//!
//! It stands here because the store knows no bus. The cases are those of `respoke-bus`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a failure to go on is a failure")]

#[expect(dead_code, reason = "the bus's own tests use all of it")]
#[path = "../../../bus/src/contract/fixture.rs"]
mod fixture;
#[path = "../../../store/src/contract/postgres_pooler.rs"]
mod pooler;
#[expect(dead_code, reason = "the store's tests use all of it")]
#[path = "../../../store/src/contract/postgres_proxy.rs"]
mod proxy;
#[path = "../../../bus/src/contract/real_cases.rs"]
mod real_cases;
mod tables;

// What the cases name as their crate's.
use respoke_bus::{LocalBus, LocalNodes, carried, faulty};

/// Runs all cases on carriers of a kind.
macro_rules! carrier_cases {
    ($way:expr => $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let Some(carriers) = super::tables::OverTables::by($way).await else { return };
                let case = async |nodes: &mut _| super::real_cases::$case(nodes).await;
                super::real_cases::judge(carriers, case).await;
            }
        )*
    };
    ($way:expr) => {
        carrier_cases! { $way =>
            what_is_done_on_many_threads_comes_once_and_in_order
            an_interruption_is_made_good_by_itself
            what_is_of_any_length_comes_as_it_was_sent
            what_is_for_one_comes_to_nobody_else
            who_starts_anew_hears_and_is_heard
            who_takes_nothing_holds_up_nobody_else
        }
    };
}

mod directly {
    carrier_cases! { super::tables::Way::Directly }
}

mod through_a_pooler {
    carrier_cases! { super::tables::Way::ThroughAPooler }
}

mod through_a_pooler_and_past_it {
    carrier_cases! { super::tables::Way::ThroughAPoolerAndPastIt }
}
