//! `/v1/apps`.

use std::sync::Arc;

use super::caller::{BACKEND_NEEDED, admin_needed};
use super::typed::{check_name, check_text, wrong};
use super::{Broker, Caller, Context, CreatedSecret};
use crate::admin::AdminRole;
use crate::app::{App, AppPatch, AppSettings, Limits, LimitsPatch, Rate, SecretRecord};
use crate::audit::Action;
use crate::grant::Marks;
use crate::id::{AccountId, AppId, SecretId};
use crate::idempotency::{Creation, IdempotencyKey};
use crate::origin::{self, DOMAINS_MAX};
use crate::page::{CreationKey, Page, PageRequest};
use crate::ports::{AppRefusal, Change};
use crate::refusal::{FieldErrors, Refusal};
use crate::secret::AppSecret;

/// What the first secret of an app is called.
pub(super) const FIRST_SECRET: &str = "first";

impl Broker {
    /// Creates an app with its first secret.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] unless the caller is an admin; [`Refusal::Invalid`]; [`Refusal::Conflict`] if the account
    /// has the most apps it may have.
    pub async fn create_app(
        &self,
        caller: &Caller,
        name: Option<String>,
        patch: AppPatch,
        once: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<(App, CreatedSecret), Refusal> {
        let Caller::Admin { account_id, .. } = caller else { return Err(admin_needed(caller)) };
        if patch.limits != LimitsPatch::default() {
            caller.permit(AdminRole::Owner)?;
        }
        let name = name.ok_or_else(|| Refusal::missing("name"))?;
        let patch = with_domains(patch)?;
        let mut settings = AppSettings::named(String::new());
        AppPatch { name: Some(name), ..patch }.apply(&mut settings);
        check_settings(&settings)?;
        let app = self.new_app(*account_id, settings);
        let text = once
            .as_ref()
            .map_or_else(|| AppSecret::new(self.chance()), |key| AppSecret::from_random(key.derive("app-secret")));
        let record = self.new_secret_record(app.id, FIRST_SECRET.to_owned(), &text);
        let audit = self.entry(context, caller, Some(app.id), Action::AppCreated, &app.id.to_string())?;
        match self.store.create_app(app, record.clone(), once, audit).await? {
            Creation::Created(app) => Ok((app, CreatedSecret { record, text, repeated: false })),
            Creation::Repeated(app) => {
                let record = SecretRecord { app_id: app.id, ..record };
                Ok((app, CreatedSecret { record, text, repeated: true }))
            }
            Creation::KeyReused => Err(Refusal::IdempotencyKeyReused),
            Creation::Refused(AppRefusal::TooMany) => {
                Err(Refusal::Conflict("the account has the most apps it may have; delete one first"))
            }
            // It went while this was asked, and the caller with it.
            Creation::Refused(AppRefusal::NoAccount) => Err(Refusal::Unauthenticated),
        }
    }

    /// The apps the caller has authority over.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] for an App-Token.
    pub async fn list_apps(
        &self,
        caller: &Caller,
        page: PageRequest<CreationKey>,
    ) -> Result<Page<App, CreationKey>, Refusal> {
        match caller {
            Caller::Admin { account_id, .. } => Ok(self.store.apps(*account_id, page).await?),
            Caller::App { app, .. } => Ok(Page { items: vec![App::clone(app)], next: None }),
            Caller::Endpoint { .. } => Err(BACKEND_NEEDED),
            Caller::Anonymous => Err(Refusal::Unauthenticated),
        }
    }

    /// One app.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] also for an app that is not the caller's.
    pub async fn get_app(&self, caller: &Caller, id: AppId) -> Result<Arc<App>, Refusal> {
        match caller {
            Caller::Admin { .. } | Caller::App { .. } => {
                self.app_seen_by(caller, id).await?.ok_or(Refusal::NotFound("Apps"))
            }
            Caller::Endpoint { .. } => Err(BACKEND_NEEDED),
            Caller::Anonymous => Err(Refusal::Unauthenticated),
        }
    }

    /// Changes an app.
    ///
    /// # Errors
    ///
    /// As [`Broker::get_app`]; [`Refusal::Invalid`]; [`Refusal::Forbidden`] for new limits unless an owner sets them.
    pub async fn update_app(
        &self,
        caller: &Caller,
        id: AppId,
        patch: AppPatch,
        context: &Context,
    ) -> Result<App, Refusal> {
        let app = self.get_app(caller, id).await?;
        // Limits guard the server from the app, so its own secret cannot raise them, nor who works on it.
        if patch.limits != LimitsPatch::default() {
            let Caller::Admin { .. } = caller else { return Err(admin_needed(caller)) };
            caller.permit(AdminRole::Owner)?;
        }
        let patch = with_domains(patch)?;
        let mut settings = app.settings.clone();
        patch.clone().apply(&mut settings);
        check_settings(&settings)?;
        let audit = self.entry(context, caller, Some(id), Action::AppUpdated, &id.to_string())?;
        let updated = self.store.update_app(id, patch, audit).await;
        self.changed(context, Change::App(id), updated).await?.ok_or(Refusal::NotFound("Apps"))
    }

    /// Deletes an app and ends everything that stands on it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] unless the caller is an owner; [`Refusal::NotFound`].
    pub async fn delete_app(&self, caller: &Caller, id: AppId, context: &Context) -> Result<(), Refusal> {
        let Caller::Admin { .. } = caller else { return Err(admin_needed(caller)) };
        self.get_app(caller, id).await?;
        let audit = self.entry(context, caller, Some(id), Action::AppDeleted, &id.to_string())?;
        let deleted = self.store.delete_app(id, audit).await;
        self.changed(context, Change::App(id), deleted).await?.or_refuse(Refusal::NotFound("Apps"))
    }

    /// Who owns an app.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] if it is gone.
    pub async fn account_of(&self, id: AppId) -> Result<crate::id::AccountId, Refusal> {
        Ok(self.app(id).await?.ok_or(Refusal::NotFound("Apps"))?.account_id)
    }

    pub(super) fn new_app(&self, account_id: AccountId, settings: AppSettings) -> App {
        let now = self.now();
        App {
            id: AppId::new(self.chance()),
            account_id,
            settings,
            created_at: now,
            updated_at: now,
            marks: Marks::default(),
        }
    }

    pub(super) fn new_secret_record(&self, app_id: AppId, name: String, text: &AppSecret) -> SecretRecord {
        SecretRecord {
            id: SecretId::new(self.chance()),
            app_id,
            name,
            hint: text.hint(),
            hash: text.secret().hash(),
            created_at: self.now(),
            last_used_at: None,
            expires_at: None,
            revoked_at: None,
            keep_sessions: false,
        }
    }
}

/// Writes the domains of a change as they are kept. Those that an app has already are not looked at.
fn with_domains(patch: AppPatch) -> Result<AppPatch, Refusal> {
    let Some(Some(typed)) = &patch.permitted_domains else { return Ok(patch) };
    let mut errors = FieldErrors::new();
    if typed.len() > DOMAINS_MAX {
        wrong(&mut errors, "permittedDomains", &format!("must be at most {DOMAINS_MAX}"));
        return Err(Refusal::Invalid(errors));
    }
    let mut domains = Vec::with_capacity(typed.len());
    for (nth, text) in typed.iter().enumerate() {
        match origin::domain(text) {
            Ok(domain) => domains.push(domain),
            Err(problem) => {
                let problems = errors.entry("permittedDomains".to_owned()).or_default();
                problems.push(format!("permittedDomains[{nth}] {problem}."));
            }
        }
    }
    if errors.is_empty() {
        Ok(AppPatch { permitted_domains: Some(Some(domains)), ..patch })
    } else {
        Err(Refusal::Invalid(errors))
    }
}

fn check_settings(settings: &AppSettings) -> Result<(), Refusal> {
    let mut errors = FieldErrors::new();
    check_name(&mut errors, &settings.name);
    check_text(&mut errors, "description", &settings.description, 1_024);
    if !(crate::token::TTL_SECS_MIN..=AppSettings::TTL_SECS_CEILING).contains(&settings.ttl_secs_max) {
        wrong(&mut errors, "maxTtl", "must be from 60 to 2592000 seconds");
    }
    if !(10..=86_400).contains(&settings.activation_secs) {
        wrong(&mut errors, "activationWindow", "must be from 10 to 86400 seconds");
    }
    let limits = settings.limits;
    for (name, rate) in limits.rates() {
        let sound = |rate: Rate| (1..=Rate::MAX).contains(&rate.per_second) && (1..=Rate::MAX).contains(&rate.burst);
        if !rate.is_none_or(sound) {
            wrong(&mut errors, &format!("limits.{name}"), "must have perSecond and burst from 1 to 1000000");
        }
    }
    for (name, count) in limits.counts() {
        if !count.is_none_or(|count| (1..=Limits::COUNT_MAX).contains(&count)) {
            wrong(&mut errors, &format!("limits.{name}"), "must be from 1 to 10000000, or null for no limit");
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Refusal::Invalid(errors)) }
}
