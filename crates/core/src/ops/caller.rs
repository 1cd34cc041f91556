//! Who asks: what a request shows to prove it, and who that turns out to be.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use super::confirmations::Answerer;
use crate::admin::AdminRole;
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::{AccountId, AdminId, RequestId, SecretId};
use crate::refusal::Refusal;
use crate::secret::{Secret, SecretHash};
use crate::session::SessionRecord;

/// What a request carried to prove who it is.
#[derive(Clone, Debug, Default)]
pub enum Credential {
    /// Nothing.
    #[default]
    None,
    /// An App-Token.
    AppToken(Secret),
    /// An App-Secret.
    AppSecret(Secret),
    /// An Admin-Token.
    AdminToken(Secret),
}

/// Who is asking, proved.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// An admin of an account.
    Admin {
        /// Who.
        admin_id: AdminId,
        /// Of what.
        account_id: AccountId,
        /// As what.
        role: AdminRole,
        /// The sign-in's number.
        session: u64,
        /// When the sign-in ends by itself.
        expires_at: Timestamp,
    },
    /// The backend of an app.
    App {
        /// The app.
        app: Arc<App>,
        /// By which secret.
        secret_id: SecretId,
    },
    /// An endpoint in session.
    Endpoint {
        /// The session.
        session: Arc<LiveSession>,
        /// Its app.
        app: Arc<App>,
    },
}

impl Caller {
    /// Whether both were proved by one credential.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::Admin { session, .. }, Self::Admin { session: other, .. }) => session == other,
            (Self::App { secret_id, .. }, Self::App { secret_id: other, .. }) => secret_id == other,
            (Self::Endpoint { session, .. }, Self::Endpoint { session: other, .. }) => {
                session.record.number == other.record.number
            }
            (Self::Anonymous | Self::Admin { .. } | Self::App { .. } | Self::Endpoint { .. }, _) => false,
        }
    }
}

/// A session that was found alive.
#[derive(Debug)]
pub struct LiveSession {
    /// The session as kept.
    pub record: SessionRecord,
    /// When its use was last written down.
    pub(super) touched_at: AtomicI64,
}

impl LiveSession {
    /// A session that was found in order.
    #[must_use]
    pub fn new(record: SessionRecord) -> Self {
        let touched_at = AtomicI64::new(record.last_seen_at.millis());
        Self { record, touched_at }
    }
}

/// A secret that was found usable, and the app it opens.
pub(super) struct OpenSecret {
    pub(super) id: SecretId,
    pub(super) app: Arc<App>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) touched_at: AtomicI64,
}

/// Where a request came from, for the audit log, and who answers it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The address asked from; none if from inside.
    pub address: Option<IpAddr>,
    /// The request.
    pub request_id: RequestId,
    /// Who answers, and wants to know how many nodes have followed what was changed.
    pub answerer: Option<Arc<dyn Answerer>>,
}

impl Context {
    /// The server's own doing, as a test does it.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn internal() -> Self {
        Self { address: None, request_id: RequestId::random(), answerer: None }
    }
}

/// The refusal of an endpoint where an app's backend or an admin may ask.
pub(super) const BACKEND_NEEDED: Refusal = Refusal::Forbidden("an App-Secret or Admin-Token is needed");

/// The refusal of who is no admin.
pub(super) fn admin_needed(caller: &Caller) -> Refusal {
    match caller {
        Caller::Anonymous => Refusal::Unauthenticated,
        Caller::Admin { .. } | Caller::App { .. } | Caller::Endpoint { .. } => {
            Refusal::Forbidden("an Admin-Token is needed")
        }
    }
}

/// The hash of token text, which is kept in upper case and read in either.
pub(super) fn token_hash(text: &Secret) -> SecretHash {
    if text.expose().bytes().any(|byte| byte.is_ascii_lowercase()) {
        Secret::new(text.expose().to_ascii_uppercase()).hash()
    } else {
        text.hash()
    }
}

/// An address as it is kept; empty for none.
pub(super) fn address_text(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| address.to_string())
}
