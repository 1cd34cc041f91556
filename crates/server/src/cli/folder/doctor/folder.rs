//! Looks at the data folder: who may read and write in it, and whose its files are.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::process::geteuid;

use super::finding::Finding;
use crate::data_folder::{self, DATABASE, Keeper};

const GROUP: u32 = 0o070;
const GROUP_WRITES: u32 = 0o020;
const OTHERS: u32 = 0o007;
const OTHERS_WRITE: u32 = 0o002;

/// Who may read and write what.
pub(super) fn privacy(data: &Path) -> Finding {
    const WHAT: &str = "data folder";
    let shown = data.display();
    let folder = match fs::metadata(data) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return Finding::fail(WHAT, format!("{shown} is no folder"), "name another with --data"),
        Err(error) => {
            let advice = "name the folder with --data, or start the server once to make it";
            return Finding::fail(WHAT, format!("{shown}: {error}"), advice);
        }
    };
    if let Err(error) = data_folder::make(data).and_then(|()| data_folder::check_files(data)) {
        return Finding::fail(WHAT, format!("{error:#}"), "the server does not start with it so");
    }
    let open = open_files(data, &folder);
    if !open.is_empty() {
        return Finding::fail(
            WHAT,
            format!("others can read {}", open.join(", ")),
            format!("chmod 600 these files, and chmod 700 {shown}, so that what is put there is private too"),
        );
    }
    if folder.mode() & OTHERS_WRITE != 0 {
        let found = format!("everybody may write in {shown}, and so put files in the place of the database's");
        return Finding::fail(WHAT, found, format!("chmod o-w {shown}"));
    }
    if folder.mode() & OTHERS != 0 {
        return Finding::warn(
            WHAT,
            format!("everybody can see the names in {shown}; the files are their owner's alone"),
            format!("chmod o= {shown}"),
        );
    }
    let who = if folder.mode() & GROUP == 0 { "its owner alone" } else { "its owner and its group" };
    Finding::ok(WHAT, format!("{shown} is open to {who}"))
}

/// Database files that others may read. The group that shares the folder is none, should it have been given the files too,
/// as container platforms do.
fn open_files(data: &Path, folder: &Metadata) -> Vec<String> {
    let shared = folder.mode() & GROUP_WRITES != 0;
    let is_open = |file: &Metadata| {
        let group = file.mode() & GROUP != 0 && !(shared && file.gid() == folder.gid());
        group || file.mode() & OTHERS != 0
    };
    fs::read_dir(data)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(DATABASE))
        .filter(|entry| entry.metadata().is_ok_and(|file| file.is_file() && is_open(&file)))
        .map(|entry| entry.path().display().to_string())
        .collect()
}

/// Something in the data folder, or the folder itself, and whose it is.
#[derive(Debug)]
struct Owned {
    path: PathBuf,
    user: u32,
    group: u32,
    mode: u32,
}

impl Owned {
    fn of(path: PathBuf, found: &Metadata) -> Self {
        Self { path, user: found.uid(), group: found.gid(), mode: found.mode() & 0o7777 }
    }

    /// Whether `keeper` may make and remove files in it. Which groups else a user is in is not known here, so that a
    /// group's folder is held against nobody.
    fn is_open_to(&self, keeper: Keeper) -> bool {
        const OWNER_MAY: u32 = 0o300;
        const GROUP_MAY: u32 = 0o030;
        const OTHERS_MAY: u32 = 0o003;
        let may = |bits: u32| self.mode & bits == bits;
        if keeper.user == 0 {
            true
        } else if keeper.user == self.user {
            may(OWNER_MAY)
        } else {
            may(GROUP_MAY) || (keeper.group != self.group && may(OTHERS_MAY))
        }
    }

    fn path(&self) -> String {
        self.path.display().to_string()
    }
}

/// Whether the folder and all files are those of who is to serve.
pub(super) fn ownership(data: &Path) -> Finding {
    const WHAT: &str = "owner";
    let looked = data_folder::keeper(data).and_then(|keeper| Ok((keeper, fs::metadata(data)?)));
    let (keeper, folder) = match looked {
        Ok(found) => found,
        Err(error) => return Finding::fail(WHAT, format!("{error:#}"), "look at the permissions of the folder"),
    };
    let files = data_folder::own_files(data).filter_map(|file| {
        let found = data_folder::look_at(&file).ok()??;
        Some(Owned::of(file, &found))
    });
    if let Some((found, advice)) = mixed(&Owned::of(data.to_owned(), &folder), &files.collect::<Vec<_>>(), keeper) {
        return Finding::fail(WHAT, found, advice);
    }
    let user = geteuid().as_raw();
    if user != 0 && user != keeper.user {
        // A volume of a group, in which nobody has served yet, tells nothing of who will.
        let may = rustix::fs::accessat(CWD, data, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok();
        if !may || data.join(DATABASE).exists() {
            let found = format!("{} is user {}'s, and this is user {user}", data.display(), keeper.user);
            return Finding::fail(WHAT, found, "run as the user that runs the server");
        }
        return Finding::ok(WHAT, format!("user {user} may use {}", data.display()));
    }
    Finding::ok(WHAT, format!("the files are user {}'s", keeper.user))
}

/// What belongs to others than the one who is to serve, so that a server of theirs cannot start, and what to type.
fn mixed(folder: &Owned, files: &[Owned], keeper: Keeper) -> Option<(String, String)> {
    let shut = !folder.is_open_to(keeper);
    let others: Vec<&Owned> = files.iter().filter(|file| file.user != keeper.user).collect();
    if !shut && others.is_empty() {
        return None;
    }
    let mut named: Vec<String> = others.iter().map(|file| format!("{} (user {})", file.path(), file.user)).collect();
    if shut {
        named.insert(0, format!("{} (user {}, mode {:o})", folder.path(), folder.user, folder.mode));
    }
    let named = named.join(", ");
    let give_all_to = |user: u32| {
        let folder = (user != 0 && folder.user != user && (shut || keeper.user == 0)).then_some(folder);
        let given = folder.into_iter().chain(files.iter().filter(|file| file.user != user));
        let paths: Vec<String> = given.map(Owned::path).collect();
        format!("chown {user} {}", paths.join(" "))
    };
    if keeper.user == 0 {
        // Root can use them all. What is another's there was made by a server of that user.
        let other = others.first().map_or(folder.user, |file| file.user);
        let found =
            format!("the database is user 0's, and these are not: {named}; a server of user {other} cannot use it");
        let advice = format!("{}; or, if the server runs as root: {}", give_all_to(other), give_all_to(0));
        return Some((found, advice));
    }
    let found = format!("the server is to run as user {}, who cannot use what is others': {named}", keeper.user);
    // The database tells who has served. Who owns the folder may be who is to.
    let or = if shut && folder.user != 0 && folder.user != keeper.user {
        format!("; or, if user {} is to run the server: {}", folder.user, give_all_to(folder.user))
    } else {
        String::new()
    };
    let advice = if shut && folder.user == keeper.user {
        format!("chmod u+rwx {}", folder.path())
    } else {
        give_all_to(keeper.user) + &or
    };
    Some((found, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: u32 = 61_234;
    const OTHER: u32 = 61_236;

    fn owned(name: &str, user: u32, mode: u32) -> Owned {
        Owned { path: Path::new("/data").join(name), user, group: user, mode }
    }

    /// What is said of a folder with a database and a lock of these users, who have a group each.
    fn said(folder: (u32, u32), database: u32, lock: u32) -> Option<(String, String)> {
        let folder = Owned { path: "/data".into(), ..owned("", folder.0, folder.1) };
        let keeper = if database == 0 { folder.user } else { database };
        let files = [owned("respoked.db", database, 0o600), owned("lock", lock, 0o600)];
        mixed(&folder, &files, Keeper { user: keeper, group: keeper })
    }

    #[test]
    fn what_is_of_several_users_is_named_with_whose_it_is_and_what_to_type() {
        for (folder, database, lock, found, advice) in [
            // Root made the folder of a service, or changed whose it is.
            ((0, 0o700), SERVICE, SERVICE, vec!["/data (user 0, mode 700)"], "chown 61234 /data"),
            ((0, 0o755), SERVICE, SERVICE, vec!["/data (user 0, mode 755)"], "chown 61234 /data"),
            (
                (0, 0o755),
                SERVICE,
                0,
                vec!["/data (user 0, mode 755)", "/data/lock (user 0)"],
                "chown 61234 /data /data/lock",
            ),
            // Root made the files in the folder of a service.
            ((SERVICE, 0o700), 0, SERVICE, vec!["/data/respoked.db (user 0)"], "chown 61234 /data/respoked.db"),
            ((SERVICE, 0o700), SERVICE, 0, vec!["/data/lock (user 0)"], "chown 61234 /data/lock"),
            // Root has served, and a service before.
            (
                (0, 0o755),
                0,
                SERVICE,
                vec!["the database is user 0's", "/data/lock (user 61234)"],
                "chown 61234 /data /data/respoked.db; or, if the server runs as root: chown 0 /data/lock",
            ),
            // One service after the other.
            (
                (OTHER, 0o700),
                SERVICE,
                SERVICE,
                vec!["is to run as user 61234", "/data (user 61236, mode 700)"],
                "chown 61234 /data; or, if user 61236 is to run the server: chown 61236 /data/respoked.db /data/lock",
            ),
            ((SERVICE, 0o500), SERVICE, SERVICE, vec!["/data (user 61234, mode 500)"], "chmod u+rwx /data"),
        ] {
            let said = said(folder, database, lock).expect("something is said");
            for word in found {
                assert!(said.0.contains(word), "{word}: {}", said.0);
            }
            assert_eq!(said.1, advice);
        }
    }

    #[test]
    fn what_one_user_can_use_is_well() {
        for (folder, database) in [
            ((0, 0o700), 0),
            ((0, 0o500), 0),
            ((SERVICE, 0o700), SERVICE),
            // A group's volume, and what container platforms make of an empty one.
            ((0, 0o2770), SERVICE),
            ((OTHER, 0o770), SERVICE),
            ((0, 0o777), SERVICE),
        ] {
            assert_eq!(said(folder, database, database), None, "{folder:?} {database}");
        }
    }
}
