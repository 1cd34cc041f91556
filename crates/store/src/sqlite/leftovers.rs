//! Endpoints and secrets that nothing stands on any more: finds those that may go, and removes what a pass leaves of them.

use std::collections::{HashMap, HashSet};

use respoke_core::clock::Timestamp;
use respoke_core::grant::Marks;
use respoke_core::id::{AppId, EndpointId, SecretId};
use respoke_core::ports::{StoreError, Upkeep};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::SqliteStore;
use super::rows::{Columns, all, execute};
use super::walk::readable;
use crate::upkeep::{Leftovers, LeftoversBegin};

/// Rows of each kind that one pass looks after; a few megabytes.
const PASS_ROWS: usize = 10_000;

impl SqliteStore {
    /// What may go at the end of the pass that begins now, and where the next one goes on.
    pub(super) async fn leftovers(
        &self,
        begin: LeftoversBegin,
        upkeep: Upkeep,
    ) -> Result<(Leftovers, LeftoversBegin), StoreError> {
        self.readers
            .scan(move |connection| {
                let (endpoints, endpoint) = idle_endpoints(connection, begin.endpoint, upkeep)?;
                let (secrets, secret) = dead_secrets(connection, begin.secret, upkeep)?;
                Ok((Leftovers { endpoints, secrets }, LeftoversBegin { endpoint, secret }))
            })
            .await
    }

    pub(super) async fn remove_leftovers(&self, leftovers: Leftovers, upkeep: Upkeep) -> Result<u64, StoreError> {
        let endpoints: Vec<_> = leftovers.endpoints.into_iter().collect();
        let removed = self
            .remove_each(endpoints, move |connection, ((app, endpoint), marks)| {
                // A row that changed since was banned or marked anew.
                let sql = "DELETE FROM endpoints WHERE app_id = ?1 AND endpoint = ?2 AND tokens_from = ?3
                           AND sessions_from = ?4 AND tokens_issued_before = ?5 AND sessions_issued_before = ?6
                           AND issued_before_tokens = ?7 AND issued_before_sessions = ?8
                           AND (banned_until IS NULL OR banned_until < ?9)";
                let values = params![
                    app.uuid(),
                    endpoint.as_str(),
                    marks.tokens_from,
                    marks.sessions_from,
                    marks.tokens_issued_before.millis(),
                    marks.sessions_issued_before.millis(),
                    marks.issued_before_tokens,
                    marks.issued_before_sessions,
                    upkeep.dead_before.millis(),
                ];
                execute(connection, sql, values)
            })
            .await?;
        let secrets: Vec<_> = leftovers.secrets.into_iter().collect();
        let sql = "DELETE FROM secrets WHERE id = ?1 AND min(ifnull(revoked_at, ?2), ifnull(expires_at, ?2)) < ?2";
        let remove = move |connection: &Connection, id: &SecretId| {
            execute(connection, sql, params![id.uuid(), upkeep.audit_before.millis()])
        };
        Ok(removed + self.remove_each(secrets, remove).await?)
    }
}

/// Endpoints without a ban in force: they are kept for their marks alone.
#[expect(clippy::type_complexity, reason = "a map and the key it ended at, for one caller")]
fn idle_endpoints(
    connection: &Connection,
    after: Option<(AppId, EndpointId)>,
    upkeep: Upkeep,
) -> rusqlite::Result<(HashMap<(AppId, EndpointId), Marks>, Option<(AppId, EndpointId)>)> {
    let (app, endpoint) =
        after.map_or((Uuid::nil(), String::new()), |(app, endpoint)| (app.uuid(), endpoint.to_string()));
    let rows = all(
        connection,
        "SELECT app_id, endpoint, tokens_from, sessions_from, tokens_issued_before, sessions_issued_before,
         issued_before_tokens, issued_before_sessions, banned_until FROM endpoints
         WHERE (app_id, endpoint) > (?1, ?2) ORDER BY app_id, endpoint LIMIT ?3",
        params![app, endpoint, PASS_ROWS],
        |row| {
            let mut columns = Columns::of(row);
            let mut read = || {
                let key = (columns.uuid_as(AppId::from_uuid)?, columns.endpoint()?);
                Ok((key, columns.marks()?, columns.time_if_any()?))
            };
            readable(read())
        },
    )?;
    let whole = rows.len() == PASS_ROWS;
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    let last = if whole { rows.last().map(|(key, ..)| key.clone()) } else { None };
    let idle = rows.into_iter().filter(|(.., until)| until.is_none_or(|until| until < upkeep.dead_before));
    Ok((idle.map(|(key, marks, _)| (key, marks)).collect(), last))
}

/// Secrets revoked or expired for so long that the audit log does not speak of it any more.
fn dead_secrets(
    connection: &Connection,
    after: Option<SecretId>,
    upkeep: Upkeep,
) -> rusqlite::Result<(HashSet<SecretId>, Option<SecretId>)> {
    let rows = all(
        connection,
        "SELECT id, revoked_at, expires_at FROM secrets WHERE id > ?1 ORDER BY id LIMIT ?2",
        params![after.map_or(Uuid::nil(), |id| id.uuid()), PASS_ROWS],
        |row| {
            let mut columns = Columns::of(row);
            let mut read =
                || Ok((columns.uuid_as(SecretId::from_uuid)?, columns.time_if_any()?, columns.time_if_any()?));
            readable(read())
        },
    )?;
    let whole = rows.len() == PASS_ROWS;
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    let last = if whole { rows.last().map(|(id, ..)| *id) } else { None };
    let past = |at: Option<Timestamp>| at.is_some_and(|at| at < upkeep.audit_before);
    let dead = rows.into_iter().filter(|(_, revoked_at, expires_at)| past(*revoked_at) || past(*expires_at));
    Ok((dead.map(|(id, ..)| id).collect(), last))
}
