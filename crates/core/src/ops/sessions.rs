//! `/v1/session-tokens` for the session's own holder, `/v1/sessions` for those with authority over the app.

use std::sync::Arc;

use super::issue_token::seconds;
use super::{Broker, Caller, Context, LiveSession, permit};
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::id::{AppId, SessionId};
use crate::page::{Page, PageRequest, RowNumber};
use crate::ports::{Change, EndRequest, EndScope, Ending, ExtensionRefusal, ScopeEnding, SessionFilter};
use crate::refusal::Refusal;
use crate::seal::SealKind;
use crate::session::{SessionEndCause, SessionRecord};
use crate::token::{TTL_SECS_DEFAULT, TTL_SECS_MIN};

const UNKNOWN: Refusal = Refusal::NotFound("Sessions");

/// Which sessions to end.
#[derive(Clone, Debug)]
pub struct EndSessions {
    /// In which app.
    pub app_id: Option<AppId>,
    /// Which.
    pub scope: EndScope,
    /// Only what was issued before this.
    pub issued_before: Option<Timestamp>,
    /// Whether outstanding tokenIds are spent as well.
    pub tokens_too: bool,
}

impl Broker {
    /// The caller's own session.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] without an App-Token.
    pub fn own_session<'a>(&self, caller: &'a Caller) -> Result<&'a Arc<LiveSession>, Refusal> {
        match caller {
            Caller::Endpoint { session, .. } => Ok(session),
            Caller::Anonymous => Err(Refusal::Unauthenticated),
            Caller::App { .. } | Caller::Admin { .. } => Err(Refusal::Forbidden("an App-Token is needed")),
        }
    }

    /// Extends the caller's session to `ttl_secs` from now.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for a ttl of 0.
    pub async fn extend_session(
        &self,
        caller: &Caller,
        ttl_secs: Option<u64>,
        context: &Context,
    ) -> Result<SessionRecord, Refusal> {
        let session = self.own_session(caller)?;
        let number = session.record.number;
        let Some(app) = self.app(session.record.grant.app_id).await? else { return Err(Refusal::Unauthenticated) };
        // Within the same bounds as a new token's.
        let ttl_secs = match ttl_secs {
            Some(0) => return Err(Refusal::field("ttl", "must be at least 1 second")),
            ttl => ttl.unwrap_or(TTL_SECS_DEFAULT).clamp(TTL_SECS_MIN, app.settings.ttl_secs_max),
        };
        let expires_at = self.now().plus_secs(seconds(ttl_secs));
        let object = self.session_id(number).to_string();
        let audit = self.entry(context, caller, Some(app.id), Action::SessionExtended, &object)?;
        let extended = self.store.extend_session(number, expires_at, audit).await;
        // Of one that is over nothing changed, and its socket may be kept.
        match self.changed(context, Change::Session(number), extended).await? {
            Ok(session) => Ok(session),
            Err(ExtensionRefusal::Over | ExtensionRefusal::Unknown) => Err(Refusal::Unauthenticated),
        }
    }

    /// Ends the caller's own session. A caller without one has nothing to end, which is no error.
    ///
    /// # Errors
    ///
    /// Only when the store fails.
    pub async fn close_session(&self, caller: &Caller, context: &Context) -> Result<(), Refusal> {
        let Caller::Endpoint { session, app } = caller else { return Ok(()) };
        self.end_one(caller, app.id, session.record.number, SessionEndCause::SignedOut, context).await?;
        Ok(())
    }

    /// The live sessions of an app.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`].
    pub async fn list_sessions(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        filter: SessionFilter,
        page: PageRequest<RowNumber>,
    ) -> Result<Page<SessionRecord, RowNumber>, Refusal> {
        let app = self.app_of(caller, app).await?;
        Ok(self.store.sessions(app.id, filter, self.now(), page).await?)
    }

    /// A live session by its public id.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] also for a session of another app, or one that is over.
    pub async fn session(&self, caller: &Caller, id: &str) -> Result<SessionRecord, Refusal> {
        let number = self.session_number(caller, id).await?;
        let (record, ground) = self.store.session(number).await?.ok_or(UNKNOWN)?;
        self.app_seen_by(caller, record.grant.app_id).await?.ok_or(UNKNOWN)?;
        if record.lapse(&ground, self.now()).is_some() { Err(UNKNOWN) } else { Ok(record) }
    }

    /// Ends one session.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] also for a session of another app. One that is over already is no error.
    pub async fn end_session(&self, caller: &Caller, id: &str, context: &Context) -> Result<(), Refusal> {
        let number = self.session_number(caller, id).await?;
        let Some((record, _)) = self.store.session(number).await? else {
            return self.end_unstored(caller, number, context).await;
        };
        self.app_seen_by(caller, record.grant.app_id).await?.ok_or(UNKNOWN)?;
        self.end_one(caller, record.grant.app_id, record.number, SessionEndCause::Revoked, context).await?;
        Ok(())
    }

    /// Ends many sessions with one small write, and the outstanding tokens of the same scope if asked to.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] or [`Refusal::Forbidden`] for a caller without authority over apps,
    /// [`Refusal::NotFound`] for an unknown role, or an app that is not the caller's.
    pub async fn end_sessions(&self, caller: &Caller, request: EndSessions, context: &Context) -> Result<(), Refusal> {
        let app = self.app_of(caller, request.app_id).await?;
        let object = match &request.scope {
            EndScope::App => app.id.to_string(),
            EndScope::Endpoint(endpoint) => endpoint.to_string(),
            EndScope::Role(role) => role.to_string(),
        };
        let audit = self.entry(context, caller, Some(app.id), Action::SessionsEnded, &object)?;
        let now = self.now();
        let order = EndRequest {
            app_id: app.id,
            scope: request.scope,
            // An instant to come means now, as none does: what is minted from here on is not touched. A mark has room for one
            // instant, the latest. It had better be none: were the clock set back, one to come would end what is minted then.
            issued_before: request.issued_before.filter(|at| *at <= now),
            tokens_too: request.tokens_too,
        };
        let change = order.change();
        let done = self.store.end_sessions(order, audit).await;
        match self.changed(context, change, done).await? {
            ScopeEnding::Ended => Ok(()),
            ScopeEnding::NoApp => Err(Refusal::NotFound("Apps")),
            ScopeEnding::NoRole => Err(Refusal::NotFound("Roles")),
        }
    }

    async fn session_number(&self, caller: &Caller, id: &str) -> Result<u64, Refusal> {
        if let Caller::Anonymous | Caller::Endpoint { .. } = caller {
            self.app_of(caller, None).await?;
        }
        let id = SessionId::parse(id).ok_or(UNKNOWN)?;
        self.sealer.number_of_name(SealKind::SessionName, id.uuid()).ok_or(UNKNOWN)
    }

    /// Ends what a session that was removed long after it expired may have left: a socket that its app keeps open.
    ///
    /// Whose it was nobody knows any more; that the caller could name it has to do.
    pub(super) async fn end_unstored(&self, caller: &Caller, number: u64, context: &Context) -> Result<(), Refusal> {
        caller.permit(permit::needed(Action::SessionEnded))?;
        let written = self.store.write_change(Change::Session(number), self.now()).await;
        Ok(self.changed(context, Change::Session(number), written).await?)
    }

    pub(super) async fn end_one(
        &self,
        caller: &Caller,
        app: AppId,
        number: u64,
        cause: SessionEndCause,
        context: &Context,
    ) -> Result<(), Refusal> {
        let object = self.session_id(number).to_string();
        let audit = self.entry(context, caller, Some(app), Action::SessionEnded, &object)?;
        let ended = self.store.end_session(app, number, cause, audit).await;
        match self.changed(context, Change::Session(number), ended).await? {
            Ending::Ended | Ending::Over => Ok(()),
            // It may have been removed long after it expired.
            Ending::Unknown => self.end_unstored(caller, number, context).await,
        }
    }
}
