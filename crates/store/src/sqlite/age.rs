//! Looks at a table's rows for those that are old.

use rusqlite::{Connection, params};

use super::rows::{all, one};
use crate::age::{Age, Aged, Ahead, First, LOOK_ROWS, PASSED_ROWS};

/// A table, or a view that shows some of a table's rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) rows: &'static str,
    pub(super) of: &'static str,
}

impl Shown {
    pub(super) const fn table(name: &'static str) -> Self {
        Self { rows: name, of: name }
    }

    /// The number up to which one look behind `after` goes; none: to the end. Between two rows that a view shows any number
    /// may be that it does not.
    pub(super) fn look_ends(self, connection: &Connection, after: i64) -> rusqlite::Result<Option<i64>> {
        if self.rows == self.of {
            return Ok(None);
        }
        let sql = format!("SELECT number FROM {} WHERE number > ?1 ORDER BY number LIMIT 1 OFFSET ?2", self.of);
        one(connection, &sql, [after, PASSED_ROWS], |row| row.get(0))
    }
}

/// Rows of a view behind `after`, up to `last`, in the order of their numbers.
fn rows(
    connection: &Connection,
    shown: Shown,
    after: i64,
    last: Option<i64>,
    most: usize,
) -> rusqlite::Result<Vec<Aged>> {
    let sql =
        format!("SELECT number, at FROM {} WHERE number > ?1 AND number <= ?2 ORDER BY number LIMIT ?3", shown.rows);
    let params = params![after, last.unwrap_or(i64::MAX), most];
    all(connection, &sql, params, |row| Ok(Aged { number: row.get(0)?, at: row.get(1)? }))
}

/// Of the first `most` rows of `shown` behind `begin`, as far as one look goes, those that are old.
///
/// There may be more behind one that is younger: a clock that was set back delays what it numbered then.
pub(super) fn old(
    connection: &Connection,
    shown: Shown,
    begin: i64,
    age: Age,
    most: usize,
    ahead: &mut Ahead,
) -> rusqlite::Result<Vec<Aged>> {
    let first = rows(connection, shown, begin, shown.look_ends(connection, begin)?, most)?;
    match age.look_at_first(first, *ahead) {
        First::Old(old) => Ok(old),
        First::AllAhead { first, .. } if first.is_empty() => Ok(first),
        First::AllAhead { first, behind } => {
            let end = shown.look_ends(connection, behind)?;
            let behind = rows(connection, shown, behind, end, LOOK_ROWS)?;
            Ok(age.look_behind(first, &behind, end, ahead))
        }
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::clock::Timestamp;

    use super::*;

    const NOW: i64 = 1_000;
    const YEAR: i64 = 1_000_000;
    const NONE: [i64; 0] = [];

    fn table(instants: impl IntoIterator<Item = i64>) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE some (number INTEGER PRIMARY KEY, at INTEGER NOT NULL)").unwrap();
        for at in instants {
            connection.execute("INSERT INTO some (at) VALUES (?1)", [at]).unwrap();
        }
        connection
    }

    /// Numbers of the rows that are older than ten by a clock that shows `now`.
    fn old_at(connection: &Connection, now: i64, most: usize, ahead: &mut Ahead) -> Vec<i64> {
        let at = Timestamp::from_millis;
        let found =
            old(connection, Shown::table("some"), 0, Age { before: at(now - 10), now: at(now) }, most, ahead).unwrap();
        found.iter().map(|row| row.number).collect()
    }

    #[test]
    fn a_row_ahead_of_the_clock_is_as_old_as_the_next_that_is_not() {
        let old = |instants: &[i64]| old_at(&table(instants.iter().copied()), NOW, 250, &mut Ahead::default());
        assert_eq!(old(&[1, 2, NOW - 10, NOW]), [1, 2]);
        assert_eq!(old(&[YEAR, 1, YEAR + 1, 2, YEAR + 2, NOW, YEAR + 3]), [1, 2, 3, 4]);
        assert_eq!(old(&[YEAR, NOW, 1]), [3], "one that a clock set back delayed");
        assert_eq!(old(&[YEAR, YEAR, NOW]), NONE);
        assert_eq!(old(&[YEAR, YEAR]), NONE, "nothing tells");
        assert_eq!(old(&[]), NONE);
    }

    /// A log of which `told` is told, so many rows apart.
    fn log(told: impl IntoIterator<Item = i64>, apart: i64) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let schema = "CREATE TABLE log (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, action INTEGER);
                      CREATE VIEW audit AS SELECT number, at FROM log WHERE action IS NOT NULL";
        connection.execute_batch(schema).unwrap();
        for (nth, at) in (1..).zip(told) {
            let sql = "WITH RECURSIVE nth(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM nth WHERE n < ?1)
                       INSERT INTO log (number, at) SELECT (?2 - 1) * ?1 + n, 0 FROM nth";
            connection.execute(sql, [apart, nth]).unwrap();
            connection.execute("UPDATE log SET at = ?1, action = 1 WHERE number = ?2", [at, nth * apart]).unwrap();
        }
        connection
    }

    #[test]
    fn a_look_at_a_view_passes_no_more_rows_than_it_may() {
        const AUDIT: Shown = Shown { rows: "audit", of: "log" };
        let at = Timestamp::from_millis;
        let mut connection = log([YEAR, YEAR, 1], 3 * PASSED_ROWS);
        let looked = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
        let counted = looked.clone();
        let count = move || {
            counted.fetch_add(10, std::sync::atomic::Ordering::Relaxed);
            false
        };
        connection.progress_handler(10, Some(count)).unwrap();
        let (mut begin, mut ahead, mut found) = (0, Ahead::default(), Vec::new());
        for _ in 0..20 {
            looked.store(0, std::sync::atomic::Ordering::Relaxed);
            let age = Age { before: at(NOW - 10), now: at(NOW) };
            let old = old(&connection, AUDIT, begin, age, 2, &mut ahead).unwrap();
            found.extend(old.iter().map(|row| row.number / (3 * PASSED_ROWS)));
            let steps = looked.load(std::sync::atomic::Ordering::Relaxed);
            assert!(steps < 40 * PASSED_ROWS, "{steps}");
            // As upkeep does.
            begin = match (rows(&connection, AUDIT, begin, None, 1).unwrap().first(), old.last()) {
                (_, Some(last)) => last.number,
                (Some(first), None) => {
                    AUDIT.look_ends(&connection, begin).unwrap().map_or(begin, |end| end.min(first.number - 1))
                }
                (None, _) => begin,
            };
        }
        assert_eq!(found, [1, 2, 3], "and in the end finds what is old, behind whatever is ahead");
    }

    #[test]
    fn however_many_are_ahead_they_keep_none_behind_them() {
        let count = 3 * i64::try_from(LOOK_ROWS).unwrap();
        let connection = table((0..count).map(|nth| YEAR + nth).chain([NOW, NOW]));
        let mut ahead = Ahead::default();
        for _ in 0..5 {
            assert_eq!(old_at(&connection, NOW, 250, &mut ahead), NONE, "the last two are young");
        }
        assert_eq!(ahead.0, count);
        let mut removed = 0;
        loop {
            let old = old_at(&connection, NOW + 100, 250, &mut ahead);
            for number in &old {
                removed += connection.execute("DELETE FROM some WHERE number = ?1", [number]).unwrap();
            }
            if old.is_empty() {
                break;
            }
        }
        assert_eq!(removed, usize::try_from(count).unwrap() + 2);
        // An emptied table begins again with its first number.
        for at in std::iter::repeat_n(YEAR, 250).chain([NOW + 100]) {
            connection.execute("INSERT INTO some (at) VALUES (?1)", [at]).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(old_at(&connection, NOW + 100, 250, &mut ahead), NONE);
        }
        assert_eq!(old_at(&connection, NOW + 200, 250, &mut ahead).len(), 250);
    }

    #[test]
    fn a_clock_that_went_back_and_was_corrected_removes_nothing_that_is_young() {
        let connection = table(std::iter::repeat_n(NOW, 300));
        let mut ahead = Ahead::default();
        for _ in 0..3 {
            assert_eq!(old_at(&connection, 10, 250, &mut ahead), NONE);
        }
        assert_eq!(old_at(&connection, NOW, 250, &mut ahead), NONE);
        assert_eq!(old_at(&connection, NOW + 11, 250, &mut ahead).len(), 250);
    }
}
