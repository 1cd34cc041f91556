//! A store to run a case on, and short ways to do things with it.

use std::fmt::Debug;
use std::sync::Arc;

use respoke_core::admin::{Account, Admin, AdminRole};
use respoke_core::app::{App, AppSettings, SecretRecord};
use respoke_core::audit::{Action, Actor, AuditEntry};
use respoke_core::clock::Timestamp;
use respoke_core::grant::{Grant, Lapse, Marks};
use respoke_core::id::{AccountId, AdminId, AppId, EndpointId, RequestId, RoleId, SecretId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::ports::{NewSession, Redemption, RoleRefusal, Store, StoreError};
use respoke_core::role::{Permissions, Role};
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::secret::{AppSecret, Secret};
use respoke_core::session::SessionRecord;
use respoke_core::token::{MintedToken, NewToken, Replaces};

use tokio::task::JoinSet;

use crate::crash::CrashPoint;

pub(crate) type Opened = Arc<dyn Store>;

/// One database, empty at first.
pub(crate) trait Fixture {
    /// Opens the database; again and again the same one. At `crash_at` its first batch stops as if killed.
    fn open(&self, crash_at: Option<CrashPoint>) -> Opened;

    /// Opens it with an app, a role and a secret inside.
    fn opened(&self) -> impl Future<Output = World>
    where
        Self: Sized,
    {
        World::new(self.open(None))
    }
}

/// The present of every case.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) fn entry_at(at: Timestamp, action: Action) -> AuditEntry {
    AuditEntry {
        at,
        account_id: None,
        app_id: None,
        actor: Actor::System,
        action,
        object: "object".into(),
        address: "192.0.2.1".into(),
        request_id: RequestId::random(),
        fingerprint: None,
    }
}

pub(crate) fn entry(action: Action) -> AuditEntry {
    entry_at(NOW, action)
}

pub(crate) fn endpoint(name: &str) -> EndpointId {
    EndpointId::parse(name).unwrap()
}

pub(crate) fn new_session() -> NewSession {
    NewSession { entropy: Entropy::random(), address: "192.0.2.1".into(), supersedes: None }
}

/// A store with one app.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Opened,
    pub(crate) account: AccountId,
    pub(crate) app: AppId,
    pub(crate) role: RoleId,
    pub(crate) secret: SecretId,
}

impl World {
    pub(crate) async fn new(store: Opened) -> Self {
        let account = AccountId::random();
        store.create_account(Account { id: account, name: "account".into(), created_at: NOW }).await.unwrap();
        Self::with_app(store, account).await
    }

    /// Another app of `account`.
    pub(crate) async fn with_app(store: Opened, account: AccountId) -> Self {
        let app = new_app(account);
        let secret = new_secret(app.id);
        let (app_id, secret_id) = (app.id, secret.id);
        created(store.create_app(app, secret, None, entry(Action::AppCreated)).await.unwrap());
        let role = RoleId::random();
        let world = Self { store, account, app: app_id, role, secret: secret_id };
        world.create_role(role, "role").await.unwrap();
        world
    }

    pub(crate) fn on(&self, store: Opened) -> Self {
        Self { store, ..self.clone() }
    }

    pub(crate) fn new_role(&self, id: RoleId, name: &str) -> Role {
        Role {
            id,
            app_id: self.app,
            name: name.into(),
            permissions: Permissions::default(),
            created_at: NOW,
            updated_at: NOW,
            marks: Marks::default(),
        }
    }

    pub(crate) async fn create_role(&self, id: RoleId, name: &str) -> Result<Role, RoleRefusal> {
        match self.store.create_role(self.new_role(id, name), None, entry(Action::RoleCreated)).await.unwrap() {
            Creation::Created(role) => Ok(role),
            Creation::Refused(refusal) => Err(refusal),
            other => panic!("there is no key: {other:?}"),
        }
    }

    pub(crate) fn token_for(&self, name: &str, at: Timestamp) -> NewToken {
        NewToken {
            grant: Grant {
                app_id: self.app,
                endpoint_id: endpoint(name),
                role_id: Some(self.role),
                secret_id: Some(self.secret),
            },
            entropy: Entropy::random(),
            created_at: at,
            activate_by: at.plus_secs(300),
            expires_at: at.plus_secs(3_600),
        }
    }

    pub(crate) async fn mint(&self, name: &str) -> MintedToken {
        self.mint_at(name, NOW).await
    }

    pub(crate) async fn mint_at(&self, name: &str, at: Timestamp) -> MintedToken {
        self.issue(self.token_for(name, at), Replaces::Nothing, None).await.unwrap()
    }

    pub(crate) async fn issue(
        &self,
        token: NewToken,
        replaces: Replaces,
        once: Option<IdempotencyKey>,
    ) -> Result<MintedToken, StoreError> {
        let at = token.created_at;
        let entry = AuditEntry { app_id: Some(self.app), ..entry_at(at, Action::TokenIssued) };
        let issued = self.store.issue_token(token, replaces, once, entry).await?;
        match issued {
            Creation::Created(minted) | Creation::Repeated(minted) => Ok(minted),
            other => panic!("nothing was minted: {other:?}"),
        }
    }

    pub(crate) async fn redeem(&self, token: &MintedToken) -> Redemption {
        self.redeem_at(token, NOW).await
    }

    pub(crate) async fn redeem_at(&self, token: &MintedToken, at: Timestamp) -> Redemption {
        self.try_redeem(token, at).await.unwrap()
    }

    pub(crate) async fn try_redeem(&self, token: &MintedToken, at: Timestamp) -> Result<Redemption, StoreError> {
        let number = self.store.sealer().number_of(SealKind::Token, token.text.expose()).unwrap();
        self.store.redeem(number, token.text.hash(), new_session(), None, entry_at(at, Action::TokenRedeemed)).await
    }

    pub(crate) async fn session_of(&self, name: &str) -> (Secret, SessionRecord) {
        opened(self.redeem(&self.mint(name).await).await)
    }

    /// Why a session is over at [`NOW`], if it is.
    pub(crate) async fn lapse_of(&self, session: &SessionRecord) -> Option<Lapse> {
        self.lapse_at(session, NOW).await
    }

    pub(crate) async fn lapse_at(&self, session: &SessionRecord, at: Timestamp) -> Option<Lapse> {
        let (record, ground) = self.store.session(session.number).await.unwrap().unwrap();
        record.lapse(&ground, at)
    }
}

pub(crate) fn new_app(account: AccountId) -> App {
    App {
        id: AppId::random(),
        account_id: account,
        settings: AppSettings::named("app".into()),
        created_at: NOW,
        updated_at: NOW,
        marks: Marks::default(),
    }
}

pub(crate) fn new_secret(app: AppId) -> SecretRecord {
    let text = AppSecret::random();
    SecretRecord {
        id: SecretId::random(),
        app_id: app,
        name: "secret".into(),
        hint: text.hint(),
        hash: text.secret().hash(),
        created_at: NOW,
        last_used_at: None,
        expires_at: None,
        revoked_at: None,
        keep_sessions: false,
    }
}

pub(crate) fn new_admin(account: AccountId, username: &str) -> Admin {
    Admin {
        id: AdminId::random(),
        account_id: account,
        username: username.into(),
        role: AdminRole::Owner,
        second_factor: None,
        password_hash: "$argon2id$".into(),
        created_at: NOW,
    }
}

pub(crate) fn key(text: &str, body: &str) -> IdempotencyKey {
    IdempotencyKey::new(b"credential", "POST /v1/tokens", text.as_bytes(), body.as_bytes())
}

/// What was created, and was not before.
pub(crate) fn created<T: Debug, R: Debug>(creation: Creation<T, R>) -> T {
    match creation {
        Creation::Created(value) => value,
        other => panic!("not created: {other:?}"),
    }
}

/// Why nothing was created.
pub(crate) fn not_created<T: Debug, R: Debug>(creation: Creation<T, R>) -> R {
    match creation {
        Creation::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn opened(redemption: Redemption) -> (Secret, SessionRecord) {
    match redemption {
        Redemption::Opened { text, session, .. } => (text, session),
        other => panic!("not opened: {other:?}"),
    }
}

pub(crate) fn refused(redemption: &Redemption) -> Lapse {
    match redemption {
        Redemption::Refused(lapse) => *lapse,
        other => panic!("not refused: {other:?}"),
    }
}

/// What comes of `number` operations, a few dozen of them at once. More would only wait for each other, and on a busy machine
/// some of them too long.
pub(crate) async fn some_at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    number: usize,
    begin: impl Fn(usize) -> F,
) -> Vec<T> {
    let mut done = Vec::new();
    let mut begun = JoinSet::new();
    for nth in 0..number {
        if begun.len() == 32 {
            done.extend(begun.join_next().await.map(Result::unwrap));
        }
        begun.spawn(begin(nth));
    }
    done.extend(begun.join_all().await);
    done
}
