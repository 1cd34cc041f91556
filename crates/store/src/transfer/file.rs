//! The side that is a SQLite file.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::BytesMut;
use respoke_core::ports::StoreError;
use rusqlite::{Connection, OpenFlags, Statement, params};

use super::contents::{Contents, Tally, failed, refused};
use super::rows::{Summing, Unbound, bind, put};
use super::tables::{InFile, SEQUENCES, TABLES, Table};
use crate::marks::{ARRIVED, Mark, Marks, UNFINISHED};
use crate::sqlite::{
    go_on_here, is_newest, left_beside, marks, migrate, open_file, open_for_writing, seal_key, set_moved,
};

/// Bytes of rows that are gone through in one piece.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Names of columns. In these brackets one that is none is not taken for a text.
fn columns(table: &Table) -> String {
    table.columns.iter().map(|column| format!("[{}]", column.file)).collect::<Vec<_>>().join(", ")
}

/// What is read of a table, in its order.
pub(super) fn select(table: &Table) -> String {
    let order: Vec<_> = table.order.iter().map(|name| format!("[{name}]")).collect();
    format!("SELECT {} FROM {} ORDER BY {}", columns(table), table.name, order.join(", "))
}

/// The rows of a table, one after the other.
pub(super) struct Rows<'s> {
    table: &'static Table,
    left: rusqlite::Rows<'s>,
    /// Texts that are not carried over as they stand.
    pub(super) replaced: u64,
}

impl<'s> Rows<'s> {
    pub(super) fn of(table: &'static Table, statement: &'s mut Statement<'_>) -> Result<Self, StoreError> {
        Ok(Self { table, left: statement.query([]).map_err(failed)?, replaced: 0 })
    }

    /// Writes the next ones behind `out`, as many as make a piece or until `most`, and says how many.
    pub(super) fn put_piece(&mut self, out: &mut BytesMut, most: u64) -> Result<u64, StoreError> {
        let mut rows = 0;
        while rows < most && out.len() < PIECE_BYTES {
            let Some(row) = self.left.next().map_err(failed)? else { break };
            self.replaced += put(self.table, row, out).map_err(refused)?;
            rows += 1;
        }
        Ok(rows)
    }
}

/// What the file holds, each row looked at.
pub(super) fn contents(connection: &Connection, tally: &Tally) -> Result<(Contents, u64), StoreError> {
    let mut replaced = 0;
    let sums = TABLES.iter().map(|table| {
        let mut statement = connection.prepare(&select(table)).map_err(failed)?;
        let (mut rows, mut summing, mut piece) =
            (Rows::of(table, &mut statement)?, Summing::default(), BytesMut::new());
        loop {
            piece.clear();
            match rows.put_piece(&mut piece, u64::MAX)? {
                0 => break,
                read => {
                    summing.take(read, &piece);
                    tally.add(read);
                }
            }
        }
        replaced += rows.replaced;
        Ok(summing.sum())
    });
    let sums = sums.collect::<Result<_, StoreError>>()?;
    Ok((Contents { sums }, replaced))
}

/// How many rows there are in all.
pub(super) fn count(connection: &Connection) -> Result<u64, StoreError> {
    let count = |table: &Table| {
        connection.query_row(&format!("SELECT count(*) FROM {}", table.name), [], |row| row.get::<_, u64>(0))
    };
    TABLES.iter().map(count).sum::<rusqlite::Result<u64>>().map_err(failed)
}

/// The greatest number that each sequence has given.
pub(super) fn numbers(connection: &Connection) -> Result<Vec<i64>, StoreError> {
    let number = |sequence: &super::tables::Sequence| {
        let given = match sequence.in_file {
            InFile::NewestRow | InFile::KeptBy(_) => "0",
            InFile::Sequence => "coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0)",
        };
        let sql = format!("SELECT max({given}, coalesce(max(number), 0)) FROM {}", sequence.table);
        let mut statement = connection.prepare(&sql)?;
        match sequence.in_file {
            InFile::NewestRow | InFile::KeptBy(_) => statement.query_row([], |row| row.get(0)),
            InFile::Sequence => statement.query_row([sequence.table], |row| row.get(0)),
        }
    };
    SEQUENCES.iter().map(number).collect::<rusqlite::Result<_>>().map_err(failed)
}

/// The number of the newest row of the audit log.
pub(super) fn newest_entry(connection: &Connection) -> Result<i64, StoreError> {
    connection.query_row("SELECT coalesce(max(number), 0) FROM audit", [], |row| row.get(0)).map_err(failed)
}

/// A row of the audit log. Two logs that were one may have given one number to two of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) number: i64,
    pub(super) at: i64,
    /// Its code.
    pub(super) action: i64,
}

/// Whether the audit log has this row.
pub(super) fn has_entry(connection: &Connection, entry: Entry) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM audit WHERE number = ?1 AND at = ?2 AND action = ?3";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    statement.exists([entry.number, entry.at, entry.action]).map_err(failed)
}

/// What a database is: whose tokens it has, and how it is marked.
pub(super) fn standing(connection: &Connection) -> Result<(Vec<u8>, Marks), StoreError> {
    is_newest(connection).map_err(failed)?;
    let key = seal_key(connection).map_err(failed)?;
    let key = key.ok_or(StoreError::Corrupt("the database holds no key of its tokens"))?;
    Ok((key, marks(connection).map_err(failed)?))
}

/// Fails if there is no database at `path` and something beside it that belonged to one: it would be taken for the new one's.
pub(super) fn is_alone(path: &Path) -> Result<(), StoreError> {
    match left_beside(path) {
        Some(left) if !path.exists() => Err(refused(format!(
            "{} is there without its database, and would be taken for the new one's: put the database back, or move that \
             file away too",
            left.display()
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Opens the database at `path`, and keeps everybody from writing to it until the connection is closed, or [`leave`]. What is
/// read is what it holds at this moment.
pub(super) fn hold(path: &Path) -> Result<Connection, StoreError> {
    // It is there: to make one would be no help.
    if !path.exists() {
        return Err(refused(format!("there is no database {}", path.display())));
    }
    let connection = open_for_writing(path).map_err(failed)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    Ok(connection)
}

/// Marks a database that is held as moved, has it refuse what is written to it, and lets go of it. It is on disk when this returns.
pub(super) fn leave(connection: &Connection, mark: &Mark) -> Result<(), StoreError> {
    if marks(connection).map_err(failed)?.moved.is_none() {
        set_moved(connection, mark).map_err(failed)?;
    }
    commit(connection)
}

/// What is said of a commit that failed: it may be on disk all the same.
fn commit(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch("COMMIT").map_err(|error| StoreError::InDoubt(Box::new(error)))
}

/// Takes the mark of an installation that was moved back from the database at `path`, and returns it.
pub(super) fn take_back(path: &Path) -> Result<Mark, StoreError> {
    let connection = hold(path)?;
    let (_, marks) = standing(&connection)?;
    let mark = marks.moved.ok_or_else(|| refused("it is not marked as moved: there is nothing to take back"))?;
    go_on_here(&connection).map_err(failed)?;
    commit(&connection)?;
    Ok(mark)
}

/// Takes the mark of an unfinished copy from the database at `path`. It is on disk when this returns.
pub(super) fn set_finished(path: &Path) -> Result<(), StoreError> {
    let connection = open_for_writing(path).map_err(failed)?;
    let sql = "UPDATE OR REPLACE meta SET key = ?2 WHERE key = ?1";
    connection.execute(sql, [UNFINISHED, ARRIVED]).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))
}

/// A new file that is filled. What comes of one that is not finished is of no use.
pub(super) struct Fresh {
    connection: Connection,
}

impl Fresh {
    /// Makes the file at `path`, readable by its owner alone, with empty tables.
    pub(super) fn create(path: &Path, key: &[u8], mark: Option<&Mark>) -> Result<Self, StoreError> {
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        new.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        let filled = || {
            let mut connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            // Nobody else knows of it yet, and it is flushed once at the end.
            connection.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -65536",
            )?;
            migrate(&mut connection)?;
            for table in TABLES {
                connection.execute(&format!("DELETE FROM {}", table.name), [])?;
            }
            let mut meta = connection.prepare("INSERT INTO meta (key, value) VALUES (?1, ?2)")?;
            meta.execute(params!["seal_key", key])?;
            if let Some(mark) = mark {
                meta.execute(params![UNFINISHED, mark.bytes()])?;
            }
            drop(meta);
            Ok::<_, rusqlite::Error>(connection)
        };
        Ok(Self { connection: filled().map_err(failed)? })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Begins to fill a table: rows are taken by the statement.
    pub(super) fn begin(&self, table: &Table) -> Result<Statement<'_>, StoreError> {
        let values: Vec<_> = (1..=table.columns.len()).map(|at| format!("?{at}")).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", table.name, columns(table), values.join(", "));
        self.connection.execute_batch("BEGIN").map_err(failed)?;
        self.connection.prepare(&sql).map_err(failed)
    }

    /// Takes a row.
    pub(super) fn insert(table: &Table, row: &[u8], statement: &mut Statement<'_>) -> Result<(), StoreError> {
        match bind(table, row, statement) {
            Ok(()) => statement.raw_execute().map(drop).map_err(failed),
            Err(Unbound::Garbled(what)) => Err(StoreError::Corrupt(what)),
            Err(Unbound::Failed(error)) => Err(failed(error)),
        }
    }

    /// Ends a table.
    pub(super) fn end(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("COMMIT").map_err(failed)
    }

    /// Counts what is kept, and remembers the numbers that were given.
    pub(super) fn round_off(&self, numbers: &[i64]) -> Result<(), StoreError> {
        let connection = &self.connection;
        let round_off = || {
            connection.execute_batch(
                "BEGIN; DELETE FROM kept_bytes;
                 INSERT INTO kept_bytes (app_id, bytes)
                     SELECT app_id, sum(bytes) FROM kept_rows WHERE app_id IS NOT NULL GROUP BY app_id",
            )?;
            for (sequence, given) in SEQUENCES.iter().zip(numbers) {
                let newest = format!("SELECT coalesce(max(number), 0) FROM {}", sequence.table);
                let newest: i64 = connection.query_row(&newest, [], |row| row.get(0))?;
                match sequence.in_file {
                    InFile::KeptBy(sql) if newest < *given => connection.execute(sql, [given]).map(drop)?,
                    InFile::KeptBy(_) | InFile::NewestRow => {}
                    InFile::Sequence => {
                        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [sequence.table])?;
                        let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, max(?2, ?3))";
                        connection.execute(sql, params![sequence.table, given, newest])?;
                    }
                }
            }
            connection.execute_batch("COMMIT")
        };
        round_off().map_err(failed)
    }

    /// Puts all of it on disk, and says how many bytes that are.
    pub(super) fn finish(self, path: &Path) -> Result<u64, StoreError> {
        self.connection.close().map_err(|(_, error)| failed(error))?;
        let synced = std::fs::File::open(path).and_then(|file| {
            file.sync_all()?;
            Ok(file.metadata()?.len())
        });
        synced.map_err(|error| StoreError::Unavailable(Box::new(error)))
    }
}
