//! The data folder: whose it may be, what may lie in it, and who may use it. What permissions forbid is tried as another
//! user where the tests run as root, to whom nothing is forbidden.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Process, Said, data_folder, respoked, run};

/// A user and a group that own nothing else.
pub(crate) const USER: u32 = 61_234;
const GROUP: u32 = 61_235;

/// Whether tests may give files away and act as others.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The built binary as that user.
pub(crate) fn as_user() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &USER.to_string(), "--regid", &GROUP.to_string(), "--clear-groups"]);
    command.arg(env!("CARGO_BIN_EXE_respoked"));
    command
}

fn serve(mut command: Command, data: &Path) -> Said {
    run(command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data))
}

/// An existing folder that any user can reach, holding a file already.
pub(crate) fn folder(mode: u32, owner: (u32, u32)) -> (PathBuf, TempDir) {
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), Permissions::from_mode(0o755)).unwrap();
    let data = parent.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("other"), "text").unwrap();
    if is_root() {
        chown(&data, Some(owner.0), Some(owner.1)).unwrap();
    }
    fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
    (data, parent)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_volume_that_a_group_owns_is_used_as_it_is() {
    for volume in [0o2770, 0o2777, 0o770] {
        let (data, _parent) = folder(volume, (0, GROUP));
        let process = Process::spawn_by(if is_root() { as_user() } else { respoked() }, &data, &[]);
        process.get("/readyz").call().ok();
        assert_eq!(mode(&data), volume);
        for file in fs::read_dir(&data).unwrap().map(|entry| entry.unwrap()) {
            if file.file_name() != "other" {
                assert_eq!(mode(&file.path()) & 0o777, 0o600, "{}", file.path().display());
            }
        }
    }
}

#[test]
fn a_folder_that_is_not_for_this_user_is_refused_in_words() {
    let refused = |mode_before: u32, owner: (u32, u32), command: Command, words: &[&str]| {
        let (data, _parent) = folder(mode_before, owner);
        let said = serve(command, &data);
        assert_eq!(said.code, Some(1), "{}", said.err);
        for word in words {
            assert!(said.err.contains(word), "{word} is not in {}", said.err);
        }
        assert_eq!(mode(&data), mode_before);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing was made in it");
    };
    refused(0o1777, (0, 0), respoked(), &["everybody may write", "--data"]);
    if is_root() {
        refused(0o1777, (0, 0), as_user(), &["everybody may write", "--data"]);
        refused(0o777, (USER, GROUP), respoked(), &["everybody may write", "chmod o-w"]);
        refused(0o777, (USER + 1, GROUP), as_user(), &["everybody may write"]);
        refused(0o755, (0, 0), as_user(), &["may not write", "belongs to user 0"]);
        refused(0o2750, (0, GROUP), as_user(), &["may not write", "mode 2750"]);
    }
}

#[test]
fn a_folder_is_taken_and_not_the_name_of_a_file_in_it() {
    let (data, _folder) = data_folder();
    let first = Process::spawn(&data, &[]);
    fs::remove_file(data.join("lock")).unwrap();
    let moved = data.with_extension("moved");
    let link = data.with_extension("link");
    symlink(&data, &link).unwrap();
    for path in [&data, &link] {
        let said = serve(respoked(), path);
        assert!(said.code == Some(1) && said.err.contains("in use"), "{}", said.err);
    }
    fs::rename(&data, &moved).unwrap();
    let said = serve(respoked(), &moved);
    assert!(said.code == Some(1) && said.err.contains("in use"), "{}", said.err);
    fs::rename(&moved, &data).unwrap();
    first.get("/healthz").call().ok();
}

#[test]
fn links_in_the_folder_are_not_followed() {
    for name in ["lock", "respoked.db", "respoked.db-wal", "respoked.db-shm"] {
        let (data, parent) = folder(0o770, (0, GROUP));
        let target = parent.path().join("target");
        fs::write(&target, "text").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
        for leads_to in [target.clone(), parent.path().join("nowhere")] {
            symlink(&leads_to, data.join(name)).unwrap();
            let said = serve(respoked(), &data);
            assert_eq!(said.code, Some(1), "{name}");
            assert!(said.err.contains(name) && said.err.contains("link"), "{}", said.err);
            fs::remove_file(data.join(name)).unwrap();
        }
        assert_eq!((mode(&target), fs::read(&target).unwrap()), (0o644, b"text".to_vec()), "{name}");
        assert!(!parent.path().join("nowhere").exists(), "{name}");
    }
}

#[test]
fn a_start_on_a_taken_port_makes_nothing_and_the_next_one_greets() {
    let (data, _folder) = data_folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let said = run(respoked().args(["serve", "--listen", &port, "--data"]).arg(&data));
    assert!(said.code == Some(1) && said.err.contains("cannot listen"), "{}", said.err);
    assert_eq!(said.out, "");
    assert!(!data.exists());
    let process = Process::spawn(&data, &[]);
    assert!(process.greeting.contains("App-Secret    rspk_"));
}

/// Whose the files in a folder are.
fn owners(data: &Path) -> Vec<(String, u32)> {
    let mut owners: Vec<_> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().uid()))
        .filter(|(name, _)| name != "other")
        .collect();
    owners.sort();
    owners
}

#[test]
fn what_root_does_in_the_folder_of_a_service_locks_it_not_out() {
    if !is_root() {
        return;
    }
    let (data, parent) = folder(0o700, (USER, GROUP));
    let backup = parent.path().join("backup");
    let (data_text, backup_text) = (data.to_str().unwrap(), backup.to_str().unwrap());
    let root = |words: &[&str]| {
        let said = run(respoked().args(words).args(["--data", data_text]));
        assert_eq!(said.code, Some(0), "{words:?}: {}{}", said.out, said.err);
        for (name, owner) in owners(&data) {
            assert_eq!(owner, USER, "{name} after {words:?}");
        }
    };
    let serve = || {
        let process = Process::spawn_by(as_user(), &data, &[]);
        process.get("/readyz").call().ok();
        process
    };
    for killed in [false, true] {
        let running = serve();
        root(&["admin", "list"]);
        root(&["backup", backup_text, "--force"]);
        root(&["doctor"]);
        if killed {
            running.kill();
        } else {
            running.signal("TERM");
            assert_eq!(running.wait(), 0);
        }
        root(&["admin", "list"]);
        root(&["backup", backup_text, "--force"]);
        root(&["doctor"]);
        serve();
        root(&["restore", backup_text]);
        root(&["doctor"]);
        serve();
        // A restore in the place of nothing.
        for (name, _) in owners(&data) {
            fs::remove_file(data.join(name)).unwrap();
        }
        root(&["restore", backup_text]);
        serve();
    }
    // A server that root started once.
    for (name, _) in owners(&data) {
        fs::remove_file(data.join(name)).unwrap();
    }
    Process::spawn(&data, &[]).kill();
    serve();
}

#[test]
fn doctor_looks_at_who_will_serve() {
    if !is_root() {
        return;
    }
    let (data, _parent) = folder(0o700, (USER, GROUP));
    Process::spawn_by(as_user(), &data, &[]).kill();
    let database = data.join("respoked.db");
    // As earlier releases left a database that root restored.
    chown(&database, Some(0), Some(0)).unwrap();
    let said = run(respoked().args(["doctor", "--data"]).arg(&data));
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("FAIL  owner") && said.out.contains("respoked.db (user 0)"), "{}", said.out);
    assert!(said.out.contains(&format!("chown {USER}")), "{}", said.out);
    let said_before = said.out;
    let said = serve(as_user(), &data);
    assert!(said.code == Some(1) && said.err.contains("respoked.db belongs to user 0"), "{}", said.err);

    // And the lock that such a restore took, which stands in nobody's way.
    for (name, owner) in owners(&data) {
        assert_eq!(said_before.contains(&format!("{name} (user {owner})")), owner != USER, "{name}: {said_before}");
        chown(data.join(name), Some(USER), None).unwrap();
    }
    chown(data.join("lock"), Some(0), Some(0)).unwrap();
    Process::spawn_by(as_user(), &data, &[]).get("/readyz").call().ok();

    // Root took the folder, as `sudo mkdir` and `sudo cp -r` do.
    for mode in [0o700, 0o755] {
        chown(&data, Some(0), Some(0)).unwrap();
        chown(data.join("lock"), Some(USER), None).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
        let said = run(respoked().args(["doctor", "--data"]).arg(&data));
        assert_eq!(said.code, Some(1), "{}", said.out);
        let folder = data.display();
        let expected = [
            "FAIL  owner".to_owned(),
            format!("{folder} (user 0, mode {mode:o})"),
            format!("-> chown {USER} {folder}\n"),
        ];
        for words in expected {
            assert!(said.out.contains(&words), "{words}: {}", said.out);
        }
        let refused = serve(as_user(), &data);
        assert!(refused.code == Some(1) && refused.err.contains("belongs to user 0"), "{}", refused.err);
        // What it says to type is what helps.
        chown(&data, Some(USER), None).unwrap();
        Process::spawn_by(as_user(), &data, &[]).get("/readyz").call().ok();
        assert_eq!(run(respoked().args(["doctor", "--data"]).arg(&data)).code, Some(0));
    }

    // A volume of a group belongs to root, and the files to whoever serves.
    let (data, _parent) = folder(0o2770, (0, GROUP));
    Process::spawn_by(as_user(), &data, &[]).kill();
    for mut command in [respoked(), as_user()] {
        let said = run(command.args(["doctor", "--data"]).arg(&data));
        assert_eq!(said.code, Some(0), "{}", said.out);
    }
}
