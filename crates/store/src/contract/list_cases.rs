//! The cases about what is looked up and listed, and how much there may be of it.

use std::collections::BTreeSet;

use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::grant::Lapse;
use respoke_core::id::RoleId;
use respoke_core::idempotency::Creation;
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    APPS_PER_ACCOUNT_MAX, AdminAddition, AppRefusal, AuditQuery, BanRecord, Banning, Ending, ExtensionRefusal,
    ListFilter, ROLES_PER_APP_MAX, Removal, SessionFilter,
};
use respoke_core::session::SessionEndCause;

use super::Fixture;
use super::fixture::{
    NOW, World, endpoint, entry, entry_at, new_admin, new_secret, not_created, opened, refused, some_at_once,
};

pub(super) async fn roles_of_an_app_and_apps_of_an_account_are_bounded(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let made = some_at_once(ROLES_PER_APP_MAX + 9, |number| {
        let world = world.clone();
        async move { world.create_role(RoleId::random(), &format!("role {number}")).await.is_ok() }
    })
    .await;
    // The app has a role already.
    assert_eq!(made.into_iter().filter(|made| *made).count(), ROLES_PER_APP_MAX - 1);
    assert_eq!(
        world.store.delete_role(world.app, world.role, entry(Action::RoleDeleted)).await.unwrap(),
        Removal::Removed
    );
    assert!(world.create_role(RoleId::random(), "another").await.is_ok());

    let made = some_at_once(APPS_PER_ACCOUNT_MAX + 9, |_| {
        let world = world.clone();
        async move {
            let app = super::fixture::new_app(world.account);
            let secret = new_secret(app.id);
            match world.store.create_app(app, secret, None, entry(Action::AppCreated)).await.unwrap() {
                Creation::Created(_) => true,
                other => {
                    assert_eq!(not_created(other), AppRefusal::TooMany);
                    false
                }
            }
        }
    })
    .await;
    assert_eq!(made.into_iter().filter(|made| *made).count(), APPS_PER_ACCOUNT_MAX - 1);
    World::new(world.store).await;
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

pub(super) async fn lists_are_in_the_order_of_bytes(fixture: impl Fixture) {
    // As people order them it would be another.
    const NAMES: [&str; 6] = ["Zoe", "_x", "alice", "b", "zoe", "Ärger"];
    let world = fixture.opened().await;
    let store = &world.store;
    for name in [3, 0, 5, 1, 4, 2].map(|nth| NAMES[nth]) {
        let ban =
            BanRecord { endpoint_id: endpoint(name), reason: String::new(), banned_at: NOW, until: BanRecord::FOREVER };
        assert_eq!(store.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
        let admin = new_admin(world.account, name);
        assert_eq!(store.create_admin(admin, entry(Action::AdminCreated)).await.unwrap(), AdminAddition::Added);
    }
    let (mut bans, mut page) = (Vec::new(), PageRequest { limit: 1, after: None });
    loop {
        let found = store.bans(world.app, page).await.unwrap();
        bans.extend(found.items.into_iter().map(|ban| ban.endpoint_id.to_string()));
        let Some(after) = found.next else { break };
        page = PageRequest { limit: 1, after: Some(after) };
    }
    assert_eq!(bans, NAMES);
    let admins = store.admins().await.unwrap();
    assert_eq!(admins.iter().map(|admin| &admin.username).collect::<Vec<_>>(), NAMES.iter().collect::<Vec<_>>());
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
