//! What a request carries, made into one of the types of [`crate::body`].
//!
//! Query and body are one input, the body winning. A body is JSON or a form, told by its type and, as `curl -d` calls
//! everything a form, by its first character. Limits hold before anything is parsed.
//!
//! Invariant: no error repeats a value that was sent, for it may be a secret.
//! Invariant: however a field comes, it is read from JSON text. A payload is the text that was sent, whatever else the
//! request says.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;
use serde_json::error::Category;
use thiserror::Error;

use crate::form::{self, NotText};
use crate::object::{self, NotAnObject};

/// The longest body, in bytes.
///
/// # Source
///
/// The limit of the original service (section 1.1 of docs/protocol.md).
pub const BODY_LEN_MAX: usize = 20_000;
/// The deepest nesting of JSON. The deepest body that means something, a role, has four levels.
pub const DEPTH_MAX: usize = 32;
/// The one field that clients repeat, in forms and queries, to send a list.
///
/// # Source
///
/// `GET /v1/group-histories` of older mobile clients (section 5.4 of docs/protocol.md).
const LIST: &str = "groupIds";
/// What some writers of .NET put before JSON, although nobody should.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();
/// How much of an unknown field's name is told.
const NAME_LEN_TOLD: usize = 64;

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
    /// The form or query is not UTF-8 text.
    #[error("the form or query is not UTF-8 text")]
    NotText,
    /// Fields have the wrong type.
    #[error("fields of the request have the wrong type")]
    Fields(FieldErrors),
}

impl From<NotText> for DecodeError {
    fn from(NotText: NotText) -> Self {
        Self::NotText
    }
}

impl From<NotAnObject> for DecodeError {
    fn from(NotAnObject: NotAnObject) -> Self {
        Self::Malformed
    }
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
    read_as(input, Contradiction::BodyWins)
}

/// The same for what ends or deletes something: a field that query and body both name is refused, because nobody knows
/// which of the two is meant.
///
/// # Errors
///
/// See [`DecodeError`].
pub fn read_strictly<T: DeserializeOwned>(input: Input<'_>) -> Result<T, DecodeError> {
    read_as(input, Contradiction::Refused)
}

/// What becomes of a field that query and body both name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contradiction {
    BodyWins,
    Refused,
}

fn read_as<T: DeserializeOwned>(input: Input<'_>, contradiction: Contradiction) -> Result<T, DecodeError> {
    if input.body.len() > BODY_LEN_MAX {
        return Err(DecodeError::TooLarge);
    }
    let body = input.body.trim_ascii_start();
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).trim_ascii();
    let query = match input.query {
        None => Vec::new(),
        Some(query) => fields(form::query_pairs(query)?),
    };
    if body.first() == Some(&b'{') {
        check_depth(body)?;
        let body = std::str::from_utf8(body).map_err(|_| DecodeError::Malformed)?;
        return if query.is_empty() {
            from_json(body, body)
        } else {
            from_json(&joined(body, &query, contradiction)?, body)
        };
    }
    // Neither JSON nor a form, unless there is nothing at all.
    if !body.is_empty() && !input.content_type.is_some_and(is_form) {
        return Err(DecodeError::Malformed);
    }
    let form = fields(form::pairs(body)?);
    let form = joined("{}", &form, contradiction)?;
    if query.is_empty() { from_json(&form, "{}") } else { from_json(&joined(&form, &query, contradiction)?, "{}") }
}

/// Whether a query parameter carries a credential, or another header's value, and so is no field.
#[must_use]
pub fn is_header_name(name: &str) -> bool {
    ["app-token", "app-secret", "admin-token", "respoke-sdk"].iter().any(|header| name.eq_ignore_ascii_case(header))
}

/// The query's fields, credentials left out. That the query is text was seen before, by [`form::query_pairs`].
pub fn query_fields(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| !name.is_empty() && !is_header_name(name))
}

fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// A field of a form or query: its name, and its value as JSON.
type Field<'a> = (Cow<'a, str>, String);

fn fields(pairs: form_urlencoded::Parse<'_>) -> Vec<Field<'_>> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut list = None;
    for (name, value) in pairs {
        if name.is_empty() || is_header_name(&name) {
            continue;
        }
        let value = quoted(&value);
        match list.and_then(|list: usize| fields.get_mut(list)) {
            Some((_, list)) if name == LIST => {
                list.pop();
                list.extend([",", &value, "]"]);
            }
            Some(_) | None if name == LIST => {
                list = Some(fields.len());
                fields.push((name, format!("[{value}]")));
            }
            Some(_) | None => fields.push((name, value)),
        }
    }
    fields
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The object that has the members of `object` to the letter, and `fields` besides.
///
/// What is said twice stands in it twice, and is refused where it is read.
fn joined(object: &str, fields: &[Field<'_>], contradiction: Contradiction) -> Result<String, DecodeError> {
    // The first of each name speaks for all of them.
    let places: HashMap<&str, usize> = fields.iter().enumerate().rev().map(|(at, (name, _))| (&**name, at)).collect();
    let place_of = |name: Option<Cow<'_, str>>| places.get(&*name?).copied();
    let (mut told, mut hidden) = (vec![false; fields.len()], vec![false; fields.len()]);
    let len: usize = fields.iter().map(|(name, value)| name.len() + value.len() + r#""":,"#.len()).sum();
    let mut json = String::with_capacity(object.len() + len);
    let mut add = |key: &str, value: &str| {
        json.push(if json.is_empty() { '{' } else { ',' });
        json.push_str(key);
        json.push(':');
        json.push_str(value);
    };
    object::members(object, |member| match place_of(member.name()) {
        // A `null` is an absent field and hides nothing.
        Some(place) if member.value == "null" => {
            told[place] = true;
            add(member.key, &fields[place].1);
        }
        Some(place) => {
            hidden[place] = contradiction == Contradiction::BodyWins;
            add(member.key, member.value);
        }
        None => add(member.key, member.value),
    })?;
    for ((name, value), told) in fields.iter().zip(told) {
        let hidden = place_of(Some(Cow::Borrowed(name))).is_some_and(|place| hidden[place]);
        if !told && !hidden {
            add(&quoted(name), value);
        }
    }
    json.push_str(if json.is_empty() { "{}" } else { "}" });
    Ok(json)
}

/// Reads `json`, which holds the fields of `body`.
fn from_json<T: DeserializeOwned>(json: &str, body: &str) -> Result<T, DecodeError> {
    serde_json::from_str(json).map_err(|error| match error.classify() {
        Category::Data => name_fields::<T>(json, body),
        Category::Io | Category::Syntax | Category::Eof => DecodeError::Malformed,
    })
}

/// Reads again, slowly, what failed, to say which field was wrong.
fn name_fields<T: DeserializeOwned>(json: &str, body: &str) -> DecodeError {
    // Whatever fields come before what makes it no JSON: it is none, and whatever query comes with it changes nothing.
    if object::members(json, |_| {}).is_err() {
        return DecodeError::Malformed;
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) if error.inner().classify() == Category::Data => {
            let (path, message) = (error.path().to_string(), error.inner().to_string());
            let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
            let (field, problem) = match complaint(&path, message) {
                // An object of JSON with equal keys is none, and no query makes it one.
                Complaint::Twice(name) if count(body, name) > 1 => return DecodeError::Malformed,
                Complaint::Twice(name) => (name, "is given more than once".to_owned()),
                Complaint::Unknown(name, known) => (name, format!("is not known here; {known}")),
                Complaint::Expected(expected) => (&*path, format!("must be {expected}")),
                Complaint::Other => (&*path, "is not valid".to_owned()),
                Complaint::Whole => return DecodeError::Malformed,
            };
            DecodeError::Fields(FieldErrors::from([(field.to_owned(), vec![format!("{field} {problem}.")])]))
        }
        Err(_) | Ok(_) => DecodeError::Malformed,
    }
}

/// How often an object says a field.
fn count(body: &str, field: &str) -> usize {
    let mut count = 0;
    // What was read of an object that is none counts as well.
    let _ = object::members(body, |member| count += usize::from(member.name().is_some_and(|name| name == field)));
    count
}

/// What serde says of a field.
enum Complaint<'a> {
    /// It is there twice.
    Twice(&'a str),
    /// It is not among those known, and which those are.
    Unknown(&'a str, String),
    /// What it should be.
    Expected(&'a str),
    /// Something else is wrong with it.
    Other,
    /// It is not about a field.
    Whole,
}

fn complaint<'a>(path: &str, message: &'a str) -> Complaint<'a> {
    // "." stands for the whole.
    let whole = path.is_empty() || path == ".";
    if let Some(name) = message.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`'))
        && whole
    {
        return Complaint::Twice(name);
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        // The last of these is serde's, whatever the name is made of.
        return match (rest.rsplit_once("`, expected "), rest.strip_suffix("`, there are no fields")) {
            (_, Some(name)) => Complaint::Unknown(told(name), "the request takes no fields".to_owned()),
            (Some((name, known)), None) => {
                let known = known.strip_prefix("one of ").unwrap_or(known).replace('`', "");
                Complaint::Unknown(told(name), format!("the request takes {known}"))
            }
            (None, None) => Complaint::Whole,
        };
    }
    // Of serde's "invalid type: integer `5`, expected a string" only the end is fit to be told.
    match message.rsplit_once(", expected ") {
        _ if whole => Complaint::Whole,
        None => Complaint::Other,
        Some((_, expected)) => Complaint::Expected(match expected {
            "a string" => "text",
            "a sequence" => "a list",
            "a map" => "an object",
            "a boolean" => "true or false",
            other if other.starts_with("struct ") => "an object",
            other => other,
        }),
    }
}

/// As much of a name as is told.
fn told(name: &str) -> &str {
    name.char_indices().nth(NAME_LEN_TOLD).map_or(name, |(end, _)| &name[..end])
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
}
