//! What upkeep removes of the log: what was done, and the tokens. A mint's row is both, and each part goes in its own time.

use respoke_core::audit::Action;
use respoke_core::ports::{StoreError, Upkeep};
use respoke_core::token::TokenRecord;

use super::age;
use super::connect::params;
use super::failure::Failure;
use super::rows::{Columns, bound_len, only};
use super::store::PostgresStore;
use super::token_rows;
use super::walk::{AuditWalk, REMOVE_ROWS, STEP_ROWS};
use crate::age::{Age, PASSED_ROWS};

/// Rounds of old audit rows in one step: a token's life leaves two or three of them.
const ROUNDS: usize = 20;

/// Takes a token out of rows, and with it what only a token has.
const FORGET_TOKENS: &str = "
    UPDATE respoked.log SET expires_at = NULL, hash = substr(hash, 1, 6), role_id = NULL, activate_by = NULL, born = NULL,
    ended_at = NULL, session_number = NULL WHERE number = ANY($1) AND expires_at IS NOT NULL";

/// Takes what was done out of rows.
macro_rules! forget_entries {
    ($which:literal) => {
        concat!(
            "UPDATE respoked.log SET action = NULL, actor_kind = NULL, actor_id = NULL, account_id = NULL, object = NULL, \
             address = NULL, request_id = NULL, fingerprint = NULL WHERE ",
            $which
        )
    };
}

/// A look at a part of the tokens.
pub(super) struct Tokens {
    /// Those that could be read, with whether they are over.
    pub(super) found: Vec<(TokenRecord, bool)>,
    /// The last number looked at; none: the table's end.
    pub(super) reached: Option<i64>,
}

/// As far as one look goes: the number of the last of the next so many rows, and how many there are.
const WINDOW: &str = "SELECT coalesce(max(number), $1), count(*)
    FROM (SELECT number FROM respoked.log WHERE number > $1 ORDER BY number LIMIT $2) n";

impl PostgresStore {
    /// The number up to which one look at the log behind `after` goes, and whether that is its end.
    async fn window(&self, after: i64) -> Result<(i64, bool), StoreError> {
        let read = |columns: &mut Columns<'_>| Ok((columns.next()?, columns.next::<i64>()? < PASSED_ROWS));
        self.read_one(WINDOW, params![after, PASSED_ROWS], read).await?.ok_or(StoreError::Corrupt("a count has no row"))
    }

    /// Looks at tokens behind `after`: so many of them, or as many as there are among so many rows of the log.
    pub(super) async fn look_at_tokens(&self, after: i64, upkeep: Upkeep) -> Result<Tokens, StoreError> {
        let (end, is_end) = self.window(after).await?;
        let rows = self.read(token_rows::RANGE, params![after, end, STEP_ROWS]).await?;
        let whole = i64::try_from(rows.len()).is_ok_and(|rows| rows >= STEP_ROWS);
        let last = rows.last().map(|row| Columns::of(row).next::<i64>()).transpose();
        let last = last.map_err(Failure::nothing_written)?;
        // A row of which a column holds what it never should is passed over: the others are to be kept in order all the same.
        let found = rows.iter().filter_map(|row| token_rows::read(&mut Columns::of(row)).ok());
        let found = found.map(|(token, ground)| {
            let lapsed = token.lapse(&ground, upkeep.now).is_some();
            (token, lapsed)
        });
        let reached = if whole { last } else { (!is_end).then_some(end) };
        Ok(Tokens { found: found.collect(), reached })
    }

    /// Removes tokens; of those that the log still tells of what it tells stays.
    pub(super) async fn remove_tokens(&self, dead: &[i64]) -> Result<u64, StoreError> {
        const REMOVE: &str = "DELETE FROM respoked.log WHERE number = ANY($1) AND action IS NULL";
        let mut removed = 0;
        for numbers in dead.chunks(REMOVE_ROWS) {
            removed += self.remove(&[REMOVE, FORGET_TOKENS], params![numbers.to_vec()]).await?.unwrap_or(0);
        }
        Ok(removed)
    }

    /// Removes entries of the audit by age, and everyday ones by number. Nothing comes up to `settled` any more.
    pub(super) async fn remove_old_entries(
        &self,
        walk: &mut AuditWalk,
        settled: Option<i64>,
        upkeep: Upkeep,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        for _ in 0..ROUNDS {
            let aged = self.remove_aged(walk, settled, upkeep).await?;
            let everyday = self.remove_everyday(walk, upkeep).await?;
            removed += aged + everyday;
            if aged + everyday == 0 {
                break;
            }
        }
        Ok(removed)
    }

    async fn remove_aged(&self, walk: &mut AuditWalk, settled: Option<i64>, upkeep: Upkeep) -> Result<u64, StoreError> {
        const REMOVE: &str = "DELETE FROM respoked.log WHERE number = ANY($1) AND expires_at IS NULL";
        const FORGET: &str = forget_entries!("number = ANY($1) AND action IS NOT NULL");
        let (end, is_end) = self.window(walk.begin).await?;
        // Tokens may stand before the first of them of which the log does not tell any more.
        let first = "SELECT number FROM respoked.audit WHERE number > $1 AND number <= $2 ORDER BY number LIMIT 1";
        let first = self.read_one(first, params![walk.begin, end], only::<i64>).await?;
        let behind = first.map_or(end, |first| first - 1);
        if let Some(settled) = settled {
            walk.begin = walk.begin.max(behind.min(settled));
        }
        let age = Age { before: upkeep.audit_before, now: upkeep.now };
        let end = (!is_end).then_some(end);
        let old = self.old(age::AUDIT, behind, end, age, bound_len(REMOVE_ROWS), &mut walk.ages).await?;
        let numbers: Vec<_> = old.iter().map(|row| row.number).collect();
        Ok(self.remove(&[REMOVE, FORGET], params![numbers]).await?.unwrap_or(0))
    }

    /// Removes the entries of everyday actions that are too many.
    async fn remove_everyday(&self, walk: &mut AuditWalk, upkeep: Upkeep) -> Result<u64, StoreError> {
        // With what is empty altogether, as two who removed a part each at one time may leave it.
        const REMOVE: &str = "DELETE FROM respoked.log WHERE number > $1 AND number <= $2 AND expires_at IS NULL
                              AND (action = ANY($3) OR action IS NULL)";
        const FORGET: &str = forget_entries!("number > $1 AND number <= $2 AND action = ANY($3)");
        const LAST: &str = "SELECT coalesce(max(number), $1) FROM (
                                SELECT number FROM respoked.log
                                WHERE number > $1 AND number <= (SELECT max(number) FROM respoked.log) - $2
                                ORDER BY number LIMIT $3) n";
        let most = i64::try_from(upkeep.audit_rows_max).unwrap_or(i64::MAX);
        let most = self.as_numbers(most).await?;
        let read = |columns: &mut Columns<'_>| columns.next::<i64>();
        let last = self.read_one(LAST, params![walk.everyday, most, bound_len(REMOVE_ROWS)], read).await?;
        let last = last.unwrap_or(walk.everyday);
        if last <= walk.everyday {
            return Ok(0);
        }
        let everyday = Action::ALL.iter().filter(|action| action.everyday()).map(|action| action.code());
        let everyday: Vec<i64> = everyday.collect();
        let removed = self.remove(&[REMOVE, FORGET], params![walk.everyday, last, everyday]).await?;
        if removed.is_some() {
            walk.everyday = last;
        }
        Ok(removed.unwrap_or(0))
    }

    /// How many numbers so many of the log's newest rows may have.
    async fn as_numbers(&self, rows: i64) -> Result<i64, StoreError> {
        let Some(line) = &self.line else { return Ok(rows) };
        let newest = self.read_one("SELECT coalesce(max(number), 0) FROM respoked.log", &[], only::<i64>).await?;
        Ok(line.settled().numbers_of(rows, newest.unwrap_or(0)))
    }

    /// Whether nothing says that the clock stands behind: neither what was done last, nor the making of the first account.
    pub(super) async fn clock_is_possible(&self, upkeep: Upkeep) -> Result<bool, StoreError> {
        let sql = "SELECT $1 >= coalesce((SELECT at FROM respoked.log ORDER BY number DESC LIMIT 1), $1)
                      AND $1 >= coalesce((SELECT min(created_at) FROM respoked.accounts), $1)";
        let possible = self.read_one(sql, params![upkeep.now.millis()], only).await?;
        Ok(possible.unwrap_or(true))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use respoke_core::audit::{Actor, AuditEntry};
    use respoke_core::idempotency::Creation;
    use respoke_core::page::PageRequest;
    use respoke_core::ports::{AuditQuery, AuditStore as _, Redemption, Store, TokenStore as _};
    use respoke_core::token::{MintedToken, Replaces};

    use super::*;
    use crate::contract::fixture::{NOW, World, entry, opened};
    use crate::contract::postgres::{Postgres, there_is_a_server};
    use crate::contract::upkeep_cases::{upkeep_at, whole_pass};
    use crate::postgres::rows::{read_number, stored};

    struct Fixture {
        store: Arc<PostgresStore>,
        world: World,
        _postgres: Postgres,
    }

    async fn fixture() -> Fixture {
        let postgres = Postgres::default();
        let store = postgres.store().await;
        let world = World::new(store.clone() as Arc<dyn Store>).await;
        Fixture { store, world, _postgres: postgres }
    }

    impl Fixture {
        /// Mints as a backend does.
        async fn mint(&self) -> MintedToken {
            let entry = AuditEntry {
                app_id: Some(self.world.app),
                actor: Actor::Secret(self.world.secret),
                object: "alice".to_owned(),
                ..entry(Action::TokenIssued)
            };
            let token = self.world.token_for("alice", NOW);
            match self.store.issue_token(token, Replaces::Nothing, None, entry).await.unwrap() {
                Creation::Created(minted) => minted,
                other => panic!("{other:?}"),
            }
        }

        async fn told(&self) -> Vec<String> {
            let query = AuditQuery {
                account_id: self.world.account,
                app_id: None,
                action: Some(Action::TokenIssued),
                object: None,
                request_id: None,
            };
            let page = self.store.audit_log(query, PageRequest::first()).await.unwrap();
            page.items.iter().map(|record| format!("{record:?}")).collect()
        }

        async fn rows(&self) -> u64 {
            let sql = "SELECT count(*) FROM respoked.log";
            self.store.read_one(sql, &[], read_number).await.unwrap().unwrap()
        }

        async fn damage(&self, sql: &str) {
            let write = self.store.begin().await.unwrap();
            write.batch(sql).await.unwrap();
            self.store.commit(&write).await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_goes_and_what_is_told_of_it_stays_and_the_other_way_round() {
        if !there_is_a_server() {
            return;
        }
        let fixture = fixture().await;
        let world = &fixture.world;
        let spent = fixture.mint().await;
        opened(world.redeem(&spent).await);
        let waiting = fixture.mint().await;
        let (told, rows) = (fixture.told().await, fixture.rows().await);
        assert_eq!(told.len(), 2);

        let late = upkeep_at(NOW.plus_secs(120));
        assert_eq!(whole_pass(world, late).await.0, 1);
        assert!(fixture.store.token(spent.number).await.unwrap().is_none());
        assert!(matches!(world.redeem(&spent).await, Redemption::Unknown));
        assert_eq!((fixture.told().await, fixture.rows().await), (told, rows), "the log tells what it told before");

        // Whatever the log tells goes, and the token that waits stays.
        let forgetful = Upkeep { audit_before: NOW.plus_secs(1_000), ..upkeep_at(NOW) };
        whole_pass(world, forgetful).await;
        assert!(fixture.told().await.is_empty());
        assert_eq!(fixture.rows().await, 1);

        // It is redeemed all the same, and in the end nothing is left of it.
        opened(world.redeem(&waiting).await);
        let last = fixture.mint().await;
        assert_eq!(whole_pass(world, late).await.0, 1);
        whole_pass(world, Upkeep { audit_rows_max: 0, ..upkeep_at(NOW) }).await;
        assert_eq!((fixture.told().await.len(), fixture.rows().await), (0, 1), "the newest token stays");
        assert!(fixture.store.token(last.number).await.unwrap().is_some());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_row_that_cannot_be_read_does_not_stop_upkeep() {
        if !there_is_a_server() {
            return;
        }
        let fixture = fixture().await;
        let world = &fixture.world;
        let broken = fixture.mint().await.number;
        let spent = [fixture.mint().await, fixture.mint().await];
        for token in &spent {
            opened(world.redeem(token).await);
        }
        let waiting = fixture.mint().await;
        let damage = format!(
            "UPDATE respoked.log SET endpoint = '' WHERE number = {broken};
             UPDATE respoked.log SET action = 9999 WHERE number = {};
             UPDATE respoked.sessions SET endpoint = '' WHERE number = (SELECT min(number) FROM respoked.sessions);
             INSERT INTO respoked.endpoints (app_id, endpoint) VALUES (gen_random_uuid(), '')",
            waiting.number
        );
        fixture.damage(&damage).await;
        assert_eq!(whole_pass(world, upkeep_at(NOW.plus_secs(120))).await, (2, 1));
        assert!(fixture.store.walk.lock().tokens_begin >= stored(broken), "and the next walk begins behind it");
        for token in &spent {
            assert!(fixture.store.token(token.number).await.unwrap().is_none());
        }
        opened(world.redeem(&waiting).await);
    }
}
