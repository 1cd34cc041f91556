//! The cases about push tokens and call reports.

use std::time::Duration;

use respoke_core::audit::Action;
use respoke_core::call_report::NewCallReport;
use respoke_core::clock::Timestamp;
use respoke_core::id::PushTokenId;
use respoke_core::page::PageRequest;
use respoke_core::ports::{BanRecord, Banning, Keeping, Removal, Upkeep};
use respoke_core::push_token::{PushService, PushToken};
use respoke_core::secret::Secret;

use super::Fixture;
use super::fixture::{NOW, World, endpoint, entry};
use super::hub_cases::{at, json};
use super::upkeep_cases::{upkeep_at, whole_pass};

pub(super) fn push_token(world: &World, of: &str, text: &str, seen_at: Timestamp) -> PushToken {
    PushToken {
        id: PushTokenId::random(),
        app_id: world.app,
        endpoint_id: endpoint(of),
        service: PushService::Apple,
        text: Secret::new(text.to_owned()),
        seen_at,
    }
}

pub(super) async fn texts(world: &World, of: &str) -> Vec<String> {
    let tokens = world.store.push_tokens(world.app, &endpoint(of)).await.unwrap();
    tokens.iter().map(|token| token.text.expose().to_owned()).collect()
}

pub(super) async fn a_push_token_is_one_devices_and_one_endpoints(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let token = push_token(&world, "alice", "one", NOW);
    assert_eq!(store.put_push_token(token.clone(), u64::MAX).await.unwrap(), Keeping::Kept(()));
    // The device gets another text, then another user.
    let renewed = PushToken { text: Secret::new("two".to_owned()), ..token.clone() };
    assert_eq!(store.put_push_token(renewed.clone(), u64::MAX).await.unwrap(), Keeping::Kept(()));
    assert_eq!(texts(&world, "alice").await, ["two"]);
    assert_eq!(
        store.put_push_token(PushToken { endpoint_id: endpoint("bob"), ..renewed.clone() }, u64::MAX).await.unwrap(),
        Keeping::Kept(())
    );
    assert_eq!((texts(&world, "alice").await.len(), texts(&world, "bob").await), (0, vec!["two".to_owned()]));
    // Installed anew, the app knows no id, and the device still is one.
    assert_eq!(
        store.put_push_token(push_token(&world, "carol", "two", NOW), u64::MAX).await.unwrap(),
        Keeping::Kept(())
    );
    assert_eq!((texts(&world, "bob").await.len(), texts(&world, "carol").await), (0, vec!["two".to_owned()]));
    // The same text at another service is another device.
    let google = PushToken { service: PushService::Google, ..push_token(&world, "bob", "two", NOW) };
    assert_eq!(store.put_push_token(google.clone(), u64::MAX).await.unwrap(), Keeping::Kept(()));
    assert_eq!((texts(&world, "bob").await.len(), texts(&world, "carol").await.len()), (1, 1));
    assert_eq!(store.push_tokens(world.app, &endpoint("bob")).await.unwrap()[0].service, PushService::Google);

    assert_eq!(
        store.delete_push_token(world.app, google.id, Some(&endpoint("carol"))).await.unwrap(),
        Removal::Unknown
    );
    assert_eq!(store.delete_push_token(world.app, google.id, Some(&endpoint("bob"))).await.unwrap(), Removal::Removed);
    assert_eq!(store.delete_push_token(world.app, google.id, None).await.unwrap(), Removal::Unknown);
    assert_eq!(texts(&world, "bob").await.len(), 0);
}

pub(super) async fn an_endpoint_has_only_so_many_push_tokens(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let most = i64::try_from(PushToken::PER_ENDPOINT_MAX).unwrap();
    for number in 0..most + 5 {
        let token = push_token(&world, "alice", &format!("text {number}"), at(number));
        assert_eq!(world.store.put_push_token(token, u64::MAX).await.unwrap(), Keeping::Kept(()));
    }
    let kept = texts(&world, "alice").await;
    assert_eq!(kept.len(), PushToken::PER_ENDPOINT_MAX);
    assert_eq!((kept.first().unwrap().as_str(), kept.last().unwrap().as_str()), ("text 104", "text 5"));
    // What was just registered is kept whatever the clock says.
    assert_eq!(
        world.store.put_push_token(push_token(&world, "alice", "late", at(-9)), u64::MAX).await.unwrap(),
        Keeping::Kept(())
    );
    let kept = texts(&world, "alice").await;
    assert_eq!((kept.len(), kept.last().unwrap().as_str()), (PushToken::PER_ENDPOINT_MAX, "late"));
}

pub(super) async fn a_ban_takes_push_tokens_along(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for name in ["alice", "bob"] {
        assert_eq!(
            world.store.put_push_token(push_token(&world, name, name, NOW), u64::MAX).await.unwrap(),
            Keeping::Kept(())
        );
    }
    let ban =
        BanRecord { endpoint_id: endpoint("alice"), reason: String::new(), banned_at: NOW, until: BanRecord::FOREVER };
    assert_eq!(world.store.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
    assert_eq!((texts(&world, "alice").await.len(), texts(&world, "bob").await.len()), (0, 1));
}

pub(super) async fn push_tokens_unseen_for_long_go(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let used = push_token(&world, "alice", "used", NOW);
    assert_eq!(world.store.put_push_token(used.clone(), u64::MAX).await.unwrap(), Keeping::Kept(()));
    assert_eq!(
        world.store.put_push_token(push_token(&world, "alice", "unused", NOW), u64::MAX).await.unwrap(),
        Keeping::Kept(())
    );
    let tomorrow = NOW.plus_secs(86_400);
    world.store.touch_push_token(world.app, used.id, &endpoint("mallory"), tomorrow.plus_secs(9));
    world.store.touch_push_token(world.app, used.id, &endpoint("alice"), tomorrow);
    let seen = async || {
        let tokens = world.store.push_tokens(world.app, &endpoint("alice")).await.unwrap();
        tokens.into_iter().find(|token| token.id == used.id).unwrap().seen_at
    };
    // They are written some time, one behind the other.
    let noted = async { while seen().await == NOW {} };
    tokio::time::timeout(Duration::from_secs(30), noted).await.unwrap();
    let upkeep = Upkeep { push_tokens_before: tomorrow, ..upkeep_at(NOW) };
    assert_eq!(whole_pass(&world, upkeep).await.0, 1);
    let left = world.store.push_tokens(world.app, &endpoint("alice")).await.unwrap();
    assert_eq!((left.len(), left[0].id, left[0].seen_at), (1, used.id, tomorrow));
}

pub(super) async fn report(world: &World, when: Timestamp) {
    let report = NewCallReport {
        app_id: world.app,
        endpoint_id: Some(endpoint("alice")),
        at: when,
        report: json(&format!(r#"{{"report":{{"callStarted":{}}}}}"#, when.millis())),
    };
    assert_eq!(world.store.add_call_report(report, u64::MAX).await.unwrap(), Keeping::Kept(()));
}

pub(super) async fn call_reports_are_listed_newest_first_and_go_with_age(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for millis in 0..9 {
        report(&world, at(millis)).await;
    }
    let anonymous = NewCallReport { app_id: world.app, endpoint_id: None, at: at(9), report: json("[]") };
    assert_eq!(world.store.add_call_report(anonymous, u64::MAX).await.unwrap(), Keeping::Kept(()));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = world.store.call_reports(world.app, PageRequest { limit: 4, after }).await.unwrap();
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let instants: Vec<_> = seen.iter().map(|report| report.report.at.millis() - NOW.millis()).collect();
    assert_eq!(instants, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!((seen[0].report.endpoint_id.as_ref(), seen[0].report.report.get()), (None, "[]"));
    assert_eq!(seen[1].report.endpoint_id, Some(endpoint("alice")));

    let list = async || world.store.call_reports(world.app, PageRequest::first()).await.unwrap().items.len();
    let upkeep = upkeep_at(NOW);
    assert_eq!(whole_pass(&world, Upkeep { call_reports_before: at(4), ..upkeep }).await.0, 4);
    assert_eq!(list().await, 6);
    assert_eq!(whole_pass(&world, Upkeep { call_reports_per_app_max: 2, ..upkeep }).await.0, 4);
    assert_eq!(list().await, 2);
}

pub(super) async fn an_app_washes_out_no_other_apps_call_reports(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let mut others = Vec::new();
    // More apps than are counted in one step.
    for _ in 0..50 {
        let other = World::with_app(world.store.clone(), world.account).await;
        report(&other, at(0)).await;
        others.push(other);
    }
    for millis in 0..300 {
        report(&world, at(millis)).await;
        report(&others[0], at(millis)).await;
    }
    let upkeep = Upkeep { call_reports_per_app_max: 10, ..upkeep_at(NOW) };
    assert_eq!(whole_pass(&world, upkeep).await.0, 290 + 291);
    for of in others.iter().chain([&world]) {
        let kept = of.store.call_reports(of.app, PageRequest::first()).await.unwrap().items;
        let chatty = of.app == world.app || of.app == others[0].app;
        assert_eq!(kept.len(), if chatty { 10 } else { 1 });
        assert_eq!(kept[0].report.at, at(if chatty { 299 } else { 0 }), "the newest stay");
    }
    assert_eq!(whole_pass(&world, upkeep).await.0, 0);
}
