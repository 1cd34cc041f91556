//! Finds out whether standard output leads anywhere. Rust's library takes writing to a closed one for done.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, fsync};
use rustix::io::Errno;

/// Looks whether what is written to standard output may reach somebody.
///
/// A redirection to `/dev/null` is a choice and does: shells and service managers open it for writing. In the place of a
/// closed standard output Rust's library opens `/dev/null` too, but for reading and writing, once for all that is closed.
/// Programs that detach from their terminal leave exactly the same behind. Whichever it was, nobody decided that nobody
/// is to read this.
///
/// # Errors
///
/// When it is closed or leads there, or is open for reading only; Rust's library takes writing to that for done.
pub(super) fn check() -> io::Result<()> {
    let stdout = io::stdout();
    if fcntl_getfl(&stdout)? & OFlags::RWMODE == OFlags::RDONLY {
        return Err(io::Error::other("it is open for reading only"));
    }
    if is_replaced(&stdout)? {
        return Err(io::Error::other("it is closed, or was let go of by a program that detached"));
    }
    Ok(())
}

/// Whether it is `/dev/null`, opened for reading and writing.
fn is_replaced(file: impl AsFd) -> io::Result<bool> {
    let (null, found) = (fs::metadata("/dev/null")?, fstat(&file)?);
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
        && found.st_rdev == null.rdev()
        && fcntl_getfl(&file)? & OFlags::RWMODE == OFlags::RDWR)
}

/// Puts on disk what was written, if standard output is a file; only then is it known that there was room.
///
/// # Errors
///
/// When the disk does not take it.
pub(super) fn flush() -> io::Result<()> {
    match fsync(io::stdout()) {
        // What is no file on a disk has nothing to be put there.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
