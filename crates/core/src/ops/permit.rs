//! What an admin's role permits.
//!
//! Invariant: whatever changes something asks [`Caller::permit`] first. What is written down in the audit log does so in
//! [`Broker::entry`](super::Broker), the rest by itself: what clients do for themselves, and what the hub does.

use super::caller::Caller;
use crate::admin::AdminRole;
use crate::audit::Action;
use crate::refusal::Refusal;

impl Caller {
    /// Refuses an admin whose role may not do what `needed` may. Of other callers it is no matter of role.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] that names the role.
    pub fn permit(&self, needed: AdminRole) -> Result<(), Refusal> {
        match self {
            Self::Admin { role, .. } if !role.covers(needed) => Err(Refusal::Forbidden(match role {
                AdminRole::ReadOnly => "the role read-only changes nothing and speaks for nobody",
                AdminRole::Owner | AdminRole::Developer => "this needs the role owner",
            })),
            Self::Admin { .. } | Self::Anonymous | Self::App { .. } | Self::Endpoint { .. } => Ok(()),
        }
    }
}

/// The least role that may do a thing.
pub(super) const fn needed(action: Action) -> AdminRole {
    match action {
        Action::AdminCreated
        | Action::AdminDeleted
        | Action::AdminRoleChanged
        | Action::AdminPasswordReset
        | Action::AccountDeleted
        | Action::AppDeleted
        | Action::Restored
        | Action::Promoted
        | Action::NodeDrained => AdminRole::Owner,
        // What everybody does with their own sign-in.
        Action::AdminSignedIn
        | Action::AdminSignInFailed
        | Action::AdminSignedOut
        | Action::AdminSignedOutEverywhere
        | Action::AdminPasswordChanged
        | Action::SecondFactorAdded
        | Action::SecondFactorRemoved => AdminRole::ReadOnly,
        Action::TokenIssued
        | Action::TokenReplaced
        | Action::TokenRedeemed
        | Action::TokenReuse
        | Action::TokenRevoked
        | Action::SessionExtended
        | Action::SessionEnded
        | Action::SessionsEnded
        | Action::AppCreated
        | Action::AppUpdated
        | Action::SecretCreated
        | Action::SecretRolled
        | Action::SecretRevoked
        | Action::RoleCreated
        | Action::RoleUpdated
        | Action::RoleDeleted
        | Action::EndpointBanned
        | Action::BanLifted
        | Action::EndpointTailed => AdminRole::Developer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::{AccountId, AdminId};

    fn admin(role: AdminRole) -> Caller {
        let expires_at = Timestamp::from_secs(1);
        Caller::Admin { admin_id: AdminId::random(), account_id: AccountId::random(), role, session: 1, expires_at }
    }

    #[test]
    fn each_role_may_do_what_the_ones_below_it_may() {
        let may = |role, needed| admin(role).permit(needed).is_ok();
        for role in AdminRole::ALL {
            assert!(may(*role, AdminRole::ReadOnly));
            assert_eq!(may(*role, AdminRole::Developer), *role != AdminRole::ReadOnly);
            assert_eq!(may(*role, AdminRole::Owner), *role == AdminRole::Owner);
            assert!(Caller::Anonymous.permit(*role).is_ok());
        }
        let refusal = admin(AdminRole::ReadOnly).permit(AdminRole::Developer).unwrap_err();
        assert!(refusal.to_string().contains("read-only"), "{refusal}");
    }

    #[test]
    fn a_read_only_admin_does_nothing_but_for_the_own_sign_in() {
        let own: Vec<_> =
            Action::ALL.iter().filter(|action| needed(**action) == AdminRole::ReadOnly).map(|a| a.word()).collect();
        assert!(own.iter().all(|word| word.starts_with("admin.")), "{own:?}");
    }
}
