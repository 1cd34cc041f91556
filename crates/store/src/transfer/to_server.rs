//! From a SQLite file to a PostgreSQL server.

use std::path::Path;

use respoke_core::ports::{MaintenanceStore as _, StoreError};
use rusqlite::Connection;
use tokio_postgres::config::TargetSessionAttrs;

use super::contents::{Contents, Tally, failed, refused};
use super::file;
use super::occasion::{Occasion, Place, Transferred, Watch, begin};
use super::server::{Server, Standing};
use super::tables::TABLES;
use crate::marks::{Mark, Marks};
use crate::postgres::{Options, PostgresStore};
use crate::sqlite::{Source, undo};

/// Moves the installation in the SQLite database at `path` to a PostgreSQL server.
///
/// Nobody else may be using the file: the caller has its folder's lock.
///
/// # Errors
///
/// When either cannot be used, the source was moved before, or the server holds something else. Then the source is as it was, and
/// what there may be of a copy is marked as unfinished.
pub async fn move_to_server(
    (path, file): (&Path, &Place),
    (options, server): (&Options, &Place),
    occasion: Occasion,
    watch: &dyn Watch,
) -> Result<Transferred, StoreError> {
    let source = Source::open_live(path)?;
    let (key, marks) = file::standing(source.connection())?;
    let target = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
    let standing = target.standing().await?;
    if let (Some(moved), Standing::Unfinished { mark, .. }) = (&marks.moved, &standing)
        && moved.id == mark.id
    {
        // All but the last step was done before.
        target.finish().await?;
        let tally = begin(watch, "Counting what was copied", target.count().await?);
        return Ok(Transferred { tables: target.contents(&tally).await?.counts(), replaced: 0 });
    }
    if let Some(why) = marks.refusal(&undo(source.connection())) {
        return Err(refused(why));
    }
    check_target(&standing, &key)?;
    let (unfinished, moved) = (occasion.mark(file), occasion.mark(server));
    fill(source.connection(), &key, options, target, &unfinished, watch, async || file::set_moved(path, &moved)).await
}

/// Puts what a SQLite file holds that nobody else uses, such as a copy of a backup, on a PostgreSQL server that holds nothing. The
/// file stays as it is.
///
/// # Errors
///
/// As [`move_to_server`].
pub async fn restore_to_server(
    (path, file): (&Path, &Place),
    options: &Options,
    occasion: Occasion,
    watch: &dyn Watch,
) -> Result<Transferred, StoreError> {
    let source = Source::open(path)?;
    let (key, _) = file::standing(source.connection())?;
    let target = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
    check_target(&target.standing().await?, &key)?;
    fill(source.connection(), &key, options, target, &occasion.mark(file), watch, async || Ok(())).await
}

/// Fails unless a server holds nothing, or an unfinished copy of the installation with this key.
fn check_target(standing: &Standing, key: &[u8]) -> Result<(), StoreError> {
    const ASIDE: &str = "ALTER SCHEMA respoked RENAME TO respoked_before";
    match standing {
        Standing::Nothing | Standing::Empty => Ok(()),
        Standing::Unfinished { key: of, .. } if of == key => Ok(()),
        Standing::Unfinished { mark, .. } => Err(refused(format!(
            "the target holds an unfinished copy of another installation, from {}: finish that one, or remove it (DROP SCHEMA \
             respoked CASCADE)",
            mark.place
        ))),
        Standing::Whole { marks: Marks { moved: Some(moved), .. }, .. } => Err(refused(format!(
            "the target holds an installation that was moved to {}: put it aside first ({ASIDE})",
            moved.place
        ))),
        Standing::Whole { key: of, .. } if of == key => {
            Err(refused(format!("the target holds this installation already; to begin anew, put it aside ({ASIDE})")))
        }
        Standing::Whole { .. } => Err(refused(format!(
            "the target holds another installation, which stays: name another database, or put it aside ({ASIDE})"
        ))),
    }
}

async fn fill(
    source: &Connection,
    key: &[u8],
    options: &Options,
    mut target: Server,
    mark: &Mark,
    watch: &dyn Watch,
    leave: impl AsyncFnOnce() -> Result<(), StoreError>,
) -> Result<Transferred, StoreError> {
    // Before anything is written: a row that cannot be carried over is found here.
    let tally = begin(watch, "Reading what there is", file::count(source)?);
    let (contents, replaced) = file::contents(source, &tally)?;
    if let Standing::Nothing = target.standing().await? {
        drop(target);
        let store = PostgresStore::open(options.clone()).await?;
        store.close().await;
        target = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
    }
    target.claim(key, mark).await?;
    let tally = begin(watch, "Copying", contents.rows());
    for (table, sum) in TABLES.iter().zip(&contents.sums) {
        // What an earlier try has copied stays, if it is still the same.
        if target.has_rows(table).await? && target.sum(table, &Tally::of(0)).await? == *sum {
            tally.add(sum.rows);
            continue;
        }
        let mut statement = source.prepare(&file::select(table)).map_err(failed)?;
        target.fill(table, file::Rows::of(table, &mut statement)?, &tally).await?;
    }
    target.round_off(&file::numbers(source)?).await?;
    compare(&target, &contents, watch).await?;
    leave().await?;
    target.finish().await?;
    Ok(Transferred { tables: contents.counts(), replaced })
}

async fn compare(target: &Server, contents: &Contents, watch: &dyn Watch) -> Result<(), StoreError> {
    let tally = begin(watch, "Comparing the copy", contents.rows());
    contents.check(&target.contents(&tally).await?)
}
