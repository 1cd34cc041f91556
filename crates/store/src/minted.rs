//! Which tokens were minted last, so that most redemptions need not look whether there is such a token.

use std::sync::atomic::{AtomicU64, Ordering};

use respoke_core::secret::SecretHash;

/// The tokens that this process minted last. Most are redeemed soon after, and what is known to be a token need not be looked
/// for before the step that spends it.
pub(crate) struct Minted(Box<[AtomicU64]>);

/// So many are known: those of a second or two at the highest rate, in 128 KiB.
const KNOWN: usize = 16_384;

impl Default for Minted {
    fn default() -> Self {
        Self((0..KNOWN).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Minted {
    /// Notes a token of that number and hash. Should it not be committed, the step that spends it will not find it.
    pub(crate) fn note(&self, number: u64, hash: SecretHash) {
        let (place, mark) = self.place(number, hash);
        place.store(mark, Ordering::Relaxed);
    }

    /// Whether it is one of them. If not, it may be a token all the same.
    pub(crate) fn knows(&self, number: u64, hash: SecretHash) -> bool {
        let (place, mark) = self.place(number, hash);
        place.load(Ordering::Relaxed) == mark
    }

    fn place(&self, number: u64, hash: SecretHash) -> (&AtomicU64, u64) {
        let head = hash.as_bytes().first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
        let at = usize::try_from(number).unwrap_or(usize::MAX) % self.0.len();
        (&self.0[at], head.wrapping_add(number).max(1))
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::secret::Secret;

    use super::*;

    #[test]
    fn a_token_is_known_by_its_number_and_hash_until_others_took_its_place() {
        let minted = Minted::default();
        let hashes = ["one", "another"].map(|text| Secret::new(text.to_owned()).hash());
        assert!(!minted.knows(0, hashes[0]) && !minted.knows(7, hashes[0]));
        minted.note(7, hashes[0]);
        assert!(minted.knows(7, hashes[0]));
        assert!(!minted.knows(7, hashes[1]) && !minted.knows(7 + KNOWN as u64, hashes[0]));
        minted.note(7 + KNOWN as u64, hashes[1]);
        assert!(!minted.knows(7, hashes[0]));
    }
}
