//! How a signal looks to the client it is for.
//!
//! A PBX's client speaks of progress and failure in signals at which the browser's client throws. What only one kind of
//! client understands is put into the other's words here, on its way to the outbox, and nowhere else. The translation of
//! session descriptions will stand here too.
//!
//! # Source
//!
//! Section 6.1 of docs/protocol.md.

use std::borrow::Cow;

use respoke_core::event::Signal;
use respoke_wire::object;
use serde_json::value::RawValue;

use crate::registry::Connection;

/// What the PBX's client calls itself.
const PBX: &str = "ASTERISK";

/// A signal for one kind of client.
#[derive(Debug)]
pub(crate) enum Translation {
    /// As it was sent.
    AsSent,
    /// With another body.
    Rewritten(Box<RawValue>),
    /// Not at all.
    Withheld,
}

/// Whether a connection is a PBX's.
pub(crate) fn is_pbx(connection: &Connection) -> bool {
    connection.client_type == PBX
}

/// What is looked at of a signal; all else is between its sender and its receiver, and passes as it came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SignalHead<'a> {
    /// Its `signalType`, if that is text.
    pub(crate) kind: Option<Cow<'a, str>>,
    /// Its `sessionId`: what the text says, or the number or what cannot be text as it is written.
    pub(crate) session: Option<Cow<'a, str>>,
}

impl<'a> SignalHead<'a> {
    /// Reads a signal. Of equal keys the last one counts, as it does for browsers. None: it is no JSON object.
    pub(crate) fn of(signal: &'a RawValue) -> Option<Self> {
        let mut head = Self::default();
        object::members(signal.get(), |member| match member.name().as_deref() {
            Some("signalType") => head.kind = object::text(member.value),
            Some("sessionId") => {
                let named =
                    member.value.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
                let session = || object::text(member.value).unwrap_or(Cow::Borrowed(member.value));
                head.session = named.then(session);
            }
            Some(_) | None => {}
        })
        .ok()?;
        Some(head)
    }
}

/// The signal as clients other than a PBX understand it.
pub(crate) fn for_web(signal: &Signal) -> Translation {
    match SignalHead::of(&signal.body).and_then(|head| head.kind).as_deref() {
        Some("status") => Translation::Withheld,
        // A signal is an object, so it becomes one.
        Some("error") => as_bye(&signal.body).map_or(Translation::AsSent, Translation::Rewritten),
        Some(_) | None => Translation::AsSent,
    }
}

/// An error ends the call for whoever cannot read it, with its detail as the reason. All else stays to the letter.
fn as_bye(body: &RawValue) -> Option<Box<RawValue>> {
    let mut has_detail = false;
    object::members(body.get(), |member| has_detail |= member.name().as_deref() == Some("detail")).ok()?;
    let mut bye = String::with_capacity(body.get().len());
    let mut add = |key: &str, value: &str| {
        bye.push(if bye.is_empty() { '{' } else { ',' });
        bye.push_str(key);
        bye.push(':');
        bye.push_str(value);
    };
    object::members(body.get(), |member| match member.name().as_deref() {
        Some("signalType") => add(member.key, BYE),
        Some("detail") => add(REASON, member.value),
        Some("reason") if has_detail => {}
        Some(_) | None => add(member.key, member.value),
    })
    .ok()?;
    bye.push('}');
    RawValue::from_string(bye).ok()
}

/// The kind of a signal that ends a call, as JSON.
const BYE: &str = r#""bye""#;
/// The key under which browsers look for why, as JSON.
const REASON: &str = r#""reason""#;

#[cfg(test)]
mod tests {
    use respoke_core::id::EndpointId;

    use super::*;

    fn shown(body: &str) -> Option<String> {
        let signal = Signal {
            to: EndpointId::parse("bob").unwrap(),
            to_connection: None,
            to_original: None,
            from_type: "web".into(),
            to_type: "web".into(),
            body: RawValue::from_string(body.into()).unwrap(),
            spares_answerers_of: None,
        };
        match for_web(&signal) {
            Translation::AsSent => Some(body.to_owned()),
            Translation::Rewritten(body) => Some(body.get().to_owned()),
            Translation::Withheld => None,
        }
    }

    #[test]
    fn a_browser_sees_no_signal_it_would_throw_at() {
        assert_eq!(shown(r#"{"signalType":"status","status":"ringing"}"#), None);
        assert_eq!(
            shown(r#"{"signalType":"error","sessionId":"s","detail":"busy"}"#).as_deref(),
            Some(r#"{"signalType":"bye","sessionId":"s","reason":"busy"}"#)
        );
        for passed in [r#"{"signalType":"offer","detail":1}"#, r#"{"x":1}"#] {
            assert_eq!(shown(passed).as_deref(), Some(passed));
        }
    }

    #[test]
    fn an_error_ends_the_call_whatever_else_it_says() {
        for (error, bye) in [
            (
                r#"{ "signalType" : "error", "sessionId":7, "detail":"\ud83d", "n":[1e400, 18446744073709551617]}"#,
                r#"{"signalType":"bye","sessionId":7,"reason":"\ud83d","n":[1e400, 18446744073709551617]}"#,
            ),
            (r#"{"signal\u0054ype":"error","\ud83d":1}"#, r#"{"signal\u0054ype":"bye","\ud83d":1}"#),
            (r#"{"reason":1,"detail":2,"signalType":"\u0065rror"}"#, r#"{"reason":2,"signalType":"bye"}"#),
            (r#"{"signalType":"error","reason":1}"#, r#"{"signalType":"bye","reason":1}"#),
            (
                r#"{"signalType":1,"a":1,"a":2,"signalType":"error"}"#,
                r#"{"signalType":"bye","a":1,"a":2,"signalType":"bye"}"#,
            ),
        ] {
            assert_eq!(shown(error).as_deref(), Some(bye), "{error}");
        }
        // Of equal keys browsers see the last.
        for passed in [r#"{"signalType":"error","signalType":"offer"}"#, r#"{"signalType":"error","signalType":5}"#] {
            assert_eq!(shown(passed).as_deref(), Some(passed));
        }
    }

    #[test]
    fn a_session_is_known_by_whatever_names_it() {
        let read = |json: &str| {
            let signal = RawValue::from_string(json.to_owned()).unwrap();
            let head = SignalHead::of(&signal)?;
            Some((head.kind.map(Cow::into_owned), head.session.map(Cow::into_owned)))
        };
        let some = |kind: &str, session: &str| Some((Some(kind.to_owned()), Some(session.to_owned())));
        assert_eq!(read(r#"{"signalType":"bye","sessionId":"a\u0062"}"#), some("bye", "ab"));
        assert_eq!(
            read(r#"{"sessionId":18446744073709551617,"signalType":"bye"}"#),
            some("bye", "18446744073709551617")
        );
        assert_eq!(read(r#"{"sessionId":-1e400,"signalType":"bye"}"#), some("bye", "-1e400"));
        assert_eq!(read(r#"{"sessionId":"\ud83d","signalType":"bye"}"#), some("bye", r#""\ud83d""#));
        for nameless in [r#"{"signalType":5,"sessionId":null}"#, r#"{"signalType":{},"sessionId":[1]}"#, "{}"] {
            assert_eq!(read(nameless), Some((None, None)), "{nameless}");
        }
        assert_eq!(read("[]"), None);
    }
}
