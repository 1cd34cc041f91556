//! What an operator is told of a database: whether a server could use it, and what its promises stand on there.

use respoke_core::ports::StoreError;

use super::connect::Connection;
use super::facts::Facts;
use super::failure::Failure;
use super::migrations::{State, newest};
use super::opening::{connected, told};
use super::options::Options;
use super::rows::{Columns, one};
use super::unready::Unready;

/// How often it is looked whether a connection is another one in its next transaction.
const ROUNDS: usize = 4;

/// What is found of a database.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The version of PostgreSQL.
    pub version: String,
    /// As whom one is there.
    pub role: String,
    /// Why no server starts there, if none does.
    pub refusal: Option<String>,
    /// The schema that is there; 0: none. None: the role may not look.
    pub schema: Option<usize>,
    /// The one that this program knows.
    pub schema_known: usize,
    /// Whether the role may change the schema.
    pub may_change_schema: bool,
    /// Milliseconds that this machine's clock is ahead of its; negative: behind.
    pub clock_ahead_millis: i64,
    /// How far a commit is waited for.
    pub synchronous_commit: String,
    /// What becomes of pages that a crash leaves half written.
    pub half_written: HalfWritten,
    /// Which standbys a commit waits for; empty: none.
    pub synchronous_standbys: String,
    /// How many of them it waits for at a time.
    pub standbys_awaited: i64,
    /// How many of them are connected. None: the role may not see it.
    pub standbys_connected: Option<i64>,
    /// Connections that the server takes.
    pub connections_max: i64,
    /// Whether values of statements may get into the server's log.
    pub values_are_logged: bool,
    /// Whether what is sent is encrypted on its last way to the server.
    pub is_encrypted: bool,
    /// What is between.
    pub pooling: Pooling,
}

/// What becomes of pages that a crash leaves half written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfWritten {
    /// The database mends them.
    Mended,
    /// It counts on a file system that leaves none (`full_page_writes = off`).
    LeftToFiles,
}

/// What is between a server and its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Nothing that could be noticed.
    Direct,
    /// The database listens on another port than the one that was connected to: a pooler, or a port that is passed on.
    OtherPort,
    /// A pooler that gives each transaction another connection.
    EachTransaction,
    /// While one transaction is open, no other begins: a pooler that has a single connection left, or none.
    OneAtATime,
}

/// Looks at the database and says what it is, whether or not it can be served from.
pub(super) async fn examine(options: &Options) -> Result<Examined, StoreError> {
    const ASK: &str = "SELECT current_setting('synchronous_standby_names'), current_setting('max_connections')::bigint,
                              current_setting('log_parameter_max_length') <> '0' AND (
                                  current_setting('log_min_duration_statement') <> '-1'
                                  OR current_setting('log_min_duration_sample') <> '-1'
                                  OR current_setting('log_statement') <> 'none'),
                              coalesce((SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()), FALSE),
                              inet_server_port()::bigint,
                              coalesce(substring(current_setting('synchronous_standby_names') FROM '([0-9]+) *\\(')::bigint, 1),
                              CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN (
                                  SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE sync_state IN ('sync', 'quorum')
                              ) END";
    let connection = connected(options, options.patience).await?;
    let facts = Facts::read(&connection).await.map_err(told)?;
    let state = State::read(&connection).await.map_err(told)?;
    let read = |columns: &mut Columns<'_>| {
        let settings = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
        Ok((settings, columns.next::<Option<i64>>()?, columns.next()?, columns.next()?))
    };
    let read = one(&connection, ASK, &[], read).await.map_err(told)?;
    let (settings, port, standbys_awaited, standbys_connected) =
        read.ok_or(StoreError::Corrupt("settings have no row"))?;
    let (synchronous_standbys, connections_max, values_are_logged, is_encrypted) = settings;
    let pooling = match pooling(options, &connection).await {
        Ok(Pooling::Direct)
            if port.is_some_and(|port| !options.config.get_ports().iter().any(|asked| i64::from(*asked) == port)) =>
        {
            Pooling::OtherPort
        }
        pooling => pooling?,
    };
    let (schema, may_change_schema) = (state.version(), state.may_make);
    // What the next start does by itself keeps none from starting.
    let unready = state.key().err().filter(|unready| !matches!(unready, Unready::Unmigrated { .. }));
    let unfit = facts.check().err();
    let refusal = unfit.map(|unfit| unfit.to_string()).or_else(|| unready.map(|unready| unready.to_string()));
    Ok(Examined {
        version: facts.version,
        role: facts.role,
        refusal,
        schema,
        schema_known: newest(),
        may_change_schema,
        clock_ahead_millis: facts.clock_ahead_millis,
        synchronous_commit: facts.synchronous_commit,
        half_written: if facts.full_page_writes { HalfWritten::Mended } else { HalfWritten::LeftToFiles },
        synchronous_standbys,
        standbys_awaited,
        standbys_connected,
        connections_max,
        values_are_logged,
        is_encrypted,
        pooling,
    })
}

/// What a second connection shows of what is between.
async fn pooling(options: &Options, connection: &Connection) -> Result<Pooling, StoreError> {
    let other = connected(options, options.patience).await;
    let changed = match &other {
        Ok(other) => changes(connection, other).await,
        // A pooler lets in whom it has no connection for, and has them wait.
        Err(_) => Err(Failure::lost("there is no second connection")),
    };
    match (changed, other) {
        (Ok(true), _) => Ok(Pooling::EachTransaction),
        (Ok(false), _) => Ok(Pooling::Direct),
        // The first one was answered meanwhile: it is the second that is kept waiting.
        (Err(failure), _) if failure.is_a_loss() && connection.batch("ROLLBACK").await.is_ok() => {
            Ok(Pooling::OneAtATime)
        }
        (Err(_), Err(error)) => Err(error),
        (Err(failure), Ok(_)) => Err(told(failure)),
    }
}

/// Whether a connection is another one in another transaction: two of them are held at a time and given back in turns.
async fn changes(one: &Connection, other: &Connection) -> Result<bool, Failure> {
    let mut first = None;
    for round in 0..ROUNDS {
        one.batch("BEGIN").await?;
        other.batch("BEGIN").await?;
        let process = process(one).await?;
        if *first.get_or_insert(process) != process {
            return Ok(true);
        }
        let (sooner, later) = if round % 2 == 0 { (one, other) } else { (other, one) };
        sooner.batch("ROLLBACK").await?;
        later.batch("ROLLBACK").await?;
        // Whoever comes first now gets what was given back last.
        other.batch("BEGIN").await?;
        one.batch("BEGIN").await?;
        if first != Some(self::process(one).await?) {
            return Ok(true);
        }
        one.batch("ROLLBACK").await?;
        other.batch("ROLLBACK").await?;
    }
    Ok(false)
}

async fn process(connection: &Connection) -> Result<i64, Failure> {
    let rows = connection.query("SELECT pg_backend_pid()::bigint", &[]).await?;
    Columns::of(rows.first().ok_or(Failure::Row("a process has no number"))?).next()
}
