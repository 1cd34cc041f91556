//! `/v1/signaling`.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::input::check_depth;
use crate::lenient::optional_bool;
use crate::object;

/// What `POST /v1/signaling` takes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendSignal {
    /// The app; needed with an Admin-Token that has several.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Who speaks; not looked at with an App-Token.
    #[schema(nullable, max_length = 256)]
    pub from: Option<String>,
    /// What kind of party speaks; not looked at with an App-Token.
    #[schema(nullable)]
    pub from_type: Option<String>,
    /// To whom.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub to: Option<String>,
    /// What kind of party that is.
    #[schema(nullable, example = "web")]
    pub to_type: Option<String>,
    /// Only to this connection.
    #[schema(nullable, format = Uuid)]
    pub to_connection: Option<String>,
    /// Whether the sender's other connections get a copy.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable)]
    pub cc_self: Option<bool>,
    /// A JSON object, or its text.
    #[schema(value_type = Option<serde_json::Value>)]
    pub signal: Option<Box<RawValue>>,
}

impl SendSignal {
    /// The signal as a JSON object, whether it came as one or as its text. None: it is neither.
    #[must_use]
    pub fn object(signal: Box<RawValue>) -> Option<Box<RawValue>> {
        let signal = match signal.get().as_bytes().first() {
            Some(b'"') => {
                let text = object::embedded(signal.get())?;
                check_depth(text.as_bytes()).ok()?;
                RawValue::from_string(text.trim().to_owned()).ok()?
            }
            _ => signal,
        };
        signal.get().starts_with('{').then_some(signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_an_object_or_its_text() {
        let object = |json: &str| {
            let read: SendSignal = serde_json::from_str(&format!(r#"{{"signal":{json}}}"#)).unwrap();
            SendSignal::object(read.signal.unwrap()).map(|signal| signal.get().to_owned())
        };
        assert_eq!(object(r#"{"a":1}"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(object(r#"" {\"a\":1}""#).as_deref(), Some(r#"{"a":1}"#));
        // As it came, with a byte order mark before it, and with half a pair spelt in either text.
        let letter = r#"{"a":1e400,"a":18446744073709551617,"b":"\ud83d"}"#;
        assert_eq!(object(letter).as_deref(), Some(letter));
        assert_eq!(object(&serde_json::json!(letter).to_string()).as_deref(), Some(letter));
        assert_eq!(object(&serde_json::json!(format!("\u{feff} {letter}")).to_string()).as_deref(), Some(letter));
        assert_eq!(object(r#""{\"b\":\"\ud83d\"}""#).as_deref(), Some(r#"{"b":"\ud83d"}"#));
        for wrong in ["1", "[]", r#""x""#, r#""[]""#, r#""{""#, r#""{}x""#] {
            assert_eq!(object(wrong), None, "{wrong}");
        }
        let deep = format!(r#""{}{}""#, r#"{\"a\":"#.repeat(40), "}".repeat(40));
        assert_eq!(object(&deep), None);
    }
}
