//! Who causes something pays for it.

use respoke_core::app;
use respoke_core::clock::ManualClock;
use respoke_core::id::SecretId;

use super::*;
use crate::limits::tests::{NOW, app, endpoint};

const RATE: Option<Rate> = Some(Rate { per_second: 1, burst: 10 });
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn settled() -> Accounts {
    Accounts::new(Arc::new(ManualClock::at(NOW)))
}

fn limits(change: impl FnOnce(&mut app::Limits)) -> Arc<App> {
    app(|limits| {
        *limits = app::Limits {
            deliveries: None,
            endpoint_deliveries: None,
            kilobytes: None,
            endpoint_kilobytes: None,
            ..*limits
        };
        change(limits);
    })
}

fn frames(frames: u64) -> Reach {
    Reach { frames, bytes: 0 }
}

fn bytes(bytes: u64) -> Reach {
    Reach { frames: 0, bytes }
}

#[test]
fn an_endpoint_pays_from_its_own_and_a_backend_from_the_apps() {
    let app = limits(|limits| (limits.deliveries, limits.endpoint_deliveries) = (RATE, RATE));
    let accounts = settled();
    let (alice, bob) = (endpoint(&app, "alice"), endpoint(&app, "bob"));
    let backend = Caller::App { app: app.clone(), secret_id: SecretId::random() };
    let pay = |caller: &Caller, amount| accounts.pay(caller, &app, Some(HERE), frames(amount)).is_ok();
    assert!(pay(&alice, 6) && !pay(&alice, 6) && pay(&alice, 4) && !pay(&alice, 1));
    assert!(!pay(&bob, 1), "the app's is empty as well, by what alice paid");
    assert!(!pay(&backend, 1));
    let other = limits(|limits| limits.deliveries = RATE);
    let stranger = Caller::App { app: other.clone(), secret_id: SecretId::random() };
    assert!(accounts.pay(&stranger, &other, Some(HERE), frames(10)).is_ok(), "another app has its own");
}

#[test]
fn what_an_endpoint_is_refused_is_taken_from_nobody() {
    let app = limits(|limits| {
        limits.deliveries = Some(Rate { per_second: 1, burst: 25 });
        limits.endpoint_deliveries = RATE;
        limits.endpoint_kilobytes = RATE;
    });
    let accounts = settled();
    let (alice, bob) = (endpoint(&app, "alice"), endpoint(&app, "bob"));
    let pay = |caller: &Caller, reach| accounts.pay(caller, &app, Some(HERE), reach).is_ok();
    assert!(pay(&alice, frames(10)));
    assert!((0..100).all(|_| !pay(&alice, frames(10))));
    assert!(pay(&bob, bytes(10 * 1_024)));
    assert!((0..100).all(|_| !pay(&bob, Reach { frames: 1, bytes: 1_024 })), "its bytes are used up");
    let backend = Caller::App { app: app.clone(), secret_id: SecretId::random() };
    assert!(pay(&backend, frames(15)), "fifteen are left");
}

#[test]
fn a_cost_beyond_the_burst_waits_for_a_full_bucket_and_is_owed() {
    let app = limits(|limits| limits.endpoint_deliveries = RATE);
    let (accounts, alice) = (settled(), endpoint(&app, "alice"));
    let pay = |amount| accounts.pay(&alice, &app, Some(HERE), frames(amount));
    assert!(pay(1_000).is_ok());
    let wait = pay(1).unwrap_err().retry_after;
    assert_eq!(wait, Duration::from_secs(991));
    let later = settled();
    assert!(later.pay(&alice, &app, Some(HERE), frames(1)).is_ok());
    assert!(later.pay(&alice, &app, Some(HERE), frames(1_000)).is_err(), "it is not full");
}

#[test]
fn long_answers_are_owed_and_then_no_other_is_given() {
    let app = limits(|limits| limits.endpoint_kilobytes = RATE);
    let (accounts, alice) = (settled(), endpoint(&app, "alice"));
    for _ in 0..1_000 {
        accounts.answered(&alice, HERE, ANSWER_LEN_FREE as u64);
    }
    assert_eq!(accounts.len(), 0, "short ones cost nothing");
    accounts.answered(&alice, HERE, 9 * 1_024);
    assert!(accounts.check(&alice, HERE).is_ok());
    accounts.answered(&alice, HERE, 60 * 1_024);
    let wait = accounts.check(&alice, HERE).unwrap_err().retry_after;
    assert_eq!(wait, Duration::from_secs(55));
    assert!(accounts.check(&endpoint(&app, "bob"), HERE).is_ok());
    assert!(accounts.pay(&alice, &app, Some(HERE), bytes(1)).is_err(), "and nothing else that costs bytes");
}

#[test]
fn documents_that_all_may_read_are_charged_to_the_address() {
    let accounts = settled();
    let elsewhere = [192, 0, 2, 1].into();
    accounts.read_by_anybody(HERE, 16 << 20);
    assert!(accounts.check_anybody(HERE).is_ok());
    accounts.read_by_anybody(HERE, 16 << 20);
    let wait = accounts.check_anybody(HERE).unwrap_err().retry_after;
    assert!((Duration::from_secs(3)..=Duration::from_secs(4)).contains(&wait), "{wait:?}");
    assert!(accounts.check_anybody(elsewhere).is_ok());
}

#[test]
fn a_stream_waits_once_it_owes() {
    let app = limits(|limits| limits.kilobytes = RATE);
    let (accounts, backend) = (settled(), Caller::App { app, secret_id: SecretId::random() });
    let waits: Vec<_> = (0..12).map(|_| accounts.streamed(&backend, 1_024).is_some()).collect();
    assert_eq!(waits.iter().filter(|wait| !**wait).count(), 10, "{waits:?}");
    let wait = accounts.streamed(&backend, 10 * 1_024).unwrap();
    assert_eq!(wait, Duration::from_secs(12));
}

#[test]
fn other_rates_begin_anew() {
    let slow = limits(|limits| limits.endpoint_deliveries = RATE);
    let (accounts, alice) = (settled(), endpoint(&slow, "alice"));
    accounts.owe(&alice, &slow, None, frames(1_000_000));
    let mut raised = (*slow).clone();
    raised.settings.limits.endpoint_deliveries = Some(Rate { per_second: 2, burst: 10 });
    assert!(accounts.pay(&alice, &slow, None, frames(1)).is_err());
    assert!(accounts.pay(&alice, &raised, None, frames(1)).is_ok());
}

#[test]
fn settled_accounts_are_forgotten_and_others_kept() {
    let app = limits(|limits| limits.endpoint_deliveries = Some(Rate { per_second: 1_000_000, burst: 1_000_000 }));
    let clock = Arc::new(ManualClock::at(NOW));
    let accounts = Accounts::new(clock.clone());
    for nth in 0..1_000 {
        accounts.pay(&endpoint(&app, &format!("e{nth}")), &app, None, frames(1)).unwrap();
    }
    accounts.owe(&endpoint(&app, "debtor"), &app, None, frames(1_000_000_000));
    clock.advance_secs(1);
    accounts.sweep();
    assert_eq!(accounts.len(), 1);
    assert!(accounts.pay(&endpoint(&app, "debtor"), &app, None, frames(1)).is_err());
}
