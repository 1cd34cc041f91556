//! The broker, whose methods are the operations: the ports, what is remembered of the store, and what all operations
//! share.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::caller::{BACKEND_NEEDED, Caller, Context, address_text};
use super::catalog::Catalog;
use super::confirmations::Confirmations;
use super::enrolments::Enrolments;
use super::follower::Follower;
use super::permit::needed;
use crate::app::App;
use crate::audit::{Action, Actor, AuditEntry};
use crate::chance::Chance;
use crate::clock::{Clock, Timestamp};
use crate::id::{AppId, RequestId, SessionId, TokenId};
use crate::page::PageRequest;
use crate::password;
use crate::ports::{Bus, Node, Store};
use crate::refusal::Refusal;
use crate::seal::{SealKind, Sealer};

/// All operations, over one store.
///
/// Invariant: what ends or changes something that processes remember, or that sockets stand on, goes through
/// `Broker::changed` before it is answered. What a command line does beside a server is found by following the feed alone.
pub struct Broker {
    pub(super) store: Arc<dyn Store>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) chance: Arc<dyn Chance>,
    pub(super) sealer: Sealer,
    pub(super) catalog: Catalog,
    pub(super) follower: Follower,
    pub(super) confirmations: Confirmations,
    /// What an app may keep that has no limit of its own.
    kept_bytes_per_app_max: u64,
    pub(super) passwords: password::Desks,
    /// What a password is held against where there is no admin, once somebody came who is none.
    pub(super) nobody_hash: OnceCell<String>,
    /// Second factors about to be taken up.
    pub(super) enrolments: Enrolments,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

impl Broker {
    /// A broker over `store`, remembering at most `sessions_max` checked sessions, that gives others hints over `bus`.
    ///
    /// What is remembered is used while somebody polls [`Broker::keep_following`].
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        sessions_max: usize,
    ) -> Self {
        let sealer = store.sealer();
        Self {
            store,
            bus,
            clock,
            chance,
            sealer,
            catalog: Catalog::new(sessions_max),
            follower: Follower::default(),
            confirmations: Confirmations::default(),
            kept_bytes_per_app_max: u64::MAX,
            passwords: password::Desks::default(),
            nobody_hash: OnceCell::new(),
            enrolments: Enrolments::default(),
        }
    }

    /// The same where an app without a limit of its own keeps at most so many bytes of what its clients say.
    #[must_use]
    pub fn keeping_at_most(self, kept_bytes_per_app_max: u64) -> Self {
        Self { kept_bytes_per_app_max, ..self }
    }

    /// How many bytes an app may keep of what its clients say.
    #[must_use]
    pub fn kept_bytes_max(&self, app: &App) -> u64 {
        app.settings.limits.kept_bytes().unwrap_or(self.kept_bytes_per_app_max)
    }

    /// Gives back what is remembered and would not be used again.
    pub fn sweep(&self) {
        self.catalog.sweep(self.now());
    }

    /// How many checked sessions are remembered.
    #[must_use]
    pub fn remembered_sessions(&self) -> usize {
        self.catalog.sessions_len()
    }

    /// What is random is drawn from this.
    #[must_use]
    pub fn chance(&self) -> &dyn Chance {
        &*self.chance
    }

    /// The server's own doing.
    pub(super) fn internal(&self) -> Context {
        Context { address: None, request_id: RequestId::new(self.chance()), answerer: None }
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where its instants come from.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Which node this is.
    #[must_use]
    pub fn node(&self) -> Node {
        self.bus.node()
    }

    /// The store below, for maintenance.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The public name of token `number`.
    #[must_use]
    pub fn token_id(&self, number: u64) -> TokenId {
        TokenId::from_uuid(self.sealer.name(SealKind::TokenName, number))
    }

    /// The public name of session `number`.
    #[must_use]
    pub fn session_id(&self, number: u64) -> SessionId {
        SessionId::from_uuid(self.sealer.name(SealKind::SessionName, number))
    }

    /// The audit row of something that `caller` is about to do; every change that is written down passes here.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] for an admin whose role does not permit it.
    pub(super) fn entry(
        &self,
        context: &Context,
        caller: &Caller,
        app: Option<AppId>,
        action: Action,
        object: &str,
    ) -> Result<AuditEntry, Refusal> {
        caller.permit(needed(action))?;
        let (actor, account_id) = match caller {
            Caller::Anonymous => (Actor::Anonymous, None),
            Caller::Admin { admin_id, account_id, .. } => (Actor::Admin(*admin_id), Some(*account_id)),
            Caller::App { secret_id, .. } => (Actor::Secret(*secret_id), None),
            Caller::Endpoint { .. } => (Actor::Endpoint, None),
        };
        Ok(AuditEntry {
            at: self.clock.now(),
            account_id: if app.is_none() { account_id } else { None },
            app_id: app,
            actor,
            action,
            object: object.to_owned(),
            address: address_text(context.address),
            request_id: context.request_id,
            fingerprint: None,
        })
    }

    /// The app that a caller with authority over apps means.
    ///
    /// An App-Secret means its own app. An admin names one; without a name the account's only app is meant.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] or [`Refusal::Forbidden`] for a caller without authority over apps,
    /// [`Refusal::NotFound`] for an app that is not the caller's, [`Refusal::Invalid`] if several could be meant.
    pub async fn app_of(&self, caller: &Caller, named: Option<AppId>) -> Result<Arc<App>, Refusal> {
        match caller {
            Caller::App { app, .. } => match named {
                Some(id) if id != app.id => Err(Refusal::Forbidden("this App-Secret belongs to another app")),
                Some(_) | None => Ok(app.clone()),
            },
            Caller::Admin { account_id, .. } => {
                if let Some(id) = named {
                    let app = self.app(id).await?;
                    return app.filter(|app| app.account_id == *account_id).ok_or(Refusal::NotFound("Apps"));
                }
                let page = PageRequest { limit: 2, after: None };
                let mut apps = self.store.apps(*account_id, page).await?.items;
                match (apps.pop(), apps.is_empty()) {
                    (Some(app), true) => Ok(Arc::new(app)),
                    (Some(_), false) => Err(Refusal::missing("appId")),
                    (None, _) => Err(Refusal::NotFound("Apps")),
                }
            }
            Caller::Endpoint { .. } => Err(BACKEND_NEEDED),
            Caller::Anonymous => Err(Refusal::Unauthenticated),
        }
    }
}
