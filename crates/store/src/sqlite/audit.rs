//! The audit log.

use async_trait::async_trait;
use respoke_core::audit::{Action, AuditEntry, AuditRecord};
use respoke_core::id::{AccountId, AppId, RequestId};
use respoke_core::page::{Page, PageRequest, RowNumber};
use respoke_core::ports::{AuditQuery, AuditStore, StoreError};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::SqliteStore;
use super::condition::Condition;
use super::rows::{Columns, all, execute};
use super::writer::Write;
use crate::codes;
use crate::pages::limit;

/// Rows looked at for one page of a filtered log.
const SCAN_ROWS: i64 = 2_000_000;

pub(super) fn insert(write: &Write<'_>, entry: &AuditEntry) -> rusqlite::Result<()> {
    let (kind, actor) = codes::actor(entry.actor);
    execute(
        write.connection,
        "INSERT INTO log (number, at, account_id, app_id, actor_kind, actor_id, action, object, address, request_id, fingerprint)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            write.next_row(),
            entry.at.millis(),
            entry.account_id.map(|id| id.uuid()),
            entry.app_id.map(|id| id.uuid()),
            kind,
            actor,
            entry.action.code(),
            entry.object,
            entry.address,
            entry.request_id.uuid(),
            entry.fingerprint,
        ],
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    let mut columns = Columns::of(row);
    let number = columns.next()?;
    let at = columns.time()?;
    let account_id = columns.next::<Option<Uuid>>()?.map(AccountId::from_uuid);
    let app_id = columns.next::<Option<Uuid>>()?.map(AppId::from_uuid);
    let kind: i64 = columns.next()?;
    let actor_id: Option<Uuid> = columns.next()?;
    let actor = codes::actor_of(kind, actor_id)
        .ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(4, Type::Integer, "no such actor".into()))?;
    let code: i64 = columns.next()?;
    let action = Action::from_code(code)
        .ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(6, Type::Integer, "no such action".into()))?;
    let entry = AuditEntry {
        at,
        account_id,
        app_id,
        actor,
        action,
        object: columns.next()?,
        address: columns.next()?,
        request_id: columns.uuid_as(RequestId::from_uuid)?,
        fingerprint: columns.next()?,
    };
    Ok(AuditRecord { number, entry })
}

fn log(
    connection: &Connection,
    condition: &Condition,
    query: &AuditQuery,
    request: &PageRequest<RowNumber>,
) -> rusqlite::Result<Page<AuditRecord, RowNumber>> {
    let before = request.after.map_or(i64::MAX, RowNumber::get);
    let newest: i64 = connection.query_row("SELECT coalesce(max(number), 0) FROM log", [], |row| row.get(0))?;
    let oldest = before.min(newest.saturating_add(1)) - SCAN_ROWS;
    let rows = all(
        connection,
        "SELECT number, at, account_id, app_id, actor_kind, actor_id, action, object, address, request_id, fingerprint
         FROM audit
         WHERE number < ?1 AND number >= ?2
           AND (account_id = ?3 OR app_id IN (SELECT app_id FROM app_owners WHERE account_id = ?3)
                OR (account_id IS NULL AND app_id IS NULL))
           AND (?4 IS NULL OR app_id = ?4) AND (?5 IS NULL OR action = ?5) AND (?6 IS NULL OR object = ?6)
           AND (?7 IS NULL OR request_id = ?7)
         ORDER BY number DESC LIMIT ?8",
        params![
            before,
            oldest,
            query.account_id.uuid(),
            query.app_id.map(|id| id.uuid()),
            query.action.map(Action::code),
            query.object,
            query.request_id.map(|id| id.uuid()),
            limit(request),
        ],
        |row| Ok((row.get(0)?, condition.of_list(read(row))?)),
    )?;
    let page = Page::cut(rows, request.limit, |(number, _)| RowNumber::new(*number));
    let (rows, mut next) = (page.items, page.next);
    let first: i64 = connection.query_row("SELECT coalesce(min(number), 0) FROM log", [], |row| row.get(0))?;
    if next.is_none() && oldest > first {
        next = u64::try_from(oldest).ok().map(RowNumber::new);
    }
    Ok(Page { items: rows.into_iter().filter_map(|(_, record)| record).collect(), next })
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.writer.write(move |write| insert(write, &entry)).await
    }

    async fn audit_log(
        &self,
        query: AuditQuery,
        page: PageRequest<RowNumber>,
    ) -> Result<Page<AuditRecord, RowNumber>, StoreError> {
        let condition = self.condition.clone();
        self.readers.search(move |connection| log(connection, &condition, &query, &page)).await
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::audit::Actor;

    use super::*;

    #[test]
    fn a_row_that_does_not_say_who_did_it_is_refused() {
        let connection = Connection::open_in_memory().unwrap();
        let actor = |kind: i64, id: Option<Uuid>| {
            let sql = "SELECT 1, 2, NULL, NULL, ?1, ?2, 23, '', '', ?3, NULL";
            connection.query_row(sql, params![kind, id, Uuid::nil()], read).map(|record| record.entry.actor)
        };
        assert_eq!(actor(4, None).unwrap(), Actor::Endpoint);
        for (kind, id) in [(2, None), (5, None), (1, Some(Uuid::from_u128(7)))] {
            assert!(actor(kind, id).is_err(), "{kind} {id:?}");
        }
    }
}
