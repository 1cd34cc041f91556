//! What nodes tell each other of those who fail to be let in.
//!
//! A try to sign in is told when it begins to be looked at, and what comes of it when it is known: so a try at one node
//! counts at all of them after the time that the bus takes. Credentials that are not valid are told a few times a second,
//! summed up.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use parking_lot::Mutex;
use respoke_core::ports::{Guesser, NameHash, Tried};
use respoke_core::secret::SecretHash;

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
                let first = SecretHash::of(&text).as_bytes().first_chunk().copied();
                NameHash(u64::from_be_bytes(first.unwrap_or_default()))
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
    pub(super) fn told_by(tell: impl Fn(Vec<Tried>) + Send + Sync + 'static) -> Self {
        Self { tell: Box::new(tell), untold: Mutex::default() }
    }

    pub(super) fn tell(&self, tried: Vec<Tried>) {
        (self.tell)(tried);
    }

    /// Tells what was not told at once.
    pub(super) fn tell_the_rest(&self) {
        let untold = std::mem::take(&mut *self.untold.lock());
        if !untold.is_empty() {
            let tell = |(address, count)| Tried::Failed(Guesser::Credential(address), count);
            self.tell(untold.into_iter().map(tell).collect());
        }
    }

    pub(super) fn credential_failed(&self, address: IpAddr) {
        let mut untold = self.untold.lock();
        if untold.len() < ADDRESSES_TOLD_MAX || untold.contains_key(&address) {
            let count = untold.entry(address).or_default();
            *count = count.saturating_add(1);
        }
    }
}
