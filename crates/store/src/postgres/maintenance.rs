//! Keeping the database small and sound.
//!
//! Upkeep walks through tokens, sessions and what the hub keeps, by the numbers of rows, a step at a time; a pass is once through
//! all of them. What a step removes goes by many rows a statement, and each statement is a transaction of its own, so that
//! whoever waits for a row waits some ten milliseconds.

use std::time::Duration;

use async_trait::async_trait;
use respoke_core::ports::{Lease, MaintenanceStore, Node, Repair, StoreError, Upkeep};
use respoke_core::seal::Sealer;

use super::connect::params;
use super::failure::Failure;
use super::rows::{Columns, bound_len, stored};
use super::store::PostgresStore;
use super::walk::{HubWalk, Pass, REMOVE_ROWS, STEP_ROWS, Walk};
use super::write::in_transaction;
use super::{lease, migrations, session_rows};
use crate::upkeep::{Leftovers, session_over_at, token_over_at};

/// Rounds of old idempotency keys in one step.
const KEY_ROUNDS: usize = 10;

impl PostgresStore {
    async fn begin_pass(&self, walk: &mut Walk, upkeep: Upkeep) -> Result<Pass, StoreError> {
        let (mut leftovers, begin) = self.leftovers(&walk.leftovers_begin, upkeep).await?;
        // Behind the look at them: who is under way may be about to commit what they end.
        let settled = self.settled().await?;
        match settled {
            Some(_) => walk.leftovers_begin = begin,
            None => leftovers = Leftovers::default(),
        }
        let hub = HubWalk::default();
        Ok(Pass { settled, token: Some(0), session: Some(0), sessions_live: 0, leftovers, hub })
    }

    async fn step(&self, walk: &mut Walk, upkeep: Upkeep) -> Result<Repair, StoreError> {
        self.remove_old_changes(upkeep.now).await?;
        self.keep_nodes_in_order().await?;
        let pass = match walk.pass.take() {
            Some(pass) => pass,
            None => self.begin_pass(walk, upkeep).await?,
        };
        // Should something fail, the next step goes on from there.
        let pass = walk.pass.insert(pass);
        let mut removed = self.remove_old_entries(&mut walk.audit, pass.settled, upkeep).await?;
        removed += self.remove_old_records(upkeep).await?;
        removed += self.step_through_tokens(pass, &mut walk.tokens_begin, upkeep).await?;
        removed += self.step_through_sessions(pass, upkeep).await?;
        let rows_complete = pass.token.is_none() && pass.session.is_none();
        if rows_complete {
            removed += self.remove_leftovers(std::mem::take(&mut pass.leftovers), upkeep).await?;
        }
        removed += self.remove_from_hub(&mut pass.hub, &mut walk.hub_ages, upkeep).await?;
        let (pass_complete, sessions_live) = (rows_complete && pass.hub.is_complete(), pass.sessions_live);
        if pass_complete {
            walk.pass = None;
        }
        Ok(Repair { removed, pass_complete, sessions_live })
    }

    async fn step_through_tokens(&self, pass: &mut Pass, begin: &mut i64, upkeep: Upkeep) -> Result<u64, StoreError> {
        // The shorter table waits at its end until the longer one is walked too.
        let Some(after) = pass.token else { return Ok(0) };
        let after = after.max(*begin);
        let looked = self.look_at_tokens(after, upkeep).await?;
        let mut dead = Vec::new();
        for (token, lapsed) in &looked.found {
            pass.leftovers.look_at_token(token);
            if *lapsed && token_over_at(token, upkeep.now) < upkeep.dead_before {
                dead.push(stored(token.number));
            }
        }
        let numbers = || looked.found.iter().map(|(token, _)| stored(token.number));
        // The newest stays, as in every table.
        if looked.reached.is_none() {
            dead.retain(|number| Some(*number) != numbers().next_back());
        }
        if let Some(settled) = pass.settled.filter(|_| after == *begin) {
            let none_before = numbers().next().map_or(looked.reached, |first| Some(first - 1)).unwrap_or(settled);
            *begin = none_before.min(settled).max(*begin);
        }
        pass.token = looked.reached;
        self.remove_tokens(&dead).await
    }

    async fn step_through_sessions(&self, pass: &mut Pass, upkeep: Upkeep) -> Result<u64, StoreError> {
        const REMOVE: &str = "DELETE FROM respoked.sessions WHERE number = ANY($1)
                              AND number < (SELECT max(number) FROM respoked.sessions)";
        let Some(after) = pass.session else { return Ok(0) };
        let rows = self.read(session_rows::RANGE, params![after, STEP_ROWS]).await?;
        let mut dead = Vec::new();
        // A row of which a column holds what it never should is passed over: the others are to be kept in order all the same.
        for (session, ground) in rows.iter().filter_map(|row| session_rows::read(&mut Columns::of(row)).ok()) {
            pass.leftovers.look_at_session(&session);
            match session.lapse(&ground, upkeep.now) {
                None => pass.sessions_live += 1,
                Some(_) if session_over_at(&session, upkeep.now) < upkeep.dead_before => {
                    dead.push(stored(session.number));
                }
                Some(_) => {}
            }
        }
        let whole = i64::try_from(rows.len()).is_ok_and(|rows| rows >= STEP_ROWS);
        let last = rows.last().filter(|_| whole).map(|row| Columns::of(row).next::<i64>()).transpose();
        pass.session = last.map_err(Failure::nothing_written)?;
        let mut removed = 0;
        for numbers in dead.chunks(REMOVE_ROWS) {
            removed += self.remove(&[REMOVE], params![numbers.to_vec()]).await?.unwrap_or(0);
        }
        Ok(removed)
    }

    /// Removes idempotency keys and admins' sign-ins by age.
    async fn remove_old_records(&self, upkeep: Upkeep) -> Result<u64, StoreError> {
        const KEYS: &str = "DELETE FROM respoked.idempotency WHERE key = ANY(ARRAY(
                                SELECT key FROM respoked.idempotency WHERE at < $1 ORDER BY at LIMIT $2))";
        const KEYS_AHEAD: &str = "DELETE FROM respoked.idempotency WHERE key = ANY(ARRAY(
                                      SELECT key FROM respoked.idempotency WHERE at > $1 ORDER BY at LIMIT $2))";
        const SAID: &str = "DELETE FROM respoked.said WHERE number = ANY(ARRAY(
                                SELECT number FROM (SELECT number, at FROM respoked.said ORDER BY number LIMIT $2) o
                                WHERE at < $1 OR at > $3))";
        const SIGN_INS: &str = "DELETE FROM respoked.admin_sessions WHERE number = ANY(ARRAY(
                                    SELECT number FROM respoked.admin_sessions
                                    WHERE coalesce(ended_at, expires_at) < $1 LIMIT $2))";
        let (before, most) = (upkeep.keys_before.millis(), bound_len(REMOVE_ROWS));
        // Those of a clock that stood ahead would stay for as long as that was. But if it is the present clock that is wrong, as
        // far behind as nothing here can be, they are not ahead at all.
        let remembered = upkeep.now.millis().saturating_sub(before);
        let possible = self.clock_is_possible(upkeep).await?;
        let ahead = if possible { upkeep.now.millis().saturating_add(remembered) } else { i64::MAX };
        let mut removed = 0;
        for _ in 0..KEY_ROUNDS {
            let mut gone = self.remove(&[KEYS], params![before, most]).await?.unwrap_or(0);
            gone += self.remove(&[SAID], params![before, most, ahead]).await?.unwrap_or(0);
            removed += gone;
            if gone == 0 {
                break;
            }
        }
        removed += self.remove(&[KEYS_AHEAD], params![ahead, most]).await?.unwrap_or(0);
        removed += self.remove(&[SIGN_INS], params![upkeep.dead_before.millis(), most]).await?.unwrap_or(0);
        Ok(removed)
    }
}

#[async_trait]
impl MaintenanceStore for PostgresStore {
    fn sealer(&self) -> Sealer {
        self.sealer.clone()
    }

    /// Whether it is in order, the database knows, and says at each statement; nothing is known of it besides.
    fn sound(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        in_transaction!(self, write => {
            // Written anew each time: an update to what is there already is committed like any other.
            let sql = "INSERT INTO respoked.meta (key, value) VALUES ('checked', '')
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            write.execute(sql, &[]).await.map(drop)
        })?;
        let kept = self.read_one("SELECT 1::bigint FROM respoked.meta WHERE key = 'checked'", &[], |_| Ok(()));
        kept.await?.ok_or(StoreError::Corrupt("what was committed is not there"))
    }

    /// There is no log of this program's own that could be lost: what was committed is in the database's, which folds it by
    /// itself and keeps it from whoever is at the files.
    async fn fold(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn upkeep(&self, upkeep: Upkeep) -> Result<Repair, StoreError> {
        // Whoever drops this, or runs it twice at once, begins a pass anew, which is as good.
        let mut walk = std::mem::take(&mut *self.walk.lock());
        // What was walked through elsewhere is not what is here.
        let era = self.line.as_ref().map_or(0, |line| line.journal.era());
        if walk.era != era {
            walk = Walk { era, ..Walk::default() };
        }
        let stepped = self.step(&mut walk, upkeep).await;
        *self.walk.lock() = walk;
        stepped
    }

    async fn lease_upkeep(&self, node: Node, length: Duration) -> Result<Lease, StoreError> {
        let taken = in_transaction!(self, write => {
            // Before the write as well, which each table refuses where the installation left. Behind it, because who marks it has
            // waited for that, or has kept it waiting.
            let mut marked = migrations::marked(write).await?;
            let mut lease = Lease::OfAnother;
            if marked.is_none() {
                lease = lease::take(write, node, length).await?;
                marked = migrations::marked(write).await?;
            }
            match marked {
                None => Ok(Ok(lease)),
                Some(why) => {
                    write.take_back().await?;
                    Ok(Err(why))
                }
            }
        })?;
        taken.map_err(|why| self.stop_where_marked(why))
    }

    async fn give_upkeep_back(&self, node: Node) -> Result<(), StoreError> {
        in_transaction!(self, write => { lease::give_back(write, node).await })
    }

    async fn something_ended(&self) {
        self.ended.notified().await;
    }

    async fn close(&self) {
        self.end_settling();
        self.writer.close();
        self.messages.close();
        self.pool.let_go();
        tokio::join!(self.writer.drain(), self.messages.drain());
        self.pool.drain().await;
        self.pool.close();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
