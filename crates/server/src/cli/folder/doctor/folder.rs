//! What the data folder is like: who may read and write in it, and whose its files are.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::process::geteuid;

use super::Finding;
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

/// Whether all files are those of who is to serve.
pub(super) fn ownership(data: &Path) -> Finding {
    const WHAT: &str = "owner";
    let keeper = match data_folder::keeper(data) {
        Ok(keeper) => keeper,
        Err(error) => return Finding::fail(WHAT, format!("{error:#}"), "look at the permissions of the folder"),
    };
    let user = geteuid().as_raw();
    let others = files_of_others(data, keeper);
    if !others.is_empty() {
        let found = format!(
            "the server is to run as user {}, who cannot use the files of others: {}",
            keeper.user,
            others.join(", ")
        );
        return Finding::fail(WHAT, found, format!("chown {} these files", keeper.user));
    }
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

fn files_of_others(data: &Path, keeper: Keeper) -> Vec<String> {
    data_folder::own_files(data)
        .filter_map(|file| {
            let found = data_folder::look_at(&file).ok()??;
            (found.uid() != keeper.user).then(|| format!("{} (user {})", file.display(), found.uid()))
        })
        .collect()
}
