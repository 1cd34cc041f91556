//! Copies of a database that are killed while they are made: of a migration, a restore and a backup. What was there is
//! there as it was, or what was to be there is, whole; and the next try ends well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rusqlite::Connection;
use serde_json::Value;

use crate::harness::{PATIENCE, Process, data_folder, respoked, run};

/// What the program of 2026-11-25 left; it has to be copied into the present shape.
const RELEASE: &str = include_str!("../../../store/src/sqlite/schema/releases/2026-11-25.sql");
const RELEASE_SCHEMA: u64 = 5;
/// More rows, so that a copy takes long enough to be met in the middle.
const ROWS: u64 = 60_000;
/// Bytes of a copy after which it is killed. It has about twelve million.
const MOMENTS: [u64; 4] = [0, 1, 3_000_000, 9_000_000];

/// Makes a database of an earlier release at `path`.
fn make_old(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(RELEASE).unwrap();
    let sql = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
               INSERT INTO audit (at, actor_kind, action, object, address, request_id)
               SELECT 1795725110000, 1, 23, hex(randomblob(60)), '', randomblob(16) FROM n";
    connection.execute(sql, [ROWS]).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(path, mode).unwrap();
}

/// What is found in a database: its schema, and how many rows its audit log has.
fn sound(path: &Path) -> (u64, u64) {
    let said = run(respoked().args(["--json", "restore", "--verify"]).arg(path));
    assert_eq!(said.code, Some(0), "{} {}", said.out, said.err);
    let check: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(check["sound"], true, "{check}");
    (check["schema"].as_u64().unwrap(), check["counts"]["audit"].as_u64().unwrap())
}

/// Runs a command and kills it as soon as `reached`, if it does not end before.
fn kill_when(command: &mut Command, mut reached: impl FnMut() -> bool) {
    struct Running(Child);
    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut running =
        Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let deadline = Instant::now() + PATIENCE;
    // It is looked all the time, for what is looked for may be over soon.
    while !reached() && running.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "neither did it come so far, nor did it end");
        std::thread::yield_now();
    }
}

fn len(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|file| file.len())
}

/// Whether something beside the database is so long that is being made there.
fn unfinished_is(folder: &Path, at_least: u64) -> bool {
    let made = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let unfinished = |path: &PathBuf| path.to_str().unwrap().contains(".respoked-unfinished-");
    made.filter(unfinished).any(|folder| len(&folder.join("database")).is_some_and(|len| len >= at_least))
}

#[test]
fn a_migration_that_is_killed_leaves_the_database_as_it_was_or_whole() {
    let (data, _folder) = data_folder();
    Process::spawn(&data, &[]).kill();
    let (database, old) = (data.join("respoked.db"), data.with_extension("old"));
    make_old(&old);
    let (_, rows) = sound(&old);
    let rebuilding = data.join("respoked.db-rebuilding");
    let copy = rebuilding.join("copy");
    let mut as_it_was = 0;
    for moment in MOMENTS {
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(data.join(format!("respoked.db{suffix}")));
        }
        fs::copy(&old, &database).unwrap();
        let mut begun = false;
        let mut command = respoked();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
        kill_when(&mut command, || {
            begun |= rebuilding.exists();
            let far = if moment == 0 { begun } else { len(&copy).is_some_and(|len| len >= moment) };
            far || (begun && !rebuilding.exists())
        });
        let (schema, found) = sound(&database);
        assert_eq!(found, rows, "at {moment}");
        as_it_was += usize::from(schema == RELEASE_SCHEMA);
        let next = Process::spawn(&data, &[]);
        next.signal("TERM");
        assert_eq!(next.wait(), 0);
        let (schema, found) = sound(&database);
        assert!(schema > RELEASE_SCHEMA && found >= rows, "{schema} {found}");
        assert!(!rebuilding.exists());
    }
    assert!(as_it_was > 0, "none was met before its end");
}

#[test]
fn a_restore_that_is_killed_leaves_the_database_as_it_was_or_whole() {
    let (data, _folder) = data_folder();
    Process::spawn(&data, &[]).kill();
    let (database, backup) = (data.join("respoked.db"), data.with_extension("backup"));
    make_old(&backup);
    let (before, (_, rows)) = (sound(&database), sound(&backup));
    assert!(before.1 < rows);
    let small = data.with_extension("small");
    let said = run(respoked().arg("backup").arg(&small).arg("--data").arg(&data));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let restore = |file: &Path| {
        let mut command = respoked();
        command.arg("restore").arg(file).arg("--data").arg(&data);
        command
    };
    let is_kept_aside = || {
        let names = fs::read_dir(&data).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_str().unwrap().contains(".before-restore-")).count()
    };
    let mut as_it_was = 0;
    for moment in MOMENTS.map(Some).into_iter().chain([None]) {
        let aside = is_kept_aside();
        kill_when(&mut restore(&backup), || match moment {
            Some(bytes) => unfinished_is(&data, bytes),
            // In the moment in which it takes the place of what was there.
            None => is_kept_aside() > aside,
        });
        let (schema, found) = sound(&database);
        if found < rows {
            assert_eq!(schema, before.0, "{moment:?}");
            as_it_was += 1;
        }
        let next = Process::spawn(&data, &[]);
        next.signal("TERM");
        assert_eq!(next.wait(), 0);
        let said = run(&mut restore(&small));
        assert_eq!(said.code, Some(0), "{moment:?}: {}", said.err);
        assert!(sound(&database).1 < rows);
    }
    assert!(as_it_was > 0, "none was met before its end");
    assert_eq!(run(&mut restore(&backup)).code, Some(0));
    assert!(sound(&database).1 >= rows);
}

#[test]
fn a_backup_that_is_killed_leaves_the_one_before_or_is_whole() {
    let (data, _folder) = data_folder();
    Process::spawn(&data, &[]).kill();
    make_old(&data.with_extension("old"));
    let target = tempfile::tempdir().unwrap();
    let (file, of) = (target.path().join("backup"), data.with_extension("of"));
    let restored = run(respoked().arg("restore").arg(data.with_extension("old")).arg("--data").arg(&data));
    assert_eq!(restored.code, Some(0), "{}", restored.err);
    let whole = sound(&data.join("respoked.db"));
    Process::spawn(&of, &[]).kill();
    let backup = |data: &Path| {
        let mut command = respoked();
        command.args(["backup", "--force"]).arg(&file).arg("--data").arg(data);
        command
    };
    let mut as_it_was = 0;
    for moment in MOMENTS {
        assert_eq!(run(&mut backup(&of)).code, Some(0));
        let before = sound(&file);
        assert_ne!(before, whole);
        kill_when(&mut backup(&data), || unfinished_is(target.path(), moment));
        let found = sound(&file);
        assert!(found == before || found == whole, "{found:?} at {moment}");
        as_it_was += usize::from(found == before);
        assert_eq!(run(&mut backup(&data)).code, Some(0));
        assert_eq!(sound(&file), whole);
    }
    assert!(as_it_was > 0, "none was met before its end");
}
