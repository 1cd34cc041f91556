//! The data folder: making it, judging it, and taking it for one process.
//!
//! Somebody else may be able to write in it: a volume that a group owns, or a folder that was there before. So a name
//! in it may be anybody's.
//!
//! Invariant: what others made keeps its mode, and no symbolic link in the folder is followed. The folder's own path may
//! lead over links; whoever named it chose them.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{Access, AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::geteuid;

/// The database's file in the data folder.
pub const DATABASE: &str = "respoked.db";
/// What SQLite calls the files beside it.
pub(crate) const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];
/// A file that is locked too: see [`lock`].
const LOCK: &str = "lock";

const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Makes the folder, readable by its owner alone, or looks whether the one that is there will do.
///
/// # Errors
///
/// Names the folder, what is wrong with it and what helps.
pub fn make(path: &Path) -> anyhow::Result<()> {
    match fs::metadata(path) {
        Ok(found) => judge(path, &found),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700);
            let parents = path.parent().map_or(Ok(()), |parent| builder.recursive(true).create(parent));
            match parents.and_then(|()| builder.recursive(false).create(path)) {
                Ok(()) => Ok(()),
                // Another start was first, or it is a link that leads nowhere.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => make(path),
                Err(error) => Err(error).with_context(|| format!("the data folder {} cannot be made", path.display())),
            }
        }
        Err(error) => Err(error).with_context(|| format!("the data folder {} cannot be looked at", path.display())),
    }
}

/// Whether a folder that was there before will do.
fn judge(path: &Path, found: &Metadata) -> anyhow::Result<()> {
    let shown = path.display();
    anyhow::ensure!(found.is_dir(), "{shown} is no folder; name another with --data");
    if found.mode() & OTHERS_WRITE != 0 {
        let known = [0, geteuid().as_raw()].contains(&found.uid());
        // The sticky bit marks a folder that users share, such as /tmp. Without it a folder of ours or of root's that
        // everybody may write to is what container platforms make of an empty volume.
        if !known || found.mode() & STICKY != 0 {
            bail!(
                "everybody may write in {shown}, so everybody could put files in the place of the database's; name a \
                 folder within it, which is then made for the server alone (--data {}), or take the right away \
                 (chmod o-w)",
                path.join("respoked").display()
            );
        }
        tracing::warn!("everybody may write in the data folder; take the right away (chmod o-w)");
    }
    match rustix::fs::accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Err(Errno::ROFS) => {
            bail!("the data folder {shown} lies on a file system that can only be read; mount it for writing")
        }
        Err(Errno::ACCESS | Errno::PERM) => bail!(
            "user {} may not write in the data folder {shown}, which belongs to user {} and group {} (mode {:o}); run \
             as that user, or give the folder to this one (chown)",
            geteuid().as_raw(),
            found.uid(),
            found.gid(),
            found.mode() & 0o7777,
        ),
        // Where this cannot be asked, the first file shows it.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The paths of the database's files in the folder.
pub(crate) fn database_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    SUFFIXES.iter().map(move |suffix| folder.join(format!("{DATABASE}{suffix}")))
}

/// Whether the database's files, those that are there, are plain files of one name: the lock is on their folder.
///
/// # Errors
///
/// Names the one that is something else.
pub(crate) fn check_files(folder: &Path) -> anyhow::Result<()> {
    for file in database_files(folder) {
        let Some(found) = look_at(&file)? else { continue };
        anyhow::ensure!(
            found.is_file(),
            "{} is {}: links in the data folder are not followed, and the database is plain files; remove it, or name \
             the folder where the database is with --data",
            file.display(),
            kind_of(&found)
        );
        anyhow::ensure!(
            found.nlink() == 1,
            "{} has another name elsewhere (a hard link), by which a second server could write to it; copy it instead \
             (respoked backup), and remove one of the names",
            file.display()
        );
    }
    Ok(())
}

/// Whether this process may read and write them.
///
/// # Errors
///
/// Names the one that it may not, and whose it is.
pub(crate) fn check_access(folder: &Path) -> anyhow::Result<()> {
    let trusted = fs::metadata(folder)?;
    let open_to_all = trusted.mode() & OTHERS_WRITE != 0;
    let trusted = [0, geteuid().as_raw(), trusted.uid()];
    for file in database_files(folder) {
        let Some(found) = look_at(&file)? else { continue };
        let user = geteuid().as_raw();
        anyhow::ensure!(
            !open_to_all || trusted.contains(&found.uid()),
            "{} belongs to user {} in a folder where everybody may write: it is not trusted; look at it and remove it, \
             or give it to this user (chown {user})",
            file.display(),
            found.uid()
        );
        let access = rustix::fs::accessat(CWD, &file, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
        anyhow::ensure!(
            !matches!(access, Err(Errno::ACCESS | Errno::PERM)),
            "{} belongs to user {} (mode {:o}), and user {user} may not use it; run as that user, or give it to this one \
             (chown {user})",
            file.display(),
            found.uid(),
            found.mode() & 0o777
        );
    }
    Ok(())
}

/// The paths of all files that the server makes in the folder.
pub(crate) fn own_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    database_files(folder).chain([folder.join(LOCK)])
}

/// `path` with `suffix` at its end.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keeper {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// Whose the database's files are to be: whose the database is, so that a volume of a group stays with the member that
/// serves, and if there is none or it is root's, whose the folder is.
///
/// # Errors
///
/// When the folder cannot be looked at.
pub(crate) fn keeper(folder: &Path) -> anyhow::Result<Keeper> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty());
    opened
        .and_then(keeper_in)
        .map_err(io::Error::from)
        .with_context(|| format!("{} cannot be looked at", folder.display()))
}

fn keeper_in(folder: impl AsFd) -> Result<Keeper, Errno> {
    let database = match rustix::fs::statat(&folder, DATABASE, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => None,
        database => Some(database?).filter(|database| database.st_uid != 0),
    };
    let found = match database {
        Some(database) => database,
        None => rustix::fs::fstat(folder)?,
    };
    Ok(Keeper { user: found.st_uid, group: found.st_gid })
}

/// Gives a file that root made in a folder to its keeper, if this is root, who alone can.
///
/// Whoever may write in the folder may have put something else there, and may do so at any moment: what is looked at here
/// is what is given, and only a plain file of root's without another name is.
///
/// # Errors
///
/// When the file system does not allow it, so that the keeper could not use the file; when it has another name.
pub(crate) fn give(folder: impl AsFd, name: &str, keeper: Keeper) -> anyhow::Result<()> {
    if keeper.user == 0 || !geteuid().is_root() {
        return Ok(());
    }
    // As a path alone: closing a file that can be read would take the locks away that SQLite has on it.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let given = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => give_opened(&file, name, keeper),
        Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(error),
    };
    let given = given.map_err(io::Error::from);
    let given = given.with_context(|| format!("{name} cannot be given to user {}; run as that user", keeper.user))?;
    anyhow::ensure!(
        given,
        "{name} in the data folder has another name elsewhere (a hard link), or is not what the server makes: it is not \
         given to user {}; look at it and remove it",
        keeper.user
    );
    Ok(())
}

/// False: it is not to be given away.
fn give_opened(file: impl AsFd, name: &str, keeper: Keeper) -> Result<bool, Errno> {
    let found = rustix::fs::fstat(&file)?;
    if found.st_uid != 0 || FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Ok(true);
    }
    // There is never anything in the file of the lock.
    if found.st_nlink != 1 || (name == LOCK && found.st_size != 0) {
        return Ok(false);
    }
    let (user, group) = (Uid::from_raw(keeper.user), Gid::from_raw(keeper.group));
    rustix::fs::chownat(file, "", Some(user), Some(group), AtFlags::EMPTY_PATH)?;
    Ok(true)
}

/// What is there under that name, links not followed.
pub(crate) fn look_at(file: &Path) -> anyhow::Result<Option<Metadata>> {
    match fs::symlink_metadata(file) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be looked at", file.display())),
    }
}

/// What it is, as far as it is no plain file.
pub(crate) fn kind_of(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_file() {
        "a file"
    } else {
        "a device, pipe or socket"
    }
}

/// The data folder, taken for this process until this is dropped.
#[derive(Debug)]
pub struct Lock {
    folder: File,
    _file: Option<File>,
}

impl Lock {
    /// Whose the files of this folder are to be, as [`keeper`] says, whatever has its name by now.
    ///
    /// # Errors
    ///
    /// When it cannot be looked at.
    pub(crate) fn keeper(&self) -> anyhow::Result<Keeper> {
        keeper_in(&self.folder).map_err(io::Error::from).context("the data folder cannot be looked at")
    }

    /// Gives all files that root made in this folder to their keeper; the server could not use them otherwise.
    ///
    /// # Errors
    ///
    /// As [`give`].
    pub(crate) fn hand_over(&self, keeper: Keeper) -> anyhow::Result<()> {
        let names = SUFFIXES.iter().map(|suffix| format!("{DATABASE}{suffix}")).chain([LOCK.to_owned()]);
        names.into_iter().try_for_each(|name| give(&self.folder, &name, keeper))
    }
}

/// Takes the data folder for this process; a second server, or a restore beside a running one, is refused.
///
/// What is locked is the folder itself: a file in it could be removed, and a second one of that name be locked as well.
/// A file is locked besides, because network file systems lock files alone, and because releases up to 0.1 did only that.
///
/// # Errors
///
/// Says that the folder is in use.
pub fn lock(path: &Path) -> anyhow::Result<Lock> {
    let folder = File::open(path).with_context(|| format!("the data folder {} cannot be opened", path.display()))?;
    let whole = take(&folder, path)?;
    let file = match open_lock_file(&folder) {
        Ok(file) => Some(file),
        // One that another user left. Who uses this folder now holds the folder itself.
        Err(Errno::ACCESS | Errno::PERM) if whole => None,
        Err(Errno::LOOP) => {
            bail!("{} is a symbolic link, which is not followed; remove it", path.join(LOCK).display())
        }
        Err(error) => {
            let error = Err(io::Error::from(error));
            return error.with_context(|| format!("{} cannot be made", path.join(LOCK).display()));
        }
    };
    if let Some(file) = &file {
        let found = file.metadata()?;
        anyhow::ensure!(found.is_file(), "{} is {}; remove it", path.join(LOCK).display(), kind_of(&found));
        anyhow::ensure!(take(file, path)? || whole, "neither {} nor a file in it can be locked", path.display());
    }
    Ok(Lock { folder, _file: file })
}

/// Locks it; false if the file system cannot.
fn take(file: &File, folder: &Path) -> anyhow::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => {
            bail!("the data folder {} is in use by another respoked", folder.display())
        }
        Err(TryLockError::Error(_)) => Ok(false),
    }
}

/// The lock's file. One that is there keeps its mode. Not blocking, should it be a pipe that nobody reads.
fn open_lock_file(folder: &File) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(folder, LOCK, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder(mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn said<T>(done: anyhow::Result<T>) -> String {
        format!("{:#}", done.err().expect("it is refused"))
    }

    #[test]
    fn what_is_made_is_private_and_what_was_there_keeps_its_mode() {
        let parent = folder(0o755);
        let deep = parent.path().join("a/b/c");
        make(&deep).unwrap();
        for made in [&deep, &parent.path().join("a/b"), &parent.path().join("a")] {
            assert_eq!(mode(made), 0o700, "{}", made.display());
        }
        assert_eq!(mode(parent.path()), 0o755);
        for there in [0o700, 0o750, 0o755, 0o770, 0o2770, 0o775, 0o777, 0o2777] {
            let folder = folder(there);
            fs::write(folder.path().join("lost+found"), "x").unwrap();
            make(folder.path()).unwrap();
            lock(folder.path()).unwrap();
            assert_eq!(mode(folder.path()), there);
        }
    }

    #[test]
    fn a_folder_that_users_share_is_refused_and_one_within_it_is_made() {
        for shared in [0o1777, 0o1773] {
            let folder = folder(shared);
            let said = said(make(folder.path()));
            assert!(said.contains("everybody may write") && said.contains("--data"), "{said}");
            assert_eq!(mode(folder.path()), shared);
            make(&folder.path().join("respoked")).unwrap();
        }
    }

    #[test]
    fn a_folder_may_be_named_by_a_link_and_must_be_one() {
        let parent = folder(0o700);
        let at = |name: &str| parent.path().join(name);
        make(&at("real")).unwrap();
        symlink(at("real"), at("link")).unwrap();
        make(&at("link")).unwrap();
        let _held = lock(&at("link")).unwrap();
        assert!(said(lock(&at("real"))).contains("in use"), "it is one folder");

        fs::write(at("file"), "x").unwrap();
        assert!(said(make(&at("file"))).contains("is no folder"));
        symlink(at("nowhere"), at("dangling")).unwrap();
        assert!(said(make(&at("dangling"))).contains("cannot be made"));
        assert!(!at("nowhere").exists());
    }

    #[test]
    fn removing_a_name_frees_no_folder() {
        let folder = folder(0o700);
        let held = lock(folder.path()).unwrap();
        fs::remove_file(folder.path().join(LOCK)).unwrap();
        assert!(said(lock(folder.path())).contains("in use"));
        fs::write(folder.path().join(LOCK), "").unwrap();
        assert!(said(lock(folder.path())).contains("in use"));
        drop(held);
        drop(lock(folder.path()).unwrap());

        // As earlier releases took it.
        let older = File::open(folder.path().join(LOCK)).unwrap();
        older.try_lock().unwrap();
        assert!(said(lock(folder.path())).contains("in use"));
    }

    #[test]
    fn what_others_planted_is_neither_followed_nor_changed() {
        let folder = folder(0o770);
        let target = folder.path().join("target");
        fs::write(&target, "text").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        let names = SUFFIXES.map(|suffix| format!("{DATABASE}{suffix}"));
        for name in names.iter().map(String::as_str).chain([LOCK]) {
            let path = folder.path().join(name);
            let plants: [&dyn Fn(); 4] = [
                &|| symlink(&target, &path).unwrap(),
                &|| symlink(folder.path().join("nowhere"), &path).unwrap(),
                &|| fs::create_dir(&path).unwrap(),
                &|| rustix::fs::mkfifoat(CWD, &path, Mode::RUSR).unwrap(),
            ];
            for (number, plant) in plants.iter().enumerate() {
                plant();
                let refused = check_files(folder.path()).and_then(|()| lock(folder.path()).map(drop));
                assert!(said(refused).contains(name), "{name} {number}");
                fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
            }
        }
        for name in &names {
            let path = folder.path().join(name);
            fs::hard_link(&target, &path).unwrap();
            assert!(said(check_files(folder.path())).contains("another name"), "{name}");
            fs::remove_file(&path).unwrap();
        }
        check_files(folder.path()).unwrap();
        assert!(!folder.path().join("nowhere").exists());
        assert_eq!((mode(&target), fs::read(&target).unwrap()), (0o644, b"text".to_vec()));

        // A plain file that was there keeps its mode.
        let lock_file = folder.path().join(LOCK);
        fs::write(&lock_file, "").unwrap();
        fs::set_permissions(&lock_file, fs::Permissions::from_mode(0o640)).unwrap();
        lock(folder.path()).unwrap();
        assert_eq!(mode(&lock_file), 0o640);
    }

    #[test]
    fn what_root_gives_away_is_what_it_made_itself() {
        let folder = folder(0o770);
        let keeper = Keeper { user: 61_234, group: 61_235 };
        let at = |name: &str| folder.path().join(name);
        let held = lock(folder.path()).unwrap();
        for name in [DATABASE, "other"] {
            fs::write(at(name), "text").unwrap();
        }
        held.hand_over(keeper).unwrap();
        let owner = |name: &str| fs::symlink_metadata(at(name)).unwrap().uid();
        let us = geteuid().as_raw();
        if us != 0 {
            // Who is not root gives nothing away.
            return assert_eq!([owner(DATABASE), owner(LOCK)], [us, us]);
        }
        assert_eq!([owner(DATABASE), owner(LOCK), owner("other")], [keeper.user, keeper.user, 0]);
        assert_eq!(held.keeper().unwrap(), keeper);
        // What somebody else has put in their place.
        for name in [LOCK, "respoked.db-wal"] {
            let _ = fs::remove_file(at(name));
            fs::hard_link(at("other"), at(name)).unwrap();
            assert!(said(held.hand_over(keeper)).contains(name));
            fs::remove_file(at(name)).unwrap();
            symlink(at("other"), at(name)).unwrap();
            held.hand_over(keeper).unwrap();
            assert_eq!([owner(name), owner("other")], [0, 0], "neither the link nor what it leads to");
            fs::remove_file(at(name)).unwrap();
        }
        fs::rename(at("other"), at(LOCK)).unwrap();
        assert!(said(held.hand_over(keeper)).contains(LOCK));
        assert_eq!(owner(LOCK), 0, "there is something in it");
    }
}
