//! The store: what survives a crash.
//!
//! Every writing method is one atomic step that is on disk before it returns, together with its audit row. No method
//! reads a clock or makes an id: instants, ids and randomness come in as arguments.
//!
//! The steps are serializable: their outcomes are what they would be if one step ran after the other, through however
//! many handles, processes and nodes they come. Some steps count or look before they write: how many apps the account
//! has, whether another owner is left, whether a name is free. Where several write at once, two of them may find the
//! same and both write, each into its own view (write skew). So a database with several writers locks the row of the
//! account, app or endpoint that it counts for, before it counts; or it makes these steps serializable and tries again
//! what is refused for that. A name has a unique index. Whatever is spent is spent by one conditional statement that
//! tells how many rows it found. The contract races two handles for all of this.

use std::net::IpAddr;

use async_trait::async_trait;

use crate::audit::{AuditEntry, AuditRecord};
use crate::clock::Timestamp;
use crate::grant::{Grant, Ground, Lapse};
use crate::id::{AccountId, AppId, EndpointId, RequestId, RoleId, SecretId};
use crate::idempotency::{Creation, IdempotencyKey};
use crate::page::{Page, PageRequest, RowNumber};
use crate::seal::Entropy;
use crate::secret::{Secret, SecretHash};
use crate::session::{SessionEndCause, SessionRecord};
use crate::token::{MintedToken, NewToken, Replaces, TokenRecord};

use super::admin_store::AdminStore;
use super::app_store::{AppStore, RoleStore, SecretStore};
use super::change_store::{Change, ChangeStore};
use super::figure_store::FigureStore;
use super::hub_store::{CallReportStore, MessageStore, PushTokenStore};
use super::maintenance_store::MaintenanceStore;
use super::outcome::{Ending, Removal};
use super::store_error::StoreError;

/// The whole store.
#[async_trait]
pub trait Store:
    AdminStore
    + AppStore
    + SecretStore
    + RoleStore
    + EndpointStore
    + TokenStore
    + SessionStore
    + AuditStore
    + MaintenanceStore
    + ChangeStore
    + MessageStore
    + PushTokenStore
    + CallReportStore
    + FigureStore
{
}

/// A ban.
#[derive(Clone, Debug)]
pub struct BanRecord {
    /// The banned endpoint.
    pub endpoint_id: EndpointId,
    /// Why, in words for the endpoint's user.
    pub reason: String,
    /// Since when.
    pub banned_at: Timestamp,
    /// Until when; [`BanRecord::FOREVER`] if nobody said.
    pub until: Timestamp,
}

impl BanRecord {
    /// The end of a ban that has none.
    pub const FOREVER: Timestamp = Timestamp::from_millis(i64::MAX);
}

/// What came of banning an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Banning {
    /// It is banned.
    Banned,
    /// There is no such app.
    NoApp,
}

/// What is kept of endpoints: bans and marks.
#[async_trait]
pub trait EndpointStore: Send + Sync {
    /// Bans an endpoint and ends its tokens and sessions.
    async fn ban(&self, app: AppId, ban: BanRecord, audit: AuditEntry) -> Result<Banning, StoreError>;
    /// The ban of an endpoint, past ones included until they are lifted, replaced or removed by upkeep.
    async fn ban_of(&self, app: AppId, endpoint: &EndpointId) -> Result<Option<BanRecord>, StoreError>;
    /// Bans of an app, by endpoint.
    async fn bans(&self, app: AppId, page: PageRequest<EndpointId>) -> Result<Page<BanRecord, EndpointId>, StoreError>;
    /// Lifts a ban, past or in force.
    async fn lift_ban(&self, app: AppId, endpoint: &EndpointId, audit: AuditEntry) -> Result<Removal, StoreError>;
}

/// What to look for in a list of tokens or sessions.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Only this endpoint's.
    pub endpoint_id: Option<EndpointId>,
    /// Only this role's.
    pub role_id: Option<RoleId>,
    /// Only what was minted with this App-Secret.
    pub secret_id: Option<SecretId>,
}

/// What to look for in a list of sessions.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only these endpoints' and roles'.
    pub of: ListFilter,
    /// Only those last used from this address.
    pub address: Option<IpAddr>,
    /// Only those opened then or later.
    pub since: Option<Timestamp>,
}

/// A session to be opened; its number the store gives.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The random part of its App-Token.
    pub entropy: Entropy,
    /// From where it was opened.
    pub address: String,
    /// A session of the same endpoint that ends as this one opens.
    pub supersedes: Option<u64>,
}

/// What came of a redemption.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "the large variant is the usual one; a box would cost each redemption")]
pub enum Redemption {
    /// The session is open; this is its App-Token.
    Opened {
        /// The App-Token.
        text: Secret,
        /// The session as kept.
        session: SessionRecord,
        /// The number of the session it superseded, if it did.
        superseded: Option<u64>,
    },
    /// There is no such token.
    Unknown,
    /// The token exists and is refused. A token that was already redeemed has got its audit row.
    Refused(Lapse),
    /// The idempotency key was used with another request.
    KeyReused,
}

/// Why no token was minted.
#[derive(Clone, Debug)]
pub enum MintRefusal {
    /// The endpoint is banned.
    Banned(BanRecord),
    /// What the token was to stand on is gone: the app, the role, the secret, or development mode where it has no role.
    Lapsed(Lapse),
}

/// Tokens.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Mints a token, and spends and ends in the same step what it `replaces`.
    ///
    /// App, role and secret are looked at in that step, so nothing is minted on what was deleted or revoked before.
    async fn issue_token(
        &self,
        token: NewToken,
        replaces: Replaces,
        once: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Creation<MintedToken, MintRefusal>, StoreError>;

    /// Spends the token of row `number` that hashes to `hash` and opens a session, in one transaction.
    ///
    /// `audit.at` decides expiry. Of any number of concurrent calls for one token exactly one gets
    /// [`Redemption::Opened`], and with it those that repeat it under its key while the session lives.
    async fn redeem(
        &self,
        number: u64,
        hash: SecretHash,
        session: NewSession,
        once: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Redemption, StoreError>;

    /// The token of that number, whatever its state, and what it stands on.
    async fn token(&self, number: u64) -> Result<Option<(TokenRecord, Ground)>, StoreError>;
    /// The outstanding tokens of an app at `now`, oldest first.
    async fn tokens(
        &self,
        app: AppId,
        filter: ListFilter,
        now: Timestamp,
        page: PageRequest<RowNumber>,
    ) -> Result<Page<TokenRecord, RowNumber>, StoreError>;
    /// Revokes a token of `app`. One that was redeemed or revoked is over; what else may have ended it does not count.
    async fn revoke_token(&self, app: AppId, number: u64, audit: AuditEntry) -> Result<Ending, StoreError>;
}

/// Which sessions to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndScope {
    /// All of the app.
    App,
    /// All of an endpoint.
    Endpoint(EndpointId),
    /// All of a role.
    Role(RoleId),
}

/// An order to end many sessions.
#[derive(Clone, Debug)]
pub struct EndRequest {
    /// In which app.
    pub app_id: AppId,
    /// Which.
    pub scope: EndScope,
    /// Only what was issued before this.
    pub issued_before: Option<Timestamp>,
    /// Whether outstanding tokenIds are spent as well.
    pub tokens_too: bool,
}

impl EndRequest {
    /// The change that carrying it out is.
    #[must_use]
    pub fn change(&self) -> Change {
        match &self.scope {
            EndScope::App => Change::App(self.app_id),
            EndScope::Endpoint(endpoint) => Change::Endpoint(self.app_id, endpoint.clone()),
            EndScope::Role(role) => Change::Role(self.app_id, *role),
        }
    }
}

/// What came of ending many sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ScopeEnding {
    /// Those that there were are over.
    Ended,
    /// There is no such app.
    NoApp,
    /// The app has no such role.
    NoRole,
}

/// Why a session's end was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionRefusal {
    /// The session is over, for whatever reason.
    Over,
    /// There is none.
    Unknown,
}

/// Sessions.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// The session of that number, whatever its state, and what it stands on.
    async fn session(&self, number: u64) -> Result<Option<(SessionRecord, Ground)>, StoreError>;
    /// What a grant stands on now, whether a token or session with it is stored or not.
    async fn ground(&self, grant: &Grant) -> Result<Ground, StoreError>;
    /// The live sessions of an app at `now`, oldest first.
    async fn sessions(
        &self,
        app: AppId,
        filter: SessionFilter,
        now: Timestamp,
        page: PageRequest<RowNumber>,
    ) -> Result<Page<SessionRecord, RowNumber>, StoreError>;
    /// Moves a session's end and returns the session as it then is.
    async fn extend_session(
        &self,
        number: u64,
        expires_at: Timestamp,
        audit: AuditEntry,
    ) -> Result<Result<SessionRecord, ExtensionRefusal>, StoreError>;
    /// Ends one session of `app`. One that was ended by its number is over; what else may have ended it does not count.
    async fn end_session(
        &self,
        app: AppId,
        number: u64,
        cause: SessionEndCause,
        audit: AuditEntry,
    ) -> Result<Ending, StoreError>;
    /// Ends many sessions.
    async fn end_sessions(&self, request: EndRequest, audit: AuditEntry) -> Result<ScopeEnding, StoreError>;
    /// Notes that a session was used; may be dropped when the store is busy.
    fn touch_session(&self, number: u64, at: Timestamp, address: String);
}

/// What to look for in the audit log.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// The account; rows of its apps and of none.
    pub account_id: AccountId,
    /// Only this app.
    pub app_id: Option<AppId>,
    /// Only this action.
    pub action: Option<crate::audit::Action>,
    /// Only this object.
    pub object: Option<String>,
    /// Only what this request did.
    pub request_id: Option<RequestId>,
}

/// The audit log.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Adds a row that stands by itself, such as a failed sign-in.
    async fn audit(&self, entry: AuditEntry) -> Result<(), StoreError>;
    /// Rows, newest first.
    async fn audit_log(
        &self,
        query: AuditQuery,
        page: PageRequest<RowNumber>,
    ) -> Result<Page<AuditRecord, RowNumber>, StoreError>;
}
