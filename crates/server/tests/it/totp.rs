//! What an authenticator app does.

use hmac::{Hmac, KeyInit, Mac};
use respoke_core::clock::Timestamp;
use sha1::Sha1;

/// The six digits that a device with this base32 secret shows.
pub(crate) fn code_at(secret: &str, at: Timestamp) -> String {
    let key = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
    mac.update(&(at.secs() / 30).to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest[19] & 15);
    let word = u32::from_be_bytes(digest[offset..offset + 4].try_into().unwrap());
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}
