//! The one-use tokenId: minted, then redeemed once, or over.

use crate::clock::Timestamp;
use crate::grant::{Born, Grant, Ground, Lapse};
use crate::seal::Entropy;
use crate::secret::{Secret, SecretHash};
use crate::term::Term;

/// Shortest life a token may ask for, in seconds.
pub const TTL_SECS_MIN: u64 = 60;
/// Life of a token that asks for none, in seconds.
///
/// # Source
///
/// `expiryTime - createTime` of the recorded answers.
pub const TTL_SECS_DEFAULT: u64 = 86_400;

/// A token to be minted. Its number, and with it its text, the store gives.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whom it will let in, and as what.
    pub grant: Grant,
    /// Its random part.
    pub entropy: Entropy,
    /// The moment of minting.
    pub created_at: Timestamp,
    /// It must be redeemed before this.
    pub activate_by: Timestamp,
    /// Its session ends at this.
    pub expires_at: Timestamp,
}

/// What a new token replaces of what its endpoint has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replaces {
    /// Nothing: all that there is stays.
    #[default]
    Nothing,
    /// The other outstanding tokens, which are spent.
    Tokens,
    /// Those, and the sessions, which end.
    TokensAndSessions,
}

impl Replaces {
    /// Whether the sessions that its endpoint has end.
    #[must_use]
    pub const fn ends_sessions(self) -> bool {
        match self {
            Self::Nothing | Self::Tokens => false,
            Self::TokensAndSessions => true,
        }
    }
}

/// A token just minted.
#[derive(Clone, Debug)]
pub struct MintedToken {
    /// Its row.
    pub number: u64,
    /// The text that is handed over and not kept.
    pub text: Secret,
    /// The token as it was asked for.
    pub token: NewToken,
}

/// A token as it is kept.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Its row.
    pub number: u64,
    /// Whom it lets in, and as what.
    pub grant: Grant,
    /// SHA-256 of its text.
    pub hash: SecretHash,
    /// The newest change when it was minted.
    pub born: u64,
    /// When it was minted.
    pub created_at: Timestamp,
    /// It must be redeemed before this.
    pub activate_by: Timestamp,
    /// Its session ends at this.
    pub expires_at: Timestamp,
    /// How it ended, if it was ended by name.
    pub end: Option<TokenEnd>,
}

/// How a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEnd {
    /// Traded for a session.
    Redeemed {
        /// When.
        at: Timestamp,
        /// The session's number.
        session: u64,
    },
    /// Revoked by name.
    Revoked {
        /// When.
        at: Timestamp,
    },
}

impl TokenRecord {
    /// Why this token cannot be redeemed at `now`, if it cannot.
    #[must_use]
    pub fn lapse(&self, ground: &Ground, now: Timestamp) -> Option<Lapse> {
        match self.end {
            Some(TokenEnd::Redeemed { .. }) => return Some(Lapse::Redeemed),
            Some(TokenEnd::Revoked { .. }) => return Some(Lapse::Revoked),
            None => {}
        }
        // The ban comes before the marks it set, so that the user is told of the suspension.
        if ground.banned(now) {
            return Some(Lapse::Banned);
        }
        if let Some(lapse) = ground.lapse(&self.grant, Born::Token(self.born), self.created_at) {
            return Some(lapse);
        }
        if now >= self.expires_at {
            Some(Lapse::Expired)
        } else if (Term { from: self.created_at, until: self.activate_by }).is_over(now) {
            Some(Lapse::NotActivated)
        } else {
            None
        }
    }
}
