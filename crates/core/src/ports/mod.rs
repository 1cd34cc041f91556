//! What the operations need of the outside: the store, split by aggregate ([`Store`] is all of them), and the bus.

mod admin_store;
mod ask;
mod bus;
mod change_store;
mod figure_store;
mod hub_store;
mod node;
mod store;

pub use admin_store::{AdminChange, AdminStore, Factor, FirstRows, NewPassword, NewSecondFactor, Replaced};
pub use ask::{Answer, Answers, ConnectionFacts, Given, Holder, Question, Whom};
pub use bus::{Audience, Bus, Confirmation, Delivery, Departed, Gap, Interest, Receiver, Source};
pub use change_store::{
    CHANGES_KEPT_MAX, CHANGES_KEPT_SECS, CHANGES_TOLD_MAX, Change, ChangeStore, Changes, Concerned, Cursor,
    NumberedChange,
};
pub use figure_store::FigureStore;
pub use hub_store::{CallReportStore, Keeping, MessageStore, PushTokenStore};
pub use node::{Incarnation, Node, NodeId};
pub use store::{
    APPS_PER_ACCOUNT_MAX, AppStore, AuditQuery, AuditStore, BanRecord, EndRequest, EndScope, EndpointStore, ListFilter,
    MaintenanceStore, MintRefusal, NewSession, ROLES_PER_APP_MAX, Redemption, Repair, RoleStore, SECRETS_PER_APP_MAX,
    SecretStore, SessionFilter, SessionStore, Store, StoreError, StoreFigures, TokenStore, Upkeep,
};
