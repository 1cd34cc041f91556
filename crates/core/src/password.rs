//! Passwords: argon2id, off the async threads and few at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::address::network;
use crate::refusal::Refusal;
use crate::secret::Secret;

/// Longest password taken, in bytes; hashing must not be made to take for ever.
pub const PASSWORD_LEN_MAX: usize = 1_024;
/// Shortest password taken for a new one, in characters.
pub const PASSWORD_LEN_MIN: usize = 8;

/// Whether a new password may be this one.
///
/// # Errors
///
/// What is asked of it, as the end of a sentence.
pub fn check_new(password: &Secret) -> Result<(), &'static str> {
    let text = password.expose();
    if text.chars().count() < PASSWORD_LEN_MIN || text.len() > PASSWORD_LEN_MAX {
        return Err("must have at least 8 characters and at most 1024 bytes");
    }
    Ok(())
}

/// Hashes a password with `salt`, which is fresh. Takes tens of milliseconds and 19 MiB: never on an async thread.
///
/// # Errors
///
/// When the hashing library refuses, which it does for no password within the limits.
pub fn hash(password: &Secret, salt: [u8; 16]) -> Result<String, argon2::password_hash::Error> {
    let (algorithm, version, params) = (Algorithm::default(), Version::default(), Params::default());
    let hash = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(Salt::new(&salt)?),
        hash: Some(derive(password, &salt, &Argon2::new(algorithm, version, params))?),
    };
    Ok(hash.to_string())
}

/// Whether `password` is the one behind `hash`. As slow as [`hash`].
#[must_use]
pub fn verify(password: &Secret, hash: &str) -> bool {
    derive_again(password, hash).unwrap_or(false)
}

fn derive_again(password: &Secret, hash: &str) -> Result<bool, argon2::password_hash::Error> {
    let hash = PasswordHash::new(hash)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Ok(false) };
    let version = hash.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(Algorithm::try_from(hash.algorithm.as_str())?, version, Params::try_from(&hash)?);
    // Compared in constant time.
    Ok(derive(password, salt, &argon2)? == *expected)
}

fn derive(password: &Secret, salt: &[u8], argon2: &Argon2<'_>) -> Result<Output, argon2::password_hash::Error> {
    let params = argon2.params();
    let mut blocks = vec![Block::default(); params.block_count()];
    let mut derived = [0; Output::MAX_LENGTH];
    let derived = &mut derived[..params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
    argon2.hash_password_into_with_memory(password.expose().as_bytes(), salt, derived, &mut blocks)?;
    Ok(Output::new(derived)?)
}

/// Passwords worked on at once at each desk, of which there are two. Each takes a core and 19 MiB, and who signs in must
/// not slow down who redeems.
const AT_ONCE_MAX: usize = 1;
/// Passwords that wait behind them: some seconds of work.
const WAITING_MAX: usize = 64;
/// Passwords of one address that strangers have looked at or waiting at once: an office may sign in, and no address has
/// all the places.
const PER_ADDRESS_MAX: usize = 8;
/// How long one waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Who has a password worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applicant {
    /// An admin in session, or one who signs in from where that admin signed in before.
    Known,
    /// Anybody, from that address.
    Stranger(Option<IpAddr>),
}

/// The two places where passwords are worked on. Whatever strangers do, who is known has a place and a turn of its own.
#[derive(Debug, Default)]
pub(crate) struct Desks {
    known: Desk,
    strangers: Desk,
    /// Work of strangers, by address.
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Desks {
    /// Does `work` for `applicant`, as [`Desk::work`].
    ///
    /// # Errors
    ///
    /// [`Refusal::Overloaded`] also if too many passwords of the stranger's address are under way.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        applicant: Applicant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Refusal> {
        match applicant {
            Applicant::Known => self.known.work(work).await,
            Applicant::Stranger(address) => {
                let share = address.map(|address| AddressShare::take(&self.addresses, network(address)));
                let share = share.transpose()?;
                // It goes on though its caller goes away, and is its address's as long as that.
                let working = move || {
                    let _held = share;
                    work()
                };
                self.strangers.work(working).await
            }
        }
    }
}

/// One of the works that an address may have under way.
struct AddressShare {
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl AddressShare {
    fn take(addresses: &Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr) -> Result<Self, Refusal> {
        let mut under_way = addresses.lock();
        let own = under_way.entry(address).or_default();
        if *own >= PER_ADDRESS_MAX {
            return Err(Refusal::Overloaded);
        }
        *own += 1;
        Ok(Self { addresses: addresses.clone(), address })
    }
}

impl Drop for AddressShare {
    fn drop(&mut self) {
        let mut under_way = self.addresses.lock();
        if let Some(own) = under_way.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                under_way.remove(&self.address);
            }
        }
    }
}

/// Where passwords are worked on, few at a time.
#[derive(Debug)]
struct Desk {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    timeout: Duration,
}

impl Default for Desk {
    fn default() -> Self {
        Self::new(AT_ONCE_MAX, WAITING_MAX, TURN_TIMEOUT)
    }
}

impl Desk {
    fn new(at_once_max: usize, waiting_max: usize, timeout: Duration) -> Self {
        let places = Arc::new(Semaphore::new(at_once_max + waiting_max));
        Self { places, turns: Arc::new(Semaphore::new(at_once_max)), timeout }
    }

    /// Does `work` off the async threads when its turn has come. None if it panicked, which is a defect of ours.
    ///
    /// # Errors
    ///
    /// [`Refusal::Overloaded`] if too many wait or the turn does not come in time.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<Option<T>, Refusal> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
        let turn = tokio::time::timeout(self.timeout, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Refusal::Overloaded) };
        let working = tokio::task::spawn_blocking(move || {
            // Held here, because the work goes on though its caller goes away.
            let _held = (place, turn);
            work()
        });
        Ok(working.await.ok())
    }
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher as _, PasswordVerifier as _};
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn passwords_wait_for_their_turn_and_not_for_ever() {
        let desk = Arc::new(Desk::new(1, 1, Duration::from_millis(20)));
        let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
        let (starting, started) = tokio::sync::oneshot::channel();
        let working = {
            let desk = desk.clone();
            async move {
                desk.work(move || {
                    starting.send(()).unwrap();
                    released.recv().unwrap();
                })
                .await
            }
        };
        let others = async {
            started.await.unwrap();
            let (waits, has_no_place) = tokio::join!(desk.work(|| ()), desk.work(|| ()));
            assert_eq!(has_no_place.unwrap_err().code(), "overloaded");
            assert_eq!(waits.unwrap_err().code(), "overloaded");
            release.send(()).unwrap();
        };
        let (worked, ()) = tokio::join!(working, others);
        assert!(worked.unwrap().is_some());
        assert!(matches!(desk.work(|| 7).await, Ok(Some(7))), "turn and place come back");
    }

    #[tokio::test]
    async fn strangers_keep_nobody_out_who_is_known_and_no_address_has_all_the_places() {
        // Nobody's turn is to be over before it comes.
        let desk = || Desk::new(AT_ONCE_MAX, WAITING_MAX, 12 * TURN_TIMEOUT);
        let desks = Arc::new(Desks { known: desk(), strangers: desk(), ..Desks::default() });
        let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
        let released = Arc::new(Mutex::new(released));
        let mut strangers = JoinSet::new();
        for nth in 0..200 {
            let (desks, released) = (desks.clone(), released.clone());
            let address = Some(IpAddr::from([192, 0, 2, nth % 5]));
            strangers.spawn(async move {
                let wait = move || {
                    let _ = released.lock().recv();
                };
                desks.work(Applicant::Stranger(address), wait).await.is_ok()
            });
        }
        // Those who are refused know it first; the others are under way.
        for _ in 0..200 - 5 * PER_ADDRESS_MAX {
            assert!(!strangers.join_next().await.unwrap().unwrap());
        }
        assert!(matches!(desks.work(Applicant::Known, || 7).await, Ok(Some(7))));
        let newcomer = Applicant::Stranger(Some(IpAddr::from([192, 0, 2, 9])));
        let (newcomer, ()) = tokio::join!(desks.work(newcomer, || ()), async { drop(release) });
        assert!(newcomer.is_ok(), "there is a place for another address");
        while let Some(done) = strangers.join_next().await {
            assert!(done.unwrap());
        }
        assert!(desks.addresses.lock().is_empty());
    }

    #[test]
    fn a_new_password_is_neither_short_nor_endless() {
        for (password, taken) in [
            ("1234567".to_owned(), false),
            ("éééé".to_owned(), false),
            ("12345678".to_owned(), true),
            ("éééééééé".to_owned(), true),
            ("é".repeat(512), true),
            ("é".repeat(513), false),
        ] {
            assert_eq!(check_new(&Secret::new(password.clone())).is_ok(), taken, "{password}");
        }
    }

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let hashed = hash(&Secret::new("correct horse".into()), [1; 16]).unwrap();
        assert!(hashed.starts_with("$argon2id$"));
        assert!(verify(&Secret::new("correct horse".into()), &hashed));
        assert!(!verify(&Secret::new("battery staple".into()), &hashed));
        assert!(!verify(&Secret::new("x".into()), "not a hash"));
        let parsed = PasswordHash::new(&hashed).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok(), "others read ours");
    }

    #[test]
    fn a_hash_that_others_made_is_read_by_its_own_parameters() {
        let other = Argon2::new(Algorithm::Argon2i, Version::V0x10, Params::new(64, 2, 2, Some(24)).unwrap());
        let hash = other.hash_password_with_salt(b"password", &[7; 16]).unwrap().to_string();
        assert!(verify(&Secret::new("password".into()), &hash));
        assert!(!verify(&Secret::new("passwort".into()), &hash));
    }
}
