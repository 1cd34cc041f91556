//! Numbers and booleans as existing clients send them: as themselves, as text, or as `null`.
//!
//! # Source
//!
//! Section 1.1 of docs/protocol.md: Java sends `"ttl":"3600"`, the mobile clients send forms, Node sends nulls.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Visitor};

/// What visitors of optional fields have in common: `null` is nothing, and so is what is absent.
macro_rules! or_nothing {
    () => {
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }
    };
}
pub(crate) use or_nothing;

/// A whole number from 0 on; a fraction, a negative number or other text is an error.
pub(crate) fn optional_u64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Number;
    impl<'de> Visitor<'de> for Number {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number, not negative")
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok(Some(value))
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
            u64::try_from(value).map(Some).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
        }

        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and in range")]
        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
            // Up to 2^53 a whole float is exactly the number that was meant.
            if value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value) {
                Ok(Some(value as u64))
            } else {
                Err(E::invalid_value(de::Unexpected::Float(value), &self))
            }
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
            match value.trim() {
                "" | "null" | "undefined" => Ok(None),
                text => text.parse().map(Some).map_err(|_| E::invalid_value(de::Unexpected::Str(value), &self)),
            }
        }

        or_nothing!();
    }
    deserializer.deserialize_any(Number)
}

/// `true` or `false`, as a boolean, as text, or as `1` and `0`.
pub(crate) fn optional_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    struct Switch;
    impl<'de> Visitor<'de> for Switch {
        type Value = Option<bool>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false")
        }

        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
            Ok(Some(value))
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            match value {
                0 => Ok(Some(false)),
                1 => Ok(Some(true)),
                _ => Err(E::invalid_value(de::Unexpected::Unsigned(value), &self)),
            }
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
            match value.trim() {
                "true" | "1" => Ok(Some(true)),
                "false" | "0" => Ok(Some(false)),
                "" | "null" | "undefined" => Ok(None),
                _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
            }
        }

        or_nothing!();
    }
    deserializer.deserialize_any(Switch)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq)]
    struct Body {
        #[serde(default, deserialize_with = "super::optional_u64")]
        ttl: Option<u64>,
        #[serde(default, deserialize_with = "super::optional_bool")]
        on: Option<bool>,
    }

    fn read(json: &str) -> Option<Body> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn text_and_null_are_taken_as_what_they_mean() {
        assert_eq!(read(r#"{"ttl":"3600","on":"true"}"#), Some(Body { ttl: Some(3600), on: Some(true) }));
        assert_eq!(read(r#"{"ttl":null,"on":0}"#), Some(Body { ttl: None, on: Some(false) }));
        assert_eq!(read(r#"{"ttl":60.0}"#), Some(Body { ttl: Some(60), on: None }));
        assert_eq!(read("{}"), Some(Body { ttl: None, on: None }));
    }

    #[test]
    fn nonsense_is_refused() {
        for json in
            [r#"{"ttl":-1}"#, r#"{"ttl":1.5}"#, r#"{"ttl":"1h"}"#, r#"{"ttl":[]}"#, r#"{"on":2}"#, r#"{"on":"yes"}"#]
        {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
