//! A packet of a client, and the same text as what is pushed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use respoke_wire::frame::{self, FRAME_LEN_MAX, Packet};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(packet) = frame::decode(text) else { return };
    assert!(text.len() <= FRAME_LEN_MAX);
    let Packet::Event { data, .. } = packet else { return };
    assert!(text.ends_with(data));
    // As deep as a push puts it, for the reader has a limit of its own.
    let Ok([[argument]]) = serde_json::from_str::<[[Value; 1]; 1]>(&format!("[[{data}]]")) else { return };
    let push = frame::event("message", data.as_bytes());
    let push = std::str::from_utf8(&push).expect("a push is text");
    assert!(!push.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']));
    let Ok(Packet::Event { id: None, data }) = frame::decode(push) else {
        // The longest argument does not fit with what surrounds it.
        assert!(push.len() > FRAME_LEN_MAX);
        return;
    };
    let read: Value = serde_json::from_str(data).expect("a push is JSON");
    assert_eq!(read["args"][0], argument);
});
