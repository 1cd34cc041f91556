//! Request and answer bodies, one file per resource.
//!
//! Requests: every field is optional here and what is unknown is ignored, because existing clients leave out, null and
//! add fields at will; which fields an operation needs is the operation's own business. What ends or deletes something,
//! and is no existing client's request, refuses what it does not know. Answers: the recorded shapes,
//! field for field, in the recorded order.
//!
//! Invariant: a secret leaves only through a field marked `serialize_with = "reveal"`.

pub mod admin_sessions;
pub mod admins;
pub mod apps;
pub mod audit;
pub mod bans;
pub mod call_debugs;
pub mod connections;
pub mod conversations;
pub mod endpoints;
pub mod ends;
pub mod groups;
pub mod history;
pub mod lists;
pub mod messages;
pub mod oauth;
pub mod presence;
pub mod problem;
pub mod push_tokens;
pub mod request_log;
pub mod roles;
pub mod secrets;
pub mod session_tokens;
pub mod sessions;
pub mod signaling;
pub mod stats;
pub mod tokens;
pub mod turn;

use std::fmt;

use respoke_core::clock::Timestamp;
use respoke_core::java_date;
use respoke_core::lenient::optional_u64;
use respoke_core::secret::Secret;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// What stands where a secret is not shown.
pub const REDACTED: &str = "<redacted>";

/// The answer of an operation that has nothing else to say.
///
/// # Source
///
/// The recorded answer of `DELETE /v1/roles/{id}` (section 1.3 of docs/protocol.md).
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Always `Success`.
    #[schema(example = "Success")]
    pub message: &'static str,
}

impl Done {
    /// The one value.
    pub const SUCCESS: Self = Self { message: "Success" };
}

/// Hands a secret over. Search for this to see in which answers secrets leave.
#[expect(clippy::missing_errors_doc, reason = "whatever the serializer reports")]
pub fn reveal<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Writes an instant as ISO 8601 text with milliseconds.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
pub(crate) fn iso<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(at.iso().as_str())
}

/// Writes an instant as [`iso`] does, or `null`.
#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
pub(crate) fn optional_iso<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => iso(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// Reads text into safe keeping.
pub(crate) fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    // The error of a wrong type names what was found instead; `input` keeps only what was expected.
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// Tells a field that is `null` (`Some(None)`) from one that is absent (`None`, by `#[serde(default)]`).
#[expect(clippy::option_option, reason = "absent, null and a value are three things here")]
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Tells as [`nullable`] does, for a number that may come as text.
#[expect(clippy::option_option, reason = "absent, null and a value are three things here")]
pub(crate) fn nullable_u64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    optional_u64(deserializer).map(Some)
}

/// Reads an instant: RFC 3339 text, or seconds or milliseconds since the epoch as number or text, of a year from 0 to 9999.
pub(crate) fn optional_instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    struct Instant;
    impl<'de> Visitor<'de> for Instant {
        type Value = Option<Timestamp>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time such as 2026-01-02T03:04:05Z or a number of seconds since 1970")
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            let value = i64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))?;
            self.visit_i64(value)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
            let at = Timestamp::of_number(value);
            at.map(Some).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(value), &self))
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
            // Empty text is no absence: what it was to bound would have no bound.
            Timestamp::parse(value).map(Some).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    deserializer.deserialize_any(Instant)
}

/// Reads the instant of a message as clients tell it: milliseconds since the epoch, perhaps with a fraction, as number
/// or text; RFC 3339 text; or a date as Java writes it.
///
/// A fraction is what floating point made of the whole number that the server once told, so the nearest one is meant.
/// Java leaves the milliseconds out, so the end of its second is meant: a message of that second was read.
pub(crate) fn optional_moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    struct Moment;
    impl<'de> Visitor<'de> for Moment {
        type Value = Option<Timestamp>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of milliseconds since 1970 or a time such as 2026-01-02T03:04:05Z")
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            let value = i64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))?;
            self.visit_i64(value)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
            let at = Timestamp::of_millis(value);
            at.map(Some).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(value), &self))
        }

        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float beyond all integers becomes the last, which is no date"
        )]
        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
            let at = if value.is_nan() { None } else { Timestamp::of_millis(value.round() as i64) };
            at.map(Some).ok_or_else(|| E::invalid_value(de::Unexpected::Float(value), &self))
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
            let text = match value.trim() {
                "" | "null" | "undefined" => return Ok(None),
                text => text,
            };
            if let Ok(number) = text.parse::<f64>() {
                return self.visit_f64(number);
            }
            let at = java_date::parse(text)
                .and_then(|second| Timestamp::of_millis(second.millis() + 999))
                .or_else(|| Timestamp::parse(text));
            at.map(Some).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    deserializer.deserialize_any(Moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{self, DecodeError, Input};

    #[derive(Debug, serde::Deserialize)]
    struct Times {
        #[serde(default, deserialize_with = "optional_instant")]
        at: Option<Timestamp>,
        #[serde(default, deserialize_with = "nullable")]
        #[expect(clippy::option_option, reason = "absent, null and a value are three things here")]
        list: Option<Option<Vec<String>>>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Moments {
        #[serde(default, deserialize_with = "optional_moment")]
        at: Option<Timestamp>,
    }

    #[test]
    fn the_instant_of_a_message_is_milliseconds_or_a_date() {
        let at = |json: &str| serde_json::from_str::<Moments>(&format!(r#"{{"at":{json}}}"#)).ok().map(|read| read.at);
        let millis = |millis| Some(Some(Timestamp::from_millis(millis)));
        for json in [
            "1432068449650",
            "1432068449650.0002",
            "1432068449649.9998",
            r#""1432068449650""#,
            r#""1432068449649.9998""#,
            r#""2015-05-19T20:47:29.650Z""#,
        ] {
            assert_eq!(at(json), millis(1_432_068_449_650), "{json}");
        }
        assert_eq!(at(r#""Tue May 19 20:47:29 GMT+00:00 2015""#), millis(1_432_068_449_999));
        assert_eq!(at("1000"), millis(1_000), "small numbers are no seconds here");
        assert_eq!(at("null"), Some(None));
        assert_eq!(at(r#""""#), Some(None));
        for json in [
            r#""soon""#,
            "[]",
            "{}",
            "1e300",
            r#""NaN""#,
            r#""inf""#,
            "18446744073709551615",
            "253402300800000",
            "253402300799999.5",
            "-62167219200001",
            "9223372036854775807",
            "-9223372036854775808",
            r#""253402300800000""#,
            r#""-1e300""#,
            r#""Fri Dec 31 23:59:59 GMT-01:00 9999""#,
            r#""9999-12-31T23:59:59-01:00""#,
        ] {
            assert_eq!(at(json), None, "{json}");
        }
    }

    fn read(json: &str) -> Option<Times> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn an_instant_is_text_or_a_number() {
        for json in [
            r#"{"at":1420234257}"#,
            r#"{"at":"1420234257"}"#,
            r#"{"at":1420234257000}"#,
            r#"{"at":"2015-01-02T21:30:57Z"}"#,
        ] {
            assert_eq!(read(json).unwrap().at, Some(Timestamp::from_secs(1_420_234_257)), "{json}");
        }
        assert_eq!(read(r#"{"at":null}"#).unwrap().at, None);
        for json in [
            r#"{"at":""}"#,
            r#"{"at":" "}"#,
            r#"{"at":"null"}"#,
            r#"{"at":"soon"}"#,
            r#"{"at":[]}"#,
            r#"{"at":1.5}"#,
            r#"{"at":18446744073709551615}"#,
            // Beyond what a date can be.
            r#"{"at":253402300800000}"#,
            r#"{"at":"253402300800000"}"#,
            r#"{"at":9223372036854775807}"#,
            r#"{"at":-9223372036854775808}"#,
            r#"{"at":"-9223372036854775808"}"#,
            r#"{"at":-62167219200001}"#,
            r#"{"at":"9999-12-31T23:59:59-01:00"}"#,
            r#"{"at":"0000-01-01T00:00:00+01:00"}"#,
        ] {
            assert!(read(json).is_none(), "{json}");
        }
    }

    type Reading = fn(&str) -> Result<(), DecodeError>;

    fn read_whole<T: serde::de::DeserializeOwned>(body: &str) -> Result<(), DecodeError> {
        input::read::<T>(Input { body: body.as_bytes(), ..Input::default() }).map(drop)
    }

    /// Every body that passes over what it does not know: also where that is a number or text that no Rust value holds.
    #[test]
    fn what_is_not_known_disturbs_nobody_whatever_it_is() {
        let unknown = r#"{"unknown":[1e400,"\ud83d",18446744073709551617,{"a":1,"a":2}]}"#;
        let bodies: &[(&str, Reading)] = &[
            ("admins", read_whole::<admins::WriteAdmin>),
            ("passwords", read_whole::<admins::ChangePassword>),
            ("admin sessions", read_whole::<admin_sessions::CreateAdminSession>),
            ("apps", read_whole::<apps::WriteApp>),
            ("call reports", read_whole::<call_debugs::WriteCallReport>),
            ("connections", read_whole::<connections::CreateConnection>),
            ("marks", read_whole::<conversations::WriteReadMarks>),
            ("joining or naming", read_whole::<groups::JoinOrName>),
            ("membership", read_whole::<groups::Membership>),
            ("publications", read_whole::<groups::PublishMessage>),
            ("history", read_whole::<history::ReadHistory>),
            ("searches", read_whole::<history::SearchHistory>),
            ("lists", read_whole::<lists::ListRequest>),
            ("messages", read_whole::<messages::SendMessage>),
            ("introspection", read_whole::<oauth::TokenQuestion>),
            ("presence", read_whole::<presence::SetPresence>),
            ("observers", read_whole::<presence::ObservePresence>),
            ("push tokens", read_whole::<push_tokens::WritePushToken>),
            ("roles", read_whole::<roles::WriteRole>),
            ("secrets", read_whole::<secrets::CreateSecret>),
            ("session tokens", read_whole::<session_tokens::CreateSessionToken>),
            ("extensions", read_whole::<session_tokens::ExtendSession>),
            ("signals", read_whole::<signaling::SendSignal>),
            ("tokens", read_whole::<tokens::IssueToken>),
        ];
        for (name, read) in bodies {
            assert_eq!(read(unknown), Ok(()), "{name}");
        }
        for nested in ["groups", "events", "conferences"] {
            let role = format!(r#"{{"{nested}":{{"a":{unknown}}}}}"#);
            assert_eq!(read_whole::<roles::WriteRole>(&role), Ok(()), "{role}");
        }
    }

    #[test]
    fn a_field_of_the_wrong_kind_is_named() {
        let complaint = |read: Result<(), DecodeError>| match read {
            Err(DecodeError::Fields(fields)) => fields.into_values().flatten().collect::<Vec<_>>().concat(),
            other => panic!("{other:?}"),
        };
        for body in [r#"{"groups":"room"}"#, r#"{"groups":"room","unknown":1e400}"#] {
            assert_eq!(complaint(read_whole::<groups::JoinOrName>(body)), "groups must be a list.");
        }
        let wrong = read_whole::<roles::WriteRole>(r#"{"groups":{"room*":{"publish":7}}}"#);
        assert_eq!(complaint(wrong), "groups.room*.publish must be true or false.");
    }

    #[test]
    fn null_is_told_from_absent_where_it_matters() {
        assert_eq!(read("{}").unwrap().list, None);
        assert_eq!(read(r#"{"list":null}"#).unwrap().list, Some(None));
        assert_eq!(read(r#"{"list":[]}"#).unwrap().list, Some(Some(vec![])));
    }
}
