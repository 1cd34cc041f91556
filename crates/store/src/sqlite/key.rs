//! The key that a database's tokens are sealed with. By it a copy is known to be of the same database.

use respoke_core::chance::Chance;
use rusqlite::{Connection, OptionalExtension};

/// The key, which is made at the database's first opening.
pub(super) fn found_or_made(connection: &Connection, chance: &dyn Chance) -> rusqlite::Result<[u8; 16]> {
    let fresh: [u8; 16] = chance.bytes();
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('seal_key', ?1)", [&fresh[..]])?;
    connection.query_row("SELECT value FROM meta WHERE key = 'seal_key'", [], |row| row.get(0))
}

/// The key, if there is one.
pub(crate) fn found(connection: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT value FROM meta WHERE key = 'seal_key'";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}
