//! Tables. Migrations go forward only, and none under a server; one that was released is never edited.
//!
//! The tables that grow with use are the log, which holds the tokens too, and the sessions. They have sequential keys
//! and no second index, so that a mint writes to the page that its neighbours are on and to no other (docs/adr/0001).
//! `tokens` and `audit` are views of the log: of the rows that hold a token, and of those that tell what was done. A
//! mint's row is both.

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection};

/// Each migration brings the database from its place in the list to the next.
const MIGRATIONS: &[&[Part]] = &[
    &[Part::Sql(include_str!("schema/0001_token_service.sql"))],
    &[Part::Sql(include_str!("schema/0002_issued_before.sql"))],
    &[Part::Sql(include_str!("schema/0003_hub.sql"))],
    &[Part::Sql(include_str!("schema/0004_console.sql"))],
    &[Part::Sql(include_str!("schema/0005_bans.sql"))],
    &[Part::Sql(include_str!("schema/0006_group_ends.sql"))],
    &[Part::Sql(include_str!("schema/0007_known_addresses.sql"))],
    &[Part::Sql(include_str!("schema/0008_said.sql"))],
    &[Part::Sql(include_str!("schema/0009_kept_bytes.sql"))],
    &[Part::Sql(include_str!("schema/0010_kept_costs.sql"))],
    &[
        Part::Sql(include_str!("schema/0011_changes.sql")),
        Part::Rows { of: "tokens", step: STEP_ROWS, behind: None, sql: include_str!("schema/0011_tokens.sql") },
        Part::Rows { of: "sessions", step: STEP_ROWS, behind: None, sql: include_str!("schema/0011_sessions.sql") },
        Part::Sql(include_str!("schema/0011_marks.sql")),
    ],
    &[Part::Sql(include_str!("schema/0012_said_by_app.sql"))],
    &[
        Part::Sql(include_str!("schema/0013_log.sql")),
        Part::Rows { of: "tokens", step: STEP_ROWS, behind: None, sql: include_str!("schema/0013_tokens.sql") },
        Part::Rows { of: "audit", step: STEP_ROWS, behind: Some("log"), sql: include_str!("schema/0013_audit.sql") },
        Part::Sql(include_str!("schema/0013_views.sql")),
    ],
    &[
        Part::Sql(include_str!("schema/0014_offsets.sql")),
        Part::Rows {
            of: "message_groups",
            step: STEP_GROUPS,
            behind: None,
            sql: include_str!("schema/0014_messages.sql"),
        },
    ],
    &[Part::Sql(include_str!("schema/0015_pages.sql"))],
    &[Part::Sql(include_str!("schema/0016_rows_of_apps.sql"))],
    &[Part::Sql(include_str!("schema/0017_tokens_issued_before.sql"))],
];

/// The size of a page. A mint writes the pages that its rows are on: with 4 KiB half as much again (docs/performance.md).
pub(super) const PAGE_BYTES: u32 = 1_024;

/// Numbers that a migration looks at in one go, so that what SQLite notes meanwhile stays small, whatever the table's size.
const STEP_ROWS: i64 = 100_000;
/// The same of groups, each of which may have ten thousand messages, or as many as the settings say.
const STEP_GROUPS: i64 = 10;

/// A part of a migration.
enum Part {
    /// As it stands.
    Sql(&'static str),
    /// For the rows numbered behind `:after` and up to `:last` of a table, until its end. `:base` is the last number of the
    /// table `behind` before the first of these steps.
    Rows { of: &'static str, step: i64, behind: Option<&'static str>, sql: &'static str },
}

impl Part {
    fn run(&self, connection: &Connection) -> rusqlite::Result<()> {
        let (of, step, behind, sql) = match self {
            Self::Sql(sql) => return connection.execute_batch(sql),
            Self::Rows { of, step, behind, sql } => (of, step, behind, sql),
        };
        let base: i64 = match behind {
            None => 0,
            Some(table) => {
                let last = format!("SELECT coalesce(max(number), 0) FROM {table}");
                connection.query_row(&last, [], |row| row.get(0))?
            }
        };
        let next = format!("SELECT min(number) FROM {of} WHERE number > ?1");
        let mut after = 0;
        while let Some(first) = connection.query_row(&next, [after], |row| row.get::<_, Option<i64>>(0))? {
            let last = first.saturating_add(*step);
            let mut statements = Batch::new(connection, sql);
            while let Some(mut statement) = statements.next()? {
                for (name, value) in [(":after", first - 1), (":last", last), (":base", base)] {
                    if let Some(at) = statement.parameter_index(name)? {
                        statement.raw_bind_parameter(at, value)?;
                    }
                }
                statement.raw_execute()?;
            }
            after = last;
        }
        Ok(())
    }
}

fn run(connection: &Connection, migration: &[Part]) -> rusqlite::Result<()> {
    migration.iter().try_for_each(|part| part.run(connection))
}

/// The first schema of the present shape. A database of an earlier one is copied before it is served from (`rebuild.rs`), and
/// the migrations up to this one run on the copy: they may take long, for nobody waits for a row of it.
pub(super) const RESHAPED: usize = 15;
/// Tables whose rows a migration may make fewer or more.
pub(super) const COUNTED_ANEW: &[&str] = &["kept_bytes"];

/// The newest schema.
pub(super) const fn newest() -> usize {
    MIGRATIONS.len()
}

/// Brings the database to the present schema.
///
/// A database of a newer program is refused.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    // Of no consequence unless the database is empty.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version = version(&transaction)?;
    for migration in &MIGRATIONS[version..] {
        run(&transaction, migration)?;
    }
    transaction.execute_batch(&format!("PRAGMA user_version = {}", MIGRATIONS.len()))?;
    transaction.commit()
}

/// Fails unless the schema is the newest. A server may be serving from it, and what one of another version would make of
/// a database that is migrated under it, nobody knows.
pub(crate) fn is_newest(connection: &Connection) -> rusqlite::Result<()> {
    let version = version(connection)?;
    if version < MIGRATIONS.len() {
        return Err(refused(&format!(
            "the database has schema {version}, made by an older respoked; start this one as a server once, which brings \
             it to {}",
            MIGRATIONS.len()
        )));
    }
    Ok(())
}

/// Which schema a database has. One that is not known yet is an error.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > MIGRATIONS.len() {
        return Err(refused(&format!(
            "the database has schema {version}, made by a newer respoked; this one knows {}",
            MIGRATIONS.len()
        )));
    }
    Ok(version)
}

/// What is done with none of this is refused, in words.
pub(super) fn refused(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE), Some(why.to_owned()))
}

/// The newest schema: the one that an empty database is brought to.
pub(super) fn known() -> usize {
    MIGRATIONS.len()
}

/// The tables that a database of schema `version` has.
pub(super) fn tables_of(version: usize) -> rusqlite::Result<Vec<String>> {
    let connection = Connection::open_in_memory()?;
    for migration in MIGRATIONS.iter().take(version) {
        run(&connection, migration)?;
    }
    tables(&connection)
}

/// The tables that a database has.
pub(crate) fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use respoke_core::id::{EndpointId, GroupName};

    use super::*;
    use crate::sqlite::kept;

    /// The text of a migration.
    fn sql(migration: &[Part]) -> String {
        let text = |part: &Part| match part {
            Part::Sql(sql) | Part::Rows { sql, .. } => *sql,
        };
        migration.iter().map(text).collect()
    }

    /// A database of the first schema, in which `made` was done.
    fn first(made: &str) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        run(&connection, MIGRATIONS[0]).unwrap();
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
        MIGRATIONS[..5].iter().for_each(|migration| run(&connection, migration).unwrap());
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
        run(&connection, MIGRATIONS[0]).unwrap();
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
                run(&connection, migration).unwrap();
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

    /// What ended whom before marks were changes: by its number, or by its number and instant.
    #[derive(Clone, Copy)]
    struct OldMark {
        from: i64,
        issued_before: i64,
        issued_before_number: i64,
    }

    impl OldMark {
        const NONE: Self = Self { from: 0, issued_before: 0, issued_before_number: 0 };

        fn ends(self, number: i64, at: i64) -> bool {
            number < self.from || (number < self.issued_before_number && at < self.issued_before)
        }

        fn by_number(from: i64) -> Self {
            Self { from, ..Self::NONE }
        }

        fn by_time(issued_before: i64, issued_before_number: i64) -> Self {
            Self { issued_before, issued_before_number, ..Self::NONE }
        }

        /// `tokens` and `sessions` as columns, in the order of [`MARKS`].
        fn columns(tokens: Self, sessions: Self) -> String {
            format!(
                "{}, {}, {}, {}, {}, {}",
                tokens.from,
                sessions.from,
                tokens.issued_before,
                sessions.issued_before,
                tokens.issued_before_number,
                sessions.issued_before_number
            )
        }
    }

    const MARKS: &str = "tokens_from, sessions_from, issued_before, sessions_issued_before, issued_before_tokens,
                         issued_before_sessions";

    #[test]
    fn what_marks_had_ended_by_number_stays_ended_and_nothing_else_is() {
        use crate::sqlite::{sessions, token_rows};

        let present = MIGRATIONS.iter().position(|migration| sql(migration).contains("TABLE feed")).unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        MIGRATIONS[..present].iter().for_each(|migration| run(&connection, migration).unwrap());
        let id = |number: u8| format!("x'{number:032x}'");
        let run = |sql: String| connection.execute_batch(&sql).unwrap();
        run(format!("PRAGMA user_version = {present}"));
        // Two apps, each with a role and, of its endpoints, alice with a row: tokens' marks, then sessions'.
        let apps = [
            (OldMark::by_number(4), OldMark::NONE),
            (OldMark { from: 2, ..OldMark::by_time(100, 17) }, OldMark::by_time(50, 30)),
        ];
        let roles = [(OldMark::by_number(9), OldMark::by_number(14)), (OldMark::NONE, OldMark::by_time(100, 11))];
        let alices = [(OldMark::by_time(50, 40), OldMark::by_number(3)), (OldMark::by_number(23), OldMark::NONE)];
        for app in 0..2_u8 {
            let marks = |(tokens, sessions)| OldMark::columns(tokens, sessions);
            let at = usize::from(app);
            run(format!(
                "INSERT INTO apps (id, account_id, name, description, development_mode, ttl_secs_max, activation_secs,
                 limits, created_at, updated_at, {MARKS})
                 VALUES ({}, x'02', 'app', '', 1, 60, 60, '{{}}', 0, 0, {});
                 INSERT INTO roles (app_id, id, name, permissions, created_at, updated_at, {MARKS})
                 VALUES ({}, {}, 'role', '{{}}', 0, 0, {});
                 INSERT INTO endpoints (app_id, endpoint, {MARKS}) VALUES ({}, 'alice', {})",
                id(app),
                marks(apps[at]),
                id(app),
                id(9),
                marks(roles[at]),
                id(app),
                marks(alices[at]),
            ));
        }
        // Of every app, endpoint, role and age one, and then all of it again: who is over, by the rule of then.
        let mut over = [Vec::new(), Vec::new()];
        for (number, nth) in (1_i64..).zip(0..48_usize) {
            let (app, rest) = (nth % 2, nth / 2);
            let (alice, with_role, at) = (rest % 2 == 0, rest / 2 % 2 == 0, [40, 90, 120][rest / 4 % 3]);
            let of = format!(
                "{number}, {}, '{}', {}, x'{:064x}', {at}",
                id(u8::try_from(app).unwrap()),
                if alice { "alice" } else { "bob" },
                if with_role { id(9) } else { "NULL".to_owned() },
                number
            );
            run(format!(
                "INSERT INTO tokens (number, app_id, endpoint, role_id, hash, created_at, activate_by, expires_at)
                 VALUES ({of}, 1000, 1000);
                 INSERT INTO sessions (number, app_id, endpoint, role_id, hash, created_at, token_number, expires_at,
                 last_seen_at, address) VALUES ({of}, {number}, 1000, 0, '')"
            ));
            let ends = |(tokens, sessions): (OldMark, OldMark)| [tokens.ends(number, at), sessions.ends(number, at)];
            let by = [
                ends(apps[app]),
                if with_role { ends(roles[app]) } else { [false; 2] },
                if alice { ends(alices[app]) } else { [false; 2] },
            ];
            for (kind, over) in over.iter_mut().enumerate() {
                over.push(by.iter().any(|by| by[kind]));
            }
        }
        assert!(over.iter().all(|over| over.contains(&true) && over.contains(&false)));

        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let now = respoke_core::clock::Timestamp::from_millis(500);
        let found = |connection: &Connection| {
            let mut tokens = connection.prepare(token_rows::RANGE).unwrap();
            let tokens = tokens.query_map([0, 1_000], |row| {
                let (token, ground) = token_rows::read(row)?;
                Ok(token.lapse(&ground, now).is_some())
            });
            let mut sessions = connection.prepare(sessions::RANGE).unwrap();
            let sessions = sessions.query_map([0, 1_000], |row| {
                let (session, ground) = sessions::read(row)?;
                Ok(session.lapse(&ground, now).is_some())
            });
            [tokens.unwrap().map(Result::unwrap).collect(), sessions.unwrap().map(Result::unwrap).collect::<Vec<_>>()]
        };
        assert_eq!(found(&connection), over);

        // What is born from here on no old mark touches, and a new one ends all that was there before it.
        connection.execute_batch("UPDATE log SET born = 1; UPDATE sessions SET born = 1").unwrap();
        assert_eq!(found(&connection), [vec![false; 48], vec![false; 48]]);
        let head: i64 = connection.query_row("SELECT head FROM feed", [], |row| row.get(0)).unwrap();
        assert_eq!(head, 1);
        connection.execute_batch("UPDATE apps SET tokens_from = 2, sessions_from = 2").unwrap();
        assert_eq!(found(&connection), [vec![true; 48], vec![true; 48]]);
    }

    #[test]
    fn a_mark_keeps_its_instant_under_its_new_name() {
        let mut connection = Connection::open_in_memory().unwrap();
        MIGRATIONS[..16].iter().for_each(|migration| run(&connection, migration).unwrap());
        let made = "PRAGMA user_version = 16;
                    INSERT INTO endpoints (app_id, endpoint, issued_before, sessions_issued_before) VALUES (x'01', 'jo', 7, 5)";
        connection.execute_batch(made).unwrap();
        migrate(&mut connection).unwrap();
        let sql = "SELECT tokens_issued_before, sessions_issued_before FROM endpoints";
        let found: (i64, i64) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(found, (7, 5));
        for table in ["apps", "roles"] {
            let sql = format!("SELECT 1 FROM pragma_table_info('{table}') WHERE name = 'tokens_issued_before'");
            assert!(connection.prepare(&sql).unwrap().exists([]).unwrap(), "{table}");
        }
    }

    #[test]
    fn what_is_kept_is_counted_for_the_first_time_without_sorting_it() {
        let connection = Connection::open_in_memory().unwrap();
        for migration in MIGRATIONS {
            run(&connection, migration).unwrap();
        }
        let all = sql(MIGRATIONS[RESHAPED - 1]);
        let (_, counting) = all.split_once("DELETE FROM kept_bytes").unwrap();
        let (counting, _) = counting.split_once("CREATE TRIGGER").unwrap();
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
