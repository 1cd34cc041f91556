//! Backups, restores and the doctor: beside each other, over what is no file, on full disks and where nothing is written.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode};
use serde_json::Value;

use crate::data_folder::{as_user, folder, is_root};
use crate::harness::{Folder, Process, Said, data_folder, eventually, respoked, run};

/// A data folder in which a server was, and how it ended.
fn served(ended: &str) -> (PathBuf, Folder) {
    let (data, folder) = data_folder();
    let process = Process::spawn(&data, &[]);
    process.signal(ended);
    match ended {
        "KILL" => drop(process.kill()),
        _ => assert_eq!(process.wait(), 0),
    }
    (data, folder)
}

fn said(words: &[&str]) -> Said {
    run(respoked().args(words))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn backups_to_one_name_at_once_do_not_meet() {
    let (data, _folder) = served("TERM");
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("backup");
    let at_once = |flags: &[&str]| {
        let spawn = |_| {
            let mut command = respoked();
            command.arg("backup").arg(&file).args(flags).arg("--data").arg(&data);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let running: Vec<_> = (0..4).map(spawn).collect();
        let ended = running.into_iter().map(|mut one| eventually(|| one.try_wait().unwrap()).code().unwrap());
        let mut codes: Vec<_> = ended.collect();
        codes.sort_unstable();
        codes
    };
    assert_eq!(at_once(&[]), [0, 1, 1, 1], "one of them is the first");
    assert_eq!(at_once(&["--force"]), [0; 4]);
    assert_eq!(names(target.path()), ["backup"]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(said(&["restore", "--verify", file.to_str().unwrap()]).code, Some(0));
}

#[test]
fn what_killed_backups_left_is_removed_by_the_next() {
    let (data, _folder) = served("TERM");
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("backup");
    let left = target.path().join(".respoked-unfinished-abcdef");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("database"), "half of it").unwrap();
    fs::write(target.path().join("backup.unfinished"), "as earlier releases left it").unwrap();
    let said = said(&["backup", file.to_str().unwrap(), "--data", data.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(names(target.path()), ["backup", "backup.unfinished"]);
}

#[test]
fn a_backup_takes_the_place_of_nothing_but_a_file() {
    let (data, _folder) = served("TERM");
    let data_text = data.to_str().unwrap();
    let target = tempfile::tempdir().unwrap();
    let at = |name: &str| target.path().join(name);
    fs::write(at("file"), "text").unwrap();
    symlink(at("file"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    rustix::fs::mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    let before = names(target.path());
    let mut refused: Vec<String> =
        ["link", "dangling", "folder", "pipe"].map(|name| at(name).to_str().unwrap().to_owned()).to_vec();
    refused.extend(["/dev/stdout", "/dev/fd/1", "/dev/null", "/proc/self/fd/2", "..", "-"].map(str::to_owned));
    refused.extend(["", "-wal", "-shm", "-journal"].map(|suffix| format!("{data_text}/respoked.db{suffix}")));
    refused.push(format!("{data_text}/lock"));
    for file in &refused {
        for force in [&["--force"][..], &[]] {
            let said = run(respoked().args(["backup", "--data", data_text]).args(force).arg("--").arg(file));
            assert!(said.code.is_some_and(|code| code != 0), "{file}: {}", said.out);
            assert!(said.err.starts_with("respoked: ") && said.out.is_empty(), "{file}: {}", said.err);
        }
    }
    assert_eq!(names(target.path()), before);
    assert_eq!(fs::read(at("file")).unwrap(), b"text");
    assert!(fs::symlink_metadata("/dev/null").unwrap().mode_is_device());
}

trait IsDevice {
    fn mode_is_device(&self) -> bool;
}

impl IsDevice for fs::Metadata {
    fn mode_is_device(&self) -> bool {
        std::os::unix::fs::FileTypeExt::is_char_device(&self.file_type())
    }
}

/// Runs a script with a small disk of its own at `$DISK`, where the system lets users have one. `$R` is the binary, and
/// `$DATA` a copy of `data` on that disk, which is full.
fn on_a_full_disk(data: &Path, script: &str) -> Option<Said> {
    let may = Command::new("unshare").args(["-rm", "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        return None;
    }
    let disk = tempfile::tempdir().unwrap();
    let full = "set -e; mount -t tmpfs -o size=2m none \"$DISK\"; cp -r \"$FROM\" \"$DATA\"; \
                head -c 9000000 /dev/zero > \"$DISK/fill\" 2> /dev/null || true; set +e";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &format!("{full}\n{script}")]);
    command.env("R", env!("CARGO_BIN_EXE_respoked")).env("DISK", disk.path()).env("FROM", data);
    Some(run(command.env("DATA", disk.path().join("data"))))
}

#[test]
fn a_full_disk_is_called_by_its_name_and_leaves_no_doubt_about_the_file() {
    for (ended, lost) in [("TERM", ""), ("KILL", ""), ("KILL", "rm -f \"$DATA\"/*-shm;")] {
        let (data, _folder) = served(ended);
        if ended == "KILL" {
            // As the first start leaves it. What was written since leaves room in the last block of its log.
            let log = fs::OpenOptions::new().write(true).open(data.join("respoked.db-wal")).unwrap();
            log.set_len(0).unwrap();
        }
        let backup = data.with_extension("backup");
        let backup = backup.to_str().unwrap();
        assert_eq!(said(&["backup", backup, "--data", data.to_str().unwrap()]).code, Some(0));

        let Some(doctor) = on_a_full_disk(&data, &format!("{lost} \"$R\" doctor --json --data \"$DATA\"")) else {
            return;
        };
        assert_eq!(doctor.code, Some(1), "{}", doctor.err);
        let findings: Value = serde_json::from_str(&doctor.out).unwrap();
        let of = |what: &str| findings.as_array().unwrap().iter().find(|finding| finding["what"] == what).unwrap();
        assert_eq!(of("database")["level"], "ok", "{}", doctor.out);
        assert!(of("disk flush")["found"].as_str().unwrap().contains("No space"), "{}", doctor.out);
        assert_eq!(of("disk flush")["advice"], "make room");
        assert!(!doctor.out.contains("restore"), "{}", doctor.out);

        let script = format!(
            "{lost} before=$(ls -A \"$DISK\")
             \"$R\" backup \"$DISK/backup\" --data \"$DATA\" && echo backed-up
             [ \"$before\" = \"$(ls -A \"$DISK\")\" ] || echo something is left
             \"$R\" restore {backup} --data \"$DATA\" && echo restored
             \"$R\" serve --listen 127.0.0.1:0 --data \"$DATA\" && echo served
             rm \"$DISK/fill\"; \"$R\" backup \"$DISK/backup\" --data \"$DATA\" > /dev/null && echo whole"
        );
        let said = on_a_full_disk(&data, &script).unwrap();
        assert_eq!(said.out.trim(), "whole", "{}{}", said.out, said.err);
        assert_eq!(said.err.matches("the disk is full").count(), 3, "{}", said.err);
    }
}

#[test]
fn a_cold_copy_where_nothing_is_written_is_judged_and_restored_alike() {
    for ended in ["TERM", "KILL"] {
        let (data, _folder) = served(ended);
        let (cold, parent) = folder(0o755, (0, 0));
        for name in names(&data).iter().filter(|name| name.starts_with("respoked.db") && !name.ends_with("-shm")) {
            fs::copy(data.join(name), cold.join(name)).unwrap();
            fs::set_permissions(cold.join(name), Permissions::from_mode(0o444)).unwrap();
        }
        fs::set_permissions(&cold, Permissions::from_mode(0o555)).unwrap();
        let before = names(&cold);
        fs::set_permissions(parent.path(), Permissions::from_mode(0o777)).unwrap();
        let link = parent.path().join("link");
        symlink(cold.join("respoked.db"), &link).unwrap();
        for (number, file) in [cold.join("respoked.db"), link].iter().enumerate() {
            let new = parent.path().join(format!("new-{number}"));
            let user = || if is_root() { as_user() } else { respoked() };
            let verified = run(user().args(["restore", "--verify", "--json"]).arg(file));
            assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
            let verified: Value = serde_json::from_str(&verified.out).unwrap();
            assert_eq!(verified["counts"]["admins"], 1, "{verified}");
            let restored = run(user().arg("restore").arg(file).arg("--data").arg(&new));
            assert_eq!(restored.code, Some(0), "{}", restored.err);
            let admins = run(user().args(["admin", "list", "--json", "--data"]).arg(&new));
            assert_eq!(serde_json::from_str::<Value>(&admins.out).unwrap()[0]["username"], "owner");
        }
        assert_eq!(names(&cold), before);
        fs::set_permissions(&cold, Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn what_is_not_sound_is_restored_as_little_as_it_is_verified() {
    let (data, _folder) = served("TERM");
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name);
    let copy = |name: &str| {
        fs::copy(data.join("respoked.db"), at(name)).unwrap();
        fs::OpenOptions::new().write(true).open(at(name)).unwrap()
    };
    // SQLite's file format, section 1.3: the user version is at 60.
    copy("newer").write_all_at(&99_u32.to_be_bytes(), 60).unwrap();
    copy("none").write_all_at(&0_u32.to_be_bytes(), 60).unwrap();
    copy("cut").set_len(30_000).unwrap();
    copy("torn").write_all_at(&[0xa5; 9_000], 5_000).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("text"), "no database at all").unwrap();
    fs::create_dir(at("folder")).unwrap();
    rustix::fs::mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    for name in names(files.path()).iter().map(String::as_str).chain(["absent"]) {
        let file = at(name);
        let verified = said(&["restore", "--verify", file.to_str().unwrap()]);
        let new = at("new");
        let restored = said(&["restore", file.to_str().unwrap(), "--data", new.to_str().unwrap()]);
        assert_eq!(verified.code, Some(1), "{name}");
        assert_eq!(
            (verified.code, &verified.out, &verified.err),
            (restored.code, &restored.out, &restored.err),
            "{name}"
        );
        assert!(!new.exists(), "{name}");
    }
    // What is sound for the one is for the other.
    copy("sound");
    for words in [&["--verify"][..], &["--data", at("new").to_str().unwrap()]] {
        assert_eq!(run(respoked().arg("restore").arg(at("sound")).args(words)).code, Some(0));
    }
}
