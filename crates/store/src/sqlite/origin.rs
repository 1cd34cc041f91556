//! What a start does with what it finds at the database's path. If there is nothing, it makes a database. A database of
//! respoked is opened. Anything else is refused.
//!
//! A new database is made under another name, and gets its own when it is whole. So a file of the database's name held
//! one once. If it holds none now it was lost, and to make a new one in its place would hide that.
//!
//! Invariant: what is refused is left as it was found.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use respoke_core::chance::Chance;
use respoke_core::ports::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{ErrorCode, OpenFlags};

use super::failure::{failure, unavailable};
use super::file::{BUSY_TIMEOUT, beside, make_private, open_file};
use super::{key, schema};

/// What a new database is called until it is whole.
const UNFINISHED: &str = "-unfinished";
/// What SQLite calls the files beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Tables that every schema of ours has.
const TABLES: [&str; 5] = ["meta", "accounts", "apps", "tokens", "sessions"];

/// Makes a database at `path` if there is nothing, and looks whether what is there is one of respoked.
pub(super) fn found_or_made(path: &Path, chance: &dyn Chance) -> Result<(), StoreError> {
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.len() == 0 && file.is_file() => refused(
            "the file is empty, which a database of respoked never is: what it held is lost. Restore a backup \
             (respoked restore); if there was never anything to lose, remove the file",
        ),
        Ok(_) => is_ours(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(left) = left_beside(path) {
                return refused(&format!(
                    "it is not there, but {} is: it was removed or moved away. Put it back or restore a backup \
                     (respoked restore); to begin anew, move that file away too",
                    left.display()
                ));
            }
            make(path, chance)
        }
        Err(error) => Err(unavailable(error)),
    }
}

/// What lies beside the name of a database and belongs to one.
pub(crate) fn left_beside(path: &Path) -> Option<PathBuf> {
    BESIDE.iter().map(|suffix| beside(path, suffix)).find(|left| left.symlink_metadata().is_ok())
}

fn is_ours(path: &Path) -> Result<(), StoreError> {
    if beside(path, "-shm").exists() && !beside(path, "-wal").exists() {
        tracing::warn!(
            "the database was not closed, and its log (-wal) is gone: what was written last is lost with it; a backup \
             may hold it"
        );
    }
    match without(path) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => refused(&format!(
            "it holds no {what}: it is another program's, or its log (-wal) was lost before it was first copied into \
             the file. Put the log back or restore a backup (respoked restore); to begin anew, move the file away"
        )),
        Err(error)
            if matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)) =>
        {
            refused(&format!("{error}: it is damaged, or no database. Restore a backup (respoked restore)"))
        }
        Err(error) => Err(failure(error)),
    }
}

/// What the database lacks that each of ours has.
fn without(path: &Path) -> rusqlite::Result<Option<&'static str>> {
    let logged = beside(path, "-wal").exists();
    let connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A log that was there stays as it is. One that is only made for this look goes again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, logged)?;
    let version: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > schema::newest() {
        // Another check says more of it.
        return Ok(None);
    }
    let mut found = connection.prepare("SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1")?;
    for table in TABLES {
        if version == 0 || !found.exists([table])? {
            return Ok(Some("tables of respoked"));
        }
    }
    Ok(if key::found(&connection)?.is_some() { None } else { Some("key of its tokens") })
}

/// Makes a database, whole or not at all, unless another process that began at the same time has made it meanwhile.
fn make(path: &Path, chance: &dyn Chance) -> Result<(), StoreError> {
    let unfinished = beside(path, UNFINISHED);
    let file = make_private(&unfinished).map_err(unavailable)?;
    // Whoever holds it is the only one to fill it and to give it its name.
    file.lock().map_err(unavailable)?;
    if path.exists() {
        return is_ours(path);
    }
    if file.metadata().map_err(unavailable)?.nlink() != 1 {
        return refused(&format!("{} has another name as well: remove it", unfinished.display()));
    }
    // What a start that was cut short has left.
    file.set_len(0).map_err(unavailable)?;
    for suffix in BESIDE {
        match std::fs::remove_file(beside(&unfinished, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unavailable(error)),
        }
    }
    fill(&unfinished, chance).map_err(failure)?;
    std::fs::rename(&unfinished, path).map_err(unavailable)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(unavailable),
        None => Ok(()),
    }
}

/// Without a log: what is committed is in the file, and flushed.
fn fill(path: &Path, chance: &dyn Chance) -> rusqlite::Result<()> {
    let mut connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    schema::migrate(&mut connection)?;
    key::found_or_made(&connection, chance)?;
    connection.close().map_err(|(_, error)| error)
}

fn refused(why: &str) -> Result<(), StoreError> {
    Err(StoreError::Unavailable(why.into()))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use std::error::Error as _;

    use super::*;
    use crate::{Options, SqliteStore};

    /// A folder with a database in it that was used and closed.
    fn used() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("respoked.db");
        drop(SqliteStore::open(&path, Options::default()).unwrap());
        (folder, path)
    }

    fn said(path: &Path) -> String {
        let error = SqliteStore::open(path, Options::default()).expect_err("it is refused");
        error.source().expect("a reason").to_string()
    }

    #[test]
    fn a_new_database_is_in_its_file_at_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("respoked.db");
        // What a start left that was cut short.
        for left in ["respoked.db-unfinished", "respoked.db-unfinished-journal"] {
            std::fs::write(folder.path().join(left), "torn").unwrap();
        }
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        // As if the machine lost power, and the log with it.
        let copied = folder.path().join("copied.db");
        std::fs::copy(&path, &copied).unwrap();
        assert_eq!(without(&copied).unwrap(), None);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(store);
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_str().unwrap().contains("unfinished")), "{names:?}");
    }

    #[test]
    fn a_file_that_lost_what_it_held_is_refused_and_left_as_it_is() {
        let (_folder, sound) = used();
        let sound = std::fs::read(sound).unwrap();
        let mut headless = sound.clone();
        headless[..100].fill(0);
        for (held, what) in [
            (Vec::new(), "the file is empty"),
            (headless, "it is damaged"),
            (sound[..100].to_vec(), "it is damaged"),
            (sound[..sound.len() / 2].to_vec(), "it is damaged"),
            (vec![0; sound.len()], "it is damaged"),
            (b"not a database at all".repeat(99), "it is damaged"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("respoked.db");
            std::fs::write(&path, &held).unwrap();
            let said = said(&path);
            assert!(said.contains(what) && said.contains("respoked restore"), "{said}");
            assert_eq!(std::fs::read(&path).unwrap(), held, "{what}");
        }
    }

    /// What another program makes of a database.
    type Making = fn(&Connection) -> rusqlite::Result<()>;

    #[test]
    fn a_database_that_is_not_ours_is_refused_and_left_as_it_is() {
        let made: [Making; 5] = [
            // As after a kill before the first copy of the log, if the log is lost.
            |fresh| fresh.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())),
            |fresh| fresh.execute_batch("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('kept')"),
            |fresh| fresh.execute_batch("CREATE TABLE notes (text TEXT); PRAGMA user_version = 3"),
            |fresh| fresh.execute_batch("CREATE TABLE meta (key TEXT, value BLOB); PRAGMA user_version = 1"),
            |fresh| {
                fresh.execute_batch(
                    "CREATE TABLE meta (key TEXT, value BLOB); CREATE TABLE accounts (a); CREATE TABLE apps (a);
                     CREATE TABLE tokens (a); CREATE TABLE sessions (a); PRAGMA user_version = 2",
                )
            },
        ];
        for make in made {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("respoked.db");
            let connection = Connection::open(&path).unwrap();
            make(&connection).unwrap();
            connection.close().unwrap();
            let held = std::fs::read(&path).unwrap();
            let said = said(&path);
            assert!(said.contains("it holds no") && said.contains("respoked restore"), "{said}");
            assert_eq!(std::fs::read(&path).unwrap(), held);
        }
    }

    #[test]
    fn a_database_that_is_gone_while_its_log_is_there_is_refused() {
        for left in BESIDE {
            let (_folder, path) = used();
            std::fs::write(beside(&path, left), "what was written last").unwrap();
            std::fs::remove_file(&path).unwrap();
            let said = said(&path);
            assert!(said.contains(left), "{said}");
            assert!(!path.exists() && std::fs::read(beside(&path, left)).unwrap() == b"what was written last");
        }
    }

    #[test]
    fn an_empty_database_keeps_its_log() {
        let (_folder, path) = used();
        std::fs::write(&path, "").unwrap();
        std::fs::write(beside(&path, "-wal"), "what was written last").unwrap();
        assert!(said(&path).contains("the file is empty"));
        assert!(beside(&path, "-wal").exists());
    }

    #[test]
    fn an_empty_log_is_what_a_copied_one_leaves() {
        let (_folder, path) = used();
        std::fs::write(beside(&path, "-wal"), "").unwrap();
        SqliteStore::open(&path, Options::default()).unwrap();
    }
}
