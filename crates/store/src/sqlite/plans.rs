//! In tests, a look at how each statement of the writer finds its rows. One that walks through a table would have all
//! wait that wait for the writer.

use std::collections::HashSet;

use parking_lot::Mutex;
use rusqlite::{Connection, MAIN_DB};

/// Statements that are fine.
static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Steps that walk little or are seldom taken, with how their statements begin: of admins and what is theirs there are few,
/// an app has a thousand roles and some secrets at most, and what is left of an app goes with it. The least and the greatest
/// are found by one look each.
const FINE: [(&str, &str); 12] = [
    ("SCAN admins", ""),
    ("SCAN b", "SELECT a.role"),
    ("SCAN admin_sessions", ""),
    ("SCAN s", "SELECT s.admin_id"),
    ("SCAN apps", ""),
    ("SCAN feed", "UPDATE feed"),
    ("SEARCH deleted_apps", ""),
    ("SEARCH kept_bytes", ""),
    ("SEARCH roles", ""),
    ("SEARCH secrets", "DELETE FROM secrets WHERE app_id"),
    ("SEARCH endpoints", "DELETE FROM endpoints WHERE app_id"),
    ("SEARCH said", "SELECT "),
];

/// Looks at a statement without a limit, the first time that a connection runs it which may write.
///
/// # Panics
///
/// If it walks a table, or all that an app has of one.
pub(super) fn check(connection: &Connection, sql: &str) {
    if connection.is_readonly(MAIN_DB).unwrap_or(true)
        || sql.contains("LIMIT")
        || SEEN.lock().get_or_insert_default().contains(sql)
    {
        return;
    }
    let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut steps = plan.raw_query();
    while let Some(step) = steps.next().unwrap() {
        let step: String = step.get("detail").unwrap();
        let walks = step.starts_with("SCAN ") && step != "SCAN CONSTANT ROW" || step.ends_with("(app_id=?)");
        let fine = FINE.iter().any(|(walk, begin)| {
            let named = step.strip_prefix(walk).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
            named && sql.trim_start().starts_with(begin)
        });
        assert!(!walks || fine, "{step}: {sql}");
    }
    // Only now: an operation that failed is run again.
    SEEN.lock().get_or_insert_default().insert(sql.to_owned());
}
