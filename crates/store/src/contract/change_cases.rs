//! The cases about the feed of changes, and about what was born before or after one.

use respoke_core::admin::AdminRole;
use respoke_core::app::{App, AppPatch, Revocation};
use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::grant::Lapse;
use respoke_core::id::{AdminId, EndpointId, RoleId};
use respoke_core::ports::{
    AdminAddition, AdminChange, BanRecord, Banning, CHANGES_KEPT_SECS, Change, Cursor, EndRequest, EndScope, Ending,
    Factor, FactorAddition, FactorRemoval, NewPassword, NewSecondFactor, NewSession, PasswordChange, Redemption,
    Removal, RoleRefusal, RoleUpdateRefusal, ScopeEnding,
};
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::secret::{Secret, SecretHash};
use respoke_core::session::SessionEndCause;
use respoke_core::token::Replaces;
use respoke_core::totp::TotpSecret;
use tokio::task::JoinSet;

use super::Fixture;
use super::fixture::{
    NOW, Opened, World, created, endpoint, entry, new_admin, new_secret, new_session, opened, refused,
};
use super::upkeep_cases::{upkeep_at, whole_pass};

/// Somebody who follows the feed.
struct Follower {
    store: Opened,
    at: Cursor,
}

impl Follower {
    async fn of(store: &Opened) -> Self {
        Self { store: store.clone(), at: store.changes(u64::MAX).await.unwrap().end() }
    }

    /// What came since the last time, with nothing missing.
    async fn told(&mut self) -> Vec<Option<Change>> {
        let changes = self.store.changes(self.at.number).await.unwrap();
        assert!(changes.follow(self.at), "{changes:?} after {:?}", self.at);
        self.at = changes.end();
        changes.told.into_iter().map(|change| change.what).collect()
    }
}

async fn end(world: &World, scope: EndScope, tokens_too: bool) -> ScopeEnding {
    let order = EndRequest { app_id: world.app, scope, issued_before: None, tokens_too };
    world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap()
}

async fn ban(world: &World, of: EndpointId) -> Banning {
    let ban = BanRecord { endpoint_id: of, reason: "spam".into(), banned_at: NOW, until: BanRecord::FOREVER };
    world.store.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap()
}

pub(super) async fn what_takes_nothing_away_is_no_change(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (store, mut follower) = (&world.store, Follower::of(&world.store).await);
    let token = world.mint("alice").await;
    let (_, session) = opened(world.redeem(&token).await);
    assert!(matches!(world.redeem(&token).await, Redemption::Refused(_)));
    store.touch_session(session.number, NOW, String::new());
    created(store.create_secret(new_secret(world.app), None, None, entry(Action::SecretCreated)).await.unwrap());
    let admin = new_admin(world.account, "jo");
    assert_eq!(store.create_admin(admin.clone(), entry(Action::AdminCreated)).await.unwrap(), AdminAddition::Added);
    store.put_setup_token(admin.id, SecretHash::of(b"setup"), NOW).await.unwrap();
    World::new(store.clone()).await;
    // Its role, which may have the id of one that was there before.
    assert!(matches!(follower.told().await[..], [Some(Change::Role(..))]));

    // Nor is what is refused.
    assert_eq!(world.create_role(world.role, "taken").await.unwrap_err(), RoleRefusal::Taken);
    let unknown = RoleId::random();
    assert_eq!(end(&world, EndScope::Role(unknown), true).await, ScopeEnding::NoRole);
    assert_eq!(store.delete_role(world.app, unknown, entry(Action::RoleDeleted)).await.unwrap(), Removal::Unknown);
    let renamed = store.update_role(world.app, unknown, None, None, entry(Action::RoleUpdated)).await;
    assert_eq!(renamed.unwrap().unwrap_err(), RoleUpdateRefusal::Unknown);
    assert_eq!(
        store.lift_ban(world.app, &endpoint("alice"), entry(Action::BanLifted)).await.unwrap(),
        Removal::Unknown
    );
    let cause = SessionEndCause::Revoked;
    assert_eq!(
        store.end_session(world.app, session.number + 1, cause, entry(Action::SessionEnded)).await.unwrap(),
        Ending::Unknown
    );
    assert_eq!(store.revoke_token(world.app, token.number, entry(Action::TokenRevoked)).await.unwrap(), Ending::Over);
    assert_eq!(store.delete_admin(AdminId::random(), entry(Action::AdminDeleted)).await.unwrap(), AdminChange::Unknown);
    assert_eq!(store.end_admin_session(7, entry(Action::AdminSignedOut)).await.unwrap(), Ending::Unknown);
    assert_eq!(follower.told().await, []);
}

pub(super) async fn what_ends_or_changes_in_an_app_is_told(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (store, app, alice) = (&world.store, world.app, endpoint("alice"));
    let mut follower = Follower::of(store).await;
    let of_alice = Some(Change::Endpoint(app, alice.clone()));

    // Nobody remembers a token.
    world.issue(world.token_for("alice", NOW), Replaces::Tokens, None).await.unwrap();
    assert_eq!(follower.told().await, [None]);
    let replacing = store.issue_token(
        world.token_for("alice", NOW),
        Replaces::TokensAndSessions,
        None,
        entry(Action::TokenReplaced),
    );
    created(replacing.await.unwrap());
    assert_eq!(follower.told().await, std::slice::from_ref(&of_alice));
    let token = world.mint("alice").await;
    assert_eq!(store.revoke_token(app, token.number, entry(Action::TokenRevoked)).await.unwrap(), Ending::Ended);
    assert_eq!(follower.told().await, [None]);

    let (_, session) = world.session_of("alice").await;
    let token = world.mint("alice").await;
    let again = NewSession { supersedes: Some(session.number), ..new_session() };
    let redeemed = store.redeem(token.number, token.text.hash(), again, None, entry(Action::TokenRedeemed));
    let (_, next) = opened(redeemed.await.unwrap());
    assert_eq!(follower.told().await, [Some(Change::Session(session.number))]);
    let extended = store.extend_session(next.number, NOW.plus_secs(9_000), entry(Action::SessionExtended)).await;
    extended.unwrap().unwrap();
    assert_eq!(follower.told().await, [Some(Change::Session(next.number))]);
    let cause = SessionEndCause::SignedOut;
    assert_eq!(store.end_session(app, next.number, cause, entry(Action::SessionEnded)).await.unwrap(), Ending::Ended);
    assert_eq!(follower.told().await, [Some(Change::Session(next.number))]);
    store.write_change(Change::Session(999), NOW).await.unwrap();
    assert_eq!(follower.told().await, [Some(Change::Session(999))]);

    for (scope, told) in [
        (EndScope::Endpoint(alice.clone()), of_alice.clone()),
        (EndScope::Role(world.role), Some(Change::Role(app, world.role))),
        (EndScope::App, Some(Change::App(app))),
    ] {
        assert_eq!(end(&world, scope, false).await, ScopeEnding::Ended);
        assert_eq!(follower.told().await, [told]);
    }
    assert_eq!(ban(&world, alice.clone()).await, Banning::Banned);
    assert_eq!(store.lift_ban(app, &alice, entry(Action::BanLifted)).await.unwrap(), Removal::Removed);
    assert_eq!(follower.told().await, [of_alice.clone(), of_alice]);

    let role = RoleId::random();
    assert!(world.create_role(role, "other").await.is_ok());
    let updated = store.update_role(app, role, Some("new".into()), None, entry(Action::RoleUpdated)).await;
    updated.unwrap().unwrap();
    let taken = store.update_role(app, role, Some("role".into()), None, entry(Action::RoleUpdated)).await;
    assert_eq!(taken.unwrap().unwrap_err(), RoleUpdateRefusal::NameTaken);
    assert_eq!(store.delete_role(app, role, entry(Action::RoleDeleted)).await.unwrap(), Removal::Removed);
    assert_eq!(follower.told().await, vec![Some(Change::Role(app, role)); 3]);

    let rolls = Some((world.secret, NOW.plus_secs(60)));
    created(store.create_secret(new_secret(app), rolls, None, entry(Action::SecretRolled)).await.unwrap());
    store
        .revoke_secret(app, world.secret, Revocation::SparesMinted, entry(Action::SecretRevoked))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(follower.told().await, vec![Some(Change::Secret(app, world.secret)); 2]);
    store.update_app(app, AppPatch::default(), entry(Action::AppUpdated)).await.unwrap().unwrap();
    assert_eq!(store.delete_app(app, entry(Action::AppDeleted)).await.unwrap(), Removal::Removed);
    assert_eq!(follower.told().await, vec![Some(Change::App(app)); 2]);
}

pub(super) async fn what_ends_or_changes_of_an_admin_is_told(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let owner = new_admin(world.account, "owner");
    let jo = new_admin(world.account, "jo");
    for admin in [&owner, &jo] {
        assert_eq!(store.create_admin(admin.clone(), entry(Action::AdminCreated)).await.unwrap(), AdminAddition::Added);
    }
    let mut follower = Follower::of(store).await;
    let told = [Some(Change::Admin(jo.id))];

    let (entropy, until) = (Entropy::random(), NOW.plus_secs(60));
    let sign_in = store.open_admin_session(&jo, Factor::None, entropy, until, None, entry(Action::AdminSignedIn));
    let text = created(sign_in.await.unwrap());
    assert_eq!(follower.told().await, []);
    let number = store.sealer().number_of(SealKind::AdminSession, text.expose()).unwrap();
    assert_eq!(store.end_admin_session(number, entry(Action::AdminSignedOut)).await.unwrap(), Ending::Ended);
    assert_eq!(follower.told().await, told);
    store.end_admin_sessions(jo.id, entry(Action::AdminSignedOutEverywhere)).await.unwrap();
    assert_eq!(follower.told().await, told);
    assert_eq!(
        store.set_admin_role(jo.id, AdminRole::ReadOnly, entry(Action::AdminRoleChanged)).await.unwrap(),
        AdminChange::Done
    );
    assert_eq!(follower.told().await, told);
    let factor = NewSecondFactor {
        sealed: TotpSecret::random().seal(&Secret::new("password".into()), [1; 16]).unwrap(),
        last_step: 100,
        recovery: Vec::new(),
        password_hash: jo.password_hash.clone(),
        keep_session: 1,
    };
    assert_eq!(
        store.add_second_factor(jo.id, factor, entry(Action::SecondFactorAdded)).await.unwrap(),
        FactorAddition::Added
    );
    assert_eq!(follower.told().await, told);
    let removed = store.remove_second_factor(jo.id, Factor::Step(101), entry(Action::SecondFactorRemoved));
    assert_eq!(removed.await.unwrap(), FactorRemoval::Removed);
    assert_eq!(follower.told().await, told);
    let password = NewPassword { hash: "$new".into(), second_factor: None, keep_session: None, replaces: None };
    assert_eq!(
        store.set_admin_password(jo.id, password, entry(Action::AdminPasswordReset)).await.unwrap(),
        PasswordChange::Set
    );
    assert_eq!(follower.told().await, told);
    assert_eq!(store.delete_admin(jo.id, entry(Action::AdminDeleted)).await.unwrap(), AdminChange::Done);
    assert_eq!(follower.told().await, told);

    assert_eq!(store.delete_account(world.account, entry(Action::AccountDeleted)).await.unwrap(), Removal::Removed);
    assert_eq!(follower.told().await, [Some(Change::App(world.app)), Some(Change::Admin(owner.id))]);
}

pub(super) async fn a_change_that_is_not_made_takes_no_number(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let mut follower = Follower::of(&world.store).await;
    let mut calls = JoinSet::new();
    for number in 0..64 {
        let world = world.clone();
        calls.spawn(async move {
            if number % 8 == 0 {
                // These break a constraint, and take their batch with them.
                let app = App { id: world.app, ..super::fixture::new_app(world.account) };
                let secret = new_secret(app.id);
                assert!(world.store.create_app(app, secret, None, entry(Action::AppCreated)).await.is_err());
            } else {
                assert_eq!(ban(&world, endpoint(&format!("endpoint {number}"))).await, Banning::Banned);
            }
        });
    }
    calls.join_all().await;
    assert_eq!(follower.told().await.len(), 56);
}

pub(super) async fn changes_are_told_in_the_order_of_commits_whoever_makes_them(fixture: impl Fixture) {
    const EACH: usize = 60;
    let world = fixture.opened().await;
    let handles = [world.clone(), world.on(fixture.open(None))];
    let mut follower = Follower::of(&world.store).await;
    let mut makers = JoinSet::new();
    for (nth, world) in handles.iter().chain(&handles).enumerate() {
        let world = world.clone();
        makers.spawn(async move {
            for round in 0..EACH {
                let name = format!("endpoint {nth} {round}");
                let (_, session) = world.session_of(&name).await;
                assert_eq!(ban(&world, endpoint(&name)).await, Banning::Banned);
                assert_eq!(world.lapse_of(&session).await, Some(Lapse::Revoked));
            }
        });
    }
    // Who follows meanwhile misses none, and finds done what a change tells.
    let mut told = Vec::new();
    while told.len() < 4 * EACH {
        while let Some(made) = makers.try_join_next() {
            made.unwrap();
        }
        for change in follower.told().await {
            let Some(Change::Endpoint(_, of)) = &change else { panic!("{change:?}") };
            assert!(world.store.ban_of(world.app, of).await.unwrap().is_some(), "{of}");
            told.push(of.to_string());
        }
        tokio::task::yield_now().await;
    }
    makers.join_all().await;
    for nth in 0..4 {
        let prefix = format!("endpoint {nth} ");
        let rounds: Vec<usize> = told.iter().filter_map(|name| name.strip_prefix(&prefix)?.parse().ok()).collect();
        assert_eq!(rounds, (0..EACH).collect::<Vec<_>>(), "each one's in its order");
    }
    for world in handles {
        world.store.close().await;
    }
}

pub(super) async fn what_one_handle_ends_is_over_for_the_other_and_what_comes_after_is_not(fixture: impl Fixture) {
    let here = fixture.opened().await;
    let there = here.on(fixture.open(None));
    for scope in [EndScope::Endpoint(endpoint("alice")), EndScope::Role(here.role), EndScope::App] {
        let waiting = here.mint("alice").await;
        let (_, session) = here.session_of("alice").await;
        assert_eq!(end(&there, scope.clone(), true).await, ScopeEnding::Ended);
        assert_eq!(here.lapse_of(&session).await, Some(Lapse::Revoked), "{scope:?}");
        assert_eq!(refused(&here.redeem(&waiting).await), Lapse::Revoked, "{scope:?}");
        // This one remembered the feed's head of before.
        let waiting = here.mint("alice").await;
        let (_, session) = here.session_of("alice").await;
        assert_eq!(there.lapse_of(&session).await, None, "{scope:?}");
        opened(there.redeem(&waiting).await);
    }
    let again = RoleId::random();
    assert!(here.create_role(again, "again").await.is_ok());
    let on_it = World { role: again, ..here.clone() };
    let waiting = on_it.mint("alice").await;
    assert_eq!(there.store.delete_role(there.app, again, entry(Action::RoleDeleted)).await.unwrap(), Removal::Removed);
    assert!(there.create_role(again, "again").await.is_ok());
    assert_eq!(refused(&here.redeem(&waiting).await), Lapse::Revoked);
    opened(here.redeem(&on_it.mint("alice").await).await);
    for world in [here, there] {
        world.store.close().await;
    }
}

pub(super) async fn a_replaced_token_is_over_and_its_replacement_is_not(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let mut mints = JoinSet::new();
    for _ in 0..32 {
        let world = world.clone();
        mints.spawn(async move { world.issue(world.token_for("alice", NOW), Replaces::Tokens, None).await.unwrap() });
    }
    // Whatever batches these were in, the last is good and no other is.
    let mut minted = mints.join_all().await;
    minted.sort_unstable_by_key(|token| token.number);
    let last = minted.pop().unwrap();
    for token in minted {
        assert_eq!(refused(&world.redeem(&token).await), Lapse::Revoked);
    }
    opened(world.redeem(&last).await);
}

pub(super) async fn old_changes_go_and_what_is_left_has_no_gap(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let mut early = Follower::of(store).await;
    let write = async |at: Timestamp| store.write_change(Change::App(world.app), at).await.unwrap();
    let late = NOW.plus_secs(2 * CHANGES_KEPT_SECS);
    for at in [NOW, late, NOW, late] {
        write(at).await;
    }
    let mut stale = Follower::of(store).await;
    stale.at.number -= 2;
    assert_eq!(early.told().await.len(), 4);
    whole_pass(&world, upkeep_at(NOW.plus_secs(CHANGES_KEPT_SECS))).await;
    stale.told().await;

    // The one before the last is old, and those before it go along.
    stale.at.number -= 2;
    whole_pass(&world, upkeep_at(late)).await;
    assert_eq!(store.changes(0).await.unwrap().told.len(), 1);
    assert!(!store.changes(stale.at.number).await.unwrap().follow(stale.at), "one is missing");
    stale.at.number += 1;
    assert_eq!(stale.told().await.len(), 1);
    // One that was made by a clock that stood ahead goes too; the numbers go on.
    whole_pass(&world, upkeep_at(NOW)).await;
    assert_eq!(early.told().await, []);
    write(NOW).await;
    assert_eq!(early.told().await.len(), 1);
}
