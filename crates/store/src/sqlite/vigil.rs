//! Two threads beside the store: one looks at the files and reads what operations read, the other at the clock.
//!
//! Invariant: neither holds anybody up. The first may itself stand still with the disk; the second never touches it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::Connection;

use super::condition::Condition;
use super::failure::{is_corruption, thread_failed};
use super::file::beside;
use super::key;
use super::readers::open_reader;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(50);
/// Between two looks at the files: whoever asks a second after they are gone is told so.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks at the files for one at what they hold.
const READ_EVERY: u32 = 2;
/// How long closing waits for a look that is under way.
const PATIENCE: Duration = Duration::from_secs(1);
/// A log's file beyond this is shortened as soon as that costs nobody anything. The copying of the log begins with
/// three quarters of it, and under load takes until about here.
const LOG_BYTES_USUAL: u64 = 44 << 20;
/// The same while little is written, when it costs nobody anything that the file has to grow again.
const LOG_BYTES_QUIET: u64 = 4 << 20;
/// Batches between two looks up to which little is written.
const BATCHES_QUIET: u64 = 20;

/// The threads, until this is dropped.
pub(super) struct Vigil {
    ends: Vec<SyncSender<()>>,
    /// Tell by their silence that a thread is over.
    over: Vec<Receiver<()>>,
}

impl Vigil {
    /// `shorten` makes the writer cut a log that has grown too long.
    pub(super) fn start(
        path: &Path,
        condition: &Arc<Condition>,
        shorten: impl Fn() + Send + 'static,
    ) -> rusqlite::Result<Self> {
        let mut vigil = Self { ends: Vec::new(), over: Vec::new() };
        let mut looker = Looker::new(path, condition.clone())?;
        let looking = condition.clone();
        vigil.spawn("respoked-look", LOOK_EVERY, move || {
            looker.look();
            if looking.log_long.load(Ordering::Relaxed) {
                shorten();
            }
        })?;
        let condition = condition.clone();
        vigil.spawn("respoked-watch", TICK, move || condition.judge())?;
        Ok(vigil)
    }

    /// Does `work` again and again, with a pause in between.
    fn spawn(&mut self, name: &str, pause: Duration, work: impl FnMut() + Send + 'static) -> rusqlite::Result<()> {
        let (end, ended) = sync_channel(0);
        let (alive, over) = sync_channel(0);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let run = move || {
            let _alive: SyncSender<()> = alive;
            // Dropped before that: it holds a connection, and whoever waits for this thread waits for its end.
            let mut work = work;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(pause) {
                work();
            }
        };
        thread.spawn(run).map_err(thread_failed)?;
        self.ends.push(end);
        self.over.push(over);
        Ok(())
    }
}

impl Drop for Vigil {
    /// Waits for the threads, so that a closed store has no file open, but not for a disk that stands still.
    fn drop(&mut self) {
        self.ends.clear();
        for over in &self.over {
            let _ = over.recv_timeout(PATIENCE);
        }
    }
}

struct Looker {
    condition: Arc<Condition>,
    path: PathBuf,
    /// How long the database's own file was at the last look.
    len: u64,
    /// How many batches had been committed then.
    batches: u64,
    connection: Connection,
    rows: Rows,
    key: Option<Vec<u8>>,
    looks: u32,
}

impl Looker {
    fn new(path: &Path, condition: Arc<Condition>) -> rusqlite::Result<Self> {
        let connection = open_reader(path)?;
        let rows = Rows::of(&connection)?;
        let key = key::found(&connection)?;
        condition.opened(["", "-wal", "-shm"].map(|suffix| beside(path, suffix))).map_err(thread_failed)?;
        let len = condition.look_at_files().map_or(0, |[len, ..]| len);
        Ok(Self { condition, path: path.to_owned(), len, batches: 0, connection, rows, key, looks: 0 })
    }

    fn look(&mut self) {
        if self.condition.is_lost() {
            return;
        }
        let condition = self.condition.clone();
        condition.looking.begin(&condition);
        if self.look_at_files() && self.looks.is_multiple_of(READ_EVERY) {
            self.read();
        }
        self.looks = self.looks.wrapping_add(1);
        condition.looking.end();
    }

    /// False: there is nothing to be read.
    fn look_at_files(&mut self) -> bool {
        let Some([len, log_len, _]) = self.condition.look_at_files() else { return false };
        // The database's own file never shrinks.
        let before = std::mem::replace(&mut self.len, len);
        if len < before {
            self.condition.lost(&format!("{} was cut from {before} to {len} bytes", self.path.display()));
            return false;
        }
        self.condition.bytes.store(len + log_len, Ordering::Relaxed);
        let batches = self.condition.batches.load(Ordering::Relaxed);
        let is_quiet = batches - std::mem::replace(&mut self.batches, batches) <= BATCHES_QUIET;
        let usual = if is_quiet { LOG_BYTES_QUIET } else { LOG_BYTES_USUAL };
        self.condition.log_long.store(log_len > usual, Ordering::Relaxed);
        true
    }

    /// Reads a little of everything that operations read.
    fn read(&mut self) {
        // What is in this connection's memory says nothing about the file.
        let read = self.connection.execute_batch("PRAGMA shrink_memory").and_then(|()| {
            if key::found(&self.connection)? != self.key {
                return Ok(Some("what it holds is another database's".to_owned()));
            }
            self.rows.read(&self.connection).map(|()| None)
        });
        match read {
            Ok(None) => self.condition.found(None),
            Ok(Some(what)) => self.condition.lost(&what),
            Err(error) if is_corruption(&error) => self.condition.note(&error),
            Err(error) => self.condition.found(Some(error.to_string())),
        }
    }
}

/// What is read of each table: its first and last row by every order there is an index for, and one in between.
struct Rows(Vec<String>);

impl Rows {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let mut looks = Vec::new();
        let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
        let tables = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        for table in tables {
            looks.push(format!("SELECT * FROM {table} ORDER BY rowid LIMIT 1"));
            looks.push(format!("SELECT * FROM {table} ORDER BY rowid DESC LIMIT 1"));
            looks.push(format!(
                "SELECT * FROM {table} WHERE rowid >= (SELECT abs(random() % max(rowid)) FROM {table})
                 ORDER BY rowid LIMIT 1"
            ));
            let mut indexes = connection.prepare(
                "SELECT name, (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(list.name)
                                                               ORDER BY seqno))
                 FROM pragma_index_list(?1) AS list WHERE NOT partial",
            )?;
            let columns = indexes.query_map([&table], |row| row.get(1))?;
            for columns in columns.collect::<rusqlite::Result<Vec<String>>>()? {
                looks.push(format!("SELECT * FROM {table} ORDER BY {columns} LIMIT 1"));
                let descending = columns.replace(',', " DESC,");
                looks.push(format!("SELECT * FROM {table} ORDER BY {descending} DESC LIMIT 1"));
            }
        }
        looks.retain(|look| connection.prepare(look).is_ok() && finds_its_row(connection, look).unwrap_or(false));
        Ok(Self(looks))
    }

    fn read(&self, connection: &Connection) -> rusqlite::Result<()> {
        for look in &self.0 {
            let mut statement = connection.prepare_cached(look)?;
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    row.get_ref(column)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a table is not walked and sorted for it.
fn finds_its_row(connection: &Connection, look: &str) -> rusqlite::Result<bool> {
    let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {look}"))?;
    let steps = plan.query_map([], |row| row.get::<_, String>("detail"))?;
    Ok(!steps.collect::<rusqlite::Result<Vec<_>>>()?.iter().any(|step| step.contains("TEMP B-TREE")))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt as _;
    use std::sync::mpsc as sync_mpsc;

    use super::super::SqliteStore;
    use super::*;

    /// What is done to the files of a database.
    type Harm = fn(&Path);

    /// Does `harm` to the files of a database that is open, and returns what looks for a second find.
    fn looked_at(harm: Harm) -> Arc<Condition> {
        assert!(LOOK_EVERY * READ_EVERY <= Duration::from_secs(1));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").join("respoked.db");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let _store = SqliteStore::open(&path, super::super::Options::default()).unwrap();
        // Into the database's own file, which a young one is hardly in.
        Connection::open(&path).unwrap().query_row("PRAGMA wal_checkpoint", [], |_| Ok(())).unwrap();
        let condition = Arc::new(Condition::default());
        let mut looker = Looker::new(&path, condition.clone()).unwrap();
        let mut look = || (0..READ_EVERY).for_each(|_| looker.look());
        look();
        condition.sound().unwrap();
        harm(&path);
        look();
        condition
    }

    /// Takes a while to be dropped.
    struct Held(sync_mpsc::Receiver<()>, sync_mpsc::SyncSender<()>);

    impl Drop for Held {
        fn drop(&mut self) {
            // Nobody says anything.
            let _ = self.0.recv_timeout(Duration::from_millis(200));
            self.1.send(()).unwrap();
        }
    }

    #[test]
    fn who_waits_for_a_thread_waits_until_it_holds_nothing() {
        let (_silent, hears) = sync_mpsc::sync_channel(0);
        let (tells, dropped) = sync_mpsc::sync_channel(1);
        let held = Held(hears, tells);
        let mut vigil = Vigil { ends: Vec::new(), over: Vec::new() };
        vigil
            .spawn("held", LOOK_EVERY, move || {
                let _ = &held;
            })
            .unwrap();
        drop(vigil);
        assert_eq!(dropped.try_recv(), Ok(()));
    }

    #[test]
    fn files_that_are_taken_away_are_missed_within_a_second() {
        let takings: [Harm; 8] = [
            |path| fs::remove_file(path).unwrap(),
            |path| fs::rename(path, beside(path, ".old")).unwrap(),
            |path| {
                fs::copy(path, beside(path, ".new")).unwrap();
                fs::rename(beside(path, ".new"), path).unwrap();
            },
            |path| fs::File::options().write(true).open(path).unwrap().set_len(8_192).unwrap(),
            |path| fs::remove_file(beside(path, "-wal")).unwrap(),
            |path| fs::remove_file(beside(path, "-shm")).unwrap(),
            |path| ["", "-wal", "-shm"].iter().for_each(|suffix| fs::remove_file(beside(path, suffix)).unwrap()),
            |path| {
                let data = path.parent().unwrap();
                fs::rename(data, data.with_extension("moved")).unwrap();
            },
        ];
        for (nth, take) in takings.into_iter().enumerate() {
            let condition = looked_at(take);
            assert!(condition.is_lost() && condition.sound().is_err(), "way {nth}");
        }
    }

    #[test]
    fn a_file_that_is_written_over_is_found_damaged_within_a_second() {
        let condition = looked_at(|path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
            file.write_all_at(&vec![0x5a; len - 4_096], 4_096).unwrap();
        });
        assert!(condition.sound().is_err());
    }

    #[test]
    fn every_table_and_index_is_read_and_none_is_walked() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection).unwrap();
        let rows = Rows::of(&connection).unwrap();
        rows.read(&connection).unwrap();
        let mut wanted = connection
            .prepare("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' AND name != 'endpoints_banned'")
            .unwrap();
        let indexes = wanted.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        for (index, table) in indexes.map(Result::<(String, String), _>::unwrap) {
            let read = rows.0.iter().filter(|look| look.contains(&format!("FROM {table} "))).any(|look| {
                let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {look}")).unwrap();
                let steps = plan.query_map([], |row| row.get::<_, String>("detail")).unwrap();
                let steps: Vec<_> = steps.map(Result::unwrap).collect();
                // The index of a table without rowids is the table.
                steps.iter().any(|step| step.contains(&index) || step.contains("PRIMARY KEY"))
                    || !rows.0.iter().any(|other| other.contains(&format!("FROM {table} ORDER BY rowid")))
            });
            assert!(read, "{index} of {table} is not read: {:?}", rows.0);
        }
    }
}
