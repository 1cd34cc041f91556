//! Cases about admins, their sign-ins and their second factors.

use respoke_core::admin::{Account, Admin, AdminRole, KnownAddress};
use respoke_core::audit::{Action, Actor, AuditEntry};
use respoke_core::clock::Timestamp;
use respoke_core::grant::Marks;
use respoke_core::id::{AccountId, RoleId};
use respoke_core::idempotency::Creation;
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    AdminAddition, AdminChange, AuditQuery, Beginning, Ending, Factor, FactorAddition, FactorRemoval, FirstRows,
    NewPassword, NewSecondFactor, PasswordChange, Replaced, SetupSignIn, SignInRefusal,
};
use respoke_core::role::{Permissions, Role};
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::secret::{Secret, SecretHash};
use respoke_core::totp::{SealedTotp, TotpSecret};
use tokio::task::JoinSet;

use super::Fixture;
use super::fixture::{NOW, Opened, World, created, entry, entry_at, key, new_admin, new_app, new_secret, not_created};
use crate::crash::CrashPoint;

pub(crate) async fn made(world: &World, username: &str) -> Admin {
    let admin = new_admin(world.account, username);
    assert_eq!(
        world.store.create_admin(admin.clone(), entry(Action::AdminCreated)).await.unwrap(),
        AdminAddition::Added
    );
    admin
}

pub(super) async fn open(store: &Opened, admin: &Admin, proof: Factor) -> Option<u64> {
    let until = NOW.plus_secs(60);
    let opened = store
        .open_admin_session(admin, proof, Entropy::random(), until, None, entry(Action::AdminSignedIn))
        .await
        .unwrap();
    match opened {
        Creation::Created(text) => Some(number(store, &text)),
        Creation::Refused(_) => None,
        other => panic!("{other:?}"),
    }
}

fn number(store: &Opened, token: &Secret) -> u64 {
    store.sealer().number_of(SealKind::AdminSession, token.expose()).unwrap()
}

fn new_password(hash: &str) -> NewPassword {
    NewPassword { hash: hash.into(), second_factor: None, keep_session: None, replaces: None }
}

async fn set_password(store: &Opened, admin: &Admin, password: NewPassword) -> PasswordChange {
    store.set_admin_password(admin.id, password, entry(Action::AdminPasswordChanged)).await.unwrap()
}

pub(crate) fn sealed() -> SealedTotp {
    TotpSecret::random().seal(&Secret::new("password".into()), [1; 16]).unwrap()
}

pub(crate) fn recovery(text: &str) -> SecretHash {
    SecretHash::of(text.as_bytes())
}

pub(crate) async fn add_factor(store: &Opened, admin: &Admin) -> FactorAddition {
    let factor = NewSecondFactor {
        sealed: sealed(),
        last_step: 100,
        recovery: vec![recovery("one"), recovery("two")],
        password_hash: admin.password_hash.clone(),
        keep_session: u64::MAX >> 1,
    };
    store.add_second_factor(admin.id, factor, entry(Action::SecondFactorAdded)).await.unwrap()
}

pub(super) async fn alive(store: &Opened, number: u64) -> bool {
    store.admin_session(number).await.unwrap().is_some()
}

pub(super) async fn admin_sessions_end_with_the_password(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let admin = made(&world, "owner").await;
    let twin = new_admin(world.account, "owner");
    assert_eq!(store.create_admin(twin, entry(Action::AdminCreated)).await.unwrap(), AdminAddition::NameTaken);
    let one = open(store, &admin, Factor::None).await.unwrap();
    let two = open(store, &admin, Factor::None).await.unwrap();
    assert_eq!(store.end_admin_session(one, entry(Action::AdminSignedOut)).await.unwrap(), Ending::Ended);
    assert!(!alive(store, one).await && alive(store, two).await);
    assert_eq!(set_password(store, &admin, new_password("$new")).await, PasswordChange::Set);
    assert!(!alive(store, two).await);
    assert_eq!(store.admin_by_username("owner").await.unwrap().unwrap().password_hash, "$new");
    // Who was found by the old password is not let in any more.
    assert_eq!(open(store, &admin, Factor::None).await, None);
    let admin = store.admin(admin.id).await.unwrap().unwrap();
    let three = open(store, &admin, Factor::None).await.unwrap();
    let four = open(store, &admin, Factor::None).await.unwrap();
    store.end_admin_sessions(admin.id, entry(Action::AdminSignedOutEverywhere)).await.unwrap();
    assert!(!alive(store, three).await && !alive(store, four).await);
}

pub(super) async fn an_own_new_password_keeps_the_sign_in_and_the_second_factor(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let admin = made(&world, "owner").await;
    assert_eq!(add_factor(store, &admin).await, FactorAddition::Added);
    let (kept, other) = (open(store, &admin, Factor::Step(101)).await.unwrap(), Factor::Step(102));
    let other = open(store, &admin, other).await.unwrap();
    let resealed = sealed();
    let present = store.admin(admin.id).await.unwrap().unwrap().second_factor.map(|factor| factor.sealed);
    let replacing = |hash: &str, second_factor| NewPassword {
        hash: "$new".into(),
        second_factor: Some(resealed.clone()),
        keep_session: Some(kept),
        replaces: Some(Replaced { hash: hash.into(), second_factor }),
    };
    // What was changed since the old password was looked at is not overwritten.
    for stale in [replacing("$other", present.clone()), replacing(&admin.password_hash, None)] {
        assert_eq!(set_password(store, &admin, stale).await, PasswordChange::Changed);
    }
    let stale = replacing(&admin.password_hash, Some(sealed()));
    assert_eq!(set_password(store, &admin, stale).await, PasswordChange::Changed);
    assert!(alive(store, other).await);
    assert_eq!(set_password(store, &admin, replacing(&admin.password_hash, present)).await, PasswordChange::Set);
    assert!(alive(store, kept).await && !alive(store, other).await);
    let admin = store.admin(admin.id).await.unwrap().unwrap();
    let factor = admin.second_factor.clone().unwrap();
    assert_eq!((factor.sealed.to_bytes(), factor.last_step), (resealed.to_bytes(), 102));
    assert_eq!(set_password(store, &admin, new_password("$reset")).await, PasswordChange::Set);
    let admin = store.admin(admin.id).await.unwrap().unwrap();
    assert!(admin.second_factor.is_none() && !alive(store, kept).await);
    assert_eq!(open(store, &admin, Factor::Recovery(recovery("one"))).await, None, "recovery codes went too");
}

pub(super) async fn the_last_owner_stays(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let (jo, flo) = (made(&world, "jo").await, made(&world, "flo").await);
    // An owner of another account does not count.
    let stranger = World::new(store.clone()).await;
    made(&stranger, "stranger").await;
    let set = async |admin: &Admin, role| {
        store.set_admin_role(admin.id, role, entry(Action::AdminRoleChanged)).await.unwrap()
    };
    let delete = async |admin: &Admin| store.delete_admin(admin.id, entry(Action::AdminDeleted)).await.unwrap();
    assert_eq!(set(&jo, AdminRole::ReadOnly).await, AdminChange::Done);
    assert_eq!(set(&flo, AdminRole::Developer).await, AdminChange::LastOwner);
    assert_eq!(set(&flo, AdminRole::Owner).await, AdminChange::Done);
    assert_eq!(delete(&flo).await, AdminChange::LastOwner);
    assert_eq!(store.admin(flo.id).await.unwrap().unwrap().role, AdminRole::Owner);
    let session = open(store, &jo, Factor::None).await.unwrap();
    assert_eq!(store.admin_session(session).await.unwrap().unwrap().role, AdminRole::ReadOnly);
    assert_eq!(set(&jo, AdminRole::Owner).await, AdminChange::Done);
    assert_eq!(store.admin_session(session).await.unwrap().unwrap().role, AdminRole::Owner, "at once");
    assert_eq!(delete(&flo).await, AdminChange::Done);
    assert_eq!(delete(&flo).await, AdminChange::Unknown);
    assert_eq!(set(&flo, AdminRole::Owner).await, AdminChange::Unknown);
}

pub(super) async fn a_code_of_a_second_factor_is_spent_once(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let admin = made(&world, "owner").await;
    assert_eq!(add_factor(store, &admin).await, FactorAddition::Added);
    assert_eq!(add_factor(store, &admin).await, FactorAddition::HasOne);
    assert_eq!(open(store, &admin, Factor::None).await, None, "it is asked for");
    assert_eq!(open(store, &admin, Factor::Step(100)).await, None, "that step proved the enrolment");
    assert!(open(store, &admin, Factor::Step(102)).await.is_some());
    assert_eq!(open(store, &admin, Factor::Step(102)).await, None);
    assert_eq!(open(store, &admin, Factor::Step(101)).await, None, "an earlier one comes too late");
    assert!(open(store, &admin, Factor::Recovery(recovery("one"))).await.is_some());
    assert_eq!(open(store, &admin, Factor::Recovery(recovery("one"))).await, None);
    assert_eq!(open(store, &admin, Factor::Recovery(recovery("three"))).await, None);

    // A repeated request is answered again and spends nothing.
    let until = NOW.plus_secs(60);
    let once = key("key", "body");
    let again = || {
        let (once, entropy) = (once.clone(), Entropy::from_bytes([7; 16]));
        let signed_in = entry(Action::AdminSignedIn);
        store.open_admin_session(&admin, Factor::Step(103), entropy, until, Some(once), signed_in)
    };
    let Creation::Created(first) = again().await.unwrap() else { panic!("it was not made") };
    let Creation::Repeated(second) = again().await.unwrap() else { panic!("it was not repeated") };
    assert_eq!(first.expose(), second.expose());

    // Of many at once one wins.
    let mut tries = JoinSet::new();
    for _ in 0..8 {
        let (store, admin) = (store.clone(), admin.clone());
        tries.spawn(async move { open(&store, &admin, Factor::Step(104)).await.is_some() });
    }
    let won = tries.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);

    let remove =
        async |proof| store.remove_second_factor(admin.id, proof, entry(Action::SecondFactorRemoved)).await.unwrap();
    assert_eq!(remove(Factor::Step(104)).await, FactorRemoval::NotProven);
    assert_eq!(remove(Factor::Recovery(recovery("two"))).await, FactorRemoval::Removed);
    assert!(open(store, &admin, Factor::None).await.is_some());
}

pub(super) async fn a_second_factor_is_sealed_with_the_password_it_was_made_for(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let admin = made(&world, "owner").await;
    assert_eq!(set_password(&world.store, &admin, new_password("$new")).await, PasswordChange::Set);
    assert_eq!(add_factor(&world.store, &admin).await, FactorAddition::Changed);
    assert!(world.store.admin(admin.id).await.unwrap().unwrap().second_factor.is_none());
}

pub(super) async fn a_new_second_factor_ends_other_sign_ins(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let (store, admin) = (&world.store, made(&world, "owner").await);
    let here = open(store, &admin, Factor::None).await.unwrap();
    let there = open(store, &admin, Factor::None).await.unwrap();
    let factor = NewSecondFactor {
        sealed: sealed(),
        last_step: 100,
        recovery: Vec::new(),
        password_hash: admin.password_hash.clone(),
        keep_session: here,
    };
    assert_eq!(
        store.add_second_factor(admin.id, factor, entry(Action::SecondFactorAdded)).await.unwrap(),
        FactorAddition::Added
    );
    assert!(alive(store, here).await && !alive(store, there).await);
}

pub(super) async fn a_setup_token_signs_in_once_and_not_for_long(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let admin = made(&world, "owner").await;
    let hash = recovery("setup");
    let put = async || store.put_setup_token(admin.id, hash, NOW.plus_secs(10)).await.unwrap();
    let spend = async |at| {
        let audit = entry_at(at, Action::AdminSignedIn);
        store.spend_setup_token(hash, Entropy::random(), NOW.plus_secs(60), audit).await.unwrap()
    };
    store.put_setup_token(admin.id, hash, NOW.plus_secs(5 * 365 * 86_400)).await.unwrap();
    assert!(matches!(spend(NOW).await, SetupSignIn::Over), "made by a clock that stood ahead");
    put().await;
    assert!(matches!(spend(NOW.plus_secs(10)).await, SetupSignIn::Over), "too late");
    let SetupSignIn::SignedIn(signed_in) = spend(NOW).await else { panic!("not signed in") };
    assert_eq!(signed_in.username, "owner");
    assert_eq!(store.admin_session(number(store, &signed_in.token)).await.unwrap().unwrap().admin_id, admin.id);
    assert!(matches!(spend(NOW).await, SetupSignIn::Unknown), "spent");
    let query = AuditQuery {
        account_id: world.account,
        app_id: None,
        action: Some(Action::AdminSignedIn),
        object: Some("owner".into()),
        request_id: None,
    };
    let log = store.audit_log(query, PageRequest::first()).await.unwrap();
    assert_eq!(log.items[0].entry.actor, Actor::Admin(admin.id));

    put().await;
    assert_eq!(add_factor(store, &admin).await, FactorAddition::Added);
    assert!(matches!(spend(NOW).await, SetupSignIn::Unknown), "it goes around no second factor");
    put().await;
    assert_eq!(set_password(store, &admin, new_password("$new")).await, PasswordChange::Set);
    assert!(matches!(spend(NOW).await, SetupSignIn::Unknown), "nor around a new password");
    put().await;
    store.end_admin_sessions(admin.id, entry(Action::AdminSignedOutEverywhere)).await.unwrap();
    assert!(matches!(spend(NOW).await, SetupSignIn::Unknown), "nor does it come back after signing out everywhere");
}

pub(super) async fn a_removed_admin_leaves_nothing(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    made(&world, "owner").await;
    let admin = made(&world, "jo").await;
    assert_eq!(add_factor(store, &admin).await, FactorAddition::Added);
    let session = open(store, &admin, Factor::Step(101)).await.unwrap();
    store.put_setup_token(admin.id, recovery("setup"), NOW.plus_secs(10)).await.unwrap();
    let gone = store.delete_admin(admin.id, entry(Action::AdminDeleted)).await.unwrap();
    assert_eq!(gone, AdminChange::Done);
    assert!(!alive(store, session).await && store.admin(admin.id).await.unwrap().is_none());
    // One of the same id, which never happens, finds nothing of what was.
    assert_eq!(store.create_admin(admin.clone(), entry(Action::AdminCreated)).await.unwrap(), AdminAddition::Added);
    assert!(store.admin(admin.id).await.unwrap().unwrap().second_factor.is_none());
    assert_eq!(open(store, &admin, Factor::Recovery(recovery("one"))).await, None);
    let audit = entry(Action::AdminSignedIn);
    let spent = store.spend_setup_token(recovery("setup"), Entropy::random(), NOW.plus_secs(60), audit).await;
    assert!(matches!(spent.unwrap(), SetupSignIn::Unknown));
}

/// What a first start makes for `account`.
pub(crate) fn first_rows(account: AccountId) -> FirstRows {
    let admin = new_admin(account, "first");
    let app = new_app(account);
    let secret = new_secret(app.id);
    let role = Role {
        id: RoleId::random(),
        app_id: app.id,
        name: "member".into(),
        permissions: Permissions::default(),
        created_at: NOW,
        updated_at: NOW,
        marks: Marks::default(),
    };
    FirstRows {
        account: Account { id: account, name: "first".into(), created_at: NOW },
        admin: (admin, entry(Action::AdminCreated)),
        setup_token: (recovery("setup"), NOW.plus_secs(10)),
        app: (app, secret, entry(Action::AppCreated)),
        role: (role, entry(Action::RoleCreated)),
    }
}

/// Whether all of `first` is there; none of it, if not.
pub(super) async fn holds(store: &Opened, first: &FirstRows) -> bool {
    let (app, secret, _) = &first.app;
    let there = [
        store.accounts().await.unwrap().iter().any(|account| account.id == first.account.id),
        store.admin(first.admin.0.id).await.unwrap().is_some(),
        store.app(app.id).await.unwrap().is_some(),
        store.secret_by_hash(&secret.hash).await.unwrap().is_some(),
        store.role(app.id, first.role.0.id).await.unwrap().is_some(),
    ];
    assert!(there.iter().all(|part| *part == there[0]), "{there:?}");
    there[0]
}

pub(super) async fn what_the_first_start_makes_is_kept_whole_and_once(fixture: impl Fixture) {
    let (first, second) = (first_rows(AccountId::random()), first_rows(AccountId::random()));
    let crashed = fixture.open(Some(CrashPoint::BeforeCommit));
    crashed.begin(first.clone()).await.unwrap_err();
    drop(crashed);
    let store = fixture.open(None);
    assert!(!holds(&store, &first).await, "it was cut short");

    assert_eq!(store.begin(first.clone()).await.unwrap(), Beginning::Kept);
    assert!(holds(&store, &first).await);
    assert_eq!(store.begin(second.clone()).await.unwrap(), Beginning::HasAdmin, "there is an admin");
    assert!(!holds(&store, &second).await);
    let audit = entry(Action::AdminSignedIn);
    let signed_in = store.spend_setup_token(recovery("setup"), Entropy::random(), NOW.plus_secs(60), audit).await;
    assert!(matches!(signed_in.unwrap(), SetupSignIn::SignedIn(_)));
}

pub(super) async fn a_first_start_goes_on_with_an_account_that_has_no_admin(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let account = world.store.accounts().await.unwrap().remove(0);
    let first = FirstRows { account, ..first_rows(world.account) };
    assert_eq!(world.store.begin(first.clone()).await.unwrap(), Beginning::Kept);
    assert!(holds(&world.store, &first).await);
    assert_eq!(world.store.accounts().await.unwrap().len(), 1);
}

pub(super) async fn an_address_is_known_from_where_its_admin_signed_in(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    made(&world, "owner").await;
    let admin = made(&world, "jo").await;
    let sign_in = async |proof: Factor, address: &str, at: Timestamp| {
        let audit = AuditEntry { address: address.to_owned(), ..entry_at(at, Action::AdminSignedIn) };
        store.open_admin_session(&admin, proof, Entropy::random(), at.plus_secs(60), None, audit).await.unwrap()
    };
    let known = async |since: Timestamp| {
        let known = store.known_addresses(since).await.unwrap();
        assert!(known.iter().all(|known| known.username == "jo"));
        known.into_iter().map(|known| (known.address.to_string(), known.at)).collect::<Vec<_>>()
    };
    let refusal = not_created(sign_in(Factor::Step(7), "192.0.2.9", NOW).await);
    assert_eq!(refusal, SignInRefusal::NotProven, "there is no second factor");
    assert!(known(NOW.plus_secs(-1)).await.is_empty());
    for (address, at) in [("192.0.2.7", NOW), ("2001:db8::1:2:3:4", NOW.plus_secs(1)), ("", NOW.plus_secs(2))] {
        created(sign_in(Factor::None, address, at).await);
    }
    created(sign_in(Factor::None, "2001:db8::5:6:7:8", NOW.plus_secs(3)).await);
    let expected = [("192.0.2.7".to_owned(), NOW), ("2001:db8::".to_owned(), NOW.plus_secs(3))];
    assert_eq!(known(NOW.plus_secs(-1)).await, expected);
    assert_eq!(known(NOW).await, expected[1..]);
    // The setup link signs in as well.
    store.put_setup_token(admin.id, recovery("setup"), NOW.plus_secs(90)).await.unwrap();
    let audit = AuditEntry { address: "198.51.100.1".to_owned(), ..entry_at(NOW.plus_secs(4), Action::AdminSignedIn) };
    let spent = store.spend_setup_token(recovery("setup"), Entropy::random(), NOW.plus_secs(99), audit).await;
    assert!(matches!(spent.unwrap(), SetupSignIn::SignedIn(_)));
    assert_eq!(known(NOW.plus_secs(3)).await, [("198.51.100.1".to_owned(), NOW.plus_secs(4))]);
    // Of many the latest stay, and what is a month old goes.
    for nth in 0..KnownAddress::PER_ADMIN_MAX {
        created(sign_in(Factor::None, &format!("203.0.113.{nth}"), NOW.plus_secs(10)).await);
    }
    assert_eq!(known(NOW.plus_secs(-1)).await.len(), KnownAddress::PER_ADMIN_MAX);
    assert_eq!(known(NOW.plus_secs(9)).await.len(), KnownAddress::PER_ADMIN_MAX);
    let later = NOW.plus_secs(KnownAddress::KNOWN_SECS + 60);
    created(sign_in(Factor::None, "192.0.2.7", later).await);
    assert_eq!(known(NOW.plus_secs(-1)).await, [("192.0.2.7".to_owned(), later)]);
    // One that a clock knew that stood ahead is known for no longer than any other.
    created(sign_in(Factor::None, "192.0.2.8", later.plus_secs(365 * 86_400)).await);
    created(sign_in(Factor::None, "192.0.2.7", later.plus_secs(1)).await);
    let until = later.plus_secs(1);
    let mut both = known(NOW).await;
    both.sort_unstable();
    assert_eq!(both, [("192.0.2.7".to_owned(), until), ("192.0.2.8".to_owned(), until)]);
    assert_eq!(store.delete_admin(admin.id, entry(Action::AdminDeleted)).await.unwrap(), AdminChange::Done);
    assert_eq!(store.create_admin(admin.clone(), entry(Action::AdminCreated)).await.unwrap(), AdminAddition::Added);
    assert!(known(NOW.plus_secs(-1)).await.is_empty(), "nothing is left of a removed admin");
}
