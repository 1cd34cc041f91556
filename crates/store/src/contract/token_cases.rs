//! The cases about tokens and what they become. A case that needs a race releases its tasks together and runs many rounds.
#![expect(clippy::disallowed_methods, reason = "a case owns the tasks it races, and waits for each")]

use std::sync::Arc;

use respoke_core::app::{AppPatch, Revocation};
use respoke_core::audit::Action;
use respoke_core::chance::of_this_test;
use respoke_core::grant::Lapse;
use respoke_core::id::{RoleId, SecretId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    AuditQuery, BanRecord, Banning, EndRequest, EndScope, Ending, MintRefusal, Redemption, Removal, ScopeEnding,
    SessionFilter,
};
use respoke_core::seal::SealKind;
use respoke_core::session::SessionEndCause;
use respoke_core::token::Replaces;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::Fixture;
use super::fixture::{NOW, World, created, endpoint, entry, entry_at, key, new_secret, new_session, opened, refused};
use super::upkeep_cases::{upkeep_at, whole_pass};
use crate::crash::CrashPoint;

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
        let minting = world.store.issue_token(token, Replaces::Nothing, None, entry(Action::TokenIssued));
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

/// Each time this handle has just minted on the same, and may remember it.
pub(super) async fn nothing_is_minted_on_what_another_handle_took_away(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let there = fixture.open(None);
    let minting = async |of: &World, role: Option<RoleId>| {
        let mut token = of.token_for("alice", NOW);
        token.grant.role_id = role;
        match world.store.issue_token(token, Replaces::Nothing, None, entry(Action::TokenIssued)).await.unwrap() {
            Creation::Created(_) => None,
            Creation::Refused(MintRefusal::Lapsed(lapse)) => Some(lapse),
            Creation::Refused(MintRefusal::Banned(_)) => Some(Lapse::Banned),
            other => panic!("there is no key: {other:?}"),
        }
    };
    let switch = |on| AppPatch { development_mode: Some(on), ..AppPatch::default() };
    there.update_app(world.app, switch(true), entry(Action::AppUpdated)).await.unwrap();
    assert_eq!(minting(&world, None).await, None);
    there.update_app(world.app, switch(false), entry(Action::AppUpdated)).await.unwrap();
    assert_eq!(minting(&world, None).await, Some(Lapse::DevelopmentModeOff));

    assert_eq!(minting(&world, Some(world.role)).await, None);
    let ban =
        BanRecord { endpoint_id: endpoint("alice"), reason: "spam".into(), banned_at: NOW, until: NOW.plus_secs(60) };
    assert_eq!(there.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
    assert_eq!(minting(&world, Some(world.role)).await, Some(Lapse::Banned));
    let lifted = there.lift_ban(world.app, &endpoint("alice"), entry(Action::BanLifted)).await.unwrap();
    assert_eq!(lifted, Removal::Removed);
    assert_eq!(minting(&world, Some(world.role)).await, None);

    let other = World::with_app(world.store.clone(), world.account).await;
    assert_eq!(minting(&other, Some(other.role)).await, None);
    let deleted = there.delete_role(other.app, other.role, entry(Action::RoleDeleted)).await.unwrap();
    assert_eq!(deleted, Removal::Removed);
    assert_eq!(minting(&other, Some(other.role)).await, Some(Lapse::RoleDeleted));
    assert_eq!(minting(&world, Some(world.role)).await, None);
    let rolls = Some((world.secret, NOW));
    created(there.create_secret(new_secret(world.app), rolls, None, entry(Action::SecretRolled)).await.unwrap());
    assert_eq!(minting(&world, Some(world.role)).await, Some(Lapse::SecretRevoked));

    let other = World::with_app(world.store.clone(), world.account).await;
    assert_eq!(minting(&other, Some(other.role)).await, None);
    there.revoke_secret(other.app, other.secret, Revocation::SparesMinted, entry(Action::SecretRevoked)).await.unwrap();
    assert_eq!(minting(&other, Some(other.role)).await, Some(Lapse::SecretRevoked));
    assert_eq!(there.delete_app(other.app, entry(Action::AppDeleted)).await.unwrap(), Removal::Removed);
    assert_eq!(minting(&other, Some(other.role)).await, Some(Lapse::AppDeleted));
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
                    let minting = world.store.issue_token(token, Replaces::Nothing, None, entry(Action::TokenIssued));
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
            _ => assert!(
                store.revoke_secret(world.app, world.secret, Revocation::EndsMinted, deletion).await.unwrap().is_some()
            ),
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
        calls.spawn(async move { world.issue(world.token_for("alice", NOW), Replaces::Tokens, None).await.unwrap() });
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
            replacer.issue(replacer.token_for("alice", NOW), Replaces::Tokens, None).await.unwrap()
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
    let one = super::fixture::new_app(world.account);
    let mut calls = JoinSet::new();
    for number in 0..64 {
        let (world, app) = (world.clone(), one.clone());
        calls.spawn(async move {
            if number % 8 == 0 {
                // Only the first of these finds its id free; the others break a constraint.
                let secret = new_secret(app.id);
                world.store.create_app(app, secret, None, entry(Action::AppCreated)).await.is_ok()
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

pub(super) async fn an_idempotency_key_makes_one_object(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let once = key("once", "body");
    let issue = || {
        let token = respoke_core::token::NewToken {
            entropy: IdempotencyKey::entropy(Some(&once), &*of_this_test()),
            ..world.token_for("alice", NOW)
        };
        world.issue(token, Replaces::Nothing, Some(once.clone()))
    };
    let (first, second) = tokio::join!(issue(), issue());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.number, first.text.expose()), (second.number, second.text.expose()));

    let otherwise = key("once", "another body");
    let answer = world
        .store
        .issue_token(world.token_for("bob", NOW), Replaces::Nothing, Some(otherwise), entry(Action::TokenIssued))
        .await
        .unwrap();
    assert!(matches!(answer, Creation::KeyReused));

    let redeeming = key("redeem", "");
    let redeem = || {
        let session = respoke_core::ports::NewSession {
            entropy: IdempotencyKey::entropy(Some(&redeeming), &*of_this_test()),
            ..new_session()
        };
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
        let session = respoke_core::ports::NewSession {
            entropy: IdempotencyKey::entropy(Some(&once), &*of_this_test()),
            ..new_session()
        };
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
