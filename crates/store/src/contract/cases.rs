//! The cases. A case that needs a race releases its tasks together and runs many rounds.
#![expect(clippy::disallowed_methods, reason = "a case owns the tasks it races, and waits for each")]

use std::collections::BTreeSet;
use std::sync::Arc;

use respoke_core::app::AppPatch;
use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::grant::Lapse;
use respoke_core::id::{RoleId, SecretId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    APPS_PER_ACCOUNT_MAX, AdminAddition, AppRefusal, AuditQuery, BanRecord, Banning, EndRequest, EndScope, Ending,
    ExtensionRefusal, Factor, ListFilter, MintRefusal, ROLES_PER_APP_MAX, Redemption, Removal, RoleRefusal,
    ScopeEnding, SecretRefusal, SessionFilter, Upkeep,
};
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::session::SessionEndCause;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::Fixture;
use super::fixture::{
    NOW, World, created, endpoint, entry, entry_at, key, new_admin, new_secret, new_session, not_created, opened,
    refused,
};
use crate::sqlite::CrashPoint;

pub(super) async fn a_minted_token_is_redeemed_once(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let token = world.mint("alice").await;
    let (text, session) = opened(world.redeem(&token).await);
    assert_eq!(world.store.sealer().number_of(SealKind::Session, text.expose()), Some(session.number));
    assert_eq!(session.hash, text.hash());
    assert_eq!(session.expires_at, token.token.expires_at);
    assert_eq!(world.lapse_of(&session).await, None);
    assert_eq!(refused(&world.redeem(&token).await), Lapse::Redeemed);

    // The right number with the wrong text is no token at all.
    let other = world.mint("alice").await;
    let answer = world
        .store
        .redeem(other.number, token.text.hash(), new_session(), None, entry(Action::TokenRedeemed))
        .await
        .unwrap();
    assert!(matches!(answer, Redemption::Unknown));
}

pub(super) async fn of_many_simultaneous_redemptions_one_wins(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for _ in 0..20 {
        let token = world.mint("alice").await;
        let barrier = Arc::new(Barrier::new(256));
        let mut tries = JoinSet::new();
        for _ in 0..256 {
            let (world, token, barrier) = (world.clone(), token.clone(), barrier.clone());
            tries.spawn(async move {
                barrier.wait().await;
                world.redeem(&token).await
            });
        }
        let outcomes = tries.join_all().await;
        let winners = outcomes.iter().filter(|outcome| matches!(outcome, Redemption::Opened { .. })).count();
        let losers = outcomes.iter().filter(|outcome| matches!(outcome, Redemption::Refused(Lapse::Redeemed))).count();
        assert_eq!((winners, losers), (1, 255));
    }
    let sessions = world.store.sessions(world.app, SessionFilter::default(), NOW, PageRequest::first()).await.unwrap();
    assert_eq!(sessions.items.len(), 20);
}

pub(super) async fn redeeming_races_revoking_without_a_survivor(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for round in 0..200 {
        let token = world.mint("alice").await;
        let barrier = Arc::new(Barrier::new(2));
        let redeeming = {
            let (world, token, barrier) = (world.clone(), token.clone(), barrier.clone());
            async move {
                barrier.wait().await;
                world.redeem(&token).await
            }
        };
        let revoking = {
            let (world, barrier) = (world.clone(), barrier.clone());
            async move {
                barrier.wait().await;
                let order = EndRequest {
                    app_id: world.app,
                    scope: if round % 2 == 0 { EndScope::Endpoint(endpoint("alice")) } else { EndScope::App },
                    issued_before: None,
                    tokens_too: true,
                };
                assert_eq!(
                    world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(),
                    ScopeEnding::Ended
                );
            }
        };
        let (outcome, ()) = tokio::join!(tokio::spawn(redeeming), async {
            tokio::spawn(revoking).await.unwrap();
        });
        match outcome.unwrap() {
            Redemption::Opened { session, .. } => assert_eq!(world.lapse_of(&session).await, Some(Lapse::Revoked)),
            other => assert_eq!(refused(&other), Lapse::Revoked),
        }
        assert!(matches!(world.redeem(&token).await, Redemption::Refused(_)));
    }
}

pub(super) async fn nothing_is_minted_on_what_is_gone(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let lapse = |token| {
        let minting = world.store.issue_token(token, false, false, None, entry(Action::TokenIssued));
        async {
            match minting.await.unwrap() {
                Creation::Refused(MintRefusal::Lapsed(lapse)) => Some(lapse),
                Creation::Created(_) => None,
                other => panic!("{other:?}"),
            }
        }
    };
    let token = world.token_for("alice", NOW);
    let with = |change: fn(&mut respoke_core::grant::Grant)| {
        let mut token = token.clone();
        change(&mut token.grant);
        token
    };
    assert_eq!(lapse(token.clone()).await, None);
    assert_eq!(lapse(with(|grant| grant.role_id = Some(RoleId::random()))).await, Some(Lapse::RoleDeleted));
    assert_eq!(lapse(with(|grant| grant.role_id = None)).await, Some(Lapse::DevelopmentModeOff));
    assert_eq!(lapse(with(|grant| grant.secret_id = Some(SecretId::random()))).await, Some(Lapse::SecretRevoked));
    assert_eq!(lapse(with(|grant| grant.secret_id = None)).await, None, "an admin mints without one");
    let other = World::with_app(world.store.clone(), world.account).await;
    let mut foreign = token.clone();
    foreign.grant.secret_id = Some(other.secret);
    assert_eq!(lapse(foreign).await, Some(Lapse::SecretRevoked));
    // A rolled secret mints until its time is over.
    let rolls = Some((world.secret, NOW.plus_secs(60)));
    created(world.store.create_secret(new_secret(world.app), rolls, None, entry(Action::SecretRolled)).await.unwrap());
    assert_eq!(lapse(world.token_for("alice", NOW.plus_secs(59))).await, None);
    assert_eq!(lapse(world.token_for("alice", NOW.plus_secs(60))).await, Some(Lapse::SecretRevoked));
    assert_eq!(world.store.delete_app(other.app, entry(Action::AppDeleted)).await.unwrap(), Removal::Removed);
    assert_eq!(lapse(other.token_for("alice", NOW)).await, Some(Lapse::AppDeleted));
}

pub(super) async fn minting_races_deletion(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for round in 0..60 {
        let world = World::with_app(world.store.clone(), world.account).await;
        let barrier = Arc::new(Barrier::new(9));
        let mut mints = JoinSet::new();
        for _ in 0..8 {
            let (world, barrier) = (world.clone(), barrier.clone());
            mints.spawn(async move {
                barrier.wait().await;
                for _ in 0..10 {
                    let token = world.token_for("alice", NOW);
                    let minting = world.store.issue_token(token, false, false, None, entry(Action::TokenIssued));
                    if matches!(minting.await.unwrap(), Creation::Refused(_)) {
                        return;
                    }
                }
            });
        }
        barrier.wait().await;
        let (store, deletion) = (&world.store, entry(Action::Restored));
        match round % 3 {
            0 => assert_eq!(store.delete_app(world.app, deletion).await.unwrap(), Removal::Removed),
            1 => assert_eq!(store.delete_role(world.app, world.role, deletion).await.unwrap(), Removal::Removed),
            _ => assert!(store.revoke_secret(world.app, world.secret, false, deletion).await.unwrap().is_some()),
        }
        mints.join_all().await;
        let query =
            AuditQuery { account_id: world.account, app_id: None, action: None, object: None, request_id: None };
        let newest = store.audit_log(query, PageRequest { limit: 1, after: None }).await.unwrap().items.remove(0);
        // The log is in the order of commits.
        assert_eq!(newest.entry.action, Action::Restored, "nothing is minted behind a deletion");
    }
}

pub(super) async fn replacing_leaves_exactly_one_live(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let mut tokens = vec![world.mint("alice").await, world.mint("alice").await];
    let bystander = world.mint("bob").await;
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let world = world.clone();
        calls.spawn(async move { world.issue(world.token_for("alice", NOW), true, None).await.unwrap() });
    }
    tokens.extend(calls.join_all().await);
    let mut live = 0;
    for token in &tokens {
        match world.redeem(token).await {
            Redemption::Opened { .. } => live += 1,
            other => assert_eq!(refused(&other), Lapse::Revoked),
        }
    }
    assert_eq!(live, 1);
    opened(world.redeem(&bystander).await);
}

pub(super) async fn replacing_races_redeeming(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for _ in 0..100 {
        let old = world.mint("alice").await;
        let barrier = Arc::new(Barrier::new(2));
        let (redeemer, replacer) = (world.clone(), world.clone());
        let (first, second, presented) = (barrier.clone(), barrier, old.clone());
        let redeeming = tokio::spawn(async move {
            first.wait().await;
            redeemer.redeem(&presented).await
        });
        let replacing = tokio::spawn(async move {
            second.wait().await;
            replacer.issue(replacer.token_for("alice", NOW), true, None).await.unwrap()
        });
        let (outcome, new) = (redeeming.await.unwrap(), replacing.await.unwrap());
        // Either the old one was in time, or it was replaced; the new one is good, and the old one never again.
        if !matches!(outcome, Redemption::Opened { .. }) {
            assert_eq!(refused(&outcome), Lapse::Revoked);
        }
        assert!(matches!(world.redeem(&old).await, Redemption::Refused(_)));
        opened(world.redeem(&new).await);
    }
}

pub(super) async fn a_token_waits_only_so_long(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let late = world.mint("alice").await;
    assert_eq!(refused(&world.redeem_at(&late, NOW.plus_secs(300)).await), Lapse::NotActivated);
    let in_time = world.mint("alice").await;
    let (_, session) = opened(world.redeem_at(&in_time, NOW.plus_secs(299)).await);
    assert_eq!(world.lapse_at(&session, NOW.plus_secs(3_599)).await, None);
    assert_eq!(world.lapse_at(&session, NOW.plus_secs(3_600)).await, Some(Lapse::Expired));
}

pub(super) async fn a_clock_set_back_revives_nothing(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let token = world.mint("alice").await;
    opened(world.redeem(&token).await);
    let past = NOW.plus_secs(-3_600);
    assert_eq!(refused(&world.redeem_at(&token, past).await), Lapse::Redeemed);

    let (_, ended) = world.session_of("bob").await;
    let order = EndRequest { app_id: world.app, scope: EndScope::App, issued_before: None, tokens_too: true };
    assert_eq!(world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::Ended);
    assert_eq!(world.lapse_at(&ended, past).await, Some(Lapse::Revoked));
    // What is minted after the ending is good, though the clock says it came before.
    let after = world.mint_at("bob", past).await;
    opened(world.redeem_at(&after, past).await);
}

pub(super) async fn what_was_answered_survives_a_reopening(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let waiting = world.mint("alice").await;
    let spent = world.mint("alice").await;
    let (_, session) = opened(world.redeem(&spent).await);
    let revoked = world.mint("bob").await;
    assert_eq!(
        world.store.revoke_token(world.app, revoked.number, entry(Action::TokenRevoked)).await.unwrap(),
        Ending::Ended
    );
    world.store.close().await;
    assert!(world.try_redeem(&waiting, NOW).await.is_err(), "a closed store does nothing");

    let world = world.on(fixture.open(None));
    assert_eq!(refused(&world.redeem(&spent).await), Lapse::Redeemed);
    assert_eq!(refused(&world.redeem(&revoked).await), Lapse::Revoked);
    assert_eq!(world.lapse_of(&session).await, None);
    opened(world.redeem(&waiting).await);
}

pub(super) async fn a_crash_before_the_commit_leaves_nothing(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let token = world.mint("alice").await;
    world.store.close().await;
    let crashing = world.on(fixture.open(Some(CrashPoint::BeforeCommit)));
    assert!(crashing.try_redeem(&token, NOW).await.is_err(), "what is not committed is not answered");
    drop(crashing);
    let world = world.on(fixture.open(None));
    opened(world.redeem(&token).await);
}

pub(super) async fn a_crash_after_the_commit_keeps_everything(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let token = world.mint("alice").await;
    world.store.close().await;
    let crashing = world.on(fixture.open(Some(CrashPoint::AfterCommit)));
    assert!(crashing.try_redeem(&token, NOW).await.is_err(), "nobody was answered");
    drop(crashing);
    let world = world.on(fixture.open(None));
    assert_eq!(refused(&world.redeem(&token).await), Lapse::Redeemed);
}

pub(super) async fn one_failing_operation_spares_its_batch(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let taken = new_secret(world.app);
    let mut calls = JoinSet::new();
    for number in 0..64 {
        let (world, taken) = (world.clone(), taken.clone());
        calls.spawn(async move {
            if number % 8 == 0 {
                // Only the first of these finds its id free; the others break a constraint.
                let app = super::fixture::new_app(world.account);
                world.store.create_app(app, taken, None, entry(Action::AppCreated)).await.is_ok()
            } else {
                let token = world.mint("alice").await;
                matches!(world.redeem(&token).await, Redemption::Opened { .. })
            }
        });
    }
    let succeeded = calls.join_all().await.into_iter().filter(|done| *done).count();
    assert_eq!(succeeded, 56 + 1);

    // What was rolled back left no gap in the numbers that a mark could lie in, beyond what a restart knows of.
    let order = EndRequest { app_id: world.app, scope: EndScope::App, issued_before: None, tokens_too: true };
    assert_eq!(world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::Ended);
    world.store.close().await;
    let world = world.on(fixture.open(None));
    let (_, session) = world.session_of("after").await;
    assert_eq!(world.lapse_of(&session).await, None);
}

pub(super) async fn what_a_grant_stands_on_is_known_without_its_session(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (_, session) = world.session_of("alice").await;
    let lapse = async || session.lapse(&world.store.ground(&session.grant).await.unwrap(), NOW);
    assert_eq!((lapse().await, world.lapse_of(&session).await), (None, None));
    let scope = EndScope::Endpoint(endpoint("alice"));
    let order = EndRequest { app_id: world.app, scope, issued_before: None, tokens_too: true };
    assert_eq!(world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::Ended);
    assert_eq!(lapse().await, Some(Lapse::Revoked));
    assert_eq!(
        world.store.delete_role(world.app, world.role, entry(Action::RoleDeleted)).await.unwrap(),
        Removal::Removed
    );
    assert_eq!(lapse().await, Some(Lapse::RoleDeleted));
}

pub(super) async fn a_deleted_role_ends_what_uses_it_even_if_made_again(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let token = world.mint("alice").await;
    let (_, session) = world.session_of("alice").await;
    assert_eq!(
        world.store.delete_role(world.app, world.role, entry(Action::RoleDeleted)).await.unwrap(),
        Removal::Removed
    );
    assert_eq!(world.lapse_of(&session).await, Some(Lapse::RoleDeleted));
    assert_eq!(refused(&world.redeem(&token).await), Lapse::RoleDeleted);

    world.create_role(world.role, "again").await.unwrap();
    assert_eq!(world.lapse_of(&session).await, Some(Lapse::Revoked));
    assert_eq!(refused(&world.redeem(&token).await), Lapse::Revoked);
    world.session_of("alice").await;
    let refusal = world.create_role(RoleId::random(), "again").await.unwrap_err();
    assert_eq!(refusal, RoleRefusal::Taken, "names are unique");
}

pub(super) async fn a_revoked_secret_ends_what_it_minted_unless_told_otherwise(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let spare = new_secret(world.app);
    let spared = World { secret: spare.id, ..world.clone() };
    created(world.store.create_secret(spare, None, None, entry(Action::SecretCreated)).await.unwrap());
    let (_, ends) = world.session_of("alice").await;
    let token = world.mint("alice").await;
    let (_, stays) = spared.session_of("bob").await;
    let revoke = |id: SecretId, keep| world.store.revoke_secret(world.app, id, keep, entry(Action::SecretRevoked));

    let revoked = revoke(world.secret, false).await.unwrap().unwrap();
    assert!(!revoked.usable(NOW));
    assert_eq!(world.lapse_of(&ends).await, Some(Lapse::SecretRevoked));
    assert_eq!(refused(&world.redeem(&token).await), Lapse::SecretRevoked);

    assert!(revoke(spared.secret, true).await.unwrap().unwrap().keep_sessions);
    assert_eq!(world.lapse_of(&stays).await, None);
    // A second thought can end what was spared, and nothing brings it back.
    revoke(spared.secret, false).await.unwrap().unwrap();
    assert_eq!(world.lapse_of(&stays).await, Some(Lapse::SecretRevoked));
    assert!(!revoke(spared.secret, true).await.unwrap().unwrap().keep_sessions);
    assert!(revoke(SecretId::random(), false).await.unwrap().is_none());
}

pub(super) async fn a_rolled_secret_ends_nothing(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (_, session) = world.session_of("alice").await;
    let until = NOW.plus_secs(3_600);
    let new = new_secret(world.app);
    let rolled = world
        .store
        .create_secret(new.clone(), Some((world.secret, until)), None, entry(Action::SecretRolled))
        .await
        .unwrap();
    created(rolled);
    let secrets = world.store.secrets(world.app).await.unwrap();
    let old = secrets.iter().find(|secret| secret.id == world.secret).unwrap();
    assert_eq!(old.expires_at, Some(until));
    assert!(old.usable(NOW) && !old.usable(until));
    assert_eq!(world.store.secret_by_hash(&new.hash).await.unwrap().unwrap().id, new.id);
    assert_eq!(world.lapse_at(&session, until).await, Some(Lapse::Expired), "by its own ttl alone");
    assert_eq!(world.lapse_at(&session, until.plus_secs(-1)).await, None);
    // Rolling what is expired by then is refused.
    let again = world
        .store
        .create_secret(
            new_secret(world.app),
            Some((world.secret, until.plus_secs(9))),
            None,
            entry_at(until.plus_secs(1), Action::SecretRolled),
        )
        .await
        .unwrap();
    assert_eq!(not_created(again), SecretRefusal::NothingToRoll);
}

pub(super) async fn roles_of_an_app_and_apps_of_an_account_are_bounded(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let mut calls = JoinSet::new();
    for number in 0..ROLES_PER_APP_MAX + 9 {
        let world = world.clone();
        calls.spawn(async move { world.create_role(RoleId::random(), &format!("role {number}")).await.is_ok() });
    }
    // The app has a role already.
    assert_eq!(calls.join_all().await.into_iter().filter(|made| *made).count(), ROLES_PER_APP_MAX - 1);
    assert_eq!(
        world.store.delete_role(world.app, world.role, entry(Action::RoleDeleted)).await.unwrap(),
        Removal::Removed
    );
    assert!(world.create_role(RoleId::random(), "another").await.is_ok());

    let mut calls = JoinSet::new();
    for _ in 0..APPS_PER_ACCOUNT_MAX + 9 {
        let world = world.clone();
        calls.spawn(async move {
            let app = super::fixture::new_app(world.account);
            let secret = new_secret(app.id);
            match world.store.create_app(app, secret, None, entry(Action::AppCreated)).await.unwrap() {
                Creation::Created(_) => true,
                other => {
                    assert_eq!(not_created(other), AppRefusal::TooMany);
                    false
                }
            }
        });
    }
    assert_eq!(calls.join_all().await.into_iter().filter(|made| *made).count(), APPS_PER_ACCOUNT_MAX - 1);
    World::new(world.store).await;
}

pub(super) async fn a_deleted_app_ends_everything_in_it(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let token = world.mint("alice").await;
    let (_, session) = world.session_of("alice").await;
    assert_eq!(world.store.delete_app(world.app, entry(Action::AppDeleted)).await.unwrap(), Removal::Removed);
    assert_eq!(world.store.delete_app(world.app, entry(Action::AppDeleted)).await.unwrap(), Removal::Unknown);
    assert_eq!(world.lapse_of(&session).await, Some(Lapse::AppDeleted));
    assert_eq!(refused(&world.redeem(&token).await), Lapse::AppDeleted);
    assert!(world.store.app(world.app).await.unwrap().is_none());
    assert!(world.store.role(world.app, world.role).await.unwrap().is_none());
    assert!(world.store.secrets(world.app).await.unwrap().is_empty());
}

pub(super) async fn a_deleted_account_ends_everything_in_it(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (_, session) = world.session_of("alice").await;
    let admin = new_admin(world.account, "owner");
    assert_eq!(
        world.store.create_admin(admin.clone(), entry(Action::AdminCreated)).await.unwrap(),
        AdminAddition::Added
    );
    let token = world
        .store
        .open_admin_session(
            &admin,
            Factor::None,
            Entropy::random(),
            NOW.plus_secs(60),
            None,
            entry(Action::AdminSignedIn),
        )
        .await
        .unwrap();
    let Creation::Created(token) = token else { panic!("not created") };
    let number = world.store.sealer().number_of(SealKind::AdminSession, token.expose()).unwrap();
    assert!(world.store.admin_session(number).await.unwrap().is_some());
    assert_eq!(
        world.store.delete_account(world.account, entry(Action::AccountDeleted)).await.unwrap(),
        Removal::Removed
    );
    assert!(world.store.admin_session(number).await.unwrap().is_none());
    assert_eq!(world.lapse_of(&session).await, Some(Lapse::AppDeleted));
    assert!(world.store.accounts().await.unwrap().is_empty());
}

pub(super) async fn development_mode_ends_with_its_switch(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let switch = |on| AppPatch { development_mode: Some(on), ..AppPatch::default() };
    let update = |patch| world.store.update_app(world.app, patch, entry(Action::AppUpdated));
    assert!(update(switch(true)).await.unwrap().unwrap().settings.development_mode);
    let mut token = world.token_for("alice", NOW);
    (token.grant.role_id, token.grant.secret_id) = (None, None);
    let minted = world.issue(token, false, None).await.unwrap();
    let (_, session) = opened(world.redeem(&minted).await);
    assert_eq!(world.lapse_of(&session).await, None);
    update(switch(false)).await.unwrap();
    assert_eq!(world.lapse_of(&session).await, Some(Lapse::DevelopmentModeOff));
}

pub(super) async fn ending_many_spares_what_comes_after(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for (scope, bob_ends) in
        [(EndScope::Endpoint(endpoint("alice")), false), (EndScope::Role(world.role), true), (EndScope::App, true)]
    {
        let (_, alice) = world.session_of("alice").await;
        let (_, bob) = world.session_of("bob").await;
        let waiting = world.mint("alice").await;
        for tokens_too in [false, true] {
            let order = EndRequest { app_id: world.app, scope: scope.clone(), issued_before: None, tokens_too };
            assert_eq!(
                world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(),
                ScopeEnding::Ended
            );
            let (token, ground) = world.store.token(waiting.number).await.unwrap().unwrap();
            assert_eq!(token.lapse(&ground, NOW), tokens_too.then_some(Lapse::Revoked), "{scope:?}");
        }
        assert_eq!(world.lapse_of(&alice).await, Some(Lapse::Revoked), "{scope:?}");
        assert_eq!(world.lapse_of(&bob).await, bob_ends.then_some(Lapse::Revoked), "{scope:?}");
        let (_, again) = world.session_of("alice").await;
        assert_eq!(world.lapse_of(&again).await, None, "{scope:?}");
    }
    let unknown = EndScope::Role(RoleId::random());
    let order = EndRequest { app_id: world.app, scope: unknown, issued_before: None, tokens_too: true };
    assert_eq!(world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::NoRole);
}

pub(super) async fn ending_by_time_spares_what_is_newer(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let old = world.mint_at("alice", NOW.plus_secs(-100)).await;
    let (_, old_session) = opened(world.redeem_at(&old, NOW.plus_secs(-99)).await);
    let (_, new_session) = world.session_of("alice").await;
    let order = EndRequest {
        app_id: world.app,
        scope: EndScope::App,
        issued_before: Some(NOW.plus_secs(-50)),
        tokens_too: true,
    };
    assert_eq!(world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::Ended);
    assert_eq!(world.lapse_of(&old_session).await, Some(Lapse::Revoked));
    assert_eq!(world.lapse_of(&new_session).await, None);
    // A clock set back makes sessions that look old; they were issued after the order and stay.
    let past = NOW.plus_secs(-200);
    let (_, late) = opened(world.redeem_at(&world.mint_at("alice", past).await, past).await);
    assert_eq!(world.lapse_of(&late).await, None);
}

pub(super) async fn ending_sessions_by_time_spares_tokens(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for scope in [EndScope::Endpoint(endpoint("alice")), EndScope::Role(world.role), EndScope::App] {
        let minted = |secs| world.mint_at("alice", NOW.plus_secs(secs));
        let (old, new) = (minted(-100).await, minted(-20).await);
        let (_, session) = opened(world.redeem_at(&minted(-20).await, NOW.plus_secs(-20)).await);
        let end = |secs, tokens_too| {
            let issued_before = Some(NOW.plus_secs(secs));
            let order = EndRequest { app_id: world.app, scope: scope.clone(), issued_before, tokens_too };
            world.store.end_sessions(order, entry(Action::SessionsEnded))
        };
        assert_eq!(end(-50, true).await.unwrap(), ScopeEnding::Ended);
        assert_eq!(refused(&world.redeem(&old).await), Lapse::Revoked, "{scope:?}");
        assert_eq!(world.lapse_of(&session).await, None, "{scope:?}");
        assert_eq!(end(-10, false).await.unwrap(), ScopeEnding::Ended);
        assert_eq!(world.lapse_of(&session).await, Some(Lapse::Revoked), "{scope:?}");
        opened(world.redeem(&new).await);
    }
}

pub(super) async fn a_ban_ends_and_refuses_until_lifted(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let waiting = world.mint("alice").await;
    let (_, session) = world.session_of("alice").await;
    let ban =
        BanRecord { endpoint_id: endpoint("alice"), reason: "spam".into(), banned_at: NOW, until: NOW.plus_secs(60) };
    assert_eq!(world.store.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
    assert_eq!(world.lapse_of(&session).await, Some(Lapse::Revoked));
    assert_eq!(refused(&world.redeem(&waiting).await), Lapse::Banned);
    let issue = |at| {
        let token = world.token_for("alice", at);
        world.store.issue_token(token, false, false, None, entry_at(at, Action::TokenIssued))
    };
    assert!(matches!(not_created(issue(NOW).await.unwrap()), MintRefusal::Banned(ban) if ban.reason == "spam"));
    // The ban is over by then.
    created(issue(NOW.plus_secs(60)).await.unwrap());
    world.session_of("bob").await;

    assert_eq!(world.store.bans(world.app, PageRequest::first()).await.unwrap().items.len(), 1);
    assert_eq!(
        world.store.lift_ban(world.app, &endpoint("alice"), entry(Action::BanLifted)).await.unwrap(),
        Removal::Removed
    );
    assert_eq!(
        world.store.lift_ban(world.app, &endpoint("alice"), entry(Action::BanLifted)).await.unwrap(),
        Removal::Unknown
    );
    assert!(world.store.ban_of(world.app, &endpoint("alice")).await.unwrap().is_none());
    created(issue(NOW).await.unwrap());
    assert_eq!(refused(&world.redeem(&waiting).await), Lapse::Revoked, "what a ban ended stays ended");
    assert_eq!(world.lapse_of(&session).await, Some(Lapse::Revoked));
}

pub(super) async fn a_session_is_superseded_by_the_next(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let redeem = |token: respoke_core::token::MintedToken, supersedes| {
        let session = respoke_core::ports::NewSession { supersedes: Some(supersedes), ..new_session() };
        world.store.redeem(token.number, token.text.hash(), session, None, entry(Action::TokenRedeemed))
    };
    let (_, first) = world.session_of("alice").await;
    let (_, bobs) = world.session_of("bob").await;
    let answer = redeem(world.mint("alice").await, first.number).await.unwrap();
    assert!(matches!(answer, Redemption::Opened { superseded: Some(number), .. } if number == first.number));
    assert_eq!(world.lapse_of(&first).await, Some(Lapse::Superseded));
    let answer = redeem(world.mint("alice").await, bobs.number).await.unwrap();
    assert!(matches!(answer, Redemption::Opened { superseded: None, .. }), "a foreign session is left alone");
    assert_eq!(world.lapse_of(&bobs).await, None);
}

pub(super) async fn apps_do_not_see_each_other(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let other = World::with_app(world.store.clone(), world.account).await;
    let token = world.mint("alice").await;
    let (_, session) = world.session_of("alice").await;
    other.session_of("alice").await;

    let store = &world.store;
    let page = PageRequest::first;
    assert_eq!(store.tokens(other.app, ListFilter::default(), NOW, page()).await.unwrap().items.len(), 0);
    let sessions = store.sessions(other.app, SessionFilter::default(), NOW, page()).await.unwrap().items;
    assert!(sessions.iter().all(|session| session.grant.app_id == other.app) && sessions.len() == 1);
    assert_eq!(
        store.revoke_token(other.app, token.number, entry(Action::TokenRevoked)).await.unwrap(),
        Ending::Unknown
    );
    let cause = SessionEndCause::Revoked;
    assert_eq!(
        store.end_session(other.app, session.number, cause, entry(Action::SessionEnded)).await.unwrap(),
        Ending::Unknown
    );
    assert!(store.role(other.app, world.role).await.unwrap().is_none());
    assert_eq!(store.apps_of_role(world.account, world.role).await.unwrap(), [world.app]);
    let stranger = respoke_core::id::AccountId::random();
    assert!(store.apps_of_role(stranger, world.role).await.unwrap().is_empty());
    assert_eq!(store.delete_role(other.app, world.role, entry(Action::RoleDeleted)).await.unwrap(), Removal::Unknown);
    assert!(store.revoke_secret(other.app, world.secret, false, entry(Action::SecretRevoked)).await.unwrap().is_none());
    let order =
        EndRequest { app_id: other.app, scope: EndScope::Role(world.role), issued_before: None, tokens_too: true };
    assert_eq!(store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::NoRole);
    let order = EndRequest { app_id: other.app, scope: EndScope::App, issued_before: None, tokens_too: true };
    assert_eq!(store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::Ended);
    let ban =
        BanRecord { endpoint_id: endpoint("alice"), reason: String::new(), banned_at: NOW, until: BanRecord::FOREVER };
    assert_eq!(store.ban(other.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
    assert_eq!(world.lapse_of(&session).await, None);
    opened(world.redeem(&token).await);
}

pub(super) async fn an_idempotency_key_makes_one_object(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let once = key("once", "body");
    let issue = || {
        let token = respoke_core::token::NewToken {
            entropy: IdempotencyKey::entropy(Some(&once)),
            ..world.token_for("alice", NOW)
        };
        world.issue(token, false, Some(once.clone()))
    };
    let (first, second) = tokio::join!(issue(), issue());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.number, first.text.expose()), (second.number, second.text.expose()));

    let otherwise = key("once", "another body");
    let answer = world
        .store
        .issue_token(world.token_for("bob", NOW), false, false, Some(otherwise), entry(Action::TokenIssued))
        .await
        .unwrap();
    assert!(matches!(answer, Creation::KeyReused));

    let redeeming = key("redeem", "");
    let redeem = || {
        let session =
            respoke_core::ports::NewSession { entropy: IdempotencyKey::entropy(Some(&redeeming)), ..new_session() };
        let entry = entry(Action::TokenRedeemed);
        world.store.redeem(first.number, first.text.hash(), session, Some(redeeming.clone()), entry)
    };
    let (one, _) = opened(redeem().await.unwrap());
    let (same, _) = opened(redeem().await.unwrap());
    assert_eq!(one.expose(), same.expose());
    assert_eq!(refused(&world.redeem(&first).await), Lapse::Redeemed, "without the key it is a second use");
    let order = EndRequest { app_id: world.app, scope: EndScope::App, issued_before: None, tokens_too: true };
    assert_eq!(world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::Ended);
    assert_eq!(refused(&redeem().await.unwrap()), Lapse::Revoked, "a session that is over is not answered again");
}

pub(super) async fn a_repeated_redemption_is_good_for_as_long_as_its_session(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let redeem = |token: &respoke_core::token::MintedToken, text: &str, at| {
        let once = key(text, "");
        let session =
            respoke_core::ports::NewSession { entropy: IdempotencyKey::entropy(Some(&once)), ..new_session() };
        let (number, hash) = (token.number, token.text.hash());
        let store = world.store.clone();
        async move { store.redeem(number, hash, session, Some(once), entry_at(at, Action::TokenRedeemed)).await.unwrap() }
    };
    let (token, revoked) = (world.mint("alice").await, world.mint("alice").await);
    let banned = world.mint("bob").await;
    let (text, _) = opened(redeem(&token, "alice", NOW).await);
    let (_, session) = opened(redeem(&revoked, "revoked", NOW).await);
    opened(redeem(&banned, "bob", NOW).await);

    let cause = SessionEndCause::Revoked;
    assert_eq!(
        world.store.end_session(world.app, session.number, cause, entry(Action::SessionEnded)).await.unwrap(),
        Ending::Ended
    );
    assert_eq!(refused(&redeem(&revoked, "revoked", NOW).await), Lapse::Revoked);
    let ban =
        BanRecord { endpoint_id: endpoint("bob"), reason: "spam".into(), banned_at: NOW, until: NOW.plus_secs(60) };
    assert_eq!(world.store.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
    assert_eq!(refused(&redeem(&banned, "bob", NOW).await), Lapse::Banned);

    // The tokens are forgotten, and so are the sessions that are over; the one that lives is answered again.
    world.session_of("carol").await;
    let later = NOW.plus_secs(3_000);
    whole_pass(&world, upkeep_at(later)).await;
    assert!(world.store.token(token.number).await.unwrap().is_none());
    assert!(world.store.session(session.number).await.unwrap().is_none());
    assert_eq!(opened(redeem(&token, "alice", later).await).0.expose(), text.expose());
    assert_eq!(refused(&redeem(&revoked, "revoked", later).await), Lapse::Redeemed);
    assert_eq!(refused(&redeem(&token, "alice", NOW.plus_secs(3_600)).await), Lapse::Expired);
    assert!(matches!(redeem(&token, "another key", later).await, Redemption::Unknown));
}

pub(super) async fn lists_are_paged_without_gaps(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let mut expected = BTreeSet::new();
    for number in 0..25 {
        let (_, session) = world.session_of(if number % 5 == 0 { "alice" } else { "bob" }).await;
        expected.insert(session.number);
        world.create_role(RoleId::random(), &format!("role {number}")).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let request = PageRequest { limit: 4, after };
        let page = world.store.sessions(world.app, SessionFilter::default(), NOW, request).await.unwrap();
        assert!(page.items.len() <= 4);
        seen.extend(page.items.iter().map(|session| session.number));
        after = page.next;
        if after.is_none() {
            break;
        }
        world.session_of("late").await;
    }
    let late = seen.split_off(25);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
    assert!(!late.is_empty(), "what comes in behind the cursor is seen too");

    let of = ListFilter { endpoint_id: Some(endpoint("alice")), role_id: Some(world.role), secret_id: None };
    let filter = SessionFilter { of, ..SessionFilter::default() };
    let page = world.store.sessions(world.app, filter, NOW, PageRequest::first()).await.unwrap();
    assert_eq!((page.items.len(), page.next), (5, None));

    let mut names = BTreeSet::new();
    let mut after = None;
    loop {
        let page = world.store.roles(world.app, PageRequest { limit: 7, after }).await.unwrap();
        names.extend(page.items.into_iter().map(|role| role.name));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names.len(), 26);
}

pub(super) async fn sessions_are_found_by_address_and_age(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (_, old) = world.session_of("alice").await;
    let later = NOW.plus_secs(10);
    let (_, new) = opened(world.redeem_at(&world.mint("alice").await, later).await);
    let find = async |filter: SessionFilter| {
        let page = world.store.sessions(world.app, filter, later, PageRequest::first()).await.unwrap();
        page.items.iter().map(|session| session.number).collect::<Vec<_>>()
    };
    let from = |address: &str| SessionFilter { address: Some(address.parse().unwrap()), ..SessionFilter::default() };
    let since = |at: Timestamp| SessionFilter { since: Some(at), ..SessionFilter::default() };
    assert_eq!(find(from("192.0.2.1")).await, [old.number, new.number]);
    assert!(find(from("192.0.2.2")).await.is_empty());
    assert_eq!(find(since(NOW)).await, [old.number, new.number]);
    assert_eq!(find(since(NOW.plus_secs(1))).await, [new.number]);
    assert_eq!(find(since(later)).await, [new.number], "then or later");
    assert!(find(since(later.plus_secs(1))).await.is_empty());
}

pub(super) async fn extending_moves_the_end_of_a_live_session(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (_, session) = world.session_of("alice").await;
    let extend = |at: Timestamp| {
        world.store.extend_session(session.number, NOW.plus_secs(9_000), entry_at(at, Action::SessionExtended))
    };
    assert_eq!(extend(NOW.plus_secs(3_600)).await.unwrap().unwrap_err(), ExtensionRefusal::Over, "too late");
    let extended = extend(NOW.plus_secs(3_599)).await.unwrap().unwrap();
    assert_eq!(extended.expires_at, NOW.plus_secs(9_000));
    assert_eq!(world.lapse_at(&session, NOW.plus_secs(8_999)).await, None);
    let cause = SessionEndCause::SignedOut;
    assert_eq!(
        world.store.end_session(world.app, session.number, cause, entry(Action::SessionEnded)).await.unwrap(),
        Ending::Ended
    );
    assert_eq!(extend(NOW).await.unwrap().unwrap_err(), ExtensionRefusal::Over);
    assert_eq!(world.lapse_of(&session).await, Some(Lapse::SignedOut));
}

pub(super) async fn the_audit_log_tells_what_happened(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let token = world.mint("alice").await;
    opened(world.redeem(&token).await);
    assert_eq!(refused(&world.redeem(&token).await), Lapse::Redeemed);
    let query = |action| AuditQuery {
        account_id: world.account,
        app_id: Some(world.app),
        action,
        object: Some("alice".into()),
        request_id: None,
    };
    let log = world.store.audit_log(query(None), PageRequest::first()).await.unwrap();
    let actions: Vec<_> = log.items.iter().map(|record| record.entry.action).collect();
    assert_eq!(actions, [Action::TokenReuse, Action::TokenRedeemed], "newest first, of this app and object");
    let fingerprint = token.text.hash().fingerprint();
    assert!(log.items.iter().all(|record| record.entry.fingerprint.as_ref() == Some(&fingerprint)));
    let page = world.store.audit_log(query(Some(Action::TokenReuse)), PageRequest { limit: 1, after: None });
    assert_eq!(page.await.unwrap().items.len(), 1);

    // One request's rows are found by its id, which links the log of requests with this one.
    let request_id = log.items[0].entry.request_id;
    let of_request = AuditQuery { request_id: Some(request_id), ..query(None) };
    let found = world.store.audit_log(of_request, PageRequest::first()).await.unwrap();
    assert!(found.items.iter().all(|record| record.entry.request_id == request_id));
    assert_eq!(found.items.len(), 1);

    // Another account sees none of it.
    let stranger = AuditQuery { account_id: respoke_core::id::AccountId::random(), ..query(None) };
    assert!(world.store.audit_log(stranger, PageRequest::first()).await.unwrap().items.is_empty());
}

pub(crate) fn upkeep_at(now: Timestamp) -> Upkeep {
    Upkeep {
        dead_before: now.plus_secs(-60),
        audit_before: now.plus_secs(-86_400),
        audit_rows_max: 1_000_000,
        keys_before: now.plus_secs(-86_400),
        messages_before: now.plus_secs(-86_400),
        messages_per_group_max: 1_000_000,
        call_reports_before: now.plus_secs(-86_400),
        call_reports_per_app_max: 1_000_000,
        push_tokens_before: now.plus_secs(-86_400),
        now,
    }
}

pub(crate) async fn whole_pass(world: &World, upkeep: Upkeep) -> (u64, u64) {
    let mut removed = 0;
    for _ in 0..1_000 {
        let step = world.store.upkeep(upkeep).await.unwrap();
        removed += step.removed;
        if step.pass_complete {
            return (removed, step.sessions_live);
        }
    }
    panic!("upkeep reached no end");
}

pub(super) async fn what_a_clock_made_that_stood_ahead_is_over_and_waits_for_its_time(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let ahead = NOW.plus_secs(10 * 86_400);
    let issue = async |at| world.issue(world.token_for("alice", at), false, Some(key("once", "body"))).await.unwrap();
    let early = issue(ahead).await;
    let token = world.issue(world.token_for("bob", ahead), false, None).await.unwrap();
    let (_, session) = opened(world.redeem_at(&token, ahead).await);
    world.session_of("carol").await;
    assert_eq!((world.lapse_at(&session, ahead).await, world.lapse_of(&session).await), (None, Some(Lapse::Expired)));
    assert_eq!(refused(&world.redeem_at(&early, NOW).await), Lapse::NotActivated);
    // The key goes. Were it the present clock that is wrong, removing the rest would be for good.
    assert_eq!(whole_pass(&world, upkeep_at(NOW)).await, (1, 1));
    assert_eq!(world.lapse_at(&session, ahead).await, None);
    assert_ne!(issue(NOW).await.number, early.number);
}

pub(super) async fn upkeep_removes_the_dead_and_only_them(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for _ in 0..30 {
        world.session_of("alice").await;
    }
    let waiting = world.mint("alice").await;
    let (_, bob) = world.session_of("bob").await;
    let ended =
        world.store.end_session(world.app, bob.number, SessionEndCause::Revoked, entry(Action::SessionEnded)).await;
    assert_eq!(ended.unwrap(), Ending::Ended);
    let (_, carol) = world.session_of("carol").await;

    // Spent a moment ago: kept, so that a second use is known for one.
    assert_eq!(whole_pass(&world, upkeep_at(NOW)).await, (0, 31));
    let later = NOW.plus_secs(120);
    let (removed, live) = whole_pass(&world, upkeep_at(later)).await;
    assert_eq!((removed, live), (31 + 1, 31), "the spent tokens but the newest, and the ended session");
    assert!(world.store.session(bob.number).await.unwrap().is_none());
    assert_eq!(world.lapse_at(&carol, later).await, None);
    opened(world.redeem_at(&waiting, later).await);

    // Everything dies of age but the newest rows of each table.
    let (removed, live) = whole_pass(&world, upkeep_at(NOW.plus_secs(10_000))).await;
    assert_eq!((removed, live), (1 + 31, 0));

    // The audit log is cut by age and by length.
    let log = || {
        let query =
            AuditQuery { account_id: world.account, app_id: None, action: None, object: None, request_id: None };
        world.store.audit_log(query, PageRequest::first())
    };
    let short = Upkeep { audit_rows_max: 5, ..upkeep_at(NOW) };
    whole_pass(&world, short).await;
    assert_eq!(log().await.unwrap().items.len(), 5 + 2, "the making of app and role is not everyday");
    whole_pass(&world, Upkeep { audit_before: NOW.plus_secs(99_999), ..upkeep_at(NOW) }).await;
    assert_eq!(log().await.unwrap().items.len(), 0);
}

pub(super) async fn numbers_are_never_given_again(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (_, session) = world.session_of("alice").await;
    let token = world.mint("alice").await;
    whole_pass(&world, upkeep_at(NOW.plus_secs(100_000))).await;
    world.store.close().await;
    let world = world.on(fixture.open(None));
    let (_, next_session) = world.session_of("alice").await;
    assert!(next_session.number > session.number);
    assert!(world.mint("alice").await.number > token.number);
}
