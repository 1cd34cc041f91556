//! The store in one SQLite file.
//!
//! `store` opens it. `writer` is the one thread that writes, `readers` are the connections that read, and each port has
//! a file for the SQL of its table. `origin`, `rebuild` and `schema` are what happens to the file before it is served
//! from; `condition` and `vigil` watch it and the disk meanwhile. `maintenance` is upkeep, with `retention`,
//! `leftovers`, `age` and `walk`.

mod admin_rows;
mod admins;
mod age;
mod apps;
mod audit;
mod backup;
mod call_reports;
mod checkpointer;
mod condition;
mod endpoints;
mod failure;
mod feed;
mod figures;
mod file;
mod first_run;
mod idempotency;
mod kept;
mod key;
mod lease;
mod leftovers;
mod lists;
mod log;
mod maintenance;
mod marked;
mod messages;
mod mint;
mod origin;
mod places;
#[cfg(test)]
mod plans;
mod push_tokens;
mod readers;
mod rebuild;
mod redeem;
mod retention;
mod roles;
mod rows;
mod said;
mod schema;
mod secrets;
mod sessions;
mod source;
mod store;
mod token_rows;
mod tokens;
mod trouble;
mod vigil;
mod walk;
mod writer;

pub(crate) use backup::{UNDONE_MAX, withdrawals};
pub(crate) use file::{open_file, open_for_writing};
pub(crate) use key::found as seal_key;
pub(crate) use marked::{go_on_here, marks, set_moved, undo};
pub(crate) use origin::left_beside;
#[cfg(test)]
pub(crate) use schema::tables;
pub(crate) use schema::{is_newest, migrate};

pub use backup::{UndoneChange, end_everything_issued, fold_log, undone_changes};
pub use source::{CheckDepth, DatabaseCheck, Source, check_database, copy_database};
pub use store::{Options, SqliteStore};
pub use trouble::Trouble;
