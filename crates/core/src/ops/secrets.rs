//! `/v1/apps/{id}/secrets`: making, rolling and revoking App-Secrets.

use super::typed::check_name;
use super::{Broker, Caller, Context};
use crate::app::{Revocation, SecretRecord};
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::id::{AppId, SecretId};
use crate::idempotency::{Creation, IdempotencyKey};
use crate::page::{Page, PageRequest};
use crate::ports::{Change, ListFilter, SecretRefusal, SessionFilter};
use crate::refusal::{FieldErrors, Refusal};
use crate::secret::AppSecret;

const TAKEN: Refusal = Refusal::Conflict("this secret is already in use");

/// A secret with its text, which is shown this once.
#[derive(Clone, Debug)]
pub struct CreatedSecret {
    /// What is kept.
    pub record: SecretRecord,
    /// The text.
    pub text: AppSecret,
    /// Whether the same request made it before.
    pub repeated: bool,
}

/// How long a rolled secret is still taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Not at all.
    Now,
    /// One hour.
    Hour,
    /// 24 hours.
    Day,
    /// Seven days.
    Week,
}

impl Overlap {
    /// Reads `now`, `1h`, `24h` or `7d`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "now" => Some(Self::Now),
            "1h" => Some(Self::Hour),
            "24h" => Some(Self::Day),
            "7d" => Some(Self::Week),
            _ => None,
        }
    }

    /// Its length in seconds.
    #[must_use]
    pub const fn secs(self) -> i64 {
        match self {
            Self::Now => 0,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
        }
    }
}

/// What hangs on a secret.
#[derive(Clone, Debug)]
pub struct SecretReach {
    /// The secret.
    pub record: SecretRecord,
    /// Live sessions whose tokens it minted.
    pub sessions: Counted,
    /// tokenIds that it minted and that wait to be redeemed.
    pub tokens: Counted,
}

/// A number of things, as far as they were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many were found; [`REACH_MAX`] at most.
    pub count: usize,
    /// Whether there may be more.
    pub more: bool,
}

impl Counted {
    fn of<T, K>(page: &Page<T, K>) -> Self {
        let found = page.items.len();
        Self { count: found.min(REACH_MAX), more: found > REACH_MAX || page.next.is_some() }
    }
}

/// Tokens or sessions of a secret that are counted; whoever looks wants to know whether it is few or many.
pub const REACH_MAX: usize = 1_000;

const UNKNOWN: Refusal = Refusal::NotFound("Secrets");

impl Broker {
    /// Makes a secret. `import` takes over one that existing backends already hold: a UUID of the original service,
    /// or a secret of another respoked.
    ///
    /// # Errors
    ///
    /// As [`Broker::get_app`]; [`Refusal::Invalid`]; [`Refusal::Conflict`] at the most secrets an app may have, or
    /// for an imported secret that is already in use.
    #[expect(clippy::too_many_arguments, reason = "the fields of one request, each named at its one call")]
    pub async fn create_secret(
        &self,
        caller: &Caller,
        app: AppId,
        name: Option<String>,
        expires_at: Option<Timestamp>,
        import: Option<&str>,
        once: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<CreatedSecret, Refusal> {
        let app = self.get_app(caller, app).await?;
        let name = name.ok_or_else(|| Refusal::missing("name"))?;
        if expires_at.is_some_and(|at| at <= self.now()) {
            return Err(Refusal::field("expiresAt", "must lie in the future"));
        }
        let text = match import {
            Some(text) => AppSecret::parse(text)
                .ok_or_else(|| Refusal::field("secret", "must be a UUID or a well-formed rspk_ secret"))?,
            None => once
                .as_ref()
                .map_or_else(|| AppSecret::new(self.chance()), |key| AppSecret::from_random(key.derive("secret"))),
        };
        if import.is_some() && once.is_none() && self.store.secret_by_hash(&text.secret().hash()).await?.is_some() {
            return Err(TAKEN);
        }
        self.add_secret(caller, app.id, name, expires_at, text, None, once, Action::SecretCreated, context).await
    }

    /// Makes a successor of a secret, which is taken for `overlap` longer. What it minted lives on.
    ///
    /// # Errors
    ///
    /// As [`Broker::create_secret`]; [`Refusal::NotFound`] for an unknown secret; [`Refusal::Conflict`] for one that
    /// is revoked or expired.
    pub async fn roll_secret(
        &self,
        caller: &Caller,
        app: AppId,
        id: SecretId,
        overlap: Overlap,
        once: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<CreatedSecret, Refusal> {
        let app = self.get_app(caller, app).await?;
        let old = self.store.secrets(app.id).await?.into_iter().find(|secret| secret.id == id).ok_or(UNKNOWN)?;
        let text = once
            .as_ref()
            .map_or_else(|| AppSecret::new(self.chance()), |key| AppSecret::from_random(key.derive("secret")));
        let rolls = Some((id, self.now().plus_secs(overlap.secs())));
        self.add_secret(caller, app.id, old.name, None, text, rolls, once, Action::SecretRolled, context).await
    }

    /// The secrets of an app, their texts excepted.
    ///
    /// # Errors
    ///
    /// As [`Broker::get_app`].
    pub async fn list_secrets(&self, caller: &Caller, app: AppId) -> Result<Vec<SecretRecord>, Refusal> {
        let app = self.get_app(caller, app).await?;
        Ok(self.store.secrets(app.id).await?)
    }

    /// A secret, and what would be over if it were revoked.
    ///
    /// # Errors
    ///
    /// As [`Broker::get_app`]; [`Refusal::NotFound`] for an unknown secret; [`Refusal::Store`] also while others search.
    pub async fn secret_reach(&self, caller: &Caller, app: AppId, id: SecretId) -> Result<SecretReach, Refusal> {
        let app = self.get_app(caller, app).await?;
        let record = self.store.secrets(app.id).await?.into_iter().find(|secret| secret.id == id).ok_or(UNKNOWN)?;
        let of = ListFilter { secret_id: Some(id), ..ListFilter::default() };
        let page = PageRequest { limit: REACH_MAX + 1, after: None };
        let filter = SessionFilter { of: of.clone(), ..SessionFilter::default() };
        let sessions = self.store.sessions(app.id, filter, self.now(), page.clone()).await?;
        let tokens = self.store.tokens(app.id, of, self.now(), page).await?;
        Ok(SecretReach { record, sessions: Counted::of(&sessions), tokens: Counted::of(&tokens) })
    }

    /// Revokes a secret.
    ///
    /// # Errors
    ///
    /// As [`Broker::get_app`]; [`Refusal::NotFound`] for an unknown secret.
    pub async fn revoke_secret(
        &self,
        caller: &Caller,
        app: AppId,
        id: SecretId,
        revocation: Revocation,
        context: &Context,
    ) -> Result<SecretRecord, Refusal> {
        let app = self.get_app(caller, app).await?;
        let audit = self.entry(context, caller, Some(app.id), Action::SecretRevoked, &id.to_string())?;
        let revoked = self.store.revoke_secret(app.id, id, revocation, audit).await;
        self.changed(context, Change::Secret(app.id, id), revoked).await?.ok_or(UNKNOWN)
    }

    #[expect(clippy::too_many_arguments, reason = "two callers, side by side, each naming every argument")]
    async fn add_secret(
        &self,
        caller: &Caller,
        app: AppId,
        name: String,
        expires_at: Option<Timestamp>,
        text: AppSecret,
        rolls: Option<(SecretId, Timestamp)>,
        once: Option<IdempotencyKey>,
        action: Action,
        context: &Context,
    ) -> Result<CreatedSecret, Refusal> {
        let mut errors = FieldErrors::new();
        check_name(&mut errors, &name);
        if !errors.is_empty() {
            return Err(Refusal::Invalid(errors));
        }
        let mut record = self.new_secret_record(app, name, &text);
        record.expires_at = expires_at;
        let id = record.id;
        let object = rolls.map_or(record.id, |(old, _)| old).to_string();
        let audit = self.entry(context, caller, Some(app), action, &object)?;
        let created = self.store.create_secret(record, rolls, once, audit).await;
        match self.changed(context, Change::Secret(app, rolls.map_or(id, |(old, _)| old)), created).await? {
            Creation::Created(record) => Ok(CreatedSecret { record, text, repeated: false }),
            Creation::Repeated(record) => Ok(CreatedSecret { record, text, repeated: true }),
            Creation::KeyReused => Err(Refusal::IdempotencyKeyReused),
            Creation::Refused(refusal) => Err(match refusal {
                SecretRefusal::NoApp => Refusal::NotFound("Apps"),
                SecretRefusal::Taken => TAKEN,
                SecretRefusal::TooMany => {
                    Refusal::Conflict("the app has the most secrets it may have; revoke one first")
                }
                SecretRefusal::NothingToRoll => Refusal::Conflict("the secret is revoked or expired"),
            }),
        }
    }
}
