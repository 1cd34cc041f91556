//! The database's file: how a connection to it is opened, and how its log is brought into it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a connection that writes waits for another process that does.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// To what the log's file is cut when the log begins anew after a long reader held it up, and work goes on. More than it
/// needs under load: growing the file again costs each commit a second flush.
pub(super) const LOG_BYTES_KEPT: u64 = 64 << 20;

pub(crate) fn open_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    prepare(&connection)?;
    // FULL: with NORMAL a power cut could un-redeem a token. Checkpoints are the writer's business.
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = {LOG_BYTES_KEPT}; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;",
    ))?;
    Ok(connection)
}

/// Opens the database's file, and over a symbolic link of its name none: whoever may write in the folder may have put one
/// there since somebody looked. The folder itself may be named by one.
pub(crate) fn open_file(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Connection::open_with_flags(without_links(path), flags)
}

/// The same file, in a folder that is named without symbolic links; the name itself may be one.
pub(super) fn without_links(path: &Path) -> PathBuf {
    let folder = folder_of(path).canonicalize().ok();
    folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name))
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file that is called as `path` with `suffix` behind it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Brings what the log holds into the database's own file, as far as others who read let it.
///
/// The log of a process that was killed may have been read from the system's memory alone: after a flush that failed,
/// the system forgets that it is not on disk, and what is written behind it would be lost with it.
pub(super) fn fold(connection: &Connection) -> rusqlite::Result<Folded> {
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    match at_once(connection, |connection| connection.query_row(checkpoint, [], |row| row.get::<_, bool>("busy"))) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            tracing::warn!("the disk is full: what the log of the database holds stays there for now");
            Ok(Folded::NotAll)
        }
        Ok(busy) => Ok(if busy { Folded::NotAll } else { Folded::AllOfIt }),
        Err(error) => Err(error),
    }
}

/// How much of the log is in the database's own file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folded {
    AllOfIt,
    /// Others read from it or write to it, or the disk is full.
    NotAll,
}

/// Does something that waits for nobody. Whatever comes of it, the connection waits again for what it does next.
pub(super) fn at_once<T>(
    connection: &Connection,
    run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.busy_timeout(Duration::ZERO)?;
    let done = run(connection);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    done
}

/// Settings of every connection.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(128);
    // Without this guarantee SQLite may plan a statement anew for each value bound to it, which costs ten look-ups.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Makes the file, if there is none, so that SQLite finds it with the right permissions; its log files inherit them.
/// A symbolic link is not followed: in a folder where others may write, it could lead to any file of ours.
pub(super) fn make_private(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::Error::other("it is no plain file"));
    }
    // Of a group's volume the file may be another user's, who has shared it.
    if found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use respoke_core::ports::MaintenanceStore as _;

    use super::*;
    use crate::sqlite::readers;
    use crate::{Options, SqliteStore};

    #[test]
    fn who_failed_at_once_waits_for_others_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_for_writing(&folder.path().join("some.db")).unwrap();
        let patience = |connection: &Connection| connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0));
        let during: i64 = at_once(&connection, patience).unwrap();
        assert!(at_once(&connection, |_| Err::<(), _>(rusqlite::Error::InvalidQuery)).is_err());
        let after: i64 = patience(&connection).unwrap();
        assert_eq!((during, after), (0, 10_000));
    }

    #[tokio::test]
    async fn a_link_put_in_the_place_of_the_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (other, path) = (folder.path().join("other.db"), folder.path().join("some.db"));
        SqliteStore::open(&other, Options::default()).unwrap().close().await;
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(open_for_writing(&path).is_err());
        assert!(readers::open_reader(&path).is_err());
        // Nor in the place of its log.
        std::fs::rename(&other, &path).unwrap();
        let target = folder.path().join("target");
        std::fs::write(&target, "text").unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join("some.db-wal")).unwrap();
        let opened = open_for_writing(&path).and_then(|connection| connection.execute_batch("DELETE FROM admins"));
        assert!(opened.is_err());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "text");
        // Whoever names the folder by a link chose that.
        std::fs::remove_file(folder.path().join("some.db-wal")).unwrap();
        let named = folder.path().with_extension("link");
        std::os::unix::fs::symlink(folder.path(), &named).unwrap();
        open_for_writing(&named.join("some.db")).unwrap();
        std::fs::remove_file(named).unwrap();
    }
}
