//! `POST /v1/tokens` and `PUT /v1/tokens`: minting a one-use tokenId.

use std::sync::Arc;

use super::typed::can_be_kept;
use super::{Broker, Caller, Context};
use crate::app::App;
use crate::audit::{Action, AuditEntry};
use crate::clock::Timestamp;
use crate::grant::{Grant, Lapse};
use crate::id::{AppId, EndpointId, RoleId};
use crate::idempotency::IdempotencyKey;
use crate::ports::{Change, MintRefusal};
use crate::refusal::Refusal;
use crate::secret::Secret;
use crate::token::{NewToken, Replaces, TTL_SECS_DEFAULT, TTL_SECS_MIN};

/// What is asked of a new token.
#[derive(Clone, Debug, Default)]
pub struct IssueToken {
    /// In which app; an App-Secret's own by default.
    pub app_id: Option<AppId>,
    /// For whom.
    pub endpoint_id: Option<String>,
    /// As what, by id.
    pub role_id: Option<String>,
    /// As what, by name.
    pub role_name: Option<String>,
    /// Life of the session in seconds, from now.
    pub ttl_secs: Option<u64>,
    /// What it replaces of what its endpoint has.
    pub replaces: Replaces,
}

/// A minted token, as it is answered.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The app.
    pub app: Arc<App>,
    /// Whom it lets in, and as what.
    pub grant: Grant,
    /// The tokenId.
    pub text: Secret,
    /// When it was minted.
    pub created_at: Timestamp,
    /// When its session ends.
    pub expires_at: Timestamp,
}

impl Broker {
    /// Mints a token.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] without a credential outside development mode, [`Refusal::NotFound`] for an
    /// unknown role, [`Refusal::Banned`], [`Refusal::EndpointReserved`], [`Refusal::Invalid`].
    pub async fn issue_token(
        &self,
        caller: &Caller,
        request: IssueToken,
        once: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<IssuedToken, Refusal> {
        // Replacing ends what others minted, so development mode does not cover it.
        match (request.replaces, caller) {
            (Replaces::Nothing, _) | (_, Caller::App { .. } | Caller::Admin { .. }) => {}
            (Replaces::Tokens | Replaces::TokensAndSessions, Caller::Anonymous | Caller::Endpoint { .. }) => {
                return Err(Refusal::Unauthenticated);
            }
        }
        let app = self.app_to_mint_in(caller, request.app_id).await?;
        let endpoint_id = request.endpoint_id.as_deref().ok_or_else(|| Refusal::missing("endpointId"))?;
        let endpoint_id = EndpointId::parse(endpoint_id).map_err(|problem| Refusal::field("endpointId", problem))?;
        if endpoint_id.is_reserved() {
            return Err(Refusal::EndpointReserved);
        }
        let role_id = match caller {
            // Nobody in particular gets no more than development mode gives, whatever role is named.
            Caller::Anonymous | Caller::Endpoint { .. } => None,
            Caller::App { .. } | Caller::Admin { .. } => self.role_to_mint_with(&app, &request).await?,
        };
        // A ttl out of bounds is brought within them, as documented scripts ask for less; `expiryTime` shows it.
        let ttl_secs = match request.ttl_secs {
            Some(0) => return Err(Refusal::field("ttl", "must be at least 1 second")),
            ttl => ttl.unwrap_or(TTL_SECS_DEFAULT).clamp(TTL_SECS_MIN, app.settings.ttl_secs_max),
        };

        let created_at = self.now();
        // From the whole second that `createTime` shows, so that `expiryTime - createTime` is the ttl exactly.
        let expires_at = Timestamp::from_secs(created_at.secs()).plus_secs(seconds(ttl_secs));
        let activate_by = created_at.plus_secs(seconds(app.settings.activation_secs)).min(expires_at);
        let secret_id = if let Caller::App { secret_id, .. } = caller { Some(*secret_id) } else { None };
        let grant = Grant { app_id: app.id, endpoint_id, role_id, secret_id };
        let token = NewToken {
            entropy: IdempotencyKey::entropy(once.as_ref(), self.chance()),
            grant,
            created_at,
            activate_by,
            expires_at,
        };
        let action = match request.replaces {
            Replaces::Nothing => Action::TokenIssued,
            Replaces::Tokens | Replaces::TokensAndSessions => Action::TokenReplaced,
        };
        let audit = self.entry(context, caller, Some(app.id), action, token.grant.endpoint_id.as_str())?;
        // One instant, so that a store can keep both in one row.
        let audit = AuditEntry { at: created_at, ..audit };
        let endpoint_id = token.grant.endpoint_id.clone();
        let mut minted = self.store.issue_token(token, request.replaces, once, audit).await;
        if request.replaces.ends_sessions() {
            minted = self.changed(context, Change::Endpoint(app.id, endpoint_id), minted).await;
        }
        let minted = minted?.made(|refusal| match refusal {
            MintRefusal::Banned(ban) => Refusal::Banned { reason: ban.reason },
            MintRefusal::Lapsed(lapse) => lapsed(caller, lapse),
        })?;
        Ok(IssuedToken {
            app,
            grant: minted.token.grant,
            text: minted.text,
            created_at: minted.token.created_at,
            expires_at: minted.token.expires_at,
        })
    }

    async fn app_to_mint_in(&self, caller: &Caller, named: Option<AppId>) -> Result<Arc<App>, Refusal> {
        match caller {
            Caller::App { .. } | Caller::Admin { .. } => self.app_of(caller, named).await,
            // A stale or foreign App-Token rides along with existing clients and proves nothing here.
            Caller::Anonymous | Caller::Endpoint { .. } => {
                let id = named.ok_or(Refusal::Unauthenticated)?;
                let app = self.app(id).await?;
                app.filter(|app| app.settings.development_mode).ok_or(Refusal::Unauthenticated)
            }
        }
    }

    async fn role_to_mint_with(&self, app: &App, request: &IssueToken) -> Result<Option<RoleId>, Refusal> {
        const UNKNOWN: Refusal = Refusal::NotFound("Roles");
        if let Some(id) = &request.role_id {
            let id = RoleId::parse(id).ok_or(UNKNOWN)?;
            self.permissions(app.id, id).await?.ok_or(UNKNOWN)?;
            return Ok(Some(id));
        }
        if let Some(name) = &request.role_name {
            if !can_be_kept(name) {
                return Err(UNKNOWN);
            }
            let role = self.store.role_by_name(app.id, name).await?.ok_or(UNKNOWN)?;
            return Ok(Some(role.id));
        }
        if app.settings.development_mode { Ok(None) } else { Err(Refusal::missing("roleId")) }
    }
}

/// The refusal of a mint that was overtaken by a deletion or revocation: what it would be a moment later.
fn lapsed(caller: &Caller, lapse: Lapse) -> Refusal {
    match (lapse, caller) {
        (Lapse::RoleDeleted, _) => Refusal::NotFound("Roles"),
        (Lapse::AppDeleted, Caller::Admin { .. }) => Refusal::NotFound("Apps"),
        (Lapse::DevelopmentModeOff, Caller::Admin { .. } | Caller::App { .. }) => Refusal::missing("roleId"),
        (_, Caller::Admin { .. } | Caller::App { .. } | Caller::Anonymous | Caller::Endpoint { .. }) => {
            Refusal::Unauthenticated
        }
    }
}

/// A number of seconds as a signed one; every setting's ceiling is far below the limit.
pub(super) fn seconds(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX)
}
