//! Sessions: what a redeemed token opens and an App-Token proves.

use crate::clock::Timestamp;
use crate::grant::{Born, Grant, Ground, Lapse};
use crate::secret::SecretHash;
use crate::term::Term;

/// A session as it is kept.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// Its row.
    pub number: u64,
    /// The token it was opened with.
    pub token_number: u64,
    /// Who it speaks as, and as what.
    pub grant: Grant,
    /// SHA-256 of its App-Token.
    pub hash: SecretHash,
    /// The newest change when it was opened.
    pub born: u64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_seen_at: Timestamp,
    /// From where it was last used.
    pub address: String,
    /// How it ended, if it was ended by name.
    pub end: Option<SessionEnd>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub cause: SessionEndCause,
}

/// Why a session ended by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEndCause {
    /// Its own App-Token ended it.
    SignedOut,
    /// Somebody with authority over the app ended it.
    Revoked,
    /// A newer session took its place.
    Superseded,
}

impl SessionRecord {
    /// From when to when it lasts.
    #[must_use]
    pub const fn term(&self) -> Term {
        Term { from: self.created_at, until: self.expires_at }
    }

    /// Why this session is over at `now`, if it is.
    #[must_use]
    pub fn lapse(&self, ground: &Ground, now: Timestamp) -> Option<Lapse> {
        if let Some(end) = self.end {
            return Some(match end.cause {
                SessionEndCause::SignedOut => Lapse::SignedOut,
                SessionEndCause::Revoked => Lapse::Revoked,
                SessionEndCause::Superseded => Lapse::Superseded,
            });
        }
        if let Some(lapse) = ground.lapse(&self.grant, Born::Session(self.born), self.created_at) {
            return Some(lapse);
        }
        self.term().is_over(now).then_some(Lapse::Expired)
    }
}
