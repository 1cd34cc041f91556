//! Says of a database that cannot be used what is the matter around it: nobody should put a backup in the place of a sound
//! file because the disk is full.

use std::io::Write;
use std::path::Path;

use respoke_core::ports::StoreError;
use respoke_store::Trouble;

/// What is written to find out whether a folder takes it: more than the system keeps beside a file's name.
const PROBE_BYTES: usize = 64 * 1024;

/// What keeps the database in `folder` from being used, if that lies outside of it.
///
/// SQLite calls much of it an input or output error; the system calls it by its name when something is written there.
pub(crate) fn of(error: &StoreError, folder: &Path) -> Option<Trouble> {
    let trouble = Trouble::of(error)?;
    if !trouble.is_vague() {
        return Some(trouble);
    }
    let named = probe(folder).err().and_then(|error| Trouble::of_io(&error));
    Some(named.unwrap_or(trouble))
}

/// The error with what is the matter around the database in front of it.
pub(crate) fn explained(error: StoreError, folder: &Path) -> anyhow::Error {
    match of(&error, folder) {
        Some(trouble) => anyhow::Error::new(error).context(format!("{}; {}", trouble.words(), trouble.advice())),
        None => error.into(),
    }
}

/// The same of a failure of the system.
pub(crate) fn explained_io(error: std::io::Error) -> anyhow::Error {
    match Trouble::of_io(&error) {
        Some(trouble) => anyhow::Error::new(error).context(format!("{}; {}", trouble.words(), trouble.advice())),
        None => error.into(),
    }
}

/// Writes a file in the folder and removes it.
pub(crate) fn probe(folder: &Path) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".respoked-probe-").tempfile_in(folder)?;
    file.write_all(&vec![0x5a; PROBE_BYTES])?;
    file.as_file().sync_data()
}
