//! Brings a database of an earlier release into the present shape: pages of another size, and rows of another kind.
//!
//! Neither is done in place. The database is copied by `VACUUM INTO`, in a folder beside it, the copy is migrated there and
//! looked at, and only then it takes the database's name, at once. Until then nothing but the copy is written, but that the
//! log is copied into the database, so that this is one file. Nobody waits for the copy, so it is written without a journal.
//!
//! Invariant: whenever this stops, there is a whole database of the name; what was begun is removed by the next start.
//! Invariant: nobody else writes to the database meanwhile, not even a command line beside it.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use respoke_core::ports::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};

use super::failure::{failure, unavailable};
use super::file::{BUSY_TIMEOUT, beside, folder_of, open_file, without_links};
use super::schema;

/// The folder of a copy that is not finished.
const UNFINISHED: &str = "-rebuilding";
/// What the copy is called in it.
const COPY: &str = "database";
/// What a copy takes at most on top of twice what the database uses, and what [`GROWING`] tells. Of rows of messages and call
/// reports of half a kilobyte one is on a page, where seven were on one of four times the size.
const ROOM_BYTES: u64 = 16 << 20;
/// Rows that take more than twice as much on smaller pages, by table, and how much they take at most: those of which a key or
/// a row that is ordered by one has pages of its own, and apps, roles and push tokens, which are copied as they were before they
/// are brought into the present shape.
const GROWING: [(&str, &str); 7] = [
    ("apps", "SELECT 6144 * count(*) FROM apps"),
    ("conversations", "SELECT 1184 * count(*) FROM conversations WHERE octet_length(endpoint) > 150"),
    (
        "endpoints",
        "SELECT 1184 * count(*) FROM endpoints WHERE octet_length(endpoint) + ifnull(octet_length(ban_reason), 0) > 90",
    ),
    ("figures", "SELECT 1184 * count(*) FROM figures WHERE octet_length(counts) > 170"),
    ("message_groups", "SELECT 1536 * count(*) FROM message_groups WHERE octet_length(name) > 180"),
    ("push_tokens", "SELECT 2048 * count(*) FROM push_tokens"),
    ("roles", "SELECT sum(2600 + 3 * octet_length(permissions)) FROM roles"),
];
/// Between two lines that say how far it is.
const TELL_EACH: Duration = Duration::from_secs(5);
/// Steps of SQLite's machine between two looks at the clock: some milliseconds.
const STEPS: i32 = 100_000;

/// Brings the database at `path` into the present shape, if it has an earlier one. Nobody else may be serving from it.
pub(super) fn rebuild_if_old(path: &Path) -> Result<(), StoreError> {
    if !is_old(path).map_err(failure)? {
        // It serves as it is, whatever lies beside it.
        if let Err(error) = clear(path) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what a start left that was cut short stays there"
            );
        }
        return Ok(());
    }
    clear(path).map_err(unavailable)?;
    let rebuilt = rebuild(path);
    // What was begun takes room, which may be what it failed for.
    let cleared = clear(path).map_err(unavailable);
    rebuilt.and(cleared)
}

fn rebuild(path: &Path) -> Result<(), StoreError> {
    let began = Instant::now();
    tracing::info!(
        "the database is of an earlier release and is copied into the present shape if there is room; it stays as it is \
         until the copy is whole and was looked at"
    );
    let mut rebuild = Rebuild::begin(path, free_bytes(path).map_err(unavailable)?)?;
    tracing::info!(bytes = rebuild.used_bytes, "there is room for the copy");
    rebuild.copy().map_err(failure)?;
    rebuild.migrate().map_err(failure)?;
    rebuild.look_at_copy()?;
    let bytes = rebuild.replace().map_err(unavailable)?;
    tracing::info!(bytes, secs = began.elapsed().as_secs(), "the database has the present shape");
    Ok(())
}

/// Removes what a start left that was cut short.
fn clear(path: &Path) -> io::Result<()> {
    let folder = beside(path, UNFINISHED);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let why = format!(
                "{}, which a start left that was cut short, cannot be removed ({error}): remove it as the user that it \
                 belongs to",
                folder.display()
            );
            Err(io::Error::new(error.kind(), why))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether it has an earlier shape.
fn is_old(path: &Path) -> rusqlite::Result<bool> {
    let connection = open(path)?;
    let page_bytes: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok(schema::version(&connection)? < schema::RESHAPED || page_bytes != schema::PAGE_BYTES)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A log that is there stays as it is, unless it is asked for otherwise.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Free space where the database lies, for this user.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder_of(path))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// A database that is being copied into another shape.
struct Rebuild {
    path: PathBuf,
    /// The database, which nobody else can use for as long as this is open.
    old: Connection,
    used_bytes: u64,
    /// The copy's folder, whatever has its name by now.
    folder: OwnedFd,
    copy: PathBuf,
}

impl Rebuild {
    /// Looks whether there is room, and takes the database for this process alone.
    fn begin(path: &Path, free_bytes: u64) -> Result<Self, StoreError> {
        let old = open(path).map_err(failure)?;
        let used = "SELECT (page_count - freelist_count) * page_size
                    FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        let used_bytes: u64 = old.query_row(used, [], |row| row.get(0)).map_err(failure)?;
        let needed = most_of_copy(&old, used_bytes).map_err(failure)? + ROOM_BYTES;
        if free_bytes < needed {
            let why = format!(
                "the database {} is of an earlier release and has to be copied into another shape, for which {needed} bytes \
                 must be free beside it: {free_bytes} are; nothing was changed",
                path.display()
            );
            return Err(unavailable(io::Error::new(ErrorKind::StorageFull, why)));
        }
        take(&old).map_err(failure)?;
        // SQLite opens what it copies into as it opened the database: over no link, also of a folder above.
        let folder = beside(&without_links(path), UNFINISHED);
        DirBuilder::new().mode(0o700).create(&folder).map_err(unavailable)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(&folder, flags, Mode::empty()).map_err(|error| unavailable(error.into()))?;
        Ok(Self { path: path.to_owned(), old, used_bytes, folder: held, copy: folder.join(COPY) })
    }

    fn copy(&mut self) -> rusqlite::Result<()> {
        let made = File::options().write(true).create_new(true).mode(0o600).open(&self.copy);
        made.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let (copy, whole) = (self.copy.clone(), self.used_bytes.max(1));
        tell(&mut self.old, move || {
            let copied = std::fs::metadata(&copy).map_or(0, |file| file.len());
            tracing::info!(percent = (copied * 100 / whole).min(100), "copying the database");
        })?;
        self.old.pragma_update(None, "page_size", schema::PAGE_BYTES)?;
        // A path is bytes, and need not be text.
        self.old.execute("VACUUM INTO CAST(?1 AS TEXT)", [self.copy.as_os_str().as_bytes()])?;
        self.old.progress_handler(STEPS, None::<fn() -> bool>)
    }

    fn migrate(&self) -> rusqlite::Result<()> {
        let mut new = open(&self.copy)?;
        new.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;",
        )?;
        let began = Instant::now();
        tell(&mut new, move || {
            tracing::info!(secs = began.elapsed().as_secs(), "bringing the copy's rows into shape");
        })?;
        schema::migrate(&mut new)?;
        new.close().map_err(|(_, error)| error)
    }

    /// Whether the copy is sound and has all rows.
    fn look_at_copy(&self) -> Result<(), StoreError> {
        let mut new = open(&self.copy).map_err(failure)?;
        let began = Instant::now();
        tell(&mut new, move || tracing::info!(secs = began.elapsed().as_secs(), "looking whether the copy is whole"))
            .map_err(failure)?;
        match self.fault_of(&new).map_err(failure)? {
            None => Ok(()),
            Some(fault) => Err(StoreError::Unavailable(
                format!(
                    "the copy of the database in another shape is not whole: {fault}; the database was left as it is"
                )
                .into(),
            )),
        }
    }

    fn fault_of(&self, new: &Connection) -> rusqlite::Result<Option<String>> {
        let found: String = new.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Ok(Some(found));
        }
        for table in schema::tables(&self.old)?.iter().filter(|table| !schema::COUNTED_ANEW.contains(&table.as_str())) {
            let count = |connection: &Connection| {
                connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
            };
            let (before, after) = (count(&self.old)?, count(new)?);
            if before != after {
                return Ok(Some(format!("{after} of {before} rows of {table}")));
            }
        }
        Ok(None)
    }

    /// Gives the copy the database's name, owner and permissions, and returns how many bytes it has.
    fn replace(self) -> io::Result<u64> {
        let file = self.open_own_copy()?;
        let before = std::fs::symlink_metadata(&self.path)?;
        let (user, group) = (Uid::from_raw(before.uid()), Gid::from_raw(before.gid()));
        if rustix::process::geteuid().is_root() {
            rustix::fs::fchown(&file, Some(user), Some(group))?;
        } else {
            // Where others share it they may by the group, if that may be given.
            let _ = rustix::fs::fchown(&file, None, Some(group));
        }
        file.set_permissions(Permissions::from_mode(mode_of(file.metadata()?.gid(), &before)))?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        rustix::fs::renameat(&self.folder, COPY, CWD, &self.path)?;
        File::open(folder_of(&self.path))?.sync_all()?;
        // Not before: until then nobody else opens what is to be replaced.
        drop(self.old);
        Ok(bytes)
    }

    /// Opens the copy, if it is what was made here: whoever the database's folder belongs to can put another folder of this
    /// name there meanwhile, and must not be given what that leads to.
    fn open_own_copy(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.folder, COPY, flags, Mode::empty())?);
        let (folder, found) = (rustix::fs::fstat(&self.folder)?, file.metadata()?);
        let own = rustix::process::geteuid().as_raw();
        if folder.st_uid != own || found.uid() != own || !found.is_file() || found.nlink() != 1 {
            return Err(io::Error::other(
                "the copy of the database is not the file that was made; nothing was changed",
            ));
        }
        Ok(file)
    }
}

/// The permissions of a database in the place of the one that was `before`. Another group gets none that it did not have.
fn mode_of(group: u32, before: &Metadata) -> u32 {
    if group == before.gid() { before.mode() & 0o777 } else { 0o600 }
}

/// What the copy takes at most while it is made, of a database that uses so much, but for [`ROOM_BYTES`].
fn most_of_copy(old: &Connection, used_bytes: u64) -> rusqlite::Result<u64> {
    let there = schema::tables(old)?;
    let growing = GROWING.iter().filter(|(table, _)| there.iter().any(|there| there == table));
    let growth: u64 =
        growing.map(|(_, sql)| old.query_row(sql, [], |row| row.get::<_, u64>(0))).sum::<Result<_, _>>()?;
    Ok(2 * used_bytes + growth)
}

/// Makes the database one file, without a log, that nobody else can read or write until the connection is closed.
fn take(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    let mode: String = connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    if mode != "delete" {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, Some("its log cannot be folded into it".to_owned())));
    }
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")
}

/// Says how far it is, now and then, while the connection works.
fn tell(connection: &mut Connection, say: impl Fn() + Send + 'static) -> rusqlite::Result<()> {
    let mut said = Instant::now();
    let look = move || {
        if said.elapsed() >= TELL_EACH {
            said = Instant::now();
            say();
        }
        false
    };
    connection.progress_handler(STEPS, Some(look))
}

#[cfg(test)]
mod tests;
