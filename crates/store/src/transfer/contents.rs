//! What an installation holds, as both sides tell it, and how far one is through it.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use respoke_core::ports::StoreError;

use super::rows::Sum;
use super::tables::TABLES;

/// What an installation holds: the sum of each table, in the order of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) sums: Vec<Sum>,
}

impl Contents {
    pub(super) fn rows(&self) -> u64 {
        self.sums.iter().map(|sum| sum.rows).sum()
    }

    /// Rows by table.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        TABLES.iter().zip(&self.sums).map(|(table, sum)| (table.name, sum.rows)).collect()
    }

    /// Fails unless a copy holds the same.
    pub(super) fn check(&self, copy: &Self) -> Result<(), StoreError> {
        let mut tables = TABLES.iter().zip(self.sums.iter().zip(&copy.sums));
        match tables.find(|(_, (sum, copied))| sum != copied) {
            None => Ok(()),
            Some((table, (sum, copied))) => Err(StoreError::Unavailable(
                format!(
                    "the copy of the table {} is not like it: {} rows of {}, read back and hashed; something else writes to one \
                     of them, or a disk or the memory fails",
                    table.name, copied.rows, sum.rows
                )
                .into(),
            )),
        }
    }
}

/// How many rows of how many were gone through.
#[derive(Debug)]
pub struct Tally {
    rows: AtomicU64,
    of: u64,
}

impl Tally {
    pub(super) const fn of(of: u64) -> Self {
        Self { rows: AtomicU64::new(0), of }
    }

    pub(super) fn add(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// How much of it.
    #[must_use]
    pub fn percent(&self) -> u64 {
        (self.rows.load(Ordering::Relaxed).saturating_mul(100) / self.of.max(1)).min(100)
    }
}

/// A failure of one of the two databases.
pub(super) fn failed(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// A refusal, in words.
pub(super) fn refused(why: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(why.into())
}
