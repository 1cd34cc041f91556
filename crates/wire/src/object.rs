//! JSON objects member by member, each to the letter.
//!
//! What clients say to each other may hold what no Rust value holds: numbers beyond any float, halves of surrogate
//! pairs, equal keys. Who has to know or change one member of it reads it here, and the others stay as they came.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

/// The text is no JSON object.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the text is not a JSON object")]
pub struct NotAnObject;

/// A member as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key with its quotes.
    pub key: &'a str,
    /// The value.
    pub value: &'a str,
}

impl<'a> Member<'a> {
    /// The key without quotes and escapes. None: it holds half a surrogate pair, and so is no name.
    #[must_use]
    pub fn name(&self) -> Option<Cow<'a, str>> {
        text(self.key)
    }
}

/// Hands over each member of an object in its order, equal keys included.
///
/// # Errors
///
/// [`NotAnObject`]; some members may have been handed over before that was seen.
pub fn members<'a>(json: &'a str, each: impl FnMut(Member<'a>)) -> Result<(), NotAnObject> {
    struct Members<F>(F);
    impl<'de, F: FnMut(Member<'de>)> Visitor<'de> for Members<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                (self.0)(Member { key: key.get(), value: value.get() });
            }
            Ok(())
        }
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    reader.deserialize_map(Members(each)).and_then(|()| reader.end()).map_err(|_| NotAnObject)
}

/// What a JSON string says. None: it is no JSON string, or holds half a surrogate pair.
#[must_use]
pub fn text(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') { serde_json::from_str(json).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inside)) }
}

/// The JSON that a JSON string holds, without a byte order mark. None: it is no JSON string.
///
/// Half of a surrogate pair, which a string may spell and text cannot hold, stays spelt: in JSON it means the same.
#[must_use]
pub fn embedded(json: &str) -> Option<Cow<'_, str>> {
    Some(match text(json).or_else(|| with_halves(json).map(Cow::Owned))? {
        Cow::Borrowed(text) => Cow::Borrowed(without_mark(text)),
        Cow::Owned(text) if text.starts_with(MARK) => Cow::Owned(without_mark(&text).to_owned()),
        Cow::Owned(text) => Cow::Owned(text),
    })
}

/// The byte order mark, as text.
const MARK: char = '\u{FEFF}';

/// Text without the byte order mark that some writers put before it.
#[must_use]
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// What a JSON string says, halves of surrogate pairs spelt as they stand in JSON.
fn with_halves(json: &str) -> Option<String> {
    let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let mut spelt = String::with_capacity(json.len() + 16);
    // Backslashes that the text ends with: behind an odd number of them the half would be read as something else.
    let mut backslashes = 0;
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        spelt.push_str(plain);
        if !plain.is_empty() {
            backslashes = 0;
        }
        let (len, is_backslash) = match unit(escape) {
            Some(0xD800..=0xDBFF) if matches!(escape.get(6..).and_then(unit), Some(0xDC00..=0xDFFF)) => (12, false),
            Some(0xD800..=0xDFFF) if backslashes % 2 == 1 => return None,
            Some(0xD800..=0xDFFF) => {
                // With its backslash doubled the escape is what the text says, and not what it stands for.
                spelt.push('\\');
                (6, false)
            }
            Some(unit) => (6, unit == u16::from(b'\\')),
            None => (1 + escape.chars().nth(1)?.len_utf8(), escape.starts_with(r"\\")),
        };
        backslashes = if is_backslash { backslashes + 1 } else { 0 };
        let (escape, after) = escape.split_at(len);
        spelt.push_str(escape);
        rest = after;
    }
    spelt.push_str(rest);
    serde_json::from_str(&spelt).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(json: &str) -> Result<Vec<(String, String)>, NotAnObject> {
        let mut list = Vec::new();
        members(json, |member| list.push((member.key.to_owned(), member.value.to_owned())))?;
        Ok(list)
    }

    #[test]
    fn members_are_handed_over_to_the_letter() {
        let json = r#" { "b" : 1.0, "a":[ 18446744073709551617 ,1e400 ] , "b":"\ud83d", "\udc00":{"x":1,"x":2} } "#;
        let expected = [
            (r#""b""#, "1.0"),
            (r#""a""#, "[ 18446744073709551617 ,1e400 ]"),
            (r#""b""#, r#""\ud83d""#),
            (r#""\udc00""#, r#"{"x":1,"x":2}"#),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(list(json).unwrap(), expected);
        for wrong in ["", "[]", "{", "{}x", "1", r#""{}""#, "null", r#"{"a"}"#, "\u{feff}{}"] {
            assert_eq!(list(wrong), Err(NotAnObject), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_known_however_it_is_spelt() {
        let name = |key| Member { key, value: "1" }.name().map(Cow::into_owned);
        assert_eq!(name(r#""signalType""#).as_deref(), Some("signalType"));
        assert_eq!(name(r#""signal\u0054ype""#).as_deref(), Some("signalType"));
        assert_eq!(name(r#""\ud83d""#), None);
        assert_eq!(text("\"caf\u{e9}\"").as_deref(), Some("caf\u{e9}"));
        assert_eq!(text("5"), None);
        assert_eq!(text("\""), None);
    }

    #[test]
    fn json_in_a_string_keeps_what_text_cannot_hold() {
        for (string, json) in [
            (r#""{\"a\":1}""#, r#"{"a":1}"#),
            (r#""{}""#, "{}"),
            // Some writers put a byte order mark before JSON, spelt or as it is.
            (r#""\ufeff{\"a\":1}""#, r#"{"a":1}"#),
            ("\"\u{feff}{}\"", "{}"),
            // Halves spelt in the inner text, in the outer, and a whole pair.
            (r#""{\"a\":\"\\ud83d\"}""#, r#"{"a":"\ud83d"}"#),
            (r#""{\"a\":\"\ud83d\"}""#, r#"{"a":"\ud83d"}"#),
            (r#""{\"a\":\"\uDE00x\ud83d\ude00\ud83d\"}""#, "{\"a\":\"\\uDE00x\u{1F600}\\ud83d\"}"),
            (r#""\\\\\ud83d""#, r"\\\ud83d"),
        ] {
            assert_eq!(embedded(string).as_deref(), Some(json), "{string}");
        }
        for wrong in
            ["5", "", r#"""#, r#""\u12""#, r#""\x""#, r#""\ud83d"x"#, r#""\\\ud83d""#, r#""\u005c\ud83d""#, "\"\\"]
        {
            assert_eq!(embedded(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn members_put_together_again_are_the_object(
            parts in proptest::collection::vec(("[a-c\\\\\"]{0,3}", "[1-9][0-9]{0,30}|\"\\\\\\\\ud83d\"|\\[ 1e999 \\]|null"), 0..6),
        ) {
            let key = |text: &String| serde_json::to_string(text).unwrap();
            let json: Vec<_> = parts.iter().map(|(name, value)| format!("{} : {value}", key(name))).collect();
            let expected: Vec<_> = parts.iter().map(|(name, value)| (key(name), value.clone())).collect();
            prop_assert_eq!(list(&format!("{{{}}}", json.join(" ,"))), Ok(expected));
        }

        #[test]
        fn what_a_string_holds_reads_back(value in any::<String>()) {
            let expected = without_mark(&value);
            let json = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(embedded(&json), Some(Cow::from(expected)));
            prop_assert_eq!(text(&json), Some(Cow::from(&value)));
        }

        #[test]
        fn halves_mean_in_json_what_they_meant_in_its_string(units in proptest::collection::vec(0xD7F0_u16..0xE010, 0..12)) {
            let spelt = units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat();
            let json = format!(r#""\"{spelt}\"""#);
            let inner = embedded(&json).unwrap();
            prop_assert_eq!(units_of(&inner), units);
        }

        #[test]
        fn damaged_text_never_panics(json in "[\\\\\"ud83e0{}:,\u{feff}é]{0,30}|\\PC{0,30}") {
            let _ = (list(&json), text(&json), embedded(&json));
        }
    }

    /// The UTF-16 code units of a JSON string, as a reader in JavaScript sees them.
    fn units_of(json: &str) -> Vec<u16> {
        let mut units = Vec::new();
        let mut rest = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
        while let Some(character) = rest.chars().next() {
            if let Some(escape) = rest.strip_prefix("\\u") {
                units.push(u16::from_str_radix(&escape[..4], 16).unwrap());
                rest = &escape[4..];
            } else {
                units.extend(character.encode_utf16(&mut [0; 2]).iter());
                rest = &rest[character.len_utf8()..];
            }
        }
        units
    }
}
