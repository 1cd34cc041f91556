//! `/v1/admin-sessions`, and admins as they are managed on the data folder.

use super::typed::can_be_kept;
use super::{Broker, Caller, Context};
use crate::admin::{self, Admin, AdminRole};
use crate::audit::{Action, Actor, AuditEntry};
use crate::id::{AccountId, AdminId};
use crate::idempotency::{Creation, IdempotencyKey};
use crate::password::{self, Applicant};
use crate::ports::{
    AdminAddition, AdminChange, Change, Ending, Factor, NewPassword, PasswordChange, SignInRefusal, StoreError,
};
use crate::refusal::Refusal;
use crate::secret::Secret;

/// Name and password, as typed.
#[derive(Clone, Debug, Default)]
pub struct SignIn {
    /// The user name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The second factor's code or a recovery code, of an admin who has one.
    pub code: Option<Secret>,
    /// Whether the admin of that name signed in from the same address lately. Then no stranger keeps it waiting.
    pub known_address: bool,
}

impl Broker {
    /// Opens an admin session and returns its Admin-Token. A wrong user name takes as long as a wrong password.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadLogin`], whichever is wrong, or [`Refusal::WrongCode`] if it is the code alone; [`Refusal::Invalid`] if one is missing;
    /// [`Refusal::SecondFactorRequired`] if it is only the code that is missing; [`Refusal::Overloaded`] if too many
    /// passwords wait to be looked at.
    pub async fn sign_in(
        &self,
        request: SignIn,
        once: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<Secret, Refusal> {
        Refusal::require(&[("username", request.username.is_some()), ("password", request.password.is_some())])?;
        let username = request.username.ok_or_else(|| Refusal::missing("username"))?;
        let typed = request.password.ok_or_else(|| Refusal::missing("password"))?;
        let admin = match self.admin_named(&username).await? {
            Some(admin) => {
                let applicant =
                    if request.known_address { Applicant::Known } else { Applicant::Stranger(context.address) };
                self.verify(applicant, typed.clone(), admin.password_hash.clone()).await?.then_some(admin)
            }
            None => {
                let applicant = Applicant::Stranger(context.address);
                self.verify(applicant, typed.clone(), self.nobody_hash(applicant).await?).await?;
                None
            }
        };
        let Some(admin) = admin else { return Err(self.failed_sign_in(context).await) };
        let factor = match (&admin.second_factor, &request.code) {
            (None, _) => Factor::None,
            (Some(_), None) => return Err(Refusal::SecondFactorRequired),
            (Some(second), Some(code)) => match self.check_code(second, typed, code).await? {
                Some(factor) => factor,
                None => return Err(self.failed_code(&admin, context).await),
            },
        };
        let has_code = !matches!(factor, Factor::None);
        self.warn_of_the_clock(&admin, &factor);
        let mut audit = self.entry(context, &Caller::Anonymous, None, Action::AdminSignedIn, &admin.username)?;
        audit.actor = Actor::Admin(admin.id);
        audit.account_id = Some(admin.account_id);
        let expires_at = self.now().plus_secs(admin::SESSION_SECS);
        let entropy = IdempotencyKey::entropy(once.as_ref(), self.chance());
        match self.store.open_admin_session(&admin, factor, entropy, expires_at, once, audit).await? {
            Creation::Created(token) | Creation::Repeated(token) => Ok(token),
            Creation::KeyReused => Err(Refusal::IdempotencyKeyReused),
            Creation::Refused(SignInRefusal::NotProven | SignInRefusal::Changed) if has_code => {
                Err(self.failed_code(&admin, context).await)
            }
            Creation::Refused(SignInRefusal::NotProven | SignInRefusal::Changed) => {
                Err(self.failed_sign_in(context).await)
            }
        }
    }

    async fn admin_named(&self, username: &str) -> Result<Option<Admin>, Refusal> {
        if can_be_kept(username) { Ok(self.store.admin_by_username(username).await?) } else { Ok(None) }
    }

    /// Writes down that somebody had an admin's password and not the code, and whose: it is time for another password.
    pub(super) async fn failed_code(&self, admin: &Admin, context: &Context) -> Refusal {
        let entry = self.entry(context, &Caller::Anonymous, None, Action::AdminSignInFailed, &admin.username);
        let written = match entry {
            Ok(audit) => self.store.audit(AuditEntry { account_id: Some(admin.account_id), ..audit }).await,
            Err(refusal) => return refusal,
        };
        written.map_or_else(Refusal::Store, |()| Refusal::WrongCode)
    }

    /// Writes a failed sign-in down. The user name may be a password typed into the wrong field, so it is not.
    pub(super) async fn failed_sign_in(&self, context: &Context) -> Refusal {
        let written = match self.entry(context, &Caller::Anonymous, None, Action::AdminSignInFailed, "") {
            Ok(audit) => self.store.audit(audit).await,
            Err(refusal) => return refusal,
        };
        written.map_or_else(Refusal::Store, |()| Refusal::BadLogin)
    }

    /// Ends the caller's admin session.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] without an Admin-Token.
    pub async fn sign_out(&self, caller: &Caller, context: &Context) -> Result<(), Refusal> {
        let Caller::Admin { session, admin_id, .. } = caller else { return Err(Refusal::Unauthenticated) };
        let audit = self.entry(context, caller, None, Action::AdminSignedOut, "")?;
        let ended = self.store.end_admin_session(*session, audit).await;
        match self.changed(context, Change::Admin(*admin_id), ended).await? {
            Ending::Ended | Ending::Over | Ending::Unknown => Ok(()),
        }
    }

    /// Makes an admin of the account, on the data folder.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`]; [`Refusal::Conflict`] if the user name is taken.
    pub async fn create_admin(
        &self,
        account: AccountId,
        username: &str,
        typed: Secret,
        role: AdminRole,
    ) -> Result<AdminId, Refusal> {
        let admin = self.new_admin(account, username, typed, role).await?;
        let id = admin.id;
        let mut audit = self.entry(&self.internal(), &Caller::Anonymous, None, Action::AdminCreated, username)?;
        audit.actor = Actor::System;
        audit.account_id = Some(account);
        match self.store.create_admin(admin, audit).await? {
            AdminAddition::Added => Ok(id),
            AdminAddition::NameTaken => Err(TAKEN),
            AdminAddition::NoAccount => Err(Refusal::NotFound("account")),
        }
    }

    /// Sets an admin's password on the data folder. The admin's sessions end, and the second factor goes.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`]; [`Refusal::Invalid`].
    pub async fn set_admin_password(&self, username: &str, typed: Secret) -> Result<(), Refusal> {
        let admin = self.admin_named(username).await?.ok_or(UNKNOWN)?;
        let password =
            NewPassword { hash: self.hash_new(typed).await?, second_factor: None, keep_session: None, replaces: None };
        let audit = self.system_entry(&admin, Action::AdminPasswordReset)?;
        match self.store.set_admin_password(admin.id, password, audit).await? {
            PasswordChange::Set => Ok(()),
            PasswordChange::Unknown | PasswordChange::Changed => Err(UNKNOWN),
        }
    }

    /// Gives an admin another role, on the data folder.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`]; [`Refusal::Conflict`] if no owner would be left.
    pub async fn set_admin_role(&self, username: &str, role: AdminRole) -> Result<(), Refusal> {
        let admin = self.admin_named(username).await?.ok_or(UNKNOWN)?;
        let audit = self.system_entry(&admin, Action::AdminRoleChanged)?;
        outcome(self.store.set_admin_role(admin.id, role, audit).await?)
    }

    /// Removes an admin and ends the admin's sessions, on the data folder.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`]; [`Refusal::Conflict`] for the last owner.
    pub async fn delete_admin(&self, username: &str) -> Result<(), Refusal> {
        let admin = self.admin_named(username).await?.ok_or(UNKNOWN)?;
        let audit = self.system_entry(&admin, Action::AdminDeleted)?;
        outcome(self.store.delete_admin(admin.id, audit).await?)
    }

    pub(super) fn system_entry(&self, admin: &Admin, action: Action) -> Result<AuditEntry, Refusal> {
        let mut audit = self.entry(&self.internal(), &Caller::Anonymous, None, action, &admin.username)?;
        audit.actor = Actor::System;
        audit.account_id = Some(admin.account_id);
        Ok(audit)
    }

    pub(super) async fn new_admin(
        &self,
        account_id: AccountId,
        username: &str,
        typed: Secret,
        role: AdminRole,
    ) -> Result<Admin, Refusal> {
        admin::check_username(username).map_err(|asked| Refusal::field("username", asked))?;
        Ok(Admin {
            id: AdminId::new(self.chance()),
            account_id,
            username: username.to_owned(),
            role,
            password_hash: self.hash_new(typed).await?,
            second_factor: None,
            created_at: self.now(),
        })
    }

    pub(super) async fn hash_new(&self, typed: Secret) -> Result<String, Refusal> {
        password::check_new(&typed).map_err(|asked| Refusal::field("password", asked))?;
        let salt = self.chance().bytes();
        match self.passwords.work(Applicant::Known, move || password::hash(&typed, salt)).await? {
            Some(Ok(hash)) => Ok(hash),
            Some(Err(_)) | None => Err(Refusal::Store(StoreError::Corrupt("a password could not be hashed"))),
        }
    }

    pub(super) async fn verify(&self, applicant: Applicant, typed: Secret, hash: String) -> Result<bool, Refusal> {
        if typed.expose().len() > password::PASSWORD_LEN_MAX {
            return Ok(false);
        }
        Ok(self.passwords.work(applicant, move || password::verify(&typed, &hash)).await?.unwrap_or(false))
    }

    /// Does work that takes as long as hashing a password, for who has proved to be an admin.
    pub(super) async fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        const FAILED: Refusal = Refusal::Store(StoreError::Corrupt("a second factor could not be worked on"));
        self.passwords.work(Applicant::Known, work).await?.flatten().ok_or(FAILED)
    }

    /// A hash of nothing anybody knows, made once, so that an unknown user name costs what a known one does.
    async fn nobody_hash(&self, applicant: Applicant) -> Result<String, Refusal> {
        let make = || async {
            let (unknowable, salt) = (Secret::new(self.chance().uuid().to_string()), self.chance().bytes());
            let hash = move || password::hash(&unknowable, salt).unwrap_or_default();
            let hash = self.passwords.work(applicant, hash).await?;
            Ok::<_, Refusal>(hash.unwrap_or_default())
        };
        Ok(self.nobody_hash.get_or_try_init(make).await?.clone())
    }
}

pub(super) const UNKNOWN: Refusal = Refusal::NotFound("Admins");
pub(super) const TAKEN: Refusal = Refusal::Conflict("the user name is taken");

pub(super) fn outcome(change: AdminChange) -> Result<(), Refusal> {
    match change {
        AdminChange::Done => Ok(()),
        AdminChange::Unknown => Err(UNKNOWN),
        AdminChange::LastOwner => Err(Refusal::Conflict("this is the last owner")),
    }
}
