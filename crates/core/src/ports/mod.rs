//! What the operations need of the outside: the store, split by aggregate ([`Store`] is all of them), and the bus.

mod admin_store;
mod app_store;
mod ask;
mod books;
mod bus;
mod carrier;
mod change_store;
mod figure_store;
mod hub_store;
mod interest;
mod maintenance_store;
mod node;
mod node_store;
mod outcome;
mod parking;
mod store;
mod store_error;

pub use admin_store::{
    AdminAddition, AdminChange, AdminStore, Beginning, Factor, FactorAddition, FactorRemoval, FirstRows, NewPassword,
    NewSecondFactor, PasswordChange, Replaced, SetupSignIn, SignInRefusal,
};
pub use app_store::{
    APPS_PER_ACCOUNT_MAX, AppRefusal, AppStore, ROLES_PER_APP_MAX, RoleRefusal, RoleStore, RoleUpdateRefusal,
    SECRETS_PER_APP_MAX, SecretRefusal, SecretStore,
};
pub use ask::{
    Answer, Answers, ConnectionFacts, ConnectionStateFacts, Deed, Done, Given, Holder, Notice, Present, Question,
    Sealed, Whom,
};
pub use books::{
    AppBucket, Bookkeeper, BooksAnswer, BooksQuestion, Caused, Counted, Drawn, EnrolmentAnswer, Guesser, NameHash,
    Tried,
};
pub use bus::{Arrived, Audience, Bus, Confirmation, Delivery, Departed, Gap, Receiver, Source};
pub use carrier::Carrier;
pub use change_store::{
    CHANGES_KEPT_MAX, CHANGES_KEPT_SECS, CHANGES_TOLD_MAX, Change, ChangeStore, Changes, Concerned, Cursor,
    NumberedChange,
};
pub use figure_store::FigureStore;
pub use hub_store::{CallReportStore, Keeping, MessageStore, PushTokenStore};
pub use interest::Interest;
pub use maintenance_store::{Lease, MaintenanceStore, Repair, Upkeep};
pub use node::{Incarnation, Node, NodeId};
pub use node_store::{
    BEAT, Beating, CarrierKind, Cluster, Draining, FENCE, JoinRefusal, Joining, LATE, Load, NODES_MAX, Newcomer,
    NodeRecord, NodeState, NodeStore, SKEW_MAX,
};
pub use outcome::{Ending, Removal};
pub use parking::{Likeness, Moved, ParkingClaim, ParkingGround};
pub use store::{
    AuditQuery, AuditStore, BanRecord, Banning, EndRequest, EndScope, EndpointStore, ExtensionRefusal, ListFilter,
    MintRefusal, NewSession, Redemption, ScopeEnding, SessionFilter, SessionStore, Store, TokenStore,
};
pub use store_error::StoreError;
