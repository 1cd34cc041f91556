//! A statement that is run over and over on one connection.

use tokio_postgres::{Row, Statement};

use super::super::connect::{Connection, Param};
use super::super::failure::Failure;

/// One that the server keeps for the connection, if it can: to understand and to plan such a short statement anew costs as much as to
/// run it.
///
/// A pooler in transaction mode leads to a session that does not know it, or knows another one by its name. So it is kept only
/// while the node can be woken: such a pooler passes no notification on.
pub(super) struct Repeated {
    sql: &'static str,
    kept: Option<Statement>,
    /// Whether it failed on this connection, so that it is not kept any more.
    has_failed: bool,
}

impl Repeated {
    pub(super) const fn new(sql: &'static str) -> Self {
        Self { sql, kept: None, has_failed: false }
    }

    /// Runs it. `may_keep` says whether the connection has a session of its own.
    pub(super) async fn query(
        &mut self,
        connection: &Connection,
        may_keep: bool,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Failure> {
        if !may_keep || self.has_failed {
            return connection.query(self.sql, params).await;
        }
        let asked = match &self.kept {
            Some(kept) => connection.query_prepared(kept, params).await,
            None => match connection.prepare(self.sql, params).await {
                Ok(statement) => connection.query_prepared(self.kept.insert(statement), params).await,
                Err(failure) => Err(failure),
            },
        };
        if asked.is_err() {
            // It may be why: then the next one succeeds.
            self.has_failed = true;
            self.kept = None;
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::connect::params;
    use super::super::super::store::PostgresStore;
    use super::*;
    use crate::PostgresOptions;
    use crate::contract::postgres::{Postgres, there_is_a_server};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_is_kept_if_it_may_be_and_sent_anew_once_the_server_does_not_know_it() {
        if !there_is_a_server() {
            return;
        }
        let database = Postgres::default();
        let store = PostgresStore::open(PostgresOptions::of(database.config())).await.unwrap();
        let connection = store.reader().await.unwrap();
        let kept = async || connection.query("SELECT name FROM pg_prepared_statements", &[]).await.unwrap().len();
        let mut repeated = Repeated::new("SELECT $1");
        for (may_keep, is_kept) in [(false, 0), (true, 1), (true, 1), (false, 1)] {
            let rows = repeated.query(&connection, may_keep, params![7_i64]).await.unwrap();
            assert_eq!((rows[0].get::<_, i64>(0), kept().await), (7, is_kept), "{may_keep}");
        }
        connection.batch("DEALLOCATE ALL").await.unwrap();
        assert!(repeated.query(&connection, true, params![7_i64]).await.is_err());
        let rows = repeated.query(&connection, true, params![8_i64]).await.unwrap();
        assert_eq!((rows[0].get::<_, i64>(0), kept().await), (8, 0));
    }
}
