//! What is charged for what requests make others receive and for long answers: frames and bytes, of the endpoint that asks,
//! of its address, and of the app.
//!
//! What is known beforehand is refused before it is done, and what is known only afterwards is owed: then what costs is
//! refused until that has been paid off. Over time nobody causes more than the rates say, by whichever kind of request.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use respoke_core::address::network;
use respoke_core::app::{App, Rate};
use respoke_core::clock::Clock;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::ops::Caller;
use respoke_core::ports::Caused;
use respoke_core::refusal::Refusal;
use respoke_hub::ops::Asker;
use respoke_hub::ops::Purse;
use respoke_hub::reach::Reach;

use super::bucket::Bucket;
use super::common::{Untold, UntoldReach};
use super::rate_status::{Limited, RateStatus};

/// Accounts of endpoints, and of addresses, that are remembered. Those that are settled are forgotten by themselves.
pub(super) const ACCOUNTS_MAX: usize = 100_000;
/// What one of the rates' kilobytes is.
const KILOBYTE: u32 = 1_024;
/// So much of an answer is paid for by the request itself, which has rates of its own.
pub(crate) const ANSWER_LEN_FREE: usize = 2_048;

/// What anybody reads at one address of pages and documents: as much as one endpoint's requests cause by default. The
/// whole description of the API comes dozens of times at once.
const ANYBODY: AccountRates = AccountRates { frames: None, kilobytes: Some(Rate { per_second: 4_096, burst: 16_384 }) };

/// The accounts of all who cause something.
pub(crate) struct Accounts {
    apps: Cache<AppId, Arc<Account>>,
    endpoints: Cache<(AppId, EndpointId), Arc<Account>>,
    addresses: Cache<(AppId, IpAddr), Arc<Account>>,
    /// Of those who show no credential.
    anybody: Cache<IpAddr, Arc<Account>>,
    clock: Arc<dyn Clock>,
    start: Instant,
    /// Until when at least one account owes something: as long as none does, nobody has to be looked for.
    owing_until: AtomicU64,
    /// What apps caused here and others are to be told. None: this node is alone.
    untold: Option<Untold<Account>>,
}

/// The two buckets of one who pays.
#[derive(Debug)]
struct Account {
    rates: AccountRates,
    frames: Option<Bucket>,
    bytes: Option<Bucket>,
    /// What others are to be told of it: of an app's, among other nodes.
    untold: Option<Box<UntoldReach>>,
}

/// Of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AccountRates {
    frames: Option<Rate>,
    kilobytes: Option<Rate>,
}

impl Account {
    fn new(rates: AccountRates) -> Self {
        Self {
            rates,
            frames: rates.frames.map(|rate| Bucket::new(rate, 1)),
            bytes: rates.kilobytes.map(|rate| Bucket::new(rate, KILOBYTE)),
            untold: None,
        }
    }

    /// The bucket that is longest in filling up for `reach`, and how long that takes.
    fn wait_for(&self, reach: Reach, now: u64) -> (u64, Option<Rate>) {
        let wait = |bucket: &Option<Bucket>, amount| bucket.as_ref().map_or(0, |bucket| bucket.wait_for(amount, now));
        let frames = (wait(&self.frames, reach.frames), self.rates.frames);
        let bytes = (wait(&self.bytes, reach.bytes), self.rates.kilobytes);
        if frames.0 >= bytes.0 { frames } else { bytes }
    }

    /// Draws what is to be paid; says until when it owes something.
    fn draw(&self, reach: Reach, now: u64) -> u64 {
        let draw = |bucket: &Option<Bucket>, amount| match bucket {
            Some(bucket) if amount > 0 => bucket.draw(amount, now),
            _ => 0,
        };
        draw(&self.frames, reach.frames).max(draw(&self.bytes, reach.bytes))
    }

    fn is_settled(&self, now: u64) -> bool {
        [&self.frames, &self.bytes].into_iter().flatten().all(|bucket| bucket.is_full(now))
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

/// Whom something is charged to: of an endpoint its own account first, so that what it is refused there is no other's
/// matter. Backends have the app's alone; admins and those without a credential have none.
struct Payers([Option<Arc<Account>>; 3]);

impl Payers {
    fn wait_for(&self, reach: Reach, now: u64) -> Option<(u64, Option<Rate>)> {
        self.0.iter().flatten().map(|account| account.wait_for(reach, now)).find(|(wait, _)| *wait > 0)
    }
}

impl Accounts {
    /// All settled.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            apps: Cache::new(ACCOUNTS_MAX),
            endpoints: Cache::new(ACCOUNTS_MAX),
            addresses: Cache::new(ACCOUNTS_MAX),
            anybody: Cache::new(ACCOUNTS_MAX),
            start: clock.monotonic(),
            clock,
            owing_until: AtomicU64::new(0),
            untold: None,
        }
    }

    /// The same for a node among others, which tells them what apps cause.
    pub(crate) fn among_others(self) -> Self {
        Self { untold: Some(Untold::default()), ..self }
    }

    /// What apps caused here since this was asked last, as much of it as is told at once.
    pub(crate) fn untold(&self) -> Vec<Caused> {
        let untold = self.untold.as_ref().map(Untold::take).unwrap_or_default();
        let tell = |account: Arc<Account>| {
            let untold = account.untold.as_ref()?;
            let Reach { frames, bytes } = untold.take();
            let AccountRates { frames: frames_rate, kilobytes: kilobytes_rate } = account.rates;
            let caused = Caused { app_id: untold.app_id, frames_rate, kilobytes_rate, frames, bytes };
            (frames > 0 || bytes > 0).then_some(caused)
        };
        untold.into_iter().filter_map(tell).collect()
    }

    /// Takes what an app caused at another node: it is owed here as well.
    pub(crate) fn caused_elsewhere(&self, caused: &Caused) {
        let Caused { app_id, frames_rate, kilobytes_rate, frames, bytes } = *caused;
        let rates = AccountRates { frames: frames_rate, kilobytes: kilobytes_rate };
        // The app's limits may have been changed, of which one of the two nodes has not heard yet.
        if self.apps.get(&app_id).is_some_and(|known| known.rates != rates) {
            return;
        }
        if let Some(account) = self.of_app(app_id, rates, true) {
            let now = self.now();
            let until = account.draw(Reach { frames, bytes }, now);
            self.owes_until(until, now);
        }
    }

    /// The account of an app.
    fn of_app(&self, app_id: AppId, rates: AccountRates, made: bool) -> Option<Arc<Account>> {
        let untold = || self.untold.is_some().then(|| Box::new(UntoldReach::of(app_id)));
        account_with(&self.apps, app_id, rates, made, untold)
    }

    /// Pays beforehand for what `caller` is about to cause in `app`.
    ///
    /// # Errors
    ///
    /// [`Limited`] if there is not enough left; then nothing was paid. What costs more than there can ever be is paid for
    /// when there is as much as can be, and the rest owed.
    pub(crate) fn pay(&self, caller: &Caller, app: &App, address: Option<IpAddr>, reach: Reach) -> Result<(), Limited> {
        let payers = self.payers(caller, app, address, true);
        let now = self.now();
        if let Some(short) = payers.wait_for(reach, now) {
            return Err(limited(short));
        }
        self.draw(&payers, reach, now);
        Ok(())
    }

    /// Charges what `caller` has caused.
    pub(crate) fn owe(&self, caller: &Caller, app: &App, address: Option<IpAddr>, reach: Reach) {
        self.draw(&self.payers(caller, app, address, true), reach, self.now());
    }

    /// Charges an answer of that length, if it is a long one.
    pub(crate) fn answered(&self, caller: &Caller, address: IpAddr, len: u64) {
        let (Caller::App { app, .. } | Caller::Endpoint { app, .. }) = caller else { return };
        if let Some(bytes) = len.checked_sub(ANSWER_LEN_FREE as u64).filter(|bytes| *bytes > 0) {
            self.owe(caller, app, Some(address), Reach { frames: 0, bytes });
        }
    }

    /// Charges a piece of an answer that goes on. Returns how long the next one has to wait, if there is not enough left.
    pub(crate) fn streamed(&self, caller: &Caller, len: usize) -> Option<Duration> {
        let (Caller::App { app, .. } | Caller::Endpoint { app, .. }) = caller else { return None };
        self.owe(caller, app, None, Reach { frames: 1, bytes: len as u64 });
        let short = self.payers(caller, app, None, false).wait_for(Reach::default(), self.now());
        short.map(|short| limited(short).retry_after)
    }

    /// Charges the answer to one who shows no credential, of pages and documents that all may read.
    pub(crate) fn read_by_anybody(&self, address: IpAddr, len: u64) {
        if let Some(bytes) = len.checked_sub(ANSWER_LEN_FREE as u64).filter(|bytes| *bytes > 0)
            && let Some(reader) = account(&self.anybody, network(address), ANYBODY, true)
        {
            self.draw(&Payers([Some(reader), None, None]), Reach { frames: 0, bytes }, self.now());
        }
    }

    /// Lets anybody at `address` read what all may read.
    ///
    /// # Errors
    ///
    /// [`Limited`] as long as what was read there before is not paid off.
    pub(crate) fn check_anybody(&self, address: IpAddr) -> Result<(), Limited> {
        if self.owing_until.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let reader = account(&self.anybody, network(address), ANYBODY, false);
        let short = Payers([reader, None, None]).wait_for(Reach::default(), self.now());
        short.map_or(Ok(()), |short| Err(limited(short)))
    }

    /// Lets a request be read whose answer may be long.
    ///
    /// # Errors
    ///
    /// [`Limited`] as long as answers before it have not been paid off.
    pub(crate) fn check(&self, caller: &Caller, address: IpAddr) -> Result<(), Limited> {
        let owing_until = self.owing_until.load(Ordering::Relaxed);
        let (Caller::App { app, .. } | Caller::Endpoint { app, .. }) = caller else { return Ok(()) };
        if owing_until == 0 {
            return Ok(());
        }
        let now = self.now();
        if owing_until <= now {
            return Ok(());
        }
        let payers = self.payers(caller, app, Some(address), false);
        payers.wait_for(Reach { frames: 0, bytes: 0 }, now).map_or(Ok(()), |short| Err(limited(short)))
    }

    /// Forgets accounts that are settled.
    pub(crate) fn sweep(&self) {
        let now = self.now();
        self.apps.retain(|_, account| !account.is_settled(now));
        self.endpoints.retain(|_, account| !account.is_settled(now));
        self.addresses.retain(|_, account| !account.is_settled(now));
        self.anybody.retain(|_, account| !account.is_settled(now));
    }

    /// How many accounts are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.apps.len() + self.endpoints.len() + self.addresses.len() + self.anybody.len()
    }

    /// Those who pay; those who never did so far only if they are to be `made`.
    fn payers(&self, caller: &Caller, app: &App, address: Option<IpAddr>, made: bool) -> Payers {
        let (frames, kilobytes) = (app.settings.limits.of_deliveries(), app.settings.limits.of_kilobytes());
        let of_app = || {
            let rates = AccountRates { frames: frames.app, kilobytes: kilobytes.app };
            self.of_app(app.id, rates, made)
        };
        match caller {
            Caller::Admin { .. } | Caller::Anonymous => Payers([None, None, None]),
            Caller::App { .. } => Payers([None, None, of_app()]),
            Caller::Endpoint { session, .. } => {
                let rates = AccountRates { frames: frames.endpoint, kilobytes: kilobytes.endpoint };
                let own = account(&self.endpoints, (app.id, session.record.grant.endpoint_id.clone()), rates, made);
                let rates = AccountRates { frames: frames.address, kilobytes: kilobytes.address };
                let address = address.and_then(|from| account(&self.addresses, (app.id, network(from)), rates, made));
                Payers([own, address, of_app()])
            }
        }
    }

    fn draw(&self, payers: &Payers, reach: Reach, now: u64) {
        for account in payers.0.iter().flatten() {
            let until = account.draw(reach, now);
            self.owes_until(until, now);
            if let (Some(untold), Some(others)) = (&account.untold, &self.untold)
                && untold.add(reach)
            {
                others.add(account);
            }
        }
    }

    fn owes_until(&self, until: u64, now: u64) {
        if until > now {
            self.owing_until.fetch_max(until, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The account of `key`. One of other rates, which were changed since, is replaced. None: nothing is limited.
fn account<K: std::hash::Hash + Eq>(
    accounts: &Cache<K, Arc<Account>>,
    key: K,
    rates: AccountRates,
    made: bool,
) -> Option<Arc<Account>> {
    account_with(accounts, key, rates, made, || None)
}

/// The same; a new one tells others what is drawn from it, if there is something to tell it by.
fn account_with<K: std::hash::Hash + Eq>(
    accounts: &Cache<K, Arc<Account>>,
    key: K,
    rates: AccountRates,
    made: bool,
    untold: impl FnOnce() -> Option<Box<UntoldReach>>,
) -> Option<Arc<Account>> {
    if rates.frames.is_none() && rates.kilobytes.is_none() {
        return None;
    }
    if let Some(known) = accounts.get(&key).filter(|known| known.rates == rates) {
        return Some(known);
    }
    made.then(|| {
        let new = Arc::new(Account { untold: untold(), ..Account::new(rates) });
        accounts.insert(key, new.clone());
        new
    })
}

fn limited((wait, rate): (u64, Option<Rate>)) -> Limited {
    Limited::by(rate.unwrap_or(RateStatus::UNLIMITED.rate), wait)
}

impl Purse for Accounts {
    fn pay(&self, asker: &Asker<'_>, app: &App, reach: Reach) -> Result<(), Refusal> {
        Self::pay(self, asker.caller, app, asker.context.address, reach)
            .map_err(|limited| Refusal::RateLimited { retry_after: limited.retry_after })
    }

    fn owe(&self, asker: &Asker<'_>, app: &App, reach: Reach) {
        Self::owe(self, asker.caller, app, asker.context.address, reach);
    }
}

#[cfg(test)]
mod tests;
