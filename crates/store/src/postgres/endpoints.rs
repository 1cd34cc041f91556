//! Bans, and how far an endpoint's tokens and sessions have been ended.

use async_trait::async_trait;
use respoke_core::audit::AuditEntry;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::page::{Page, PageRequest};
use respoke_core::ports::{BanRecord, Banning, Change, EndpointStore, Removal, StoreError};

use super::audit_rows;
use super::connect::params;
use super::deeds::Deed;
use super::endpoint_rows::{lock, read};
use super::rows::lock_app;
use super::store::PostgresStore;
use super::write::{in_ending_transaction, in_transaction};
use crate::pages::limit;

#[async_trait]
impl EndpointStore for PostgresStore {
    async fn ban(&self, app: AppId, ban: BanRecord, entry: AuditEntry) -> Result<Banning, StoreError> {
        let endpoint = ban.endpoint_id.as_str();
        in_ending_transaction!(self, write => {
            write.hold_mints(app).await?;
            if !lock_app(write, app).await? {
                return Ok(Banning::NoApp);
            }
            lock(write, &[app.uuid()], &[endpoint]).await?;
            // A suspended user hears nothing more.
            let sql = "DELETE FROM respoked.push_tokens WHERE app_id = $1 AND endpoint = $2";
            write.execute(sql, params![app.uuid(), endpoint]).await?;
            audit_rows::insert(write, &entry).await?;
            let change = Change::Endpoint(app, ban.endpoint_id.clone());
            let number = write.change(Some(&change), entry.at).await?;
            let sql = "UPDATE respoked.endpoints SET tokens_from = $3, sessions_from = $3, banned_at = $4, banned_until = $5,
                       ban_reason = $6 WHERE app_id = $1 AND endpoint = $2";
            let times = (ban.banned_at.millis(), ban.until.millis());
            write.execute(sql, params![app.uuid(), endpoint, number, times.0, times.1, ban.reason]).await?;
            write.takes_away(Deed::Banned { app, ban: ban.clone() });
            Ok(Banning::Banned)
        })
    }

    async fn ban_of(&self, app: AppId, endpoint: &EndpointId) -> Result<Option<BanRecord>, StoreError> {
        let sql = "SELECT endpoint, ban_reason, banned_at, banned_until FROM respoked.endpoints
                   WHERE app_id = (SELECT id FROM respoked.apps WHERE id = $1) AND endpoint = $2 AND banned_at IS NOT NULL";
        self.read_one(sql, params![app.uuid(), endpoint.as_str()], read).await
    }

    async fn bans(
        &self,
        app: AppId,
        request: PageRequest<EndpointId>,
    ) -> Result<Page<BanRecord, EndpointId>, StoreError> {
        let after = request.after.as_ref().map_or("", EndpointId::as_str);
        let sql = "SELECT endpoint, ban_reason, banned_at, banned_until FROM respoked.endpoints
                   WHERE app_id = (SELECT id FROM respoked.apps WHERE id = $1) AND endpoint > $2 AND banned_at IS NOT NULL ORDER BY endpoint LIMIT $3";
        let rows = self.read_all(sql, params![app.uuid(), after, limit(&request)], read).await?;
        Ok(Page::cut(rows, request.limit, |ban| ban.endpoint_id.clone()))
    }

    async fn lift_ban(&self, app: AppId, endpoint: &EndpointId, entry: AuditEntry) -> Result<Removal, StoreError> {
        in_transaction!(self, write => {
            if !lock_app(write, app).await? {
                return Ok(Removal::Unknown);
            }
            let sql = "UPDATE respoked.endpoints SET banned_at = NULL, banned_until = NULL, ban_reason = NULL
                       WHERE app_id = $1 AND endpoint = $2 AND banned_at IS NOT NULL";
            if write.execute(sql, params![app.uuid(), endpoint.as_str()]).await? == 0 {
                return Ok(Removal::Unknown);
            }
            audit_rows::insert(write, &entry).await?;
            write.change(Some(&Change::Endpoint(app, endpoint.clone())), entry.at).await?;
            Ok(Removal::Removed)
        })
    }
}
