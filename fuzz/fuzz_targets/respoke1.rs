//! A frame of `respoke.1`: its objects, what is asked for in them, and its data as an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use respoke_wire::input::BODY_LEN_MAX;
use respoke_wire::respoke1::said::{self, Refused};
use respoke_wire::respoke1::{Asked, Object, Op, is_key, lines};

fuzz_target!(|data: &[u8]| {
    let _ = Refused::of_body(data, None);
    let Ok(text) = std::str::from_utf8(data) else { return };
    for line in lines(text) {
        let Ok(Object::Request { id, op, .. }) = Object::read(line) else { continue };
        let Ok(Asked::Operation(_, request)) = Asked::read(Op::of(op.text())) else { continue };
        let is_clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        assert!(request.path.starts_with('/') && !request.path.contains('?') && is_clean(&request.path));
        assert!(request.query.is_none_or(|query| is_clean(&query)));
        assert!(request.headers.iter().all(|(_, key)| is_key(key)));
        let Some(data) = request.data else { continue };
        assert!(data.len() <= BODY_LEN_MAX);
        let answer = said::ok(id, data.as_bytes(), None);
        assert!(!answer.contains(&b'\n') && !answer.contains(&b'\r'));
        assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&answer).is_ok());
    }
});
