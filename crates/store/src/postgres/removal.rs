//! Transactions that remove what is dead.
//!
//! Invariant: none of them waits long for a row that another holds, be it a node that hangs: it is left for the next pass.

use respoke_core::ports::StoreError;

use super::connect::Param;
use super::failure::Failure;
use super::store::PostgresStore;
use super::write::{Write, in_transaction};

/// How long a removal waits for a row that another holds. Whoever is not hanging is done by then.
const PATIENCE: &str = "SET LOCAL lock_timeout = '200ms'";

impl PostgresStore {
    /// Runs statements that remove rows, as one transaction. Says how many rows they touched; none: another held one of them
    /// for long, and all are left.
    pub(super) async fn remove(&self, statements: &[&str], params: &[Param<'_>]) -> Result<Option<u64>, StoreError> {
        in_transaction!(self, write => {
            let ran = async {
                impatient(write).await?;
                let mut removed = 0;
                for sql in statements {
                    removed += write.execute(sql, params).await?;
                }
                Ok(removed)
            };
            unless_held(write, ran.await).await
        })
    }
}

/// Has the statements of a transaction that follow wait for no row for long.
pub(super) async fn impatient(write: &Write) -> Result<(), Failure> {
    write.batch(PATIENCE).await
}

/// What a transaction removed; none: it waited for a row as long as it may, and is rolled back.
pub(super) async fn unless_held<T>(write: &Write, ran: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match ran {
        Err(failure) if failure.is_of_one_held_row() => write.take_back().await.map(|()| None),
        ran => ran.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use respoke_core::ports::{Store, TokenStore as _};

    use crate::contract::fixture::{NOW, World, opened};
    use crate::contract::postgres::{Postgres, there_is_a_server};
    use crate::contract::upkeep_cases::{upkeep_at, whole_pass};
    use crate::postgres::connect::params;
    use crate::postgres::rows::stored;

    /// Else upkeep would remove nothing, and say that it did.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_statement_that_takes_too_long_is_not_taken_for_one_that_waits() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let store = fixture.store().await;
        let write = store.begin().await.unwrap();
        write.batch("SET LOCAL statement_timeout = 10").await.unwrap();
        let ran = write.execute("SELECT pg_sleep(5)", &[]).await;
        assert!(super::unless_held(&write, ran).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_another_holds_is_left_for_the_next_pass() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let (store, other) = (fixture.store().await, fixture.store().await);
        let world = World::new(store.clone() as Arc<dyn Store>).await;
        let spent = world.mint("alice").await;
        opened(world.redeem(&spent).await);
        world.mint("alice").await;
        // As a node does that hangs.
        let held = other.begin().await.unwrap();
        let sql = "SELECT 1 FROM respoked.log WHERE number = $1 FOR UPDATE";
        held.query(sql, params![stored(spent.number)]).await.unwrap();
        let late = upkeep_at(NOW.plus_secs(120));
        assert_eq!(whole_pass(&world, late).await.0, 0);
        assert!(store.token(spent.number).await.unwrap().is_some());
        drop(held);
        // The server ends the other transaction when it sees its connection closed.
        while store.token(spent.number).await.unwrap().is_some() {
            whole_pass(&world, late).await;
        }
    }
}
