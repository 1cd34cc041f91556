//! The writer beside others, and in what it answers when something fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use respoke_core::ports::MaintenanceStore;

use crate::sqlite::{Options, SqliteStore};

use super::*;

/// Runs `together`, which queues several operations at once, so that they are one batch.
pub(in crate::sqlite) async fn in_one_batch<F: Future>(store: &SqliteStore, together: F) -> F::Output {
    // The writer is held until all of them wait behind it.
    let (release, released) = std::sync::mpsc::sync_channel(1);
    let (holds, held) = oneshot::channel();
    let mut holds = Some(holds);
    let hold = store.writer.write(move |_| {
        holds.take().map(|holds| holds.send(()));
        released.recv().map_err(|_| rusqlite::Error::InvalidQuery)
    });
    let queued = async {
        held.await.unwrap();
        let before = store.writer.figures().commits;
        let (done, ()) = tokio::join!(together, async { release.send(()).unwrap() });
        assert_eq!(store.writer.figures().commits - before, 2, "what held the writer, and one batch");
        done
    };
    let both = async { tokio::join!(hold, queued) };
    let (held, done) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("they are answered");
    held.unwrap();
    done
}

#[test]
fn who_waits_in_another_runtime_is_answered_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("respoked.db"), Options::default()).unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let write = || store.writer.write(|_| Ok(()));
    let several = || in_one_batch(&store, async { tokio::try_join!(write(), write(), write()).map(drop) });
    first.block_on(several()).unwrap();
    // The first one is there, and does nothing now.
    second.block_on(several()).unwrap();
    drop(first);
    second.block_on(several()).unwrap();
}

/// Lets an operation hold the writer until `meanwhile` lets go, and then write `rows`. What came of both.
async fn held<T>(
    store: &SqliteStore,
    rows: &'static str,
    meanwhile: impl AsyncFnOnce(std::sync::mpsc::SyncSender<()>) -> T,
) -> (Result<(), StoreError>, T) {
    let (release, released) = std::sync::mpsc::sync_channel(1);
    let (holds, held) = oneshot::channel();
    let mut holds = Some(holds);
    let hold = store.writer.write(move |write| {
        if let Some(holds) = holds.take() {
            holds.send(()).unwrap();
            released.recv().unwrap();
        }
        write.connection.execute_batch(rows)
    });
    let meanwhile = async {
        held.await.unwrap();
        meanwhile(release).await
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(hold, meanwhile) }).await.unwrap()
}

fn insert(key: &'static str) -> impl FnMut(&Write<'_>) -> rusqlite::Result<()> + Send + 'static {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, x'') ON CONFLICT DO NOTHING";
    move |write| write.connection.execute(sql, [key]).map(drop)
}

#[tokio::test]
async fn once_the_database_is_known_to_be_lost_or_damaged_nothing_more_is_written() {
    let learn: [fn(&Condition); 2] = [
        |condition| {
            let damage = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            condition.note(&rusqlite::Error::SqliteFailure(damage, None));
        },
        |condition| condition.lost("a test takes it away"),
    ];
    for learn in learn {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("respoked.db");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        // Long enough for the log to be copied.
        let long = "INSERT INTO meta (key, value) VALUES ('held', randomblob(50331648))";
        let (_, waited) = held(&store, long, async |release| {
            let mut waits = std::pin::pin!(store.writer.write(insert("waited")));
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut waits).await.is_err());
            learn(&store.condition);
            store.writer.write_if_idle(insert("unheard"));
            release.send(()).unwrap();
            waits.await
        })
        .await;
        assert!(matches!(waited, Err(StoreError::Unavailable(_))), "{waited:?}");
        drop(store);
        assert!(std::fs::metadata(&path).unwrap().len() < 4 << 20, "the log was not copied");
        let found = "SELECT group_concat(key) FROM meta WHERE key IN ('held', 'waited', 'unheard')";
        let written = Connection::open(&path).unwrap().query_row(found, [], |row| row.get::<_, String>(0));
        assert_eq!(written.unwrap(), "held");
    }
}

#[tokio::test]
async fn one_of_a_failed_batch_is_not_told_of_success_in_files_that_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("respoked.db");
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let (_, (good, bad)) = held(&store, "", async |release| {
        let mut write = insert("written");
        let good = store.writer.write(move |with| {
            let _ = std::fs::remove_file(&path);
            write(with)
        });
        let bad = store.writer.write(|_| Err::<(), _>(rusqlite::Error::InvalidQuery));
        let (good, bad, ()) = tokio::join!(good, bad, async { release.send(()).unwrap() });
        (good, bad)
    })
    .await;
    assert!(matches!(good, Err(StoreError::InDoubt(_))), "{good:?}");
    assert!(bad.is_err());
}

static WAITS: AtomicU64 = AtomicU64::new(0);
static QUEUED: AtomicBool = AtomicBool::new(false);

/// Counts how often the writer waits for another process, and lets it give up when all are queued.
fn wait_for_the_queue(_: i32) -> bool {
    WAITS.fetch_add(1, Ordering::SeqCst);
    while !QUEUED.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    false
}

#[tokio::test]
async fn while_another_process_holds_the_database_everybody_is_answered_after_one_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("respoked.db");
    drop(SqliteStore::open(&path, Options::default()).unwrap());
    let open = || crate::sqlite::file::open_for_writing(&path).unwrap();
    let mut connection = open();
    connection.busy_handler(Some(wait_for_the_queue)).unwrap();
    let writer = Writer::start(Start {
        connection,
        checkpoints: open(),
        condition: Arc::default(),
        sealer: Sealer::new([7; 16]),
        batch_max: 32,
        beside_a_server: true,
        crash: Crash::default(),
    });
    let writer = writer.unwrap();
    let other = open();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Some batches.
    let mut writes: Vec<_> = (0..100).map(|_| Box::pin(writer.write(insert("refused")))).collect();
    std::future::poll_fn(|context| {
        assert!(writes.iter_mut().all(|write| write.as_mut().poll(context).is_pending()));
        std::task::Poll::Ready(())
    })
    .await;
    QUEUED.store(true, Ordering::SeqCst);
    for write in writes {
        let answer = write.await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "nothing was written: {answer:?}");
        let trouble = crate::sqlite::Trouble::of(&answer.unwrap_err());
        assert_eq!(trouble, Some(crate::sqlite::Trouble::Busy));
    }
    assert_eq!(WAITS.load(Ordering::SeqCst), 1);
    other.execute_batch("ROLLBACK").unwrap();
    writer.write(insert("written")).await.unwrap();
    let found = "SELECT group_concat(key) FROM meta WHERE key IN ('refused', 'written')";
    let written = other.query_row(found, [], |row| row.get::<_, String>(0));
    assert_eq!(written.unwrap(), "written");
}

#[tokio::test]
async fn a_log_that_grew_beside_a_long_reader_is_cut_when_the_reader_is_gone() {
    for (mib, left, writes_go_on) in [(90, 40, true), (90, 4, false), (20, 4, false)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("respoked.db");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        let log = crate::sqlite::file::beside(&path, "-wal");
        let log_bytes = || std::fs::metadata(&log).unwrap().len();
        let fill = |bytes: u32| {
            store.writer.write(move |write: &Write<'_>| {
                let sql = "INSERT INTO meta (key, value) VALUES ('filling', randomblob(?1))
                           ON CONFLICT DO UPDATE SET value = excluded.value";
                write.connection.execute(sql, [bytes])
            })
        };
        // As a backup does.
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM meta").unwrap();
        for _ in 0..mib {
            fill(1 << 20).await.unwrap();
        }
        assert!(log_bytes() > (mib - 1) << 20);
        drop(reader);
        let deadline = Instant::now() + Duration::from_secs(30);
        while log_bytes() > left << 20 {
            assert!(Instant::now() < deadline, "{mib} MiB: the log stays {} bytes long", log_bytes());
            if writes_go_on {
                fill(1).await.unwrap();
            } else {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        store.check().await.unwrap();
    }
}

/// Panics where nobody takes it.
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("nobody took it");
    }
}

/// Holds the writer until one operation that panics and another one wait behind it. What came of the other.
async fn beside_a_fragile<T: Send + 'static>(
    store: &SqliteStore,
    other: impl FnMut(&Write<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let (_, done) = held(store, "", async |release| {
        // It waits there, and whoever waits for it goes away.
        assert!(tokio::time::timeout(Duration::ZERO, store.writer.write(|_| Ok(Fragile))).await.is_err());
        let mut other = std::pin::pin!(store.writer.write(other));
        assert!(tokio::time::timeout(Duration::ZERO, other.as_mut()).await.is_err());
        release.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(20), other).await.expect("it is answered")
    })
    .await;
    done
}

#[tokio::test]
async fn an_answer_that_panics_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("respoked.db"), Options::default()).unwrap();
    for _ in 0..2 {
        beside_a_fragile(&store, |write| Ok(write.next_row())).await.unwrap();
    }
}

#[tokio::test]
async fn the_writer_goes_on_behind_a_batch_that_panics() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("respoked.db"), Options::default()).unwrap();
    for _ in 0..2 {
        // Both are run once more, each alone: what panics then is what the first run left.
        let failed = beside_a_fragile(&store, |_| Err::<(), _>(rusqlite::Error::InvalidQuery)).await;
        assert!(failed.is_err(), "{failed:?}");
        let written = tokio::time::timeout(Duration::from_secs(20), store.writer.write(|write| Ok(write.next_row())));
        written.await.expect("it is answered").unwrap();
    }
}
