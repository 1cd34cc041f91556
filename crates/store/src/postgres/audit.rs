//! The audit log.

use async_trait::async_trait;
use respoke_core::audit::{Action, AuditEntry, AuditRecord};
use respoke_core::page::{Page, PageRequest, RowNumber};
use respoke_core::ports::{AuditQuery, AuditStore, StoreError};
use tokio::time::Instant;

use super::audit_rows::{insert, read};
use super::connect::params;
use super::failure::Failure;
use super::rows::{Columns, stored};
use super::store::PostgresStore;
use super::windows::{GATHERED_FOR, WINDOW_ROWS, bounds};
use super::write::in_transaction;
use crate::pages::limit;

/// Rows looked at for one page of a filtered log.
const SCAN_ROWS: i64 = 2_000_000;

#[async_trait]
impl AuditStore for PostgresStore {
    async fn audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        in_transaction!(self, write => { insert(write, &entry).await })
    }

    async fn audit_log(
        &self,
        query: AuditQuery,
        request: PageRequest<RowNumber>,
    ) -> Result<Page<AuditRecord, RowNumber>, StoreError> {
        const SQL: &str = "
            SELECT number, at, account_id, app_id, actor_kind, actor_id, action, object, address, request_id, fingerprint
            FROM respoked.audit
            WHERE number < $1 AND number >= $2
              AND (account_id = $3 OR app_id IN (SELECT app_id FROM respoked.app_owners WHERE account_id = $3)
                   OR (account_id IS NULL AND app_id IS NULL))
              AND ($4::uuid IS NULL OR app_id = $4) AND ($5::bigint IS NULL OR action = $5)
              AND ($6::text IS NULL OR object = $6) AND ($7::uuid IS NULL OR request_id = $7)
            ORDER BY number DESC LIMIT $8";
        let reader = self.search().await?;
        let (first, newest) = bounds(&reader, "log").await?.unwrap_or((0, 0));
        let mut before = request.after.map_or(i64::MAX, RowNumber::get).min(newest.saturating_add(1));
        let scanned = self.line.as_ref().map_or(SCAN_ROWS, |line| line.settled().numbers_of(SCAN_ROWS, before));
        let oldest = before - scanned;
        let (mut rows, since) = (Vec::new(), Instant::now());
        // One more than the page holds tells that there is a next one.
        while rows.len() <= request.limit && before > first.max(oldest) && since.elapsed() < GATHERED_FOR {
            let from = (before - WINDOW_ROWS).max(oldest);
            let wanted = limit(&request) - stored(rows.len() as u64);
            let found = reader
                .read(
                    SQL,
                    params![
                        before,
                        from,
                        query.account_id.uuid(),
                        query.app_id.map(|id| id.uuid()),
                        query.action.map(Action::code),
                        query.object,
                        query.request_id.map(|id| id.uuid()),
                        wanted,
                    ],
                )
                .await?;
            for row in &found {
                let number = Columns::of(row).number().map_err(Failure::nothing_written)?;
                // One that cannot be read is left out of the list, which goes on behind it.
                rows.push((number, read(&mut Columns::of(row)).ok()));
            }
            before = from;
        }
        let page = Page::cut(rows, request.limit, |(number, _)| RowNumber::new(*number));
        let (rows, mut next) = (page.items, page.next);
        if next.is_none() && before > first {
            next = u64::try_from(before).ok().map(RowNumber::new);
        }
        Ok(Page { items: rows.into_iter().filter_map(|(_, record)| record).collect(), next })
    }
}
