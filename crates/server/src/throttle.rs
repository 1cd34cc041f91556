//! How long one who guesses must wait.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::limits::network;

/// Guessers remembered.
const GUESSERS_MAX: usize = 100_000;

/// Failures that cost nothing, the longest wait, and how long failures are held against somebody.
#[derive(Clone, Copy)]
struct Patience {
    free: u32,
    wait_max: Duration,
    forgotten_after: Duration,
}

/// Guessing one password: five free tries, then waits that double up to five minutes.
const PASSWORD: Patience =
    Patience { free: 5, wait_max: Duration::from_secs(300), forgotten_after: Duration::from_secs(3_600) };
/// Guessing one account from everywhere: its owner must still come in, so the wait stays short.
const ACCOUNT: Patience =
    Patience { free: 20, wait_max: Duration::from_secs(30), forgotten_after: Duration::from_secs(3_600) };

#[derive(Clone, PartialEq, Eq, Hash)]
enum Guesser {
    Password(IpAddr, Box<str>),
    Account(Box<str>),
    Credential(IpAddr),
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Waits of those who fail to prove who they are. Kept in memory: a restart forgives.
pub struct Throttle {
    failures: Cache<Guesser, Arc<Mutex<Failures>>>,
    /// For presenting credentials that are not valid. They cannot be guessed; this is about noise.
    credential: Patience,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

impl Throttle {
    /// A throttle that lets an address show `credentials_free` invalid credentials before it has to wait.
    #[must_use]
    pub fn new(credentials_free: u32) -> Self {
        let (wait_max, forgotten_after) = (Duration::from_secs(60), Duration::from_secs(60));
        let credential = Patience { free: credentials_free, wait_max, forgotten_after };
        Self { failures: Cache::new(GUESSERS_MAX), credential }
    }

    /// How long a sign-in from `address` as `username` has to wait before it is even looked at.
    #[must_use]
    pub fn password_wait(&self, address: IpAddr, username: &str, now: Instant) -> Option<Duration> {
        let here = self.wait(&Guesser::Password(network(address), username.into()), PASSWORD, now);
        let anywhere = self.wait(&Guesser::Account(username.into()), ACCOUNT, now);
        let noise = self.wait(&Guesser::Credential(network(address)), self.credential, now);
        here.max(anywhere).max(noise)
    }

    /// A sign-in failed.
    pub fn password_failed(&self, address: IpAddr, username: &str, now: Instant) {
        self.fail(&Guesser::Password(network(address), username.into()), PASSWORD, now);
        self.fail(&Guesser::Account(username.into()), ACCOUNT, now);
        self.fail(&Guesser::Credential(network(address)), self.credential, now);
    }

    /// A sign-in succeeded: what was held against it is forgotten.
    pub fn password_right(&self, address: IpAddr, username: &str) {
        self.failures.remove(&Guesser::Password(network(address), username.into()));
        self.failures.remove(&Guesser::Account(username.into()));
    }

    /// A token or secret was not valid. Says how long to wait, if this has happened too often; the valid credentials
    /// of others at the same address are not touched.
    #[must_use]
    pub fn credential_failed(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let guesser = Guesser::Credential(network(address));
        let wait = self.wait(&guesser, self.credential, now);
        self.fail(&guesser, self.credential, now);
        wait
    }

    fn wait(&self, guesser: &Guesser, patience: Patience, now: Instant) -> Option<Duration> {
        let failures = *self.failures.get(guesser)?.lock();
        let excess = failures.count.checked_sub(patience.free)?;
        let wait = Duration::from_secs(1 << excess.min(16)).min(patience.wait_max);
        let over = failures.last + wait;
        (now < over).then(|| over - now)
    }

    fn fail(&self, guesser: &Guesser, patience: Patience, now: Instant) {
        let new = || Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Failures { count: 0, last: now })));
        let entry = self.failures.get_or_insert_with(guesser, new).unwrap_or_else(|never| match never {});
        let mut failures = entry.lock();
        if now.duration_since(failures.last) > patience.forgotten_after {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn guessing_a_password_waits_longer_and_longer() {
        let throttle = Throttle::new(200);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..16 {
            let wait = throttle.password_wait(HERE, "admin", now).unwrap_or_default();
            now += wait;
            waits.push(wait.as_secs());
            throttle.password_failed(HERE, "admin", now);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert!(throttle.password_wait(HERE, "other", now).is_none());
        throttle.password_right(HERE, "admin");
        assert!(throttle.password_wait(HERE, "admin", now).is_none());
    }

    #[test]
    fn an_account_is_guarded_against_many_addresses_but_not_for_long() {
        let throttle = Throttle::new(200);
        let now = Instant::now();
        for last in 0..60_u8 {
            throttle.password_failed(IpAddr::from([192, 0, 2, last]), "admin", now);
        }
        assert_eq!(throttle.password_wait(HERE, "admin", now), Some(Duration::from_secs(30)));
    }

    #[test]
    fn old_failures_are_forgotten() {
        let throttle = Throttle::new(200);
        let now = Instant::now();
        for _ in 0..10 {
            throttle.password_failed(HERE, "admin", now);
        }
        let later = now + Duration::from_secs(4_000);
        throttle.password_failed(HERE, "admin", later);
        assert!(throttle.password_wait(HERE, "admin", later).is_none());
    }
}
