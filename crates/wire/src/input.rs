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
mod tests;
