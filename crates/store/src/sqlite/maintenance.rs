//! Upkeep, a step at a time: each looks at some rows of every table and removes what is over for long enough. Also the
//! probes that ask whether the database can be written and read.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::ports::{Lease, MaintenanceStore, Node, Repair, StoreError, Upkeep};
use respoke_core::seal::Sealer;
use rusqlite::{Connection, Row, params};

use super::age::{self, Shown};
use super::failure::failure;
use super::file::{Folded, fold, open_for_writing};
use super::rows::{all, execute};
use super::walk::{REMOVE_ROWS, Reached, STEP_ROWS, Walk, readable};
use super::writer::{Write, touch};
use super::{SqliteStore, lease, log, sessions, token_rows};
use crate::age::Age;
use crate::upkeep::{Leftovers, session_over_at, token_over_at};

/// Rounds of a thousand old audit rows in one step: a token's life leaves two or three of them.
const OLD_RECORDS_ROUNDS: usize = 5;

/// The audit log, between whose rows those of tokens stand that it does not tell of any more.
const AUDIT: Shown = Shown { rows: "audit", of: "log" };

/// What one step found in one table.
struct Found {
    /// Numbers of rows that can go.
    dead: Vec<u64>,
    /// Rows that are alive.
    live: u64,
    reached: Reached,
    /// What is still left over after a look at these rows.
    leftovers: Leftovers,
}

impl Found {
    /// Behind the end of a table nothing is looked at.
    const fn at_the_end(leftovers: Leftovers) -> Self {
        Self { dead: Vec::new(), live: 0, reached: Reached::End, leftovers }
    }
}

impl SqliteStore {
    async fn dead_tokens(&self, from: Reached, upkeep: Upkeep, mut leftovers: Leftovers) -> Result<Found, StoreError> {
        let Some(after) = from.after() else { return Ok(Found::at_the_end(leftovers)) };
        let begin = self.tokens_begin.load(Ordering::Relaxed);
        let (found, begin) = self
            .readers
            .scan(move |connection| {
                // Looked at beforehand: what is minted meanwhile is numbered higher.
                let last: i64 = log::last_row(connection)?;
                let behind = begin.max(i64::try_from(after).unwrap_or(i64::MAX));
                // One that cannot be read is of no use: it keeps no walk from beginning behind it.
                let mut first = None;
                let rows = all(connection, token_rows::RANGE, params![behind, STEP_ROWS], |row| {
                    let Some((token, ground)) = readable(token_rows::read(row))? else { return skipped(row) };
                    first = first.or(Some(token.number));
                    leftovers.look_at_token(&token);
                    let lapsed = token.lapse(&ground, upkeep.now).is_some();
                    Ok((token.number, lapsed, lapsed && token_over_at(&token, upkeep.now) < upkeep.dead_before))
                })?;
                let mut found = found(&rows, leftovers);
                let begin = match first {
                    _ if after > 0 => begin,
                    Some(first) => i64::try_from(first).map_or(begin, |first| first - 1),
                    None if found.reached != Reached::End => begin,
                    None => last,
                };
                // The newest stays, as in every table, so that the walk goes on from there.
                if let Some((newest, ..)) = rows.last().filter(|_| found.reached == Reached::End) {
                    found.dead.retain(|number| number != newest);
                }
                Ok((found, begin))
            })
            .await?;
        self.tokens_begin.fetch_max(begin, Ordering::Relaxed);
        Ok(found)
    }

    async fn dead_sessions(
        &self,
        from: Reached,
        upkeep: Upkeep,
        mut leftovers: Leftovers,
    ) -> Result<Found, StoreError> {
        let Some(after) = from.after() else { return Ok(Found::at_the_end(leftovers)) };
        self.readers
            .scan(move |connection| {
                let rows = all(connection, sessions::RANGE, params![after, STEP_ROWS], |row| {
                    let Some((session, ground)) = readable(sessions::read(row))? else { return skipped(row) };
                    leftovers.look_at_session(&session);
                    let lapsed = session.lapse(&ground, upkeep.now).is_some();
                    Ok((session.number, lapsed, lapsed && session_over_at(&session, upkeep.now) < upkeep.dead_before))
                })?;
                Ok(found(&rows, leftovers))
            })
            .await
    }

    /// Removes rows one by one, some in each operation. `remove` says how many rows a key was.
    pub(super) async fn remove_each<K: Clone + Send + 'static>(
        &self,
        keys: Vec<K>,
        remove: impl Fn(&Connection, &K) -> rusqlite::Result<usize> + Copy + Send + 'static,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        for keys in keys.chunks(REMOVE_ROWS) {
            let keys = keys.to_vec();
            let remove_all =
                move |write: &Write<'_>| keys.iter().try_fold(0, |sum, key| Ok(sum + remove(write.connection, key)?));
            removed += self.writer.write(remove_all).await? as u64;
        }
        Ok(removed)
    }

    /// Removes some records by age, and everyday audit rows by number, from `audit_after` on. Returns how many, and
    /// where to go on: what is numbered below stays for its age.
    async fn remove_old_records(&self, audit_after: i64, upkeep: Upkeep) -> Result<(u64, i64), StoreError> {
        let (mut ages, begin) = {
            let walk = self.walk.lock();
            (walk.audit_ages, walk.audit_begin)
        };
        let look = move |connection: &Connection| {
            // Looked at beforehand: what is done meanwhile is numbered higher.
            let newest = log::last_row(connection)?;
            let end = AUDIT.look_ends(connection, begin)?.unwrap_or(newest);
            // Tokens may stand before it of which the log does not tell any more.
            let first = "SELECT coalesce(min(number) - 1, ?2) FROM audit WHERE number > ?1 AND number <= ?2";
            let begin: i64 = connection.prepare_cached(first)?.query_row([begin, end], |row| row.get(0))?;
            let age = Age { before: upkeep.audit_before, now: upkeep.now };
            let old = age::old(connection, AUDIT, begin, age, REMOVE_ROWS * 4, &mut ages)?;
            Ok((old, ages, begin))
        };
        let (old, ages, begin) = self.readers.scan(look).await?;
        {
            let mut walk = self.walk.lock();
            (walk.audit_ages, walk.audit_begin) = (ages, begin);
        }
        // Those of a clock that stood ahead would stay for as long as that was, and keep those behind them.
        let remembered = upkeep.now.millis().saturating_sub(upkeep.keys_before.millis());
        let keys_ahead = upkeep.now.millis().saturating_add(remembered);
        self.writer
            .write(move |write| {
                let connection = write.connection;
                let mut removed = 0;
                for row in &old {
                    removed += log::remove_entry(connection, row.number)?;
                }
                log::remove_empty(connection)?;
                let newest = log::last_row(connection)?;
                let reached: Option<i64> = connection
                    .prepare_cached(
                        "SELECT max(number) FROM (SELECT number FROM log WHERE number > ?1 AND number <= ?2 - ?3
                                                  ORDER BY number LIMIT ?4)",
                    )?
                    .query_row(params![audit_after, newest, upkeep.audit_rows_max, REMOVE_ROWS * 4], |row| {
                        row.get(0)
                    })?;
                if let Some(reached) = reached {
                    removed += log::remove_everyday(connection, audit_after, reached)?;
                }
                // But if it is the present clock that is wrong, as far behind as nothing here can be, they are not ahead at all.
                let keys_ahead = if clock_is_possible(connection, upkeep.now)? { keys_ahead } else { i64::MAX };
                removed += execute(
                    connection,
                    "DELETE FROM idempotency WHERE number IN (
                         SELECT number FROM (SELECT number, at FROM idempotency ORDER BY number LIMIT ?2)
                         WHERE at < ?1 OR at > ?3)",
                    params![upkeep.keys_before.millis(), REMOVE_ROWS, keys_ahead],
                )?;
                removed += execute(
                    connection,
                    "DELETE FROM said WHERE number IN (
                         SELECT number FROM (SELECT number, at FROM said ORDER BY number LIMIT ?2)
                         WHERE at < ?1 OR at > ?3)",
                    params![upkeep.keys_before.millis(), REMOVE_ROWS * 4, keys_ahead],
                )?;
                removed += execute(
                    connection,
                    "DELETE FROM admin_sessions WHERE number IN (
                         SELECT number FROM admin_sessions WHERE coalesce(ended_at, expires_at) < ?1 LIMIT ?2)
                       AND number < (SELECT max(number) FROM admin_sessions)",
                    params![upkeep.dead_before.millis(), REMOVE_ROWS],
                )?;
                Ok((removed as u64, reached.unwrap_or(audit_after)))
            })
            .await
    }
}

/// Whether nothing says that the clock stands behind: neither what was done last, nor the making of the first account.
fn clock_is_possible(connection: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "SELECT ?1 >= ifnull((SELECT at FROM log ORDER BY number DESC LIMIT 1), ?1)
                  AND ?1 >= ifnull((SELECT min(created_at) FROM accounts), ?1)";
    connection.prepare_cached(sql)?.query_row([now.millis()], |row| row.get(0))
}

/// What is known of such a row: it stays.
fn skipped(row: &Row<'_>) -> rusqlite::Result<(u64, bool, bool)> {
    Ok((row.get(0)?, true, false))
}

fn found(rows: &[(u64, bool, bool)], leftovers: Leftovers) -> Found {
    let whole = i64::try_from(rows.len()).is_ok_and(|rows| rows >= STEP_ROWS);
    Found {
        dead: rows.iter().filter(|(_, _, removable)| *removable).map(|(number, ..)| *number).collect(),
        live: rows.iter().filter(|(_, lapsed, _)| !lapsed).count() as u64,
        reached: match rows.last() {
            Some((number, ..)) if whole => Reached::Row(*number),
            Some(_) | None => Reached::End,
        },
        leftovers,
    }
}

#[async_trait]
impl MaintenanceStore for SqliteStore {
    fn sealer(&self) -> Sealer {
        self.sealer.clone()
    }

    fn sound(&self) -> Result<(), StoreError> {
        self.condition.sound()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.condition.sound()?;
        self.writer.write(|write| touch(write.connection)).await?;
        let find =
            |connection: &Connection| connection.query_row("SELECT 1 FROM meta WHERE key = 'checked'", [], |_| Ok(()));
        self.readers.read(find).await?;
        self.condition.sound()
    }

    async fn fold(&self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let folding = tokio::task::spawn_blocking(move || fold(&open_for_writing(&path)?));
        match folding.await {
            Ok(Ok(Folded::AllOfIt)) => Ok(()),
            Ok(Ok(Folded::NotAll)) => Err(StoreError::Unavailable(
                "others read from the log, or the disk is full; what it holds stays there".into(),
            )),
            Ok(Err(error)) => Err(failure(error)),
            Err(error) => Err(StoreError::Unavailable(Box::new(error))),
        }
    }

    async fn upkeep(&self, upkeep: Upkeep) -> Result<Repair, StoreError> {
        let (token, session, hub, leftovers, begin) = {
            let mut walk = self.walk.lock();
            // Should this step fail, the rest of the pass finds nothing left over, which is safe.
            (walk.token, walk.session, walk.hub.clone(), walk.leftovers.take(), walk.leftovers_begin.clone())
        };
        let mut removed = 0;
        let mut audit_after = self.walk.lock().audit;
        for _ in 0..OLD_RECORDS_ROUNDS {
            let (old, reached) = self.remove_old_records(audit_after, upkeep).await?;
            removed += old;
            audit_after = reached;
            if old == 0 {
                break;
            }
        }
        self.remove_old_changes(upkeep.now).await?;
        let (leftovers, begin) = match leftovers {
            Some(leftovers) => (leftovers, begin),
            None if (token, session) == (Reached::Nothing, Reached::Nothing) => self.leftovers(begin, upkeep).await?,
            None => (Leftovers::default(), begin),
        };
        let found_tokens = self.dead_tokens(token, upkeep, leftovers).await?;
        removed +=
            self.remove_each(found_tokens.dead, |connection, number| log::remove_token(connection, *number)).await?;
        let found_sessions = self.dead_sessions(session, upkeep, found_tokens.leftovers).await?;
        removed +=
            self.remove_each(found_sessions.dead, |connection, number| sessions::remove(connection, *number)).await?;
        let rows_complete = (found_tokens.reached, found_sessions.reached) == (Reached::End, Reached::End);
        let mut leftovers = Some(found_sessions.leftovers);
        if rows_complete && let Some(leftovers) = leftovers.take() {
            removed += self.remove_leftovers(leftovers, upkeep).await?;
        }
        let (hub_removed, hub) = self.remove_from_hub(upkeep, hub).await?;
        removed += hub_removed;

        let mut walk = self.walk.lock();
        walk.sessions_live += found_sessions.live;
        walk.audit = audit_after;
        let pass_complete = rows_complete && hub.complete();
        let sessions_live = walk.sessions_live;
        if pass_complete {
            *walk = Walk {
                leftovers_begin: begin,
                audit: audit_after,
                audit_begin: walk.audit_begin,
                audit_ages: walk.audit_ages,
                hub: hub.ages.into(),
                ..Walk::default()
            };
        } else {
            walk.leftovers = leftovers;
            walk.leftovers_begin = begin;
            // The shorter table waits at its end until the longer one is walked too.
            walk.token = found_tokens.reached;
            walk.session = found_sessions.reached;
            walk.hub = hub;
        }
        Ok(Repair { removed, pass_complete, sessions_live })
    }

    async fn lease_upkeep(&self, node: Node, length: Duration) -> Result<Lease, StoreError> {
        self.writer.write_sparing_grounds(move |write| lease::take(write.connection, node, length)).await
    }

    async fn give_upkeep_back(&self, node: Node) -> Result<(), StoreError> {
        self.writer.write_sparing_grounds(move |write| lease::give_back(write.connection, node)).await
    }

    async fn something_ended(&self) {
        self.ended.notified().await;
    }

    async fn close(&self) {
        // The last connection to be closed removes the log, which one that only reads cannot: so the writer's is the last, unless
        // something is read for longer than is waited.
        self.readers.finish().await;
        let (vigil, readers, writer) = (self.vigil.lock().take(), self.readers.clone(), self.writer.ending());
        // Each of these may wait for the disk.
        let closing = tokio::task::spawn_blocking(move || {
            drop(vigil);
            readers.close();
            writer.wait();
        });
        if let Err(error) = closing.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the store was not closed in order");
        }
    }
}
