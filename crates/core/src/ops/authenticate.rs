//! Proving who asks.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::Broker;
use super::caller::{Caller, Credential, LiveSession, OpenSecret, address_text, token_hash};
use crate::admin::session_term;
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::AppId;
use crate::refusal::Refusal;
use crate::seal::SealKind;
use crate::secret::{AppSecret, Secret};

/// "Last used" is kept to this many seconds, so that use costs a write a minute and not one each time.
const TOUCH_SECS: i64 = 60;

impl Broker {
    /// Proves a credential that was shown from `address`, if from outside.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] for one that is malformed, unknown, expired, revoked or over, all alike.
    pub async fn authenticate(&self, credential: &Credential, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        match credential {
            Credential::None => Ok(Caller::Anonymous),
            Credential::AppToken(text) => {
                let session = self.check_session(text, address).await?.ok_or(Refusal::Unauthenticated)?;
                let app = self.app(session.record.grant.app_id).await?.ok_or(Refusal::Unauthenticated)?;
                Ok(Caller::Endpoint { session, app })
            }
            Credential::AppSecret(text) => self.check_secret(text).await,
            Credential::AdminToken(text) => self.check_admin(text).await,
        }
    }

    /// Who speaks on a socket that stays open though `session` expired: the app is looked at anew, for its limits count.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] when the app is gone.
    pub async fn kept_caller(&self, session: &Arc<LiveSession>) -> Result<Caller, Refusal> {
        let app = self.app(session.record.grant.app_id).await?.ok_or(Refusal::Unauthenticated)?;
        Ok(Caller::Endpoint { session: session.clone(), app })
    }

    /// The live session of an App-Token, if it is one.
    pub(super) async fn check_session(
        &self,
        text: &Secret,
        address: Option<IpAddr>,
    ) -> Result<Option<Arc<LiveSession>>, Refusal> {
        let Some(number) = self.sealer.number_of(SealKind::Session, text.expose()) else { return Ok(None) };
        let hash = token_hash(text);
        let now = self.now();
        let session = if let Some(session) = self.catalog.session(number) {
            session
        } else {
            let age = self.catalog.age();
            let Some((record, ground)) = self.store.session(number).await? else { return Ok(None) };
            // The hash is compared before anything else is looked at, so that all refusals take alike.
            if record.hash != hash || record.lapse(&ground, now).is_some() {
                return Ok(None);
            }
            let session = Arc::new(LiveSession::new(record));
            self.catalog.remember_session(age, session.clone());
            session
        };
        if session.record.hash != hash || session.record.term().is_over(now) {
            return Ok(None);
        }
        if due(&session.touched_at, now) {
            self.store.touch_session(number, now, address_text(address));
        }
        Ok(Some(session))
    }

    async fn check_secret(&self, text: &Secret) -> Result<Caller, Refusal> {
        let secret = AppSecret::parse(text.expose()).ok_or(Refusal::Unauthenticated)?;
        let hash = secret.secret().hash();
        let now = self.now();
        let open = if let Some(open) = self.catalog.secret(hash.as_bytes()) {
            open
        } else {
            let age = self.catalog.age();
            let record = self.store.secret_by_hash(&hash).await?;
            let record = record.filter(|record| record.usable(now)).ok_or(Refusal::Unauthenticated)?;
            let app = self.app(record.app_id).await?.ok_or(Refusal::Unauthenticated)?;
            let touched_at = AtomicI64::new(record.last_used_at.map_or(0, Timestamp::millis));
            let open = Arc::new(OpenSecret { id: record.id, app, expires_at: record.expires_at, touched_at });
            self.catalog.remember_secret(*hash.as_bytes(), age, open.clone());
            open
        };
        if open.expires_at.is_some_and(|at| now >= at) {
            return Err(Refusal::Unauthenticated);
        }
        if due(&open.touched_at, now) {
            self.store.touch_secret(open.id, now);
        }
        Ok(Caller::App { app: open.app.clone(), secret_id: open.id })
    }

    async fn check_admin(&self, text: &Secret) -> Result<Caller, Refusal> {
        let number = self.sealer.number_of(SealKind::AdminSession, text.expose()).ok_or(Refusal::Unauthenticated)?;
        let session = self.store.admin_session(number).await?.ok_or(Refusal::Unauthenticated)?;
        if session.hash != token_hash(text) || session_term(session.expires_at).is_over(self.now()) {
            return Err(Refusal::Unauthenticated);
        }
        Ok(Caller::Admin {
            admin_id: session.admin_id,
            account_id: session.account_id,
            role: session.role,
            session: number,
            expires_at: session.expires_at,
        })
    }

    /// The app of that id.
    pub(super) async fn app(&self, id: AppId) -> Result<Option<Arc<App>>, Refusal> {
        if let Some(app) = self.catalog.app(id) {
            return Ok(Some(app));
        }
        let age = self.catalog.age();
        let Some(app) = self.store.app(id).await?.map(Arc::new) else { return Ok(None) };
        self.catalog.remember_app(age, app.clone());
        Ok(Some(app))
    }
}

/// Whether the caller is the one to write down a use at `now`.
fn due(touched_at: &AtomicI64, now: Timestamp) -> bool {
    let last = touched_at.load(Ordering::Relaxed);
    // A clock set back counts as due too: then the later time is the wrong one.
    (now.millis() - last).abs() >= TOUCH_SECS * 1000
        && touched_at.compare_exchange(last, now.millis(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
}
