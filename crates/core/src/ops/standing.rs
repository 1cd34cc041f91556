//! Whether an open socket may stay open.

use super::Broker;
use super::caller::{Caller, Credential, token_hash};
use crate::admin::{AdminRole, session_term};
use crate::app::SessionExpiry;
use crate::clock::Timestamp;
use crate::grant::Lapse;
use crate::id::{AppId, EndpointId};
use crate::refusal::Refusal;
use crate::seal::SealKind;
use crate::secret::AppSecret;
use crate::session::SessionRecord;
use crate::term::Term;

/// How things stand with the credential that a socket was opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is good, until its term is over if it ends by itself.
    Good {
        /// From when to when it lasts.
        term: Option<Term>,
    },
    /// Its time is over and nothing else is held against it, and its app leaves open sockets open.
    Kept,
    /// It is over: revoked, banned, its ground gone.
    Over {
        /// Why, if that is known of a session.
        why: Option<Lapse>,
    },
}

/// It is over, and that is all that is known.
const OVER: Standing = Standing::Over { why: None };

impl Broker {
    /// Looks anew, past everything remembered, at the credential a socket was opened with, and at the app and endpoint
    /// that it is connected as if a backend speaks for them. `kept` is the session of a socket that was found to stay
    /// open after it expired: some time later it is not stored any more.
    ///
    /// # Errors
    ///
    /// When the store fails; then nothing is known.
    pub async fn standing(
        &self,
        credential: &Credential,
        connected: Option<(AppId, &EndpointId)>,
        kept: Option<&SessionRecord>,
    ) -> Result<Standing, Refusal> {
        let now = self.now();
        let standing = match credential {
            Credential::None => OVER,
            Credential::AppToken(text) => {
                let Some(number) = self.sealer.number_of(SealKind::Session, text.expose()) else {
                    return Ok(OVER);
                };
                let (session, ground) = match (self.store.session(number).await?, kept) {
                    (Some(found), _) => found,
                    (None, Some(kept)) => (kept.clone(), self.store.ground(&kept.grant).await?),
                    (None, None) => return Ok(OVER),
                };
                if session.hash != token_hash(text) {
                    return Ok(OVER);
                }
                // Everything about the endpoint was in the session's ground.
                return Ok(match session.lapse(&ground, now) {
                    None => Standing::Good { term: Some(session.term()) },
                    Some(Lapse::Expired) if self.keeps_expired(session.grant.app_id).await? => Standing::Kept,
                    // A ban ends sessions as well, and is why they cannot begin anew.
                    Some(_) if ground.banned(now) => Standing::Over { why: Some(Lapse::Banned) },
                    Some(why) => Standing::Over { why: Some(why) },
                });
            }
            Credential::AppSecret(text) => {
                let Some(secret) = AppSecret::parse(text.expose()) else { return Ok(OVER) };
                let record = self.store.secret_by_hash(&secret.secret().hash()).await?;
                match record.filter(|record| record.usable(now)) {
                    Some(record) => {
                        // Its end is an instant that somebody named, whenever it was made.
                        let named = |until| Term { from: Timestamp::from_millis(i64::MIN), until };
                        Standing::Good { term: record.expires_at.map(named) }
                    }
                    None => OVER,
                }
            }
            Credential::AdminToken(_) => match self.authenticate(credential, None).await {
                // A connection made by an admin who since may only read speaks for an endpoint no longer.
                Ok(Caller::Admin { role: AdminRole::ReadOnly, .. }) if connected.is_some() => OVER,
                Ok(Caller::Admin { expires_at, .. }) => Standing::Good { term: Some(session_term(expires_at)) },
                Ok(_) | Err(Refusal::Unauthenticated) => OVER,
                Err(refusal) => return Err(refusal),
            },
        };
        if let (Standing::Good { .. }, Some((app, endpoint))) = (standing, connected)
            && (self.store.app(app).await?.is_none() || self.ban_in_force(app, endpoint).await?.is_some())
        {
            return Ok(OVER);
        }
        Ok(standing)
    }

    async fn keeps_expired(&self, app: AppId) -> Result<bool, Refusal> {
        Ok(self.app(app).await?.is_some_and(|app| app.settings.session_expiry == SessionExpiry::Keep))
    }
}
