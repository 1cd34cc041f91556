//! Passwords: argon2id, off the async threads.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};

use crate::secret::Secret;

/// Longest password taken, in bytes; hashing must not be made to take for ever.
pub const PASSWORD_LEN_MAX: usize = 1_024;
/// Shortest password taken for a new one, in characters.
pub const PASSWORD_LEN_MIN: usize = 8;

/// Hashes a password with a fresh salt. Takes tens of milliseconds and 19 MiB: never on an async thread.
///
/// # Errors
///
/// When the hashing library refuses, which it does for no password within the limits.
pub fn hash(password: &Secret) -> Result<String, argon2::password_hash::Error> {
    let mut salt = [0; 16];
    crate::secret::fill_random(&mut salt);
    Ok(Argon2::default().hash_password_with_salt(password.expose().as_bytes(), &salt)?.to_string())
}

/// Whether `password` is the one behind `hash`. As slow as [`hash`].
#[must_use]
pub fn verify(password: &Secret, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let hashed = hash(&Secret::new("correct horse".into())).unwrap();
        assert!(hashed.starts_with("$argon2id$"));
        assert!(verify(&Secret::new("correct horse".into()), &hashed));
        assert!(!verify(&Secret::new("battery staple".into()), &hashed));
        assert!(!verify(&Secret::new("x".into()), "not a hash"));
    }
}
