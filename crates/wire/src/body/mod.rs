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
pub mod nodes;
pub mod oauth;
pub mod permissions;
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

use respoke_core::clock::Timestamp;
use respoke_core::secret::Secret;
use serde::de::{Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::lenient::optional_u64;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{self, DecodeError, Input};

    #[derive(Debug, serde::Deserialize)]
    struct Body {
        #[serde(default, deserialize_with = "nullable")]
        #[expect(clippy::option_option, reason = "absent, null and a value are three things here")]
        list: Option<Option<Vec<String>>>,
    }

    fn read(json: &str) -> Option<Body> {
        serde_json::from_str(json).ok()
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
