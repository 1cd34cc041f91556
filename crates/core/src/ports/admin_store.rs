//! The part of the store that holds accounts, admins, their sign-ins and their second factors.

use async_trait::async_trait;

use super::outcome::{Ending, Removal};
use super::store_error::StoreError;
use crate::admin::{Account, Admin, AdminRole, AdminSession, KnownAddress, SignedIn};
use crate::app::{App, SecretRecord};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::id::{AccountId, AdminId};
use crate::idempotency::{Creation, IdempotencyKey};
use crate::role::Role;
use crate::seal::Entropy;
use crate::secret::{Secret, SecretHash};
use crate::totp::SealedTotp;

/// Accounts, admins and their sign-ins.
#[async_trait]
pub trait AdminStore: Send + Sync {
    /// The accounts, oldest first. There are few.
    async fn accounts(&self) -> Result<Vec<Account>, StoreError>;
    /// Keeps what the first start makes, all of it or nothing. The account may be there already.
    async fn begin(&self, first: FirstRows) -> Result<Beginning, StoreError>;
    /// Adds an account.
    async fn create_account(&self, account: Account) -> Result<(), StoreError>;
    /// Removes an account with its admins and apps; what stood on them is over.
    async fn delete_account(&self, id: AccountId, audit: AuditEntry) -> Result<Removal, StoreError>;
    /// Adds an admin.
    async fn create_admin(&self, admin: Admin, audit: AuditEntry) -> Result<AdminAddition, StoreError>;
    /// The admin of that user name.
    async fn admin_by_username(&self, username: &str) -> Result<Option<Admin>, StoreError>;
    /// The admins, by user name.
    async fn admins(&self) -> Result<Vec<Admin>, StoreError>;
    /// The admin of that id.
    async fn admin(&self, id: AdminId) -> Result<Option<Admin>, StoreError>;
    /// Changes a password and ends the admin's sign-ins and setup token.
    async fn set_admin_password(
        &self,
        id: AdminId,
        password: NewPassword,
        audit: AuditEntry,
    ) -> Result<PasswordChange, StoreError>;
    /// Gives an admin another role.
    async fn set_admin_role(&self, id: AdminId, role: AdminRole, audit: AuditEntry) -> Result<AdminChange, StoreError>;
    /// Removes an admin and ends its sign-ins.
    async fn delete_admin(&self, id: AdminId, audit: AuditEntry) -> Result<AdminChange, StoreError>;
    /// Gives an admin a second factor, spends the setup token and ends the other sign-ins, which would go around it.
    async fn add_second_factor(
        &self,
        id: AdminId,
        factor: NewSecondFactor,
        audit: AuditEntry,
    ) -> Result<FactorAddition, StoreError>;
    /// Takes an admin's second factor away, spending `proof` in the same step.
    async fn remove_second_factor(
        &self,
        id: AdminId,
        proof: Factor,
        audit: AuditEntry,
    ) -> Result<FactorRemoval, StoreError>;
    /// Keeps a token that signs an admin in once until `expires_at`, in the place of an earlier one.
    async fn put_setup_token(&self, id: AdminId, hash: SecretHash, expires_at: Timestamp) -> Result<(), StoreError>;
    /// Spends a setup token at `audit.at` and opens an admin session, both or neither; the audit row gets its admin.
    async fn spend_setup_token(
        &self,
        hash: SecretHash,
        entropy: Entropy,
        expires_at: Timestamp,
        audit: AuditEntry,
    ) -> Result<SetupSignIn, StoreError>;
    /// Opens an admin session and returns its Admin-Token, spending `proof` in the same step. `audit.address` is known to
    /// the admin from then on, as it is after [`Self::spend_setup_token`].
    async fn open_admin_session(
        &self,
        admin: &Admin,
        proof: Factor,
        entropy: Entropy,
        expires_at: Timestamp,
        once: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Creation<Secret, SignInRefusal>, StoreError>;
    /// The addresses from which admins signed in after `since`, of each admin the last [`KnownAddress::PER_ADMIN_MAX`].
    async fn known_addresses(&self, since: Timestamp) -> Result<Vec<KnownAddress>, StoreError>;
    /// The admin session of that number, whatever its state. Sessions of removed admins are gone.
    async fn admin_session(&self, number: u64) -> Result<Option<AdminSession>, StoreError>;
    /// Ends an admin session.
    async fn end_admin_session(&self, number: u64, audit: AuditEntry) -> Result<Ending, StoreError>;
    /// Ends all sign-ins of an admin, and the setup token.
    async fn end_admin_sessions(&self, id: AdminId, audit: AuditEntry) -> Result<(), StoreError>;
}

/// What the first start makes, each part with its audit row.
#[derive(Clone, Debug)]
pub struct FirstRows {
    /// The account.
    pub account: Account,
    /// Its owner.
    pub admin: (Admin, AuditEntry),
    /// What signs the owner in once, and until when.
    pub setup_token: (SecretHash, Timestamp),
    /// An app with its secret.
    pub app: (App, SecretRecord, AuditEntry),
    /// A role of the app.
    pub role: (Role, AuditEntry),
}

/// What came of what the first start makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Beginning {
    /// All of it is kept.
    Kept,
    /// There is an admin already; nothing was kept.
    HasAdmin,
}

/// What came of adding an admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AdminAddition {
    /// It is there.
    Added,
    /// The user name is taken.
    NameTaken,
    /// There is no such account, or none any more.
    NoAccount,
}

/// What came of setting a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PasswordChange {
    /// It is set.
    Set,
    /// There is no such admin.
    Unknown,
    /// The admin has not, or not any more, what [`NewPassword::replaces`] expects.
    Changed,
}

/// What came of adding a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum FactorAddition {
    /// It is there.
    Added,
    /// The admin has one.
    HasOne,
    /// The admin has another password than it is sealed with, or there is no such admin.
    Changed,
}

/// What came of taking a second factor away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum FactorRemoval {
    /// It is gone.
    Removed,
    /// The proof is not what the second factor asks for, or was spent.
    NotProven,
}

/// What came of spending a setup token.
#[derive(Clone, Debug)]
#[must_use]
pub enum SetupSignIn {
    /// It is spent, and its admin signed in.
    SignedIn(SignedIn),
    /// There is none of that hash.
    Unknown,
    /// It is too old, or was made by a clock that stood ahead.
    Over,
}

/// Why no admin session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInRefusal {
    /// The proof is not what the admin's second factor asks for, or was spent.
    NotProven,
    /// The admin is gone, or has another password by now.
    Changed,
}

/// What came of a change of an admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AdminChange {
    /// It happened.
    Done,
    /// There is no such admin.
    Unknown,
    /// The account would be left without an owner; nothing was changed.
    LastOwner,
}

/// A password to be set.
#[derive(Clone, Debug)]
pub struct NewPassword {
    /// Its argon2id text.
    pub hash: String,
    /// The second factor's secret, sealed with it. None: the second factor goes, as nobody could open it any more.
    pub second_factor: Option<SealedTotp>,
    /// A sign-in that goes on.
    pub keep_session: Option<u64>,
    /// What the admin must still have for the password to be set; none: it is set whatever there is.
    pub replaces: Option<Replaced>,
}

/// What a new password was made from.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// The argon2id text of the old password.
    pub hash: String,
    /// The second factor's secret as it was sealed with it, if there was one.
    pub second_factor: Option<SealedTotp>,
}

/// A second factor to be kept.
#[derive(Clone, Debug)]
pub struct NewSecondFactor {
    /// The secret, sealed with the admin's password.
    pub sealed: SealedTotp,
    /// The time step of the code that proved it.
    pub last_step: u64,
    /// Hashes of the recovery codes.
    pub recovery: Vec<SecretHash>,
    /// What the password was hashed to that the secret is sealed with.
    pub password_hash: String,
    /// The sign-in that goes on.
    pub keep_session: u64,
}

/// What proves a second factor.
#[derive(Clone, Copy, Debug)]
pub enum Factor {
    /// Nothing: there is none.
    None,
    /// A code of that time step, which must be later than any before.
    Step(u64),
    /// A recovery code of that hash.
    Recovery(SecretHash),
}
