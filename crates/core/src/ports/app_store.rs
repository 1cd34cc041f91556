//! The part of the store that holds apps, and what they are set up with: App-Secrets and roles.
//!
//! What is created here is counted first, or looked for by its name: see [`Store`] on what that asks of a database.
//!
//! [`Store`]: super::Store

use async_trait::async_trait;

use super::outcome::Removal;
use super::store_error::StoreError;
use crate::app::{App, AppPatch, Revocation, SecretRecord};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::id::{AccountId, AppId, RoleId, SecretId};
use crate::idempotency::{Creation, IdempotencyKey};
use crate::page::{CreationKey, Page, PageRequest};
use crate::role::{Permissions, Role};
use crate::secret::SecretHash;

/// The most apps of one account.
pub const APPS_PER_ACCOUNT_MAX: usize = 1_000;

/// Why no app was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppRefusal {
    /// The account has [`APPS_PER_ACCOUNT_MAX`].
    TooMany,
    /// There is no such account, or none any more.
    NoAccount,
}

/// Apps.
#[async_trait]
pub trait AppStore: Send + Sync {
    /// Adds an app with its first secret.
    async fn create_app(
        &self,
        app: App,
        secret: SecretRecord,
        once: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Creation<App, AppRefusal>, StoreError>;
    /// The app of that id.
    async fn app(&self, id: AppId) -> Result<Option<App>, StoreError>;
    /// The apps of an account, oldest first.
    async fn apps(
        &self,
        account: AccountId,
        page: PageRequest<CreationKey>,
    ) -> Result<Page<App, CreationKey>, StoreError>;
    /// Applies a change and returns the app as it then is. None: no such app.
    async fn update_app(&self, id: AppId, patch: AppPatch, audit: AuditEntry) -> Result<Option<App>, StoreError>;
    /// Removes an app, its secrets, roles and endpoints; its tokens and sessions are over.
    async fn delete_app(&self, id: AppId, audit: AuditEntry) -> Result<Removal, StoreError>;
}

/// The most usable secrets of one app.
pub const SECRETS_PER_APP_MAX: usize = 20;

/// Why no secret was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretRefusal {
    /// There is no such app.
    NoApp,
    /// Another secret, of whatever app and state, has the same text.
    Taken,
    /// The app has [`SECRETS_PER_APP_MAX`] that are usable.
    TooMany,
    /// The app has no usable secret of the id that was to be rolled.
    NothingToRoll,
}

/// App-Secrets.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// Adds a secret to an app.
    ///
    /// With `rolls`, that secret of the app expires at the instant given, or sooner if it would have anyway.
    async fn create_secret(
        &self,
        secret: SecretRecord,
        rolls: Option<(SecretId, Timestamp)>,
        once: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Creation<SecretRecord, SecretRefusal>, StoreError>;
    /// The secret whose text has that hash, whatever its state.
    async fn secret_by_hash(&self, hash: &SecretHash) -> Result<Option<SecretRecord>, StoreError>;
    /// The secrets of an app, oldest first, revoked ones until upkeep removes them; at most [`SECRETS_PER_APP_MAX`] are usable.
    async fn secrets(&self, app: AppId) -> Result<Vec<SecretRecord>, StoreError>;
    /// Revokes a secret. Revoking it again can end what was spared, never spare what is over. None: no such secret.
    async fn revoke_secret(
        &self,
        app: AppId,
        id: SecretId,
        revocation: Revocation,
        audit: AuditEntry,
    ) -> Result<Option<SecretRecord>, StoreError>;
    /// Notes that a secret was used; may be dropped when the store is busy.
    fn touch_secret(&self, id: SecretId, at: Timestamp);
}

/// The most roles of one app.
pub const ROLES_PER_APP_MAX: usize = 1_000;

/// Why no role was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleRefusal {
    /// There is no such app.
    NoApp,
    /// The app has a role of this id or of this name.
    Taken,
    /// The app has [`ROLES_PER_APP_MAX`].
    TooMany,
}

/// Why a role was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleUpdateRefusal {
    /// There is no such role.
    Unknown,
    /// Another role of the app has this name.
    NameTaken,
}

/// Roles.
#[async_trait]
pub trait RoleStore: Send + Sync {
    /// Adds a role.
    async fn create_role(
        &self,
        role: Role,
        once: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Creation<Role, RoleRefusal>, StoreError>;
    /// The role of that id.
    async fn role(&self, app: AppId, id: RoleId) -> Result<Option<Role>, StoreError>;
    /// The apps of an account that have a role of that id; two at most, as more would be no clearer.
    async fn apps_of_role(&self, account: AccountId, id: RoleId) -> Result<Vec<AppId>, StoreError>;
    /// The role of that name.
    async fn role_by_name(&self, app: AppId, name: &str) -> Result<Option<Role>, StoreError>;
    /// The roles of an app, oldest first.
    async fn roles(&self, app: AppId, page: PageRequest<CreationKey>) -> Result<Page<Role, CreationKey>, StoreError>;
    /// Changes a role and returns it as it then is; what is `None` stays.
    async fn update_role(
        &self,
        app: AppId,
        id: RoleId,
        name: Option<String>,
        permissions: Option<Permissions>,
        audit: AuditEntry,
    ) -> Result<Result<Role, RoleUpdateRefusal>, StoreError>;
    /// Removes a role; its tokens and sessions are over.
    async fn delete_role(&self, app: AppId, id: RoleId, audit: AuditEntry) -> Result<Removal, StoreError>;
}
