//! `/v1/admin-sessions`, and the admins themselves, who are managed on the data folder.

use tokio::sync::OnceCell;

use super::{Broker, Caller, Context};
use crate::admin::Admin;
use crate::audit::{Action, Actor};
use crate::id::{AccountId, AdminId};
use crate::idempotency::{Creation, IdempotencyKey};
use crate::password;
use crate::ports::{Change, StoreError};
use crate::refusal::Refusal;
use crate::secret::Secret;

/// Life of an admin session, in seconds.
const ADMIN_SESSION_SECS: i64 = 12 * 3_600;

/// Name and password, as typed.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The user name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

impl Broker {
    /// Opens an admin session and returns its Admin-Token. A wrong user name takes as long as a wrong password.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadLogin`], whichever of the two is wrong; [`Refusal::Invalid`] if one is missing;
    /// [`Refusal::Overloaded`] if too many passwords wait to be looked at.
    pub async fn sign_in(
        &self,
        request: SignIn,
        once: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<Secret, Refusal> {
        Refusal::require(&[("username", request.username.is_some()), ("password", request.password.is_some())])?;
        let username = request.username.ok_or_else(|| Refusal::missing("username"))?;
        let typed = request.password.ok_or_else(|| Refusal::missing("password"))?;
        let admin = self.store.admin_by_username(&username).await?;
        let admin = match admin {
            Some(admin) => self.verify(typed, admin.password_hash.clone()).await?.then_some(admin),
            None => {
                self.verify(typed, self.nobody_hash().await?).await?;
                None
            }
        };
        let Some(admin) = admin else {
            // The user name may be a password typed into the wrong field, so it is not written down.
            let audit = self.entry(context, &Caller::Anonymous, None, Action::AdminSignInFailed, "");
            self.store.audit(audit).await?;
            return Err(Refusal::BadLogin);
        };
        let mut audit = self.entry(context, &Caller::Anonymous, None, Action::AdminSignedIn, &admin.username);
        audit.actor = Actor::Admin(admin.id);
        audit.account_id = Some(admin.account_id);
        let expires_at = self.now().plus_secs(ADMIN_SESSION_SECS);
        let entropy = IdempotencyKey::entropy(once.as_ref());
        match self.store.open_admin_session(&admin, entropy, expires_at, once, audit).await? {
            Creation::Created(token) | Creation::Repeated(token) => Ok(token),
            Creation::KeyReused => Err(Refusal::IdempotencyKeyReused),
        }
    }

    /// Ends the caller's admin session.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] without an Admin-Token.
    pub async fn sign_out(&self, caller: &Caller, context: &Context) -> Result<(), Refusal> {
        let Caller::Admin { session, admin_id, .. } = caller else { return Err(Refusal::Unauthenticated) };
        let audit = self.entry(context, caller, None, Action::AdminSignedOut, "");
        let ended = self.store.end_admin_session(*session, audit).await;
        // Also after a failure, which may have come after the commit.
        self.changed(Change::Admin(*admin_id));
        ended?;
        Ok(())
    }

    /// Makes an admin of the account.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`]; [`Refusal::Conflict`] if the user name is taken.
    pub async fn create_admin(&self, account: AccountId, username: &str, typed: Secret) -> Result<AdminId, Refusal> {
        check_username(username)?;
        let admin = Admin {
            id: AdminId::random(),
            account_id: account,
            username: username.to_owned(),
            password_hash: self.hash_new(typed).await?,
            created_at: self.now(),
        };
        let id = admin.id;
        let mut audit = self.entry(&Context::internal(), &Caller::Anonymous, None, Action::AdminCreated, username);
        audit.actor = Actor::System;
        audit.account_id = Some(account);
        if self.store.create_admin(admin, audit).await? {
            Ok(id)
        } else {
            Err(Refusal::Conflict("the user name is taken"))
        }
    }

    /// Sets an admin's password and ends the admin's sessions.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`]; [`Refusal::Invalid`].
    pub async fn set_admin_password(&self, username: &str, typed: Secret) -> Result<(), Refusal> {
        let admin = self.store.admin_by_username(username).await?.ok_or(Refusal::NotFound("Admins"))?;
        let hash = self.hash_new(typed).await?;
        let mut audit =
            self.entry(&Context::internal(), &Caller::Anonymous, None, Action::AdminPasswordChanged, username);
        audit.actor = Actor::System;
        audit.account_id = Some(admin.account_id);
        let set = self.store.set_admin_password(admin.id, hash, audit).await?;
        if set { Ok(()) } else { Err(Refusal::NotFound("Admins")) }
    }

    /// Removes an admin and ends the admin's sessions.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`]; [`Refusal::Conflict`] for the last one.
    pub async fn delete_admin(&self, username: &str) -> Result<(), Refusal> {
        let admins = self.store.admins().await?;
        let admin = admins.iter().find(|admin| admin.username == username).ok_or(Refusal::NotFound("Admins"))?;
        if admins.len() == 1 {
            return Err(Refusal::Conflict("this is the last admin"));
        }
        let mut audit = self.entry(&Context::internal(), &Caller::Anonymous, None, Action::AdminDeleted, username);
        audit.actor = Actor::System;
        audit.account_id = Some(admin.account_id);
        if self.store.delete_admin(admin.id, audit).await? { Ok(()) } else { Err(Refusal::NotFound("Admins")) }
    }

    async fn hash_new(&self, typed: Secret) -> Result<String, Refusal> {
        let length = typed.expose().chars().count();
        if length < password::PASSWORD_LEN_MIN || typed.expose().len() > password::PASSWORD_LEN_MAX {
            return Err(Refusal::field("password", "must be 8 to 1024 characters long"));
        }
        match self.passwords.work(move || password::hash(&typed)).await? {
            Some(Ok(hash)) => Ok(hash),
            Some(Err(_)) | None => Err(Refusal::Store(StoreError::Corrupt("a password could not be hashed"))),
        }
    }

    async fn verify(&self, typed: Secret, hash: String) -> Result<bool, Refusal> {
        if typed.expose().len() > password::PASSWORD_LEN_MAX {
            return Ok(false);
        }
        Ok(self.passwords.work(move || password::verify(&typed, &hash)).await?.unwrap_or(false))
    }

    /// A hash of nothing anybody knows, made once, so that an unknown user name costs what a known one does.
    async fn nobody_hash(&self) -> Result<String, Refusal> {
        static HASH: OnceCell<String> = OnceCell::const_new();
        let make = || async {
            let unknowable = Secret::new(crate::secret::random_uuid().to_string());
            let hash = self.passwords.work(move || password::hash(&unknowable).unwrap_or_default()).await?;
            Ok::<_, Refusal>(hash.unwrap_or_default())
        };
        Ok(HASH.get_or_try_init(make).await?.clone())
    }
}

fn check_username(username: &str) -> Result<(), Refusal> {
    let length = username.chars().count();
    if !(1..=128).contains(&length) || username.chars().any(char::is_control) || username.trim() != username {
        return Err(Refusal::field("username", "must be 1 to 128 printable characters without spaces at its ends"));
    }
    Ok(())
}
