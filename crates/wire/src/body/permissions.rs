//! A role's permissions as clients write them. Core's own form is strict; here a switch may be text or a number.

use std::collections::BTreeMap;
use std::fmt;

use respoke_core::role::{ConferenceRule, Events, GroupRule, Groups, Permissions};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::lenient::optional_bool;

/// Reads permissions from JSON that somebody typed.
///
/// # Errors
///
/// What is wrong with it, and where.
pub fn read(json: &str) -> Result<Permissions, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let permissions = PermissionsForm::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(permissions)
}

// What the members of core's types are read by: each form has the members of the type that it names.
#[derive(Default, serde::Deserialize)]
#[serde(remote = "Permissions", default, rename_all = "camelCase")]
struct PermissionsForm {
    #[serde(deserialize_with = "groups")]
    groups: Groups,
    #[serde(with = "EventsForm")]
    events: Events,
    #[serde(deserialize_with = "switch")]
    media_relay: bool,
    pstn_out: Vec<String>,
    caller_ids: Vec<String>,
    #[serde(deserialize_with = "conferences")]
    conferences: BTreeMap<String, ConferenceRule>,
}

#[derive(Default, serde::Deserialize)]
#[serde(remote = "GroupRule", default)]
struct GroupRuleForm {
    #[serde(deserialize_with = "optional_bool")]
    create: Option<bool>,
    #[serde(deserialize_with = "optional_bool")]
    destroy: Option<bool>,
    #[serde(deserialize_with = "optional_bool")]
    getsubscribers: Option<bool>,
    #[serde(deserialize_with = "optional_bool")]
    publish: Option<bool>,
    #[serde(deserialize_with = "optional_bool")]
    subscribe: Option<bool>,
    #[serde(deserialize_with = "optional_bool")]
    unsubscribe: Option<bool>,
}

#[derive(Default, serde::Deserialize)]
#[serde(remote = "Events", default)]
struct EventsForm {
    #[serde(deserialize_with = "optional_bool")]
    subscribe: Option<bool>,
    #[serde(deserialize_with = "optional_bool")]
    unsubscribe: Option<bool>,
}

#[derive(Default, serde::Deserialize)]
#[serde(remote = "ConferenceRule", default)]
struct ConferenceRuleForm {
    #[serde(deserialize_with = "optional_bool")]
    join: Option<bool>,
    #[serde(deserialize_with = "optional_bool")]
    destroy: Option<bool>,
    #[serde(deserialize_with = "optional_bool")]
    removeparticipants: Option<bool>,
}

/// What is read in the forms above, where it stands in a list or may be absent.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct GroupsRead(#[serde(deserialize_with = "groups")] Groups);
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct GroupRuleRead(#[serde(with = "GroupRuleForm")] GroupRule);
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct EventsRead(#[serde(with = "EventsForm")] Events);
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct ConferenceRuleRead(#[serde(with = "ConferenceRuleForm")] ConferenceRule);
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct SwitchRead(#[serde(deserialize_with = "optional_bool")] Option<bool>);

pub(super) fn optional_groups<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Groups>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|GroupsRead(groups)| groups))
}

pub(super) fn optional_events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Events>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|EventsRead(events)| events))
}

pub(super) fn optional_conferences<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, ConferenceRule>>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(without_form))
}

fn conferences<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, ConferenceRule>, D::Error> {
    BTreeMap::deserialize(deserializer).map(without_form)
}

fn without_form(read: BTreeMap<String, ConferenceRuleRead>) -> BTreeMap<String, ConferenceRule> {
    read.into_iter().map(|(name, ConferenceRuleRead(rule))| (name, rule)).collect()
}

fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(optional_bool(deserializer)?.unwrap_or(false))
}

/// Member by member: derived, serde would read all of them into values first, which do not hold every number and text, and
/// forget which member was wrong.
fn groups<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Groups, D::Error> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Groups;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut list, mut rules) = (None, BTreeMap::new());
            while let Some(name) = map.next_key::<String>()? {
                if name != "list" {
                    let GroupRuleRead(rule) = map.next_value()?;
                    rules.insert(name, rule);
                } else if list.replace(map.next_value::<SwitchRead>()?).is_some() {
                    return Err(de::Error::duplicate_field("list"));
                }
            }
            Ok(Groups { list: list.and_then(|SwitchRead(list)| list), rules })
        }
    }
    deserializer.deserialize_map(Members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(json: &str) -> Result<Groups, serde_json::Error> {
        serde_json::from_str(json).map(|GroupsRead(groups)| groups)
    }

    #[test]
    fn permissions_are_read_as_they_are_kept() {
        let json = r#"{"groups":{"list":true,"*":{"publish":true}},"events":{"subscribe":true},"mediaRelay":true,"pstnOut":["*"],"callerIds":["7"],"conferences":{"a":{"join":false}}}"#;
        let permissions = read(json).unwrap();
        assert_eq!(serde_json::to_string(&permissions).unwrap(), json);
        assert_eq!(serde_json::from_str::<Permissions>(json).unwrap(), permissions);
        assert_eq!(read("{}").unwrap(), Permissions::default());
    }

    #[test]
    fn what_no_switch_is_called_is_passed_over_whatever_it_is() {
        let unknown = r#"{"x":1e400,"y":"\ud83d","z":{"z":[18446744073709551617]}}"#;
        let permissions = read(&format!(r#"{{"groups":{{"*":{unknown}}},"events":{unknown},"x":{unknown}}}"#)).unwrap();
        assert_eq!(permissions.groups.rules["*"], GroupRule::default());
        for (wrong, expected) in [
            (r#"{"list":true,"list":true}"#, "duplicate field `list`"),
            (r#"{"list":7}"#, "true or false"),
            (r#"{"a":7}"#, "struct GroupRule"),
            ("[]", "a map"),
        ] {
            let error = groups(wrong).unwrap_err().to_string();
            assert!(error.contains(expected), "{wrong}: {error}");
        }
        assert_eq!(groups(r#"{"list":null}"#).unwrap(), groups("{}").unwrap());
        assert_eq!(groups(r#"{"list":"true"}"#).unwrap().list, Some(true));
    }

    #[test]
    fn switches_may_be_text() {
        assert!(read(r#"{"mediaRelay":"true"}"#).unwrap().media_relay);
        assert!(read(r#"{"groups":{"*":7}}"#).is_err());
    }

    #[test]
    fn nothing_may_follow() {
        assert!(read("{} {}").is_err());
    }
}
