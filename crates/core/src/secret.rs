//! Text that opens doors: how it is made, checked and kept out of sight.
//!
//! Invariant: a [`Secret`] leaves its type only through [`Secret::expose`].
//! Invariant: what is kept of a generated secret is its SHA-256, compared in constant time.

use std::fmt;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::chance::Chance;
use crate::id::parse_uuid;

/// Secret text. Prints as `Secret(..)`, cannot be serialized, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` into safe keeping.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself. Search for calls of this to see where secrets leave.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What a store keeps of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The SHA-256 of a generated secret. Equality takes the same time wherever two hashes differ.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes `text`.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// A hash read back from a store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a store to keep.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Twelve hex digits that tell two tokens apart in an audit log, and open nothing.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[..6])
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// The alphabet of App-Secrets: digits and lower-case letters without `i`, `l`, `o` and `u`, so that none is misread.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    spec.encoding().expect("32 distinct ASCII symbols are a base32 alphabet")
});

/// An App-Secret's text: `rspk_`, 32 symbols of randomness, 7 symbols of CRC-32.
///
/// The checksum lets a bad paste be refused without a look-up, and lets scanners find leaked secrets:
/// `rspk_[0-9a-hjkmnp-tv-z]{39}`. UUID text, as the original service used, is taken too when a secret is imported.
#[derive(Clone, Debug)]
pub struct AppSecret(Secret);

impl AppSecret {
    /// What every App-Secret made here begins with.
    pub const PREFIX: &str = "rspk_";
    const RANDOM_SYMBOLS: usize = 32;
    const LEN: usize = Self::PREFIX.len() + Self::RANDOM_SYMBOLS + 7;

    /// The App-Secret whose random part is `random`.
    #[must_use]
    pub fn from_random(random: [u8; 20]) -> Self {
        let mut text = String::with_capacity(Self::LEN);
        text.push_str(Self::PREFIX);
        BASE32.encode_append(&random, &mut text);
        let sum = crc32fast::hash(text.as_bytes());
        BASE32.encode_append(&sum.to_be_bytes(), &mut text);
        Self(Secret::new(text))
    }

    /// A new App-Secret with 160 random bits.
    #[must_use]
    pub fn new(chance: &dyn Chance) -> Self {
        Self::from_random(chance.bytes())
    }

    /// A new one, of the chance of the test that runs.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn random() -> Self {
        Self::new(&*crate::chance::of_this_test())
    }

    /// Takes well-formed text; the checksum is checked, nothing is looked up.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let sound = if text.starts_with(Self::PREFIX) {
            text.len() == Self::LEN && text.is_ascii() && {
                let (body, sum) = text.split_at(Self::PREFIX.len() + Self::RANDOM_SYMBOLS);
                let expected = BASE32.encode(&crc32fast::hash(body.as_bytes()).to_be_bytes());
                expected == sum
            }
        } else {
            parse_uuid(text).is_some()
        };
        // The service's own secrets were lower-case; reading both keeps a re-typed one working.
        sound.then(|| Self(Secret::new(text.to_ascii_lowercase())))
    }

    /// The text as a secret.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The last four symbols, to recognise a secret by.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = self.0.expose();
        format!("…{}", &text[text.len() - 4..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = AppSecret::random();
        let printed = format!("{secret:?} {:?}", secret.secret().hash());
        assert!(!printed.contains(secret.secret().expose()));
        assert_eq!(printed, "AppSecret(Secret(..)) SecretHash(..)");
    }

    #[test]
    fn an_imported_uuid_is_an_app_secret() {
        assert!(AppSecret::parse("0f0e0d0c-1111-4222-8333-444455556666").is_some());
        assert!(AppSecret::parse("hunter2").is_none());
    }

    proptest! {
        #[test]
        fn a_made_secret_parses_and_a_damaged_one_does_not(random: [u8; 20], at in 0_usize..44, by in 1_u8..31) {
            let text = AppSecret::from_random(random).secret().expose().to_owned();
            prop_assert!(AppSecret::parse(&text).is_some());
            let mut bytes = text.clone().into_bytes();
            bytes[at] = b'0' + (bytes[at].wrapping_add(by) % 75);
            let damaged = String::from_utf8(bytes).unwrap();
            prop_assume!(damaged != text);
            prop_assert!(AppSecret::parse(&damaged).is_none());
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in "\\PC*") {
            let _ = AppSecret::parse(&text);
        }
    }
}
