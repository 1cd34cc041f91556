//! `/v1/endpoints/{id}/ban` and `/v1/bans`.

use super::typed::check_text;
use super::{Broker, Caller, Context};
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId};
use crate::page::{Page, PageRequest};
use crate::ports::{BanRecord, Banning, Change};
use crate::refusal::{FieldErrors, Refusal};

const UNKNOWN: Refusal = Refusal::NotFound("Bans");

impl Broker {
    /// Bans an endpoint: no token is minted for it or redeemed, and what it has is ended, for good.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`]; [`Refusal::Invalid`].
    pub async fn ban(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        endpoint: &str,
        reason: Option<String>,
        until: Option<Timestamp>,
        context: &Context,
    ) -> Result<BanRecord, Refusal> {
        let app = self.app_of(caller, app).await?;
        let endpoint_id = parse_endpoint(endpoint)?;
        let now = self.now();
        if until.is_some_and(|at| at <= now) {
            return Err(Refusal::field("expiresAt", "must lie in the future"));
        }
        let reason = reason.unwrap_or_default();
        let mut errors = FieldErrors::new();
        check_text(&mut errors, "reason", &reason, 512);
        if !errors.is_empty() {
            return Err(Refusal::Invalid(errors));
        }
        let ban = BanRecord { endpoint_id, reason, banned_at: now, until: until.unwrap_or(BanRecord::FOREVER) };
        let audit = self.entry(context, caller, Some(app.id), Action::EndpointBanned, ban.endpoint_id.as_str())?;
        let banned = self.store.ban(app.id, ban.clone(), audit).await;
        let change = Change::Endpoint(app.id, ban.endpoint_id.clone());
        match self.changed(context, change, banned).await? {
            Banning::Banned => Ok(ban),
            Banning::NoApp => Err(Refusal::NotFound("Apps")),
        }
    }

    /// The ban of an endpoint.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`]; [`Refusal::NotFound`] if it is not banned.
    pub async fn get_ban(&self, caller: &Caller, app: Option<AppId>, endpoint: &str) -> Result<BanRecord, Refusal> {
        let app = self.app_of(caller, app).await?;
        let now = self.now();
        let ban = self.store.ban_of(app.id, &parse_endpoint(endpoint)?).await?;
        ban.filter(|ban| now < ban.until).ok_or(UNKNOWN)
    }

    /// The ban that keeps an endpoint out now, if one does.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn ban_in_force(&self, app: AppId, endpoint: &EndpointId) -> Result<Option<BanRecord>, Refusal> {
        let ban = self.store.ban_of(app, endpoint).await?;
        Ok(ban.filter(|ban| self.now() < ban.until))
    }

    /// The bans of an app, by endpoint; past ones too until they are lifted or upkeep removes them.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`].
    pub async fn list_bans(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        page: PageRequest<EndpointId>,
    ) -> Result<Page<BanRecord, EndpointId>, Refusal> {
        let app = self.app_of(caller, app).await?;
        Ok(self.store.bans(app.id, page).await?)
    }

    /// Lifts a ban. What it ended stays ended.
    ///
    /// # Errors
    ///
    /// As [`Broker::get_ban`].
    pub async fn lift_ban(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        endpoint: &str,
        context: &Context,
    ) -> Result<(), Refusal> {
        let app = self.app_of(caller, app).await?;
        let endpoint = parse_endpoint(endpoint)?;
        let audit = self.entry(context, caller, Some(app.id), Action::BanLifted, endpoint.as_str())?;
        let lifted = self.store.lift_ban(app.id, &endpoint, audit).await;
        self.changed(context, Change::Endpoint(app.id, endpoint), lifted).await?.or_refuse(UNKNOWN)
    }
}

fn parse_endpoint(text: &str) -> Result<EndpointId, Refusal> {
    EndpointId::parse(text).map_err(|problem| Refusal::field("endpointId", problem))
}
