//! Databases of releases, brought into the present shape.

use std::error::Error as _;

use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::grant::Lapse;
use respoke_core::id::{AppId, GroupName, RequestId};
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    AdminStore as _, AuditQuery, AuditStore as _, EndpointStore as _, MaintenanceStore as _, MessageStore as _,
    SessionStore as _, TokenStore as _,
};
use respoke_core::seal::SealKind;
use respoke_core::secret::Secret;
use uuid::Uuid;

use super::*;
use crate::sqlite::trouble::Trouble;
use crate::{Options, Source, SqliteStore};

/// What the program of 2026-11-25 left, and what it had answered.
const RELEASE: &str = include_str!("../schema/releases/2026-11-25.sql");
const APP: Uuid = Uuid::from_u128(0x31f5_5874_128a_41d5_9625_c4f9_488e_456f);
/// Half a minute later, so that nothing is over by time.
const THEN: Timestamp = Timestamp::from_secs(1_795_725_110);

/// A database of that release, in use until a moment ago: what was written last is in its log.
fn released() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (made, path) = (folder.path().join("made.db"), folder.path().join("respoked.db"));
    let connection = Connection::open(&made).unwrap();
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    connection.execute_batch(RELEASE).unwrap();
    for suffix in ["", "-wal"] {
        std::fs::copy(beside(&made, suffix), beside(&path, suffix)).unwrap();
    }
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    drop(connection);
    (folder, path)
}

fn pragma(path: &Path, name: &str) -> i64 {
    Connection::open(path).unwrap().query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap()
}

/// Whether all is as that release had answered.
async fn holds_what_was_answered(path: &Path) {
    let store = SqliteStore::open(path, Options::default()).unwrap();
    assert_eq!(
        (pragma(path, "page_size"), pragma(path, "user_version")),
        (1_024, i64::try_from(schema::newest()).unwrap())
    );
    assert!(!beside(path, UNFINISHED).exists());
    let app = AppId::from_uuid(APP);
    let number = |kind, text: &str| store.sealer().number_of(kind, text).unwrap();
    let token = async |text: &str| {
        let (token, ground) = store.token(number(SealKind::Token, text)).await.unwrap().unwrap();
        assert_eq!(token.hash, Secret::new(text.to_owned()).hash());
        token.lapse(&ground, THEN)
    };
    assert_eq!(token("6E3F20A7-2F76-4A94-840D-F4A98048F2C7").await, Some(Lapse::Redeemed));
    assert_eq!(token("3AE865F7-97AE-491D-AA2F-B23D1A5646C8").await, None);
    assert_eq!(token("BD125001-77A4-48BA-8DE6-951B716413DC").await, Some(Lapse::Revoked));
    assert_eq!(token("6FC31CEC-F1B3-4047-86C4-55D03BB5F59C").await, None);
    let session = async |text: &str| {
        let (session, ground) = store.session(number(SealKind::Session, text)).await.unwrap().unwrap();
        assert_eq!(session.hash, Secret::new(text.to_owned()).hash());
        session.lapse(&ground, THEN)
    };
    assert_eq!(session("2EA9F105-825B-47F8-9123-72390AADE43F").await, None);
    assert_eq!(session("70ADF9E6-59BB-400E-94AA-1C698E19053B").await, Some(Lapse::Revoked));
    assert_eq!(session("233619C2-6F2D-488F-B755-28D65F65D793").await, Some(Lapse::Revoked));
    assert_eq!(store.bans(app, PageRequest::first()).await.unwrap().items.len(), 1);

    let account_id = store.accounts().await.unwrap()[0].id;
    let query = AuditQuery { account_id, app_id: None, action: None, object: None, request_id: None };
    let log = store.audit_log(query, PageRequest::first()).await.unwrap().items;
    let told = |nth: usize| (log[nth].entry.action, log[nth].entry.object.as_str());
    assert_eq!(log.len(), 15);
    assert_eq!([told(0), told(1)], [(Action::EndpointBanned, "mallory"), (Action::TokenRedeemed, "mallory")]);
    assert_eq!(log[1].entry.fingerprint.as_deref(), Some("e7b65d418dfe"));
    assert_eq!((told(3), log[3].entry.address.as_str()), ((Action::TokenReplaced, "carol"), "127.0.0.1"));

    let room = GroupName::parse("room").unwrap();
    let history = store.history(app, &room, None, 10).await.unwrap();
    assert_eq!(
        history.iter().map(|said| said.at.millis()).collect::<Vec<_>>(),
        [1_795_725_083_920, 1_795_725_083_919, 1_795_725_083_916]
    );
    assert_eq!(store.kept_bytes(app).await.unwrap(), store.recounted_bytes(app).await.unwrap());
    store.close().await;
    let connection = Connection::open(path).unwrap();
    let offsets = "SELECT (SELECT group_concat(offset) FROM (SELECT offset FROM messages ORDER BY at)),
                              (SELECT head FROM message_groups WHERE epoch > 0)";
    let offsets = connection.query_row(offsets, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
    assert_eq!(offsets.unwrap(), ("1,2,3".to_owned(), 3));
}

#[tokio::test]
async fn a_database_of_the_last_release_holds_in_the_present_shape_what_it_held() {
    let (folder, path) = released();
    holds_what_was_answered(&path).await;
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    // And again, with nothing to do.
    holds_what_was_answered(&path).await;
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_str().unwrap().contains("rebuilding")), "{names:?}");
}

#[tokio::test]
async fn the_data_folder_may_be_named_by_a_link_and_by_any_bytes() {
    let (folder, path) = released();
    let named = tempfile::tempdir().unwrap();
    let linked = named.path().join("linked");
    std::os::unix::fs::symlink(folder.path(), &linked).unwrap();
    holds_what_was_answered(&linked.join("respoked.db")).await;
    assert_eq!(pragma(&path, "page_size"), 1_024);
    let (_folder, path) = released();
    let no_text = named.path().join(std::ffi::OsStr::from_bytes(b"no\xfftext"));
    std::fs::create_dir(&no_text).unwrap();
    for suffix in ["", "-wal"] {
        std::fs::copy(beside(&path, suffix), beside(&no_text.join("respoked.db"), suffix)).unwrap();
    }
    holds_what_was_answered(&no_text.join("respoked.db")).await;
}

#[test]
fn nothing_takes_the_name_but_the_copy_that_was_made() {
    let (folder, path) = released();
    let other = folder.path().join("other");
    std::fs::write(&other, "another's").unwrap();
    std::fs::set_permissions(&other, Permissions::from_mode(0o644)).unwrap();
    let puts: [fn(&Path, &Path) -> io::Result<()>; 2] =
        [|other, name| std::os::unix::fs::symlink(other, name), |other, name| std::fs::hard_link(other, name)];
    for put in puts {
        let mut rebuild = Rebuild::begin(&path, u64::MAX).unwrap();
        rebuild.copy().unwrap();
        std::fs::remove_file(&rebuild.copy).unwrap();
        put(&other, &rebuild.copy).unwrap();
        rebuild.replace().unwrap_err();
        clear(&path).unwrap();
        assert_eq!(std::fs::metadata(&other).unwrap().mode() & 0o777, 0o644);
        assert_eq!(pragma(&path, "user_version"), 5);
    }
    let before = std::fs::metadata(&other).unwrap();
    assert_eq!([before.gid(), before.gid() + 1].map(|group| mode_of(group, &before)), [0o644, 0o600]);
}

#[tokio::test]
async fn what_cannot_be_cleared_away_is_named_and_keeps_nobody_from_a_database_in_shape() {
    let (_folder, path) = released();
    // Like another user's folder, this cannot be removed as one.
    std::fs::write(beside(&path, UNFINISHED), "").unwrap();
    let said = SqliteStore::open(&path, Options::default()).unwrap_err().source().unwrap().to_string();
    assert!(said.contains("respoked.db-rebuilding") && said.contains("remove it"), "{said}");
    assert_eq!(pragma(&path, "user_version"), 5);
    std::fs::remove_file(beside(&path, UNFINISHED)).unwrap();
    SqliteStore::open(&path, Options::default()).unwrap().close().await;
    std::fs::write(beside(&path, UNFINISHED), "").unwrap();
    SqliteStore::open(&path, Options::default()).unwrap().close().await;
}

#[tokio::test]
async fn whenever_it_is_killed_the_next_start_goes_on() {
    // What a kill leaves are the files; what the process held is gone with it.
    for moment in 0..8 {
        let (_folder, path) = released();
        let mut rebuild = Rebuild::begin(&path, u64::MAX).unwrap();
        if moment > 0 {
            rebuild.copy().unwrap();
        }
        match moment {
            // In the middle of the copy.
            1 => File::options().write(true).open(&rebuild.copy).unwrap().set_len(30_000).unwrap(),
            2 => File::options().write(true).open(&rebuild.copy).unwrap().set_len(0).unwrap(),
            3.. => rebuild.migrate().unwrap(),
            _ => {}
        }
        if moment == 4 {
            // In the middle of the migration, with nothing on disk that would take it back.
            let bytes = std::fs::read(&rebuild.copy).unwrap();
            std::fs::write(&rebuild.copy, &bytes[..bytes.len() / 2]).unwrap();
            assert!(rebuild.look_at_copy().is_err(), "and it is not taken for whole");
        }
        if moment > 4 {
            rebuild.look_at_copy().unwrap();
        }
        if moment > 5 {
            rebuild.replace().unwrap();
        } else {
            drop(rebuild);
        }
        if moment > 6 {
            // What the shared memory of the one before may have left.
            std::fs::write(beside(&path, "-wal"), "").unwrap();
        }
        holds_what_was_answered(&path).await;
    }
}

#[tokio::test]
async fn a_copy_that_lacks_rows_does_not_take_its_place() {
    let (_folder, path) = released();
    let mut rebuild = Rebuild::begin(&path, u64::MAX).unwrap();
    rebuild.copy().unwrap();
    rebuild.migrate().unwrap();
    Connection::open(&rebuild.copy).unwrap().execute("DELETE FROM log WHERE number = 7", []).unwrap();
    let said = rebuild.look_at_copy().unwrap_err().source().unwrap().to_string();
    assert!(said.contains("rows of audit") && said.contains("left as it is"), "{said}");
    drop(rebuild);
    assert_eq!(pragma(&path, "user_version"), 5);
}

#[tokio::test]
async fn without_room_nothing_is_changed_and_what_is_needed_is_said() {
    let (folder, path) = released();
    let before = [std::fs::read(&path).unwrap(), std::fs::read(beside(&path, "-wal")).unwrap()];
    let error = Rebuild::begin(&path, 1_000).err().unwrap();
    assert_eq!(Trouble::of(&error), Some(Trouble::DiskFull));
    let said = error.source().unwrap().to_string();
    assert!(said.contains("1000 are") && said.contains("bytes must be free"), "{said}");
    assert_eq!([std::fs::read(&path).unwrap(), std::fs::read(beside(&path, "-wal")).unwrap()], before);
    assert!(!beside(&path, UNFINISHED).exists());
    drop(folder);
}

#[tokio::test]
async fn what_a_restore_of_an_older_backup_undoes_is_what_came_after_it() {
    let (folder, path) = released();
    let backup = folder.path().join("backup");
    Source::open(&path).unwrap().copy_to(&backup).unwrap();
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let entry = crate::contract::fixture::entry_at(THEN, Action::SecretRevoked);
    store.audit(entry).await.unwrap();
    store.close().await;
    let (replaced, restored) = (Source::open(&path).unwrap(), Source::open(&backup).unwrap());
    let undone: Vec<_> = crate::undone_changes(&replaced, &restored).unwrap();
    assert_eq!(undone.iter().map(|change| change.action).collect::<Vec<_>>(), [Action::SecretRevoked]);
    drop((replaced, restored));
    // And the backup, brought into shape, has nothing alive in it.
    crate::end_everything_issued(&backup, "backup", THEN, RequestId::random()).unwrap();
    let newest = i64::try_from(schema::newest()).unwrap();
    assert_eq!((pragma(&backup, "page_size"), pragma(&backup, "user_version")), (1_024, newest));
}

#[test]
fn the_room_that_is_looked_for_is_enough_whatever_is_kept() {
    let fill = |rows: i64, sql: &str| {
        let (folder, path) = released();
        let old = Connection::open(&path).unwrap();
        old.execute_batch("PRAGMA synchronous = OFF; BEGIN").unwrap();
        for nth in 0..rows {
            old.prepare_cached(sql).unwrap().execute([nth]).unwrap();
        }
        old.execute_batch("COMMIT").unwrap();
        old.close().unwrap();
        let mut rebuild = Rebuild::begin(&path, u64::MAX).unwrap();
        let room = most_of_copy(&rebuild.old, rebuild.used_bytes).unwrap();
        rebuild.copy().unwrap();
        let copied = std::fs::metadata(&rebuild.copy).unwrap().len();
        rebuild.migrate().unwrap();
        let most = copied.max(std::fs::metadata(&rebuild.copy).unwrap().len());
        assert!(most <= room, "{most} of {room}: {sql}");
        drop(folder);
    };
    for (rows, len) in [
        (1_500, 100),
        (20_000, 231),
        (20_000, 320),
        (20_000, 478),
        (1_500, 450),
        (1_500, 510),
        (1_500, 640),
        (1_500, 960),
        (1_500, 1_500),
    ] {
        let message = format!(
            "INSERT INTO messages (group_number, at, sender, event)
                 VALUES (1, 1795725084000 + ?1, 'jo', '\"' || hex(zeroblob({len} / 2 - 1)) || '\"')"
        );
        fill(rows, &message);
        let report = format!(
            "INSERT INTO call_reports (app_id, at, report) VALUES (zeroblob(16), ?1, hex(zeroblob({len} / 2)))"
        );
        fill(rows, &report);
    }
    for len in [30, 160, 600] {
        let push_token = format!(
                "INSERT INTO push_tokens (app_id, id, endpoint, service, hash, text, seen_at)
                 VALUES (zeroblob(16), randomblob(16), hex(randomblob(9)) || ?1, 1, randomblob(32), hex(zeroblob({len})), 0)"
            );
        fill(1_500, &push_token);
    }
    for (rows, len) in [(20_000, 60), (20_000, 250), (3_000, 2_000)] {
        let role = format!(
            "INSERT INTO roles (app_id, id, name, permissions, created_at, updated_at)
                 VALUES (zeroblob(16), randomblob(16), ?1, hex(zeroblob({len})), 0, 0)"
        );
        fill(rows, &role);
    }
    for len in [18, 70, 76, 80, 128] {
        for (table, columns) in [
            ("conversations (app_id, endpoint, group_number, read_at, touched_at)", ", 1795725084000, 1795725084000"),
            ("message_groups (app_id, name, messages)", ""),
            ("endpoints (app_id, endpoint, banned_at, banned_until)", ", 1795725084000"),
        ] {
            let row = format!("INSERT INTO {table} VALUES (zeroblob(16), hex(randomblob({len})), ?1{columns})");
            fill(1_500, &row);
        }
        let figures = format!("INSERT INTO figures VALUES (60, ?1, zeroblob(16), hex(zeroblob({len} + 20)))");
        fill(1_500, &figures);
    }
}

#[tokio::test]
async fn nobody_else_writes_meanwhile_and_who_works_beside_a_server_never_does_it() {
    let (_folder, path) = released();
    let beside_a_server = Options { beside_a_server: true, ..Options::default() };
    let said = SqliteStore::open(&path, beside_a_server).unwrap_err().source().unwrap().to_string();
    assert!(said.contains("made by an older respoked"), "{said}");
    assert_eq!((pragma(&path, "user_version"), pragma(&path, "page_size")), (5, 4_096));
    let rebuild = Rebuild::begin(&path, u64::MAX).unwrap();
    let other = Connection::open(&path).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    assert!(other.execute("DELETE FROM admins", []).is_err());
    drop((rebuild, other));
    // One who reads holds it up, and it is left as it is.
    let reader = Connection::open(&path).unwrap();
    reader.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM admins").unwrap();
    let old = Connection::open(&path).unwrap();
    old.busy_timeout(Duration::ZERO).unwrap();
    assert!(take(&old).is_err());
}
