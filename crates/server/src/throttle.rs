//! How long one who guesses must wait.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use respoke_core::address::network;
use respoke_core::admin::KnownAddress;

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

/// Who has failed, or what for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Guesser {
    Password(IpAddr, NameHash),
    Account(NameHash),
    /// Of an account, from an address that is known to it or from everywhere else.
    Code(NameHash, Option<IpAddr>),
    Credential(IpAddr),
}

/// What somebody shows to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A password.
    Password,
    /// A password and a code of the second factor.
    PasswordAndCode,
}

/// What is remembered of a user name, which may be a password typed into the wrong field, and of any length: a hash
/// under a key that this process made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NameHash(u64);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
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
        if now.duration_since(self.last) > patience.forgotten_after {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last = now;
    }
}

/// Waits of those who fail to prove who they are. Kept in memory: a restart forgives. The known addresses are in the
/// database as well.
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
    names: RandomState,
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
        let wait_first = Duration::from_secs(1);
        let credential = Patience { free: credentials_free, wait_first, wait_max, forgotten_after };
        Self { failures: Cache::new(GUESSERS_MAX), known: Cache::new(KNOWN_MAX), names: RandomState::new(), credential }
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
        let (address, name) = (network(address), NameHash(self.names.hash_one(username)));
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
        let counted = counts.into_iter().zip(before);
        let counted = counted.map(|((guesser, failures, _), before)| Counted { guesser, failures, before }).collect();
        Ok(PasswordTry { throttle: self, address, name, known, at: now, counted })
    }

    /// Takes up what is known from before: that the owner of `username` came in from `address` so long ago.
    pub fn came_in(&self, address: IpAddr, username: &str, ago: Duration, now: Instant) {
        if let Some(left) = KNOWN_FOR.checked_sub(ago) {
            self.known.insert((network(address), NameHash(self.names.hash_one(username))), now + left);
        }
    }

    /// A token or secret was not valid. Says how long to wait, if this has happened too often; the valid credentials
    /// of others at the same address are not touched.
    #[must_use]
    pub fn credential_failed(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failures_of(&Guesser::Credential(network(address)), now);
        let mut failures = failures.lock();
        let wait = failures.wait(self.credential, now);
        failures.add(self.credential, now);
        wait
    }

    /// Forgets failures that are held against nobody any more, and addresses that are known no longer.
    pub fn sweep(&self, now: Instant) {
        self.failures.retain(|guesser, failures| {
            let patience = match guesser {
                Guesser::Password(..) => PASSWORD,
                Guesser::Account(_) => ACCOUNT,
                Guesser::Code(..) => CODE,
                Guesser::Credential(_) => self.credential,
            };
            // Somebody who has just looked it up is about to count in it.
            let in_use = Arc::strong_count(failures) > 1;
            let failures = failures.lock();
            in_use || (failures.count > 0 && now.duration_since(failures.last) <= patience.forgotten_after)
        });
        self.known.retain(|_, until| now <= *until);
    }

    fn knows(&self, address: IpAddr, name: NameHash, now: Instant) -> bool {
        self.known.get(&(address, name)).is_some_and(|until| now <= until)
    }

    fn failures_of(&self, guesser: &Guesser, now: Instant) -> Arc<Mutex<Failures>> {
        let new = || Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Failures { count: 0, last: now })));
        self.failures.get_or_insert_with(guesser, new).unwrap_or_else(|never| match never {})
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
        failures.count = failures.count.saturating_sub(1);
        if failures.last == at {
            failures.last = self.before;
        }
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
    }

    /// All was right: the address is known to the account, and what it had failed is forgotten. What others
    /// failed is not, or each coming and going of the owner would give them new free tries.
    pub fn succeeded(self, now: Instant) {
        self.throttle.known.insert((self.address, self.name), now + KNOWN_FOR);
        for counted in &self.counted {
            if matches!(counted.guesser, Guesser::Password(..) | Guesser::Code(..)) {
                self.throttle.failures.remove(&counted.guesser);
            }
        }
        self.not_decided();
    }

    /// Whether the password is right could not be found out: the try does not count.
    pub fn not_decided(self) {
        for counted in &self.counted {
            counted.take_back(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
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
}
