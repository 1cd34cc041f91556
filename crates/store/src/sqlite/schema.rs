//! Tables. Migrations only add; one that was released is never edited.
//!
//! Tokens, sessions and the audit log, the tables that grow with use, have sequential keys and no second index: a
//! mint then dirties the page its neighbours are on and no other (docs/adr/0001).

use rusqlite::Connection;

/// Each migration brings the database from its place in the list to the next.
const MIGRATIONS: &[&str] = &[include_str!("schema/0001_token_service.sql")];

/// Brings the database to the present schema.
///
/// A database of a newer program is refused.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > MIGRATIONS.len() {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE),
            Some(format!(
                "the database has schema {version}, made by a newer respoked; this one knows {}",
                MIGRATIONS.len()
            )),
        ));
    }
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration)?;
    }
    transaction.execute_batch(&format!("PRAGMA user_version = {}", MIGRATIONS.len()))?;
    transaction.commit()
}
