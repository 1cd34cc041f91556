//! Instants as clients write them.

use std::fmt;

use respoke_core::clock::Timestamp;
use serde::Deserializer;
use serde::de::{self, Visitor};

use crate::java_date;
use crate::lenient::or_nothing;

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

        or_nothing!();
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

        or_nothing!();
    }
    deserializer.deserialize_any(Moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Times {
        #[serde(default, deserialize_with = "optional_instant")]
        at: Option<Timestamp>,
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
}
