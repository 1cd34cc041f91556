//! A database that is removed, replaced, moved or written over: under the running server, and before its start.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Folder, Process, contents, data_folder, eventually};

/// Long enough for several looks at the files.
const SEVERAL_LOOKS: Duration = Duration::from_secs(2);

/// What is done to the files of a data folder.
type Taking = fn(&Path);

fn file(data: &Path, suffix: &str) -> PathBuf {
    data.join(format!("respoked.db{suffix}"))
}

fn log(data: &Path) -> String {
    String::from_utf8(contents(&data.with_extension("log"))).unwrap()
}

/// Waits for a line of the log that holds both of these.
fn logged(data: &Path, what: &str, advice: &str) {
    let line_of = |log: String| log.lines().any(|line| line.contains(what) && line.contains(advice)).then_some(());
    eventually(|| line_of(log(data)));
}

/// Does `take` to the files of a running server, and waits until it says that it is not ready. How many looks that takes is
/// a test of the store's.
fn noticed(take: Taking) -> (PathBuf, Folder, Process) {
    let (data, folder) = data_folder();
    let process = Process::spawn(&data, &[]).with_app();
    process.get("/readyz").call().ok();
    take(&data);
    eventually(|| (process.get("/readyz").call().status == 503).then_some(()));
    (data, folder, process)
}

#[test]
fn a_database_that_is_taken_away_is_noticed_and_nothing_is_promised_any_more() {
    let ways: [Taking; 8] = [
        |data| fs::remove_file(file(data, "")).unwrap(),
        |data| fs::rename(file(data, ""), file(data, ".old")).unwrap(),
        |data| {
            fs::copy(file(data, ""), file(data, ".new")).unwrap();
            fs::rename(file(data, ".new"), file(data, "")).unwrap();
        },
        |data| fs::File::options().write(true).open(file(data, "")).unwrap().set_len(8_192).unwrap(),
        |data| fs::remove_file(file(data, "-wal")).unwrap(),
        |data| fs::remove_file(file(data, "-shm")).unwrap(),
        |data| {
            for suffix in ["", "-wal", "-shm"] {
                fs::remove_file(file(data, suffix)).unwrap();
            }
        },
        |data| fs::rename(data, data.with_extension("moved")).unwrap(),
    ];
    for take in ways {
        let (data, _folder, process) = noticed(take);
        let mint = json!({"endpointId": "alice", "roleId": process.role});
        process.post("/v1/tokens").secret().send(mint).refused(503, "unavailable");
        process.get("/v1/tokens").secret().call().refused(503, "unavailable");
        process.get("/healthz").call().ok();
        process.get("/readyz").call().refused(503, "unavailable");
        logged(&data, "taken away from under the server", "respoked restore");
    }
}

#[test]
fn what_is_put_in_the_place_of_the_database_is_left_alone() {
    let (data, _folder, process) = noticed(|data| {
        for suffix in ["", "-wal", "-shm"] {
            fs::remove_file(file(data, suffix)).unwrap();
            fs::write(file(data, suffix), format!("another{suffix}")).unwrap();
        }
    });
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(fs::read_to_string(file(&data, suffix)).unwrap(), format!("another{suffix}"));
    }
}

#[test]
fn commands_beside_a_server_take_nothing_away() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]).with_app();
    for _ in 0..3 {
        let listed = Command::new(env!("CARGO_BIN_EXE_respoked")).args(["admin", "list", "--data"]).arg(&data).output();
        assert!(listed.unwrap().status.success());
        process.mint("alice");
    }
    let begun = Instant::now();
    eventually(|| {
        process.get("/readyz").call().ok();
        (begun.elapsed() > SEVERAL_LOOKS).then_some(())
    });
    assert!(!log(&data).contains("taken away"));
}

/// Writes noise over the pages of the database's file, but the first.
fn write_over(data: &Path) {
    let path = file(data, "");
    let len = fs::metadata(&path).unwrap().len();
    let mut database = fs::File::options().write(true).open(path).unwrap();
    database.seek(SeekFrom::Start(4_096)).unwrap();
    let noise: Vec<u8> = (4_096..len).map(|at| u8::try_from((at * 2_654_435_761) >> 13 & 0xff).unwrap()).collect();
    database.write_all(&noise).unwrap();
    database.sync_all().unwrap();
}

#[test]
fn a_database_that_is_written_over_is_not_ready() {
    let (data, _folder, process) = noticed(write_over);
    process.get("/healthz").call().ok();
    logged(&data, "the database is damaged", "respoked restore");
}

#[test]
fn what_the_first_run_made_outlives_its_log() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]);
    assert!(process.greeting.contains("A new database was made"));
    process.kill();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(file(&data, suffix));
    }
    let process = Process::spawn(&data, &[]);
    assert_eq!(process.greeting, "");
    process.admin_token("owner");
}

#[test]
fn a_start_on_a_database_that_lost_what_it_held_is_refused() {
    let ways: [(&str, Taking); 4] = [
        ("the file is empty", |data| fs::write(file(data, ""), "").unwrap()),
        ("it is damaged", |data| {
            let len = fs::metadata(file(data, "")).unwrap().len();
            fs::write(file(data, ""), vec![0; usize::try_from(len).unwrap()]).unwrap();
            fs::remove_file(file(data, "-wal")).unwrap();
        }),
        ("is not there", |data| fs::remove_file(file(data, "")).unwrap()),
        ("is not there", |data| {
            fs::remove_file(file(data, "")).unwrap();
            fs::remove_file(file(data, "-shm")).unwrap();
        }),
    ];
    for (said, lose) in ways {
        let (data, _folder) = data_folder();
        Process::spawn(&data, &[]).kill();
        lose(&data);
        let start = Command::new(env!("CARGO_BIN_EXE_respoked"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .output()
            .unwrap();
        let error = String::from_utf8(start.stderr).unwrap();
        assert_eq!(start.status.code(), Some(1), "{error}");
        assert!(error.contains(said) && error.contains("respoked restore"), "{error}");
        assert!(start.stdout.is_empty());
    }
}
