//! App-Secrets, tokens and times as text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use respoke_core::clock::Timestamp;
use respoke_core::id::EndpointId;
use respoke_core::seal::{SealKind, Sealer};
use respoke_core::secret::AppSecret;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(secret) = AppSecret::parse(text) {
        assert_eq!(secret.secret().expose(), text.to_ascii_lowercase());
    }
    let sealer = Sealer::new([7; 16]);
    let _ = sealer.number_of(SealKind::Token, text);
    let _ = EndpointId::parse(text);
    if let Some(at) = Timestamp::parse(text) {
        let _ = at.to_iso();
    }
});
