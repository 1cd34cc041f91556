//! Endpoints and secrets that nothing stands on any more: finds those that may go, and removes what a pass leaves of them.

use std::collections::{HashMap, HashSet};

use respoke_core::clock::Timestamp;
use respoke_core::grant::Marks;
use respoke_core::id::{AppId, EndpointId, SecretId};
use respoke_core::ports::{StoreError, Upkeep};
use uuid::Uuid;

use super::connect::params;
use super::rows::{Columns, bound_len, stored};
use super::store::PostgresStore;
use super::walk::REMOVE_ROWS;
use crate::upkeep::{Leftovers, LeftoversBegin};

/// Rows of each kind that one pass looks after; a few megabytes.
const PASS_ROWS: usize = 10_000;

impl PostgresStore {
    /// What may go at the end of the pass that begins now, and where the next one goes on.
    pub(super) async fn leftovers(
        &self,
        begin: &LeftoversBegin,
        upkeep: Upkeep,
    ) -> Result<(Leftovers, LeftoversBegin), StoreError> {
        let (endpoints, endpoint) = self.idle_endpoints(begin.endpoint.as_ref(), upkeep).await?;
        let (secrets, secret) = self.dead_secrets(begin.secret, upkeep).await?;
        Ok((Leftovers { endpoints, secrets }, LeftoversBegin { endpoint, secret }))
    }

    /// Endpoints without a ban in force: they are kept for their marks alone.
    async fn idle_endpoints(
        &self,
        after: Option<&(AppId, EndpointId)>,
        upkeep: Upkeep,
    ) -> Result<(HashMap<(AppId, EndpointId), Marks>, Option<(AppId, EndpointId)>), StoreError> {
        let sql = "SELECT app_id, endpoint, tokens_from, sessions_from, issued_before, sessions_issued_before,
                   issued_before_tokens, issued_before_sessions, banned_until FROM respoked.endpoints
                   WHERE (app_id, endpoint) > ($1, $2) ORDER BY app_id, endpoint LIMIT $3";
        let (app, endpoint) = after.map_or((Uuid::nil(), ""), |(app, endpoint)| (app.uuid(), endpoint.as_str()));
        let rows = self.read(sql, params![app, endpoint, bound_len(PASS_ROWS)]).await?;
        let whole = rows.len() == PASS_ROWS;
        let rows = rows.iter().filter_map(|row| {
            let mut columns = Columns::of(row);
            let key = (columns.uuid_as(AppId::from_uuid).ok()?, columns.endpoint().ok()?);
            Some((key, columns.marks().ok()?, columns.time_if_any().ok()?))
        });
        let rows: Vec<_> = rows.collect();
        let last = if whole { rows.last().map(|(key, ..)| key.clone()) } else { None };
        let idle = rows.into_iter().filter(|(.., until)| until.is_none_or(|until| until < upkeep.dead_before));
        Ok((idle.map(|(key, marks, _)| (key, marks)).collect(), last))
    }

    /// Secrets revoked or expired for so long that the audit log does not speak of it any more.
    async fn dead_secrets(
        &self,
        after: Option<SecretId>,
        upkeep: Upkeep,
    ) -> Result<(HashSet<SecretId>, Option<SecretId>), StoreError> {
        let sql = "SELECT id, revoked_at, expires_at FROM respoked.secrets WHERE id > $1 ORDER BY id LIMIT $2";
        let after = after.map_or(Uuid::nil(), |id| id.uuid());
        let read = |columns: &mut Columns<'_>| {
            Ok((columns.uuid_as(SecretId::from_uuid)?, columns.time_if_any()?, columns.time_if_any()?))
        };
        let rows = self.read_all(sql, params![after, bound_len(PASS_ROWS)], read).await?;
        let last = if rows.len() == PASS_ROWS { rows.last().map(|(id, ..)| *id) } else { None };
        let past = |at: Option<Timestamp>| at.is_some_and(|at| at < upkeep.audit_before);
        let dead = rows.into_iter().filter(|(_, revoked_at, expires_at)| past(*revoked_at) || past(*expires_at));
        Ok((dead.map(|(id, ..)| id).collect(), last))
    }

    pub(super) async fn remove_leftovers(&self, leftovers: Leftovers, upkeep: Upkeep) -> Result<u64, StoreError> {
        // A row that changed since was banned or marked anew. Whoever locks several does so in the order of their keys.
        const ENDPOINTS: &str = "
            DELETE FROM respoked.endpoints g USING (
                SELECT e.app_id, e.endpoint FROM respoked.endpoints e
                JOIN unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                            $8::bigint[]) n (app_id, endpoint, tokens, sessions, before, sessions_before, tokens_born,
                                             sessions_born)
                ON e.app_id = n.app_id AND e.endpoint = n.endpoint
                WHERE e.tokens_from = n.tokens AND e.sessions_from = n.sessions AND e.issued_before = n.before
                  AND e.sessions_issued_before = n.sessions_before AND e.issued_before_tokens = n.tokens_born
                  AND e.issued_before_sessions = n.sessions_born AND (e.banned_until IS NULL OR e.banned_until < $9)
                ORDER BY e.app_id, e.endpoint FOR UPDATE OF e SKIP LOCKED) dead
            WHERE g.app_id = dead.app_id AND g.endpoint = dead.endpoint";
        const SECRETS: &str = "
            DELETE FROM respoked.secrets WHERE id = ANY(ARRAY(
                SELECT id FROM respoked.secrets WHERE id = ANY($1) AND least(revoked_at, expires_at) < $2
                ORDER BY id FOR UPDATE SKIP LOCKED))";
        let mut removed = 0;
        let endpoints: Vec<_> = leftovers.endpoints.into_iter().collect();
        for rows in endpoints.chunks(REMOVE_ROWS) {
            let marks = |of: fn(&Marks) -> i64| rows.iter().map(|(_, marks)| of(marks)).collect::<Vec<_>>();
            let gone = self
                .remove(
                    &[ENDPOINTS],
                    params![
                        rows.iter().map(|((app, _), _)| app.uuid()).collect::<Vec<_>>(),
                        rows.iter().map(|((_, endpoint), _)| endpoint.as_str()).collect::<Vec<_>>(),
                        marks(|marks| stored(marks.tokens_from)),
                        marks(|marks| stored(marks.sessions_from)),
                        marks(|marks| marks.tokens_issued_before.millis()),
                        marks(|marks| marks.sessions_issued_before.millis()),
                        marks(|marks| stored(marks.issued_before_tokens)),
                        marks(|marks| stored(marks.issued_before_sessions)),
                        upkeep.dead_before.millis(),
                    ],
                )
                .await?;
            removed += gone.unwrap_or(0);
        }
        let secrets: Vec<_> = leftovers.secrets.into_iter().map(|id| id.uuid()).collect();
        for ids in secrets.chunks(REMOVE_ROWS) {
            let before = upkeep.audit_before.millis();
            removed += self.remove(&[SECRETS], params![ids.to_vec(), before]).await?.unwrap_or(0);
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use respoke_core::audit::Action;
    use respoke_core::ports::{EndRequest, EndScope, SessionStore as _, Store};

    use crate::contract::fixture::{NOW, World, endpoint, entry};
    use crate::contract::postgres::{Postgres, there_is_a_server};
    use crate::contract::upkeep_cases::{upkeep_at, whole_pass};
    use crate::postgres::connect::params;
    use crate::postgres::rows::{read_number, stored};

    /// Several writers can do what one cannot: see a mark later than it was made.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_mark_stays_for_what_was_under_way_when_it_was_made() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let (store, other) = (fixture.store().await, fixture.store().await);
        let world = World::new(store.clone() as Arc<dyn Store>).await;
        let minted = world.mint("alice").await;
        // Another node has read what it mints on, and takes its time.
        let minting = other.begin().await.unwrap();
        let sql =
            "INSERT INTO respoked.log (at, expires_at, app_id, endpoint, secret_id, hash, role_id, activate_by, born)
                   SELECT at, expires_at, app_id, endpoint, secret_id, hash, role_id, activate_by, born
                   FROM respoked.log WHERE number = $1";
        minting.execute(sql, params![stored(minted.number)]).await.unwrap();
        // What it mints is not there yet.
        let gone = store.begin().await.unwrap();
        gone.execute("DELETE FROM respoked.log WHERE number = $1", params![stored(minted.number)]).await.unwrap();
        store.commit(&gone).await.unwrap();
        let order = EndRequest {
            app_id: world.app,
            scope: EndScope::Endpoint(endpoint("alice")),
            issued_before: None,
            tokens_too: true,
        };
        let _ = store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap();
        let marks = async || {
            let sql = "SELECT count(*) FROM respoked.endpoints";
            store.read_one(sql, &[], read_number).await.unwrap().unwrap()
        };
        let young = upkeep_at(NOW.plus_secs(-3_600));
        whole_pass(&world, young).await;
        assert_eq!(marks().await, 1, "as far as is known nothing stands on it");
        other.commit(&minting).await.unwrap();
        whole_pass(&world, young).await;
        assert_eq!(marks().await, 1, "it ends what came");
        // Both go, one after the other: the token is no longer the newest.
        world.mint("bob").await;
        for _ in 0..2 {
            whole_pass(&world, upkeep_at(NOW.plus_secs(120))).await;
        }
        assert_eq!(marks().await, 0);
    }
}
