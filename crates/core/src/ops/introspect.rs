//! `POST /oauth/introspect` and `POST /oauth/revoke`: the same tokens, seen as OAuth sees them.

use std::sync::Arc;

use super::caller::{BACKEND_NEEDED, token_hash};
use super::{Broker, Caller, Context, LiveSession};
use crate::audit::Action;
use crate::ports::Ending;
use crate::refusal::Refusal;
use crate::seal::SealKind;
use crate::secret::Secret;
use crate::session::SessionEndCause;
use crate::token::TokenRecord;

/// What a token is, to one with authority over its app.
#[derive(Clone, Debug)]
pub enum Introspection {
    /// An App-Token in session.
    Session(Arc<LiveSession>),
    /// A tokenId that can be redeemed.
    Token(TokenRecord),
    /// Anything else, another app's token included.
    Inactive,
}

impl Broker {
    /// Says what `token` is.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] or [`Refusal::Forbidden`] for a caller without authority over apps.
    pub async fn introspect(&self, caller: &Caller, token: &Secret) -> Result<Introspection, Refusal> {
        authority(caller)?;
        if let Some(session) = self.check_session(token, None).await? {
            let seen = self.app_seen_by(caller, session.record.grant.app_id).await?.is_some();
            return Ok(if seen { Introspection::Session(session) } else { Introspection::Inactive });
        }
        let Some(record) = self.outstanding(caller, token).await? else { return Ok(Introspection::Inactive) };
        Ok(Introspection::Token(record))
    }

    /// Ends what `token` is: a session, or a tokenId that was not redeemed. Anything else is left alone, in silence.
    ///
    /// # Errors
    ///
    /// As [`Broker::introspect`].
    pub async fn revoke(&self, caller: &Caller, token: &Secret, context: &Context) -> Result<(), Refusal> {
        authority(caller)?;
        let number = self.sealer.number_of(SealKind::Session, token.expose());
        let stored = match number {
            Some(number) => self.store.session(number).await?,
            None => None,
        };
        // Also one that expired: its app may keep its sockets open.
        if let Some((record, _)) = stored.as_ref().filter(|(record, _)| record.hash == token_hash(token)) {
            let app = record.grant.app_id;
            if self.app_seen_by(caller, app).await?.is_some() {
                self.end_one(caller, app, record.number, SessionEndCause::Revoked, context).await?;
            }
            return Ok(());
        }
        if let Some(record) = self.outstanding(caller, token).await? {
            let object = self.token_id(record.number).to_string();
            let mut audit = self.entry(context, caller, Some(record.grant.app_id), Action::TokenRevoked, &object)?;
            audit.fingerprint = Some(record.hash.fingerprint());
            return match self.store.revoke_token(record.grant.app_id, record.number, audit).await? {
                Ending::Ended | Ending::Over | Ending::Unknown => Ok(()),
            };
        }
        match number {
            // Without its hash the text may be made up, but a trillion would have to be for one that has a socket.
            Some(number) if stored.is_none() => self.end_unstored(caller, number, context).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn outstanding(&self, caller: &Caller, text: &Secret) -> Result<Option<TokenRecord>, Refusal> {
        let Some(number) = self.sealer.number_of(SealKind::Token, text.expose()) else { return Ok(None) };
        let Some((record, ground)) = self.store.token(number).await? else { return Ok(None) };
        if record.hash != token_hash(text) || record.lapse(&ground, self.now()).is_some() {
            return Ok(None);
        }
        let seen = self.app_seen_by(caller, record.grant.app_id).await?.is_some();
        Ok(seen.then_some(record))
    }
}

/// Refuses a caller without authority over apps.
fn authority(caller: &Caller) -> Result<(), Refusal> {
    match caller {
        Caller::Admin { .. } | Caller::App { .. } => Ok(()),
        Caller::Endpoint { .. } => Err(BACKEND_NEEDED),
        Caller::Anonymous => Err(Refusal::Unauthenticated),
    }
}
