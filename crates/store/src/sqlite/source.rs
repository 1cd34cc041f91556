//! A database opened to be read and never written: to be copied while a server uses it, or to be looked at wherever it
//! lies.
//!
//! A database in WAL mode wants files beside it even to be read, and cannot have them on a full disk or where nothing is
//! written. So what lies alone is opened as a file that nobody changes, and what lies beside a log in such a place is
//! read from a copy of both.
//!
//! Invariant: nothing here writes to a database, nor beside one that lies alone.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use respoke_core::clock::Timestamp;
use respoke_core::ports::StoreError;
use respoke_core::totp::STEP_SECS;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;
use tempfile::TempDir;

use super::failure::{failure, unavailable};
use super::file::beside;
use super::marked::{marks, undo_at};
use super::schema;
use super::trouble::Trouble;
use crate::marks::Mark;

/// How often a copy is tried again when the database is locked, a tenth of a second apart.
const TRIES_MAX: u32 = 100;
/// Faults reported of one database; the first few say enough.
const FAULTS_MAX: usize = 20;
/// What of a database may lie beside it and belongs to it: without it the database is another.
const LOGS: [&str; 2] = ["-wal", "-journal"];
/// Where in the file stands how it is journalled, and the number that stands for WAL.
///
/// # Source
///
/// SQLite's file format, section 1.3.3: file format version numbers.
const VERSION_AT: u64 = 18;
const VERSION_WAL: u8 = 2;

/// Tables that are counted, by the word shown for their rows.
const TABLES: &[&str] =
    &["accounts", "admins", "apps", "secrets", "roles", "endpoints", "tokens", "sessions", "admin_sessions", "audit"];

/// What a database is like.
#[derive(Clone, Debug, Default)]
pub struct DatabaseCheck {
    /// What is wrong with it; empty if it is sound.
    pub faults: Vec<String>,
    /// The schema it has.
    pub schema: usize,
    /// The newest schema this program knows.
    pub schema_known: usize,
    /// The database's own word for how it is journalled; `wal` in use.
    pub journal_mode: String,
    /// Rows by table.
    pub counts: Vec<(&'static str, u64)>,
    /// When its newest row was written.
    pub newest_at: Option<Timestamp>,
    /// Why it is not served from, if its installation was moved elsewhere.
    pub moved: Option<String>,
    /// Of the last code of a second factor that was taken, the beginning of its half minute.
    pub last_code_at: Option<Timestamp>,
    /// Size of the file, its log excepted.
    pub bytes: u64,
}

/// How closely a database is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckDepth {
    /// A server may be using it: the order of its pages is checked, its indexes are not held against its tables.
    InUse,
    /// Nobody uses it, such as a backup: everything is checked.
    AtRest,
}

/// A database opened to be read.
#[derive(Debug)]
pub struct Source {
    connection: Connection,
    /// Where it lies; not over a symbolic link, beside which its log does not lie.
    path: PathBuf,
    /// Of one that is read as a file that nobody changes: what lay beside it.
    alone: Option<[Option<u64>; 2]>,
    /// Where the copy lies that is read in its place.
    _copy: Option<TempDir>,
}

impl Source {
    /// Opens the database at `path`, such as a backup, wherever it lies.
    ///
    /// # Errors
    ///
    /// When it is not there, is no file or cannot be read. A damaged one is no error yet.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = real_path(path)?;
        if logs(&path) == [None, None] { Self::alone(path) } else { Self::beside_log(path) }
    }

    /// Opens the database at `path` that a server uses, or may begin to use.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_live(path: &Path) -> Result<Self, StoreError> {
        Self::beside_log(real_path(path)?)
    }

    /// The usual way, with its locks, and if that cannot be had, one that needs nothing beside the database.
    fn beside_log(path: PathBuf) -> Result<Self, StoreError> {
        let opened = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| {
            connection.busy_timeout(Duration::from_secs(10))?;
            // Only the first look needs what lies beside.
            let looked = connection.query_row("PRAGMA schema_version", [], |_| Ok(()));
            Ok((connection, looked))
        });
        let error = match opened {
            Ok((connection, Ok(()))) => return Ok(Self { connection, path, alone: None, _copy: None }),
            // The database's own fault, which a closer look finds again.
            Ok((connection, Err(error))) if Trouble::of_sqlite(&error).is_none() => {
                return Ok(Self { connection, path, alone: None, _copy: None });
            }
            Ok((_, Err(error))) | Err(error) => error,
        };
        match Trouble::of_sqlite(&error) {
            None | Some(Trouble::Busy | Trouble::Process) => Err(failure(error)),
            Some(_) if logs(&path).iter().all(|log| log.is_none_or(|bytes| bytes == 0)) => Self::alone(path),
            Some(_) => Self::copied(path),
        }
    }

    /// As a file that nobody changes, which needs no other.
    fn alone(path: PathBuf) -> Result<Self, StoreError> {
        let alone = Some(logs(&path));
        let Some(text) = path.to_str() else {
            // A path that fits into no URI.
            return Self::copied(path);
        };
        let text = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(format!("file://{text}?immutable=1"), flags).map_err(failure)?;
        Ok(Self { connection, path, alone, _copy: None })
    }

    /// A copy, made where other programs put what they need for a while.
    fn copied(path: PathBuf) -> Result<Self, StoreError> {
        let folder = tempfile::Builder::new().prefix("respoked-").tempdir().map_err(unavailable)?;
        let copy = folder.path().join("copy");
        for suffix in std::iter::once("").chain(LOGS) {
            let copied = copy_file(&beside(&path, suffix), &beside(&copy, suffix));
            match copied {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && !suffix.is_empty() => {}
                Err(error) => {
                    let text = format!("it could not be copied to {} to be read: {error}", folder.path().display());
                    return Err(unavailable(io::Error::new(error.kind(), text)));
                }
            }
        }
        let connection = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failure)?;
        Ok(Self { connection, path, alone: None, _copy: Some(folder) })
    }

    /// Whether somebody began to write beside a file that was taken for one that nobody changes.
    fn is_alone_no_more(&self) -> bool {
        self.alone.is_some_and(|before| before != logs(&self.path))
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Why it is not served from, if its installation was moved elsewhere, or is a copy that is not finished.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn not_served(&self) -> Result<Option<String>, StoreError> {
        let refusal = marks(&self.connection).map_err(failure)?.refusal(&undo_at(&self.path));
        Ok(refusal)
    }

    /// Looks at it.
    ///
    /// # Errors
    ///
    /// When it cannot be read. A damaged one is no error: see [`DatabaseCheck::faults`].
    pub fn check(&self, depth: CheckDepth) -> Result<DatabaseCheck, StoreError> {
        let bytes = std::fs::metadata(&self.path).map_err(unavailable)?.len();
        let schema_known = schema::known();
        let mut check = DatabaseCheck { schema_known, bytes, ..DatabaseCheck::default() };
        match self.examine(depth, &mut check) {
            Ok(()) => {}
            Err(error) if Trouble::of_sqlite(&error).is_some() => return Err(failure(error)),
            Err(error) => check.faults.push(error.to_string()),
        }
        if !check.faults.is_empty() && self.is_alone_no_more() {
            return Self::open_live(&self.path)?.check(depth);
        }
        Ok(check)
    }

    fn examine(&self, depth: CheckDepth, check: &mut DatabaseCheck) -> rusqlite::Result<()> {
        let connection = &self.connection;
        check.schema = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        check.journal_mode = match self.alone {
            Some(_) => journal_mode(&self.path).to_owned(),
            None => connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?,
        };
        let pragma = match depth {
            CheckDepth::InUse => "quick_check",
            CheckDepth::AtRest => "integrity_check",
        };
        let mut statement = connection.prepare(&format!("PRAGMA {pragma}({FAULTS_MAX})"))?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        check.faults.extend(lines.into_iter().filter(|line| line != "ok"));
        if check.schema == 0 {
            check.faults.push("it is not a database of respoked, or an empty one".to_owned());
            return Ok(());
        }
        if check.schema > check.schema_known {
            check.faults.push(format!(
                "it has schema {}, made by a newer respoked; this one knows {}",
                check.schema, check.schema_known
            ));
            return Ok(());
        }
        let there = schema::tables(connection)?;
        let missing = schema::tables_of(check.schema)?.into_iter().filter(|table| !there.contains(table));
        let missing: Vec<String> = missing.map(|table| format!("it lacks the table {table}")).collect();
        if !missing.is_empty() {
            check.faults.extend(missing);
            return Ok(());
        }
        let marks = marks(connection)?;
        if let Some(Mark { place, .. }) = &marks.unfinished {
            check.faults.push(format!("it is an unfinished copy of {place}"));
        } else {
            check.moved = marks.refusal(&undo_at(&self.path));
        }
        for table in TABLES {
            let sql = format!("SELECT count(*) FROM {table}");
            check.counts.push((table, connection.query_row(&sql, [], |row| row.get(0))?));
        }
        check.newest_at = connection.query_row(
            "SELECT max(at) FROM (
                 SELECT * FROM (SELECT created_at AS at FROM tokens ORDER BY number DESC LIMIT 1)
                 UNION ALL SELECT * FROM (SELECT created_at FROM sessions ORDER BY number DESC LIMIT 1)
                 UNION ALL SELECT * FROM (SELECT at FROM audit ORDER BY number DESC LIMIT 1))",
            [],
            |row| Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp::from_millis)),
        )?;
        // An older program's database may have no second factors yet.
        if there.iter().any(|table| table == "second_factors") {
            let sql = "SELECT max(last_step) FROM second_factors";
            let last: Option<i64> = connection.query_row(sql, [], |row| row.get(0))?;
            check.last_code_at = last.map(|step| Timestamp::from_secs(step.saturating_mul(STEP_SECS.cast_signed())));
        }
        Ok(())
    }

    /// Copies it, as it is at this moment, to the new file `to`, and returns the copy's size in bytes.
    ///
    /// The copy is readable by its owner alone and is one file, without a log beside it.
    ///
    /// # Errors
    ///
    /// When `to` exists already, or either cannot be used. What was begun of `to` is left for the caller to remove.
    pub fn copy_to(&self, to: &Path) -> Result<u64, StoreError> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(unavailable)?;
        self.copy(to).map_err(failure)?;
        if self.is_alone_no_more() {
            return Err(StoreError::Unavailable("a server began to use it while it was copied; try again".into()));
        }
        let file = File::open(to).map_err(unavailable)?;
        file.sync_all().map_err(unavailable)?;
        Ok(file.metadata().map_err(unavailable)?.len())
    }

    fn copy(&self, to: &Path) -> rusqlite::Result<()> {
        let mut target = Connection::open(to)?;
        {
            let backup = Backup::new(&self.connection, &mut target)?;
            for tried in 0.. {
                // All pages in one step. Between two steps a write of the server would begin the copy anew, and on a busy
                // server it would never end; readers and writers go on beside it either way.
                match backup.step(-1)? {
                    StepResult::Done => break,
                    StepResult::Busy | StepResult::Locked if tried == TRIES_MAX => {
                        return Err(rusqlite::Error::SqliteFailure(
                            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                            Some("the database stays locked".to_owned()),
                        ));
                    }
                    _ => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        }
        // The copy says of itself that it has a log. One file is easier to carry, and can be read where nothing is written.
        target.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        target.close().map_err(|(_, error)| error)
    }
}

/// Copies the database at `from`, which may be in use, as [`Source::copy_to`] does.
///
/// # Errors
///
/// As [`Source::open_live`] and [`Source::copy_to`].
pub fn copy_database(from: &Path, to: &Path) -> Result<u64, StoreError> {
    Source::open_live(from)?.copy_to(to)
}

/// Looks at a database and changes nothing.
///
/// # Errors
///
/// When the file is not there or cannot be read. A damaged one is no error: see [`DatabaseCheck::faults`].
pub fn check_database(path: &Path, depth: CheckDepth) -> Result<DatabaseCheck, StoreError> {
    Source::open(path)?.check(depth)
}

/// Where the file lies that `path` leads to.
fn real_path(path: &Path) -> Result<PathBuf, StoreError> {
    let real = std::fs::canonicalize(path).map_err(unavailable)?;
    let found = std::fs::metadata(&real).map_err(unavailable)?;
    if !found.is_file() {
        return Err(StoreError::Unavailable("it is no file".into()));
    }
    // SQLite would only say that it cannot open it. It is not opened here: closing it would take the locks away that this
    // process may have on it.
    let access = rustix::fs::accessat(rustix::fs::CWD, &real, Access::READ_OK, AtFlags::EACCESS);
    if let Err(Errno::ACCESS | Errno::PERM) = access {
        return Err(unavailable(ErrorKind::PermissionDenied.into()));
    }
    Ok(real)
}

/// How long the logs are that lie beside a database.
fn logs(path: &Path) -> [Option<u64>; 2] {
    LOGS.map(|suffix| std::fs::metadata(beside(path, suffix)).ok().map(|log| log.len()))
}

/// How a database that nobody uses is journalled.
fn journal_mode(path: &Path) -> &'static str {
    let mut version = [0];
    match File::open(path).and_then(|file| file.read_exact_at(&mut version, VERSION_AT)) {
        Ok(()) if version[0] == VERSION_WAL => "wal",
        Ok(()) | Err(_) => "delete",
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut from, &mut to).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{Options, SqliteStore};

    fn database() -> (tempfile::TempDir, std::path::PathBuf, SqliteStore) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a?b %41#.db");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        (folder, path, store)
    }

    #[test]
    fn a_copy_is_one_private_file_with_what_was_written() {
        let (folder, path, _store) = database();
        Connection::open(&path)
            .unwrap()
            .execute("INSERT INTO accounts (id, name, created_at) VALUES (x'01', 'a', 5)", [])
            .unwrap();
        let copy = folder.path().join("copy");
        let bytes = copy_database(&path, &copy).unwrap();
        assert_eq!(bytes, std::fs::metadata(&copy).unwrap().len());
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let check = check_database(&copy, CheckDepth::AtRest).unwrap();
        assert_eq!(check.faults, Vec::<String>::new());
        assert_eq!((check.schema, check.counts[0]), (check.schema_known, ("accounts", 1)));
        assert!(!folder.path().join("copy-wal").exists() && !folder.path().join("copy-shm").exists());
        assert!(copy_database(&path, &copy).is_err(), "an existing file is not written over");
    }

    #[test]
    fn a_database_in_use_is_checked_beside_its_user() {
        let (_folder, path, _store) = database();
        let check = check_database(&path, CheckDepth::InUse).unwrap();
        assert_eq!((check.faults.len(), check.journal_mode.as_str()), (0, "wal"));
    }

    #[test]
    fn damage_is_found() {
        let (folder, path, store) = database();
        let copy = folder.path().join("copy");
        copy_database(&path, &copy).unwrap();
        drop(store);
        let sound = std::fs::read(&copy).unwrap();

        let mut torn = sound.clone();
        torn.chunks_mut(4_096).skip(1).for_each(|page| page[..100].fill(0xa5));
        for (damaged, what) in [
            (torn, "pages written over"),
            (sound[..sound.len() / 2].to_vec(), "cut short"),
            (
                b"not a database at all, but long enough to be looked at ........................................"
                    .to_vec(),
                "another file",
            ),
            (Vec::new(), "empty"),
        ] {
            std::fs::write(&copy, damaged).unwrap();
            let check = check_database(&copy, CheckDepth::AtRest).unwrap();
            assert!(!check.faults.is_empty(), "{what}");
        }
        assert!(check_database(&folder.path().join("absent"), CheckDepth::AtRest).is_err());
    }

    #[test]
    fn a_newer_schema_is_a_fault() {
        let (_folder, path, store) = database();
        drop(store);
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        let check = check_database(&path, CheckDepth::AtRest).unwrap();
        assert!(check.faults[0].contains("newer respoked"), "{:?}", check.faults);
    }

    /// A database as a killed server leaves it: the last that was written stands in the log alone.
    fn killed() -> (tempfile::TempDir, PathBuf) {
        let (folder, path, store) = database();
        let copy = folder.path().join("cold/respoked.db");
        std::fs::create_dir(folder.path().join("cold")).unwrap();
        let writing = Connection::open(&path).unwrap();
        writing.execute("INSERT INTO accounts (id, name, created_at) VALUES (x'01', 'a', 5)", []).unwrap();
        for suffix in ["", "-wal"] {
            std::fs::copy(beside(&path, suffix), beside(&copy, suffix)).unwrap();
        }
        drop((writing, store));
        (folder, copy)
    }

    #[test]
    fn what_stands_in_the_log_belongs_to_the_database_wherever_a_link_to_it_lies() {
        let (folder, path) = killed();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            let check = check_database(path, CheckDepth::AtRest).unwrap();
            assert_eq!((check.faults.len(), check.counts[0]), (0, ("accounts", 1)), "{:?}", check.faults);
        }
        let copy = folder.path().join("whole");
        Source::open(&link).unwrap().copy_to(&copy).unwrap();
        assert_eq!(check_database(&copy, CheckDepth::AtRest).unwrap().counts[0], ("accounts", 1));
    }

    #[test]
    fn a_copy_is_read_with_its_log_and_leaves_nothing() {
        let (_folder, path) = killed();
        let source = Source::copied(path.clone()).unwrap();
        let made = PathBuf::from(source.connection.path().unwrap());
        assert!(made.exists() && made != path);
        assert_eq!(source.check(CheckDepth::AtRest).unwrap().counts[0], ("accounts", 1));
        drop(source);
        assert!(!made.parent().unwrap().exists());
    }

    #[test]
    fn nothing_is_made_beside_a_database_that_lies_alone() {
        let (folder, path, store) = database();
        drop(store);
        let alone = folder.path().join("alone/a?b %41#.db");
        std::fs::create_dir(alone.parent().unwrap()).unwrap();
        std::fs::copy(&path, &alone).unwrap();
        for depth in [CheckDepth::InUse, CheckDepth::AtRest] {
            let check = check_database(&alone, depth).unwrap();
            assert_eq!((check.faults.len(), check.journal_mode.as_str()), (0, "wal"), "{:?}", check.faults);
        }
        assert_eq!(std::fs::read_dir(alone.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_database_that_lacks_a_table_is_faulty() {
        let (folder, path, _store) = database();
        let copy = folder.path().join("copy");
        copy_database(&path, &copy).unwrap();
        Connection::open(&copy).unwrap().execute_batch("DROP TABLE meta; DROP TABLE messages").unwrap();
        let check = check_database(&copy, CheckDepth::AtRest).unwrap();
        assert_eq!(check.faults, ["it lacks the table messages", "it lacks the table meta"]);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [folder.path(), &pipe, Path::new("/dev/null")] {
            let error = check_database(path, CheckDepth::AtRest).err().unwrap();
            assert!(format!("{error:?}").contains("no file"), "{error:?}");
        }
    }
}
