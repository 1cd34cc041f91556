//! `/v1/admins`: who administers the account.

use super::admins::{TAKEN, UNKNOWN, outcome};
use super::caller::admin_needed;
use super::{Broker, Caller, Context};
use crate::admin::{ADMINS_MAX, Admin, AdminRole};
use crate::audit::Action;
use crate::id::{AccountId, AdminId};
use crate::password::Applicant;
use crate::ports::{AdminAddition, Change, NewPassword, PasswordChange, Replaced, StoreError};
use crate::refusal::Refusal;
use crate::secret::Secret;

/// An admin to be made.
#[derive(Clone, Debug, Default)]
pub struct NewAdmin {
    /// What is typed to sign in.
    pub username: Option<String>,
    /// The first password.
    pub password: Option<Secret>,
    /// What the admin may do.
    pub role: Option<AdminRole>,
    /// The password of who asks: who found a screen unlocked must not take the account over.
    pub current_password: Option<Secret>,
}

/// A change of another admin.
#[derive(Clone, Debug, Default)]
pub struct AdminPatch {
    /// What the admin may do from now on.
    pub role: Option<AdminRole>,
    /// A password to sign in with from now on; the second factor goes, and every sign-in ends.
    pub password: Option<Secret>,
    /// The password of who asks, as in [`NewAdmin`].
    pub current_password: Option<Secret>,
}

impl Broker {
    /// The admins of the account, by user name.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] or [`Refusal::Forbidden`] unless an admin asks.
    pub async fn list_admins(&self, caller: &Caller) -> Result<Vec<Admin>, Refusal> {
        let (account, _) = own_ids(caller)?;
        let mut admins = self.store.admins().await?;
        admins.retain(|admin| admin.account_id == account);
        Ok(admins)
    }

    /// The admin who asks.
    ///
    /// # Errors
    ///
    /// As [`Broker::list_admins`].
    pub async fn own_admin(&self, caller: &Caller) -> Result<Admin, Refusal> {
        let (_, id) = own_ids(caller)?;
        self.store.admin(id).await?.ok_or(Refusal::Unauthenticated)
    }

    /// Makes an admin of the caller's account.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] unless an owner asks; [`Refusal::BadLogin`] unless that owner's password was typed;
    /// [`Refusal::Invalid`]; [`Refusal::Conflict`] if the user name is taken or the account has the most admins it may
    /// have.
    pub async fn add_admin(&self, caller: &Caller, request: NewAdmin, context: &Context) -> Result<Admin, Refusal> {
        let (account, _) = own_ids(caller)?;
        caller.permit(AdminRole::Owner)?;
        Refusal::require(&[
            ("username", request.username.is_some()),
            ("password", request.password.is_some()),
            ("role", request.role.is_some()),
            ("currentPassword", request.current_password.is_some()),
        ])?;
        let username = request.username.ok_or_else(|| Refusal::missing("username"))?;
        let password = request.password.ok_or_else(|| Refusal::missing("password"))?;
        let role = request.role.ok_or_else(|| Refusal::missing("role"))?;
        let own = request.current_password.ok_or_else(|| Refusal::missing("currentPassword"))?;
        self.prove_own(caller, own, context).await?;
        if self.list_admins(caller).await?.len() >= ADMINS_MAX {
            return Err(Refusal::Conflict("the account has the most admins it may have; remove one first"));
        }
        let admin = self.new_admin(account, &username, password, role).await?;
        let audit = self.entry(context, caller, None, Action::AdminCreated, &username)?;
        match self.store.create_admin(admin.clone(), audit).await? {
            AdminAddition::Added => Ok(admin),
            AdminAddition::NameTaken => Err(TAKEN),
            // It went while this was asked, and the caller with it.
            AdminAddition::NoAccount => Err(Refusal::Unauthenticated),
        }
    }

    /// Gives another admin a role, or a password in place of a lost one.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] unless an owner asks; [`Refusal::BadLogin`] unless that owner's password was typed;
    /// [`Refusal::NotFound`]; [`Refusal::Invalid`]; [`Refusal::Conflict`] if no owner would be left, or for the own
    /// password, which [`Broker::change_own_password`] changes.
    pub async fn update_admin(
        &self,
        caller: &Caller,
        id: AdminId,
        patch: AdminPatch,
        context: &Context,
    ) -> Result<Admin, Refusal> {
        let (_, own) = own_ids(caller)?;
        caller.permit(AdminRole::Owner)?;
        let admin = self.admin_of(caller, id).await?;
        if patch.password.is_some() && id == own {
            // Who found a screen unlocked must not take the account over.
            return Err(Refusal::Conflict("the own password is changed with PUT /v1/admins/me/password"));
        }
        let typed = patch.current_password.ok_or_else(|| Refusal::missing("currentPassword"))?;
        self.prove_own(caller, typed, context).await?;
        let hash = match patch.password {
            Some(password) => Some(self.hash_new(password).await?),
            None => None,
        };
        let mut done = Ok(());
        if let Some(role) = patch.role.filter(|role| *role != admin.role) {
            let audit = self.entry(context, caller, None, Action::AdminRoleChanged, &admin.username)?;
            let set = self.store.set_admin_role(id, role, audit).await;
            done = match self.changed(context, Change::Admin(id), set).await {
                Ok(change) => outcome(change),
                Err(error) => Err(error.into()),
            };
        }
        let role_changed = patch.role.is_some_and(|role| role != admin.role);
        if let (Ok(()), Some(hash)) = (&done, hash) {
            let audit = self.entry(context, caller, None, Action::AdminPasswordReset, &admin.username)?;
            let password = NewPassword { hash, second_factor: None, keep_session: None, replaces: None };
            let set = self.store.set_admin_password(id, password, audit).await;
            done = match self.changed(context, Change::Admin(id), set).await {
                Ok(PasswordChange::Set) => Ok(()),
                Ok(PasswordChange::Unknown | PasswordChange::Changed) => Err(UNKNOWN),
                Err(error) if role_changed => Err(error.after_a_write().into()),
                Err(error) => Err(error.into()),
            };
        }
        done?;
        self.store.admin(id).await.map_err(StoreError::after_a_write)?.ok_or(UNKNOWN)
    }

    /// Removes an admin and ends the admin's sign-ins.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] unless an owner asks; [`Refusal::NotFound`]; [`Refusal::Conflict`] for the last owner.
    pub async fn remove_admin(&self, caller: &Caller, id: AdminId, context: &Context) -> Result<(), Refusal> {
        own_ids(caller)?;
        caller.permit(AdminRole::Owner)?;
        let admin = self.admin_of(caller, id).await?;
        let audit = self.entry(context, caller, None, Action::AdminDeleted, &admin.username)?;
        let deleted = self.store.delete_admin(id, audit).await;
        outcome(self.changed(context, Change::Admin(id), deleted).await?)
    }

    /// Changes the caller's password, and ends every other sign-in of the caller.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadLogin`] if `present` is wrong; [`Refusal::Invalid`] for a new one that does not do;
    /// [`Refusal::Conflict`] if password or second factor were changed while this went on.
    pub async fn change_own_password(
        &self,
        caller: &Caller,
        present: Secret,
        new: Secret,
        context: &Context,
    ) -> Result<(), Refusal> {
        let Caller::Admin { session, .. } = caller else { return Err(admin_needed(caller)) };
        let admin = self.prove_own(caller, present.clone(), context).await?;
        let second_factor = match &admin.second_factor {
            Some(factor) => Some(self.reseal(factor, present, new.clone()).await?),
            None => None,
        };
        let replaces =
            Replaced { hash: admin.password_hash, second_factor: admin.second_factor.map(|second| second.sealed) };
        let password = NewPassword {
            hash: self.hash_new(new).await?,
            second_factor,
            keep_session: Some(*session),
            replaces: Some(replaces),
        };
        let audit = self.entry(context, caller, None, Action::AdminPasswordChanged, &admin.username)?;
        let set = self.store.set_admin_password(admin.id, password, audit).await;
        let set = self.changed(context, Change::Admin(admin.id), set).await?;
        // The second factor would be lost, or be sealed with a password that is not the admin's.
        let meanwhile = Refusal::Conflict("the password or the second factor was changed meanwhile; try again");
        match set {
            PasswordChange::Set => Ok(()),
            PasswordChange::Unknown | PasswordChange::Changed => Err(meanwhile),
        }
    }

    /// Ends every sign-in of the caller, the one that asks included.
    ///
    /// # Errors
    ///
    /// As [`Broker::list_admins`].
    pub async fn sign_out_everywhere(&self, caller: &Caller, context: &Context) -> Result<(), Refusal> {
        let (_, id) = own_ids(caller)?;
        let audit = self.entry(context, caller, None, Action::AdminSignedOutEverywhere, "")?;
        let ended = self.store.end_admin_sessions(id, audit).await;
        Ok(self.changed(context, Change::Admin(id), ended).await?)
    }

    /// The caller, who has typed the own password once more.
    pub(super) async fn prove_own(&self, caller: &Caller, typed: Secret, context: &Context) -> Result<Admin, Refusal> {
        let admin = self.own_admin(caller).await?;
        if self.verify(Applicant::Known, typed, admin.password_hash.clone()).await? {
            Ok(admin)
        } else {
            Err(self.failed_sign_in(context).await)
        }
    }

    /// The admin of that id, if it is one of the caller's account.
    async fn admin_of(&self, caller: &Caller, id: AdminId) -> Result<Admin, Refusal> {
        let (account, _) = own_ids(caller)?;
        self.store.admin(id).await?.filter(|admin| admin.account_id == account).ok_or(UNKNOWN)
    }
}

/// The account and id of the admin who asks.
pub(super) fn own_ids(caller: &Caller) -> Result<(AccountId, AdminId), Refusal> {
    match caller {
        Caller::Admin { account_id, admin_id, .. } => Ok((*account_id, *admin_id)),
        Caller::Anonymous | Caller::App { .. } | Caller::Endpoint { .. } => Err(admin_needed(caller)),
    }
}
