//! `POST /v1/session-tokens`: trading a tokenId for a session, once.

use super::caller::token_hash;
use super::{Broker, Caller, Context};
use crate::audit::Action;
use crate::grant::Lapse;
use crate::id::EndpointId;
use crate::idempotency::IdempotencyKey;
use crate::ports::{Change, NewSession, Redemption};
use crate::refusal::Refusal;
use crate::seal::SealKind;
use crate::secret::Secret;
use crate::session::SessionRecord;

/// A session just opened.
#[derive(Clone, Debug)]
pub struct OpenedSession {
    /// The App-Token.
    pub text: Secret,
    /// The session.
    pub session: SessionRecord,
}

impl Broker {
    /// Redeems a tokenId.
    ///
    /// If `caller` is in session as the same endpoint, that session ends as the new one opens; any other caller is
    /// ignored. `origin` is the page that asks, if a page does.
    ///
    /// # Errors
    ///
    /// [`Refusal::TokenRefused`] for a token that is unknown, spent, late or over; [`Refusal::Banned`];
    /// [`Refusal::OriginRefused`] for a page of a domain that the app does not permit, which spends nothing.
    pub async fn open_session(
        &self,
        caller: &Caller,
        token: Option<&Secret>,
        origin: Option<&str>,
        once: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<OpenedSession, Refusal> {
        let text = token.ok_or_else(|| Refusal::missing("tokenId"))?;
        let number = self.sealer.number_of(SealKind::Token, text.expose()).ok_or(Refusal::TokenRefused(None))?;
        let hash = token_hash(text);
        if let Some(origin) = origin
            && let Some((record, _)) = self.store.token(number).await?
            && record.hash == hash
            && let Some(app) = self.app(record.grant.app_id).await?
            && !app.settings.permits_origin(Some(origin))
        {
            return Err(Refusal::OriginRefused);
        }
        let supersedes = if let Caller::Endpoint { session, .. } = caller { Some(session.record.number) } else { None };
        let session = NewSession {
            entropy: IdempotencyKey::entropy(once.as_ref(), self.chance()),
            address: super::caller::address_text(context.address),
            supersedes,
        };
        // The store fills in app and endpoint, which only the token's row knows.
        let mut audit = self.entry(context, &Caller::Anonymous, None, Action::TokenRedeemed, "")?;
        audit.actor = crate::audit::Actor::Endpoint;
        let mut redeemed = self.store.redeem(number, hash, session, once, audit).await;
        if let Some(number) = supersedes {
            redeemed = self.changed(context, Change::Session(number), redeemed).await;
        }
        match redeemed? {
            Redemption::Opened { text, session, .. } => Ok(OpenedSession { text, session }),
            Redemption::Unknown => Err(Refusal::TokenRefused(None)),
            Redemption::Refused(Lapse::Banned) => Err(self.banned_token(number).await?),
            Redemption::Refused(lapse) => Err(Refusal::TokenRefused(Some(lapse))),
            Redemption::KeyReused => Err(Refusal::IdempotencyKeyReused),
        }
    }

    /// The refusal that tells the holder of token `number` why its endpoint is banned.
    async fn banned_token(&self, number: u64) -> Result<Refusal, Refusal> {
        let Some((token, _)) = self.store.token(number).await? else {
            return Ok(Refusal::TokenRefused(Some(Lapse::Banned)));
        };
        let endpoint: &EndpointId = &token.grant.endpoint_id;
        let ban = self.store.ban_of(token.grant.app_id, endpoint).await?;
        Ok(Refusal::Banned { reason: ban.map(|ban| ban.reason).unwrap_or_default() })
    }
}
