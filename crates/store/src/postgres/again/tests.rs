//! What others did on the promoted server before a process came there that does again what it had done before.

use respoke_core::admin::{Admin, AdminRole};
use respoke_core::audit::{Action, AuditEntry};
use respoke_core::clock::Timestamp;
use respoke_core::ports::{
    AdminChange, AdminStore as _, BanRecord, Banning, EndRequest, EndScope, EndpointStore as _, Factor, FactorAddition,
    FactorRemoval, NewPassword, NewSecondFactor, PasswordChange, Removal, ScopeEnding, SessionStore as _,
};

use crate::contract::admin_cases::{add_factor, made, recovery, sealed};
use crate::contract::fixture::{NOW, World, endpoint, entry_at};
use crate::contract::postgres::there_is_a_server;
use crate::contract::postgres_promotion::Servers;
use crate::postgres::connect::Patience;
use crate::postgres::promotion_tests::{opened, settle};
use crate::postgres::store::PostgresStore;

/// A process that does things at one time.
#[derive(Clone, Copy)]
struct Process<'a> {
    store: &'a PostgresStore,
    world: &'a World,
    at: Timestamp,
}

impl Process<'_> {
    fn entry(&self, action: Action, object: &str) -> AuditEntry {
        AuditEntry { object: object.into(), ..entry_at(self.at, action) }
    }

    async fn set_password(&self, admin: &Admin, hash: &str) {
        let password = NewPassword { hash: hash.into(), second_factor: None, keep_session: None, replaces: None };
        let entry = self.entry(Action::AdminPasswordReset, &admin.username);
        assert_eq!(self.store.set_admin_password(admin.id, password, entry).await.unwrap(), PasswordChange::Set);
    }

    async fn set_role(&self, admin: &Admin, role: AdminRole) {
        let entry = self.entry(Action::AdminRoleChanged, &admin.username);
        assert_eq!(self.store.set_admin_role(admin.id, role, entry).await.unwrap(), AdminChange::Done);
    }

    async fn remove_factor(&self, admin: &Admin, step: u64) {
        let entry = self.entry(Action::SecondFactorRemoved, &admin.username);
        let removed = self.store.remove_second_factor(admin.id, Factor::Step(step), entry).await;
        assert_eq!(removed.unwrap(), FactorRemoval::Removed);
    }

    async fn add_factor(&self, admin: &Admin, step: u64) {
        let password_hash = self.store.admin(admin.id).await.unwrap().unwrap().password_hash;
        let recovery = vec![recovery("since")];
        let factor =
            NewSecondFactor { sealed: sealed(), last_step: step, recovery, password_hash, keep_session: u64::MAX >> 1 };
        let entry = self.entry(Action::SecondFactorAdded, &admin.username);
        assert_eq!(self.store.add_second_factor(admin.id, factor, entry).await.unwrap(), FactorAddition::Added);
    }

    async fn ban(&self, name: &str, reason: &str) {
        let (endpoint_id, until) = (endpoint(name), BanRecord::FOREVER);
        let ban = BanRecord { endpoint_id, reason: reason.into(), banned_at: self.at, until };
        let entry = self.entry(Action::EndpointBanned, name);
        assert_eq!(self.store.ban(self.world.app, ban, entry).await.unwrap(), Banning::Banned);
    }

    async fn lift(&self, name: &str) {
        let entry = AuditEntry { app_id: Some(self.world.app), ..self.entry(Action::BanLifted, name) };
        let lifted = self.store.lift_ban(self.world.app, &endpoint(name), entry).await;
        assert_eq!(lifted.unwrap(), Removal::Removed);
    }

    async fn reason(&self, name: &str) -> Option<String> {
        self.store.ban_of(self.world.app, &endpoint(name)).await.unwrap().map(|ban| ban.reason)
    }

    async fn admin(&self, admin: &Admin) -> Admin {
        self.store.admin(admin.id).await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_others_did_since_stands() {
    if !there_is_a_server() {
        return;
    }
    let Some(servers) = Servers::start(false) else { return };
    let store = opened(servers.old.config(), Patience::default()).await;
    let world = World::new(store.clone()).await;
    let (password, role) = (made(&world, "password").await, made(&world, "role").await);
    let (factor, _) = (made(&world, "factor").await, made(&world, "owner").await);
    let elsewhere = World::with_app(store.clone(), world.account).await;
    assert_eq!(add_factor(&world.store, &factor).await, FactorAddition::Added);
    Process { store: &store, world: &world, at: NOW }.ban("lifted", "once").await;
    servers.part().await;
    let before = Process { store: &store, world: &world, at: NOW.plus_secs(10) };
    before.set_password(&password, "$before$").await;
    before.set_role(&role, AdminRole::ReadOnly).await;
    before.remove_factor(&factor, 150).await;
    before.ban("banned", "before").await;
    before.ban("lifted", "again").await;
    before.ban("namesake", "before").await;

    servers.new.promote();
    let there = opened(servers.new.config(), Patience::default()).await;
    let since = Process { store: &there, world: &world, at: NOW.plus_secs(20) };
    since.set_password(&password, "$since$").await;
    since.set_role(&role, AdminRole::Developer).await;
    since.remove_factor(&factor, 160).await;
    since.add_factor(&factor, 170).await;
    since.ban("banned", "since").await;
    since.lift("lifted").await;
    let of_another = Process { world: &elsewhere, ..since };
    of_another.ban("namesake", "since").await;
    of_another.lift("namesake").await;
    let scope = EndScope::Endpoint(endpoint("namesake"));
    let order = EndRequest { app_id: world.app, scope, issued_before: None, tokens_too: true };
    let ended = there.end_sessions(order, since.entry(Action::SessionsEnded, "namesake")).await;
    assert_eq!(ended.unwrap(), ScopeEnding::Ended);
    let (_, session) = world.on(there.clone()).session_of("lifted").await;
    settle(&store, &servers.new).await;
    assert_eq!(since.admin(&password).await.password_hash, "$since$");
    assert_eq!(since.admin(&role).await.role, AdminRole::Developer);
    assert_eq!(since.admin(&factor).await.second_factor.map(|factor| factor.last_step), Some(170));
    assert_eq!(since.reason("banned").await.as_deref(), Some("since"));
    assert_eq!(since.reason("lifted").await, None);
    assert_eq!(since.reason("namesake").await.as_deref(), Some("before"), "it was let in again in another app alone");
    assert_eq!(world.on(there.clone()).lapse_of(&session).await, None, "it was let in again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_what_two_processes_do_again_the_later_stands_whoever_comes_first() {
    if !there_is_a_server() {
        return;
    }
    for later_first in [true, false] {
        let Some(servers) = Servers::start(false) else { return };
        let one = opened(servers.old.config(), Patience::default()).await;
        let other = opened(servers.old.config(), Patience::default()).await;
        let world = World::new(one.clone()).await;
        let (password, role) = (made(&world, "password").await, made(&world, "role").await);
        let (factor, unrelated) = (made(&world, "factor").await, made(&world, "unrelated").await);
        assert_eq!(add_factor(&world.store, &factor).await, FactorAddition::Added);
        servers.part().await;
        let earlier = Process { store: &one, world: &world, at: NOW.plus_secs(10) };
        let later = Process { store: &other, world: &world, at: NOW.plus_secs(20) };
        earlier.remove_factor(&factor, 150).await;
        for (process, hash, of, reason) in [
            (&earlier, "$earlier$", AdminRole::Developer, "earlier"),
            (&later, "$later$", AdminRole::ReadOnly, "later"),
        ] {
            process.set_password(&password, hash).await;
            process.set_role(&role, of).await;
            process.ban("banned", reason).await;
        }
        earlier.set_password(&unrelated, "$set$").await;
        later.add_factor(&factor, 170).await;

        servers.new.promote();
        let there = opened(servers.new.config(), Patience::default()).await;
        let since = Process { store: &there, world: &world, at: NOW.plus_secs(30) };
        since.set_role(&unrelated, AdminRole::Developer).await;
        let order = if later_first { [&other, &one] } else { [&one, &other] };
        for store in order {
            settle(store, &servers.new).await;
        }
        assert_eq!(since.admin(&password).await.password_hash, "$later$", "{later_first}");
        assert_eq!(since.admin(&role).await.role, AdminRole::ReadOnly, "{later_first}");
        assert_eq!(since.reason("banned").await.as_deref(), Some("later"), "{later_first}");
        assert_eq!(since.admin(&unrelated).await.password_hash, "$set$", "another change is no reason to pass it over");
        let factor = since.admin(&factor).await.second_factor.map(|factor| factor.last_step);
        assert_eq!(factor, Some(170), "{later_first}");
    }
}
