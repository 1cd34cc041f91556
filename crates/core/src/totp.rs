//! Codes that change every half minute: an admin's second factor.
//!
//! # Source
//!
//! RFC 6238 with its defaults (SHA-1, 30 seconds), six digits, as authenticator apps know it; the `otpauth` form is the
//! "Key Uri Format" of Google Authenticator's wiki.

use argon2::Argon2;
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::chance::Chance;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// A code's life in seconds.
pub const STEP_SECS: u64 = 30;
/// Digits of a code.
const DIGITS: usize = 6;
/// The length of the secret, as RFC 4226 recommends it.
const SECRET_LEN: usize = 20;
/// Who asks, as authenticator apps show it.
const ISSUER: &str = "respoked";

/// The secret that an admin's device and the server share.
#[derive(Clone)]
pub struct TotpSecret([u8; SECRET_LEN]);

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpSecret(..)")
    }
}

impl Drop for TotpSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl TotpSecret {
    /// A new one.
    #[must_use]
    pub fn new(chance: &dyn Chance) -> Self {
        Self(chance.bytes())
    }

    /// A new one, of the chance of the test that runs.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn random() -> Self {
        Self::new(&*crate::chance::of_this_test())
    }

    /// Its text, to be typed into a device: base32.
    #[must_use]
    pub fn text(&self) -> Secret {
        Secret::new(BASE32_NOPAD.encode(&self.0))
    }

    /// The URI that a device reads from a QR code, for the admin `username`.
    #[must_use]
    pub fn uri(&self, username: &str) -> Secret {
        let username = utf8_percent_encode(username, NON_ALPHANUMERIC);
        let secret = self.text();
        Secret::new(format!("otpauth://totp/{ISSUER}:{username}?secret={}&issuer={ISSUER}", secret.expose()))
    }

    /// The time step of `code` at `now`: the present one, or one beside it as clocks differ. None: the code is wrong.
    ///
    /// All three are compared, whichever it is.
    #[must_use]
    pub fn step_of(&self, code: &str, now: Timestamp) -> Option<u64> {
        let present = u64::try_from(now.secs()).unwrap_or(0) / STEP_SECS;
        let mut found = None;
        for step in [present.saturating_sub(1), present + 1, present] {
            if bool::from(self.code(step).as_bytes().ct_eq(code.as_bytes())) {
                found = Some(step);
            }
        }
        found
    }

    /// The code of a time step.
    fn code(&self, step: u64) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(&step.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        let at = usize::from(digest[19] & 0x0f);
        let number = u32::from_be_bytes([digest[at] & 0x7f, digest[at + 1], digest[at + 2], digest[at + 3]]);
        format!("{:0DIGITS$}", number % 10_u32.pow(6))
    }

    /// The secret as it is kept: only who knows `password` reads it. Takes as long as hashing a password does, so never
    /// on an async thread. `salt` is fresh. None: the hashing library refused.
    #[must_use]
    pub fn seal(&self, password: &Secret, salt: [u8; 16]) -> Option<SealedTotp> {
        let mask = mask(password, &salt)?;
        Some(SealedTotp { salt, masked: masked(self.0, &mask) })
    }
}

/// A [`TotpSecret`] as it is kept, under a mask that the admin's password makes.
///
/// So who has the database, and with it the hash of the password, has both factors only after guessing the password.
#[derive(Clone)]
pub struct SealedTotp {
    salt: [u8; 16],
    masked: [u8; SECRET_LEN],
}

impl std::fmt::Debug for SealedTotp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedTotp(..)")
    }
}

impl SealedTotp {
    /// The length of [`Self::to_bytes`].
    pub const LEN: usize = 16 + SECRET_LEN;

    /// For a store to keep.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(&self.salt);
        bytes[16..].copy_from_slice(&self.masked);
        bytes
    }

    /// Read back from a store.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let (mut salt, mut sealed) = ([0; 16], [0; SECRET_LEN]);
        salt.copy_from_slice(&bytes[..16]);
        sealed.copy_from_slice(&bytes[16..]);
        Self { salt, masked: sealed }
    }

    /// The secret; another one with a wrong password. As slow as [`TotpSecret::seal`].
    #[must_use]
    pub fn open(&self, password: &Secret) -> Option<TotpSecret> {
        Some(TotpSecret(masked(self.masked, &mask(password, &self.salt)?)))
    }
}

/// As many unguessable bytes as the secret has. The salt is never used for another secret, so no mask is used twice.
fn mask(password: &Secret, salt: &[u8; 16]) -> Option<[u8; SECRET_LEN]> {
    let mut mask = [0; SECRET_LEN];
    Argon2::default().hash_password_into(password.expose().as_bytes(), salt, &mut mask).ok()?;
    Some(mask)
}

fn masked(mut bytes: [u8; SECRET_LEN], mask: &[u8; SECRET_LEN]) -> [u8; SECRET_LEN] {
    bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    bytes
}

/// Recovery codes of one admin.
pub const RECOVERY_CODES: usize = 10;

/// A code that stands in for the device once: 80 random bits in four groups, so that its SHA-256 cannot be guessed.
#[must_use]
pub fn recovery_code(chance: &dyn Chance) -> Secret {
    let random: [u8; 10] = chance.bytes();
    let text = BASE32_NOPAD.encode(&random).to_ascii_lowercase();
    Secret::new(format!("{}-{}-{}-{}", &text[..4], &text[4..8], &text[8..12], &text[12..]))
}

/// What an admin typed as a second factor.
#[derive(Clone, Debug)]
pub enum TypedCode {
    /// Six digits of the device.
    Totp(Secret),
    /// A recovery code, as it is hashed.
    Recovery(Secret),
}

impl TypedCode {
    /// Reads what was typed; spaces, dashes and case do not matter.
    #[must_use]
    pub fn read(text: &Secret) -> Self {
        let kept = |char: &char| !char.is_whitespace() && *char != '-';
        let text: String = text.expose().chars().filter(kept).take(64).collect::<String>().to_ascii_lowercase();
        if text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::Totp(Secret::new(text))
        } else {
            Self::Recovery(Secret::new(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B: its eight digits end in these six.
        let secret = TotpSecret(*b"12345678901234567890");
        for (secs, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = secs / 30;
            assert_eq!(secret.code(step), code);
            let at = |secs: u64| Timestamp::from_secs(i64::try_from(secs).unwrap());
            assert_eq!(secret.step_of(code, at(secs)), Some(step));
            assert_eq!(secret.step_of(code, at(step * 30 - 1)), Some(step), "a clock behind");
            assert_eq!(secret.step_of(code, at(step * 30 + 59)), Some(step), "a clock ahead");
            assert_eq!(secret.step_of(code, at(step * 30 + 60)), None);
        }
        assert_eq!(secret.step_of("", Timestamp::from_secs(59)), None);
    }

    #[test]
    fn only_the_password_opens_what_is_kept() {
        let secret = TotpSecret::random();
        let sealed = secret.seal(&Secret::new("correct horse".into()), [1; 16]).unwrap();
        let bytes = sealed.to_bytes();
        assert!(!bytes.windows(SECRET_LEN).any(|window| window == secret.0));
        let sealed = SealedTotp::from_bytes(bytes);
        assert_eq!(sealed.open(&Secret::new("correct horse".into())).unwrap().0, secret.0);
        assert_ne!(sealed.open(&Secret::new("battery staple".into())).unwrap().0, secret.0);
        assert_eq!(format!("{secret:?} {sealed:?}"), "TotpSecret(..) SealedTotp(..)");
    }

    #[test]
    fn a_device_reads_the_uri() {
        let uri = TotpSecret(*b"12345678901234567890").uri("jo & co");
        assert_eq!(
            uri.expose(),
            "otpauth://totp/respoked:jo%20%26%20co?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=respoked"
        );
    }

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let read = |text: &str| TypedCode::read(&Secret::new(text.into()));
        assert!(matches!(read(" 287 082\n"), TypedCode::Totp(code) if code.expose() == "287082"));
        let code = recovery_code(&*crate::chance::of_this_test());
        let plain = code.expose().replace('-', "");
        for text in [code.expose().to_owned(), code.expose().to_uppercase(), plain.clone()] {
            assert!(matches!(read(&text), TypedCode::Recovery(read) if read.expose() == plain), "{text}");
        }
        assert_eq!(plain.len(), 16);
    }
}
