//! A server that stood by takes the place of another, which had committed more. They run where the contract runs on
//! PostgreSQL, if the programs of a server are installed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use respoke_core::admin::{Admin, AdminRole};
use respoke_core::app::{AppPatch, Revocation};
use respoke_core::audit::Action;
use respoke_core::grant::Lapse;
use respoke_core::id::{RoleId, SecretId};
use respoke_core::idempotency::Creation;
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    AdminChange, AuditQuery, BanRecord, Banning, ChangeStore as _, EndRequest, EndScope, Ending, Factor, NewPassword,
    NewSession, PasswordChange, Removal, ScopeEnding, SessionStore as _, SetupSignIn, StoreError, TokenStore as _,
};
use respoke_core::role::Permissions;
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::session::{SessionEndCause, SessionRecord};
use respoke_core::token::{MintedToken, Replaces};
use tokio_postgres::Config;

use super::admin_cases::{add_factor, alive, made, open, recovery};
use super::fixture::{NOW, World, created, endpoint, entry, entry_at, key, new_secret, new_session, opened, refused};
use super::postgres::there_is_a_server;
use super::postgres_pooler::Pooler;
use super::postgres_server::Server;
use crate::postgres::Patience;
use crate::{CopiedOf, PostgresOptions, PostgresStore, Tally, Watch, back_up_server};

/// Within which the new server is read from and written to, from when it says that it is promoted.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// How long what others do is waited for on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two servers, of which one stands by, and the way to the one that is written to.
pub(crate) struct Servers {
    pub(crate) old: Server,
    pub(crate) new: Server,
    pub(super) pooler: Option<Pooler>,
}

impl Servers {
    /// None: the programs are not installed.
    pub(crate) fn start(pooled: bool) -> Option<Self> {
        let mut old = Server::make("trust")?;
        old.start(&[]);
        let pooler = if pooled { Some(Pooler::to(&old.config())?) } else { None };
        let new = old.standby();
        Some(Self { old, new, pooler })
    }

    /// The way to whichever of them is written to.
    pub(crate) fn both(&self) -> Config {
        both(&self.old, &self.new)
    }

    pub(super) async fn store(&self) -> Arc<PostgresStore> {
        let config = match &self.pooler {
            Some(pooler) => pooler.config(),
            None => self.both(),
        };
        // Nobody looks by themselves whether the other one was promoted.
        let patience = Patience { others: Duration::from_secs(3_600), ..Patience::default() };
        Arc::new(PostgresStore::open(PostgresOptions { patience, ..PostgresOptions::of(config) }).await.unwrap())
    }

    /// Waits until the one that stands by has all that was committed. It hears of nothing more.
    pub(crate) async fn part(&self) {
        let (primary, standby) = (self.old.console().await, self.new.console().await);
        let end: String = primary.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
        let has = format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{end}', false)");
        until(async || standby.query_one(&has, &[]).await.unwrap().get(0)).await;
        standby.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await.unwrap();
        standby.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let alone = "SELECT count(*) = 0 FROM pg_stat_wal_receiver";
        until(async || standby.query_one(alone, &[]).await.unwrap().get(0)).await;
    }

    /// The one dies and the other takes its place.
    pub(crate) fn fail_over(&mut self) {
        self.old.crash();
        self.new.promote();
        if let Some(pooler) = &self.pooler {
            pooler.lead_to(&self.new.config());
        }
    }
}

fn both(one: &Server, other: &Server) -> Config {
    let mut config = one.config();
    config.host("127.0.0.1").port(other.port());
    config
}

pub(crate) async fn until(mut is: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !is().await {
        assert!(since.elapsed() < PATIENCE, "it did not come about");
        tokio::task::yield_now().await;
    }
}

pub(super) async fn mint(world: &World, name: &str) -> Result<MintedToken, StoreError> {
    world.issue(world.token_for(name, NOW), Replaces::Nothing, None).await
}

/// Mints as soon as that is possible.
pub(super) async fn mint_in_time(world: &World, name: &str) -> MintedToken {
    let since = Instant::now();
    loop {
        match mint(world, name).await {
            Ok(minted) => return minted,
            Err(error) => assert!(since.elapsed() < DEADLINE, "nothing is written any more: {error:?}"),
        }
    }
}

async fn minted_on(server: &Server, name: &str) -> i64 {
    let sql = "SELECT count(*) FROM respoked.log WHERE endpoint = $1";
    server.console().await.query_one(sql, &[&name]).await.unwrap().get(0)
}

async fn end(world: &World, scope: EndScope) {
    let order = EndRequest { app_id: world.app, scope, issued_before: None, tokens_too: true };
    assert_eq!(world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::Ended);
}

/// What both servers know, and is taken away on one of them alone.
struct Before {
    tokens: Vec<MintedToken>,
    stays: SessionRecord,
    ended: SessionRecord,
    superseded: SessionRecord,
    marked: SessionRecord,
    replaced: SessionRecord,
    banned: SessionRecord,
    narrowed: RoleId,
    deleted_role: RoleId,
    by_role: SessionRecord,
    deleted_app: World,
    in_app: SessionRecord,
    secret: SecretId,
    by_secret: SessionRecord,
    developed: World,
    in_development: SessionRecord,
    /// Has a second factor.
    jo: Admin,
    jos: u64,
    flo: Admin,
    flos: u64,
    max: Admin,
    gone: Admin,
}

impl Before {
    async fn made(world: &World) -> Self {
        let store = &world.store;
        let mut tokens = Vec::new();
        for nth in 0..20 {
            tokens.push(world.mint(&format!("token-{nth}")).await);
        }
        let session = async |name: &str| world.session_of(name).await.1;
        let narrowed = RoleId::random();
        world.create_role(narrowed, "narrowed").await.unwrap();
        let wide = Some(Permissions { media_relay: true, ..Permissions::default() });
        let updated = store.update_role(world.app, narrowed, None, wide, entry(Action::RoleUpdated));
        let _ = updated.await.unwrap().unwrap();
        let of_role = World { role: RoleId::random(), ..world.clone() };
        of_role.create_role(of_role.role, "deleted").await.unwrap();
        let deleted_app = World::with_app(store.clone(), world.account).await;
        let secret = store.create_secret(new_secret(world.app), None, None, entry(Action::SecretCreated)).await;
        let of_secret = World { secret: created(secret.unwrap()).id, ..world.clone() };
        let developed = World::with_app(store.clone(), world.account).await;
        let on = AppPatch { development_mode: Some(true), ..AppPatch::default() };
        store.update_app(developed.app, on, entry(Action::AppUpdated)).await.unwrap();
        let mut token = developed.token_for("developer", NOW);
        token.grant.role_id = None;
        let token = developed.issue(token, Replaces::Nothing, None).await.unwrap();
        let (jo, flo) = (made(world, "jo").await, made(world, "flo").await);
        let (max, gone) = (made(world, "max").await, made(world, "gone").await);
        let _ = add_factor(store, &jo).await;
        let jos = open(store, &jo, Factor::Step(101)).await.unwrap();
        let flos = open(store, &flo, Factor::None).await.unwrap();
        store.put_setup_token(max.id, recovery("setup"), NOW.plus_secs(60)).await.unwrap();
        Self {
            tokens,
            stays: session("stays").await,
            ended: session("ended").await,
            superseded: session("superseded").await,
            marked: session("marked").await,
            replaced: session("replaced").await,
            banned: session("banned").await,
            narrowed,
            deleted_role: of_role.role,
            by_role: of_role.session_of("by-role").await.1,
            in_app: deleted_app.session_of("in-app").await.1,
            deleted_app,
            secret: of_secret.secret,
            by_secret: of_secret.session_of("by-secret").await.1,
            in_development: opened(developed.redeem(&token).await).1,
            developed,
            jo,
            jos,
            flo,
            flos,
            max,
            gone,
        }
    }

    /// Half of the tokens are redeemed, one is revoked, and all the rest is ended.
    async fn take_away(&self, world: &World) {
        let store = &world.store;
        for token in self.tokens.iter().step_by(2) {
            opened(world.redeem(token).await);
        }
        let revoked = store.revoke_token(world.app, self.tokens[1].number, entry(Action::TokenRevoked)).await;
        assert_eq!(revoked.unwrap(), Ending::Ended);
        let number = self.ended.number;
        let ended = store.end_session(world.app, number, SessionEndCause::Revoked, entry(Action::SessionEnded)).await;
        assert_eq!(ended.unwrap(), Ending::Ended);
        let next = world.mint("superseded").await;
        let number = store.sealer().number_of(SealKind::Token, next.text.expose()).unwrap();
        let session = NewSession { supersedes: Some(self.superseded.number), ..new_session() };
        let redeemed = store.redeem(number, next.text.hash(), session, None, entry(Action::TokenRedeemed)).await;
        opened(redeemed.unwrap());
        end(world, EndScope::Endpoint(endpoint("marked"))).await;
        world.issue(world.token_for("replaced", NOW), Replaces::TokensAndSessions, None).await.unwrap();
        let (endpoint_id, until) = (endpoint("banned"), BanRecord::FOREVER);
        let ban = BanRecord { endpoint_id, reason: "spam".into(), banned_at: NOW, until };
        assert_eq!(store.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
        let (narrow, later) = (Some(Permissions::default()), NOW.plus_secs(1));
        let updated = store.update_role(world.app, self.narrowed, None, narrow, entry_at(later, Action::RoleUpdated));
        let _ = updated.await.unwrap().unwrap();
        let gone = store.delete_role(world.app, self.deleted_role, entry(Action::RoleDeleted)).await;
        assert_eq!(gone.unwrap(), Removal::Removed);
        let gone = store.delete_app(self.deleted_app.app, entry(Action::AppDeleted)).await;
        assert_eq!(gone.unwrap(), Removal::Removed);
        let revoked = store.revoke_secret(world.app, self.secret, Revocation::EndsMinted, entry(Action::SecretRevoked));
        revoked.await.unwrap().unwrap();
        let off = AppPatch { development_mode: Some(false), ..AppPatch::default() };
        store.update_app(self.developed.app, off, entry(Action::AppUpdated)).await.unwrap().unwrap();
        open(store, &self.jo, Factor::Step(150)).await.unwrap();
        open(store, &self.jo, Factor::Recovery(recovery("one"))).await.unwrap();
        let ended = store.end_admin_session(self.jos, entry(Action::AdminSignedOut)).await;
        assert_eq!(ended.unwrap(), Ending::Ended);
        let hash = "$another$".to_owned();
        let password = NewPassword { hash, second_factor: None, keep_session: None, replaces: None };
        let set = store.set_admin_password(self.flo.id, password, entry(Action::AdminPasswordChanged)).await;
        assert_eq!(set.unwrap(), PasswordChange::Set);
        assert!(matches!(set_up(world).await, SetupSignIn::SignedIn(_)));
        let changed = store.set_admin_role(self.max.id, AdminRole::ReadOnly, entry(Action::AdminRoleChanged)).await;
        assert_eq!(changed.unwrap(), AdminChange::Done);
        let changed = store.delete_admin(self.gone.id, entry(Action::AdminDeleted)).await;
        assert_eq!(changed.unwrap(), AdminChange::Done);
    }

    async fn is_taken_away(&self, world: &World) {
        let store = &world.store;
        let lapse = async |session: &SessionRecord| world.lapse_of(session).await;
        assert_eq!(lapse(&self.ended).await, Some(Lapse::Revoked));
        assert_eq!(lapse(&self.superseded).await, Some(Lapse::Superseded));
        assert_eq!(lapse(&self.marked).await, Some(Lapse::Revoked));
        assert_eq!(lapse(&self.replaced).await, Some(Lapse::Revoked));
        assert_eq!(lapse(&self.banned).await, Some(Lapse::Revoked));
        assert_eq!(lapse(&self.by_role).await, Some(Lapse::RoleDeleted));
        assert_eq!(lapse(&self.in_app).await, Some(Lapse::AppDeleted));
        assert_eq!(lapse(&self.by_secret).await, Some(Lapse::SecretRevoked));
        assert_eq!(lapse(&self.in_development).await, Some(Lapse::DevelopmentModeOff));
        assert_eq!(lapse(&self.stays).await, None, "it was not ended");
        for (nth, token) in self.tokens.iter().enumerate() {
            let why = refused(&world.redeem(token).await);
            assert_eq!(why, if nth % 2 == 0 { Lapse::Redeemed } else { Lapse::Revoked }, "{nth}");
        }
        let ban = store.ban_of(world.app, &endpoint("banned")).await.unwrap().unwrap();
        assert_eq!((ban.until, &*ban.reason), (BanRecord::FOREVER, "spam"));
        let role = store.role(world.app, self.narrowed).await.unwrap().unwrap();
        assert_eq!(role.permissions, Permissions::default());
        assert!(store.app(self.deleted_app.app).await.unwrap().is_none());
        assert!(!store.app(self.developed.app).await.unwrap().unwrap().settings.development_mode);
        let secrets = store.secrets(world.app).await.unwrap();
        assert!(secrets.iter().any(|of| of.id == self.secret && of.revoked_at.is_some()));
        assert_eq!(open(store, &self.jo, Factor::Step(150)).await, None, "used");
        assert_eq!(open(store, &self.jo, Factor::Recovery(recovery("one"))).await, None, "used");
        assert!(!alive(store, self.jos).await && !alive(store, self.flos).await);
        assert_eq!(store.admin(self.flo.id).await.unwrap().unwrap().password_hash, "$another$");
        assert!(matches!(set_up(world).await, SetupSignIn::Unknown));
        assert_eq!(store.admin(self.max.id).await.unwrap().unwrap().role, AdminRole::ReadOnly);
        assert!(store.admin(self.gone.id).await.unwrap().is_none());
    }
}

async fn set_up(world: &World) -> SetupSignIn {
    let (until, signed_in) = (NOW.plus_secs(60), entry(Action::AdminSignedIn));
    world.store.spend_setup_token(recovery("setup"), Entropy::random(), until, signed_in).await.unwrap()
}

async fn a_promotion_forgets_nothing(pooled: bool) {
    if !there_is_a_server() {
        return;
    }
    let Some(mut servers) = Servers::start(pooled) else { return };
    let store = servers.store().await;
    let world = World::new(store.clone()).await;
    let before = Before::made(&world).await;
    let once = || Some(key("kept", "body"));
    let kept = world.issue(world.token_for("kept", NOW), Replaces::Nothing, once()).await.unwrap();
    servers.part().await;
    before.take_away(&world).await;
    let lost = world.mint("lost").await;
    let (_, lost_session) = world.session_of("lost").await;
    let epoch = store.changes(0).await.unwrap().epoch;

    servers.fail_over();
    // What is asked first has to be answered rightly: nobody has written yet.
    let since = Instant::now();
    let (session, ground) = loop {
        match store.session(before.ended.number).await {
            Ok(found) => break found.unwrap(),
            Err(error) => assert!(since.elapsed() < DEADLINE, "nothing is read any more: {error:?}"),
        }
    };
    let read = since.elapsed();
    assert_eq!(session.lapse(&ground, NOW), Some(Lapse::Revoked), "it was ended on the server that is gone");
    let next = mint_in_time(&world, "next").await;
    println!("pooled: {pooled}; read from after {read:?}, written to after {:?}", since.elapsed());
    assert!(since.elapsed() < DEADLINE);
    assert!(next.number > lost.number, "no number is given twice: {} after {}", next.number, lost.number);
    assert!(store.session(lost_session.number).await.unwrap().is_none(), "sessions may be lost");
    before.is_taken_away(&world).await;
    assert_eq!(refused(&world.redeem(&kept).await), Lapse::Revoked, "it may have been redeemed");
    let again = world.token_for("kept", NOW);
    let minted = store.issue_token(again, Replaces::Nothing, once(), entry(Action::TokenIssued)).await.unwrap();
    let Creation::Created(again) = minted else { panic!("its key is not forgotten: {minted:?}") };
    opened(world.redeem(&again).await);
    opened(world.redeem(&next).await);
    let (_, session) = world.session_of("marked").await;
    assert_eq!(world.lapse_of(&session).await, None, "what comes behind an end is not ended");
    let changes = store.changes(0).await.unwrap();
    assert_ne!(changes.epoch, epoch, "whoever follows the feed begins anew");
    let told = promotions_told(&world).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("ends and 10 redemptions written again, 0 not known"), "{told:?}");
    assert_eq!(told[1], "timeline 2 after 1");

    // Another one comes and finds it done.
    let other = servers.store().await;
    assert_eq!(other.changes(0).await.unwrap().epoch, changes.epoch);

    // The old one is back, and would take writes.
    servers.old.start(&[]);
    if let Some(pooler) = &servers.pooler {
        pooler.lead_to(&servers.old.config());
        until(async || mint(&world, "behind").await.is_err()).await;
        let refused = mint(&world, "behind").await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert!(store.session(before.ended.number).await.is_err(), "nor is it read from");
        pooler.lead_to(&servers.new.config());
    } else {
        let ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'respoked'";
        servers.new.console().await.execute(ours, &[]).await.unwrap();
        mint_in_time(&world, "found").await;
        // One that has seen neither of them before.
        world.on(servers.store().await).mint("found").await;
        assert_eq!(minted_on(&servers.new, "found").await, 2);
    }
    mint_in_time(&world, "in the end").await;
    assert_eq!(minted_on(&servers.new, "in the end").await, 1);
    for name in ["behind", "found", "in the end"] {
        assert_eq!(minted_on(&servers.old, name).await, 0, "{name} was written to the server that was left behind");
    }
}

async fn promotions_told(world: &World) -> Vec<String> {
    let action = Some(Action::Promoted);
    let query = AuditQuery { account_id: world.account, app_id: None, action, object: None, request_id: None };
    let rows = world.store.audit_log(query, PageRequest::first()).await.unwrap().items;
    rows.into_iter().map(|row| row.entry.object).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_taken_away_is_so_on_a_promoted_server_and_the_one_left_behind_is_refused() {
    a_promotion_forgets_nothing(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn so_it_is_through_a_pooler() {
    a_promotion_forgets_nothing(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_lacks_nothing_is_told_nothing_again() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut servers) = Servers::start(false) else { return };
    let store = servers.store().await;
    let world = World::new(store.clone()).await;
    let (_, ended) = world.session_of("alice").await;
    end(&world, EndScope::Endpoint(endpoint("alice"))).await;
    let (_, later) = world.session_of("alice").await;
    servers.part().await;
    let changes = store.changes(0).await.unwrap();

    servers.fail_over();
    mint_in_time(&world, "bob").await;
    assert_eq!(world.lapse_of(&ended).await, Some(Lapse::Revoked));
    assert_eq!(world.lapse_of(&later).await, None, "it came behind the end, and stays");
    let settled = store.changes(0).await.unwrap();
    assert_eq!((settled.head, settled.told.len()), (changes.head + 1, 0), "nobody can follow from before");
    assert_eq!(promotions_told(&world).await, ["timeline 2 after 1"]);
}

struct Nobody;

impl Watch for Nobody {
    fn begins(&self, _: &'static str, _: &Arc<Tally>) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_of_the_server_that_is_written_to_or_says_that_it_is_of_one_that_stands_by() {
    if !there_is_a_server() {
        return;
    }
    let Some(mut servers) = Servers::start(false) else { return };
    let world = World::new(servers.store().await).await;
    world.mint("alice").await;
    servers.part().await;
    world.mint("bob").await;
    world.store.close().await;
    let folder = tempfile::tempdir().unwrap();
    let back_up = async |config: Config, name: &str| {
        let path = folder.path().join(name);
        let backup = back_up_server(&PostgresOptions::of(config), &path, &Nobody).await.unwrap();
        let tokens = backup.copied.tables.iter().find(|(table, _)| *table == "log").unwrap().1;
        (backup.of, tokens)
    };
    let (of_both, all) = back_up(both(&servers.new, &servers.old), "both.db").await;
    assert_eq!(of_both, CopiedOf::Primary, "the one that stands by is named first");
    let (of_standby, fewer) = back_up(servers.new.config(), "standby.db").await;
    assert!(
        matches!(of_standby, CopiedOf::Standby { as_of: Some(_) }) && fewer + 1 == all,
        "{of_standby:?} {fewer} {all}"
    );
    servers.old.crash();
    let (of_both, fewer) = back_up(both(&servers.old, &servers.new), "left.db").await;
    assert!(matches!(of_both, CopiedOf::Standby { as_of: Some(_) }) && fewer + 1 == all, "{of_both:?} {fewer} {all}");
}
