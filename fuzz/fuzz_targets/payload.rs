//! The body of a poll's `POST`, bare and as a form, and what was read from it as an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use respoke_wire::payload;

fuzz_target!(|data: &[u8]| {
    let _ = payload::decode_form(data);
    let Ok(body) = std::str::from_utf8(data) else { return };
    let script = payload::jsonp(7, data);
    let json = script.strip_prefix(b"io.j[7](").and_then(|rest| rest.strip_suffix(b");")).expect("a call");
    assert_eq!(serde_json::from_slice::<String>(json).expect("one string"), body);
    let Ok(packets) = payload::decode(body) else { return };
    // No packet begins like a list of packets; what does was not looked at yet.
    if packets.len() > 1 || !packets[0].starts_with('\u{FFFD}') {
        let body = payload::encode(&packets);
        assert_eq!(payload::decode(std::str::from_utf8(&body).expect("a body is text")), Ok(packets));
    }
});
