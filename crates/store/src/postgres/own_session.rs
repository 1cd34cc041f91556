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

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::failure::Failure;

/// In how many transactions one after the other a session was the same before it is taken for the connection's own.
const SEEN_MIN: u32 = if cfg!(test) { 2 } else { 32 };

const ANOTHER: &str = "the connection led to another session of the database";

/// What a connection knows of its session.
pub(super) struct OwnSession {
    state: Mutex<State>,
    /// Whether a session turned out to be shared, or to lose statements: what all connections of a store know together.
    is_shared: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    /// That of the last transaction, by its process and when the server started ([`ASK`](super::lineage::ASK)).
    session: Option<String>,
    /// In how many transactions one after the other.
    seen: u32,
    kept: Vec<(&'static str, Statement)>,
    /// Those that are not used any more. The server would be told to forget each that is dropped before the connection ends, and
    /// that might be another's statement of the same name, in another session.
    left: Vec<(&'static str, Statement)>,
}

/// A statement that may be kept, with the types of its values.
pub(super) struct Keepable {
    pub(super) sql: &'static str,
    pub(super) types: &'static [Type],
}

impl OwnSession {
    pub(super) fn of(is_shared: Arc<AtomicBool>) -> Self {
        Self { state: Mutex::default(), is_shared }
    }

    /// Notes which session a transaction began in. Fails if a statement of the transaction may have been meant for another one.
    pub(super) fn begun_in(&self, session: Option<String>) -> Result<(), Failure> {
        let mut state = self.state.lock();
        if session.is_some() && state.session == session {
            state.seen = state.seen.saturating_add(1);
            return Ok(());
        }
        state.session = session;
        state.seen = 1;
        let was_meant_for_another = !state.kept.is_empty();
        drop(state);
        if was_meant_for_another { Err(self.give_up(ANOTHER.into())) } else { Ok(()) }
    }

    /// Those of these that are to be kept now, and are not yet.
    pub(super) fn due<'a>(&self, statements: impl Iterator<Item = &'a Keepable>) -> Vec<&'a Keepable> {
        let state = self.state.lock();
        let is_due = |keepable: &&Keepable| state.of(keepable.sql).is_none();
        let may_keep = state.seen >= SEEN_MIN && !self.is_shared.load(Ordering::Relaxed);
        if may_keep { statements.filter(is_due).collect() } else { Vec::new() }
    }

    pub(super) fn keep(&self, sql: &'static str, statement: Statement) {
        self.state.lock().kept.push((sql, statement));
    }

    pub(super) fn kept(&self, sql: &str) -> Option<Statement> {
        self.state.lock().of(sql).cloned()
    }

    /// What a transaction failed with that ran a kept statement, behind its beginning.
    pub(super) fn of_kept(&self, failure: Failure) -> Failure {
        let lost = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::FEATURE_NOT_SUPPORTED];
        let is_lost =
            matches!(&failure, Failure::Refused(error) if error.code().is_some_and(|code| lost.contains(code)));
        if is_lost { self.give_up(Box::new(failure)) } else { failure }
    }

    /// What one failed with that may have run a kept statement in another session, or could not have one kept. Anything may be
    /// answered there.
    pub(super) fn elsewhere(&self, failure: Failure) -> Failure {
        match &failure {
            Failure::Lost(source) if !is_of_another_statement(&**source) => failure,
            Failure::Unanswered | Failure::Again(_) => failure,
            Failure::Refused(_) if failure.is_of_a_held_row() => failure,
            _ => self.give_up(Box::new(failure)),
        }
    }

    /// The same of one that was answered as no such statement is.
    pub(super) fn answered_otherwise(&self) -> Failure {
        self.give_up(ANOTHER.into())
    }

    /// Keeps no statements any more.
    fn give_up(&self, why: Box<dyn Error + Send + Sync>) -> Failure {
        let state = &mut *self.state.lock();
        state.left.append(&mut state.kept);
        if !self.is_shared.swap(true, Ordering::Relaxed) {
            tracing::info!(%why, "no statements are kept in the database's sessions any more: a pooler may be between");
        }
        Failure::Again(why)
    }
}

impl State {
    fn of(&self, sql: &str) -> Option<&Statement> {
        self.kept.iter().find(|(kept, _)| *kept == sql).map(|(_, statement)| statement)
    }
}

/// Whether a loss is that of a connection on which a statement was given another number of values than it takes.
fn is_of_another_statement(source: &(dyn Error + 'static)) -> bool {
    let error = source.downcast_ref::<tokio_postgres::Error>();
    error.and_then(tokio_postgres::Error::code) == Some(&SqlState::PROTOCOL_VIOLATION)
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
    const NONE: &[Keepable] = &[Keepable { sql: "SELECT 1 FROM nowhere", types: &[] }];
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
            let there = connection.query("SELECT name FROM pg_prepared_statements", &[]).await?.len();
            let keeps = connection.session_keeps_statements();
            assert!(!keeps || there == BEGINNING.len() + STATEMENTS.len(), "{there}");
            Ok(keeps)
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
        let other = store.reader().await.unwrap();
        for _ in 0..3 {
            assert!(!run(&other, 7).await.unwrap(), "nor on another connection");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_is_the_same_with_kept_statements() {
        if !there_is_a_server() {
            return;
        }
        let database = Postgres::default();
        let store = store_at(database.config(), &database).await;
        let connection = store.reader().await.unwrap();
        let name = database.name();
        database.run_inside(&format!("ALTER DATABASE {name} SET statement_timeout = '7min'"));
        let settings = "SELECT concat_ws(' ', current_setting('transaction_isolation'), current_setting('statement_timeout'),
                               current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'))";
        let locks = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
        let mut seen = Vec::new();
        for _ in 0..4 {
            run(&connection, 7).await.unwrap();
            connection.begin("").await.unwrap();
            let settings = connection.query(settings, &[]).await.unwrap();
            let locks = connection.query(locks, &[]).await.unwrap().len();
            seen.push((settings[0].get::<_, String>(0), locks));
            connection.roll_back().await.unwrap();
        }
        assert!(connection.session_keeps_statements());
        assert_eq!(seen, vec![("read committed 4s 3s 8s".to_owned(), 1); 4]);

        // As whoever moves the installation elsewhere.
        database.run_inside("UPDATE respoked.meta SET value = value || 'moved'::bytea WHERE key = 'lineage'");
        assert!(matches!(run(&connection, 7).await, Err(Failure::Lost(_))));
        assert!(connection.is_broken());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_a_statement_cannot_be_kept_none_is_and_all_goes_on() {
        if !there_is_a_server() {
            return;
        }
        let database = Postgres::default();
        let store = store_at(database.config(), &database).await;
        let connection = store.reader().await.unwrap();
        for nth in 1..5 {
            connection.begin("").await.unwrap();
            let kept = connection.keep(NONE).await;
            assert_eq!(matches!(kept, Err(Failure::Again(_))), nth == SEEN_MIN, "transaction {nth}: {kept:?}");
            connection.roll_back().await.unwrap();
        }
        assert!(!connection.session_keeps_statements());
    }

    /// A name means something in each session, and another node gives the same ones.
    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_closes_what_another_keeps() {
        let Some(pooler) = POOLER.clone() else { return };
        let database = Postgres::default();
        let store = store_at(pooler.clone(), &database).await;
        let (connection, other) = (store.reader().await.unwrap(), store.reader().await.unwrap());
        for _ in 0..3 {
            run(&connection, 7).await.unwrap();
        }
        let kept = "SELECT name, statement FROM pg_prepared_statements ORDER BY prepare_time";
        connection.begin("").await.unwrap();
        let names = connection.query(kept, &[]).await.unwrap();
        // Another program has the next session, and gives the same names there.
        other.begin("").await.unwrap();
        for row in &names {
            other.batch(&format!("PREPARE {} AS SELECT 'another'", row.get::<_, &str>(0))).await.unwrap();
        }
        connection.roll_back().await.unwrap();
        // The pooler gives what came back last: that of the other program.
        other.roll_back().await.unwrap();
        assert!(matches!(run(&connection, 7).await, Err(Failure::Again(_))));
        run(&connection, 7).await.unwrap();
        other.begin("").await.unwrap();
        assert_eq!(other.query(kept, &[]).await.unwrap().len(), names.len());
        other.roll_back().await.unwrap();
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
