//! Tables. Migrations only add; one that was released is never edited.
//!
//! Tokens, sessions and the audit log, the tables that grow with use, have sequential keys and no second index: a
//! mint then dirties the page its neighbours are on and no other (docs/adr/0001).

use rusqlite::Connection;

/// Each migration brings the database from its place in the list to the next.
const MIGRATIONS: &[&str] =
    &[include_str!("schema/0001_token_service.sql"), include_str!("schema/0002_issued_before.sql")];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_database_is_brought_up_and_a_newer_one_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO endpoints (app_id, endpoint, issued_before) VALUES (x'00', 'alice', 7), (x'00', 'bob', 0);
                 PRAGMA user_version = 1",
            )
            .unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let sql = "SELECT group_concat(sessions_issued_before) FROM endpoints";
        let kept: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(kept, "7,0", "what was ended stays ended");
        connection.execute_batch("PRAGMA user_version = 99").unwrap();
        assert!(migrate(&mut connection).unwrap_err().to_string().contains("newer respoked"));
    }
}
