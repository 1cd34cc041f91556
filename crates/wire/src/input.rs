//! What a request carries, made into one of the types of [`crate::body`].
//!
//! Query and body are one input, the body winning. A body is JSON or a form, told by its type and, as `curl -d` calls
//! everything a form, by its first character. Limits hold before anything is parsed.
//!
//! Invariant: no error repeats a value that was sent, for it may be a secret.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};
use thiserror::Error;

/// The longest body, in bytes.
///
/// # Source
///
/// The limit of the original service (section 3.1 of docs/protocol.md).
pub const BODY_LEN_MAX: usize = 20_000;
/// The deepest nesting of JSON. The deepest body that means something, a role, has four levels.
pub const DEPTH_MAX: usize = 32;

/// What is wrong, by field, in words for the caller.
pub type FieldErrors = BTreeMap<String, Vec<String>>;

/// Why an input cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The body is longer than [`BODY_LEN_MAX`].
    #[error("the body is larger than 20000 bytes")]
    TooLarge,
    /// The body is nested deeper than [`DEPTH_MAX`].
    #[error("the body is nested more than 32 levels deep")]
    TooDeep,
    /// The body is not a JSON object.
    #[error("the body is not a well-formed JSON object")]
    Malformed,
    /// Fields have the wrong type.
    #[error("fields of the request have the wrong type")]
    Fields(FieldErrors),
}

/// The parts of a request that hold input.
#[derive(Clone, Copy, Default)]
pub struct Input<'a> {
    /// What follows the `?`, without it.
    pub query: Option<&'a str>,
    /// The header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("body.len", &self.body.len()).finish_non_exhaustive()
    }
}

/// Reads query and body into a `T`.
///
/// # Errors
///
/// See [`DecodeError`].
pub fn read<T: DeserializeOwned>(input: Input<'_>) -> Result<T, DecodeError> {
    if input.body.len() > BODY_LEN_MAX {
        return Err(DecodeError::TooLarge);
    }
    let body = input.body.trim_ascii();
    let query = input.query.filter(|query| query_fields(query).next().is_some());
    if body.first() != Some(&b'{') {
        // Neither JSON nor a form, unless there is nothing at all.
        if !body.is_empty() && !input.content_type.is_some_and(is_form) {
            return Err(DecodeError::Malformed);
        }
        let mut fields = query.map(query_object).unwrap_or_default();
        for (name, value) in form_urlencoded::parse(body) {
            fields.insert(name.into_owned(), Value::String(value.into_owned()));
        }
        return read_object(fields);
    }
    check_depth(body)?;
    let Some(query) = query else {
        return serde_json::from_slice(body).map_err(|error| match error.classify() {
            Category::Data => name_fields::<T>(body),
            Category::Io | Category::Syntax | Category::Eof => DecodeError::Malformed,
        });
    };
    let mut fields = query_object(query);
    let body: Map<String, Value> = serde_json::from_slice(body).map_err(|_| DecodeError::Malformed)?;
    // A `null` in the body is an absent field and hides nothing; it is kept where nothing else says the field.
    for (name, value) in body {
        if !value.is_null() || !fields.contains_key(&name) {
            fields.insert(name, value);
        }
    }
    read_object(fields)
}

/// Whether a query parameter carries a credential, or another header's value, and so is no field.
#[must_use]
pub fn is_header_name(name: &str) -> bool {
    ["app-token", "app-secret", "admin-token", "respoke-sdk"].iter().any(|header| name.eq_ignore_ascii_case(header))
}

/// The query's fields, credentials left out.
pub fn query_fields(query: &str) -> impl Iterator<Item = (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)> {
    form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| !name.is_empty() && !is_header_name(name))
}

/// All values of one field of a query: clients repeat a name to send a list.
#[must_use]
pub fn query_values(query: &str, field: &str) -> Vec<String> {
    query_fields(query).filter(|(name, _)| name == field).map(|(_, value)| value.into_owned()).collect()
}

fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn query_object(query: &str) -> Map<String, Value> {
    query_fields(query).map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect()
}

fn read_object<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, DecodeError> {
    serde_path_to_error::deserialize(Value::Object(fields))
        .map_err(|error| field_error(&error.path().to_string(), &error.inner().to_string()))
}

/// Reads again, slowly, what failed, to say which field was wrong.
fn name_fields<T: DeserializeOwned>(body: &[u8]) -> DecodeError {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) if error.inner().classify() == Category::Data => {
            field_error(&error.path().to_string(), &error.inner().to_string())
        }
        Err(_) | Ok(_) => DecodeError::Malformed,
    }
}

fn field_error(path: &str, message: &str) -> DecodeError {
    // "." stands for the whole: a field given twice.
    if path.is_empty() || path == "." {
        return DecodeError::Malformed;
    }
    // Of serde's "invalid type: integer `5`, expected a string at line 1 column 9" only the middle is fit to be told.
    let Some((_, expected)) = message.rsplit_once(", expected ") else {
        return DecodeError::Fields(FieldErrors::from([(path.to_owned(), vec![format!("{path} is not valid.")])]));
    };
    let expected = expected.split(" at line ").next().unwrap_or_default();
    let expected = match expected {
        "a string" => "text",
        "a sequence" => "a list",
        "a map" => "an object",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    DecodeError::Fields(FieldErrors::from([(path.to_owned(), vec![format!("{path} must be {expected}.")])]))
}

/// Counts brackets outside of strings.
pub(crate) fn check_depth(json: &[u8]) -> Result<(), DecodeError> {
    let mut depth = 0_usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(DecodeError::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => {
                            bytes.next();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body::apps::WriteApp;
    use crate::body::call_debugs::WriteCallReport;
    use crate::body::history::SearchHistory;
    use crate::body::roles::WriteRole;
    use crate::body::session_tokens::CreateSessionToken;
    use crate::body::sessions::EndSessions;
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
        let body =
            json(r#"{"endpointId":"jo","roleId":null,"ttl":84600,"headers":{"App-Secret":null},"x":1}"#).unwrap();
        assert_eq!((body.endpoint_id.as_deref(), body.role_id, body.ttl), (Some("jo"), None, Some(84_600)));
        // Java: a number as text.
        assert_eq!(json(r#"{"ttl":"3600"}"#).unwrap().ttl, Some(3_600));
        // Android and iOS: an un-encoded form.
        let form =
            Input { body: b"appId=7c5f&endpointId=jo+doe%20x@y.z&ttl=21600", content_type: Some(FORM), query: None };
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
    fn a_repeated_field_of_a_query_is_a_list() {
        let query = "groupIds=a%2Fb&limit=1&groupIds=c+d&app-token=t";
        assert_eq!(query_values(query, "groupIds"), ["a/b", "c d"]);
        assert!(query_values(query, "app-token").is_empty());
        let input = Input { query: Some("groupIds=a&limit=1"), ..Input::default() };
        let body: SearchHistory = read(input).unwrap();
        assert_eq!((body.group_ids, body.limit), (Some(vec!["a".to_owned()]), Some(1)));
        let input = Input { body: br#"{"groupIds":["a",7]}"#, ..Input::default() };
        assert_eq!(fields(read::<SearchHistory>(input))["groupIds[1]"], ["groupIds[1] must be text."]);
        let input = Input { body: br#"{"groupIds":7}"#, ..Input::default() };
        assert_eq!(fields(read::<SearchHistory>(input))["groupIds"], ["groupIds must be a list."]);
    }

    #[test]
    fn a_report_passes_through_as_it_came() {
        let report = r#"{"b":1.0,"a":[ "\u2028" ]}"#;
        let body = format!(r#"{{"debugData":{report},"x":null}}"#);
        for query in [None, Some("endpointId=jo")] {
            let input = Input { query, body: body.as_bytes(), ..Input::default() };
            let read: WriteCallReport = read(input).unwrap();
            let read: serde_json::Value = serde_json::from_str(read.debug_data.unwrap().get()).unwrap();
            assert_eq!(read, serde_json::from_str::<serde_json::Value>(report).unwrap());
        }
        let input = Input { body: br#"{"debugData":null}"#, ..Input::default() };
        assert!(read::<WriteCallReport>(input).unwrap().debug_data.is_none());
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
}
