//! In tests, a look at how statements find their rows: who waits behind one waits for every row it walks.
//!
//! The tables of a test are small, and a walk through a small table is the quickest way. So the server is told to walk
//! through none if there is an index that serves; where it does so all the same, there is none.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::connect::Param;

/// What has a server avoid walks through tables; and compile nothing, as it does for what it takes to cost much. A connection
/// with these options is looked at.
pub(crate) const OPTIONS: &str = "-c enable_seqscan=off -c jit=off";

/// Statements that are fine.
static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Tables that are small, or that may be walked by statements that begin like this: of accounts, admins and what is theirs
/// there are few, and of nodes.
const FINE: [(&str, &str); 15] = [
    ("accounts", ""),
    ("admins", ""),
    ("feed", ""),
    ("cluster", ""),
    ("nodes", ""),
    ("setup_tokens", ""),
    ("second_factors", ""),
    ("known_addresses", "SELECT"),
    ("admin_sessions", "DELETE FROM respoked.admin_sessions WHERE number = ANY"),
    ("deleted_apps", ""),
    ("ended_groups", ""),
    ("kept_bytes", "SELECT coalesce(sum(bytes)"),
    // Joined to an endpoint's conversations and marks, of which there may be a thousand.
    ("message_groups", "WITH candidates"),
    ("message_groups", "SELECT g.number, least"),
    ("pg_class", ""),
];

/// What upkeep's walks join to the rows of a step: to thousands of them, a small table is better joined as a whole.
const JOINED: [&str; 4] = ["apps", "roles", "secrets", "endpoints"];
const OF_A_STEP: &str = "WHERE g.number > $1 ";

/// Looks at a statement, the first time that it is run.
///
/// # Panics
///
/// If it walks a table, or an index from its beginning to its end.
pub(super) async fn check(client: &Client, sql: &str, params: &[Param<'_>]) {
    let looked_at =
        ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|verb| sql.trim_start().starts_with(verb));
    if !looked_at || SEEN.lock().get_or_insert_default().contains(sql) {
        return;
    }
    let plan = client.query_typed(&format!("EXPLAIN (COSTS OFF) {sql}"), params).await;
    let plan = plan.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    judge(sql, &plan.iter().map(|row| row.get(0)).collect::<Vec<_>>());
    SEEN.lock().get_or_insert_default().insert(sql.to_owned());
}

/// Looks at the plan of a statement that the server is to keep, which is made without its values, in a transaction that has the
/// settings of those in which it is run.
///
/// # Panics
///
/// As [`check`].
pub(super) async fn check_kept(client: &Client, sql: &str, types: &[Type]) {
    let names: Vec<_> = types
        .iter()
        .map(Type::name)
        .map(|name| match name.strip_prefix('_') {
            Some(element) => format!("{element}[]"),
            None => name.to_owned(),
        })
        .collect();
    let declared = if names.is_empty() { String::new() } else { format!("({})", names.join(", ")) };
    let given = if names.is_empty() { String::new() } else { format!("({})", vec!["NULL"; names.len()].join(", ")) };
    let prepare = format!("SET LOCAL plan_cache_mode = force_generic_plan; PREPARE looked_at {declared} AS {sql}");
    if client.batch_execute(&prepare).await.is_err() {
        // Whoever has it kept will hear so.
        return;
    }
    let explain = format!(
        "EXPLAIN (COSTS OFF) EXECUTE looked_at {given}; DEALLOCATE looked_at; SET LOCAL plan_cache_mode = auto"
    );
    let Ok(said) = client.simple_query(&explain).await else { return };
    let lines: Vec<String> = said
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    judge(sql, &lines);
}

/// # Panics
///
/// If a plan walks a table, or an index from its beginning to its end.
fn judge(sql: &str, lines: &[String]) {
    for (nth, line) in lines.iter().enumerate() {
        let step = line.trim_start().trim_start_matches("->").trim_start();
        let walked = if let Some(table) = step.strip_prefix("Seq Scan on ") {
            Some(table)
        } else if step.starts_with("Index") && step.contains(" on ") {
            // What is looked for in the index stands below, before the next step.
            let below: Vec<_> = lines[nth + 1..].iter().take_while(|line| !line.contains("->")).collect();
            let says = |what: &str| below.iter().any(|line| line.trim_start().starts_with(what));
            // The first so many of all rows are found at once, of those that something is asked of perhaps none.
            let bounded = is_limited(lines, nth) && !says("Filter");
            (!says("Index Cond") && !bounded).then(|| step.rsplit(" on ").next().unwrap_or(step))
        } else {
            None
        };
        let Some(walked) = walked else { continue };
        let table = walked.split_whitespace().next().unwrap_or(walked);
        let fine = FINE.iter().any(|(fine, begin)| table == *fine && sql.trim_start().starts_with(begin));
        let fine = fine || (JOINED.contains(&table) && sql.contains(OF_A_STEP));
        assert!(fine, "{table} is walked:\n{sql}\n{}", lines.join("\n"));
    }
}

/// Whether a step's rows go to a limit, and no more of them are asked for than that lets pass.
fn is_limited(plan: &[String], nth: usize) -> bool {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let of_a_step = |nth: usize| nth == 0 || plan[nth].contains("->");
    let above = (0..nth).rev().find(|above| of_a_step(*above) && depth(&plan[*above]) < depth(&plan[nth]));
    above.is_some_and(|above| {
        let step = plan[above].trim_start().trim_start_matches("->").trim_start();
        step.starts_with("Limit") || (step.starts_with("LockRows") && is_limited(plan, above))
    })
}

mod tests {
    use super::is_limited;

    #[test]
    fn only_what_a_limit_takes_from_is_limited() {
        let plan = "Append
  ->  Limit
        ->  LockRows
              ->  Index Scan using one on table
                    Filter: (n > 1)
  ->  Sort
        Sort Key: n
        ->  Index Scan using other on table";
        let plan: Vec<_> = plan.lines().map(str::to_owned).collect();
        let steps = (0..plan.len()).filter(|nth| plan[*nth].contains("->"));
        let limited: Vec<_> = steps.filter(|nth| is_limited(&plan, *nth)).collect();
        assert_eq!(limited, [2, 3]);
    }
}
