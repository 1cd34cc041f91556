//! How much one app, endpoint or address may ask, how often it may connect, and how much it may say.

mod accounts;
mod bucket;
mod common;
mod errands;
mod rate_status;

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
pub(crate) use respoke_core::address::network;
use respoke_core::app::{self, Rate, Rates};
use respoke_core::clock::Clock;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::ops::Caller;
use respoke_core::ports::{AppBucket, Drawn};

pub(crate) use accounts::Accounts;
use bucket::{Bucket, bucket_of};
use common::{Common, Untold};
pub(crate) use errands::Errand;
use errands::Errands;
pub use rate_status::{Limited, RateStatus};

/// Buckets remembered of apps, of endpoints and of addresses: of 100,000 each, a bucket of each kind of [`Demand`]. A
/// flood of new addresses pushes out the longest unused, which were full anyway. What is full is also forgotten by itself.
const BUCKETS_MAX: usize = 100_000 * Demand::KINDS;

/// How long who was refused for its rate is kept from asking anew, by its connection or socket. Refusing costs little, but
/// one who asks on and on had it done tens of thousands of times a second, and others waited.
pub(crate) const LIMITED_PAUSE: Duration = Duration::from_millis(50);

/// What a request is for. Each kind has buckets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    /// Anything.
    Request,
    /// Opening a socket.
    Connect,
    /// Saying something to others: a message, a publication, a signal, a presence.
    Message,
}

impl Demand {
    /// How many there are: as many as the last one says, and no other stands behind it.
    const KINDS: usize = match Self::Request {
        Self::Request | Self::Connect | Self::Message => Self::Message as usize + 1,
    };

    /// The kinds of buckets to draw from: connects and messages are requests, too. Their own come first, so that what is
    /// refused by these leaves the requests alone.
    const fn kinds(self) -> &'static [Self] {
        match self {
            Self::Request => &[Self::Request],
            Self::Connect => &[Self::Connect, Self::Request],
            Self::Message => &[Self::Message, Self::Request],
        }
    }

    /// The bucket of an app that it is drawn from.
    const fn of_app(self) -> AppBucket {
        match self {
            Self::Request => AppBucket::Requests,
            Self::Connect => AppBucket::Connects,
            Self::Message => AppBucket::Messages,
        }
    }

    fn rates(self, limits: &app::Limits) -> Rates {
        match self {
            Self::Request => limits.of_requests(),
            Self::Connect => limits.of_connects(),
            Self::Message => limits.of_messages(),
        }
    }
}

/// Token buckets of all apps, endpoints and addresses.
pub struct Limits {
    apps: Cache<(Demand, AppId, Rate), Arc<Common>>,
    endpoints: Cache<(Demand, AppId, Rate, EndpointId), Arc<Bucket>>,
    addresses: Cache<(Demand, Option<AppId>, Rate, IpAddr), Arc<Bucket>>,
    /// What was drawn of apps' and is to be told to other nodes. None: this one is alone.
    untold: Option<Untold<Common>>,
    errands: Errands,
    anonymous: Rate,
    clock: Arc<dyn Clock>,
    start: Instant,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

impl Limits {
    /// Limits with `anonymous` for each address that shows no credential of an app.
    #[must_use]
    pub fn new(anonymous: Rate, clock: Arc<dyn Clock>) -> Self {
        Self {
            apps: Cache::new(BUCKETS_MAX),
            endpoints: Cache::new(BUCKETS_MAX),
            addresses: Cache::new(BUCKETS_MAX),
            untold: None,
            errands: Errands::new(),
            anonymous,
            start: clock.monotonic(),
            clock,
        }
    }

    /// The same for a node among others, which tells them what was drawn.
    pub(crate) fn among_others(self) -> Self {
        Self { untold: Some(Untold::default()), ..self }
    }

    /// What was drawn of apps' buckets here since this was asked last, as much of it as is told at once.
    pub(crate) fn untold(&self) -> Vec<Drawn> {
        self.untold.as_ref().map(Untold::told).unwrap_or_default()
    }

    /// Takes what was drawn at another node: what this one has not got any more is owed.
    pub(crate) fn drawn_elsewhere(&self, drawn: &Drawn) {
        let Drawn { app_id, of, rate, amount } = *drawn;
        let kind = match of {
            AppBucket::Requests => Demand::Request,
            AppBucket::Connects => Demand::Connect,
            AppBucket::Messages => Demand::Message,
        };
        self.of_app(kind, app_id, rate).bucket.draw(amount, self.now());
    }

    /// The bucket of an app.
    fn of_app(&self, kind: Demand, app: AppId, rate: Rate) -> Arc<Common> {
        bucket_of(&self.apps, &(kind, app, rate), || Common::new(app, kind.of_app(), rate))
    }

    /// Draws one request from every bucket that concerns it. `endpoint` is whom it is made for, if not the caller.
    ///
    /// # Errors
    ///
    /// [`Limited`] by the first empty bucket.
    pub fn check(
        &self,
        demand: Demand,
        caller: &Caller,
        endpoint: Option<&EndpointId>,
        address: IpAddr,
    ) -> Result<RateStatus, Limited> {
        let now = self.now();
        let mut tightest = RateStatus::UNLIMITED;
        let mut draw = |rate_status: Result<RateStatus, Limited>| -> Result<(), Limited> {
            let rate_status = rate_status?;
            if rate_status.remaining < tightest.remaining {
                tightest = rate_status;
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
                let key = (Demand::Request, None, self.anonymous, address);
                draw(draw_from(&self.addresses, &key, self.anonymous, now))?;
                None
            }
        };
        let Some((app, endpoint)) = app else { return Ok(tightest) };
        let limits = &app.settings.limits;
        let rates = || demand.kinds().iter().map(|kind| (*kind, kind.rates(limits)));
        // The endpoint's own come before those that it shares, so that it cannot empty these by what it is refused.
        if let Some(endpoint) = endpoint {
            for (kind, rates) in rates() {
                let Some(rate) = rates.endpoint else { continue };
                draw(draw_from(&self.endpoints, &(kind, app.id, rate, endpoint.clone()), rate, now))?;
            }
        }
        if let Caller::Endpoint { .. } = caller {
            for (kind, rates) in rates() {
                let Some(rate) = rates.address else { continue };
                draw(draw_from(&self.addresses, &(kind, Some(app.id), rate, network(address)), rate, now))?;
            }
        }
        for (kind, rates) in rates() {
            let Some(rate) = rates.app else { continue };
            let common = self.of_app(kind, app.id, rate);
            draw(draw_one(&common.bucket, rate, now))?;
            if let Some(untold) = &self.untold {
                untold.drew_one(&common);
            }
        }
        Ok(tightest)
    }

    /// Draws a request that names no caller, by whatever it ends.
    ///
    /// # Errors
    ///
    /// [`Limited`] by what each address may ask without a credential.
    pub(crate) fn check_nobody(&self, address: IpAddr) -> Result<(), Limited> {
        self.check(Demand::Request, &Caller::Anonymous, None, address).map(drop)
    }

    /// Draws one of those that cost no requests.
    ///
    /// # Errors
    ///
    /// [`Limited`] by the bucket of the address for such.
    pub(crate) fn check_errand(&self, errand: Errand, address: IpAddr) -> Result<(), Limited> {
        self.errands.check(errand, address)
    }

    /// Lets figures be read at an address.
    ///
    /// # Errors
    ///
    /// [`Limited`] as long as those that were read there before are not paid off.
    pub(crate) fn check_figures(&self, address: IpAddr) -> Result<(), Limited> {
        self.errands.check_figures(address)
    }

    /// Charges figures of that length.
    pub(crate) fn read_figures(&self, address: IpAddr, len: u64) {
        self.errands.read_figures(address, len);
    }

    /// Forgets buckets that are full: a new one would be as full.
    pub fn sweep(&self) {
        let now = self.now();
        self.apps.retain(|_, common| !common.bucket.is_full(now));
        self.endpoints.retain(|_, bucket| !bucket.is_full(now));
        self.addresses.retain(|_, bucket| !bucket.is_full(now));
        self.errands.sweep();
    }

    /// How many buckets are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.apps.len() + self.endpoints.len() + self.addresses.len()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Draws from the bucket of `key`.
fn draw_from<K: Hash + Eq + Clone>(
    buckets: &Cache<K, Arc<Bucket>>,
    key: &K,
    rate: Rate,
    now: u64,
) -> Result<RateStatus, Limited> {
    draw_one(&bucket_of(buckets, key, || Bucket::new(rate, 1)), rate, now)
}

fn draw_one(bucket: &Bucket, rate: Rate, now: u64) -> Result<RateStatus, Limited> {
    let remaining = bucket.draw_one(now).map_err(|wait| Limited::by(rate, wait))?;
    Ok(RateStatus { rate, remaining })
}

#[cfg(test)]
pub(crate) mod tests {
    use respoke_core::app::{App, AppSettings};
    use respoke_core::clock::{ManualClock, Timestamp};
    use respoke_core::grant::{Grant, Marks};
    use respoke_core::id::{AccountId, SecretId};
    use respoke_core::ops::LiveSession;
    use respoke_core::secret::Secret;
    use respoke_core::session::SessionRecord;

    use super::*;

    fn limits(anonymous: Rate) -> Limits {
        Limits::new(anonymous, Arc::new(ManualClock::at(NOW)))
    }

    #[test]
    fn docs_operating_md_says_how_many_are_remembered() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
        let page = std::fs::read_to_string(page).unwrap().replace(',', "");
        for row in [
            format!("| buckets of endpoints | {BUCKETS_MAX} |"),
            format!("| buckets of addresses | {BUCKETS_MAX} |"),
            format!("| accounts of endpoints and of addresses that owe | {} each |", accounts::ACCOUNTS_MAX),
        ] {
            assert!(page.contains(&row), "docs/operating.md lacks: {row}");
        }
    }

    #[test]
    fn an_address_without_credential_has_its_bucket() {
        let limits = limits(Rate { per_second: 1, burst: 2 });
        let check = |address: &str| limits.check(Demand::Request, &Caller::Anonymous, None, address.parse().unwrap());
        assert_eq!(check("192.0.2.1").unwrap().remaining, 1);
        assert_eq!(check("192.0.2.1").unwrap().remaining, 0);
        assert_eq!(check("192.0.2.1").unwrap_err().retry_after, Duration::from_secs(1));
        assert!(check("192.0.2.2").is_ok());
        assert!(check("2001:db8::1").is_ok() && check("2001:db8::2").is_ok());
        assert!(check("2001:db8::3").is_err(), "one network, one bucket");
    }

    const TWO: Option<Rate> = Some(Rate { per_second: 1, burst: 2 });

    /// An app without any rate but those that `change` sets.
    pub(super) fn app(change: impl FnOnce(&mut app::Limits)) -> Arc<App> {
        let mut settings = AppSettings::named("app".to_owned());
        let limits = &mut settings.limits;
        (limits.app, limits.endpoint, limits.address) = (None, None, None);
        (limits.connects, limits.endpoint_connects, limits.address_connects) = (None, None, None);
        (limits.messages, limits.endpoint_messages, limits.address_messages) = (None, None, None);
        change(limits);
        let (id, account_id, marks, at) = (AppId::random(), AccountId::random(), Marks::default(), NOW);
        Arc::new(App { id, account_id, settings, created_at: at, updated_at: at, marks })
    }

    pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    pub(super) fn endpoint(app: &Arc<App>, name: &str) -> Caller {
        let endpoint_id = EndpointId::parse(name).unwrap();
        let record = SessionRecord {
            number: 1,
            token_number: 1,
            grant: Grant { app_id: app.id, endpoint_id, role_id: None, secret_id: None },
            hash: Secret::new(name.to_owned()).hash(),
            born: 1,
            created_at: NOW,
            expires_at: NOW,
            last_seen_at: NOW,
            address: String::new(),
            end: None,
        };
        Caller::Endpoint { session: Arc::new(LiveSession::new(record)), app: app.clone() }
    }

    /// How many of three demands are met, each of another address unless one is given.
    fn met(limits: &Limits, demand: Demand, caller: &Caller, address: Option<&str>) -> usize {
        let addresses = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];
        let addresses = addresses.iter().map(|other| address.unwrap_or(other).parse().unwrap());
        addresses.filter(|from| limits.check(demand, caller, None, *from).is_ok()).count()
    }

    #[test]
    fn connects_and_messages_of_an_endpoint_have_buckets_of_their_own() {
        let limits = limits(Rate { per_second: 1, burst: 1 });
        let app = app(|limits| (limits.endpoint_connects, limits.endpoint_messages) = (TWO, TWO));
        let (alice, bob) = (endpoint(&app, "alice"), endpoint(&app, "bob"));
        assert_eq!(met(&limits, Demand::Message, &alice, None), 2);
        assert_eq!(met(&limits, Demand::Connect, &alice, None), 2, "messages are no connects");
        assert_eq!(met(&limits, Demand::Request, &alice, None), 3, "other requests pass");
        assert_eq!(met(&limits, Demand::Message, &bob, None), 2);
        let limited = limits.check(Demand::Message, &alice, None, [192, 0, 2, 1].into()).unwrap_err();
        assert_eq!(limited.rate_status, RateStatus { rate: TWO.unwrap(), remaining: 0 });
        let backend = Caller::App { app, secret_id: SecretId::random() };
        assert_eq!(met(&limits, Demand::Message, &backend, None), 3, "a backend is no endpoint");
    }

    #[test]
    fn connects_and_messages_of_an_address_have_buckets_of_their_own() {
        let limits = limits(Rate { per_second: 1, burst: 1 });
        let app = app(|limits| (limits.address_connects, limits.address_messages) = (TWO, TWO));
        let (alice, bob) = (endpoint(&app, "alice"), endpoint(&app, "bob"));
        for demand in [Demand::Connect, Demand::Message] {
            assert_eq!(met(&limits, demand, &alice, Some("192.0.2.1")), 2);
            assert_eq!(met(&limits, demand, &bob, Some("192.0.2.1")), 0);
            assert_eq!(met(&limits, demand, &bob, Some("192.0.2.2")), 2);
            let backend = Caller::App { app: app.clone(), secret_id: SecretId::random() };
            assert_eq!(met(&limits, demand, &backend, Some("192.0.2.1")), 3, "a backend is at one address");
        }
        assert_eq!(met(&limits, Demand::Request, &alice, Some("192.0.2.1")), 3);
    }

    #[test]
    fn connects_and_messages_of_an_app_have_buckets_of_their_own() {
        let limits = limits(Rate { per_second: 1, burst: 1 });
        let app = app(|limits| (limits.connects, limits.messages) = (TWO, TWO));
        for demand in [Demand::Connect, Demand::Message] {
            let backend = Caller::App { app: app.clone(), secret_id: SecretId::random() };
            assert_eq!(met(&limits, demand, &backend, None), 2);
            assert_eq!(met(&limits, demand, &endpoint(&app, "alice"), None), 0);
        }
        assert_eq!(met(&limits, Demand::Request, &endpoint(&app, "alice"), None), 3);
    }

    #[test]
    fn connects_and_messages_are_requests_too() {
        let limits = limits(Rate { per_second: 1, burst: 1 });
        let app = app(|limits| limits.endpoint = TWO);
        assert_eq!(met(&limits, Demand::Message, &endpoint(&app, "alice"), None), 2);
        assert_eq!(met(&limits, Demand::Connect, &endpoint(&app, "alice"), None), 0);
        assert_eq!(met(&limits, Demand::Request, &endpoint(&app, "alice"), None), 0);
    }

    #[test]
    fn what_an_endpoint_is_refused_is_taken_from_nobodys_requests() {
        let limits = limits(Rate { per_second: 1, burst: 1 });
        let app = app(|limits| {
            (limits.app, limits.endpoint) = (Some(Rate { per_second: 1, burst: 6 }), TWO);
            limits.address = Some(Rate { per_second: 1, burst: 4 });
            limits.endpoint_messages = Some(Rate { per_second: 1, burst: 1 });
        });
        let (alice, bob, here) = (endpoint(&app, "alice"), endpoint(&app, "bob"), Some("192.0.2.1"));
        assert_eq!(met(&limits, Demand::Message, &alice, here), 1);
        assert_eq!(met(&limits, Demand::Message, &alice, here), 0);
        assert_eq!(met(&limits, Demand::Request, &alice, here), 1);
        assert_eq!(met(&limits, Demand::Request, &bob, here), 2);
        let backend = Caller::App { app, secret_id: SecretId::random() };
        assert_eq!(met(&limits, Demand::Request, &backend, None), 2);
    }

    #[test]
    fn buckets_of_those_who_are_gone_are_given_back() {
        let clock = Arc::new(ManualClock::at(NOW));
        let limits = Limits::new(Rate { per_second: 1_000_000, burst: 1_000_000 }, clock.clone());
        let fast = Some(Rate { per_second: 1_000_000, burst: 1_000_000 });
        let app = app(|limits| (limits.endpoint, limits.endpoint_messages) = (fast, TWO));
        for nth in 0..1_000 {
            let address = std::net::Ipv4Addr::from(0xc000_0200 + nth).into();
            limits.check(Demand::Request, &endpoint(&app, &format!("e{nth}")), None, address).unwrap();
            limits.check(Demand::Request, &Caller::Anonymous, None, address).unwrap();
        }
        let alice = endpoint(&app, "alice");
        assert_eq!(met(&limits, Demand::Message, &alice, None), 2);
        clock.advance_secs(1);
        limits.sweep();
        assert_eq!(limits.len(), 1, "alice's messages are not all back yet");
        assert_eq!(met(&limits, Demand::Message, &alice, None), 1);
    }

    #[test]
    fn the_legacy_limit_can_be_divided_by() {
        for (per_second, shown) in [(1, 1), (50, 50), (1_000_000, 1_000)] {
            let rate_status = RateStatus { rate: Rate { per_second, burst: 1 }, remaining: 0 };
            assert_eq!(rate_status.legacy_limit(), shown);
        }
    }
}
