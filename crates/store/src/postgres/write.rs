//! Transactions of one operation each.
//!
//! Locks are taken in one order, so that no two wait for each other: the app's mint lock, then rows (of accounts, apps,
//! roles, secrets, admins, endpoints, the log, sessions, groups, push tokens, messages, nodes; each in the order of its keys), then
//! what an app keeps, by the triggers that count it, and last the feed's row. A mark is the number of its change: so its row
//! is locked before the feed's, and written after.
//!
//! Invariant: a transaction that fails before its commit was asked for wrote nothing. One whose commit was asked for and not
//! answered is in doubt.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use respoke_core::clock::Timestamp;
use respoke_core::id::AppId;
use respoke_core::ports::Change;
use uuid::Uuid;

use super::connect::{Connection, params};
use super::failure::Failure;
use super::feed_rows;
use super::pool::{Errand, Lent};
use super::rows::mint_lock;
use super::store::PostgresStore;
use super::tries::Undone;
use crate::crash::CrashPoint;

/// An open transaction. Dropped, it is rolled back.
pub(super) struct Write {
    lent: Lent,
    /// Whether it was taken back: there is nothing to commit.
    is_taken_back: AtomicBool,
}

impl Deref for Write {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.lent
    }
}

impl Write {
    /// Takes back what it did. It is committed as one that did nothing.
    pub(super) async fn take_back(&self) -> Result<(), Failure> {
        self.roll_back().await?;
        self.is_taken_back.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until no mint in `app` is under way, and keeps others waiting until the end. What takes away what mints stand on
    /// does this first: so nothing is minted behind it.
    pub(super) async fn hold_mints(&self, app: AppId) -> Result<(), Failure> {
        self.execute("SELECT pg_advisory_xact_lock($1)", params![mint_lock(app)]).await.map(drop)
    }

    /// The same of several apps. Whoever waits for more than one of these locks takes them in one order.
    pub(super) async fn hold_all_mints(&self, apps: &[Uuid]) -> Result<(), Failure> {
        let locks: BTreeSet<i64> = apps.iter().map(|app| mint_lock(AppId::from_uuid(*app))).collect();
        let sql = "SELECT pg_advisory_xact_lock(l) FROM unnest($1::bigint[]) WITH ORDINALITY n (l, nth) ORDER BY nth";
        self.execute(sql, params![Vec::from_iter(locks)]).await.map(drop)
    }

    /// Writes the next change of the feed and returns its number. Others who change something wait from now on until the end.
    pub(super) async fn change(&self, what: Option<&Change>, at: Timestamp) -> Result<i64, Failure> {
        feed_rows::write(self, what, at).await
    }
}

/// Runs a body in a transaction: `in_transaction!(store, write => { … Ok(value) })`. The body may use `?` on what fails with
/// [`Failure`], and is run again when another transaction was in the way. It is no closure, because one that borrows what is
/// around it and gives a future that other threads may run cannot be written.
macro_rules! in_transaction {
    ($store:expr, $write:ident => $body:block) => {
        $crate::postgres::write::in_transaction!($crate::postgres::pool::Errand::Transaction, $store, $write => $body)
    };
    ($errand:expr, $store:expr, $write:ident => $body:block) => {{
        let mut tries = $crate::postgres::tries::Tries::within($store.patience);
        loop {
            let once = async {
                let begun =
                    $store.begin_on(&$errand).await.map_err($crate::postgres::tries::Undone::NothingWritten)?;
                let $write = &begun;
                let ran: Result<_, $crate::postgres::failure::Failure> = async { $body }.await;
                match ran {
                    Ok(value) => $store.commit($write).await.map(|()| value),
                    Err(failure) => Err($store.roll_back($write, failure).await),
                }
            };
            match once.await {
                Ok(value) => break Ok(value),
                Err(undone) => {
                    if let Err(undone) = tries.once_more(undone, &*$store.chance, &$store.figures).await {
                        break Err(undone.told());
                    }
                }
            }
        }
    }};
}
pub(super) use in_transaction;

/// The same for what ends something: it waits behind none but its like, however many lists and look-ups there are.
macro_rules! in_ending_transaction {
    ($store:expr, $write:ident => $body:block) => {
        $crate::postgres::write::in_transaction!($crate::postgres::pool::Errand::Ending, $store, $write => $body)
    };
}
pub(super) use in_ending_transaction;

impl PostgresStore {
    #[cfg(test)]
    pub(super) async fn begin(&self) -> Result<Write, Failure> {
        self.begin_on(&Errand::Transaction).await
    }

    pub(super) async fn begin_on(&self, errand: &Errand) -> Result<Write, Failure> {
        let lent = self.pool.lend(errand).await?;
        lent.begin("").await?;
        Ok(Write { lent, is_taken_back: AtomicBool::new(false) })
    }

    pub(super) async fn commit(&self, write: &Write) -> Result<(), Undone> {
        if write.is_taken_back.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.crash.is_at(CrashPoint::BeforeCommit) {
            self.stop();
            return Err(Undone::NothingWritten(Failure::Overloaded));
        }
        let committed = write.commit().await;
        if self.crash.is_at(CrashPoint::AfterCommit) {
            self.stop();
            return Err(Undone::InDoubt(Failure::lost("a test cut the connection")));
        }
        committed.map_err(Undone::of_commit)
    }

    pub(super) async fn roll_back(&self, write: &Write, failure: Failure) -> Undone {
        if !write.is_broken() && write.is_unfinished() && write.lent.roll_back().await.is_err() {
            write.give_up();
        }
        Undone::NothingWritten(failure)
    }
}

#[cfg(test)]
mod tests {
    use crate::contract::postgres::{Postgres, there_is_a_server};
    use crate::postgres::{Options, PostgresStore};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_stands_on_no_setting_of_the_role() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let mut config = fixture.config();
        config.options("-c default_transaction_isolation=serializable -c statement_timeout=9s -c lock_timeout=0");
        let store = PostgresStore::open(Options::of(config)).await.unwrap();
        let write = store.begin().await.unwrap();
        let sql =
            "SELECT concat_ws(', ', current_setting('transaction_isolation'), current_setting('statement_timeout'),
                          current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'))";
        let found: String = write.query(sql, &[]).await.unwrap()[0].get(0);
        assert_eq!(found, "read committed, 4s, 3s, 8s");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_server_looks_for_machines_that_are_gone() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let store = fixture.store().await;
        let sql = "SELECT concat_ws(' ', current_setting('tcp_keepalives_idle'), current_setting('tcp_keepalives_interval'),
                                    current_setting('tcp_keepalives_count'), current_setting('client_connection_check_interval', true))";
        let rows = store.reader().await.unwrap().query(sql, &[]).await.unwrap();
        assert!(rows[0].get::<_, &str>(0).starts_with("10 10 3"), "{rows:?}");
    }
}
