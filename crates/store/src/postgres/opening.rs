//! How a database is come to at a start: it is waited for, looked at, and brought to the present schema.

use std::error::Error;
use std::time::Duration;

use respoke_core::ports::StoreError;
use tokio::time::Instant;
use tokio_postgres::error::{DbError, SqlState};
use tokio_util::task::TaskTracker;

use super::connect::{Connection, Patience};
use super::connector::Connector;
use super::facts::{Facts, Unfit};
use super::failure::Failure;
use super::migrations::{self, Migrated, State};
use super::options::{Options, Schema};
use super::unready::Unready;

/// Between two tries to connect while the database starts.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a migration may take: one that fills a column of a large table takes minutes, and others wait for it.
const MIGRATION: Patience =
    Patience { answer: Duration::from_secs(3_600), commit: Duration::from_secs(600), ..Patience::DEFAULT };
/// How often a migration is tried that found a table held by somebody.
const MIGRATION_TRIES: u32 = 5;

/// Looks whether the database can be served from, brings it to the present schema if it is to be, and returns the key of its
/// tokens.
pub(super) async fn open(options: &Options) -> Result<[u8; 16], StoreError> {
    let connection = connected(options, options.patience).await?;
    if !fit(&connection).await?.full_page_writes {
        tracing::warn!(
            "the database's server runs with full_page_writes = off: a crash damages the database, unless its file system never \
             leaves a page half written, as ZFS does not"
        );
    }
    let mut state = State::read(&connection).await.map_err(told)?;
    if state.is_older() && state.may_make && options.schema == Schema::Brought {
        migrate(options, None).await?;
        state = State::read(&connection).await.map_err(told)?;
    }
    state.key().map_err(StoreError::from)?.ok_or(StoreError::Corrupt("the database holds no key of its tokens"))
}

/// Fails if no server would keep anything there, whatever is there now.
pub(crate) async fn check_fit(options: &Options) -> Result<(), StoreError> {
    fit(&connected(options, options.patience).await?).await.map(drop)
}

async fn fit(connection: &Connection) -> Result<Facts, StoreError> {
    let facts = Facts::read(connection).await.map_err(told)?;
    facts.check().map_err(unfit)?;
    Ok(facts)
}

fn unfit(unfit: Unfit) -> StoreError {
    StoreError::Unavailable(Box::new(unfit))
}

/// Brings the database to the present schema, and lets `grant_to` and whoever could use it before use all of it.
pub(super) async fn migrate(options: &Options, grant_to: Option<&str>) -> Result<Migrated, StoreError> {
    let mut tries = 1;
    loop {
        let connection = connected(options, MIGRATION).await?;
        // How the role that serves commits is not known here.
        Facts::read(&connection).await.map_err(told)?.check_place().map_err(unfit)?;
        match migrations::migrate(&connection, &*options.chance, grant_to).await {
            Ok(migrated) => return migrated.map_err(StoreError::from),
            Err(failure) if failure.is_of_a_held_row() && tries < MIGRATION_TRIES => {
                tracing::warn!("somebody holds a table that is to be migrated; it is tried again");
                tries += 1;
            }
            // A transaction that was lost may have been committed; who starts again finds out.
            Err(failure) if failure.is_a_loss() => return Err(failure.in_doubt()),
            Err(failure) => return Err(told(failure)),
        }
    }
}

/// A connection, once there is a server to connect to.
pub(super) async fn connected(options: &Options, patience: Patience) -> Result<Connection, StoreError> {
    let (config, tls) = options.tls.clone().with(options.config.clone());
    let connector = Connector::new(config, tls, patience, TaskTracker::new());
    let since = Instant::now();
    let mut is_told = false;
    loop {
        let failure = match connector.connect_to_the_newest().await {
            Ok(connection) => return Ok(connection),
            Err(failure) => failure,
        };
        if !may_come(&failure) || since.elapsed() >= options.reached_within {
            return Err(told(failure));
        }
        if !is_told {
            let (error, seconds): (&dyn Error, _) = (&failure, options.reached_within.as_secs());
            tracing::warn!(error, "the database cannot be reached yet; it is tried for {seconds} s");
            is_told = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a server that could not be connected to may be about to start, or to be made the one that is written to.
fn may_come(failure: &Failure) -> bool {
    if let Some(said) = said(failure) {
        let (code, full) = (said.code(), SqlState::TOO_MANY_CONNECTIONS);
        return *code == full || code.code().starts_with("57P") || code.code().starts_with("08");
    }
    let of_the_system = || causes(failure).filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    // By these TLS tells of certificates.
    let is_of_tls = |error: &std::io::Error| {
        matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput)
    };
    let by_the_library = causes(failure).any(<dyn Error>::is::<tokio_postgres::Error>);
    !by_the_library || (of_the_system().next().is_some() && !of_the_system().any(is_of_tls))
}

/// What the operator is told.
pub(super) fn told(failure: Failure) -> StoreError {
    let Some(said) = said(&failure) else {
        return match failure {
            failure if is_of_a_reader(&failure) => Unready::ReadOnly.into(),
            failure if lacks_a_password(&failure) => Unready::NoPassword.into(),
            Failure::Lost(why) => Unready::Unreachable(why).into(),
            other => other.nothing_written(),
        };
    };
    let advice = match said.code().code() {
        "28P01" | "28000" => "; look at the user, the password and the server's pg_hba.conf",
        "3D000" => "; make the database, or name another one",
        "53300" => "; the server has no connection left: raise its max_connections, or end what holds them",
        "42501" => "; run `respoked migrate` as the role that owns the schema",
        "55P03" => "; somebody holds a table of it: try again",
        _ => "",
    };
    Unready::Refused { code: said.code().code().to_owned(), message: said.message().to_owned(), advice }.into()
}

/// Whether a server answered that is only read from. The library says so by an error that looks like one of the system, and has
/// no number of one.
fn is_of_a_reader(failure: &Failure) -> bool {
    let mut errors = causes(failure).filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    errors.any(|error| error.kind() == std::io::ErrorKind::PermissionDenied && error.raw_os_error().is_none())
}

/// The library says that in words alone.
fn lacks_a_password(failure: &Failure) -> bool {
    causes(failure).any(|cause| cause.to_string() == "password missing")
}

fn said(failure: &Failure) -> Option<&DbError> {
    causes(failure).find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()?.as_db_error())
}

fn causes(failure: &Failure) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next: Option<&(dyn Error + 'static)> = Some(failure);
    std::iter::from_fn(move || {
        let this = next.take()?;
        next = this.source();
        Some(this)
    })
}
