//! What an empty database gets at the first start, so that there is something to begin with.

use super::{Broker, Caller, Context};
use crate::admin::{Account, AdminRole};
use crate::app::AppPatch;
use crate::id::{AccountId, AppId, RoleId};
use crate::refusal::Refusal;
use crate::role::{GroupRule, Permissions};
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

impl Broker {
    /// Makes an account, an admin, an app and a role, if the database holds no account.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for a user name or password that does not do.
    pub async fn first_run(
        &self,
        username: Option<String>,
        password: Option<Secret>,
    ) -> Result<Option<FirstRun>, Refusal> {
        let account = match self.store.accounts().await?.first() {
            // A start that was cut short after the account but before the admin goes on where it stopped.
            Some(account) if self.store.admins().await?.is_empty() => account.id,
            Some(_) => return Ok(None),
            None => {
                let account = Account { id: AccountId::random(), name: "default".to_owned(), created_at: self.now() };
                let id = account.id;
                self.store.create_account(account).await?;
                id
            }
        };
        let username = username.unwrap_or_else(|| "admin".to_owned());
        let made_up = password.is_none();
        let password = password.unwrap_or_else(random_password);
        let admin_id = self.create_admin(account, &username, password.clone(), AdminRole::Owner).await?;
        let setup_token = self.make_setup_token(admin_id).await?;

        let caller = Caller::Admin {
            admin_id,
            account_id: account,
            role: AdminRole::Owner,
            session: 0,
            expires_at: crate::ports::BanRecord::FOREVER,
        };
        let context = Context::internal();
        let (app, secret) =
            self.create_app(&caller, Some("My first app".to_owned()), AppPatch::default(), None, &context).await?;
        let all = Some(true);
        let rule = GroupRule {
            create: all,
            destroy: all,
            getsubscribers: all,
            publish: all,
            subscribe: all,
            unsubscribe: all,
        };
        let mut permissions = Permissions { media_relay: true, ..Permissions::default() };
        permissions.groups.list = all;
        permissions.groups.rules.insert("*".to_owned(), rule);
        let name = Some("member".to_owned());
        let (role, _) = self.create_role(&caller, Some(app.id), None, name, permissions, None, &context).await?;
        Ok(Some(FirstRun {
            username,
            password: made_up.then_some(password),
            setup_token,
            app_id: app.id,
            app_secret: secret.text,
            role_id: role.id,
        }))
    }
}

/// 20 symbols of base32: 100 bits.
fn random_password() -> Secret {
    let text = AppSecret::random();
    Secret::new(text.secret().expose()[AppSecret::PREFIX.len()..][..20].to_owned())
}
