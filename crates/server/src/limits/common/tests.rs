//! What several nodes draw from an app's buckets in all.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use respoke_core::app::{App, Rate};
use respoke_core::clock::ManualClock;
use respoke_core::id::SecretId;
use respoke_core::ops::Caller;

use super::*;
use crate::limits::tests::{NOW, app};
use crate::limits::{Accounts, Demand, Limits};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Between two times at which they tell each other.
const TICK: Duration = Duration::from_secs(1);

struct Nodes {
    clock: Arc<ManualClock>,
    limits: Vec<Limits>,
    accounts: Vec<Accounts>,
}

impl Nodes {
    fn new(count: usize) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let limits = || Limits::new(Rate { per_second: 1, burst: 1 }, clock.clone()).among_others();
        let accounts = || Accounts::new(clock.clone()).among_others();
        let limits = (0..count).map(|_| limits()).collect();
        Self { limits, accounts: (0..count).map(|_| accounts()).collect(), clock }
    }

    fn tell(&self) {
        for (from, limits) in self.limits.iter().enumerate() {
            for drawn in limits.untold() {
                let others = self.limits.iter().enumerate().filter(|(to, _)| *to != from);
                others.for_each(|(_, to)| to.drawn_elsewhere(&drawn));
            }
        }
        for (from, accounts) in self.accounts.iter().enumerate() {
            for caused in accounts.untold() {
                let others = self.accounts.iter().enumerate().filter(|(to, _)| *to != from);
                others.for_each(|(_, to)| to.caused_elsewhere(&caused));
            }
        }
    }
}

fn backend(app: &Arc<App>) -> Caller {
    Caller::App { app: app.clone(), secret_id: SecretId::random() }
}

fn frames(frames: u64) -> Reach {
    Reach { frames, bytes: frames }
}

#[test]
fn what_an_app_causes_is_owed_at_all_nodes() {
    let rate = Some(Rate { per_second: 1, burst: 10 });
    let app = app(|limits| (limits.deliveries, limits.kilobytes) = (rate, rate));
    let (nodes, backend) = (Nodes::new(2), backend(&app));
    let pay = |node: usize, amount| nodes.accounts[node].pay(&backend, &app, Some(HERE), frames(amount)).is_ok();
    assert!(pay(0, 8));
    nodes.tell();
    assert!(!pay(1, 3) && pay(1, 2) && !pay(1, 1));
    nodes.tell();
    assert!(!pay(0, 1));
    nodes.accounts[0].owe(&backend, &app, Some(HERE), frames(10));
    nodes.tell();
    nodes.clock.advance_secs(10);
    assert!(!pay(1, 1));
    assert!(nodes.accounts[1].check(&backend, HERE).is_ok());
    nodes.accounts[0].owe(&backend, &app, Some(HERE), frames(20));
    nodes.tell();
    assert!(nodes.accounts[1].check(&backend, HERE).is_err(), "what is owed there is owed here");
    assert!(nodes.accounts.iter().all(|accounts| accounts.untold().is_empty()), "nothing is told twice");
}

#[test]
fn what_was_drawn_at_another_rate_is_passed_over() {
    let rate = |burst| Some(Rate { per_second: 1, burst });
    let before = app(|limits| (limits.app, limits.deliveries) = (rate(10), rate(10)));
    let mut after = (*before).clone();
    (after.settings.limits.app, after.settings.limits.deliveries) = (rate(20), rate(20));
    let (nodes, after) = (Nodes::new(2), Arc::new(after));
    let check = |node: usize, app| nodes.limits[node].check(Demand::Request, &backend(app), None, HERE);
    let pay = |node: usize, app, amount| nodes.accounts[node].pay(&backend(app), app, None, frames(amount));
    assert_eq!(check(1, &after).unwrap().remaining, 19);
    assert!(pay(1, &after, 1).is_ok());
    for _ in 0..10 {
        check(0, &before).unwrap();
    }
    assert!(pay(0, &before, 10).is_ok());
    nodes.tell();
    assert_eq!(check(1, &after).unwrap().remaining, 18);
    assert!(pay(1, &after, 20).is_err() && pay(1, &after, 19).is_ok());
}

#[test]
fn so_many_apps_are_told_at_once_and_the_others_next() {
    let nodes = Nodes::new(1);
    for _ in 0..=TOLD_AT_ONCE {
        let app = app(|limits| limits.app = Some(Rate { per_second: 1, burst: 10 }));
        for _ in 0..3 {
            nodes.limits[0].check(Demand::Request, &backend(&app), None, HERE).unwrap();
        }
    }
    let told: Vec<_> = (0..3).map(|_| nodes.limits[0].untold()).collect();
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [TOLD_AT_ONCE, 1, 0]);
    assert!(told.iter().flatten().all(|drawn| drawn.amount == 3));
}

#[test]
fn a_server_that_is_alone_notes_nothing() {
    let clock = Arc::new(ManualClock::at(NOW));
    let (limits, accounts) = (Limits::new(Rate { per_second: 1, burst: 1 }, clock.clone()), Accounts::new(clock));
    let app = app(|limits| limits.app = Some(Rate { per_second: 1, burst: 10 }));
    limits.check(Demand::Request, &backend(&app), None, HERE).unwrap();
    accounts.owe(&backend(&app), &app, None, frames(1));
    assert!(limits.untold.is_none() && limits.untold().is_empty() && accounts.untold().is_empty());
}

proptest! {
    /// However the demands fall on the nodes: what all draw is what one would, and beyond it what each but one has drawn since
    /// it last heard of the others, which is a burst and a tick's worth at most.
    #[test]
    fn all_nodes_draw_what_one_may_and_little_more(
        (count, per_second, burst) in (1..=4_usize, 1..=200_u32, 1..=200_u32),
        demands in proptest::collection::vec((0..4_usize, 0..60_usize), 1..200),
    ) {
        let rate = Rate { per_second, burst };
        let app = app(|limits| limits.app = Some(rate));
        let (nodes, backend) = (Nodes::new(count), backend(&app));
        let (mut drawn, mut passed) = (0_u64, Duration::ZERO);
        for (nth, (node, times)) in demands.into_iter().enumerate() {
            let limits = &nodes.limits[node % count];
            let got = (0..times).filter(|_| limits.check(Demand::Request, &backend, None, HERE).is_ok()).count();
            drawn += got as u64;
            let millis = |passed: Duration| u64::try_from(passed.as_millis()).unwrap();
            let alone = |passed| u64::from(burst) + u64::from(per_second) * millis(passed) / 1_000 + 1;
            let others = count as u64 - 1;
            prop_assert!(drawn <= alone(passed) + others * alone(TICK), "{drawn} after {passed:?}");
            if nth % 3 == 2 {
                nodes.tell();
                nodes.clock.advance_secs(1);
                passed += TICK;
            }
        }
    }
}
