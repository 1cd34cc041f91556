//! Writes a file that gets its name when it is finished.
//!
//! Until then it lies in a folder of its own, whose name nobody can guess. So two commands never meet there, and where others may
//! write beside it, they cannot put anything into it. Who works on one has a lock on the folder. So what a killed command left is
//! known by having none, and the next one that works beside it removes it. Who owns the folder
//! around it may put another in its place. Then the command fails, or gives the name to the file that it made.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::data_folder::{self, Keeper, kind_of, look_at};
use crate::trouble;

/// What is to become of a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Present {
    /// It stays, and the new one is refused.
    Stays,
    /// The new one takes its place.
    Goes,
}

/// A file that is not finished, and is removed if it never is.
pub(super) struct Unfinished {
    folder: TempDir,
    /// The folder that was made, whatever has its name by now.
    held: OwnedFd,
    path: PathBuf,
}

/// What the file is called in that folder.
const NAME: &str = "database";
/// What the folder's name begins with.
const PREFIX: &str = ".respoked-unfinished-";
/// How often another folder is made in the place of one that was taken for one that was left.
const TRIES_MAX: u32 = 10;
/// Left folders that one command removes; somebody kills it in a loop.
const REMOVED_MAX: usize = 100;

impl Unfinished {
    /// A file that can get the name `path` when it is finished.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        let beside = folder_of(path);
        remove_left(beside);
        for _ in 0..TRIES_MAX {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .tempdir_in(beside)
                .map_err(trouble::explained_io)
                .with_context(|| format!("nothing can be written in {}", beside.display()))?;
            // Another command may take it for one that was left, in the moment before it is locked.
            let held = match open_folder(CWD, folder.path()) {
                Err(Errno::NOENT) => continue,
                opened => opened
                    .map_err(io::Error::from)
                    .with_context(|| format!("{} cannot be opened", folder.path().display()))?,
            };
            let is_ours = !matches!(flock(&held, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK))
                && is_same(&held, folder.path());
            if is_ours {
                let path = folder.path().join(NAME);
                return Ok(Self { folder, held, path });
            }
        }
        anyhow::bail!("other commands remove what is made in {}: try again", beside.display())
    }

    /// Gives the file to its keeper, if this is root.
    pub(super) fn give(&self, keeper: Keeper) -> anyhow::Result<()> {
        data_folder::give(&self.held, NAME, keeper)
    }

    /// Where it lies for now. It is not made yet.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file the name `path`, for good.
    pub(super) fn becomes(self, path: &Path, present: Present) -> anyhow::Result<()> {
        let renamed = match present {
            Present::Goes => {
                check_target(path)?;
                rustix::fs::renameat(&self.held, NAME, CWD, path).map_err(io::Error::from)
            }
            Present::Stays => rename_to_new(&self.held, path),
        };
        renamed.with_context(|| format!("{} cannot be written", path.display()))?;
        self.close(path)
    }

    /// Gives the file the name `path`, for good, and the file that has that name the free name `kept`.
    pub(super) fn takes_the_place_of(self, path: &Path, kept: &Path) -> anyhow::Result<()> {
        check_target(path)?;
        let failed = || format!("the present {} cannot be kept as {}", path.display(), kept.display());
        // The new file gets the name `kept`, and then the two files trade their names in one step. Killed at any moment,
        // there is one whole file under `path`, it has no other name, and the old one is outside of what is unfinished. A
        // second name, given to the old one first, would be taken for a second server's, and nothing would start.
        let traded = rustix::fs::renameat_with(&self.held, NAME, CWD, kept, RenameFlags::NOREPLACE).and_then(|()| {
            let traded = rustix::fs::renameat_with(CWD, kept, CWD, path, RenameFlags::EXCHANGE);
            if traded.is_err() {
                rustix::fs::renameat(CWD, kept, &self.held, NAME)?;
            }
            traded
        });
        match traded {
            Ok(()) => {}
            // The file system cannot.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if fs::hard_link(path, kept).is_err() {
                    fs::rename(path, kept).with_context(failed)?;
                }
                sync_folder_of(path)?;
                rustix::fs::renameat(&self.held, NAME, CWD, path).map_err(io::Error::from).with_context(failed)?;
            }
            Err(error) => return Err(io::Error::from(error)).with_context(failed),
        }
        self.close(path)
    }

    fn close(self, path: &Path) -> anyhow::Result<()> {
        sync_folder_of(path)?;
        // What cannot be removed is empty, and no reason to call a finished file unfinished.
        let _ = self.folder.close();
        Ok(())
    }
}

fn open_folder(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Whether a folder still has its name.
fn is_same(held: &OwnedFd, path: &Path) -> bool {
    match (rustix::fs::fstat(held), fs::symlink_metadata(path)) {
        (Ok(held), Ok(named)) => (held.st_dev, held.st_ino) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Removes what killed commands of this user left in a folder. What cannot be removed is left, and in nobody's way.
fn remove_left(beside: &Path) {
    let Ok(beside) = open_folder(CWD, beside) else { return };
    let Ok(entries) = rustix::fs::Dir::read_from(&beside) else { return };
    let is_left = |name: &CStr| name.to_bytes().starts_with(PREFIX.as_bytes());
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_owned())).filter(|name| is_left(name));
    for name in names.take(REMOVED_MAX) {
        // Where folders cannot be locked, nobody knows which are left.
        let Ok(folder) = open_folder(&beside, &name) else { continue };
        let is_ours = rustix::fs::fstat(&folder).is_ok_and(|found| found.st_uid == geteuid().as_raw());
        if !is_ours || flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        for suffix in data_folder::SUFFIXES {
            let _ = rustix::fs::unlinkat(&folder, format!("{NAME}{suffix}"), AtFlags::empty());
        }
        // Should another have this name by now, it is removed only if it is empty.
        let _ = rustix::fs::unlinkat(&beside, &name, AtFlags::REMOVEDIR);
    }
}

/// Renames to a name that nothing has.
fn rename_to_new(from: &OwnedFd, to: &Path) -> io::Result<()> {
    let renamed = match rustix::fs::renameat_with(from, NAME, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot. It can refuse to give a file a second name that is taken.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(from, NAME, CWD, to, AtFlags::empty())
        }
        renamed => renamed,
    };
    Ok(renamed?)
}

/// Whether a file may get that name: it must be free, or be a plain file's.
pub(super) fn check_target(path: &Path) -> anyhow::Result<()> {
    if let Some(found) = look_at(path)? {
        anyhow::ensure!(
            found.is_file(),
            "{} is {}, and only a plain file is written over; name a file",
            path.display(),
            kind_of(&found)
        );
    }
    Ok(())
}

/// The folder in which `path` is a name.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes what lies beside a database and belongs to it, so that it is not taken for another's.
pub(super) fn remove_log(database: &Path) {
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(data_folder::with_suffix(database, suffix));
    }
}

/// Puts the names in the folder of `path` on disk; a power cut could otherwise bring back the old ones.
pub(super) fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = folder_of(path);
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("the folder {} cannot be flushed", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_is_kept_or_given_up_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let finish = |text: &str, present| {
            let unfinished = Unfinished::of(&target).unwrap();
            fs::write(unfinished.path(), text).unwrap();
            unfinished.becomes(&target, present)
        };
        finish("one", Present::Stays).unwrap();
        assert!(finish("two", Present::Stays).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "one");
        finish("three", Present::Goes).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "three");
        drop(Unfinished::of(&target).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
    }

    #[test]
    fn what_a_killed_command_left_is_removed_by_the_next_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let at_work = Unfinished::of(&target).unwrap();
        fs::write(at_work.path(), "at work").unwrap();
        let left = folder.path().join(format!("{PREFIX}left"));
        for (name, file) in
            [("left", "database"), ("left", "database-wal"), ("others", "database"), ("others", "letter")]
        {
            let folder = folder.path().join(format!("{PREFIX}{name}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), "text").unwrap();
        }
        let link = folder.path().join(format!("{PREFIX}link"));
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join(NAME), "elsewhere").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        let next = Unfinished::of(&target).unwrap();
        assert!(!left.exists());
        assert_eq!(fs::read_to_string(folder.path().join(format!("{PREFIX}others/letter"))).unwrap(), "text");
        assert_eq!(fs::read_to_string(at_work.path()).unwrap(), "at work");
        assert_eq!(fs::read_to_string(link.join(NAME)).unwrap(), "elsewhere");
        at_work.becomes(&target, Present::Stays).unwrap();
        fs::write(next.path(), "next").unwrap();
        next.becomes(&target, Present::Goes).unwrap();
    }

    #[test]
    fn what_takes_the_place_of_another_keeps_it_and_each_has_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let (target, kept) = (folder.path().join("target"), folder.path().join("kept"));
        fs::write(&target, "old").unwrap();
        let new = |text: &str| {
            let unfinished = Unfinished::of(&target).unwrap();
            fs::write(unfinished.path(), text).unwrap();
            unfinished
        };
        new("new").takes_the_place_of(&target, &kept).unwrap();
        let texts = [&target, &kept].map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(texts, ["new", "old"]);
        for path in [&target, &kept] {
            assert_eq!(std::os::unix::fs::MetadataExt::nlink(&fs::metadata(path).unwrap()), 1);
        }
        // What cannot be kept stays.
        let nowhere = folder.path().join("nowhere").join("kept");
        assert!(new("newer").takes_the_place_of(&target, &nowhere).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left");
    }

    #[test]
    fn what_was_put_in_the_folders_place_gets_no_name() {
        for present in [Present::Stays, Present::Goes] {
            let folder = tempfile::tempdir().unwrap();
            let (target, moved) = (folder.path().join("target"), folder.path().join("moved"));
            let unfinished = Unfinished::of(&target).unwrap();
            fs::write(unfinished.path(), "ours").unwrap();
            fs::rename(folder_of(unfinished.path()), &moved).unwrap();
            fs::create_dir(folder_of(unfinished.path())).unwrap();
            fs::write(unfinished.path(), "planted").unwrap();
            unfinished.becomes(&target, present).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "ours");
            // Before the file was written: it is not where it was to be.
            let unfinished = Unfinished::of(&target).unwrap();
            fs::rename(folder_of(unfinished.path()), folder.path().join("again")).unwrap();
            fs::create_dir(folder_of(unfinished.path())).unwrap();
            fs::write(unfinished.path(), "planted").unwrap();
            assert!(unfinished.becomes(&target, present).is_err());
            assert_eq!(fs::read_to_string(&target).unwrap(), "ours");
        }
    }

    #[test]
    fn only_a_plain_file_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [folder.path(), &link, Path::new("/dev/null"), Path::new("/dev/stdout"), Path::new("/dev/fd/1")] {
            assert!(check_target(path).is_err(), "{}", path.display());
            assert!(Unfinished::of(&file).unwrap().becomes(path, Present::Goes).is_err(), "{}", path.display());
        }
        check_target(&file).unwrap();
        check_target(&folder.path().join("free")).unwrap();
    }
}
