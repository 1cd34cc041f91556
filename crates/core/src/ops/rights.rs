//! What a caller may do with groups, relays and the like.

use std::sync::{Arc, LazyLock};

use super::{Broker, Caller};
use crate::admin::AdminRole;
use crate::id::{AppId, GroupName, RoleId};
use crate::refusal::Refusal;
use crate::role::{GroupRule, Permissions};

/// What a caller may do beyond what needs no permission.
#[derive(Clone, Debug)]
pub enum Rights {
    /// Everything in its app: App-Secrets and Admin-Tokens are above roles.
    All,
    /// Reads everything in its app and changes nothing: what a read-only admin may.
    Look,
    /// What a role permits, or development mode.
    Of(Arc<Permissions>),
}

static DEVELOPMENT: LazyLock<Arc<Permissions>> = LazyLock::new(|| Arc::new(Permissions::development()));

impl Rights {
    /// The rule for one group.
    #[must_use]
    pub fn group(&self, group: &GroupName) -> GroupRule {
        match self {
            Self::All => GroupRule::ALL,
            // Who may join a group may read its history; that no connection joins, the hub sees to.
            Self::Look => GroupRule { subscribe: Some(true), getsubscribers: Some(true), ..GroupRule::default() },
            Self::Of(permissions) => permissions.groups.rule_for(group.as_str()),
        }
    }

    /// Whether the app's groups may be listed.
    #[must_use]
    pub fn may_list_groups(&self) -> bool {
        match self {
            Self::All | Self::Look => true,
            Self::Of(permissions) => permissions.groups.list == Some(true),
        }
    }

    /// Whether TURN credentials are handed out.
    #[must_use]
    pub fn may_relay_media(&self) -> bool {
        match self {
            Self::All => true,
            Self::Look => false,
            Self::Of(permissions) => permissions.media_relay,
        }
    }
}

impl Broker {
    /// What `caller` may do, by its role as it is now.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] for nobody in particular, or when the role is gone.
    pub async fn rights(&self, caller: &Caller) -> Result<Rights, Refusal> {
        match caller {
            Caller::Anonymous => Err(Refusal::Unauthenticated),
            Caller::Admin { role: AdminRole::ReadOnly, .. } => Ok(Rights::Look),
            Caller::App { .. } | Caller::Admin { .. } => Ok(Rights::All),
            Caller::Endpoint { session, .. } => {
                let grant = &session.record.grant;
                let Some(role) = grant.role_id else { return Ok(Rights::Of(DEVELOPMENT.clone())) };
                let permissions = self.permissions(grant.app_id, role).await?;
                Ok(Rights::Of(permissions.ok_or(Refusal::Unauthenticated)?))
            }
        }
    }

    /// What a role permits. None: there is no such role.
    pub(super) async fn permissions(&self, app: AppId, role: RoleId) -> Result<Option<Arc<Permissions>>, Refusal> {
        if let Some(permissions) = self.catalog.role(app, role) {
            return Ok(Some(permissions));
        }
        let age = self.catalog.age();
        let Some(found) = self.store.role(app, role).await? else { return Ok(None) };
        let permissions = Arc::new(found.permissions);
        self.catalog.remember_role(app, role, age, permissions.clone());
        Ok(Some(permissions))
    }
}
