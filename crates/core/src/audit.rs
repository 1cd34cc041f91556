//! The audit log: who did what to which object, from where. Rows are added and never changed.

use crate::clock::Timestamp;
use crate::id::{AccountId, AdminId, AppId, RequestId, SecretId};

/// One row, as it is written.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// The account concerned, where no app says it.
    pub account_id: Option<AccountId>,
    /// The app concerned, if any.
    pub app_id: Option<AppId>,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// To what: an endpoint id, the id or name of an object. Never a secret.
    pub object: String,
    /// From which address; empty when nobody asked from outside.
    pub address: String,
    /// In which request.
    pub request_id: RequestId,
    /// Which token, by the first bytes of its hash.
    pub fingerprint: Option<String>,
}

/// One row, as it is read.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// Its place in the log.
    pub number: u64,
    /// The row.
    pub entry: AuditEntry,
}

/// Who acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Nobody who proved to be anyone.
    Anonymous,
    /// The server itself, or somebody with access to its data folder.
    System,
    /// An admin.
    Admin(AdminId),
    /// The holder of an App-Secret.
    Secret(SecretId),
    /// The holder of an App-Token or tokenId; the object or fingerprint says which.
    Endpoint,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $word:literal;)*) => {
        /// What was done. The number is what stores keep; a number once given is never given to another.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $variant,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word shown for it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The number kept for it.
            #[must_use]
            pub const fn code(self) -> i64 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The action of a number.
            #[must_use]
            pub const fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

actions! {
    /// A tokenId was minted.
    TokenIssued = 1, "token.issued";
    /// A tokenId was minted and the endpoint's others were spent.
    TokenReplaced = 2, "token.replaced";
    /// A tokenId was traded for a session.
    TokenRedeemed = 3, "token.redeemed";
    /// A spent tokenId was presented again.
    TokenReuse = 4, "token.reuse";
    /// A tokenId was revoked.
    TokenRevoked = 5, "token.revoked";
    /// A session was extended.
    SessionExtended = 10, "session.extended";
    /// A session was ended.
    SessionEnded = 11, "session.ended";
    /// All sessions of an endpoint, a role or an app were ended.
    SessionsEnded = 12, "sessions.ended";
    /// An admin signed in.
    AdminSignedIn = 20, "admin.signed_in";
    /// Somebody failed to sign in.
    AdminSignInFailed = 21, "admin.sign_in_failed";
    /// An admin signed out.
    AdminSignedOut = 22, "admin.signed_out";
    /// An admin was made.
    AdminCreated = 23, "admin.created";
    /// An admin's password was changed.
    AdminPasswordChanged = 24, "admin.password_changed";
    /// An admin was removed.
    AdminDeleted = 25, "admin.deleted";
    /// An account was removed with all it owned.
    AccountDeleted = 26, "account.deleted";
    /// An app was made.
    AppCreated = 30, "app.created";
    /// An app was changed.
    AppUpdated = 31, "app.updated";
    /// An app was deleted.
    AppDeleted = 32, "app.deleted";
    /// An App-Secret was made.
    SecretCreated = 40, "secret.created";
    /// An App-Secret was rolled.
    SecretRolled = 41, "secret.rolled";
    /// An App-Secret was revoked.
    SecretRevoked = 42, "secret.revoked";
    /// A role was made.
    RoleCreated = 50, "role.created";
    /// A role was changed.
    RoleUpdated = 51, "role.updated";
    /// A role was deleted.
    RoleDeleted = 52, "role.deleted";
    /// An endpoint was banned.
    EndpointBanned = 60, "endpoint.banned";
    /// A ban was lifted.
    BanLifted = 61, "endpoint.ban_lifted";
    /// A backup was restored; everything issued before was ended.
    Restored = 70, "database.restored";
    /// A standby of the database's server took its place; tokens that were not redeemed were spent.
    Promoted = 71, "database.promoted";
    /// An admin was given another role.
    AdminRoleChanged = 90, "admin.role_changed";
    /// An admin's password was set by another, or on the data folder; the second factor went with it.
    AdminPasswordReset = 91, "admin.password_reset";
    /// An admin took up a second factor.
    SecondFactorAdded = 92, "admin.second_factor_added";
    /// An admin gave the second factor up.
    SecondFactorRemoved = 93, "admin.second_factor_removed";
    /// An admin ended all own sign-ins.
    AdminSignedOutEverywhere = 94, "admin.signed_out_everywhere";
    /// Somebody looked at an endpoint's frames with their payloads.
    EndpointTailed = 95, "endpoint.tailed";
    /// A node was told to end, after sending its clients to others.
    NodeDrained = 96, "node.drained";
}

impl Action {
    /// Whether it is done all day by apps and their endpoints, or by anybody at all. There are so many rows of these that
    /// their number is bounded; the others, which say who changed what, fall to age alone.
    #[must_use]
    pub const fn everyday(self) -> bool {
        match self {
            Self::TokenIssued
            | Self::TokenReplaced
            | Self::TokenRedeemed
            | Self::TokenReuse
            | Self::TokenRevoked
            | Self::SessionExtended
            | Self::SessionEnded
            | Self::AdminSignInFailed => true,
            Self::SessionsEnded
            | Self::AdminSignedIn
            | Self::AdminSignedOut
            | Self::AdminCreated
            | Self::AdminPasswordChanged
            | Self::AdminDeleted
            | Self::AccountDeleted
            | Self::AppCreated
            | Self::AppUpdated
            | Self::AppDeleted
            | Self::SecretCreated
            | Self::SecretRolled
            | Self::SecretRevoked
            | Self::RoleCreated
            | Self::RoleUpdated
            | Self::RoleDeleted
            | Self::EndpointBanned
            | Self::BanLifted
            | Self::Restored
            | Self::Promoted
            | Self::AdminRoleChanged
            | Self::AdminPasswordReset
            | Self::SecondFactorAdded
            | Self::SecondFactorRemoved
            | Self::AdminSignedOutEverywhere
            | Self::EndpointTailed
            | Self::NodeDrained => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_words_are_distinct() {
        let words: std::collections::BTreeSet<_> = Action::ALL.iter().map(|action| action.word()).collect();
        assert_eq!(words.len(), Action::ALL.len());
        for action in Action::ALL {
            assert_eq!(Action::from_code(action.code()), Some(*action));
        }
        assert_eq!(Action::from_code(0), None);
    }
}
