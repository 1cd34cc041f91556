//! The [`respoke_core::ports::Store`] port on real databases, and the contract each must pass.

#[cfg(test)]
mod contract;
mod sqlite;

pub use sqlite::{CrashPoint, Options, SqliteStore};
