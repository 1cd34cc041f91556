//! Connections to PostgreSQL, as everybody uses them. `connector.rs` makes them.
//!
//! Invariant: every wait for the server ends. Who waited too long has a connection that is of no use any more: what its
//! statement does there, nobody knows. It is closed, and the server looks now and then whether those that it works for are
//! still there (`connector.rs`). No statement is ever cancelled, as a commit that is cancelled may be seen and then be lost.
//! Invariant: nothing is kept in the server's session that anything depends on (no settings, no named statements, no locks beyond
//! a transaction), so that a pooler may give each transaction another one.
//! Invariant: whoever goes away in the middle of a statement leaves a connection that says so. Nobody else's statement stands
//! behind that one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::failure::Failure;
#[cfg(test)]
use super::plans;

/// How long the server is waited for. Tests wait less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For each address that is connected to; twice that for all of them and the greeting.
    pub(crate) connect: Duration,
    /// For an answer to a statement.
    pub(crate) answer: Duration,
    /// For an answer to a commit: whoever gives up does not know what came of it.
    pub(crate) commit: Duration,
    /// For an operation that is tried again: callers hear in time that the database cannot be reached.
    pub(crate) again: Duration,
    /// For one's turn, where others come first.
    pub(crate) turn: Duration,
    /// After which the server notices that a connection is gone for which it still works.
    pub(crate) notice: Duration,
}

impl Patience {
    pub(super) const DEFAULT: Self = Self {
        connect: Duration::from_secs(3),
        answer: Duration::from_secs(5),
        commit: Duration::from_secs(10),
        again: Duration::from_secs(5),
        turn: Duration::from_secs(5),
        notice: Duration::from_secs(2),
    };
}

impl Default for Patience {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Begins a transaction that stands on no setting of the server, the database or the role.
///
/// - What locks a row and then looks anew has to see what was committed meanwhile.
/// - A node that is stopped in a transaction holds its locks for eight seconds at most, and nobody waits for a lock so long that
///   the answer is given up.
/// - No time-out ends a commit: one that waits for a standby and is cancelled may be seen and then be lost.
/// - It holds a lock that all of them share, so that whoever looks which are under way knows them (`settled.rs`).
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '8s'; \
                                SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = 0; ";

/// What every transaction locks together with all others. Nobody ever has it alone.
pub(super) const UNDER_WAY: i64 = i64::from_be_bytes(*b"underway");

/// A value of a statement, with its type: the server is not asked for it.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// What became of the task that drives a connection.
pub(super) type Driven = Result<(), tokio_postgres::Error>;

/// A connection. Whoever drops it ends it, and with it what was not committed on it.
pub(super) struct Connection {
    client: Client,
    driver: Driver,
    /// Whether a transaction is open.
    is_open: AtomicBool,
    /// Whether a statement of that failed: the server would answer its commit and roll it back.
    has_failed: AtomicBool,
    patience: Patience,
    /// Whether the plans of its statements are looked at.
    #[cfg(test)]
    is_looked_at: bool,
}

/// The task that drives a connection and has its socket. By itself it ends when the client is gone and all was answered.
struct Driver {
    task: JoinHandle<Driven>,
    /// Whether nothing more can be done with the connection.
    is_broken: AtomicBool,
    /// Whether somebody went away before a statement was answered.
    is_left: AtomicBool,
}

impl Driver {
    /// Closes the socket if answers may be outstanding, which the server might take any time to give.
    fn hang_up(&self) {
        if self.is_broken.load(Ordering::Relaxed) || self.is_left.load(Ordering::Relaxed) {
            self.task.abort();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl Connection {
    pub(super) const fn of(
        client: Client,
        task: JoinHandle<Driven>,
        patience: Patience,
        #[cfg(test)] is_looked_at: bool,
    ) -> Self {
        Self {
            client,
            driver: Driver { task, is_broken: AtomicBool::new(false), is_left: AtomicBool::new(false) },
            is_open: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            patience,
            #[cfg(test)]
            is_looked_at,
        }
    }

    /// Whether nothing more can be done with it.
    pub(super) fn is_broken(&self) -> bool {
        self.driver.is_broken.load(Ordering::Relaxed) || self.client.is_closed()
    }

    /// Whether something is under way on it: a transaction, or a statement of somebody who went away.
    pub(super) fn is_unfinished(&self) -> bool {
        self.is_open.load(Ordering::Relaxed) || self.driver.is_left.load(Ordering::Relaxed)
    }

    /// Makes it of no use any more.
    pub(super) fn give_up(&self) {
        self.driver.is_broken.store(true, Ordering::Relaxed);
    }

    /// Closes it, and waits until it is closed.
    pub(super) async fn close(self) {
        let Self { client, mut driver, patience, .. } = self;
        driver.hang_up();
        drop(client);
        if tokio::time::timeout(patience.answer, &mut driver.task).await.is_err() {
            driver.task.abort();
            // Of a task that was ended there is nothing to tell.
            let _ = (&mut driver.task).await;
        }
    }

    /// Runs a statement and returns its rows. Several at once are sent one behind the other, in the order in which they are
    /// first polled, without waiting for each other's answers.
    pub(super) async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failure> {
        #[cfg(test)]
        self.look_at(sql, params).await;
        self.answered(self.patience.answer, self.client.query_typed(sql, params)).await
    }

    /// Runs a statement and says how many rows it touched.
    pub(super) async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        #[cfg(test)]
        self.look_at(sql, params).await;
        self.answered(self.patience.answer, self.client.execute_typed(sql, params)).await
    }

    #[cfg(test)]
    async fn look_at(&self, sql: &str, params: &[Param<'_>]) {
        if self.is_looked_at {
            plans::check(&self.client, sql, params).await;
        }
    }

    /// Runs statements without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        self.answered(self.patience.answer, self.client.batch_execute(sql)).await
    }

    /// Begins a transaction that writes, with statements that take its first locks, each ended by a `;`.
    pub(super) async fn begin(&self, locks: &str) -> Result<(), Failure> {
        self.is_open.store(true, Ordering::Relaxed);
        self.has_failed.store(false, Ordering::Relaxed);
        self.batch(&format!("{BEGIN}SELECT pg_advisory_xact_lock_shared({UNDER_WAY}); {locks}")).await
    }

    /// Commits the transaction. What came of it is not known if this fails with a [loss](Failure::is_a_loss).
    pub(super) async fn commit(&self) -> Result<(), Failure> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Err(Failure::Failed);
        }
        self.answered(self.patience.commit, self.client.batch_execute("COMMIT")).await?;
        self.is_open.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Rolls the transaction back.
    pub(super) async fn roll_back(&self) -> Result<(), Failure> {
        // It may be a commit that somebody went away from.
        let is_left = self.driver.is_left.load(Ordering::Relaxed);
        let patience = if is_left { self.patience.commit } else { self.patience.answer };
        self.answered(patience, self.client.batch_execute("ROLLBACK")).await?;
        self.is_open.store(false, Ordering::Relaxed);
        self.has_failed.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Ends what is under way on it, so that the next one's statements stand behind nobody's.
    pub(super) async fn finish(&self) -> Result<(), Failure> {
        if self.is_open.load(Ordering::Relaxed) {
            self.roll_back().await?;
        } else {
            // Is answered when all before it are.
            self.batch("").await?;
        }
        self.driver.is_left.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn answered<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let asked = Asked { driver: &self.driver, is_answered: false };
        let answered = tokio::time::timeout(patience, answer).await;
        asked.end();
        let answered = answered.map_or(Err(Failure::Unanswered), |answered| answered.map_err(Failure::from));
        match &answered {
            Err(failure) if failure.is_a_loss() => self.give_up(),
            Err(_) if self.is_open.load(Ordering::Relaxed) => self.has_failed.store(true, Ordering::Relaxed),
            Ok(_) | Err(_) => {}
        }
        answered
    }
}

/// A statement that is waited for.
struct Asked<'a> {
    driver: &'a Driver,
    is_answered: bool,
}

impl Asked<'_> {
    /// It was answered, or given up with its connection.
    fn end(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.driver.is_left.store(true, Ordering::Relaxed);
        }
    }
}

/// What can be bound to a statement, and as which type.
pub(super) trait Bind: ToSql + Sync {
    const TYPE: Type;
}

/// What arrays of can be bound.
pub(super) trait Element: ToSql + Sync {
    const ARRAY: Type;
}

macro_rules! bind {
    ($($type:ty: $one:ident $many:ident)*) => {$(
        impl Bind for $type {
            const TYPE: Type = Type::$one;
        }

        impl Element for $type {
            const ARRAY: Type = Type::$many;
        }
    )*};
}
bind! {
    i64: INT8 INT8_ARRAY
    bool: BOOL BOOL_ARRAY
    Uuid: UUID UUID_ARRAY
    String: TEXT TEXT_ARRAY
    &str: TEXT TEXT_ARRAY
    &[u8]: BYTEA BYTEA_ARRAY
}

impl<T: Bind> Bind for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: Element> Element for Option<T> {
    const ARRAY: Type = T::ARRAY;
}

impl<T: Element> Bind for Vec<T> {
    const TYPE: Type = T::ARRAY;
}

pub(super) fn bound<T: Bind>(value: &T) -> Param<'_> {
    (value, T::TYPE)
}

/// The values of a statement, in order.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::postgres::connect::bound(&$value)),*] };
}
pub(super) use params;
