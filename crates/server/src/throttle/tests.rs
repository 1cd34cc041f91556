//! Who guesses waits, and nobody else.

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn elsewhere(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn fail(throttle: &Throttle, address: IpAddr, now: Instant) -> Option<Duration> {
    throttle.try_password(address, "admin", Shown::Password, now).map(drop).err()
}

#[test]
fn guessing_a_password_waits_longer_and_longer() {
    let throttle = Throttle::new(200);
    let mut now = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..16 {
        let wait = fail(&throttle, HERE, now).unwrap_or_default();
        if wait > Duration::ZERO {
            now += wait;
            assert_eq!(fail(&throttle, HERE, now), None, "who waits as told is heard");
        }
        waits.push(wait.as_secs());
    }
    assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert!(throttle.try_password(HERE, "other", Shown::Password, now).is_ok());
}

#[test]
fn tries_count_before_they_are_decided() {
    let throttle = Throttle::new(200);
    let now = Instant::now();
    let tries: Vec<_> = (0..7).map(|_| throttle.try_password(HERE, "admin", Shown::Password, now)).collect();
    assert_eq!(tries.iter().filter(|attempt| attempt.is_ok()).count(), 5);
    // One that says nothing against the password gives its place back, one that was right all of them.
    let mut tries = tries.into_iter().flatten();
    tries.next().unwrap().not_decided();
    assert_eq!(fail(&throttle, HERE, now), None);
    assert!(fail(&throttle, HERE, now).is_some());
    tries.next().unwrap().succeeded(now);
    assert_eq!(fail(&throttle, HERE, now), None);
}

#[test]
fn refused_tries_do_not_renew_the_wait() {
    let throttle = Throttle::new(200);
    let now = Instant::now();
    for last in 0..60 {
        let _ = fail(&throttle, elsewhere(last), now);
    }
    let wait = fail(&throttle, HERE, now).unwrap();
    for second in 0..wait.as_secs() {
        assert!(fail(&throttle, HERE, now + Duration::from_secs(second)).is_some());
    }
    assert_eq!(fail(&throttle, HERE, now + wait), None);
}

#[test]
fn an_account_is_guarded_against_many_addresses_but_not_for_long() {
    let throttle = Throttle::new(200);
    let mut now = Instant::now();
    let mut longest = Duration::ZERO;
    for last in 0..60 {
        while let Some(wait) = fail(&throttle, elsewhere(last), now) {
            longest = longest.max(wait);
            now += wait;
        }
    }
    assert_eq!(longest, Duration::from_secs(30));
    assert!(fail(&throttle, HERE, now).is_some());
}

#[test]
fn guessing_codes_with_the_right_password_takes_a_lifetime() {
    let throttle = Throttle::new(200);
    let begin = Instant::now();
    let (mut now, mut guesses) = (begin, 0);
    let with_code = |last, now| throttle.try_password(elsewhere(last), "admin", Shown::PasswordAndCode, now);
    while now < begin + Duration::from_secs(30 * 86_400) {
        match with_code(u8::try_from(guesses % 200).unwrap(), now) {
            Ok(guess) => drop(guess),
            Err(wait) => {
                now += wait;
                continue;
            }
        }
        guesses += 1;
    }
    assert!((100..250).contains(&guesses), "{guesses} in a month");
    // Who does not know the password takes no part in it, and renews no wait.
    now += Duration::from_secs(4 * 3_600);
    for _ in 0..5 {
        with_code(250, now).unwrap().password_was_wrong();
    }
    with_code(251, now).unwrap().succeeded(now);
    assert!(with_code(251, now).is_ok(), "who has come in has nothing against it");
}

#[test]
fn an_owner_comes_in_from_where_the_owner_came_in_before() {
    let throttle = Throttle::new(200);
    let mut now = Instant::now();
    throttle.try_password(HERE, "admin", Shown::Password, now).unwrap().succeeded(now);
    for last in 0..60 {
        let _ = fail(&throttle, elsewhere(last), now);
    }
    assert!(fail(&throttle, elsewhere(99), now).is_some());
    throttle.try_password(HERE, "admin", Shown::Password, now).unwrap().succeeded(now);
    assert!(fail(&throttle, elsewhere(99), now).is_some(), "that gives nobody else new tries");
    for _ in 0..5 {
        assert_eq!(fail(&throttle, HERE, now), None);
    }
    assert!(fail(&throttle, HERE, now).is_some(), "one address alone waits all the same");
    now += KNOWN_FOR + Duration::from_secs(1);
    for last in 0..60 {
        let _ = fail(&throttle, elsewhere(last), now);
    }
    assert!(fail(&throttle, HERE, now).is_some(), "long ago is not known");
}

#[test]
fn an_address_is_known_by_what_another_process_saw() {
    let throttle = Throttle::new(200);
    let now = Instant::now();
    let known = |address, now| throttle.try_password(address, "admin", Shown::Password, now).unwrap().is_known();
    let days = |days: u32| Duration::from_secs(86_400) * days;
    throttle.came_in(HERE, "admin", days(29), now);
    throttle.came_in(elsewhere(1), "admin", days(31), now);
    assert!(known(HERE, now) && !known(elsewhere(1), now) && !known(elsewhere(2), now));
    assert!(!throttle.try_password(HERE, "other", Shown::Password, now).unwrap().is_known());
    assert!(!known(HERE, now + days(2)), "the thirty days are from the sign-in");
}

#[test]
fn old_failures_are_forgotten() {
    let throttle = Throttle::new(200);
    let now = Instant::now();
    for _ in 0..10 {
        let _ = fail(&throttle, HERE, now);
    }
    let later = now + Duration::from_secs(4_000);
    for _ in 0..5 {
        assert_eq!(fail(&throttle, HERE, later), None);
    }
}

#[test]
fn what_is_held_against_nobody_is_given_back() {
    let throttle = Throttle::new(200);
    let now = Instant::now();
    for last in 0..100 {
        let _ = fail(&throttle, elsewhere(last), now);
    }
    let coded = throttle.try_password(HERE, "coded", Shown::PasswordAndCode, now).unwrap();
    drop(coded);
    throttle.try_password(HERE, "admin", Shown::Password, now).unwrap_err();
    throttle.came_in(HERE, "admin", Duration::ZERO, now);
    throttle.sweep(now);
    assert!(throttle.failures.len() > 40, "{}", throttle.failures.len());
    let hours = now + Duration::from_secs(2 * 3_600);
    throttle.sweep(hours);
    assert_eq!(throttle.failures.len(), 1, "codes are held against somebody for a week");
    assert_eq!(throttle.known.len(), 1);
    throttle.sweep(now + KNOWN_FOR + Duration::from_secs(1));
    assert_eq!((throttle.failures.len(), throttle.known.len()), (0, 0));
}

#[test]
fn a_failure_that_is_about_to_be_counted_is_not_lost() {
    let throttle = Throttle::new(1);
    let now = Instant::now();
    let looked_up = throttle.failures_of(&Guesser::Credential(HERE), now);
    throttle.sweep(now);
    looked_up.lock().add(throttle.credential, now);
    drop(looked_up);
    throttle.sweep(now);
    assert!(throttle.credential_failed(HERE, now).is_some());
}

#[test]
fn a_user_name_is_not_kept() {
    let throttle = Throttle::new(200);
    let attempt = throttle.try_password(HERE, "CANARY-user-name", Shown::PasswordAndCode, Instant::now()).unwrap();
    assert!(!format!("{attempt:?}").contains("CANARY"));
}

/// Some nodes, each of which hears at once what the others tell.
fn nodes(count: usize) -> Vec<std::sync::Arc<Throttle>> {
    use std::sync::{Arc, Weak};
    let all = Arc::new(Mutex::new(Vec::<Weak<Throttle>>::new()));
    let node = |nth: usize| {
        let all = all.clone();
        let tell = move |tried: Vec<Tried>| {
            let others: Vec<_> =
                all.lock().iter().enumerate().filter(|(to, _)| *to != nth).map(|(_, to)| to.clone()).collect();
            for other in others.iter().filter_map(Weak::upgrade) {
                for tried in &tried {
                    other.tried_elsewhere(tried, NOW.with(|now| *now));
                }
            }
        };
        Arc::new(Throttle::new(200).among_others([7; 32], tell))
    };
    let made: Vec<_> = (0..count).map(node).collect();
    *all.lock() = made.iter().map(Arc::downgrade).collect();
    made
}

thread_local! {
    /// When nodes of this test hear of each other.
    static NOW: Instant = Instant::now();
}

#[test]
fn a_try_counts_at_all_nodes_from_its_beginning() {
    let nodes = nodes(3);
    let now = NOW.with(|now| *now);
    let tries: Vec<_> = (0..7).map(|nth| nodes[nth % 3].try_password(HERE, "admin", Shown::Password, now)).collect();
    assert_eq!(tries.iter().filter(|attempt| attempt.is_ok()).count(), 5);
    let mut tries = tries.into_iter().flatten();
    tries.next().unwrap().not_decided();
    assert_eq!(fail(&nodes[1], HERE, now), None, "what is not decided counts nowhere");
    assert!(fail(&nodes[2], HERE, now).is_some());
    tries.next().unwrap().succeeded(now);
    for node in &nodes {
        assert!(node.try_password(HERE, "admin", Shown::Password, now).unwrap().is_known());
    }
    assert!(nodes[0].try_password(HERE, "other", Shown::Password, now).is_ok());
}

#[test]
fn who_comes_in_at_one_node_makes_nobody_wait_longer_at_another() {
    let nodes = nodes(2);
    let now = NOW.with(|now| *now);
    let long_ago = now.checked_sub(Duration::from_secs(40)).unwrap();
    for node in &nodes {
        node.tried_elsewhere(&Tried::Failed(Guesser::Account(node.names.hash("admin")), 25), long_ago);
    }
    nodes[0].try_password(elsewhere(1), "admin", Shown::Password, now).unwrap().succeeded(now);
    assert_eq!(fail(&nodes[1], elsewhere(99), now), None, "that wait was over");
    assert!(fail(&nodes[1], elsewhere(98), now).is_some(), "and another is begun");
    assert!(fail(&nodes[0], elsewhere(97), now).is_some(), "at both");
    assert!(
        nodes[1].try_password(elsewhere(1), "admin", Shown::Password, now).is_ok(),
        "the address is known here, too"
    );
}

#[test]
fn codes_are_guessed_at_all_nodes_together() {
    let nodes = nodes(2);
    let now = NOW.with(|now| *now);
    let guess = |node: usize, last| nodes[node].try_password(elsewhere(last), "admin", Shown::PasswordAndCode, now);
    for last in 0..5 {
        drop(guess(usize::from(last) % 2, last).unwrap());
    }
    assert_eq!(guess(0, 5).unwrap_err(), Duration::from_secs(60));
    assert_eq!(guess(1, 6).unwrap_err(), Duration::from_secs(60));
    for last in 10..15 {
        let attempt = nodes[0].try_password(elsewhere(last), "other", Shown::PasswordAndCode, now).unwrap();
        attempt.password_was_wrong();
    }
    assert!(nodes[1].try_password(elsewhere(20), "other", Shown::PasswordAndCode, now).is_ok());
}

/// Who does not know the password makes nobody wait for the code, though several try at several nodes at a time.
#[test]
fn tries_that_are_taken_back_together_leave_no_wait() {
    let throttle = nodes(1).remove(0);
    let now = NOW.with(|now| *now);
    let code = Guesser::Code(throttle.names.hash("admin"), None);
    throttle.tried_elsewhere(&Tried::Failed(code, 6), now);
    let guess =
        |after| throttle.try_password(HERE, "admin", Shown::PasswordAndCode, now + Duration::from_millis(after));
    assert_eq!(guess(0).unwrap_err(), Duration::from_secs(120));
    // The wait is over, of which each node lets one make use, before it hears of the others.
    let here = guess(120_000).unwrap();
    for after in [120_001, 120_002, 120_003] {
        throttle.tried_elsewhere(&Tried::Failed(code, 1), now + Duration::from_millis(after));
    }
    assert!(guess(120_100).is_err());
    throttle.tried_elsewhere(&Tried::TakenBack(code), now);
    here.password_was_wrong();
    assert!(guess(120_200).is_err(), "two are not decided");
    for _ in 0..2 {
        throttle.tried_elsewhere(&Tried::TakenBack(code), now);
    }
    assert!(guess(120_300).is_ok(), "the owner need not wait");
}

#[test]
fn a_flood_of_addresses_is_told_in_part() {
    let told = std::sync::Arc::new(Mutex::new(Vec::new()));
    let tells = told.clone();
    let throttle = Throttle::new(200).among_others([7; 32], move |tried| tells.lock().extend(tried));
    let now = Instant::now();
    for nth in 0..5_000_u32 {
        for _ in 0..2 {
            let _ = throttle.credential_failed(IpAddr::from(nth.to_be_bytes()), now);
        }
    }
    throttle.tell_the_rest();
    throttle.tell_the_rest();
    let told = told.lock();
    assert_eq!(told.len(), 4_096);
    assert!(told.iter().all(|tried| matches!(tried, Tried::Failed(Guesser::Credential(_), 2))));
}
