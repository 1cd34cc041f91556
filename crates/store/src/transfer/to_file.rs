//! From a PostgreSQL server into a SQLite file.

use std::path::Path;

use respoke_core::clock::Timestamp;
use respoke_core::ports::StoreError;
use tokio_postgres::config::TargetSessionAttrs;
use uuid::Uuid;

use super::contents::{Contents, refused};
use super::file;
use super::occasion::{Occasion, Place, Stage, Stopped, Transferred, Watch, begin};
use super::rows::Summing;
use super::server::{Server, Standing, Task};
use super::tables::TABLES;
use crate::marks::{Mark, Marks};
use crate::postgres::{Options, Promotions, UNDO_MOVED};
use crate::sqlite::Source;

/// An installation that leaves a server for a SQLite file. Until this is dropped, or it left, nobody writes to it there.
pub struct Departure {
    server: Server,
    key: Vec<u8>,
    /// What the file says of where it came from, and the server of where it went.
    marks: [Mark; 2],
    /// Whether the server says so already: the last step of an earlier try failed.
    has_left: bool,
}

/// What lies where the file is to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A copy that is not finished, which the same move takes the place of or finishes.
    Unfinished,
    /// A database.
    Whole,
}

/// What lies at `path`, which is there.
///
/// # Errors
///
/// When it cannot be read.
pub fn arrival_at(path: &Path) -> Result<Arrival, StoreError> {
    let (_, marks) = file::standing(Source::open_live(path)?.connection())?;
    Ok(if marks.unfinished.is_some() { Arrival::Unfinished } else { Arrival::Whole })
}

impl Departure {
    /// Begins a move from a server to a file. None: all of it was done before.
    ///
    /// # Errors
    ///
    /// When the server cannot be used, holds no installation, or one that was moved elsewhere; when somebody serves from it; when
    /// it is not the server on which the database was used last, unless promotions go unnoticed; when
    /// the file is there already and no unfinished copy of it, or is gone and what belonged to it is still there.
    pub async fn begin(
        (options, server): (&Options, &Place),
        (path, file): (&Path, &Place),
        occasion: Occasion,
    ) -> Result<Option<Self>, StoreError> {
        file::is_alone(path)?;
        let found = if path.exists() { Some(file::standing(Source::open_live(path)?.connection())?) } else { None };
        let source = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
        source.check_rights(Task::Mark).await?;
        if way(&source, found.as_ref(), file).await? == Way::Done {
            return Ok(None);
        }
        source.wait_until_unused().await?;
        source.begin_leaving().await?;
        // An earlier try that was killed may have left while the locks were waited for.
        let (key, left) = match way(&source, found.as_ref(), file).await? {
            Way::Done => return Ok(None),
            Way::Whole { key } => {
                if options.promotions != Promotions::Unnoticed {
                    Box::pin(source.check_settled()).await?;
                }
                (key, None)
            }
            // What it lacks of what was committed, it lacks of the mark as well.
            Way::Copied { key, id } => (key, Some(id)),
        };
        let mut marks = [occasion.mark(server, &key), occasion.mark(file, &key)];
        if let Some(id) = left {
            marks[0].id = id;
        }
        Ok(Some(Self { server: source, key, marks, has_left: left.is_some() }))
    }

    /// Copies it to the new file `fresh`, which is marked as unfinished.
    ///
    /// # Errors
    ///
    /// When either fails. What was begun of the file is left for the caller to remove.
    pub async fn copy_to(&self, fresh: &Path, watch: &dyn Watch) -> Result<Transferred, StoreError> {
        copy(&self.server, &self.key, fresh, Some(&self.marks[0]), watch).await.map(|(transferred, _)| transferred)
    }

    /// Marks the installation as moved. The file has its name by now.
    ///
    /// # Errors
    ///
    /// When that cannot be written, or it is not known whether it was: then the same move is done again.
    pub async fn leave(self) -> Result<(), Stopped> {
        if self.has_left {
            return self.server.end_reading().await.map_err(Stopped::behind);
        }
        self.server.leave(&self.marks[1]).await.map_err(Stopped::before)
    }

    /// What is known if it goes no farther from here: [`Self::leave`] was not asked for.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        if self.has_left { Stage::Left } else { Stage::NotLeft }
    }
}

/// Ends a move to a file: from now on it may be served from.
///
/// # Errors
///
/// When it cannot be written.
pub fn arrive(path: &Path) -> Result<(), StoreError> {
    file::set_finished(path)
}

/// A backup of what a server holds.
#[derive(Debug)]
pub struct BackedUp {
    /// What was copied.
    pub copied: Transferred,
    /// The file's size.
    pub bytes: u64,
    /// Of which server.
    pub of: CopiedOf,
}

/// Of which server a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopiedOf {
    /// The one that is written to.
    Primary,
    /// One that stands by for another, which may have more.
    Standby {
        /// Up to when it had what was committed, at least, if it knows.
        as_of: Option<Timestamp>,
    },
}

/// Copies the installation on a server, as it is at one moment, to the new file `fresh`: a database of the present schema, as a backup
/// of a SQLite database is. Nodes may go on meanwhile. If there is a server that is written to, it is that one.
///
/// # Errors
///
/// When the server cannot be used or holds no installation, or one that was moved elsewhere. What was begun of the file is left for
/// the caller to remove.
pub async fn back_up_server(options: &Options, fresh: &Path, watch: &dyn Watch) -> Result<BackedUp, StoreError> {
    let source = match Server::connect(options, TargetSessionAttrs::ReadWrite).await {
        Ok(source) => source,
        Err(_) => Server::connect(options, TargetSessionAttrs::Any).await?,
    };
    // Before the moment that is copied.
    let of = source.stands_by().await?;
    source.begin_reading().await?;
    let (key, marks) = installation(&source).await?;
    if let Some(why) = marks.refusal(UNDO_MOVED) {
        return Err(refused(why));
    }
    let (copied, bytes) = copy(&source, &key, fresh, None, watch).await?;
    source.end_reading().await?;
    Ok(BackedUp { copied, bytes, of })
}

/// What is to be done for an installation to come from a server to a file.
#[derive(PartialEq, Eq)]
enum Way {
    /// All of it.
    Whole { key: Vec<u8> },
    /// It was marked as moved there by the move of this id, and the copy is not finished. What is in the file need not be what was
    /// compared then, so that it is copied again: nobody has served from it.
    Copied { key: Vec<u8>, id: Uuid },
    /// Nothing.
    Done,
}

/// What is to be done for an installation to come from a server to a file in whose place, `to`, there is what was `found`.
async fn way(server: &Server, found: Option<&(Vec<u8>, Marks)>, to: &Place) -> Result<Way, StoreError> {
    let (key, marks) = installation(server).await?;
    if let (Some(moved), Some((_, there))) = (&marks.moved, found)
        && there.came_by(moved)
        && let Some(on) = &there.moved
    {
        return Err(refused(format!(
            "its installation came to {to} before, and was moved on to {} from there: move it from where it is now",
            on.place
        )));
    }
    let unfinished = found.map(|(_, marks)| marks.unfinished.as_ref());
    match (&marks.moved, unfinished) {
        (Some(moved), Some(unfinished)) if found.is_some_and(|(_, marks)| marks.came_by(moved)) => {
            Ok(if unfinished.is_some() { Way::Copied { id: moved.id, key } } else { Way::Done })
        }
        (Some(moved), None) if moved.place == *to => Err(refused(format!(
            "its installation was moved to {to}, and there is no database any more: put it back there. To go on here without what \
             was done there since: {UNDO_MOVED}"
        ))),
        (Some(_), _) => Err(refused(marks.refusal(UNDO_MOVED).unwrap_or_default())),
        (None, None) => Ok(Way::Whole { key }),
        (None, Some(Some(mark))) if mark.of == Mark::installation(&key) => Ok(Way::Whole { key }),
        (None, Some(Some(mark))) => Err(refused(format!(
            "the target is an unfinished copy of another installation, from {}: finish that one, or remove it",
            mark.place
        ))),
        (None, Some(None)) => {
            Err(refused("there is a database already, which stays: move it away first, or name another folder"))
        }
    }
}

/// Takes back that the installation on a server was moved elsewhere, and returns where it went. What was there then is served from
/// again, without what was done elsewhere since.
///
/// # Errors
///
/// When it was not moved, or cannot be written.
pub async fn take_back_to_server(options: &Options) -> Result<String, StoreError> {
    let server = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
    server.check_rights(Task::Mark).await?;
    server.take_back(&*options.chance).await.map(|mark| mark.place)
}

/// The key of the installation on a server, and its marks.
async fn installation(server: &Server) -> Result<(Vec<u8>, Marks), StoreError> {
    match server.standing().await? {
        Standing::Whole { key, marks } => Ok((key, *marks)),
        Standing::Unfinished(mark) => {
            let marks = Marks { unfinished: Some(mark), ..Marks::default() };
            Err(refused(marks.refusal(UNDO_MOVED).unwrap_or_default()))
        }
        Standing::Nothing | Standing::Empty => Err(refused("the database holds no installation of respoked")),
    }
}

async fn copy(
    server: &Server,
    key: &[u8],
    fresh: &Path,
    mark: Option<&Mark>,
    watch: &dyn Watch,
) -> Result<(Transferred, u64), StoreError> {
    let tally = begin(watch, "Copying", server.counts().await?.iter().map(|(_, rows)| rows).sum());
    let target = file::Fresh::create(fresh, key, mark)?;
    let mut sums = Vec::new();
    for table in TABLES {
        let (mut rows, mut summing) = (server.read(table).await?, Summing::default());
        let mut statement = target.begin(table)?;
        while let Some(row) = rows.next().await? {
            file::Fresh::insert(table, &row, &mut statement)?;
            summing.take(1, &row);
            tally.add(1);
        }
        drop(statement);
        target.end()?;
        sums.push(summing.sum());
    }
    let contents = Contents { sums };
    let tally = begin(watch, "Comparing the copy", contents.rows());
    contents.check(&file::contents(target.connection(), &tally)?.0)?;
    target.round_off(&server.numbers().await?)?;
    let bytes = target.finish(fresh)?;
    Ok((Transferred { tables: contents.counts(), replaced: 0 }, bytes))
}
