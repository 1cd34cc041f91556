//! Ids. Each kind is its own type, so that none can stand where another is meant.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use crate::chance::Chance;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $case:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut buffer = Uuid::encode_buffer();
                serializer.serialize_str(self.0.hyphenated().$case(&mut buffer))
            }
        }

        impl $name {
            /// Wraps a UUID that is already known to be one of these.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// A new one.
            #[must_use]
            pub fn new(chance: &dyn Chance) -> Self {
                Self(chance.uuid())
            }

            /// A new one, of the chance of the test that runs.
            #[cfg(any(test, feature = "testing"))]
            #[must_use]
            pub fn random() -> Self {
                Self::new(&*crate::chance::of_this_test())
            }

            /// Reads UUID text, upper or lower case, hyphenated.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                parse_uuid(text).map(Self)
            }

            /// The UUID itself, for a store to keep.
            #[must_use]
            pub const fn uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = Uuid::encode_buffer();
                f.write_str(self.0.hyphenated().$case(&mut buffer))
            }
        }
    };
}

uuid_id!(
    /// An account: the owner of apps. Upper-case text.
    AccountId, encode_upper
);
uuid_id!(
    /// An app: the border nothing crosses. Lower-case text.
    AppId, encode_lower
);
uuid_id!(
    /// A role of an app. Upper-case text.
    RoleId, encode_upper
);
uuid_id!(
    /// An App-Secret's record, not its text. Upper-case text.
    SecretId, encode_upper
);
uuid_id!(
    /// A person who administers an account. Upper-case text.
    AdminId, encode_upper
);
uuid_id!(
    /// Names a token without being it: safe to show and to log. Upper-case text.
    TokenId, encode_upper
);
uuid_id!(
    /// Names a session without being its App-Token: safe to show and to log. Upper-case text.
    SessionId, encode_upper
);
uuid_id!(
    /// One live socket that is registered as an endpoint's. Upper-case text.
    ConnectionId, encode_upper
);
uuid_id!(
    /// One message, the same for everybody it reaches and in its history. Upper-case text.
    MessageId, encode_upper
);
uuid_id!(
    /// A device's push token, not its text. Upper-case text.
    PushTokenId, encode_upper
);
uuid_id!(
    /// One request, in answers, logs and the audit log. Lower-case text.
    RequestId, encode_lower
);

/// Reads UUID text in its hyphenated form and no other.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH { Uuid::try_parse(text).ok() } else { None }
}

/// Who a session speaks as: any text the developer chose, 1 to 256 bytes, without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(Arc<str>);

impl EndpointId {
    /// The longest endpoint id, in bytes. E-mail addresses (254) fit; index rows stay small.
    pub const LEN_MAX: usize = 256;

    /// Takes `text` as an endpoint id.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, in words for the caller.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("must not be empty");
        }
        if text.len() > Self::LEN_MAX {
            return Err("must be at most 256 bytes long");
        }
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters");
        }
        Ok(Self(text.into()))
    }

    /// As whom a backend speaks that names nobody and is nobody.
    pub const SYSTEM: &str = "__SYSTEM__";

    /// Whether it is the backends' own name, or one that a client may take for it: in other case, or with something
    /// around or in it that nobody sees.
    ///
    /// What speaks by it would pass for the app itself, and hear what is answered to that.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        // Nearly every name differs in its first character. One character may be several in capitals.
        let seen = self.0.chars().filter(|character| !is_unseen(*character));
        seen.flat_map(char::to_uppercase).eq(Self::SYSTEM.chars())
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character is blank, or shows as nothing at all.
///
/// # Source
///
/// The blank ones and those of `Default_Ignorable_Code_Point` that may stand in a name (Unicode, `DerivedCoreProperties`).
fn is_unseen(character: char) -> bool {
    character.is_whitespace()
        || matches!(character,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for EndpointId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The name of a group: any text of 1 to 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 256;

    /// Takes `text` as a group's name.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, in words for the caller.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("must not be empty");
        }
        if text.len() > Self::LEN_MAX {
            return Err("must be at most 256 bytes long");
        }
        Ok(Self(text.into()))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for GroupName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for GroupName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_both_cases_and_write_their_own() {
        let text = "7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001";
        assert_eq!(AppId::parse(text).unwrap().to_string(), text);
        assert_eq!(RoleId::parse(text).unwrap().to_string(), text.to_uppercase());
        assert_eq!(AppId::parse(&text.to_uppercase()), AppId::parse(text));
        assert_eq!(AppId::parse(&text.replace('-', "")), None);
    }

    #[test]
    fn group_names_are_any_short_text() {
        assert!(GroupName::parse("a\u{2028}/b\n ☎").is_ok());
        assert!(GroupName::parse("").is_err());
        assert!(GroupName::parse(&"x".repeat(257)).is_err());
    }

    #[test]
    fn the_backends_name_is_reserved_however_it_is_written() {
        let reserved = |text: &str| EndpointId::parse(text).unwrap().is_reserved();
        for text in [
            "__SYSTEM__",
            "__system__",
            "__System__",
            " __SYSTEM__",
            "__SYSTEM__\u{a0}",
            "\u{feff}__SYSTEM__",
            "__SYS\u{200b}TEM__",
            "__SYSTEM__\u{2060} ",
            "__\u{17f}ystem__",
            "__SY\u{fb06}EM__",
            "__sy\u{fb05}em__",
            "__SYS\u{1bca0}TEM__",
        ] {
            assert!(reserved(text), "{text:?}");
        }
        for text in
            ["_SYSTEM_", "__SYSTEM_", "__SYSTEM___", "SYSTEM", "system", "__SYSTEM__2", "a__SYSTEM__", " ", "_", "jo"]
        {
            assert!(!reserved(text), "{text:?}");
        }
    }

    /// `Default_Ignorable_Code_Point` of `DerivedCoreProperties.txt`, Unicode 16.
    const IGNORABLE: [(char, char); 17] = [
        ('\u{ad}', '\u{ad}'),
        ('\u{34f}', '\u{34f}'),
        ('\u{61c}', '\u{61c}'),
        ('\u{115f}', '\u{1160}'),
        ('\u{17b4}', '\u{17b5}'),
        ('\u{180b}', '\u{180f}'),
        ('\u{200b}', '\u{200f}'),
        ('\u{202a}', '\u{202e}'),
        ('\u{2060}', '\u{206f}'),
        ('\u{3164}', '\u{3164}'),
        ('\u{fe00}', '\u{fe0f}'),
        ('\u{feff}', '\u{feff}'),
        ('\u{ffa0}', '\u{ffa0}'),
        ('\u{fff0}', '\u{fff8}'),
        ('\u{1bca0}', '\u{1bca3}'),
        ('\u{1d173}', '\u{1d17a}'),
        ('\u{e0000}', '\u{e0fff}'),
    ];

    #[test]
    fn nothing_that_shows_as_nothing_hides_the_backends_name() {
        for unseen in IGNORABLE.into_iter().flat_map(|(first, last)| first..=last) {
            let name = EndpointId::parse(&format!("__SYS{unseen}TEM__")).unwrap();
            assert!(name.is_reserved(), "{unseen:?}");
        }
    }

    /// However clients compare names, in small letters or in capitals.
    #[test]
    fn no_other_letters_become_the_backends_name() {
        for character in '\0'..=char::MAX {
            let (upper, lower) = (character.to_uppercase().to_string(), character.to_lowercase().to_string());
            for part in [upper, lower].iter().filter(|part| !part.is_empty()) {
                let Some(at) = EndpointId::SYSTEM.find(&part.to_uppercase()) else { continue };
                let rest = &EndpointId::SYSTEM[at + part.to_uppercase().len()..];
                let name = format!("{}{character}{rest}", &EndpointId::SYSTEM[..at]);
                assert!(EndpointId::parse(&name).unwrap().is_reserved(), "{name:?}");
            }
        }
    }

    #[test]
    fn endpoint_ids_are_any_short_printable_text() {
        assert!(EndpointId::parse("Jo Doe <jo@example.com> ☎").is_ok());
        assert!(EndpointId::parse("").is_err());
        assert!(EndpointId::parse("a\nb").is_err());
        assert!(EndpointId::parse(&"x".repeat(257)).is_err());
    }
}
