//! From a SQLite file to a PostgreSQL server.

use std::path::Path;

use respoke_core::ports::StoreError;
use rusqlite::Connection;
use tokio_postgres::config::TargetSessionAttrs;

use super::contents::{Tally, failed, refused};
use super::file;
use super::occasion::{Occasion, Place, Transferred, Watch, begin};
use super::server::{Claimed, Server, Standing};
use super::tables::TABLES;
use crate::marks::{Mark, Marks};
use crate::postgres::{Options, PostgresStore};
use crate::sqlite::{Source, UndoneChange, undo};

/// Moves the installation in the SQLite database at `path` to a PostgreSQL server. None: all of it was done before.
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
) -> Result<Option<Transferred>, StoreError> {
    // Nobody writes to it until it is marked as moved: what is read is what it held, all of it at one moment.
    let source = file::hold(path)?;
    let (key, marks) = file::standing(&source)?;
    let target = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
    let standing = target.standing().await?;
    let (mut unfinished, mut moved) = (occasion.mark(file, &key), occasion.mark(server, &key));
    match (&marks.moved, &standing) {
        (Some(left), Standing::Whole { marks, .. }) if marks.moved.is_none() && marks.came_by(left) => {
            return Ok(None);
        }
        // The source was marked, and the last step failed. What is there need not be what was compared then: a standby that
        // was promoted since may lack some of it. So all is looked at once more.
        (Some(left), Standing::Unfinished(mark)) if mark.is_of_the_move_of(left) && left.of == moved.of => {
            (unfinished.id, moved.id) = (left.id, left.id);
        }
        _ => {
            if let Some(why) = marks.refusal(&undo(&source)) {
                return Err(refused(why));
            }
        }
    }
    check_target(&standing, &key)?;
    let filling = Filling { source: &source, key: &key, options, target, aside: None, watch };
    filling.run(&unfinished, async || file::set_moved(&source, &moved)).await.map(Some)
}

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    /// By which name the schema goes that was there.
    pub kept: Option<String>,
    /// What was withdrawn in it since the backup.
    pub undone: Vec<UndoneChange>,
}

/// Puts a backup in the place of what a PostgreSQL server holds: `path` is a copy of it in which everything issued was ended,
/// which nobody else uses and which stays as it is. What is there goes by the name `aside` from now on.
///
/// # Errors
///
/// When either cannot be used, or somebody serves from the server. Then what is there stays, or is marked as unfinished and the
/// same restore done again finishes it.
pub async fn restore_to_server(
    (path, file): (&Path, &Place),
    options: &Options,
    (occasion, aside): (Occasion, &str),
    watch: &dyn Watch,
) -> Result<Restored, StoreError> {
    let source = Source::open(path)?;
    let (key, _) = file::standing(source.connection())?;
    let target = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
    let mut restored = Restored { kept: None, undone: Vec::new() };
    match target.standing().await? {
        Standing::Whole { key: of, .. } => {
            if of == key {
                let newest = file::newest_entry(source.connection())?;
                let is_known = |number| file::has_entry(source.connection(), number);
                restored.undone = target.withdrawn(newest, is_known).await?;
            }
            restored.kept = Some(aside.to_owned());
        }
        standing => check_target(&standing, &key)?,
    }
    let kept = restored.kept.as_deref();
    let filling = Filling { source: source.connection(), key: &key, options, target, aside: kept, watch };
    filling.run(&occasion.mark(file, &key), async || Ok(())).await?;
    Ok(restored)
}

/// Fails unless a server holds nothing, or an unfinished copy of the installation with this key.
fn check_target(standing: &Standing, key: &[u8]) -> Result<(), StoreError> {
    const ASIDE: &str = "ALTER SCHEMA respoked RENAME TO respoked_before";
    match standing {
        Standing::Nothing | Standing::Empty => Ok(()),
        Standing::Unfinished(mark) if mark.of == Mark::installation(key) => Ok(()),
        Standing::Unfinished(mark) => Err(refused(format!(
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

/// A server that is filled from a file.
struct Filling<'a> {
    source: &'a Connection,
    key: &'a [u8],
    options: &'a Options,
    target: Server,
    /// The name by which what is there goes, if it is something.
    aside: Option<&'a str>,
    watch: &'a dyn Watch,
}

impl Filling<'_> {
    /// Copies everything. `leave` runs when it was compared, before the copy is an installation.
    async fn run(
        self,
        mark: &Mark,
        leave: impl AsyncFnOnce() -> Result<(), StoreError>,
    ) -> Result<Transferred, StoreError> {
        let Self { source, key, options, target, aside, watch } = self;
        // Before anything is written: a row that cannot be carried over is found here.
        let tally = begin(watch, "Reading what there is", file::count(source)?);
        let (contents, replaced) = file::contents(source, &tally)?;
        let claimed = target.claim(mark, aside).await?;
        PostgresStore::migrate(options, None).await?;
        target.set_key(mark, key).await?;
        if claimed == Claimed::Nothing && target.has_accounts().await? {
            return Err(refused("a server made an installation there meanwhile: stop it, and remove what it made"));
        }
        let tally = begin(watch, "Copying", contents.rows());
        for (table, sum) in TABLES.iter().zip(&contents.sums) {
            // What an earlier try has copied stays, if it is still the same.
            if target.has_rows(table).await? && target.sum(table, &Tally::of(0)).await? == *sum {
                tally.add(sum.rows);
                continue;
            }
            let mut statement = source.prepare(&file::select(table)).map_err(failed)?;
            target.fill(mark, table, file::Rows::of(table, &mut statement)?, &tally).await?;
        }
        let numbers = file::numbers(source)?;
        target.round_off(mark, &numbers).await?;
        let tally = begin(watch, "Comparing the copy", contents.rows());
        target.begin_comparing(mark).await?;
        contents.check(&target.contents(&tally).await?)?;
        if target.numbers().await? != numbers {
            return Err(refused(
                "the copy does not go on behind the numbers that were given: something else works on it",
            ));
        }
        leave().await?;
        target.finish(mark).await?;
        Ok(Transferred { tables: contents.counts(), replaced })
    }
}
