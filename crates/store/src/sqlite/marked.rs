//! What a database says of itself that is not to be served from, and what keeps everybody from writing to one whose
//! installation was moved.
//!
//! Who had the file open before it was marked does not look at the mark any more. So each of its tables gets triggers that
//! refuse every row that comes, changes or goes, whoever writes it.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::file::folder_of;
use super::schema::{refused, tables};
use crate::marks::{MOVED, Mark, Marks};

/// What is done to rows.
const DEEDS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];
/// What the names of triggers begin with that refuse it.
const REFUSING: &str = "moved_";

/// The marks that it has.
pub(crate) fn marks(connection: &Connection) -> rusqlite::Result<Marks> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    Marks::find(|key| connection.query_row(sql, [key], |row| row.get(0)).optional())
}

/// How the mark of one whose installation was moved is taken back.
pub(crate) fn undo(connection: &Connection) -> String {
    undo_at(Path::new(connection.path().unwrap_or_default()))
}

/// The same of the one at `path`, whatever copy of it is open.
pub(super) fn undo_at(path: &Path) -> String {
    let folder = folder_of(path);
    format!("respoked migrate-store --take-back {:?}", format!("sqlite:{}", folder.display()))
}

/// Fails if it is marked.
pub(super) fn is_to_be_used(connection: &Connection) -> rusqlite::Result<()> {
    match marks(connection)?.refusal(&undo(connection)) {
        None => Ok(()),
        Some(why) => Err(refused(&why)),
    }
}

/// Marks one as moved, in the transaction that is open. From its commit on nobody writes to it.
pub(crate) fn set_moved(connection: &Connection, mark: &Mark) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.execute(sql, params![MOVED, mark.bytes()])?;
    let said =
        format!("this installation was moved to {} and is written to there alone", mark.place).replace('\'', "''");
    for table in tables(connection)? {
        for deed in DEEDS {
            connection.execute_batch(&format!(
                "CREATE TRIGGER {REFUSING}{table}_{deed} BEFORE {deed} ON {table} BEGIN SELECT RAISE(ABORT, '{said}'); END",
            ))?;
        }
    }
    Ok(())
}

/// Lets it be written to again, and takes the mark back, in the transaction that is open.
pub(crate) fn let_be_written(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, ?2) = ?1";
    let mut statement = connection.prepare(sql)?;
    let names = statement.query_map(params![REFUSING, REFUSING.len()], |row| row.get::<_, String>(0))?;
    for name in names.collect::<rusqlite::Result<Vec<_>>>()? {
        connection.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    connection.execute("DELETE FROM meta WHERE key = ?1", [MOVED]).map(drop)
}

/// Has another history begin, in the transaction that is open: whoever followed the one of before forgets it. What is numbered from
/// here on has the numbers of what was done elsewhere.
pub(super) fn begin_another_history(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "UPDATE feed SET epoch = random() & 0x7fffffffffffffff, head = head + 1;
         DELETE FROM changes;
         UPDATE message_groups SET epoch = random() & 0x7fffffffffffffff",
    )
}

/// Goes on, in the transaction that is open, with an installation that was served from elsewhere. What was redeemed there is not known
/// here: tokens that were not redeemed are spent, and the keys of their mints are forgotten. Such a key's object is a number. Admins
/// sign in anew, and links with which they set a password are good no more.
pub(crate) fn go_on_here(connection: &Connection) -> rusqlite::Result<()> {
    let_be_written(connection)?;
    begin_another_history(connection)?;
    connection.execute_batch(
        "UPDATE apps SET tokens_from = (SELECT head FROM feed);
         DELETE FROM idempotency WHERE length(object) = 8;
         DELETE FROM setup_tokens;
         DELETE FROM admin_sessions",
    )
}
