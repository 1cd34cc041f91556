//! What can be taken away, in a form that can be done again (`journal.rs`).

use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AdminId, AppId, RoleId, SecretId};
use respoke_core::ports::{BanRecord, EndRequest, EndScope, Node};
use respoke_core::secret::SecretHash;
use respoke_core::session::SessionEndCause;

/// What was taken away, in a form that can be done again.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    TokenRevoked {
        number: i64,
        at: Timestamp,
    },
    SessionEnded {
        number: i64,
        at: Timestamp,
        cause: SessionEndCause,
    },
    Ended {
        request: EndRequest,
        at: Timestamp,
    },
    Banned {
        app: AppId,
        ban: BanRecord,
    },
    AccountDeleted {
        account: AccountId,
        at: Timestamp,
    },
    OfApp {
        app: AppId,
        deed: OfApp,
        at: Timestamp,
    },
    OfAdmin {
        admin: AdminId,
        deed: OfAdmin,
        at: Timestamp,
    },
    /// By the database's clock.
    NodeGone {
        node: Node,
        at: Timestamp,
    },
}

/// What was taken away of an app, or from it.
#[derive(Clone, Debug)]
pub(super) enum OfApp {
    Deleted,
    DevelopmentModeOff,
    RoleDeleted(RoleId),
    /// With the JSON of what it permits.
    RoleChanged(RoleId, String),
    SecretRevoked {
        secret: SecretId,
        keep_sessions: bool,
    },
    SecretRolled {
        secret: SecretId,
        until: Timestamp,
    },
}

/// What was taken away of an admin, or from them.
#[derive(Clone, Debug)]
pub(super) enum OfAdmin {
    Deleted,
    RoleSet(i64),
    PasswordSet {
        hash: String,
        sealed: Option<Vec<u8>>,
        keep_session: Option<u64>,
    },
    FactorAdded {
        sealed: Vec<u8>,
        last_step: i64,
        recovery: Vec<SecretHash>,
    },
    FactorRemoved,
    SessionEnded(i64),
    SessionsEnded,
    StepUsed(i64),
    RecoveryCodeUsed(SecretHash),
    SetupTokenSpent(SecretHash),
    /// Tokens that end before this one.
    SetupTokenReplaced {
        expires_at: Timestamp,
    },
}

impl Deed {
    /// Whether it says of a node that it is gone.
    pub(super) const fn is_a_death(&self) -> bool {
        matches!(self, Self::NodeGone { .. })
    }

    /// What it takes in memory beside itself, about.
    pub(super) fn more_bytes(&self) -> usize {
        match self {
            Self::TokenRevoked { .. }
            | Self::SessionEnded { .. }
            | Self::AccountDeleted { .. }
            | Self::NodeGone { .. } => 0,
            Self::Ended { request, .. } => match &request.scope {
                EndScope::Endpoint(endpoint) => endpoint.as_str().len(),
                EndScope::App | EndScope::Role(_) => 0,
            },
            Self::Banned { ban, .. } => ban.endpoint_id.as_str().len() + ban.reason.len(),
            Self::OfApp { deed, .. } => match deed {
                OfApp::RoleChanged(_, permissions) => permissions.len(),
                OfApp::Deleted
                | OfApp::DevelopmentModeOff
                | OfApp::RoleDeleted(_)
                | OfApp::SecretRevoked { .. }
                | OfApp::SecretRolled { .. } => 0,
            },
            Self::OfAdmin { deed, .. } => match deed {
                OfAdmin::PasswordSet { hash, sealed, .. } => hash.len() + sealed.as_ref().map_or(0, Vec::len),
                OfAdmin::FactorAdded { sealed, recovery, .. } => sealed.len() + size_of_val(&recovery[..]),
                OfAdmin::Deleted
                | OfAdmin::RoleSet(_)
                | OfAdmin::FactorRemoved
                | OfAdmin::SessionEnded(_)
                | OfAdmin::SessionsEnded
                | OfAdmin::StepUsed(_)
                | OfAdmin::RecoveryCodeUsed(_)
                | OfAdmin::SetupTokenSpent(_)
                | OfAdmin::SetupTokenReplaced { .. } => 0,
            },
        }
    }
}

/// A token that was redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redeemed {
    pub(super) number: i64,
    pub(super) session: i64,
    pub(super) at: i64,
}

/// What a transaction takes away.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) deeds: Vec<Deed>,
    pub(super) redeemed: Vec<Redeemed>,
    /// Its newest change.
    pub(super) change: Option<i64>,
}

impl Taken {
    pub(super) fn clear(&mut self) {
        self.deeds.clear();
        self.redeemed.clear();
        self.change = None;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.deeds.is_empty() && self.redeemed.is_empty()
    }
}
