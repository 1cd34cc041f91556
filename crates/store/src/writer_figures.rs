//! What a store's writers did, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What its writers did since the start, and how large the database is.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriterFigures {
    /// Bytes of the database's files, where they are this process's.
    pub bytes: Option<u64>,
    /// Batches committed.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Microseconds spent committing.
    pub commit_micros: u64,
    /// Batches by how many operations they held: at most 1, 2, 4, 8, 16, 32, and more.
    pub commit_sizes: [u64; 7],
    /// What was tried again: in a file, of which one process at a time has the writing, nothing.
    pub again: Again,
}

/// Transactions that were tried again since the start, and what reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// Because another transaction was in the way.
    pub conflicts: u64,
    /// Because the connection was lost, or none could be made, before anything was to be committed.
    pub losses: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) commits: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) commit_micros: AtomicU64,
    pub(crate) commit_sizes: [AtomicU64; 7],
}

impl Committed {
    /// Counts a batch of `operations` by the power of two that it does not exceed.
    pub(crate) fn count(&self, operations: usize) {
        let class = operations.max(1).next_power_of_two().trailing_zeros() as usize;
        self.commit_sizes[class.min(self.commit_sizes.len() - 1)].fetch_add(1, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.operations.fetch_add(operations as u64, Ordering::Relaxed);
    }

    /// What they are now, but for the files' size and what was tried again.
    pub(crate) fn read(&self) -> WriterFigures {
        WriterFigures {
            bytes: None,
            commits: self.commits.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            commit_micros: self.commit_micros.load(Ordering::Relaxed),
            commit_sizes: std::array::from_fn(|class| self.commit_sizes[class].load(Ordering::Relaxed)),
            again: Again::default(),
        }
    }
}
