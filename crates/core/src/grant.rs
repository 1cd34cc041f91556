//! Why a token or session is good, and why it stops being good.
//!
//! Nothing is copied into a token or session that could be taken away. It names its app, role, endpoint and secret, and
//! each time it is used those are looked at anew. So many are ended by one small write: a row of [`Marks`] that says
//! that everything born before change N is over (docs/adr/0002).

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
/// A mark is the number of the change in the feed that set it. What is minted or redeemed keeps as `born` the number of
/// the newest change then, read together with what it stands on. So who was born before a mark has a lower number, and
/// who saw the change that set it has that number or a higher one: over is `born < mark`, and with `<=` whoever comes
/// right after an end would be ended with it. No clock has a part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Tokens born before this change are over.
    pub tokens_from: u64,
    /// Sessions born before this change are over.
    pub sessions_from: u64,
    /// Tokens made before this instant are over, if born before the change `issued_before_tokens`.
    pub tokens_issued_before: Timestamp,
    /// Sessions made before this instant are over, if born before the change `issued_before_sessions`.
    pub sessions_issued_before: Timestamp,
    /// Tokens born from this change on are not touched by `tokens_issued_before`.
    pub issued_before_tokens: u64,
    /// Sessions born from this change on are not touched by `sessions_issued_before`.
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
    /// Whether a token that was `born` then and made at `created_at` is over.
    #[must_use]
    pub fn end_token(&self, born: u64, created_at: Timestamp) -> bool {
        born < self.tokens_from || (born < self.issued_before_tokens && created_at < self.tokens_issued_before)
    }

    /// Whether a session that was `born` then and made at `created_at` is over.
    #[must_use]
    pub fn end_session(&self, born: u64, created_at: Timestamp) -> bool {
        born < self.sessions_from || (born < self.issued_before_sessions && created_at < self.sessions_issued_before)
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

/// What was born, and after which change.
#[derive(Clone, Copy)]
pub(crate) enum Born {
    Token(u64),
    Session(u64),
}

impl Ground {
    /// Why what stands on this ground is over, if it is.
    pub(crate) fn lapse(&self, grant: &Grant, born: Born, created_at: Timestamp) -> Option<Lapse> {
        let ended = |marks: &Marks| match born {
            Born::Token(born) => marks.end_token(born, created_at),
            Born::Session(born) => marks.end_session(born, created_at),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_ends_what_was_born_before_it_and_nothing_that_saw_it() {
        let (early, late) = (Timestamp::from_secs(1), Timestamp::from_secs(9));
        let marks = Marks { tokens_from: 5, sessions_from: 7, ..Marks::default() };
        assert_eq!([4, 5, 6].map(|born| marks.end_token(born, late)), [true, false, false]);
        assert_eq!([6, 7, 8].map(|born| marks.end_session(born, late)), [true, false, false]);
        // With an instant both must hold.
        let marks = Marks {
            tokens_issued_before: Timestamp::from_secs(5),
            issued_before_tokens: 5,
            sessions_issued_before: Timestamp::from_secs(5),
            issued_before_sessions: 7,
            ..Marks::default()
        };
        assert!(marks.end_token(4, early) && !marks.end_token(4, late) && !marks.end_token(5, early));
        assert!(marks.end_session(6, early) && !marks.end_session(6, late) && !marks.end_session(7, early));
        assert!(!Marks::default().end_token(0, early) && !Marks::default().end_session(0, early));
    }
}
