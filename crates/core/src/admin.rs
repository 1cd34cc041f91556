//! The people who administer an account, and their sign-ins.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{AccountId, AdminId};
use crate::secret::{Secret, SecretHash};
use crate::term::Term;
use crate::totp::{STEP_SECS, SealedTotp};

/// Admins of one account at most.
pub const ADMINS_MAX: usize = 200;
/// How long the setup link of the first start waits, in seconds.
pub const SETUP_SECS: i64 = 24 * 3_600;
/// How long a sign-in lasts, in seconds.
pub(crate) const SESSION_SECS: i64 = 12 * 3_600;

/// From when to when a sign-in lasts that ends at `expires_at`.
pub(crate) const fn session_term(expires_at: Timestamp) -> Term {
    Term { from: expires_at.plus_secs(-SESSION_SECS), until: expires_at }
}

/// An account: the owner of apps.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What it is called.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What an admin may do. A later one may do less than those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminRole {
    /// Everything.
    #[default]
    Owner,
    /// Everything with apps, except deleting one and setting its limits; nothing with admins.
    Developer,
    /// Reads everything, changes nothing.
    ReadOnly,
}

impl AdminRole {
    /// Every role.
    pub const ALL: &[Self] = &[Self::Owner, Self::Developer, Self::ReadOnly];

    /// The word shown for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Developer => "developer",
            Self::ReadOnly => "read-only",
        }
    }

    /// The role of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.word() == word)
    }

    /// The number kept for it.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Owner => 0,
            Self::Developer => 1,
            Self::ReadOnly => 2,
        }
    }

    /// The role of a number.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.code() == code)
    }

    /// Whether it may do what `needed` may.
    #[must_use]
    pub const fn covers(self, needed: Self) -> bool {
        self.code() <= needed.code()
    }
}

/// A sign-in of which only the store knew whose it is.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The Admin-Token.
    pub token: Secret,
    /// The admin's user name.
    pub username: String,
}

/// An address from which an admin signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAddress {
    /// The admin's user name.
    pub username: String,
    /// The address, or its network ([`crate::address::network`]).
    pub address: IpAddr,
    /// When the admin last signed in from there.
    pub at: Timestamp,
}

impl KnownAddress {
    /// How long an address is known to an account after its admin came in from there, in seconds.
    pub const KNOWN_SECS: i64 = 30 * 86_400;
    /// Addresses that are kept of one admin, the latest: who travels has dozens in a month.
    pub const PER_ADMIN_MAX: usize = 50;
}

/// An admin's second factor as kept.
#[derive(Clone, Debug)]
pub struct SecondFactor {
    /// The secret shared with the admin's device, sealed with the admin's password.
    pub sealed: SealedTotp,
    /// The last time step of which a code was taken; none of it or of an earlier one is taken again.
    pub last_step: u64,
}

impl SecondFactor {
    /// By how many seconds the clock stands before the last code that was taken, if it went back: right codes are refused
    /// until it has caught up. A code may have been taken a step early, as clocks differ.
    #[must_use]
    pub fn clock_behind_secs(&self, now: Timestamp) -> Option<u64> {
        let taken_secs = self.last_step.saturating_sub(1).saturating_mul(STEP_SECS);
        taken_secs.checked_sub(u64::try_from(now.secs()).unwrap_or(0)).filter(|secs| *secs > 0)
    }
}

/// An admin as kept.
#[derive(Clone)]
pub struct Admin {
    /// Its id.
    pub id: AdminId,
    /// The account administered.
    pub account_id: AccountId,
    /// What is typed to sign in; unique, compared exactly.
    pub username: String,
    /// What the admin may do.
    pub role: AdminRole,
    /// The password's argon2id text, in PHC form.
    pub password_hash: String,
    /// What is asked for besides the password, if anything is.
    pub second_factor: Option<SecondFactor>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("id", &self.id)
            .field("username", &self.username)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Whether an admin may be called this.
///
/// # Errors
///
/// What is asked of a user name, as the end of a sentence.
pub fn check_username(username: &str) -> Result<(), &'static str> {
    let length = username.chars().count();
    if !(1..=128).contains(&length) || username.chars().any(char::is_control) || username.trim() != username {
        return Err("must be 1 to 128 printable characters without spaces at its ends");
    }
    Ok(())
}

/// A sign-in of an admin, proved by an Admin-Token.
#[derive(Clone, Debug)]
pub struct AdminSession {
    /// Its row.
    pub number: u64,
    /// Who signed in.
    pub admin_id: AdminId,
    /// The account administered.
    pub account_id: AccountId,
    /// What the admin may do at present.
    pub role: AdminRole,
    /// SHA-256 of the Admin-Token.
    pub hash: SecretHash,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_back_and_stand_in_order() {
        for role in AdminRole::ALL {
            assert_eq!(AdminRole::parse(role.word()), Some(*role));
            assert_eq!(AdminRole::from_code(role.code()), Some(*role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.word());
        }
        assert_eq!((AdminRole::parse("root"), AdminRole::from_code(3)), (None, None));
        assert!(AdminRole::Owner.covers(AdminRole::Developer) && AdminRole::Developer.covers(AdminRole::Developer));
        assert!(!AdminRole::Developer.covers(AdminRole::Owner) && !AdminRole::ReadOnly.covers(AdminRole::Developer));
    }
}
