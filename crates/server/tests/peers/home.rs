//! What hubs stand on: a database, who made it and its apps, and what tests call things.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use respoke_core::app::{AppPatch, LimitsPatch};
use respoke_core::clock::{ManualClock, Timestamp};
use respoke_core::id::{AppId, EndpointId, GroupName};
use respoke_core::ops::{Broker, Caller, Context, Credential};
use respoke_core::ports::{BanRecord, Store};
use respoke_core::secret::Secret;
use respoke_hub::ops::{Asker, Unlimited};
use respoke_hub::{Hub, Opening, Socket};
use respoke_store::{Options, SqliteStore};
use respoke_wire::dialect::Dialect;

/// A new database, for as long as its folder is there.
pub(crate) fn database(options: Options) -> (Arc<dyn Store>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("home.db"), options).unwrap();
    store.keep_still();
    (Arc::new(store), folder)
}

/// What every node takes the time from.
pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)))
}

/// Makes the first admin.
pub(crate) async fn first_admin(broker: &Broker) -> Caller {
    let password = Secret::new("correct horse".to_owned());
    broker.first_run(Some("root".to_owned()), Some(password)).await.unwrap().unwrap();
    let admin = broker.store().admins().await.unwrap().remove(0);
    Caller::Admin {
        admin_id: admin.id,
        account_id: admin.account_id,
        role: admin.role,
        session: 0,
        expires_at: BanRecord::FOREVER,
    }
}

/// An app, and its backend.
pub(crate) struct Tenant {
    pub(crate) app: AppId,
    pub(crate) backend: Credential,
}

impl Tenant {
    pub(crate) async fn new(broker: &Broker, admin: &Caller, name: &str, limits: LimitsPatch) -> Self {
        let (patch, context) = (AppPatch { limits, ..AppPatch::default() }, Context::internal());
        let (app, secret) = broker.create_app(admin, Some(name.to_owned()), patch, None, &context).await.unwrap();
        let backend = Credential::AppSecret(Secret::new(secret.text.secret().expose().to_owned()));
        Self { app: app.id, backend }
    }
}

/// Who asks without a socket, and pays for nothing.
pub(crate) fn asker<'a>(caller: &'a Caller, context: &'a Context) -> Asker<'a> {
    Asker { caller, socket: None, context, app_id: None, endpoint_id: None, connection_id: None, purse: &Unlimited }
}

/// Opens a socket, if there is room for one more.
pub(crate) fn open(hub: &Hub, credential: &Credential, caller: &Caller) -> Option<Arc<Socket>> {
    let (credential, caller) = (credential.clone(), caller.clone());
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    hub.open(Opening { credential, caller, address, origin: None, host: None, dialect: Dialect::SocketIo })
}

pub(crate) fn endpoint(name: &str) -> EndpointId {
    EndpointId::parse(name).unwrap()
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}
