//! What is known of the disk and of the database's files. It decides whether look-ups may run on threads that must not
//! wait, whether writes are queued, and whether what was committed may be answered.
//!
//! A thread of its own watches for how long the writer has been at what it is doing, and the thread that looks at the
//! files (`vigil.rs`) likewise. It touches no file itself, so a disk that stands still does not stop it.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use respoke_core::ports::StoreError;

use super::failure::{failure, is_corruption, is_of_a_row};

/// After this long, what is under way at the disk counts as slow. A commit takes a thousandth of it as a rule.
const SLOW: Duration = Duration::from_millis(100);
/// After this long, writes are not queued any more behind the one that waits for the disk.
const STALLED: Duration = Duration::from_secs(5);

/// All is well: the only state in which nothing else has to be asked.
const FINE: u8 = 0;
/// The disk lets others wait: look-ups are done where they hold up nobody.
const LATE: u8 = 1;
/// The disk has not answered the writer for a while.
const SILENT: u8 = 2;
/// The files are not those that were opened. For good.
const LOST: u8 = 3;

/// What is known of the disk and the files.
pub(super) struct Condition {
    state: AtomicU8,
    /// Why the database must not be trusted; for good.
    fault: OnceLock<String>,
    /// What was found at the last look, and may be gone at the next.
    passing: Mutex<Option<String>>,
    /// Whether SQLite calls the file damaged; for good.
    corrupt: AtomicBool,
    /// Whether it was told that a row cannot be read.
    row_told: AtomicBool,
    /// Whether it does, or the last look could not read the file: nothing is written on top of that.
    unsound: AtomicBool,
    /// The files as they were opened.
    files: OnceLock<[(PathBuf, Identity); 3]>,
    pub(super) writer: Stamp,
    pub(super) looking: Stamp,
    /// Size of the files at the last look.
    pub(super) bytes: AtomicU64,
    /// Batches that the writer has committed.
    pub(super) batches: AtomicU64,
    /// Whether the log's file has grown beyond use.
    pub(super) log_long: AtomicBool,
    epoch: Instant,
}

/// What identifies a file, whatever it is called.
pub(super) type Identity = (u64, u64);

/// Since when something is under way: milliseconds after the epoch and one, or 0 if nothing is.
#[derive(Default)]
pub(super) struct Stamp(AtomicU64);

impl Stamp {
    pub(super) fn begin(&self, condition: &Condition) {
        self.0.store(condition.now() + 1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn age(&self, now: u64) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(now.saturating_sub(since - 1)),
        }
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            state: AtomicU8::new(FINE),
            fault: OnceLock::new(),
            passing: Mutex::new(None),
            corrupt: AtomicBool::new(false),
            row_told: AtomicBool::new(false),
            unsound: AtomicBool::new(false),
            files: OnceLock::new(),
            writer: Stamp::default(),
            looking: Stamp::default(),
            bytes: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            log_long: AtomicBool::new(false),
            epoch: Instant::now(),
        }
    }
}

impl Condition {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a look-up may run on a thread that must not wait.
    pub(super) fn is_fine(&self) -> bool {
        self.state.load(Ordering::Relaxed) == FINE
    }

    /// Whether the files are others than those that were opened.
    pub(super) fn is_lost(&self) -> bool {
        self.state.load(Ordering::Relaxed) == LOST
    }

    /// Whether the disk has not answered for long.
    pub(super) fn is_silent(&self) -> bool {
        self.state.load(Ordering::Relaxed) == SILENT
    }

    /// Whether what is written goes into sound files that are found again. Asked before whatever nobody waits for.
    pub(super) fn is_trusted(&self) -> bool {
        !self.is_lost() && !self.unsound.load(Ordering::Relaxed)
    }

    /// Whether reading makes sense.
    pub(super) fn readable(&self) -> Result<(), StoreError> {
        if self.is_lost() { Err(self.why_not()) } else { Ok(()) }
    }

    /// Whether writing does. If not, nothing was written.
    pub(super) fn writable(&self) -> Result<(), StoreError> {
        match self.state.load(Ordering::Relaxed) {
            LOST => Err(self.why_not()),
            SILENT if self.is_still_silent() => Err(silent()),
            _ if self.unsound.load(Ordering::Relaxed) => self.sound(),
            _ => Ok(()),
        }
    }

    /// Whether the disk has not answered since the last look at the clock either.
    fn is_still_silent(&self) -> bool {
        self.judge();
        self.is_silent()
    }

    /// Remembers the database's files as they are now.
    ///
    /// # Errors
    ///
    /// When one of them cannot be looked at.
    pub(super) fn opened(&self, paths: [PathBuf; 3]) -> std::io::Result<()> {
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let identity = identity(&std::fs::metadata(&path)?);
            files.push((path, identity));
        }
        if let Ok(files) = files.try_into() {
            let _ = self.files.set(files);
        }
        Ok(())
    }

    /// Looks whether the files are still those that were opened. The lengths of database, log and index; none: they are
    /// lost, or cannot be looked at.
    pub(super) fn look_at_files(&self) -> Option<[u64; 3]> {
        let mut lens = [0; 3];
        for ((path, opened), len) in self.files.get()?.iter().zip(&mut lens) {
            let file = match std::fs::metadata(path) {
                Ok(file) => file,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    self.lost(&format!("{} is not there any more", path.display()));
                    return None;
                }
                // Whether it is another one cannot be told.
                Err(error) => {
                    self.found(Some(format!("{} cannot be looked at: {error}", path.display())));
                    return None;
                }
            };
            if identity(&file) != *opened {
                self.lost(&format!("{} is another file now", path.display()));
                return None;
            }
            *len = file.len();
        }
        Some(lens)
    }

    /// Whether anything is known that speaks against the database.
    pub(super) fn sound(&self) -> Result<(), StoreError> {
        if self.fault.get().is_some() {
            return Err(self.why_not());
        }
        match &*self.passing.lock() {
            Some(what) => Err(StoreError::Unavailable(what.clone().into())),
            None if self.is_silent() && self.is_still_silent() => Err(silent()),
            None => Ok(()),
        }
    }

    fn why_not(&self) -> StoreError {
        StoreError::Unavailable(self.fault.get().map_or("the database cannot be used", String::as_str).into())
    }

    /// The failure of an operation as the port names it; one that shows damage is remembered.
    pub(super) fn met(&self, error: rusqlite::Error) -> StoreError {
        self.note(&error);
        failure(error)
    }

    /// Remembers a failure that shows damage.
    pub(super) fn note(&self, error: &rusqlite::Error) {
        if is_corruption(error) {
            self.corrupt.store(true, Ordering::Relaxed);
            self.unsound.store(true, Ordering::Relaxed);
            self.damaged(&error.to_string());
        } else if is_of_a_row(error) && !self.row_told.swap(true, Ordering::Relaxed) {
            // The file is sound, and all else in it is served.
            tracing::error!(
                error = error as &dyn std::error::Error,
                "a row of the database cannot be read; what asks for it is answered with an internal error, and lists of \
                 tokens, sessions and the audit log pass it over"
            );
        }
    }

    /// A row of a list as it was read. None if it cannot be: then it is passed over, for the others can be read.
    pub(super) fn of_list<T>(&self, read: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
        match read {
            Err(error) if is_of_a_row(&error) => {
                self.note(&error);
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    pub(super) fn damaged(&self, what: &str) {
        let fault = format!("the database is damaged: {what}");
        if self.fault.set(fault).is_ok() {
            tracing::error!(
                what,
                "the database is damaged: stop the server and restore a backup (respoked restore); respoked doctor says \
                 more"
            );
        }
    }

    /// The files were removed, replaced or moved. What is written from now on would be lost.
    pub(super) fn lost(&self, what: &str) {
        if self.state.swap(LOST, Ordering::Relaxed) == LOST {
            return;
        }
        let _ = self.fault.set(format!("the database was taken away from under the server: {what}"));
        tracing::error!(
            what,
            "the database was taken away from under the server, which writes nothing any more: stop it, put the files \
             back or restore a backup (respoked restore), and start it again"
        );
    }

    /// What a look at the database found, if anything.
    pub(super) fn found(&self, what: Option<String>) {
        let mut passing = self.passing.lock();
        if let Some(what) = &what
            && passing.is_none()
        {
            tracing::error!(what, "the database cannot be read");
        }
        self.unsound.store(what.is_some() || self.corrupt.load(Ordering::Relaxed), Ordering::Relaxed);
        *passing = what;
    }

    /// Draws the conclusions from how long things have been under way.
    pub(super) fn judge(&self) {
        let now = self.now();
        let (writing, looking) = (self.writer.age(now), self.looking.age(now));
        let next = if writing >= STALLED {
            SILENT
        } else if writing.max(looking) >= SLOW {
            LATE
        } else {
            FINE
        };
        let before = self.state.load(Ordering::Relaxed);
        // Lost it stays, also if that is found out just now.
        if before == LOST
            || before == next
            || self.state.compare_exchange(before, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        if next == SILENT {
            tracing::error!(
                "the disk has not answered for {} seconds, or another process holds the database; nothing is written",
                STALLED.as_secs()
            );
        } else if before == SILENT {
            tracing::info!("the disk answers again");
        }
    }
}

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

fn silent() -> StoreError {
    StoreError::Unavailable("the disk does not answer".into())
}
