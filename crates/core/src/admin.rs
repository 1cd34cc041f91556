//! The people who administer an account, and their sign-ins.

use crate::clock::Timestamp;
use crate::id::{AccountId, AdminId};
use crate::secret::SecretHash;

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

/// An admin as kept.
#[derive(Clone)]
pub struct Admin {
    /// Its id.
    pub id: AdminId,
    /// The account administered.
    pub account_id: AccountId,
    /// What is typed to sign in; unique, compared exactly.
    pub username: String,
    /// The password's argon2id text, in PHC form.
    pub password_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("id", &self.id).field("username", &self.username).finish_non_exhaustive()
    }
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
    /// SHA-256 of the Admin-Token.
    pub hash: SecretHash,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}
