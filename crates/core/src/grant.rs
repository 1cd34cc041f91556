//! What a token and a session stand on, and why they may stand no longer.
//!
//! Nothing is copied into a token or session that could be taken away: it names its app, role, endpoint and secret, and
//! each time it is used those are looked at anew. Ending many at once is therefore one small write: a [`Marks`] row
//! that says "everything numbered below N is over" (docs/adr/0002).

use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId, RoleId, SecretId};

/// Who may act as whom, and by whose authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The app it is valid in.
    pub app_id: AppId,
    /// Who it speaks as.
    pub endpoint_id: EndpointId,
    /// The role; none in development mode.
    pub role_id: Option<RoleId>,
    /// The App-Secret it was minted with; none when an admin or nobody minted it.
    pub secret_id: Option<SecretId>,
}

/// How far tokens and sessions of one app, role or endpoint have been ended.
///
/// Numbers grow with every token and session, so a mark set now cannot touch what is minted afterwards, whatever
/// the clock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Tokens numbered below this are over.
    pub tokens_from: u64,
    /// Sessions numbered below this are over.
    pub sessions_from: u64,
    /// Tokens made before this instant are over, if numbered below `issued_before_tokens`.
    pub tokens_issued_before: Timestamp,
    /// Sessions made before this instant are over, if numbered below `issued_before_sessions`.
    pub sessions_issued_before: Timestamp,
    /// Tokens from this number on are not touched by `tokens_issued_before`.
    pub issued_before_tokens: u64,
    /// Sessions from this number on are not touched by `sessions_issued_before`.
    pub issued_before_sessions: u64,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            tokens_from: 0,
            sessions_from: 0,
            tokens_issued_before: Timestamp::from_millis(0),
            sessions_issued_before: Timestamp::from_millis(0),
            issued_before_tokens: 0,
            issued_before_sessions: 0,
        }
    }
}

impl Marks {
    /// Whether token `number`, made at `created_at`, is over.
    #[must_use]
    pub fn end_token(&self, number: u64, created_at: Timestamp) -> bool {
        number < self.tokens_from || (number < self.issued_before_tokens && created_at < self.tokens_issued_before)
    }

    /// Whether session `number`, made at `created_at`, is over.
    #[must_use]
    pub fn end_session(&self, number: u64, created_at: Timestamp) -> bool {
        number < self.sessions_from
            || (number < self.issued_before_sessions && created_at < self.sessions_issued_before)
    }
}

/// What a grant stands on, as the store finds it at this moment.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// The app, if it still exists.
    pub app: Option<AppGround>,
    /// The role's marks, if the grant names a role and it still exists.
    pub role: Option<Marks>,
    /// Whether the secret that minted it was revoked with all it minted. True as well if its record is gone.
    pub secret_revoked: bool,
    /// The endpoint's marks; most endpoints have none.
    pub endpoint: Marks,
    /// Until when the endpoint is banned, if it is.
    pub banned_until: Option<Timestamp>,
}

/// What of an app matters to a grant.
#[derive(Clone, Copy, Debug)]
pub struct AppGround {
    /// Grants without a role hold only while this is on.
    pub development_mode: bool,
    /// What of the app has been ended.
    pub marks: Marks,
}

/// Why a token or session that exists is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// The tokenId was already traded for a session.
    Redeemed,
    /// Ended by itself, by name or as one of many.
    Revoked,
    /// A newer session of the endpoint took its place.
    Superseded,
    /// Its owner signed out.
    SignedOut,
    /// Its time is over.
    Expired,
    /// It was not redeemed within the activation window.
    NotActivated,
    /// Its app is gone.
    AppDeleted,
    /// Its role is gone.
    RoleDeleted,
    /// The secret that minted it was revoked.
    SecretRevoked,
    /// Its endpoint is banned.
    Banned,
    /// It was issued in development mode, which is off now.
    DevelopmentModeOff,
}

impl Lapse {
    /// The stable word for it, in metrics, audit rows and `token inspect`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Redeemed => "redeemed",
            Self::Revoked => "revoked",
            Self::Superseded => "superseded",
            Self::SignedOut => "signed_out",
            Self::Expired => "expired",
            Self::NotActivated => "not_activated",
            Self::AppDeleted => "app_deleted",
            Self::RoleDeleted => "role_deleted",
            Self::SecretRevoked => "secret_revoked",
            Self::Banned => "banned",
            Self::DevelopmentModeOff => "development_mode_off",
        }
    }
}

/// Which of the two a number belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Numbered {
    Token(u64),
    Session(u64),
}

impl Ground {
    /// Why what stands on this ground is over, if it is.
    pub(crate) fn lapse(&self, grant: &Grant, numbered: Numbered, created_at: Timestamp) -> Option<Lapse> {
        let ended = |marks: &Marks| match numbered {
            Numbered::Token(number) => marks.end_token(number, created_at),
            Numbered::Session(number) => marks.end_session(number, created_at),
        };
        let Some(app) = &self.app else { return Some(Lapse::AppDeleted) };
        match (grant.role_id, &self.role) {
            (Some(_), None) => return Some(Lapse::RoleDeleted),
            (Some(_), Some(role)) if ended(role) => return Some(Lapse::Revoked),
            (None, _) if !app.development_mode => return Some(Lapse::DevelopmentModeOff),
            (Some(_), Some(_)) | (None, _) => {}
        }
        if grant.secret_id.is_some() && self.secret_revoked {
            return Some(Lapse::SecretRevoked);
        }
        (ended(&app.marks) || ended(&self.endpoint)).then_some(Lapse::Revoked)
    }

    /// Whether the endpoint is banned at `now`.
    #[must_use]
    pub fn banned(&self, now: Timestamp) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }
}
