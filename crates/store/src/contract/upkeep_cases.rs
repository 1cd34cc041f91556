//! The cases about what upkeep removes, and what it leaves.

use respoke_core::app::{AppPatch, Revocation};
use respoke_core::audit::{Action, AuditEntry};
use respoke_core::call_report::NewCallReport;
use respoke_core::clock::Timestamp;
use respoke_core::grant::Lapse;
use respoke_core::id::GroupName;
use respoke_core::message::NewMessage;
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    AuditQuery, BanRecord, Banning, EndRequest, EndScope, Ending, Redemption, ScopeEnding, SessionFilter, Upkeep,
};
use respoke_core::session::SessionEndCause;
use respoke_core::token::Replaces;
use serde_json::value::RawValue;

use super::Fixture;
use super::fixture::{NOW, World, created, endpoint, entry, key, new_secret, opened, refused, some_at_once};

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

pub(super) async fn upkeep_removes_marks_that_end_nothing_any_more(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let late = |secs: i64| upkeep_at(NOW.plus_secs(secs));
    // Each of these leaves a row about its endpoint behind, and something that the row ends.
    let replaced = world.mint("alice").await;
    let alice = world.issue(world.token_for("alice", NOW), Replaces::Tokens, None).await.unwrap();
    let (_, bob) = world.session_of("bob").await;
    let order = EndRequest {
        app_id: world.app,
        scope: EndScope::Endpoint(endpoint("bob")),
        issued_before: None,
        tokens_too: true,
    };
    assert_eq!(world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(), ScopeEnding::Ended);
    let (_, carol) = world.session_of("carol").await;
    let ban =
        BanRecord { endpoint_id: endpoint("carol"), reason: "spam".into(), banned_at: NOW, until: NOW.plus_secs(60) };
    assert_eq!(world.store.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
    let ban =
        BanRecord { endpoint_id: endpoint("dave"), reason: "spam".into(), banned_at: NOW, until: BanRecord::FOREVER };
    assert_eq!(world.store.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);

    // What a mark ends goes first; the mark stays for as long as a row is there that it ends, so nothing comes back.
    assert_eq!(
        whole_pass(&world, late(0)).await.0,
        2,
        "the replaced token and bob's session, carol's being the newest"
    );
    assert!(world.store.token(replaced.number).await.unwrap().is_none());
    assert!(world.store.session(bob.number).await.unwrap().is_none());
    assert_eq!(whole_pass(&world, late(0)).await.0, 2, "what was kept of alice and bob");
    assert_eq!(world.lapse_of(&carol).await, Some(Lapse::Revoked));
    opened(world.redeem(&alice).await);

    // The spent tokens go, and carol's session, which is no longer the newest.
    assert_eq!(whole_pass(&world, late(120)).await.0, 3);
    assert_eq!(whole_pass(&world, late(121)).await.0, 1, "what was kept of carol");
    assert_eq!(whole_pass(&world, late(122)).await.0, 0);
    let bans = world.store.bans(world.app, PageRequest::first()).await.unwrap().items;
    assert_eq!(bans.len(), 1, "a ban in force stays");
    assert_eq!(bans[0].endpoint_id, endpoint("dave"));
    // Who was let in since stands on no mark.
    let sessions = world.store.sessions(world.app, SessionFilter::default(), NOW, PageRequest::first()).await.unwrap();
    assert_eq!(sessions.items.len(), 1);
}

pub(super) async fn everyday_rows_do_not_wash_administrative_ones_out(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let actions = || async {
        let query =
            AuditQuery { account_id: world.account, app_id: None, action: None, object: None, request_id: None };
        let log = world.store.audit_log(query, PageRequest::first()).await.unwrap().items;
        log.into_iter().map(|record| record.entry.action).collect::<Vec<_>>()
    };
    let short = Upkeep { audit_rows_max: 3, ..upkeep_at(NOW) };
    for _ in 0..10 {
        world.session_of("alice").await;
        world.store.audit(entry(Action::AdminSignInFailed)).await.unwrap();
    }
    world.store.update_app(world.app, AppPatch::default(), entry(Action::AppUpdated)).await.unwrap();
    some_at_once(2_500, |_| {
        let store = world.store.clone();
        async move { store.audit(entry(Action::TokenIssued)).await.unwrap() }
    })
    .await;
    whole_pass(&world, short).await;
    whole_pass(&world, short).await;
    let kept = [Action::AppUpdated, Action::RoleCreated, Action::AppCreated];
    assert_eq!(actions().await, [&[Action::TokenIssued; 3][..], &kept].concat());
    // What is administrative falls to age alone.
    whole_pass(&world, Upkeep { audit_before: NOW.plus_secs(1), ..short }).await;
    assert!(actions().await.is_empty());
}

pub(super) async fn what_a_clock_numbered_that_stood_ahead_keeps_nothing_behind_it(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let ahead = NOW.plus_secs(365 * 86_400);
    let say = async |group: &str, at: Timestamp| {
        let (app_id, sender) = (world.app, endpoint("alice"));
        let group = GroupName::parse(group).unwrap();
        let event = RawValue::from_string("{}".to_owned()).unwrap();
        let said = NewMessage { app_id, group, sender, at, event };
        world.store.append_message(said, u64::MAX).await.unwrap().kept().unwrap();
    };
    let report = async |at: Timestamp| {
        let report = RawValue::from_string("{}".to_owned()).unwrap();
        let report = NewCallReport { app_id: world.app, endpoint_id: None, at, report };
        world.store.add_call_report(report, u64::MAX).await.unwrap().kept().unwrap();
    };
    // More than are looked at at once, of each kind; the group's later ones stay ahead with its first.
    for nth in 0..300 {
        say("sticky", ahead).await;
        report(ahead.plus_secs(nth)).await;
        say("sticky", NOW).await;
    }
    for nth in 0..1_100 {
        world.store.audit(AuditEntry { at: ahead.plus_secs(nth), ..entry(Action::AppUpdated) }).await.unwrap();
    }
    say("room", NOW).await;
    report(NOW).await;
    world.store.audit(entry(Action::AppUpdated)).await.unwrap();
    let kept = async || {
        let history = async |group: &str| {
            let group = GroupName::parse(group).unwrap();
            world.store.history(world.app, &group, None, 1_000).await.unwrap().len()
        };
        let reports = world.store.call_reports(world.app, PageRequest { limit: 1_000, after: None }).await.unwrap();
        (history("sticky").await, history("room").await, reports.items.len())
    };
    whole_pass(&world, upkeep_at(NOW)).await;
    assert_eq!(kept().await, (600, 1, 301), "all of it is young");
    // What comes after it keeps what is not older.
    let later = NOW.plus_secs(2 * 86_400);
    say("sticky", later).await;
    say("room", later).await;
    report(later).await;
    let upkeep = Upkeep { dead_before: NOW, ..upkeep_at(later) };
    for _ in 0..3 {
        whole_pass(&world, upkeep).await;
    }
    // Nothing tells when the last of the group was said but the one that follows.
    assert_eq!(kept().await, (1, 1, 1));
    let query = AuditQuery { account_id: world.account, app_id: None, action: None, object: None, request_id: None };
    assert!(world.store.audit_log(query, PageRequest::first()).await.unwrap().items.is_empty());
}

pub(super) async fn upkeep_removes_secrets_that_nothing_stands_on(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let spare = new_secret(world.app);
    let spared = World { secret: spare.id, ..world.clone() };
    created(world.store.create_secret(spare, None, None, entry(Action::SecretCreated)).await.unwrap());
    let waiting = world.mint("alice").await;
    let (_, bob) = spared.session_of("bob").await;
    let revoke = |id, revocation| world.store.revoke_secret(world.app, id, revocation, entry(Action::SecretRevoked));
    revoke(world.secret, Revocation::EndsMinted).await.unwrap().unwrap();
    revoke(spared.secret, Revocation::SparesMinted).await.unwrap().unwrap();
    let kept = || async { world.store.secrets(world.app).await.unwrap().len() };

    // Secrets are shown for as long as the audit log speaks of them.
    whole_pass(&world, upkeep_at(NOW.plus_secs(3_000))).await;
    assert_eq!(kept().await, 2);
    // bob's session was extended again and again, so the secret that spared it stays, and the session with it.
    let long = NOW.plus_secs(90_000);
    let extended =
        world.store.extend_session(bob.number, long.plus_secs(90_000), entry(Action::SessionExtended)).await.unwrap();
    extended.unwrap();
    whole_pass(&world, upkeep_at(long)).await;
    whole_pass(&world, upkeep_at(long)).await;
    assert_eq!(world.lapse_at(&bob, long).await, None);
    let secrets = world.store.secrets(world.app).await.unwrap();
    assert_eq!(secrets.iter().map(|secret| secret.id).collect::<Vec<_>>(), [spared.secret]);
    assert!(matches!(world.redeem(&waiting).await, Redemption::Unknown));
}

pub(super) async fn what_a_clock_made_that_stood_ahead_is_over_and_waits_for_its_time(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let ahead = NOW.plus_secs(10 * 86_400);
    let issue = async |at| {
        world.issue(world.token_for("alice", at), Replaces::Nothing, Some(key("once", "body"))).await.unwrap()
    };
    let early = issue(ahead).await;
    let token = world.issue(world.token_for("bob", ahead), Replaces::Nothing, None).await.unwrap();
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
