//! What clients send, and what nobody should.

use proptest::prelude::*;

use super::*;
use crate::body::apps::WriteApp;
use crate::body::call_debugs::WriteCallReport;
use crate::body::ends::Nothing;
use crate::body::groups::PublishMessage;
use crate::body::history::SearchHistory;
use crate::body::messages::SendMessage;
use crate::body::presence::SetPresence;
use crate::body::roles::WriteRole;
use crate::body::session_tokens::CreateSessionToken;
use crate::body::sessions::EndSessions;
use crate::body::signaling::SendSignal;
use crate::body::tokens::IssueToken;

const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";

fn json(body: &str) -> Result<IssueToken, DecodeError> {
    read(Input { body: body.as_bytes(), content_type: Some("application/json"), query: None })
}

fn fields<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> FieldErrors {
    match result {
        Err(DecodeError::Fields(fields)) => fields,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_each_client_sends_is_understood() {
    // Node: nulls, a whole `headers` object, an unknown field.
    let body = json(r#"{"endpointId":"jo","roleId":null,"ttl":84600,"headers":{"App-Secret":null},"x":1}"#).unwrap();
    assert_eq!((body.endpoint_id.as_deref(), body.role_id, body.ttl), (Some("jo"), None, Some(84_600)));
    // Java: a number as text.
    assert_eq!(json(r#"{"ttl":"3600"}"#).unwrap().ttl, Some(3_600));
    // Android and iOS: an un-encoded form.
    let form = Input { body: b"appId=7c5f&endpointId=jo+doe%20x@y.z&ttl=21600", content_type: Some(FORM), query: None };
    let body: IssueToken = read(form).unwrap();
    assert_eq!(body.endpoint_id.as_deref(), Some("jo doe x@y.z"));
    assert_eq!((body.app_id.as_deref(), body.ttl), (Some("7c5f"), Some(21_600)));
    // curl -d without a type: JSON that is called a form.
    let curl = Input { body: br#" {"tokenId":"T"} "#, content_type: Some(FORM), query: None };
    assert_eq!(read::<CreateSessionToken>(curl).unwrap().token_id.unwrap().expose(), "T");
    // Nothing at all.
    assert!(read::<IssueToken>(Input::default()).unwrap().endpoint_id.is_none());
}

#[test]
fn the_body_wins_over_the_query_and_credentials_are_no_fields() {
    let query = Some("endpointId=query&&ttl=60&APP-SECRET=endpointId&roleName=r");
    let input = Input { query, body: br#"{"endpointId":"body","ttl":null}"#, ..Input::default() };
    let body: IssueToken = read(input).unwrap();
    assert_eq!(body.endpoint_id.as_deref(), Some("body"));
    assert_eq!((body.ttl, body.role_name.as_deref()), (Some(60), Some("r")));
    let form = Input { query, body: b"endpointId=form", content_type: Some(FORM) };
    assert_eq!(read::<IssueToken>(form).unwrap().endpoint_id.as_deref(), Some("form"));
    let query = Input { query: Some("all=true&issuedBefore=1420234257"), ..Input::default() };
    let body: EndSessions = read(query).unwrap();
    assert_eq!(body.all, Some(true));
    assert!(body.issued_before.is_some());
}

#[test]
fn a_repeated_field_is_a_list_where_clients_send_lists_so() {
    let input = |query, body| Input { query: Some(query), content_type: Some(FORM), body };
    let names = |input| read::<SearchHistory>(input).unwrap().group_ids.unwrap();
    assert_eq!(names(input("groupIds=a%2Fb&limit=1&groupIds=c+d&app-token=t", b"")), ["a/b", "c d"]);
    assert_eq!(names(input("groupIds=a", b"")), ["a"]);
    assert_eq!(names(input("groupIds=", b"groupIds=a&groupIds=b")), ["a", "b"]);
    assert_eq!(names(input("groupIds=a&groupIds=b", br#"{"groupIds":["c"]}"#)), ["c"], "the body wins");
    assert_eq!(names(input("groupIds=a&groupIds=b", br#"{"groupIds":null}"#)), ["a", "b"]);
    let input = Input { body: br#"{"groupIds":["a",7]}"#, ..Input::default() };
    assert_eq!(fields(read::<SearchHistory>(input))["groupIds[1]"], ["groupIds[1] must be text."]);
    let input = Input { body: br#"{"groupIds":7}"#, ..Input::default() };
    assert_eq!(fields(read::<SearchHistory>(input))["groupIds"], ["groupIds must be a list."]);
}

#[test]
fn any_other_field_is_said_once() {
    let form = |body| Input { content_type: Some(FORM), body, query: None };
    let twice = fields(read::<IssueToken>(form(b"endpointId=a&endpointId=b")));
    assert_eq!(twice["endpointId"], ["endpointId is given more than once."]);
    let query = |query| Input { query: Some(query), ..Input::default() };
    assert!(fields(read::<IssueToken>(query("ttl=1&ttl=1"))).contains_key("ttl"));
    assert!(fields(read::<SendMessage>(query("message=a&message=b"))).contains_key("message"));
    assert!(read::<IssueToken>(query("x=1&x=2&app-token=a&app-token=b")).is_ok(), "what is unknown is ignored");
    // An object with equal keys is none, whatever the query says.
    for body in [r#"{"ttl":1,"ttl":2}"#, r#"{"ttl":null,"ttl":2}"#, r#"{"ttl":null,"tt\u006c":null}"#] {
        for query in [None, Some("x=1"), Some("ttl=3")] {
            let input = Input { query, body: body.as_bytes(), ..Input::default() };
            assert_eq!(read::<IssueToken>(input).unwrap_err(), DecodeError::Malformed, "{query:?} {body}");
        }
    }
}

#[test]
fn what_is_no_text_becomes_no_name() {
    let form = |body| Input { content_type: Some(FORM), body, query: None };
    let query = |query| Input { query: Some(query), ..Input::default() };
    for input in [
        form(b"endpointId=caf%E9"),
        form(b"endpointId=caf%E8"),
        form(b"endpointId=caf\xE9"),
        form(b"%FF=x&endpointId=a"),
        query("endpointId=caf%E9"),
        query("endpointId=a&x=%E8"),
        Input { query: Some("endpointId=%E9"), body: br#"{"endpointId":"a"}"#, content_type: None },
    ] {
        assert_eq!(read::<IssueToken>(input).unwrap_err(), DecodeError::NotText);
    }
    let read = |input| read::<IssueToken>(input).unwrap().endpoint_id.unwrap();
    assert_eq!(read(form(b"endpointId=caf%C3%A9")), "caf\u{e9}");
    assert_eq!(read(query("endpointId=a&Respoke-SDK=caf%E9")), "a");
}

#[test]
fn a_byte_order_mark_is_no_part_of_what_it_precedes() {
    for body in ["\u{feff}{\"endpointId\":\"jo\"}", " \u{feff} {\"endpointId\":\"jo\"}", "\u{feff}endpointId=jo"] {
        for query in [None, Some("ttl=60")] {
            let input = Input { query, content_type: Some(FORM), body: body.as_bytes() };
            assert_eq!(read::<IssueToken>(input).unwrap().endpoint_id.as_deref(), Some("jo"), "{body}");
        }
    }
    assert!(json("\u{feff}").unwrap().endpoint_id.is_none());
    assert_eq!(json("\u{feff}\u{feff}{}").unwrap_err(), DecodeError::Malformed);
}

#[test]
fn what_ends_something_takes_what_it_knows_and_each_field_once() {
    let read = |query, body: &'static str| {
        read_strictly::<EndSessions>(Input { query: Some(query), content_type: None, body: body.as_bytes() })
    };
    assert_eq!(read("all=true", r#"{"tokens":false}"#).unwrap().tokens, Some(false));
    assert_eq!(read("all=true&app-secret=s&Respoke-SDK=x", "{}").unwrap().all, Some(true));
    assert_eq!(read("all=true", r#"{"all":null,"tokens":null}"#).unwrap().all, Some(true));
    let unknown = fields(read("all=true&issued_before=5", ""));
    let known = "appId, endpointId, roleId, all, issuedBefore, tokens";
    assert_eq!(
        unknown["issued_before"],
        [format!("issued_before is not known here; the request takes one of {known}.").replace("one of ", "")]
    );
    for (query, body, field) in [
        ("", r#"{"all":true,"issuedbefore":5}"#, "issuedbefore"),
        ("", r#"{"all":true,"x":null}"#, "x"),
        ("all=true&`, expected `all=1", "", "`, expected `all"),
        ("all=true&all=true", "", "all"),
        ("endpointId=a", r#"{"endpointId":"b"}"#, "endpointId"),
        ("all=true", r#"{"all":false}"#, "all"),
    ] {
        assert!(fields(read(query, body)).contains_key(field), "{query} {body}");
    }
    let long = format!("all=true&{}=1", "\u{e9}".repeat(1_000));
    let input = Input { query: Some(&long), ..Input::default() };
    assert!(fields(read_strictly::<EndSessions>(input)).keys().all(|name| name.chars().count() == 64));
    let input = Input { query: Some("appId=x"), ..Input::default() };
    let nothing = fields(read_strictly::<Nothing>(input));
    assert_eq!(nothing["appId"], ["appId is not known here; the request takes no fields."]);
    assert!(read_strictly::<Nothing>(Input { body: b"{}", ..Input::default() }).is_ok());
}

/// What no Rust value holds, and what a reader of such values would change.
const LETTER: &str = r#"{ "b":18446744073709551617,"a":[1e400 ,-0.0],"b":"\ud83d", "\udc00":null}"#;

#[test]
fn a_payload_passes_through_to_the_letter() {
    fn raw(value: Option<Box<serde_json::value::RawValue>>) -> String {
        value.unwrap().get().to_owned()
    }
    let payloads = [LETTER, "1e400", r#""\ud83d""#, r#""\ud83d\u00e9\n""#, "18446744073709551617", "[ ]", "-0"];
    for query in [None, Some("t=1"), Some("endpointId=jo&t=1"), Some("message=x&signal=x&debugData=x&presence=x")] {
        for payload in payloads {
            let message = format!(r#"{{"x":{payload},"message":{payload},"x":null}}"#);
            let input = Input { query, content_type: None, body: message.as_bytes() };
            assert_eq!(raw(read::<SendMessage>(input).unwrap().message), payload, "{query:?}");
            assert_eq!(raw(read::<PublishMessage>(input).unwrap().message), payload, "{query:?}");
            let others = format!(
                r#"{{"signal":{payload},"debugData":{payload},
                        "presence":{{"type":{payload},"show":{payload},"status":{payload}}}}}"#
            );
            let input = Input { body: others.as_bytes(), ..input };
            assert_eq!(raw(read::<SendSignal>(input).unwrap().signal), payload, "{query:?}");
            assert_eq!(raw(read::<WriteCallReport>(input).unwrap().debug_data), payload, "{query:?}");
            let said = read::<SetPresence>(input).unwrap().presence.unwrap();
            assert_eq!([raw(said.kind), raw(said.show), raw(said.status)], [payload; 3], "{query:?}");
        }
    }
    let input = Input { body: br#"{"debugData":null}"#, ..Input::default() };
    assert!(read::<WriteCallReport>(input).unwrap().debug_data.is_none());
    // A form has text alone.
    let form = Input { content_type: Some(FORM), body: b"to=jo&message=%221%22", query: Some("t=1") };
    assert_eq!(raw(read::<SendMessage>(form).unwrap().message), r#""\"1\"""#);
}

#[test]
fn a_wrong_type_names_its_field_and_repeats_nothing() {
    let wrong = fields(json(r#"{"ttl":-1}"#));
    assert_eq!(wrong["ttl"], ["ttl must be a whole number, not negative."]);
    assert_eq!(fields(json(r#"{"endpointId":[1]}"#))["endpointId"], ["endpointId must be text."]);
    let query = Input { query: Some("ttl=soon"), ..Input::default() };
    assert_eq!(fields(read::<IssueToken>(query))["ttl"], ["ttl must be a whole number, not negative."]);
    let body = Input { body: br#"{"tokenId":{"canary":"canary"}}"#, ..Input::default() };
    let printed = format!("{:?}", fields(read::<CreateSessionToken>(body)));
    assert!(!printed.contains("canary"), "{printed}");
    let body = Input { body: br#"{"ttl":"canary, expected canary"}"#, ..Input::default() };
    let printed = format!("{:?}", fields(read::<IssueToken>(body)));
    assert!(!printed.contains("canary"), "{printed}");
    let body = Input { body: br#"{"limits":{"app":{"perSecond":"x"}}}"#, ..Input::default() };
    assert_eq!(
        fields(read::<WriteApp>(body))["limits.app.perSecond"],
        ["limits.app.perSecond must be a whole number, not negative."]
    );
    let body = Input { body: br#"{"groups":7,"pstnOut":{}}"#, ..Input::default() };
    assert_eq!(fields(read::<WriteRole>(body))["groups"], ["groups must be an object."]);
    let body = Input { body: br#"{"pstnOut":{}}"#, ..Input::default() };
    assert_eq!(fields(read::<WriteRole>(body))["pstnOut"], ["pstnOut must be a list."]);
}

#[test]
fn what_is_no_object_is_malformed() {
    for body in ["[]", "null", "5", "\"x\"", "{", "{}x", "{\"a\":}", "\u{0}", r#"{"ttl":1,"ttl":2}"#, "[1,2,3]"] {
        assert_eq!(json(body).unwrap_err(), DecodeError::Malformed, "{body}");
    }
    // A field of the wrong type before it is not what is wrong.
    for query in [None, Some("x=1")] {
        let input = Input { query, body: br#"{"endpointId":30-5,"ttl":1}"#, ..Input::default() };
        assert_eq!(read::<IssueToken>(input).unwrap_err(), DecodeError::Malformed, "{query:?}");
    }
    let input = Input { query: Some("ttl=1"), body: b"{\"a\":", ..Input::default() };
    assert_eq!(read::<IssueToken>(input).unwrap_err(), DecodeError::Malformed);
}

#[test]
fn limits_hold_before_parsing() {
    let deep = |levels: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(json(&deep(DEPTH_MAX)).is_ok());
    assert_eq!(json(&deep(DEPTH_MAX + 1)).unwrap_err(), DecodeError::TooDeep);
    // Brackets in text are text.
    assert!(json(&format!(r#"{{"endpointId":"\"{}"}}"#, "[".repeat(100))).is_ok());
    let long = |len: usize| format!(r#"{{"x":"{}"}}"#, "y".repeat(len - 8));
    assert!(json(&long(BODY_LEN_MAX)).is_ok());
    assert_eq!(json(&long(BODY_LEN_MAX + 1)).unwrap_err(), DecodeError::TooLarge);
}

proptest! {
    #[test]
    fn damaged_input_never_panics(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        query in proptest::option::of("\\PC{0,60}"),
        form: bool,
    ) {
        let content_type = form.then_some(FORM);
        let input = Input { query: query.as_deref(), content_type, body: &body };
        let _ = read::<IssueToken>(input);
        let _ = read::<WriteApp>(input);
        let _ = read::<WriteRole>(input);
        let _ = read::<EndSessions>(input);
    }

    #[test]
    fn damaged_json_never_panics(at in 0_usize..80, byte: u8) {
        let mut body = br#"{"endpointId":"jo","ttl":"60","limits":{"app":null},"groups":{"*":{"publish":true}}}"#.to_vec();
        let at = at % body.len();
        body[at] = byte;
        let input = Input { body: &body, ..Input::default() };
        let _ = read::<IssueToken>(input);
        let _ = read::<WriteApp>(input);
        let _ = read::<WriteRole>(input);
    }

    #[test]
    fn a_query_changes_nothing_of_what_a_body_says(
        members in proptest::collection::vec(
            ("(to|message|ccSelf|x|t|\\\\ud83d)", "([1-9][0-9]{0,25}|null|true|\"a\"|\"\\\\ud83d\"|\\[1e999 ,2\\]|\\{\"a\":1,\"a\":2\\})"), 0..5),
        query in "(t|x|_|app-token|%F0%9F%98%80)=[a-z0-9%]{0,3}(&&?[a-z]=1)?",
    ) {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        let body = format!("{{{}}}", members.join(","));
        let read = |query| {
            let read: SendMessage = read(Input { query, body: body.as_bytes(), ..Input::default() })?;
            Ok::<_, DecodeError>((read.to, read.message.map(|message| message.get().to_owned()), read.cc_self))
        };
        prop_assume!(form::query_pairs(&query).is_ok());
        prop_assert_eq!(read(None), read(Some(&query)), "{}", body);
    }

    #[test]
    fn a_form_and_json_of_the_same_fields_read_alike(endpoint in "\\PC{0,40}", ttl: u32) {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("endpointId", &endpoint).append_pair("ttl", &ttl.to_string()).finish();
        let json = serde_json::json!({ "endpointId": endpoint, "ttl": ttl }).to_string();
        let from_form: IssueToken =
            read(Input { body: form.as_bytes(), content_type: Some(FORM), query: None }).unwrap();
        let from_json: IssueToken = read(Input { body: json.as_bytes(), ..Input::default() }).unwrap();
        prop_assert_eq!(from_form.endpoint_id, from_json.endpoint_id);
        prop_assert_eq!(from_form.ttl, from_json.ttl);
    }
}
