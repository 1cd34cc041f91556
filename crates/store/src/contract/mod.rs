//! What every store must do. Each case is written once; [`contract!`] runs all of them on one kind of store.

pub(crate) mod admin_cases;
mod change_cases;
mod device_cases;
mod end_cases;
mod figure_cases;
pub(crate) mod fixture;
mod hub_cases;
mod kept_cases;
mod list_cases;
mod place_cases;
mod token_cases;
mod two_handle_cases;
pub(crate) mod upkeep_cases;

pub(crate) use fixture::{Fixture, Opened};

/// Every case there is: hands them to `contract!`, behind what that is given of a store.
macro_rules! every_case {
    (contract! { $($store:tt)* }) => {
        contract! { $($store)*:
            token_cases {
                a_minted_token_is_redeemed_once
                of_many_simultaneous_redemptions_one_wins
                redeeming_races_revoking_without_a_survivor
                nothing_is_minted_on_what_is_gone
                nothing_is_minted_on_what_another_handle_took_away
                minting_races_deletion
                replacing_leaves_exactly_one_live
                replacing_races_redeeming
                a_token_waits_only_so_long
                a_clock_set_back_revives_nothing
                what_was_answered_survives_a_reopening
                a_crash_before_the_commit_leaves_nothing
                a_crash_after_the_commit_keeps_everything
                one_failing_operation_spares_its_batch
                an_idempotency_key_makes_one_object
                a_repeated_redemption_is_good_for_as_long_as_its_session
            }
            end_cases {
                what_a_grant_stands_on_is_known_without_its_session
                a_deleted_role_ends_what_uses_it_even_if_made_again
                a_revoked_secret_ends_what_it_minted_unless_told_otherwise
                a_rolled_secret_ends_nothing
                a_deleted_app_ends_everything_in_it
                nothing_of_a_deleted_app_is_found_any_more
                a_deleted_account_ends_everything_in_it
                nothing_is_made_in_an_account_that_is_gone
                development_mode_ends_with_its_switch
                ending_many_spares_what_comes_after
                ending_by_time_spares_what_is_newer
                ending_sessions_by_time_spares_tokens
                a_ban_ends_and_refuses_until_lifted
                a_session_is_superseded_by_the_next
                apps_do_not_see_each_other
            }
            list_cases {
                roles_of_an_app_and_apps_of_an_account_are_bounded
                lists_are_paged_without_gaps
                lists_are_in_the_order_of_bytes
                sessions_are_found_by_address_and_age
                extending_moves_the_end_of_a_live_session
                the_audit_log_tells_what_happened
            }
            change_cases {
                what_takes_nothing_away_is_no_change
                what_ends_or_changes_in_an_app_is_told
                what_ends_or_changes_of_an_admin_is_told
                a_change_that_is_not_made_takes_no_number
                changes_are_told_in_the_order_of_commits_whoever_makes_them
                what_one_handle_ends_is_over_for_the_other_and_what_comes_after_is_not
                a_replaced_token_is_over_and_its_replacement_is_not
                old_changes_go_and_what_is_left_has_no_gap
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
            upkeep_cases {
                everyday_rows_do_not_wash_administrative_ones_out
                upkeep_removes_marks_that_end_nothing_any_more
                what_a_clock_numbered_that_stood_ahead_keeps_nothing_behind_it
                upkeep_removes_secrets_that_nothing_stands_on
                what_a_clock_made_that_stood_ahead_is_over_and_waits_for_its_time
                upkeep_removes_the_dead_and_only_them
                numbers_are_never_given_again
            }
            admin_cases {
                admin_sessions_end_with_the_password
                an_own_new_password_keeps_the_sign_in_and_the_second_factor
                the_last_owner_stays
                a_code_of_a_second_factor_is_spent_once
                a_second_factor_is_sealed_with_the_password_it_was_made_for
                a_new_second_factor_ends_other_sign_ins
                a_setup_token_signs_in_once_and_not_for_long
                a_removed_admin_leaves_nothing
                what_the_first_start_makes_is_kept_whole_and_once
                a_first_start_goes_on_with_an_account_that_has_no_admin
                an_address_is_known_from_where_its_admin_signed_in
            }
            figure_cases {
                figures_add_up_by_span_and_app
                figures_are_forgotten_by_age
                connections_of_several_nodes_are_summed_by_the_minute
            }
            kept_cases {
                what_is_kept_is_counted_whatever_comes_and_goes
                what_is_kept_is_counted_across_crashes
                an_app_keeps_no_more_than_it_may
            }
            place_cases {
                what_is_kept_between_two_messages_is_found_by_its_places
            }
            hub_cases {
                history_is_told_newest_first_and_in_pages
                what_is_said_last_is_the_newest_whatever_the_clock_does
                what_one_said_oneself_is_not_unread
                an_ended_group_is_gone_and_another_of_its_name_is_new
                a_group_may_have_any_name
                so_many_groups_are_told_as_are_one_answer
                an_answer_holds_only_so_many_bytes
                the_newest_of_many_groups_are_found
                a_message_survives_a_reopening_once_it_was_taken
                a_message_that_was_not_committed_is_not_there
                a_message_with_a_key_is_said_once
                conversations_are_those_written_to_marked_or_joined
                a_mark_moves_only_forward
                an_endpoint_has_only_so_many_conversations
                apps_share_no_messages_push_tokens_or_reports
                old_messages_go_and_their_groups_with_the_last
                a_group_keeps_only_so_many_messages
                a_deleted_app_leaves_nothing_behind
            }
            device_cases {
                a_push_token_is_one_devices_and_one_endpoints
                an_endpoint_has_only_so_many_push_tokens
                a_ban_takes_push_tokens_along
                push_tokens_unseen_for_long_go
                call_reports_are_listed_newest_first_and_go_with_age
                an_app_washes_out_no_other_apps_call_reports
            }
        }
    };
}

/// Runs every case of the contract on the stores that `$fixture` opens.
macro_rules! contract {
    ($fixture:ty: $($cases:ident { $($case:ident)* })*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$cases::$case(<$fixture>::default()).await;
            }
        )*)*
    };
    // Where there may be no server to run them on.
    ($fixture:ty, if $there:path: $($cases:ident { $($case:ident)* })*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                if $there() {
                    super::$cases::$case(<$fixture>::default()).await;
                }
            }
        )*)*
    };
}

pub(crate) mod postgres;
mod postgres_carrier;
mod postgres_failures;
mod postgres_fenced;
pub(crate) mod postgres_nodes;
mod postgres_opening;
pub(crate) mod postgres_pooled;
mod postgres_pooler;
pub(crate) mod postgres_promotion;
pub(crate) mod postgres_proxy;
pub(crate) mod postgres_server;
mod postgres_systems;
mod postgres_tls;
mod postgres_unconfirmed;

mod sqlite {
    use super::Fixture as _;
    use crate::crash::{Crash, CrashPoint};
    use crate::{Options, SqliteStore};

    #[derive(Default)]
    pub(crate) struct Sqlite {
        folder: std::sync::OnceLock<tempfile::TempDir>,
    }

    impl super::Fixture for Sqlite {
        fn open(&self, crash_at: Option<CrashPoint>) -> super::Opened {
            let folder = self.folder.get_or_init(|| tempfile::tempdir().unwrap());
            let path = folder.path().join("contract.db");
            let opened = match crash_at {
                None => SqliteStore::open(&path, Options::default()),
                at => SqliteStore::open_crashing(&path, Crash { at }),
            };
            std::sync::Arc::new(opened.unwrap())
        }
    }

    #[test]
    fn a_fixture_reopens_what_it_made() {
        let fixture = Sqlite::default();
        let key = |store: &super::Opened| store.sealer().name(respoke_core::seal::SealKind::TokenName, 1);
        let first = key(&fixture.open(None));
        assert_eq!(first, key(&fixture.open(None)));
        assert_ne!(first, key(&Sqlite::default().open(None)));
    }

    every_case!(contract! { Sqlite });
}
