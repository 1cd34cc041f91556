//! Which messages were said with idempotency keys, of which only so many are remembered.

use respoke_core::message::SaidOnce;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::rows::{execute, one};
use super::walk::REMOVE_ROWS;

/// As much is remembered of all apps together.
pub(super) const MAX: i64 = SaidOnce::REMEMBERED_MAX as i64;

/// What [`too_often`] finds, if anything can have come to be too much: if there is a number beyond `until`. Until which
/// number the next look is spared. So a step costs one look at the newest row, and not one at each app.
pub(super) fn beyond(connection: &Connection, until: i64, most: i64) -> rusqlite::Result<(i64, Vec<(Uuid, i64)>)> {
    let newest: Option<i64> = one(connection, "SELECT max(number) FROM said", [], |row| row.get(0))?.flatten();
    let newest = newest.unwrap_or(0);
    if newest <= until {
        return Ok((until, Vec::new()));
    }
    let (room, too_often) = too_often(connection, most)?;
    // Where something has to go, the next step looks whether it went.
    Ok((if too_often.is_empty() { newest + room } else { 0 }, too_often))
}

/// How much more may be remembered, if no more than `most` is. If more is: the apps that have more than their share of
/// that, and of each the number of the newest that is too many. Who says little loses nothing to who says much.
fn too_often(connection: &Connection, most: i64) -> rusqlite::Result<(i64, Vec<(Uuid, i64)>)> {
    let next = "SELECT app_id FROM said WHERE app_id > ?1 AND length(app_id) = 16 ORDER BY app_id LIMIT 1";
    let ends = "SELECT (SELECT min(nth) FROM said WHERE app_id = ?1), (SELECT max(nth) FROM said WHERE app_id = ?1)";
    let (mut apps, mut said, mut after) = (Vec::new(), 0, Uuid::nil());
    while let Some(app) = one(connection, next, [after], |row| row.get(0))? {
        let (first, last): (i64, i64) =
            one(connection, ends, [app], |row| Ok((row.get(0)?, row.get(1)?)))?.unwrap_or((1, 0));
        said += last - first + 1;
        apps.push((app, first, last));
        after = app;
    }
    if said <= most {
        return Ok((most - said, Vec::new()));
    }
    let share = most / i64::try_from(apps.len()).unwrap_or(i64::MAX).max(1);
    let beyond = apps.into_iter().filter(|(_, first, last)| last - first + 1 > share);
    Ok((0, beyond.map(|(app, _, last)| (app, last - share)).collect()))
}

/// Forgets some of what an app said with keys, up to the number `last`.
pub(super) fn forget(connection: &Connection, app: Uuid, last: i64) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM said WHERE number IN (
                   SELECT number FROM said WHERE app_id = ?1 AND nth <= ?2 ORDER BY nth LIMIT ?3)";
    Ok(execute(connection, sql, params![app, last, REMOVE_ROWS])? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_what_is_remembered_of_all_each_app_has_its_share() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::sqlite::schema::migrate(&mut connection).unwrap();
        let app = |of: u128| Uuid::from_u128(of);
        for (of, count) in [(1, 3), (2, 40), (3, 60)] {
            for nth in 1..=count {
                let sql = "INSERT INTO said (key, request, message_id, at, app_id, nth) VALUES (randomblob(8), '', '', 0, ?1, ?2)";
                let sql = sql.replace("''", "x''");
                connection.execute(&sql, params![app(of), 7 + nth]).unwrap();
            }
        }
        assert_eq!(too_often(&connection, 103).unwrap(), (0, vec![]));
        let (_, too_often) = too_often(&connection, 102).unwrap();
        assert_eq!(too_often, [(app(2), 7 + 40 - 34), (app(3), 7 + 60 - 34)]);
        for (of, last) in too_often {
            forget(&connection, of, last).unwrap();
        }
        let left = "SELECT group_concat(count, ' ') FROM (SELECT count(*) AS count FROM said GROUP BY app_id)";
        let left: String = connection.query_row(left, [], |row| row.get(0)).unwrap();
        assert_eq!(left, "3 34 34");
    }
}
