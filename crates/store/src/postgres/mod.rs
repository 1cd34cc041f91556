//! The store in a PostgreSQL database, in a schema of its own.
//!
//! The files are named as those of `sqlite/`. Mints and redemptions go through a writer that commits many of them at once
//! (`writer.rs`), and what is said in groups through another one; every other operation that writes is a transaction of its
//! own (`write.rs`).

mod admin_rows;
mod admins;
mod again;
mod age;
mod apps;
mod audit;
mod audit_rows;
mod beat;
mod bind;
mod call_reports;
mod carrier;
mod connect;
mod connector;
mod deeds;
mod driver;
mod dsn;
mod endpoint_rows;
mod endpoints;
mod examine;
mod facts;
mod failure;
#[cfg(test)]
mod fake_server;
mod feed;
mod feed_rows;
mod figures;
mod first_run;
mod fitting;
mod histories;
#[cfg(test)]
mod hub_tests;
mod journal;
mod kept;
mod knocking;
mod lease;
mod leftovers;
mod lineage;
mod log;
mod maintenance;
mod marks;
mod message_writer;
mod messages;
mod migrations;
mod node_lives;
mod node_rows;
mod nodes;
mod opening;
mod options;
mod own_session;
mod own_thread;
mod patience;
mod places;
#[cfg(test)]
pub(crate) mod plans;
mod pool;
#[cfg(test)]
mod promotion_tests;
mod push_tokens;
mod removal;
mod retention;
mod roles;
mod rows;
mod secrets;
mod session_rows;
mod sessions;
mod settle;
mod settled;
mod settling;
mod store;
mod tls;
mod token_rows;
mod token_writer;
mod tokens;
mod tries;
mod unready;
#[cfg(test)]
mod upkeep_tests;
mod walk;
mod windows;
mod write;
mod writer;

#[cfg(test)]
pub(crate) use carrier::Limits as CarrierLimits;
#[cfg(test)]
pub(crate) use connect::Patience;
pub(crate) use connector::{APPLICATION, each_server};
pub(crate) use failure::rolls_a_commit_back;
pub(crate) use first_run::LOCK as FIRST_RUN_LOCK;
#[cfg(test)]
pub(crate) use kept::RECOUNTED;
pub(crate) use lineage::{ASK_SERVER, KEY as LINEAGE, LEFT, Lineage, keeps, stands};
pub(crate) use migrations::{LOCK as MIGRATION_LOCK, UNDO_MOVED, newest as newest_schema};
pub(crate) use opening::check_fit;

pub use carrier::{CarrierFigures, CarrierOptions, PostgresCarrier};
pub use dsn::{Dsn, DsnError};
pub use examine::{Examined, HalfWritten, Pooling};
pub use journal::EndedLately;
pub use lineage::{Moves, Promotions};
pub use migrations::Migrated;
pub use options::{Options, Schema, Writers};
pub use store::PostgresStore;
pub use tls::Tls;
