//! What keeps a database from being used though the database may be sound: a full disk, a missing permission. To put a
//! backup in its place would not help then.

use std::error::Error;
use std::io::{self, ErrorKind};

use respoke_core::ports::StoreError;
use rusqlite::ErrorCode;
use rusqlite::ffi;

/// What keeps a database from being used, though nothing is said against the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The disk is full.
    DiskFull,
    /// The user has as much on the disk as is granted.
    Quota,
    /// The file system, or the file, can only be read.
    ReadOnly,
    /// This user may not.
    Permission,
    /// A file or folder is not there.
    Absent,
    /// Others use it, for longer than was waited.
    Busy,
    /// The process may have no more memory or open files.
    Process,
    /// It could not be opened; SQLite does not say why.
    Unopened,
    /// The disk failed, or a file system lacks something; SQLite does not say what.
    Device,
}

impl Trouble {
    /// What is the matter outside of the database; none if the failure may be the database's own.
    #[must_use]
    pub fn of(error: &StoreError) -> Option<Self> {
        let StoreError::Unavailable(source) = error else { return None };
        let mut source: Option<&(dyn Error + 'static)> = Some(source.as_ref());
        while let Some(error) = source {
            let found = match error.downcast_ref::<rusqlite::Error>() {
                Some(error) => Self::of_sqlite(error),
                None => error.downcast_ref::<io::Error>().and_then(Self::of_io),
            };
            if found.is_some() {
                return found;
            }
            source = error.source();
        }
        None
    }

    /// The same of a failure of SQLite.
    pub(super) fn of_sqlite(error: &rusqlite::Error) -> Option<Self> {
        let error = error.sqlite_error()?;
        match (error.code, error.extended_code) {
            (ErrorCode::DiskFull, _) => Some(Self::DiskFull),
            (_, ffi::SQLITE_READONLY_DIRECTORY)
            | (ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied, _) => Some(Self::Permission),
            (ErrorCode::ReadOnly, _) => Some(Self::ReadOnly),
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed, _) => {
                Some(Self::Busy)
            }
            (ErrorCode::OutOfMemory, _) | (_, ffi::SQLITE_IOERR_NOMEM) => Some(Self::Process),
            (ErrorCode::CannotOpen, _) => Some(Self::Unopened),
            // A file that is too short, and one whose pages are not what they were written as.
            (_, ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_DATA) => None,
            (ErrorCode::SystemIoFailure | ErrorCode::NoLargeFileSupport, _) => Some(Self::Device),
            _ => None,
        }
    }

    /// The same of a failure of the system.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Option<Self> {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        match (error.kind(), error.raw_os_error()) {
            (ErrorKind::StorageFull, _) => Some(Self::DiskFull),
            (ErrorKind::QuotaExceeded, _) => Some(Self::Quota),
            (ErrorKind::ReadOnlyFilesystem, _) => Some(Self::ReadOnly),
            (ErrorKind::PermissionDenied, _) => Some(Self::Permission),
            (ErrorKind::NotFound, _) => Some(Self::Absent),
            (ErrorKind::OutOfMemory, _) | (_, Some(ENFILE | EMFILE)) => Some(Self::Process),
            (_, Some(_)) => Some(Self::Device),
            (_, None) => None,
        }
    }

    /// Whether SQLite's word for it hides what the system would call by its name.
    #[must_use]
    pub fn is_vague(self) -> bool {
        matches!(self, Self::Unopened | Self::Device)
    }

    /// What it is, for whoever runs the server.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::DiskFull => "the disk is full",
            Self::Quota => "the user's quota of disk space is used up",
            Self::ReadOnly => "it lies where it can only be read",
            Self::Permission => "this user may not use it",
            Self::Absent => "it is not there",
            Self::Busy => "others are using it",
            Self::Process => "the process may have no more memory or open files",
            Self::Unopened => "it cannot be opened",
            Self::Device => "the disk reports an error",
        }
    }

    /// What helps.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::DiskFull => "make room",
            Self::Quota => "raise the quota, or make room",
            Self::ReadOnly => "mount the file system for writing",
            Self::Permission => "run as the user that it belongs to, or give it to this one",
            Self::Absent => "look at the name",
            Self::Busy => "try again when they have finished",
            Self::Process => "raise the limit",
            Self::Unopened => "look at the permissions of the file and its folder",
            Self::Device => "look at the disk and at what the system's log says of it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_code(code: i32) -> Option<Trouble> {
        Trouble::of(&StoreError::Unavailable(Box::new(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))))
    }

    #[test]
    fn what_lies_outside_is_told_apart_from_damage() {
        for (code, trouble) in [
            (ffi::SQLITE_FULL, Trouble::DiskFull),
            (ffi::SQLITE_READONLY, Trouble::ReadOnly),
            (ffi::SQLITE_READONLY_CANTINIT, Trouble::ReadOnly),
            (ffi::SQLITE_READONLY_RECOVERY, Trouble::ReadOnly),
            (ffi::SQLITE_READONLY_ROLLBACK, Trouble::ReadOnly),
            (ffi::SQLITE_READONLY_DIRECTORY, Trouble::Permission),
            (ffi::SQLITE_PERM, Trouble::Permission),
            (ffi::SQLITE_AUTH, Trouble::Permission),
            (ffi::SQLITE_BUSY, Trouble::Busy),
            (ffi::SQLITE_BUSY_RECOVERY, Trouble::Busy),
            (ffi::SQLITE_LOCKED, Trouble::Busy),
            (ffi::SQLITE_PROTOCOL, Trouble::Busy),
            (ffi::SQLITE_NOMEM, Trouble::Process),
            (ffi::SQLITE_IOERR_NOMEM, Trouble::Process),
            (ffi::SQLITE_CANTOPEN, Trouble::Unopened),
            (ffi::SQLITE_IOERR, Trouble::Device),
            (ffi::SQLITE_IOERR_READ, Trouble::Device),
            (ffi::SQLITE_IOERR_WRITE, Trouble::Device),
            (ffi::SQLITE_IOERR_FSYNC, Trouble::Device),
            (ffi::SQLITE_IOERR_SHMSIZE, Trouble::Device),
            (ffi::SQLITE_IOERR_SHMMAP, Trouble::Device),
            (ffi::SQLITE_IOERR_LOCK, Trouble::Device),
        ] {
            assert_eq!(of_code(code), Some(trouble), "{code}");
        }
        for damage in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_INDEX,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_IOERR_SHORT_READ,
            ffi::SQLITE_ERROR,
        ] {
            assert_eq!(of_code(damage), None, "{damage}");
        }
        assert_eq!(Trouble::of(&StoreError::Corrupt("row")), None);
    }

    #[test]
    fn what_the_system_says_is_called_by_its_name() {
        for (number, trouble) in [
            (28, Trouble::DiskFull),
            (122, Trouble::Quota),
            (30, Trouble::ReadOnly),
            (13, Trouble::Permission),
            (1, Trouble::Permission),
            (2, Trouble::Absent),
            (24, Trouble::Process),
            (5, Trouble::Device),
        ] {
            let error = StoreError::Unavailable(Box::new(io::Error::from_raw_os_error(number)));
            assert_eq!(Trouble::of(&error), Some(trouble), "{number}");
        }
    }
}
