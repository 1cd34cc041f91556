//! What an empty database gets at the first start, so that there is something to begin with.

use super::apps::FIRST_SECRET;
use super::setup::setup_token;
use super::{Broker, Caller};
use crate::admin::{Account, AdminRole, SETUP_SECS};
use crate::app::AppSettings;
use crate::audit::Action;
use crate::chance::Chance;
use crate::grant::Marks;
use crate::id::{AccountId, AppId, RoleId};
use crate::ports::{Beginning, FirstRows};
use crate::refusal::Refusal;
use crate::role::{GroupRule, Permissions, Role};
use crate::secret::{AppSecret, Secret};

/// What was made, to be shown once.
#[derive(Clone, Debug)]
pub struct FirstRun {
    /// The admin's user name.
    pub username: String,
    /// The password, if it was made up here.
    pub password: Option<Secret>,
    /// With which the admin is signed in once, on the console's setup page.
    pub setup_token: Secret,
    /// The app.
    pub app_id: AppId,
    /// Its App-Secret.
    pub app_secret: AppSecret,
    /// Its role.
    pub role_id: RoleId,
}

/// What the first start is about to make: shown first, then kept. Nobody would learn of it afterwards, so nothing is kept
/// that could not be shown.
#[derive(Debug)]
pub struct FirstRunDraft {
    /// What is to be shown.
    pub shown: FirstRun,
    rows: FirstRows,
}

impl Broker {
    /// What the first start would make: an account, an admin, an app and a role. None, if the database has an admin.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for a user name or password that does not do.
    pub async fn draft_first_run(
        &self,
        username: Option<String>,
        password: Option<Secret>,
    ) -> Result<Option<FirstRunDraft>, Refusal> {
        if !self.store.admins().await?.is_empty() {
            return Ok(None);
        }
        // One without an admin was left by a start of an earlier release that was cut short.
        let account = match self.store.accounts().await?.into_iter().next() {
            Some(account) => account,
            None => Account { id: AccountId::new(self.chance()), name: "default".to_owned(), created_at: self.now() },
        };
        let username = username.unwrap_or_else(|| "admin".to_owned());
        let made_up = password.is_none();
        let password = password.unwrap_or_else(|| random_password(self.chance()));
        let admin = self.new_admin(account.id, &username, password.clone(), AdminRole::Owner).await?;
        let admin_audit = self.system_entry(&admin, Action::AdminCreated)?;
        let setup_token = setup_token(self.chance());

        let caller = Caller::Admin {
            admin_id: admin.id,
            account_id: account.id,
            role: AdminRole::Owner,
            session: 0,
            expires_at: crate::ports::BanRecord::FOREVER,
        };
        let context = self.internal();
        let app = self.new_app(account.id, AppSettings::named("My first app".to_owned()));
        let app_secret = AppSecret::new(self.chance());
        let secret = self.new_secret_record(app.id, FIRST_SECRET.to_owned(), &app_secret);
        let app_audit = self.entry(&context, &caller, Some(app.id), Action::AppCreated, &app.id.to_string())?;
        let role = Role {
            id: RoleId::new(self.chance()),
            app_id: app.id,
            name: "member".to_owned(),
            permissions: member_permissions(),
            created_at: self.now(),
            updated_at: self.now(),
            marks: Marks::default(),
        };
        let role_audit = self.entry(&context, &caller, Some(app.id), Action::RoleCreated, &role.id.to_string())?;
        let shown = FirstRun {
            username,
            password: made_up.then_some(password),
            setup_token: setup_token.clone(),
            app_id: app.id,
            app_secret,
            role_id: role.id,
        };
        let rows = FirstRows {
            account,
            admin: (admin, admin_audit),
            setup_token: (setup_token.hash(), self.now().plus_secs(SETUP_SECS)),
            app: (app, secret, app_audit),
            role: (role, role_audit),
        };
        Ok(Some(FirstRunDraft { shown, rows }))
    }

    /// Keeps what was shown, in one step.
    ///
    /// # Errors
    ///
    /// [`Refusal::Conflict`] if the database got an admin meanwhile; then nothing of it was kept.
    pub async fn keep_first_run(&self, draft: FirstRunDraft) -> Result<FirstRun, Refusal> {
        match self.store.begin(draft.rows).await? {
            Beginning::Kept => Ok(draft.shown),
            Beginning::HasAdmin => Err(Refusal::Conflict("somebody else made an admin meanwhile")),
        }
    }

    /// Both in one, where who calls shows it.
    ///
    /// # Errors
    ///
    /// As [`Self::draft_first_run`] and [`Self::keep_first_run`].
    pub async fn first_run(
        &self,
        username: Option<String>,
        password: Option<Secret>,
    ) -> Result<Option<FirstRun>, Refusal> {
        match self.draft_first_run(username, password).await? {
            Some(draft) => Ok(Some(self.keep_first_run(draft).await?)),
            None => Ok(None),
        }
    }
}

/// Everything about groups, and media relays.
fn member_permissions() -> Permissions {
    let all = Some(true);
    let rule =
        GroupRule { create: all, destroy: all, getsubscribers: all, publish: all, subscribe: all, unsubscribe: all };
    let mut permissions = Permissions { media_relay: true, ..Permissions::default() };
    permissions.groups.list = all;
    permissions.groups.rules.insert("*".to_owned(), rule);
    permissions
}

/// 20 symbols of base32: 100 bits.
fn random_password(chance: &dyn Chance) -> Secret {
    let text = AppSecret::new(chance);
    Secret::new(text.secret().expose()[AppSecret::PREFIX.len()..][..20].to_owned())
}
