//! How fast upkeep removes what is over. As a measurement:
//! `UPKEEP_ROWS=1000000 cargo test --release -p respoke-store --lib upkeep_removes_faster -- --nocapture`.

use std::io::Write as _;
use std::time::Instant;

use respoke_core::clock::Timestamp;
use respoke_core::ports::{MaintenanceStore as _, Upkeep};
use uuid::Uuid;

use super::rows::read_number;
use super::store::PostgresStore;
use crate::contract::fixture::NOW;
use crate::contract::postgres::{Postgres, there_is_a_server};
use crate::contract::upkeep_cases::upkeep_at;

async fn run(store: &PostgresStore, sql: &str) {
    store.reader().await.unwrap().batch(sql).await.unwrap();
}

async fn count(store: &PostgresStore, what: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM respoked.{what}");
    store.read_one(&sql, &[], read_number).await.unwrap().unwrap()
}

/// So many tokens that were minted with a key, each redeemed for a session, as a server would have left them.
async fn fill(store: &PostgresStore, rows: u64) {
    let (app, now) = (Uuid::from_u128(1), NOW.millis());
    // In pieces that are answered in time.
    for from in (1..=rows).step_by(20_000) {
        let to = rows.min(from + 19_999);
        let fill = format!(
            "INSERT INTO respoked.log (action, expires_at, at, app_id, endpoint, secret_id, hash, role_id, activate_by, born,
                                       ended_at, session_number, actor_kind, address, request_id)
                 SELECT 1, {now} + n, {now}, '{app}', 'endpoint-' || n % 100000, '{app}',
                        sha256(int8send(n)), '{app}', {now}, 1, {now}, n, 3, '192.0.2.1', gen_random_uuid()
                 FROM generate_series({from}::bigint, {to}) n;
             INSERT INTO respoked.sessions (number, token_number, app_id, endpoint, role_id, secret_id, hash, born, created_at,
                                            expires_at, last_seen_at, address)
                 SELECT n, n, '{app}', 'endpoint-' || n % 100000, '{app}', '{app}', sha256(int8send(n)), 1, {now}, {now},
                        {now}, '192.0.2.1' FROM generate_series({from}::bigint, {to}) n;
             INSERT INTO respoked.idempotency (key, request, object, at)
                 SELECT sha256(int8send(n)), sha256(int8send(n)), int8send(n), {now}
                 FROM generate_series({from}::bigint, {to}) n"
        );
        run(store, &fill).await;
    }
}

/// Has upkeep go on until it finds nothing any more. Says how many rows it removed.
async fn remove_all(store: &PostgresStore, upkeep: Upkeep, what: &str) -> u64 {
    let (begin, mut removed) = (Instant::now(), 0);
    loop {
        let step = store.upkeep(upkeep).await.unwrap();
        removed += step.removed;
        if step.pass_complete && step.removed == 0 {
            break;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "it is a figure to look at")]
    let rate = removed as f64 / begin.elapsed().as_secs_f64();
    let _ = writeln!(std::io::stderr(), "{what}: {removed} rows, {rate:.0}/s");
    removed
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_removes_faster_than_servers_write() {
    if !there_is_a_server() {
        return;
    }
    let asked = std::env::var_os("UPKEEP_ROWS");
    let rows = asked.map_or(6_000, |rows| rows.to_str().expect("it is text").parse().expect("it is a number"));
    let fixture = Postgres::default();
    let store = fixture.store().await;
    fill(&store, rows).await;
    let late = |secs: i64| Timestamp::from_secs(NOW.millis() / 1_000 + secs);
    let over = Upkeep { now: late(1_000_000), dead_before: late(999_999), ..upkeep_at(NOW) };

    // The newest row of a table may stay.
    assert!(remove_all(&store, Upkeep { keys_before: NOW, ..over }, "tokens and sessions").await >= 2 * rows - 2);
    assert!(count(&store, "sessions").await <= 1 && count(&store, "tokens").await <= 1);
    let keys = Upkeep { keys_before: late(1), ..over };
    assert_eq!(remove_all(&store, keys, "keys").await, rows);
    let entries = Upkeep { audit_before: late(1), ..keys };
    assert!(remove_all(&store, entries, "what the log tells").await >= rows - 1);
    assert!(count(&store, "log").await <= 1);
}
