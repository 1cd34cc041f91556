//! Roles: named permission sets of an app, and the rule that applies to a group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::grant::Marks;
use crate::id::{AppId, RoleId};

/// A role as it is kept. Sessions hold its id, not a copy: a change takes effect at once.
#[derive(Clone, Debug)]
pub struct Role {
    /// Unique within the app; a caller may choose it.
    pub id: RoleId,
    /// The app it belongs to.
    pub app_id: AppId,
    /// 1 to 128 characters, unique within the app.
    pub name: String,
    /// What it permits.
    pub permissions: Permissions,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// What of this role has been ended.
    pub marks: Marks,
}

/// What a role permits. Absent switches are off. It is kept as JSON of just this form; what clients may write instead, wire
/// reads.
///
/// # Source
///
/// Section 2.2 of docs/protocol.md.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Permissions {
    /// Rules for groups.
    pub groups: Groups,
    /// App events.
    pub events: Events,
    /// Whether TURN credentials are handed out.
    pub media_relay: bool,
    /// Phone numbers that may be called; `*` means any.
    pub pstn_out: Vec<String>,
    /// Numbers that may be shown as caller.
    pub caller_ids: Vec<String>,
    /// Rules for conferences.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub conferences: BTreeMap<String, ConferenceRule>,
}

/// Rules for groups by name, prefix and `*`, or `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Groups {
    /// Whether the app's groups may be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<bool>,
    /// One rule a pattern.
    #[serde(flatten)]
    pub rules: BTreeMap<String, GroupRule>,
}

/// The six switches of a group rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupRule {
    /// Bringing a new group into being.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<bool>,
    /// Deleting a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroy: Option<bool>,
    /// Reading the member list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub getsubscribers: Option<bool>,
    /// Publishing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<bool>,
    /// Joining, and reading history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<bool>,
    /// Leaving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<bool>,
}

impl GroupRule {
    /// Everything.
    pub const ALL: Self = Self {
        create: Some(true),
        destroy: Some(true),
        getsubscribers: Some(true),
        publish: Some(true),
        subscribe: Some(true),
        unsubscribe: Some(true),
    };
}

/// Subscribing to app events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Starting to hear them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<bool>,
    /// Ceasing to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<bool>,
}

/// The switches of a conference rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConferenceRule {
    /// Joining.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<bool>,
    /// Ending the conference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroy: Option<bool>,
    /// Removing participants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removeparticipants: Option<bool>,
}

impl Groups {
    /// The rule for `group`: of all patterns that match, the longest, alone. No match permits nothing.
    #[must_use]
    pub fn rule_for(&self, group: &str) -> GroupRule {
        self.pattern_for(group).map(|(_, rule)| rule).unwrap_or_default()
    }

    /// The rule for `group`, as [`Self::rule_for`] finds it, and the pattern it stands under.
    #[must_use]
    pub fn pattern_for(&self, group: &str) -> Option<(&str, GroupRule)> {
        self.rules
            .iter()
            .filter(|(pattern, _)| matches(pattern, group))
            // An exact name is longer than any pattern ending in `*` that matches it; a tie goes to the exact one.
            .max_by_key(|(pattern, _)| (pattern.trim_end_matches('*').len(), !pattern.ends_with('*')))
            .map(|(pattern, rule)| (pattern.as_str(), *rule))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern == name || pattern.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))
}

impl Permissions {
    /// What development mode permits: every group, nothing that costs.
    ///
    /// # Source
    ///
    /// Section 2.3 of docs/protocol.md.
    #[must_use]
    pub fn development() -> Self {
        let groups = Groups { list: Some(true), rules: BTreeMap::from([("*".to_owned(), GroupRule::ALL)]) };
        Self { groups, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(json: &str) -> Groups {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_longest_rule_is_used_alone() {
        let groups = groups(
            r#"{"list":true,"*":{"publish":true,"subscribe":true},"buddy*":{"subscribe":true},"buddy":{"publish":true}}"#,
        );
        assert_eq!(groups.rule_for("anything").publish, Some(true));
        assert_eq!(groups.rule_for("buddies").publish, Some(true));
        assert_eq!(groups.rule_for("buddy-1"), GroupRule { subscribe: Some(true), ..GroupRule::default() });
        assert_eq!(groups.rule_for("buddy"), GroupRule { publish: Some(true), ..GroupRule::default() });
        assert_eq!(groups.pattern_for("buddy-1").map(|(pattern, _)| pattern), Some("buddy*"));
        assert_eq!(groups.pattern_for("buddy").map(|(pattern, _)| pattern), Some("buddy"));
    }

    #[test]
    fn no_rule_permits_nothing() {
        assert_eq!(groups("{}").rule_for("room"), GroupRule::default());
        assert_eq!(groups(r#"{"other":{"publish":true}}"#).rule_for("room"), GroupRule::default());
    }

    #[test]
    fn permissions_come_back_as_they_were_given() {
        let json = r#"{"groups":{"list":true,"*":{"publish":true}},"events":{},"mediaRelay":false,"pstnOut":[],"callerIds":[]}"#;
        let permissions: Permissions = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&permissions).unwrap(), json);
    }
}
