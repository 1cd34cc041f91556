//! What every bus must do. Each case is written once; [`contract!`] runs all of them on one kind of nodes.
//!
//! There a test decides what happens between nodes, and time is paused. Another carrier runs the cases of `real_cases.rs`
//! ([`carrier_cases!`]). What the bus makes of a carrier that loses and delays is shown once for all carriers.

mod bound_cases;
mod cases;
mod cut_cases;
pub(crate) mod fixture;
mod over_nats;
mod real_cases;
mod rough_cases;
mod threads;

/// Runs cases on the nodes that `$fixture` makes, under paused time.
macro_rules! contract {
    ($fixture:expr => $($cases:ident { $($case:ident)* })*) => {
        $($(
            #[tokio::test(start_paused = true)]
            async fn $case() {
                super::$cases::$case($fixture).await;
            }
        )*)*
    };
}

/// What every bus must do.
macro_rules! all_cases {
    ($fixture:expr) => {
        contract! { $fixture =>
            cases {
                here_it_was_received_when_publish_returns
                what_one_publishes_arrives_in_order
                it_reaches_whom_it_concerns_and_nobody_else
                first_in_and_last_out
                who_leaves_one_room_stays_in_the_others
                one_who_leaves_takes_nothing_from_others
                what_is_published_after_a_confirmed_join_arrives
                whether_others_are_there_for_something_is_known
                who_starts_later_knows_what_others_are_there_for
                everybody_answers
                one_is_asked_alone
                of_many_questions_at_once_each_gets_its_own_answers
                who_does_not_answer_is_named
                an_answer_stands_among_deliveries
                what_is_told_comes_to_one_alone_and_once
                a_lost_node_is_told_once_and_nothing_of_it_after
                what_a_lost_node_may_have_said_is_told_as_missed_before_it_is_lost
                who_comes_back_is_another_and_holds_nothing
                of_many_restarts_no_ghost_is_left
                who_receives_may_publish
            }
        }
    };
}

/// What every bus must do with something between its nodes.
macro_rules! cut_cases {
    ($fixture:expr) => {
        contract! { $fixture =>
            cut_cases {
                a_short_cut_loses_nothing
                a_long_cut_is_told_and_what_comes_after_arrives
                more_than_is_kept_is_told
                what_is_too_long_to_be_sent_is_told
                an_interest_that_was_lost_is_told_anew
                what_nothing_makes_up_for_comes_once_it_is_confirmed
                who_hears_late_of_a_join_makes_up_for_it
                what_was_published_past_a_join_by_one_that_takes_leave_is_told
                of_one_that_made_up_for_all_behind_its_farewell_nothing_is_told
                of_one_that_took_leave_nothing_is_told_where_all_was_heard_in_time
                whoever_is_second_is_confirmed_no_earlier_than_the_first
                who_is_cut_off_does_not_answer_and_holds_up_nobody_longer
                who_is_lost_is_not_waited_for
                whatever_happens_nothing_is_lost_untold
            }
            bound_cases {
                while_interests_are_told_anew_nothing_is_lost
                however_many_join_during_a_cut_each_is_confirmed
                what_was_published_past_a_join_comes_or_is_told
                that_one_was_late_is_not_lost
                what_is_told_in_parts_is_confirmed_with_all_of_it
                an_answer_that_is_longer_than_a_frame_is_given
                what_is_longer_than_a_frame_arrives_whole
                both_may_start_anew_at_once
                whatever_happens_to_interests_nothing_is_lost_untold
            }
            rough_cases {
                what_carries_may_start_anew_over_and_over
                nothing_that_was_for_a_former_life_comes_to_the_next
                each_question_is_put_once
                one_who_is_slow_holds_up_nobody_else
                for_minutes_more_is_sent_than_gets_through
                one_may_start_while_nobody_is_reached
                one_may_be_heard_and_not_hear
            }
        }
    };
}

/// What every carrier must do. Where there are none, nothing is run.
macro_rules! carrier_cases {
    ($carriers:expr => $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let Some(carriers) = $carriers else { return };
                let case = async |nodes: &mut _| super::real_cases::$case(nodes).await;
                super::real_cases::judge(carriers, case).await;
            }
        )*
    };
    ($carriers:expr) => {
        carrier_cases! { $carriers =>
            what_is_done_on_many_threads_comes_once_and_in_order
            an_interruption_is_made_good_by_itself
            what_is_of_any_length_comes_as_it_was_sent
            what_is_for_one_comes_to_nobody_else
            who_starts_anew_hears_and_is_heard
            who_takes_nothing_holds_up_nobody_else
        }
    };
}

mod on_threads {
    carrier_cases! { Some(super::threads::OnThreads::default()) }
}

/// Over a NATS server that is killed.
mod nats {
    use super::over_nats::{Interruption, OverNats};

    carrier_cases! { OverNats::new(Interruption::Killed) }
}

/// Over a NATS server that stands still.
mod nats_stopped {
    use super::over_nats::{Interruption, OverNats};

    carrier_cases! { OverNats::new(Interruption::Stopped) => an_interruption_is_made_good_by_itself }
}

/// A case that a wrong carrier passes would be none.
mod wrong {
    use super::real_cases::{self, judge};
    use super::threads::{OnThreads, Wrong};

    /// A carrier that does what none may, with the case that finds it and what that says.
    macro_rules! found_by {
        ($($name:ident: $wrong:expr, $case:ident, $says:literal)*) => {
            $(
                #[tokio::test(flavor = "multi_thread")]
                #[should_panic(expected = $says)]
                async fn $name() {
                    judge(OnThreads::that($wrong), async |nodes: &mut _| real_cases::$case(nodes).await).await;
                }
            )*
        };
    }

    found_by! {
        one_that_broadcasts: Wrong::Broadcasts, what_is_for_one_comes_to_nobody_else, "not sent to it"
        one_that_cuts_off: Wrong::Cuts(200_000), what_is_of_any_length_comes_as_it_was_sent, "not sent to it"
        one_that_calls_the_bus: Wrong::CallsTheBus, what_is_for_one_comes_to_nobody_else, "within send"
        one_that_is_not_interrupted: Wrong::IsNotInterrupted, an_interruption_is_made_good_by_itself, "is interrupted"
        one_that_loses_a_thread: Wrong::LosesAThread, what_is_for_one_comes_to_nobody_else, "a thread that brings"
    }
}

mod local {
    all_cases! { super::fixture::Local::default() }
}

mod carried {
    all_cases! { super::fixture::Carried::new(1, crate::faulty::Faults::NONE) }
    cut_cases! { super::fixture::Carried::new(2, crate::faulty::Faults::NONE) }
}

mod faulty {
    use super::fixture::Carried;
    use crate::carried::CarriedLimits;
    use crate::faulty::Faults;

    all_cases! { Carried::new(3, Faults::MANY) }
    cut_cases! { Carried::new(4, Faults::MANY) }

    #[tokio::test(start_paused = true)]
    async fn whatever_happens_of_whatever_seed() {
        for seed in 100..120 {
            super::cut_cases::whatever_happens_nothing_is_lost_untold(Carried::new(seed, Faults::MANY)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_happens_to_interests_of_whatever_seed() {
        for (limits, seeds) in [(CarriedLimits::DEFAULT, 200..215), (super::whole_apps::FEW, 215..225)] {
            for seed in seeds {
                let carried = Carried::within(seed, Faults::MANY, limits);
                super::bound_cases::whatever_happens_to_interests_nothing_is_lost_untold(carried).await;
            }
        }
    }
}

/// Half of all comes twice, the second time up to 20 seconds later.
mod old_news {
    use super::fixture::Carried;
    use crate::faulty::Faults;

    all_cases! { Carried::new(9, Faults::OLD_NEWS) }
    cut_cases! { Carried::new(10, Faults::OLD_NEWS) }
}

/// Nodes that keep little for each other.
mod little {
    use super::fixture::Carried;
    use crate::carried::CarriedLimits;
    use crate::faulty::Faults;

    const LITTLE: CarriedLimits =
        CarriedLimits { kept_bytes_max: 100_000, again_bytes_max: 20_000, ..CarriedLimits::DEFAULT };

    contract! { Carried::within(7, Faults::NONE, LITTLE) => bound_cases { more_interests_than_are_kept_are_told } }

    #[tokio::test(start_paused = true)]
    async fn more_interests_than_are_kept_are_told_with_many_faults() {
        super::bound_cases::more_interests_than_are_kept_are_told(Carried::within(8, Faults::MANY, LITTLE)).await;
    }
}

/// Nodes that soon say that they want all of an app.
mod whole_apps {
    use super::fixture::Carried;
    use crate::carried::CarriedLimits;
    use crate::faulty::Faults;

    pub(super) const FEW: CarriedLimits = CarriedLimits { interests_per_app_max: 3, ..CarriedLimits::DEFAULT };

    all_cases! { Carried::within(5, Faults::MANY, FEW) }
    cut_cases! { Carried::within(6, Faults::MANY, FEW) }
}
