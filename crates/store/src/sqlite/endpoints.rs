//! Bans, and how far an endpoint's tokens and sessions have been ended.

use async_trait::async_trait;
use respoke_core::audit::AuditEntry;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::page::{Page, PageRequest};
use respoke_core::ports::{BanRecord, Banning, Change, EndpointStore, Removal, StoreError};
use rusqlite::{Connection, Row, params};

use super::rows::{Columns, all, app_exists, execute, one};
use super::writer::Write;
use super::{SqliteStore, audit, feed, push_tokens};
use crate::pages::limit;

/// A page of an app's bans. Of all its endpoints only few are banned, and SQLite would rather look at all.
const BANS: &str = "SELECT endpoint, ban_reason, banned_at, banned_until FROM endpoints INDEXED BY endpoints_banned
                    WHERE app_id = ?1 AND endpoint > ?2 AND banned_at IS NOT NULL ORDER BY endpoint LIMIT ?3";

fn read(row: &Row<'_>) -> rusqlite::Result<BanRecord> {
    let mut columns = Columns::of(row);
    Ok(BanRecord {
        endpoint_id: columns.endpoint()?,
        reason: columns.next()?,
        banned_at: columns.time()?,
        until: columns.time()?,
    })
}

pub(super) fn find_ban(
    connection: &Connection,
    app: AppId,
    endpoint: &EndpointId,
) -> rusqlite::Result<Option<BanRecord>> {
    const BAN_OF: &str = "SELECT endpoint, ban_reason, banned_at, banned_until FROM endpoints
                          WHERE app_id = ?1 AND endpoint = ?2 AND banned_at IS NOT NULL";
    one(connection, BAN_OF, params![app.uuid(), endpoint.as_str()], read)
}

/// Ends an endpoint's tokens born before the change `tokens_from` and sessions born before `sessions_from`.
pub(super) fn end_born_before(
    write: &Write<'_>,
    app: AppId,
    endpoint: &EndpointId,
    tokens_from: u64,
    sessions_from: u64,
) -> rusqlite::Result<()> {
    execute(
        write.connection,
        "INSERT INTO endpoints (app_id, endpoint, tokens_from, sessions_from) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET tokens_from = max(tokens_from, excluded.tokens_from),
                                   sessions_from = max(sessions_from, excluded.sessions_from)",
        params![app.uuid(), endpoint.as_str(), tokens_from, sessions_from],
    )?;
    Ok(())
}

#[async_trait]
impl EndpointStore for SqliteStore {
    async fn ban(&self, app: AppId, ban: BanRecord, entry: AuditEntry) -> Result<Banning, StoreError> {
        self.writer
            .write(move |write| {
                if !app_exists(write.connection, app)? {
                    return Ok(Banning::NoApp);
                }
                let change = Change::Endpoint(app, ban.endpoint_id.clone());
                let number = feed::write(write, Some(&change), entry.at)?;
                end_born_before(write, app, &ban.endpoint_id, number, number)?;
                execute(
                    write.connection,
                    "UPDATE endpoints SET banned_at = ?3, banned_until = ?4, ban_reason = ?5
                     WHERE app_id = ?1 AND endpoint = ?2",
                    params![
                        app.uuid(),
                        ban.endpoint_id.as_str(),
                        ban.banned_at.millis(),
                        ban.until.millis(),
                        ban.reason
                    ],
                )?;
                // A suspended user hears nothing more.
                push_tokens::delete_of(write, app, &ban.endpoint_id)?;
                audit::insert(write, &entry)?;
                Ok(Banning::Banned)
            })
            .await
    }

    async fn ban_of(&self, app: AppId, endpoint: &EndpointId) -> Result<Option<BanRecord>, StoreError> {
        let endpoint = endpoint.clone();
        self.readers.read(move |connection| find_ban(connection, app, &endpoint)).await
    }

    async fn bans(
        &self,
        app: AppId,
        request: PageRequest<EndpointId>,
    ) -> Result<Page<BanRecord, EndpointId>, StoreError> {
        self.readers
            .scan(move |connection| {
                let after = request.after.as_ref().map_or("", EndpointId::as_str);
                let rows = all(connection, BANS, params![app.uuid(), after, limit(&request)], read)?;
                Ok(Page::cut(rows, request.limit, |ban| ban.endpoint_id.clone()))
            })
            .await
    }

    async fn lift_ban(&self, app: AppId, endpoint: &EndpointId, entry: AuditEntry) -> Result<Removal, StoreError> {
        let endpoint = endpoint.clone();
        self.writer
            .write(move |write| {
                let lifted = execute(
                    write.connection,
                    "UPDATE endpoints SET banned_at = NULL, banned_until = NULL, ban_reason = NULL
                     WHERE app_id = ?1 AND endpoint = ?2 AND banned_at IS NOT NULL",
                    params![app.uuid(), endpoint.as_str()],
                )? == 1;
                if !lifted {
                    return Ok(Removal::Unknown);
                }
                feed::write(write, Some(&Change::Endpoint(app, endpoint.clone())), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Removal::Removed)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_are_found_without_a_look_at_other_endpoints() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection).unwrap();
        let explained = format!("EXPLAIN QUERY PLAN {BANS}");
        let mut plan = connection.prepare(&explained).unwrap();
        let steps = plan.query_map(params![[0_u8; 16], "", 10], |row| row.get::<_, String>("detail")).unwrap();
        let steps: Vec<_> = steps.map(Result::unwrap).collect();
        assert_eq!(steps, ["SEARCH endpoints USING INDEX endpoints_banned (app_id=? AND endpoint>?)"]);
    }
}
