//! What an operation works with: the connection, within a transaction, and the numbers that its rows get.

use std::cell::Cell;

use respoke_core::seal::Sealer;
use rusqlite::Connection;

use crate::mint_grounds::MintGrounds;

/// What an operation works with.
pub(in crate::sqlite) struct Write<'a> {
    pub(in crate::sqlite) connection: &'a Connection,
    pub(in crate::sqlite) sealer: &'a Sealer,
    pub(in crate::sqlite) grounds: &'a MintGrounds,
    pub(super) numbers: &'a Numbers,
}

/// The next free row numbers, and the number of the newest change, as this transaction finds them.
///
/// They are kept from one transaction to the next. Should another process have committed in between, as a command line
/// beside the server does, they are read anew: within the transaction nobody else commits.
#[derive(Default)]
pub(super) struct Numbers {
    /// What SQLite counts up when others commit. None: nothing was read yet.
    data_version: Cell<Option<i64>>,
    log: Cell<u64>,
    session: Cell<u64>,
    head: Cell<u64>,
}

impl Numbers {
    /// Sees to it that they are true in the transaction that was just begun.
    pub(super) fn look(&self, connection: &Connection) -> rusqlite::Result<()> {
        let version = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.data_version.get() == Some(version) {
            return Ok(());
        }
        let sql = "SELECT (SELECT coalesce(max(number), 0) + 1 FROM log),
                          (SELECT coalesce(max(number), 0) + 1 FROM sessions), head FROM feed";
        let found = connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        self.set(found);
        self.data_version.set(Some(version));
        Ok(())
    }

    pub(super) fn get(&self) -> (u64, u64, u64) {
        (self.log.get(), self.session.get(), self.head.get())
    }

    pub(super) fn set(&self, (log, session, head): (u64, u64, u64)) {
        self.log.set(log);
        self.session.set(session);
        self.head.set(head);
    }
}

impl Write<'_> {
    /// The number of the log's next row, which a token may be in.
    pub(in crate::sqlite) fn next_row(&self) -> u64 {
        self.numbers.log.replace(self.numbers.log.get() + 1)
    }

    pub(in crate::sqlite) fn next_session(&self) -> u64 {
        self.numbers.session.replace(self.numbers.session.get() + 1)
    }

    /// The number of the newest change: after which one what is made now is born.
    pub(in crate::sqlite) fn head(&self) -> u64 {
        self.numbers.head.get()
    }

    /// The number that the next change will get; a mark that is set with it is that number.
    pub(in crate::sqlite) fn next_change(&self) -> u64 {
        self.head() + 1
    }

    /// Notes that [`feed::write`](crate::sqlite::feed::write) wrote that change.
    pub(in crate::sqlite) fn changed(&self) {
        self.numbers.head.set(self.next_change());
    }
}
