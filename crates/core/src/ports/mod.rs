//! What the operations need of the outside. The store is split by aggregate; [`Store`] is all of them.

mod store;

pub use store::{
    APPS_PER_ACCOUNT_MAX, AdminStore, AppStore, AuditQuery, AuditStore, BanRecord, EndRequest, EndScope, EndpointStore,
    ListFilter, MaintenanceStore, MintRefusal, NewSession, ROLES_PER_APP_MAX, Redemption, Repair, RoleStore,
    SECRETS_PER_APP_MAX, SecretStore, SessionStore, Store, StoreError, StoreFigures, TokenStore, Upkeep,
};
