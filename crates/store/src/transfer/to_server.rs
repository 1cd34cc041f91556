//! From a SQLite file to a PostgreSQL server.

use std::path::Path;

use respoke_core::ports::StoreError;
use rusqlite::Connection;
use tokio_postgres::config::TargetSessionAttrs;

use super::contents::{Tally, failed, refused};
use super::file;
use super::occasion::{Occasion, Place, Stage, Stopped, Transferred, Watch, begin};
use super::server::{Claimed, Server, Standing, Task};
use super::tables::TABLES;
use crate::marks::Mark;
use crate::postgres::{Options, PostgresStore, check_fit};
use crate::sqlite::{Source, UndoneChange, undo};

/// Moves the installation in the SQLite database at `path` to a PostgreSQL server. None: all of it was done before.
///
/// Nobody else may be using the file: the caller has its folder's lock.
///
/// # Errors
///
/// When either cannot be used, the source was moved before, or the server holds something else. What is known then is told.
pub async fn move_to_server(
    (path, file): (&Path, &Place),
    (options, server): (&Options, &Place),
    occasion: Occasion,
    watch: &dyn Watch,
) -> Result<Option<Transferred>, Stopped> {
    // Nobody writes to it until it is marked as moved: what is read is what it held, all of it at one moment.
    let source = file::hold(path)?;
    let (key, marks) = file::standing(&source)?;
    // How far an earlier try came is known once both sides were looked at.
    let looked = async {
        let target = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
        target.check_rights(Task::Fill).await?;
        let standing = target.standing().await?;
        Ok((target, standing))
    };
    let (target, standing) = looked.await.map_err(|why| match &marks.moved {
        Some(_) => Stopped { at: Stage::InDoubt, aside: None, why },
        None => Stopped::from(why),
    })?;
    let (mut unfinished, mut moved) = (occasion.mark(file, &key), occasion.mark(server, &key));
    let mut has_left = false;
    match (&marks.moved, &standing) {
        (Some(left), Standing::Whole { marks, .. }) if marks.moved.is_none() && marks.came_by(left) => {
            return Ok(None);
        }
        // The source was marked, and the last step failed. What is there need not be what was compared then: a standby that
        // was promoted since may lack some of it. So all is looked at once more.
        (Some(left), Standing::Unfinished(mark)) if mark.is_of_the_move_of(left) && left.of == moved.of => {
            (unfinished.id, moved.id) = (left.id, left.id);
            has_left = true;
        }
        _ => {
            if let Some(why) = marks.refusal(&undo(&source)) {
                return Err(refused(why).into());
            }
        }
    }
    let stopped = |why| if has_left { Stopped::behind(why) } else { Stopped::from(why) };
    let filled = async {
        check_target(&standing, &key)?;
        // Who would not serve from there is told before anything is written, and once more before the source leaves.
        check_fit(options).await?;
        let filling = Filling { source: &source, key: &key, options, target, task: Task::Fill, watch };
        let filled = filling.run(&unfinished).await?;
        check_fit(options).await?;
        Ok(filled)
    };
    let (target, transferred) = filled.await.map_err(stopped)?;
    begin(watch, "Marking the source", 1);
    file::leave(&source, &moved).map_err(if has_left { Stopped::behind } else { Stopped::before })?;
    begin(watch, "Finishing the copy", 1);
    target.finish(&unfinished).await.map_err(Stopped::behind)?;
    Ok(Some(transferred))
}

/// Takes back that the installation in the database at `path` was moved elsewhere, and returns where it went. What it held then
/// is served from again, without what was done elsewhere since.
///
/// Nobody else may be using the file: the caller has its folder's lock.
///
/// # Errors
///
/// When it was not moved, or cannot be written.
pub fn take_back_to_file(path: &Path) -> Result<String, StoreError> {
    file::take_back(path).map(|mark| mark.place)
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
/// same restore done again finishes it: it knows what was put aside before.
pub async fn restore_to_server(
    (path, file): (&Path, &Place),
    options: &Options,
    (occasion, aside): (Occasion, &str),
    watch: &dyn Watch,
) -> Result<Restored, Stopped> {
    let source = Source::open(path)?;
    let (key, _) = file::standing(source.connection())?;
    let target = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
    target.check_rights(Task::Fill).await?;
    let mut mark = occasion.mark(file, &key);
    let (task, there) = match target.standing().await? {
        Standing::Whole { .. } => {
            target.check_rights(Task::Replace).await?;
            // Looked at once more before it is put aside. Who serves from there is told before all of the backup is read.
            target.wait_until_unused().await?;
            mark.aside = Some(aside.to_owned());
            (Task::Replace, Some("respoked"))
        }
        standing => {
            check_target(&standing, &key)?;
            if let Standing::Unfinished(begun) = standing {
                mark.aside = begun.aside;
            }
            (Task::Fill, mark.aside.as_deref())
        }
    };
    check_fit(options).await?;
    let undone = match there {
        Some(schema) if target.key_in(schema).await?.is_some_and(|of| of == key) => {
            let newest = file::newest_entry(source.connection())?;
            target.withdrawn(schema, newest, |entry| file::has_entry(source.connection(), entry)).await?
        }
        Some(_) | None => Vec::new(),
    };
    let kept = mark.aside.clone();
    let stopped = |why| Stopped::before(why).aside(kept.as_deref());
    let filling = Filling { source: source.connection(), key: &key, options, target, task, watch };
    let (target, _) = filling.run(&mark).await.map_err(stopped)?;
    target.finish(&mark).await.map_err(stopped)?;
    Ok(Restored { kept, undone })
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
        Standing::Whole { key: of, marks } => Err(refused(match &marks.moved {
            Some(moved) => format!(
                "the target holds an installation that was moved to {}: put it aside first ({ASIDE})",
                moved.place
            ),
            None if of == key => {
                format!("the target holds this installation already; to begin anew, put it aside ({ASIDE})")
            }
            None => format!(
                "the target holds another installation, which stays: name another database, or put it aside ({ASIDE})"
            ),
        })),
    }
}

/// A server that is filled from a file.
struct Filling<'a> {
    source: &'a Connection,
    key: &'a [u8],
    options: &'a Options,
    target: Server,
    /// Whether something is there whose place it takes.
    task: Task,
    watch: &'a dyn Watch,
}

impl Filling<'_> {
    /// Copies everything and compares it. Until the server that is returned is told to finish, nobody writes to it.
    async fn run(self, mark: &Mark) -> Result<(Server, Transferred), StoreError> {
        let Self { source, key, options, target, task, watch } = self;
        // Before anything is written: a row that cannot be carried over is found here.
        let tally = begin(watch, "Reading what there is", file::count(source)?);
        let (contents, replaced) = file::contents(source, &tally)?;
        let claimed = target.claim(mark, task).await?;
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
        Ok((target, Transferred { tables: contents.counts(), replaced }))
    }
}
