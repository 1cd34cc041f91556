//! Tables. Migrations only add; one that was released is never edited.
//!
//! Tokens, sessions and the audit log, the tables that grow with use, have sequential keys and no second index: a
//! mint then dirties the page its neighbours are on and no other (docs/adr/0001).

use rusqlite::Connection;

/// Each migration brings the database from its place in the list to the next.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/0001_token_service.sql"),
    include_str!("schema/0002_issued_before.sql"),
    include_str!("schema/0003_hub.sql"),
    include_str!("schema/0004_console.sql"),
    include_str!("schema/0005_bans.sql"),
    include_str!("schema/0006_group_ends.sql"),
    include_str!("schema/0007_known_addresses.sql"),
    include_str!("schema/0008_said.sql"),
    include_str!("schema/0009_kept_bytes.sql"),
    include_str!("schema/0010_kept_costs.sql"),
];

/// The newest schema.
pub(super) const fn newest() -> usize {
    MIGRATIONS.len()
}

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

/// The newest schema: the one that an empty database is brought to.
pub(super) fn known() -> usize {
    MIGRATIONS.len()
}

/// The tables that a database of schema `version` has.
pub(super) fn tables_of(version: usize) -> rusqlite::Result<Vec<String>> {
    let connection = Connection::open_in_memory()?;
    for migration in MIGRATIONS.iter().take(version) {
        connection.execute_batch(migration)?;
    }
    tables(&connection)
}

/// The tables that a database has.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use respoke_core::id::{EndpointId, GroupName};

    use super::*;
    use crate::sqlite::kept;

    /// A database of the first schema, in which `made` was done.
    fn first(made: &str) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.execute_batch(made).unwrap();
        connection.execute_batch("PRAGMA user_version = 1").unwrap();
        connection
    }

    #[test]
    fn what_was_ended_before_sessions_had_their_own_marks_stays_ended() {
        let mut connection = first(
            "INSERT INTO endpoints (app_id, endpoint, issued_before) VALUES (x'00', 'alice', 7), (x'00', 'bob', 0)",
        );
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let sql = "SELECT group_concat(sessions_issued_before) FROM endpoints";
        let kept: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(kept, "7,0");
    }

    #[test]
    fn an_app_of_before_the_hub_has_the_new_settings_at_their_defaults() {
        let mut connection = first(
            "INSERT INTO apps (id, account_id, name, description, development_mode, ttl_secs_max, activation_secs,
             limits, created_at, updated_at) VALUES (x'01', x'02', 'app', '', 0, 60, 60, '{}', 0, 0)",
        );
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let expiry: i64 = connection.query_row("SELECT session_expiry FROM apps", [], |row| row.get(0)).unwrap();
        assert_eq!(expiry, 0);
    }

    #[test]
    fn a_group_of_before_goes_on_behind_its_newest_message_and_what_was_read_of_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        MIGRATIONS[..5].iter().for_each(|migration| connection.execute_batch(migration).unwrap());
        let made = "INSERT INTO message_groups (number, app_id, name, messages) VALUES (1, x'01', 'room', 2);
                    INSERT INTO messages (group_number, at, sender, event) VALUES (1, 7, 'jo', '{}'), (1, 5, 'jo', '{}');
                    INSERT INTO conversations VALUES (x'01', 'jo', 1, 6, 0), (x'01', 'al', 1, 9, 0), (x'01', 'bo', 2, 9, 0);
                    PRAGMA user_version = 5";
        connection.execute_batch(made).unwrap();
        migrate(&mut connection).unwrap();
        let sql = "SELECT last_at, (SELECT group_concat(endpoint || read_at) FROM conversations) FROM message_groups";
        let found: (i64, String) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(found, (7, "al7,bo9,jo6".to_owned()));
    }

    #[test]
    fn who_was_an_admin_before_there_were_roles_is_an_owner() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection
            .execute_batch("PRAGMA user_version = 1; INSERT INTO admins VALUES (x'01', x'02', 'jo', '$', 0)")
            .unwrap();
        migrate(&mut connection).unwrap();
        let role: i64 = connection.query_row("SELECT role FROM admins", [], |row| row.get(0)).unwrap();
        assert_eq!(role, 0);
    }

    /// Not counted at all before migration 9, and by other rules before migration 10.
    #[test]
    fn what_was_kept_before_counts_as_what_is_kept_now() {
        for version in [8, 9] {
            let mut connection = Connection::open_in_memory().unwrap();
            for migration in &MIGRATIONS[..version] {
                connection.execute_batch(migration).unwrap();
            }
            connection
                .execute_batch(&format!(
                    "PRAGMA user_version = {version};
                     INSERT INTO message_groups (number, app_id, name, messages) VALUES (1, x'01', 'room', 1), (2, x'02', 'é', 1);
                     INSERT INTO ended_groups (number, app_id) VALUES (3, x'01');
                     INSERT INTO messages (group_number, at, sender, event)
                         VALUES (1, 0, 'jo', '{{}}'), (2, 0, 'jo', '{{}}'), (3, 0, 'jo', '{{}}');
                     INSERT INTO conversations VALUES (x'01', 'jo', 1, 0, 0);
                     INSERT INTO push_tokens VALUES (x'01', x'01', 'jo', 1, x'03', 'text', 0);
                     INSERT INTO call_reports (app_id, at, report) VALUES (x'02', 0, '{{}}');"
                ))
                .unwrap();
            migrate(&mut connection).unwrap();
            let kept = |of: &str| {
                let sql = format!("SELECT sum(bytes) FROM {of} GROUP BY app_id ORDER BY app_id");
                let mut select = connection.prepare(&sql).unwrap();
                let sums = select.query_map([], |row| row.get::<_, usize>(0)).unwrap();
                sums.collect::<rusqlite::Result<Vec<_>>>().unwrap()
            };
            let (jo, group) = (EndpointId::parse("jo").unwrap(), |name| kept::group(&GroupName::parse(name).unwrap()));
            let message = kept::message(2, &jo);
            let first = 2 * message + group("room") + kept::conversation(&jo) + kept::push_token(4, &jo);
            let second = message + group("é") + kept::call_report(2, None);
            assert_eq!(kept("kept_bytes"), [first, second], "{version}");
            assert_eq!(kept("kept_rows"), [first, second], "{version}");

            // And what goes of it is given back.
            connection.execute_batch("DELETE FROM messages WHERE group_number <> 2; DELETE FROM ended_groups").unwrap();
            assert_eq!(kept("kept_bytes"), [first - 2 * message, second], "{version}");
        }
    }

    #[test]
    fn what_is_kept_is_counted_for_the_first_time_without_sorting_it() {
        let connection = Connection::open_in_memory().unwrap();
        MIGRATIONS[..10].iter().for_each(|migration| connection.execute_batch(migration).unwrap());
        let (counting, _) = MIGRATIONS[9].split_once("CREATE TRIGGER").unwrap();
        let counting: Vec<_> = counting.split(';').filter(|sql| sql.contains("INSERT INTO")).collect();
        assert!(!counting.is_empty());
        for sql in counting {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = plan.query_map([], |row| row.get::<_, String>("detail")).unwrap();
            let steps: Vec<_> = steps.map(Result::unwrap).collect();
            assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}: {steps:?}");
        }
    }

    #[test]
    fn a_database_of_a_newer_program_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.execute_batch("PRAGMA user_version = 1000").unwrap();
        assert!(migrate(&mut connection).unwrap_err().to_string().contains("newer"));
    }
}
