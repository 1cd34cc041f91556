//! `/v1/roles`.

use std::collections::BTreeMap;

use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AppId, RoleId};
use respoke_core::role::{ConferenceRule, Events, Groups, Permissions, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::iso;
use super::permissions::{optional_conferences, optional_events, optional_groups};
use crate::lenient::optional_bool;

/// What `POST /v1/roles` and `PUT /v1/roles/{id}` take. With `PUT` what is absent stays, and `id` is ignored.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteRole {
    /// The app; with an App-Secret its own by default.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// The id of a new role, if the caller wants to choose it.
    #[schema(nullable, format = Uuid)]
    pub id: Option<String>,
    /// What it is called, unique within the app; a new role needs it.
    #[schema(nullable, min_length = 1, max_length = 128)]
    pub name: Option<String>,
    /// Rules for groups.
    #[serde(default, deserialize_with = "optional_groups")]
    #[schema(value_type = Option<GroupsShape>)]
    pub groups: Option<Groups>,
    /// App events.
    #[serde(default, deserialize_with = "optional_events")]
    #[schema(value_type = Option<EventsShape>)]
    pub events: Option<Events>,
    /// Whether TURN credentials are handed out.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable)]
    pub media_relay: Option<bool>,
    /// Phone numbers that may be called; `*` means any.
    pub pstn_out: Option<Vec<String>>,
    /// Numbers that may be shown as caller.
    pub caller_ids: Option<Vec<String>>,
    /// Rules for conferences.
    #[serde(default, deserialize_with = "optional_conferences")]
    #[schema(value_type = Option<BTreeMap<String, ConferenceRuleShape>>)]
    pub conferences: Option<BTreeMap<String, ConferenceRule>>,
}

impl WriteRole {
    /// Whether any permission is named.
    #[must_use]
    pub fn names_permissions(&self) -> bool {
        self.groups.is_some()
            || self.events.is_some()
            || self.media_relay.is_some()
            || self.pstn_out.is_some()
            || self.caller_ids.is_some()
            || self.conferences.is_some()
    }

    /// `stored` with the named permissions in the place of its own.
    #[must_use]
    pub fn permissions_over(self, stored: Permissions) -> Permissions {
        Permissions {
            groups: self.groups.unwrap_or(stored.groups),
            events: self.events.unwrap_or(stored.events),
            media_relay: self.media_relay.unwrap_or(stored.media_relay),
            pstn_out: self.pstn_out.unwrap_or(stored.pstn_out),
            caller_ids: self.caller_ids.unwrap_or(stored.caller_ids),
            conferences: self.conferences.unwrap_or(stored.conferences),
        }
    }
}

/// A role.
///
/// # Source
///
/// Section 2.2 of docs/protocol.md. Real JSON, not the stringified form recorded for `PUT`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleView {
    /// What it is called.
    pub name: String,
    /// The account that owns the app.
    #[schema(value_type = String, format = Uuid)]
    pub account_id: AccountId,
    /// The app.
    #[schema(value_type = String, format = Uuid)]
    pub app_id: AppId,
    /// What it permits.
    #[serde(flatten)]
    #[schema(value_type = PermissionsShape)]
    pub permissions: Permissions,
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: RoleId,
    /// When it was made.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl From<(Role, AccountId)> for RoleView {
    fn from((role, account_id): (Role, AccountId)) -> Self {
        Self {
            name: role.name,
            account_id,
            app_id: role.app_id,
            permissions: role.permissions,
            id: role.id,
            created_at: role.created_at,
            updated_at: role.updated_at,
        }
    }
}

/// How [`Permissions`] look in JSON; for the API document alone.
#[derive(Debug, ToSchema)]
#[schema(as = Permissions, rename_all = "camelCase")]
pub struct PermissionsShape {
    /// Rules for groups.
    pub groups: GroupsShape,
    /// App events.
    pub events: EventsShape,
    /// Whether TURN credentials are handed out.
    pub media_relay: bool,
    /// Phone numbers that may be called; `*` means any.
    pub pstn_out: Vec<String>,
    /// Numbers that may be shown as caller.
    pub caller_ids: Vec<String>,
    /// Rules for conferences.
    #[schema(required = false)]
    pub conferences: BTreeMap<String, ConferenceRuleShape>,
}

/// How [`Groups`] look in JSON: the switch `list`, and one rule a name, prefix and `*`, or `*`; for the API
/// document alone.
#[derive(Debug, ToSchema)]
#[schema(as = Groups)]
pub struct GroupsShape {
    /// Whether the app's groups may be listed.
    #[schema(nullable)]
    pub list: Option<bool>,
    /// The rule for every group that no longer pattern matches.
    #[schema(rename = "*")]
    pub all: Option<GroupRuleShape>,
}

/// The six switches of a group rule; for the API document alone.
#[derive(Debug, ToSchema)]
#[schema(as = GroupRule)]
pub struct GroupRuleShape {
    /// Bringing a new group into being.
    pub create: Option<bool>,
    /// Deleting a group.
    pub destroy: Option<bool>,
    /// Reading the member list.
    pub getsubscribers: Option<bool>,
    /// Publishing.
    pub publish: Option<bool>,
    /// Joining, and reading history.
    pub subscribe: Option<bool>,
    /// Leaving.
    pub unsubscribe: Option<bool>,
}

/// Subscribing to app events; for the API document alone.
#[derive(Debug, ToSchema)]
#[schema(as = Events)]
pub struct EventsShape {
    /// Starting to hear them.
    pub subscribe: Option<bool>,
    /// Ceasing to.
    pub unsubscribe: Option<bool>,
}

/// The switches of a conference rule; for the API document alone.
#[derive(Debug, ToSchema)]
#[schema(as = ConferenceRule)]
pub struct ConferenceRuleShape {
    /// Joining.
    pub join: Option<bool>,
    /// Ending the conference.
    pub destroy: Option<bool>,
    /// Removing participants.
    pub removeparticipants: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_permissions_replace_the_stored_ones() {
        let stored = Permissions { media_relay: true, pstn_out: vec!["*".into()], ..Permissions::default() };
        let change: WriteRole =
            serde_json::from_str(r#"{"groups":{"list":"true"},"pstnOut":[],"callerIds":null,"createdAt":"x"}"#)
                .unwrap();
        assert!(change.names_permissions());
        let merged = change.permissions_over(stored);
        assert!(merged.media_relay);
        assert!(merged.pstn_out.is_empty());
        assert_eq!(merged.groups.list, Some(true));
    }

    #[test]
    fn a_role_looks_as_recorded() {
        let id = "7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001";
        let view = RoleView {
            name: "member".into(),
            account_id: AccountId::parse(id).unwrap(),
            app_id: AppId::parse(id).unwrap(),
            permissions: Permissions::default(),
            id: RoleId::parse(id).unwrap(),
            created_at: Timestamp::from_secs(1),
            updated_at: Timestamp::from_secs(1),
        };
        assert_eq!(
            serde_json::to_string(&view).unwrap(),
            concat!(
                r#"{"name":"member","accountId":"7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001","#,
                r#""appId":"7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001","groups":{},"events":{},"mediaRelay":false,"#,
                r#""pstnOut":[],"callerIds":[],"id":"7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001","#,
                r#""createdAt":"1970-01-01T00:00:01.000Z","updatedAt":"1970-01-01T00:00:01.000Z"}"#
            )
        );
    }
}
