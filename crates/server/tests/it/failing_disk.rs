//! A disk that fails under the built binary: no answer promises more than is true after a restart.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Answer, Client, Faults, Process, data_folder};

/// A change, and how one learns whether it was made.
struct Change {
    name: &'static str,
    /// What the change needs; its result is handed to the other two.
    prepare: fn(&Client) -> String,
    make: fn(&Client, &str) -> Answer,
    was_made: fn(&Client, &str) -> bool,
}

const CHANGES: [Change; 5] = [
    Change {
        name: "redemption",
        prepare: |client| client.mint("alice"),
        make: |client, token| client.redeem(token),
        was_made: |client, token| client.redeem(token).status == 401,
    },
    Change {
        name: "ban",
        prepare: |_| String::new(),
        make: |client, _| client.post("/v1/endpoints/alice/ban").secret().send(json!({"reason": "spam"})),
        was_made: |client, _| client.get("/v1/endpoints/alice/ban").secret().call().status == 200,
    },
    Change {
        name: "revocation",
        prepare: |client| client.session("alice"),
        make: |client, session| client.delete("/v1/session-tokens").token(session).call(),
        was_made: |client, session| !client.alive(session),
    },
    Change {
        name: "publication",
        prepare: |client| client.session("alice"),
        make: |client, session| {
            let body = json!({"message": "kept", "persist": true});
            client.post("/v1/channels/room/publish").token(session).send(body)
        },
        was_made: |client, session| {
            let kept = client.get("/v1/channels/room/history").token(session).call().ok();
            !kept.as_array().unwrap().is_empty()
        },
    },
    Change {
        name: "mint",
        prepare: |_| String::new(),
        make: |client, _| {
            let body = json!({"endpointId": "alice", "roleId": client.role});
            client.post("/v1/tokens").secret().send(body)
        },
        was_made: |client, _| {
            let minted = client.get("/v1/tokens?endpointId=alice").secret().call().ok();
            !minted.as_array().unwrap().is_empty()
        },
    },
];

/// Makes `change` while the disk has `faults`, kills the server and starts it anew on a sound disk: the answer, and
/// whether the change turns out to be made.
fn made_on_a_failing_disk(change: &Change, faults: &str) -> (Answer, bool) {
    let (data, _folder) = data_folder();
    let disk = Faults::on(&data);
    let process = Process::spawn_over(&disk, &data, &[]).with_app();
    let prepared = (change.prepare)(&process);
    disk.set(faults);
    let answer = (change.make)(&process, &prepared);
    let mut client = process.kill();
    disk.clear();
    let restarted = Process::spawn_over(&disk, &data, &[]);
    client.url.clone_from(&restarted.url);
    let made = (change.was_made)(&client, &prepared);
    (answer, made)
}

#[test]
fn a_change_whose_commit_failed_was_not_made_or_its_answer_is_that_this_is_not_known() {
    for change in &CHANGES {
        for faults in ["flush -wal EIO", "write -wal EIO", "flush -wal ENOSPC"] {
            let (answer, made) = made_on_a_failing_disk(change, faults);
            let context = format!("{} with {faults}: {answer:?}, made: {made}", change.name);
            assert_eq!(answer.status, 503, "{context}");
            assert!(answer.header("retry-after").is_some(), "{context}");
            match answer.body["code"].as_str().unwrap() {
                "in_doubt" => {}
                "unavailable" => assert!(!made, "{context}"),
                other => panic!("{other}: {context}"),
            }
        }
    }
}

#[test]
fn a_change_in_doubt_has_not_happened_while_the_server_runs_and_a_repetition_makes_it() {
    for change in &CHANGES {
        for faults in ["flush -wal EIO", "write -wal EIO"] {
            let (data, _folder) = data_folder();
            let disk = Faults::on(&data);
            let process = Process::spawn_over(&disk, &data, &[]).with_app();
            let prepared = (change.prepare)(&process);
            disk.set(faults);
            (change.make)(&process, &prepared).refused(503, "in_doubt");
            disk.clear();
            let context = format!("{} with {faults}", change.name);
            assert!(!(change.was_made)(&process, &prepared), "{context}");
            // To learn whether a redemption was made is to make it.
            if change.name != "redemption" {
                (change.make)(&process, &prepared).ok();
            }
            assert!((change.was_made)(&process, &prepared), "{context}");
            // And it stays so.
            let mut client = process.kill();
            let restarted = Process::spawn_over(&disk, &data, &[]);
            client.url.clone_from(&restarted.url);
            assert!((change.was_made)(&client, &prepared), "{context}");
        }
    }
}

#[test]
fn what_the_disk_has_no_room_for_was_not_written() {
    for change in &CHANGES {
        let (answer, made) = made_on_a_failing_disk(change, "write -wal ENOSPC");
        assert!(!made, "{}", change.name);
        answer.refused(503, "unavailable");
    }
}

#[test]
fn a_disk_that_fails_for_a_moment_leaves_no_doubt() {
    let redemption = &CHANGES[0];
    // The batch alone.
    let (answer, made) = made_on_a_failing_disk(redemption, "flush -wal EIO 1");
    answer.ok();
    assert!(made);
    // The batch and the operation by itself; what was left of them is written over.
    let (answer, made) = made_on_a_failing_disk(redemption, "flush -wal EIO 2");
    answer.refused(503, "unavailable");
    assert!(!made);
}

#[test]
fn a_change_in_doubt_that_is_repeated_with_its_key_is_made_once() {
    let (data, _folder) = data_folder();
    let disk = Faults::on(&data);
    let process = Process::spawn_over(&disk, &data, &[]).with_app();
    let redeem = |client: &Client, token: &str| {
        client.post("/v1/session-tokens").header("Idempotency-Key", "once").send(json!({"tokenId": token}))
    };
    let token = process.mint("alice");
    disk.set("flush -wal EIO");
    redeem(&process, &token).refused(503, "in_doubt");
    // Nor does it say more of what is doubtful a second time.
    redeem(&process, &token).refused(503, "in_doubt");
    let mut client = process.kill();
    disk.clear();
    let restarted = Process::spawn_over(&disk, &data, &[]);
    client.url.clone_from(&restarted.url);
    let session = redeem(&client, &token).ok();
    assert_eq!(redeem(&client, &token).ok()["token"], session["token"]);
    assert!(client.alive(session["token"].as_str().unwrap()));
}

#[test]
fn a_message_in_doubt_that_is_repeated_with_its_key_is_said_once() {
    for faults in ["flush -wal EIO", "write -wal EIO", "flush -wal ENOSPC"] {
        let (data, _folder) = data_folder();
        let disk = Faults::on(&data);
        let process = Process::spawn_over(&disk, &data, &[]).with_app();
        let session = process.session("alice");
        let say = |client: &Client, persist: bool| {
            let body = json!({"message": "kept or not", "persist": persist});
            let request = client.post("/v1/channels/room/publish").token(&session);
            request.header("Idempotency-Key", &format!("once-{persist}")).send(body)
        };
        disk.set(faults);
        for persist in [true, false] {
            say(&process, persist).refused(503, "in_doubt");
            say(&process, persist).refused(503, "in_doubt");
        }
        let mut client = process.kill();
        disk.clear();
        let restarted = Process::spawn_over(&disk, &data, &[]);
        client.url.clone_from(&restarted.url);
        for persist in [true, false] {
            let (first, second) = (say(&client, persist).ok(), say(&client, persist).ok());
            assert_eq!(first["messageId"], second["messageId"], "{faults}");
        }
        let history = client.get("/v1/channels/room/history").token(&session).call().ok();
        assert_eq!(history.as_array().unwrap().len(), 1, "{faults}: {history}");
    }
}

/// How long who needs no disk may be kept waiting by one that stands still. Nobody waits for a tenth of it; the machine
/// may be busy.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The server on a disk that stands still, for the writer and for whoever opens a file, as after `fsfreeze`. The server
/// has noticed.
fn on_a_disk_that_stands_still(
    data: &std::path::Path,
    flags: &[&str],
) -> (Faults, Process, String, JoinHandle<Answer>) {
    let disk = Faults::on(data);
    let flags = [&["--session-cache-max", "0"], flags].concat();
    let process = Process::spawn_over(&disk, data, &flags).with_app();
    let (session, token) = (process.session("alice"), process.mint("bob"));
    disk.set("write -wal stall\nflush -wal stall\nopen respoked.db stall\nopen -wal stall\nopen -shm stall\n");
    let client = process.client.clone();
    let redeeming = std::thread::spawn(move || client.redeem(&token));
    process.get("/readyz").call().refused(503, "unavailable");
    (disk, process, session, redeeming)
}

/// That nobody waits is shown by the fastest of so many tries: one that stands still keeps all of them.
const TRIES: usize = 5;

fn is_well(client: &Client) {
    let took = |_| {
        let asked = Instant::now();
        client.get("/healthz").call().ok();
        assert_eq!(client.get("/docs").call().status, 200);
        assert_eq!(client.get("/v1/tokens").call().status, 401);
        asked.elapsed()
    };
    let tries: Vec<_> = (0..TRIES).map(took).take_while(|took| *took >= AT_ONCE).collect();
    assert!(tries.len() < TRIES, "they took {tries:?}");
}

#[test]
fn a_disk_that_stands_still_holds_up_nobody_who_can_do_without() {
    let (data, _folder) = data_folder();
    let (disk, process, session, redeeming) = on_a_disk_that_stands_still(&data, &[]);
    is_well(&process);
    // What is in files that are open is still read, by many at once.
    let lookers: Vec<_> = (0..20)
        .map(|_| {
            let (client, session) = (process.client.clone(), session.clone());
            std::thread::spawn(move || client.get("/v1/session-tokens").token(&session).call().status)
        })
        .collect();
    for looker in lookers {
        assert!([200, 503].contains(&looker.join().unwrap()));
    }
    assert!(process.alive(&session));

    // Not even reading works, nor does logging: then look-ups are refused, and still nobody else waits.
    disk.set(
        "write -wal stall\nflush -wal stall\nopen respoked.db stall\nread respoked.db stall\nread -wal stall\n\
         print .log stall\n",
    );
    let lookers: Vec<_> = (0..50)
        .map(|_| {
            let client = process.client.clone();
            std::thread::spawn(move || client.get("/v1/audit").secret().call())
        })
        .collect();
    is_well(&process);
    for looker in lookers {
        let answer = looker.join().unwrap();
        assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{answer:?}");
    }
    is_well(&process);
    let mint = json!({"endpointId": "carol", "roleId": process.role});
    process.post("/v1/tokens").secret().send(mint).refused(503, "unavailable");

    disk.clear();
    redeeming.join().unwrap().ok();
    crate::harness::eventually(|| (process.get("/readyz").call().status == 200).then_some(()));
    process.session("dave");
}

#[test]
fn a_server_whose_disk_stands_still_ends_all_the_same() {
    let (data, _folder) = data_folder();
    let (_disk, process, _, redeeming) = on_a_disk_that_stands_still(&data, &["--drain-secs", "1"]);
    process.signal("TERM");
    assert_eq!(process.wait(), 1);
    // Nobody said what came of it.
    assert!(redeeming.join().is_err());
}
