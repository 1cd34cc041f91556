//! What nodes tell each other of those who fail to be let in.
//!
//! A try to sign in is told when it begins to be looked at, and what comes of it when it is known: so a try at one node
//! counts at all of them after the time that the bus takes. Credentials that are not valid are told a few times a second,
//! summed up.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

use parking_lot::Mutex;
use respoke_core::ports::{Guesser, NameHash, Tried};
use respoke_core::secret::SecretHash;

use super::{KNOWN_FOR, Throttle};

/// Addresses whose failed credentials are told at once. What others fail meanwhile counts here alone.
const ADDRESSES_TOLD_MAX: usize = 4_096;

/// How user names are hashed.
pub(super) enum Names {
    /// Under a key that this process made up.
    OfProcess(RandomState),
    /// Under a key that the database's nodes have in common.
    OfDatabase([u8; 32]),
}

impl Names {
    pub(super) fn hash(&self, username: &str) -> NameHash {
        match self {
            Self::OfProcess(state) => NameHash(state.hash_one(username)),
            Self::OfDatabase(key) => {
                let text = [b"guessed at\0", key.as_slice(), username.as_bytes()].concat();
                let [a, b, c, d, e, f, g, h, ..] = *SecretHash::of(&text).as_bytes();
                NameHash(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

/// The other nodes.
pub(super) struct Others {
    tell: Box<dyn Fn(Vec<Tried>) + Send + Sync>,
    /// How many credentials of each address failed here that were not told.
    untold: Mutex<HashMap<IpAddr, u32>>,
}

impl Others {
    pub(super) fn credential_failed(&self, address: IpAddr) {
        let mut untold = self.untold.lock();
        if untold.len() < ADDRESSES_TOLD_MAX || untold.contains_key(&address) {
            let count = untold.entry(address).or_default();
            *count = count.saturating_add(1);
        }
    }
}

impl Throttle {
    /// The same for a node among others, whom it tells by `tell` who fails. `key` is theirs in common.
    pub(crate) fn among_others(self, key: [u8; 32], tell: impl Fn(Vec<Tried>) + Send + Sync + 'static) -> Self {
        let others = Others { tell: Box::new(tell), untold: Mutex::default() };
        Self { names: Names::OfDatabase(key), others: Some(others), ..self }
    }

    /// Tells the other nodes, if there are any.
    pub(super) fn tell(&self, tried: impl FnOnce() -> Vec<Tried>) {
        if let Some(others) = &self.others {
            (others.tell)(tried());
        }
    }

    /// Tells them what was not told at once.
    pub(crate) fn tell_the_rest(&self) {
        let Some(others) = &self.others else { return };
        let untold = std::mem::take(&mut *others.untold.lock());
        if !untold.is_empty() {
            let tell = |(address, count)| Tried::Failed(Guesser::Credential(address), count);
            (others.tell)(untold.into_iter().map(tell).collect());
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
                    failures.count = failures.count.saturating_sub(1);
                    failures.last = failures.before;
                }
            }
            Tried::Forgiven(guesser) => drop(self.failures.remove(&guesser)),
            Tried::CameIn(address, name) => self.known.insert((address, name), now + KNOWN_FOR),
        }
    }
}
