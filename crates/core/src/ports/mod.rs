//! What the operations need of the outside: the store, split by aggregate ([`Store`] is all of them), and the bus.

mod bus;
mod hub_store;
mod store;

pub use bus::{Audience, Bus, Change, Delivery, Receiver};
pub use hub_store::{CallReportStore, MessageStore, PushTokenStore};
pub use store::{
    APPS_PER_ACCOUNT_MAX, AdminStore, AppStore, AuditQuery, AuditStore, BanRecord, EndRequest, EndScope, EndpointStore,
    ListFilter, MaintenanceStore, MintRefusal, NewSession, ROLES_PER_APP_MAX, Redemption, Repair, RoleStore,
    SECRETS_PER_APP_MAX, SecretStore, SessionStore, Store, StoreError, StoreFigures, TokenStore, Upkeep,
};
