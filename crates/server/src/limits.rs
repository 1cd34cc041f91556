//! How much one app, endpoint or address may ask, and how long one who guesses must wait.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use respoke_core::app::Rate;
use respoke_core::id::AppId;
use respoke_core::ops::Caller;

/// Buckets remembered of each kind. A flood of new addresses pushes out the longest unused, which were full anyway.
const BUCKETS_MAX: usize = 100_000;
/// Guessers remembered.
const GUESSERS_MAX: usize = 100_000;

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// What is left of the tightest bucket a request drew from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The bucket's rate.
    pub rate: Rate,
    /// Requests that could follow at once.
    pub remaining: u32,
}

impl Standing {
    /// Where nothing is limited.
    pub const UNLIMITED: Self = Self { rate: Rate { per_second: Rate::MAX, burst: Rate::MAX }, remaining: Rate::MAX };

    /// The limit as existing clients read it: they divide 1,000 by it.
    #[must_use]
    pub fn legacy_limit(&self) -> u32 {
        self.rate.per_second.clamp(1, 1_000)
    }
}

/// A bucket is empty.
#[derive(Clone, Copy, Debug)]
pub struct Limited {
    /// The empty bucket.
    pub standing: Standing,
    /// How long to wait for the next request.
    pub retry_after: Duration,
}

/// Token buckets of all apps, endpoints and addresses.
pub struct Limits {
    apps: Cache<(AppId, Rate), Arc<Bucket>>,
    endpoints: Cache<(AppId, Rate, Box<str>), Arc<Bucket>>,
    addresses: Cache<(Option<AppId>, Rate, IpAddr), Arc<Bucket>>,
    anonymous: Rate,
    clock: DefaultClock,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

impl Limits {
    /// Limits with `anonymous` for each address that shows no credential of an app.
    #[must_use]
    pub fn new(anonymous: Rate) -> Self {
        Self {
            apps: Cache::new(BUCKETS_MAX),
            endpoints: Cache::new(BUCKETS_MAX),
            addresses: Cache::new(BUCKETS_MAX),
            anonymous,
            clock: DefaultClock::default(),
        }
    }

    /// Draws one request from every bucket that concerns it. `endpoint` is whom it is made for, if not the caller.
    ///
    /// # Errors
    ///
    /// [`Limited`] by the first empty bucket.
    pub fn check(&self, caller: &Caller, endpoint: Option<&str>, address: IpAddr) -> Result<Standing, Limited> {
        let mut tightest = Standing::UNLIMITED;
        let mut draw = |standing: Result<Standing, Limited>| -> Result<(), Limited> {
            let standing = standing?;
            if standing.remaining < tightest.remaining {
                tightest = standing;
            }
            Ok(())
        };
        let app = match caller {
            Caller::App { app, .. } => Some((app, endpoint)),
            Caller::Endpoint { session, app } => Some((app, Some(session.record.grant.endpoint_id.as_str()))),
            // Admins are few, and the one who raises a limit must not be kept out by it.
            Caller::Admin { .. } => None,
            Caller::Anonymous => {
                let address = network(address);
                draw(self.draw(&self.addresses, &(None, self.anonymous, address), self.anonymous))?;
                None
            }
        };
        let Some((app, endpoint)) = app else { return Ok(tightest) };
        let limits = app.settings.limits;
        if let (Some(rate), Caller::Endpoint { .. }) = (limits.address, caller) {
            draw(self.draw(&self.addresses, &(Some(app.id), rate, network(address)), rate))?;
        }
        if let (Some(rate), Some(endpoint)) = (limits.endpoint, endpoint) {
            draw(self.draw(&self.endpoints, &(app.id, rate, endpoint.into()), rate))?;
        }
        if let Some(rate) = limits.app {
            draw(self.draw(&self.apps, &(app.id, rate), rate))?;
        }
        Ok(tightest)
    }

    fn draw<K: Hash + Eq + Clone>(
        &self,
        buckets: &Cache<K, Arc<Bucket>>,
        key: &K,
        rate: Rate,
    ) -> Result<Standing, Limited> {
        let bucket = match buckets.get(key) {
            Some(bucket) => bucket,
            None => buckets
                .get_or_insert_with(key, || Ok::<_, std::convert::Infallible>(Arc::new(new_bucket(rate))))
                .unwrap_or_else(|never| match never {}),
        };
        match bucket.check() {
            Ok(left) => Ok(Standing { rate, remaining: left.remaining_burst_capacity() }),
            Err(until) => Err(Limited {
                standing: Standing { rate, remaining: 0 },
                retry_after: until.wait_time_from(self.clock.now()),
            }),
        }
    }
}

fn new_bucket(rate: Rate) -> Bucket {
    let positive = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(positive(rate.per_second)).allow_burst(positive(rate.burst));
    RateLimiter::direct(quota).with_middleware()
}

/// What counts as one address: an IPv4 address, or the 64-bit network of an IPv6 one, which one subscriber has whole.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6
            .to_ipv4_mapped()
            .map_or_else(|| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))), IpAddr::V4),
    }
}

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
        self.failures.remove(&Guesser::Credential(network(address)));
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
    fn an_address_without_credential_has_its_bucket() {
        let limits = Limits::new(Rate { per_second: 1, burst: 2 });
        let check = |address: &str| limits.check(&Caller::Anonymous, None, address.parse().unwrap());
        assert_eq!(check("192.0.2.1").unwrap().remaining, 1);
        assert_eq!(check("192.0.2.1").unwrap().remaining, 0);
        let limited = check("192.0.2.1").unwrap_err();
        assert!(limited.retry_after <= Duration::from_secs(1) && limited.retry_after > Duration::ZERO);
        assert!(check("192.0.2.2").is_ok());
        assert!(check("2001:db8::1").is_ok() && check("2001:db8::2").is_ok());
        assert!(check("2001:db8::3").is_err(), "one network, one bucket");
    }

    #[test]
    fn the_legacy_limit_can_be_divided_by() {
        for (per_second, shown) in [(1, 1), (50, 50), (1_000_000, 1_000)] {
            let standing = Standing { rate: Rate { per_second, burst: 1 }, remaining: 0 };
            assert_eq!(standing.legacy_limit(), shown);
        }
    }

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
