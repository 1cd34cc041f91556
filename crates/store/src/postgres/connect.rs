//! Connections to PostgreSQL, as everybody uses them. `connector.rs` makes them.
//!
//! Invariant: every wait for the server ends. Who waited too long has a connection that is of no use any more: what its
//! statement does there, nobody knows. It is closed, and the server looks now and then whether those that it works for are
//! still there (`connector.rs`). Only on a commit it does not look: there the connection stays until it is answered
//! (`driver.rs`). No commit is ever cancelled: it may be seen and then be lost.
//! Invariant: nothing is kept in the server's session that anything depends on (no settings, no locks beyond a transaction), so that a
//! pooler may give each transaction another one. Statements are kept where a session turned out to be the connection's own
//! (`own_session.rs`, and for the carrier `carrier/repeated.rs`).
//! Invariant: whoever goes away in the middle of a statement leaves a connection that says so. Nobody else's statement stands
//! behind that one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, Statement};

use super::bind::values;
use super::deeds::{Deed, Redeemed, Taken};
use super::driver::{Closing, Driver};
use super::failure::Failure;
use super::journal::is_between;
use super::lineage::{ASK, ASK_SERVER, Confirmed, Line, SESSION_COLUMN, Told, session_in};
use super::own_session::{Keepable, OwnSession};
#[cfg(test)]
use super::plans;

pub(super) use super::bind::{Param, params};
pub(crate) use super::patience::Patience;

/// Begins a transaction that stands on no setting of the server, the database or the role.
///
/// - What locks a row and then looks anew has to see what was committed meanwhile.
/// - A node that is stopped in a transaction holds its locks for eight seconds at most, and nobody waits for a lock so long that
///   the answer is given up. Nor for several that one statement takes: its own time-out follows here. (Statements that are sent
///   one behind the other each have that time, and may be given up together before it is over.) No time-out ends a commit,
///   as one that waits for a standby and is cancelled may be seen and then be lost: the server counts no statement's time while
///   it commits.
/// - It holds a lock that all of them share, so that whoever looks which are under way knows them (`settled.rs`).
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// Its settings, with the milliseconds after which a statement ends, as text; and [`UNDER_WAY`].
macro_rules! settle {
    ($($more:tt)*) => {
        concat!(
            "SELECT set_config('idle_in_transaction_session_timeout', '8s', true), set_config('lock_timeout', '3s', true), \
             set_config('statement_timeout', $1, true), ",
            $($more)*
            "pg_advisory_xact_lock_shared($2)"
        )
    };
}
/// Settings by which the server finds rows by indexes, one by one, however little it holds when it plans a statement. What it does
/// all the same is then taken to cost so much that it would be compiled.
macro_rules! by_indexes {
    () => {
        "set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), \
         set_config('enable_mergejoin', 'off', true), set_config('enable_material', 'off', true), set_config('jit', 'off', true)"
    };
}
const SETTLE: &str = settle!();
/// The same where the server keeps statements.
const SETTLE_KEPT: &str = settle!(by_indexes!(), ", ",);
const BY_INDEXES: &str = concat!("SELECT ", by_indexes!());
/// What the server keeps of each transaction that begins.
pub(super) const BEGINNING: &[Keepable] =
    &[Keepable { sql: SETTLE_KEPT, types: &[Type::TEXT, Type::INT8] }, Keepable { sql: ASK, types: &[] }];

/// What every transaction locks together with all others. Nobody ever has it alone.
pub(super) const UNDER_WAY: i64 = i64::from_be_bytes(*b"underway");

/// How long an answer to a statement is waited for that may touch all rows of a table. A table of some ten million rows takes minutes;
/// who gives up earlier begins anew, and is never done.
const LONG_ANSWER_TIMEOUT: Duration = Duration::from_secs(1800);
/// The era of transactions that no journal keeps.
const UNKEPT: u64 = u64::MAX;

/// Begins a transaction whose statements end after a time, unless that is zero, and takes its first locks.
fn beginning(locks: &str, statement: Duration) -> String {
    let millis = format!("'{}'", statement.as_millis());
    let settle = SETTLE.replace("$1", &millis).replace("$2", &UNDER_WAY.to_string());
    format!("{BEGIN}; {settle}; {locks}")
}

/// A connection. Whoever drops it ends it, and with it what was not committed on it.
pub(super) struct Connection {
    client: Client,
    driver: Driver,
    /// Whether a transaction is open.
    is_open: AtomicBool,
    /// Whether a statement of that failed: the server would answer its commit and roll it back.
    has_failed: AtomicBool,
    patience: Patience,
    /// Where it writes. None: anywhere.
    line: Option<Arc<Line>>,
    session: OwnSession,
    /// What its transaction takes away.
    taken: Mutex<Taken>,
    /// When that began, by the count of the journal that it goes into.
    era: AtomicU64,
    /// When it was last found to lead where the line goes on.
    confirmed: Mutex<Option<Confirmed>>,
    /// Whether the plans of its statements are looked at.
    #[cfg(test)]
    is_looked_at: bool,
}

impl Connection {
    /// One that writes only where `line` goes on; none: anywhere.
    pub(super) fn of(
        client: Client,
        driver: Driver,
        patience: Patience,
        line: Option<Arc<Line>>,
        #[cfg(test)] is_looked_at: bool,
    ) -> Self {
        let session = OwnSession::of(line.as_ref().map(|line| line.sessions_are_shared.clone()).unwrap_or_default());
        Self {
            client,
            driver,
            is_open: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            patience,
            line,
            session,
            taken: Mutex::default(),
            era: AtomicU64::new(UNKEPT),
            confirmed: Mutex::default(),
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

    /// Closes it, and waits until it is closed: if a commit is not answered, until it is.
    pub(super) async fn close(self) {
        self.into_closing().closed().await;
    }

    /// Begins to close it.
    pub(super) fn into_closing(self) -> Closing {
        // Without the client, the task ends when all is answered.
        Closing::of(self.driver, self.patience.answer)
    }

    /// Notes that nobody waits any more for a commit on it that is not answered.
    pub(super) fn note_moved(&mut self) {
        self.driver.moves.mark_changed();
    }

    /// Notes that it leads where the database is now.
    pub(super) fn note_current(&mut self) {
        self.driver.moves.mark_unchanged();
    }

    /// Runs a statement and returns its rows. Several at once are sent one behind the other, in the order in which they are
    /// first polled, without waiting for each other's answers.
    pub(super) async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failure> {
        #[cfg(test)]
        self.look_at(sql, params).await;
        let kept = self.session.kept(sql);
        let answer = async {
            match &kept {
                Some(kept) => self.client.query(kept, &values(params)).await,
                None => self.client.query_typed(sql, params).await,
            }
        };
        let rows = self.answered(self.patience.answer, answer).await;
        rows.map_err(|failure| if kept.is_some() { self.session.of_kept(failure) } else { failure })
    }

    /// Has the server keep statements for the connection, if its session turned out to be the connection's own. To be called in a
    /// transaction.
    pub(super) async fn keep(&self, statements: &'static [Keepable]) -> Result<(), Failure> {
        let due = self.session.due(BEGINNING.iter().chain(statements));
        if !due.is_empty() {
            self.batch(BY_INDEXES).await?;
        }
        for Keepable { sql, types } in due {
            #[cfg(test)]
            if self.is_looked_at {
                plans::check_kept(&self.client, sql, types).await;
            }
            let prepared = self.answered(self.patience.answer, self.client.prepare_typed(sql, types)).await;
            self.session.keep(sql, prepared.map_err(|failure| self.session.elsewhere(failure))?);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn session_keeps_statements(&self) -> bool {
        self.session.kept(ASK).is_some()
    }

    /// Has the server keep a statement for this connection, whose session has to be this connection's own.
    pub(super) async fn prepare(&self, sql: &str, params: &[Param<'_>]) -> Result<Statement, Failure> {
        let types: Vec<Type> = params.iter().map(|(_, kind)| kind.clone()).collect();
        self.answered(self.patience.answer, self.client.prepare_typed(sql, &types)).await
    }

    /// Runs a statement that the server keeps.
    pub(super) async fn query_prepared(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Failure> {
        self.answered(self.patience.answer, self.client.query(statement, &values(params))).await
    }

    /// Runs a statement and says how many rows it touched.
    pub(super) async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        #[cfg(test)]
        self.look_at(sql, params).await;
        let kept = self.session.kept(sql);
        let answer = async {
            match &kept {
                Some(kept) => self.client.execute(kept, &values(params)).await,
                None => self.client.execute_typed(sql, params).await,
            }
        };
        let touched = self.answered(self.patience.answer, answer).await;
        touched.map_err(|failure| if kept.is_some() { self.session.of_kept(failure) } else { failure })
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

    /// The same of a statement that may touch all rows of a table.
    pub(super) async fn execute_patiently(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        self.answered(LONG_ANSWER_TIMEOUT, self.client.execute_typed(sql, params)).await
    }

    /// Begins a transaction that writes, with statements that take its first locks, each ended by a `;`.
    ///
    /// Which server it is on is asked in the same packet: a pooler may give each transaction another one.
    pub(super) async fn begin(&self, locks: &str) -> Result<(), Failure> {
        let Some(line) = &self.line else {
            self.note_open();
            return self.batch(&beginning(locks, self.statement_time())).await;
        };
        self.taken.lock().clear();
        let era = line.journal.era();
        if is_between(era) {
            self.give_up();
            return Err(Failure::lost(
                "the database was promoted, and what was ended lately is being ended there again",
            ));
        }
        self.era.store(era, Ordering::Relaxed);
        let confirming = line.confirming();
        self.begun(locks, self.statement_time(), |told| line.may_write(told)).await?;
        self.note_confirmed(confirming);
        Ok(())
    }

    /// The same of one of which the journal hears nothing, on a server that is told by where it stands. Its statements may take
    /// as long as they are waited for.
    pub(super) async fn begin_where(
        &self,
        locks: &str,
        may: impl FnOnce(&Told) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.era.store(UNKEPT, Ordering::Relaxed);
        self.begun(locks, Duration::ZERO, may).await
    }

    async fn begun(
        &self,
        locks: &str,
        statement: Duration,
        may: impl FnOnce(&Told) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.note_open();
        let (told, session) = match (self.session.kept(SETTLE_KEPT), self.session.kept(ASK)) {
            (Some(settle), Some(ask)) => self.told_by_kept(&settle, &ask, locks, statement).await?,
            (None, _) | (_, None) => {
                let sql = format!("{}{ASK}", beginning(locks, statement));
                let said = self.answered(self.patience.answer, self.client.simple_query(&sql)).await?;
                (Told::of(&said), session_in(&said).map(str::to_owned))
            }
        };
        self.session.begun_in(session)?;
        let may = match told {
            Ok(told) => may(&told),
            // It said that it is not to be used.
            Err(failure) if failure.is_a_loss() => Err(failure),
            Err(failure) => return Err(failure),
        };
        if may.is_err() {
            self.give_up();
        }
        may
    }

    /// Begins a transaction and asks where the server stands, by statements that it keeps for that. In another session anything may be
    /// answered instead.
    async fn told_by_kept(
        &self,
        settle: &Statement,
        ask: &Statement,
        locks: &str,
        statement: Duration,
    ) -> Result<(Result<Told, Failure>, Option<String>), Failure> {
        let millis = statement.as_millis().to_string();
        let settings = params![millis, UNDER_WAY];
        let locked = async { if locks.is_empty() { Ok(()) } else { self.batch(locks).await } };
        // Sent one behind the other.
        let (begun, settled, locked, rows) = tokio::join!(
            biased;
            self.batch(BEGIN),
            self.query_prepared(settle, settings),
            locked,
            self.query_prepared(ask, &[]),
        );
        begun?;
        let elsewhere = |failure| self.session.elsewhere(failure);
        settled.map_err(elsewhere)?;
        locked?;
        let rows = rows.map_err(elsewhere)?;
        let told = rows.first().and_then(|row| Some((Told::of_row(row), row.try_get(SESSION_COLUMN).ok()?)));
        told.ok_or_else(|| self.session.answered_otherwise())
    }

    /// After which the server ends a statement of a transaction: before its answer is given up, and with it the connection.
    fn statement_time(&self) -> Duration {
        self.patience.answer * 4 / 5
    }

    fn note_open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
        self.has_failed.store(false, Ordering::Relaxed);
    }

    /// Asks where the server stands, and what was settled in its database.
    pub(super) async fn told(&self) -> Result<Told, Failure> {
        self.ask(ASK).await
    }

    /// Asks where the server stands, whatever is in its database.
    pub(super) async fn told_of_server(&self) -> Result<Told, Failure> {
        self.ask(ASK_SERVER).await
    }

    async fn ask(&self, sql: &str) -> Result<Told, Failure> {
        Told::of(&self.answered(self.patience.answer, self.client.simple_query(sql)).await?)
    }

    /// Notes that it leads where the line goes on.
    pub(super) fn note_confirmed(&self, confirmed: Confirmed) {
        *self.confirmed.lock() = Some(confirmed);
    }

    /// Whether it led a moment ago where the line goes on.
    pub(super) fn is_confirmed(&self, line: &Line) -> bool {
        self.confirmed.lock().is_some_and(|confirmed| line.holds(confirmed))
    }

    /// Whether it notices that the database goes on elsewhere.
    pub(super) const fn notices_promotions(&self) -> bool {
        self.line.is_some()
    }

    /// Notes what the transaction takes away, so that this can be done again if it is lost.
    pub(super) fn takes_away(&self, deed: Deed) {
        if self.line.is_some() {
            self.taken.lock().deeds.push(deed);
        }
    }

    /// Notes tokens that the transaction spends.
    pub(super) fn redeems(&self, redeemed: impl Iterator<Item = Redeemed>) {
        if self.line.is_some() {
            self.taken.lock().redeemed.extend(redeemed);
        }
    }

    /// Notes the newest change of the transaction.
    pub(super) fn note_change(&self, number: i64) {
        self.taken.lock().change = Some(number);
    }

    /// Notes the newest numbers of what the transaction gives to others.
    pub(super) fn note_given(&self, log: u64, session: u64) {
        if let Some(line) = &self.line {
            line.given.log.fetch_max(log, Ordering::Relaxed);
            line.given.session.fetch_max(session, Ordering::Relaxed);
        }
    }

    /// Commits the transaction. What came of it is not known if this fails with a [loss](Failure::is_a_loss).
    pub(super) async fn commit(&self) -> Result<(), Failure> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Err(Failure::Failed);
        }
        self.driver.is_committing.store(true, Ordering::Relaxed);
        let unanswered = Unanswered(self);
        let committed = self.answered(self.patience.commit, self.client.batch_execute("COMMIT")).await;
        if committed.as_ref().map_or_else(Failure::rolls_a_commit_back, |()| true) {
            unanswered.forget();
        } else {
            drop(unanswered);
        }
        if !committed.as_ref().is_err_and(Failure::is_a_loss) {
            self.driver.is_committing.store(false, Ordering::Relaxed);
        }
        committed?;
        self.is_open.store(false, Ordering::Relaxed);
        let era = self.era.load(Ordering::Relaxed);
        match &self.line {
            Some(line) if era != UNKEPT && !line.journal.keep(&mut self.taken.lock(), era) => {
                line.see_to_late();
                self.give_up();
                Err(Failure::lost("the server was left behind while a transaction was committed there"))
            }
            Some(_) | None => Ok(()),
        }
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
        self.driver.is_committing.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn answered<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let asked = self.driver.asked();
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

/// A commit of which nobody knows what came. Dropped, what its transaction takes away is kept: it may be committed all the same, and
/// whoever repeats it is then told that it is over already.
struct Unanswered<'a>(&'a Connection);

impl Unanswered<'_> {
    fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let era = self.0.era.load(Ordering::Relaxed);
        if let Some(line) = &self.0.line
            && era != UNKEPT
        {
            line.journal.keep_in_doubt(&mut self.0.taken.lock(), era);
            line.see_to_late();
        }
    }
}
