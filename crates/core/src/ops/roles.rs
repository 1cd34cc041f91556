//! `/v1/roles`.

use std::sync::Arc;

use super::typed::{check_name, wrong};
use super::{Broker, Caller, Context};
use crate::app::App;
use crate::audit::Action;
use crate::grant::Marks;
use crate::id::{AppId, RoleId};
use crate::idempotency::IdempotencyKey;
use crate::page::{CreationKey, Page, PageRequest};
use crate::ports::{Change, RoleRefusal, RoleUpdateRefusal};
use crate::refusal::{FieldErrors, Refusal};
use crate::role::{Permissions, Role};

const UNKNOWN: Refusal = Refusal::NotFound("Roles");
const TAKEN: Refusal = Refusal::Conflict("the app has a role of this name");
/// Rules of one role, together; a role is read on every publication.
pub const RULES_MAX: usize = 500;

impl Broker {
    /// Creates a role.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`]; [`Refusal::Invalid`]; [`Refusal::Conflict`] if id or name is taken or
    /// the app has the most roles it may have.
    #[expect(clippy::too_many_arguments, reason = "the fields of one request, each named at its one call")]
    pub async fn create_role(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        id: Option<RoleId>,
        name: Option<String>,
        permissions: Permissions,
        once: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<(Role, crate::id::AccountId), Refusal> {
        let app = self.app_of(caller, app).await?;
        let name = name.ok_or_else(|| Refusal::missing("name"))?;
        check_role(Some(&name), Some(&permissions))?;
        let now = self.now();
        let id = id.unwrap_or_else(|| RoleId::new(self.chance()));
        let role =
            Role { id, app_id: app.id, name, permissions, created_at: now, updated_at: now, marks: Marks::default() };
        let audit = self.entry(context, caller, Some(app.id), Action::RoleCreated, &id.to_string())?;
        let created = self.store.create_role(role, once, audit).await;
        let created = self.changed(context, Change::Role(app.id, id), created).await?;
        let role = created.made(|refusal| match refusal {
            RoleRefusal::NoApp => Refusal::NotFound("Apps"),
            RoleRefusal::Taken => Refusal::Conflict("the app has a role of this id or name"),
            RoleRefusal::TooMany => Refusal::Conflict("the app has the most roles it may have; delete one first"),
        })?;
        Ok((role, app.account_id))
    }

    /// The roles of an app.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`].
    pub async fn list_roles(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        page: PageRequest<CreationKey>,
    ) -> Result<(Page<Role, CreationKey>, crate::id::AccountId), Refusal> {
        let app = self.app_of(caller, app).await?;
        Ok((self.store.roles(app.id, page).await?, app.account_id))
    }

    /// One role.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`]; [`Refusal::NotFound`].
    pub async fn get_role(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        id: &str,
    ) -> Result<(Role, crate::id::AccountId), Refusal> {
        let (app, id) = self.app_of_role(caller, app, id).await?;
        let role = self.store.role(app.id, id).await?.ok_or(UNKNOWN)?;
        Ok((role, app.account_id))
    }

    /// Changes a role; what is absent stays. Sessions that use it feel it at once.
    ///
    /// # Errors
    ///
    /// As [`Broker::get_role`]; [`Refusal::Invalid`]; [`Refusal::Conflict`] if the name is taken.
    pub async fn update_role(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        id: &str,
        name: Option<String>,
        permissions: Option<Permissions>,
        context: &Context,
    ) -> Result<(Role, crate::id::AccountId), Refusal> {
        let (app, id) = self.app_of_role(caller, app, id).await?;
        check_role(name.as_deref(), permissions.as_ref())?;
        let audit = self.entry(context, caller, Some(app.id), Action::RoleUpdated, &id.to_string())?;
        let updated = self.store.update_role(app.id, id, name, permissions, audit).await;
        match self.changed(context, Change::Role(app.id, id), updated).await? {
            Ok(role) => Ok((role, app.account_id)),
            Err(RoleUpdateRefusal::NameTaken) => Err(TAKEN),
            Err(RoleUpdateRefusal::Unknown) => Err(UNKNOWN),
        }
    }

    /// Deletes a role and ends the tokens and sessions that use it.
    ///
    /// # Errors
    ///
    /// As [`Broker::get_role`].
    pub async fn delete_role(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        id: &str,
        context: &Context,
    ) -> Result<(), Refusal> {
        let (app, id) = self.app_of_role(caller, app, id).await?;
        let audit = self.entry(context, caller, Some(app.id), Action::RoleDeleted, &id.to_string())?;
        let deleted = self.store.delete_role(app.id, id, audit).await;
        self.changed(context, Change::Role(app.id, id), deleted).await?.or_refuse(UNKNOWN)
    }
}

impl Broker {
    /// The app a role's id is meant in. An admin need not name it where the id says it: respoke-admin deletes roles so.
    async fn app_of_role(
        &self,
        caller: &Caller,
        named: Option<AppId>,
        id: &str,
    ) -> Result<(Arc<App>, RoleId), Refusal> {
        let role = RoleId::parse(id);
        let (Caller::Admin { account_id, .. }, None, Some(role)) = (caller, named, role) else {
            let app = self.app_of(caller, named).await?;
            return Ok((app, role.ok_or(UNKNOWN)?));
        };
        match self.store.apps_of_role(*account_id, role).await?[..] {
            [app] => Ok((self.app_of(caller, Some(app)).await?, role)),
            [] => Err(UNKNOWN),
            _ => Err(Refusal::missing("appId")),
        }
    }
}

fn check_role(name: Option<&str>, permissions: Option<&Permissions>) -> Result<(), Refusal> {
    let mut errors = FieldErrors::new();
    if let Some(name) = name {
        check_name(&mut errors, name);
    }
    if let Some(permissions) = permissions {
        let rules = permissions.groups.rules.len()
            + permissions.conferences.len()
            + permissions.pstn_out.len()
            + permissions.caller_ids.len();
        if rules > RULES_MAX {
            wrong(&mut errors, "groups", "must have at most 500 rules, numbers and conferences counted");
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Refusal::Invalid(errors)) }
}
