//! What a commit that failed may have left (docs/adr/0005), and how far the log goes.

use std::cell::Cell;

use respoke_core::ports::StoreError;
use rusqlite::{Connection, ErrorCode};

use crate::sqlite::failure::failure;
use crate::sqlite::rows::execute;

/// Whether a transaction whose commit failed may stand in the log, past its good end.
///
/// SQLite writes a transaction into the log and then flushes it. If the flush fails, it takes the transaction back in
/// memory and leaves it in the file, where the next start finds it whole and takes it for committed. The next
/// transaction that is committed lies over it. Until then nobody may be told that nothing was written.
#[derive(Default)]
pub(super) struct Doubt(Cell<bool>);

impl Doubt {
    /// A commit failed.
    pub(super) fn begin(&self, error: &rusqlite::Error) {
        // The disk was full: the end of the transaction, without which it counts for nothing, never came into the file.
        // What an earlier one may have left stays as doubtful as it was.
        if error.sqlite_error_code() != Some(ErrorCode::DiskFull) {
            self.0.set(true);
        }
    }

    /// A commit succeeded.
    pub(super) fn end(&self) {
        // One that had nothing to write lies over nothing.
        if LOG_WRITTEN.get() {
            self.0.set(false);
        }
    }

    /// Whether there is any.
    pub(super) fn is_there(&self) -> bool {
        self.0.get()
    }

    /// What to tell those whose operation ended with `error`.
    pub(super) fn told(&self, error: rusqlite::Error) -> StoreError {
        if self.0.get() { StoreError::InDoubt(Box::new(error)) } else { failure(error) }
    }
}

/// Writes something of no meaning, and each time something else, so that it is written at all: over what a commit left that
/// failed, or to see that the database takes anything.
pub(in crate::sqlite) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    execute(
        connection,
        "INSERT INTO meta (key, value) VALUES ('checked', randomblob(8))
         ON CONFLICT DO UPDATE SET value = excluded.value",
        [],
    )?;
    Ok(())
}

thread_local! {
    /// Pages in the write-ahead log after the last commit of this thread.
    pub(super) static LOG_PAGES: Cell<usize> = const { Cell::new(0) };
    /// Whether the last commit of this thread wrote any.
    pub(super) static LOG_WRITTEN: Cell<bool> = const { Cell::new(false) };
}

#[expect(clippy::unnecessary_wraps, reason = "SQLite's hook may fail; this one does not")]
pub(super) fn note_log_pages(_: &mut rusqlite::hooks::Wal, pages: i32) -> rusqlite::Result<()> {
    LOG_PAGES.set(usize::try_from(pages).unwrap_or(0));
    LOG_WRITTEN.set(true);
    Ok(())
}
