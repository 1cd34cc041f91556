//! Call reports.

use async_trait::async_trait;
use respoke_core::call_report::{CallReport, NewCallReport};
use respoke_core::id::{AppId, EndpointId};
use respoke_core::page::{Page, PageRequest, RowNumber};
use respoke_core::ports::{CallReportStore, Keeping, StoreError};
use rusqlite::{Row, params};

use super::rows::{Columns, all, app_exists, execute};
use super::{SqliteStore, kept};
use crate::pages::limit;

fn read(row: &Row<'_>) -> rusqlite::Result<CallReport> {
    let mut columns = Columns::of(row);
    let number = columns.next()?;
    let report = NewCallReport {
        app_id: columns.uuid_as(AppId::from_uuid)?,
        at: columns.time()?,
        endpoint_id: columns.endpoint_if_any()?,
        report: columns.json()?,
    };
    Ok(CallReport { number, report })
}

#[async_trait]
impl CallReportStore for SqliteStore {
    async fn add_call_report(&self, report: NewCallReport, bytes_max: u64) -> Result<Keeping<()>, StoreError> {
        self.writer
            .write(move |write| {
                if !app_exists(write.connection, report.app_id)? {
                    return Ok(Keeping::NoApp);
                }
                let cost = kept::call_report(report.report.get().len(), report.endpoint_id.as_ref());
                if !kept::fits(write.connection, report.app_id, cost, bytes_max)? {
                    return Ok(Keeping::Full);
                }
                execute(
                    write.connection,
                    "INSERT INTO call_reports (app_id, at, endpoint, report) VALUES (?1, ?2, ?3, ?4)",
                    params![
                        report.app_id.uuid(),
                        report.at.millis(),
                        report.endpoint_id.as_ref().map(EndpointId::as_str),
                        report.report.get(),
                    ],
                )?;
                Ok(Keeping::Kept(()))
            })
            .await
    }

    async fn call_reports(
        &self,
        app: AppId,
        request: PageRequest<RowNumber>,
    ) -> Result<Page<CallReport, RowNumber>, StoreError> {
        self.readers
            .scan(move |connection| {
                let sql = "SELECT number, app_id, at, endpoint, report FROM call_reports
                           WHERE app_id = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3";
                let before = request.after.map_or(i64::MAX, RowNumber::get);
                let rows = all(connection, sql, params![app.uuid(), before, limit(&request)], read)?;
                Ok(Page::cut(rows, request.limit, |report| RowNumber::new(report.number)))
            })
            .await
    }
}
