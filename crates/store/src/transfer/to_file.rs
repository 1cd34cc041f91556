//! From a PostgreSQL server into a SQLite file.

use std::path::Path;

use respoke_core::ports::StoreError;
use tokio_postgres::config::TargetSessionAttrs;

use super::contents::{Contents, refused};
use super::file;
use super::occasion::{Occasion, Place, Transferred, Watch, begin};
use super::rows::Summing;
use super::server::{Server, Standing};
use super::tables::TABLES;
use crate::marks::{Mark, Marks};
use crate::postgres::{Options, UNDO_MOVED};
use crate::sqlite::Source;

/// An installation that leaves a server for a SQLite file. Until this is dropped, or it left, nobody writes to it there.
pub struct Departure {
    server: Server,
    key: Vec<u8>,
    /// What the file says of where it came from, and the server of where it went.
    marks: [Mark; 2],
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
    /// Begins a move from a server to a file. None: all but the last step, [`arrive`], was done before.
    ///
    /// # Errors
    ///
    /// When the server cannot be used, holds no installation, or one that was moved elsewhere; when somebody serves from it; when
    /// the file is there already and no unfinished copy of it, or is gone and what belonged to it is still there.
    pub async fn begin(
        (options, server): (&Options, &Place),
        (path, file): (&Path, &Place),
        occasion: Occasion,
    ) -> Result<Option<Self>, StoreError> {
        file::is_alone(path)?;
        let found = if path.exists() { Some(file::standing(Source::open_live(path)?.connection())?) } else { None };
        let source = Server::connect(options, TargetSessionAttrs::ReadWrite).await?;
        if is_left(&source, found.as_ref()).await?.is_none() {
            return Ok(None);
        }
        source.check_owner().await?;
        source.wait_until_unused().await?;
        source.begin_leaving().await?;
        // An earlier try that was killed may have left while the locks were waited for.
        let Some(key) = is_left(&source, found.as_ref()).await? else { return Ok(None) };
        let marks = [occasion.mark(server, &key), occasion.mark(file, &key)];
        Ok(Some(Self { server: source, key, marks }))
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
    pub async fn leave(self) -> Result<(), StoreError> {
        self.server.leave(&self.marks[1]).await
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

/// Copies the installation on a server, as it is at one moment, to the new file `fresh`: a database of the present schema, as a backup
/// of a SQLite database is. Nodes may go on meanwhile. Returns what was copied, and the file's size in bytes.
///
/// # Errors
///
/// When the server cannot be used or holds no installation. What was begun of the file is left for the caller to remove.
pub async fn back_up_server(
    options: &Options,
    fresh: &Path,
    watch: &dyn Watch,
) -> Result<(Transferred, u64), StoreError> {
    let source = Server::connect(options, TargetSessionAttrs::Any).await?;
    source.begin_reading().await?;
    let (key, _) = installation(&source).await?;
    let copied = copy(&source, &key, fresh, None, watch).await?;
    source.end_reading().await?;
    Ok(copied)
}

/// The key of the installation on a server that may leave for a file, in which there is what was `found`. None: it left for it.
async fn is_left(server: &Server, found: Option<&(Vec<u8>, Marks)>) -> Result<Option<Vec<u8>>, StoreError> {
    let (key, marks) = installation(server).await?;
    let unfinished = found.map(|(_, marks)| marks.unfinished.as_ref());
    match (&marks.moved, unfinished) {
        (Some(moved), Some(_)) if found.is_some_and(|(_, marks)| marks.came_by(moved)) => Ok(None),
        (Some(_), _) => Err(refused(marks.refusal(UNDO_MOVED).unwrap_or_default())),
        (None, None) => Ok(Some(key)),
        (None, Some(Some(mark))) if mark.of == Mark::installation(&key) => Ok(Some(key)),
        (None, Some(Some(mark))) => Err(refused(format!(
            "the target is an unfinished copy of another installation, from {}: finish that one, or remove it",
            mark.place
        ))),
        (None, Some(None)) => {
            Err(refused("there is a database already, which stays: move it away first, or name another folder"))
        }
    }
}

/// The key of the installation on a server, and its marks.
async fn installation(server: &Server) -> Result<(Vec<u8>, Marks), StoreError> {
    match server.standing().await? {
        Standing::Whole { key, marks } => Ok((key, marks)),
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
