//! Requests as recorded clients send them in events, and damaged ones.

use proptest::prelude::*;

use super::*;
use crate::frame::{self, FRAME_LEN_MAX, Packet};
use crate::input::DEPTH_MAX;

/// The event in a frame, and the id it is answered with.
fn event(frame: &str) -> (Option<u64>, RequestEvent<'_>) {
    match frame::decode(frame) {
        Ok(Packet::Event { id, data }) => (id, RequestEvent::decode(data).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn header<'a>(request: &'a Request<'_>, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}

#[test]
fn javascript_sends_text_with_a_path() {
    let (id, event) = event(concat!(
        r#"5:1+::{"name":"post","args":["#,
        // The argument: JSON as text.
        r#""{\"url\":\"/v1/connections\",\"data\":{\"capabilities\":{\"iceFinalCandidates\":true}},"#,
        r#"\"headers\":{\"App-Token\":\"F9B2\",\"Respoke-SDK\":\"Respoke.js/v2.1.1\"}}"]}"#,
    ));
    let request = event.request().unwrap();
    assert_eq!((id, event.method), (Some(1), Method::Post));
    assert_eq!((&*request.path, request.query.as_deref()), ("/v1/connections", None));
    assert_eq!(request.data, Some(r#"{"capabilities":{"iceFinalCandidates":true}}"#));
    assert_eq!(header(&request, "App-Token"), Some("F9B2"));
    assert_eq!(header(&request, "Respoke-SDK"), Some("Respoke.js/v2.1.1"));
    // Nothing is copied beyond the text.
    let texts = request.headers.iter().flat_map(|(name, value)| [name, value]).chain([&request.path]);
    assert!(texts.into_iter().all(|text| matches!(text, Cow::Borrowed(_))));
}

#[test]
fn android_sends_an_object_from_id_0_on_and_leaves_the_path_raw() {
    let (id, event) = event(
        r#"5:0+::{"name":"put","args":[{"data":{"limit":"1"},"headers":{"App-Token":"F9B2"},"url":"/v1/groups/köln süd/"}]}"#,
    );
    let request = event.request().unwrap();
    assert_eq!((id, event.method), (Some(0), Method::Put));
    assert_eq!(request.path, "/v1/groups/k%C3%B6ln%20s%C3%BCd/");
    assert_eq!(request.data, Some(r#"{"limit":"1"}"#));
}

#[test]
fn ios_escapes_slashes() {
    let (_, event) = event(
        r#"5:1+::{"args":[{"headers":{"App-Token":"F9B2"},"url":"\/v1\/channels\/a b\/subscribers\/?x=1"}],"name":"get"}"#,
    );
    let request = event.request().unwrap();
    assert_eq!((&*request.path, request.query.as_deref()), ("/v1/channels/a%20b/subscribers/", Some("x=1")));
    assert_eq!(request.data, None);
}

#[test]
fn go_sends_text_first_and_objects_later() {
    let (id, first) = event(
        r#"5:::{"name":"post","args":["{\"url\":\"/v1/connections\",\"headers\":{\"App-Token\":\"F9B2\"},\"data\":{\"presence\":{\"type\":\"\"}}}"]}"#,
    );
    assert_eq!((id, first.request().unwrap().data), (None, Some(r#"{"presence":{"type":""}}"#)));
    // `params` is what `data` was called before.
    let (id, later) = event(r#"5:1+::{"name":"post","args":[{"url":"v1/messages","params":{"to":"b"},"data":null}]}"#);
    let request = later.request().unwrap();
    assert_eq!((id, &*request.path, request.data), (Some(1), "/v1/messages", Some(r#"{"to":"b"}"#)));
}

#[test]
fn asterisk_sends_text() {
    let (id, event) = event(
        r#"5:1+::{"name":"post","args":["{\"url\":\"/v1/connections\",\"headers\":{\"App-Secret\":\"9D3C\",\"Respoke-SDK\":\"Respoke-Asterisk/0.0.0\"},\"data\":{\"endpointId\":\"pbx\"}}"]}"#,
    );
    let request = event.request().unwrap();
    assert_eq!((id, header(&request, "App-Secret")), (Some(1), Some("9D3C")));
    assert_eq!(request.data, Some(r#"{"endpointId":"pbx"}"#));
}

#[test]
fn node_sends_an_absolute_url_and_headers_that_are_null() {
    let (id, event) = event(concat!(
        r#"5:1+::{"name":"post","args":["{\"url\":\"http://host:3000/v1/connections\","#,
        r#"\"headers\":{\"App-Token\":\"CD44\",\"App-Secret\":null,\"Admin-Token\":null,\"n\":1,\"l\":[{}],"#,
        r#"\"Respoke-SDK\":\"Respoke-Node.js/2.0.1 (Linux)\"},\"data\":{}}"]}"#,
    ));
    let request = event.request().unwrap();
    assert_eq!((id, &*request.path, request.data), (Some(1), "/v1/connections", Some("{}")));
    assert_eq!(
        request.headers,
        [("App-Token", "CD44"), ("Respoke-SDK", "Respoke-Node.js/2.0.1 (Linux)")]
            .map(|(name, value)| (Cow::from(name), Cow::from(value)))
    );
}

#[test]
fn a_url_becomes_one_that_smuggles_nothing() {
    for (url, path, query) in [
        ("", "/", None),
        ("/", "/", None),
        ("v1/groups?groups[]=a b", "/v1/groups", Some("groups%5B%5D=a%20b")),
        ("HTTPS://user:pass@host/v1/x?", "/v1/x", Some("")),
        ("http://host", "/", None),
        ("http://host?a=/b", "/", Some("a=/b")),
        ("http:/v1", "/http:/v1", None),
        ("ftp://host/v1", "/ftp://host/v1", None),
        ("//host/v1", "//host/v1", None),
        ("/v1/a\r\nHost: b\0", "/v1/a%0D%0AHost:%20b%00", None),
        ("/v1/../a/./%2e%2E", "/v1/../a/./%2e%2E", None),
        ("/v1/%zz%/100%", "/v1/%zz%/100%", None),
        ("/v1/#room?x#y", "/v1/%23room", Some("x%23y")),
        ("/v1/\"<>\\^`{|}\u{7f}", "/v1/%22%3C%3E%5C%5E%60%7B%7C%7D%7F", None),
        ("/v1/a-._~!$&'()*+,;=:@/?a-._~!$&'()*+,;=:@/?", "/v1/a-._~!$&'()*+,;=:@/", Some("a-._~!$&'()*+,;=:@/?")),
        ("/v1/日本😀", "/v1/%E6%97%A5%E6%9C%AC%F0%9F%98%80", None),
    ] {
        let (found_path, found_query) = path_and_query(url);
        assert_eq!((&*found_path, found_query.as_deref()), (path, query), "{url}");
    }
}

#[test]
fn what_is_no_request_is_told_apart() {
    for name in ["", "POST", "message", "options", "head"] {
        let data = format!(r#"{{"name":"{name}","args":["{{}}"]}}"#);
        assert_eq!(RequestEvent::decode(&data).unwrap_err(), TunnelError::UnknownMethod, "{name}");
    }
    for data in [
        "",
        "{}",
        "null",
        r#"{"name":"get"}"#,
        r#"{"name":"get","args":[]}"#,
        r#"{"name":"get","args":{}}"#,
        r#"{"name":null,"args":["{}"]}"#,
        r#"{"name":"get","args":["{}"]"#,
        r#"{"name":"get","args":["\q"]}"#,
    ] {
        assert_eq!(RequestEvent::decode(data).unwrap_err(), TunnelError::Malformed, "{data}");
    }
    for argument in [
        "{}",
        "[]",
        "null",
        "5",
        "\"x\"",
        "\"\"",
        r#""\ud800""#,
        r#"{"url":null}"#,
        r#"{"url":"/","headers":[]}"#,
        "\"{\\\"url\\\":\"",
    ] {
        let data = format!(r#"{{"name":"get","args":[{argument},{{}}]}}"#);
        assert_eq!(RequestEvent::decode(&data).unwrap().request().unwrap_err(), TunnelError::Malformed, "{argument}");
    }
}

#[test]
fn what_text_cannot_hold_passes_in_either_kind_of_argument() {
    const DATA: &str = r#"{"message":"\ud83d","n":1e400,"n":18446744073709551617}"#;
    let object = format!(r#"{{"url":"/v1/messages?t=1","data":{DATA}}}"#);
    let quoted = serde_json::to_string(&object).unwrap();
    // Half a pair may be spelt in the text itself: its writer had it as it is, which is no JSON of its own.
    let half_spelt_outside = quoted.replace(r"\\ud83d", r"\ud83d");
    assert_ne!(quoted, half_spelt_outside);
    let marked = serde_json::to_string(&format!("\u{feff}{object}")).unwrap();
    for argument in [&object, &quoted, &half_spelt_outside, &marked] {
        for mark in ["", "\u{feff}"] {
            let data = format!(r#"{mark}{{"name":"post","args":[{argument}]}}"#);
            let event = RequestEvent::decode(&data).unwrap();
            assert_eq!(event.request().unwrap().data, Some(DATA), "{data}");
        }
    }
    // In what has a rule it is refused.
    for wrong in [r#"{"url":"/\ud83d"}"#, r#"{"url":"/","headers":{"App-Token":"\ud83d"}}"#] {
        for argument in [wrong.to_owned(), serde_json::to_string(wrong).unwrap()] {
            let data = format!(r#"{{"name":"get","args":[{argument}]}}"#);
            assert_eq!(
                RequestEvent::decode(&data).unwrap().request().unwrap_err(),
                TunnelError::Malformed,
                "{argument}"
            );
        }
    }
}

fn argument(json: &str) -> Result<(), TunnelError> {
    let quoted = serde_json::to_string(json).unwrap();
    let results = [json, &quoted].map(|argument| {
        let data = format!(r#"{{"name":"post","args":[{argument}]}}"#);
        RequestEvent::decode(&data).unwrap().request().map(|_| ())
    });
    // An object and the same object as text are held to the same limits.
    assert_eq!(results[0], results[1]);
    results[0]
}

#[test]
fn limits_hold_for_the_data_as_it_was_sent() {
    let long = |len: usize| argument(&format!(r#"{{"url":"/","data":{{"x":"{}"}}}}"#, "y".repeat(len - 8)));
    assert_eq!(long(BODY_LEN_MAX), Ok(()));
    assert_eq!(long(BODY_LEN_MAX + 1), Err(TunnelError::DataTooLarge));
    let deep =
        |levels: usize| argument(&format!(r#"{{"url":"/","data":{}{}}}"#, "[".repeat(levels), "]".repeat(levels)));
    assert_eq!(deep(DEPTH_MAX), Ok(()));
    assert_eq!(deep(DEPTH_MAX + 1), Err(TunnelError::DataTooDeep));
    let headers = |count: usize| {
        let headers: Vec<_> = (0..count).map(|at| format!(r#""h{at}":{}"#, ["null", "\"x\""][at % 2])).collect();
        argument(&format!(r#"{{"url":"/","headers":{{{}}}}}"#, headers.join(",")))
    };
    assert_eq!(headers(HEADERS_MAX), Ok(()));
    assert_eq!(headers(HEADERS_MAX + 1), Err(TunnelError::TooManyHeaders));
    // What is not used may be as deep as a frame is long, and overflows no stack.
    let brackets = FRAME_LEN_MAX / 2 - 20;
    assert_eq!(argument(&format!(r#"{{"url":"/","x":{}{}}}"#, "[".repeat(brackets), "]".repeat(brackets))), Ok(()));
}

#[test]
fn the_longest_data_fits_into_a_frame_as_text() {
    // All quotes and backslashes: each is doubled by its own string, and both again by the text around it.
    let data = format!(r#"{{"x":"{}"}}"#, "\\\"".repeat((BODY_LEN_MAX - 8) / 2));
    assert_eq!(data.len(), BODY_LEN_MAX);
    let argument = serde_json::to_string(&format!(r#"{{"url":"/v1/messages","data":{data}}}"#)).unwrap();
    let frame = format!(r#"5:1+::{{"name":"post","args":[{argument}]}}"#);
    assert_eq!(event(&frame).1.request().unwrap().data, Some(&*data));
}

#[test]
fn a_printed_request_tells_no_secret() {
    let (_, event) = event(
        r#"5:1+::{"name":"get","args":[{"url":"/v1/x?app-token=canary","headers":{"App-Token":"canary"},"data":{"tokenId":"canary"}}]}"#,
    );
    let printed = format!("{event:?} {:?}", event.request().unwrap());
    assert!(printed.contains("/v1/x") && !printed.contains("canary"), "{printed}");
}

const TEXT: &str = r#"{"name":"post","args":["{\"url\":\"/v1/a\",\"headers\":{\"App-Token\":\"F9\",\"n\":null},\"data\":{\"a\":[1]}}"]}"#;
const OBJECT: &str =
    r#"{"name":"post","args":[{"url":"/v1/a","headers":{"App-Token":"F9","n":null},"data":{"a":[1]}}]}"#;

proptest! {
    #[test]
    fn a_request_reads_back(
        path in "(/[a-z0-9%.~ äß€😀\"\\\\]{0,8}){1,4}",
        query in proptest::option::of("[a-z0-9&=+ä ]{0,20}"),
        headers in proptest::collection::vec((any::<String>(), any::<String>()), 0..5),
        value in any::<String>(),
        as_text: bool,
    ) {
        let url = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let headers: std::collections::BTreeMap<_, _> = headers.into_iter().collect();
        let data = serde_json::json!({ "x": value });
        let argument = serde_json::json!({ "url": url, "headers": headers, "data": data });
        let argument = if as_text { argument.to_string().into() } else { argument };
        let event = serde_json::json!({ "name": "patch", "args": [argument] }).to_string();
        let event = RequestEvent::decode(&event).unwrap();
        let request = event.request().unwrap();
        prop_assert_eq!(event.method.as_str(), "PATCH");
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        prop_assert_eq!(decode(&request.path), decode(&path));
        prop_assert_eq!(request.query.as_deref().map(decode), query.as_deref().map(decode));
        prop_assert!(request.path.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert_eq!(request.data.map(ToOwned::to_owned), Some(data.to_string()));
        let found = request.headers.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned()));
        prop_assert_eq!(found.collect::<std::collections::BTreeMap<_, _>>(), headers);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,100}") {
        let _ = RequestEvent::decode(&text);
        let _ = path_and_query(&text);
        let argument = serde_json::json!({ "name": "get", "args": [text] }).to_string();
        let _ = RequestEvent::decode(&argument).map(|event| event.request().map(|_| ()));
    }

    #[test]
    fn a_damaged_event_never_panics(object: bool, at in 0_usize..200, character: char) {
        let mut characters: Vec<char> = if object { OBJECT } else { TEXT }.chars().collect();
        let at = at % characters.len();
        characters[at] = character;
        let _ = RequestEvent::decode(&String::from_iter(characters)).map(|event| event.request().map(|_| ()));
    }
}
