//! What is still under way.
//!
//! A number is given before its row is committed, and what a token or session stands on is read before it is there. So a walk
//! may pass a number, or find that nothing needs a mark, while a transaction is still to commit a row of that number, or one
//! that the mark ends. Whoever begins a walk waits for those that were under way when it looked: what begins behind that
//! gets higher numbers, and is born after every mark that was seen.
//!
//! They are known by a lock that every transaction of every node takes first (`connect.rs`): not by names, which poolers change
//! and which the server shows to few. Those of a dump or of a forgotten console have it not: they write nothing here, and would
//! keep everybody waiting.
//!
//! Invariant: no transaction that writes takes a number, or reads what something stands on, before it has that lock.

use std::time::Duration;

use respoke_core::ports::StoreError;

use super::connect::{UNDER_WAY, params};
use super::rows::Columns;
use super::store::PostgresStore;

/// How long is waited: a batch takes milliseconds. Then one node hangs, and the next pass will do.
const LOOKS: u32 = 25;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The lock in the server's list. A number of eight bytes stands there in two halves.
macro_rules! of_the_lock {
    () => {
        "FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1
         AND (l.classid::bigint << 32 | l.objid::bigint) = $1
         AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())"
    };
}

/// The log's newest number, and then who is under way.
const LOOK: &str = concat!(
    "SELECT (SELECT coalesce(max(number), 0) FROM respoked.log), ARRAY(SELECT l.virtualtransaction ",
    of_the_lock!(),
    ")"
);
const STILL: &str = concat!("SELECT 1 ", of_the_lock!(), " AND l.virtualtransaction = ANY($2) LIMIT 1");

impl PostgresStore {
    /// Waits until whatever was under way when this was called has ended. Returns the number up to which nothing comes into
    /// the log any more. None: it did not end in time.
    pub(super) async fn settled(&self) -> Result<Option<i64>, StoreError> {
        let read = |columns: &mut Columns<'_>| Ok((columns.next::<i64>()?, columns.next::<Vec<String>>()?));
        let found = self.read_one(LOOK, params![UNDER_WAY], read).await?;
        let (newest, under_way) = found.ok_or(StoreError::Corrupt("a look at what is under way has no row"))?;
        if under_way.is_empty() {
            return Ok(Some(newest));
        }
        for _ in 0..LOOKS {
            if self.read(STILL, params![UNDER_WAY, under_way]).await?.is_empty() {
                return Ok(Some(newest));
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::audit::Action;
    use respoke_core::ports::AuditStore as _;
    use tokio_postgres::NoTls;

    use crate::contract::fixture::entry;
    use crate::contract::postgres::{Postgres, there_is_a_server};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_under_way_is_waited_for_and_a_forgotten_console_is_not() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let (here, there) = (fixture.store().await, fixture.store().await);
        let (console, connection) = fixture.config().connect(NoTls).await.unwrap();
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(connection);
        console.batch_execute("BEGIN; SELECT count(*) FROM respoked.log").await.unwrap();
        here.audit(entry(Action::AppUpdated)).await.unwrap();
        assert_eq!(here.settled().await.unwrap(), Some(1));

        let write = there.begin().await.unwrap();
        // As poolers do, each in its way.
        write.batch("SET LOCAL application_name = 'respoked - 192.0.2.7:4711'").await.unwrap();
        let sql = "INSERT INTO respoked.log (at, action) VALUES (0, 1)";
        write.execute(sql, &[]).await.unwrap();
        here.audit(entry(Action::AppUpdated)).await.unwrap();
        assert_eq!(here.settled().await.unwrap(), None, "a lower number is to come");
        there.commit(&write).await.unwrap();
        assert_eq!(here.settled().await.unwrap(), Some(3));
    }
}
