//! What PostgreSQL does with the rows of mints when nothing is in front of it: neither HTTP nor any decision of the server's.
//!
//! Both loops write the row that the server writes, in the table that it made, and read the ground of each mint.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::engine::{Engine, connect};
use crate::bench::load::WARM_UP;
use crate::bench::procfs::Usage;
use crate::bench::script::USERS;
use crate::bench::token::Chance;

/// Rows of a batch, and connections that write batches, as the server has them.
const BATCH: usize = 128;
const BATCHING: usize = 2;
/// Connections of the loop with a statement for each mint: as many as a node has in all.
const SINGLE: usize = 8;
/// What the server begins its transactions with.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '8s'; \
                     SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock_shared(1)";
const GROUND: &str = "
    SELECT f.head, a.development_mode FROM respoked.feed f, respoked.apps a
    JOIN respoked.roles r ON r.app_id = a.id JOIN respoked.secrets s ON s.app_id = a.id
    WHERE a.id = $1 AND r.id = $2 AND s.id = $3";
const NUMBERS: &str = "SELECT nextval('respoked.log_number') FROM generate_series(1, $1)";
const INSERT: &str = "
    INSERT INTO respoked.log (number, action, expires_at, at, app_id, endpoint, secret_id, hash, role_id, activate_by, born,
                              actor_kind, account_id, address, request_id)
    SELECT n.number, 1, n.at + 3600000, n.at, $1, n.endpoint, $2, n.hash, $3, n.at + 300000, 1, 3, $4, '127.0.0.1', n.request
    FROM unnest($5::bigint[], $6::bigint[], $7::text[], $8::bytea[], $9::uuid[]) n (number, at, endpoint, hash, request)";
const ONE: &str = "
    INSERT INTO respoked.log (action, expires_at, at, app_id, endpoint, secret_id, hash, role_id, activate_by, born,
                              actor_kind, account_id, address, request_id)
    SELECT 1, $5::bigint + 3600000, $5::bigint, a.id, $6, s.id, $7, r.id, $5::bigint + 300000, f.head, 3, $4, '127.0.0.1', $8
    FROM respoked.feed f, respoked.apps a
    JOIN respoked.roles r ON r.app_id = a.id JOIN respoked.secrets s ON s.app_id = a.id
    WHERE a.id = $1 AND s.id = $2 AND r.id = $3
    RETURNING number";

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    /// In batches, on two connections.
    Batches,
    /// A statement and a commit for each, on eight connections.
    OneEach,
}

/// What a window of it did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bare {
    /// Rows a second.
    pub(super) rate: f64,
    /// CPU time a row of the database and of this program, in microseconds.
    pub(super) cpu_micros: f64,
}

/// A value of a statement.
type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// Whose mints they are.
#[derive(Clone, Copy)]
struct Site {
    app: Uuid,
    secret: Uuid,
    role: Uuid,
    account: Uuid,
}

/// Writes rows for `window` into the database of a server that is at rest.
pub(super) fn measure(engine: &Engine, address: &str, kind: Loop, window: Duration, seed: u64) -> anyhow::Result<Bare> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let site = site(&connect(address).await?).await?;
        let connections = if kind == Loop::Batches { BATCHING } else { SINGLE };
        let (opens, closes) = (Instant::now() + WARM_UP, Instant::now() + WARM_UP + window);
        let mut loops = JoinSet::new();
        for number in 0..connections {
            let (client, chance) = (connect(address).await?, Chance::new(seed << 8 | number as u64));
            loops.spawn(async move {
                match kind {
                    Loop::Batches => batches(&client, site, chance, opens, closes).await,
                    Loop::OneEach => one_each(&client, site, chance, opens, closes).await,
                }
            });
        }
        let cpu = || anyhow::Ok(engine.cpu_secs()? + Usage::of(std::process::id())?.cpu_secs);
        tokio::time::sleep_until(opens.into()).await;
        let before = cpu()?;
        tokio::time::sleep_until(closes.into()).await;
        let after = cpu()?;
        let mut rows = 0;
        while let Some(written) = loops.join_next().await {
            rows += written??;
        }
        let rows = rows as f64;
        Ok(Bare { rate: rows / window.as_secs_f64(), cpu_micros: (after - before) * 1e6 / rows })
    })
}

async fn site(client: &Client) -> anyhow::Result<Site> {
    let sql = "SELECT a.id, s.id, r.id, a.account_id FROM respoked.apps a JOIN respoked.secrets s ON s.app_id = a.id
               JOIN respoked.roles r ON r.app_id = a.id WHERE a.name = 'bench' LIMIT 1";
    let row = client.query_opt(sql, &[]).await?.context("the server made no app")?;
    Ok(Site { app: row.get(0), secret: row.get(1), role: row.get(2), account: row.get(3) })
}

/// Counts rows whose commit was answered between `opens` and `closes`.
async fn batches(
    client: &Client,
    site: Site,
    mut chance: Chance,
    opens: Instant,
    closes: Instant,
) -> anyhow::Result<u64> {
    let mut rows = 0;
    while Instant::now() < closes {
        client.batch_execute(BEGIN).await?;
        let count = i64::try_from(BATCH)?;
        let of_ground: &[Value<'_>] = &[(&site.app, Type::UUID), (&site.role, Type::UUID), (&site.secret, Type::UUID)];
        let of_numbers: &[Value<'_>] = &[(&count, Type::INT8)];
        let (ground, numbers) =
            tokio::join!(client.query_typed(GROUND, of_ground), client.query_typed(NUMBERS, of_numbers));
        anyhow::ensure!(!ground?.is_empty(), "there is no ground to mint on");
        let numbers: Vec<i64> = numbers?.iter().map(|row| row.get(0)).collect();
        let made: Vec<Made> = (0..BATCH).map(|_| Made::by(&mut chance)).collect();
        let at: Vec<i64> = made.iter().map(|made| made.at).collect();
        let endpoints: Vec<&str> = made.iter().map(|made| made.endpoint.as_str()).collect();
        let hashes: Vec<&[u8]> = made.iter().map(|made| &made.hash[..]).collect();
        let requests: Vec<Uuid> = made.iter().map(|made| made.request).collect();
        let written = client
            .execute_typed(
                INSERT,
                &[
                    (&site.app, Type::UUID),
                    (&site.secret, Type::UUID),
                    (&site.role, Type::UUID),
                    (&site.account, Type::UUID),
                    (&numbers, Type::INT8_ARRAY),
                    (&at, Type::INT8_ARRAY),
                    (&endpoints, Type::TEXT_ARRAY),
                    (&hashes, Type::BYTEA_ARRAY),
                    (&requests, Type::UUID_ARRAY),
                ],
            )
            .await?;
        client.batch_execute("COMMIT").await?;
        if (opens..closes).contains(&Instant::now()) {
            rows += written;
        }
    }
    Ok(rows)
}

async fn one_each(
    client: &Client,
    site: Site,
    mut chance: Chance,
    opens: Instant,
    closes: Instant,
) -> anyhow::Result<u64> {
    let statement: Statement = client.prepare(ONE).await?;
    let mut rows = 0;
    while Instant::now() < closes {
        let Made { at, endpoint, hash, request } = Made::by(&mut chance);
        let (hash, Site { app, secret, role, account }) = (&hash[..], site);
        client.query_one(&statement, &[&app, &secret, &role, &account, &at, &endpoint, &hash, &request]).await?;
        rows += u64::from((opens..closes).contains(&Instant::now()));
    }
    Ok(rows)
}

/// What differs from mint to mint.
struct Made {
    at: i64,
    endpoint: String,
    hash: [u8; 32],
    request: Uuid,
}

impl Made {
    fn by(chance: &mut Chance) -> Self {
        let mut hash = [0; 32];
        for part in hash.chunks_exact_mut(8) {
            part.copy_from_slice(&chance.next().to_be_bytes());
        }
        let at = i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let request = Uuid::from_u64_pair(chance.next(), chance.next());
        Self { at, endpoint: format!("user-{}", chance.next() % USERS), hash, request }
    }
}
