//! How much one app, endpoint or address may ask.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use quick_cache::sync::Cache;
use respoke_core::app::Rate;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::ops::Caller;

/// Buckets remembered of each kind. A flood of new addresses pushes out the longest unused, which were full anyway.
const BUCKETS_MAX: usize = 100_000;

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
    endpoints: Cache<(AppId, Rate, EndpointId), Arc<Bucket>>,
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
    pub fn check(&self, caller: &Caller, endpoint: Option<&EndpointId>, address: IpAddr) -> Result<Standing, Limited> {
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
            Caller::Endpoint { session, app } => Some((app, Some(&session.record.grant.endpoint_id))),
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
            draw(self.draw(&self.endpoints, &(app.id, rate, endpoint.clone()), rate))?;
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
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6
            .to_ipv4_mapped()
            .map_or_else(|| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))), IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
