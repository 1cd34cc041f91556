//! Repeating a creation safely: `Idempotency-Key`.
//!
//! The key is remembered in the very transaction that creates, so a crash leaves both or neither. What was created can
//! contain a secret, of which only the hash is kept; so the secret of a keyed creation is *derived* from the caller's
//! credential, the key and the request, and a repetition derives the same again. Nothing recoverable is stored.

use sha2::{Digest, Sha256};

use crate::chance::Chance;
use crate::refusal::Refusal;
use crate::seal::Entropy;

/// How long a key is remembered, in seconds.
pub const REMEMBERED_SECS: i64 = 86_400;

/// A keyed creation.
#[derive(Clone)]
pub struct IdempotencyKey {
    /// What a store looks the key up by: a hash of caller, route and key.
    pub key: [u8; 32],
    /// A hash of the request; another request under the same key is refused.
    pub request: [u8; 32],
    derivation: [u8; 32],
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdempotencyKey(..)")
    }
}

impl IdempotencyKey {
    /// The key `key` of a request to `route` with `body`, made with `credential` (its text, or what else only that
    /// caller knows).
    #[must_use]
    pub fn new(credential: &[u8], route: &str, key: &[u8], body: &[u8]) -> Self {
        let digest = |purpose: &[u8], last: &[u8]| -> [u8; 32] {
            let mut hasher = Sha256::new();
            for part in [purpose, credential, route.as_bytes(), key, last] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
            hasher.finalize().into()
        };
        Self { key: digest(b"key", b""), request: digest(b"request", body), derivation: digest(b"derive", body) }
    }

    /// Random-looking bytes that a repetition of the request finds again.
    #[must_use]
    pub fn derive<const N: usize>(&self, purpose: &str) -> [u8; N] {
        const { assert!(N <= 32, "one digest is enough") };
        let mut hasher = Sha256::new();
        hasher.update(self.derivation);
        hasher.update(purpose.as_bytes());
        let digest: [u8; 32] = hasher.finalize().into();
        let mut bytes = [0; N];
        bytes.copy_from_slice(&digest[..N]);
        bytes
    }

    /// Entropy for a token, derived if there is a key and random if there is none.
    #[must_use]
    pub fn entropy(key: Option<&Self>, chance: &dyn Chance) -> Entropy {
        key.map_or_else(|| Entropy::new(chance), |key| Entropy::from_bytes(key.derive("entropy")))
    }
}

/// What came of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Creation<T, R> {
    /// It was created.
    Created(T),
    /// The same request had created it before; this is it.
    Repeated(T),
    /// The key was used with another request, or what it made is gone.
    KeyReused,
    /// Nothing was created, for this reason.
    Refused(R),
}

impl<T, R> Creation<T, R> {
    /// What the request has created, now or before.
    ///
    /// # Errors
    ///
    /// [`Refusal::IdempotencyKeyReused`], or what `refusal` makes of the reason.
    pub fn made(self, refusal: impl FnOnce(R) -> Refusal) -> Result<T, Refusal> {
        match self {
            Self::Created(value) | Self::Repeated(value) => Ok(value),
            Self::KeyReused => Err(Refusal::IdempotencyKeyReused),
            Self::Refused(reason) => Err(refusal(reason)),
        }
    }
}
