//! How a signal looks to the client it is for.
//!
//! The PBX's client speaks of progress and failure in signals that the browser's client throws at; what only one kind of
//! client understands is put into the other's words here, on its way to the outbox, and nowhere else. The translation of
//! session descriptions will stand here too.
//!
//! # Source
//!
//! Section 6.1 of docs/protocol.md.

use respoke_core::event::Signal;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::registry::Connection;

/// What the PBX's client calls itself.
const PBX: &str = "ASTERISK";

/// A signal for one kind of client.
#[derive(Debug)]
pub(crate) enum Shape {
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

/// The signal as clients other than a PBX understand it.
pub(crate) fn for_web(signal: &Signal) -> Shape {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind<'a> {
        #[serde(borrow)]
        signal_type: Option<std::borrow::Cow<'a, str>>,
    }
    let kind = serde_json::from_str::<Kind<'_>>(signal.body.get()).ok().and_then(|kind| kind.signal_type);
    match kind.as_deref() {
        Some("status") => Shape::Withheld,
        Some("error") => as_bye(&signal.body).map_or(Shape::Withheld, Shape::Rewritten),
        Some(_) | None => Shape::AsSent,
    }
}

/// An error ends the call for whoever cannot read it, with its detail as the reason.
fn as_bye(body: &RawValue) -> Option<Box<RawValue>> {
    let mut body: serde_json::Map<String, serde_json::Value> = serde_json::from_str(body.get()).ok()?;
    body.insert("signalType".to_owned(), "bye".into());
    if let Some(detail) = body.remove("detail") {
        body.insert("reason".to_owned(), detail);
    }
    serde_json::value::to_raw_value(&body).ok()
}

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
            Shape::AsSent => Some(body.to_owned()),
            Shape::Rewritten(body) => Some(body.get().to_owned()),
            Shape::Withheld => None,
        }
    }

    #[test]
    fn a_browser_sees_no_signal_it_would_throw_at() {
        assert_eq!(shown(r#"{"signalType":"status","status":"ringing"}"#), None);
        assert_eq!(
            shown(r#"{"signalType":"error","sessionId":"s","detail":"busy"}"#).as_deref(),
            Some(r#"{"reason":"busy","sessionId":"s","signalType":"bye"}"#)
        );
        for passed in [r#"{"signalType":"offer","detail":1}"#, r#"{"x":1}"#] {
            assert_eq!(shown(passed).as_deref(), Some(passed));
        }
    }
}
