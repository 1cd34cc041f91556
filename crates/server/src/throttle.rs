//! How long one who guesses must wait.

mod shared;

use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use respoke_core::address::network;
use respoke_core::admin::KnownAddress;
use respoke_core::ports::{Guesser, NameHash, Tried};

use shared::{Names, Others};

/// Guessers remembered.
const GUESSERS_MAX: usize = 100_000;
/// Addresses remembered as known to an account. Accounts have few admins.
const KNOWN_MAX: usize = 10_000;
/// How long an address is known to an account after its owner came in from there.
const KNOWN_FOR: Duration = Duration::from_secs(KnownAddress::KNOWN_SECS.unsigned_abs());

/// Failures that cost nothing, the longest wait, and how long failures are held against somebody.
#[derive(Clone, Copy)]
struct Patience {
    free: u32,
    /// The first wait; each next one is twice as long.
    wait_first: Duration,
    wait_max: Duration,
    forgotten_after: Duration,
}

/// Guessing one password: five free tries, then waits that double up to five minutes.
const PASSWORD: Patience = Patience {
    free: 5,
    wait_first: Duration::from_secs(1),
    wait_max: Duration::from_secs(300),
    forgotten_after: Duration::from_secs(3_600),
};
/// Guessing one account from everywhere: its owner must still come in, so the wait stays short.
const ACCOUNT: Patience = Patience {
    free: 20,
    wait_first: Duration::from_secs(1),
    wait_max: Duration::from_secs(30),
    forgotten_after: Duration::from_secs(3_600),
};
/// Guessing a second factor's code with the right password. Of a million codes three are good at a time, so that some
/// hundred thousand guesses find one; by these waits that takes a lifetime.
const CODE: Patience = Patience {
    free: 5,
    wait_first: Duration::from_secs(60),
    wait_max: Duration::from_secs(4 * 3_600),
    forgotten_after: Duration::from_secs(7 * 86_400),
};

/// Within which it is known what comes of a try: the longest wait of an account, or a part of it. So of who waits longer, as for
/// codes, all tries before are decided.
const DECIDED_WITHIN: Duration = ACCOUNT.wait_max;

/// What somebody shows to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A password.
    Password,
    /// A password and a code of the second factor.
    PasswordAndCode,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// When the one before was.
    before: Instant,
    /// How many there were, and when the last was, before those tries that may not be decided yet.
    decided: (u32, Instant),
}

impl Failures {
    /// How long who has failed so often has to wait.
    fn wait(&self, patience: Patience, now: Instant) -> Option<Duration> {
        let excess = self.count.checked_sub(patience.free)?;
        let wait = (patience.wait_first * (1 << excess.min(16))).min(patience.wait_max);
        let over = self.last + wait;
        (now < over).then(|| over - now)
    }

    fn add(&mut self, patience: Patience, now: Instant) {
        self.add_some(1, patience, now);
    }

    fn add_some(&mut self, times: u32, patience: Patience, now: Instant) {
        if now.duration_since(self.last) > patience.forgotten_after {
            self.count = 0;
        }
        if now.duration_since(self.last) >= DECIDED_WITHIN {
            self.decided = (self.count, self.last);
        }
        self.count = self.count.saturating_add(times);
        self.before = self.last;
        self.last = now;
    }

    /// Takes a try back, as if it had not been. None: others came behind it.
    ///
    /// If all that were made at a time are taken back, here and at other nodes, it is as before the first of them: they leave no
    /// longer wait.
    fn take_back(&mut self, before: Option<Instant>) {
        let (count, last) = self.decided;
        self.count = self.count.saturating_sub(1);
        self.last = if self.count <= count { last } else { before.unwrap_or(self.last) };
    }
}

/// Waits of those who fail to prove who they are. Kept in memory: a restart forgives. The known addresses are in the
/// database as well. Nodes tell each other of each try to sign in when it begins, and what comes of it
/// (`throttle/shared.rs`).
///
/// Invariant: a try counts as failed from before it is looked at, so that of many made at once no more are looked at
/// than of as many made one after the other. A try that is refused does not count, so waits are not renewed by trying.
///
/// The wait that an account has from everywhere could be renewed for ever by anybody with enough addresses. It
/// therefore does not concern the addresses from which the account's owner came in lately; each of them is held to
/// the waits of one address alone.
///
/// # Source
///
/// OWASP, "Slow Down Online Guessing Attacks with Device Cookies"; the address stands for the cookie.
pub struct Throttle {
    failures: Cache<Guesser, Arc<Mutex<Failures>>>,
    /// Until when an address is known to an account.
    known: Cache<(IpAddr, NameHash), Instant>,
    names: Names,
    /// For presenting credentials that are not valid. They cannot be guessed; this is about noise.
    credential: Patience,
    /// None: this server is alone.
    others: Option<Others>,
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
        let wait_first = Duration::from_secs(1);
        let credential = Patience { free: credentials_free, wait_first, wait_max, forgotten_after };
        let (failures, known) = (Cache::new(GUESSERS_MAX), Cache::new(KNOWN_MAX));
        Self { failures, known, names: Names::OfProcess(RandomState::new()), credential, others: None }
    }

    /// Lets a sign-in from `address` as `username` be looked at, and counts it as failed until it says otherwise.
    ///
    /// # Errors
    ///
    /// How long it has to wait instead; then nothing was counted.
    pub fn try_password(
        &self,
        address: IpAddr,
        username: &str,
        shown: Shown,
        now: Instant,
    ) -> Result<PasswordTry<'_>, Duration> {
        let (address, name) = (network(address), self.names.hash(username));
        let known = self.knows(address, name, now);
        let account = (!known).then_some((Guesser::Account(name), ACCOUNT));
        let code = Guesser::Code(name, known.then_some(address));
        let with_code = (shown == Shown::PasswordAndCode).then_some((code, CODE));
        let counts: Vec<_> =
            [(Guesser::Credential(address), self.credential), (Guesser::Password(address, name), PASSWORD)]
                .into_iter()
                .chain(account)
                .chain(with_code)
                .map(|(guesser, patience)| (guesser, self.failures_of(&guesser, now), patience))
                .collect();
        // All are held together, so that a try is counted everywhere or nowhere; always in this order, so that no two
        // tries wait for each other.
        let mut held: Vec<_> = counts.iter().map(|(_, failures, patience)| (failures.lock(), *patience)).collect();
        if let Some(wait) = held.iter().filter_map(|(failures, patience)| failures.wait(*patience, now)).max() {
            return Err(wait);
        }
        let mut before = Vec::with_capacity(held.len());
        for (failures, patience) in &mut held {
            before.push(failures.last);
            failures.add(*patience, now);
        }
        drop(held);
        self.tell(|| counts.iter().map(|(guesser, ..)| Tried::Failed(*guesser, 1)).collect());
        let counted = counts.into_iter().zip(before);
        let counted = counted.map(|((guesser, failures, _), before)| Counted { guesser, failures, before }).collect();
        Ok(PasswordTry { throttle: self, address, name, known, at: now, counted })
    }

    /// Takes up what is known from before: that the owner of `username` came in from `address` so long ago.
    pub fn came_in(&self, address: IpAddr, username: &str, ago: Duration, now: Instant) {
        if let Some(left) = KNOWN_FOR.checked_sub(ago) {
            self.known.insert((network(address), self.names.hash(username)), now + left);
        }
    }

    /// The owner of `username` comes in from `address`, with no password.
    pub fn comes_in(&self, address: IpAddr, username: &str, now: Instant) {
        self.came_in(address, username, Duration::ZERO, now);
        self.tell(|| vec![Tried::CameIn(network(address), self.names.hash(username))]);
    }

    /// A token or secret was not valid. Says how long to wait, if this has happened too often; the valid credentials
    /// of others at the same address are not touched.
    #[must_use]
    pub fn credential_failed(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let address = network(address);
        let failures = self.failures_of(&Guesser::Credential(address), now);
        let mut failures = failures.lock();
        let wait = failures.wait(self.credential, now);
        failures.add(self.credential, now);
        drop(failures);
        if let Some(others) = &self.others {
            others.credential_failed(address);
        }
        wait
    }

    /// Forgets failures that are held against nobody any more, and addresses that are known no longer.
    pub fn sweep(&self, now: Instant) {
        self.failures.retain(|guesser, failures| {
            let patience = self.patience(guesser);
            // Somebody who has just looked it up is about to count in it.
            let in_use = Arc::strong_count(failures) > 1;
            let failures = failures.lock();
            in_use || (failures.count > 0 && now.duration_since(failures.last) <= patience.forgotten_after)
        });
        self.known.retain(|_, until| now <= *until);
    }

    const fn patience(&self, guesser: &Guesser) -> Patience {
        match guesser {
            Guesser::Password(..) => PASSWORD,
            Guesser::Account(_) => ACCOUNT,
            Guesser::Code(..) => CODE,
            Guesser::Credential(_) => self.credential,
        }
    }

    fn knows(&self, address: IpAddr, name: NameHash, now: Instant) -> bool {
        self.known.get(&(address, name)).is_some_and(|until| now <= until)
    }

    fn failures_of(&self, guesser: &Guesser, now: Instant) -> Arc<Mutex<Failures>> {
        let new = || {
            Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Failures {
                count: 0,
                last: now,
                before: now,
                decided: (0, now),
            })))
        };
        self.failures.get_or_insert_with(guesser, new).unwrap_or_else(|never| match never {})
    }
}

/// Among other nodes.
impl Throttle {
    /// The same for a node among others, whom it tells by `tell` who fails. `key` is theirs in common.
    pub(crate) fn among_others(self, key: [u8; 32], tell: impl Fn(Vec<Tried>) + Send + Sync + 'static) -> Self {
        Self { names: Names::OfDatabase(key), others: Some(Others::told_by(tell)), ..self }
    }

    /// Tells the other nodes, if there are any.
    fn tell(&self, tried: impl FnOnce() -> Vec<Tried>) {
        if let Some(others) = &self.others {
            others.tell(tried());
        }
    }

    /// Tells them what was not told at once.
    pub(crate) fn tell_the_rest(&self) {
        if let Some(others) = &self.others {
            others.tell_the_rest();
        }
    }

    /// Takes what came of tries at another node.
    pub(crate) fn tried_elsewhere(&self, tried: &Tried, now: Instant) {
        match *tried {
            Tried::Failed(guesser, times) => {
                let failures = self.failures_of(&guesser, now);
                failures.lock().add_some(times, self.patience(&guesser), now);
            }
            Tried::TakenBack(guesser) => {
                if let Some(failures) = self.failures.get(&guesser) {
                    let mut failures = failures.lock();
                    let before = failures.before;
                    failures.take_back(Some(before));
                }
            }
            Tried::Forgiven(guesser) => drop(self.failures.remove(&guesser)),
            Tried::CameIn(address, name) => self.known.insert((address, name), now + KNOWN_FOR),
        }
    }
}

/// A sign-in that is being looked at. Dropped, it has failed.
#[derive(Debug)]
#[must_use = "a try that is dropped has failed"]
pub struct PasswordTry<'a> {
    throttle: &'a Throttle,
    address: IpAddr,
    name: NameHash,
    known: bool,
    at: Instant,
    counted: Vec<Counted>,
}

/// A failure that was counted in advance.
struct Counted {
    guesser: Guesser,
    failures: Arc<Mutex<Failures>>,
    /// When the failure before it was.
    before: Instant,
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl Counted {
    /// Takes it back, as if it had not been.
    fn take_back(&self, at: Instant) {
        let mut failures = self.failures.lock();
        let before = (failures.last == at).then_some(self.before);
        failures.take_back(before);
    }
}

impl PasswordTry<'_> {
    /// Whether the account's owner came in from that address lately.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// The password was wrong, and so nothing is said of the code that came with it. Who does not know the password
    /// makes nobody wait for the code.
    pub fn password_was_wrong(self) {
        let codes = self.counted.iter().filter(|counted| matches!(counted.guesser, Guesser::Code(..)));
        codes.for_each(|counted| counted.take_back(self.at));
        let is_code = |counted: &&Counted| matches!(counted.guesser, Guesser::Code(..));
        let codes = || self.counted.iter().filter(is_code).map(|counted| Tried::TakenBack(counted.guesser)).collect();
        self.throttle.tell(codes);
    }

    /// All was right: the address is known to the account, and what it had failed is forgotten. What others
    /// failed is not, or each coming and going of the owner would give them new free tries.
    pub fn succeeded(self, now: Instant) {
        self.throttle.known.insert((self.address, self.name), now + KNOWN_FOR);
        for counted in &self.counted {
            if is_forgiven(&counted.guesser) {
                self.throttle.failures.remove(&counted.guesser);
            }
            counted.take_back(self.at);
        }
        self.throttle.tell(|| {
            let tell = |counted: &Counted| match counted.guesser {
                guesser if is_forgiven(&guesser) => Tried::Forgiven(guesser),
                guesser => Tried::TakenBack(guesser),
            };
            let came_in = Tried::CameIn(self.address, self.name);
            self.counted.iter().map(tell).chain([came_in]).collect()
        });
    }

    /// Whether the password is right could not be found out: the try does not count.
    pub fn not_decided(self) {
        for counted in &self.counted {
            counted.take_back(self.at);
        }
        self.throttle.tell(|| self.counted.iter().map(|counted| Tried::TakenBack(counted.guesser)).collect());
    }
}

/// Whether somebody who comes in is forgiven what that is.
const fn is_forgiven(guesser: &Guesser) -> bool {
    match guesser {
        Guesser::Password(..) | Guesser::Code(..) => true,
        Guesser::Account(_) | Guesser::Credential(_) => false,
    }
}

#[cfg(test)]
mod tests;
