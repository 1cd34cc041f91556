//! The [`respoke_core::ports::Store`] port on real databases, and the contract each must pass.

#[cfg(test)]
mod contract;
mod sqlite;

pub use sqlite::{
    CheckDepth, DatabaseCheck, Options, Source, SqliteStore, Trouble, UndoneChange, WriterFigures, check_database,
    copy_database, end_everything_issued, fold_log, undone_changes,
};
