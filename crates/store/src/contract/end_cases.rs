//! The cases about what ends tokens and sessions, and what does not.

use respoke_core::app::{AppPatch, Revocation, SecretRecord};
use respoke_core::audit::Action;
use respoke_core::grant::Lapse;
use respoke_core::id::{RoleId, SecretId};
use respoke_core::idempotency::Creation;
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    AdminAddition, AppRefusal, BanRecord, Banning, EndRequest, EndScope, Ending, Factor, ListFilter, MintRefusal,
    Redemption, Removal, RoleRefusal, RoleUpdateRefusal, ScopeEnding, SecretRefusal, SessionFilter,
};
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::session::SessionEndCause;
use respoke_core::token::Replaces;

use super::Fixture;
use super::fixture::{
    NOW, World, created, endpoint, entry, entry_at, key, new_admin, new_app, new_secret, new_session, not_created,
    opened, refused,
};

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
    let revoke =
        |id: SecretId, revocation| world.store.revoke_secret(world.app, id, revocation, entry(Action::SecretRevoked));

    let revoked = revoke(world.secret, Revocation::EndsMinted).await.unwrap().unwrap();
    assert!(!revoked.usable(NOW));
    assert_eq!(world.lapse_of(&ends).await, Some(Lapse::SecretRevoked));
    assert_eq!(refused(&world.redeem(&token).await), Lapse::SecretRevoked);

    assert!(revoke(spared.secret, Revocation::SparesMinted).await.unwrap().unwrap().keep_sessions);
    assert_eq!(world.lapse_of(&stays).await, None);
    // A second thought can end what was spared, and nothing brings it back.
    revoke(spared.secret, Revocation::EndsMinted).await.unwrap().unwrap();
    assert_eq!(world.lapse_of(&stays).await, Some(Lapse::SecretRevoked));
    assert!(!revoke(spared.secret, Revocation::SparesMinted).await.unwrap().unwrap().keep_sessions);
    assert!(revoke(SecretId::random(), Revocation::EndsMinted).await.unwrap().is_none());
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

pub(super) async fn nothing_of_a_deleted_app_is_found_any_more(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (store, app) = (&world.store, world.app);
    let other = World::with_app(store.clone(), world.account).await;
    let secret = new_secret(app);
    let (id, hash) = (secret.id, secret.hash);
    let make = async || {
        let made = store.create_secret(secret.clone(), None, Some(key("secret", "")), entry(Action::SecretCreated));
        made.await.unwrap()
    };
    created(make().await);
    let role = world.new_role(RoleId::random(), "with a key");
    let make_role = async || {
        let made = store.create_role(role.clone(), Some(key("role", "")), entry(Action::RoleCreated));
        made.await.unwrap()
    };
    created(make_role().await);
    let alice = endpoint("alice");
    let ban =
        BanRecord { endpoint_id: alice.clone(), reason: "rude".into(), banned_at: NOW, until: NOW.plus_secs(3_600) };
    assert_eq!(store.ban(app, ban.clone(), entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
    let stays = async |of: &World| {
        let page = PageRequest::first();
        let found = [
            store.app(of.app).await.unwrap().is_some(),
            store.role(of.app, of.role).await.unwrap().is_some(),
            store.role_by_name(of.app, "role").await.unwrap().is_some(),
            !store.roles(of.app, page).await.unwrap().items.is_empty(),
            !store.apps_of_role(of.account, of.role).await.unwrap().is_empty(),
            !store.secrets(of.app).await.unwrap().is_empty(),
        ];
        assert!(found.iter().all(|there| *there == found[0]), "{found:?}");
        found[0]
    };
    assert!(stays(&world).await && stays(&other).await);
    assert_eq!(store.delete_app(app, entry(Action::AppDeleted)).await.unwrap(), Removal::Removed);
    assert!(!stays(&world).await && stays(&other).await);

    assert!(store.secret_by_hash(&hash).await.unwrap().is_none(), "nobody authenticates with it");
    assert!(store.ban_of(app, &alice).await.unwrap().is_none());
    assert!(store.bans(app, PageRequest::first()).await.unwrap().items.is_empty());
    let revoked = store.revoke_secret(app, id, Revocation::EndsMinted, entry(Action::SecretRevoked));
    assert!(revoked.await.unwrap().is_none());
    let lifted = store.lift_ban(app, &alice, entry(Action::BanLifted));
    assert_eq!(lifted.await.unwrap(), Removal::Unknown);
    assert_eq!(store.ban(app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::NoApp);
    let updated = store.update_role(app, world.role, None, None, entry(Action::RoleUpdated));
    assert_eq!(updated.await.unwrap().unwrap_err(), RoleUpdateRefusal::Unknown);
    assert_eq!(store.delete_role(app, world.role, entry(Action::RoleDeleted)).await.unwrap(), Removal::Unknown);
    assert_eq!(world.create_role(RoleId::random(), "another").await.unwrap_err(), RoleRefusal::NoApp);
    let late = store.create_secret(new_secret(app), None, None, entry(Action::SecretCreated));
    assert_eq!(not_created(late.await.unwrap()), SecretRefusal::NoApp);
    assert!(matches!(make().await, Creation::KeyReused), "what a key made there is gone");
    assert!(matches!(make_role().await, Creation::KeyReused));
    for scope in [EndScope::App, EndScope::Role(world.role), EndScope::Endpoint(alice)] {
        let order = EndRequest { app_id: app, scope, issued_before: None, tokens_too: true };
        let ended = store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap();
        assert_eq!(ended, ScopeEnding::NoApp);
    }

    // A secret of it may be another app's at once.
    let again = SecretRecord { hash, ..new_secret(other.app) };
    created(store.create_secret(again, None, None, entry(Action::SecretCreated)).await.unwrap());
    assert_eq!(store.secret_by_hash(&hash).await.unwrap().unwrap().app_id, other.app);
}

pub(super) async fn nothing_is_made_in_an_account_that_is_gone(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    assert_eq!(store.delete_account(world.account, entry(Action::AccountDeleted)).await.unwrap(), Removal::Removed);
    let app = new_app(world.account);
    let secret = new_secret(app.id);
    let (id, hash) = (app.id, secret.hash);
    let made = store.create_app(app, secret, None, entry(Action::AppCreated)).await.unwrap();
    assert_eq!(not_created(made), AppRefusal::NoAccount);
    assert!(store.app(id).await.unwrap().is_none() && store.secret_by_hash(&hash).await.unwrap().is_none());
    let admin = new_admin(world.account, "late");
    let added = store.create_admin(admin, entry(Action::AdminCreated)).await.unwrap();
    assert_eq!(added, AdminAddition::NoAccount);
    assert!(store.admins().await.unwrap().is_empty());
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
    let minted = world.issue(token, Replaces::Nothing, None).await.unwrap();
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
        world.store.issue_token(token, Replaces::Nothing, None, entry_at(at, Action::TokenIssued))
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
    assert!(
        store
            .revoke_secret(other.app, world.secret, Revocation::EndsMinted, entry(Action::SecretRevoked))
            .await
            .unwrap()
            .is_none()
    );
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
