//! What a database says of itself that is not to be served from.

use rusqlite::{Connection, OptionalExtension as _};

use crate::marks::Marks;

/// The marks that it has.
pub(crate) fn marks(connection: &Connection) -> rusqlite::Result<Marks> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    Marks::find(|key| connection.query_row(sql, [key], |row| row.get(0)).optional())
}

/// How the mark of one whose installation was moved is taken back.
pub(crate) fn undo(connection: &Connection) -> String {
    format!("sqlite3 {:?} \"DELETE FROM meta WHERE key = 'moved'\"", connection.path().unwrap_or("respoked.db"))
}

/// Fails if it is marked.
pub(super) fn is_to_be_used(connection: &Connection) -> rusqlite::Result<()> {
    match marks(connection)?.refusal(&undo(connection)) {
        None => Ok(()),
        Some(why) => Err(super::schema::refused(&why)),
    }
}
