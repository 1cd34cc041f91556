//! The [`respoke_core::ports::Store`] port on real databases, and the contract each must pass.

mod codes;
#[cfg(test)]
mod contract;
mod mint_grounds;
mod minted;
mod pages;
mod sqlite;
mod upkeep;

pub use sqlite::{
    CheckDepth, DatabaseCheck, Options, Source, SqliteStore, Trouble, UndoneChange, WriterFigures, check_database,
    copy_database, end_everything_issued, fold_log, undone_changes,
};
