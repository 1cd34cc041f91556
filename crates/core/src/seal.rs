//! Tokens that carry their row's number.
//!
//! A token is looked up by a number instead of by its hash, because rows under sequential keys share pages and rows
//! under random keys each dirty their own (docs/adr/0001). The number is hidden by a keyed permutation so that nobody
//! reads the rate of issue from two tokens; it protects nothing else, the random part does that.
//!
//! Layout of the 128 bits: 40 bits of permuted number, 82 bits of randomness, 6 bits that make it a version 4 UUID.
//!
//! Invariant: `number_of(kind, seal(kind, n, e)) == n` for every `n` below 2^40 and every `e`.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use uuid::Uuid;

use crate::chance::Chance;
use crate::id::parse_uuid;
use crate::secret::Secret;

/// What a sealed number counts. Kinds do not read each other's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealKind {
    /// The one-use tokenId.
    Token,
    /// The App-Token of a session.
    Session,
    /// The Admin-Token.
    AdminSession,
    /// The public name of a token.
    TokenName,
    /// The public name of a session.
    SessionName,
}

impl SealKind {
    const fn tweak(self) -> u64 {
        match self {
            Self::Token => 1,
            Self::Session => 2,
            Self::AdminSession => 3,
            Self::TokenName => 4,
            Self::SessionName => 5,
        }
    }
}

/// The random part of a token that has no number yet.
#[derive(Clone, Copy)]
pub struct Entropy([u8; 16]);

impl Entropy {
    /// 128 fresh random bits, of which a token keeps 82.
    #[must_use]
    pub fn new(chance: &dyn Chance) -> Self {
        Self(chance.bytes())
    }

    /// The same of the chance of the test that runs.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn random() -> Self {
        Self::new(&*crate::chance::of_this_test())
    }

    /// Bits derived from something only the caller knows; see [`crate::idempotency`].
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(..)")
    }
}

/// Makes tokens from numbers and finds the numbers again. One key per database.
#[derive(Clone)]
pub struct Sealer {
    key: [u8; 16],
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

/// Numbers stay below this.
pub const NUMBER_END: u64 = 1 << 40;
const HALF_BITS: u32 = 20;
const HALF_MASK: u32 = (1 << HALF_BITS) - 1;
/// Feistel rounds; four already make a strong pseudo-random permutation of a keyed PRF, the rest is margin.
const ROUNDS: u64 = 8;

impl Sealer {
    /// A sealer with the database's key.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// Token text for row `number`: upper-case UUID text.
    #[must_use]
    pub fn seal(&self, kind: SealKind, number: u64, entropy: Entropy) -> Secret {
        let mut buffer = Uuid::encode_buffer();
        Secret::new(self.uuid(kind, number, entropy).hyphenated().encode_upper(&mut buffer).to_owned())
    }

    /// The number that well-formed token text carries. Whether the token is genuine, its hash decides.
    #[must_use]
    pub fn number_of(&self, kind: SealKind, text: &str) -> Option<u64> {
        parse_uuid(text).map(|uuid| self.unseal(kind, uuid))
    }

    /// The public name of row `number`: always the same, and made by nobody else.
    #[must_use]
    pub fn name(&self, kind: SealKind, number: u64) -> Uuid {
        let low = self.prf(kind.tweak() << 8 | 0xfe, number);
        let high = self.prf(kind.tweak() << 8 | 0xff, number);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&low.to_be_bytes());
        bytes[8..].copy_from_slice(&high.to_be_bytes());
        self.uuid(kind, number, Entropy(bytes))
    }

    /// The number behind a public name, or nothing if this sealer did not make it.
    #[must_use]
    pub fn number_of_name(&self, kind: SealKind, name: Uuid) -> Option<u64> {
        let number = self.unseal(kind, name);
        (self.name(kind, number) == name).then_some(number)
    }

    fn uuid(&self, kind: SealKind, number: u64, entropy: Entropy) -> Uuid {
        let hidden = self.permute(kind, number);
        let mut bytes = entropy.0;
        bytes[..5].copy_from_slice(&hidden.to_be_bytes()[3..]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    fn unseal(&self, kind: SealKind, uuid: Uuid) -> u64 {
        let mut hidden = [0; 8];
        hidden[3..].copy_from_slice(&uuid.as_bytes()[..5]);
        self.unpermute(kind, u64::from_be_bytes(hidden))
    }

    fn permute(&self, kind: SealKind, number: u64) -> u64 {
        let (mut left, mut right) = halves(number);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(kind, round, right));
        }
        join(left, right)
    }

    fn unpermute(&self, kind: SealKind, hidden: u64) -> u64 {
        let (mut left, mut right) = halves(hidden);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(kind, round, left), left);
        }
        join(left, right)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits of a keyed hash are as good as any")]
    fn round(&self, kind: SealKind, round: u64, half: u32) -> u32 {
        self.prf(kind.tweak() << 8 | round, u64::from(half)) as u32 & HALF_MASK
    }

    fn prf(&self, tweak: u64, input: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u64(tweak);
        hasher.write_u64(input);
        hasher.finish()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each half is masked to its 20 bits")]
fn halves(number: u64) -> (u32, u32) {
    ((number >> HALF_BITS) as u32 & HALF_MASK, number as u32 & HALF_MASK)
}

fn join(left: u32, right: u32) -> u64 {
    u64::from(left) << HALF_BITS | u64::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn token_text_is_an_upper_case_version_4_uuid() {
        let text = Sealer::new([7; 16]).seal(SealKind::Token, 1, Entropy::random());
        let text = text.expose();
        assert_eq!(text, text.to_uppercase());
        assert_eq!(Uuid::try_parse(text).unwrap().get_version_num(), 4);
    }

    #[test]
    fn neighbouring_numbers_do_not_look_alike() {
        let sealer = Sealer::new([7; 16]);
        let hidden: std::collections::BTreeSet<u64> =
            (0..10_000).map(|number| sealer.permute(SealKind::Token, number)).collect();
        assert_eq!(hidden.len(), 10_000);
        assert!(hidden.iter().zip(hidden.iter().skip(1)).filter(|(a, b)| **b - **a == 1).count() < 10);
    }

    proptest! {
        #[test]
        fn a_sealed_number_is_found_again(key: [u8; 16], number in 0..NUMBER_END, entropy: [u8; 16]) {
            let sealer = Sealer::new(key);
            let text = sealer.seal(SealKind::Session, number, Entropy::from_bytes(entropy));
            prop_assert_eq!(sealer.number_of(SealKind::Session, text.expose()), Some(number));
            prop_assert_eq!(sealer.number_of(SealKind::Session, &text.expose().to_lowercase()), Some(number));
        }

        #[test]
        fn a_name_is_known_only_to_its_own_kind_and_key(key: [u8; 16], number in 0..NUMBER_END) {
            let sealer = Sealer::new(key);
            let name = sealer.name(SealKind::TokenName, number);
            prop_assert_eq!(sealer.number_of_name(SealKind::TokenName, name), Some(number));
            prop_assert_eq!(sealer.number_of_name(SealKind::SessionName, name), None);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,40}") {
            let _ = Sealer::new([1; 16]).number_of(SealKind::Token, &text);
        }
    }
}
