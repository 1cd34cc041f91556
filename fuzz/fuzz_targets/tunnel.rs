//! A request inside an event, and its data as an answer in both styles.
#![no_main]

use libfuzzer_sys::fuzz_target;
use respoke_wire::ack::{self, AckContent, AckHeaders, AckStyle};
use respoke_wire::input::BODY_LEN_MAX;
use respoke_wire::tunnel::{HEADERS_MAX, RequestEvent};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = AckStyle::of_handshake(text);
    let Ok(event) = RequestEvent::decode(text) else { return };
    let Ok(request) = event.request() else { return };
    let is_clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    assert!(request.path.starts_with('/') && !request.path.contains('?') && is_clean(&request.path));
    assert!(request.query.is_none_or(|query| is_clean(&query)));
    assert!(request.headers.len() <= HEADERS_MAX);
    let Some(data) = request.data else { return };
    assert!(data.len() <= BODY_LEN_MAX && data != "null");
    if !data.starts_with(['{', '[']) {
        return;
    }
    let headers = AckHeaders { request_id: "id", limit: 1, remaining: 0, retry_after_secs: Some(1), confirmed: None };
    let answer = AckContent { status: 200, headers, body: data.as_bytes() };
    let read = |style| {
        let ack = ack::encode(0, style, &answer);
        let json = ack.strip_prefix(b"6:::0+").expect("an ack");
        // Raw JSON may hold what serde_json reads as no value: half a pair, or a number beyond any float.
        serde_json::from_slice::<[Value; 1]>(json).ok()
    };
    let body = serde_json::from_str::<Value>(data).ok();
    assert_eq!(read(AckStyle::Object).map(|[ack]| ack["body"].clone()), body);
    assert_eq!(read(AckStyle::Text), Some([data.into()]));
});
