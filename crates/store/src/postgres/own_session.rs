//! The server's session behind a connection, and statements that it keeps. To understand and plan a batch's statements anew each
//! time costs as much as to write some thirty rows.
//!
//! A pooler may give each transaction another session, which knows no such statement, or another one by its name. So each
//! transaction is told which session it is in. Statements are kept once that was the same for a while.
//!
//! Invariant: no transaction is committed that ran a kept statement in another session than the one that keeps it. It is noticed where
//! the transaction begins; it is rolled back and run again, and the connection keeps no statements any more.
//! Invariant: a kept statement is planned to find its rows by indexes, one by one (`SETTLE_KEPT` in `connect.rs`). Otherwise a plan that
//! was made while a table was empty would walk it when it has grown.

use parking_lot::Mutex;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::failure::Failure;

/// In how many transactions one after the other a session was the same before it is taken for the connection's own.
const SEEN_MIN: u32 = if cfg!(test) { 2 } else { 32 };

const ANOTHER: &str = "the connection led to another session of the database";

/// What a connection knows of its session.
#[derive(Default)]
pub(super) struct OwnSession(Mutex<State>);

#[derive(Default)]
struct State {
    /// That of the last transaction, by its process and when the server started ([`ASK`](super::lineage::ASK)).
    session: Option<String>,
    /// In how many transactions one after the other.
    seen: u32,
    kept: Vec<(&'static str, Statement)>,
    /// Whether it turned out to be shared, or to lose statements.
    is_shared: bool,
}

/// A statement that may be kept, with the types of its values.
pub(super) struct Keepable {
    pub(super) sql: &'static str,
    pub(super) types: &'static [Type],
}

impl OwnSession {
    /// Notes which session a transaction began in. Fails if a statement of the transaction may have been meant for another one.
    pub(super) fn begun_in(&self, session: Option<String>) -> Result<(), Failure> {
        let mut state = self.0.lock();
        if session.is_some() && state.session == session {
            state.seen = state.seen.saturating_add(1);
            return Ok(());
        }
        state.session = session;
        state.seen = 1;
        if state.kept.is_empty() { Ok(()) } else { Err(state.give_up(ANOTHER)) }
    }

    /// Keeps no statements any more. Returns how a transaction fails that may have run one in another session.
    pub(super) fn give_up(&self) -> Failure {
        self.0.lock().give_up(ANOTHER)
    }

    /// Those of these that are to be kept now, and are not yet.
    pub(super) fn due<'a>(&self, statements: impl Iterator<Item = &'a Keepable>) -> Vec<&'a Keepable> {
        let state = self.0.lock();
        let is_due = |keepable: &&Keepable| state.of(keepable.sql).is_none();
        if state.is_shared || state.seen < SEEN_MIN { Vec::new() } else { statements.filter(is_due).collect() }
    }

    pub(super) fn keep(&self, sql: &'static str, statement: Statement) {
        self.0.lock().kept.push((sql, statement));
    }

    pub(super) fn kept(&self, sql: &str) -> Option<Statement> {
        self.0.lock().of(sql).cloned()
    }

    /// What is to be done about a kept statement that failed, or one that could not be kept.
    pub(super) fn of_failed(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Refused(error) if is_of_a_kept_one(&error) => {
                self.0.lock().give_up("the database lost a statement that it kept")
            }
            other => other,
        }
    }
}

impl State {
    fn of(&self, sql: &str) -> Option<&Statement> {
        self.kept.iter().find(|(kept, _)| *kept == sql).map(|(_, statement)| statement)
    }

    fn give_up(&mut self, why: &'static str) -> Failure {
        self.kept.clear();
        self.is_shared = true;
        Failure::Again(why.into())
    }
}

/// Whether a server says that it does not know a kept statement, knows another by its name, or would answer it otherwise than before.
fn is_of_a_kept_one(error: &tokio_postgres::Error) -> bool {
    let of_kept =
        [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT, SqlState::FEATURE_NOT_SUPPORTED];
    error.code().is_some_and(|code| of_kept.contains(code))
}

#[cfg(test)]
mod tests {
    use super::super::connect::{BEGINNING, Connection, params};
    use super::super::store::PostgresStore;
    use super::*;
    use crate::PostgresOptions;
    use crate::contract::postgres::{Postgres, there_is_a_server};
    use crate::contract::postgres_pooled::POOLER;

    const NEXT: &str = "SELECT $1 + 1";
    const STATEMENTS: &[Keepable] = &[Keepable { sql: NEXT, types: &[Type::INT8] }];

    async fn store_at(mut config: tokio_postgres::Config, of: &Postgres) -> PostgresStore {
        config.dbname(of.name());
        PostgresStore::open(PostgresOptions::of(config)).await.unwrap()
    }

    /// Runs a statement that may be kept in a transaction, and says whether it was.
    async fn run(connection: &Connection, number: i64) -> Result<bool, Failure> {
        let running = async {
            // Sent one behind the other, as batches do.
            let early = async { connection.query(NEXT, params![number]).await };
            let (begun, early) = tokio::join!(biased; connection.begin(""), early);
            begun?;
            assert_eq!(early?[0].get::<_, i64>(0), number + 1);
            connection.keep(STATEMENTS).await?;
            let rows = connection.query(NEXT, params![number]).await?;
            assert_eq!(rows[0].get::<_, i64>(0), number + 1);
            Ok(connection.query("SELECT name FROM pg_prepared_statements", &[]).await?.len()
                == BEGINNING.len() + STATEMENTS.len())
        };
        let ran = running.await;
        connection.roll_back().await.unwrap();
        ran
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn statements_are_kept_once_a_session_was_the_same_for_a_while() {
        if !there_is_a_server() {
            return;
        }
        let database = Postgres::default();
        let store = store_at(database.config(), &database).await;
        let connection = store.reader().await.unwrap();
        for nth in 1..5 {
            assert_eq!(run(&connection, 7).await.unwrap(), nth >= SEEN_MIN, "transaction {nth}");
        }
        connection.batch("DEALLOCATE ALL").await.unwrap();
        assert!(matches!(run(&connection, 7).await, Err(Failure::Again(_))));
        for _ in 0..3 {
            assert!(!run(&connection, 7).await.unwrap(), "what was lost once is kept no more");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_meant_for_another_session_is_run_again() {
        let Some(pooler) = POOLER.clone() else { return };
        for keeps_beginning in [false, true] {
            in_another_session(pooler.clone(), keeps_beginning).await;
        }
    }

    async fn in_another_session(pooler: tokio_postgres::Config, keeps_beginning: bool) {
        let database = Postgres::default();
        let store = store_at(pooler, &database).await;
        let (connection, other) = (store.reader().await.unwrap(), store.reader().await.unwrap());
        let third = store.reader().await.unwrap();
        for nth in 1..4 {
            assert_eq!(run(&connection, 7).await.unwrap(), nth >= SEEN_MIN, "the pooler has one session to give");
        }
        // The other one has that session now, and in the next one another program keeps a statement by that name.
        other.begin("").await.unwrap();
        let kept = "SELECT name FROM pg_prepared_statements ORDER BY prepare_time";
        let names = other.query(kept, &[]).await.unwrap();
        third.begin("").await.unwrap();
        let [settle, ask, next] = [0, 1, 2].map(|nth| names[nth].get::<_, &str>(0));
        third.batch(&format!("PREPARE {next} (bigint) AS SELECT $1 + 2")).await.unwrap();
        if keeps_beginning {
            // As another node does.
            for (name, keepable) in [(settle, "(text, bigint)"), (ask, "")].into_iter().zip(BEGINNING) {
                third.batch(&format!("PREPARE {} {} AS {}", name.0, name.1, keepable.sql)).await.unwrap();
            }
        }
        third.roll_back().await.unwrap();
        assert!(matches!(run(&connection, 7).await, Err(Failure::Again(_))));
        assert!(!run(&connection, 7).await.unwrap());
        other.roll_back().await.unwrap();
        for _ in 0..3 {
            run(&connection, 7).await.unwrap();
        }
    }
}
